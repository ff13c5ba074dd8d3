"""Unit cells of a perovskite as a microscope sees them along the axis: four A columns, a B column pushed off centre."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from gpax_lab.core._poses import Pose, grid, to_object
from gpax_lab.core._types import Bool, Float, Int

CORNERS = np.array([(-0.7, -0.7), (-0.7, 0.7), (0.7, -0.7), (0.7, 0.7)])
"""A columns of a cell, row and column in half widths of its image."""


class Cells(NamedTuple):
    """Images of cells and what made them.

    Attributes:
        images: (n, size, size).
        classes: (n,) index of the variant of polarization.
        displacement: (n, 2) of the B column from the centre, row and column in half widths, in the cell's own frame.
        angle: (n,) rad, by which the whole cell is rotated.
        brightness: (n, 2) of the A and the B columns.
    """

    images: Float[Array, "n size size"]
    classes: Int[Array, " n"]
    displacement: Float[Array, "n 2"]
    angle: Float[Array, " n"]
    brightness: Float[Array, " n"]


def unit_cells(
    key: Array,
    count: int,
    size: int = 24,
    displacement: float = 0.15,
    variants: int = 4,
    angle: float = 0.0,
    jitter: float = 0.05,
    noise: float = 0.05,
    width: float = 0.17,
    dose: float = 0.0,
) -> Cells:
    """Cells whose B column is pushed along one of a few directions, the variants of polarization.

    Args:
        key: random key.
        count: cells.
        size: pixels along an edge.
        displacement: of the B column, half widths of the image.
        variants: directions at equal angles, the first one towards higher rows.
        angle: standard deviation of the rotation of the whole cell, rad.
        jitter: relative standard deviation of a column's brightness, and of the displacement's length.
        noise: standard deviation of a pixel; an A column is 1 high.
        width: of a column's Gaussian, half widths.
        dose: electrons counted in a pixel of height 1, which then scatter as Poisson's; 0 counts none.

    Raises:
        ValueError: counts below 1 or widths below 0.

    Example:
        >>> unit_cells(jax.random.key(0), 3).images.shape
        (3, 24, 24)
    """
    if min(count, size, variants) < 1 or min(displacement, angle, jitter, noise, dose) < 0 or not width > 0:
        raise ValueError("count, size and variants are 1 or more, width positive, and nothing is negative.")
    keys = jax.random.split(key, 5)
    label = jax.random.randint(keys[0], (count,), 0, variants)
    rotation = angle * jax.random.normal(keys[1], (count,))
    direction = 2 * math.pi * label / variants
    length = displacement * (1 + jitter * jax.random.normal(keys[2], (count,)))
    pushed = length[:, None] * jnp.stack([jnp.cos(direction), jnp.sin(direction)], axis=-1)
    bright = jnp.array([[1.0, 0.6]]) * (1 + jitter * jax.random.normal(keys[3], (count, 2)))
    v = to_object(jnp.asarray(grid((size, size)), rotation.dtype), Pose(rotation))
    corners = sum(_column(v, jnp.asarray(c, v.dtype)[None], width) for c in CORNERS)
    images = bright[:, :1] * corners + bright[:, 1:] * _column(v, pushed, width)
    images = _seen(keys[4], images, dose, noise)
    return Cells(images.reshape(count, size, size), label, pushed, rotation, bright)


def _seen(key: Array, expected: Array, dose: float, noise: float) -> Array:
    """What a detector makes of the expected image: electrons are counted, then the readout adds its noise."""
    if dose > 0:
        counts = jax.random.poisson(jax.random.fold_in(key, 1), dose * jnp.maximum(expected, 0.0))
        expected = counts.astype(expected.dtype) / dose
    return expected + noise * jax.random.normal(key, expected.shape)


def _column(points: Array, at: Array, width: float) -> Array:
    """(n, pixels) a Gaussian of height 1 at (n or 1, 2)."""
    return jnp.exp(-0.5 * jnp.sum((points - at[:, None]) ** 2, axis=-1) / width**2)


class CellImage(NamedTuple):
    """What `film_of_cells` returns, and describes."""

    image: Float[Array, "h w"]
    a_columns: Float[np.ndarray, "k 2"]
    b_columns: Float[np.ndarray, "m 2"]
    displacement: Float[np.ndarray, "m 2"]
    up: Bool[np.ndarray, " m"]


def film_of_cells(
    key: Array,
    cells: tuple[int, int] = (12, 16),
    spacing: float = 16.0,
    displacement: float = 1.6,
    slope: float = 0.4,
    noise: float = 0.05,
    width: float = 0.12,
    dose: float = 0.0,
) -> CellImage:
    """A film whose B columns are pushed down on one side of an inclined domain wall and up on the other.

    The displacement goes through zero as tanh(distance/one cell), the Landau-Ginzburg kink of a wall (Tagantsev, Cross
    and Fousek, Domains in Ferroic Crystals and Thin Films, Springer 2010).

    Args:
        key: random key, of the noise only: the geometry is not random.
        cells: rows and columns of cells.
        spacing: of cells, pixels.
        displacement: far from the wall, pixels.
        slope: of the wall, columns per row.
        noise: standard deviation of a pixel; an A column is 1 high.
        width: of a column's Gaussian, cells.
        dose: electrons counted in a pixel of height 1, which then scatter as Poisson's; 0 counts none.

    Returns:
        image (h, w); a_columns (k, 2) and b_columns (m, 2), row and column in pixels; displacement (m, 2) of every B
        column, pixels; up (m,) bool, whether the cell belongs to the first domain.

    Raises:
        ValueError: no cell, or a spacing, width or noise that no image has.

    Example:
        >>> film = film_of_cells(jax.random.key(0), (2, 3), 10.0)
        >>> film.image.shape, film.a_columns.shape, film.b_columns.shape
        ((30, 40), (12, 2), (6, 2))
    """
    if min(cells) < 1 or not min(spacing, width) > 0 or min(noise, dose) < 0:
        raise ValueError("cells are 1 or more, spacing and width positive, noise and dose not negative.")
    a = spacing * (np.stack(np.meshgrid(*[np.arange(n + 1) for n in cells], indexing="ij"), -1).reshape(-1, 2) + 0.5)
    middle = np.stack(np.meshgrid(*[np.arange(n) for n in cells], indexing="ij"), -1).reshape(-1, 2) + 0.5
    away = (middle[:, 1] - 0.5 * cells[1] - slope * (middle[:, 0] - 0.5 * cells[0])) / math.hypot(1.0, slope)
    moved = np.stack([displacement * np.tanh(away), np.zeros(len(away))], axis=-1)
    b = spacing * (middle + 0.5) + moved
    shape = tuple(int(spacing * (n + 1)) for n in cells)
    image = _columns(shape, a, 1.0, width * spacing) + _columns(shape, b, 0.6, width * spacing)
    return CellImage(_seen(key, image, dose, noise), a, b, moved, away > 0)


def _columns(shape: tuple[int, ...], positions: np.ndarray, height: float, sigma: float) -> Array:
    """Gaussians of one height at positions (k, 2), as one product of rows and columns."""
    rows, columns = (
        jnp.exp(-0.5 * ((jnp.arange(n)[None] - jnp.asarray(positions[:, axis])[:, None]) / sigma) ** 2)
        for axis, n in enumerate(shape)
    )
    return height * rows.T @ columns
