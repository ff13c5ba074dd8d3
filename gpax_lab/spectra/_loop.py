"""Hysteresis loops of switching spectroscopy: the nine-parameter loop and the scalars read from one loop.

A loop is `bias (n,)` in volts and `response (..., n)`, one or several full cycles of a triangle sweep, with one or more
values at each bias. It is cyclic: after the last point comes the first, so a recording of 64 or of 64 + 1 points
needs no repair, and where it starts does not matter.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.scipy.special import erf
from jax.typing import ArrayLike

from gpax_lab.core._inputs import floating
from gpax_lab.core._types import Bool, Float, Num
from gpax_lab.spectra._scalarizer import Estimate, Scalarizer, stated

SHARPNESS = 1000.0
"""1/V: how abruptly the corner width changes at the coercive bias (Jesse et al., as fitted in BGlib: d = 1000)."""

LOG_FLOOR = 1e-6
"""Share of the rectangle around a loop below which `log_loop_area` does not go: no area has no logarithm."""

STILL = 1e-3
"""A step of the bias below this share of the largest one is none: the same bias, read once more."""

TURN = 0.02
"""Share of its range by which a bias must have come back from its farthest value to have reversed: less is noise of its
values. Noise of 0.3 percent of the range comes back so far in one of a million pairs of values."""

MOVED = 0.1
"""A step below this share of the mean one is noise of the values of the same bias: none that `sweep_step` counts."""

WHOLE = 0.9
"""Least share of the range that every branch spans in a sweep of whole cycles."""

OPEN = 3.0
"""Largest steps of a sweep by which its last point may be away from its first: a closed one is a step away, or none."""


class LoopParams(NamedTuple):
    """The nine numbers of `loop_function`; each field is a scalar, or an array when the loops are mapped.

    `a0` offset (response), `a1` height (response), `a2` and `a3` coercive bias of the rising and falling branch (V),
    `a4` tilt (response per V), `b0, b1` and `b2, b3` widths (V, positive) of the corners before and after each switch.
    """

    a0: ArrayLike
    a1: ArrayLike
    a2: ArrayLike
    a3: ArrayLike
    a4: ArrayLike
    b0: ArrayLike
    b1: ArrayLike
    b2: ArrayLike
    b3: ArrayLike


def triangle(vmax: ArrayLike, points: int) -> Float[Array, " points"]:
    """One cycle 0, +vmax, -vmax and back to one step before 0: `points` biases in volts, shape (points,).

    Both turning points are hit exactly when `points` is a multiple of 4.

    Args:
        vmax: () V.
        points: of the cycle (static).

    Returns:
        (points,) V.
    """
    return triangle_at(vmax, jnp.arange(points) / points)


def triangle_at(vmax: ArrayLike, phase: ArrayLike) -> Float[Array, "*n"]:
    """The triangle wave of period 1 in volts, v = vmax (|((4 t - 1) mod 4) - 2| - 1), at phases t of any shape.

    Args:
        vmax: () V.
        phase: of any shape, in periods.

    Returns:
        V, the shape of the phase.
    """
    return jnp.asarray(vmax) * (jnp.abs((4.0 * jnp.asarray(phase) - 1.0) % 4.0 - 2.0) - 1.0)


def rising(bias: ArrayLike) -> Bool[Array, " n"]:
    """Which points belong to the rising branch: bool (n,), true where the bias came from below.

    The comparison is cyclic (the first point is compared with the last), so both turning points of a triangle are the
    last points of their branch. A bias that is read again, and the first one at the end of a closed recording, belong
    to the branch of the step before. A measured bias reverses where it is farthest before it comes back by `TURN` of
    its range, so that noise of its values below 0.3 percent of the range makes no branches. Pass your own mask to
    `loop_function` for another order.

    Args:
        bias: (n,) V.

    Returns:
        bool (n,).
    """
    return _branches(bias)[0] % 2 == 1


def _branches(bias: ArrayLike) -> tuple[Array, Array]:
    """Number of each point's branch (n,), even where it falls and odd where it rises, and how many there are, ().

    The cycle begins behind its highest point. A bias that never moves falls, on a branch of which there are none.
    """
    v = jax.lax.stop_gradient(floating(bias, "the bias"))
    top = jnp.argmax(v)
    v, n = jnp.roll(v, -top), v.shape[0]
    range_ = v[0] - jnp.min(v)
    still = STILL * jnp.max(jnp.abs(v - jnp.roll(v, 1)))

    def follow(state: tuple[Array, Array, Array], here: tuple[Array, Array]) -> tuple[Any, tuple[Array, Array]]:
        """Farthest value on this branch, where it was last, and the direction: 1 or -1."""
        far, where, way = state
        value, index = here
        back = way * (far - value)  # above 0 if it has come back
        reverses = back > TURN * range_
        farther = back <= jnp.minimum(still, TURN * range_)
        far = jnp.where(reverses, value, jnp.where(back < 0, value, far))
        after = (far, jnp.where(reverses | farther, index, where), jnp.where(reverses, -way, way))
        return after, (reverses, where)

    first = (v[0], jnp.zeros((), int), jnp.ones((), v.dtype))
    _, (reverses, where) = jax.lax.scan(follow, first, (jnp.append(v, v[:1]), jnp.arange(n + 1)))
    # A turning point is the last of its branch, so the next one begins behind it.
    begins = jnp.zeros(n + 2, int).at[where + 1].add(reverses)
    count = jnp.sum(begins)
    return jnp.roll((jnp.cumsum(begins[:n]) + 1) % jnp.maximum(count, 1), top), count


def _way(bias: Array) -> Array:
    """(n,) steps in V in the direction of their branch: below 0 only by noise of the values."""
    return jnp.where(rising(bias), 1.0, -1.0) * (bias - jnp.roll(bias, 1))


def cycles(bias: ArrayLike) -> Array:
    """How many times the sweep goes up and down its range, () whole and 1 or more, in the dtype of the bias (n,).

    NaN where a branch spans less than `WHOLE` of the range: a cycle and a half, or cycles of several amplitudes.
    """
    v = floating(bias, "the bias")
    branch, count = _branches(v)
    span = jnp.zeros_like(v).at[branch].add(_way(v))
    short = (jnp.arange(v.shape[0]) < count) & (span < WHOLE * (jnp.max(v) - jnp.min(v)))
    return jnp.where(jnp.any(short), jnp.nan, jnp.maximum(count // 2, 1).astype(v.dtype))


def sweep_step(bias: ArrayLike) -> Array:
    """Mean step of the sweep, () V: the way there and back over the steps that change the bias (n,)."""
    v = floating(bias, "the bias")
    size, way = jnp.abs(v - jnp.roll(v, 1)), jnp.sum(_way(v))
    moved = jnp.sum(size > STILL * jnp.max(size))
    return way / jnp.maximum(jnp.sum(size > MOVED * way / jnp.maximum(moved, 1)), 1)


@jax.jit
def loop_function(bias: ArrayLike, params: LoopParams | ArrayLike, up: ArrayLike | None = None) -> Float[Array, "*n"]:
    """The nine-parameter hysteresis loop.

    With c the coercive bias of the branch and p, q its widths before and after the switch,
    g(v) = (q - p)/2 (erf((v - c) d) + 1) + p,  y(v) = (g erf((v - c)/g) + p)/(p + q)  in (0, 1),
    response = a0 + a1 y + a4 v, where (c, p, q) = (a2, b0, b1) on the rising and (a3, b2, b3) on the falling branch.

    Args:
        bias: (n,) bias in V, in the order of the sweep; any shape if `up` is given.
        params: `LoopParams` of scalars, or an array (9,) in the same order.
        up: bool, shape of `bias`: the rising branch. Default: read from the cyclic sweep by `rising`.

    Returns:
        Response, shape of `bias`, unit of `a0` and `a1`.

    Source: Jesse, Lee, Kalinin, Rev. Sci. Instrum. 77, 073702 (2006) for the loop; the form with two widths a branch as
    fitted in the pycroscopy BGlib package.
    """
    a0, a1, a2, a3, a4, b0, b1, b2, b3 = params  # type: ignore[misc]
    v = floating(bias, "the bias")
    branch = rising(v) if up is None else jnp.asarray(up)
    centre, before, after = jnp.where(branch, a2, a3), jnp.where(branch, b0, b2), jnp.where(branch, b1, b3)
    width = 0.5 * (after - before) * (erf((v - centre) * SHARPNESS) + 1.0) + before
    switched = (width * erf((v - centre) / width) + before) / (before + after)
    return jnp.asarray(a0 + a1 * switched + a4 * v)


def loop_area(bias: ArrayLike, response: ArrayLike) -> Float[Array, "*batch"]:
    """Signed area of the closed loop, response x V: sum over the cycle of (r_k + r_k+1)/2 (v_k+1 - v_k).

    The last point is joined to the first. A loop whose falling branch lies above the rising one has a negative area;
    of several cycles it is the mean. NaN where the sweep does not close (`OPEN`), as after a first half cycle, or is
    not of whole cycles of one amplitude (`WHOLE`): cut it to these.

    Args:
        bias: (n,) V.
        response: (..., n).

    Returns:
        Area, shape (...).
    """
    v, r = floating(bias, "the bias"), floating(response, "the response")
    step = jnp.roll(v, -1) - v
    middle = 0.5 * (r + jnp.roll(r, -1, axis=-1))
    area = jnp.sum(middle * jnp.broadcast_to(step, middle.shape), axis=-1) / cycles(v)
    size = jnp.abs(step)
    return jnp.where(size[-1] > OPEN * jnp.max(size[:-1], initial=0.0), jnp.nan, area)


def log_loop_area(bias: ArrayLike, response: ArrayLike) -> Float[Array, "*batch"]:
    """log10 |area|, shape (...): loop areas of one film spread over decades.

    In any unit: the least is a millionth of the rectangle around the loop, -inf (a failed measurement) where that is
    empty.

    Args:
        bias: (n,) V.
        response: (..., n).

    Returns:
        (...).
    """
    v, r = floating(bias, "the bias"), floating(response, "the response")
    around = (jnp.max(v) - jnp.min(v)) * (jnp.max(r, axis=-1) - jnp.min(r, axis=-1))
    return jnp.log10(jnp.maximum(jnp.abs(loop_area(v, r)), LOG_FLOOR * around))


@jax.jit
def _size(bias: ArrayLike, response: ArrayLike) -> Estimate:
    return stated(abs(loop_area(bias, response)))


@jax.jit
def _logarithm(bias: ArrayLike, response: ArrayLike) -> Estimate:
    return stated(log_loop_area(bias, response))


LOOP_AREA = Scalarizer("loop area", _size, ("bias", "response"), "{response} {bias}")
"""Size of the area of a loop as it was measured, without a fit."""

LOG_LOOP_AREA = Scalarizer("log10 of the loop area", _logarithm, ("bias", "response"), "log10({response} {bias})")
"""Its decimal logarithm, `log_loop_area`."""


def despike(response: ArrayLike, threshold: float = 6.0, window: int = 5) -> Float[Array, "*batch n"]:
    """Replace single bad points (failed resonance fits) by the running median.

    m = cyclic running median over `window` points, e = r - m,
    s = max(1.4826 median|e|, 0.02 (q90 - q10) of m); a point with |e| > threshold s becomes m.

    1.4826 median|e| estimates a Gaussian standard deviation; its floor, a fiftieth of the loop's height, keeps the
    turning points of a noise-free loop. A switch in one step passes unharmed, for a median keeps an edge. Up to
    (window - 1)/2 bad neighbours are repaired, more are not. A NaN is not repaired: a failed measurement must stay
    visible.

    Args:
        response: (..., n).
        threshold: how many robust standard deviations a good point may stray.
        window: odd number of points.

    Returns:
        Response with the same shape.

    Raises:
        ValueError: `window` is even or below 3.
    """
    if window < 3 or window % 2 == 0:
        raise ValueError(f"window must be odd and at least 3, got {window}")
    r = floating(response, "the response")
    half = window // 2
    median = jnp.median(jnp.stack([jnp.roll(r, k, axis=-1) for k in range(-half, half + 1)]), axis=0)
    error = jnp.abs(r - median)
    low, high = jnp.quantile(median, jnp.array([0.1, 0.9], r.dtype), axis=-1, keepdims=True)
    scale = jnp.maximum(1.4826 * jnp.median(error, axis=-1, keepdims=True), 0.02 * (high - low))
    return jnp.where(error > threshold * scale, median, r)


def on_off(response: ArrayLike, bias: ArrayLike | None = None) -> tuple[Num[Array, "*batch n"], Num[Array, "*batch n"]]:
    """Split interleaved measurements: on-field those at 0, 2, ..., off-field those at 1, 3, ... of the last axis.

    Args:
        response: (..., 2 n), one under bias and one after it, alternating.
        bias: (2 n,) V, the waveform as applied; checked if given.

    Returns:
        On-field and off-field response, (..., n) each. Both belong to the biases `bias[0::2]`.

    Raises:
        ValueError: an odd number of values, or off-field biases that are not all equal.
    """
    r = jnp.asarray(response)
    if r.ndim < 1 or r.shape[-1] % 2:
        raise ValueError(f"on- and off-field values come in pairs; got a last axis of {r.shape[-1:]}.")
    if bias is not None:
        v = jnp.asarray(bias)
        if v.shape != r.shape[-1:]:
            raise ValueError(f"the waveform must have one bias per value, {r.shape[-1:]}; got {v.shape}.")
        if bool(jnp.any(v[1::2] != v[1])):
            raise ValueError("values 1, 3, ... are not at one constant bias; begin the waveform with an on-field step.")
    return r[..., 0::2], r[..., 1::2]


def coercive_biases(bias: ArrayLike, response: ArrayLike) -> Float[Array, " 2"]:
    """Biases in V at which the response first crosses zero: (2,), rising branch then falling; NaN where it does not.

    Args:
        bias: (n,) V.
        response: (n,).

    Returns:
        (2,) V.
    """
    v, r = floating(bias, "the bias"), floating(response, "the response")
    return _at_crossing(v, r, v)


def remanence(bias: ArrayLike, response: ArrayLike) -> Float[Array, " 2"]:
    """Response at zero bias by linear interpolation: (2,), rising branch then falling; NaN where it has none.

    Args:
        bias: (n,) V.
        response: (n,).

    Returns:
        (2,) in the unit of the response.
    """
    v, r = floating(bias, "the bias"), floating(response, "the response")
    return _at_crossing(v, v, r)


def _at_crossing(bias: Array, level: Array, value: Array) -> Array:
    """`value` where `level` first changes sign on the rising and on the falling segments of the cyclic sweep."""
    level_next, value_next = jnp.roll(level, -1), jnp.roll(value, -1)
    up = jnp.roll(rising(bias), -1)
    crosses = (level <= 0) != (level_next <= 0)
    share = level / jnp.where(crosses, level - level_next, 1.0)
    here = value + share * (value_next - value)

    def first(mask: Array) -> Array:
        return jnp.where(jnp.any(mask), here[jnp.argmax(mask)], jnp.nan)

    return jnp.stack([first(crosses & up), first(crosses & ~up)])
