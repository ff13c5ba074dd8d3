"""Prior widths against closed forms, predictive checks against simulation, and the verdict in words."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from scipy import stats

from gpax_lab.core._observations import observations
from gpax_lab.hypotheses import comparison_report, hypotheses, model_average, predictive_check, prior_sweep
from gpax_lab.hypotheses._comparison import held_out
from gpax_lab.hypotheses._mixture import NONE_OF_THESE
from gpax_lab.hypotheses._sensitivity import widened
from gpax_lab.inference import smc
from gpax_lab.inference._posterior import Info, Posterior
from gpax_lab.laws import shapes
from gpax_lab.means import Law
from gpax_lab.models import StudentNoise, gp, parametric

NOISE, WIDTH = 0.2, 2.0
SLOPE = Law(lambda x, p: p["k"] * x[0], {"k": dist.Normal(0.0, WIDTH)}, {"k": "y / x"}, "m = k x", "line")
LEVEL = Law(lambda x, p: p["C"] + 0.0 * x[0], {"C": dist.Normal(0.0, WIDTH)}, {"C": "y"}, "m = C", "constant")
X = np.linspace(0.0, 1.0, 12)[:, None]
Y = 1.5 * X[:, 0] + NOISE * np.random.default_rng(0).standard_normal(12)


def known(law):
    return parametric(1, law, dict(law.prior) | {"noise": NOISE**2}, standardize=False)


@pytest.fixture(scope="module")
def belief():
    both = hypotheses({"slope": known(SLOPE), "level": known(LEVEL)})
    return model_average(smc(1000)).init(jax.random.key(0), both, observations(X, Y))


def test_sweep_against_the_closed_form(belief):
    sweep = prior_sweep(belief)
    design = np.stack([X[:, 0], np.ones(12)])
    for f, factor in enumerate(sweep.factors):
        for m, column in enumerate(design):
            covariance = (factor * WIDTH) ** 2 * np.outer(column, column) + NOISE**2 * np.eye(12)
            exact = stats.multivariate_normal(np.zeros(12), covariance).logpdf(Y)
            assert abs(sweep.log_evidence[f, m] - exact) < 5 * sweep.error[f, m]
            assert sweep.error[f, m] < 0.3
    assert sweep.stable
    assert "The conclusion holds." in str(sweep)
    at_one = sweep.factors.tolist().index(1.0)
    np.testing.assert_allclose(sweep.log_evidence[at_one], belief.log_evidence, atol=1e-12)
    np.testing.assert_allclose(sweep.probability[at_one], belief.probability, atol=1e-12)


def test_a_sweep_that_the_draws_do_not_tell_of_says_so(belief):
    sweep = prior_sweep(belief, [1e-3, 1.0])  # a prior a thousand times narrower leaves the posterior behind
    assert np.isnan(sweep.log_evidence[0, 0])
    assert "unknown from these draws" in str(sweep)
    assert not sweep.stable
    assert not sweep.overturned
    with pytest.raises(ValueError, match="positive"):
        prior_sweep(belief, [0.0])
    with pytest.raises(TypeError, match="model_average"):
        prior_sweep(belief.posteriors[0])


@pytest.mark.parametrize("law", [dist.Normal(1.0, 2.0), dist.HalfNormal(2.0), dist.LogNormal(0.3, 0.5)])
def test_widened_is_a_change_of_scale(law):
    wide = widened(law, 3.0)
    assert float(wide.scale) == 3.0 * float(law.scale)
    both = widened(law.expand([2]).to_event(1), 3.0)
    value = jnp.array([0.5, 1.5])
    np.testing.assert_allclose(both.log_prob(value), wide.log_prob(value).sum(), rtol=1e-12)
    uniform = dist.Uniform(0.0, 1.0)
    assert widened(uniform, 3.0) is uniform


def test_size_of_residuals_is_the_chi_square_probability_averaged_over_draws(belief):
    obs = observations(X, Y, capacity=16)
    posterior = belief.posteriors[1]
    check = predictive_check(jax.random.key(1), posterior.conditioned(obs), obs)
    level = np.asarray(posterior.params["C"])
    total = np.sum((Y[None] - level[:, None]) ** 2, axis=1) / NOISE**2
    expected = np.exp(np.asarray(posterior.log_weight)) @ stats.chi2.sf(total, 12)
    np.testing.assert_allclose(check.size, expected, rtol=1e-8)
    assert float(check.size) < 0.01  # a level does not fit a line
    assert float(check.structure) < 0.01
    assert np.isnan(np.asarray(check.pit)[12:]).all()
    good = predictive_check(jax.random.key(1), belief.posteriors[0].conditioned(obs), obs)
    assert float(good.size) > 0.05
    assert float(good.structure) > 0.05
    pit = stats.norm.cdf((Y[None] - np.asarray(belief.posteriors[0].params["k"])[:, None] * X[:, 0]) / NOISE)
    np.testing.assert_allclose(
        np.asarray(good.pit)[:12], np.exp(np.asarray(belief.posteriors[0].log_weight)) @ pit, rtol=1e-8
    )


def test_checks_do_not_alarm_where_the_model_is_right():
    """Over 40 data sets from the prior the smaller probability falls below 0.02 in at most a few.

    Each of two checks does so with a probability of at most 0.02 (they are conservative): 1.6 expected, and more than 6
    of 40 has a probability below 0.002.
    """
    model, seen = known(SLOPE), observations(X, Y)

    @jax.jit
    def one(key):
        key_k, key_y, key_fit, key_check = jax.random.split(key, 4)
        y = WIDTH * jax.random.normal(key_k) * seen.x[:, 0] + NOISE * jax.random.normal(key_y, (seen.y.size,))
        obs = seen._replace(y=jnp.where(seen.measured, y, 0.0))
        check = predictive_check(key_check, smc(64).init(key_fit, model, obs), obs)
        return jnp.minimum(check.size, check.structure)

    small = jax.lax.map(one, jax.random.split(jax.random.key(2), 40))
    assert int(jnp.sum(small < 0.02)) <= 6


@pytest.mark.slow
def test_checks_are_calibrated_for_processes_too():
    """Readings from a process with known parameters: both probabilities are uniform (Kolmogorov-Smirnov, 60 sets)."""
    x = np.sort(np.random.default_rng(0).uniform(size=14))[:, None]
    fixed = {"lengthscale": jnp.array([0.3]), "noise": 0.04, "variance": dist.LogNormal(0.0, 1e-6)}
    model = gp.exact(1, prior=fixed, standardize=False)
    seen = observations(x, np.zeros(14), capacity=16)
    blank = seen._replace(status=jnp.zeros_like(seen.status))
    truth = {"lengthscale": jnp.array([0.3]), "noise": jnp.array(0.04), "variance": jnp.array(1.0)}
    _, covariance = model.joint(truth, model.condition(truth, blank), jnp.asarray(x))
    root = np.linalg.cholesky(np.asarray(covariance) + 0.04 * np.eye(14))
    readings = root @ np.random.default_rng(1).standard_normal((14, 60))

    @jax.jit
    def one(y, key):
        obs = seen._replace(y=seen.y.at[:14].set(y))
        return predictive_check(key, smc(8).init(key, model, obs), obs)

    found = jax.lax.map(lambda pair: one(*pair), (jnp.asarray(readings.T), jax.random.split(jax.random.key(0), 60)))
    for values in (found.size, found.structure):
        assert stats.kstest(np.asarray(values), "uniform").pvalue > 0.001


@pytest.mark.slow
def test_none_of_these_is_noticed():
    """A wave among straight lines: the process without a law wins, and the laws' residuals agree nearby."""
    x, y = (0.0, 1.0), (-1.0, 1.0)
    laws = {"flat": shapes.flat(x, y), "line": shapes.line(x, y)}
    rivals = hypotheses(laws, bounds=[x], scale=(0.0, 1.0))
    assert rivals.names == ("flat", "line", NONE_OF_THESE)
    places = np.linspace(0.0, 1.0, 20)
    wave = 0.7 * np.sin(9 * places) + 0.1 * np.random.default_rng(0).standard_normal(20)
    obs = observations(places[:, None], wave)
    posterior = model_average(smc(64)).init(jax.random.key(0), rivals, obs)
    assert float(posterior.probability[2]) > 0.99
    text = comparison_report(posterior, obs)
    assert "none of these hypotheses holds" in text
    line = predictive_check(jax.random.key(0), posterior.posteriors[1], obs)
    assert float(line.structure) < 0.05 < float(line.size)  # the inferred noise hides the size of the misfit
    with pytest.raises(TypeError, match="model_average"):
        comparison_report(posterior.posteriors[0], obs)
    free = smc(8).init(jax.random.key(0), gp.exact(1), obs)
    with pytest.raises(ValueError, match="standardize"):
        predictive_check(jax.random.key(0), free, obs)


def test_a_report_that_hangs_on_the_width_of_the_priors_says_so():
    """By the closed form the level leads the line by -0.55 nat with priors half as wide, by 0.57 with twice as wide."""
    sloped = Law(
        lambda x, p: p["C"] + p["k"] * (x[0] - 0.5),
        {"C": dist.Normal(0.0, WIDTH), "k": dist.Normal(0.0, 1.0)},
        {"C": "y", "k": "y / x"},
        "m = C + k (x - 1/2)",
        "line",
    )
    y = 0.2 * X[:, 0] + NOISE * stats.norm.ppf((np.arange(12) * 5 % 12 + 0.5) / 12)
    obs = observations(X, y)
    belief = model_average(smc(1000)).init(
        jax.random.key(0), hypotheses({"line": known(sloped), "level": known(LEVEL)}), obs
    )
    assert prior_sweep(belief).overturned
    text = comparison_report(belief, obs)
    line, level = ("The width of priors decides: " + who for who in ("line with priors 0.5", "level with priors 2"))
    assert line in text or level in text  # with priors as given they are even
    assert "predicts held-out observations better" not in text


def test_held_out_densities_against_the_closed_form(belief):
    """Each reading given all others, for both laws, to what 1000 draws can tell (4.5 standard errors of a mean)."""
    obs = observations(X, Y, capacity=16)
    for posterior, column in zip(belief.posteriors, np.stack([X[:, 0], np.ones(12)]), strict=True):
        found = predictive_check(jax.random.key(1), posterior.conditioned(obs), obs).held_out
        covariance = WIDTH**2 * np.outer(column, column) + NOISE**2 * np.eye(12)
        precision = np.linalg.inv(covariance)
        mean, variance = Y - precision @ Y / np.diag(precision), 1 / np.diag(precision)
        exact = stats.norm.logpdf(Y, mean, np.sqrt(variance))
        # A draw's density varies by about z^2 / 2 (z sd)^2 of itself: the sd of what is averaged is below 2 here.
        np.testing.assert_allclose(found[:12], exact, atol=4.5 * 2 / np.sqrt(1000))
        np.testing.assert_array_equal(found[12:], 0.0)


def test_held_out_weights_are_bounded():
    """Two draws, one of which holds the reading impossible: its weight without the reading is cut, not infinite."""
    log_density, even = jnp.array([[0.0, -1.0], [-800.0, -1.0]]), jnp.log(jnp.full(2, 0.5))
    found = held_out(log_density, even)
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found[1], -1.0, atol=1e-12)


def test_a_report_says_where_held_out_prediction_disagrees():
    """A line against a level that was held 1e20 times as probable beforehand, which the readings do not outweigh."""
    rivals = hypotheses({"slope": known(SLOPE), "level": known(LEVEL)}, {"slope": 1e-20, "level": 1.0})
    obs = observations(X, Y)
    belief = model_average(smc(256)).init(jax.random.key(0), rivals, obs)
    assert float(belief.probability[1]) > 0.95
    assert "But slope predicts held-out observations better, by" in comparison_report(belief, obs)


def test_hypotheses_are_made_of_laws():
    x, y = (0.0, 1.0), (-1.0, 1.0)
    laws = {"flat": shapes.flat(x, y), "line": shapes.line(x, y)}
    with pytest.raises(ValueError, match="bounds"):
        hypotheses(laws)
    weighted = hypotheses(laws, {"flat": 3.0, "line": 1.0}, bounds=[x], scale=(0.0, 1.0))
    np.testing.assert_allclose(weighted.prior, [0.5, 1 / 6, 1 / 3])
    assert hypotheses({"flat": laws["flat"]}, bounds=[x], scale=(0.0, 1.0)).names == ("flat", NONE_OF_THESE)
    alone = hypotheses(laws, bounds=[x], scale=(0.0, 1.0), flexible=False)
    assert alone.names == ("flat", "line")
    wrapped = hypotheses(laws, bounds=[x], scale=(0.0, 1.0), within_process=True)
    obs = observations(X, Y)
    params = {"C": jnp.array(0.1), "noise": jnp.array(0.01), "lengthscale": jnp.ones(1), "variance": jnp.ones(())}
    same = gp.exact(1, mean=laws["flat"], prior=laws["flat"].prior, bounds=[x], standardize=(0.0, 1.0))
    assert wrapped.models["flat"].log_likelihood(params, obs) == same.log_likelihood(params, obs)


@pytest.mark.slow
def test_a_report_on_hierarchical_programs_says_what_it_could_not_try():
    def apart():  # the slope is not drawn by its own name, so how wide its prior is can not be told
        wide = numpyro.sample("wide", dist.HalfNormal(2.0))
        return {"k": wide * numpyro.sample("z", dist.Normal(0.0, 1.0)), "noise": jnp.asarray(NOISE**2)}

    hierarchical = parametric(1, SLOPE, apart, standardize=False)
    both = hypotheses({"slope": hierarchical, "level": known(LEVEL)})
    belief = model_average(smc(64)).init(jax.random.key(0), both, observations(X, Y))
    text = comparison_report(belief, observations(X, Y))
    assert "slope" in text.splitlines()[2]
    assert "was not tried" in text
    assert "'z'" in text or "'wide'" in text


TAILS = StudentNoise(4.0, capacity=16, of="known")


def draws(model, params, obs):
    """A posterior of given parameters, evenly weighted."""
    even = jnp.full(2, -jnp.log(2.0))
    info = Info.unknown(even.dtype)
    return Posterior(params, even, jnp.array(jnp.nan), None, info, None, model).conditioned(obs)


def test_heavy_tails_of_a_law_are_judged_by_their_normal_scores():
    y = np.where(np.arange(12) == 5, 4.0, Y)  # one observation far from all others
    obs = observations(X, y, capacity=16)
    prior = dict(SLOPE.prior) | {"noise": NOISE**2}
    slopes = np.array([1.3, 1.6])
    normal, heavy = (
        predictive_check(
            jax.random.key(1),
            draws(
                parametric(1, SLOPE, prior, noise, standardize=False),
                {"k": jnp.array(slopes), "noise": jnp.full(2, NOISE**2)},
                obs,
            ),
            obs,
        )
        for noise in ("inferred", StudentNoise(4.0))
    )
    t = (y[None] - slopes[:, None] * X[:, 0]) / NOISE
    score = stats.norm.ppf(stats.t.cdf(t, 4.0))
    np.testing.assert_allclose(heavy.size, stats.chi2.sf((score**2).sum(axis=1), 12).mean(), rtol=1e-8)
    np.testing.assert_allclose(np.asarray(heavy.pit)[:12], stats.t.cdf(t, 4.0).mean(axis=0), rtol=1e-8)
    assert float(normal.size) < 1e-6 < 0.02 < float(heavy.size)
    density = held_out(jnp.array(stats.t.logpdf(t, 4.0) - np.log(NOISE)), jnp.full(2, -jnp.log(2.0)))
    np.testing.assert_allclose(np.asarray(heavy.held_out)[:12], density, rtol=1e-8)


def test_heavy_tails_of_a_process_are_judged_given_the_excess_of_each_observation():
    y = np.where(np.arange(12) == 5, 4.0, Y)
    obs = observations(X, y, np.full(12, NOISE**2), capacity=16)
    model = gp.exact(1, noise=TAILS, standardize=(0.0, 1.0))
    excess = np.where(np.arange(16) == 5, 4.0, 0.0) + np.array([[0.0], [0.3]])
    params = {
        "lengthscale": jnp.array([[0.5], [0.9]]),
        "variance": jnp.array([1.0, 2.0]),
        "excess": jnp.array(excess),
    }
    check = predictive_check(jax.random.key(1), draws(model, params, obs), obs)
    sizes, densities = [], []
    for length, variance, extra in zip((0.5, 0.9), (1.0, 2.0), excess[:, :12], strict=True):
        apart = np.sqrt(5.0) * abs(X - X.T) / length
        covariance = variance * (1 + apart + apart**2 / 3) * np.exp(-apart)
        covariance += np.diag(NOISE**2 / stats.gamma.ppf(stats.norm.sf(extra), 2.0, scale=0.5))
        inverse = np.linalg.inv(covariance)
        sizes.append(stats.chi2.sf(y @ inverse @ y, 12))
        s = 1.0 / np.sqrt(np.diag(inverse))
        densities.append(stats.norm.logpdf(s**2 * (inverse @ y), scale=s))
    np.testing.assert_allclose(check.size, np.mean(sizes), rtol=1e-4)  # the jitter of the house
    expected = held_out(jnp.array(densities), jnp.full(2, -jnp.log(2.0)))
    np.testing.assert_allclose(np.asarray(check.held_out)[:12], expected, atol=1e-4)
    assert float(check.size) > 0.05


def test_checks_of_heavy_tails_do_not_alarm_where_they_are_right():
    """The smaller of two conservative probabilities below 0.02: 1.6 of 40 expected, above 6 has one below 0.002."""
    model = parametric(1, SLOPE, dict(SLOPE.prior) | {"noise": NOISE**2}, StudentNoise(3.0), standardize=False)
    seen = observations(X, Y)

    @jax.jit
    def one(key):
        key_k, key_y, key_fit, key_check = jax.random.split(key, 4)
        y = WIDTH * jax.random.normal(key_k) * seen.x[:, 0] + NOISE * jax.random.t(key_y, 3.0, (seen.y.size,))
        obs = seen._replace(y=jnp.where(seen.measured, y, 0.0))
        check = predictive_check(key_check, smc(64).init(key_fit, model, obs), obs)
        return jnp.minimum(check.size, check.structure)

    small = jax.lax.map(one, jax.random.split(jax.random.key(3), 40))
    assert int(jnp.sum(small < 0.02)) <= 6


def test_options_that_would_do_nothing_are_refused():
    models = {name: gp.exact(1, standardize=False, noise=noise) for name, noise in (("a", "inferred"), ("b", "known"))}
    with pytest.raises(ValueError, match="within_process puts laws inside"):
        hypotheses(models, within_process=True)
    with pytest.raises(ValueError, match="bounds without scale"):
        hypotheses(models, bounds=[[0.0, 1.0]])


def test_a_check_is_of_the_observations_that_the_posterior_knows(belief):
    with pytest.raises(ValueError, match=r"knows 12 observations, and 5 are to be checked"):
        predictive_check(jax.random.key(0), belief.posteriors[0], observations(X[:5], Y[:5]))
