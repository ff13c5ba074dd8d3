"""A whole campaign as one compiled function."""

import math
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.custom_batching import sequential_vmap
from jax.extend.core import ClosedJaxpr, jaxpr_as_fun
from jax.tree_util import Partial

from gpax_lab.core._observations import Observations
from gpax_lab.experiment._buffer import buffer_for
from gpax_lab.experiment._experiment import Experiment, Objective, State, check_begin, measurement_key
from gpax_lab.inference._posterior import Info


class Trajectory(NamedTuple):
    """What happened, step by step.

    Attributes:
        x: (steps, q, d) measured points; NaN where no candidate was left to measure.
        y: (steps, q) measurements; NaN where one failed or there was none.
        value: (steps,) acquisition value of the (last) proposal of the step; -inf where no candidate was left.
        fallback: (steps,) bool, whether it was chosen by distance for want of a finite acquisition value.
        info: diagnostics of the fit after the step, each (steps,).
        log_evidence: (steps,) after the step; (steps, M) where M hypotheses compete.
    """

    x: Array
    y: Array
    value: Array
    fallback: Array
    info: Info
    log_evidence: Array

    def __repr__(self) -> str:
        """Shapes, without the numbers."""
        return f"<Trajectory: x {np.shape(self.x)}, y {np.shape(self.y)}, log_evidence {np.shape(self.log_evidence)}>"


def simulate(
    key: Array, experiment: Experiment, objective: Objective, num_steps: int, obs: Observations
) -> tuple[State, Trajectory]:
    """Run a campaign against a simulated measurement by one compiled `lax.scan`. Pure: vmap it over keys.

    Args:
        key: random key of the campaign.
        experiment: the state machine.
        objective: (key, x (d,)) -> y (), a pure JAX function; a non-finite y is a failed measurement. Also (1,). A
            `jax.tree_util.Partial`, or another pytree of arrays that can be called, such as a table or settings of a
            sample: another one of the same structure is not compiled again.
        num_steps: number of propose-measure-observe steps.
        obs: seed measurements; the buffer is enlarged beforehand if the campaign would not fit. Where `obs` itself is
            traced (vmapped over seeds, say) call `buffer_for` on it before.

    Returns:
        The last state and the trajectory.

    Raises:
        TypeError: the key is no random key, or the experiment is none.
        ValueError: `obs` is traced and its buffer is surely too small.
    """
    check_begin(key, experiment, "simulate(key, experiment, objective, num_steps, obs)")
    batch_size = batch_of(experiment, key, obs, num_steps)
    return _campaign(experiment, as_partial(objective), key, num_steps, buffer_for(obs, num_steps * batch_size))


def as_partial(objective: Objective) -> Objective:
    """The objective as a pytree: what it holds of arrays is an argument of what is compiled, the function is static."""
    leaves = jax.tree.leaves(objective)
    if isinstance(objective, Partial) or (leaves and all(isinstance(leaf, np.ndarray | Array) for leaf in leaves)):
        return objective
    return Partial(objective)


@partial(jax.jit, static_argnames=("experiment", "steps"))
def _campaign(
    experiment: Experiment, objective: Objective, key: Array, steps: int, obs: Observations
) -> tuple[State, Trajectory]:
    def step(state: State, _: None) -> tuple[State, Trajectory]:
        state, x = experiment.propose(state)
        y = measure(objective, state, x)
        state = experiment.observe(state, x, y)
        return state, Trajectory(
            x=x,
            y=y,
            value=state.value,
            fallback=state.fallback,
            info=state.posterior.info,
            log_evidence=state.posterior.log_evidence,
        )

    return jax.lax.scan(step, experiment.init(key, obs), None, length=steps)


def measure(objective: Objective, state: State, x: Array) -> Array:
    """(q,) simulated measurements at x (q, d), each with its own key, which belongs to this state; NaN where x is."""
    return _measure(as_partial(objective), measurement_key(state), x, state.obs.y[:1])


@jax.jit
def _measure(objective: Objective, key: Array, x: Array, like: Array) -> Array:
    keys, shape, dtype = jax.random.split(key, x.shape[0]), like.shape[1:], like.dtype

    def one(given: tuple[Array, Array]) -> Array:
        return simulated_measurement(objective, *given, shape).astype(dtype)

    return jax.lax.map(one, (keys, x)) if jax.default_backend() == "cpu" else jax.vmap(one)((keys, x))


def simulated_measurement(objective: Objective, key: Array, x: Array, shape: tuple[int, ...] = ()) -> Array:
    """One simulated measurement of this shape at x (d,); NaN where x is none.

    Behind a branch, the border of what the compiler fuses, and on a CPU one after the other under `vmap`: a compiler
    that joins a product and a sum rounds by what stands beside them, and a measurement should be the same to the last
    digit in `run`, in `simulate` and in many campaigns at once.
    """

    def read(key: Array, x: Array) -> Array:
        value = one_number(objective(key, x), shape)
        return value.astype(jnp.result_type(value, float))

    if jax.default_backend() != "cpu":
        return jnp.where(jnp.isfinite(x).all(), read(key, x), jnp.nan)
    traced = jax.make_jaxpr(read)(key, x)

    def guarded(held: list[Array], key: Array, x: Array) -> Array:
        def there() -> Array:
            return jaxpr_as_fun(ClosedJaxpr(traced.jaxpr, held))(key, x)[0]

        nothing = traced.out_avals[0]
        return jax.lax.cond(jnp.isfinite(x).all(), there, lambda: jnp.full(nothing.shape, jnp.nan, nothing.dtype))

    return sequential_vmap(guarded)(traced.consts, key, x)


def one_number(value: Any, shape: tuple[int, ...] = ()) -> Array:
    """What an objective returned as an array of this shape: also a number in a list, in a tuple, or of shape (1,).

    Raises:
        ValueError: several numbers where one is asked for, no number, or complex ones.
    """
    try:
        number = jnp.asarray(value[0] if isinstance(value, tuple | list) and len(value) == 1 else value)
    except (TypeError, ValueError) as error:
        raise ValueError(f"an objective returns one number, shape {shape}; got {type(value).__name__}.") from error
    if jnp.issubdtype(number.dtype, jnp.complexfloating):
        raise ValueError(f"an objective returns real numbers; got {number.dtype}: take its .real, abs() or angle.")
    if number.size != math.prod(shape) or (number.ndim > 1 and number.shape != shape):
        raise ValueError(f"an objective returns one number, shape {shape}; got {number.shape}.")
    return number.reshape(shape)


def batch_of(experiment: Experiment, key: Array, obs: Observations, steps: int) -> int:
    """Points that one proposal holds, found by tracing alone, at the capacity that a batch of one will run at."""
    shape = jax.eval_shape(lambda k, o: experiment.propose(experiment.init(k, o)), key, buffer_for(obs, steps))
    return shape[1].shape[0]
