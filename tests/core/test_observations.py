import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gpax_lab.core._observations import (
    EMPTY,
    FAILED,
    MEASURED,
    PENDING,
    add_pending,
    assimilate,
    capacity_for,
    float_dtype,
    grow,
    observations,
    used,
)


@pytest.mark.parametrize(("points", "capacity"), [(0, 8), (1, 8), (8, 8), (9, 16), (16, 16), (17, 32), (1000, 1024)])
def test_capacity_is_the_next_power_of_two(points, capacity):
    assert capacity_for(points) == capacity


def test_observations_fill_the_first_slots_and_empty_ones_hold_valid_points():
    obs = observations([[0.1, 1.0], [0.2, 2.0], [0.3, 3.0]], [1.0, np.nan, 3.0], noise=0.25)
    assert obs.status.tolist() == [MEASURED, FAILED, MEASURED] + [EMPTY] * 5
    assert obs.y.tolist() == [1.0, 0.0, 3.0] + [0.0] * 5
    assert obs.noise.tolist() == [0.25] * 3 + [0.0] * 5
    np.testing.assert_array_equal(obs.x[3:], np.tile([0.1, 1.0], (5, 1)))


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"x": [0.1, 0.2]}, "shape"),
        ({"x": [[np.nan]]}, "non-finite"),
        ({"x": [[0.1]], "y": [1.0, 2.0]}, "to match x"),
        ({"x": [[0.1]], "y": [1.0], "noise": [-1.0]}, "variances"),
        ({"x": [[0.1], [0.2]], "y": [1.0, 2.0], "capacity": 1}, "does not hold"),
    ],
)
def test_bad_input_is_refused(arguments, text):
    with pytest.raises(ValueError, match=text):
        observations(**arguments)


def test_float64_is_refused_with_the_remedy_where_jax_would_round():
    jax.config.update("jax_enable_x64", False)
    try:
        with pytest.raises(RuntimeError, match="jax_enable_x64"):
            observations([[0.1]], [1.0])
        assert observations([[0.1]], [1.0], dtype=jnp.float32).x.dtype == jnp.float32
    finally:
        jax.config.update("jax_enable_x64", True)
    assert float_dtype() == np.float64


def test_answers_may_come_in_any_order():
    points = jnp.array([[0.5], [0.6], [0.7]])
    obs = observations([[0.1]], [1.0])
    for x in points:
        obs = add_pending(obs, x)
    assert obs.status.tolist()[:4] == [MEASURED, PENDING, PENDING, PENDING]
    for i in (2, 0, 1):
        obs = assimilate(obs, points[i], jnp.asarray(10.0 + i), 0.5)
    np.testing.assert_array_equal(obs.y[:4], [1.0, 10.0, 11.0, 12.0])
    np.testing.assert_array_equal(obs.x[1:4], points)
    assert used(obs) == 4


def test_an_observation_nobody_waited_for_takes_an_empty_slot_and_a_failed_one_is_no_number():
    obs = observations([[0.1]], [1.0])
    obs = assimilate(obs, jnp.array([0.9]), jnp.asarray(jnp.inf), 3.0)
    assert obs.status.tolist()[:2] == [MEASURED, FAILED]
    assert float(obs.y[1]) == 0.0
    assert float(obs.noise[1]) == 0.0


def test_a_full_buffer_loses_nothing_it_holds():
    obs = observations(np.arange(8.0)[:, None], np.arange(8.0))
    after = assimilate(add_pending(obs, jnp.array([99.0])), jnp.array([99.0]), jnp.asarray(1.0))
    for old, new in zip(obs, after, strict=True):
        np.testing.assert_array_equal(old, new)
    larger = grow(obs)
    assert larger.capacity == 16
    np.testing.assert_array_equal(larger.y[:8], obs.y)
    with pytest.raises(ValueError, match="shrink"):
        grow(larger, 8)


def test_no_observations_yet():
    obs = observations(np.zeros((0, 2)), np.zeros(0), capacity=8)
    assert obs.x.shape == (8, 2)
    assert not np.asarray(obs.status).any()


def test_an_answer_finds_the_nearest_pending_point_and_keeps_the_position_it_was_measured_at():
    obs = observations([[0.0, 5.0]], [1.0])
    for x in ([0.3, 5.0], [0.32, 5.0], [0.3, 7.0]):
        obs = add_pending(obs, jnp.array(x))
    allowed = jnp.array([0.03, 0.5])
    after = assimilate(obs, jnp.array([0.311, 5.0]), jnp.asarray(2.0), tolerance=allowed)
    after = assimilate(after, jnp.array([0.315, 5.1]), jnp.asarray(3.0), tolerance=allowed)  # the nearest is answered
    after = assimilate(after, jnp.array([0.3, 6.0]), jnp.asarray(4.0), tolerance=allowed)  # not within reach of any
    assert after.status.tolist()[:5] == [MEASURED, MEASURED, MEASURED, PENDING, MEASURED]
    np.testing.assert_array_equal(after.x[1:5], [[0.315, 5.1], [0.311, 5.0], [0.3, 7.0], [0.3, 6.0]])
    np.testing.assert_array_equal(after.y[1:5], [3.0, 2.0, 0.0, 4.0])
    strict = assimilate(obs, jnp.array([0.3, 5.0 + 1e-12]), jnp.asarray(2.0))
    assert strict.status.tolist()[:5] == [MEASURED, PENDING, PENDING, PENDING, MEASURED]


def test_an_answer_whose_question_is_known_may_come_from_anywhere():
    obs = add_pending(add_pending(observations([[0.0]], [1.0]), jnp.array([0.3])), jnp.array([0.3]))
    for place, y in ((0.9, 2.0), (0.1, np.nan)):
        obs = assimilate(obs, jnp.array([place]), jnp.asarray(y), asked=jnp.array([0.3]))
    assert obs.status.tolist()[:4] == [MEASURED, MEASURED, FAILED, EMPTY]
    assert obs.x[:3, 0].tolist() == [0.0, 0.9, 0.1]


def test_no_point_changes_nothing():
    obs = observations([[0.1]], [1.0])
    for after in (add_pending(obs, jnp.array([jnp.nan])), assimilate(obs, jnp.array([jnp.nan]), jnp.asarray(1.0))):
        for old, new in zip(obs, after, strict=True):
            np.testing.assert_array_equal(old, new)
