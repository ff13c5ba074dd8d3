"""Every score: a value known by independent means, extreme tails, unused slots, minimisation."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from gpax_lab import acquisition
from gpax_lab.acquisition._acquisition import as_acquisition
from gpax_lab.acquisition._penalties import last_point
from gpax_lab.core._observations import FAILED, VETOED, add_pending, grow, observations
from gpax_lab.inference import nuts
from gpax_lab.models import gp

X = np.array([[0.1], [0.4], [0.5], [0.9]])
Y = np.array([0.2, 1.0, 0.7, -0.3])
OBS = observations(X, Y)
NEW = jnp.array([[0.0], [0.25], [0.45], [0.7], [1.0]])
MODEL = gp.exact(1)
SCORES = {
    "log_ei": acquisition.log_ei(),
    "log_pi": acquisition.log_pi(),
    "ucb": acquisition.ucb(1.5),
    "uncertainty": acquisition.uncertainty(),
    "disagreement": acquisition.disagreement(),
    "thompson": acquisition.thompson(),
    "at random": acquisition.random(),
    "own": acquisition.of_moments(lambda mean, std: 5 * std + 10 * mean),
    "sum": acquisition.log_ei()
    + 0.5 * acquisition.travel(2.0, 1.0)
    + acquisition.distance_penalty(0.1)
    + acquisition.feasible(0.2),
}


@pytest.fixture(scope="module")
def posterior():
    return nuts(30, 40, thin_to=6).init(jax.random.key(0), MODEL, OBS)


@pytest.fixture(params=SCORES)
def score(request):
    return SCORES[request.param]


def by_draw(posterior):
    mean, variance = posterior.predict(NEW)
    best = jnp.max(jnp.where(OBS.measured[None], posterior.predict(OBS.x)[0], -jnp.inf), axis=1)
    return np.asarray(mean), np.sqrt(np.asarray(variance)), np.asarray(best)[:, None]


def test_log_ei_is_the_mean_over_draws_of_expected_improvement(posterior):
    mean, std, best = by_draw(posterior)
    u = (mean - best) / std
    expected = np.log(np.mean(std * (stats.norm.pdf(u) + u * stats.norm.cdf(u)), axis=0))
    np.testing.assert_allclose(SCORES["log_ei"](posterior, OBS, NEW), expected, rtol=1e-9)


def test_log_pi(posterior):
    mean, std, best = by_draw(posterior)
    expected = np.log(np.mean(stats.norm.cdf((mean - best - 0.1) / std), axis=0))
    np.testing.assert_allclose(acquisition.log_pi(xi=0.1)(posterior, OBS, NEW), expected, rtol=1e-9)


def test_scores_of_the_mixture(posterior):
    mean, std, _ = by_draw(posterior)
    centre = mean.mean(axis=0)
    total = np.sqrt((std**2).mean(axis=0) + mean.var(axis=0))
    np.testing.assert_allclose(SCORES["ucb"](posterior, OBS, NEW), centre + 1.5 * total, rtol=1e-10)
    np.testing.assert_allclose(SCORES["uncertainty"](posterior, OBS, NEW), total, rtol=1e-10)
    np.testing.assert_allclose(SCORES["disagreement"](posterior, OBS, NEW), mean.std(axis=0), rtol=1e-8)
    np.testing.assert_allclose(SCORES["own"](posterior, OBS, NEW), 5 * total + 10 * centre, rtol=1e-10)


def test_every_third_point_is_for_learning_and_penalties_stay(posterior):
    spread = SCORES["uncertainty"](posterior, OBS, NEW)
    near = acquisition.distance_penalty(0.1)
    improving = acquisition.log_ei() + near
    cases = {
        "seek": (acquisition.seek(every=3), acquisition.ucb(), spread),
        "log": (acquisition.learning(improving, 3), improving, None),
    }
    for name, (score, plain, learned) in cases.items():
        if learned is None:
            learned = jnp.log(spread) + near(posterior, OBS, NEW)
        np.testing.assert_allclose(score(posterior, OBS, NEW), plain(posterior, OBS, NEW), rtol=1e-12, err_msg=name)
        fifth = OBS._replace(status=OBS.status.at[5].set(FAILED))  # the sixth is the next one; a veto does not count
        fifth = fifth._replace(status=fifth.status.at[6].set(VETOED))
        kept = near(posterior, fifth, NEW) - near(posterior, OBS, NEW) if name == "log" else 0.0
        np.testing.assert_allclose(score(posterior, fifth, NEW), learned + kept, rtol=1e-9, err_msg=name)
    assert acquisition.learning(acquisition.log_ei()).terms == acquisition.learning(acquisition.log_ei(), 7).terms
    with pytest.raises(ValueError, match="at least 2"):
        acquisition.seek(every=1)
    with pytest.raises(ValueError, match="seek no optimum"):
        acquisition.learning(acquisition.uncertainty())
    own = acquisition.learning(SCORES["own"])  # what a user writes of mean and std is a goal too
    assert own.terms != SCORES["own"].terms


def test_minimising_y_is_maximising_minus_y(posterior):
    mirrored = OBS._replace(y=-OBS.y)
    flipped = nuts(30, 40, thin_to=6).init(jax.random.key(0), MODEL, mirrored)
    flipped = replace(
        flipped, params=posterior.params, factor=jax.vmap(lambda p: MODEL.condition(p, mirrored))(posterior.params)
    )
    for maker in (acquisition.log_ei, acquisition.log_pi):
        np.testing.assert_allclose(
            maker(maximize=False)(flipped, mirrored, NEW), maker()(posterior, OBS, NEW), rtol=1e-9
        )
    np.testing.assert_allclose(
        acquisition.ucb(2.0, maximize=False)(flipped, mirrored, NEW),
        acquisition.ucb(2.0)(posterior, OBS, NEW),
        rtol=1e-9,
    )


def test_thompson_draws_have_the_posterior_moments(posterior):
    one = replace(posterior, log_weight=jnp.where(jnp.arange(6) == 2, 0.0, -jnp.inf))
    mean, std, _ = by_draw(posterior)
    draws = jax.vmap(lambda k: SCORES["thompson"](one, OBS, NEW, k))(jax.random.split(jax.random.key(3), 4000))
    assert (np.abs(draws.mean(axis=0) - mean[2]) < 5 * std[2] / np.sqrt(4000)).all()
    np.testing.assert_allclose(draws.std(axis=0), std[2], rtol=5 / np.sqrt(2 * 4000))


def test_unused_slots_do_not_show(posterior, score):
    wide = grow(OBS, 16)
    factor = jax.vmap(lambda p: MODEL.condition(p, wide))(posterior.params)
    padded = replace(posterior, factor=factor)
    key = jax.random.key(1)
    np.testing.assert_allclose(score(padded, wide, NEW, key), score(posterior, OBS, NEW, key), rtol=1e-10, atol=1e-10)


def test_far_below_the_incumbent_values_stay_finite_and_ordered(posterior):
    hopeless = replace(posterior, factor=jax.tree.map(lambda leaf: leaf, posterior.factor))
    value = acquisition.log_ei(xi=1e4)(hopeless, OBS, NEW)
    assert jnp.isfinite(value).all()
    assert np.argmax(value) == np.argmax(acquisition.log_ei(xi=1e3)(hopeless, OBS, NEW))


def test_gradient_in_x_by_finite_differences(posterior):
    score, at = SCORES["log_ei"], jnp.array([0.3])
    gradient = jax.grad(lambda x: score(posterior, OBS, x[None])[0])(at)
    up, down = (score(posterior, OBS, at[None] + s * 1e-6)[0] for s in (1, -1))
    np.testing.assert_allclose(gradient[0], (up - down) / 2e-6, rtol=1e-5)


def test_travel_is_the_log_of_the_time_and_the_distance_penalty_of_the_distance(posterior):
    obs = add_pending(OBS, jnp.array([0.6]))
    assert float(last_point(obs)[0]) == 0.6
    travel = acquisition.travel(speed=0.2, measure_s=3.0)(posterior, obs, NEW)
    np.testing.assert_allclose(travel, -np.log(3.0 + np.abs(np.asarray(NEW)[:, 0] - 0.6) / 0.2), rtol=1e-12)
    close = acquisition.distance_penalty(0.2)(posterior, obs, jnp.array([[0.6], [0.7], [0.1]]))
    np.testing.assert_allclose(close[1], np.log(1 - np.exp(-0.25)), rtol=1e-10)
    assert close[0] < -30
    assert close[2] < -30
    assert jnp.isfinite(close).all()


def test_nobody_travels_to_a_vetoed_point_and_no_failure_is_learned_from_it(posterior):
    obs = add_pending(OBS, jnp.array([0.6]), VETOED)
    assert float(last_point(obs)[0]) == 0.9
    wide = acquisition.feasible(0.1)
    np.testing.assert_allclose(wide(posterior, obs, NEW), wide(posterior, OBS, NEW), rtol=1e-12)


def test_feasible_is_the_mean_of_a_beta_distribution(posterior):
    obs = OBS._replace(status=OBS.status.at[2].set(FAILED))  # at 0.5; good at 0.1, 0.4, 0.9
    value = acquisition.feasible(0.1, strength=2.0)(posterior, obs, NEW)
    share = (3 + 1) / (4 + 2)
    for x, got in zip(np.asarray(NEW)[:, 0], np.asarray(value), strict=True):
        good = sum(np.exp(-0.5 * ((x - at) / 0.1) ** 2) for at in (0.1, 0.4, 0.9))
        bad = np.exp(-0.5 * ((x - 0.5) / 0.1) ** 2)
        assert got == pytest.approx(np.log((2 * share + good) / (2 + good + bad)), rel=1e-12)
    far = acquisition.feasible(1e-4)(posterior, obs, NEW)
    np.testing.assert_allclose(far, np.log(share), rtol=1e-12)


def test_weights_are_arrays_and_arithmetic_is_arithmetic(posterior):
    a, b = SCORES["ucb"], SCORES["uncertainty"]
    np.testing.assert_allclose(
        (a - 2.0 * b)(posterior, OBS, NEW), a(posterior, OBS, NEW) - 2 * b(posterior, OBS, NEW), rtol=1e-12
    )
    assert len(jax.tree.leaves((a + b).weights)) == 2
    with pytest.raises(TypeError, match="function of"):
        as_acquisition(lambda mean: mean)


class TestCandidates:
    def best(self, candidates, value_of, obs=OBS):
        return candidates.best(jax.random.key(0), value_of, obs)

    def test_used_pool_points_are_not_proposed_again_unless_asked_for(self):
        points = np.array([[0.1], [0.4], [0.45], [0.9]])
        peak = lambda x: -jnp.abs(x[:, 0] - 0.41)  # noqa: E731
        assert float(self.best(acquisition.pool(points), peak).x[0]) == 0.45
        assert float(self.best(acquisition.pool(points, repeat=True), peak).x[0]) == 0.4
        failed = OBS._replace(status=OBS.status.at[1].set(FAILED))
        assert float(self.best(acquisition.pool(points), peak, failed).x[0]) == 0.45

    def test_a_score_that_is_nan_gives_the_most_remote_point_and_says_so(self):
        choice = self.best(acquisition.grid([[0, 1]], (11,)), lambda x: jnp.full(x.shape[0], jnp.nan))
        assert bool(choice.fallback)
        assert float(choice.x[0]) == pytest.approx(0.7)  # 0.2 from 0.5 and 0.9, the widest gap
        partly = self.best(acquisition.grid([[0, 1]], (11,)), lambda x: jnp.where(x[:, 0] > 0.65, x[:, 0], jnp.nan))
        assert not bool(partly.fallback)
        assert float(partly.x[0]) == 1.0

    def test_an_infinite_score_hides_no_finite_one(self):
        grid = acquisition.grid([[0, 1]], (11,))
        choice = self.best(grid, lambda x: jnp.where(x[:, 0] < 0.05, jnp.inf, -((x[:, 0] - 0.3) ** 2)))
        assert not bool(choice.fallback)
        assert float(choice.x[0]) == pytest.approx(0.3)

    def test_no_score_and_no_point_are_told_apart(self):
        points = np.array([[0.1], [0.4], [0.45]])
        hopeless = self.best(acquisition.pool(points), lambda x: jnp.full(x.shape[0], -jnp.inf))
        assert bool(hopeless.fallback)
        assert np.isnan(hopeless.value)
        assert float(hopeless.x[0]) == 0.45
        exhausted = self.best(acquisition.pool(points[:2]), lambda x: x[:, 0])
        assert bool(exhausted.fallback)
        assert exhausted.value == -np.inf

    def test_chunks_give_what_one_piece_gives(self):
        pool = replace(acquisition.grid([[0, 1]], (101,)), chunk=8)
        wave = lambda x: jnp.sin(20 * x[:, 0])  # noqa: E731
        assert self.best(pool, wave).x == self.best(acquisition.grid([[0, 1]], (101,)), wave).x

    def test_a_box_is_climbed_to_its_maximum_also_on_the_edge(self):
        box = acquisition.box([[-1e-6, 1e-6], [0.0, 5.0]], starts=64)
        inside = self.best(
            box, lambda x: -((x[:, 0] * 1e6 - 0.3) ** 2) - (x[:, 1] - 2.0) ** 2, observations([[0.0, 1.0]], [0.0])
        )
        np.testing.assert_allclose(inside.x * np.array([1e6, 1.0]), [0.3, 2.0], atol=2e-2)
        edge = self.best(box, lambda x: x[:, 1] - x[:, 0] * 1e6, observations([[0.0, 1.0]], [0.0]))
        np.testing.assert_allclose(edge.x, [-1e-6, 5.0], rtol=1e-9)

    def test_a_box_and_a_pool_spread_their_seeds(self):
        box = acquisition.box([[0, 1], [2, 4]]).space_filling(jax.random.key(0), 16)
        assert ((box >= jnp.array([[0, 2]])) & (box <= jnp.array([[1, 4]]))).all()
        gaps = np.linalg.norm((np.asarray(box)[:, None] - np.asarray(box)[None]) / [1, 2], axis=-1)
        assert gaps[~np.eye(16, dtype=bool)].min() > 0.1  # 16 random points come closer than 0.1 almost always
        assert len(np.unique(acquisition.grid([[0, 1]], (9,)).space_filling(jax.random.key(0), 9))) == 9

    @pytest.mark.parametrize("points", [[], [[np.nan]], [0.0]])
    def test_bad_pools_are_refused(self, points):
        with pytest.raises(ValueError, match="pool"):
            acquisition.pool(points)


def test_chance_is_fair_and_does_not_depend_on_who_else_is_looked_at(posterior):
    key, grid = jax.random.key(3), jnp.linspace(0.0, 1.0, 400)[:, None]
    values = acquisition.random()(posterior, OBS, grid, key)
    np.testing.assert_array_equal(acquisition.random()(posterior, OBS, grid[100:103], key), values[100:103])
    assert stats.kstest(np.asarray(values), "uniform").pvalue > 0.001
    assert not np.array_equal(acquisition.random()(posterior, OBS, grid, jax.random.key(4)), values)
