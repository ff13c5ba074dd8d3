"""Igor waves, and the labels and units of Asylum microscopes in them."""

import numpy as np
import pytest
import vendors

from gpax_lab.storage import UnreadableFile, load
from gpax_lab.storage._dataset import SPATIAL

RNG = np.random.default_rng(5)


def test_names_end_at_their_first_zero_and_every_channel_has_its_unit(tmp_path):
    labels = {
        b"HeightRetrace": "m",
        b"Phase1Retrace\0ace": "deg",
        b"UserIn1Trace\0trace\0": "mV",
        b"FrequencyRetrace": "Hz",
        b"LateralTrace": "V",
        b"AmplitudeTrace\0Retrace": "m",
        b"CurrentTrace": "A",
        b"AdhesionRetrace": "a.u.",  # nobody says: not the metres of the first layer
    }
    values = RNG.normal(size=(4, 3, len(labels))).astype(np.float32)
    note = b"UserIn1Unit: mV\rScanSize: 1e-6\r"
    found = load(vendors.ibw(tmp_path / "a.ibw", values, labels=list(labels), note=note))
    assert {name: one.unit for name, one in found.items()} == {
        label.split(b"\0")[0].decode(): unit for label, unit in labels.items()
    }
    for k, one in enumerate(found.values()):
        np.testing.assert_array_equal(one.values, values[:, :, k].T)
        assert [axis.name for axis in one.axes] == ["y", "x"]
        assert one.metadata["ScanSize"] == "1e-6"
    np.testing.assert_allclose(one.axis("x").values, 2e-9 * np.arange(4))
    np.testing.assert_allclose(one.axis("y").values, 1e-9 + 3e-9 * np.arange(3))


def test_a_channel_with_a_name_of_the_users_own_is_known_by_the_note(tmp_path):
    values = np.ones((2, 2, 2), np.float32)
    place = vendors.ibw(
        tmp_path / "a.ibw", values, labels=[b"HeightRetrace", b"Mine"], note="Channel2DataType: Phase\rµ".encode()
    )
    assert load(place)["Mine"].unit == "deg"


def test_layers_of_other_programs_keep_the_unit_of_the_wave(tmp_path):
    values = np.ones((2, 2, 2), np.float32)
    found = load(vendors.ibw(tmp_path / "a.ibw", values, labels=[b"first", b"second"]))
    assert [one.unit for one in found.values()] == ["m", "m"]


def test_columns_of_a_force_curve_are_channels_over_time(tmp_path):
    values = RNG.normal(size=(6, 3)).astype(np.float32)
    labels = [b"Raw", b"Defl\0old", b"Phas"]
    place = vendors.ibw(tmp_path / "a.ibw", values, labels=labels, scale=(5e-4, 1), offset=(0, 0), units=(b"s", b""))
    found = load(place)
    assert {name: one.unit for name, one in found.items()} == {"Raw": "m", "Defl": "m", "Phas": "deg"}
    for k, one in enumerate(found.values()):
        np.testing.assert_array_equal(one.values, values[:, k])
        (time,) = one.axes
        assert (time.name, time.unit) == ("time", "s")
        np.testing.assert_allclose(time.values, 5e-4 * np.arange(6))
        assert one.metadata["labels"] == ["Raw", "Defl", "Phas"]


def test_an_image_lies_the_same_way_round_with_labels_and_without(tmp_path):
    values = RNG.normal(size=(4, 3, 2)).astype(np.float32)
    labelled = load(vendors.ibw(tmp_path / "a.ibw", values, labels=[b"HeightRetrace", b"PhaseRetrace"]))
    (image,) = load(vendors.ibw(tmp_path / "b.ibw", values[:, :, 0])).values()
    (stack,) = load(vendors.ibw(tmp_path / "c.ibw", values, units=(b"nm", b"nm", b"V"))).values()
    np.testing.assert_array_equal(image.values, labelled["HeightRetrace"].values)
    np.testing.assert_array_equal(image.values, values[:, :, 0].T)
    np.testing.assert_array_equal(stack.values, values.swapaxes(0, 1))
    for one, unit in ((labelled["HeightRetrace"], "m"), (image, "m"), (stack, "nm")):
        assert [(its.name, its.unit, its.kind) for its in one.axes[:2]] == [("y", unit, SPATIAL), ("x", unit, SPATIAL)]
        np.testing.assert_allclose(one.axis("y").values, 1e-9 + 3e-9 * np.arange(3))
        np.testing.assert_allclose(one.axis("x").values, 2e-9 * np.arange(4))
    assert (image.unit, image.data_type) == ("m", "IMAGE")
    assert (stack.axes[2].name, stack.axes[2].unit, stack.data_type) == ("z", "V", "SPECTRAL_IMAGE")


def test_waves_whose_axes_are_no_two_lengths_stay_in_igors_order(tmp_path):
    values = RNG.normal(size=(4, 3)).astype(np.float32)
    for units in ((b"m", b"V"), (b"s", b"m"), (b"", b"")):
        (found,) = load(vendors.ibw(tmp_path / "a.ibw", values, units=units)).values()
        np.testing.assert_array_equal(found.values, values)
        assert [its.unit for its in found.axes] == [unit.decode() or "1" for unit in units]


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("dtype", ["f4", "f8", "i2", "i4", "u1", "c8"])
def test_every_kind_of_number_in_both_byte_orders(tmp_path, dtype, big):
    values = (100 * RNG.normal(size=(4, 3))).astype(dtype)
    (found,) = load(vendors.ibw(tmp_path / "a.ibw", values, big=big)).values()
    np.testing.assert_array_equal(found.values, values.T)
    assert found.values.dtype == np.dtype(dtype)
    assert found.axes[0].kind == SPATIAL


def test_damage_is_told(tmp_path):
    place = vendors.ibw(tmp_path / "a.ibw", np.ones((4, 3), np.float32), note=b"k: 1")
    whole = place.read_bytes()
    for cut, text in ((4, "4 bytes"), (200, "within its header"), (400, "was cut"), (-2, "note")):
        place.write_bytes(whole[:cut])
        with pytest.raises(UnreadableFile, match=text):
            load(place)
    place.write_bytes(whole[:150] + b"\x01" + whole[151:])
    with pytest.raises(UnreadableFile, match="checksum"):
        load(place)
    place.write_bytes(b"\x07\0" + whole[2:])
    with pytest.raises(UnreadableFile, match="version 7"):
        load(place)
