"""Readings that scatter differently from place to place, and readings taken beside where they were asked for."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

from gpax_lab import kernels, nuts
from gpax_lab.core import Status
from gpax_lab.core._linalg import jitter
from gpax_lab.core._observations import add_pending, observations
from gpax_lab.models import HeteroscedasticNoise, gp, parametric

X = np.array([[2.1], [2.45], [2.8], [3.9]])
Y = np.array([1.3, -0.4, 0.7, 0.2])
KNOWN = np.array([0.01, 0.04, 0.0, 0.0])
BOUNDS = [[2.0, 4.0]]
GP = {"lengthscale": jnp.array([0.3]), "variance": jnp.array(1.4)}
OBS = observations(X, Y, KNOWN)


def rbf(a, b, scale=0.3, variance=1.4):
    return variance * np.exp(-0.5 * (a - b.T) ** 2 / scale**2)


def unit(x):
    return (x - 2.0) / 2.0


def fan(x, params):
    return params["gain"] * x[0] ** 2


def test_a_noise_function_enters_as_a_diagonal():
    model = gp.exact(1, kernels.rbf, noise=fan, bounds=BOUNDS, standardize=False, prior={"gain": dist.HalfNormal(1.0)})
    params = GP | {"gain": jnp.array(0.5)}
    u, new = unit(X), np.array([[2.0], [3.2]])
    k = rbf(u, u) + np.diag(0.5 * u[:, 0] ** 2 + KNOWN) + jitter(np.float64) * 1.4 * np.eye(4)
    np.testing.assert_allclose(
        model.log_likelihood(params, OBS), multivariate_normal(np.zeros(4), k).logpdf(Y), atol=1e-10
    )
    factor = model.condition(params, OBS)
    cross = rbf(unit(new), u)
    mean, variance = model.predict(params, factor, new)
    np.testing.assert_allclose(mean, cross @ np.linalg.solve(k, Y), atol=1e-10)
    np.testing.assert_allclose(variance, 1.4 - np.sum(cross * np.linalg.solve(k, cross.T).T, axis=1), atol=1e-10)
    np.testing.assert_allclose(model.noise_variance(params, factor, new), 0.5 * unit(new)[:, 0] ** 2, atol=1e-15)


def test_a_pending_point_has_the_noise_of_its_own_place():
    model = gp.exact(1, kernels.rbf, noise=fan, bounds=BOUNDS, standardize=False, prior={"gain": dist.HalfNormal(1.0)})
    params, new = GP | {"gain": jnp.array(0.5)}, np.array([[3.5], [3.3]])
    shrunk = model.condition_on_pending(params, model.condition(params, OBS), add_pending(OBS, jnp.array([3.4])))
    measured = observations(np.vstack([X, [[3.4]]]), np.append(Y, 9.0), np.append(KNOWN, 0.0))
    expected = model.predict(params, model.condition(params, measured), new)[1]
    np.testing.assert_allclose(model.predict(params, shrunk, new)[1], expected, atol=1e-10)


def test_smooth_noise_is_a_process_exact_at_its_anchors():
    noise = HeteroscedasticNoise(5)
    field = {"lengthscale": jnp.array([0.4]), "variance": jnp.array(0.8)}
    white = np.random.default_rng(0).standard_normal(5)
    params = {f"noise_field/{name}": value for name, value in field.items()}
    params |= {"noise": jnp.array(0.02), "noise_field/white": jnp.asarray(white)}
    golden = (np.sqrt(5.0) - 1) / 2  # the first coordinates of Roberts' sequence are multiples of it
    anchors = np.mod(golden * np.arange(1, 6), 1.0)[:, None]
    k = rbf(anchors, anchors, 0.4, 0.8) + jitter(np.float64) * 0.8 * np.eye(5)
    values = np.linalg.cholesky(k) @ white
    x = np.linspace(0, 1, 7)[:, None]
    expected = 0.02 * np.exp(rbf(x, anchors, 0.4, 0.8) @ np.linalg.solve(k, values))
    np.testing.assert_allclose([noise(jnp.asarray(a), params) for a in x], expected, rtol=1e-9)
    at_anchors = [noise(jnp.asarray(a), params) for a in anchors]
    np.testing.assert_allclose(at_anchors, 0.02 * np.exp(values), rtol=1e-8)


def test_parametric_models_take_a_noise_function_too():
    model = parametric(1, lambda x, p: p["a"] * x[0], {"a": dist.Normal(0, 1), "gain": dist.HalfNormal(1.0)}, noise=fan,
                       bounds=BOUNDS, standardize=False)  # fmt: skip
    params = {"a": jnp.array(0.3), "gain": jnp.array(0.5)}
    sd = np.sqrt(0.5 * unit(X)[:, 0] ** 2 + KNOWN)
    expected = np.sum(-0.5 * ((Y - 0.3 * X[:, 0]) / sd) ** 2 - np.log(sd) - 0.5 * np.log(2 * np.pi))
    np.testing.assert_allclose(model.log_likelihood(params, OBS), expected, atol=1e-12)


@pytest.mark.slow
def test_nuts_finds_where_observations_scatter():
    """Noise of standard deviation 0.02 on the left and 0.4 on the right: both are found within the posterior."""
    rng = np.random.default_rng(1)
    x = np.sort(rng.random(60))
    sd = np.where(x < 0.5, 0.02, 0.4)
    y = np.sin(5 * x) + sd * rng.standard_normal(60)
    process = gp.exact(1, kernels.rbf, noise=HeteroscedasticNoise(8))
    # 600 draws pass every check whichever way the rounding of a processor turns the chain; 200 do on some only.
    posterior = nuts(600, 600).init(jax.random.key(0), process, observations(x[:, None], y))
    assert int(posterior.info.status) == Status.OK, posterior.info
    found = 0.5 * np.log(np.asarray(posterior.noise_variance(jnp.array([[0.1], [0.25], [0.75], [0.9]]))))
    truth = np.log([0.02, 0.02, 0.4, 0.4])
    # 100 effective draws put the error of a mean at a tenth of its sd; 3.1 sd for four comparisons.
    assert np.all(np.abs(found.mean(0) - truth) < 3.1 * found.std(0)), (found.mean(0), found.std(0))
    assert np.all(found.std(0) < 0.7)


PLACED = gp.exact(1, kernels.rbf, bounds=BOUNDS, standardize=False, uncertain_inputs=8)


def test_displaced_observations_are_conditioned_on_where_they_were_taken():
    moved = np.random.default_rng(0).standard_normal((8, 1))
    params = GP | {"noise": jnp.array(0.05), "input_noise": jnp.array([0.1]), "displacement": jnp.asarray(moved)}
    there = observations(X + 2.0 * 0.1 * moved[:4], Y, KNOWN)
    plain = gp.exact(1, kernels.rbf, bounds=BOUNDS, standardize=False)
    rest = {name: params[name] for name in ("lengthscale", "variance", "noise")}
    np.testing.assert_allclose(PLACED.log_likelihood(params, OBS), plain.log_likelihood(rest, there), atol=1e-12)
    new = np.array([[2.2], [3.0]])
    for a, b in zip(
        PLACED.predict(params, PLACED.condition(params, OBS), new),
        plain.predict(rest, plain.condition(rest, there), new),
        strict=True,
    ):
        np.testing.assert_allclose(a, b, atol=1e-12)


def test_a_mean_function_is_evaluated_where_the_observation_was_taken():
    line = gp.exact(
        1, kernels.rbf, mean=lambda x, p: p["slope"] * x[0], prior={"slope": dist.Normal(0, 1)}, bounds=BOUNDS,
        standardize=False, uncertain_inputs=8,
    )  # fmt: skip
    moved = np.ones((8, 1))
    params = GP | {"noise": jnp.array(0.05), "slope": jnp.array(2.0), "input_noise": jnp.array([0.1])}
    k = rbf(unit(X), unit(X)) + np.diag(0.05 + KNOWN) + jitter(np.float64) * 1.4 * np.eye(4)
    expected = multivariate_normal(2.0 * (X[:, 0] + 0.2), k).logpdf(Y)
    got = line.log_likelihood(params | {"displacement": jnp.asarray(moved)}, OBS)
    np.testing.assert_allclose(got, expected, atol=1e-10)


def test_another_capacity_is_refused_in_words():
    with pytest.raises(ValueError, match="build one with uncertain_inputs"):
        PLACED.log_likelihood({}, observations(X, Y, capacity=16))
    for wrong in (0, True, 8.0):
        with pytest.raises(ValueError, match="at least 1"):
            gp.exact(1, uncertain_inputs=wrong)


def test_smooth_noise_asked_for_wrongly():
    with pytest.raises(ValueError, match="at least one anchor"):
        HeteroscedasticNoise(0)
    with pytest.raises(ValueError, match=r"write noise=HeteroscedasticNoise\(\)"):
        gp.exact(1, noise=HeteroscedasticNoise)


@pytest.mark.slow
def test_a_displaced_posterior_against_quadrature():
    """Two observations of a steep known line, each displaced: the posterior of the slope by quadrature over both."""
    x, y = np.array([[0.2], [0.7]]), np.array([1.1, 2.4])
    model = gp.exact(
        1, kernels.rbf, mean=lambda x, p: p["slope"] * x[0], standardize=False, uncertain_inputs=8,
        prior={"slope": dist.Normal(3.0, 1.0), "lengthscale": jnp.array([0.3]), "variance": 0.05, "noise": 0.01,
               "input_noise": jnp.array([0.1])},
    )  # fmt: skip
    posterior = nuts(1000, 4000, thin_to=None).init(jax.random.key(0), model, observations(x, y))
    node, log_weight = np.polynomial.hermite_e.hermegauss(40)
    log_weight = np.log(log_weight)
    slopes = np.linspace(-1.0, 8.0, 181)
    log_density = []
    for slope in slopes:
        terms = []
        for a, wa in zip(node, log_weight, strict=True):
            at = x[0, 0] + 0.1 * a, x[1, 0] + 0.1 * node
            cross = 0.05 * np.exp(-0.5 * ((at[0] - at[1]) / 0.3) ** 2)
            own = 0.06
            determinant = own**2 - cross**2
            r = y[0] - slope * at[0], y[1] - slope * at[1]
            square = (own * r[0] ** 2 - 2 * cross * r[0] * r[1] + own * r[1] ** 2) / determinant
            terms.append(wa + log_weight - 0.5 * square - 0.5 * np.log(determinant))
        log_density.append(logsumexp(terms) - 0.5 * (slope - 3.0) ** 2)
    weight = np.exp(log_density - logsumexp(log_density))
    mean = weight @ slopes
    sd = np.sqrt(weight @ (slopes - mean) ** 2)
    drawn = np.asarray(posterior.params["slope"])
    effective = float(posterior.info.ess_bulk)
    assert abs(drawn.mean() - mean) < 4 * sd / np.sqrt(effective)
    assert abs(drawn.std() / sd - 1) < 4 / np.sqrt(effective)
