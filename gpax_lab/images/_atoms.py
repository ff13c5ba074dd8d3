"""Atoms in an image: where they are, and the patches of image around them."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from gpax_lab.core._inputs import floating, numbers
from gpax_lab.images._features import Peaks, blobs, peaks, smooth
from gpax_lab.images._patches import patches

USUAL_CONTRAST = 0.2
"""Share of the 95th percentile of the atoms' responses above which an atom is, where the heights have no valley."""

VALLEY = 1.5
"""Factor between two heights, one next to the other in order, above which there is a valley between them."""

SURE = 1.5
"""Standard deviations beyond sqrt(2 ln n), where the highest of n normal numbers lies: noise does not come so high."""

ROUND, ROUND_NOISE = 0.15, 1.8
"""The least curvature of a blob along any direction, as a share of the largest one and in standard deviations of the
noise of the response (one second derivative has 0.61 of these): the ridge along an edge has hardly any."""

BLOCK, QUIETEST = 8, 0.9
"""The noise is that of the quietest nine in ten blocks of 8 x 8 pixels: a hot pixel is in none of these."""


def find_atoms(
    image: ArrayLike,
    sigma: float,
    capacity: int = 2048,
    contrast: float | None = None,
    distance: int = 0,
    threshold: float | None = None,
) -> Peaks:
    """Bright blobs of one width, highest first, to a fraction of a pixel.

    The position is the top of a parabola through the response `blobs`. At the atom's own width it comes within a
    quarter of the best that noise allows; a wider sigma sees the neighbours, and is drawn towards an uneven side.

    An atom's response is higher than that of noise comes in the whole image (of noise that is independent from pixel to
    pixel: second differences tell it), it bends down along every direction, and it lies above the valley between the
    heights, if there is one. A blank frame and a straight edge have none.

    Args:
        image: (h, w), atoms bright.
        sigma: of an atom's Gaussian, pixels: about a fifth of the spacing of its neighbours.
        capacity: most atoms.
        contrast: an atom's response is at least this share of the 95th percentile of all responses above the noise, in
            position of the valley. Without a valley the share is 0.2.
        distance: an atom is the highest within this many pixels along either axis; 0 for sigma, rounded.
        threshold: the least response itself, in place of all of these: noise that is smooth over several pixels is
            taken for atoms otherwise. A Gaussian atom of height a and of this sigma responds with a/2.

    Returns:
        `Peaks`; `positions[found]` are those that were found.

    Raises:
        ValueError: no image, one of fewer than 3 by 3 pixels, pixels that are not finite, a sigma that is not positive,
            or a contrast outside [0, 1].

    Example:
        >>> rows, columns = np.mgrid[:32, :32]
        >>> image = np.exp(-((rows - 11.3) ** 2 + (columns - 20.6) ** 2) / 18)
        >>> [round(float(x), 1) for x in find_atoms(image, 3.0, 4).positions[0]]
        [11.3, 20.6]
    """
    if contrast is not None and not 0 <= contrast <= 1:
        raise ValueError(f"contrast is a share between 0 and 1; got {contrast}.")
    pixels = np.asarray(floating(image, "image"))
    if pixels.ndim == 2 and min(pixels.shape) < 3:
        raise ValueError(f"an image has at least 3 by 3 pixels; got {pixels.shape}.")
    if pixels.size and not np.isfinite(pixels).all():
        missing = int(np.sum(~np.isfinite(pixels)))
        raise ValueError(
            f"{missing} of {pixels.size} pixels are not finite, and would hide the atoms around them: fill single ones "
            "by a median of their neighbours, and cut off what was not scanned."
        )
    largest = float(np.abs(pixels).max()) if pixels.size else 0.0
    # Blobs do not see a constant; without it rounding is that of the contrast.
    pixels = pixels - np.median(pixels).astype(pixels.dtype)
    response, narrow, wide = _bending(jnp.asarray(pixels), sigma)
    reach = distance or max(round(sigma), 1)
    count = min(capacity, response.size)
    if threshold is not None:
        return peaks(response, count, reach, threshold)
    noise, skew = _noise(pixels, sigma)
    highest = np.sqrt(2.0 * np.log(pixels.size)) + SURE
    highest += max(skew, 0.0) * (highest**2 - 1.0) / 6.0  # few counts come higher (Cornish, Fisher, 1938)
    rounding = 64.0 * float(np.finfo(pixels.dtype).eps) * largest
    least = max(highest * noise, rounding)
    slots = min(response.size, max(count, response.size // (reach + 1) ** 2 + 64))
    every = jax.tree.map(np.asarray, peaks(response, slots, reach, least))
    whole = np.where(every.found[:, None], every.positions, 0.0).round().astype(int)
    low, high = (np.asarray(bend)[whole[:, 0], whole[:, 1]] for bend in (narrow, wide))
    kept = every.found & (low > ROUND * high) & (low > ROUND_NOISE * noise)
    kept &= every.heights > _least(every.heights[kept], contrast, least)
    return _only(every, kept, count)


def _bending(image: Array, sigma: float) -> tuple[Array, Array, Array]:
    """(h, w) response, and the least and the largest of the curvatures downwards whose sum it is."""
    response = blobs(image, sigma)
    down, cross = (-(sigma**2) * smooth(image, sigma, order) for order in ((2, 0), (1, 1)))
    across = response - down
    half = jnp.hypot(0.5 * (down - across), cross)
    return response, 0.5 * response - half, 0.5 * response + half


def _noise(pixels: np.ndarray, sigma: float) -> tuple[float, float]:
    """Standard deviation and skewness of the response to what noise the pixels hold.

    The second difference along rows of that along columns hardly sees anything smooth; of noise it makes 6 times as
    much (Immerkaer, Comput. Vis. Image Underst. 64, 300 (1996)).
    """
    rows = pixels[2:] - 2.0 * pixels[1:-1] + pixels[:-2]
    rest = (rows[:, 2:] - 2.0 * rows[:, 1:-1] + rows[:, :-2]) / 6.0
    h, w = (max(n // BLOCK, 1) * min(BLOCK, n) for n in rest.shape)
    size = [min(BLOCK, n) for n in rest.shape]
    blocks = rest[:h, :w].astype(float).reshape(h // size[0], size[0], w // size[1], size[1]).swapaxes(1, 2)
    blocks = blocks.reshape(-1, size[0] * size[1])
    quiet = np.argsort((blocks**2).mean(axis=1))[: max(int(QUIETEST * len(blocks)), 1)]
    half = int(np.ceil(4.0 * sigma))
    point = np.zeros((2 * half + 3, 2 * half + 3))
    point[half + 1, half + 1] = 1.0
    weights = np.asarray(blobs(point, sigma))
    deviation = np.sqrt((blocks[quiet] ** 2).mean() * (weights**2).sum())
    # The cubes of the weights of the difference sum to 36 / 6^3.
    third = 6.0 * (blocks[quiet] ** 3).mean() * (weights**3).sum()
    return float(deviation), float(third / deviation**3) if deviation > 0 else 0.0


def _least(heights: np.ndarray, contrast: float | None, noise: float) -> float:
    """Height above which there are atoms: the lowest valley above the noise, or a share of the usual height."""
    if not heights.size:
        return 0.0
    usual = float(np.percentile(heights, 95))
    if contrast is not None:
        return contrast * usual
    usual = USUAL_CONTRAST * min(usual, 2.0 * float(np.median(heights)))  # a hot pixel is not usual
    order = np.sort(np.append(heights[heights <= usual], [noise, heights[heights > usual].min()]))
    valleys = np.flatnonzero(order[1:] > VALLEY * order[:-1])
    # What is no atom begins at the threshold and has no gap there: the first valley is above it.
    return float(np.sqrt(order[valleys[0]] * order[valleys[0] + 1])) if valleys.size else usual


def _only(every: Peaks, kept: np.ndarray, count: int) -> Peaks:
    """The kept ones, in their order, in so many slots."""
    total = int(kept.sum())
    positions, heights = np.full((count, 2), np.nan, every.positions.dtype), np.full(count, np.nan, every.heights.dtype)
    some = min(total, count)
    positions[:some], heights[:some] = every.positions[kept][:some], every.heights[kept][:some]
    return Peaks(jnp.asarray(positions), jnp.asarray(heights), jnp.arange(count) < some, jnp.asarray(total))


def around_atoms(image: ArrayLike, positions: ArrayLike, size: int) -> tuple[Array, np.ndarray]:
    """Patches around those atoms around which a whole patch lies inside the image.

    Args:
        image: (h, w).
        positions: (n, 2) row and column in pixels; those that are not finite are left out.
        size: pixels along an edge of a patch.

    Returns:
        (m, size, size) patches, centred on the atoms to a fraction of a pixel, and (m,) which atoms they belong to.

    Raises:
        ValueError: no atom has a whole patch around it.
    """
    points = numbers(positions, "positions", missing=True)
    half = 0.5 * (size - 1)
    low, high = half, np.array(np.shape(image)[:2]) - 1 - half
    inside = np.flatnonzero(
        np.isfinite(points).all(axis=1) & (points >= low).all(axis=1) & (points <= high).all(axis=1)
    )
    if not inside.size:
        raise ValueError(
            f"none of {len(points)} atoms has a patch of {size} pixels inside the image: take smaller ones."
        )
    return patches(image, jnp.asarray(points[inside]), size), inside
