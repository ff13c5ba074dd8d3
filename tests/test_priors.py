import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

from gpax_lab import kernels, means, priors
from gpax_lab.core import _priors
from gpax_lab.core._observations import observations
from gpax_lab.models import gp, parametric


def slope(x, params):
    return params["slope"] * x[0]


def test_defaults_fill_what_the_user_leaves_out_and_numbers_are_fixed_values():
    model = gp.exact(2, mean=slope, prior={"slope": dist.Normal(0.0, 1.0), "variance": 3.0})
    draw = priors.sample(jax.random.key(0), model.prior)
    assert {name: value.shape for name, value in draw.items()} == {
        "slope": (),
        "variance": (),
        "lengthscale": (2,),
        "noise": (),
    }
    assert draw["variance"] == 3.0


@pytest.mark.parametrize(
    ("prior", "text"),
    [({"slop": dist.Normal(0.0, 1.0)}, "spelling"), ({}, r"no prior for \['slope'\]"), (None, "numpyro distribution")],
)
def test_a_misspelt_or_missing_prior_is_an_error(prior, text):
    with pytest.raises(ValueError, match=text):
        gp.exact(1, mean=slope, prior=prior)


def test_a_numpyro_program_may_be_hierarchical():
    def program():
        level = numpyro.sample("level", dist.HalfNormal(1.0))
        return {"slope": numpyro.sample("slope", dist.Normal(level, 0.1))}

    model = gp.exact(1, mean=slope, prior=program)
    draws = jax.vmap(lambda k: priors.sample(k, model.prior))(jax.random.split(jax.random.key(1), 4000))
    # slope = level + 0.1 e: its mean is sqrt(2 / pi), its sd sqrt(1 - 2 / pi + 0.01); five standard errors.
    sd = np.sqrt(1 - 2 / np.pi + 0.01)
    assert abs(float(draws["slope"].mean()) - np.sqrt(2 / np.pi)) < 5 * sd / np.sqrt(4000)


def test_default_lengthscale_grows_with_the_diagonal_of_the_cube():
    ratio = priors.default("a/lengthscale", (4,), 4).loc - priors.default("lengthscale", (1,), 1).loc
    np.testing.assert_allclose(ratio, np.log(2.0), atol=1e-12)
    assert priors.default("slope", (), 1) is None


def test_two_dips_have_their_minima_where_the_parameters_say():
    values = {"y0": 1.0, "A": jnp.array([1.0, 0.5]), "x0": jnp.array([0.25, 0.75]), "w": jnp.array([0.1, 0.05])}
    mean = means.dips(2)
    by_hand = 1.0 - 1.0 / np.hypot(0.3 - 0.25, 0.1) - 0.5 / np.hypot(0.3 - 0.75, 0.05)
    np.testing.assert_allclose(mean(jnp.array([0.3]), values), by_hand, rtol=1e-14)


def test_power_law_switch_tends_to_its_pieces_and_has_a_slope_in_t():
    values = {"t": 1.7, "width": 0.01, "beta1": 4.5, "beta2": 2.5}
    for x, expected in ((0.0, 0.0), (1.0, 1.0), (1.5, 1.5**4.5), (2.5, 2.5**2.5)):
        np.testing.assert_allclose(means.power_law_switch(jnp.array([x]), values), expected, rtol=1e-8)
    gradient = jax.grad(lambda t: means.power_law_switch(jnp.array([1.7]), values | {"t": t}))(1.7)
    assert abs(float(gradient)) > 1.0
    at_zero = jax.grad(lambda b: means.power_law_switch(jnp.array([0.0]), values | {"beta1": b}))(4.5)
    assert jnp.isfinite(at_zero)


def test_scopes_nest():
    inner = kernels.scope("fast", kernels.rbf)
    assert set(_priors.parameter_shapes(kernels.scope("film", inner), 2, 1)) == {
        "film/fast/variance",
        "film/fast/lengthscale",
    }


def test_a_mean_may_index_a_vector_and_be_undefined_where_an_observation_failed():
    def mean(x, params):
        return params["a"][0] * jnp.log(x[0]) + params["a"][1]

    model = gp.exact(1, mean=mean, prior={"a": dist.Normal(jnp.zeros(2), 1.0)})
    obs = observations([[0.0], [0.5], [0.9]], [np.nan, 1.0, 2.0])
    params = priors.sample(jax.random.key(0), model.prior)
    value, gradient = jax.value_and_grad(model.log_likelihood)(params, obs)
    assert jnp.isfinite(value)
    assert all(jnp.isfinite(leaf).all() for leaf in gradient.values())


@pytest.mark.parametrize("rule", [(0.0, 0.0), (0.0, -1.0), (np.nan, 1.0)])
def test_a_scale_must_be_positive(rule):
    with pytest.raises(ValueError, match="scale > 0"):
        gp.exact(1, standardize=rule)


def test_the_oscillation_by_hand():
    values = {"A": jnp.asarray(2.0), "a": jnp.asarray(0.5), "b": jnp.asarray(3.0)}
    value = means.growing_oscillation(jnp.array([0.4]), values)
    np.testing.assert_allclose(value, 2.0 * np.exp(0.2) * np.sin(1.2), rtol=1e-14)


def test_a_parameter_of_the_physics_gets_no_prior_by_its_name():
    def wave(x, params):
        return jnp.sin(2 * jnp.pi * x[0] / params["period"])

    for make in (gp.exact, parametric):
        with pytest.raises(ValueError, match=r"no prior for \['period'\]"):
            make(1, mean=wave)
        make(1, mean=wave, prior={"period": dist.LogNormal(0.0, 1.0)})


@pytest.mark.parametrize(
    "build",
    [
        lambda f: gp.exact(1, mean=f, prior={"a": dist.Normal(0.0, 1.0)}),
        lambda f: gp.exact(1, noise=f, prior={"a": dist.Normal(0.0, 1.0)}),
        lambda f: parametric(1, f, {"a": dist.Normal(0.0, 1.0)}),
    ],
    ids=["mean", "noise", "parametric"],
)
def test_a_function_of_a_point_returns_one_number(build):
    """a * x has shape (1,) where a * x[0] was meant; broadcast, it would make another model without a word."""
    with pytest.raises(ValueError, match=r"must return one number, an array of shape \(\); got \(1,\)"):
        build(lambda x, p: p["a"] * x)
    build(lambda x, p: p["a"] * x[0])


def test_the_prior_of_a_model_prints_what_is_in_force():
    def program():
        level = numpyro.sample("level", dist.HalfNormal(1.0))
        return {"slope": numpyro.sample("slope", dist.Normal(level, 0.25)), "noise": 0.5}

    kernel = kernels.matern52 + kernels.scope("slow", kernels.rbf)
    lines = repr(gp.exact(2, kernel, mean=slope, prior=program).prior).splitlines()
    assert lines[0] == "Prior"
    assert set(map(str.strip, lines[1:])) == {
        "level ~ HalfNormal(scale=1)",
        "slope ~ Normal(loc=(depends on others), scale=0.25)",
        "noise = 0.5",
        "variance ~ LogNormal(loc=0, scale=0.7)",
        "lengthscale (2,) ~ LogNormal(loc=-0.8574, scale=0.7)",
        "slow/variance ~ LogNormal(loc=0, scale=0.7)",
        "slow/lengthscale (2,) ~ LogNormal(loc=-0.8574, scale=0.7)",
    }


def test_priors_that_print_are_equal_where_they_say_the_same():
    of = lambda value: gp.exact(1, prior={"variance": value}).prior  # noqa: E731
    assert of(3.0) == of(3.0) != of(2.0)


def test_a_prior_without_its_scope_is_told_the_name_with_it():
    kernel = kernels.matern52 * kernels.scope("per", kernels.periodic)
    with pytest.raises(ValueError, match=r"scope.*\['per/period'\]"):
        gp.exact(1, kernel, prior={"period": dist.LogNormal(0.0, 1.0)})
