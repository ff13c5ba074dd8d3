"""The nine-parameter loop at one point, with its derivatives in closed form."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.special import erfinv
from jax.typing import ArrayLike
from numpy.polynomial.chebyshev import cheb2poly, chebfit, chebpts1
from scipy.special import erfcx

from gpax_lab.spectra._loop import SHARPNESS

TWO_OVER_ROOT_PI = 1.1283791670955126  # derivative of erf at 0

ERF_REACH, ERF_MIDDLE = 6.0, 2.0
"""Beyond the first erf is 1 in float64; the second is where most of the change of erfcx lies (1 to 3 tried)."""


def _scaled_erfcx(u: np.ndarray) -> np.ndarray:
    """(z + 2) exp(z^2) erfc(z) at z in [0, `ERF_REACH`], of u = 5/3 - (16/3) / (z + 2) in [-1, 1]."""
    beyond = (16.0 / 3.0) / (5.0 / 3.0 - u)
    return beyond * erfcx(beyond - ERF_MIDDLE)


ERFCX = cheb2poly(chebfit(chebpts1(19), _scaled_erfcx(chebpts1(19)), 18)).tolist()
"""Coefficients of `_scaled_erfcx` by powers of u: the error of erf is below 2e-15."""


class Switch(NamedTuple):
    """What the loop and its derivatives share at one point."""

    switched: Array
    level: Array  # erf of the distance from the switch in widths
    bell: Array  # exp of minus its square
    z: Array
    after: Array  # share of the width after the switch in the width here
    sharp: Array  # slope of that share with the bias
    total: Array  # 1 / (sum of both widths)
    change: Array  # width after less width before


def switch_at(point: tuple[Array, Array], params: Array) -> Switch:
    """The step of the branch that a point (bias, whether it rises) lies on."""
    v, up = point
    _, _, a2, a3, _, b0, b1, b2, b3 = (params[k] for k in range(9))
    centre, before, change = jnp.where(up, a2, a3), jnp.where(up, b0, b2), jnp.where(up, b1 - b0, b3 - b2)
    total = jnp.where(up, 1.0 / (b0 + b1), 1.0 / (b2 + b3))
    away = v - centre
    step, peak = _erf(away * SHARPNESS)
    after = 0.5 * (step + 1.0)
    width = change * after + before
    z = away / width
    level, bell = _erf(z)
    sharp = 0.5 * TWO_OVER_ROOT_PI * SHARPNESS * peak
    return Switch(
        switched=(width * level + before) * total,
        level=level,
        bell=bell,
        z=z,
        after=after,
        sharp=sharp,
        total=total,
        change=change,
    )


def _erf(z: Array) -> tuple[Array, Array]:
    """erf(z) to 2e-15 and exp(-z^2), in float64 at a third of the cost of the library's erf alone.

    The polynomial ends in a division: a quotient is computed once, a sum of products again wherever it is used.
    """
    size = jnp.minimum(jnp.abs(z), ERF_REACH)
    bell, beyond = jnp.exp(-size * size), size + ERF_MIDDLE
    u, value = 5.0 / 3.0 - (16.0 / 3.0) / beyond, jnp.zeros_like(size)  # [0, reach] onto [-1, 1]
    for coefficient in ERFCX[::-1]:
        value = value * u + coefficient
    return jnp.copysign(1.0 - bell * (value / beyond), z), bell


def loop_at_point(point: tuple[Array, Array], params: Array) -> Array:
    """`loop_function` at one point."""
    return params[0] + params[1] * switch_at(point, params).switched + params[4] * point[0]


def slopes_at_point(point: tuple[Array, Array], params: Array) -> tuple[Array, ...]:
    """Derivatives of `loop_function` at one point: those of the other branch are 0."""
    (v, up), a1, at = point, params[1], switch_at(point, params)
    by_width = a1 * (at.level - at.z * TWO_OVER_ROOT_PI * at.bell) * at.total
    by_centre = -a1 * TWO_OVER_ROOT_PI * at.bell * at.total - by_width * at.sharp * at.change
    by_before = by_width * (1.0 - at.after) + a1 * (1.0 - at.switched) * at.total
    by_after = by_width * at.after - a1 * at.switched * at.total
    return (
        jnp.ones_like(at.switched),
        at.switched,
        jnp.where(up, by_centre, 0.0),
        jnp.where(up, 0.0, by_centre),
        v + jnp.zeros_like(at.switched),
        jnp.where(up, by_before, 0.0),
        jnp.where(up, by_after, 0.0),
        jnp.where(up, 0.0, by_before),
        jnp.where(up, 0.0, by_after),
    )


def switched_at(share: ArrayLike, centre: Array, before: Array, after: Array) -> Array:
    """Bias at which the share y of a branch has switched: c + g erfinv(((p + q) y - p) / g), g = p or q."""
    over = (before + after) * share - before
    width = jnp.where(over < 0, before, after)
    return centre + width * erfinv(over / width)
