"""Which point of a pool a slot has taken, however the points lie, and how far beside it an answer may be."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gpax_lab import acquisition
from gpax_lab.acquisition._neighbours import tolerance_around
from gpax_lab.core._observations import FAILED, VETOED, add_pending, observations

KEY = jax.random.key(0)
DILUTIONS = np.logspace(-9, 0, 10)


def offered(pool, obs, most=40):
    """Points in the order of the pool, asked one after the other until none is left."""
    order = lambda x: -jnp.arange(x.shape[0], dtype=x.dtype)  # noqa: E731
    found = []
    for _ in range(most):
        choice = pool.best(KEY, order, obs, joint=True)
        if not np.isfinite(choice.value):
            assert np.isnan(choice.x).all()
            break
        found.append(np.asarray(choice.x))
        obs = add_pending(obs, choice.x)
    return np.array(found)


def product(*axes):
    return np.stack([axis.ravel() for axis in np.meshgrid(*axes, indexing="ij")], axis=1)


@pytest.mark.parametrize("kind", [jnp.float64, jnp.float32])
@pytest.mark.parametrize(
    "points",
    [
        DILUTIONS[:, None],
        product(DILUTIONS[::3], np.linspace(20.0, 80.0, 4)),
        np.array([[0.3], [0.3 + 1e-6], [0.3 + 2e-6], [0.9]]),
        1e-6 * np.random.default_rng(0).dirichlet(np.ones(3), 20),
        1.7e9 + 1e4 * np.arange(6.0)[:, None],
    ],
    ids=["decades", "decades and degrees", "nearly the same", "compositions", "times"],
)
def test_every_point_is_offered_once(points, kind):
    pool = acquisition.pool(points, dtype=kind)
    obs = observations(points[:2], [0.1, 0.2], capacity=32, dtype=kind)
    np.testing.assert_array_equal(offered(pool, obs), np.asarray(pool.points)[2:])


def test_wells_of_one_composition_are_wells():
    points = np.array([[0.1], [0.4], [0.1], [-0.0], [0.1], [0.0]])
    pool, obs = acquisition.pool(points), observations([[0.1]], [1.0], capacity=16)
    assert offered(pool, obs)[:, 0].tolist() == [0.4, 0.1, 0.0, 0.1, 0.0]
    vetoed = add_pending(obs, jnp.array([0.1]), VETOED)
    assert offered(pool, vetoed)[:, 0].tolist() == [0.4, 0.0, 0.0]
    failed = obs._replace(status=obs.status.at[0].set(FAILED))
    assert len(offered(pool, failed)) == 5


def test_a_seed_beside_a_point_takes_it_and_one_between_two_takes_none():
    pool = acquisition.pool(DILUTIONS[:, None])
    seeds = np.array([[1.002e-9], [5e-6], [1e-3 * (1 + 1e-7)]])
    taken = pool.taken(observations(seeds, np.zeros(3)))
    np.testing.assert_array_equal(np.flatnonzero(taken), [0, 6])
    coarse = acquisition.grid([[0, 1], [0, 1]], (5, 5))
    anywhere = np.random.default_rng(1).uniform(0.3, 0.7, (4, 2)) * 0.25
    assert not np.asarray(coarse.taken(observations(anywhere, np.zeros(4)))).any()


def test_an_observation_of_another_task_takes_no_point():
    grid = np.linspace(0, 1, 5)
    pool = acquisition.pool(np.c_[grid, np.full(5, 2.0), grid[::-1]])
    other = observations(np.c_[grid, np.full(5, 1.0), grid[::-1]], np.zeros(5))
    assert not np.asarray(pool.taken(other)).any()
    assert np.asarray(pool.taken(other._replace(x=other.x.at[:, 1].set(2.0)))).all()


def test_identity_is_the_same_compiled_mapped_and_in_any_order():
    pool = acquisition.pool(product(DILUTIONS[::2], np.linspace(0, 1, 3)))
    obs = observations(np.asarray(pool.points)[[3, 7, 1]] * (1 + 1e-6), np.zeros(3), capacity=8)
    taken = pool.taken(obs)
    np.testing.assert_array_equal(np.flatnonzero(taken), [1, 3, 7])
    flipped = jax.tree.map(lambda a: a[::-1], obs)
    both = jax.vmap(pool.taken)(jax.tree.map(lambda *a: jnp.stack(a), obs, flipped))
    for one in (jax.jit(pool.taken)(obs), *both):
        np.testing.assert_array_equal(one, taken)


def test_points_may_be_asked_again_where_that_is_wanted():
    pool = replace(acquisition.pool(DILUTIONS[:, None]), repeat=True)
    choice = pool.best(KEY, lambda x: -x[:, 0], observations(DILUTIONS[:, None], np.zeros(10)))
    assert float(choice.x[0]) == 1e-9


def test_an_answer_may_lie_half_the_way_to_the_next_point():
    grid = acquisition.grid([[0, 10], [0, 1e-6]], (101, 11)).points
    np.testing.assert_allclose(tolerance_around(grid, grid[300]), [0.05, 0.05e-6], rtol=1e-9)
    wells = jnp.asarray(product(DILUTIONS, np.array([20.0, 30.0, 31.0])))
    np.testing.assert_allclose(tolerance_around(wells, jnp.array([1e-8, 30.0])), [0.45e-8, 0.5], rtol=1e-9)
    np.testing.assert_allclose(
        tolerance_around(jnp.array([[0.0, 5.0], [1.0, 5.0]]), jnp.array([0.0, 5.0])), [0.5, 5e-3]
    )
    alone = tolerance_around(jnp.array([[2.0], [2.0]]), jnp.array([2.0]))
    np.testing.assert_allclose(alone, [2e-3])


@pytest.mark.parametrize("wrong", [{"starts": 0}, {"refine": -1}, {"iterations": -1}])
def test_a_search_that_means_nothing_is_refused(wrong):
    """A negative number of refinements was all starts but the last."""
    with pytest.raises(ValueError, match="box needs starts"):
        acquisition.box([[0.0, 1.0]], **wrong)
