from pathlib import Path

import h5py
import numpy as np
import pytest
from gpax_instruments.drivers import Replay

from gpax_lab.core import Axis, Instrument, Measurement, MoveRefused
from gpax_lab.storage import Dataset, load
from gpax_lab.storage._dataset import axis

REAL = Path(__file__).parents[3] / "shared" / "data" / "loops" / "BEPS_PTO_50x50.h5"


def write_map(path, loops):
    """A map of the same layout: 3 x 2 pixels, 8 voltages from 0 up, down and back."""
    bias = np.array([0.0, 4.0, 8.0, 4.0, 0.0, -4.0, -8.0, -4.0])
    with h5py.File(path, "w") as file:
        group = file.create_group("Channel_000/generic")
        group["generic"], group["Voltage"] = loops, bias
        group["X"], group["Y"] = np.array([0.0, 1e-6, 2e-6]), np.array([0.0, 2e-6])
    return np.roll(bias, -2)


def test_a_recorded_map_is_an_instrument(tmp_path):
    loops = np.arange(48.0).reshape(3, 2, 8)
    bias = write_map(tmp_path / "map.h5", loops)
    replay = Replay.from_beps(tmp_path / "map.h5")
    assert isinstance(replay, Instrument)
    assert replay.repeatable
    assert "map.h5" in replay.identity()
    for i, x in enumerate([0.0, 1e-6, 2e-6]):
        for j, y in enumerate([0.0, 2e-6]):
            measurement = replay.measure(np.array([x, y], np.float32), "t")
            assert measurement.ok
            assert measurement.position.tolist() == [x, y]
            np.testing.assert_array_equal(measurement.arrays["bias"], bias)
            np.testing.assert_array_equal(measurement.arrays["response"], np.roll(loops[i, j], -2))
            assert measurement.units == {"bias": "V", "response": "a.u."}
            measurement.arrays["response"][:] = -1  # the record is not touched
    assert replay.measure([0.0, 0.0], "t").arrays["response"].min() == 0
    replay.make_safe()
    replay.close()


def spectra():
    """Counts (energy, y, x) of 4 channels at 2 x 3 places."""
    along = axis("energy", [0.0, 1.0, 2.0, 3.0], "eV"), axis("y", [0.0, 2.0], "nm"), axis("x", [0.0, 1.0, 2.0], "nm")
    return Dataset(np.arange(24, dtype=np.uint16).reshape(4, 2, 3), along, "counts", "1", "a cube")


def test_a_data_set_is_an_instrument():
    replay = Replay.of(spectra())
    assert [(a.name, a.unit) for a in replay.axes] == [("y", "nm"), ("x", "nm")]
    for i, y in enumerate([0.0, 2.0]):
        for j, x in enumerate([0.0, 1.0, 2.0]):
            measurement = replay.measure([y, x], "t")
            assert measurement.ok
            assert measurement.position.tolist() == [y, x]
            np.testing.assert_array_equal(measurement.arrays["counts"], spectra().values[:, i, j])
            np.testing.assert_array_equal(measurement.arrays["energy"], np.arange(4.0))
            assert measurement.units == {"counts": "1", "energy": "eV"}
    turned = Replay.of(spectra(), over=("x", "y")).measure([2.0, 0.0], "t")
    np.testing.assert_array_equal(turned.arrays["counts"], spectra().values[:, 0, 2])
    patterns = Replay.of(spectra(), over=("energy",)).measure([3.0], "t")
    np.testing.assert_array_equal(patterns.arrays["counts"], spectra().values[3])
    assert Replay.of(spectra(), tolerance=0.5).measure([0.4, 1.4], "t").position.tolist() == [0.0, 1.0]


def test_a_data_set_without_such_positions_is_refused():
    with pytest.raises(ValueError, match="energy"):
        Replay.of(spectra(), over=("row", "column"))
    with pytest.raises(ValueError, match="each once"):
        Replay.of(spectra(), over=("x", "x"))
    single = Dataset(np.zeros((1, 3)), (axis("y", [0.0], "nm"), axis("x", [0.0, 1.0, 2.0], "nm")))
    with pytest.raises(ValueError, match="two positions"):
        Replay.of(single)


@pytest.mark.skipif(not REAL.exists(), reason="the recorded maps of ../shared/data are not here")
def test_a_measured_spectrum_image_is_an_instrument():
    pytest.importorskip("rsciio", reason="the extra `files` is not installed")
    (cube,) = load(REAL.parents[1] / "image_to_spectrum" / "SI-EELS.dm3").values()
    replay = Replay.of(cube)
    measurement = replay.measure(replay.positions[7], "t")
    expected = cube.moved("y", "x", "Energy loss").values.reshape(-1, 1024)[7]
    np.testing.assert_array_equal(measurement.arrays[cube.quantity], expected)
    assert measurement.arrays["Energy loss"].shape == (1024,)


@pytest.mark.parametrize("target", [[1.02e-6, 0.0], [np.nan, 0.0], [3e-6, 0.0], [0.0], [0.5e-6, 1e-6]])
def test_a_position_that_was_not_recorded_is_refused(tmp_path, target):
    write_map(tmp_path / "map.h5", np.zeros((3, 2, 8)))
    with pytest.raises(MoveRefused):
        Replay.from_beps(tmp_path / "map.h5").measure(target, "t")


def test_a_wider_tolerance_takes_the_nearest_pixel(tmp_path):
    write_map(tmp_path / "map.h5", np.arange(48.0).reshape(3, 2, 8))
    replay = Replay.from_beps(tmp_path / "map.h5", tolerance=1e-6)
    assert replay.measure([1.3e-6, 1.2e-6], "t").position.tolist() == [1e-6, 2e-6]


@pytest.mark.parametrize(("bad", "flag"), [(np.nan, "nan"), (np.inf, "inf"), (9.91e37, "nan")])
def test_a_pixel_that_is_no_number_is_a_failed_measurement(tmp_path, bad, flag):
    loops = np.zeros((3, 2, 8))
    loops[1, 1, 5] = bad
    write_map(tmp_path / "map.h5", loops)
    replay = Replay.from_beps(tmp_path / "map.h5")
    measurement = replay.measure([1e-6, 2e-6], "t")
    assert not measurement.ok
    assert measurement.flags == (flag,)
    assert "response: 1 of 8 points" in measurement.reason
    assert replay.measure([1e-6, 0.0], "t").ok


def test_records_that_do_not_fit_are_refused():
    axes = [Axis("x", "mm", 0.0, 1.0)]
    units = {"y": "ohm"}
    with pytest.raises(ValueError, match="positions must be"):
        Replay(axes, np.zeros((3, 2)), {"y": np.zeros(3)}, units, signal=["y"])
    with pytest.raises(ValueError, match="finite"):
        Replay(axes, np.full((3, 1), np.nan), {"y": np.zeros(3)}, units, signal=["y"])
    with pytest.raises(ValueError, match="rows"):
        Replay(axes, np.zeros((3, 1)), {"y": np.zeros(2)}, units, signal=["y"])
    with pytest.raises(ValueError, match="must match"):
        Replay(axes, np.zeros((3, 1)), {"y": np.zeros(3)}, {}, signal=["y"])
    scalar = Replay(axes, np.array([[0.5]]), {"y": np.array([2.0])}, units, signal=["y"])
    assert float(scalar.measure([0.5], "t").arrays["y"]) == 2.0


def test_a_measurement_says_why_it_failed():
    with pytest.raises(ValueError, match="reason"):
        Measurement({}, {}, np.zeros(1), ok=False)
    with pytest.raises(ValueError, match="unit"):
        Measurement({"a": np.zeros(1)}, {}, np.zeros(1))


@pytest.mark.skipif(not REAL.exists(), reason="the recorded map ../shared/data/loops/BEPS_PTO_50x50.h5 is not here")
def test_the_real_map():
    """Loop areas against figures that were computed apart from this code (data README): row (4, 5) is the largest."""
    replay = Replay.from_beps(REAL)
    assert replay.positions.shape == (2500, 2)
    assert replay.positions.max() == pytest.approx(2e-6)
    measurements = [replay.measure(x, "t") for x in replay.positions]
    assert all(r.ok for r in measurements)
    bias = measurements[0].arrays["bias"]
    assert bias[0] == bias.max() == 8.5
    closed = np.append(bias, bias[0])
    areas = np.array(
        [np.trapezoid(np.append(r.arrays["response"], r.arrays["response"][0]), closed) for r in measurements]
    )
    assert areas.min() == pytest.approx(-0.16314, abs=1e-5)
    assert areas.max() == pytest.approx(0.00118, abs=1e-5)
    assert np.median(np.abs(areas)) == pytest.approx(0.001125, abs=1e-6)
    assert divmod(int(np.argmax(np.abs(areas))), 50) == (4, 5)
