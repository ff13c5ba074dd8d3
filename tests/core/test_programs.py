import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
import scipy.stats
from numpyro import handlers
from numpyro.contrib.control_flow import scan
from numpyro.infer.reparam import LocScaleReparam

from gpax_lab import priors
from gpax_lab.core import _priors
from gpax_lab.core._observations import observations
from gpax_lab.core._programs import latent_and_observed, vetted
from gpax_lab.inference import laplace, nuts, smc
from gpax_lab.inference._density import unconstrained_density
from gpax_lab.models import gp, parametric

LITERATURE, SPREAD = 2.4, 0.05


def gap():
    return numpyro.sample("gap", dist.Normal(2.0, 0.4))


def with_a_site():
    value = gap()
    numpyro.sample("literature", dist.Normal(value, SPREAD), obs=LITERATURE)
    return {"gap": value}


def with_an_open_site():
    value = gap()
    numpyro.sample("literature", dist.Normal(value, SPREAD))
    return {"gap": value}


def with_a_factor():
    value = gap()
    numpyro.factor("literature", dist.Normal(value, SPREAD).log_prob(LITERATURE))
    return {"gap": value}


def with_a_scale():
    value = gap()
    with handlers.scale(scale=4.0):
        numpyro.sample("literature", dist.Normal(value, 2 * SPREAD), obs=LITERATURE)
    # four times log N(., 2 s) is log N(., s) but for this constant
    numpyro.factor("constant", 3 * np.log(SPREAD * np.sqrt(2 * np.pi)) + 4 * np.log(2.0))
    return {"gap": value}


def with_a_mask():
    value = gap()
    with numpyro.plate("books", 2), handlers.mask(mask=jnp.array([True, False])):
        numpyro.sample("literature", dist.Normal(value, SPREAD), obs=jnp.array([LITERATURE, 9.0]))
    return {"gap": value}


def with_other_coordinates():
    with handlers.reparam(config={"gap": LocScaleReparam(0.0)}):
        value = gap()
    numpyro.sample("literature", dist.Normal(numpyro.deterministic("seen", value), SPREAD), obs=LITERATURE)
    return {"gap": value}


def with_a_plate():
    with numpyro.plate("parts", 4):
        part = numpyro.sample("part", dist.Normal(0.5, 0.2))  # their sum is Normal(2, 0.4)
    numpyro.sample("literature", dist.Normal(part.sum(), SPREAD), obs=LITERATURE)
    return {"gap": part.sum()}


PROGRAMS = {
    "obs": with_a_site,
    "condition": handlers.condition(with_an_open_site, {"literature": LITERATURE}),
    "substitute": handlers.substitute(with_an_open_site, {"literature": LITERATURE}),
    "factor": with_a_factor,
    "scale": with_a_scale,
    "mask": with_a_mask,
    "reparam": with_other_coordinates,
    "plate": with_a_plate,
    "seed inside": handlers.seed(with_a_site, 3),
}

READ = observations([[1.0]], [2.1], noise=0.3**2)
PRECISION = 1 / 0.4**2 + 1 / SPREAD**2 + 1 / 0.3**2
MEAN = (2.0 / 0.4**2 + LITERATURE / SPREAD**2 + 2.1 / 0.3**2) / PRECISION


def log_evidence():
    """Of the literature value and the observation, jointly normal around 2."""
    covariance = 0.4**2 * np.ones((2, 2)) + np.diag([SPREAD**2, 0.3**2])
    return scipy.stats.multivariate_normal([2.0, 2.0], covariance).logpdf([LITERATURE, 2.1])


def line(prior):
    return parametric(1, lambda x, p: p["gap"] * x[0], prior, noise="known", standardize=False)


@pytest.mark.parametrize("name", PROGRAMS)
def test_what_a_program_has_observed_enters_the_density_once(name):
    """Against the density written by hand, at several points of the unconstrained space."""
    space = unconstrained_density(line(PROGRAMS[name]), jnp.dtype(float))
    reference = unconstrained_density(line(with_a_site), jnp.dtype(float))
    values = jnp.linspace(1.0, 3.0, 4)
    if name in ("reparam", "plate"):  # the same density in other coordinates, but for their constant Jacobian
        points = jnp.repeat(values[:, None] / 4, 4, axis=1) if name == "plate" else (values[:, None] - 2.0) / 0.4
        rise = jax.vmap(lambda z: space.potential(z, READ))(points)
        at = jax.vmap(lambda z: reference.potential(z, READ))(values[:, None])
        np.testing.assert_allclose(rise - rise[0], at - at[0], rtol=1e-9)
        return
    assert space.size == 1
    for value in values:
        by_hand = (
            dist.Normal(2.0, 0.4).log_prob(value)
            + dist.Normal(value, SPREAD).log_prob(LITERATURE)
            + dist.Normal(value, 0.3).log_prob(2.1)
        )
        np.testing.assert_allclose(-space.potential(value[None], READ), by_hand, rtol=1e-9)


@pytest.mark.parametrize("name", ["condition", "plate"])
def test_particles_start_from_the_prior_and_learn_what_was_observed_on_the_way(name):
    posterior = smc(512).init(jax.random.key(0), line(PROGRAMS[name]), READ)
    mean, sd = posterior.summary()
    assert int(posterior.info.status) == 0
    assert abs(mean["gap"] - MEAN) < 5 * PRECISION**-0.5 / np.sqrt(512)
    assert abs(sd["gap"] * PRECISION**0.5 - 1) < 5 / np.sqrt(2 * 512)
    assert abs(posterior.log_evidence - log_evidence()) < 5 * posterior.info.evidence_error
    # A second reading, and the literature is not counted again: another normal, by hand.
    later = smc(512).update(jax.random.key(1), posterior, observations([[1.0], [1.0]], [2.1, 2.6], noise=0.3**2))
    precision = PRECISION + 1 / 0.3**2
    assert abs(later.summary()[0]["gap"] - (PRECISION * MEAN + 2.6 / 0.3**2) / precision) < 5 * 0.05 / np.sqrt(512)


def test_without_observations_particles_are_the_conditioned_prior():
    posterior = smc(512).init(jax.random.key(0), line(with_a_site), observations(np.zeros((0, 1))))
    precision = 1 / 0.4**2 + 1 / SPREAD**2
    mean, _ = posterior.summary()
    assert abs(mean["gap"] - (2.0 / 0.4**2 + LITERATURE / SPREAD**2) / precision) < 5 * precision**-0.5 / np.sqrt(512)
    right = dist.Normal(2.0, np.hypot(0.4, SPREAD)).log_prob(LITERATURE)
    assert abs(posterior.log_evidence - right) < 5 * posterior.info.evidence_error


@pytest.mark.parametrize("sampler", [nuts(100, 400, thin_to=None), laplace(num_samples=256)], ids=["nuts", "laplace"])
def test_samplers_know_what_was_observed(sampler):
    posterior = sampler.init(jax.random.key(0), line(with_a_site), READ)
    mean, sd = posterior.summary()
    assert int(posterior.info.status) == 0
    few = float(posterior.info.ess_bulk)
    assert abs(mean["gap"] - MEAN) < 5 * PRECISION**-0.5 / np.sqrt(few)
    assert abs(sd["gap"] * PRECISION**0.5 - 1) < 6 / np.sqrt(2 * few)
    if np.isfinite(posterior.log_evidence):
        np.testing.assert_allclose(posterior.log_evidence, log_evidence(), atol=0.02)


def test_a_substituted_parameter_is_fixed():
    def two():
        gap = numpyro.sample("gap", dist.Normal(2.0, 0.4))
        return {"gap": gap, "offset": numpyro.sample("offset", dist.Normal(gap, 1.0))}

    model = parametric(
        1,
        lambda x, p: p["gap"] * x[0] + p["offset"],
        handlers.substitute(two, {"offset": 0.25}),
        noise="known",
        standardize=False,
    )
    space = unconstrained_density(model, jnp.dtype(float))
    assert space.size == 1
    assert float(space.constrain(jnp.array([1.5]))["offset"]) == 0.25


def test_a_certain_value_is_fixed_and_a_hierarchy_may_hang_on_it():
    def program():
        level = numpyro.sample("level", dist.Delta(3.0))
        return {"gap": numpyro.sample("gap", dist.Normal(level, 0.1))}

    assert latent_and_observed(vetted(program)) == (("gap",), ())
    assert abs(priors.sample(jax.random.key(0), program)["gap"] - 3.0) < 0.6
    np.testing.assert_array_equal(
        priors.sample(jax.random.key(0), _priors.as_program({"a": dist.Delta(2.0)}))["a"], 2.0
    )


def test_a_draw_of_a_conditioned_prior_is_refused_with_what_gives_one():
    with pytest.raises(ValueError, match=r"has observed \['literature'\].*smc"):
        priors.sample(jax.random.key(0), line(with_a_site).prior)


def discrete():
    return {"gap": numpyro.sample("kind", dist.Poisson(2.0)) * 1.0}


def improper():
    return {"gap": numpyro.sample("anywhere", dist.ImproperUniform(dist.constraints.real, (), ()))}


def optimised():
    return {"gap": numpyro.param("tuned", 1.0)}


def part_of_a_plate():
    with numpyro.plate("pixels", 10, subsample_size=3):
        return {"gap": numpyro.sample("height", dist.Normal()).sum()}


def random_walk():
    def step(at, _):
        at = numpyro.sample("at", dist.Normal(at, 1.0))
        return at, at

    return {"gap": scan(step, 0.0, None, length=3)[0]}


def branching():
    return {"gap": gap() if numpyro.sample("side", dist.Normal()) > 0 else 1.0}


def half_observed():
    values = numpyro.sample("pair", dist.Normal(jnp.zeros(2), 1.0), obs=jnp.ones(2), obs_mask=jnp.array([True, False]))
    return {"gap": values.sum()}


def tempered():
    with handlers.scale(scale=0.5):
        return {"gap": gap()}


def hidden_randomness():
    return {"gap": jax.random.normal(numpyro.prng_key())}


def nothing_observed():
    numpyro.sample("literature", dist.Normal(gap(), 1.0), obs=np.nan)
    return {"gap": 1.0}


def impossible():
    numpyro.sample("literature", dist.LogNormal(gap(), 1.0), obs=-1.0)
    return {"gap": 1.0}


def on_a_sphere():
    return {"gap": numpyro.sample("direction", dist.ProjectedNormal(jnp.ones(3)))[0]}


@pytest.mark.parametrize(
    ("program", "text"),
    [
        (discrete, "'kind' is discrete"),
        (improper, "'anywhere' is improper"),
        (optimised, "'tuned', a numpyro.param"),
        (part_of_a_plate, "plate 'pixels' .* takes 3 of 10"),
        (random_walk, "numpyro scan"),
        (branching, "where for an if"),
        (half_observed, "'pair_unobserved' is masked"),
        (tempered, "'gap' stands under handlers.scale"),
        (hidden_randomness, "prng_key"),
        (nothing_observed, "observed site 'literature' .* holds nan"),
        (impossible, "'literature' .* outside of its distribution"),
        (on_a_sphere, "'direction' lives on .*reparam"),
        (lambda: gap(), "returns its values by name"),
        (lambda size: {"gap": gap()}, "takes no arguments"),
    ],
)
def test_what_no_sampler_can_treat_is_refused_by_name(program, text):
    with pytest.raises(ValueError, match=text):
        line(program)


@pytest.mark.parametrize(
    ("prior", "text"),
    [
        (None, "'gap' is None: .*numpyro distribution"),
        ("Normal(0, 1)", r"'gap' is 'Normal\(0, 1\)': give a numpyro"),
        (scipy.stats.norm(0.0, 1.0), "'gap' is a distribution of scipy"),
        (dist.Normal, r"'gap' is the class Normal: write Normal\(...\)"),
        (lambda: 1.0, "'gap' is <function"),
        (np.nan, "'gap' is nan"),
        (1 + 2j, r"'gap' is \(1\+2j\)"),
        ({"loc": 0.0}, "'gap' is {'loc'"),
        (np.ma.masked, "'gap' is masked"),
        ([[1.0], [2.0, 3.0]], "'gap' is "),
        (dist.ImproperUniform(dist.constraints.real, (), ()), "'gap' is improper"),
        (dist.Bernoulli(0.5), "'gap' is discrete"),
        (dist.Categorical(probs=jnp.array([0.5, 0.5])).expand([2]), "'gap' is discrete"),
    ],
)
def test_an_entry_that_is_no_prior_is_named(prior, text):
    with pytest.raises(ValueError, match=text):
        line({"gap": prior})


@pytest.mark.parametrize("prior", [dist.Normal(0.0, 1.0), dist.Normal, "gap", [("gap", 1.0)], 3.0])
def test_a_prior_is_a_mapping_or_a_program(prior):
    with pytest.raises(ValueError, match="a prior is a mapping"):
        gp.exact(1, prior=prior)


@pytest.mark.parametrize("shape", [(3,), (2, 2)])
def test_a_prior_of_the_wrong_shape_is_said(shape):
    with pytest.raises(ValueError, match=r"lengthscale|must return one number"):
        gp.exact(2, prior={"lengthscale": dist.LogNormal(jnp.zeros(shape), 1.0)})
    with pytest.raises(ValueError, match=r"noise.*shape"):
        gp.exact(1, prior={"noise": dist.LogNormal(jnp.zeros(8), 1.0)})
