"""What a process on a grid says of every pixel: mean, standard deviation and draws, given measurements of some.

Prediction is exact up to the tolerance of conjugate gradients, and draws are pathwise (Matheron's rule; Wilson et al.
2021, JMLR 22, 105); few measurements are solved by one Cholesky factor.
"""

import math
from collections.abc import Sequence
from functools import partial, reduce
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from gpax_lab.core._linalg import cholesky, in_chunks, solve_lower
from gpax_lab.core._priors import Params
from gpax_lab.models import _kronecker as kronecker
from gpax_lab.models._conditioning import masked
from gpax_lab.models._kronecker import Solution, System
from gpax_lab.models._kronecker_gp import KroneckerGP, from_tables

VECTOR = 1 << 22
"""Numbers in one batch of draws that are solved together: 32 MiB in float64."""


class Moments(NamedTuple):
    """Posterior of f in every pixel from a direct solution.

    Attributes:
        mean: (*shape) posterior mean.
        std: (*shape) standard deviation.
        residual: () a bound on the error of the mean, as `kronecker.Solution.residual`.
        ok: () bool, whether the covariance of the observations has a Cholesky factor.
    """

    mean: Array
    std: Array
    residual: Array
    ok: Array


def ranks(grid: KroneckerGP, params: Params, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Modes of each axis that carry the process, see `kronecker.enough`: static, for `condition`."""
    values = _eigenvalues(grid, dict(params), shape)
    return kronecker.enough([[np.asarray(w) for w in part] for part in values], float(params["noise"]))


@partial(jax.jit, static_argnames=("grid", "shape"))
def _eigenvalues(grid: KroneckerGP, params: Params, shape: tuple[int, ...]) -> list[list[Array]]:
    return [[jnp.linalg.eigvalsh(k) for k in part] for part in grid.grams(params, shape)]


def condition(
    grid: KroneckerGP, params: Params, measured: Array, leading: int = 2048, ranks: Sequence[int] | None = None
) -> System:
    """Everything that prediction needs but the observations.

    Args:
        grid: the process.
        params: its parameters.
        measured: (*shape) bool.
        leading: modes that the preconditioner solves exactly; see `kronecker.prepare`.
        ranks: modes kept of each axis, from `ranks`; None for all.
    """
    return _condition(grid, params, measured, leading, None if ranks is None else tuple(ranks))


@partial(jax.jit, static_argnames=("grid", "leading", "ranks"))
def _condition(
    grid: KroneckerGP, params: Params, measured: Array, leading: int, ranks: tuple[int, ...] | None
) -> System:
    return kronecker.prepare(grid.grams(params, measured.shape), measured, params["noise"], leading, ranks)


@partial(jax.jit, static_argnames="grid")
def direct(grid: KroneckerGP, params: Params, y: Array, pixel: Array, used: Array, axes: Sequence[Array]) -> Moments:
    """Posterior of few observations by one Cholesky factor, exact in mean and standard deviation.

    m observations cost m^3 / 3 and m^2 for each pixel of the image; see R&W 2006, eq. 2.25 and 2.26. The jitter of
    `linalg.jitter` is added to the noise.

    Args:
        grid: the process.
        params: its parameters.
        y: (m,) observations, any number in an unused slot.
        pixel: (m, d) int, where each was read.
        used: (m,) bool.
        axes: (n_a,) coordinates of the pixels of each axis, from `unit_axis`.
    """
    tables = grid.rows(params, axes)
    shape = tuple(axis.size for axis in axes)
    read = jnp.where(used, y, 0.0)
    k = masked(from_tables(tables, pixel, pixel), params["noise"], used)
    lower, ok = cholesky(k)
    # The inverse factor turns substitution for every pixel into a product, which may stand in a loop.
    half = jnp.where(used[None], solve_lower(lower, jnp.eye(y.size, dtype=y.dtype)), 0.0)
    white = half @ read
    weights = white @ half
    level = reduce(jnp.add, [reduce(jnp.multiply, [row[0] for row in part]) for part in tables])

    def some(flat: Array) -> tuple[Array, Array]:
        others = jnp.stack(jnp.unravel_index(flat[:, 0], shape), axis=1).astype(pixel.dtype)
        seen = half @ from_tables(tables, pixel, others)
        return white @ seen, level - jnp.sum(seen**2, axis=0)

    # The chunk bounds memory as `VECTOR` does for batches of draws.
    mean, variance = in_chunks(some, jnp.arange(math.prod(shape))[:, None], max(1, VECTOR // y.size))
    std = jnp.sqrt(jnp.maximum(variance, jnp.finfo(y.dtype).eps * level))
    # What is left over moves the mean by at most its norm over the noise, in posterior standard deviations.
    left = jnp.sum(jnp.where(used, read - k @ weights, 0.0) ** 2) / jnp.maximum(jnp.sum(used), 1)
    return Moments(mean.reshape(shape), std.reshape(shape), jnp.sqrt(left / params["noise"]), ok)


def mean(system: System, y: Array, tolerance: float | Array, limit: int | Array) -> tuple[Array, Solution]:
    """Posterior mean (*shape) of f given observations y (*shape), and the solution it comes from."""
    solution = kronecker.solve(system, y[None], tolerance, limit)
    return kronecker.synthesise(system, solution.coefficients)[0], solution


def _white(system: System, key: Array) -> tuple[Array, Array]:
    """Standard normal coefficients (parts, *ranks) and noise (*shape)."""
    dtype = system.root.dtype
    key_field, key_noise = jax.random.split(key)
    field = jax.random.normal(key_field, system.root.shape, dtype)
    return field, jax.random.normal(key_noise, system.measured.shape, dtype)


def _pathwise(
    system: System, y: Array, keys: Array, centre: Array, tolerance: float | Array, limit: int | Array
) -> tuple[Array, Solution]:
    """(count, *shape): the posterior mean given y where `centre` (count,), elsewhere a draw of f minus that mean.

    Matheron's rule: a prior draw f and a draw e of the noise give f - K M' (M K M' + s)^-1 (M f + e), whose covariance
    is the posterior's whatever was read. On the grid the prior draw is exact.
    """
    coefficients, noise = jax.vmap(lambda key: _white(system, key))(keys)
    one = centre.reshape(-1, *(1,) * y.ndim)
    coefficients = jnp.where(one[:, None], 0.0, coefficients)
    read = kronecker.synthesise(system, coefficients) + jnp.sqrt(system.noise) * noise
    solution = kronecker.solve(system, jnp.where(one, -y[None], read), tolerance, limit)
    return kronecker.synthesise(system, coefficients - solution.coefficients), solution


def paths(
    system: System, y: Array, key: Array, count: int, tolerance: float | Array, limit: int | Array
) -> tuple[Array, Solution]:
    """(count, *shape) functions drawn from the posterior given observations y (*shape), and their solution.

    All are held and solved at once; `moments` bounds its memory.
    """
    keys = jax.random.split(key, count + 1)
    fields, solution = _pathwise(system, y, keys, jnp.arange(count + 1) == 0, tolerance, limit)
    return fields[:1] + fields[1:], solution


def moments(
    system: System, y: Array, key: Array, count: int, tolerance: float | Array, limit: int | Array
) -> tuple[Array, Array, Array, Array]:
    """Posterior mean (*shape) and standard deviation (*shape) of f, the worst residual () and all iterations ().

    The mean is solved for; the standard deviation is that of `count` draws around it, with a relative error in each
    pixel of 1 / sqrt(2 count). Right-hand sides are solved in batches of at most `VECTOR` numbers.
    """
    batch = max(1, min(count + 1, VECTOR // system.root.size))
    rounds = -(-(count + 1) // batch)
    slots = jnp.arange(rounds * batch).reshape(rounds, batch)
    keys = jax.random.split(key, rounds * batch).reshape(rounds, batch)

    def add(carry: tuple, one: tuple[Array, Array]) -> tuple[tuple, None]:
        (centre, total, residual, iterations), (slot, keys) = carry, one
        fields, solution = _pathwise(system, y, keys, slot == 0, tolerance, limit)
        drawn = ((slot > 0) & (slot <= count)).astype(y.dtype)
        centre = centre + jnp.tensordot((slot == 0).astype(y.dtype), fields, axes=1)
        total = total + jnp.tensordot(drawn, fields**2, axes=1)
        return (centre, total, jnp.maximum(residual, solution.residual), iterations + solution.iterations), None

    begin = jnp.zeros_like(y), jnp.zeros_like(y), jnp.zeros((), y.dtype), jnp.asarray(0)
    (centre, total, residual, iterations), _ = jax.lax.scan(add, begin, (slots, keys))
    return centre, jnp.sqrt(total / count), residual, iterations
