"""Normal equations of many small least-squares problems at once, and their solution.

Pixels lie on the last axis, so that every operation is one long vector. Complex values are two real ones: (n, B)
becomes (2 n, B), written m below.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike

Model = Callable[[Any, Array], Array]
Jacobian = Callable[[Any, Array], tuple[Array, ...]]

STRIDE = 8
"""Rows added to J^T J in one pass: the sums then stay in the fastest cache (measured against 1, 4, 16 and a matmul)."""


class Formula(NamedTuple):
    """A model of one point and, where it is known in closed form, the tuple of its p derivatives there."""

    model: Model
    jac: Jacobian | None


class Task(NamedTuple):
    """What all problems of a call share; problem i is spectrum i // starts."""

    x: Any
    y: Array  # (pixels, m) real numbers, NaN where one is left out; see `spectra_as_real`
    sigma: Array | None  # (1 or pixels, n)
    box: tuple[Array, Array] | None  # lower and upper bounds, (p,) each


def data(task: Task, pixel: Array) -> tuple[Array, Array, Array]:
    """Of a block: y (m, B) as real numbers, weights 1 / sigma (0: left out) and the scale of y (B,).

    Without sigma the weight is 1 over the largest |y|: all costs are then of order 1, in float32 too.
    """
    y = task.y[pixel].T
    there = jnp.isfinite(y)
    y = jnp.where(there, y, 0.0)
    found = jnp.max(jnp.abs(y), axis=0)
    if task.sigma is None:
        scale = jnp.where(found > 0, found, 1.0)
        inverse = jnp.broadcast_to((1.0 / scale)[None], y.shape)
    else:
        sigma = task.sigma[jnp.zeros_like(pixel) if task.sigma.shape[0] == 1 else pixel].T
        sigma = jnp.concatenate([sigma] * (y.shape[0] // sigma.shape[0]))
        there = there & jnp.isfinite(sigma) & (sigma > 0)
        inverse, scale = 1.0 / jnp.where(there, sigma, 1.0), jnp.ones_like(found)
    return y, jnp.where(there, inverse, 0.0), scale


def spectra_as_real(y: Array) -> Array:
    """(pixels, n) spectra as real numbers (pixels, m), NaN where a bin is left out: one that is complex as a whole."""
    if not jnp.iscomplexobj(y):
        return jnp.where(jnp.isfinite(y), y, jnp.nan)
    there = jnp.isfinite(y.real) & jnp.isfinite(y.imag)
    return jnp.concatenate([jnp.where(there, y.real, jnp.nan), jnp.where(there, y.imag, jnp.nan)], axis=1)


def parts_of(task: Task) -> int:
    """2 where the spectra are complex, else 1."""
    return task.y.shape[1] // jax.tree.leaves(task.x)[0].shape[0]


def as_real(values: Array) -> Array:
    """(n, B) complex to (2 n, B) real."""
    return jnp.concatenate([values.real, values.imag]) if jnp.iscomplexobj(values) else values


def curve(formula: Formula, x: Any, params: Array) -> Array:
    """(m, B) model of a block, params (p, B)."""
    return as_real(_mapped(formula.model)(x, params))


def _mapped(function: Callable) -> Callable:
    """Over points (leading axis of x) and pixels (last axis of the parameters)."""
    return jax.vmap(jax.vmap(function, in_axes=(None, 1)), in_axes=(0, None))


def _slopes(formula: Formula, x: Any, params: Array) -> list[Array]:
    """p derivatives (m, B); without a closed form by one forward pass each, which compiles better than a mapped one."""
    if formula.jac is not None:
        return [as_real(column) for column in _mapped(formula.jac)(x, params)]
    unit = jnp.eye(params.shape[0], dtype=params.dtype)

    def along(direction: Array) -> Array:
        tangent = jnp.broadcast_to(direction[:, None], params.shape)
        return jax.jvp(lambda q: curve(formula, x, q), (params,), (tangent,))[1]

    return [along(row) for row in unit]


def normal(
    formula: Formula, x: Any, y: Array, weight: Array, params: Array, limit: Array | None = None
) -> tuple[Array, Array, Array]:
    """J^T W J (p, p, B), J^T W r (p, B) and the cost (B,) of the weighted residual r = (model - y) weight.

    Without `limit` W = 1 and the cost is r^T r / 2; with it W is `pull` and the cost beyond the first limit linear,
    beyond the second constant.
    """
    # A bin that is left out must not carry in a NaN of the model.
    there = weight > 0
    columns = [*_slopes(formula, x, params), curve(formula, x, params) - y]
    rows = jnp.stack([jnp.where(there, column * weight, 0.0) for column in columns])
    if limit is None:
        product = _gram(rows)
        return product[:-1, :-1], product[:-1, -1], 0.5 * product[-1, -1]
    size = jnp.abs(rows[-1])
    share = huber_weight(size, limit)
    product = _gram(rows * jnp.sqrt(share)[None])
    lost = limit[0] * (limit[1] - 0.5 * limit[0])  # the cost of a residual that does not count, where it stops counting
    each = jnp.where(size > limit[1][None], lost[None], share * size * (size - 0.5 * share * size))
    return product[:-1, :-1], product[:-1, -1], jnp.sum(each, axis=0)


def _gram(rows: Array) -> Array:
    """sum_m r_i r_j of rows (q, m, B): (q, q, B)."""
    q, m, block = rows.shape
    rows = jnp.pad(rows, ((0, 0), (0, -m % STRIDE), (0, 0)))

    def add(k: Array, total: Array) -> Array:
        some = lax.dynamic_slice_in_dim(rows, k * STRIDE, STRIDE, 1)
        for j in range(STRIDE):
            total = total + some[:, j][:, None] * some[:, j][None]
        return total

    return lax.fori_loop(0, rows.shape[1] // STRIDE, add, jnp.zeros((q, q, block), rows.dtype))


def huber_weight(size: Array, limit: Array) -> Array:
    """min(1, limit_0 / |r|), and 0 where |r| > limit_1: (m, B) for limits (2, B)."""
    near, far = limit[0][None], limit[1][None]
    share = jnp.where(size > near, near / jnp.where(size > near, size, 1.0), 1.0)
    return jnp.where(size > far, 0.0, share)


def huber_limit(residual: Array, weight: Array, known: bool, huber: ArrayLike, far: Array) -> Array:
    """(2, B) residuals beyond which the pull is constant, and none.

    The first is `huber` times 1 if sigma is known, else times 1.4826 median |r|; the second `far` times the first.
    """
    size = jnp.abs(residual)
    s = jnp.ones_like(size[0])
    if not known:
        s = 1.4826 * jnp.nanmedian(jnp.where(weight > 0, size, jnp.nan), axis=0)
    near = huber * jnp.maximum(jnp.nan_to_num(s), float(jnp.finfo(size.dtype).eps))
    return jnp.stack([near, far * near])


def free_parameters(params: Array, gradient: Array, task: Task) -> Array:
    """(p, B): which parameters are not pressed against a bound."""
    if task.box is None:
        return jnp.ones(params.shape, bool)
    lower, upper = (bound[:, None] for bound in task.box)
    return ~(((params <= lower) & (gradient >= 0)) | ((params >= upper) & (gradient <= 0)))


def fix_params(a: Array, free: Array) -> Array:
    """The matrix with the rows and columns of held parameters replaced by those of the identity."""
    eye = jnp.eye(a.shape[0], dtype=a.dtype)[..., None]
    return jnp.where(free[:, None] & free[None], a, eye)


def gauss_jordan_solve(a: Array, b: Array) -> tuple[Array, Array]:
    """A^-1 B for symmetric positive definite A (p, p, B), B (p, m, B) by Gauss-Jordan; and the smallest pivot (B,).

    A is first scaled to a unit diagonal, so that the pivots are 1 - R^2 of each parameter on those before it.
    """
    p = a.shape[0]
    diagonal = jnp.stack([a[i, i] for i in range(p)])
    scale = jnp.where(diagonal > 0, lax.rsqrt(jnp.where(diagonal > 0, diagonal, 1.0)), 0.0)
    rows = jnp.concatenate([a * scale[:, None] * scale[None], b * scale[:, None]], axis=1)
    floor = float(jnp.finfo(a.dtype).eps)

    def one(j: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        rows, least = carry
        row = lax.dynamic_index_in_dim(rows, j, 0, keepdims=False)
        column = lax.dynamic_index_in_dim(rows, j, 1, keepdims=False)
        value = lax.dynamic_index_in_dim(row, j, 0, keepdims=False)
        row = row / jnp.where(value > floor, value, 1.0)[None]
        keep = (jnp.arange(p) != j)[:, None, None]
        return jnp.where(keep, rows - column[:, None] * row[None], row[None]), jnp.minimum(least, value)

    # A loop and not p copies of it: unrolled, the compiler computes early rows again for every later one.
    rows, least = lax.fori_loop(0, p, one, (rows, jnp.full(a.shape[2:], jnp.inf, a.dtype)))
    return rows[:, p:] * scale[:, None], least


def within(task: Task, params: Array) -> Array:
    """The parameters (p, B) moved to the nearest point in the box."""
    return params if task.box is None else jnp.clip(params, *(bound[:, None] for bound in task.box))
