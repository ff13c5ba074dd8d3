"""Bodies of encoders, and decoders: Flax modules. Any other module of the same form does as well."""

from collections.abc import Callable, Sequence

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax import Array

from gpax_lab.core._poses import Pose, axes, grid, to_object
from gpax_lab.nn._layers import Convolution, halved
from gpax_lab.vae import _fourier as waves

Activation = Callable[[Array], Array]


class Dense(nn.Module):
    """Fully connected layers on the flattened input (m, ...) -> (m, widths[-1])."""

    widths: Sequence[int] = (128, 128)
    activation: Activation = nn.gelu

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """(m, ...) -> (m, widths[-1])."""
        x = x.reshape(x.shape[0], -1)
        for width in self.widths:
            x = self.activation(nn.Dense(width)(x))
        return x


class Convolutional(nn.Module):
    """Convolutions of 3 taps, halved after each, then a fully connected layer.

    Takes pictures (m, h, w) and spectra (m, length), with or without a last axis of channels: say which by `axes`.
    """

    channels: Sequence[int] = (16, 32)
    width: int = 128
    axes: int = 2
    activation: Activation = nn.gelu

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """(m, *shape) -> (m, width)."""
        x = x[..., None] if x.ndim == self.axes + 1 else x
        for channels in self.channels:
            x = halved(self.activation(Convolution(channels)(x)))
        x = x.reshape(x.shape[0], -1)
        return self.activation(nn.Dense(self.width)(x))


class MLPDecoder(nn.Module):
    """Code (n, c) -> pictures (n, *shape) by fully connected layers; knows no pose."""

    shape: Sequence[int]
    widths: Sequence[int] = (128, 128)
    activation: Activation = nn.gelu

    @nn.compact
    def __call__(self, code: Array, pose: Pose) -> Array:
        """(n, *shape)."""
        if any(part is not None for part in pose):
            raise ValueError("a plain decoder knows no pose: take `waves` or `coordinates` with invariances.")
        x = Dense(self.widths, self.activation)(code)
        return nn.Dense(int(np.prod(self.shape)))(x).reshape(-1, *self.shape)


class Coordinates(nn.Module):
    """A network of place and code, asked at every pixel (Bepler et al. 2019, arXiv:1909.11663).

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
    """A network from the code to the coefficients of plane waves, which turn, shift and magnify exactly; see `waves`.

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
        basis = waves.Lattice(waves.lattice(reach, self.detail * pixel), reach, axes(shape))
        size = np.sum(basis.k**2, axis=1)
        falloff = 1.0 / (1.0 + size / ROUGH**2)
        falloff = np.tile(falloff / np.sqrt(np.sum(falloff**2)), 2)
        hidden = Dense(self.widths, self.activation)(code)
        # Begin with a picture of contrast below one, whatever the number of waves: a likelihood with a noise of its own
        # would else learn a large noise first.
        small = nn.initializers.variance_scaling(0.01, "fan_in", "truncated_normal")
        coefficients = nn.Dense(2 * basis.count, kernel_init=small)(hidden)
        coefficients = coefficients + nn.Dense(2 * basis.count, use_bias=False, kernel_init=small)(code)
        coefficients = coefficients * jnp.asarray(falloff * np.sqrt(basis.count), code.dtype)[None]
        count = code.shape[0]
        one = jnp.ones((count,), code.dtype)
        stretch = one if pose.scale is None else 1.0 / pose.scale
        shift = jnp.zeros((count, len(shape)), code.dtype) if pose.shift is None else pose.shift
        if len(shape) == 1:
            return waves.spectrum(basis, coefficients, stretch, shift[:, 0])
        angle = jnp.zeros((count,), code.dtype) if pose.angle is None else pose.angle
        cos, sin = stretch * jnp.cos(angle), stretch * jnp.sin(angle)
        matrix = jnp.stack([jnp.stack([cos, sin], axis=-1), jnp.stack([-sin, cos], axis=-1)], axis=-2)
        return waves.picture(basis, coefficients, matrix, shift)


class Network(nn.Module):
    """Encoder and decoder of one model; what it is made of is decided in `model`.

    Attributes:
        body: (m, *shape) -> (m, width).
        decoder: code (n, c), pose -> (n, *shape).
        raw: numbers that the heads of the latent parts give together.
        classes: number of classes, 0 for none.
        properties: number of continuous properties, 0 for none.
        hidden: width of the layer that joins features and what else is known; 0 for none.
    """

    body: nn.Module
    decoder: nn.Module
    raw: int
    classes: int
    properties: int
    hidden: int

    def setup(self) -> None:
        """The heads."""
        self.latent_head = nn.Dense(self.raw)
        if self.hidden:
            self.joint = nn.Dense(self.hidden)
        if self.classes:
            self.class_head = nn.Dense(self.classes)
        if self.properties:
            self.property_head = nn.Dense(2 * self.properties)

    def features(self, x: Array, condition: Array) -> Array:
        """What the encoder sees: (m, width + conditions)."""
        return jnp.concatenate([self.body(x), condition], axis=-1)

    def class_logits(self, features: Array) -> Array:
        """(m, classes)."""
        return self.class_head(features)

    def property_raw(self, features: Array) -> Array:
        """(m, 2 properties)."""
        return self.property_head(features)

    def latents(self, features: Array, known: Array) -> Array:
        """(..., raw) from features and what is known beside them: class and properties (..., k)."""
        if not self.hidden:
            return self.latent_head(features)
        return self.latent_head(nn.gelu(self.joint(jnp.concatenate([features, known], axis=-1))))

    def decode(self, code: Array, pose: Pose) -> Array:
        """(n, *shape)."""
        return jnp.asarray(self.decoder(code, pose))

    def everything(self, x: Array, condition: Array, known: Array, code: Array, pose: Pose) -> None:
        """Touch every parameter once."""
        features = self.features(x, condition)
        if self.classes:
            self.class_logits(features)
        if self.properties:
            self.property_raw(features)
        self.latents(features, known)
        self.decode(code, pose)
