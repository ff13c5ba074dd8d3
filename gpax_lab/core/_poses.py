"""Where an object lies in its image, and how rotating, shifting and magnifying it moves its coordinates; see `Pose`."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array


class Pose(NamedTuple):
    """Rotation, shift and magnification of objects in their images.

    An image of h x w pixels has the coordinates u = (row, column), u_i = (2 i - (h - 1)) / (max(h, w) - 1): the longer
    side spans [-1, 1], and a pixel is as wide as it is high, so that a rotation is one in any image. An object g of its
    own coordinates v is seen at u = scale R(angle) v + shift, that is

        image(u) = g(R(-angle) (u - shift) / scale),    R(a) = [[cos a, -sin a], [sin a, cos a]].

    Shifts are in half widths of the longer side. Spectra have one coordinate, and no angle.

    Attributes:
        angle: (n,) rad; None where nothing is rotated.
        shift: (n, d) half widths; None where nothing is shifted.
        scale: (n,); None where nothing is magnified.
    """

    angle: Array | None = None
    shift: Array | None = None
    scale: Array | None = None


def axes(shape: tuple[int, ...]) -> tuple[np.ndarray, ...]:
    """Coordinates of the pixels along each axis of an image (h, w) or a spectrum (length,), isometric.

    Example:
        >>> axes((3, 5))
        (array([-0.5,  0. ,  0.5]), array([-1. , -0.5,  0. ,  0.5,  1. ]))
    """
    longest = max(max(shape) - 1, 1)
    return tuple((2.0 * np.arange(n) - (n - 1)) / longest for n in shape)


def grid(shape: tuple[int, ...]) -> np.ndarray:
    """(pixels, d) coordinates of all pixels, row by row."""
    return np.stack(np.meshgrid(*axes(shape), indexing="ij"), axis=-1).reshape(-1, len(shape))


def to_object(points: Array, pose: Pose) -> Array:
    """(n, pixels, d) coordinates v in n objects of the points (pixels, d) of their images."""
    v = points[None]
    if pose.shift is not None:
        v = v - pose.shift[:, None, :]
    if pose.angle is not None:
        cos, sin = jnp.cos(pose.angle)[:, None], jnp.sin(pose.angle)[:, None]
        v = jnp.stack([cos * v[..., 0] + sin * v[..., 1], cos * v[..., 1] - sin * v[..., 0]], axis=-1)
    return v if pose.scale is None else v / pose.scale[:, None, None]


def rotated_views(x: Array, count: int) -> Array:
    """(n, count, h, w): copy t is the image rotated back by t times 2 pi/count, 1, 2 or 4 of them; nothing is lost."""
    quarter = 4 // count
    return jnp.stack([jnp.rot90(x, -t * quarter, axes=(1, 2)) for t in range(count)], axis=1)


def rotated_back(pose: Pose, angle: Array) -> Pose:
    """The pose in the image of what has this pose in the image rotated back by `angle` (n,), rad."""
    shift = pose.shift
    if shift is not None:
        cos, sin = jnp.cos(angle), jnp.sin(angle)
        shift = jnp.stack(
            [cos * shift[..., 0] - sin * shift[..., 1], sin * shift[..., 0] + cos * shift[..., 1]], axis=-1
        )
    return Pose(None if pose.angle is None else pose.angle + angle, shift, pose.scale)
