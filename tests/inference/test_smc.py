"""Particles that follow the observations: evidence against closed forms and quadrature, tempering, honest failure."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from scipy import stats

from gpax_lab import kernels
from gpax_lab.core import Status
from gpax_lab.core._observations import assimilate, grow, observations
from gpax_lab.inference import nuts, smc
from gpax_lab.models import gp, parametric

X = np.linspace(0.0, 1.0, 12)[:, None]
Y = 2.0 * X[:, 0] + 0.3 * np.random.default_rng(0).standard_normal(12)
LINE = parametric(1, lambda x, p: p["slope"] * x[0], {"slope": dist.Normal(0.0, 3.0)}, "known", standardize=False)
PROCESS = gp.exact(1, kernels.rbf, prior={"noise": 0.04}, standardize=False)
PX = np.array([[0.05], [0.2], [0.45], [0.5], [0.7], [0.95]])
PY = np.array([0.4, 1.1, 0.3, 0.2, -0.8, 0.1])


def stream(sampler, model, x, y, noise=None, first=1):
    """Posterior after each reading."""
    known = np.zeros(len(x)) if noise is None else np.full(len(x), noise)
    obs = observations(x[:first], y[:first], known[:first], capacity=24)
    posterior = sampler.init(jax.random.key(0), model, obs)
    yield posterior
    for i in range(first, len(x)):
        obs = assimilate(obs, jnp.asarray(x[i]), jnp.asarray(y[i]), jnp.asarray(known[i]))
        posterior = sampler.update(jax.random.key(i), posterior, obs)
        yield posterior


def moments(posterior, name):
    weight, draws = np.exp(np.asarray(posterior.log_weight)), np.log(np.asarray(posterior.params[name]))
    mean = weight @ draws
    return mean, np.sqrt(weight @ (draws - mean) ** 2)


def test_evidence_of_a_line_at_every_observation():
    """Conjugate: log N(y | 0, 9 x x^T + noise). The error grows with the number of reweightings."""
    draws = 1000
    for n, posterior in enumerate(stream(smc(draws), LINE, X, Y, noise=0.09), start=1):
        exact = stats.multivariate_normal(np.zeros(n), 9.0 * X[:n] @ X[:n].T + 0.09 * np.eye(n)).logpdf(Y[:n])
        # Each reweighting adds a relative variance of at most 1 / (share kept * draws); there are at most 2 a reading.
        assert abs(float(posterior.log_evidence) - exact) < 5 * np.sqrt(2 * n / (0.3 * draws))
        assert int(posterior.info.status) == Status.OK
    precision = 1 / 9 + np.sum(X**2) / 0.09
    weight, slope = np.exp(np.asarray(posterior.log_weight)), np.asarray(posterior.params["slope"])
    effective, sd = float(posterior.info.ess_bulk), precision**-0.5
    mean = weight @ slope
    assert abs(mean - np.sum(X[:, 0] * Y) / 0.09 / precision) < 5 * sd / np.sqrt(effective)
    assert abs(np.sqrt(weight @ (slope - mean) ** 2) - sd) < 10 * sd / np.sqrt(2 * effective)


def grid_of_process():
    """Log posterior density over log lengthscale and log variance on a fine grid, by numpy and scipy alone."""
    ell, var = np.meshgrid(np.linspace(-5, 3, 241), np.linspace(-4, 4, 161), indexing="ij")
    prior = stats.norm.logpdf(ell, np.log(0.3), 0.7) + stats.norm.logpdf(var, 0.0, 0.7)
    square = (PX - PX.T) ** 2
    k = np.exp(var)[..., None, None] * np.exp(-0.5 * square / np.exp(2 * ell)[..., None, None]) + 0.04 * np.eye(6)
    _, log_det = np.linalg.slogdet(k)
    fit = np.einsum("i,...i->...", PY, np.linalg.solve(k, np.broadcast_to(PY[:, None], (*ell.shape, 6, 1)))[..., 0])
    return ell, var, prior - 0.5 * (fit + log_det + 6 * np.log(2 * np.pi)), (8 / 240) * (8 / 160)


def test_a_process_with_two_hyperparameters_against_quadrature():
    ell, var, log_density, cell = grid_of_process()
    evidence = np.log(np.sum(np.exp(log_density)) * cell)
    weight = np.exp(log_density - evidence) * cell
    draws = 1000
    *_, posterior = stream(smc(draws), PROCESS, PX, PY)
    assert abs(float(posterior.log_evidence) - evidence) < 5 * np.sqrt(2 * 6 / (0.3 * draws))
    # The moves leave correlations of 0.3 at most, so at least half of the effective draws are independent.
    effective = float(posterior.info.ess_bulk) / 2
    for name, coordinate in (("lengthscale", ell), ("variance", var)):
        mean = np.sum(weight * coordinate)
        sd = np.sqrt(np.sum(weight * (coordinate - mean) ** 2))
        got_mean, got_sd = moments(posterior, name)
        assert abs(float(np.squeeze(got_mean)) - mean) < 5 * sd / np.sqrt(effective)
        assert abs(float(np.squeeze(got_sd)) - sd) < 10 * sd / np.sqrt(2 * effective)


def test_all_observations_at_once_and_one_by_one_agree():
    draws = 1000
    *_, one_by_one = stream(smc(draws), PROCESS, PX, PY)
    (at_once,) = stream(smc(draws), PROCESS, PX, PY, first=6)
    assert abs(float(one_by_one.log_evidence - at_once.log_evidence)) < 5 * np.sqrt(2 * 12 / (0.3 * draws))


def test_an_observation_that_surprises_is_tempered():
    """Ten standard deviations off: reweighting alone would leave one draw; tempering keeps the evidence right."""
    x, y = np.vstack([X[:6], X[-1:]]), np.append(2.0 * X[:6, 0], 8.0)
    draws = 1000
    *_, posterior = stream(smc(draws), LINE, x, y, noise=0.09)
    exact = stats.multivariate_normal(np.zeros(7), 9.0 * x @ x.T + 0.09 * np.eye(7)).logpdf(y)
    assert abs(float(posterior.log_evidence) - exact) < 5 * np.sqrt(2 * 12 / (0.3 * draws))
    assert float(posterior.info.ess_bulk) > 0.3 * draws


@pytest.mark.slow
def test_what_does_not_work_says_so():
    x, y = np.vstack([X[:6], X[-1:]]), np.append(2.0 * X[:6, 0], 80.0)
    *_, posterior = stream(smc(100, max_stages=1), LINE, x, y, noise=0.001, first=6)
    assert int(posterior.info.status) == Status.TEMPERING_INCOMPLETE
    lazy = smc(200, max_moves=1, max_leapfrog=1, target_accept=0.999)
    posterior = next(stream(lazy, LINE, X, Y, noise=0.001, first=12))
    assert int(posterior.info.status) == Status.MOVES_NOT_MIXED
    nowhere = parametric(1, lambda x, p: jnp.nan * p["a"], {"a": dist.Normal(0.0, 1.0)}, "known", standardize=False)
    posterior = next(stream(smc(20), nowhere, X, Y, noise=0.1, first=12))
    assert int(posterior.info.status) == Status.NOT_FINITE


def test_failed_and_missing_observations_change_nothing():
    sampler = smc(1000)
    obs = observations(PX, np.append(PY[:5], np.nan), capacity=24)
    posterior = sampler.init(jax.random.key(0), PROCESS, obs)
    again = sampler.update(jax.random.key(1), posterior, obs)
    np.testing.assert_array_equal(again.tuning.position, posterior.tuning.position)
    np.testing.assert_allclose(again.log_weight, posterior.log_weight, rtol=1e-12)
    assert float(again.log_evidence) == pytest.approx(float(posterior.log_evidence), rel=1e-12)
    wide = grow(obs, 32)
    wider = replace(posterior, seen=wide.measured)
    padded = sampler.update(jax.random.key(1), wider, assimilate(wide, jnp.array([0.6]), jnp.asarray(-0.3)))
    plain = sampler.update(jax.random.key(1), posterior, assimilate(obs, jnp.array([0.6]), jnp.asarray(-0.3)))
    np.testing.assert_allclose(padded.log_weight, plain.log_weight, atol=1e-9)
    np.testing.assert_allclose(padded.log_evidence, plain.log_evidence, atol=1e-9)


@pytest.mark.parametrize(
    "arguments",
    [{"num_samples": 4}, {"temper_above": 0.9}, {"max_moves": 0}, {"target_accept": 80}, {"max_correlation": 0.0}],
)
def test_settings_are_checked(arguments):
    with pytest.raises(ValueError, match="smc needs"):
        smc(**arguments)


@pytest.mark.slow
def test_a_structured_process_agrees_with_a_long_run_of_nuts():
    rng = np.random.default_rng(3)
    x = rng.random((20, 2))
    y = np.sin(6 * x[:, 0]) + x[:, 1] + 0.1 * rng.standard_normal(20)
    model = gp.exact(2, kernels.matern52, standardize=False)
    draws = 1000
    *_, posterior = stream(smc(draws), model, x, y, first=3)
    reference = nuts(1000, 8000, thin_to=None).init(jax.random.key(5), model, observations(x, y, capacity=20))
    weight = np.exp(np.asarray(posterior.log_weight))
    effective = float(posterior.info.ess_bulk) / 2
    for name, value in reference.params.items():
        theirs = np.log(np.asarray(value)).reshape(8000, -1)
        ours = np.log(np.asarray(posterior.params[name])).reshape(draws, -1)
        for a, b in zip(ours.T, theirs.T, strict=True):
            error = 5 * b.std() * np.sqrt(1 / effective + 10 / 8000)
            assert abs(weight @ a - b.mean()) < error
            order = np.argsort(a)
            for q in (0.1, 0.5, 0.9):
                quantile = np.interp(q, np.cumsum(weight[order]), a[order])
                spread = np.sqrt(q * (1 - q)) / stats.norm.pdf(stats.norm.ppf(q))
                assert abs(quantile - np.quantile(b, q)) < spread * error
