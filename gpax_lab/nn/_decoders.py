"""Decoders: Flax modules from a code, and a pose, to images or spectra."""

from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax import Array

from gpax_lab.core._poses import Pose, axes, grid, to_object
from gpax_lab.nn import _fourier as waves
from gpax_lab.nn._layers import MLP, Activation


class FeatureDecoder(nn.Module):
    """Features (n, k) -> (n, length): fully connected layers with GELU and a linear last one."""

    widths: Sequence[int]
    length: int

    @nn.compact
    def __call__(self, z: Array) -> Array:
        """(n, length)."""
        for width in self.widths:
            z = nn.gelu(nn.Dense(width)(z))
        return nn.Dense(self.length)(z)


class MLPDecoder(nn.Module):
    """Code (n, c) -> images (n, *shape) by fully connected layers; knows no pose."""

    shape: Sequence[int]
    widths: Sequence[int] = (128, 128)
    activation: Activation = nn.gelu

    @nn.compact
    def __call__(self, code: Array, pose: Pose) -> Array:
        """(n, *shape)."""
        if any(part is not None for part in pose):
            raise ValueError(
                "an MLPDecoder knows no pose: take a FourierDecoder or a CoordinateDecoder with invariances."
            )
        x = MLP(self.widths, self.activation, name="Dense_0")(code)
        return nn.Dense(int(np.prod(self.shape)), name="Dense_1")(x).reshape(-1, *self.shape)


class CoordinateDecoder(nn.Module):
    """A network of point and code, asked at every pixel (Bepler et al. 2019, arXiv:1909.11663).

    As in that paper, the code enters as a bias of the first layer. The cost is that of a network for every pixel.
    """

    shape: Sequence[int]
    widths: Sequence[int] = (128, 128, 128)
    activation: Activation = nn.tanh

    @nn.compact
    def __call__(self, code: Array, pose: Pose) -> Array:
        """(n, *shape)."""
        points = jnp.asarray(grid(tuple(self.shape)), code.dtype)
        x = nn.Dense(self.widths[0])(to_object(points, pose))
        x = x + nn.Dense(self.widths[0], use_bias=False)(code)[:, None, :]
        x = self.activation(x)
        for width in self.widths[1:]:
            x = self.activation(nn.Dense(width)(x))
        x = jnp.broadcast_to(x, (code.shape[0], *x.shape[1:]))
        return nn.Dense(1)(x).reshape(-1, *self.shape)


ROUGH = 6.0
"""Wave number (rad per half width) above which the waves of an untrained object fall off: features of half a width."""


class FourierDecoder(nn.Module):
    """A network from the code to coefficients of plane waves, which rotate, shift and magnify exactly.

    Attributes:
        shape: (h, w) or (length,).
        reach: half a period along each axis, in half widths: beyond it the object repeats.
        detail: half the shortest wavelength, in pixels.
        widths: of the hidden layers.
    """

    shape: Sequence[int]
    reach: Sequence[float]
    detail: float = 2.5
    widths: Sequence[int] = (128, 128)
    activation: Activation = nn.gelu

    @nn.compact
    def __call__(self, code: Array, pose: Pose) -> Array:
        """(n, *shape)."""
        shape, reach = tuple(self.shape), tuple(self.reach)
        pixel = 2.0 / max(max(shape) - 1, 1)
        basis = waves.Lattice(waves.wave_vectors(reach, self.detail * pixel), reach, axes(shape))
        size = np.sum(basis.k**2, axis=1)
        falloff = 1.0 / (1.0 + size / ROUGH**2)
        falloff = np.tile(falloff / np.sqrt(np.sum(falloff**2)), 2)
        hidden = MLP(self.widths, self.activation, name="Dense_0")(code)
        # Begin with an image of contrast below one, whatever the number of waves: a likelihood with a noise of its own
        # would else learn a large noise first.
        small = nn.initializers.variance_scaling(0.01, "fan_in", "truncated_normal")
        coefficients = nn.Dense(2 * basis.count, kernel_init=small, name="Dense_1")(hidden)
        linear = nn.Dense(2 * basis.count, use_bias=False, kernel_init=small, name="Dense_2")
        coefficients = coefficients + linear(code)
        coefficients = coefficients * jnp.asarray(falloff * np.sqrt(basis.count), code.dtype)[None]
        count = code.shape[0]
        one = jnp.ones((count,), code.dtype)
        stretch = one if pose.scale is None else 1.0 / pose.scale
        shift = jnp.zeros((count, len(shape)), code.dtype) if pose.shift is None else pose.shift
        if len(shape) == 1:
            return waves.wave_spectrum(basis, coefficients, stretch, shift[:, 0])
        angle = jnp.zeros((count,), code.dtype) if pose.angle is None else pose.angle
        cos, sin = stretch * jnp.cos(angle), stretch * jnp.sin(angle)
        matrix = jnp.stack([jnp.stack([cos, sin], axis=-1), jnp.stack([-sin, cos], axis=-1)], axis=-2)
        return waves.wave_image(basis, coefficients, matrix, shift)
