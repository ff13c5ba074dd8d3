"""How answers enter a state: to points that were asked for and to others; and how those that were bad leave it."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gpax_lab.core._observations import FAILED, MEASURED, PENDING, Observations, observations
from gpax_lab.experiment._adoption import adopted_anew
from gpax_lab.experiment._buffer import buffer_for, reserved, with_buffer
from gpax_lab.experiment._experiment import Experiment, State
from gpax_lab.experiment._record import Answer
from gpax_lab.experiment._simulate import batch_of
from gpax_lab.experiment.interventions import Adopt


class Answered(NamedTuple):
    """A point and what was measured for it.

    Attributes:
        x: (d,) where it was asked for, or, unasked, where it was measured.
        answer: what came back.
        asked: whether somebody asked, so that the state has a pending slot for it.
    """

    x: np.ndarray
    answer: Answer
    asked: bool = True


def begin(
    experiment: Experiment,
    key: jax.Array,
    known: Sequence[Answered],
    waiting: Sequence[np.ndarray] = (),
    num_steps: int | None = None,
) -> State:
    """The first state, from what is measured so far.

    Args:
        experiment: the state machine.
        key: of the state.
        known: the measurements, one or more.
        waiting: points (d,) whose measurements are under way.
        num_steps: proposals that are planned, for which the buffer has room; None: it grows as it is filled.
    """
    asked = np.array([point.x for point in known])
    positions = np.array([point.answer.position for point in known])
    y, noise = np.array([point.answer[:2] for point in known]).T
    obs = observations(positions, y, noise)
    if num_steps is None:
        obs = buffer_for(obs, len(waiting))
    else:
        batch = batch_of(experiment, key, obs, num_steps)
        obs = buffer_for(obs, num_steps * batch + len(waiting))
    for x in waiting:
        obs = _with_pending(obs, x)
    state = experiment.init(key, obs)
    if not np.array_equal(positions, asked):
        state = state._replace(asked=state.asked.at[: len(asked)].set(asked))
    return state


def _with_pending(obs: Observations, x: np.ndarray) -> Observations:
    slot = int(np.flatnonzero(np.asarray(obs.status) == 0)[0])
    return obs._replace(
        x=obs.x.at[slot].set(jnp.asarray(x, obs.x.dtype)), status=obs.status.at[slot].set(jnp.int8(PENDING))
    )


def learn(experiment: Experiment, state: State, known: Sequence[Answered]) -> State:
    """The state that knows these answers, each where it was measured. What nobody asked for gets slots of its own."""
    unasked = [point.x for point in known if not point.asked]
    if unasked:
        state = with_buffer(state, len(unasked))
        state = reserved(state, jnp.asarray(np.array(unasked), state.obs.x.dtype), PENDING)
    x = jnp.asarray(np.array([point.x for point in known]), state.obs.x.dtype)
    y, noise = jnp.asarray(np.array([point.answer[:2] for point in known]).T, state.obs.y.dtype)
    positions = np.array([point.answer.position for point in known])
    if np.array_equal(positions, np.asarray(x)):
        return experiment.observe(state, x, y, noise)
    return experiment.observe(state, jnp.asarray(positions, x.dtype), y, noise, asked=x)


def fitted_anew(experiment: Experiment, state: State, obs: Observations, adopted: Sequence[Adopt]) -> State:
    """The state with other values in its slots, and a fit to these."""
    key, key_fit = jax.random.split(state.key)
    kept = {name: getattr(state, name) for name in ("acquisition", "candidates", "asked")}
    return adopted_anew(experiment.init(key_fit, obs)._replace(key=key, **kept), adopted)


def without(obs: Observations, bad: Iterable[Answer]) -> Observations | None:
    """The observations in which these have failed; None where none of them is there.

    Args:
        obs: observations.
        bad: measurements as they were learned, with their values.
    """
    x, y, noise, status = (np.array(part) for part in obs)
    changed = False
    for answer in bad:
        point, value = np.asarray(answer.position, x.dtype), np.asarray(answer.y, y.dtype)
        here = (status == MEASURED) & (x == point).all(axis=1)
        # By another scalarizer it may have another value by now.
        for slot in np.flatnonzero(here & (y == value) if (here & (y == value)).any() else here)[:1]:
            y[slot], noise[slot], status[slot], changed = 0.0, 0.0, FAILED, True
    return Observations(*map(jnp.asarray, (x, y, noise, status))) if changed else None
