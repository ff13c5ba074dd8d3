"""Intervals that hold: leave-one-out against refits, the recalibrated spread by simulation."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from scipy import stats

from gpax_lab import gp, hypotheses, kernels, laplace, model_average, observations
from gpax_lab.core._linalg import cholesky
from gpax_lab.core._observations import EMPTY, MEASURED, Observations
from gpax_lab.inference import coverage, intervals, leave_one_out_scores, recalibration
from gpax_lab.inference._weights import mixture

X = np.array([[0.05], [0.3], [0.45], [0.7], [0.95]])
Y = np.array([0.3, 1.1, 0.8, -0.4, 2.0])
OBS = observations(X, Y, capacity=8)
MODEL = gp.exact(1, standardize=(0.5, 1.0))
RACE = hypotheses({"smooth": MODEL, "rough": gp.exact(1, kernels.matern12, standardize=(0.5, 1.0))})


@pytest.fixture(scope="module", params=["model", "race"])
def posterior(request):
    if request.param == "model":
        return laplace(8, 1).init(jax.random.key(0), MODEL, OBS)
    return model_average(laplace(8, 1)).init(jax.random.key(0), RACE, OBS)


def test_scores_are_those_of_conditioning_on_the_others(posterior):
    refitted = []
    for i in range(5):
        others = OBS._replace(status=OBS.status.at[i].set(EMPTY))
        left = posterior.conditioned(others)
        mean, variance = left.predict(OBS.x[i][None])
        mean, variance = mixture(mean, variance + left.noise_variance(OBS.x[i][None]), posterior.log_weight)
        refitted.append(float((Y[i] - mean[0]) / jnp.sqrt(variance[0])))
    z = leave_one_out_scores(posterior, OBS)
    np.testing.assert_allclose(z[:5], refitted, rtol=1e-8)
    np.testing.assert_array_equal(z[5:], 0.0)
    inside, readings = coverage(posterior, OBS, 0.5)
    assert int(readings) == 5
    assert int(inside) == np.sum(np.abs(refitted) <= stats.norm.ppf(0.75))


def test_factor_is_the_shrunk_conformal_quantile(posterior):
    size = np.sort(np.abs(np.asarray(leave_one_out_scores(posterior, OBS))[:5]))
    expected = (size[3] / stats.norm.ppf(0.8)) ** (5 / 15)  # ceil(6 * 0.6) = 4th of five
    np.testing.assert_allclose(recalibration(posterior, OBS, 0.6), expected, rtol=1e-10)
    empty = OBS._replace(status=jnp.zeros_like(OBS.status))
    assert float(recalibration(posterior, empty)) == 1.0


def test_intervals_are_wider_by_the_factor_and_by_the_noise(posterior):
    x = jnp.array([[0.2], [0.6]])
    low, high = intervals(posterior, OBS, x, recalibrated=False)
    wide_low, wide_high = intervals(posterior, OBS, x)
    factor = max(float(recalibration(posterior, OBS)), 1.0)
    np.testing.assert_allclose((wide_high - wide_low) / (high - low), factor, rtol=1e-9)
    np.testing.assert_allclose(wide_high + wide_low, high + low, rtol=1e-9)
    assert np.all(intervals(posterior, OBS, x, recalibrated=False, of_observations=True)[1] > high)


def test_a_level_that_is_none():
    with pytest.raises(ValueError, match="between 0 and 1"):
        coverage(laplace(8, 1).init(jax.random.key(0), MODEL, OBS), OBS, 90.0)


NOISE = 0.2
TOO_SURE = gp.exact(
    1,
    kernels.rbf,
    prior={"variance": 0.25, "lengthscale": 0.2, "noise": dist.LogNormal(np.log(0.25 * NOISE), 0.01)},
    standardize=False,
)


@pytest.fixture(scope="module")
def shares():
    """Whether readings are chosen: (key, plain or recalibrated) shares of intervals that hold at twenty other places.

    Forty observations of a process whose standard deviation the model takes to be half of what it is.
    """

    def one(chosen, key):
        key_x, key_y, key_fit = jax.random.split(key, 3)
        x = jax.random.uniform(key_x, (60, 1))
        k = jnp.exp(-0.5 * ((x - x.T) / 0.2) ** 2) + (NOISE + 1e-8) * jnp.eye(60)
        y = cholesky(k)[0] @ jax.random.normal(key_y, (60,))
        # Chosen: the forty largest of them, as a campaign would.
        order = jnp.where(chosen, jnp.argsort(-y), jnp.arange(60))
        x, y = x[order], y[order]
        obs = Observations(x[:40], y[:40], jnp.zeros(40), jnp.full(40, MEASURED, jnp.int8))
        posterior = laplace(4, 1, 3).init(key_fit, TOO_SURE, obs)
        ends = [intervals(posterior, obs, x[40:], recalibrated=r, of_observations=True) for r in (False, True)]
        return jnp.stack([jnp.mean((low <= y[40:]) & (y[40:] <= high)) for low, high in ends])

    keys = jax.random.split(jax.random.key(3), 200)
    each = jax.jit(lambda chosen: jax.lax.map(lambda key: one(chosen, key), keys))
    return {chosen: np.asarray(each(chosen)) for chosen in (False, True)}


def test_the_recalibrated_standard_deviation_holds_for_exchangeable_observations(shares):
    plain, mended = shares[False].mean(axis=0)
    error = shares[False].std(axis=0)[1] / np.sqrt(200)
    assert plain < 0.7  # a normal of twice the spread: 2 Phi(1.645 / 2) - 1 = 0.59
    assert abs(mended - 0.9) < 0.04 + 3 * error  # shrunk by 40 / 50, hence not all of the way


def test_for_chosen_observations_it_helps_and_promises_nothing(shares):
    plain, mended = shares[True].mean(axis=0)
    assert plain + 0.1 < mended < 0.9
