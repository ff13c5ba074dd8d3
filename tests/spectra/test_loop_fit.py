import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
from scipy.special import erf

from gpax_lab.core import Status
from gpax_lab.spectra._loop import rising
from gpax_lab.spectra._loop_start import loop_start
from gpax_lab.spectra._scalarizer import Scalarizer
from gpax_lab.spectra.loops import LoopScalars, loop_fit, loop_function, loop_scalars, on_off, scalars_of_fit, triangle

BIAS = triangle(8.0, 64)
NOISE = 0.02
COUNT = 400


@pytest.fixture(scope="module")
def loops():
    """Truth (400, 9), noisy loops and their fits."""
    dice = np.random.default_rng(0)
    low = [-1.2, 1.8, 1.5, -3.0, 0.0, 0.5, 0.5, 0.5, 0.5]
    high = [-0.8, 2.2, 3.0, -1.5, 0.03, 1.2, 1.2, 1.2, 1.2]
    truth = jnp.array(dice.uniform(low, high, (COUNT, 9)))
    clean = jax.vmap(lambda p: loop_function(BIAS, p))(truth)
    noisy = clean + NOISE * jax.random.normal(jax.random.key(1), clean.shape)
    return truth, noisy, loop_fit(BIAS, noisy, NOISE)


def test_all_nine_parameters_at_the_cramer_rao_bound(loops):
    truth, _, found = loops
    assert np.mean(np.asarray(found.status) == Status.OK) > 0.99
    good = np.asarray(found.status) == Status.OK
    z = ((np.asarray(found.params) - np.asarray(truth)) / np.asarray(found.std))[good]
    assert np.all(np.abs(z.std(axis=0) - 1.0) < 4 / np.sqrt(2 * COUNT))
    slope = jax.vmap(jax.jacfwd(lambda p: loop_function(BIAS, p)))(truth)
    bound = np.linalg.inv(np.einsum("kni,knj->kij", slope, slope)) * NOISE**2
    efficiency = (np.asarray(found.params) - np.asarray(truth)) / np.sqrt(np.diagonal(bound, axis1=1, axis2=2))
    # Four Monte Carlo errors, and 2 percent for what is not linear.
    assert np.all(np.abs(efficiency[good].std(axis=0) - 1.0) < 0.02 + 4 / np.sqrt(2 * COUNT))


def test_the_fit_is_that_of_scipy(loops):
    truth, noisy, found = loops
    up = np.asarray(rising(BIAS))

    def curve(v, a0, a1, a2, a3, a4, b0, b1, b2, b3):
        c, p, q = np.where(up, a2, a3), np.where(up, b0, b2), np.where(up, b1, b3)
        g = (q - p) / 2 * (erf((v - c) * 1000) + 1) + p
        return a0 + a1 * (g * erf((v - c) / g) + p) / (p + q) + a4 * v

    for k in range(3):
        p, c = scipy.optimize.curve_fit(
            curve, np.asarray(BIAS), np.asarray(noisy[k]), np.asarray(truth[k]), np.full(64, NOISE),
            absolute_sigma=True, ftol=1e-14, xtol=1e-14, gtol=1e-14,
        )  # fmt: skip
        np.testing.assert_allclose((found.params[k] - p) / np.sqrt(np.diag(c)), 0.0, atol=1e-3)
        np.testing.assert_allclose(found.std[k], np.sqrt(np.diag(c)), rtol=1e-3)


def test_the_start_is_near_enough(loops):
    truth, noisy, _ = loops
    start = np.asarray(loop_start(BIAS, noisy))
    assert np.all(np.abs(start[:, 2:4] - np.asarray(truth)[:, 2:4]) < 1.2)  # the trial biases are 1.3 V apart
    assert np.all(np.abs(start[:, 1] / np.asarray(truth)[:, 1] - 1) < 0.5)


def test_derived_numbers_have_true_errors(loops):
    truth, _, found = loops
    derived = scalars_of_fit(found, BIAS)
    true = np.asarray(jax.vmap(lambda p: loop_scalars(p, BIAS))(truth))
    good = np.asarray(found.status) == Status.OK
    z = ((np.asarray(derived.params) - true) / np.asarray(derived.std))[good]
    assert np.all(np.abs(z.std(axis=0) - 1.0) < 4 / np.sqrt(2 * COUNT))


def test_derived_numbers_are_what_their_names_say():
    p = jnp.array([-1.0, 2.0, 2.5, -2.0, 0.0, 0.5, 0.9, 0.7, 0.6])
    found = LoopScalars(*np.asarray(loop_scalars(p, BIAS)))
    fine = jnp.linspace(-8.0, 8.0, 160001)
    share = {up: (np.asarray(loop_function(fine, p, jnp.full(fine.shape, up))) + 1.0) / 2.0 for up in (True, False)}
    at = {(up, s): np.asarray(fine)[np.argmax(share[up] >= s)] for up in (True, False) for s in (0.03, 0.5, 0.97)}
    assert found.coercive_up == pytest.approx(at[True, 0.5], abs=2e-4)
    assert found.coercive_down == pytest.approx(at[False, 0.5], abs=2e-4)
    assert found.nucleation_up == pytest.approx(at[True, 0.03], abs=2e-4)
    assert found.nucleation_down == pytest.approx(at[False, 0.97], abs=2e-4)
    assert found.imprint == pytest.approx(0.5 * (found.coercive_up + found.coercive_down), abs=1e-12)
    zero = {up: 2.0 * share[up][80000] - 1.0 for up in (True, False)}
    assert found.remanence_up == pytest.approx(zero[True], abs=1e-6)
    assert found.switchable == pytest.approx(zero[False] - zero[True], abs=1e-6)
    between = -np.trapezoid(2 * (share[False] - share[True]), np.asarray(fine))
    assert found.area == pytest.approx(between, rel=2e-2)  # the measured sweep has steps of half a volt


def test_spikes_are_survived_by_huber_and_by_repair(loops):
    truth, noisy, _ = loops
    torn = noisy.at[:, 10].add(100.0).at[:, 27].add(-60.0)
    for options in ({"huber": 1.345}, {"repair": True}):
        found = loop_fit(BIAS, torn, **options)
        good = np.asarray(found.status) == Status.OK
        z = np.abs(np.asarray(found.params) - np.asarray(truth))[good] / np.asarray(found.std)[good]
        assert good.mean() > 0.99
        # 0.6745 for normal errors, known to 1.17/sqrt(n) of itself; a twentieth more for the two measurements lost.
        assert np.all(np.median(z, axis=0) < 0.6745 * (1.05 + 4 * 1.17 / np.sqrt(COUNT)))


def test_a_spike_within_the_switch_is_rejected_in_most_loops(loops):
    """At -2.5 V few other measurements check the curve: a pull that only stops growing would bend half of the loops."""
    _, noisy, _ = loops
    torn = loop_fit(BIAS, noisy.at[:, 37].add(-60.0), huber=1.345)
    missing = loop_fit(BIAS, noisy.at[:, 37].set(jnp.nan))
    assert np.mean(np.asarray(missing.status) == Status.OK) > 0.97
    share = np.mean(np.asarray(torn.status) == Status.OK)
    assert share > 0.87 - 4 * np.sqrt(0.87 * 0.13 / COUNT)  # the others stay bent to a sharp corner, and say so
    good = (np.asarray(torn.status) == Status.OK) & (np.asarray(missing.status) == Status.OK)
    away = np.abs(np.asarray(torn.params) - np.asarray(missing.params))[good] / np.asarray(missing.std)[good]
    assert np.quantile(away.max(axis=1), 0.9) < 1.0  # the weights differ, so the estimates do by part of an sd


def test_a_switch_within_one_step_is_called_unresolved_and_noise_poor(loops):
    sharp = jnp.array([-1.0, 2.0, 2.11, -1.93, 0.0, 0.01, 0.01, 0.01, 0.01])
    stack = jnp.stack([loop_function(BIAS, sharp), jnp.zeros(64), jnp.zeros(64)])
    stack = stack + 0.01 * jax.random.normal(jax.random.key(3), stack.shape)
    stack = stack.at[2].set(jnp.nan)
    found = loop_fit(BIAS, jnp.concatenate([stack, loops[1][3:]]))
    assert int(found.status[0]) == Status.UNRESOLVED
    assert int(found.status[2]) == Status.BAD_INPUT
    assert int(found.status[1]) not in (Status.OK, Status.UNRESOLVED)
    derived = LoopScalars(*loop_scalars(found.params[0], BIAS))
    assert derived.coercive_up == pytest.approx(2.11, abs=0.5)
    assert derived.imprint == pytest.approx(0.09, abs=0.4)


def test_numbers_are_judged_by_themselves_and_not_by_the_parameters(loops):
    """Sharp corners, switches at the end of the sweep and beyond, and loops in noise, all in one batch of 400."""
    dice = np.random.default_rng(9)
    truth = np.array(loops[0])
    truth[:100, 5:] = dice.uniform(0.01, 0.1, (100, 4))
    truth[100:200, 2] = dice.uniform(6.0, 9.0, 100)
    truth[100:200, 3] = dice.uniform(-9.0, -6.0, 100)
    truth[200:300, 5:] *= 3.0
    noise = np.full(COUNT, 0.05)
    noise[300:] = dice.uniform(0.3, 1.5, 100)
    clean = np.asarray(jax.vmap(lambda p: loop_function(BIAS, p))(truth))
    seen = clean + noise[:, None] * dice.normal(size=clean.shape)
    fit = loop_fit(BIAS, seen)
    assert np.mean(np.asarray(fit.status)[:200] == Status.OK) < 0.3, "as fits they are refused"
    found = scalars_of_fit(fit, BIAS)
    assert found.status.shape == (COUNT, 9)
    true = np.asarray(jax.vmap(lambda p: loop_scalars(p, BIAS))(truth))
    away = np.abs(np.asarray(found.params) - true) / np.asarray(found.std)
    accepted = np.asarray(found.status) == Status.OK
    # Of 400 normal numbers one is beyond three standard deviations, and none beyond five.
    area = away[:, 0]
    assert np.mean(area < 3) > 0.98
    assert np.mean(accepted[:, 0]) > 0.95
    assert np.sum((area > 5) & accepted[:, 0]) <= 2
    for kind in (slice(0, 100), slice(200, 300)):
        assert np.mean(accepted[kind, 1:3]) > 0.9
        assert np.mean((away[kind, 1:3] > 5) & accepted[kind, 1:3]) < 0.03
    nothing = scalars_of_fit(loop_fit(BIAS, 0.1 * dice.normal(size=clean.shape)), BIAS)
    codes = np.asarray(nothing.status)
    assert np.mean(codes[:, 0] == Status.OK) > 0.95, "the area of nothing is 0 within its error"
    assert np.mean(np.abs(nothing.params[:, 0]) < 4 * nothing.std[:, 0]) > 0.95
    assert np.mean(codes[:, 1] == Status.OK) < 0.05, "but nothing switches nowhere"


@pytest.mark.parametrize("name", ["area", "coercive_down", "remanence_up"])
def test_a_scalarizer_accepts_what_scalars_does(loops, name):
    """Good loops, ones in noise, and noise alone."""
    dice = np.random.default_rng(12)
    clean = np.array(loops[1])[:60]
    clean[40:] = 0.0
    noisy = clean + np.repeat([0.0, 0.7, 0.7], 20)[:, None] * dice.normal(size=clean.shape)
    k = LoopScalars._fields.index(name)
    scalar = Scalarizer.of_fit(lambda y: loop_fit(BIAS, y), lambda p: loop_scalars(p, BIAS)[k], ("response",))
    value, variance = (np.asarray(v) for v in jax.vmap(scalar.function)(noisy)[:2])
    fit = loop_fit(BIAS, noisy)
    found = scalars_of_fit(fit, BIAS)
    good = np.asarray(found.status)[:, k] == Status.OK
    np.testing.assert_array_equal(np.isfinite(value), good)
    np.testing.assert_allclose(value[good], found.params[good, k], rtol=1e-3, atol=1e-6)
    if name != "remanence_up":  # whose least error only `scalars_of_fit` knows
        np.testing.assert_allclose(variance[good], np.asarray(found.std)[good, k] ** 2, rtol=1e-2)
    assert np.all(good[:20])
    assert np.mean(np.asarray(fit.r_squared)[40:] < 0.5) > 0.8, "by its R^2 no fit of noise is good"
    assert good[40:].mean() > 0.9 or name.startswith("coercive"), "the area of noise is 0 within its error"


def test_lines_in_noise_switch_nowhere():
    """Of 1,000 at most 1 in 100 by the choice of the limit: 10, and four standard deviations of that number more."""
    dice = np.random.default_rng(13)
    noise = dice.uniform(-0.3, 0.3, (1000, 1)) * np.asarray(BIAS) + dice.normal(size=(1000, 64))
    found = scalars_of_fit(loop_fit(BIAS, noise), BIAS)
    for k, name in enumerate(LoopScalars._fields):
        if name.startswith(("coercive", "imprint", "nucleation")):
            assert np.sum(np.asarray(found.status)[:, k] == Status.OK) <= 10 + 4 * np.sqrt(10)


def test_a_slanted_loop_may_be_upside_down_and_a_saturated_one_is_not():
    """A loop that does switch first on its rising branch keeps its biases; one that is only taken for it does not."""
    dice = np.random.default_rng(14)
    inverse = np.array([-1.0, 2.0, -2.5, 2.5, 0.01, 0.8, 0.9, 0.9, 0.8])
    slanted = np.array([-1.0, 2.0, 2.5, -2.5, 0.1, 4.5, 4.5, 4.5, 4.5])
    for truth, accepted in ((inverse, True), (slanted, False)):
        loops = np.asarray(loop_function(BIAS, truth)) + 0.05 * dice.normal(size=(100, 64))
        fit = loop_fit(BIAS, loops)
        turned = np.asarray(fit.params[:, 2] < fit.params[:, 3])
        assert turned.any()
        codes = np.asarray(scalars_of_fit(fit, BIAS).status)[turned]
        assert np.all((codes[:, 1] == Status.OK) == accepted)
        assert np.all(codes[:, 0] == Status.OK), "the area is the same either way"


def test_errors_grow_where_the_loop_is_not_of_the_fitted_form(loops):
    """Branches bent by a parabola: what the fit leaves is no noise, and without that errors are a fourth of what is."""
    clean = np.asarray(jax.vmap(lambda p: loop_function(BIAS, p))(loops[0]))
    bent = loop_fit(
        BIAS, clean + 0.01 * np.asarray(BIAS) ** 2 + 0.03 * np.random.default_rng(15).normal(size=clean.shape)
    )
    found = scalars_of_fit(bent, BIAS)
    true = np.asarray(jax.vmap(lambda p: loop_scalars(p, BIAS))(loops[0]))
    away = np.abs(np.asarray(found.params)[:, 1:4] - true[:, 1:4]) / np.asarray(found.std)[:, 1:4]
    # Normal numbers: 1.1 of 400 beyond three, and four standard deviations of that number.
    assert np.all(np.sum(away > 3, axis=0) <= 1.1 + 4 * np.sqrt(1.1))
    good = np.asarray(bent.status) == Status.OK
    rest = np.einsum("kii->ki", np.asarray(bent.released))[good] / np.asarray(bent.std)[good] ** 2
    assert np.median(rest) > 4


def test_a_batch_is_its_members_and_float32_works(loops):
    _truth, noisy, found = loops
    square = loop_fit(BIAS, noisy[:4].reshape(2, 2, 64), NOISE)
    assert square.params.shape == (2, 2, 9)
    assert square.covariance.shape == (2, 2, 9, 9)
    np.testing.assert_allclose(square.params.reshape(4, 9), found.params[:4], rtol=1e-4, atol=1e-6)
    single = loop_fit(BIAS.astype(jnp.float32), noisy.astype(jnp.float32), NOISE)
    assert single.params.dtype == jnp.float32
    both = (np.asarray(single.status) == Status.OK) & (np.asarray(found.status) == Status.OK)
    assert both.mean() > 0.95
    away = np.abs(np.asarray(single.params) - np.asarray(found.params))[both] / np.asarray(found.std)[both]
    assert np.quantile(away, 0.99) < 0.1


def test_on_and_off_field_are_separated():
    wave = jnp.stack([BIAS, jnp.zeros(64)], axis=1).ravel()
    response = jnp.arange(256.0).reshape(2, 128)
    on, off = on_off(response, wave)
    np.testing.assert_array_equal(on, response[:, ::2])
    np.testing.assert_array_equal(off, response[:, 1::2])
    with pytest.raises(ValueError, match="pairs"):
        on_off(response[:, :-1])
    with pytest.raises(ValueError, match="constant bias"):
        on_off(response, jnp.roll(wave, 1))
    with pytest.raises(ValueError, match="at least 10 points"):
        loop_fit(BIAS[:8], response[:, :8])


def test_most_real_loops_are_described(data_folder):
    h5py = pytest.importorskip("h5py")
    with h5py.File(data_folder / "loops" / "BEPS_PTO_50x50.h5") as file:
        group = file["Channel_000/generic"]
        bias, response = jnp.array(group["Voltage"][()]), jnp.array(group["generic"][:20, :20])
    found = loop_fit(bias, response.reshape(COUNT, 64), repair=True)
    good = np.isin(np.asarray(found.status), (Status.OK, Status.UNRESOLVED))
    assert good.mean() > 0.5
    assert np.mean(np.asarray(scalars_of_fit(found, bias).status)[:, 0] == Status.OK) > 0.95
    assert float(jnp.nanmedian(found.r_squared)) > 0.9


def test_a_gap_over_a_switch_leaves_no_bias_and_no_area():
    """Measurements missing over the switch of one branch, and a few elsewhere, which do not matter."""
    dice = np.random.default_rng(17)
    truth = jnp.array([-1.0, 2.0, 2.5, -2.5, 0.01, 0.8, 0.9, 0.9, 0.8])
    bias, up = np.asarray(BIAS), np.asarray(rising(BIAS))
    seen = np.asarray(loop_function(BIAS, truth)) + 0.05 * dice.normal(size=(100, 64))
    right = np.asarray(loop_scalars(truth, BIAS))
    for gap in (up & (bias > 1.0), up & (bias > 1.0) & (bias < 4.5), np.arange(64) < 30):
        found = scalars_of_fit(loop_fit(BIAS, np.where(gap, np.nan, seen)), BIAS)
        good = np.asarray(found.status) == Status.OK
        assert np.mean(good[:, :2]) < 0.02
    off = scalars_of_fit(loop_fit(BIAS, np.where(up & (bias < -4.0), np.nan, seen)), BIAS)
    assert np.mean(np.asarray(off.status)[:, :3] == Status.OK) > 0.95
    away = (np.asarray(off.params) - right)[:, :3] / np.asarray(off.std)[:, :3]
    assert np.mean(np.abs(away) < 3) > 0.95
