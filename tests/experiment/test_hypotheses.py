"""Competing hypotheses: probabilities against closed forms, information against integrals, whole campaigns."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from scipy import stats
from scipy.special import logsumexp

from gpax_lab import (
    acquisition,
    bayes_opt,
    gp,
    hypotheses,
    means,
    model_average,
    nuts,
    observations,
    parametric,
    run,
    simulate,
    smc,
)
from gpax_lab.acquisition._information import _informations, telling_apart
from gpax_lab.core import Status
from gpax_lab.experiment import Simulated
from gpax_lab.experiment._buffer import buffer_for
from gpax_lab.experiment._history import fold
from gpax_lab.hypotheses import bandit
from gpax_lab.storage import Campaign, read

NOISE = 0.3
FLAT = means.Law(lambda x, p: p["C"] + 0 * x[0], {"C": dist.Normal(0.0, 1.0)}, {"C": "y"}, "m = C", "constant")
LINE = means.Law(lambda x, p: p["k"] * x[0], {"k": dist.Normal(0.0, 2.0)}, {"k": "y / x"}, "m = k x", "line")


def bare(law):
    """A law and measurements of known noise."""
    return parametric(1, law, dict(law.prior) | {"noise": NOISE**2}, standardize=False)


RACE = hypotheses({"flat": bare(FLAT), "line": bare(LINE)}, {"flat": 2.0, "line": 1.0})
X = np.array([[0.1], [0.9], [0.4], [0.7], [1.0]])
Y = 1.5 * X[:, 0] + NOISE * np.random.default_rng(1).standard_normal(5)
GRID = acquisition.grid([[0.0, 1.0]], (11,))
LEARNING = bayes_opt(RACE, model_average(smc(64)), acquisition.expected_information_gain(), GRID)


def line(key, x):
    return 1.5 * x[0] + NOISE * jax.random.normal(key)


def exact(x, y):
    """Log evidences in closed form."""
    noise = NOISE**2 * np.eye(len(x))
    flat = stats.multivariate_normal(np.zeros(len(x)), np.ones((len(x), len(x))) + noise).logpdf(y)
    return np.array([flat, stats.multivariate_normal(np.zeros(len(x)), 4.0 * x @ x.T + noise).logpdf(y)])


def test_probabilities_are_those_of_the_closed_form_at_every_measurement():
    sampler = model_average(smc(1000))
    posterior = sampler.init(jax.random.key(0), RACE, observations(X[:1], Y[:1], capacity=8))
    for n in range(1, 6):
        if n > 1:
            posterior = sampler.update(jax.random.key(n), posterior, observations(X[:n], Y[:n], capacity=8))
        score = exact(X[:n], Y[:n]) + np.log([2 / 3, 1 / 3])
        error = [float(p.info.evidence_error) for p in posterior.posteriors]
        assert max(error) < 0.2
        assert np.all(np.abs(posterior.log_evidence - exact(X[:n], Y[:n])) < 5 * np.array(error) + 1e-3)
        gap = np.abs(posterior.probability - np.exp(score - logsumexp(score)))
        assert np.all(gap < 5 * np.asarray(posterior.probability_error) + 1e-3)
    np.testing.assert_allclose(np.exp(posterior.log_weight).sum(), 1.0, rtol=1e-12)


@pytest.mark.slow
def test_error_of_the_probabilities_is_that_of_the_evidences_to_first_order():
    posterior = model_average(smc(64)).init(jax.random.key(0), RACE, observations(X, Y, capacity=8))
    p, error = np.asarray(posterior.probability), [float(q.info.evidence_error) for q in posterior.posteriors]
    both = p[0] * p[1] * np.hypot(*error)  # d p / d (difference of the log evidences) = p (1 - p)
    np.testing.assert_allclose(posterior.probability_error, [both, both], rtol=1e-9)


def test_a_model_average_predicts_as_the_mixture_of_all():
    posterior = model_average(smc(64)).init(jax.random.key(0), RACE, observations(X, Y, capacity=8))
    x = jnp.array([[0.3], [2.0]])
    mean, variance = posterior.moments(x)
    each = [p.moments(x) for p in posterior.posteriors]
    p = np.asarray(posterior.probability)
    centre = sum(w * m for w, (m, _) in zip(p, each, strict=True))
    spread = sum(w * (v + (m - centre) ** 2) for w, (m, v) in zip(p, each, strict=True))
    np.testing.assert_allclose(mean, centre, rtol=1e-12)
    np.testing.assert_allclose(variance, spread, rtol=1e-9)
    assert posterior.noise_variance(x).shape == (128, 2)
    few = posterior.thinned(jax.random.key(1), 16)
    assert few.log_weight.shape == (32,)
    np.testing.assert_allclose(few.probability, p, rtol=1e-12)
    # Draw 70 is number 6 of the second hypothesis.
    np.testing.assert_array_equal(posterior.joint(jnp.asarray(70), x)[0], posterior.posteriors[1].predict(x)[0][6])
    assert posterior.path(jnp.asarray(3), observations(X, Y, capacity=8), jax.random.key(0), x).shape == (2,)


def integrals(mean, std, weight, owner):
    """The same by brute force on a fine grid of measurements."""
    y = np.linspace(mean.min() - 9 * std.max(), mean.max() + 9 * std.max(), 200001)
    step = y[1] - y[0]
    density = weight[:, None] * stats.norm(mean[:, None], std[:, None]).pdf(y[None])
    of = np.stack([density[owner == m].sum(axis=0) for m in range(owner.max() + 1)])
    prior = np.array([weight[owner == m].sum() for m in range(owner.max() + 1)])

    def entropy(p):
        return -np.sum(np.where(p > 0, p * np.log(np.where(p > 0, p, 1.0)), 0.0)) * step

    inside = [entropy(d / p) for d, p in zip(of, prior, strict=True)]
    between = entropy(of.sum(axis=0)) - prior @ inside
    alone = weight @ (0.5 * np.log(2 * np.pi * np.e * std**2))
    return between, prior @ inside - alone


@pytest.mark.parametrize("seed", range(4))
def test_information_is_that_of_the_integral(seed):
    rng = np.random.default_rng(seed)
    owner = np.repeat([0, 1, 2], [5, 4, 6])
    mean = rng.normal([0.0, 1.0, -2.0], 0.5, (6, 3)).T.ravel()[: owner.size]
    std = rng.uniform(0.2, 0.6, owner.size)
    weight = rng.dirichlet(np.ones(owner.size))
    found = _informations(jnp.asarray(mean), jnp.asarray(std), jnp.log(weight), owner)
    np.testing.assert_allclose(found, integrals(mean, std, weight, owner), atol=0.01)


def test_information_at_its_limits():
    owner = np.array([0, 0, 1, 1])
    same = _informations(jnp.zeros(4), jnp.ones(4), jnp.log(jnp.array([0.25, 0.25, 0.4, 0.1])), owner)
    np.testing.assert_allclose(same, [0.0, 0.0], atol=1e-12)
    # Two hypotheses that can not be confused: one measurement tells all, which is log 2.
    apart = _informations(jnp.array([0.0, 0.0, 99.0, 99.0]), jnp.ones(4), jnp.full(4, jnp.log(0.25)), owner)
    np.testing.assert_allclose(apart, [np.log(2.0), 0.0], atol=1e-9)
    dead = _informations(jnp.zeros(4), jnp.ones(4), jnp.log(jnp.array([1.0, 0.0, 0.0, 0.0])), owner)
    np.testing.assert_allclose(dead, [0.0, 0.0], atol=1e-12)


def test_campaigns_go_where_hypotheses_differ_and_find_the_true_one():
    obs = buffer_for(observations(X[:1], Y[:1]), 6)
    state, path = simulate(jax.random.key(0), LEARNING, line, 6, obs)
    assert path.log_evidence.shape == (6, 2)
    assert np.all(path.info.status == Status.OK)
    # A level that was read at 0.1 and a line through 0 differ most at the far end.
    assert float(path.x[0, 0, 0]) == 1.0
    assert float(state.posterior.probability[1]) > 0.95


@pytest.mark.slow
def test_vmapped_model_averages_are_those_run_alone():
    obs = buffer_for(observations(X[:1], Y[:1]), 6)
    keys = jax.random.split(jax.random.key(1), 2)
    both = jax.vmap(lambda key: simulate(key, LEARNING, line, 3, obs)[1].log_evidence)(keys)
    alone = simulate(keys[1], LEARNING, line, 3, obs)[1].log_evidence
    np.testing.assert_allclose(both[1], alone, rtol=1e-9)


def test_a_journalled_model_average_is_resumed_where_it_was(tmp_path):
    file = tmp_path / "race.gpxj"

    with Campaign.create(file, {"settings": {}}) as campaign:
        given = {"seeds": X[:1], "key": jax.random.key(0), "scalarize": Simulated.scalarize}
        first = run(LEARNING, Simulated(line), campaign, 2, **given)
    assert first.state.posterior.names == ("flat", "line")
    again = fold(LEARNING, read(file).records).state
    np.testing.assert_array_equal(again.posterior.log_evidence, first.state.posterior.log_evidence)
    np.testing.assert_array_equal(again.posterior.moments(X)[0], first.state.posterior.moments(X)[0])
    mean, sd = again.posterior.summary()
    assert set(mean) == {"flat/C", "flat/noise", "line/k", "line/noise", "probability/flat", "probability/line"}
    assert mean["probability/flat"] + mean["probability/line"] == pytest.approx(1.0)
    assert sd["probability/flat"] > 0


@pytest.mark.slow
def test_a_law_inside_a_process_may_compete_with_the_law_alone():
    wrapped = gp.exact(1, mean=LINE, prior=LINE.prior, bounds=[[0.0, 1.0]], standardize=(0.0, 1.0))
    both = hypotheses({"line": bare(LINE), "line and more": wrapped})
    posterior = model_average(smc(32)).init(jax.random.key(0), both, observations(X, Y, capacity=8))
    assert np.isfinite(posterior.log_evidence).all()
    values = acquisition.expected_information_gain()(
        posterior, observations(X, Y, capacity=8), jnp.array([[0.5]]), jax.random.key(0)
    )
    assert float(values[0]) >= 0


def test_one_hypothesis_at_a_time_by_probability_greedily_or_at_random():
    obs = observations(X, Y, capacity=8)
    posterior = model_average(smc(64)).init(jax.random.key(0), RACE, obs)
    x = jnp.array([[0.0], [0.5], [1.0]])
    std = [np.sqrt(p.moments(x)[1]) for p in posterior.posteriors]
    p = np.asarray(posterior.probability)

    def share(score, count=400):
        """How often the first hypothesis was looked at; a line through 0 has no spread there, a level has."""
        values = np.asarray(jax.vmap(lambda k: score(posterior, obs, x, k))(jax.random.split(jax.random.key(1), count)))
        first = np.abs(values - std[0]).max(axis=1) < 1e-9
        assert np.all(first | (np.abs(values - std[1]).max(axis=1) < 1e-9))
        return first.mean()

    error = 5 * 0.5 / np.sqrt(400)
    assert abs(share(acquisition.uncertainty_of_one()) - p[0]) < error
    assert abs(share(acquisition.uncertainty_of_one(epsilon=1.0)) - 0.5) < error
    assert share(acquisition.uncertainty_of_one(power=np.inf)) == float(p[0] > p[1])


@pytest.mark.slow
def test_rewards_of_the_published_algorithm_are_kept_as_written():
    """Its bookkeeping anew in numpy, from the posteriors alone."""
    experiment = bayes_opt(RACE, bandit(smc(32), GRID.points, 2, epsilon=0.0), acquisition.uncertainty(), GRID)
    obs = buffer_for(observations(X[:1], Y[:1]), 5)
    state = experiment.init(jax.random.key(0), obs)
    reward, pulls, last = np.zeros(2), np.zeros(2, int), np.inf
    points = np.asarray(GRID.points)
    for step in range(1, 6):
        known = np.asarray(state.obs.x)[np.asarray(state.obs.measured)]
        left = points[~(points[:, None] == known[None]).all(axis=2).any(axis=1)]
        medians = np.array([np.median(p.moments(left)[1] + NOISE**2) for p in state.posterior.posteriors])
        chosen = medians.argmin() if step <= 2 else reward.argmax()
        gain = 1.0 if step <= 2 or medians[chosen] < last else -1.0
        pulls[chosen] += 1
        reward[chosen] += (gain - reward[chosen]) / pulls[chosen]
        last = medians[chosen]
        assert int(state.posterior.chosen) == chosen
        np.testing.assert_allclose(state.posterior.reward, reward, rtol=1e-12)
        np.testing.assert_array_equal(state.posterior.pulls, pulls)
        assert float(state.posterior.median) == pytest.approx(last)
        state, x = experiment.propose(state)
        spread = state.posterior.posteriors[chosen].moments(left)[1]
        at = float(spread[np.abs(left[:, 0] - float(x[0, 0])).argmin()])
        assert at >= float(spread.max()) * (1 - 1e-9)  # a line spreads as much at two places, but for rounding
        state = experiment.observe(state, x, jnp.array([line(jax.random.key(step), x[0])]))


@pytest.mark.slow
def test_the_published_choice_may_be_soft_and_is_a_campaign_like_any_other():
    soft = bandit(smc(16), GRID.points, 1, temperature=0.5)
    experiment = bayes_opt(RACE, soft, acquisition.uncertainty(), GRID)
    state, path = simulate(jax.random.key(0), experiment, line, 3, buffer_for(observations(X[:1], Y[:1]), 3))
    assert np.isfinite(path.y).all()
    assert int(state.posterior.pulls.sum()) == 4
    with pytest.raises(ValueError, match="bandit needs num_initial"):
        bandit(smc(), GRID.points, num_initial=0)


def test_decisions_keep_a_floor_under_every_rival_and_reports_do_not():
    belief = model_average(smc(16)).init(jax.random.key(0), RACE, observations(X, Y, capacity=8))
    seen = belief.floored(0.2)
    np.testing.assert_allclose(seen.probability, 0.8 * belief.probability + 0.1, rtol=1e-10)
    np.testing.assert_allclose(belief.floored(0.0).probability, belief.probability, rtol=1e-10)
    np.testing.assert_array_equal(seen.log_evidence, belief.log_evidence)
    out = replace(belief, log_prior=belief.log_prior.at[0].set(-jnp.inf)).floored(0.2)
    np.testing.assert_allclose(out.probability, [0.0, 1.0], atol=1e-12)


def test_parting_is_the_standard_deviation_of_the_hypotheses_means():
    obs = observations(X, Y, capacity=8)
    belief = model_average(smc(16)).init(jax.random.key(0), RACE, obs)
    p = np.asarray(belief.probability)
    each = np.stack([posterior.moments(GRID.points)[0] for posterior in belief.posteriors])
    spread = np.sqrt(p @ (each - p @ each) ** 2)
    np.testing.assert_allclose(acquisition.parting()(belief, obs, GRID.points), spread, rtol=1e-8)
    penalty = acquisition.distance_penalty(0.1)
    for goal, value in ((acquisition.ucb(), spread), (acquisition.log_ei(), np.log(spread))):
        apart = telling_apart(goal + 2.0 * penalty)(belief, obs, GRID.points)
        np.testing.assert_allclose(apart, value + 2.0 * penalty(belief, obs, GRID.points), rtol=1e-8)


@pytest.mark.parametrize(
    "goal", [acquisition.ucb(), acquisition.expected_information_gain()], ids=["optimum", "learning"]
)
def test_every_third_point_tells_rivals_apart_where_an_optimum_is_sought(goal):
    plan = bayes_opt(RACE, model_average(smc(16)), goal, GRID, floor=0.3, apart_every=3)
    state, turns = plan.init(jax.random.key(0), observations(X[:2], Y[:2], capacity=8)), []
    for step in range(4):
        key = jax.random.split(state.key, 3)[2]
        seen = state.posterior.floored(0.3) if goal.names == ("ucb",) else state.posterior
        measured = np.isin(np.asarray(GRID.points)[:, 0].round(9), np.asarray(state.obs.x)[: step + 2, 0].round(9))
        expected = [np.where(measured, -np.inf, s(seen, state.obs, GRID.points, key)).argmax()
                    for s in (goal, acquisition.parting())]  # fmt: skip
        before, (state, x) = state, plan.propose(state)
        turns.append([float(GRID.points[i, 0]) == float(x[0, 0]) for i in expected])
        state = plan.observe(state, x, line(before.key, x[0])[None])
    wanted = [1, 0, 0, 1] if goal.names == ("ucb",) else [0, 0, 0, 0]  # the third and the sixth point
    assert [turn[w] for turn, w in zip(turns, wanted, strict=True)] == [True] * 4


def test_mistakes_are_told():
    with pytest.raises(TypeError, match="model_average"):
        bayes_opt(RACE, smc(8), acquisition.expected_information_gain(), acquisition.grid([(0.0, 1.0)], (5,)))
    with pytest.raises(ValueError, match="yields no log evidence"):
        model_average(nuts())
    with pytest.raises(ValueError, match="floor"):
        bayes_opt(RACE, model_average(smc(8)), acquisition.ucb(), GRID, floor=1.0)
    with pytest.raises(TypeError, match="hypotheses"):
        model_average(smc()).init(jax.random.key(0), bare(LINE), observations(X, Y))
    with pytest.raises(ValueError, match="epsilon is a probability"):
        acquisition.uncertainty_of_one(epsilon=2.0)
    with pytest.raises(ValueError, match="two hypotheses or more"):
        hypotheses({"line": bare(LINE)})
    with pytest.raises(ValueError, match="standardise the observations by themselves"):
        hypotheses({"line": bare(LINE), "free": gp.exact(1)})
    with pytest.raises(ValueError, match="use the same"):
        hypotheses({"line": bare(LINE), "plane": gp.exact(2, standardize=False)})
    with pytest.raises(ValueError, match="positive number for each"):
        hypotheses({"line": bare(LINE), "flat": bare(FLAT)}, {"line": 1.0})
    with pytest.raises(ValueError, match="0 <= within <= 1"):
        acquisition.expected_information_gain(within=2.0)
    alone = smc(16).init(jax.random.key(0), bare(LINE), observations(X, Y, capacity=8))
    with pytest.raises(TypeError, match="compares hypotheses"):
        acquisition.expected_information_gain()(alone, observations(X, Y, capacity=8), jnp.array([[0.5]]))
