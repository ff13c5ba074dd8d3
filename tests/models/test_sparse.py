"""Sparse processes against the dense algebra of their bound, and against the exact process."""

import importlib

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from scipy.stats import multivariate_normal

from gpax_lab import gp, kernels, laplace
from gpax_lab.core import Status
from gpax_lab.core._linalg import jitter
from gpax_lab.core._observations import FAILED, add_pending, observations
from gpax_lab.models._sparse import inducing_points, sparse

RNG = np.random.default_rng(0)
X = RNG.random((30, 2))
Y = np.sin(5 * X[:, 0]) + X[:, 1] + 0.1 * RNG.standard_normal(30)
KNOWN = 0.02 * RNG.random(30)
Z = RNG.random((7, 2))
NEW = RNG.random((5, 2))
PARAMS = {
    "lengthscale": jnp.array([0.4, 0.7]),
    "variance": jnp.array(1.3),
    "noise": jnp.array(0.05),
    "slope": jnp.array(0.6),
}
OBS = observations(X, Y, KNOWN)


def slope(x, params):
    return params["slope"] * x[0]


def model(inducing=Z, **kwargs):
    prior = {"slope": dist.Normal(0.0, 1.0)}
    return sparse(2, kernels.rbf, mean=slope, prior=prior, standardize=False, inducing=inducing, **kwargs)


def covariance(a, b):
    return 1.3 * np.exp(-0.5 * np.sum(((a[:, None] - b[None]) / np.array([0.4, 0.7])) ** 2, axis=-1))


R = Y - 0.6 * X[:, 0]
D = np.diag(0.05 + KNOWN + jitter(np.float64) * 1.3)
KMM = covariance(Z, Z) + jitter(np.float64) * 1.3 * np.eye(7)
Q = covariance(X, Z) @ np.linalg.solve(KMM, covariance(Z, X))


def dense_bound():
    gap = np.trace(np.linalg.solve(D, covariance(X, X) - Q))
    return multivariate_normal(np.zeros(30), Q + D).logpdf(R) - 0.5 * gap


def dense_moments(x):
    """Titsias 2009, eq. 6, written out."""
    cross, gain = covariance(Z, X), covariance(x, Z)
    mean = gain @ np.linalg.solve(KMM + cross @ np.linalg.solve(D, cross.T), cross @ np.linalg.solve(D, R))
    inner = np.linalg.inv(KMM) - np.linalg.inv(KMM + cross @ np.linalg.solve(D, cross.T))
    return mean, covariance(x, x) - gain @ inner @ gain.T


@pytest.mark.parametrize("chunk", [1024, 8])
def test_the_bound_is_the_dense_one_in_chunks_too(monkeypatch, chunk):
    monkeypatch.setattr(importlib.import_module("gpax_lab.models._sparse"), "CHUNK", chunk)
    np.testing.assert_allclose(model().log_likelihood(PARAMS, OBS), dense_bound(), atol=1e-8)


def test_the_gradient_is_that_of_finite_differences():
    gradient = jax.jit(jax.grad(model().log_likelihood))(PARAMS, OBS)
    value = jax.jit(model().log_likelihood)
    for name, at in PARAMS.items():
        up, down = (value(PARAMS | {name: at + s * 1e-5}, OBS) for s in (1, -1))
        np.testing.assert_allclose(jnp.sum(gradient[name]), (up - down) / 2e-5, rtol=1e-5)


def test_prediction_joint_and_noise():
    mean, joint = dense_moments(NEW)
    factor = model().condition(PARAMS, OBS)
    got_mean, got_variance = model().predict(PARAMS, factor, NEW)
    joint_mean, got_joint = model().joint(PARAMS, factor, NEW)
    np.testing.assert_allclose(got_mean, 0.6 * NEW[:, 0] + mean, atol=1e-9)
    np.testing.assert_allclose(joint_mean, got_mean, atol=1e-12)
    np.testing.assert_allclose(got_variance, np.diag(joint), atol=1e-9)
    np.testing.assert_allclose(got_joint, joint, atol=1e-9)
    np.testing.assert_allclose(model().noise_variance(PARAMS, factor, NEW), np.full(5, 0.05), rtol=1e-12)


def test_with_inducing_points_at_the_observations_it_is_the_exact_process():
    prior = {"slope": dist.Normal(0.0, 1.0)}
    exact = gp.exact(2, kernels.rbf, mean=slope, prior=prior, standardize=False)
    same = model(inducing=X)
    # The jitter on K_mm leaves 30 eps^(5/8) of variance out; over a noise of 0.05 that is 1e-7.
    np.testing.assert_allclose(same.log_likelihood(PARAMS, OBS), exact.log_likelihood(PARAMS, OBS), atol=1e-5)
    ours, theirs = (m.predict(PARAMS, m.condition(PARAMS, OBS), NEW) for m in (same, exact))
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
    for a, b in zip(same.leave_one_out(PARAMS, OBS), exact.leave_one_out(PARAMS, OBS), strict=True):
        np.testing.assert_allclose(a[:30], b[:30], atol=1e-5)


def test_the_bound_lies_below_the_exact_value_and_rises_with_every_inducing_point():
    prior = {"slope": dist.Normal(0.0, 1.0)}
    exact = gp.exact(2, kernels.rbf, mean=slope, prior=prior, standardize=False).log_likelihood(PARAMS, OBS)
    order = inducing_points(X, 24)
    bounds = [float(model(inducing=order[:k]).log_likelihood(PARAMS, OBS)) for k in (2, 8, 24)]
    assert np.all(np.diff(bounds) > 0), bounds
    assert bounds[-1] < float(exact) + 1e-6


def test_leave_one_out_by_leaving_out():
    mean, variance = model().leave_one_out(PARAMS, OBS)
    for i in (0, 11, 29):
        keep = np.arange(30) != i
        left = observations(X[keep], Y[keep], KNOWN[keep])
        alone = model().predict(PARAMS, model().condition(PARAMS, left), X[i : i + 1])
        np.testing.assert_allclose(mean[i], alone[0][0], atol=1e-8)
        np.testing.assert_allclose(variance[i], alone[1][0] + 0.05 + KNOWN[i], atol=1e-8)


def test_pending_points_shrink_the_variance_and_leave_the_mean():
    process, where = model(), jnp.array([0.62, 0.1])
    factor = process.condition(PARAMS, OBS)
    shrunk = process.condition_on_pending(PARAMS, factor, add_pending(OBS, where))
    measured = observations(np.vstack([X, where]), np.append(Y, 123.0), np.append(KNOWN, 0.0))
    np.testing.assert_array_equal(process.predict(PARAMS, shrunk, NEW)[0], process.predict(PARAMS, factor, NEW)[0])
    expected = process.predict(PARAMS, process.condition(PARAMS, measured), NEW)[1]
    np.testing.assert_allclose(process.predict(PARAMS, shrunk, NEW)[1], expected, atol=1e-10)


def test_slots_without_an_observation_change_nothing():
    wide = observations(X, Y, KNOWN, capacity=77)
    status = np.asarray(wide.status).copy()
    status[40] = FAILED
    wide = wide._replace(status=jnp.asarray(status), y=wide.y.at[40].set(7e9), noise=wide.noise.at[50].set(jnp.nan))
    value, gradient = jax.value_and_grad(model().log_likelihood)(PARAMS, wide)
    np.testing.assert_allclose(value, dense_bound(), atol=1e-8)
    assert all(jnp.isfinite(leaf).all() for leaf in gradient.values())
    np.testing.assert_allclose(model().condition(PARAMS, wide).alpha, model().condition(PARAMS, OBS).alpha, atol=1e-6)


def test_paths_have_the_moments_of_the_posterior():
    count = 4000
    factor = model().condition(PARAMS, OBS)
    drawn = model().paths(PARAMS, factor, OBS, jax.random.key(0), count, NEW)
    again = model().paths(PARAMS, factor, OBS, jax.random.key(0), count, NEW[2:3])
    np.testing.assert_allclose(again[:, 0], drawn[:, 2], atol=1e-8)
    mean, joint = dense_moments(NEW)
    sd = np.sqrt(np.diag(joint))
    assert np.all(np.abs(drawn.mean(0) - 0.6 * NEW[:, 0] - mean) < 4.5 * sd / np.sqrt(count))
    # Between anchors a drawn function follows the interpolation of a smooth kernel: nothing that 4000 draws would show.
    np.testing.assert_allclose(drawn.std(0), sd, rtol=4.5 / np.sqrt(2 * count))


def test_float32_stays_usable():
    narrow = {name: value.astype(jnp.float32) for name, value in PARAMS.items()}
    value = model().log_likelihood(narrow, observations(X, Y, KNOWN, dtype=jnp.float32))
    assert value.dtype == jnp.float32
    np.testing.assert_allclose(value, dense_bound(), rtol=0.02)


@pytest.mark.slow
def test_a_thousand_observations_by_laplace():
    rng = np.random.default_rng(1)
    x = rng.random((1500, 1))
    y = np.sin(12 * x[:, 0]) + 0.2 * rng.standard_normal(1500)
    process = sparse(1, kernels.rbf, inducing=20)
    posterior = laplace(num_samples=16, starts=1, iterations=25).init(
        jax.random.key(0), process, observations(x, y, capacity=1500)
    )
    assert int(posterior.info.status) == Status.OK
    grid = jnp.linspace(0.02, 0.98, 40)[:, None]
    mean, variance = posterior.moments(grid)
    error = np.abs(np.asarray(mean) - np.sin(12 * np.asarray(grid[:, 0])))
    assert np.all(error < 5 * np.sqrt(variance))
    assert np.all(np.sqrt(variance) < 0.06)  # 0.2 over the root of some forty observations a lengthscale
    noise = np.asarray(posterior.noise_variance(grid[:1]))[:, 0]
    assert abs(np.sqrt(noise.mean()) / 0.2 - 1) < 5 / np.sqrt(2 * 1500)


def test_greedy_points_are_the_pivots_of_a_cholesky_factorisation():
    chosen = inducing_points(X, 6, lengthscale=0.5)
    r = np.sqrt(5) * np.sqrt(((X[:, None] - X[None]) ** 2).sum(-1)) / 0.5
    k = (1 + r + r**2 / 3) * np.exp(-r)
    picked = []
    for _ in range(6):
        inner = k[np.ix_(picked, picked)]
        left = (
            np.diag(k) - np.sum(k[picked] * np.linalg.solve(inner, k[picked]), axis=0) if picked else np.diag(k).copy()
        )
        left[picked] = -1
        picked.append(int(np.argmax(left)))
    np.testing.assert_array_equal(chosen, X[picked])


def test_repeated_points_are_taken_once():
    doubled = np.repeat(X[:8], 2, axis=0)
    assert len(np.unique(inducing_points(doubled, 8), axis=0)) == 8
    assert np.isfinite(inducing_points(doubled, 16)).all()


def test_observations_known_without_error():
    exact = gp.exact(2, kernels.rbf, noise="known", standardize=False)
    process = sparse(2, kernels.rbf, noise="known", standardize=False, inducing=X[:12])
    few = observations(X[:12], Y[:12])
    params = {name: PARAMS[name] for name in ("lengthscale", "variance")}
    ours, theirs = (m.predict(params, m.condition(params, few), NEW) for m in (process, exact))
    np.testing.assert_allclose(ours[0], theirs[0], atol=1e-3)  # two jitters against one, and nothing else
    assert jnp.isfinite(process.log_likelihood(params, few))


def test_bad_input_is_refused_in_words():
    with pytest.raises(ValueError, match="at least 1"):
        sparse(2, inducing=0)
    with pytest.raises(ValueError, match="finite and"):
        sparse(2, inducing=np.ones((3, 1)))
    with pytest.raises(ValueError, match="N >= count"):
        inducing_points(X, 31)
    for wrong in (2.7, True):
        with pytest.raises(ValueError, match="a number of points"):
            sparse(2, inducing=wrong)
    with pytest.raises(ValueError, match="far outside the bounds"):
        sparse(2, inducing=np.full((3, 2), 0.5), bounds=[[100.0, 200.0], [100.0, 200.0]])
    with pytest.raises(ValueError, match="must be finite"):
        inducing_points(np.where(X > 0.9, np.nan, X), 3)
    with pytest.raises(ValueError, match="lengthscale must be positive"):
        inducing_points(X, 3, lengthscale=0.0)
