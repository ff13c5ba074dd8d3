"""Weighted draws: their worth, and choices among them by weight."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gpax_lab import acquisition, bayes_opt, gp, kernels, laplace, nuts, observations, smc
from gpax_lab.inference._weights import ess_fraction, pareto_k, systematic_resample


def test_systematic_resampling_keeps_every_draw_floor_or_ceil_of_its_share():
    weight = np.random.default_rng(0).dirichlet(np.full(40, 0.5))
    for count in (7, 40, 200):
        kept = np.bincount(systematic_resample(jax.random.key(count), jnp.log(weight), count), minlength=40)
        assert kept.sum() == count
        assert np.all(np.abs(kept - count * weight) < 1)


def test_effective_share():
    even = np.full(8, 1 / 8)
    half = np.array([0.25] * 4 + [0.0] * 4)
    with np.errstate(divide="ignore"):
        found = [float(ess_fraction(jnp.log(w))) for w in (even, half, np.zeros(8))]
    np.testing.assert_allclose(found, [1.0, 0.5, 0.0])


X = np.linspace(0.0, 1.0, 6)[:, None]
OBS = observations(X, np.sin(5 * X[:, 0]), 0.01, capacity=8)
MODEL = gp.exact(1, kernels.rbf, bounds=[[0.0, 1.0]])
GRID = acquisition.grid([[0.0, 1.0]], (21,))


def test_thinned_posterior_predicts_the_same_within_monte_carlo_error():
    posterior = smc(256).init(jax.random.key(0), MODEL, OBS)
    few = posterior.thinned(jax.random.key(1), 64)
    assert few.log_weight.shape == (64,)
    assert few.factor.ok.shape == (64,)
    np.testing.assert_allclose(float(jax.scipy.special.logsumexp(few.log_weight)), 0.0, atol=1e-12)
    assert set(np.asarray(few.params["noise"]).ravel()) <= set(np.asarray(posterior.params["noise"]).ravel())
    x = jnp.linspace(0.0, 1.0, 5)[:, None]
    mean, _ = posterior.predict(x)
    weight = np.exp(np.asarray(posterior.log_weight))
    spread = np.sqrt(weight @ (np.asarray(mean) - weight @ np.asarray(mean)) ** 2)
    gap = np.asarray(few.moments(x)[0] - posterior.moments(x)[0])
    assert np.all(np.abs(gap) < 5 * spread / np.sqrt(64) + 1e-12)
    assert posterior.thinned(jax.random.key(1), 256) is posterior


@pytest.mark.slow
def test_a_choice_that_looks_at_some_of_the_draws_leaves_the_posterior_whole():
    experiment = bayes_opt(MODEL, smc(64), acquisition.log_ei(), GRID, batch_size=2, num_samples=8)
    state, x = experiment.propose(experiment.init(jax.random.key(0), OBS))
    assert x.shape == (2, 1)
    assert state.posterior.log_weight.shape == (64,)
    assert jnp.isfinite(state.value)
    state = experiment.observe(state, x, jnp.array([0.1, 0.2]))
    assert int(jnp.sum(state.obs.measured)) == 8


def test_a_choice_looks_at_one_draw_at_least():
    with pytest.raises(ValueError, match="num_samples must be at least 1"):
        bayes_opt(MODEL, smc(64), acquisition.log_ei(), GRID, num_samples=0)


def test_what_an_experiment_is_made_of_is_checked():
    with pytest.raises(TypeError, match=r"what nuts\(\), .* return; got smc"):
        bayes_opt(MODEL, smc, acquisition.log_ei(), GRID)
    with pytest.raises(TypeError, match=r"write log_ei\(\) instead"):
        bayes_opt(MODEL, smc(64), acquisition.log_ei, GRID)


@pytest.mark.parametrize("sampler", [smc(8), nuts(10, 10), laplace(8)], ids=["smc", "nuts", "laplace"])
def test_observations_far_outside_the_box_are_refused_before_any_work(sampler):
    """The unit cube is the box where none is given: ten units of length would be taken for ten boxes."""
    wide = observations(10.0 * X, np.sin(X[:, 0]))
    with pytest.raises(ValueError, match=r"spans \[0, 10\], but the model is made for \[0, 1\]: give it bounds"):
        sampler.init(jax.random.key(0), gp.exact(1), wide)
    with pytest.raises(ValueError, match="has 2 inputs, the observations 1"):
        sampler.init(jax.random.key(0), gp.exact(2), wide)


@pytest.mark.parametrize("count", [40, 300, 4000])
@pytest.mark.parametrize("shape", [-0.3, 0.2, 0.6, 0.9, 1.5])
def test_pareto_k_is_that_of_arviz(count, shape):
    array_stats = pytest.importorskip("arviz_stats.base", reason="arviz-stats is the oracle").array_stats
    uniform = np.random.default_rng(count).random(count)
    log_weight = np.log(((1 - uniform) ** -shape - 1) / shape + 1.0)
    log_weight -= np.logaddexp.reduce(log_weight)
    _, expected = array_stats.psislw(-log_weight)
    np.testing.assert_allclose(pareto_k(jnp.asarray(log_weight)), expected, rtol=1e-10)


def test_pareto_k_at_its_ends():
    assert np.isnan(pareto_k(jnp.zeros(24)))
    assert float(pareto_k(jnp.full(64, -np.log(64)))) < 0.0  # even weights have no tail
    assert float(pareto_k(jnp.full(64, -jnp.inf).at[3].set(0.0))) > 0.7
