"""The ground truth the other tests stand on: a few points, independent algebra."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from scipy.stats import multivariate_normal
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, Matern, WhiteKernel

from gpax_lab import kernels
from gpax_lab.core._linalg import jitter
from gpax_lab.core._observations import add_pending, observations
from gpax_lab.models import gp

X = np.array([[0.1], [0.45], [0.8]])
Y = np.array([1.3, -0.4, 0.7])
KNOWN = np.array([0.01, 0.04, 0.0])
NEW = np.array([[0.0], [0.3], [0.8], [1.0]])
PARAMS = {
    "lengthscale": jnp.array([0.3]),
    "variance": jnp.array(1.4),
    "noise": jnp.array(0.05),
    "slope": jnp.array(0.6),
}


def slope(x, params):
    return params["slope"] * x[0]


def model(**kwargs):
    return gp.exact(1, kernels.rbf, mean=slope, prior={"slope": dist.Normal(0.0, 1.0)}, standardize=False, **kwargs)


def covariance(a, b):
    return 1.4 * np.exp(-0.5 * (a - b.T) ** 2 / 0.09)


K = covariance(X, X) + np.diag(0.05 + KNOWN) + jitter(np.float64) * 1.4 * np.eye(3)
OBS = observations(X, Y, KNOWN)


def test_log_marginal_likelihood():
    expected = multivariate_normal(0.6 * X[:, 0], K).logpdf(Y)
    np.testing.assert_allclose(model().log_likelihood(PARAMS, OBS), expected, rtol=0, atol=1e-10)


def test_gradient_by_finite_differences():
    gradient = jax.grad(model().log_likelihood)(PARAMS, OBS)
    for name, value in PARAMS.items():
        h = 1e-6
        up, down = (model().log_likelihood(PARAMS | {name: value + s * h}, OBS) for s in (1, -1))
        np.testing.assert_allclose(jnp.sum(gradient[name]), (up - down) / (2 * h), rtol=1e-6)


def test_prediction_mean_variance_and_joint():
    cross = covariance(NEW, X)
    mean = 0.6 * NEW[:, 0] + cross @ np.linalg.solve(K, Y - 0.6 * X[:, 0])
    joint = covariance(NEW, NEW) - cross @ np.linalg.solve(K, cross.T)
    factor = model().condition(PARAMS, OBS)
    got_mean, got_variance = model().predict(PARAMS, factor, NEW)
    joint_mean, got_joint = model().joint(PARAMS, factor, NEW)
    np.testing.assert_allclose(got_mean, mean, atol=1e-10)
    np.testing.assert_allclose(joint_mean, mean, atol=1e-10)
    np.testing.assert_allclose(got_variance, np.diag(joint), atol=1e-10)
    np.testing.assert_allclose(got_joint, joint, atol=1e-10)
    np.testing.assert_allclose(model().noise_variance(PARAMS, factor, NEW), np.full(4, 0.05), rtol=1e-14)


def test_leave_one_out_by_leaving_out():
    mean, variance = model().leave_one_out(PARAMS, OBS)
    for i in range(3):
        keep = np.arange(3) != i
        inverse = np.linalg.inv(K[np.ix_(keep, keep)])
        expected = 0.6 * X[i, 0] + K[i, keep] @ inverse @ (Y[keep] - 0.6 * X[keep, 0])
        np.testing.assert_allclose(mean[i], expected, atol=1e-10)
        np.testing.assert_allclose(variance[i], K[i, i] - K[i, keep] @ inverse @ K[keep, i], atol=1e-10)


def test_known_noise_alone():
    known = model(noise="known")
    params = {name: value for name, value in PARAMS.items() if name != "noise"}
    expected = multivariate_normal(0.6 * X[:, 0], K - 0.05 * np.eye(3)).logpdf(Y)
    np.testing.assert_allclose(known.log_likelihood(params, OBS), expected, atol=1e-10)
    with pytest.raises(ValueError, match="inferred"):
        model(noise="measured")


@pytest.mark.parametrize(
    ("ours", "theirs"), [(kernels.rbf, RBF([0.3, 0.7])), (kernels.matern52, Matern([0.3, 0.7], nu=2.5))]
)
def test_equal_to_scikit_learn(ours, theirs):
    rng = np.random.default_rng(0)
    x, new = rng.random((25, 2)), rng.random((9, 2))
    y = np.sin(6 * x[:, 0]) + x[:, 1]
    alpha = jitter(np.float64) * 1.4
    reference = GaussianProcessRegressor(ConstantKernel(1.4) * theirs + WhiteKernel(0.02), alpha=alpha, optimizer=None)
    reference.fit(x, y)
    params = {"lengthscale": jnp.array([0.3, 0.7]), "variance": jnp.array(1.4), "noise": jnp.array(0.02)}
    process = gp.exact(2, ours, standardize=False)
    obs = observations(x, y)
    np.testing.assert_allclose(process.log_likelihood(params, obs), reference.log_marginal_likelihood_value_, atol=1e-8)
    mean, variance = process.predict(params, process.condition(params, obs), new)
    their_mean, their_std = reference.predict(new, return_std=True)
    np.testing.assert_allclose(mean, their_mean, atol=1e-8)
    np.testing.assert_allclose(variance + 0.02, their_std**2, atol=1e-8)


def test_pending_points_shrink_the_variance_as_if_measured_and_leave_the_mean():
    process, where = model(), jnp.array([0.62])
    factor = process.condition(PARAMS, OBS)
    pending = add_pending(OBS, where)
    shrunk = process.condition_on_pending(PARAMS, factor, pending)
    measured = observations(np.vstack([X, [[0.62]]]), np.append(Y, 123.0), np.append(KNOWN, 0.0))
    np.testing.assert_allclose(
        process.predict(PARAMS, shrunk, NEW)[0], process.predict(PARAMS, factor, NEW)[0], atol=1e-12
    )
    expected = process.predict(PARAMS, process.condition(PARAMS, measured), NEW)[1]
    np.testing.assert_allclose(process.predict(PARAMS, shrunk, NEW)[1], expected, atol=1e-10)


@pytest.mark.parametrize(("a", "b"), [(1e-12, 0.0), (3e-9, 5e-9), (1e12, -4e12)])
def test_units_do_not_matter(a, b):
    """y -> a y + b and x -> c x + d transform the posterior and nothing else."""
    x = np.random.default_rng(1).random((8, 2))
    y = np.cos(5 * x[:, 0]) * x[:, 1]
    low, width = np.array([1e-6, -3e-9]), np.array([2e-6, 5e-9])
    plain = gp.exact(2, kernels.matern32)
    scaled = gp.exact(2, kernels.matern32, bounds=np.stack([low, low + width], axis=1))
    params = {"lengthscale": jnp.array([0.3, 0.5]), "variance": jnp.array(1.1), "noise": jnp.array(0.01)}
    one, other = observations(x, y), observations(low + width * x, a * y + b)
    # b / a of up to 4 costs that many bits of y.
    np.testing.assert_allclose(
        scaled.log_likelihood(params, other), plain.log_likelihood(params, one) - 8 * np.log(a), rtol=1e-9
    )
    new = np.random.default_rng(2).random((4, 2))
    mean, variance = plain.predict(params, plain.condition(params, one), new)
    got_mean, got_variance = scaled.predict(params, scaled.condition(params, other), low + width * new)
    np.testing.assert_allclose((got_mean - b) / a, mean, rtol=1e-8, atol=1e-9)
    np.testing.assert_allclose(got_variance / a**2, variance, rtol=1e-8)


def test_one_observation_and_equal_observations_give_finite_numbers():
    process = gp.exact(1)
    params = {"lengthscale": jnp.array([0.3]), "variance": jnp.array(1.0), "noise": jnp.array(0.01)}
    for obs in (observations([[0.5]], [7e-9]), observations(X, [2.0, 2.0, 2.0]), observations(X, [0.0, 0.0, 0.0])):
        value, gradient = jax.value_and_grad(process.log_likelihood)(params, obs)
        assert jnp.isfinite(value)
        assert all(jnp.isfinite(g).all() for g in gradient.values())
        mean, variance = process.predict(params, process.condition(params, obs), NEW)
        assert jnp.isfinite(mean).all()
        assert (variance > 0).all()


def test_float32_stays_usable():
    x = np.linspace(0, 1, 30)[:, None]
    y = np.sin(9 * x[:, 0])
    params = {"lengthscale": jnp.array([0.3]), "variance": jnp.array(1.0), "noise": jnp.array(1e-3)}
    process = gp.exact(1, kernels.rbf)
    wide = process.log_likelihood(params, observations(x, y))
    narrow_params = {name: value.astype(jnp.float32) for name, value in params.items()}
    narrow = process.log_likelihood(narrow_params, observations(x, y, dtype=jnp.float32))
    assert narrow.dtype == jnp.float32
    # The jitters differ by 4.7e-5 against a noise of 1e-3: 5 percent of the noise in each of 30 directions.
    assert abs(float(narrow - wide)) < 30 * 0.05


def test_bounds_are_checked():
    with pytest.raises(ValueError, match="low < high"):
        gp.exact(1, bounds=[[1.0, 0.0]])
