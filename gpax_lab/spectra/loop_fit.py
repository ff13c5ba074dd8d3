"""Fits of the nine-parameter loop to maps of hysteresis loops, and what a loop says, with standard deviations.

`bias (n,)` in V is one full cycle or several, `response (..., n)` in any unit; see `gpax_lab.spectra.loops` for the
loop itself.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.special import erfinv
from jax.typing import ArrayLike
from numpy.polynomial.chebyshev import cheb2poly, chebfit, chebpts1
from scipy.special import erfcx

from gpax_lab.core._status import Status
from gpax_lab.spectra._scalarizer import Estimate, Scalarizer, checked
from gpax_lab.spectra.fit import Fit, curve_fit, judged, transformed
from gpax_lab.spectra.loop_start import inputs, loop_start, starts_of
from gpax_lab.spectra.loops import SHARPNESS, despike, loop_area, loop_function, rising, sweep_step
from gpax_lab.spectra.residual import misfit, neighbour_correlation, widening

SHARPEST = 0.3
"""Smallest corner width in steps of the sweep: half a step from the switch erf is 0.98, sharper ones look the same."""

ROUGH = 1.6
"""By how much errors are larger where a fit is not good: a loop in noise is not linear in its parameters over them. The
sum over the readings, which needs no fit, has 1.5 times the error of the fitted area there (`benchmarks/flags.py`)."""

SATURATED, TAIL = 0.1, 0.3
"""The least error of a response, in errors of the height: in saturation both branches differ by nothing at all, which
no reading tells. And that of a nucleation bias of a fit that is not good, as a share of its distance from the switch:
it is where a tail begins, and depends on the form that the loop is given (both by `benchmarks/flags.py`)."""

NOT_NOISE = 3.0
"""Standard deviations of the correlation of neighbours, 1 / sqrt(n), above which what a fit leaves is no noise."""

STRAIGHT, UPSIDE_DOWN, TILTED = 22.0, 300.0, 0.13
"""What chi^2 may grow by for a straight line to be as good as the loop: with six parameters more and the best of all
places for a switch, 99 of 100 loops fitted to lines in noise explain less (of 16 to 512 readings). And for a loop
upside down, which is not fitted itself (230 in 99 of 100 slanted loops that were taken for it), or the root mean square
of its change over the height. Loops that really switch first on the rising branch, as by injected charge, change by
0.2 of it. All by simulation."""

ROUNDING = 64.0
"""Rounding errors of the largest reading to which a loop without noise is known: below them it is a straight line."""

GAP = 3.5
"""Steps of the sweep between the readings before and after a switch above which it is not known where it is: three of
them or more are missing."""

NOWHERE = 1e6
"""Ranges of the sweep away from it: the switch of a loop that has none."""

TWO_OVER_ROOT_PI = 1.1283791670955126  # derivative of erf at 0

ERF_REACH, ERF_MIDDLE = 6.0, 2.0
"""Beyond the first erf is 1 in float64; the second is where most of the change of erfcx lies (1 to 3 tried)."""


def _scaled_erfcx(u: np.ndarray) -> np.ndarray:
    """(z + 2) exp(z^2) erfc(z) at z in [0, `ERF_REACH`], of u = 5/3 - (16/3) / (z + 2) in [-1, 1]."""
    beyond = (16.0 / 3.0) / (5.0 / 3.0 - u)
    return beyond * erfcx(beyond - ERF_MIDDLE)


ERFCX = cheb2poly(chebfit(chebpts1(19), _scaled_erfcx(chebpts1(19)), 18)).tolist()
"""Coefficients of `_scaled_erfcx` by powers of u: the error of erf is below 2e-15."""

NUCLEATION = 0.03
"""Switched share at the nucleation bias: the branch has left saturation by 3 percent of its height (BGlib: 0.97)."""


class LoopScalars(NamedTuple):
    """What `loop_scalars` returns, in this order; biases in V, `area` in response x V, the rest in response.

    Attributes:
        area: signed, of the fitted loop over the measured sweep; its size is the work of switching, up to a factor.
        coercive_up, coercive_down: bias at which the rising and the falling branch has switched by half.
        imprint: their mean.
        remanence_up, remanence_down: response at zero bias on the rising and on the falling branch.
        switchable: difference of the remanences, falling minus rising.
        nucleation_up, nucleation_down: bias at which 3 percent of the branch has switched.
    """

    area: ArrayLike
    coercive_up: ArrayLike
    coercive_down: ArrayLike
    imprint: ArrayLike
    remanence_up: ArrayLike
    remanence_down: ArrayLike
    switchable: ArrayLike
    nucleation_up: ArrayLike
    nucleation_down: ArrayLike


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
        bias: (n,) V, one cycle or several, each bias read once or more.
        response: (..., n); a NaN is left out. Give `huber=1.345` against spikes that stay in the data.
        sigma: standard deviation of the response, see `curve_fit`.
        up: bool (n,), the rising branch; read from the cyclic sweep if not given.
        repair: `despike` the loops first (the standard deviations then take the repaired points for measured).
        careful: start from the best shape of each of three corner widths and keep the best fit: three times the work.
        least_r_squared: below it the status of the fit is POOR_FIT; single numbers, as the area, may be good
            (`scalars`).
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
    options = {"jac": _slopes_at_point} | box | options
    fit = curve_fit(_at_point, (v, branch), r, starts, sigma, **options)
    return _resolved(fit, v, branch, r, (lower, upper), least_r_squared, known=sigma is not None)


def loop_scalars(params: ArrayLike, bias: ArrayLike, up: ArrayLike | None = None) -> Array:
    """The nine `LoopScalars` of one loop from its parameters (9,); differentiable. Shape (9,)."""
    p, v = jnp.asarray(params), jnp.asarray(bias)
    branch = rising(v) if up is None else jnp.asarray(up)
    rise, fall = (p[2], p[5], p[6]), (p[3], p[7], p[8])
    up_half, down_half = _switched_at(0.5, *rise), _switched_at(0.5, *fall)
    zero = jnp.zeros(2, p.dtype)
    remanence = loop_function(zero, p, jnp.array([True, False]))
    found = LoopScalars(
        area=loop_area(v, loop_function(v, p, branch)),
        coercive_up=up_half,
        coercive_down=down_half,
        imprint=0.5 * (up_half + down_half),
        remanence_up=remanence[0],
        remanence_down=remanence[1],
        switchable=remanence[1] - remanence[0],
        nucleation_up=_switched_at(NUCLEATION, *rise),
        nucleation_down=_switched_at(1.0 - NUCLEATION, *fall),
    )
    return jnp.stack([jnp.asarray(value) for value in found])


def scalars(fit: Fit, bias: ArrayLike, up: ArrayLike | None = None) -> Fit:
    """The nine `LoopScalars` of fitted loops as a `Fit`, with covariance by the delta method and a status for each.

    Each number is judged by its own error and its change when what the fit left unresolved is let go (`fit.judged`):
    the area of a loop is good though a corner is sharper than the steps, or lies at the end of the sweep, or the fit
    is poor because there is much noise. Errors are larger than those of the fit where what it leaves is not noise.
    Where a straight line describes the readings about as well nothing switches, and where a loop upside down does, it
    is not known which: such biases are refused. A `scalarizer` of the same quantity says the same, but for the least
    errors that only these numbers have (`SATURATED`, `TAIL`).

    Args:
        fit: of `loop_fit`, batch (...).
        bias: (n,) V and up: bool (n,), the sweep of the fit.

    Returns:
        `Fit` with status (..., 9), in the order of `LoopScalars`.
    """
    v = jnp.asarray(bias, fit.params.dtype)
    found = transformed(fit, loop_scalars, v, rising(v) if up is None else jnp.asarray(up))
    return judged(_widened(found, fit))


@jax.jit
def _widened(found: Fit, fit: Fit) -> Fit:
    """With what the errors of numbers do not know: the form of the tails, and that nothing is exact in saturation."""
    if found.released is None:
        return found
    value = dict(zip(LoopScalars._fields, jnp.moveaxis(found.params, -1, 0), strict=True))
    least = SATURATED * fit.std[..., 1]
    away = [value[f"nucleation_{way}"] - value[f"coercive_{way}"] for way in ("up", "down")]
    tails = [jnp.where(fit.status != Status.OK, TAIL * far, 0.0) for far in away]
    more = jnp.stack([*[jnp.zeros_like(least)] * 4, *[least] * 3, *tails], axis=-1)
    more = jnp.where(jnp.isfinite(more), more, 0.0) ** 2
    return found._replace(released=found.released + _diagonals(more))


def _diagonals(values: Array) -> Array:
    """(..., k, k) matrices with the values (..., k) on their diagonals."""
    k = values.shape[-1]
    return jax.vmap(jnp.diag)(values.reshape(-1, k)).reshape(*values.shape, k)


def loop_scalar(which: str, **options) -> Scalarizer:
    """One of the nine `LoopScalars` of a loop: a `Scalarizer` of the arrays "bias" and "response".

    Args:
        which: a field of `LoopScalars`, as "coercive_up".
        **options: of `loop_fit`.

    Raises:
        ValueError: there is no such number.

    Example:
        >>> from gpax_lab.spectra.loops import loop_function, triangle
        >>> bias = triangle(8.0, 64)
        >>> loop = loop_function(bias, jnp.array([-1.0, 2.0, 2.5, -2.5, 0.01, 0.8, 0.9, 0.9, 0.8]))
        >>> coercive = loop_scalar("coercive_up")
        >>> round(float(coercive.function(bias, loop).value), 3), coercive.unit_of({"bias": "V"})
        (2.544, 'V')
    """
    if which not in LoopScalars._fields:
        raise ValueError(f"the numbers of a loop are {list(LoopScalars._fields)}; got {which!r}.")
    k = LoopScalars._fields.index(which)

    @jax.jit
    def function(bias: ArrayLike, response: ArrayLike) -> Estimate:
        found = scalars(loop_fit(bias, response, **options), bias)
        status = found.status[..., k]
        return checked(found.params[..., k], found.covariance[..., k, k], status, status == Status.OK)

    if which == "area":
        unit = "{response} {bias}"
    else:
        unit = "{response}" if which in ("remanence_up", "remanence_down", "switchable") else "{bias}"
    return Scalarizer(which.replace("_", " "), function, ("bias", "response"), unit)


def on_off(response: ArrayLike, bias: ArrayLike | None = None) -> tuple[Array, Array]:
    """Split interleaved readings: on-field those at 0, 2, ..., off-field those at 1, 3, ... of the last axis.

    Args:
        response: (..., 2 n), a reading under bias and one after it in turn.
        bias: (2 n,) V, the waveform as applied; checked if given.

    Returns:
        On-field and off-field response, (..., n) each. Both belong to the biases `bias[0::2]`.

    Raises:
        ValueError: an odd number of readings, or off-field biases that are not all equal.
    """
    r = jnp.asarray(response)
    if r.ndim < 1 or r.shape[-1] % 2:
        raise ValueError(f"on- and off-field readings come in pairs; got a last axis of {r.shape[-1:]} readings.")
    if bias is not None:
        v = jnp.asarray(bias)
        if v.shape != r.shape[-1:]:
            raise ValueError(f"the waveform must have one bias per reading, {r.shape[-1:]}; got {v.shape}.")
        if bool(jnp.any(v[1::2] != v[1])):
            raise ValueError(
                "readings 1, 3, ... are not at one constant bias; begin the waveform with an on-field step."
            )
    return r[..., 0::2], r[..., 1::2]


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
    p, spread = jnp.moveaxis(fit.params, -1, 0), jnp.moveaxis(fit.std, -1, 0)
    held = spread == 0.0  # of the covariance of a fit at its bound, see `Fit`
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
    released = fit.released + _diagonals(more)
    poor = (status == Status.POOR_FIT)[..., None]
    exact = jnp.zeros_like(fit.params).at[..., :2].set(_rounding(response)[..., None] ** 2)
    released = released + _diagonals(exact)
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
    """(...) by how much variances are larger because the loop is not of this form: what is left is alike in neighbours.

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
    """(...) whether the readings (..., n) of a branch have a gap at its switch: where its widths, or a step, reach."""
    step, bottom, top = sweep_step(v), jnp.min(v), jnp.max(v)
    ends = switch - jnp.maximum(before, step), switch + jnp.maximum(after, step)
    places = jnp.clip(jnp.stack([ends[0], switch, ends[1]]), bottom, top)[..., None]
    read, at = there[None], jnp.broadcast_to(v, there.shape)[None]
    low = jnp.max(jnp.where(read & (at <= places), at, bottom), axis=-1)
    high = jnp.min(jnp.where(read & (at >= places), at, top), axis=-1)
    return jnp.any(high - low > GAP * step, axis=0)


def _rival(fit: Fit, v: Array, up: Array, response: Array) -> Array:
    """(..., 9) another loop that describes the readings about as well, or the fitted one.

    Without a height, a straight line that switches nowhere (anywhere, which is far away). Where the rising branch seems
    to switch first, a loop upside down with another tilt: so much a slanted loop may be like one. Where the readings
    about a switch are missing, one that switches nobody knows where, NaN: what depends on it is refused.
    """
    curve = _curves(v, fit.params, up)
    a1, a2, a3, b0, b1, b2, b3 = (fit.params[..., k] for k in (1, 2, 3, 5, 6, 7, 8))
    place = jnp.broadcast_to(v, curve.shape)
    about = place - jnp.mean(v)

    def with_line(values: Array, *rest: Array) -> tuple[Array, Array]:
        """Height, switches and widths with the offset and tilt nearest to the values; the sum of squares left."""
        tilt = jnp.sum(values * about, axis=-1) / jnp.sum(about**2, axis=-1)
        offset = jnp.mean(values, axis=-1) - tilt * jnp.mean(v)
        left = values - offset[..., None] - tilt[..., None] * place
        return jnp.stack([offset, *rest[:3], tilt, *rest[3:]], axis=-1), jnp.sum(left**2, axis=-1)

    far, none = NOWHERE * (jnp.max(v) - jnp.min(v)), jnp.zeros_like(a1)
    straight, left = with_line(curve, none, a2 + far, a3 - 2.0 * far, b0, b1, b2, b3)
    flat = ~(left > jnp.maximum(STRAIGHT * fit.chi_square, v.shape[0] * _rounding(response) ** 2))
    turned = jnp.stack([none, -a1, a3, a2, none, b2, b3, b0, b1], axis=-1)
    turned, left = with_line(curve - _curves(v, turned, up), -a1, a3, a2, b2, b3, b0, b1)
    alike = (left < UPSIDE_DOWN * fit.chi_square) | (left < v.shape[0] * (TILTED * a1) ** 2)
    other = jnp.where(((a2 < a3) & alike)[..., None], turned, fit.params)
    there = jnp.isfinite(response)
    for k, switch, widths, branch in ((2, a2, (b0, b1), up), (3, a3, (b2, b3), ~up)):
        branch = jnp.broadcast_to(branch, there.shape)
        unseen = _unseen(switch, *widths, v, there & branch)
        if fit.released is not None:  # or readings are missing, and the switch is anywhere in the sweep
            anywhere = ~(fit.released[..., k, k] <= (jnp.max(v) - jnp.min(v)) ** 2)
            unseen = unseen | (anywhere & jnp.any(branch & ~there, axis=-1))
        other = other.at[..., k].set(jnp.where(unseen, jnp.nan, other[..., k]))
    return jnp.where(flat[..., None], straight, other)


class _Switch(NamedTuple):
    """What the loop and its derivatives share at one point."""

    switched: Array
    level: Array  # erf of the distance from the switch in widths
    bell: Array  # exp of minus its square
    z: Array
    after: Array  # share of the width after the switch in the width here
    sharp: Array  # slope of that share with the bias
    total: Array  # 1 / (sum of both widths)
    change: Array  # width after less width before


def _switch(point: tuple[Array, Array], params: Array) -> _Switch:
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
    return _Switch((width * level + before) * total, level, bell, z, after, sharp, total, change)


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


def _at_point(point: tuple[Array, Array], params: Array) -> Array:
    """`loop_function` at one point."""
    return params[0] + params[1] * _switch(point, params).switched + params[4] * point[0]


def _slopes_at_point(point: tuple[Array, Array], params: Array) -> tuple[Array, ...]:
    """Derivatives of `loop_function` at one point: those of the other branch are 0."""
    (v, up), a1, at = point, params[1], _switch(point, params)
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


def _switched_at(share: ArrayLike, centre: Array, before: Array, after: Array) -> Array:
    """Bias at which the share y of a branch has switched: c + g erfinv(((p + q) y - p) / g), g = p or q."""
    over = (before + after) * share - before
    width = jnp.where(over < 0, before, after)
    return centre + width * erfinv(over / width)


__all__ = [
    "NUCLEATION",
    "SHARPEST",
    "LoopScalars",
    "loop_fit",
    "loop_scalar",
    "loop_scalars",
    "loop_start",
    "on_off",
    "scalars",
]
