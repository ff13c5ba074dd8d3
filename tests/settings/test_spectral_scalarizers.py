"""Numbers of spectroscopy that settings choose: what a line of TOML makes of a measurement of its instrument."""

import tomllib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gpax_instruments.drivers import STEM, Nanonis
from gpax_instruments.twins import _tunnelling as tunnelling
from gpax_instruments.twins import start_nanonis, start_stem
from gpax_instruments.twins._nanonis_world import RANGE_M

from gpax_lab.core import Axis, Measurement
from gpax_lab.settings import SettingsError, build, parse
from gpax_lab.settings._quantity import check_arrays, quantity_of, scalarizer_of
from gpax_lab.simulators import stem_sample
from gpax_lab.spectra import edx, eels, loops, peaks


def chosen(text):
    """The section [quantity] of a settings file."""
    table = {"campaign": {"steps": 3}, "instrument": {"kind": "twin"}, "quantity": tomllib.loads(text)}
    return parse(table).quantity


def read(section, measurement):
    """Value, standard deviation and unit."""
    check_arrays(section, tuple(measurement.arrays))
    value, variance = scalarizer_of(section)(measurement)
    return value, variance**0.5, quantity_of(section, measurement.units)["unit"]


def good(arrays, units):
    """A good measurement."""
    return Measurement(arrays, units, np.zeros(2), True, "", ())


@pytest.fixture(scope="module")
def tunnelled():
    """A spectrum of a Nanonis controller, and what the film has there: the gap in V, and a conductance in A/V."""
    axes, where = [Axis(n, "m", -9e-7, 9e-7, tolerance=1e-9) for n in ("x", "y")], np.array([2e-7, -3e-7])
    options = {"channels": ("Current", "LI Demod 1 X (A)"), "lockin_amplitude": 0.01, "sweep": (1.5, -1.5)}
    options |= {"bias": 1.2, "setpoint": 1e-10, "points": 301, "timeout_s": 20.0}
    with start_nanonis(seed=1) as twin, Nanonis(twin.address, axes, **options) as scope:
        measurement = scope.measure(where, "spectrum")
    site = tunnelling.Surface(1, RANGE_M[0]).sites(measurement.position[None])
    scale = tunnelling.CONTACT_S * np.exp(-2 * tunnelling.KAPPA * tunnelling.height_for(site.gap[0], 1.2, 1e-10))
    return measurement, tunnelling.gap_width(site.gap[0], 0.5), scale


def test_the_gap_of_a_spectrum_of_a_nanonis_controller(tunnelled):
    measurement, truth, scale = tunnelled
    assert measurement.arrays["bias"][0] > measurement.arrays["bias"][-1]  # swept downwards
    noise = 0.002 * float(np.max(measurement.arrays["conductance"]))
    text = f'scalarizer = "gap"\nthreshold = {0.5 * scale:e}\nsigma = {noise:e}\n'
    value, std, unit = read(chosen(text), measurement)
    assert unit == "V"
    assert abs(value - truth) < 4 * std + 2e-3
    assert 0 < std < 0.02
    slope = np.gradient(measurement.arrays["current"], measurement.arrays["bias"])  # its noise, for the same edges
    inside = np.abs(measurement.arrays["bias"]) < 0.4 * truth
    derived = f"derive = true\nwindow = 11\nthreshold = {0.5 * scale:e}\nsigma = {np.std(slope[inside]):e}\n"
    found = read(chosen(f'scalarizer = "gap"\n{derived}'), measurement)
    assert found[2] == "V"
    assert abs(found[0] - truth) < 4 * found[1] + 0.02  # half of the window, over which the edges are smoothed


def test_the_height_of_a_state_in_a_spectrum_of_a_nanonis_controller(tunnelled):
    measurement, gap, _ = tunnelled
    state = 0.5 * gap + tunnelling.STATES[0][0]
    window = [round(state - 0.12, 3), round(state + 0.12, 3)]
    text = f'scalarizer = "peak"\nwindow = {window}\nnumber = "centre"\naxis = "bias"\narray = "conductance"\n'
    value, std, unit = read(chosen(text), measurement)
    assert unit == "V"
    assert abs(value - state) < 4 * std + 5e-3
    assert quantity_of(chosen(text.replace("centre", "height")), measurement.units)["unit"] == "A/V"


@pytest.fixture(scope="module")
def lost():
    """An energy-loss spectrum of a microscope, with its unit and names."""
    axes = [Axis(n, "m", 0.0, 1e-7, tolerance=1e-10, settle_s=0.0) for n in ("x", "y")]
    particle = np.asarray(stem_sample.specimen(jax.random.key(1)).centre[0])  # a share of the field of view
    with start_stem(seed=1) as twin, STEM(twin.address, axes) as scope:
        yield scope.measure(1e-7 * particle, "spectrum")


def test_the_counts_of_an_edge_of_an_energy_loss_spectrum(lost):
    text = 'scalarizer = "edge"\nfit_window = [400.0, 450.0]\nwindow = [456.0, 500.0]\nmethod = "poisson"\n'
    value, std, unit = read(chosen(text), lost)
    energy, counts = (lost.arrays[name].astype(float) for name in ("energy", "counts"))
    same = eels.edge(energy, counts, (400.0, 450.0), (456.0, 500.0), "poisson")
    assert unit == "1"
    assert value == pytest.approx(float(same.counts), rel=1e-9)
    assert std == pytest.approx(float(same.variance) ** 0.5, rel=1e-9)
    assert value > 4 * std  # of the titanium of the particle
    with pytest.raises(SettingsError, match="takes spectrum"):
        check_arrays(chosen(f'{text}array = "spectrum"'), tuple(lost.arrays))


def test_a_peak_of_counts_has_their_unit_and_that_of_the_axis():
    energy = jnp.linspace(10.0, 30.0, 201)
    counts = jax.vmap(lambda e: peaks.gaussian(e, jnp.array([500.0, 21.0, 4.0, 20.0, 0.0])))(energy)
    measurement = good({"energy": np.asarray(energy), "counts": np.asarray(counts)}, {"energy": "eV", "counts": "1"})
    for number, truth, unit in (("height", 500.0, "1"), ("centre", 21.0, "eV"), ("width", 4.0, "eV")):
        found = read(
            chosen(f'scalarizer = "peak"\nwindow = [12.0, 29.0]\nnumber = "{number}"\ngain = 1.0'), measurement
        )
        assert found[0] == pytest.approx(truth, rel=1e-3)
        assert found[1] > 0
        assert found[2] == unit


def test_a_number_of_a_fitted_loop():
    bias = loops.triangle(8.0, 64)
    loop = loops.loop_function(bias, jnp.array([-1.0, 2.0, 2.5, -2.5, 0.01, 0.8, 0.9, 0.9, 0.8]))
    measurement = good({"bias": np.asarray(bias), "response": np.array(loop)}, {"bias": "V", "response": "pm"})
    value, _, unit = read(chosen('scalarizer = "loop"\nnumber = "coercive_up"'), measurement)
    assert (round(value, 3), unit) == (2.544, "V")
    assert read(chosen('scalarizer = "loop"\nnumber = "switchable"'), measurement)[2] == "pm"
    measurement.arrays["response"][20] = 1e3
    assert np.isnan(read(chosen('scalarizer = "loop"\nnumber = "area"\nreject_above = 100.0'), measurement)[0])
    mended = read(chosen('scalarizer = "loop"\nnumber = "coercive_up"\ndespike = true'), measurement)
    assert mended[0] == pytest.approx(2.544, abs=0.02)


@pytest.mark.parametrize("unit", ["keV", "eV"])
def test_the_counts_of_an_element_in_an_x_ray_spectrum(unit):
    energy, size = np.linspace(0.2, 9.2, 901), {"keV": 1.0, "eV": 1e3}[unit]
    parts = edx.shapes(energy, {name: edx.LINES[name] for name in ("Fe K", "Mn K")}, 0.13, 4)
    expected = jnp.array([4000.0, 1000.0, 2000.0, 2000.0, 2000.0, 2000.0]) @ parts
    counts = np.asarray(jax.random.poisson(jax.random.key(0), expected), float)
    measurement = good({"energy": energy * size, "counts": counts}, {"energy": unit, "counts": "1"})
    text = f'scalarizer = "line"\nelement = "Fe K"\nothers = ["Mn K"]\nunit_of_energy = "{unit}"'
    value, std, its = read(chosen(text), measurement)
    assert its == "1"
    assert abs(value - 4000.0) < 4 * std
    assert std == pytest.approx(4000.0**0.5, rel=0.3)
    assert quantity_of(chosen(text), {})["name"] == "counts of Fe K"


def built(text):
    """What `gpax-lab settings` does with a file."""
    return build(parse({"campaign": {"steps": 3}, "instrument": {"kind": "twin"}, "quantity": tomllib.loads(text)}))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('scalarizer = "line"\nelement = "Fe"', "not known; there are"),
        ('scalarizer = "edge"\nwindow = [456.0, 500.0]', "fit_window is missing"),
        ('scalarizer = "loop"\nnumber = "areas"', 'Did you mean "area"'),
        ('scalarizer = "peak"\nwindow = [1.0]', "window"),
        ('scalarizer = "gap"\nthreshold = 1.0', "sigma is missing"),
    ],
)
def test_what_is_wrong_is_told_before_anything_is_measured(text, words):
    with pytest.raises(SettingsError, match=words):
        built(text)
