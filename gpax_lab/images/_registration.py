"""Where one frame lies on another: sub-pixel shifts by correlation, with a standard deviation and a status.

The sign, once: `register(reference, moving).shift` is the shift TO APPLY to `moving`, in pixels (row, column), and
`shift_image(moving, shift)` then lies on `reference`; that moves the content towards larger indices.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from gpax_lab.core._inputs import floating
from gpax_lab.core._status import Status
from gpax_lab.core._types import Float, Int8
from gpax_lab.images._correlation import bound, hann, locate, ranked
from gpax_lab.images._frames import shift_spectrum


class Registration(NamedTuple):
    """What `register` returns, and describes."""

    shift: Float[Array, "*batch 2"]
    std: Float[Array, "*batch 2"]
    height: Float[Array, "*batch"]
    second: Float[Array, "*batch"]
    significance: Float[Array, "*batch"]
    status: Int8[Array, "*batch"]


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
    q is below 1 where there is nothing but noise; with w = 0 it is 1.

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
        passes: registrations of the moved frame after the first; each leaves a fraction of the error that the window
            makes, which pulls the shift towards 0 (static).
        reach: largest shift along an axis, pixels, to within one.
        ambiguous: second peak, as a fraction of the first, above which the status is AMBIGUOUS_SHIFT.
        weak: significance below which the status is UNRELATED_IMAGES; few modes (a small and smooth frame) are never
            significant.
        uneven: pixels by which the quarters may scatter, root mean square along an axis, before the status is
            UNEVEN_SHIFT, and by which their mean may differ from the shift of the whole.

    Returns:
        shift (..., 2) pixels (row, column) to apply to the moving frame, NaN under BAD_INPUT; its standard deviation
        std (..., 2): what the misfit of the two frames leaves at least, if it is white noise (Cramer-Rao), and by how
        much the quarters of the frame differ: half of their scatter, the error of a mean of four, or what of it is more
        than their own noise, or what their mean differs from the whole by beyond it (frames below 32 x 32 pixels are
        not quartered: on smooth, noisy ones the scatter is up to five times what is stated); height (...) of the peak:
        1 for equal frames, less for others, but far from 0 for smooth unrelated ones; second (...), the next highest
        local maximum as a fraction of it; significance (...), the correlation at this shift over what unrelated frames
        as smooth reach by chance; status (...), int8 code of `Status`.

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
    rounds = 1 + passes if window else 1
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
        rounds=rounds,
    )


@partial(jax.jit, static_argnames=("whiten", "window", "upsample", "rounds"))
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
    rounds: int,
) -> Registration:
    dtype = jnp.result_type(first.dtype, second.dtype)
    batch = jnp.broadcast_shapes(first.shape[:-2], second.shape[:-2])
    pair = [jnp.broadcast_to(a.astype(dtype), batch + a.shape[-2:]) for a in (first, second)]
    limits = (jnp.asarray(v, dtype) for v in (reach, ambiguous, weak, uneven))
    one = partial(_register, limits=tuple(limits), whiten=whiten, window=window, upsample=upsample, rounds=rounds)
    found = jax.vmap(one)(*(a.reshape(-1, *a.shape[-2:]) for a in pair))
    return jax.tree.map(lambda leaf: leaf.reshape(batch + leaf.shape[1:]), found)


def _register(
    a: Array,
    b: Array,
    limits: tuple[Array, ...],
    whiten: float,
    window: bool,
    upsample: int,
    rounds: int,
) -> Registration:
    reach, ambiguous, weak, uneven = limits
    scaled, whole = jax.vmap(_scaled)(jnp.stack([a, b]))
    good = jnp.all(whole)
    a, b = jnp.where(good, scaled, 0.0)
    weight = hann(a.shape, a.dtype) if window else jnp.ones_like(a)
    a, b = a - jnp.mean(a), b - jnp.mean(b)
    windowed, spectrum = a * weight, jnp.fft.fft2(b)
    windowed_spectrum = jnp.fft.fft2(windowed)

    def again(_, state: tuple[Array, ...]) -> tuple[Array, ...]:
        # The window stands still while the sample moves, which pulls the peak towards 0: take the moved frame again.
        shift, _, _, moved = state
        more, height, ratio = locate(windowed_spectrum, jnp.fft.fft2(moved), shift, reach, whiten, upsample)
        shift = shift + more
        return shift, height, ratio, shift_spectrum(spectrum, shift) * weight

    zero = jnp.zeros((), a.dtype)
    # One program for all passes; a fixed number of them, so that it has a gradient.
    start = jnp.zeros(2, a.dtype), zero, zero, b * weight
    shift, height, ratio, moved = jax.lax.fori_loop(0, rounds, again, start)
    std, alike, significance = bound(windowed, moved, weight, windowed_spectrum)
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
    """A frame about its mean over its standard deviation, without single outliers, and whether anything is left.

    Squares of heights in metres would vanish in single precision, and one hot pixel would outweigh all others.
    """
    low, high = jnp.min(frame), jnp.max(frame)
    # Halves, for the difference of two large numbers may not be finite.
    extent = 0.5 * high - 0.5 * low
    finite = jnp.isfinite(extent) & (extent > 0)
    frame = jnp.where(finite, (0.5 * frame - 0.5 * low) / jnp.where(finite, extent, 1.0), 0.0)
    middle = _middle_of_five(_middle_of_five(frame, 0), 1)
    away = jnp.abs(frame - middle)
    usual = ranked(away, jnp.max(away), int((1.0 - SPIKE_SHARE) * away.size))
    deviation = jnp.std(middle)
    frame = jnp.where(away > jnp.maximum(SPIKE * usual, SPIKE_SPREAD * deviation), middle, frame)
    # Twice: what a hot pixel leaves of the others is small beside the extent.
    frame = frame - jnp.mean(frame)
    size = jnp.max(jnp.abs(frame))
    frame = frame / jnp.where(size > 0, size, 1.0)
    deviation = jnp.sqrt(jnp.mean(frame**2))
    return frame / jnp.where(deviation > 0, deviation, 1.0), finite & (deviation > 0)


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
    weight, upsample = hann((h, w), a.dtype), min(upsample, TILE_UPSAMPLE)

    def quarter(corner: Array) -> tuple[Array, Array, Array]:
        one, other = (jax.lax.dynamic_slice(z, (corner[0], corner[1]), (h, w)) for z in (a, moved))
        one, other = one - jnp.mean(one), other - jnp.mean(other)
        windowed, spectrum = one * weight, jnp.fft.fft2(other)
        windowed_spectrum = jnp.fft.fft2(windowed)
        more, _, ratio = locate(windowed_spectrum, jnp.fft.fft2(other * weight), shift, reach, whiten, upsample)
        std, alike, significance = bound(windowed, shift_spectrum(spectrum, more) * weight, weight, windowed_spectrum)
        there = ((significance >= weak) | (alike >= ALIKE)) & (ratio <= ambiguous) & jnp.all(jnp.isfinite(std))
        return more, jnp.where(jnp.isfinite(std), std, 0.0), there

    rows, columns = (n - n // 2 for n in a.shape)
    corners = jnp.asarray([(0, 0), (0, columns), (rows, 0), (rows, columns)])
    more, std, there = jax.lax.map(quarter, corners)
    more, std = more.astype(dtype), std.astype(dtype)
    share = there.astype(dtype) / jnp.maximum(jnp.sum(there), 1)
    mean = share @ more
    about = more - mean[None]
    freedom = jnp.maximum(jnp.sum(there), 2) / jnp.maximum(jnp.sum(there) - 1, 1)
    square = freedom * (share @ about**2)
    apart = jnp.maximum(square - TILE_NOISE**2 * (share @ std**2), 0.0)
    off = jnp.maximum(mean**2 - TILE_NOISE**2 * (share**2 @ std**2), 0.0)
    return jnp.sqrt(square), jnp.sqrt(jnp.maximum(apart, off))
