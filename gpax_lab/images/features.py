"""Maps of corners, walls and blobs, and the places of their peaks at a fixed capacity."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.typing import ArrayLike

from gpax_lab.inputs import floating


class Peaks(NamedTuple):
    """Local maxima, highest first; a slot beyond the last one holds NaN and `found` False there.

    Attributes:
        positions: (capacity, 2) row and column in pixels, below a pixel by a parabola.
        heights: (capacity,).
        found: (capacity,) bool.
        total: () maxima above the threshold in the whole map; more than the capacity means that some were left out.
    """

    positions: Array
    heights: Array
    found: Array
    total: Array


def smooth(image: ArrayLike, sigma: float, order: tuple[int, int] = (0, 0)) -> Array:
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
    if sigma <= 0 or not set(order) <= {0, 1, 2}:
        raise ValueError(f"sigma must be above 0 and orders 0, 1 or 2; got {sigma} and {order}.")
    return _along(_along(values, sigma, order[0]).T, sigma, order[1]).T


def _along(image: Array, sigma: float, order: int) -> Array:
    """Derivative of a Gaussian along axis 0."""
    reach = int(np.ceil(4.0 * sigma))
    t = np.arange(-reach, reach + 1, dtype=float)
    g = np.exp(-0.5 * (t / sigma) ** 2)
    g /= g.sum()
    # Cut and sampled kernels are put right, so that 1, t and t^2 have the derivatives they should.
    if order == 1:
        g = -t * g / (t**2 * g).sum()
    if order == 2:
        g = (t**2 - (t**2 * g).sum()) * g
        g *= 2.0 / (t**2 * g).sum()
    padded = jnp.pad(image, ((reach, reach), (0, 0)), mode="symmetric")
    kernel = jnp.asarray(g[::-1].copy(), image.dtype)
    out = lax.conv_general_dilated(padded[None, None], kernel[None, None, :, None], (1, 1), "VALID")
    return out[0, 0]


def corners(image: ArrayLike, sigma: float = 2.0, scale: float = 1.0, kappa: float | None = None) -> Array:
    """Corner response of the structure tensor T = smooth(grad grad^T): its smaller eigenvalue, or det T - kappa tr^2 T.

    Args:
        image: (h, w).
        sigma: of the neighbourhood, pixels.
        scale: of the derivatives, pixels.
        kappa: None for the smaller eigenvalue, 0.04 to 0.06 for the classical response.

    Returns:
        (h, w), large at corners, near 0 on edges and plains.

    Source: Harris, Stephens, Proc. Alvey Vision Conf. (1988) 147; Shi, Tomasi, Proc. IEEE CVPR (1994) 593.
    """
    down, right = smooth(image, scale, (1, 0)), smooth(image, scale, (0, 1))
    rr, cc, rc = smooth(down**2, sigma), smooth(right**2, sigma), smooth(down * right, sigma)
    if kappa is not None:
        return rr * cc - rc**2 - kappa * (rr + cc) ** 2
    return 0.5 * (rr + cc) - jnp.sqrt(0.25 * (rr - cc) ** 2 + rc**2)


class Walls(NamedTuple):
    """Maps (h, w) of `walls`: is a wall here (bool), how steep (contrast per pixel), how curved (1/pixel)."""

    wall: Array
    steepness: Array
    curvature: Array


def walls(contrast: ArrayLike, sigma: float = 1.5, least: ArrayLike = 0.0) -> Walls:
    """Domain walls as zero crossings of the smoothed contrast, with the curvature of its level lines.

    kappa = (u_rr u_c^2 - 2 u_r u_c u_rc + u_cc u_r^2) / |grad u|^3: along a circle -1/radius where the inside is high.

    Args:
        contrast: (h, w), of opposite sign in the two domains (amplitude x cos(phase), or a phase less its middle).
        sigma: of the smoothing, pixels.
        least: steepness below which a crossing is noise, contrast per pixel.

    Returns:
        `Walls`; curvature is 0 where the contrast is flat.
    """
    u, r, c = smooth(contrast, sigma), smooth(contrast, sigma, (1, 0)), smooth(contrast, sigma, (0, 1))
    rr, cc, rc = (smooth(contrast, sigma, order) for order in ((2, 0), (0, 2), (1, 1)))
    steep = jnp.sqrt(r**2 + c**2)
    bend = rr * c**2 - 2.0 * r * c * rc + cc * r**2
    flat = steep <= 1e-6 * jnp.max(steep)
    curvature = jnp.where(flat, 0.0, bend / jnp.where(flat, 1.0, steep) ** 3)
    up = u > 0
    below = jnp.zeros_like(up).at[:-1].set(up[1:] != up[:-1])
    beside = jnp.zeros_like(up).at[:, :-1].set(up[:, 1:] != up[:, :-1])
    return Walls((below | beside) & (steep > least), steep, curvature)


def blobs(image: ArrayLike, sigma: float) -> Array:
    """Scale-normalised negative Laplacian of Gaussian, -sigma^2 (u_rr + u_cc): high on blobs of radius sqrt(2) sigma.

    Source: Lindeberg, Int. J. Comput. Vis. 30, 79 (1998).
    """
    return -(sigma**2) * (smooth(image, sigma, (2, 0)) + smooth(image, sigma, (0, 2)))


def blob_scale(image: ArrayLike, sigmas: tuple[float, ...]) -> tuple[Array, Array]:
    """The strongest blob response over several sigmas, (h, w), and the sigma (h, w) that gives it."""
    stack = jnp.stack([blobs(image, s) for s in sigmas])
    return jnp.max(stack, axis=0), jnp.asarray(sigmas, stack.dtype)[jnp.argmax(stack, axis=0)]


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
    size = 2 * distance + 1
    high = lax.reduce_window(values, -jnp.inf, lax.max, (size, size), (1, 1), "SAME")
    rows, columns = (jnp.arange(n) for n in values.shape)
    inside = [(i >= border) & (i < n - border) for i, n in zip((rows, columns), values.shape, strict=True)]
    peak = (values >= high) & (values > threshold) & inside[0][:, None] & inside[1][None, :]
    order, index = lax.top_k(jnp.where(peak, values, -jnp.inf).ravel(), capacity)
    found = jnp.isfinite(order)
    r, c = jnp.divmod(jnp.where(found, index, values.shape[1] + 1), values.shape[1])
    # One axis after the other: the cross term of the parabola moves the top by less than noise does.
    places = [i + _top(values[r - u, c - v], values[r, c], values[r + u, c + v]) for i, u, v in ((r, 1, 0), (c, 0, 1))]
    positions = jnp.where(found[:, None], jnp.stack(places, axis=-1), jnp.nan)
    return Peaks(positions, jnp.where(found, order, jnp.nan), found, jnp.sum(peak))


def _top(left: Array, middle: Array, right: Array) -> Array:
    bend = left - 2.0 * middle + right
    move = jnp.where(bend < 0, 0.5 * (left - right) / jnp.where(bend < 0, bend, 1.0), 0.0)
    return jnp.clip(move, -0.5, 0.5)


def _image(image: ArrayLike) -> Array:
    values = floating(image)
    if values.ndim != 2 or min(values.shape) < 3:
        raise ValueError(f"an image is (h, w), 3 pixels or more along each axis; got {values.shape}.")
    return values
