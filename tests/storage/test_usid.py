"""USID files whose positions are incomplete, sparse, serpentine or contradict themselves."""

import numpy as np
import pytest
import vendors

from gpax_lab.storage import UnreadableFile, load, save

BIAS, CYCLE = np.arange(4), np.arange(2)
INDICES = np.stack([np.tile(BIAS, 2), np.repeat(CYCLE, 4)])
SPECTRA = (["Bias", "Cycle"], INDICES, INDICES * np.array([[0.5], [1.0]]), ["V", ""])
GRID = np.array([(x, y) for y in range(3) for x in range(4)])  # the first dimension is the fastest
VALUES = np.random.default_rng(4).normal(size=(12, 8))


def one(path):
    return next(iter(load(path).values()))


@pytest.mark.parametrize("kept", [np.arange(10), np.array([7, 2, 11]), np.array([5])])
def test_positions_that_are_no_grid_keep_their_places_and_the_spectra_their_axes(tmp_path, kept):
    found = one(vendors.usid(tmp_path / "a.h5", VALUES[kept], GRID[kept], SPECTRA, dtype=np.float64))
    assert [axis.name for axis in found.axes[-2:]] == ["Cycle", "Bias"]
    np.testing.assert_array_equal(found.values.reshape(len(kept), 2, 4), VALUES[kept].reshape(-1, 2, 4))
    np.testing.assert_allclose(found.axis("Bias").values, 0.5 * BIAS)
    assert found.axis("Bias").unit == "V"
    if len(kept) > 1:
        np.testing.assert_allclose(found.metadata["X"], 2e-9 * GRID[kept, 0], rtol=1e-6)
        np.testing.assert_allclose(found.metadata["Y"], 3e-9 * GRID[kept, 1], rtol=1e-6)
        assert found.metadata["units"] == {"X": "m", "Y": "m"}
    else:  # one place is a grid of one
        assert found.axis("X").values.tolist() == [np.float32(2e-9)]


ORDERS = {
    "serpentine": np.concatenate([np.arange(4 * y, 4 * y + 4)[:: (-1) ** y] for y in range(3)]),
    "from the top": np.arange(12)[::-1],
    "columns first": np.arange(12).reshape(3, 4).T.ravel(),
    "at random": np.random.default_rng(0).permutation(12),
}


@pytest.mark.parametrize("name", ORDERS)
def test_a_grid_in_any_order_is_a_grid(tmp_path, name):
    order = ORDERS[name]
    found = one(vendors.usid(tmp_path / "a.h5", VALUES[order], GRID[order], SPECTRA, dtype=np.float64))
    there = found.moved("Y", "X", "Cycle", "Bias")
    np.testing.assert_array_equal(there.values, VALUES.reshape(3, 4, 2, 4))
    np.testing.assert_allclose(there.axis("X").values, 2e-9 * np.arange(4), rtol=1e-6)
    np.testing.assert_allclose(there.axis("Y").values, 3e-9 * np.arange(3), rtol=1e-6)


def test_columns_in_any_order_are_sorted_into_their_axes(tmp_path):
    order = np.random.default_rng(1).permutation(8)
    names, indices, numbers, units = SPECTRA
    spectra = (names, indices[:, order], numbers[:, order], units)
    found = one(vendors.usid(tmp_path / "a.h5", VALUES[:, order], GRID, spectra, dtype=np.float64))
    np.testing.assert_array_equal(found.moved("Y", "X", "Cycle", "Bias").values, VALUES.reshape(3, 4, 2, 4))


def test_tables_of_a_whole_scan_with_data_of_one_that_was_stopped(tmp_path):
    found = one(vendors.usid(tmp_path / "a.h5", VALUES[:7], GRID, SPECTRA))
    assert found.values.shape == (7, 2, 4)
    np.testing.assert_allclose(found.metadata["Y"], 3e-9 * GRID[:7, 1], rtol=1e-6)
    with pytest.raises(UnreadableFile, match="describe 7 of 12"):
        load(vendors.usid(tmp_path / "b.h5", VALUES, GRID[:7], SPECTRA))


def test_indices_that_contradict_the_values_are_not_believed(tmp_path):
    wrong = GRID[:, ::-1] * 0 + np.array([(x, y) for y in range(4) for x in range(3)])  # 3 x 4 instead of 4 x 3
    values = GRID * np.array([2e-9, 3e-9])
    found = one(vendors.usid(tmp_path / "a.h5", VALUES, wrong, SPECTRA, values=values, dtype=np.float64))
    np.testing.assert_array_equal(found.values, VALUES.reshape(3, 4, 2, 4))
    np.testing.assert_allclose(found.axis("X").values, 2e-9 * np.arange(4), rtol=1e-6)
    assert "contradict" in found.metadata["contradictions"][0]
    assert "contradictions" not in one(vendors.usid(tmp_path / "b.h5", VALUES, GRID, SPECTRA)).metadata


def test_positions_that_were_all_the_same_are_counted_and_told(tmp_path):
    found = one(vendors.usid(tmp_path / "a.h5", VALUES, GRID, SPECTRA, values=np.zeros((12, 2))))
    assert (found.axis("X").values.tolist(), found.axis("X").unit) == ([0, 1, 2, 3], "1")
    np.testing.assert_array_equal(found.metadata["X"], np.zeros(12))
    assert "X, Y" in found.metadata["contradictions"][0]


def test_a_bias_that_comes_back_is_one_axis(tmp_path):
    """A triangle passes most of its values twice: an index of its own for each."""
    triangle = np.array([[0.0, 1.0, 2.0, 1.0, 0.0, -1.0, -2.0, -1.0]])
    spectra = (["Bias"], np.arange(8)[None], triangle, ["V"])
    found = one(vendors.usid(tmp_path / "a.h5", VALUES, GRID, spectra))
    assert found.axis("Bias").values.tolist() == triangle[0].tolist()


def test_attributes_and_images_beside_the_main_data_set_are_kept(tmp_path):
    order = ORDERS["serpentine"]
    image, topography = np.random.default_rng(2).normal(size=(5, 6)), np.arange(12.0)
    others = [("Survey", image), ("Height", topography[order, None]), ("Bin_Frequencies", np.linspace(1, 2, 7))]
    place = vendors.usid(
        tmp_path / "a.h5",
        VALUES[order],
        GRID[order],
        SPECTRA,
        others=others,
        sensitivity=2.5,
        drift=np.bytes_("5 µm/h".encode("cp1252")),
    )
    found = load(place)
    assert next(iter(found)) == "Response"
    main = found["Response"]
    assert main.metadata["attributes"]["sensitivity"] == 2.5
    assert main.metadata["attributes"]["drift"] == "5 µm/h"
    assert main.metadata["groups"] == {"/": {"instrument": "twin"}, "Measurement_000": {"grid": "as asked"}}
    np.testing.assert_array_equal(found["Survey"].values, image)
    assert found["Survey"].data_type == "IMAGE"
    np.testing.assert_array_equal(found["Height"].values, topography.reshape(3, 4))
    assert [axis.name for axis in found["Height"].axes] == ["Y", "X"]
    assert found["Bin_Frequencies"].values.shape == (7,)
    assert list(load(save(tmp_path / "b.h5", found))) == list(found)
