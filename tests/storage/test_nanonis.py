"""Scans, grids and spectra of Nanonis, against the bytes that were written."""

import numpy as np
import pytest
import vendors

from gpax_lab.storage import UnreadableFile, load, save
from gpax_lab.storage._dataset import SPECTRAL

RNG = np.random.default_rng(3)


def images(count, shape=(3, 4)):
    return [RNG.normal(size=shape).astype(np.float32) for _ in range(count)]


@pytest.mark.parametrize("up", [False, True])
def test_lines_lie_where_they_were_scanned(tmp_path, up):
    """The first line of a downward scan is the uppermost; backward lines start at the right."""
    first, second = images(2)
    found = load(vendors.sxm(tmp_path / "a.sxm", [first, second], [("Z", "m", "both")], up=up))
    way = slice(None) if up else slice(None, None, -1)
    np.testing.assert_array_equal(found["Z_forward"].values, first[way])
    np.testing.assert_array_equal(found["Z_backward"].values, second[way, ::-1])
    y = found["Z_forward"].axis("y")
    assert np.all(np.diff(y.values) > 0)
    assert y.unit == "m"


def test_channels_of_one_direction_and_of_one_name(tmp_path):
    pictures = images(5)
    channels = [("Z", "m", "forward"), ("Current", "A", "both"), ("Current", "A", "backward"), ("LI Y", "V", "forward")]
    found = load(vendors.sxm(tmp_path / "a.sxm", pictures, channels, up=True))
    names = ["Z_forward", "Current_forward", "Current_backward", "Current_backward_2", "LI Y_forward"]
    assert list(found) == names
    for name, image in zip(names, pictures, strict=True):
        np.testing.assert_array_equal(found[name].values, image[:, ::-1] if "backward" in name else image)
    assert [one.unit for one in found.values()] == ["m", "A", "A", "A", "V"]


def test_a_turned_frame_says_so_and_where_its_pixels_are(tmp_path):
    (image,) = images(1)
    place = vendors.sxm(tmp_path / "a.sxm", [image], [("Z", "m", "forward")], up=True, angle=30.0)
    found = load(place)["Z_forward"]
    np.testing.assert_allclose(found.axis("x").values, 1e-8 * np.array([-1.5, -0.5, 0.5, 1.5]), atol=1e-20)
    assert "30 deg" in found.axis("x").quantity
    assert found.metadata["frame"] == {"x": 1e-9, "y": -1e-9, "angle": 30.0, "unit": "m", "turned": True}
    x, y = found.positions()
    # Clockwise: the end of a line lies lower than its start.
    middle = complex(1e-9, -1e-9) + complex(1.5e-8, 0) * np.exp(-1j * np.pi / 6)
    np.testing.assert_allclose([x[1, 3], y[1, 3]], [middle.real, middle.imag], atol=1e-15)
    np.testing.assert_allclose([x.mean(), y.mean()], [1e-9, -1e-9], atol=1e-15)
    again = load(save(tmp_path / "a.h5", {"Z": found}))["Z"]
    np.testing.assert_allclose(again.positions(), (x, y))
    straight = load(vendors.sxm(tmp_path / "b.sxm", [image], [("Z", "m", "forward")]))["Z_forward"]
    np.testing.assert_allclose(straight.positions()[0][0], straight.axis("x").values)


@pytest.mark.parametrize("key", ["SCAN_RANGE", "SCAN_OFFSET", "SCAN_ANGLE", "SCAN_DIR", "SCANIT_TYPE", "BIAS"])
def test_a_scan_without_a_key_that_is_not_needed(tmp_path, key):
    (image,) = images(1)
    found = load(vendors.sxm(tmp_path / "a.sxm", [image], [("Z", "m", "forward")], without=(key,)))["Z_forward"]
    np.testing.assert_array_equal(found.values, image[::-1])
    assert found.axis("x").unit == ("px" if key == "SCAN_RANGE" else "m")
    assert found.data_type == "IMAGE"


def test_a_scan_that_does_not_fit_its_header_is_refused(tmp_path):
    place = vendors.sxm(tmp_path / "a.sxm", images(1), [("Z", "m", "both")])
    with pytest.raises(UnreadableFile, match="2 images of 4 x 3"):
        load(place)
    with pytest.raises(UnreadableFile, match="more than the 1 images"):
        load(vendors.sxm(tmp_path / "a.sxm", images(2), [("Z", "m", "forward")]))
    with pytest.raises(UnreadableFile, match="SCAN_PIXELS"):
        load(vendors.sxm(tmp_path / "a.sxm", images(1), [("Z", "m", "forward")], without=("SCAN_PIXELS",)))
    with pytest.raises(UnreadableFile, match="direction 'sideways'"):
        load(vendors.sxm(tmp_path / "a.sxm", images(1), [("Z", "m", "sideways")]))
    place.write_bytes(place.read_bytes()[:100])
    with pytest.raises(UnreadableFile, match="no end"):
        load(place)


NAMES = ["X (m)", "Y (m)", "Z (m)", "Current (A)"]


def parameters(ny, nx):
    table = RNG.normal(size=(ny, nx, 6)).astype(np.float32)
    table[..., 0], table[..., 1] = -2, 1
    return table


def test_parameters_of_a_grid_are_images(tmp_path):
    data, table = RNG.normal(size=(2, 3, 2, 4)).astype(np.float32), parameters(2, 3)
    channels = ["Current (A)", "LI Demod 1 X (A)"]
    found = load(vendors.grid(tmp_path / "a.3ds", data, table, channels, NAMES))
    assert list(found) == ["Current", "LI Demod 1 X", "X", "Y", "Z", "Current parameter"]
    np.testing.assert_array_equal(found["LI Demod 1 X"].values, data[:, :, 1])
    for k, name in enumerate(["X", "Y", "Z", "Current parameter"]):
        np.testing.assert_array_equal(found[name].values, table[..., 2 + k])
    topography = found["Z"]
    assert (topography.unit, topography.data_type, topography.quantity) == ("m", "IMAGE", "Z")
    for one, other in zip(topography.axes, found["Current"].axes[:2], strict=True):
        np.testing.assert_array_equal(one.values, other.values)
    np.testing.assert_allclose(found["Current"].axis("Bias").values, [-2, -1, 0, 1])
    assert found["Current"].axis("Bias").kind == SPECTRAL


@pytest.mark.parametrize(
    "key", ["Points", "# Parameters (4 byte)", "Experiment size (bytes)", "Grid settings", "Filetype", "Start time"]
)
def test_a_grid_without_a_key_that_follows_from_others(tmp_path, key):
    data, table = RNG.normal(size=(2, 3, 1, 4)).astype(np.float32), parameters(2, 3)
    found = load(vendors.grid(tmp_path / "a.3ds", data, table, ["Current (A)"], NAMES, without=(key,)))
    np.testing.assert_array_equal(found["Current"].values, data[:, :, 0])
    np.testing.assert_array_equal(found["Z"].values, table[..., 4])


def test_a_grid_without_names(tmp_path):
    data, table = RNG.normal(size=(2, 3, 2, 4)).astype(np.float32), parameters(2, 3)
    keys = ("Channels", "Sweep Signal", "Experiment parameters", "Fixed parameters")
    found = load(vendors.grid(tmp_path / "a.3ds", data, table, ["A (A)", "B (A)"], NAMES, without=keys))
    np.testing.assert_array_equal(found["channel 2"].values, data[:, :, 1])
    np.testing.assert_array_equal(found["Parameter 5"].values, table[..., 4])
    with pytest.raises(UnreadableFile, match="Grid dim"):
        load(vendors.grid(tmp_path / "a.3ds", data, table, ["A (A)", "B (A)"], NAMES, without=("Grid dim",)))


@pytest.mark.parametrize("more", [{"without": ("Fixed parameters",)}, {"Fixed parameters": '""'}])
def test_parameters_without_a_name_are_the_fixed_ones_which_come_first(tmp_path, more):
    data, table = RNG.normal(size=(2, 3, 1, 4)).astype(np.float32), parameters(2, 3)
    found = load(vendors.grid(tmp_path / "a.3ds", data, table, ["Bias (V)"], NAMES, **more))
    assert list(found) == ["Bias", "X", "Y", "Z", "Current"]
    for k, (name, unit) in enumerate((("X", "m"), ("Y", "m"), ("Z", "m"), ("Current", "A"))):
        np.testing.assert_array_equal(found[name].values, table[..., 2 + k])
        assert found[name].unit == unit
    sweep = found["Bias"].axes[2]
    np.testing.assert_allclose(sweep.values, [-2, -1, 0, 1])
    assert (sweep.name, sweep.unit) == ("Bias", "V")


def test_three_parameters_without_a_name_and_one(tmp_path):
    keys = ("Fixed parameters",)
    data, table = RNG.normal(size=(2, 3, 1, 4)).astype(np.float32), parameters(2, 3)
    found = load(vendors.grid(tmp_path / "a.3ds", data, table, ["I (A)"], NAMES[:3], without=keys))
    assert list(found) == ["I", "Parameter 3", "X", "Y", "Z"]
    np.testing.assert_array_equal(found["Z"].values, table[..., 5])
    found = load(vendors.grid(tmp_path / "a.3ds", data, table[..., 1:], ["I (A)"], NAMES, without=keys))
    assert list(found) == ["I", "Parameter 1", "X", "Y", "Z", "Current"]
    np.testing.assert_array_equal(found["Z"].values, table[..., 4])
    assert found["I"].axes[2].values.tolist() == [0, 1, 2, 3]


def test_parameters_that_nothing_counts_are_refused(tmp_path):
    data, table = RNG.normal(size=(2, 3, 1, 4)).astype(np.float32), parameters(2, 3)
    keys = ("Fixed parameters", "# Parameters (4 byte)")
    with pytest.raises(UnreadableFile, match="neither '# Parameters"):
        load(vendors.grid(tmp_path / "a.3ds", data, table, ["Current (A)"], NAMES, without=keys))


def recorded(tmp_path, x, y, **more):
    """A grid whose X and Y were recorded; its pixel centres are at x of -9, 1 and 11 nm, y of -3 and 7 nm."""
    data, table = RNG.normal(size=(2, 3, 1, 4)).astype(np.float32), parameters(2, 3)
    table[..., 2], table[..., 3] = x, y
    return load(vendors.grid(tmp_path / "a.3ds", data, table, ["Current (A)"], NAMES, **more)), table


def test_recorded_places_that_are_a_grid_of_their_own_are_noted(tmp_path):
    """From edge to edge of the frame, 30 nm by 20 nm about (1, 2) nm: 15 nm and 20 nm apart, not 10 nm."""
    x, y = np.meshgrid([-14e-9, 1e-9, 16e-9], [-8e-9, 12e-9])
    found, table = recorded(tmp_path, x, y)
    note = found["Current"].metadata["note"]
    assert "steps of 1.5e-08 m" in note
    assert f"up to {np.hypot(5e-9, 5e-9):.4g} m off" in note
    assert found["Z"].metadata["note"] == note
    for name, k in (("X", 2), ("Y", 3)):
        np.testing.assert_array_equal(found[name].values, table[..., k])
        assert found[name].unit == "m"
    np.testing.assert_allclose(found["Z"].axis("x").values, [-9e-9, 1e-9, 11e-9])
    np.testing.assert_allclose(found["Z"].axis("y").values, [-3e-9, 7e-9])
    again = load(save(tmp_path / "a.h5", found))["Z"]
    assert note in again.metadata["metadata"].values()


def test_recorded_places_at_the_pixel_centres_or_on_no_grid_are_not_noted(tmp_path):
    x, y = np.meshgrid([-9e-9, 1e-9, 11e-9], [-3e-9, 7e-9])
    assert "note" not in recorded(tmp_path, x, y)[0]["Z"].metadata
    shaken = x + 3e-9 * RNG.normal(size=x.shape)
    assert "note" not in recorded(tmp_path, shaken, y)[0]["Z"].metadata
    assert "note" not in recorded(tmp_path, x, y, without=("Grid settings",))[0]["Z"].metadata
    turned = complex(1e-9, 2e-9) + (x - 1e-9 + 1j * (y - 2e-9)) * np.exp(-1j * np.pi / 6)  # clockwise
    assert "note" not in recorded(tmp_path, turned.real, turned.imag, angle=30.0)[0]["Z"].metadata
    assert "note" in recorded(tmp_path, x, y, angle=30.0)[0]["Z"].metadata
    assert "note" not in recorded(tmp_path, 0, 0)[0]["Z"].metadata
    x[1], y[1] = np.nan, np.nan  # stopped after its first line
    assert "note" not in recorded(tmp_path, x, y)[0]["Z"].metadata


def test_a_grid_of_two_channels_of_one_name_and_of_segments(tmp_path):
    data, table = RNG.normal(size=(2, 2, 3, 4)).astype(np.float32), parameters(2, 2)
    data[:, :, 2] = [-1.0, -0.1, 0.1, 2.0]
    place = vendors.grid(
        tmp_path / "a.3ds", data, table, ["Current (A)", "Current (A)", "Bias (V)"], NAMES, Filetype="MLS", angle=90.0
    )
    found = load(place)
    assert list(found)[:3] == ["Current", "Current_2", "Bias"]
    np.testing.assert_array_equal(found["Current_2"].values, data[:, :, 1])
    np.testing.assert_allclose(found["Current"].axes[2].values, [-1.0, -0.1, 0.1, 2.0])
    x, y = found["Z"].positions()
    np.testing.assert_allclose(np.ptp(y[0]), 1.5e-8)  # turned by a quarter: a line runs along y of the sample
    assert y[0, 0] > y[0, 1]
    np.testing.assert_allclose(np.ptp(x[0]), 0.0, atol=1e-20)


def test_a_sweep_that_differs_by_place_is_counted(tmp_path):
    data, table = RNG.normal(size=(2, 2, 1, 4)).astype(np.float32), parameters(2, 2)
    table[1, 1, 1] = 5.0
    found = load(vendors.grid(tmp_path / "a.3ds", data, table, ["Current (A)"], NAMES))
    assert found["Current"].axis("Bias").values.tolist() == [0, 1, 2, 3]
    assert found["Current"].axis("Bias").unit == "1"
    np.testing.assert_array_equal(found["Sweep End"].values, table[..., 1])


def test_a_grid_stopped_early_takes_no_more_than_it_holds(tmp_path):
    data, table = RNG.normal(size=(2, 3, 1, 4)).astype(np.float32), parameters(2, 3)
    place = vendors.grid(tmp_path / "a.3ds", data, table, ["Current (A)"], NAMES, without=("Grid dim",))
    place.write_bytes(b'Grid dim="3 x 90000000"\r\n' + place.read_bytes())
    found = load(place)
    assert found["Current"].values.shape == (2, 3, 4)
    np.testing.assert_allclose(found["Current"].axis("y").values[0], 2e-9 - 1e-8, rtol=1e-6)
    place.write_bytes(place.read_bytes().replace(b"3 x 90000000", b"90000000 x 3"))
    with pytest.raises(UnreadableFile, match="a row of 90000000 positions"):
        load(place)


TEXT = "Experiment\tbias spectroscopy\t\nX (m)\t1.5E-9\t\n\n[DATA]\n"


def test_a_spectrum(tmp_path):
    place = tmp_path / "a.dat"
    place.write_text(
        TEXT + "Bias calc (V)\tCurrent (A)\tCurrent [bwd] (A)\n-1\t1E-9\t2E-9\n0\t-3E-9\tnan\n1\t5E-9\t6E-9\n"
    )
    found = load(place)
    assert list(found) == ["Current", "Current [bwd]"]
    assert found["Current"].axes[0].values.tolist() == [-1, 0, 1]
    assert (found["Current"].axes[0].name, found["Current"].axes[0].unit) == ("Bias calc", "V")
    np.testing.assert_array_equal(found["Current [bwd]"].values, [2e-9, np.nan, 6e-9])
    assert (found["Current"].unit, found["Current"].data_type) == ("A", "SPECTRUM")
    assert found["Current"].metadata["X (m)"] == "1.5E-9"
    place.write_text(TEXT + "Bias (V)\tCurrent (A)\n1\t2\n1\tx\n")
    with pytest.raises(UnreadableFile, match="row 2 under"):
        load(place)
    place.write_text(TEXT + "Bias (V)\tCurrent (A)\n1\t2\t3\n")
    with pytest.raises(UnreadableFile, match="3 numbers for 2 columns"):
        load(place)
    place.write_text("1 2 3\n")
    with pytest.raises(UnreadableFile, match="Nanonis"):
        load(place)


@pytest.mark.parametrize("code", ["utf-8", "cp1252", "utf-16"])
def test_signs_of_a_heading_in_any_encoding(tmp_path, code):
    place = tmp_path / "a.dat"
    place.write_bytes((TEXT + "Angle (°)\tCurrent (µA)\n-1\t1\n0\t2\n").encode(code))
    found = load(place)["Current"]
    assert (found.unit, found.axes[0].unit) == ("µA", "°")
    scan = vendors.sxm(tmp_path / "a.sxm", images(1), [("Z", "µm", "forward")])
    scan.write_bytes(scan.read_bytes().replace("µ".encode(), "µ".encode("utf-8" if code == "utf-16" else code)))
    assert load(scan)["Z_forward"].unit == "µm"
