"""Laws of composition against loops in numpy, and their evidence against algebra of its own."""

from itertools import combinations

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

from gpax_lab.core._observations import observations
from gpax_lab.core._priors import as_program, sample
from gpax_lab.hypotheses._mixture import hypotheses
from gpax_lab.hypotheses._model_average import model_average
from gpax_lab.inference._smc import smc
from gpax_lab.laws import mixtures
from gpax_lab.means import Law
from gpax_lab.models import gp, parametric

Y = (-1.0, 3.0)
MAKE = {
    "constant": mixtures.constant,
    "vegard": mixtures.vegard,
    "nordheim": lambda k, y: mixtures.nordheim(k, y, learned=False),
    "redlich-kister": lambda k, y: mixtures.redlich_kister(k, y, learned=False),
    "redlich-kister 3": lambda k, y: mixtures.redlich_kister(k, y, order=3, learned=False),
}
NOISE = dist.LogNormal(2 * np.log(0.1), 1.0)


def library(components, count, key=0):
    return np.random.default_rng(key).dirichlet(np.ones(components), count)


def features(x, name):
    """(n, p) slopes of the law and (p,) prior widths, by loops."""
    n, k = x.shape
    if name == "constant":
        return np.ones((n, 1)), np.array([2.0])
    powers = {"vegard": 0, "nordheim": 1, "redlich-kister": 2, "redlich-kister 3": 4}[name]
    columns, widths = [x[:, i] for i in range(k)], [2.0] * k
    for r in range(powers):
        for i, j in combinations(range(k), 2):
            columns.append(x[:, i] * x[:, j] * (x[:, i] - x[:, j]) ** r)
            widths.append(16.0)
    return np.stack(columns, axis=1), np.array(widths)


@pytest.mark.parametrize("components", [2, 3, 4])
@pytest.mark.parametrize("name", MAKE)
def test_values_and_priors(name, components):
    law, x = MAKE[name](components, Y), library(components, 7)
    phi, widths = features(x, name)
    params = sample(jax.random.key(1), as_program(law.prior))
    flat = np.concatenate([np.ravel(params[parameter]) for parameter in law.prior])
    assert flat.size == widths.size
    np.testing.assert_allclose([float(law(jnp.array(a), params)) for a in x], phi @ flat, atol=1e-12)
    scales = np.concatenate([np.ravel(np.broadcast_to(p.scale, p.batch_shape)) for p in law.prior.values()])
    np.testing.assert_allclose(scales, widths)
    assert law.dim == components
    assert np.isfinite(law.draw(jax.random.key(0), jnp.array(x), 5)).all()


def test_each_law_holds_the_one_before_it():
    x = jnp.array(library(3, 9))
    params = {"P": jnp.array([0.1, 0.5, 2.0]), "A": jnp.array([1.0, -2.0, 0.5]), "B": jnp.zeros(3)}
    richer, poorer = MAKE["redlich-kister"](3, Y), MAKE["nordheim"](3, Y)
    np.testing.assert_allclose(*(jax.vmap(lambda a, law=law: law(a, params))(x) for law in (richer, poorer)))
    params["A"] = jnp.zeros(3)
    np.testing.assert_allclose(jax.vmap(lambda a: poorer(a, params))(x), x @ params["P"], atol=1e-14)


@pytest.mark.parametrize("name", MAKE)
def test_the_marginal_process_has_the_moments_of_the_law(name):
    law, x = MAKE[name](3, Y), library(3, 6)
    found = mixtures.marginal(law)
    phi, widths = features(x, name)
    at = jnp.array(x)
    covariance = jax.vmap(lambda a: jax.vmap(lambda b: found.kernel(a, b, {}))(at))(at)
    np.testing.assert_allclose(covariance, (phi * widths**2) @ phi.T, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(jax.vmap(lambda a: found.mean(a, {}))(at), np.ones(6), atol=1e-12)


def test_evidence_of_the_marginal_process_given_noise_is_that_of_linear_regression():
    x, law = library(3, 12), MAKE["redlich-kister"](3, Y)
    phi, widths = features(x, "redlich-kister")
    y = np.random.default_rng(3).normal(size=12)
    found = mixtures.marginal(law)
    model = gp.exact(3, found.kernel, found.mean, {"noise": NOISE}, standardize=False)
    value = model.log_likelihood({"noise": jnp.array(0.04)}, observations(x, y, capacity=16))
    oracle = multivariate_normal(np.ones(12), (phi * widths**2) @ phi.T + 0.04 * np.eye(12)).logpdf(y)
    assert float(value) == pytest.approx(oracle, rel=1e-7)


WIDTHS = {"width_A": 2.0, "width_B": 0.3}


def test_learned_widths_are_parameters_of_the_process():
    """Given the widths, covariance and evidence are those of coefficients of that width."""
    law, x = mixtures.redlich_kister(3, Y), library(3, 12)
    found = mixtures.marginal(law)
    assert set(found.prior) == set(WIDTHS)
    assert all(float(p.loc) == pytest.approx(np.log(4.0)) for p in found.prior.values())  # the range is 4 long
    assert law.units == {"P": "y", "A": "1", "B": "1", "width_A": "y", "width_B": "y"}
    phi, _ = features(x, "redlich-kister")
    wide = np.repeat([2.0, 2.0, 0.3], 3)
    params = {name: jnp.array(value) for name, value in WIDTHS.items()}
    at = jnp.array(x)
    covariance = jax.vmap(lambda a: jax.vmap(lambda b: found.kernel(a, b, params))(at))(at)
    np.testing.assert_allclose(covariance, (phi * wide**2) @ phi.T, rtol=1e-10, atol=1e-10)
    model = gp.exact(3, found.kernel, found.mean, found.prior | {"noise": NOISE}, standardize=False)
    y = np.random.default_rng(3).normal(size=12)
    value = model.log_likelihood(params | {"noise": jnp.array(0.04)}, observations(x, y, capacity=16))
    oracle = multivariate_normal(np.ones(12), (phi * wide**2) @ phi.T + 0.04 * np.eye(12)).logpdf(y)
    assert float(value) == pytest.approx(oracle, rel=1e-7)
    with_coefficients = params | {name: jnp.arange(3.0) for name in "PAB"}
    np.testing.assert_allclose(
        [float(law(a, with_coefficients)) for a in at], phi @ (np.tile(np.arange(3.0), 3) * np.repeat([1, 2, 0.3], 3))
    )


def test_laws_linear_in_some_parameters_keep_the_others():
    """y = a exp(-x / t): the amplitude is integrated, the decay stays a parameter of kernel and mean."""
    prior = {"a": dist.Normal(1.0, 2.0), "t": dist.LogNormal(0.0, 1.0)}
    law = Law(lambda x, p: p["a"] * jnp.exp(-x[0] / p["t"]), prior, {"a": "y", "t": "x"}, "m = a exp(-x / t)", "decay")
    found = mixtures.marginal(law)
    assert list(found.prior) == ["t"]
    x, z, params = jnp.array([0.3]), jnp.array([1.1]), {"t": jnp.array(0.5)}
    np.testing.assert_allclose(found.kernel(x, z, params), 4.0 * np.exp(-1.4 / 0.5), rtol=1e-12)
    np.testing.assert_allclose(found.mean(x, params), np.exp(-0.3 / 0.5), rtol=1e-12)


def by_quadrature(x, y, name):
    """Log evidence: coefficients by algebra, log noise on a grid over +-6 sigma of its prior."""
    phi, widths = features(x, name)
    gram = (phi * widths**2) @ phi.T
    centre = 2 * np.log(0.1)
    log_noise, step = np.linspace(centre - 6, centre + 6, 241, retstep=True)
    each = [multivariate_normal(np.ones(len(y)), gram + np.exp(v) * np.eye(len(y))).logpdf(y) for v in log_noise]
    return logsumexp(np.array(each) - 0.5 * (log_noise - centre) ** 2 + np.log(step / np.sqrt(2 * np.pi)))


@pytest.mark.slow
def test_the_model_average_finds_the_evidence_that_quadrature_finds_and_sampled_coefficients_say_the_same():
    x, nordheim, vegard = library(3, 30), MAKE["nordheim"](3, Y), mixtures.vegard(3, Y)
    truth = {"P": jnp.array([0.5, 1.0, 2.0]), "A": jnp.array([4.0, -3.0, 2.0])}
    y = np.array([float(nordheim(jnp.array(a), truth)) for a in x]) + 0.1 * np.random.default_rng(5).normal(size=30)
    processes = {name: mixtures.marginal(law) for name, law in {"vegard": vegard, "nordheim": nordheim}.items()}
    models = {name: gp.exact(3, p.kernel, p.mean, {"noise": NOISE}, standardize=False) for name, p in processes.items()}
    models["sampled"] = parametric(3, vegard, dict(vegard.prior) | {"noise": NOISE}, standardize=False)
    posterior = model_average(smc(128)).init(jax.random.key(0), hypotheses(models), observations(x, y))
    expected = np.array([by_quadrature(x, y, name) for name in ("vegard", "nordheim", "vegard")])
    error = np.array([float(p.info.evidence_error) for p in posterior.posteriors])
    assert (error < 0.5).all()
    assert (np.abs(np.asarray(posterior.log_evidence) - expected) < 4 * error + 0.01).all()
    assert posterior.info.status == 0
    assert posterior.probability[1] > 0.99
    exact, _, sampled = posterior.posteriors
    (mean, variance), (other, spread) = (p.moments(jnp.array(library(3, 5, key=9))) for p in (exact, sampled))
    # Means of 128 draws, moved until they correlate by 0.3 at most: four standard errors, doubled for that.
    assert (np.abs(mean - other) < 8 * np.sqrt(variance / 128)).all()
    np.testing.assert_allclose(np.sqrt(variance), np.sqrt(spread), rtol=8 / np.sqrt(2 * 128))


def test_what_is_not_linear_or_not_normal_is_refused():
    with pytest.raises(TypeError, match="not normal"):
        mixtures.marginal(Law(lambda x, p: p["k"] * x[0], {"k": dist.HalfNormal(1.0)}, {"k": "y/x"}, "m = k x", "line"))
    prior = {"k": dist.Normal(0.5, 1.0)}
    bent = Law(lambda x, p: jnp.sin(p["k"] * x[0]), prior, {"k": "1/x"}, "m = sin k x", "a wave")
    with pytest.raises(ValueError, match="not linear"):
        mixtures.marginal(bent)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mixtures.vegard(1, Y), "two components"),
        (lambda: mixtures.constant(1, Y), "two components"),
        (lambda: mixtures.nordheim(3, (1.0, 1.0)), "low < high"),
        (lambda: mixtures.redlich_kister(3, Y, order=0), "nordheim"),
    ],
)
def test_bad_input_says_what_to_do(call, message):
    with pytest.raises(ValueError, match=message):
        call()
