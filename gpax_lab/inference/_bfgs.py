"""The minimum of a smooth function of a few dozen parameters: BFGS with backtracking.

The function stands in the loop once. A line search after Wolfe holds it three times, and for the density of a process
compiling it is most of what a first fit takes.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

MODE_GTOL = 0.1
"""The largest slope of what passes for a mode, in nats per log parameter or prior standard deviation. The prior alone
curves a log density by one or two, so that the mode is then off by less than a tenth of a standard deviation."""


class BFGSResult(NamedTuple):
    """Where the search stopped.

    Attributes:
        z: (p,) point.
        value: () there.
        slope: () the largest slope there, per `unit`.
        updates: () moves.
        num_evals: () gradients taken.
        inverse: (p, p) inverse Hessian per `unit`, as far as the moves have shown it.
    """

    z: Array
    value: Array
    slope: Array
    updates: Array
    num_evals: Array
    inverse: Array


def at_mode(slope: Array) -> Array:
    """() whether a log density with that slope is at a mode.

    In single precision the slope of a density of hundreds of observations is rounded to some tenths of a nat.
    """
    return slope <= MODE_GTOL * (1.0 if slope.dtype == jnp.float64 else 5.0)


class BFGSState(NamedTuple):
    """Where BFGS stands, in coordinates per `unit`.

    Attributes:
        z: (p,) point.
        value: () there.
        gradient: (p,) there.
        inverse: (p, p) inverse Hessian.
        direction: (p,) of the next move.
        pace: () its length, in `direction`.
        num_evals: () gradients taken.
        updates: () moves.
    """

    z: Array
    value: Array
    gradient: Array
    inverse: Array
    direction: Array
    pace: Array
    num_evals: Array
    updates: Array


def minimize_bfgs(
    function: Callable[[Array], Array],
    z: Array,
    gtol: float | Array,
    max_iter: int,
    unit: Array,
    inverse: Array | None = None,
) -> BFGSResult:
    """Minimise from z (p,).

    Args:
        function: z -> () value; where it is not finite the search turns back.
        z: (p,) start. If the function is not finite there, it is where the search ends.
        gtol: largest slope at which to stop, per `unit`.
        max_iter: most moves.
        unit: (p,) natural length of each coordinate, such as its prior standard deviation: no coordinate moves farther
            than this at a time, too far for a quadratic to be believed.
        inverse: (p, p) inverse Hessian to begin with, as a search nearby has left it; None or zeros where nothing is
            known of it.
    """
    value_and_grad = jax.value_and_grad(lambda u: function(u * unit))

    def step(at: BFGSState) -> BFGSState:
        u = at.z + at.pace * at.direction
        value, gradient = value_and_grad(u)
        first = at.num_evals == 0
        slack = 10 * jnp.finfo(u.dtype).eps * jnp.abs(value)
        enough = value <= at.value + 1e-4 * at.pace * (at.gradient @ at.direction) + slack  # N&W 2006, eq. 3.4
        good = jnp.isfinite(value) & jnp.isfinite(gradient).all() & (first | enough)
        inverse = _bfgs(at.inverse, u - at.z, gradient - at.gradient, (at.updates == 0) & ~known)
        inverse = jnp.where(good & ~first, inverse, at.inverse)
        direction = -inverse @ gradient
        direction = direction / jnp.maximum(jnp.max(jnp.abs(direction)), 1.0)
        done = BFGSState(
            z=u,
            value=value,
            gradient=gradient,
            inverse=inverse,
            direction=direction,
            pace=jnp.ones_like(at.pace),
            num_evals=at.num_evals,
            updates=at.updates + ~first,
        )
        kept = jax.tree.map(lambda new, old: jnp.where(good, new, old), done, at._replace(pace=0.3 * at.pace))
        return kept._replace(num_evals=at.num_evals + 1)

    def going(at: BFGSState) -> Array:
        steep = jnp.isfinite(at.value) & ~(jnp.max(jnp.abs(at.gradient)) <= gtol)
        return (at.num_evals == 0) | (steep & (at.updates < max_iter) & (at.pace > 1e-8))

    start = z / unit
    zero, one, none = jnp.zeros_like(start), jnp.ones((), z.dtype), jnp.asarray(0)
    eye = jnp.eye(z.size, dtype=z.dtype)
    known = jnp.asarray(False) if inverse is None else jnp.any(inverse != 0)
    metric = eye if inverse is None else jnp.where(known, inverse, eye)
    begin = BFGSState(
        z=start,
        value=jnp.inf * one,
        gradient=jnp.inf * (1 + zero),
        inverse=metric,
        direction=zero,
        pace=one,
        num_evals=none,
        updates=none,
    )
    end = jax.lax.while_loop(going, step, begin)
    return BFGSResult(
        z=end.z * unit,
        value=end.value,
        slope=jnp.max(jnp.abs(end.gradient)),
        updates=end.updates,
        num_evals=end.num_evals,
        inverse=end.inverse,
    )


def _bfgs(inverse: Array, move: Array, change: Array, first: Array) -> Array:
    """Inverse Hessian after a move with a change of gradient (Nocedal & Wright 2006, eq. 6.17 and 6.20)."""
    curvature = move @ change
    safe = jnp.where(curvature > 0, curvature, 1.0)
    eye = jnp.eye(move.size, dtype=move.dtype)
    begun = jnp.where(first, safe / jnp.maximum(change @ change, jnp.finfo(move.dtype).tiny) * eye, inverse)
    left = eye - jnp.outer(move, change) / safe
    return jnp.where(curvature > 0, left @ begun @ left.T + jnp.outer(move, move) / safe, inverse)
