import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

from gpax_lab.core import Status
from gpax_lab.spectra import curve_fit, transformed

X = jnp.linspace(-4.0, 4.0, 60)
TRUTH = jnp.array([2.0, 0.5, 0.8, 0.3])
START = jnp.array([1.5, 0.0, 1.2, 0.0])


def peak(x, p):
    """A Gaussian on a constant."""
    return p[0] * jnp.exp(-0.5 * ((x - p[1]) / p[2]) ** 2) + p[3]


def wave(x, p):
    return (p[0] + 1j * p[1]) * jnp.exp(1j * p[2] * x)


def line(x, p):
    return p[0] + p[1] * x


def twice(x, p):
    """Only the sum of two parameters shows."""
    return (p[0] + p[1]) * x


def in_numpy(x, a, b, c, d):
    return a * np.exp(-0.5 * ((x - b) / c) ** 2) + d


@pytest.fixture(scope="module")
def spectra():
    noise = jax.random.normal(jax.random.key(0), (6, X.size))
    return jax.vmap(lambda e: jax.vmap(lambda x: peak(x, TRUTH))(X) + 0.05 * e)(noise)


@pytest.mark.parametrize("sigma", [None, 0.05])
def test_parameters_and_covariance_are_those_of_scipy(spectra, sigma):
    found = curve_fit(peak, X, spectra, START, sigma)
    for k, y in enumerate(np.asarray(spectra)):
        known = {} if sigma is None else {"sigma": np.full(X.size, sigma), "absolute_sigma": True}
        p, c = scipy.optimize.curve_fit(in_numpy, np.asarray(X), y, START, ftol=1e-14, xtol=1e-14, gtol=1e-14, **known)
        np.testing.assert_allclose(found.params[k], p, rtol=1e-6, atol=1e-6)
        scale = np.sqrt(np.outer(np.diag(c), np.diag(c)))
        np.testing.assert_allclose(found.covariance[k] / scale, c / scale, atol=1e-4)
        residual = y - in_numpy(np.asarray(X), *p)
        assert float(found.r_squared[k]) == pytest.approx(1 - residual.var() * 60 / (y.var() * 60), rel=1e-3)
        assert float(found.chi_square[k]) == pytest.approx(np.sum((residual / (sigma or 1.0)) ** 2) / 56, rel=1e-6)
    assert bool(jnp.all(found.status == Status.OK))
    np.testing.assert_allclose(found.std, np.sqrt(np.diagonal(found.covariance, axis1=1, axis2=2)))


def test_a_batch_is_its_members_whatever_the_chunk(spectra):
    whole = curve_fit(peak, X, spectra.reshape(2, 3, -1), START, 0.05)
    mapped = jax.vmap(lambda y: curve_fit(peak, X, y, START, 0.05))(spectra)
    chunked = curve_fit(peak, X, spectra, START, 0.05, chunk=4)
    for k in range(6):
        one = curve_fit(peak, X, spectra[k], START, 0.05)
        for found in (jax.tree.map(lambda a: a.reshape(6, *a.shape[2:]), whole), mapped, chunked):
            jax.tree.map(lambda a, b, k=k: np.testing.assert_allclose(a[k], b, rtol=1e-7, atol=1e-9), found, one)


def test_complex_residuals_and_missing_bins():
    truth = jnp.array([1.0, -2.0, 0.7])
    clean = jax.vmap(lambda x: wave(x, truth))(X)
    noise = jax.random.normal(jax.random.key(1), (2, X.size))
    y = (clean + 0.1 * jax.lax.complex(noise[0], noise[1])).at[jnp.array([3, 40])].set(jnp.nan)
    found = curve_fit(wave, X, y, jnp.array([0.5, -1.5, 0.6]), 0.1)
    keep = np.isfinite(np.asarray(y))
    x, z = np.asarray(X)[keep], np.asarray(y)[keep]

    def both(x, a, b, c):
        h = (a + 1j * b) * np.exp(1j * c * x[: x.size // 2])
        return np.concatenate([h.real, h.imag])

    stacked, sigma = np.concatenate([z.real, z.imag]), np.full(2 * x.size, 0.1)
    p, c = scipy.optimize.curve_fit(both, np.concatenate([x, x]), stacked, truth, sigma, absolute_sigma=True)
    np.testing.assert_allclose(found.params, p, atol=1e-6)
    np.testing.assert_allclose(found.covariance, c, rtol=1e-4, atol=1e-8)
    assert int(found.status) == Status.OK


def test_standard_deviations_are_true():
    """400 spectra: the spread of the estimates over the stated one is 1 within four Monte Carlo errors."""
    noise = jax.random.normal(jax.random.key(2), (400, X.size))
    y = jax.vmap(lambda x: peak(x, TRUTH))(X)[None] + 0.05 * noise
    found = curve_fit(peak, X, y, START, 0.05)
    z = (np.asarray(found.params) - np.asarray(TRUTH)) / np.asarray(found.std)
    assert np.all(np.abs(z.std(axis=0) - 1.0) < 4 / np.sqrt(2 * 400))
    assert np.all(np.abs(z.mean(axis=0)) < 4 / np.sqrt(400))
    assert abs(float(found.chi_square.mean()) - 1.0) < 4 * np.sqrt(2 / 56 / 400)


def test_several_starts_keep_the_best(spectra):
    far = jnp.array([1.0, 60.0, 0.5, 0.0])
    assert float(curve_fit(peak, X, spectra[0], far, 0.05).r_squared) < 0.1
    both = curve_fit(peak, X, spectra[0], [far, START], 0.05)
    np.testing.assert_allclose(both.params, curve_fit(peak, X, spectra[0], START, 0.05).params, rtol=1e-7)


def test_a_bound_holds_and_is_flagged():
    y = 1.0 + 2.0 * X + 0.1 * jax.random.normal(jax.random.key(3), X.shape)
    found = curve_fit(line, X, y, jnp.array([0.0, 0.0]), upper=jnp.array([jnp.inf, 1.5]))
    assert int(found.status) == Status.AT_BOUND
    assert float(found.params[1]) == 1.5
    assert float(found.std[1]) == 0.0
    assert float(found.params[0]) == pytest.approx(float(jnp.mean(y - 1.5 * X)), abs=1e-6)
    inside = curve_fit(line, X, y, jnp.array([0.0, 0.0]), upper=jnp.array([jnp.inf, 5.0]))
    np.testing.assert_allclose(inside.params, np.polyfit(X, y, 1)[::-1], atol=1e-6)
    assert int(inside.status) == Status.OK


def test_every_status_can_be_raised(spectra):
    y, start = jnp.broadcast_to(spectra[0], (6, X.size)), jnp.broadcast_to(START, (6, 4))
    y = y.at[1].set(jnp.nan).at[2, 4:].set(jnp.nan)
    codes = curve_fit(peak, X, y, start.at[3, 2].set(jnp.nan)).status
    assert codes.tolist() == [Status.OK] + 3 * [Status.BAD_INPUT] + 2 * [Status.OK]
    assert int(curve_fit(twice, X, 3.0 * X, jnp.array([1.0, 1.0])).status) == Status.SINGULAR
    assert set(curve_fit(peak, X, spectra, START, max_steps=2).status.tolist()) == {Status.NOT_CONVERGED}
    noise = jax.random.normal(jax.random.key(4), X.shape)
    assert int(curve_fit(line, X, noise, jnp.zeros(2), least_r_squared=0.5).status) == Status.POOR_FIT
    assert all(status.describe() for status in Status)


def test_failed_fits_are_nan_and_do_not_touch_their_neighbours(spectra):
    bad = spectra.at[2].set(jnp.nan)
    found, clean = curve_fit(peak, X, bad, START), curve_fit(peak, X, spectra, START)
    assert bool(jnp.all(jnp.isnan(found.params[2])))
    assert bool(jnp.all(jnp.isnan(found.std[2])))
    others = jnp.array([0, 1, 3, 4, 5])
    np.testing.assert_allclose(found.params[others], clean.params[others], rtol=1e-9)


def test_huber_ignores_spikes_and_states_its_error():
    noise = jax.random.normal(jax.random.key(5), (400, X.size))
    y = jax.vmap(lambda x: peak(x, TRUTH))(X)[None] + 0.05 * noise
    torn = y.at[:, 20].add(30.0).at[:, 41].add(-50.0)
    found = curve_fit(peak, X, torn, START, huber=1.345)
    z = (np.asarray(found.params) - np.asarray(TRUTH)) / np.asarray(found.std)
    assert np.all(np.abs(z.std(axis=0) - 1.0) < 0.25)  # the covariance is asymptotic and two of sixty points are torn
    assert float(jnp.mean(found.status == Status.OK)) > 0.95
    plain = curve_fit(peak, X, torn, START, 0.05)
    assert float(jnp.median(jnp.abs(plain.params - TRUTH[None]))) > 5 * float(
        jnp.median(jnp.abs(found.params - TRUTH[None]))
    )


def test_huber_with_known_noise_is_least_squares_for_a_wide_limit(spectra):
    wide = curve_fit(peak, X, spectra, START, 0.05, huber=50.0)
    np.testing.assert_allclose(wide.params, curve_fit(peak, X, spectra, START, 0.05).params, rtol=1e-6)


def test_float32_stays_and_agrees(spectra):
    single = curve_fit(peak, X.astype(jnp.float32), spectra.astype(jnp.float32), START, 0.05)
    double = curve_fit(peak, X, spectra, START, 0.05)
    assert single.params.dtype == single.covariance.dtype == jnp.float32
    assert bool(jnp.all(single.status == Status.OK))
    assert float(jnp.max(jnp.abs(single.params - double.params) / double.std)) < 0.02


def test_the_unit_of_y_does_not_matter(spectra):
    small = curve_fit(peak, X, 1e-12 * spectra, START * jnp.array([1e-12, 1.0, 1.0, 1e-12]))
    plain = curve_fit(peak, X, spectra, START)
    np.testing.assert_allclose(small.params[:, 1:3], plain.params[:, 1:3], rtol=1e-6)
    np.testing.assert_allclose(small.chi_square, 1e-24 * plain.chi_square, rtol=1e-6)


def test_a_closed_form_jacobian_changes_nothing(spectra):
    def slopes(x, p):
        z = (x - p[1]) / p[2]
        bell = jnp.exp(-0.5 * z**2)
        return bell, p[0] * bell * z / p[2], p[0] * bell * z**2 / p[2], jnp.ones_like(bell)

    found, given = curve_fit(peak, X, spectra, START), curve_fit(peak, X, spectra, START, jac=slopes)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-12), found, given)


def test_one_trace_for_many_batches(spectra):
    traces = []

    def counted(x, p):
        traces.append(1)
        return peak(x, p)

    curve_fit(counted, X, spectra, START)
    first = len(traces)
    for k in range(3):
        curve_fit(counted, X, spectra + 0.01 * k, START + 0.01 * k)
    assert len(traces) == first


def test_transformed_propagates_by_the_delta_method(spectra):
    found = curve_fit(peak, X, spectra, START)
    area = transformed(found, lambda p: jnp.stack([p[0] * p[2]]))
    slope = np.stack([np.asarray(found.params)[:, 2], np.zeros(6), np.asarray(found.params)[:, 0], np.zeros(6)], axis=1)
    expected = np.einsum("ki,kij,kj->k", slope, np.asarray(found.covariance), slope)
    np.testing.assert_allclose(area.covariance[:, 0, 0], expected, rtol=1e-10)
    np.testing.assert_allclose(area.std[:, 0] ** 2, expected, rtol=1e-10)


def test_wrong_shapes_say_what_to_do(spectra):
    with pytest.raises(ValueError, match="leading axis"):
        curve_fit(peak, X[:-1], spectra, START)
    with pytest.raises(ValueError, match="start must be"):
        curve_fit(peak, X, spectra, jnp.zeros((3, 4)))
    with pytest.raises(ValueError, match="measure more points"):
        curve_fit(peak, X[:4], spectra[:, :4], START)
    with pytest.raises(ValueError, match="one value per parameter"):
        curve_fit(peak, X, spectra, START, lower=jnp.zeros(3))
