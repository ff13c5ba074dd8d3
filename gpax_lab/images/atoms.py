"""Atoms in an image: where they are, and the pieces of image around them."""

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from gpax_lab.images.features import Peaks, blobs, peaks
from gpax_lab.images.patches import patches
from gpax_lab.inputs import numbers


def find_atoms(
    image: ArrayLike,
    sigma: float,
    capacity: int = 2048,
    contrast: float = 0.2,
    distance: int = 0,
    threshold: float | None = None,
) -> Peaks:
    """Bright blobs of one width, highest first, to a fraction of a pixel.

    The place is the top of a parabola through the response `features.blobs`. At the atom's own width it comes within a
    quarter of the best that noise allows; a wider sigma sees the neighbours, and is drawn towards an uneven side.

    Args:
        image: (h, w), atoms bright.
        sigma: of an atom's Gaussian, pixels: about a fifth of the spacing of its neighbours.
        capacity: most atoms.
        contrast: an atom's response is at least this share of the 95th percentile of all peaks' responses: right where
            atoms fill the image, too low where a few lie in noise, which has peaks everywhere.
        distance: an atom is the highest within this many pixels along either axis; 0 for sigma, rounded.
        threshold: the least response itself, in place of a contrast, where atoms are few. A Gaussian atom of height a
            and of this sigma responds with a/2.

    Returns:
        `Peaks`; `positions[found]` are those that were found.

    Raises:
        ValueError: no image, sigma that is not positive, or contrast outside [0, 1].

    Example:
        >>> rows, columns = np.mgrid[:32, :32]
        >>> image = np.exp(-((rows - 11.3) ** 2 + (columns - 20.6) ** 2) / 18)
        >>> [round(float(x), 1) for x in find_atoms(image, 3.0, 4).positions[0]]
        [11.3, 20.6]
    """
    if not 0 <= contrast <= 1:
        raise ValueError(f"contrast is a share between 0 and 1; got {contrast}.")
    response = blobs(image, sigma)
    reach = distance or max(round(sigma), 1)
    if threshold is not None:
        return peaks(response, min(capacity, response.size), reach, threshold)
    every = peaks(response, min(capacity, response.size), reach, 0.0)
    heights = np.asarray(every.heights)[np.asarray(every.found)]
    least = contrast * float(np.percentile(heights, 95)) if heights.size else 0.0
    return peaks(response, min(capacity, response.size), reach, least)


def around_atoms(image: ArrayLike, positions: ArrayLike, size: int) -> tuple[Array, np.ndarray]:
    """Pieces of image around those atoms around which a whole piece lies inside.

    Args:
        image: (h, w).
        positions: (n, 2) row and column in pixels; those that are not finite are left out.
        size: pixels along an edge of a piece.

    Returns:
        (m, size, size) pieces, centred on the atoms to a fraction of a pixel, and (m,) which atoms they belong to.

    Raises:
        ValueError: no atom has a whole piece around it.
    """
    places = numbers(positions, "positions", missing=True)
    half = 0.5 * (size - 1)
    low, high = half, np.array(np.shape(image)[:2]) - 1 - half
    inside = np.flatnonzero(
        np.isfinite(places).all(axis=1) & (places >= low).all(axis=1) & (places <= high).all(axis=1)
    )
    if not inside.size:
        raise ValueError(
            f"none of {len(places)} atoms has a piece of {size} pixels inside the image: take smaller ones."
        )
    return patches(image, jnp.asarray(places[inside]), size), inside
