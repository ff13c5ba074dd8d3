"""A buffer that is large enough for the points to come. Growing changes shapes, so it happens outside jit."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from gpax_lab.acquisition._candidates import Candidates
from gpax_lab.core._observations import (
    EMPTY,
    PENDING,
    SMALLEST_CAPACITY,
    Observations,
    add_pending,
    answered_slot,
    capacity_for,
    grow,
    used,
)
from gpax_lab.experiment._experiment import State, as_asked


def buffer_for(obs: Observations, points: int) -> Observations:
    """Enlarge the buffer, if need be, so that `points` more fit behind the slots in use (outside jit).

    The end of the campaign is known here, so the buffer is rounded up to a multiple of 8 only, not to a power of two.

    Raises:
        ValueError: `obs` is traced, so its shape can not change, and has no more than `points` slots.
    """
    if isinstance(obs.status, jax.core.Tracer):
        if obs.capacity <= points:
            raise ValueError(
                f"the buffer has {obs.capacity} slots for {points} points and the seeds: buffer_for first."
            )
        return obs
    needed = -(-(used(obs) + points) // SMALLEST_CAPACITY) * SMALLEST_CAPACITY
    return grow(obs, needed) if needed > obs.capacity else obs


def with_buffer(state: State, points: int) -> State:
    """The state with a buffer for `points` more, its posterior conditioned on the buffer; under jit, the state as it
    is.

    Where a campaign goes on past its planned end, the next end is unknown: the buffer grows to a power of two.
    """
    if isinstance(state.obs.status, jax.core.Tracer):
        return state
    needed = used(state.obs) + points
    if needed <= state.obs.capacity:
        return state
    obs = grow(state.obs, capacity_for(needed))
    more = obs.capacity - state.obs.capacity
    asked = jnp.concatenate([state.asked, jnp.repeat(state.asked[:1], more, axis=0)])
    return state._replace(obs=obs, asked=asked, posterior=state.posterior.conditioned(obs))


def reserved(state: State, x: Array, status: int) -> State:
    """The state with a slot of this status for each of the points x (n, d), in order."""

    def one(both: tuple[Observations, Observations], point: Array) -> tuple[tuple[Observations, Observations], None]:
        obs, asked = both
        return (add_pending(obs, point, status), add_pending(asked, point, status)), None

    (obs, asked), _ = jax.lax.scan(one, (state.obs, as_asked(state)), x)
    return state._replace(obs=obs, asked=asked.x)


def tolerance_of(candidates: Candidates, obs: Observations, x: Array) -> Array:
    """(capacity, d) how far from its pending point an observation may lie; 0 where all at x (q, d) hit exactly."""
    waiting = obs.status == PENDING
    hit = jnp.any(jnp.all(x[:, None] == obs.x[None], axis=2) & waiting[None], axis=1).all()
    return jax.lax.cond(hit, lambda: jnp.zeros_like(obs.x), lambda: candidates.tolerance(obs.x, waiting))


def with_buffer_for_answers(state: State, x: Array | np.ndarray) -> State:
    """The state with a buffer for observations at x (q, d); those that answer a pending point have their slots.

    Warns where observations answer none although points are pending: a stage may have gone farther than the tolerance.
    """
    if isinstance(state.obs.status, jax.core.Tracer):
        return state
    points = jnp.asarray(x, state.obs.x.dtype)
    answered = int(_answers(state.candidates, state.obs, points))
    waiting = int(np.count_nonzero(np.asarray(state.obs.status) == PENDING)) - answered
    if answered < len(x) and waiting > 0:
        warnings.warn(
            f"{len(x) - answered} of {len(x)} observations lie beside all pending points, of which {waiting} stay "
            "pending. If a stage went farther than the tolerance of the candidates, say what it answers: "
            "observe(..., asked=x) with x as it was proposed.",
            stacklevel=3,
        )
    return with_buffer(state, len(x) - answered)


@jax.jit
def _answers(candidates: Candidates, obs: Observations, x: Array) -> Array:
    """() how many of the observations at x (q, d) find a pending point, one after the other."""
    tolerance = tolerance_of(candidates, obs, x)

    def one(status: Array, point: Array) -> tuple[Array, Array]:
        slot = answered_slot(obs._replace(status=status), point, tolerance)
        return jnp.where(slot, jnp.int8(EMPTY), status), slot.any()

    return jnp.sum(jax.lax.scan(one, obs.status, x)[1])
