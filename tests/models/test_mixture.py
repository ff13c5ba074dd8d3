"""A process over compositions against algebra, and against one without straight lines."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import multivariate_normal

from gpax_lab import gp, priors
from gpax_lab.core._linalg import jitter
from gpax_lab.core._observations import observations
from gpax_lab.models import over_compositions

X = np.random.default_rng(0).dirichlet(np.ones(3), 6)
Y = np.array([0.3, -0.4, 0.7, 0.2, 1.1, -0.2])
PARAMS = {"lengthscale": jnp.array([0.3, 0.5, 0.7]), "variance": jnp.array(0.2), "noise": jnp.array(0.05)}


def matern(a, b):
    r = np.sqrt(5 * np.sum(((a[:, None] - b[None]) / np.array([0.3, 0.5, 0.7])) ** 2, axis=2))
    return 0.2 * (1 + r + r**2 / 3) * np.exp(-r)


def covariance(a, b):
    return 4.0 * a @ b.T + matern(a, b)


def test_straight_lines_are_integrated_exactly():
    model, obs = over_compositions(3, standardize=False), observations(X, Y)
    params = PARAMS | {"pure": jnp.array(4.0)}
    level = np.mean(np.diag(covariance(X, X)))
    k = covariance(X, X) + (0.05 + jitter(np.float64) * level) * np.eye(6)
    np.testing.assert_allclose(
        model.log_likelihood(params, obs), multivariate_normal(np.zeros(6), k).logpdf(Y), atol=1e-9
    )
    new = np.random.default_rng(1).dirichlet(np.ones(3), 4)
    mean, variance = model.predict(params, model.condition(params, obs), jnp.array(new))
    cross = covariance(new, X)
    np.testing.assert_allclose(mean, cross @ np.linalg.solve(k, Y), atol=1e-9)
    expected = np.diag(covariance(new, new)) - np.sum(cross * np.linalg.solve(k, cross.T).T, axis=1)
    np.testing.assert_allclose(variance, expected, atol=1e-9)


def test_a_straight_line_is_followed_beyond_the_observations():
    """Mixtures near the middle, exactly on Vegard's law: corners are found, and by the process alone they are not."""
    rng, pure = np.random.default_rng(2), np.array([1.0, 3.0, -2.0])
    x = 0.5 / 3 + 0.5 * rng.dirichlet(np.ones(3), 10)
    obs, corners = observations(x, x @ pure), jnp.eye(3)
    params = PARAMS | {"noise": jnp.array(1e-6)}
    straight, bent = over_compositions(3), over_compositions(3, line=False)
    both = params | {"pure": jnp.array(4.0), "variance": jnp.array(1e-4)}
    mean, _ = straight.predict(both, straight.condition(both, obs), corners)
    np.testing.assert_allclose(mean, pure, atol=0.15)
    other, _ = bent.predict(params, bent.condition(params, obs), corners)
    assert np.abs(np.asarray(other) - pure).max() > 1.0


def test_priors_and_refusals():
    names = set(priors.sample(jax.random.key(0), over_compositions(3).prior))
    assert names == {"lengthscale", "noise", "pure", "variance"}
    given = priors.sample(jax.random.key(0), over_compositions(2, prior={"variance": 0.5, "pure": 9.0}).prior)
    assert float(given["variance"]) == 0.5
    assert float(given["pure"]) == 9.0
    plain, same = over_compositions(3, line=False, standardize=False), gp.exact(3, standardize=False)
    obs = observations(X, Y)
    np.testing.assert_array_equal(plain.log_likelihood(PARAMS, obs), same.log_likelihood(PARAMS, obs))
    with pytest.raises(ValueError, match="two components"):
        over_compositions(1)
