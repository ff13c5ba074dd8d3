"""Operations on whole frames: moving by parts of a pixel, and levelling (lines, planes).

`shift_image` moves the content towards larger indices; a shift is (row, column) in pixels.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.ndimage import map_coordinates
from jax.typing import ArrayLike

from gpax_lab.core._inputs import floating
from gpax_lab.core._types import Float


def shift_image(image: ArrayLike, shift: ArrayLike, method: str = "fourier") -> Float[Array, "*batch h w"]:
    """Move an image: out(r, c) = image(r - shift_0, c - shift_1).

    Args:
        image: (..., h, w).
        shift: (..., 2) pixels (row, column); (2,) serves all images.
        method: "fourier" (exact for periodic, band-limited images; what leaves on one side enters on the other) or
            "linear" (bilinear; NaN outside the image).

    Returns:
        (..., h, w).

    Raises:
        ValueError: shapes that do not belong together, or an unknown method.
    """
    values, moves = floating(image, "image"), floating(shift, "shift")
    if method not in ("fourier", "linear"):
        raise ValueError(f'method is "fourier" or "linear"; got {method!r}.')
    if values.ndim < 2 or moves.shape[-1:] != (2,):
        raise ValueError(f"an image (..., h, w) and a shift (..., 2); got {values.shape} and {moves.shape}.")
    jnp.broadcast_shapes(values.shape[:-2], moves.shape[:-1])
    return _shift_all(values, moves, method)


@partial(jax.jit, static_argnames="method")
def _shift_all(values: Array, moves: Array, method: str) -> Array:
    batch = jnp.broadcast_shapes(values.shape[:-2], moves.shape[:-1])
    values = jnp.broadcast_to(values, batch + values.shape[-2:])
    moves = jnp.broadcast_to(moves.astype(values.dtype), (*batch, 2))
    move = fourier_shift if method == "fourier" else _linear_shift
    moved = jax.vmap(move)(values.reshape(-1, *values.shape[-2:]), moves.reshape(-1, 2))
    return moved.reshape(values.shape)


def fourier_shift(image: ArrayLike, shift: ArrayLike) -> Float[Array, "h w"]:
    """`shift_image` of one image (h, w) by one shift (2,) without checks; differentiable.

    Args:
        image: (h, w).
        shift: (2,) pixels (row, column).

    Returns:
        (h, w).
    """
    return _fourier_shift(floating(image, "image"), floating(shift, "shift"))


@jax.jit
def _fourier_shift(image: Array, shift: Array) -> Array:
    return shift_spectrum(jnp.fft.fft2(image), shift).astype(image.dtype)


def shift_spectrum(spectrum: Array, shift: Array) -> Array:
    """The image (h, w) that has this Fourier transform (h, w), moved by one shift (2,), without checks."""
    cycles = [
        jnp.asarray(np.fft.fftfreq(n), spectrum.real.dtype) * s for n, s in zip(spectrum.shape, shift, strict=True)
    ]
    rows, columns = (waves(-t) for t in cycles)
    return jnp.fft.ifft2(spectrum * rows[:, None] * columns[None, :]).real


def waves(cycles: Array) -> Array:
    """exp(2 pi i cycles), of any shape; a complex exponential of XLA's is 3 times as much to compile."""
    angle = 2.0 * jnp.pi * cycles
    return jax.lax.complex(jnp.cos(angle), jnp.sin(angle))


@jax.jit
def _linear_shift(image: Array, shift: Array) -> Array:
    rows, columns = (jnp.arange(n, dtype=image.dtype) - s for n, s in zip(image.shape, shift, strict=True))
    grid = list(jnp.meshgrid(rows, columns, indexing="ij"))
    inside = [(c >= 0) & (c <= n - 1) for c, n in zip(grid, image.shape, strict=True)]
    return jnp.where(inside[0] & inside[1], map_coordinates(image, grid, order=1, mode="nearest"), jnp.nan)


def flatten(image: ArrayLike, axis: int = -1, order: int = 0) -> Float[Array, "*batch h w"]:
    """Take from every scan line its polynomial: offsets (order 0), tilts (1), bows (2).

    Args:
        image: (..., h, w), finite.
        axis: along which the scan lines run: -1 if they are rows, -2 if they are columns.
        order: of the polynomial (static), least squares.

    Returns:
        (..., h, w), each line with mean 0.

    Raises:
        ValueError: no image, an axis that is not one of its last two, or an order that a line cannot determine.
    """
    values = floating(image)
    axis = axis - values.ndim if axis >= 0 else axis
    if values.ndim < 2 or axis not in (-1, -2):
        raise ValueError(f"an image (..., h, w) and one of its last two axes; got {values.shape} and axis {axis}.")
    n = values.shape[axis]
    if not 0 <= order < n:
        raise ValueError(f"a line of {n} pixels determines polynomials of order 0 to {n - 1}; got {order}.")
    basis = np.linalg.qr(np.vander(np.linspace(-1.0, 1.0, n), order + 1))[0].astype(values.dtype)
    return _flatten(values, basis, axis)


@partial(jax.jit, static_argnames="axis")
def _flatten(values: Array, basis: Array, axis: int) -> Array:
    lines = values if axis == -1 else jnp.swapaxes(values, -1, -2)
    lines = lines - (lines @ basis) @ basis.T
    return lines if axis == -1 else jnp.swapaxes(lines, -1, -2)


def plane(image: ArrayLike) -> Float[Array, "*batch h w"]:
    """The image (..., h, w) less the plane that fits it best by least squares; the mean goes with it.

    Args:
        image: (..., h, w), finite.

    Returns:
        (..., h, w), each image with mean 0.
    """
    return _plane(floating(image))


@jax.jit
def _plane(values: Array) -> Array:
    centred = values - jnp.mean(values, axis=(-2, -1), keepdims=True)
    rows, columns = (np.arange(n) - 0.5 * (n - 1) for n in values.shape[-2:])
    for ramp in (np.broadcast_to(rows[:, None], values.shape[-2:]), np.broadcast_to(columns, values.shape[-2:])):
        unit = jnp.asarray(ramp / max(np.sqrt((ramp**2).sum()), 1e-300), values.dtype)
        unit = unit.reshape((1,) * (values.ndim - 2) + unit.shape)
        centred = centred - jnp.sum(centred * unit, axis=(-2, -1), keepdims=True) * unit
    return centred
