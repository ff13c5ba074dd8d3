"""The highest peak of the correlation of two spectra, and how well its position is known."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from gpax_lab.images._frames import waves

QUIET = 10.0
"""A frequency counts by p / (p + 10 m), p its cross power and m the median over all: noise fills most frequencies of a
smooth frame, and whitening would make it as loud as the structure."""


def locate(f: Array, g: Array, base: Array, reach: Array, whiten: float, upsample: int) -> tuple[Array, Array, Array]:
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
    return ranked(values, top, values.size // 2)


def ranked(values: Array, top: Array, rank: int) -> Array:
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
    """The top of c near a whole pixel: (2,) position and () height."""
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


def bound(a: Array, moved: Array, weight: Array, spectrum: Array) -> tuple[Array, Array, Array]:
    """(2,) square roots of the diagonal of v (G^T G)^-1, G the slopes of the frame and v the mean squared misfit.

    G^T G comes from the slopes of one frame times those of the other: their noises are independent and drop out.
    Also () correlation of the frames; and this in standard deviations of its values at all shifts (Parseval), over
    2 sqrt(2 ln M).
    """
    tiny = jnp.finfo(a.dtype).tiny
    rows = jnp.stack([v.ravel() for z in (a, moved) for v in (z, _slope(z, 0), _slope(z, 1))])
    product = rows @ rows.T
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


def hann(shape: tuple[int, ...], dtype) -> Array:
    """(h, w) window that falls to zero at the edges of an image."""
    rows, columns = (0.5 - 0.5 * np.cos(2.0 * np.pi * (np.arange(n) + 0.5) / n) for n in shape)
    return jnp.asarray(rows, dtype)[:, None] * jnp.asarray(columns, dtype)[None, :]
