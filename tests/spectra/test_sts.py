import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gpax_lab.core import Status
from gpax_lab.spectra import curve_fit, sts

BIAS = np.linspace(-2.0, 2.0, 201)


def conductance(lower=-0.7, upper=0.5):
    return np.where(upper < BIAS, BIAS - upper, np.where(lower > BIAS, lower - BIAS, 0.0))


def test_the_derivative_is_that_of_scipy_ends_included():
    signal = pytest.importorskip("scipy.signal")
    y = np.random.default_rng(0).normal(size=(3, 201))
    slope, _ = sts.derivative(BIAS, y, 9, 3)
    expected = signal.savgol_filter(y, 9, 3, deriv=1, delta=0.02)
    assert np.allclose(slope, expected, atol=1e-9)


def test_the_variance_of_the_derivative_is_that_of_noise():
    y = np.random.default_rng(1).normal(size=(4000, 201))
    slope, variance = sts.derivative(BIAS, y, 7, 2)
    # 4000 draws: relative error 0.022 a point, five of them over 201 points.
    assert np.abs(np.asarray(slope).var(0) / np.asarray(variance) - 1).max() < 0.11


def test_an_ohmic_junction_has_normalised_conductance_one_and_a_gap_stays_finite():
    ohmic = sts.normalized_conductance(BIAS, 3.0 * BIAS, np.full(201, 3.0), 0.2)
    assert np.allclose(ohmic, 1.0, atol=1e-5)
    g = conductance()
    current = np.cumsum(g) * 0.02
    current -= current[100]
    gapped = np.asarray(sts.normalized_conductance(BIAS, current, g, 0.5))
    assert np.isfinite(gapped).all()
    assert np.abs(gapped[80:120]).max() < 1e-9


def test_edges_lie_where_the_conductance_crosses_and_the_variance_covers():
    threshold, sigma, repeats = 0.2, 0.01, 2000
    exact = sts.gap(BIAS, conductance(), threshold, sigma)
    assert np.allclose([exact.lower, exact.upper, exact.width], [-0.9, 0.7, 1.6], atol=1e-9)
    noisy = conductance(-0.705, 0.505) + np.random.default_rng(2).normal(scale=sigma, size=(repeats, 201))
    found = sts.gap(BIAS, noisy, threshold, sigma)
    good = np.asarray(found.status) == Status.OK
    assert good.mean() > 0.97
    error = np.asarray(found.width)[good] - 1.61
    # Noise shifts a first crossing inwards by part of a deviation; each edge has one of sigma/slope times 0.7 to 1.
    assert abs(error.mean()) < 0.7 * error.std()
    assert 0.6 < error.var() / np.asarray(found.width_variance)[good].mean() < 1.6


@pytest.mark.parametrize(("height", "flagged", "most"), [(10.0, 0.01, 1.2), (5.0, 0.03, 1.2), (3.0, 0.3, 1.5)])
def test_smoothed_noise_at_a_low_threshold_is_covered_or_flagged(height, flagged, most):
    """401 points, window 11: neighbours are correlated, and spikes of the noise look like edges."""
    bias = np.linspace(-2.0, 2.0, 401)
    clean = np.cumsum(np.where(np.abs(bias) > 0.6, np.abs(bias) - 0.6, 0.0)) * 0.01
    current = clean - clean[200] + np.random.default_rng(3).normal(scale=1e-4, size=(1000, 401))
    slope, variance = sts.derivative(bias, current, 11)
    sigma = 1e-4 * float(np.sqrt(variance[200]))
    exact = sts.gap(bias, sts.derivative(bias, clean, 11)[0], height * sigma, sigma)
    found = sts.gap(bias, slope, height * sigma, sigma, window=11)
    good = np.asarray(found.status) == Status.OK
    assert 1 - good.mean() <= flagged
    z = (np.asarray(found.width) - float(exact.width))[good] / np.sqrt(np.asarray(found.width_variance)[good])
    # 1000 draws: 0.022; the slope changes over the window, which the formula does not know.
    assert 0.7 < z.std() < most
    with pytest.raises(ValueError, match="rise"):
        sts.gap(bias[::-1], slope, height * sigma, sigma)


def test_a_cold_level_is_fitted_in_single_precision():
    bias = np.linspace(-0.1, 0.1, 401, dtype=np.float32)
    width = float(sts.thermal_width(4.2))
    truth = jnp.array([1.0, 0.01, width, 0.1, 0.0], jnp.float32)
    y = jax.vmap(sts.thermal_peak, (0, None))(jnp.asarray(bias), truth)
    y = y + 0.01 * np.random.default_rng(4).normal(size=401).astype(np.float32)
    fit = curve_fit(sts.thermal_peak, jnp.asarray(bias), y, truth * jnp.array([0.8, 1.0, 1.5, 1.0, 1.0], jnp.float32))
    assert fit.status == Status.OK
    assert abs(float(fit.params[2]) - width) < 4 * float(fit.std[2])


def test_statuses_and_the_scalarizer():
    y = np.stack([conductance(), np.ones(201), np.zeros(201), conductance()])
    y[3, 4] = np.nan
    expected = [Status.OK, Status.NO_GAP, Status.OUTSIDE_RANGE, Status.BAD_INPUT]
    assert sts.gap(BIAS, y, 0.2, 0.01).status.tolist() == expected
    scalar = sts.gap_scalarizer(0.2, 0.01)
    value, variance, _ = jax.vmap(lambda row: scalar.function(BIAS, row))(jnp.asarray(y))
    assert np.isclose(value[0], 1.6)
    assert variance[0] > 0
    assert np.isnan(value[1:]).all()
    assert np.isnan(variance[1:]).all()


def test_a_thermal_peak_is_the_slope_of_the_fermi_edge():
    width = float(sts.thermal_width(4.2))
    assert np.isclose(width, 2 * 8.617333262e-5 * 4.2)
    p = jnp.array([1.0, 0.1, width, 0.0, 0.0])
    v = 0.1 + np.linspace(-1e-3, 1e-3, 5)
    fermi = 1 / (1 + np.exp((v - 0.1) * 2 / width))
    assert np.allclose([sts.thermal_peak(x, p) for x in jnp.asarray(v)], 4 * fermi * (1 - fermi))


def test_uneven_steps_are_refused():
    with pytest.raises(ValueError, match="even steps"):
        sts.derivative(BIAS**3, BIAS)
    with pytest.raises(ValueError, match="odd window"):
        sts.derivative(BIAS, BIAS, 8)
