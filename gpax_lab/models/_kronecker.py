"""Algebra of a product covariance on a regular grid of which only some pixels are measured.

The covariance of all pixels is a sum of parts K_1 x ... x K_d (Kronecker product, one factor an axis), never formed.
With the eigenvalues lambda and eigenvectors U of each part, S = [U diag(lambda)^(1/2)] over the parts and G = M S,
where M keeps the measured pixels, conditioning on observations r with noise variance s is a linear system in whitened
coefficients c, one for each mode of each part,

    K M' (M K M' + s)^-1 r = S c,    (G' G + s) c = G' r,    K = S S',

solved by preconditioned conjugate gradients on exact products with S: latent Kronecker structure (Lin et al. 2025,
arXiv:2506.06895). In these coordinates G' G is nearly diag(density * lambda) when pixels are missing at random; the
leading modes, which see the shape of the holes, are solved exactly. Together they are the preconditioner, in the spirit
of Nystrom preconditioning (Frangella, Tropp & Udell 2023, arXiv:2110.02820). An iteration on n x n pixels costs O(n^3).
"""

from collections.abc import Sequence
from functools import reduce
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from gpax_lab.core._linalg import cholesky, solve_lower

ROWS = 2048
"""Measured pixels taken at a time when the leading modes are correlated; bounds memory."""
NEGLIGIBLE = 1e-3
"""Variance that may be left out of the process, relative to the noise of one observation."""


class System(NamedTuple):
    """A masked grid ready to be solved, for one set of parameters.

    Attributes:
        vectors: for each part and axis, (n_a, rank_a) eigenvectors of its covariance, largest eigenvalue last.
        root: (parts, *ranks) square roots of the eigenvalues of each part.
        measured: (*shape) bool.
        noise: () variance s of an observation.
        trailing: (parts, *ranks) the same as `root`, zero for leading modes.
        density: () share of measured pixels.
        modes: (m,) flat index of the leading modes, of all parts.
        half: (m, m) L^-1, with L L' = G' G + s on the leading modes.
        ok: () bool, whether L exists and all numbers are finite.
    """

    vectors: tuple[tuple[Array, ...], ...]
    root: Array
    measured: Array
    noise: Array
    trailing: Array
    density: Array
    modes: Array
    half: Array
    ok: Array


class Solution(NamedTuple):
    """Whitened coefficients and how well they solve the system.

    Attributes:
        coefficients: (count, parts, *ranks) c.
        residual: () the largest error over the right-hand sides, estimated in the norm of the preconditioner: the
            root mean square over observations, in posterior standard deviations. Computed anew from c, not by
            recursion.
        iterations: () steps taken.
    """

    coefficients: Array
    residual: Array
    iterations: Array


def along_axes(matrices: Sequence[Array], x: Array) -> Array:
    """(A_1 x ... x A_d) x, the Kronecker product applied axis by axis.

    Args:
        matrices: A_a of shape (m_a, n_a).
        x: (count, n_1, ..., n_d).

    Returns:
        (count, m_1, ..., m_d).

    Example:
        >>> along_axes([2.0 * jnp.eye(3), jnp.ones((1, 2))], jnp.ones((1, 3, 2)))[0, :, 0].tolist()
        [4.0, 4.0, 4.0]
    """
    for axis, matrix in enumerate(matrices, start=1):
        x = jnp.moveaxis(jnp.tensordot(x, matrix, axes=(axis, 1)), -1, axis)
    return x


def outer(vectors: Sequence[Array]) -> Array:
    """(n_1, ..., n_d) products of one entry of each vector (n_a,)."""
    return reduce(lambda a, b: jnp.tensordot(a, b, axes=0), vectors)


def synthesise(system: System, coefficients: Array) -> Array:
    """S c: whitened coefficients (count, parts, *ranks) as fields (count, *shape); normal ones give prior draws."""
    white = system.root[None] * coefficients
    return sum(along_axes(u, white[:, k]) for k, u in enumerate(system.vectors[1:], 1)) + along_axes(
        system.vectors[0], white[:, 0]
    )


def analyse(system: System, field: Array) -> Array:
    """G' r: from the measured pixels of fields (count, *shape) back to coefficients (count, parts, *ranks)."""
    seen = jnp.where(system.measured[None], field, 0.0)
    return system.root[None] * jnp.stack([along_axes([u.T for u in part], seen) for part in system.vectors], axis=1)


def normal_product(system: System, coefficients: Array) -> Array:
    """(G' G + s) c for c of shape (count, parts, *ranks)."""
    return analyse(system, synthesise(system, coefficients)) + system.noise * coefficients


def _leading_block(vectors: Sequence[Sequence[Array]], root: Array, measured: Array, modes: Array) -> Array:
    """(m, m) rows and columns of G' G that belong to the leading modes."""
    part, *positions = jnp.unravel_index(modes, root.shape)
    stacked = [jnp.stack(axis) for axis in zip(*vectors, strict=True)]
    scale = root.ravel()[modes][None]
    flat = measured.ravel()
    rows = min(ROWS, flat.size)
    # Measured pixels first: the loop then ends with the last of them, and their number is no shape to compile for.
    order = jnp.pad(jnp.argsort(~flat, stable=True), (0, -flat.size % rows))

    def add(k: Array, total: Array) -> Array:
        slots = k * rows + jnp.arange(rows)
        pixels = order[slots]
        used = flat[pixels] & (slots < flat.size)
        features = jnp.where(used[:, None], scale, 0.0)
        for u, i, j in zip(stacked, jnp.unravel_index(pixels, measured.shape), positions, strict=True):
            features = features * u[part[None], i[:, None], j[None]]
        return total + features.T @ features

    turns = -(-jnp.sum(flat) // rows)
    return jax.lax.fori_loop(0, turns, add, jnp.zeros((modes.size, modes.size), root.dtype))


def enough(values: Sequence[Sequence[np.ndarray]], noise: float) -> tuple[int, ...]:
    """How many modes of each axis carry the process: what the others add to a pixel is far below the noise.

    Args:
        values: for each part and axis, its eigenvalues (n_a,) in increasing order.
        noise: variance of an observation.

    Returns:
        The rank of each axis, a multiple of an eighth of its length, so that few different ones are compiled. The
        variance left out, averaged over pixels, is below `NEGLIGIBLE` times the noise.
    """
    ranks = []
    for axis in range(len(values[0])):
        size = values[0][axis].size
        lost = np.zeros(size + 1)  # by rank
        for part in values:
            kept = np.maximum(part[axis], 0.0)
            others = np.prod([np.mean(np.maximum(w, 0.0)) for k, w in enumerate(part) if k != axis])
            lost += others * np.concatenate([np.cumsum(kept)[::-1], [0.0]]) / size
        step = -(-size // 8)
        rank = int(np.argmax(lost <= NEGLIGIBLE * noise / len(values[0])))
        ranks.append(min(size, step * max(1, -(-rank // step))))
    return tuple(ranks)


def prepare(
    grams: Sequence[Sequence[Array]],
    measured: Array,
    noise: Array,
    leading: int,
    ranks: Sequence[int] | None = None,
) -> System:
    """Diagonalise every axis of every part and factor the preconditioner.

    Args:
        grams: for each part and axis, its covariance (n_a, n_a).
        measured: (*shape) bool.
        noise: () variance of an observation, positive.
        leading: number m of modes solved exactly in the preconditioner; changes the speed and not the solution.
        ranks: eigenvectors kept of each axis, see `enough`; None for all.
    """
    ranks = measured.shape if ranks is None else ranks
    # Single LAPACK calls, outside every loop.
    pairs = [[jnp.linalg.eigh(k) for k in part] for part in grams]
    kept = [[(w[-r:], u[:, -r:]) for (w, u), r in zip(part, ranks, strict=True)] for part in pairs]
    vectors = tuple(tuple(u for _, u in part) for part in kept)
    eigenvalues = jnp.stack([outer([jnp.maximum(w, 0.0) for w, _ in part]) for part in kept])
    root = jnp.sqrt(eigenvalues)
    _, modes = jax.lax.top_k(eigenvalues.ravel(), min(leading, eigenvalues.size))
    block = _leading_block(vectors, root, measured, modes) + noise * jnp.eye(modes.size, dtype=root.dtype)
    lower, ok = cholesky(block)
    # The inverse factor makes two products of what would be two triangular solves in the compiled loop below, where
    # LAPACK is not allowed; its rounding can cost iterations and nothing else.
    half = solve_lower(lower, jnp.eye(modes.size, dtype=root.dtype))
    trailing = root.ravel().at[modes].set(0.0).reshape(root.shape)
    ok = ok & jnp.isfinite(root).all() & jnp.isfinite(half).all() & (noise > 0)
    return System(
        vectors=vectors,
        root=root,
        measured=measured,
        noise=noise,
        trailing=trailing,
        density=jnp.mean(measured.astype(root.dtype)),
        modes=modes,
        half=half,
        ok=ok,
    )


def precondition(system: System, x: Array) -> Array:
    """An approximation of (G' G + s)^-1 x for x of shape (count, parts, *ranks): symmetric and positive definite.

    Trailing modes of the same number look alike in all parts, so that parts are told apart by the noise only: for each
    number density * root root' + s over the parts is inverted (Sherman & Morrison).
    """
    shared = system.density * jnp.sum(system.trailing**2, axis=0) + system.noise
    overlap = jnp.sum(system.trailing[None] * x, axis=1, keepdims=True)
    tail = (x - system.density * system.trailing[None] * overlap / shared[None, None]) / system.noise
    flat = x.reshape(x.shape[0], -1)
    lead = (flat[:, system.modes] @ system.half.T) @ system.half
    return tail.reshape(flat.shape).at[:, system.modes].set(lead).reshape(x.shape)


def _dot(a: Array, b: Array) -> Array:
    return jnp.sum(a * b, axis=tuple(range(1, a.ndim)))


def _ratio(a: Array, b: Array, like: Array) -> Array:
    # A right-hand side that is zero, or solved to the last bit, stands still.
    ratio = jnp.where(b > 0, a / jnp.where(b > 0, b, 1.0), 0.0)
    return ratio.reshape((-1,) + (1,) * (like.ndim - 1))


def solve(system: System, field: Array, tolerance: float | Array, limit: int | Array) -> Solution:
    """Conjugate gradients for (G' G + s) c = G' r, all right-hand sides at once.

    The energy norm of the error over sqrt(s) is the distance from the exact answer in posterior standard deviations,
    because (G' G + s) / s is the posterior precision of c; the preconditioned residual estimates it.

    Args:
        system: from `prepare`.
        field: (count, *shape) observations r; values in unmeasured pixels are ignored.
        tolerance: error at which to stop, as `Solution.residual`.
        limit: most iterations.

    Returns:
        Solution; whether its residual is below the tolerance is for the caller to check.
    """
    b = analyse(system, field)
    unit = system.noise * jnp.maximum(jnp.sum(system.measured), 1)

    def error(rz: Array) -> Array:
        return jnp.sqrt(jnp.max(jnp.maximum(rz, 0.0)) / unit)

    def step(carry: tuple) -> tuple:
        x, r, p, rz, k = carry
        q = normal_product(system, p)
        pace = _ratio(rz, _dot(p, q), x)
        x, r = x + pace * p, r - pace * q
        z = precondition(system, r)
        new = _dot(r, z)
        return x, r, z + _ratio(new, rz, x) * p, new, k + 1

    z = precondition(system, b)
    start = jnp.zeros_like(b), b, z, _dot(b, z), jnp.asarray(0)
    x, _, _, _, iterations = jax.lax.while_loop(lambda c: (error(c[3]) > tolerance) & (c[4] < limit), step, start)
    left = b - normal_product(system, x)
    return Solution(x, error(_dot(left, precondition(system, left))), iterations)
