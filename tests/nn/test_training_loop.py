"""The training loop: the steps are optax's, the best parameters are kept, idle rounds end it, checkpoints go on."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gpax_lab.nn._checkpoints import Checkpointer, CheckpointMismatch
from gpax_lab.nn._training import (
    FINISHED,
    NOT_FINITE,
    STOPPED_EARLY,
    finite_gradients,
    keep_best,
    start,
    train_epochs,
    train_rounds,
    train_steps,
    train_until_idle,
)

TARGETS = np.random.default_rng(0).normal(size=(6, 2))


def loss(params, target):
    value = jnp.sum((params["a"] - target) ** 2) + params["b"] ** 2
    return value, value


def begun(optimizer, **more):
    return start(optimizer, {"a": jnp.ones(2), "b": jnp.asarray(0.5)}, **more)


def test_steps_are_those_of_optax_one_by_one():
    adam = optax.adam(0.1)
    state, values = train_steps(loss, adam, begun(adam), jnp.asarray(TARGETS))
    params, memory = begun(adam).params, adam.init(begun(adam).params)
    for target, value in zip(TARGETS, values, strict=True):
        (wanted, _), gradient = jax.value_and_grad(loss, has_aux=True)(params, target)
        updates, memory = adam.update(gradient, memory, params)
        params = optax.apply_updates(params, updates)
        np.testing.assert_allclose(value, wanted, rtol=1e-12)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), state.params, params)


def test_a_learning_rate_of_every_step_multiplies_the_updates():
    rates = jnp.linspace(0.01, 0.2, 6)
    plain, scaled = optax.sgd(optax.join_schedules([lambda n, r=r: r for r in rates], range(1, 6))), optax.identity()
    wanted, _ = train_steps(loss, plain, begun(plain), jnp.asarray(TARGETS))
    found, _ = train_steps(loss, scaled, begun(scaled), jnp.asarray(TARGETS), rates)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), found.params, wanted.params)


def test_the_best_parameters_are_kept_and_idle_rounds_counted():
    scores = jnp.asarray([1.0, 3.0, 2.0, 3.0, jnp.nan])

    def one(state, score):
        state = keep_best(state._replace(params=state.params + 1.0), score)
        return state, state.idle

    end, idle = train_rounds(one, start(optax.identity(), jnp.asarray(0.0)), scores)
    assert (float(end.best), int(end.rounds)) == (2.0, 5)
    assert idle.tolist() == [0, 0, 1, 2, 3]


@pytest.mark.parametrize(("peak", "rounds"), [(3, 5), (20, 8)])
def test_rounds_end_by_patience_or_by_their_number(peak, rounds):
    def one(state):
        return keep_best(state._replace(params=state.params + 1.0), -jnp.abs(state.params + 1.0 - peak))

    end = jax.jit(lambda: train_until_idle(one, start(optax.identity(), jnp.asarray(0.0)), 8, 2))()
    assert (int(end.rounds), float(end.best)) == (rounds, min(peak, 8))


def test_parameters_without_a_finite_gradient_wait():
    optimizer = optax.chain(finite_gradients(), optax.sgd(0.1))
    first = start(optimizer, jnp.asarray([-1.0, 2.0]))
    state, _ = train_steps(lambda p, _: (jnp.sum(jnp.sqrt(p)), None), optimizer, first, num_steps=3)
    assert float(state.params[0]) == -1.0
    assert 0 < float(state.params[1]) < 2.0


def epochs(scores, limit=np.inf):
    def run(state, number):
        if number >= limit:
            return None
        state = keep_best(state._replace(params=state.params + 1.0), scores[number])
        return state, (np.asarray(state.score), np.asarray(number, float))

    return run


def test_epochs_end_early_or_where_nothing_is_finite():
    first = start(optax.identity(), jnp.asarray(0.0))
    history, told = [], []
    end, outcome = train_epochs(epochs([1.0, 2.0, 0.0, 0.0, 5.0]), first, 5, history, 2, lambda n, note: told.append(n))
    assert (outcome, float(end.best), told, len(history)) == (STOPPED_EARLY, 2.0, [1, 2, 3, 4], 4)
    end, outcome = train_epochs(epochs([1.0, 2.0, 3.0], limit=2), first, 3, [])
    assert (outcome, float(end.params)) == (NOT_FINITE, 2.0)
    assert train_epochs(epochs([1.0]), first, 1, [])[1] == FINISHED


@pytest.mark.parametrize("impl", ["threefry2x32", "rbg"])
def test_checkpoints_go_on_where_they_were_with_the_same_kind_of_key(tmp_path, impl):
    first = start(optax.identity(), jnp.asarray(0.0), key=jax.random.key(3, impl=impl))
    keeper = Checkpointer(tmp_path / "run", {"rate": [0.1, 0.2], "name": "a"}, 2)
    train_epochs(epochs([1.0, 2.0, 0.0]), first, 3, [], checkpointer=keeper)
    keeper.close()
    keeper = Checkpointer(tmp_path / "run", {"name": "a", "rate": [0.1, 0.2]}, 2)
    state, history = keeper.resume(first, (np.zeros(()), np.zeros(())))
    keeper.close()
    assert [float(note[1]) for note in history] == [0.0, 1.0, 2.0]
    assert (float(state.best), int(state.idle)) == (2.0, 1)
    assert jax.random.key_impl(state.key) == impl
    np.testing.assert_array_equal(jax.random.bits(state.key), jax.random.bits(first.key))
    for other in ({"rate": [0.1, 0.3], "name": "a"}, {"name": "a"}, {"rate": [0.1, 0.2], "name": "a", "more": 1}):
        with pytest.raises(CheckpointMismatch, match=r"rate|more"):
            Checkpointer(tmp_path / "run", other, 2)
