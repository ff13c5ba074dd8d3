"""A whole campaign as one compiled function."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from gpax_lab.experiment.experiment import Experiment, Objective, State, measurement_key
from gpax_lab.infer.posterior import Info
from gpax_lab.observations import Observations, capacity_for, grow


class Trajectory(NamedTuple):
    """What happened, step by step.

    Attributes:
        x: (steps, q, d) measured points.
        y: (steps, q) readings; NaN where one failed.
        value: (steps,) score of the (last) proposal of the step.
        fallback: (steps,) bool, whether it was chosen by distance for want of a finite score.
        info: diagnostics of the fit after the step, each (steps,).
    """

    x: Array
    y: Array
    value: Array
    fallback: Array
    info: Info


def simulate(
    experiment: Experiment, objective: Objective, key: Array, steps: int, obs: Observations
) -> tuple[State, Trajectory]:
    """Run a campaign against a simulated measurement by one `lax.scan`. Pure: jit it, vmap it over keys.

    Args:
        experiment: the state machine.
        objective: (key, x (d,)) -> y (), a pure JAX function.
        key: random key of the campaign.
        steps: number of propose-measure-observe steps.
        obs: seed readings; the buffer grows beforehand if the campaign would not fit.

    Returns:
        The last state and the trajectory.

    Example:
        >>> from functools import partial
        >>> many = lambda keys: jax.vmap(lambda k: simulate(experiment, objective, k, 20, obs))(keys)
    """
    batch = jax.eval_shape(lambda k, o: experiment.propose(experiment.init(k, o)), key, obs)[1].shape[0]
    obs = room_for(obs, steps * batch)

    def step(state: State, _) -> tuple[State, Trajectory]:
        state, x = experiment.propose(state)
        keys = jax.random.split(measurement_key(state), x.shape[0])
        y = jax.vmap(objective)(keys, x).astype(state.obs.y.dtype)
        state = experiment.observe(state, x, y)
        return state, Trajectory(x, y, state.value, state.fallback, state.posterior.info)

    return jax.lax.scan(step, experiment.init(key, obs), None, length=steps)


def room_for(obs: Observations, points: int) -> Observations:
    """Grow the buffer, if need be, so that `points` more fit behind the slots in use. Shapes are static under jit,
    so there every slot given counts as in use.
    """
    taken = obs.capacity if isinstance(obs.status, jax.core.Tracer) else int(jnp.sum(obs.status != 0))
    needed = capacity_for(taken + points)
    return grow(obs, needed) if needed > obs.capacity else obs
