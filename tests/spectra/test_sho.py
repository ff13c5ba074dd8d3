import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

from gpax_lab.core import Status
from gpax_lab.simulators import be_spectrum
from gpax_lab.spectra._sho_start import sho_start
from gpax_lab.spectra.sho import ShoParams, sho_amplitude_fit, sho_fit, sho_response

BAND = jnp.linspace(320e3, 380e3, 64)
NOISE = 2.0  # the peak is about a hundred


def wrapped(angle):
    return (np.asarray(angle) + np.pi) % (2 * np.pi) - np.pi


def spectra(key, params, noise):
    keys = jax.random.split(key, params.shape[0])
    return jax.vmap(lambda k, p: be_spectrum(k, BAND, p[0], p[1], p[2], p[3], noise))(keys, params)


@pytest.fixture(scope="module")
def grid():
    """400 spectra: the truth, the noisy spectra and their fits."""
    dice = np.random.default_rng(0)
    ranges = ((0.5, 2.0), (335e3, 365e3), (50.0, 200.0), (-np.pi, np.pi))
    truth = jnp.array(np.stack([dice.uniform(low, high, 400) for low, high in ranges], axis=1))
    h = spectra(jax.random.key(1), truth, NOISE)
    return truth, h, sho_fit(BAND, h, NOISE)


def test_the_response_is_its_formula():
    f, p = 351e3, (1.3, 350e3, 110.0, 0.7)
    expected = p[0] * np.exp(1j * p[3]) * p[1] ** 2 / (f**2 - 1j * f * p[1] / p[2] - p[1] ** 2)
    assert complex(sho_response(f, ShoParams(*p))) == pytest.approx(expected, rel=1e-12)
    at_peak = sho_response(p[1], ShoParams(*p))
    assert complex(at_peak) == pytest.approx(1j * 1.3 * 110.0 * np.exp(0.7j), rel=1e-12)


def test_estimates_reach_the_cramer_rao_bound(grid):
    """The bound is computed in numpy from the true parameters by differences, not from the fit."""
    truth, _, found = grid
    assert np.all(np.asarray(found.status) == Status.OK)
    error = np.asarray(found.params) - np.asarray(truth)
    error[:, 3] = wrapped(error[:, 3])
    f = np.asarray(BAND)

    def curve(p):
        h = p[0] * np.exp(1j * p[3]) * p[1] ** 2 / (f**2 - 1j * f * p[1] / p[2] - p[1] ** 2)
        return np.concatenate([h.real, h.imag])

    z = []
    for p, e in zip(np.asarray(truth), error, strict=True):
        steps = np.array([1e-5, 0.1, 1e-3, 1e-5])
        slope = [(curve(p + s) - curve(p - s)) / (2 * s.max()) for s in np.diag(steps)]
        z.append(e / np.sqrt(np.diag(np.linalg.inv(np.array(slope) @ np.array(slope).T / NOISE**2))))
    spread = np.std(z, axis=0)
    # Four Monte Carlo errors of 1/sqrt(800); 20 percent were asked for.
    assert np.all(np.abs(spread - 1.0) < 4 / np.sqrt(800))
    # The same errors over both: what differs is only that the fit takes its slopes at the estimate.
    np.testing.assert_allclose(np.std(error / np.asarray(found.std), axis=0), spread, rtol=0.05)


def test_a_fit_is_that_of_scipy(grid):
    truth, h, found = grid

    def both(f, a, r, q, p):
        f = f[: f.size // 2]
        response = a * np.exp(1j * p) * r**2 / (f**2 - 1j * f * r / q - r**2)
        return np.concatenate([response.real, response.imag])

    f = np.asarray(BAND)
    for k in range(3):
        y = np.asarray(h[k])
        p, c = scipy.optimize.curve_fit(
            both, np.concatenate([f, f]), np.concatenate([y.real, y.imag]), np.asarray(truth[k]),
            np.full(128, NOISE), absolute_sigma=True, x_scale=np.array([1.0, 1e4, 100.0, 1.0]), method="trf",
            ftol=1e-14, xtol=1e-14, gtol=1e-14,
        )  # fmt: skip
        p[3] = wrapped(p[3])
        np.testing.assert_allclose(found.params[k], p, rtol=1e-6)
        np.testing.assert_allclose(found.std[k], np.sqrt(np.diag(c)), rtol=1e-4)


def test_the_whole_circle_of_phases(grid):
    phase = jnp.linspace(-np.pi, np.pi, 400)
    params = jnp.stack([jnp.full(400, 1.0), jnp.full(400, 348e3), jnp.full(400, 120.0), phase], axis=1)
    h = spectra(jax.random.key(2), params, 0.01)
    for p in (sho_start(BAND, h), sho_fit(BAND, h, NOISE).params):
        np.testing.assert_allclose(wrapped(p[:, 3] - phase), 0.0, atol=2e-3)
        np.testing.assert_allclose(p[:, :3], params[:, :3], rtol=2e-3)


def test_the_start_alone_is_exact_without_noise_and_good_with_it(grid):
    truth, h, found = grid
    clean = spectra(jax.random.key(3), truth, 0.0)
    start = np.asarray(sho_start(BAND, clean))
    np.testing.assert_allclose(start[:, :3], truth[:, :3], rtol=1e-8)
    np.testing.assert_allclose(wrapped(start[:, 3] - np.asarray(truth[:, 3])), 0.0, atol=1e-8)
    z = (np.asarray(sho_start(BAND, h)) - np.asarray(truth))[:, :3] / np.asarray(found.std)[:, :3]
    # Nearly that of least squares: 1.05 at most, and four Monte Carlo errors of 1/sqrt(800).
    assert np.all(np.std(z, axis=0) < 1.05 + 4 / np.sqrt(800))


def test_statuses_of_spectra_that_hold_no_answer(grid):
    _, h, _ = grid
    outside = be_spectrum(jax.random.key(4), BAND, 1.0, 395e3, 100.0, 0.5, 0.01)
    noise = be_spectrum(jax.random.key(5), BAND, 0.0, 350e3, 100.0, 0.5, 1.0)
    few = h[0].at[2:].set(jnp.nan)
    some = h[0].at[::5].set(jnp.nan)
    keys = jax.random.split(jax.random.key(6), 396)
    nothing = jax.vmap(lambda k: be_spectrum(k, BAND, 0.0, 350e3, 100.0, 0.5, NOISE))(keys)
    found = sho_fit(BAND, jnp.concatenate([jnp.stack([outside, few, some, noise]), nothing]), NOISE)
    assert np.mean(np.asarray(found.status[3:]) == Status.OK) < 0.01
    assert [int(k) for k in found.status[:3]] == [Status.OUTSIDE_RANGE, Status.BAD_INPUT, Status.OK]
    assert float(found.params[0, 1]) == pytest.approx(395e3, rel=1e-3)


def test_two_modes_in_one_band_are_no_good_fit_and_one_mode_is(grid):
    """Second modes near and far, strong and faint, broad and of one bin; all bands padded to the size of the grid."""
    _, h, _ = grid
    second = [
        (a, f, q, p) for a in (0.4, 1.0) for f in (353e3, 356e3, 364e3) for q in (150.0, 600.0) for p in (0.5, 2.0)
    ]
    one = sho_response(BAND, ShoParams(1.0, 348e3, 200.0, 0.5))
    two = jnp.stack([one + sho_response(BAND, ShoParams(*m)) for m in second])
    noise = np.random.default_rng(5).normal(size=(2, len(second), 64))
    two = two + NOISE * jnp.array(noise[0] + 1j * noise[1])
    codes = np.asarray(sho_fit(BAND, jnp.concatenate([two, h[len(second) :]])).status)
    assert np.mean(codes[: len(second)] != Status.OK) > 0.95
    assert np.mean(codes[len(second) :] == Status.OK) > 0.99
    rough = h + 15.0 * jnp.array(np.random.default_rng(6).normal(size=(2, 400, 64)).T @ np.array([1, 1j])).T
    assert np.mean(np.asarray(sho_fit(BAND, rough).status) == Status.OK) > 0.97, "noise is no second mode"
    sizes = np.asarray(sho_amplitude_fit(BAND, jnp.abs(jnp.concatenate([two, h[len(second) :]]))).status)
    assert np.mean(sizes[: len(second)] != Status.OK) > 0.75  # without phases two modes look more like one
    assert np.mean(sizes[len(second) :] == Status.OK) > 0.99
    torn = h.at[:, 20].add(60.0)
    assert np.mean(np.asarray(sho_fit(BAND, torn, huber=1.345).status) == Status.OK) > 0.95


def test_amplitudes_alone_give_three_of_the_four(grid):
    truth, h, _ = grid
    clean = spectra(jax.random.key(3), truth, 0.0)
    exact = sho_amplitude_fit(BAND, jnp.abs(clean))
    np.testing.assert_allclose(exact.params, truth[:, :3], rtol=1e-6)
    found = sho_amplitude_fit(BAND, jnp.abs(h))
    assert np.mean(np.asarray(found.status) == Status.OK) > 0.99
    z = (np.asarray(found.params) - np.asarray(truth)[:, :3]) / np.asarray(found.std)
    # The median size of n normal numbers is known to 1.17/sqrt(n) of itself; 0.05 more, for amplitudes are Rician.
    assert np.all(np.abs(np.median(np.abs(z), axis=0) / 0.6745 - 1.0) < 4 * 1.17 / np.sqrt(400) + 0.05)


def test_float32_is_good_to_a_hundredth_of_a_standard_deviation_or_so(grid):
    _truth, h, found = grid
    single = sho_fit(BAND.astype(jnp.float32), h.astype(jnp.complex64), NOISE)
    assert single.params.dtype == jnp.float32
    assert np.mean(np.asarray(single.status) == Status.OK) > 0.99
    error = np.abs(np.asarray(single.params) - np.asarray(found.params))[:, :3] / np.asarray(found.std)[:, :3]
    assert np.quantile(error, 0.99) < 0.1


def test_wrong_kinds_of_spectra_are_refused():
    with pytest.raises(ValueError, match="sho_amplitude_fit"):
        sho_fit(BAND, jnp.ones(64))
    with pytest.raises(ValueError, match="frequency must be"):
        sho_fit(BAND[:-1], jnp.ones(64) + 0j)


def test_a_mode_beside_another_and_a_saturated_amplifier_leave_no_good_fit(grid):
    """The second mode 5 kHz beside the first leaves a hundredth of the variance; the height is cut at half the peak."""
    _, h, _ = grid
    dice = np.random.default_rng(8).normal(size=(2, 400, 64))
    noise = jnp.array(dice[0] + 1j * dice[1])
    one = sho_response(BAND, ShoParams(1.0, 350e3, 150.0, 0.7))
    beside = jnp.stack([one + sho_response(BAND, ShoParams(a, 355e3, 150.0, -0.7)) for a in (0.1, 0.2, 0.3, 0.5)])
    cut = one * jnp.minimum(1.0, 80.0 / jnp.abs(one))
    wrong = jnp.concatenate([jnp.repeat(beside, 50, axis=0), jnp.repeat(cut[None], 200, axis=0)]) + 0.5 * noise
    for sigma in (None, 0.5):
        assert np.mean(np.asarray(sho_fit(BAND, wrong, sigma).status) == Status.OK) < 0.01
    assert np.mean(np.asarray(sho_fit(BAND, h).status) == Status.OK) > 0.99
    # Less is in the errors: chi^2 of a second mode too faint and too near to be refused is not hidden by sigma.
    faint = (one + sho_response(BAND, ShoParams(0.03, 352e3, 150.0, -0.7)))[None] + 0.1 * noise
    known, unknown = sho_fit(BAND, faint, 0.1), sho_fit(BAND, faint)
    assert np.all(np.asarray(known.std) > 0.9 * np.asarray(unknown.std))
