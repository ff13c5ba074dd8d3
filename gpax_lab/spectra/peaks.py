"""Peaks on a linear background, the ratio of two of them, and the alignment of zero-loss peaks."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from gpax_lab.core._inputs import floating, numbers
from gpax_lab.core._types import Float
from gpax_lab.spectra._combinations import ratio
from gpax_lab.spectra._fit import Fit, curve_fit, judged, refused
from gpax_lab.spectra._residual import LITTLE, NOT_NOISE, neighbour_correlation
from gpax_lab.spectra._scalarizer import Scalarizer

__all__ = [
    "align",
    "fit_peak",
    "peak_ratio",
    "peak_scalarizer",
    "shift_spectra",
]

_FOUR_LN2 = 2.772588722239781


def gaussian(x: Array, p: Array) -> Array:
    """p0 exp(-4 ln2 (x - p1)^2 / p2^2) + p3 + p4 (x - p1): height, centre, full width at half maximum, background.

    Args:
        x: () energy, bias or whatever the axis is.
        p: (5,) parameters.

    Returns:
        ().
    """
    return p[0] * jnp.exp(-_FOUR_LN2 * ((x - p[1]) / p[2]) ** 2) + p[3] + p[4] * (x - p[1])


def lorentzian(x: Array, p: Array) -> Array:
    """p0 / (1 + 4 (x - p1)^2 / p2^2) + p3 + p4 (x - p1).

    Args:
        x: () energy, bias or whatever the axis is.
        p: (5,) parameters, as of `gaussian`.

    Returns:
        ().
    """
    return p[0] / (1.0 + 4.0 * ((x - p[1]) / p[2]) ** 2) + p[3] + p[4] * (x - p[1])


def pseudo_voigt(x: Array, p: Array) -> Array:
    """(1 - p5) Gaussian + p5 Lorentzian of one height, centre and width, on p3 + p4 (x - p1).

    Args:
        x: () energy, bias or whatever the axis is.
        p: (6,) parameters, as of `gaussian`, and the Lorentzian part.

    Returns:
        ().
    """
    line = gaussian(x, p.at[3:5].set(0.0)) * (1.0 - p[5]) + lorentzian(x, p.at[3:5].set(0.0)) * p[5]
    return line + p[3] + p[4] * (x - p[1])


def plasmon(x: Array, p: Array) -> Array:
    """Drude loss on a linear background: p0 E p2 p1^2 / ((E^2 - p1^2)^2 + (E p2)^2) * p2 / p1 + p3 + p4 (E - p1).

    p0 the height at E = p1, the plasmon energy, and p2 its width, both eV. Source: Egerton, Electron Energy-Loss
    Spectroscopy in the Electron Microscope, 3rd ed. (2011), section 3.3.1.

    Args:
        x: () energy.
        p: (5,) parameters, as of `gaussian`.

    Returns:
        ().
    """
    loss = x * p[1] * p[2] ** 2 / ((x**2 - p[1] ** 2) ** 2 + (x * p[2]) ** 2)
    return p[0] * loss + p[3] + p[4] * (x - p[1])


SHAPES: dict[str, Callable[[Array, Array], Array]] = {
    "gaussian": gaussian,
    "lorentzian": lorentzian,
    "pseudo_voigt": pseudo_voigt,
    "plasmon": plasmon,
}


def fit_peak(
    x: ArrayLike,
    y: ArrayLike,
    window: tuple[float, float],
    shape: str = "gaussian",
    sigma: ArrayLike | None = None,
    gain: ArrayLike | None = None,
) -> Fit:
    """Fit one peak in a window.

    Args:
        x: (n,) eV, V or whatever the axis is; concrete (its window picks the channels).
        y: (..., n) counts.
        window: (low, high): channels low <= x < high.
        shape: a key of `SHAPES`.
        sigma: standard deviation of y, () or (n,) or the shape of y; by default one for all, from the residual.
        gain: for counts: detector counts per electron. The fit is then made twice, with the variance gain times what
            the first one expects; square roots of the counts themselves would pull it down.

    Returns:
        `Fit` with params (height, centre, full width, offset, slope[, Lorentzian part]). An absent peak has a height
        within its standard deviation of 0. Status POOR_FIT where what is left is not noise (more than
        `residual.LITTLE`, whose neighbours are correlated): another peak in the window, or another shape.

    Raises:
        ValueError: an unknown shape, a window with fewer channels than parameters and two, or sigma and gain both.
    """
    if sigma is not None and gain is not None:
        raise ValueError("give sigma, or a gain from which it follows, not both.")
    if shape not in SHAPES:
        raise ValueError(f"shape is one of {sorted(SHAPES)}; got {shape!r}.")
    axis, values = numbers(x, "x"), floating(y, "y")
    many = 6 if shape == "pseudo_voigt" else 5
    (inside,) = np.nonzero((axis >= window[0]) & (axis < window[1]))
    if inside.size < many + 2:
        raise ValueError(f"the window {window} holds {inside.size} channels; {many + 2} or more are needed.")
    axis, values = axis[inside], values[..., inside]
    if sigma is not None:
        noise = floating(sigma, "sigma")
        sigma = noise if noise.ndim == 0 else noise[..., inside]
    step = np.abs(np.diff(axis)).min()
    lower = jnp.full(many, -jnp.inf).at[1].set(axis.min()).at[2].set(0.5 * step)
    upper = jnp.full(many, jnp.inf).at[1].set(axis.max()).at[2].set(2.0 * np.ptp(axis))
    if many == 6:
        lower, upper = lower.at[5].set(-1.0), upper.at[5].set(2.0)
    inner = jnp.asarray(axis, values.dtype)
    start = _guess(inner, values, many)
    model = SHAPES[shape]
    first = curve_fit(model, inner, values, start, sigma, lower=lower, upper=upper)
    if gain is None:
        return refused(first, _more(model, first, inner, values, sigma))
    expected = _curves(model, inner, first.params)
    noise = jnp.sqrt(jnp.asarray(gain) * jnp.maximum(jnp.nan_to_num(expected), jnp.asarray(gain)))
    begin = jnp.where(jnp.isfinite(first.params), first.params, start)
    found = curve_fit(model, inner, values, begin, noise, lower=lower, upper=upper)
    return refused(found, _more(model, found, inner, values, noise))


def _curves(model: Callable[[Array, Array], Array], x: Array, params: Array) -> Array:
    """(..., n) the peaks of parameters (..., p)."""
    at_points = jax.vmap(model, in_axes=(0, None))
    flat = jax.vmap(at_points, in_axes=(None, 0))(x, params.reshape(-1, params.shape[-1]))
    return flat.reshape(*params.shape[:-1], x.shape[0])


@partial(jax.jit, static_argnames="model")
def _more(
    model: Callable[[Array, Array], Array], fit: Fit, x: Array, y: Array, sigma: ArrayLike | None = None
) -> Array:
    """(...) bool: what the peak leaves is more than noise, which knows nothing of its neighbour."""
    there = jnp.isfinite(y)
    weight = jnp.broadcast_to(jnp.ones((), y.dtype) if sigma is None else 1.0 / jnp.asarray(sigma, y.dtype), y.shape)
    weight = jnp.where(there, weight, 0.0)
    y = jnp.where(there, y, 0.0)
    rest = weight * (y - _curves(model, x, fit.params))
    total, count = jnp.sum(rest**2, axis=-1), jnp.sum(there, axis=-1)
    power = jnp.sum(weight**2, axis=-1, keepdims=True)
    mean = jnp.sum(weight**2 * y, axis=-1, keepdims=True) / jnp.where(power > 0, power, 1.0)
    about = jnp.sum((weight * (y - mean)) ** 2, axis=-1)
    alike = neighbour_correlation(rest)
    return (total > LITTLE * about) & (alike > NOT_NOISE / jnp.sqrt(jnp.maximum(count, 1)))


def _guess(x: Array, y: Array, many: int) -> Array:
    """Line through the ends, the top above it, and the width of a Gaussian of that height and area."""
    ends = max(x.size // 10, 1)
    low, high = jnp.mean(y[..., :ends], axis=-1), jnp.mean(y[..., -ends:], axis=-1)
    slope = (high - low) / (jnp.mean(x[-ends:]) - jnp.mean(x[:ends]))
    line = low[..., None] + slope[..., None] * (x - jnp.mean(x[:ends])).reshape((1,) * (y.ndim - 1) + x.shape)
    above = y - line
    top = jnp.nanargmax(jnp.where(jnp.isfinite(above), above, -jnp.inf), axis=-1)
    height = jnp.take_along_axis(above, top[..., None], -1)[..., 0]
    offset = jnp.take_along_axis(line, top[..., None], -1)[..., 0]
    area = jnp.abs(jnp.nansum(above, axis=-1)) * (x[-1] - x[0]) / (x.size - 1)
    span = jnp.abs(x[-1] - x[0])
    width = jnp.clip(area / jnp.where(height > 0, 1.064 * height, 1.0), 0.05 * span, 0.6 * span)
    parts = [height, x[top], width, offset, slope] + ([jnp.full_like(height, 0.5)] if many == 6 else [])
    return jnp.stack(parts, axis=-1)


_PARAMETERS = (
    ("height of a peak", "{values}"),
    ("centre of a peak", "{axis}"),
    ("width of a peak", "{axis}"),
    ("offset of a peak", "{values}"),
    ("slope under a peak", "{values}/{axis}"),
    ("Lorentzian part of a peak", "1"),
)
"""Name and unit of each parameter of a peak."""

_LEAST_HEIGHT = 4.0
"""Height over its standard deviation from which a peak is there. A fit to pure noise finds the best of all positions
and widths: one in nine of its heights exceeds 3."""


def peak_scalarizer(
    window: tuple[float, float],
    which: int = 0,
    shape: str = "gaussian",
    gain: ArrayLike | None = None,
    min_significance: float | None = None,
    arrays: tuple[str, str] = ("energy", "counts"),
) -> Scalarizer:
    """Parameter `which` of a peak (0 height, 1 centre, 2 width, 3 offset, 4 slope): a `Scalarizer`.

    Args:
        window, shape, gain: of `fit_peak`.
        which: parameter.
        min_significance: height over its standard deviation below which the measurement has failed; by default 4
            for all but the height, which may be nothing.
        arrays: names of the axis and of the spectrum.
    """
    limit = (0.0 if which == 0 else _LEAST_HEIGHT) if min_significance is None else min_significance
    axis, values = (f"{{{name}}}" for name in arrays)
    name, unit = _PARAMETERS[which]

    def fit(x: ArrayLike, y: Array) -> Fit:
        found = fit_peak(x, y, window, shape, gain=gain)
        there = (limit <= 0) | (found.params[..., 0] > limit * judged(found).std[..., 0])
        return refused(found, ~there)

    unit = unit.format(axis=axis, values=values)
    return Scalarizer.of_fit(fit, lambda p: p[which], arrays, name=name, unit=unit, concrete=1)


def peak_ratio(
    first: tuple[float, float],
    second: tuple[float, float],
    shape: str = "gaussian",
    gain: ArrayLike | None = None,
    arrays: tuple[str, str] = ("energy", "counts"),
) -> Scalarizer:
    """Ratio of the heights of two peaks in separate windows: a `Scalarizer`.

    A failed measurement where the second peak is not there (4 standard deviations). For counts give the gain: without
    it noise is taken for equal in all channels, and the error of a ratio comes out at half its size.

    Args:
        first, second: windows (low, high).
        shape, gain: of `fit_peak`.
        arrays: names of the axis and of the spectrum.

    Raises:
        ValueError: the windows overlap.

    Source: the criterion of Roccapriore et al., Adv. Mater. 34, 2201345 (2022) on MnPS3, a ratio of two fitted peaks.
    """
    if first[0] < second[1] and second[0] < first[1]:
        raise ValueError(f"the windows {first} and {second} overlap: their errors would not be independent.")
    above = peak_scalarizer(first, 0, shape, gain, arrays=arrays)
    return ratio(above, peak_scalarizer(second, 0, shape, gain, _LEAST_HEIGHT, arrays))


_SURE = 1.5
"""Standard deviations beyond sqrt(2 ln n), where the highest of n normal numbers lies: correlations with noise do not
come so high."""


class _Alignment(NamedTuple):
    """What `align` returns, and describes."""

    shift: Float[Array, "*batch"]
    variance: Float[Array, "*batch"]
    spectra: Float[Array, "*batch n"]


def align(reference: ArrayLike, spectra: ArrayLike, upsample: int = 32, gain: ArrayLike = 1.0) -> _Alignment:
    """Zero-loss alignment: the shift of each spectrum onto a reference, to a small fraction of a channel.

    The top of the cross-correlation of both less their medians: its highest whole channel by FFT, then a DFT on a grid
    of 1/upsample channels and a parabola. Both are padded with as many zeros as channels, so nothing wraps around.
    var s = gain sum a'^2 y / (sum a' y')^2, the delta method for the counts y of the spectrum and the slopes a' of the
    reference.

    Args:
        reference: (n,) counts.
        spectra: (..., n) counts.
        upsample: grid points per channel (static).
        gain: detector counts per electron.

    Returns:
        shift (...) channels TO APPLY (as `shift_spectra` does), its variance (...), and the aligned spectra (..., n),
        which keep their counts as far as these stay inside. All NaN where a spectrum is not finite or shows no peak
        like the reference's.

    Raises:
        ValueError: spectra of another length.
    """
    a, b = floating(reference, "the reference"), floating(spectra, "the spectra")
    if a.ndim != 1 or b.shape[-1:] != a.shape:
        raise ValueError(f"a reference (n,) and spectra (..., n); got {a.shape} and {b.shape}.")
    flat = b.reshape(-1, b.shape[-1])
    moves, variance = _shifts(a.astype(b.dtype), flat, jnp.asarray(gain, b.dtype), upsample)
    moves = moves.reshape(b.shape[:-1])
    moved = jnp.where(jnp.isfinite(moves)[..., None], shift_spectra(b, moves), jnp.nan)
    return _Alignment(moves, variance.reshape(moves.shape), moved)


@partial(jax.jit, static_argnames="upsample")
def _shifts(a: Array, rows: Array, gain: Array, upsample: int) -> tuple[Array, Array]:
    return jax.vmap(lambda row: _shift(a, row, gain, upsample))(rows)


def _shift(reference: Array, row: Array, gain: Array, upsample: int) -> tuple[Array, Array]:
    # A pedestal, padded with zeros, would be a box of its own, and boxes lie best on each other unmoved.
    a, b = reference - jnp.median(reference), row - jnp.median(row)
    n = 2 * a.size
    cross = jnp.fft.rfft(a, n) * jnp.conj(jnp.fft.rfft(b, n))
    top = jnp.argmax(jnp.fft.irfft(cross, n))
    whole = jnp.where(top < a.size, top, top - n).astype(a.dtype)
    steps = jnp.arange(-upsample, upsample + 1, dtype=a.dtype) / upsample
    k = jnp.arange(cross.size, dtype=a.dtype) / n
    fine = (jnp.exp(2j * jnp.pi * (whole + steps)[:, None] * k[None, :]) @ cross).real
    at = jnp.argmax(fine[1:-1]) + 1
    left, middle, right = fine[at - 1], fine[at], fine[at + 1]
    bend = left - 2.0 * middle + right
    move = jnp.where(bend < 0, 0.5 * (left - right) / jnp.where(bend < 0, bend, 1.0), 0.0)
    shift = whole + steps[at] + move / upsample
    inside = (at > 1) & (at < steps.size - 2) | (jnp.abs(move) < 0.5)
    channel = jnp.arange(a.size, dtype=a.dtype)
    slope = jnp.interp(channel + shift, channel, _slope(a))  # of the reference, where the spectrum has its peak
    curvature = jnp.sum(slope * _slope(b))
    expected = gain * jnp.maximum(row, gain)
    variance = jnp.sum(slope**2 * expected) / jnp.where(curvature > 0, curvature, jnp.nan) ** 2
    height = jnp.sum(jnp.interp(channel + shift, channel, a) * b)
    noise = jnp.sqrt(jnp.sum(a**2) * jnp.mean(expected))
    there = height > (jnp.sqrt(2.0 * jnp.log(n)) + _SURE) * noise
    good = jnp.all(jnp.isfinite(row)) & (middle > 0) & inside & jnp.isfinite(variance) & there
    return jnp.where(good, shift, jnp.nan), jnp.where(good, variance, jnp.nan)


def _slope(y: Array) -> Array:
    return jnp.asarray(jnp.gradient(y))


def shift_spectra(spectra: ArrayLike, shift: ArrayLike) -> Float[Array, "*batch n"]:
    """Spectra (..., n) moved by (...) channels towards larger indices, each count shared by the two nearest channels.

    Counts are kept, but for those moved out; Poisson counts stay positive, which a Fourier shift does not promise.

    Args:
        spectra: (..., n) counts.
        shift: (...) channels.

    Returns:
        (..., n).
    """
    y = floating(spectra, "the spectra")
    return _moved(y, floating(shift, "the shift").astype(y.dtype))


@jax.jit
def _moved(y: Array, s: Array) -> Array:
    n = y.shape[-1]

    def one(row: Array, move: Array) -> Array:
        whole = jnp.floor(move)
        part = move - whole
        to = jnp.arange(n) + jnp.where(jnp.isfinite(whole), whole, 0).astype(int)

        def put(index: Array, counts: Array) -> Array:
            index = jnp.where(index < 0, n, index)  # negative ones would count from the end
            return jnp.zeros(n, row.dtype).at[index].add(counts, mode="drop")

        return put(to, row * (1.0 - part)) + put(to + 1, row * part)

    return jax.vmap(one)(y.reshape(-1, n), s.reshape(-1)).reshape(y.shape)
