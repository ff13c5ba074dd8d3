"""Room in the buffer for the points to come. Growing changes shapes, so it happens outside jit."""

import jax
import numpy as np
from jax import Array

from gpax_lab.experiment.experiment import State
from gpax_lab.observations import PENDING, SMALLEST_CAPACITY, Observations, capacity_for, grow, used


def room_for(obs: Observations, points: int) -> Observations:
    """Enlarge the buffer, if need be, so that `points` more fit behind the slots in use (outside jit).

    The end of the campaign is known here, so the buffer is rounded up to a multiple of 8 only, not to a power of two.

    Raises:
        ValueError: `obs` is traced, so its shape can not change, and has no more than `points` slots.
    """
    if isinstance(obs.status, jax.core.Tracer):
        if obs.capacity <= points:
            raise ValueError(f"the buffer has {obs.capacity} slots for {points} points and the seeds: room_for first.")
        return obs
    needed = -(-(used(obs) + points) // SMALLEST_CAPACITY) * SMALLEST_CAPACITY
    return grow(obs, needed) if needed > obs.capacity else obs


def with_room(state: State, points: int) -> State:
    """The state with room for `points` more, its posterior conditioned on the buffer; under jit, the state as it is.

    Where a campaign goes on past its planned end, the next end is unknown: the buffer grows to a power of two.
    """
    if isinstance(state.obs.status, jax.core.Tracer):
        return state
    needed = used(state.obs) + points
    if needed <= state.obs.capacity:
        return state
    obs = grow(state.obs, capacity_for(needed))
    return state._replace(obs=obs, posterior=state.posterior.conditioned(obs))


def with_room_for_answers(state: State, x: Array) -> State:
    """The state with room for readings at x (q, d), of which those that were proposed have their slots already."""
    if isinstance(state.obs.status, jax.core.Tracer):
        return state
    waiting = np.asarray(state.obs.x)[np.asarray(state.obs.status) == PENDING]
    known = sum(int((waiting == point).all(axis=1).any()) for point in np.asarray(x))
    return with_room(state, len(x) - known)
