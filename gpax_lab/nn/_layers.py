"""Layers of neural networks that several wings share."""

from itertools import product

import flax.linen as nn
import jax.numpy as jnp
from jax import Array


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
