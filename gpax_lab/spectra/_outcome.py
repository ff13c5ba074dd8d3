"""What a fit says: its parameters, their covariance, how good it is, and a status."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from gpax_lab.core._status import Status
from gpax_lab.core._types import Float, Int8
from gpax_lab.spectra._normal_equations import (
    Formula,
    Task,
    curve,
    data,
    fix_params,
    free_parameters,
    gauss_jordan_solve,
    huber_weight,
    normal,
    parts_of,
)

NEAR = 5e-4
"""A fit has converged if a further Gauss-Newton step would lower chi^2 by less than twice this: 0.03 of an sd."""


class Fit(NamedTuple):
    """Fits of any batch shape (...). Where `status` is not OK, read what it says before using a number.

    Attributes:
        params: (..., p) in the units of the model; NaN under BAD_INPUT.
        std: (..., p) standard deviations; 0 for a parameter held at its bound.
        covariance: (..., p, p), Gauss-Newton: the Cramer-Rao bound when sigma is known.
        r_squared: (...) coefficient of determination.
        chi_square: (...) sum of (residual / sigma)^2 per degree of freedom; with sigma unknown the estimated variance
            of the noise, in the unit of y squared.
        status: (...) int8 code of `Status`.
        released: (..., p, p) covariance if all that is held at a bound, or not determined, were let go, each by as much
            as its bounds leave; the same as `covariance` of a good fit. NaN where there is none, and of a
            POOR_FIT of which no number is good.
        step: (..., p) where the parameters would go, to first order, if let go; 0 of a good fit.
        rival: (..., p) other parameters that describe the spectrum about as well; `params` where none are known.
    """

    params: Float[Array, "*batch p"]
    std: Float[Array, "*batch p"]
    covariance: Float[Array, "*batch p p"]
    r_squared: Float[Array, "*batch"]
    chi_square: Float[Array, "*batch"]
    status: Int8[Array, "*batch"]
    released: Array | None = None
    step: Array | None = None
    rival: Array | None = None


def summary(
    formula: Formula,
    task: Task,
    u: Array,
    equations: tuple[Array, Array, Array],
    limit: Array | None,
    pixel: Array,
    least: ArrayLike,
) -> tuple[Fit, Array]:
    """The fits of a block and what they are to be chosen by.

    From parameters (p, B), the normal equations there and the limits (2, B) of `huber`.
    """
    p = u.shape[0]
    y, weight, scale = data(task, pixel)
    known, eps = task.sigma is not None, float(jnp.finfo(u.dtype).eps)
    h, gradient, cost = equations
    count = jnp.sum(weight > 0, axis=0).astype(u.dtype)
    degrees = jnp.maximum(count - p, 1.0)
    robust, squares = jnp.ones_like(y), 2.0 * cost
    if limit is not None:  # the covariance rests on all points, the weights enter through `dispersion`
        h = normal(formula, task.x, y, weight, u)[0]
        residual = jnp.where(weight > 0, (curve(formula, task.x, u) - y) * weight, 0.0)
        robust = huber_weight(jnp.abs(residual), limit)
        squares = jnp.sum(robust * residual**2, axis=0)
    free = free_parameters(u, gradient, task)
    eye = jnp.broadcast_to(jnp.eye(p, dtype=u.dtype)[..., None], h.shape)
    inverse, pivot = gauss_jordan_solve(fix_params(h, free), eye)
    open_gradient = jnp.where(free, gradient, 0.0)
    decrement = 0.5 * jnp.sum(open_gradient * jnp.sum(inverse * open_gradient[None], axis=1), axis=0)
    variance = squares / degrees
    dispersion = jnp.ones_like(variance) if known and limit is None else variance
    if limit is not None:
        inside = jnp.sum((robust >= 1.0) & (weight > 0), axis=0) / jnp.maximum(count, 1.0)
        psi = jnp.sum((robust * residual) ** 2, axis=0) / degrees / jnp.maximum(inside, 0.1) ** 2
        dispersion = psi * (1.0 + p / jnp.maximum(count, 1.0) * (1.0 - inside) / jnp.maximum(inside, 0.1)) ** 2
    covariance = jnp.where(free[:, None] & free[None], inverse * dispersion[None, None], 0.0)
    r_squared = 1.0 - squares / _about_mean(task, y, weight, robust)
    bad = (count <= p) | ~jnp.isfinite(cost)
    floor = (8 * eps) ** 2 * y.shape[0]
    status = Status.worst(
        (bad, Status.BAD_INPUT),
        (pivot <= 8 * eps, Status.SINGULAR),
        (decrement > jnp.maximum(NEAR * variance, floor), Status.NOT_CONVERGED),
        (jnp.any(~free, axis=0), Status.AT_BOUND),
        (~(r_squared >= least), Status.POOR_FIT),
    )
    lost = bad | (pivot <= 8 * eps)
    covariance = jnp.where(lost[None, None], jnp.nan, covariance)
    std = jnp.sqrt(jnp.stack([jnp.maximum(covariance[i, i], 0.0) for i in range(p)]))
    released, step = _let_go(task, u, h, gradient, dispersion)
    fine = (status == Status.OK) | (status == Status.POOR_FIT)
    released = jnp.where(fine, covariance, released)
    released = jnp.where(bad | ~(r_squared >= least), jnp.nan, released)
    fit = Fit(
        params=jnp.where(bad[None], jnp.nan, u).T,
        std=jnp.where(lost[None], jnp.nan, std).T,
        covariance=jnp.moveaxis(covariance, -1, 0),
        r_squared=jnp.where(bad, jnp.nan, r_squared),
        chi_square=jnp.where(bad, jnp.nan, variance * scale**2),
        status=status,
        released=jnp.moveaxis(released, -1, 0),
        step=jnp.where(fine[None], 0.0, step).T,
    )
    # Costs with different limits do not compare; then the start is best whose residuals are the smallest by the middle.
    return fit, jnp.where(bad, jnp.inf, cost if known or limit is None else limit[0])


def _let_go(task: Task, u: Array, h: Array, gradient: Array, dispersion: Array) -> tuple[Array, Array]:
    """Covariance (p, p, B) and Gauss-Newton step (p, B) with nothing held.

    A parameter with bounds is known to within these without any data, and a bound that is not 0 gives its size: that
    determines what the data do not.
    """
    p, eps = u.shape[0], float(jnp.finfo(u.dtype).eps)
    known = jnp.zeros(p, u.dtype)
    if task.box is not None:
        lower, upper = task.box
        near = jnp.stack([jnp.where(jnp.isfinite(b) & (b != 0), jnp.abs(b), jnp.inf) for b in (lower, upper)])
        reach = jnp.minimum(jnp.min(near, axis=0), upper - lower)
        known = jnp.where(jnp.isfinite(reach) & (reach > 0), 1.0 / jnp.where(reach > 0, reach, 1.0), 0.0)
    eye = jnp.eye(p, dtype=u.dtype)[..., None]
    whole = h + eye * (known**2)[:, None, None] * jnp.maximum(dispersion, eps)[None, None]
    inverse, pivot = gauss_jordan_solve(whole, jnp.broadcast_to(eye, h.shape))
    inverse = jnp.where(pivot > 8 * eps, inverse, jnp.nan)
    return inverse * jnp.maximum(dispersion, 0.0)[None, None], -jnp.sum(inverse * gradient[None], axis=1)


def _about_mean(task: Task, y: Array, weight: Array, robust: Array) -> Array:
    """Weighted sum of squares of y about its (complex) mean, (B,)."""
    w = robust * weight**2
    parts = parts_of(task)
    w, y = (v.reshape(parts, -1, v.shape[-1]) for v in (w, y))
    total = jnp.sum(w, axis=1, keepdims=True)
    mean = jnp.sum(w * y, axis=1, keepdims=True) / jnp.where(total > 0, total, 1.0)
    about = jnp.sum(w * (y - mean) ** 2, axis=(0, 1))
    return jnp.where(about > 0, about, 1.0)
