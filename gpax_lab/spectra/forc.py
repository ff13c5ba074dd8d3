"""Families of hysteresis loops: cycles of growing amplitude, and first-order reversal curves (FORC).

A family is `bias (c, n)` in V and `response (..., c, n)`: c cycles or reversal curves of n points.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from gpax_lab.core._inputs import floating
from gpax_lab.core._linalg import in_chunks
from gpax_lab.core._types import Float
from gpax_lab.spectra._fit import normal_solve
from gpax_lab.spectra._loop import coercive_biases, loop_area

__all__ = [
    "forc_distribution",
    "loop_family",
    "split_cycles",
]


class _Family(NamedTuple):
    """What `loop_family` returns, and describes."""

    amplitude: Float[Array, " c"]
    area: Float[Array, "*batch c"]
    coercive: Float[Array, "*batch c 2"]


def split_cycles(
    bias: ArrayLike, response: ArrayLike, cycles: int
) -> tuple[Float[Array, "c n"], Float[Array, "*batch c n"]]:
    """Cut a waveform of several cycles of equal length: bias (c, n) and response (..., c, n).

    Args:
        bias: (c n,) V.
        response: (..., c n).
        cycles: how many.

    Raises:
        ValueError: the length is no multiple of the cycles, or a cycle does not return to the bias it began at (its
            last step is larger than any other), so that it is no closed loop.
    """
    v, r = floating(bias, "the bias"), floating(response, "the response")
    if v.ndim != 1 or r.shape[-1:] != v.shape:
        raise ValueError(f"bias must be (m,) and response (..., m); got {v.shape} and {r.shape}.")
    if cycles < 1 or v.shape[0] % cycles:
        raise ValueError(f"{v.shape[0]} points are not {cycles} cycles of equal length.")
    cut = v.reshape(cycles, -1)
    inside, closing = jnp.max(jnp.abs(jnp.diff(cut, axis=1)), axis=1), jnp.abs(cut[:, 0] - cut[:, -1])
    if bool(jnp.any(closing > 1.5 * inside)):
        raise ValueError("a cycle does not end where it began; check the number of cycles and where the first starts.")
    return cut, r.reshape(*r.shape[:-1], cycles, -1)


def loop_family(bias: ArrayLike, response: ArrayLike) -> _Family:
    """Area and coercive biases against the amplitude of the cycle.

    Args:
        bias: (c, n) V, of `split_cycles`.
        response: (..., c, n).

    Returns:
        amplitude (c,) V, half of the range of each cycle; area (..., c), signed, response x V; coercive (..., c, 2) V,
        the zero crossings of the rising and the falling branch, NaN where there is none.

    Raises:
        ValueError: other shapes.
    """
    v, r = floating(bias, "the bias"), floating(response, "the response")
    if v.ndim != 2 or r.shape[-2:] != v.shape:
        raise ValueError(f"a family is bias (c, n) and response (..., c, n); got {v.shape} and {r.shape}.")
    flat = r.reshape(-1, *v.shape)
    area = jax.vmap(jax.vmap(loop_area), in_axes=(None, 0))(v, flat)
    coercive = jax.vmap(jax.vmap(coercive_biases), in_axes=(None, 0))(v, flat)
    batch = r.shape[:-1]
    amplitude = 0.5 * (jnp.max(v, axis=1) - jnp.min(v, axis=1))
    return _Family(amplitude, area.reshape(batch), coercive.reshape(*batch, 2))


def forc_distribution(
    reversal: ArrayLike, bias: ArrayLike, response: ArrayLike, at: ArrayLike, width: tuple[float, float]
) -> Float[Array, "*batch q"]:
    """FORC distribution rho(Vr, V) = -1/2 d^2 R / dVr dV by smoothing local polynomials.

    At each point a full quadratic in (Vr, V) is fitted to the curves around it with tricube weights; rho is minus half
    the coefficient of the mixed term. It is linear in the response, so one set of weights serves all pixels.

    Args:
        reversal: (c,) V, bias at which each curve was reversed.
        bias: (c, n) V along each curve after the reversal; NaN where a curve is shorter.
        response: (..., c, n).
        at: (q, 2) points (Vr, V) in V.
        width: reach of the weights along Vr and along V, in V.

    Returns:
        rho (..., q), response per V^2; NaN where fewer than 12 points lie in reach (6 coefficients twice over), and for
        a pixel with a NaN response at a point in reach.

    Raises:
        ValueError: shapes that do not belong together, or a width that is not positive.

    Source: Pike, Roberts, Verosub, J. Appl. Phys. 85, 6660 (1999), with weights; tricube: Cleveland, J. Am.
    Stat. Assoc. 74, 829 (1979).
    """
    vr, v, r, where = (floating(a) for a in (reversal, bias, response, at))
    if v.ndim != 2 or vr.shape != v.shape[:1] or r.shape[-2:] != v.shape:
        raise ValueError(
            f"give reversal (c,), bias (c, n), response (..., c, n); got {vr.shape}, {v.shape}, {r.shape}."
        )
    if where.ndim != 2 or where.shape[1] != 2 or min(width) <= 0:
        raise ValueError(f"points are (q, 2) and widths positive; got {where.shape} and {width}.")
    points = jnp.stack([jnp.broadcast_to(vr[:, None], v.shape).ravel(), v.ravel()], axis=1)
    rho = _mixed(points, r.reshape(-1, points.shape[0]), where.astype(r.dtype), jnp.array(width, r.dtype))
    return rho.reshape(*r.shape[:-2], -1)


@jax.jit
def _mixed(points: Array, responses: Array, where: Array, width: Array) -> Array:
    """(pixels, q)."""
    there = jnp.isfinite(points[:, 1])
    points = jnp.where(there[:, None], points, 0.0)

    def some(block: Array) -> Array:
        weights, enough = jax.vmap(partial(_weights, points, there, width))(block)
        used = jnp.where(there[None], responses, 0.0)
        lost = (weights != 0.0).astype(used.dtype) @ (~jnp.isfinite(used)).astype(used.dtype).T > 0
        return jnp.where(enough[:, None] & ~lost, weights @ jnp.nan_to_num(used).T, jnp.nan)

    return in_chunks(some, where, 256).T


def _weights(points: Array, there: Array, width: Array, position: Array) -> tuple[Array, Array]:
    """Weights (m,) whose sum with the responses is rho at one point, and whether enough points are in reach."""
    d = (points - position[None]) / width[None]
    reach = jnp.sqrt(jnp.sum(d**2, axis=1))
    tricube = jnp.where(there & (reach < 1.0), (1.0 - jnp.minimum(reach, 1.0) ** 3) ** 3, 0.0)
    one = jnp.ones_like(reach)
    basis = jnp.stack([one, d[:, 0], d[:, 1], d[:, 0] ** 2, d[:, 1] ** 2, d[:, 0] * d[:, 1]])
    weighted = basis * tricube[None]
    row = normal_solve(weighted @ basis.T, jnp.zeros(6, points.dtype).at[5].set(1.0))
    return -0.5 * (row @ weighted) / (width[0] * width[1]), jnp.sum(tricube > 0) >= 12
