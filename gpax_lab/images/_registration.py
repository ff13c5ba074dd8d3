"""Where one frame lies on another: sub-pixel shifts by correlation, with a standard deviation and a status.

The sign, once: `register(reference, moving).shift` is the shift TO APPLY to `moving`, in pixels (row, column), and
`frames.shift_image(moving, shift)` then lies on `reference`; that moves what is seen towards larger indices.
"""

from __future__ import annotations

import functools
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from gpax_lab.core._inputs import floating
from gpax_lab.core._status import Status
from gpax_lab.images._frames import shift_spectrum, waves


class Registration(NamedTuple):
    """Of batch shape (...).

    Attributes:
        shift: (..., 2) pixels (row, column) to apply to the moving frame; NaN under BAD_INPUT.
        std: (..., 2) standard deviation: what the misfit of the two frames leaves at least, if it is white noise
            (Cramer-Rao), and by how much the quarters of the frame differ: half of their scatter, the error of a mean
            of four, or what of it is more than their own noise, or what their mean differs from the whole by beyond it.
            Frames below 32 x 32 pixels are not quartered, and on smooth, noisy ones the scatter is up to five times
            what is stated.
        height: (...) the peak: 1 for equal frames, less for others, but far from 0 for smooth unrelated ones.
        second: (...) the next highest local maximum as a fraction of it.
        significance: (...) the correlation at this shift over what unrelated frames as smooth reach by chance.
        status: (...) int8 code of `Status`.
    """

    shift: Array
    std: Array
    height: Array
    second: Array
    significance: Array
    status: Array


QUIET = 10.0
"""A frequency counts by p / (p + 10 m), p its cross power and m the median over all: noise fills most frequencies of a
smooth frame, and whitening would make it as loud as the structure."""

SPIKE, SPIKE_SHARE, SPIKE_SPREAD = 4.0, 0.01, 3.0
"""A pixel is an outlier, and gets the median around it, if it is further from that than 4 times what one pixel in a
hundred is, and than 3 standard deviations of the medians. Lines and points that make up a frame are more."""

LEAST_TILE = 16
"""Pixels along the edge of a quarter, below which quarters are too small to be registered."""

TILE_UPSAMPLE = 10
"""Grid points per pixel for quarters, at most: the parabola on top of them is then right to 3e-4 pixels."""

TILE_NOISE = 3.0
"""Quarters may scatter by so many times their Cramer-Rao bound before that counts as another shift."""

ALIKE = 0.9
"""Correlation of two frames above which they belong together however few modes they have."""


def register(
    reference: ArrayLike,
    moving: ArrayLike,
    *,
    whiten: float = 0.5,
    window: bool = True,
    upsample: int = 20,
    passes: int = 2,
    reach: ArrayLike = jnp.inf,
    ambiguous: ArrayLike = 0.8,
    weak: ArrayLike = 1.0,
    uneven: ArrayLike = 1.0,
) -> Registration:
    """Shift of one frame onto another, to a small fraction of a pixel.

    c(s) = sum_k q_k F_k conj(G_k) / |F_k conj(G_k)|^w exp(2 pi i k s): its highest whole pixel by FFT, the surroundings
    of that by a matrix DFT on a grid of 1/upsample pixels, and the top of a parabola through the highest of these.
    q is below 1 where there is nothing but noise (`QUIET`); with w = 0 it is 1.

    Which frames belong together is judged by the plain correlation z at the shift found, in standard deviations of its
    values at all shifts. The largest of M numbers that are alike lies near sqrt(2 ln M), with M modes in the frames;
    twice that is what 98 of 100 pairs of unrelated frames, smooth or white, 64 or 128 pixels wide, stayed below. Frames
    that all but coincide there (a correlation of 0.9) need no such proof: a lattice has few modes.

    The unit of the frames does not matter. Single outliers (hot pixels, spikes up to two pixels wide) are replaced
    by the median around them, for those of a camera stand still while the sample moves.

    Args:
        reference: (..., h, w).
        moving: (..., h, w); leading axes broadcast against those of the reference.
        whiten: w. 0 is the cross-correlation (best for white noise on smooth frames, but drawn to 0 by what both frames
            share and the sample does not, such as jumps between lines), 1 phase correlation (blind to slow changes of
            contrast), 0.5 between them (static).
        window: Hann window, against the borders; switch it off for periodic images (static).
        upsample: grid points per pixel of the matrix DFT (static).
        passes: looks at the moved frame after the first; each leaves a fraction of the error that the window makes,
            which pulls the shift towards 0 (static).
        reach: largest shift along an axis, pixels, to within one.
        ambiguous: second peak, as a fraction of the first, above which the status is AMBIGUOUS_SHIFT.
        weak: significance below which the status is UNRELATED_IMAGES; few modes (a small and smooth frame) are never
            significant.
        uneven: pixels by which the quarters may scatter, root mean square along an axis, before the status is
            UNEVEN_SHIFT, and by which their mean may differ from the shift of the whole.

    Returns:
        `Registration`.

    Raises:
        ValueError: frames of different shape or smaller than 8 x 8, or w outside [0, 1].

    Source: Guizar-Sicairos, Thurman, Fienup, Opt. Lett. 33, 156 (2008) (matrix DFT); Kuglin, Hines, Proc. IEEE Conf.
    Cybern. Soc. (1975) 163 (phase correlation); Robinson, Milanfar, IEEE Trans. Image Process. 13, 1185 (2004) (bound).
    """
    first, second = floating(reference, "the reference"), floating(moving, "the moving frame")
    if first.ndim < 2 or first.shape[-2:] != second.shape[-2:] or min(first.shape[-2:]) < 8:
        raise ValueError(f"two frames of one shape, 8 x 8 pixels or more; got {first.shape} and {second.shape}.")
    if not 0.0 <= whiten <= 1.0:
        raise ValueError(f"whiten lies in [0, 1]; got {whiten}.")
    if upsample < 2:
        raise ValueError(f"upsample is 2 or more; got {upsample}.")
    looks = 1 + passes if window else 1
    return _register_all(
        first,
        second,
        reach,
        ambiguous,
        weak,
        uneven,
        whiten=float(whiten),
        window=window,
        upsample=upsample,
        looks=looks,
    )


@partial(jax.jit, static_argnames=("whiten", "window", "upsample", "looks"))
def _register_all(
    first: Array,
    second: Array,
    reach: ArrayLike,
    ambiguous: ArrayLike,
    weak: ArrayLike,
    uneven: ArrayLike,
    *,
    whiten: float,
    window: bool,
    upsample: int,
    looks: int,
) -> Registration:
    dtype = jnp.result_type(first.dtype, second.dtype)
    batch = jnp.broadcast_shapes(first.shape[:-2], second.shape[:-2])
    pair = [jnp.broadcast_to(a.astype(dtype), batch + a.shape[-2:]) for a in (first, second)]
    limits = (jnp.asarray(v, dtype) for v in (reach, ambiguous, weak, uneven))
    one = partial(_register, limits=tuple(limits), whiten=whiten, window=window, upsample=upsample, looks=looks)
    found = jax.vmap(one)(*(a.reshape(-1, *a.shape[-2:]) for a in pair))
    return jax.tree.map(lambda leaf: leaf.reshape(batch + leaf.shape[1:]), found)


def _register(
    a: Array,
    b: Array,
    limits: tuple[Array, ...],
    whiten: float,
    window: bool,
    upsample: int,
    looks: int,
) -> Registration:
    reach, ambiguous, weak, uneven = limits
    scaled, whole = jax.vmap(_scaled)(jnp.stack([a, b]))
    good = jnp.all(whole)
    a, b = jnp.where(good, scaled, 0.0)
    weight = _hann(a.shape, a.dtype) if window else jnp.ones_like(a)
    a, b = a - jnp.mean(a), b - jnp.mean(b)
    seen, spectrum = a * weight, jnp.fft.fft2(b)
    seen_spectrum = jnp.fft.fft2(seen)

    def look(_, state: tuple[Array, ...]) -> tuple[Array, ...]:
        # The window stands still while the sample moves, which pulls the peak towards 0: look again at the moved frame.
        shift, _, _, moved = state
        more, height, ratio = _locate(seen_spectrum, jnp.fft.fft2(moved), shift, reach, whiten, upsample)
        shift = shift + more
        return shift, height, ratio, shift_spectrum(spectrum, shift) * weight

    zero = jnp.zeros((), a.dtype)
    # One program for all looks; a fixed number of them, so that it has a gradient.
    start = jnp.zeros(2, a.dtype), zero, zero, b * weight
    shift, height, ratio, moved = jax.lax.fori_loop(0, looks, look, start)
    std, alike, significance = _bound(seen, moved, weight, seen_spectrum)
    scatter = apart = jnp.zeros_like(shift)
    if min(a.shape) >= 2 * LEAST_TILE:
        limits = (reach, ambiguous, weak)
        scatter, apart = _apart(a, shift_spectrum(spectrum, shift), shift, limits, whiten, upsample)
    std = jnp.sqrt(std**2 + jnp.maximum(0.5 * scatter, apart) ** 2)
    status = Status.worst(
        (~good, Status.BAD_INPUT),
        ((significance < weak) & (alike < ALIKE), Status.UNRELATED_IMAGES),
        (ratio > ambiguous, Status.AMBIGUOUS_SHIFT),
        (jnp.max(apart) > uneven, Status.UNEVEN_SHIFT),
    )
    values = [jnp.where(good, v, jnp.nan) for v in (shift, std, height, ratio, significance)]
    return Registration(values[0], values[1], values[2], values[3], values[4], status)


def _scaled(frame: Array) -> tuple[Array, Array]:
    """A frame about its mean in units of its own spread, without single outliers, and whether there is anything left.

    Squares of heights in metres would vanish in single precision, and one hot pixel would outweigh all others.
    """
    low, high = jnp.min(frame), jnp.max(frame)
    # Halves, for the difference of two large numbers may not be finite.
    extent = 0.5 * high - 0.5 * low
    finite = jnp.isfinite(extent) & (extent > 0)
    frame = jnp.where(finite, (0.5 * frame - 0.5 * low) / jnp.where(finite, extent, 1.0), 0.0)
    middle = _middle_of_five(_middle_of_five(frame, 0), 1)
    away = jnp.abs(frame - middle)
    usual = _ranked(away, jnp.max(away), int((1.0 - SPIKE_SHARE) * away.size))
    spread = jnp.std(middle)
    frame = jnp.where(away > jnp.maximum(SPIKE * usual, SPIKE_SPREAD * spread), middle, frame)
    # Twice: what a hot pixel leaves of the others is small beside the extent.
    frame = frame - jnp.mean(frame)
    size = jnp.max(jnp.abs(frame))
    frame = frame / jnp.where(size > 0, size, 1.0)
    spread = jnp.sqrt(jnp.mean(frame**2))
    return frame / jnp.where(spread > 0, spread, 1.0), finite & (spread > 0)


def _middle_of_five(frame: Array, axis: int) -> Array:
    """Running median over five pixels along an axis, beyond the border the pixels nearest to it."""
    n = frame.shape[axis]
    padded = jnp.pad(frame, [(2, 2) if k == axis else (0, 0) for k in (0, 1)], mode="edge")
    a, b, e, c, d = (jax.lax.slice_in_dim(padded, k, k + n, axis=axis) for k in range(5))
    low = jnp.maximum(jnp.minimum(a, b), jnp.minimum(c, d))
    high = jnp.minimum(jnp.maximum(a, b), jnp.maximum(c, d))
    low, high = jnp.minimum(low, high), jnp.maximum(low, high)
    return jnp.maximum(low, jnp.minimum(high, e))


def _apart(
    a: Array, moved: Array, shift: Array, limits: tuple[Array, ...], whiten: float, upsample: int
) -> tuple[Array, Array]:
    """(2,) by how much the shifts of the quarters scatter, root mean square, and (2,) how much beyond their own noise.

    The latter is not below what their mean differs from the shift of the whole by, beyond its noise: a bright spot that
    stands still decides the whole, but no quarter without it.
    Only quarters count that can be registered: in which there is something, and not the same again a period on.
    """
    reach, ambiguous, weak = limits
    h, w = (n // 2 for n in a.shape)
    # Rounding of single precision is far below what is asked of a scatter, and costs half the time.
    dtype, a, moved, shift = a.dtype, *(z.astype(jnp.float32) for z in (a, moved, shift))
    weight, upsample = _hann((h, w), a.dtype), min(upsample, TILE_UPSAMPLE)

    def quarter(place: Array) -> tuple[Array, Array, Array]:
        one, other = (jax.lax.dynamic_slice(z, (place[0], place[1]), (h, w)) for z in (a, moved))
        one, other = one - jnp.mean(one), other - jnp.mean(other)
        seen, spectrum = one * weight, jnp.fft.fft2(other)
        seen_spectrum = jnp.fft.fft2(seen)
        more, _, ratio = _locate(seen_spectrum, jnp.fft.fft2(other * weight), shift, reach, whiten, upsample)
        std, alike, significance = _bound(seen, shift_spectrum(spectrum, more) * weight, weight, seen_spectrum)
        there = ((significance >= weak) | (alike >= ALIKE)) & (ratio <= ambiguous) & jnp.all(jnp.isfinite(std))
        return more, jnp.where(jnp.isfinite(std), std, 0.0), there

    rows, columns = (n - n // 2 for n in a.shape)
    places = jnp.asarray([(0, 0), (0, columns), (rows, 0), (rows, columns)])
    more, std, there = jax.lax.map(quarter, places)
    more, std = more.astype(dtype), std.astype(dtype)
    share = there.astype(dtype) / jnp.maximum(jnp.sum(there), 1)
    mean = share @ more
    about = more - mean[None]
    freedom = jnp.maximum(jnp.sum(there), 2) / jnp.maximum(jnp.sum(there) - 1, 1)
    square = freedom * (share @ about**2)
    apart = jnp.maximum(square - TILE_NOISE**2 * (share @ std**2), 0.0)
    off = jnp.maximum(mean**2 - TILE_NOISE**2 * (share**2 @ std**2), 0.0)
    return jnp.sqrt(square), jnp.sqrt(jnp.maximum(apart, off))


def _locate(f: Array, g: Array, base: Array, reach: Array, whiten: float, upsample: int) -> tuple[Array, Array, Array]:
    """From two spectra: (2,) shift beyond the base (2,) that is already applied, () height, () second peak over it."""
    cross, total = _cross(f, g, whiten)
    surface = jnp.fft.ifft2(cross).real * (f.size / total)
    rows, columns = (_signed(n, base.dtype) for n in f.shape)
    near = (jnp.abs(rows + base[0])[:, None] <= reach) & (jnp.abs(columns + base[1])[None, :] <= reach)
    peak = _local_maxima(surface) & near
    top = jnp.argmax(jnp.where(near, surface, -jnp.inf))
    row, column = jnp.divmod(top, f.shape[1])
    whole = jnp.stack([rows[row], columns[column]])
    is_top = (jnp.arange(f.shape[0]) == row)[:, None] & (jnp.arange(f.shape[1]) == column)[None, :]
    others = jnp.where(peak & ~is_top, surface, -jnp.inf)
    shift, height = _refine(cross, total, whole, upsample)
    ratio = jnp.maximum(jnp.max(others), 0.0) / jnp.maximum(height, jnp.finfo(base.dtype).tiny)
    return shift, height, ratio


def _cross(f: Array, g: Array, whiten: float) -> tuple[Array, Array]:
    """The (whitened) cross power spectrum of two spectra and what its sum would be, were they equal."""
    cross = f * jnp.conj(g)
    size = jnp.abs(cross)
    top = jnp.max(size)
    floor = jnp.finfo(size.dtype).eps * top  # rounding has a phase too
    scale = jnp.where(size > floor, size, 1.0)
    loud = 1.0 if whiten == 0.0 else scale / (scale + QUIET * _median(size, top))
    share = jnp.where(size > floor, loud / scale**whiten, 0.0)
    power = jnp.vdot(f, f).real * jnp.vdot(g, g).real
    total = jnp.sqrt(power) if whiten == 0.0 else jnp.vdot(share, size)
    return share * cross, jnp.where(total > 0, total, 1.0)


def _median(values: Array, top: Array) -> Array:
    """Median of values between 0 and the highest of them, the upper of two in the middle."""
    return _ranked(values, top, values.size // 2)


def _ranked(values: Array, top: Array, rank: int) -> Array:
    """The value that so many others lie below, of values between 0 and the highest of them, without sorting them.

    Its bits in float32, where the order of values is that of their bits as an integer, are found one after the other.
    """
    flat = values.ravel()
    relative = jax.lax.stop_gradient(flat / jnp.where(top > 0, top, 1.0)).astype(jnp.float32)
    bits = jax.lax.bitcast_convert_type(relative, jnp.int32)

    def longer(k: Array, found: Array) -> Array:
        trial = found | (jnp.int32(1 << 29) >> k)  # 1.0, the largest, is below 2^30
        return jnp.where(jnp.sum(bits < trial, dtype=jnp.int32) <= rank, trial, found)

    return flat[jnp.argmax(bits == jax.lax.fori_loop(0, 30, longer, jnp.int32(0)))]


def _refine(cross: Array, total: Array, whole: Array, upsample: int) -> tuple[Array, Array]:
    """The top of c near a whole pixel: (2,) place and () height."""
    steps = np.arange(-upsample, upsample + 1) / upsample

    def transform(n: int, centre: Array) -> Array:
        k = np.fft.fftfreq(n)
        near = jnp.asarray(np.exp(2j * np.pi * np.outer(steps, k)), cross.dtype)
        return near * waves(centre * jnp.asarray(k, whole.dtype))[None, :]

    fine = (transform(cross.shape[0], whole[0]) @ cross @ transform(cross.shape[1], whole[1]).T).real / total
    # One step from the border, so that the parabola has its neighbours.
    inner = fine[1:-1, 1:-1]
    row, column = jnp.divmod(jnp.argmax(inner), inner.shape[1])
    box = jax.lax.dynamic_slice(fine, (row, column), (3, 3))
    move = _parabola(box) / upsample
    at = jnp.asarray(steps, whole.dtype)
    return whole + jnp.stack([at[row + 1], at[column + 1]]) + move, box[1, 1]


def _parabola(box: Array) -> Array:
    """Top of the paraboloid through a 3 x 3 box, relative to its middle, at most half a step along an axis."""
    dr, dc = 0.5 * (box[2, 1] - box[0, 1]), 0.5 * (box[1, 2] - box[1, 0])
    rr = box[2, 1] - 2.0 * box[1, 1] + box[0, 1]
    cc = box[1, 2] - 2.0 * box[1, 1] + box[1, 0]
    rc = 0.25 * (box[2, 2] - box[2, 0] - box[0, 2] + box[0, 0])
    det = rr * cc - rc**2
    safe = jnp.where(det > 0, det, 1.0)
    move = -jnp.stack([cc * dr - rc * dc, rr * dc - rc * dr]) / safe
    return jnp.where(det > 0, jnp.clip(move, -0.5, 0.5), 0.0)


def _bound(a: Array, moved: Array, weight: Array, spectrum: Array) -> tuple[Array, Array, Array]:
    """(2,) square roots of the diagonal of v (G^T G)^-1, G the slopes of the frame and v the mean squared misfit.

    G^T G comes from the slopes of one frame times those of the other: their noises are independent and drop out.
    Also () correlation of the frames; and this in standard deviations of its values at all shifts (Parseval), over
    2 sqrt(2 ln M).
    """
    tiny = jnp.finfo(a.dtype).tiny
    seen = jnp.stack([v.ravel() for z in (a, moved) for v in (z, _slope(z, 0), _slope(z, 1))])
    product = seen @ seen.T
    own, both, other = product[0, 0], product[0, 3], product[3, 3]
    gain = both / jnp.maximum(other, tiny)
    misfit = a - gain * moved
    variance = jnp.vdot(misfit, misfit) / jnp.vdot(weight, weight)
    rr, cc, rc = gain * product[1, 4], gain * product[2, 5], 0.5 * gain * (product[1, 5] + product[2, 4])
    det = rr * cc - rc**2
    good = (det > 0) & (rr > 0)
    std = jnp.sqrt(jnp.where(good, variance * jnp.stack([cc, rr]) / jnp.where(good, det, 1.0), jnp.inf))
    alike = both / jnp.maximum(jnp.sqrt(own) * jnp.sqrt(other), tiny)
    size = jnp.abs(spectrum * jnp.conj(jnp.fft.fft2(moved)))
    scale = jnp.maximum(jnp.max(size), tiny)  # squares of small numbers would vanish
    size = size / scale
    square = jnp.maximum(jnp.vdot(size, size), tiny)
    modes = jnp.maximum(jnp.sum(size) ** 2 / square, 2.0)
    return std, alike, both / scale * a.size / jnp.sqrt(square) / (2.0 * jnp.sqrt(2.0 * jnp.log(modes)))


def _slope(image: Array, axis: int) -> Array:
    """Half the difference of both neighbours; at the border the difference from the one."""
    n = image.shape[axis]
    padded = jnp.pad(image, [(1, 1) if a == axis else (0, 0) for a in (0, 1)], mode="edge")
    ahead, behind = (jax.lax.slice_in_dim(padded, at, at + n, axis=axis) for at in (2, 0))
    share = np.where(np.isin(np.arange(n), (0, n - 1)), 1.0, 0.5)
    return (ahead - behind) * jnp.asarray(np.expand_dims(share, 1 - axis), image.dtype)


def _local_maxima(surface: Array) -> Array:
    """Pixels not below any of their 8 neighbours, cyclic."""
    (h, w), around = surface.shape, jnp.pad(surface, 1, mode="wrap")
    near = [around[r : r + h, c : c + w] for r in range(3) for c in range(3)]
    return surface >= functools.reduce(jnp.maximum, near)


def _signed(n: int, dtype) -> Array:
    """Whole shifts in the order of the FFT: 0, 1, ..., -2, -1."""
    return jnp.asarray(np.fft.fftfreq(n, 1.0 / n), dtype)


def _hann(shape: tuple[int, ...], dtype) -> Array:
    rows, columns = (0.5 - 0.5 * np.cos(2.0 * np.pi * (np.arange(n) + 0.5) / n) for n in shape)
    return jnp.asarray(rows, dtype)[:, None] * jnp.asarray(columns, dtype)[None, :]
