"""Laplace's approximation: a Gaussian at the mode in unconstrained coordinates, corrected by importance weights."""

import math
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

from gpax_lab.infer import outcomes
from gpax_lab.infer.posterior import Info, Posterior, Sampler, conditioned
from gpax_lab.infer.space import Space, space_of
from gpax_lab.linalg import cholesky, solve_upper
from gpax_lab.models.model import Model
from gpax_lab.observations import Observations

FLAT = 1e-6
"""The slope, in nats per unit of an unconstrained parameter, at which a mode is reached."""


class Tuning(NamedTuple):
    """Where the last mode lay: (p,) unconstrained."""

    mode: Array


class Settings(NamedTuple):
    """The static settings of one fit; see `laplace`."""

    draws: int
    starts: int
    iterations: int
    weighted: bool


def laplace(draws: int = 64, starts: int = 8, iterations: int = 60, weighted: bool = True) -> Sampler:
    """The mode of the posterior by L-BFGS, and draws from the Gaussian of its curvature.

    In unconstrained coordinates z with mode z^ and Hessian H of minus the log density, q = N(z^, H^-1). With
    importance weights p(z) / q(z) the draws and the evidence are corrected for what the Gaussian misses; the
    evidence then is the mean weight, otherwise log p(z^) + p/2 log 2 pi - 1/2 log |H| (MacKay 2003, ch. 27).

    Where it fails: weighted draws are calibrated while few parameters have one mode (ranks uniform and intervals right
    over 200 simulated processes with 12 readings, `benchmarks/calibration.py`). Without weights the draws are too
    sure, because the posterior of a scale has a long tail: there 95 percent intervals hold 93 percent, and the ranks
    of lengthscale and noise are at the edge of uniform. With tens of parameters the weights collapse, which the
    outcome says; a second mode is never seen, which nothing says.

    Args:
        draws: number of draws.
        starts: prior draws from which the optimiser starts; later fits also start from the last mode.
        iterations: most L-BFGS steps from each start.
        weighted: whether draws carry importance weights.

    Returns:
        A Sampler. It is one to two orders of magnitude cheaper than `nuts`, and blind to other modes.

    Raises:
        ValueError: a count is below 1.
    """
    if min(draws, starts, iterations) < 1:
        raise ValueError("laplace needs draws, starts and iterations of at least 1.")
    settings = Settings(draws, starts, iterations, weighted)

    def init(key: Array, model: Model, obs: Observations) -> Posterior:
        return conditioned(_fit(key, model, obs, None, settings), obs)

    def update(key: Array, posterior: Posterior, obs: Observations) -> Posterior:
        return conditioned(_fit(key, posterior.model, obs, posterior.tuning, settings), obs)

    return Sampler(init, update)


def _descend(space: Space, obs: Observations, z: Array, iterations: int) -> tuple[Array, Array, Array]:
    """Minimum (p,) of the potential from z by L-BFGS with line search, its value () and the steps taken ()."""

    def energy(z: Array) -> Array:
        return space.potential(z, obs)

    solver = optax.lbfgs()
    value_and_grad = optax.value_and_grad_from_state(energy)

    def step(carry: tuple) -> tuple:
        z, state, _, k = carry
        value, gradient = value_and_grad(z, state=state)
        move, state = solver.update(gradient, state, z, value=value, grad=gradient, value_fn=energy)
        new = optax.apply_updates(z, move)
        return jnp.where(jnp.isfinite(new).all(), new, z), state, jnp.max(jnp.abs(gradient)), k + 1

    begin = z, solver.init(z), jnp.full((), jnp.inf, z.dtype), jnp.asarray(0)
    z, _, _, steps = jax.lax.while_loop(lambda c: (c[2] > FLAT) & (c[3] < iterations), step, begin)
    return z, energy(z), steps


@partial(jax.jit, static_argnames=("model", "settings"))
def _fit(key: Array, model: Model, obs: Observations, tuning: Tuning | None, settings: Settings) -> Posterior:
    space = space_of(model, obs.y.dtype)
    dtype = obs.y.dtype
    key_start, key_draw = jax.random.split(key)
    starts = jax.vmap(space.draw)(jax.random.split(key_start, settings.starts))
    if tuning is not None:
        starts = jnp.concatenate([jnp.where(jnp.isfinite(tuning.mode).all(), tuning.mode, starts[0])[None], starts])
    ends, energies, steps = jax.lax.map(lambda z: _descend(space, obs, z, settings.iterations), starts)
    best = jnp.argmin(jnp.where(jnp.isfinite(energies), energies, jnp.inf))
    mode, energy = ends[best], energies[best]
    slope = jax.grad(lambda z: space.potential(z, obs))
    # One column after the other: what a large model holds in memory is held once.
    columns = jax.lax.map(lambda e: jax.jvp(slope, (mode,), (e,))[1], jnp.eye(space.size, dtype=dtype))
    curvature = 0.5 * (columns + columns.T)
    lower, positive = cholesky(jnp.where(jnp.isfinite(curvature), curvature, jnp.eye(space.size, dtype=dtype)))
    lower = jnp.where(positive, lower, jnp.eye(space.size, dtype=dtype))
    white = jax.random.normal(key_draw, (settings.draws, space.size), dtype)
    z = mode[None] + jax.vmap(lambda w: solve_upper(lower, w))(white)
    log_det = jnp.sum(jnp.log(jnp.diagonal(lower)))
    constant = 0.5 * space.size * math.log(2 * math.pi)
    evidence = constant - energy - log_det
    log_weight = jnp.full(settings.draws, -math.log(settings.draws), dtype)
    if settings.weighted:
        log_p = -jax.lax.map(lambda one: space.potential(one, obs), z)
        ratio = log_p + 0.5 * jnp.sum(white**2, axis=1) + constant - log_det
        ratio = jnp.where(jnp.isfinite(ratio), ratio, -jnp.inf)
        total = jax.scipy.special.logsumexp(ratio)
        evidence = total - math.log(settings.draws)
        log_weight = jnp.where(jnp.isfinite(total), ratio - total, log_weight)
    info = _report(energy, positive, log_weight, jnp.sum(steps), settings)
    params = jax.vmap(space.constrain)(z)
    return Posterior(params, log_weight, evidence, None, info, Tuning(mode), model)


def _report(energy: Array, positive: Array, log_weight: Array, steps: Array, settings: Settings) -> Info:
    size = 1.0 / jnp.sum(jnp.exp(2 * log_weight))
    outcome = jnp.select(
        [~jnp.isfinite(energy), ~positive, size < 0.05 * settings.draws],
        [jnp.asarray(outcomes.NOT_FINITE), jnp.asarray(outcomes.NOT_CONVERGED), jnp.asarray(outcomes.NOT_GAUSSIAN)],
        jnp.asarray(outcomes.OK),
    )
    nan = jnp.full((), jnp.nan, energy.dtype)
    zero = jnp.asarray(0)
    return Info(outcome, nan, size, nan, zero, nan, nan, steps, zero)
