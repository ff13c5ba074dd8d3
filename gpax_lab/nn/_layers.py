"""Layers and bodies of neural networks (Flax) of which all encoders and decoders are made."""

from collections.abc import Callable, Sequence
from itertools import product
from typing import TypeAlias

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

Activation: TypeAlias = Callable[[Array], Array]


class Convolution(nn.Module):
    """A convolution of 3 taps along each axis as one matrix product: several weights side by side cost no more each.

    Inputs (m, length, channels) or (m, rows, columns, channels); beyond the border lie zeros. XLA's own convolution on
    a CPU is 10 to 30 times slower in float64 or under `vmap` over weights.
    """

    channels: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """(m, ..., channels) of any number to `channels` of them."""
        lengths = x.shape[1:-1]
        padded = jnp.pad(x, ((0, 0), *((1, 1) for _ in lengths), (0, 0)))
        taps = product(range(3), repeat=len(lengths))
        cuts = [tuple(slice(k, k + n) for k, n in zip(tap, lengths, strict=True)) for tap in taps]
        return nn.Dense(self.channels)(jnp.concatenate([padded[(slice(None), *cut)] for cut in cuts], axis=-1))


def halved(x: Array) -> Array:
    """Means of 2 pixels along each axis of (m, ..., channels); an odd last row or column is repeated."""
    for axis in range(1, x.ndim - 1):
        if x.shape[axis] % 2:
            x = jnp.concatenate([x, jnp.take(x, jnp.array([-1]), axis=axis)], axis=axis)
        x = x.reshape(*x.shape[:axis], x.shape[axis] // 2, 2, *x.shape[axis + 1 :]).mean(axis=axis + 1)
    return x


class MLP(nn.Module):
    """Fully connected layers on the flattened input (m, ...) -> (m, widths[-1]).

    Attributes:
        widths: of the layers.
        activation: after each of them.
    """

    widths: Sequence[int] = (128, 128)
    activation: Activation = nn.gelu

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """(m, ...) -> (m, widths[-1])."""
        x = x.reshape(x.shape[0], -1)
        for width in self.widths:
            x = self.activation(nn.Dense(width)(x))
        return x


class ConvNet(nn.Module):
    """Convolutions of 3 taps with halving between them, then a fully connected layer.

    Takes images (m, h, w) and spectra (m, length), with or without a last axis of channels: say which by `axes`.

    Attributes:
        channels: of the convolutions.
        width: of the fully connected layer.
        axes: 2 for images, 1 for spectra.
        activation: after each layer.
        halve_last: whether the last convolution is halved as the others are.
        pooled: whether the last convolution is averaged over all pixels, or flattened.
    """

    channels: Sequence[int] = (16, 32)
    width: int = 128
    axes: int = 2
    activation: Activation = nn.gelu
    halve_last: bool = True
    pooled: bool = False

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """(m, *shape) -> (m, width)."""
        x = x[..., None] if x.ndim == self.axes + 1 else x
        for index, channels in enumerate(self.channels):
            x = self.activation(Convolution(channels)(x))
            x = halved(x) if self.halve_last or index + 1 < len(self.channels) else x
        x = jnp.mean(x, axis=tuple(range(1, self.axes + 1))) if self.pooled else x.reshape(x.shape[0], -1)
        return self.activation(nn.Dense(self.width)(x))
