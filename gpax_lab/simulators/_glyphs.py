"""Letters that are rotated, shifted and magnified: images of which everything is known."""

import math
from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from gpax_lab.core._poses import Pose, grid, to_object
from gpax_lab.core._types import Float, Int

_TOP, _MIDDLE, _BOTTOM, _LEFT, _RIGHT = -0.62, 0.0, 0.62, -0.36, 0.36

STROKES: dict[str, list[list[tuple[float, float]]]] = {
    "F": [[(_BOTTOM, _LEFT), (_TOP, _LEFT), (_TOP, _RIGHT)], [(_MIDDLE, _LEFT), (_MIDDLE, 0.2)]],
    "L": [[(_TOP, _LEFT), (_BOTTOM, _LEFT), (_BOTTOM, _RIGHT)]],
    "P": [[(_BOTTOM, _LEFT), (_TOP, _LEFT), (_TOP, _RIGHT), (_MIDDLE, _RIGHT), (_MIDDLE, _LEFT)]],
    "R": [
        [(_BOTTOM, _LEFT), (_TOP, _LEFT), (_TOP, _RIGHT), (_MIDDLE, _RIGHT), (_MIDDLE, _LEFT)],
        [(_MIDDLE, 0.0), (_BOTTOM, _RIGHT)],
    ],
    "J": [[(_TOP, _RIGHT), (0.4, _RIGHT), (_BOTTOM, 0.1), (_BOTTOM, -0.2), (0.35, _LEFT)]],
    "G": [
        [(-0.4, _RIGHT), (_TOP, 0.1), (_TOP, -0.15), (-0.3, _LEFT), (0.3, _LEFT), (_BOTTOM, -0.15), (_BOTTOM, 0.15)],
        [(_BOTTOM, 0.15), (0.35, _RIGHT), (0.05, _RIGHT), (0.05, 0.0)],
    ],
    "Y": [[(_TOP, _LEFT), (_MIDDLE, 0.0), (_TOP, _RIGHT)], [(_MIDDLE, 0.0), (_BOTTOM, 0.0)]],
    "2": [[(-0.35, _LEFT), (_TOP, 0.0), (-0.3, _RIGHT), (_BOTTOM, _LEFT), (_BOTTOM, _RIGHT)]],
    "4": [[(_BOTTOM, 0.2), (_TOP, 0.2), (0.15, -0.45), (0.15, 0.45)]],
    "7": [[(_TOP, _LEFT), (_TOP, _RIGHT), (_BOTTOM, -0.1)]],
}
"""Strokes of each glyph through points (row, column) in half widths."""


class Glyphs(NamedTuple):
    """Images and what made them.

    Attributes:
        images: (n, h, w) in [0, 1].
        classes: (n,) index of the letter.
        angle: (n,) rad, from rows towards columns.
        shift: (n, 2) half widths of the longer side.
        scale: (n,) magnification.
    """

    images: Float[Array, "n h w"]
    classes: Int[Array, " n"]
    angle: Float[Array, " n"]
    shift: Float[Array, "n 2"]
    scale: Float[Array, " n"]


def glyphs(
    key: Array,
    count: int,
    shape: int | tuple[int, int] = (28, 28),
    letters: Sequence[str] = ("F", "L", "4", "Y"),
    angle: tuple[float, float] = (-math.pi, math.pi),
    shift: float = 0.1,
    scale: float = 0.0,
    noise: float = 0.0,
    thickness: float = 0.09,
) -> Glyphs:
    """Equally frequent letters, rotated, shifted and magnified at random, drawn exactly.

    A pixel at u is bright where the nearest stroke of the glyph is within `thickness` of
    v = R(-angle) (u - shift)/scale (`gpax_lab.core._poses`): sigmoid((thickness - distance)/0.025), in half widths. So
    the angle is the rotation of the glyph, from rows towards columns: +pi/2 moves what lies below (higher rows) to the
    right.

    Letters are a hard choice where one holds the other (F in P in R), and G nearly repeats after a rotation by pi.

    Args:
        key: random key.
        count: images.
        shape: (h, w), or the edge of a square.
        letters: of `STROKES`.
        angle: uniform between these, rad.
        shift: standard deviation along each axis, half widths; cut at two and a half of them.
        scale: standard deviation of the logarithm of the magnification.
        noise: standard deviation of noise, after which images are clipped to [0, 1].
        thickness: half a stroke's width, half widths.

    Returns:
        Glyphs.

    Raises:
        ValueError: a letter that is not there, no image, or widths below 0.

    Example:
        >>> glyphs(jax.random.key(0), 5).images.shape
        (5, 28, 28)
    """
    unknown = sorted(set(letters) - set(STROKES))
    if unknown or not letters:
        raise ValueError(f"letters are some of {sorted(STROKES)}; got {list(letters)}.")
    if count < 1 or min(shift, scale, noise) < 0 or not thickness > 0:
        raise ValueError("count is 1 or more, thickness positive, shift, scale and noise are not negative.")
    shape = (shape, shape) if isinstance(shape, int) else shape
    given = {"angle": jnp.asarray(angle), "shift": shift, "scale": scale, "noise": noise, "thickness": thickness}
    return _drawn(key, count, tuple(shape), tuple(letters), **given)


@partial(jax.jit, static_argnames=("count", "shape", "letters"))
def _drawn(
    key: Array,
    count: int,
    shape: tuple[int, int],
    letters: tuple[str, ...],
    *,
    angle: Array,
    shift: Array,
    scale: Array,
    noise: Array,
    thickness: Array,
) -> Glyphs:
    keys = jax.random.split(key, 5)
    label = jax.random.randint(keys[0], (count,), 0, len(letters))
    angles = jax.random.uniform(keys[1], (count,), minval=angle[0], maxval=angle[1])
    moved = shift * jax.random.truncated_normal(keys[2], -2.5, 2.5, (count, 2))
    grown = jnp.exp(scale * jax.random.truncated_normal(keys[3], -2.5, 2.5, (count,)))
    segments = jnp.asarray(_segments(letters), angles.dtype)

    def one(given: tuple[Array, Pose]) -> Array:
        which, pose = given
        points = jnp.asarray(grid(shape), angles.dtype)
        at = to_object(points, jax.tree.map(lambda leaf: leaf[None], pose))[0]
        return jax.nn.sigmoid((thickness - _distance(at, segments[which])) / 0.025).reshape(shape)

    images = jax.lax.map(one, (label, Pose(angles, moved, grown)), batch_size=256)
    images = images + noise * jax.random.normal(keys[4], images.shape, images.dtype)
    return Glyphs(jnp.clip(images, 0.0, 1.0), label, angles, moved, grown)


def _segments(letters: Sequence[str]) -> np.ndarray:
    """(letters, most, 2, 2) ends of the segments; letters with fewer repeat their last one."""
    found = [[(a, b) for line in STROKES[label] for a, b in pairwise(line)] for label in letters]
    most = max(len(one) for one in found)
    return np.array([one + [one[-1]] * (most - len(one)) for one in found], float)


def _distance(points: Array, segments: Array) -> Array:
    """(pixels,) distance of points (pixels, 2) from the nearest of segments (s, 2, 2)."""
    start, along = segments[:, 0], segments[:, 1] - segments[:, 0]
    away = points[:, None] - start[None]
    share = jnp.sum(away * along[None], axis=-1) / jnp.sum(along**2, axis=-1)[None]
    nearest = away - jnp.clip(share, 0.0, 1.0)[..., None] * along[None]
    return jnp.min(jnp.sqrt(jnp.sum(nearest**2, axis=-1) + 1e-12), axis=1)
