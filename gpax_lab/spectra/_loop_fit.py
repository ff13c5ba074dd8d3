"""Fits of the nine-parameter loop to maps of hysteresis loops.

`bias (n,)` in V is one full cycle or several, `response (..., n)` in any unit; see `gpax_lab.spectra.loops` for the
loop itself.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from gpax_lab.core._status import Status
from gpax_lab.spectra._fit import Fit, curve_fit
from gpax_lab.spectra._loop import despike, loop_function, sweep_step
from gpax_lab.spectra._loop_point import loop_at_point, slopes_at_point
from gpax_lab.spectra._loop_start import inputs, starts_of
from gpax_lab.spectra._residual import misfit, neighbour_correlation, widening

SHARPEST = 0.3
"""Smallest corner width in steps of the sweep: half a step from the switch erf is 0.98, sharper ones look the same."""

ROUGH = 1.6
"""By how much errors are larger where a fit is not good: a loop in noise is not linear in its parameters over them. The
sum over the points, which needs no fit, has 1.5 times the error of the fitted area there (`benchmarks/flags.py`)."""

NOT_NOISE = 3.0
"""Standard deviations of the correlation of neighbours, 1 / sqrt(n), above which what a fit leaves is no noise."""

STRAIGHT, UPSIDE_DOWN, TILTED = 22.0, 300.0, 0.13
"""What chi^2 may grow by for a straight line to be as good as the loop: with six parameters more and the best of all
positions of a switch, 99 of 100 loops fitted to lines in noise explain less (of 16 to 512 points). And for a loop
upside down, which is not fitted itself (230 in 99 of 100 slanted loops that were taken for it), or the root mean square
of its change over the height. Loops that really switch first on the rising branch, as by injected charge, change by
0.2 of it. All by simulation."""

ROUNDING = 64.0
"""Rounding errors of the largest value to which a loop without noise is known: below them it is a straight line."""

GAP = 3.5
"""Steps of the sweep between the points before and after a switch above which it is not known where it is: three of
them or more are missing."""

NOWHERE = 1e6
"""Ranges of the sweep away from it: the switch of a loop that has none."""


def loop_fit(
    bias: ArrayLike,
    response: ArrayLike,
    sigma: ArrayLike | None = None,
    *,
    up: ArrayLike | None = None,
    repair: bool = False,
    careful: bool = False,
    least_r_squared: ArrayLike = 0.5,
    **options,
) -> Fit:
    """Fit `loop_function` to every loop, from a start without iteration.

    Coercive biases are kept within the sweep and widths between 0.3 steps and the whole range.

    Args:
        bias: (n,) V, one cycle or several, each bias measured once or more.
        response: (..., n); a NaN is left out. Give `huber=1.345` against spikes that stay in the data.
        sigma: standard deviation of the response, see `curve_fit`.
        up: bool (n,), the rising branch; read from the cyclic sweep if not given.
        repair: `despike` the loops first (the standard deviations then take the repaired points for measured).
        careful: start from the best shape of each of three corner widths and keep the best fit: three times the work.
        least_r_squared: below it the status of the fit is POOR_FIT; single numbers, as the area, may be good
            (`scalars_of_fit`).
        **options: of `curve_fit`.

    Returns:
        `Fit` of the nine `LoopParams`, in their order. Status UNRESOLVED instead of AT_BOUND where nothing but corners
        of the smallest width lie at a bound: a film that switches within one step of the sweep, not a failed fit.

    Raises:
        ValueError: shapes that do not belong together, or a sweep without two branches of at least four points.
    """
    v, r, branch = inputs(bias, response, up)
    r = despike(r) if repair else r
    lower, upper = _box(v)
    found = starts_of(v, r, branch)
    starts = list(found) if careful else found[0]
    box: dict[str, Any] = {"lower": lower, "upper": upper, "least_r_squared": -jnp.inf}  # judged in `_resolved`
    options = {"jac": slopes_at_point} | box | options
    fit = curve_fit(loop_at_point, (v, branch), r, starts, sigma, **options)
    return _resolved(fit, v, branch, r, (lower, upper), least_r_squared, known=sigma is not None)


def diagonals(values: Array) -> Array:
    """(..., k, k) matrices with the values (..., k) on their diagonals."""
    k = values.shape[-1]
    return jax.vmap(jnp.diag)(values.reshape(-1, k)).reshape(*values.shape, k)


@jax.jit
def _box(v: Array) -> tuple[Array, Array]:
    """Bounds (9,) of the parameters: the switches within the sweep, the widths up to its range."""
    low, high, free = jnp.min(v), jnp.max(v), jnp.asarray(jnp.inf, v.dtype)
    sharpest = SHARPEST * sweep_step(v)
    lower = jnp.stack([-free, -free, low, low, -free, *[sharpest] * 4])
    return lower, jnp.stack([free, free, high, high, free, *[high - low] * 4])


@partial(jax.jit, static_argnames="known")
def _resolved(
    fit: Fit, v: Array, up: Array, response: Array, box: tuple[Array, Array], least: ArrayLike, known: bool
) -> Fit:
    """With status UNRESOLVED where only widths lie at a bound, and at their lower one, and the switch let go there."""
    lower, upper = box
    p, std = jnp.moveaxis(fit.params, -1, 0), jnp.moveaxis(fit.std, -1, 0)
    held = std == 0.0  # of the covariance of a fit at its bound, see `Fit`
    wrong = jnp.any(held[:5], axis=0)
    sharp = []
    for k in range(5, 9):
        wide = p[k] > 0.5 * (lower[k] + upper[k])
        wrong = wrong | (held[k] & wide)
        sharp.append(held[k] & ~wide)
    status = jnp.where((fit.status == Status.AT_BOUND) & ~wrong, jnp.int8(Status.UNRESOLVED), fit.status)
    poor = (fit.status != Status.BAD_INPUT) & ~(fit.r_squared >= least)
    status = jnp.where(poor, jnp.int8(Status.POOR_FIT), status)
    # A switch within one step lies anywhere in it.
    within = (lower[5] / SHARPEST) ** 2 / 12.0
    more = jnp.zeros_like(fit.params)
    for k, pair in ((2, sharp[:2]), (3, sharp[2:])):
        more = more.at[..., k].set(jnp.where(pair[0] | pair[1], within, 0.0))
    assert fit.released is not None  # `curve_fit` gives both
    assert fit.step is not None
    released = fit.released + diagonals(more)
    poor = (status == Status.POOR_FIT)[..., None]
    exact = jnp.zeros_like(fit.params).at[..., :2].set(_rounding(response)[..., None] ** 2)
    released = released + diagonals(exact)
    released = released + jnp.where(poor[..., None], fit.step[..., :, None] * fit.step[..., None, :], 0.0)
    curve = _curves(v, fit.params, up)
    rough = jnp.where(status != Status.OK, ROUGH**2, 1.0) * _misfit(response - curve, fit.chi_square, known)
    released, step = rough[..., None, None] * released, jnp.where(poor, 0.0, fit.step)
    return fit._replace(
        status=status, released=released, step=step, rival=_rival(fit._replace(released=released), v, up, response)
    )


def _curves(v: Array, params: Array, up: Array) -> Array:
    """(..., n) the loops of parameters (..., 9)."""
    curves = jax.vmap(lambda p: loop_function(v, p, up))(params.reshape(-1, 9))
    return curves.reshape(*params.shape[:-1], v.shape[0])


def _misfit(rest: Array, chi_square: Array, known: bool) -> Array:
    """(...) by how much variances are larger because the loop is not of this form: neighbours correlate.

    With a known noise also chi^2 where that is above what noise has.
    """
    alike = neighbour_correlation(jnp.where(jnp.isfinite(rest), rest, 0.0), closed=True)
    more = widening(alike, rest.shape[-1], NOT_NOISE)
    return more * misfit(chi_square, rest.shape[-1], NOT_NOISE) if known else more


def _rounding(response: Array) -> Array:
    """(...) below what nothing is known of a response (..., n), in its unit."""
    largest = jnp.max(jnp.where(jnp.isfinite(response), jnp.abs(response), 0.0), axis=-1)
    return ROUNDING * jnp.finfo(response.dtype).eps * largest


def _unseen(switch: Array, before: Array, after: Array, v: Array, there: Array) -> Array:
    """(...) whether the points (..., n) of a branch have a gap at its switch: where its widths, or a step, reach."""
    step, bottom, top = sweep_step(v), jnp.min(v), jnp.max(v)
    ends = switch - jnp.maximum(before, step), switch + jnp.maximum(after, step)
    points = jnp.clip(jnp.stack([ends[0], switch, ends[1]]), bottom, top)[..., None]
    known_, at = there[None], jnp.broadcast_to(v, there.shape)[None]
    low = jnp.max(jnp.where(known_ & (at <= points), at, bottom), axis=-1)
    high = jnp.min(jnp.where(known_ & (at >= points), at, top), axis=-1)
    return jnp.any(high - low > GAP * step, axis=0)


def _rival(fit: Fit, v: Array, up: Array, response: Array) -> Array:
    """(..., 9) another loop that describes the points about as well, or the fitted one.

    Without a height, a straight line that switches nowhere (anywhere, which is far away). Where the rising branch seems
    to switch first, a loop upside down with another tilt: so much a slanted loop may be like one. Where the points
    about a switch are missing, one that switches nobody knows where, NaN: what depends on it is refused.
    """
    curve = _curves(v, fit.params, up)
    a1, a2, a3, b0, b1, b2, b3 = (fit.params[..., k] for k in (1, 2, 3, 5, 6, 7, 8))
    at = jnp.broadcast_to(v, curve.shape)
    about = at - jnp.mean(v)

    def with_line(values: Array, rest: tuple[Array, ...]) -> tuple[Array, Array]:
        """Height, switches and widths with the offset and tilt nearest to the values; the sum of squares left."""
        tilt = jnp.sum(values * about, axis=-1) / jnp.sum(about**2, axis=-1)
        offset = jnp.mean(values, axis=-1) - tilt * jnp.mean(v)
        left = values - offset[..., None] - tilt[..., None] * at
        return jnp.stack([offset, *rest[:3], tilt, *rest[3:]], axis=-1), jnp.sum(left**2, axis=-1)

    far, none = NOWHERE * (jnp.max(v) - jnp.min(v)), jnp.zeros_like(a1)
    straight, left = with_line(curve, (none, a2 + far, a3 - 2.0 * far, b0, b1, b2, b3))
    flat = ~(left > jnp.maximum(STRAIGHT * fit.chi_square, v.shape[0] * _rounding(response) ** 2))
    upside_down = jnp.stack([none, -a1, a3, a2, none, b2, b3, b0, b1], axis=-1)
    upside_down, left = with_line(curve - _curves(v, upside_down, up), (-a1, a3, a2, b2, b3, b0, b1))
    alike = (left < UPSIDE_DOWN * fit.chi_square) | (left < v.shape[0] * (TILTED * a1) ** 2)
    other = jnp.where(((a2 < a3) & alike)[..., None], upside_down, fit.params)
    there = jnp.isfinite(response)
    for k, switch, widths, branch in ((2, a2, (b0, b1), up), (3, a3, (b2, b3), ~up)):
        branch = jnp.broadcast_to(branch, there.shape)
        unseen = _unseen(switch, *widths, v, there & branch)
        if fit.released is not None:  # or points are missing, and the switch is anywhere in the sweep
            anywhere = ~(fit.released[..., k, k] <= (jnp.max(v) - jnp.min(v)) ** 2)
            unseen = unseen | (anywhere & jnp.any(branch & ~there, axis=-1))
        other = other.at[..., k].set(jnp.where(unseen, jnp.nan, other[..., k]))
    return jnp.where(flat[..., None], straight, other)
