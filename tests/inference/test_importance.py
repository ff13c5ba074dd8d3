"""Adaptive importance sampling: densities against scipy, a target of two bananas, and draws that nobody has."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from scipy import stats

from gpax_lab.core import Status
from gpax_lab.core._observations import observations
from gpax_lab.inference import laplace
from gpax_lab.inference._importance import FACTOR, WIDE, Proposal, adapted, draw, log_densities, weigh
from gpax_lab.inference._weights import ess_fraction
from gpax_lab.models import parametric

MEAN = np.array([[0.0, 0.0], [3.0, -1.0], [9.0, 9.0]])
LOWER = np.array([[[1.0, 0.0], [0.5, 0.7]], [[0.3, 0.0], [0.0, 0.4]], [[1.0, 0.0], [0.0, 1.0]]])
SHARE = np.array([0.3, 0.7, 0.0])
with np.errstate(divide="ignore"):
    MIXTURE = Proposal(jnp.asarray(MEAN), jnp.asarray(LOWER), jnp.log(SHARE))


def density(z, wide):
    total = np.zeros(len(z))
    for mean, lower, share in zip(MEAN, LOWER, SHARE, strict=True):
        for part, factor in ((1 - wide, 1.0), (wide, FACTOR)):
            total += share * part * stats.multivariate_normal(mean, factor**2 * lower @ lower.T).pdf(z)
    return np.log(total)


@pytest.mark.parametrize("wide", [0.0, WIDE])
def test_density_is_that_of_the_mixture(wide):
    z = np.random.default_rng(0).normal(0.0, 2.0, (20, 2))
    each = log_densities(jnp.asarray(z), MIXTURE, jnp.asarray(wide))
    np.testing.assert_allclose(jax.nn.logsumexp(each, axis=1), density(z, wide), rtol=1e-12)
    assert np.all(np.asarray(each[:, 2]) == -np.inf)


def test_draws_follow_the_density():
    """Moments of the mixture, and the integral of another density by the ratios of the draws."""
    z = np.asarray(draw(jax.random.key(3), MIXTURE, 4000, jnp.asarray(WIDE)))
    mean = SHARE @ MEAN
    inflated = 1 + WIDE * (FACTOR**2 - 1)
    within = np.einsum("k,kij->ij", SHARE, inflated * LOWER @ LOWER.transpose(0, 2, 1))
    covariance = within + np.einsum("k,ki,kj->ij", SHARE, MEAN - mean, MEAN - mean)
    error = 5 * np.sqrt(np.diag(covariance) / 4000)
    assert np.all(np.abs(z.mean(axis=0) - mean) < error)
    np.testing.assert_allclose(np.cov(z.T), covariance, atol=5 * np.sqrt(3 / 4000) * covariance.max())
    other = stats.multivariate_normal([0.5, -0.2], 0.5 * np.eye(2)).logpdf(z)
    ratio = np.asarray(weigh(jnp.asarray(z), jnp.asarray(other), MIXTURE, jnp.asarray(WIDE)).log_ratio)
    weight = np.exp(ratio)
    assert abs(weight.mean() - 1) < 5 * weight.std() / np.sqrt(4000)


def bananas(z):
    """Two bent ridges of equal mass, mirror images of each other; log density without its constant."""
    bent = [-0.5 * (s * z[:, 0] - 2.0) ** 2 / 0.25 - 0.5 * (z[:, 1] - z[:, 0] ** 2) ** 2 for s in (1.0, -1.0)]
    return jnp.logaddexp(*bent)


def test_adapting_raises_the_worth_of_the_draws():
    start = Proposal(
        jnp.array([[2.0, 4.0], [-2.0, 4.0]]), jnp.stack([0.2 * jnp.eye(2)] * 2), jnp.log(jnp.array([0.9, 0.1]))
    )
    wide, now, worth = jnp.asarray(WIDE), start, []
    for round_ in range(4):
        z = draw(jax.random.key(round_), now, 1000, wide)
        found = weigh(z, bananas(z), now, wide)
        worth.append(float(ess_fraction(found.log_ratio)))
        now = adapted(now, found, jnp.array([0.02, 0.02]))
    assert worth[-1] > 0.5 > 2 * worth[0]
    weight = jax.nn.softmax(found.log_ratio)
    assert abs(float(weight @ z[:, 0])) < 5 * 2.06 / np.sqrt(1000 * worth[-1])  # the mirror image weighs as much
    # The constant: each ridge integrates to sqrt(2 pi 0.25) sqrt(2 pi).
    log_constant = np.log(2 * np.sqrt(2 * np.pi * 0.25) * np.sqrt(2 * np.pi))
    found_constant = float(jax.nn.logsumexp(found.log_ratio)) - np.log(1000)
    assert abs(found_constant - log_constant) < 5 * np.sqrt((1 / worth[-1] - 1) / 1000)


def test_without_any_weight_the_proposal_stays():
    z = draw(jax.random.key(0), MIXTURE, 30, jnp.asarray(WIDE))
    found = weigh(z, jnp.full(30, jnp.nan), MIXTURE, jnp.asarray(WIDE))
    for new, old in zip(adapted(MIXTURE, found, jnp.zeros(3)), MIXTURE, strict=True):
        np.testing.assert_allclose(new, old, rtol=1e-12)


def test_laplace_draws_around_every_mode():
    """y = a^2 with a ~ N(0.3, 1): two modes, of which the one on the side of the prior has more mass."""
    model = parametric(1, lambda x, p: p["a"] ** 2 + 0 * x[0], {"a": dist.Normal(0.3, 1.0)}, "known", standardize=False)
    obs = observations([[0.0], [1.0]], [1.9, 2.1], noise=0.05)
    posterior = laplace(512).init(jax.random.key(0), model, obs)
    assert int(posterior.info.status) == Status.OK
    grid = np.linspace(-5, 5, 200_001)
    log = stats.norm.logpdf(grid, 0.3) + sum(stats.norm.logpdf(y, grid**2, np.sqrt(0.05)) for y in (1.9, 2.1))
    mass = np.exp(log - log.max())
    right = mass[grid > 0].sum() / mass.sum()
    weight, a = np.exp(np.asarray(posterior.log_weight)), np.asarray(posterior.params["a"])
    size = float(posterior.info.ess_bulk)
    assert abs(weight[a > 0].sum() - right) < 5 * np.sqrt(right * (1 - right) / size)
    evidence = np.log(mass.sum() * (grid[1] - grid[0])) + log.max()
    assert abs(float(posterior.log_evidence) - evidence) < 5 * float(posterior.info.evidence_error)


def test_more_modes_than_are_drawn_around_are_told():
    model = parametric(
        1, lambda x, p: jnp.sin(p["a"]) + 0 * x[0], {"a": dist.Uniform(0.0, 60.0)}, "known", standardize=False
    )
    posterior = laplace(64, starts=32).init(jax.random.key(0), model, observations([[0.0]], [0.0], noise=1e-3))
    assert int(posterior.info.status) == Status.MORE_MODES
