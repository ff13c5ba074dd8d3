"""Every sampler against a conjugate and an asymmetric target, and against a long independent run."""

import importlib
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from scipy import integrate, stats

from gpax_lab import kernels
from gpax_lab.core import Status
from gpax_lab.core._linalg import LARGE
from gpax_lab.core._observations import observations
from gpax_lab.hypotheses import bandit, model_average
from gpax_lab.inference import laplace, nuts, smc
from gpax_lab.models import gp, multi_output, parametric, sparse

laplace_module = importlib.import_module("gpax_lab.inference._laplace")

SAMPLERS = {
    "nuts": nuts(200, 1000, num_chains=2, thin_to=None),
    "nuts_rewarmed": nuts(200, 1000, num_chains=2, thin_to=None, rewarm=50),
    "laplace": laplace(4000),
}
X = np.linspace(0.0, 1.0, 12)[:, None]
Y = 2.0 * X[:, 0] + 0.3 * np.random.default_rng(0).standard_normal(12)
LINE = parametric(1, lambda x, p: p["slope"] * x[0], {"slope": dist.Normal(0.0, 3.0)}, "known", standardize=False)
LINE_OBS = observations(X, Y, noise=0.09)


@pytest.fixture(params=SAMPLERS)
def sampler(request):
    return SAMPLERS[request.param]


def fit(sampler, model, obs, updates=1):
    posterior = sampler.init(jax.random.key(1), model, obs)
    for i in range(updates):
        posterior = sampler.update(jax.random.key(2 + i), posterior, obs)
    return posterior


def weighted(posterior, name):
    weight = np.exp(np.asarray(posterior.log_weight))
    return weight / weight.sum(), np.asarray(posterior.params[name])


def check(draws, weight, mean, sd, effective):
    """Mean and sd within five Monte Carlo standard errors."""
    estimate = weight @ draws
    assert abs(estimate - mean) < 5 * sd / np.sqrt(effective)
    # sd of an estimated sd is sd / sqrt(2 n) for a normal, larger with excess kurtosis: allow twice.
    assert abs(np.sqrt(weight @ (draws - estimate) ** 2) - sd) < 10 * sd / np.sqrt(2 * effective)


def test_conjugate_target(sampler):
    posterior = fit(sampler, LINE, LINE_OBS)
    precision = 1 / 9 + np.sum(X**2) / 0.09
    weight, draws = weighted(posterior, "slope")
    check(draws, weight, np.sum(X[:, 0] * Y) / 0.09 / precision, precision**-0.5, float(posterior.info.ess_bulk))
    assert int(posterior.info.status) == Status.OK


def test_asymmetric_target(sampler):
    """A positive rate from few observations: skewed, so a reversed sign or a lost Jacobian shows."""
    model = parametric(1, lambda x, p: p["rate"] * x[0], {"rate": dist.Exponential(1.0)}, "known", standardize=False)
    obs = observations([[1.0], [1.0]], [0.1, -0.2], noise=1.0)
    posterior = fit(sampler, model, obs)

    def density(r):
        return np.exp(-r) * stats.norm.pdf(0.1, r) * stats.norm.pdf(-0.2, r)

    norm = integrate.quad(density, 0, 20)[0]
    mean = integrate.quad(lambda r: r * density(r), 0, 20)[0] / norm
    sd = np.sqrt(integrate.quad(lambda r: (r - mean) ** 2 * density(r), 0, 20)[0] / norm)
    weight, draws = weighted(posterior, "rate")
    check(draws, weight, mean, sd, float(posterior.info.ess_bulk) / 4)  # excess kurtosis of this density
    if not np.isnan(posterior.log_evidence):
        # Laplace's evidence is a mean of importance weights: relative error 1 / sqrt(effective size).
        assert abs(float(posterior.log_evidence) - np.log(norm)) < 5 / np.sqrt(float(posterior.info.ess_bulk))


def test_conjugate_evidence_of_laplace():
    posterior = fit(SAMPLERS["laplace"], LINE, LINE_OBS)
    expected = stats.multivariate_normal(np.zeros(12), 9.0 * X @ X.T + 0.09 * np.eye(12)).logpdf(Y)
    np.testing.assert_allclose(posterior.log_evidence, expected, atol=1e-6)  # the posterior is Gaussian: exact


@pytest.mark.slow
def test_nuts_on_a_gaussian_process_agrees_with_a_long_run_of_numpyro_itself():
    rng = np.random.default_rng(3)
    x = rng.random((12, 1))
    y = np.sin(6 * x[:, 0]) + 0.1 * rng.standard_normal(12)
    process = gp.exact(1, kernels.rbf, standardize=False)
    posterior = fit(nuts(500, 2000, num_chains=4, thin_to=None), process, observations(x, y))

    def program():
        p = {
            "lengthscale": numpyro.sample("lengthscale", dist.LogNormal(jnp.log(0.3), 0.7)),
            "variance": numpyro.sample("variance", dist.LogNormal(0.0, 0.7)),
            "noise": numpyro.sample("noise", dist.LogNormal(jnp.log(0.01), 1.5)),
        }
        k = p["variance"] * jnp.exp(-0.5 * ((x - x.T) / p["lengthscale"]) ** 2) + p["noise"] * jnp.eye(12)
        numpyro.sample("y", dist.MultivariateNormal(jnp.zeros(12), k), obs=jnp.asarray(y))

    mcmc = numpyro.infer.MCMC(numpyro.infer.NUTS(program), num_warmup=1000, num_samples=20000, progress_bar=False)
    mcmc.run(jax.random.key(5))
    for name, reference in mcmc.get_samples().items():
        reference, ours = np.log(np.asarray(reference)), np.log(np.asarray(posterior.params[name])).ravel()
        # Autocorrelation leaves at least a tenth of the 8,000 draws; the reference adds less than that.
        error = 5 * reference.std() / np.sqrt(len(ours) / 10)
        assert abs(ours.mean() - reference.mean()) < error
        for q in (0.1, 0.5, 0.9):
            spread = np.sqrt(q * (1 - q)) / stats.norm.pdf(stats.norm.ppf(q))
            assert abs(np.quantile(ours, q) - np.quantile(reference, q)) < spread * error


def test_update_continues_where_the_last_fit_ended():
    quick = nuts(30, 30, thin_to=8, rewarm=10)
    first = quick.init(jax.random.key(0), LINE, LINE_OBS)
    second = quick.update(jax.random.key(1), first, LINE_OBS)
    assert first.params["slope"].shape == (8,)
    assert not np.array_equal(first.tuning.position, second.tuning.position)
    ratio = np.asarray(second.tuning.inverse_mass / first.tuning.inverse_mass)
    assert ((ratio >= 0.2) & (ratio <= 5.0)).all()


@pytest.mark.slow
def test_outcomes_name_the_remedy():
    nowhere = parametric(1, lambda x, p: jnp.nan * p["a"], {"a": dist.Normal(0.0, 1.0)}, "known", standardize=False)
    for sampler in (nuts(10, 10), laplace(8, 1, 3)):
        posterior = sampler.init(jax.random.key(0), nowhere, LINE_OBS)
        assert int(posterior.info.status) == Status.NOT_FINITE
    assert "physics function" in Status.of(Status.NOT_FINITE).describe()
    short = nuts(10, 10).init(jax.random.key(0), LINE, LINE_OBS)
    assert int(short.info.status) == Status.NOT_MIXED
    broken = gp.exact(1, lambda x, z, p: jnp.where(x[0] == z[0], -1.0, 0.0) * p["variance"], noise="known")
    for sampler in (laplace(4, 1, 2), nuts(10, 10), smc(16)):
        posterior = sampler.init(jax.random.key(0), broken, observations(X, Y))
        assert posterior.status == Status.NOT_POSITIVE_DEFINITE  # its numbers are finite: no prior is to blame
    assert "kernel" in Status.NOT_POSITIVE_DEFINITE.describe()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["exact", "sparse", "multi_output"])
def test_a_kernel_that_is_not_positive_definite_is_told_apart_from_one_that_is_no_number(kind):
    makers = {
        "exact": lambda kernel: gp.exact(1, kernel),
        "sparse": lambda kernel: sparse(1, kernel, inducing=3),
        "multi_output": lambda kernel: multi_output(gp.exact(1, kernel), 2),
    }
    y = np.column_stack([Y, Y]) if kind == "multi_output" else Y
    for number, expected in ((0.0, Status.NOT_POSITIVE_DEFINITE), (np.nan, Status.NOT_FINITE)):
        model = makers[kind](lambda x, z, p, number=number: p["variance"] * jnp.where(x[0] == z[0], -1.0, number))
        posterior = laplace(4, 1, 2).init(jax.random.key(0), model, observations(X, y))
        assert posterior.status == expected


@pytest.mark.slow
@pytest.mark.parametrize("sampler", [smc(32), laplace(32)], ids=["smc", "laplace"])  # numpyro mixes the two in NUTS
def test_single_precision_observations_beside_double_precision_arithmetic(sampler):
    posterior = sampler.init(jax.random.key(0), gp.exact(1), observations(X, Y, dtype=np.float32))
    assert {leaf.dtype for leaf in jax.tree.leaves(posterior.params)} == {np.dtype(np.float32)}
    assert all(np.isfinite(part).all() for part in posterior.moments(jnp.linspace(0, 1, 4, dtype=jnp.float32)[:, None]))


def test_settings_are_checked():
    with pytest.raises(ValueError, match="num_warmup"):
        nuts(1, 100)
    with pytest.raises(ValueError, match="num_samples"):
        laplace(0)


@pytest.mark.parametrize(
    "wrong", [{"thin_to": 0}, {"rewarm": -1}, {"max_tree_depth": 0}, {"target_accept": 80}, {"target_accept": 1.0}]
)
def test_settings_of_nuts_that_mean_nothing_are_refused(wrong):
    """0 draws were all of them, and an acceptance in percent the smallest steps."""
    with pytest.raises(ValueError, match=next(iter(wrong))):
        nuts(**wrong)


@pytest.mark.parametrize("wrong", [smc, "smc", None])
def test_what_is_no_sampler_is_refused(wrong):
    with pytest.raises(TypeError, match="a sampler is what nuts"):
        model_average(wrong)
    with pytest.raises(TypeError, match="a sampler is what nuts"):
        bandit(wrong, [[0.0]])


def test_moments_in_chunks_are_those_of_all_points_at_once():
    posterior = fit(nuts(20, 40, thin_to=16), LINE, LINE_OBS, updates=0)
    x = jnp.linspace(-1.0, 2.0, 4100)[:, None]  # one chunk and four points more
    mean, variance = posterior.moments(x)
    for part in (slice(0, 7), slice(4090, 4100)):
        few_mean, few_variance = posterior.moments(x[part])
        np.testing.assert_allclose(mean[part], few_mean, rtol=1e-12)
        np.testing.assert_allclose(variance[part], few_variance, rtol=1e-9)


def test_the_mixture_obeys_the_law_of_total_variance():
    posterior = fit(nuts(20, 40, thin_to=16), LINE, LINE_OBS, updates=0)
    x = jnp.array([[0.3], [2.0]])
    mean, variance = posterior.moments(x)
    slopes = np.asarray(posterior.params["slope"])
    np.testing.assert_allclose(mean, [slopes.mean() * 0.3, slopes.mean() * 2.0], rtol=1e-12)
    np.testing.assert_allclose(variance, [slopes.var() * 0.09, slopes.var() * 4.0], rtol=1e-9)
    np.testing.assert_array_equal(posterior.noise_variance(x), np.zeros((16, 2)))
    doubled = replace(posterior, log_weight=jnp.where(jnp.arange(16) == 3, 0.0, -jnp.inf))
    np.testing.assert_allclose(doubled.moments(x)[0], slopes[3] * np.array([0.3, 2.0]), rtol=1e-12)


@pytest.mark.slow
def test_laplace_fits_more_observations_than_our_own_algebra_takes():
    """Above `linalg.LARGE` observations LAPACK factors, one matrix at a time, second derivatives included."""
    rng = np.random.default_rng(0)
    x = rng.random((LARGE + 10, 1))
    y = np.sin(8 * x[:, 0]) + 0.1 * rng.standard_normal(len(x))
    posterior = laplace(num_samples=8, starts=1, iterations=30).init(
        jax.random.key(0), gp.exact(1, kernels.rbf), observations(x, y, capacity=len(x))
    )
    assert int(posterior.info.status) == Status.OK
    noise = np.asarray(posterior.noise_variance(jnp.array([[0.5]])))[:, 0]
    assert abs(np.sqrt(noise.mean()) / 0.1 - 1) < 5 / np.sqrt(2 * len(x))


def test_laplace_says_where_its_search_was_cut_short():
    posterior = laplace(8, starts=1, iterations=1).init(jax.random.key(0), gp.exact(1, kernels.rbf), observations(X, Y))
    assert int(posterior.info.status) == Status.STILL_CLIMBING


def test_laplace_does_not_trust_a_curvature_that_is_not_a_number():
    """exp(-|r|^1.5) has a slope everywhere, and a second derivative of NaN where r = 0."""

    def rough(x, z, p):
        return p["variance"] * jnp.exp(-jnp.sum(jnp.abs((x - z) / p["lengthscale"]) ** 1.5))

    posterior = laplace(8, starts=1).init(jax.random.key(0), gp.exact(1, rough), observations(X, Y))
    assert int(posterior.info.status) == Status.NOT_A_MAXIMUM


@pytest.mark.parametrize("draws", [4, 8, 20, 64])
def test_weights_that_collapse_are_told_with_few_draws_too(draws):
    settings = laplace_module.Settings(draws, 1, 1, True, 0)
    one, even = jnp.full(draws, -jnp.inf).at[0].set(0.0), jnp.full(draws, -jnp.log(draws))
    for weight, expected in ((one, Status.NOT_GAUSSIAN), (even, Status.OK)):
        zero, yes, no = jnp.zeros(()), jnp.asarray(True), jnp.asarray(False)
        info = laplace_module._report(zero, zero, yes, no, weight, jnp.asarray(0), settings)
        assert int(info.status) == expected


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (np.linspace(0.0, 1.0, 4), r"shape \(m, 1\).*got \(4,\).*x\[:, None\]"),
        (np.zeros((4, 2)), r"shape \(m, 1\).*got \(4, 2\)"),
        ([0.1, 0.2], "array .*got list"),
    ],
)
def test_points_of_another_shape_are_refused(x, words):
    posterior = laplace(num_samples=8).init(jax.random.key(0), gp.exact(1), observations([[0.1], [0.6]], [0.0, 1.0]))
    for ask in (posterior.moments, posterior.predict, posterior.noise_variance):
        with pytest.raises(ValueError, match=words):
            ask(x)
