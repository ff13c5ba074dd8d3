"""From a file to a number with its unit: load, fit, value."""

from dataclasses import replace
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import vendors

from gpax_lab.core import Status
from gpax_lab.spectra import difference, loops, peaks, ratio, sho, sts
from gpax_lab.storage import Dataset, axis, load, save

LOOP = np.array([-1.0, 2.0, 2.5, -1.5, 0.01, 0.8, 0.9, 0.9, 0.8])


def test_the_gap_of_every_pixel_of_a_nanonis_grid(tmp_path):
    """The edges lie where the conductance crosses the threshold; the bias of the file is in V, so the gap is."""
    bias = np.linspace(-1.0, 1.0, 41)
    half = np.array([[0.3, 0.4, 0.5], [0.35, 0.45, 0.55]])
    conductance = 1e-9 * np.maximum(np.abs(bias) - half[..., None] + 0.1, 0.0)
    conductance[1, 2] = np.nan
    parameters = np.stack([np.full_like(half, -1), np.full_like(half, 1), half], -1)
    place = vendors.grid(tmp_path / "a.3ds", conductance[:, :, None], parameters, ["LI X (S)"], ["X (m)"])
    found = sts.gap_scalarizer(threshold=0.1e-9, sigma=1e-12).evaluate(load(place)["LI X"])
    np.testing.assert_allclose(found.value[:, :2], 2 * half[:, :2], rtol=1e-5)
    assert found.unit == "V"
    assert found.value.shape == (2, 3)
    assert [one.name for one in found.axes] == ["y", "x"]
    assert Status.of(found.status[1, 2]) == Status.BAD_INPUT
    assert np.isnan(found.value[1, 2])
    assert np.isnan(found.std[1, 2])


def test_the_numbers_of_loops_of_a_usid_file_are_those_of_their_fit(tmp_path):
    bias = np.asarray(loops.triangle(8.0, 64))
    clean = np.asarray(loops.loop_function(bias, LOOP))
    noisy = clean + 0.02 * np.random.default_rng(1).normal(size=(6, 64))
    positions = np.array([(x, y) for y in range(2) for x in range(3)])
    vendors.usid(tmp_path / "a.h5", noisy, positions, (["DC Offset"], np.arange(64)[None], bias[None], ["V"]))
    (data,) = load(tmp_path / "a.h5").values()
    fit = loops.scalars_of_fit(loops.loop_fit(bias, np.asarray(data.values, np.float64).reshape(6, 64)), bias)
    for name, unit in (("area", f"{data.unit} V"), ("coercive_up", "V"), ("switchable", data.unit)):
        found = loops.loop_scalarizer(name).evaluate(replace(data, values=np.float64(data.values)), bias="DC Offset")
        k = loops.LoopScalars._fields.index(name)
        np.testing.assert_allclose(found.value, np.asarray(fit.params)[:, k].reshape(2, 3), rtol=1e-6)
        np.testing.assert_allclose(found.std, np.asarray(fit.std)[:, k].reshape(2, 3), rtol=1e-4)
        assert found.unit == unit
        assert (found.status == Status.OK).all()


def test_a_resonance_keeps_the_unit_of_its_file_and_serves_a_campaign_too(tmp_path):
    """kHz in, kHz out; and the scalarizer reads a measurement of the same spectrum as it reads the file."""
    frequency = np.linspace(320.0, 380.0, 64)
    response = np.asarray(sho.sho_response(frequency, sho.ShoParams(1.3, 351.0, 80.0, 0.4)))
    noise = np.random.default_rng(2).normal(scale=0.3, size=(2, 64))
    spectrum = response + noise[0] + 1j * noise[1]
    save(tmp_path / "a.h5", {"band": Dataset(spectrum, (axis("frequency", frequency, "kHz"),), "response", "pm")})
    (data,) = load(tmp_path / "a.h5").values()
    scalar = sho.sho_scalarizer("resonance")
    found = scalar.evaluate(data)
    assert found.value.shape == ()
    assert found.unit == "kHz"
    assert abs(found.value - 351.0) < 5 * found.std < 1.0
    value, variance = scalar(SimpleNamespace(arrays={"frequency": frequency, "spectrum": spectrum}))
    assert value == pytest.approx(float(found.value), rel=1e-9)
    assert variance**0.5 == pytest.approx(float(found.std), rel=1e-6)
    assert sho.sho_scalarizer("amplitude").evaluate(data).unit == "pm"


def test_numbers_join_with_their_units_and_maps_are_saved_with_them(tmp_path):
    """Counts over counts are 1, an energy less an energy is an energy; the map of a number is a data set again."""
    energy = np.arange(0.0, 40.0)
    shape = [h * np.exp(-0.5 * ((energy - c) / 1.5) ** 2) for h, c in ((300.0, 10.2), (150.0, 29.7))]
    counts = sum(shape) + 100.0 + np.random.default_rng(3).normal(size=(2, 2, 40))
    where = axis("y", [0.0, 1.0], "nm"), axis("x", [0.0, 1.0], "nm"), axis("Energy loss", energy, "eV")
    data = Dataset(counts, where, "counts", "e")
    windows = (0.0, 20.0), (20.0, 40.0)
    share = peaks.peak_ratio(windows[1], windows[0]).evaluate(data, energy="Energy loss")
    np.testing.assert_allclose(share.value, 0.5, atol=0.05)
    assert share.unit == "1"
    apart = difference(*(peaks.peak_scalarizer(window, 1) for window in windows[::-1]))
    moved = apart.evaluate(data, energy="Energy loss")
    np.testing.assert_allclose(moved.value, 19.5, atol=0.2)
    assert moved.unit == "eV"
    per_energy = ratio(peaks.peak_scalarizer(windows[0]), peaks.peak_scalarizer(windows[0], 2))
    assert per_energy.unit_of({"energy": "eV", "counts": "e"}) == "(e)/(eV)"
    save(tmp_path / "map.h5", {"apart": Dataset(moved.value, moved.axes, moved.name, moved.unit)})
    assert load(tmp_path / "map.h5")["apart"].unit == "eV"
    with pytest.raises(ValueError, match="one unit"):
        difference(peaks.peak_scalarizer(windows[0], 0), peaks.peak_scalarizer(windows[0], 1))


def test_what_does_not_belong_together_is_refused():
    bias = np.asarray(loops.triangle(8.0, 16))
    data = Dataset(np.zeros(16), (axis("Voltage", bias, "V"),), "response", "pm")
    area = loops.LOOP_AREA
    with pytest.raises(ValueError, match=r"say which is which.*bias='Voltage'"):
        area.evaluate(data)
    with pytest.raises(ValueError, match=r"the axes \['Voltage'\]; got"):
        area.evaluate(data, bias="Bias")
    with pytest.raises(ValueError, match=r"the axes \['Voltage'\]; got"):
        area.evaluate(data, energy="Voltage")
    assert area.evaluate(data, bias="Voltage").unit == "pm V"
    with pytest.raises(ValueError, match="needs that of 'bias'"):
        area.unit_of({"response": "pm"})
    with pytest.raises(ValueError, match="the numbers of a loop"):
        loops.loop_scalarizer("width")
    with pytest.raises(ValueError, match="the numbers of a resonance"):
        sho.sho_scalarizer("width")


def test_what_is_undefined_says_so_and_a_weak_number_is_the_worst_of_its_parts():
    found = loops.LOG_LOOP_AREA.function(jnp.linspace(-1.0, 1.0, 8), jnp.zeros(8))
    assert Status.of(found.status) == Status.UNDEFINED
    both = jax.vmap(Status.worst_of)(
        jnp.array([Status.OK, Status.BAD_INPUT, Status.POOR_FIT], jnp.int8),
        jnp.array([Status.POOR_FIT, Status.OK, Status.SINGULAR], jnp.int8),
    )
    assert both.tolist() == [Status.POOR_FIT, Status.BAD_INPUT, Status.SINGULAR]
    assert both.dtype == jnp.int8
