"""The one training loop: gradient steps over minibatches, in rounds whose score says which parameters are the best.

A round is a stretch of training between two looks at a score: an epoch, or some tens of steps. `train_steps` is the
compiled loop within a round, `train_rounds` a compiled loop over rounds, and `train_epochs` a loop over rounds in
Python, which shows progress and keeps checkpoints.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from jax.typing import ArrayLike, DTypeLike

FINISHED, STOPPED_EARLY, NOT_FINITE = "finished", "stopped early", "not finite"


class TrainState(NamedTuple):
    """What training carries from round to round.

    Attributes:
        params: parameters, a tree of arrays.
        opt_state: memory of the optimizer.
        best: parameters with the highest score.
        score: () that score; -inf where none was taken.
        idle: () rounds since the score rose.
        rounds: () rounds so far.
        key: for the rounds to come; None where each round is given its own.
    """

    params: Any
    opt_state: optax.OptState
    best: Any
    score: Array
    idle: Array
    rounds: Array
    key: Any = None


def start(
    optimizer: optax.GradientTransformation,
    params: Any,
    score: ArrayLike = -jnp.inf,
    dtype: DTypeLike | None = None,
    key: Array | None = None,
) -> TrainState:
    """The state before the first step.

    Args:
        optimizer: an optax transformation.
        params: parameters to begin with.
        score: () of them.
        dtype: of the score.
        key: for the rounds to come.
    """
    zero = jnp.zeros((), jnp.result_type(int))
    return TrainState(params, optimizer.init(params), params, jnp.asarray(score, dtype), zero, zero, key)


def finite_gradients() -> optax.GradientTransformation:
    """An optax transformation that puts 0 in place of what is not finite.

    A step from where the loss is no number would be lost in NaN for good: such parameters wait.
    """

    def mend(gradient: Any, params: Any) -> Any:
        return jax.tree.map(lambda leaf: jnp.where(jnp.isfinite(leaf), leaf, 0.0), gradient)

    return optax.stateless(mend)


def train_steps(
    loss: Callable[[Any, Any], tuple[Array, Any]],
    optimizer: optax.GradientTransformation,
    state: TrainState,
    inputs: Any = None,
    learning_rate: Array | None = None,
    num_steps: int | None = None,
) -> tuple[TrainState, Any]:
    """One gradient step for each of the inputs, as one loop.

    Args:
        loss: (params, one of the inputs) -> () loss, and what is reported of the step.
        optimizer: an optax transformation, whose updates are added to the parameters.
        state: where training stands.
        inputs: tree of arrays (num_steps, ...): keys, rows of a minibatch, weights; None where the loss needs none.
        learning_rate: (num_steps,) factors; the updates are multiplied by minus them where they are given.
        num_steps: number of steps, where there are no inputs.

    Returns:
        The state afterwards, and the reports, (num_steps, ...).
    """

    def step(carry: tuple[Any, optax.OptState], given: tuple[Any, Array | None]) -> tuple[Any, Any]:
        (params, opt_state), (one, rate) = carry, given
        (_, report), gradient = jax.value_and_grad(loss, has_aux=True)(params, one)
        updates, opt_state = optimizer.update(gradient, opt_state, params)
        if rate is not None:
            updates = jax.tree.map(lambda leaf: -rate.astype(leaf.dtype) * leaf, updates)
        return (optax.apply_updates(params, updates), opt_state), report

    carry = state.params, state.opt_state
    (params, opt_state), reports = jax.lax.scan(step, carry, (inputs, learning_rate), num_steps)
    return state._replace(params=params, opt_state=opt_state), reports


def keep_best(state: TrainState, score: Array) -> TrainState:
    """The state at the end of a round with this score () of its parameters, the larger the better."""
    better = score > state.score
    return state._replace(
        best=jax.tree.map(lambda new, old: jnp.where(better, new, old), state.params, state.best),
        score=jnp.maximum(score, state.score),
        idle=jnp.where(better, 0, state.idle + 1),
        rounds=state.rounds + 1,
    )


def train_rounds(
    run_round: Callable[[TrainState, Any], tuple[TrainState, Any]], state: TrainState, inputs: Any
) -> tuple[TrainState, Any]:
    """One round for each of the inputs (num_rounds, ...), as one compiled loop; the reports of all are returned."""
    return jax.lax.scan(run_round, state, inputs)


def train_until_idle(
    run_round: Callable[[TrainState], TrainState], state: TrainState, num_rounds: ArrayLike, patience: int
) -> TrainState:
    """Rounds in one compiled loop until `patience` of them have brought no better score, or all are done."""

    def goes_on(state: TrainState) -> Array:
        return (state.rounds < num_rounds) & (state.idle < patience)

    return jax.lax.while_loop(goes_on, run_round, state)


def train_epochs(
    run_epoch: Callable[[TrainState, int], tuple[TrainState, Any] | None],
    state: TrainState,
    num_epochs: int,
    history: list[Any],
    patience: int | None = None,
    callback: Callable[[int, Any], None] | None = None,
    checkpointer: Any = None,
) -> tuple[TrainState, str]:
    """Rounds one by one, from Python.

    Args:
        run_epoch: (state, number of the epoch from 0) -> the state afterwards and what is noted of the epoch; None
            where it came to nothing finite, which ends training with the last good state.
        state: where training stands, after `len(history)` epochs.
        num_epochs: of the whole training.
        history: what was noted of the epochs so far; it grows.
        patience: epochs without a better score that end training; None never.
        callback: called after every epoch with its number from 1 and its note.
        checkpointer: a `Checkpointer` that keeps state and history; None for none.

    Returns:
        The state, and how it ended: "finished", "stopped early" or "not finite".
    """
    for number in range(len(history), num_epochs):
        done = run_epoch(state, number)
        if done is None:
            return state, NOT_FINITE
        state, note = done
        history.append(note)
        if callback is not None:
            callback(number + 1, note)
        # Side by side, all go on while one still improves.
        if patience is not None and int(np.min(np.asarray(state.idle))) >= patience:
            return state, STOPPED_EARLY
        if checkpointer is not None:
            checkpointer.keep(state, history, last=number + 1 == num_epochs)
    return state, FINISHED
