"""Maps of corners, walls and blobs, and the positions of their peaks at a fixed capacity."""

from __future__ import annotations

import functools
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.typing import ArrayLike

from gpax_lab.core._inputs import floating, native, traced
from gpax_lab.core._types import Bool, Float, Int


class Peaks(NamedTuple):
    """Local maxima, highest first; a slot beyond the last one holds NaN and `found` False there.

    Attributes:
        positions: (capacity, 2) row and column in pixels, below a pixel by a parabola.
        heights: (capacity,).
        found: (capacity,) bool.
        total: () maxima above the threshold in the whole map; more than the capacity means that some were left out.
    """

    positions: Float[Array, "capacity 2"]
    heights: Float[Array, " capacity"]
    found: Bool[Array, " capacity"]
    total: Int[Array, ""]


class _Kernel(NamedTuple):
    """Weights (reach + 1,) at 0, 1, ... pixels ahead, and the sign () of those behind: 1, or -1 for an odd kernel."""

    weights: ArrayLike
    sign: ArrayLike


BLOCK = 16
"""Pairs of shifts that are added in one expression; a wider kernel is a loop over blocks, so that its program stays
small and its sums stay in registers (one expression of 81 taps takes three times as long as six blocks of 16)."""


def smooth(image: ArrayLike, sigma: float, order: tuple[int, int] = (0, 0)) -> Float[Array, "h w"]:
    """Gaussian smoothing, or a derivative of it: order (1, 0) is the slope along the rows' index, (2, 0) its change.

    Args:
        image: (h, w), finite.
        sigma: pixels, cut at 4 sigma (static). Beyond the border lies the mirror image.
        order: derivative along each axis, 0 to 2 (static).

    Returns:
        (h, w).

    Raises:
        ValueError: no image, sigma <= 0 or an order above 2.
    """
    values = _image(image)
    if not set(order) <= {0, 1, 2}:
        raise ValueError(f"orders are 0, 1 or 2; got {order}.")
    kernels = _gaussian(sigma)
    return _smooth(values, kernels[order[0]], kernels[order[1]])


def _gaussian(sigma: float) -> tuple[_Kernel, _Kernel, _Kernel]:
    """A Gaussian, its first and its second derivative."""
    if sigma <= 0:
        raise ValueError(f"sigma must be above 0; got {sigma}.")
    reach = int(np.ceil(4.0 * sigma))
    t = np.arange(-reach, reach + 1, dtype=float)
    g = np.exp(-0.5 * (t / sigma) ** 2)
    g /= g.sum()
    # Cut and sampled kernels are put right, so that 1, t and t^2 have the derivatives they should.
    with np.errstate(invalid="ignore", divide="ignore"):  # far below a pixel there are no derivatives
        slope = t * g / (t**2 * g).sum()
        change = (t**2 - (t**2 * g).sum()) * g
        change *= 2.0 / (t**2 * change).sum()
    return _Kernel(g[reach:], 1.0), _Kernel(slope[reach:], -1.0), _Kernel(change[reach:], 1.0)


@jax.jit
def _smooth(image: Array, down: _Kernel, across: _Kernel) -> Array:
    return _along(_along(image, down, 0), across, 1)


def _along(image: Array, kernel: _Kernel, axis: int) -> Array:
    """Correlation along an axis with a kernel given from its middle on, as a sum of shifted images.

    XLA's own convolution in float32 takes 300 times as long on a CPU (256 x 256, 17 taps); in float64 twice.
    """
    wide = jnp.promote_types(image.dtype, jnp.float32)
    weights, sign = (jnp.asarray(leaf, wide) for leaf in kernel)
    reach, length = weights.size - 1, image.shape[axis]
    blocks = -(-reach // BLOCK)
    width = reach if blocks == 1 else BLOCK
    padded = _pad(image.astype(wide), reach, axis, "symmetric")
    whole = weights[0] * image.astype(wide)

    def add(total: Array, behind: Array, ahead: Array, weights: Array) -> Array:
        for k in range(width):
            left = lax.slice_in_dim(behind, width - 1 - k, width - 1 - k + length, axis=axis)
            right = lax.slice_in_dim(ahead, k, k + length, axis=axis)
            total = total + weights[k] * (right + sign * left)
        return total

    if blocks == 1:
        behind = lax.slice_in_dim(padded, 0, reach + length - 1, axis=axis)
        ahead = lax.slice_in_dim(padded, reach + 1, None, axis=axis)
        return add(whole, behind, ahead, weights[1:]).astype(image.dtype)
    spare = blocks * BLOCK - reach
    padded = _pad(padded, spare, axis, "constant")
    weights = jnp.pad(weights[1:], (0, spare)).reshape(blocks, BLOCK)
    middle = blocks * BLOCK

    def body(block: Array, total: Array) -> Array:
        first = block * BLOCK
        behind = lax.dynamic_slice_in_dim(padded, middle - first - BLOCK, BLOCK + length - 1, axis)
        ahead = lax.dynamic_slice_in_dim(padded, middle + first + 1, BLOCK + length - 1, axis)
        return add(total, behind, ahead, weights[block])

    return lax.fori_loop(0, blocks, body, whole).astype(image.dtype)


def _pad(image: Array, reach: int, axis: int, mode: str, **options: float) -> Array:
    return jnp.pad(image, [(reach, reach) if a == axis else (0, 0) for a in range(image.ndim)], mode, **options)


def corners(
    image: ArrayLike, sigma: float = 2.0, scale: float = 1.0, kappa: float | None = None
) -> Float[Array, "h w"]:
    """Corner response of the structure tensor T = smooth(grad grad^T): its smaller eigenvalue, or det T - kappa tr^2 T.

    Args:
        image: (h, w).
        sigma: of the neighbourhood, pixels (static).
        scale: of the derivatives, pixels (static).
        kappa: None for the smaller eigenvalue, 0.04 to 0.06 for the classical response.

    Returns:
        (h, w), large at corners, near 0 on edges and plains.

    Raises:
        ValueError: no image, or a sigma or scale that is not positive.

    Source: Harris, Stephens, Proc. Alvey Vision Conf. (1988) 147; Shi, Tomasi, Proc. IEEE CVPR (1994) 593.
    """
    values, (flat, slope, _), around = _image(image), _gaussian(scale), _gaussian(sigma)[0]
    return _corners(values, flat, slope, around, None if kappa is None else jnp.asarray(kappa, values.dtype))


@jax.jit
def _corners(image: Array, flat: _Kernel, slope: _Kernel, around: _Kernel, kappa: Array | None) -> Array:
    down, right = _smooth(image, slope, flat), _smooth(image, flat, slope)
    rr, cc, rc = (_smooth(a, around, around) for a in (down**2, right**2, down * right))
    if kappa is not None:
        return rr * cc - rc**2 - kappa * (rr + cc) ** 2
    return 0.5 * (rr + cc) - jnp.sqrt(0.25 * (rr - cc) ** 2 + rc**2)


class Walls(NamedTuple):
    """Maps (h, w) of `walls`: is a wall here (bool), how steep (contrast per pixel), how curved (1/pixel)."""

    wall: Bool[Array, "h w"]
    steepness: Float[Array, "h w"]
    curvature: Float[Array, "h w"]


def walls(contrast: ArrayLike, sigma: float = 1.5, min_steepness: ArrayLike = 0.0) -> Walls:
    """Domain walls as zero crossings of the smoothed contrast, with the curvature of its level lines.

    kappa = (u_rr u_c^2 - 2 u_r u_c u_rc + u_cc u_r^2) / |grad u|^3: along a circle -1/radius where the inside is high.

    Args:
        contrast: (h, w), of opposite sign in the two domains (amplitude x cos(phase), or a phase less its middle).
        sigma: of the smoothing, pixels (static).
        min_steepness: steepness below which a crossing is noise, contrast per pixel.

    Returns:
        `Walls`; curvature is 0 where the contrast is flat.

    Raises:
        ValueError: no image, or sigma that is not positive.
    """
    values = _image(contrast)
    return _walls(values, _gaussian(sigma), jnp.asarray(min_steepness, values.dtype))


@jax.jit
def _walls(contrast: Array, kernels: tuple[_Kernel, _Kernel, _Kernel], min_steepness: Array) -> Walls:
    flat, slope, change = (_along(contrast, kernel, 0) for kernel in kernels)
    u, c, cc = (_along(flat, kernel, 1) for kernel in kernels)
    r, rc = (_along(slope, kernel, 1) for kernel in kernels[:2])
    rr = _along(change, kernels[0], 1)
    steep = jnp.sqrt(r**2 + c**2)
    bend = rr * c**2 - 2.0 * r * c * rc + cc * r**2
    plain = steep <= 1e-6 * jnp.max(steep)
    curvature = jnp.where(plain, 0.0, bend / jnp.where(plain, 1.0, steep) ** 3)
    up = u > 0
    below = jnp.pad(up[1:] != up[:-1], ((0, 1), (0, 0)))
    beside = jnp.pad(up[:, 1:] != up[:, :-1], ((0, 0), (0, 1)))
    return Walls((below | beside) & (steep > min_steepness), steep, curvature)


def blobs(image: ArrayLike, sigma: float) -> Float[Array, "h w"]:
    """Scale-normalised negative Laplacian of Gaussian, -sigma^2 (u_rr + u_cc): high on blobs of radius sqrt(2) sigma.

    Args:
        image: (h, w).
        sigma: pixels (static).

    Returns:
        (h, w), unit of the image.

    Raises:
        ValueError: no image, or sigma that is not positive.

    Source: Lindeberg, Int. J. Comput. Vis. 30, 79 (1998).
    """
    values = _image(image)
    return _blobs(values, _gaussian(sigma), jnp.asarray(sigma, values.dtype))


@jax.jit
def _blobs(image: Array, kernels: tuple[_Kernel, _Kernel, _Kernel], sigma: Array) -> Array:
    flat, _, change = kernels
    return -(sigma**2) * (_smooth(image, change, flat) + _smooth(image, flat, change))


def blob_scale(image: ArrayLike, sigmas: tuple[float, ...]) -> tuple[Float[Array, "h w"], Float[Array, "h w"]]:
    """The strongest blob response over several sigmas, (h, w), and the sigma (h, w) that gives it.

    Args:
        image: (h, w).
        sigmas: pixels, one or more (static).

    Raises:
        ValueError: no image, no sigma, or one that is not positive.
    """
    values = _image(image)
    if not len(sigmas):
        raise ValueError("blob_scale needs one sigma or more; got none.")
    return _blob_scale(values, [_gaussian(s) for s in sigmas], jnp.asarray(sigmas, values.dtype))


@jax.jit
def _blob_scale(image: Array, kernels: list[tuple[_Kernel, _Kernel, _Kernel]], sigmas: Array) -> tuple[Array, Array]:
    stack = jnp.stack([_blobs(image, k, sigmas[i]) for i, k in enumerate(kernels)])
    # By its index: the gradient of a maximum compares with it what a compiler may compute again, and round otherwise.
    best = jnp.argmax(stack, axis=0)
    return jnp.take_along_axis(stack, best[None], axis=0)[0], sigmas[best]


def peaks(response: ArrayLike, capacity: int, distance: int = 1, threshold: ArrayLike = 0.0, border: int = 1) -> Peaks:
    """Local maxima of a map, highest first, in a fixed number of slots.

    Args:
        response: (h, w).
        capacity: slots (static).
        distance: a maximum is the highest within this many pixels along either axis (static).
        threshold: it lies above this.
        border: pixels along the border where none is sought (static).

    Returns:
        `Peaks`.

    Raises:
        ValueError: no image, a capacity or distance below 1.
    """
    values = _image(response)
    if not 1 <= capacity <= values.size or distance < 1 or border < 0:
        raise ValueError(
            f"capacity 1 to {values.size}, distance 1 or more; got {capacity}, {distance}, border {border}."
        )
    return _peaks(values, jnp.asarray(threshold, values.dtype), capacity, distance, max(border, 1))


@partial(jax.jit, static_argnames=("capacity", "distance", "border"))
def _peaks(values: Array, threshold: Array, capacity: int, distance: int, border: int) -> Peaks:
    still = lax.stop_gradient(values)

    def only_peaks() -> Array:
        columns = _highest(still, distance, 0)
        # The pixel itself is left out: a compiler may compute it again, and round it otherwise, before it is compared.
        high = jnp.maximum(_highest(still, distance, 0, beside=True), _highest(columns, distance, 1, beside=True))
        inside = [(jnp.arange(n) >= border) & (jnp.arange(n) < n - border) for n in values.shape]
        peak = (still >= high) & (still > threshold) & inside[0][:, None] & inside[1][None, :]
        return jnp.where(peak, still, -jnp.inf)

    # A branch is compiled on its own: without it XLA computes the maxima again for everything that is read off them.
    marked = lax.cond(jnp.any(still > threshold), only_peaks, lambda: jnp.full_like(still, -jnp.inf)).ravel()
    index = _largest(marked, capacity)
    found = jnp.isfinite(marked[index])
    order = jnp.where(found, values.ravel()[index], -jnp.inf)
    r, c = jnp.divmod(jnp.where(found, index, values.shape[1] + 1), values.shape[1])
    # One axis after the other: the cross term of the parabola moves the top by less than noise does.
    tops = [i + _top(values[r - u, c - v], values[r, c], values[r + u, c + v]) for i, u, v in ((r, 1, 0), (c, 0, 1))]
    positions = jnp.where(found[:, None], jnp.stack(tops, axis=-1), jnp.nan)
    return Peaks(positions, jnp.where(found, order, jnp.nan), found, jnp.sum(marked > -jnp.inf))


def _highest(values: Array, distance: int, axis: int, beside: bool = False) -> Array:
    """The highest within a distance along an axis, with or without the pixel: of windows of 1, 2, 4, ... pixels."""
    length, window, size = values.shape[axis], 1, distance if beside else 2 * distance + 1
    high = _pad(values, distance, axis, "constant", constant_values=-jnp.inf)
    while 2 * window <= size:
        ahead = lax.slice_in_dim(high, window, None, axis=axis)
        high, window = jnp.maximum(lax.slice_in_dim(high, 0, ahead.shape[axis], axis=axis), ahead), 2 * window
    starts = {0, size - window} | ({distance + 1, distance + 1 + size - window} if beside else set())
    return functools.reduce(jnp.maximum, [lax.slice_in_dim(high, at, at + length, axis=axis) for at in sorted(starts)])


def _largest(values: Array, count: int) -> Array:
    """(count,) indices of the largest of values (n,), largest first, of equal ones the first; -inf come last.

    XLA has a fast search in float32 alone; of float64 it sorts all. So the few are found in float32, and sorted; where
    rounding leaves open which ones they are, all are sorted.
    """
    values = jnp.where(values == 0, 0.0, values)  # -0.0 is equal to 0.0, which a search by bits does not know
    if values.dtype != jnp.float64:
        return lax.top_k(values, count)[1]
    limits = jnp.finfo(jnp.float32)
    clipped = jnp.clip(values, limits.min, limits.max).astype(jnp.float32)
    coarse = jnp.where(values == -jnp.inf, -jnp.inf, clipped)
    rough, index = lax.top_k(coarse, count)
    last = jnp.min(rough)  # rough[-1] would be another slice of the sorted values, and XLA would no longer see a search
    clear = jnp.isneginf(last) | (jnp.sum(coarse >= last) == count)

    def sort() -> Array:
        return lax.sort((-values[index], index), num_keys=2)[1]

    return lax.cond(clear, sort, lambda: lax.top_k(values, count)[1])


def _top(left: Array, middle: Array, right: Array) -> Array:
    bend = left - 2.0 * middle + right
    move = jnp.where(bend < 0, 0.5 * (left - right) / jnp.where(bend < 0, bend, 1.0), 0.0)
    return jnp.clip(move, -0.5, 0.5)


def _image(image: ArrayLike) -> Array:
    array = jnp.asarray(image if traced(image) else native(image, "image"))
    values = array if array.dtype == jnp.float16 else floating(array, "image")  # sums are made in single precision
    if values.ndim != 2 or min(values.shape) < 3:
        raise ValueError(f"an image is (h, w), 3 pixels or more along each axis; got {values.shape}.")
    return values
