"""Which point of a pool a position belongs to, where inputs may span many decades and wells may nearly coincide.

Distances are counted input by input in steps of the pool: the step of an input at a position is the difference between
the two values of it nearest to each other there. An input that is the same for all points has no step.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array

NEAR = 0.05
"""Share of the way to the next point within which a position counts as the point itself."""


class _Around(NamedTuple):
    """The surroundings of a position: the nearest point, how far it is, how far from that the next one is, in steps."""

    nearest: Array
    miss: Array
    gap: Array
    step: Array


def _differ(a: Array, b: Array) -> Array:
    """Whether two values differ by more than rounding."""
    return jnp.abs(a - b) > 16 * jnp.finfo(a.dtype).eps * jnp.maximum(jnp.abs(a), jnp.abs(b))


def _around(points: Array, x: Array) -> _Around:
    away = jnp.abs(points - x[None])
    level = jnp.take_along_axis(points, jnp.argmin(away, axis=0)[None], axis=0)  # (1, d) the values nearest to x
    step = jnp.min(jnp.where(_differ(points, level), jnp.abs(points - level), jnp.inf), axis=0)
    miss = jnp.max(away / step[None], axis=1)
    index = jnp.argmin(miss)
    home = points[index][None]
    ways = jnp.max(jnp.where(_differ(points, home), jnp.abs(points - home), 0.0) / step[None], axis=1)
    return _Around(index, miss[index], jnp.min(jnp.where(ways > 0, ways, jnp.inf)), step)


def beside(points: Array, x: Array, largest: Array) -> Array:
    """(m,) bool: the point that x (d,) lies right beside, with those that are the same; all False for none.

    Args:
        points: (m, d) of the pool.
        x: (d,) a position that is none of them.
        largest: (d,) largest absolute value of each input in use; an input without steps must agree to 1e-4 of it.
    """
    points, x = _alike(points, x)
    around = _around(points, x)
    home = points[around.nearest]
    level = jnp.maximum(jnp.abs(home), largest.astype(home.dtype))
    agree = jnp.isfinite(around.step) | (jnp.abs(x - home) <= 1e-4 * level)
    return jnp.all(points == home[None], axis=1) & (around.miss <= NEAR * around.gap) & agree.all()


def tolerance_around(points: Array, x: Array) -> Array:
    """(d,) half the way from x (d,) to the next point of the pool, input by input; 1e-3 of an input without steps."""
    wide, position = _alike(points, x)
    around = _around(wide, position)
    fixed = 1e-3 * jnp.maximum(jnp.abs(position), 1.0)
    stepped = jnp.isfinite(around.step)
    tolerance = jnp.where(stepped, 0.5 * around.gap * jnp.where(stepped, around.step, 0.0), fixed)
    return jnp.where(jnp.isfinite(tolerance), tolerance, fixed).astype(x.dtype)


def _alike(points: Array, x: Array) -> tuple[Array, Array]:
    kind = jnp.result_type(points, x)
    return points.astype(kind), x.astype(kind)
