"""Square patches of an image around positions that need not be pixels."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.ndimage import map_coordinates
from jax.typing import ArrayLike

from gpax_lab.core._inputs import floating, native, traced
from gpax_lab.core._interning import interned
from gpax_lab.core._types import Float, Num

EDGES = {"mirror": "mirror", "nearest": "nearest", "wrap": "wrap"}
"""What lies beyond the border of an image: its mirror image, its outermost pixels, or its other side."""


def patches(image: ArrayLike, positions: ArrayLike, size: int, edge: str = "mirror") -> Float[Array, " n *patch"]:
    """Patches of `size` x `size` pixels centred on positions, by bilinear interpolation.

    A patch at p holds the image at p + (i - (size - 1)/2, j - (size - 1)/2), i, j = 0 .. size - 1: with an odd size and
    whole p these are pixels as they are, with an even size p is the corner between the four pixels in the middle.

    Args:
        image: (h, w), or (h, w, channels) for several signals of one scan.
        positions: (n, 2) row and column in pixels, the centre of the first pixel being (0, 0).
        size: pixels along an edge of a patch.
        edge: what lies beyond the border: "mirror", "nearest" or "wrap" (periodic samples).

    Returns:
        (n, size, size) or (n, size, size, channels).

    Raises:
        ValueError: no image, no positions, a size that does not fit, an unknown edge, or pixels that are not finite.

    Example:
        >>> image = jnp.arange(12.0).reshape(3, 4)
        >>> patches(image, jnp.array([[1.0, 1.5]]), 1)[0].tolist()
        [[5.5]]
    """
    return around(image, size, edge)(floating(positions, "positions", missing=False).astype(jnp.result_type(float)))


@interned
def around(image: ArrayLike, size: int, edge: str = "mirror") -> Callable[[Array], Array]:
    """The function from positions (..., 2) to the patches (..., size, size) around them; see `patches`.

    This is what a deep kernel takes as its `inputs`: measured and candidate points are positions, and structure is
    looked up there.

    Args:
        image: (h, w), or (h, w, channels).
        size, edge: of `patches`.

    Returns:
        Function (..., 2) -> (..., size, size[, channels]).
    """
    pixels: Any = image if traced(image) else np.array(native(image, "image"))  # its owner may write into it
    if pixels.ndim not in (2, 3) or not 1 <= size <= min(pixels.shape[:2]):
        raise ValueError(f"an image (h, w) or (h, w, channels) of {size} x {size} pixels or more; got {pixels.shape}.")
    if edge not in EDGES:
        raise ValueError(f"edge must be one of {sorted(EDGES)}; got {edge!r}.")
    if not np.isfinite(pixels).all():
        raise ValueError("the image holds pixels that are not finite: fill them in first, e.g. by a median.")

    def patch_at(position: Array) -> Array:
        position = floating(position, "positions", missing=False)
        if position.ndim == 0 or position.shape[-1] != 2:
            raise ValueError(f"positions are (..., 2), row and column in pixels; got {position.shape}.")
        return _cut(pixels, position, size, EDGES[edge])

    return patch_at


@partial(jax.jit, static_argnames=("size", "mode"))
def _cut(pixels: Array, position: Array, size: int, mode: str) -> Array:
    offset = np.arange(size) - 0.5 * (size - 1)
    grid = [
        position[..., axis, None, None]
        + jnp.asarray(side.reshape((1,) * (position.ndim - 1) + side.shape), position.dtype)
        for axis, side in enumerate(np.meshgrid(offset, offset, indexing="ij"))
    ]
    layers = [pixels] if pixels.ndim == 2 else [pixels[..., k] for k in range(pixels.shape[2])]
    found = [map_coordinates(layer.astype(position.dtype), grid, order=1, mode=mode) for layer in layers]
    return found[0] if pixels.ndim == 2 else jnp.stack(found, axis=-1)


def pixel_positions(shape: tuple[int, int], margin: int = 0) -> Num[Array, "n 2"]:
    """(n, 2) row and column of every pixel of an image of this shape, row by row, but for a margin along its border.

    Args:
        shape: (h, w) of the image, pixels.
        margin: pixels along the border that are left out.

    Returns:
        (n, 2).

    Example:
        >>> pixel_positions((2, 3)).shape
        (6, 2)
    """
    axes = [jnp.arange(margin, length - margin, dtype=jnp.result_type(float)) for length in shape]
    return jnp.stack(jnp.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2)


def normalized(image: ArrayLike) -> Float[Array, "*shape"]:
    """The image with the median 0 and the median absolute deviation of a Gaussian of unit width, channel by channel.

    A spike, which a mean and a standard deviation would follow, leaves these where they are.

    Args:
        image: (h, w), or (h, w, channels).

    Returns:
        The shape of the image, without unit.
    """
    return _normalized(floating(image, "image"))


@jax.jit
def _normalized(values: Array) -> Array:
    centre = jnp.median(values, axis=(0, 1), keepdims=True)
    scale = 1.4826 * jnp.median(jnp.abs(values - centre), axis=(0, 1), keepdims=True)
    return (values - centre) / jnp.where(scale > 0, scale, 1.0)
