"""Batches: drawn functions have the posterior's moments, joint improvement, exploration, distances, routes."""

from itertools import permutations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gpax_lab import acquisition, kernels
from gpax_lab.acquisition._route import shortest_path
from gpax_lab.core._observations import FAILED, PENDING, VETOED, add_pending, grow, observations
from gpax_lab.experiment import bayes_opt
from gpax_lab.inference import nuts
from gpax_lab.models import gp, parametric

X = np.array([[0.1], [0.4], [0.5], [0.9]])
Y = np.array([0.2, 1.0, 0.7, -0.3])
OBS = observations(X, Y, capacity=8)
NEW = jnp.array([[0.0], [0.25], [0.45], [0.7], [1.0]])
MODEL = gp.exact(1, kernels.matern52)
GRID = acquisition.grid([[0, 1]], (101,))


@pytest.fixture(scope="module")
def posterior():
    return nuts(30, 40, thin_to=6).init(jax.random.key(0), MODEL, OBS)


@pytest.mark.parametrize("pending", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_drawn_functions_have_the_joint_moments_of_the_posterior(posterior, pending):
    obs = add_pending(OBS, jnp.array([0.72])) if pending else OBS
    view, count = posterior.with_pending(obs), 4000
    paths = np.asarray(view.paths(obs, jax.random.key(2), NEW, count))
    for k in range(6):
        params, factor = jax.tree.map(lambda leaf, k=k: leaf[k], (view.params, view.factor))
        mean, covariance = map(np.asarray, MODEL.joint(params, factor, NEW))
        sd = np.sqrt(np.diag(covariance))
        assert (np.abs(paths[k].mean(axis=0) - mean) < 5 * sd / np.sqrt(count)).all()
        # A sample covariance of n normal pairs scatters by sqrt((s_ii s_jj + s_ij^2) / n).
        error = 5 * np.sqrt((np.outer(sd**2, sd**2) + covariance**2) / count)
        assert (np.abs(np.cov(paths[k].T) - covariance) < error + 1e-9).all()


@pytest.mark.slow
def test_a_drawn_function_is_the_same_wherever_it_is_looked_at(posterior):
    key = jax.random.key(3)
    together = posterior.paths(OBS, key, NEW, 2)
    apart = jnp.concatenate([posterior.paths(OBS, key, NEW[:2], 2), posterior.paths(OBS, key, NEW[2:], 2)], axis=-1)
    np.testing.assert_allclose(apart, together, rtol=1e-9, atol=1e-9)
    wide = grow(OBS, 16)
    assert np.isfinite(np.asarray(posterior.paths(OBS, key, OBS.x, 1))).all()
    assert wide.capacity == 16


def test_a_physics_model_alone_draws_its_mean():
    line = parametric(1, lambda x, p: p["slope"] * x[0], {"slope": 2.0}, "inferred")
    factor = line.condition({"slope": jnp.asarray(2.0), "noise": jnp.asarray(0.1)}, OBS)
    drawn = line.paths({"slope": jnp.asarray(2.0)}, factor, OBS, jax.random.key(0), 3, NEW)
    np.testing.assert_allclose(drawn, np.tile(2.0 * np.asarray(NEW)[:, 0], (3, 1)))


def test_one_point_of_a_batch_is_expected_improvement(posterior):
    exact = np.asarray(acquisition.log_ei()(posterior, OBS, NEW))
    count = 3000
    drawn = np.asarray(acquisition.q_log_ei(paths=count, temperature=1e-3)(posterior, OBS, NEW, jax.random.key(1)))
    variance = np.asarray(posterior.predict(NEW)[1])
    spread = np.sqrt(variance).max(axis=0)
    likely = exact > np.log(0.03 * spread)  # far below, hardly any drawn function improves
    assert likely.sum() >= 2
    # Improvement of a normal has a standard deviation below that of the normal.
    error = 5 * spread / np.sqrt(6 * count)
    assert (np.abs(np.exp(drawn) - np.exp(exact)) < error)[likely].all()


@pytest.mark.parametrize(
    "score", [acquisition.q_log_nei(paths=4), pytest.param(acquisition.q_log_ei(paths=4), marks=pytest.mark.slow)]
)
def test_a_pending_point_is_not_worth_asking_again(posterior, score):
    key = jax.random.key(4)
    first = GRID.points[jnp.argmax(score(posterior, OBS, GRID.points, key))]
    asked = add_pending(OBS, first)
    before, after = (score(posterior, obs, first[None], key)[0] for obs in (OBS, asked))
    assert after < before - 1.0
    far = jnp.array([[0.0]]) if first[0] > 0.5 else jnp.array([[1.0]])
    drop = score(posterior, OBS, far, key)[0] - score(posterior, asked, far, key)[0]
    assert before - after > drop


def test_minimising_is_maximising_the_mirror_image(posterior):
    mirrored = OBS._replace(y=-OBS.y)
    flipped = nuts(30, 40, thin_to=6).init(jax.random.key(0), MODEL, mirrored)
    a = acquisition.ucb_pe(maximize=True)(posterior, OBS, NEW)
    b = acquisition.ucb_pe(maximize=False)(flipped, mirrored, NEW)
    np.testing.assert_allclose(a, b, rtol=1e-6)


def test_equal_scores_share_what_is_compiled():
    for make in (
        acquisition.q_log_nei,
        acquisition.q_log_ei,
        acquisition.uncertainty,
        lambda: acquisition.min_distance(1.0),
    ):
        assert make().terms == make().terms


def test_ucb_pe_bounds_first_and_explores_the_relevant_region_then(posterior):
    first = acquisition.ucb_pe(1.5)(posterior, OBS, GRID.points)
    np.testing.assert_allclose(first, acquisition.ucb(1.5)(posterior, OBS, GRID.points), rtol=1e-12)
    asked = add_pending(OBS, GRID.points[jnp.argmax(first)])
    view = posterior.with_pending(asked)
    value = np.asarray(acquisition.ucb_pe(1.5)(view, asked, GRID.points))
    mean, variance = map(np.asarray, view.predict(GRID.points))
    total = np.sqrt(variance.mean(axis=0) + mean.var(axis=0))
    known = np.asarray(view.predict(OBS.x)[0]).mean(axis=0)[:4].max()
    relevant = mean.mean(axis=0) + 1.5 * total >= known
    assert 0 < relevant.sum() < 101
    np.testing.assert_allclose(value[relevant], total[relevant], rtol=1e-10)
    assert (value[~relevant] < 0).all()


def test_min_distance_relaxes_with_every_step_back(posterior):
    obs = OBS._replace(status=OBS.status.at[2].set(FAILED))
    obs = add_pending(add_pending(obs, jnp.array([0.65])), jnp.array([0.0]), VETOED)
    trail = [0.65, 0.9, 0.5, 0.4, 0.1]  # newest first; nobody went to 0.0
    value = np.asarray(acquisition.min_distance(0.1, memory=3, relax=0.5)(posterior, obs, GRID.points))
    for x, got in zip(np.asarray(GRID.points)[:, 0], value, strict=True):
        near = any(abs(x - at) < 0.1 * 0.5**i for i, at in enumerate(trail[:3]))
        assert got == (-np.inf if near else 0.0)
    nothing = GRID.best(jax.random.key(0), lambda x: acquisition.min_distance(9.0)(posterior, obs, x), obs)
    assert bool(nothing.fallback)
    assert float(nothing.x[0]) == pytest.approx(0.25)  # 0.15 from 0.1 and 0.4, the widest gap


@pytest.mark.slow
def test_a_drawn_function_is_climbed_in_a_box(posterior):
    score, key = acquisition.thompson_path(), jax.random.key(6)
    box = acquisition.box([[0.0, 1.0]], starts=64, refine=4)
    found = box.best(jax.random.key(7), lambda x: score(posterior, OBS, x, key), OBS)
    dense = jnp.linspace(0, 1, 2001)[:, None]
    values = score(posterior, OBS, dense, key)
    assert float(found.value) >= float(values.max()) - 1e-3 * float(jnp.ptp(values))


@pytest.mark.parametrize("seed", range(6))
def test_routes_against_all_permutations(seed):
    x = np.random.default_rng(seed).random((6, 2))
    order = np.asarray(shortest_path(jnp.zeros(2), jnp.asarray(x)))
    assert sorted(order.tolist()) == list(range(6))

    def length(way):
        path = np.vstack([np.zeros((1, 2)), x[list(way)]])
        return np.linalg.norm(np.diff(path, axis=0), axis=1).sum()

    best = min(length(way) for way in permutations(range(6)))
    assert length(order) <= 1.05 * best


def test_one_point_needs_no_route():
    assert shortest_path(jnp.zeros(2), jnp.ones((1, 2))).tolist() == [0]


@pytest.mark.parametrize(
    "score",
    [
        acquisition.q_log_nei(),
        *(
            pytest.param(s, marks=pytest.mark.slow)
            for s in (acquisition.ucb_pe(), acquisition.thompson_path(), acquisition.log_ei())
        ),
    ],
)
def test_a_batch_is_distinct_pending_and_in_the_order_of_the_visit(score):
    sampler = nuts(10, 16, thin_to=4, max_tree_depth=3)
    experiment = bayes_opt(MODEL, sampler, score, GRID, batch_size=4, by_travel=True)
    state, x = experiment.propose(experiment.init(jax.random.key(0), OBS))
    asked = np.asarray(x)[:, 0]
    assert len(set(asked.tolist())) == 4
    assert np.asarray(state.obs.status)[4:].tolist() == [PENDING] * 4
    np.testing.assert_array_equal(np.asarray(state.obs.x)[4:, 0], asked)
    path = np.concatenate([[0.9], asked])
    shortest = min(np.abs(np.diff(np.concatenate([[0.9], p]))).sum() for p in permutations(asked))
    assert np.abs(np.diff(path)).sum() <= 1.05 * shortest


def test_settling_costs_only_a_move(posterior):
    value = acquisition.travel(speed=0.2, measure_s=3.0, settle_s=2.0)(posterior, OBS, jnp.array([[0.9], [0.7]]))
    np.testing.assert_allclose(value, [-np.log(3.0), -np.log(3.0 + 2.0 + 1.0)], rtol=1e-12)
