"""Where a fit of the nine-parameter loop begins: the best of many shapes, offset, height and tilt in closed form."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from gpax_lab.core._inputs import floating
from gpax_lab.core._linalg import in_chunks
from gpax_lab.core._types import Float
from gpax_lab.spectra._loop import loop_function, rising, sweep_step

CENTRES, WIDTHS = 12, (0.5, 2.0, 5.0)
"""Shapes tried for a start: coercive biases across the range, and corner widths in steps of the sweep."""


def loop_start(bias: ArrayLike, response: ArrayLike, up: ArrayLike | None = None) -> Float[Array, "*batch 9"]:
    """Estimate of the nine parameters, (..., 9), without iteration.

    Every pair of 12 coercive biases with three corner widths is a shape, and for a given shape offset, height and tilt
    are linear least squares in closed form; the shape that explains most of the loop's running median over five points
    (spikes of up to two points do not enter) is the start.

    Args:
        bias: (n,) V.
        response: (..., n).
        up: bool (n,), the rising branch; read from the cyclic sweep if not given.

    Returns:
        (..., 9).
    """
    v, r, branch = inputs(bias, response, up)
    return jnp.asarray(starts_of(v, r, branch)[0])


def inputs(bias: ArrayLike, response: ArrayLike, up: ArrayLike | None) -> tuple[Array, Array, Array]:
    """The bias (n,), the responses (..., n) and the branches (n,) as arrays, checked."""
    r = floating(response, "the response")
    v = jnp.asarray(floating(bias, "the bias"), r.dtype)
    if v.ndim != 1 or r.ndim < 1 or r.shape[-1] != v.shape[0]:
        raise ValueError(f"bias must be (n,) and response (..., n); got {v.shape} and {r.shape}.")
    branch = rising(v) if up is None else jnp.asarray(up, bool)
    if branch.shape != v.shape or v.shape[0] < 10:
        raise ValueError(f"a loop needs at least 10 points and a branch for each; got {v.shape} and {branch.shape}.")
    return v, r, branch


@jax.jit
def starts_of(v: Array, r: Array, up: Array) -> Array:
    """(3, ..., 9): the best start with corners of each of the trial widths, the best of all first."""
    low, range_ = jnp.min(v), jnp.max(v) - jnp.min(v)
    centres = low + range_ * (jnp.arange(CENTRES, dtype=v.dtype) + 0.5) / CENTRES
    widths = jnp.array(WIDTHS, v.dtype) * sweep_step(v)
    halves = _halves(v, up, centres, widths)
    found = in_chunks(jax.vmap(partial(_best_shape, v, halves, centres, widths)), r.reshape(-1, v.shape[0]), 512)
    return jnp.moveaxis(found, 1, 0).reshape(len(WIDTHS), *r.shape[:-1], 9)


def _halves(v: Array, up: Array, centres: Array, widths: Array) -> Array:
    """Switched share (2, widths, k, n) on the rising and on the falling branch, 0 on the other one."""
    none, one = jnp.zeros_like(widths[0]), jnp.ones_like(widths[0])

    def share(width: Array, centre: Array) -> Array:
        return loop_function(v, jnp.stack([none, one, centre, centre, none, *[width] * 4]), up)

    both = jax.vmap(jax.vmap(share, in_axes=(None, 0)), in_axes=(0, None))(widths, centres)
    branches = jnp.stack([up, ~up]).astype(v.dtype)
    return both[None] * branches[:, None, None]


def _best_shape(v: Array, halves: Array, centres: Array, widths: Array, loop: Array) -> Array:
    """(3, 9): offset, height and tilt by linear least squares for every shape; the best shape of each width.

    A sum over a loop is that over its rising branch plus that over its falling one, so the sums of k halves give those
    of k^2 shapes.
    """
    there = jnp.isfinite(loop)
    weight = there.astype(loop.dtype) / jnp.maximum(jnp.sum(there), 1)
    loop = jnp.where(there, loop, 0.0)
    loop = _middle_of_five(jnp.where(there, loop, loop @ weight))
    mean_v, mean_r = weight @ v, weight @ loop
    dv, dr = v - mean_v, loop - mean_r
    moments = jnp.stack([weight, weight * dr, weight * dv], axis=1)
    sums = (halves.reshape(-1, v.shape[0]) @ moments).reshape(*halves.shape[:3], 3)
    squares = (jnp.square(halves).reshape(-1, v.shape[0]) @ weight).reshape(halves.shape[:3])
    mean_s, s_r, s_v = (_pairs(sums[..., k]) for k in range(3))
    s_s = _pairs(squares) - mean_s**2
    v_v, v_r = weight @ dv**2, weight @ (dv * dr)
    # Two by two normal equations of height and tilt, in closed form.
    determinant = jnp.maximum(s_s * v_v - s_v**2, 1e-6 * v_v)
    height, tilt = (v_v * s_r - s_v * v_r) / determinant, (s_s * v_r - s_v * s_r) / determinant
    explained = height * s_r + tilt * v_r
    best, rows = jnp.argmax(explained, axis=1), jnp.arange(widths.shape[0])
    height, tilt, mean_s = (value[rows, best] for value in (height, tilt, mean_s))
    rise, fall = centres[best // centres.shape[0]], centres[best % centres.shape[0]]
    found = [mean_r - height * mean_s - tilt * mean_v, height, rise, fall, tilt, *[widths] * 4]
    return jnp.stack(found, axis=1)[jnp.argsort(-explained[rows, best])]


def _pairs(sums: Array) -> Array:
    """(widths, k k): of all pairs of a rising and a falling half, from (2, widths, k)."""
    return (sums[0][:, :, None] + sums[1][:, None, :]).reshape(sums.shape[1], -1)


def _middle_of_five(loop: Array) -> Array:
    """Cyclic running median over five points, (n,), by comparisons: a sort of each window is ten times slower."""
    a, b, c, d, e = (jnp.roll(loop, k) for k in (-2, -1, 1, 2, 0))
    low = jnp.maximum(jnp.minimum(a, b), jnp.minimum(c, d))
    high = jnp.minimum(jnp.maximum(a, b), jnp.maximum(c, d))
    low, high = jnp.minimum(low, high), jnp.maximum(low, high)
    return jnp.maximum(low, jnp.minimum(high, e))
