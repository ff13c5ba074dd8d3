"""Moves of the particles: Hamiltonian trajectories, and differential evolution between them."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array

from gpax_lab.core._linalg import cholesky, solve_lower
from gpax_lab.core._observations import Observations
from gpax_lab.inference._density import UnconstrainedDensity
from gpax_lab.inference._smc_state import MoveState, Settings, SMCState
from gpax_lab.inference._weights import ess_fraction

EVOLUTION_MOVES = 2
"""Differential-evolution moves after each trajectory from the third on: together as dear as a short one."""


def covariance_factor(state: SMCState) -> Array:
    """(p, p) Cholesky factor of the weighted covariance of the particles, shrunk a little to its diagonal."""
    count, size = state.z.shape
    weight = jnp.exp(state.log_weight)
    gap = state.z - (weight @ state.z)[None]
    covariance = (gap * weight[:, None]).T @ gap
    variance = jnp.maximum(jnp.diagonal(covariance), 1e-12)
    effective = count * ess_fraction(state.log_weight)
    keep = effective / (effective + size + 1.0)
    lower, ok = cholesky(keep * covariance + (1.0 - keep) * jnp.diag(variance))
    return jnp.where(ok, lower, jnp.diag(jnp.sqrt(variance)))


def move_particles(
    key: Array,
    state: SMCState,
    lower: Array,
    space: UnconstrainedDensity,
    pair: Observations,
    settings: Settings,
    aware: Array,
) -> SMCState:
    """Hamiltonian trajectories at the state's temperature until the particles have forgotten where they were.

    Where three of them do not suffice, differential-evolution moves follow each: from mode to mode, over cliffs of the
    density.
    """

    def tempered(z: Array) -> tuple[Array, Array, Array]:
        return space.tempered(z, pair, state.inverse_temperature, aware)

    tempering = (state.inverse_temperature < 1) | (state.stage > 1)

    def features(z: Array, value: Array) -> Array:
        """Whitened coordinates, and under tempering the log likelihood: what the evidence is made of."""
        fit = jnp.where(tempering & jnp.isfinite(value[0]), value[0], 0.0)
        return jnp.concatenate([solve_lower(lower, z.T).T, fit[:, None]], axis=1)

    home = features(state.z, state.log_likelihood)

    def unmixed(move: MoveState) -> Array:
        return (move.trajectories < settings.max_moves) & (move.correlation > settings.max_correlation)

    def once(move: MoveState) -> MoveState:
        move = _one_move(move, state.z, lower, tempered, settings)
        return move._replace(correlation=_correlation(home, features(move.z, move.log_likelihood)))

    end = jax.lax.while_loop(unmixed, once, MoveState.begun(key, state))
    return state._replace(
        z=end.z,
        log_likelihood=end.log_likelihood,
        step_size=end.step_size,
        correlation=jnp.maximum(state.correlation, end.correlation),
        acceptance=jnp.minimum(state.acceptance, end.acceptance),
        gradients=end.gradients,
        divergences=end.divergences,
    )


def _one_move(
    move: MoveState,
    home: Array,
    lower: Array,
    tempered: Callable[[Array], tuple[Array, Array, Array]],
    settings: Settings,
) -> MoveState:
    """One Hamiltonian trajectory of every particle, about a quarter of their period long, or one differential-evolution
    move of each."""
    key, key_momentum, key_length, key_jump, key_accept = jax.random.split(move.key, 5)
    dtype, count = move.z.dtype, move.z.shape[0]
    jumping = (move.moves >= 3) & (move.moves % (EVOLUTION_MOVES + 1) != 2)
    momentum = jnp.where(jumping, 0.0, jax.random.normal(key_momentum, move.z.shape, dtype))
    jump = jnp.where(jumping, _differences(key_jump, home), 0.0)
    # A random length, the same for all, so that no direction is travelled back to where it began (Neal 2011, 5.4.2).
    angle = math.pi / 2 * jax.random.uniform(key_length, dtype=dtype, minval=0.6, maxval=1.2)
    steps = jnp.clip(jnp.ceil(angle / move.step_size), 1, settings.max_leapfrog).astype(int)
    size = jnp.where(jumping, 0.0, jnp.minimum(move.step_size, angle / steps))
    steps = jnp.where(jumping, 1, steps)

    def leap(k: Array, at: tuple) -> tuple:
        """Drift and kick. Step 0 stays where it is: it only finds the first slope, so that `tempered` compiles once."""
        z, p, begun, _energy, _value = at
        z = jnp.where(k > 0, z + size * p @ lower.T + jump, z)
        energy, slope, value = tempered(z)
        kick = jnp.where((k == 0) | (k == steps), 0.5, 1.0) * size
        return z, p - kick * slope @ lower, jnp.where(k == 0, energy, begun), energy, value

    nothing = jnp.zeros(count, dtype)
    at = (move.z, momentum, nothing, nothing, move.log_likelihood)
    z, p, begun, energy, value = jax.lax.fori_loop(0, steps + 1, leap, at)
    error = energy + 0.5 * jnp.sum(p**2, axis=1) - begun - 0.5 * jnp.sum(momentum**2, axis=1)
    error = jnp.where(jnp.isfinite(error), error, jnp.inf)
    chance = jnp.exp(-jnp.maximum(error, 0.0))
    taken = jax.random.uniform(key_accept, (count,), dtype) < chance
    mean = jnp.where(jumping, move.acceptance, jnp.mean(chance))
    # The mean over the particles hardly scatters, so the step size may follow it at once.
    followed = jnp.clip(move.step_size * jnp.exp(1.5 * (mean - settings.target_accept)), 1e-3, 1.5)
    return move._replace(
        key=key,
        z=jnp.where(taken[:, None], z, move.z),
        log_likelihood=jnp.where(taken[None], value, move.log_likelihood),
        step_size=jnp.where(jumping, move.step_size, followed),
        moves=move.moves + 1,
        trajectories=move.trajectories + ~jumping,
        acceptance=mean,
        gradients=move.gradients + count * (steps + 1),
        divergences=move.divergences + jnp.where(jumping, 0, jnp.sum(error > 1000.0)),
    )


def _differences(key: Array, home: Array) -> Array:
    """(n, p) the difference of two other particles for each, in some of its coordinates, few or many.

    Differential evolution (ter Braak 2006, Stat. Comput. 16, 239): whole differences lead from mode to mode. The
    particles are those before the moves, so that a move and its reverse are equally probable.
    """
    count, size = home.shape
    key_pair, key_where = jax.random.split(key)
    # Two of the others: by its own start a particle would be drawn onto another one.
    first, second = (jnp.arange(count)[None] + jax.random.randint(key_pair, (2, count), 1, count)) % count
    mark, share = jax.random.uniform(key_where, (count, size + 1)), slice(size, None)
    return jnp.where(mark[:, :size] < mark[:, share], home[first] - home[second], 0.0)


def _correlation(before: Array, after: Array) -> Array:
    """The largest correlation over coordinates (n, p) between two positions of the same particles."""
    a, b = before - before.mean(axis=0)[None], after - after.mean(axis=0)[None]
    scale = jnp.sqrt(jnp.sum(a**2, axis=0) * jnp.sum(b**2, axis=0))
    return jnp.max(jnp.sum(a * b, axis=0) / jnp.maximum(scale, jnp.finfo(scale.dtype).tiny))
