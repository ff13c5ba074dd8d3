"""Encoders: neural networks (Flax) from what is seen at a point to the few numbers on which a deep kernel acts.

The weights of an encoder are one vector of independent standard normal numbers. Each is multiplied by the width that
keeps activations of order one (He et al. 2015, arXiv:1502.01852), so that the prior of the network is N(0, 1), weight
decay is that prior, and a sampler meets coordinates of equal width.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.flatten_util import ravel_pytree

from gpax_lab.core._interning import interned
from gpax_lab.nn._encoder import Encoder
from gpax_lab.nn._layers import MLP, ConvNet

BIAS_WIDTH = 0.3
"""Prior standard deviation of a bias, in units of the activations."""


class _Headed(nn.Module):
    """A body and a linear last layer."""

    body: nn.Module
    features: int

    def setup(self) -> None:
        self.head = nn.Dense(self.features, name="head")

    def __call__(self, x: Array) -> Array:
        return self.head(self.body(x))

    def hidden(self, x: Array) -> Array:
        return self.body(x)


@interned
def mlp(shape: int | Sequence[int], features: int = 2, widths: Sequence[int] = (64, 64)) -> Encoder:
    """Fully connected layers with GELU on the flattened input.

    Args:
        shape: of one input: a length, or (rows, columns[, channels]) of a patch.
        features: numbers returned, 2 by default.
        widths: of the hidden layers.

    Returns:
        An `Encoder`.

    Example:
        >>> encoder = mlp((8, 8))
        >>> encoder.apply(jnp.zeros(encoder.size), jnp.ones((5, 8, 8))).shape
        (5, 2)
    """
    return encoder(_Headed(MLP(tuple(widths)), features), shape)


@interned
def convolutional(
    shape: Sequence[int],
    features: int = 2,
    channels: Sequence[int] = (8, 16),
    width: int = 32,
    translations: bool = True,
) -> Encoder:
    """3 x 3 convolutions with GELU and halving, then a fully connected layer.

    Args:
        shape: (rows, columns) or (rows, columns, channels) of a patch.
        features: numbers returned.
        channels: of the convolutions.
        width: of the fully connected layer.
        translations: whether the last convolution is averaged over the patch, so that where in it something lies
            matters little (translation-pooled).

    Returns:
        An `Encoder`.
    """
    if len(tuple(np.atleast_1d(shape))) < 2:
        raise ValueError(f"a convolutional encoder sees patches (rows, columns[, channels]); got shape {shape}.")
    body = ConvNet(tuple(channels), width, halve_last=False, pooled=translations)
    return encoder(_Headed(body, features), shape)


@interned
def encoder(module: nn.Module, shape: int | Sequence[int]) -> Encoder:
    """Any Flax module as an encoder: inputs (m, *shape) -> (m, features).

    Parameters of two axes or more have the prior width sqrt(2 / fan-in) (the last layer, if the module is one of ours,
    sqrt(1 / fan-in)), those of one axis 0.3.

    Args:
        module: a Flax module, inputs (m, *shape) -> (m, features).
        shape: of one input; a length, or (rows, columns[, channels]).

    Returns:
        An `Encoder`.

    Raises:
        ValueError: the module returns anything but (m, features), or keeps state beside its parameters.
    """
    form = (int(shape),) if isinstance(shape, int) else tuple(int(length) for length in shape)
    example = jnp.zeros((2, *form))
    variables = jax.eval_shape(lambda key: module.init(key, example), jax.random.key(0))
    if set(variables) != {"params"}:
        raise ValueError(f"an encoder is a pure function of its parameters; this one also keeps {sorted(variables)}.")
    template = jax.tree.map(lambda leaf: np.zeros(leaf.shape), variables)
    widths = jax.tree_util.tree_map_with_path(_prior_width, template)
    scale = np.asarray(ravel_pytree(widths)[0])
    unflatten = ravel_pytree(template)[1]

    def named(weights: Array) -> dict:
        tree = unflatten(weights * jnp.asarray(scale, weights.dtype))
        return jax.tree.map(lambda leaf: leaf.astype(weights.dtype), tree)

    def apply(weights: Array, inputs: Array) -> Array:
        return jnp.asarray(module.apply(named(weights), inputs))

    def hidden(weights: Array, inputs: Array) -> Array:
        return jnp.asarray(module.apply(named(weights), inputs, method="hidden"))

    found = jax.eval_shape(lambda v: module.apply(v, example), variables).shape
    if len(found) != 2 or found[0] != 2:
        raise ValueError(f"an encoder turns inputs (m, *shape) into (m, features); this one returns {found}.")
    return Encoder(apply, scale.size, found[1], form, hidden if isinstance(module, _Headed) else None)


def _prior_width(path: tuple, leaf: np.ndarray) -> np.ndarray:
    if leaf.ndim < 2:
        return np.full(leaf.shape, BIAS_WIDTH)
    last = any(getattr(part, "key", None) == "head" for part in path)
    return np.full(leaf.shape, math.sqrt((1.0 if last else 2.0) / np.prod(leaf.shape[:-1])))


@interned
def rotation_pooled(inner: Encoder, mirrored: bool = False) -> Encoder:
    """The mean of an encoder's features of a patch rotated by 0, 90, 180 and 270 degrees: rotating it changes nothing.

    Args:
        inner: an encoder of square patches.
        mirrored: whether the mirror images are averaged too.

    Returns:
        An `Encoder` with the same weights.

    Raises:
        ValueError: the patches are not square.
    """
    if len(inner.shape) < 2 or inner.shape[0] != inner.shape[1]:
        raise ValueError(f"only square patches can be rotated by 90 degrees; this encoder sees {inner.shape}.")

    def over_rotations(function: Callable[[Array, Array], Array], weights: Array, inputs: Array) -> Array:
        views = [jnp.rot90(inputs, k, axes=(1, 2)) for k in range(4)]
        views += [jnp.flip(one, axis=1) for one in views] if mirrored else []
        found = function(weights, jnp.concatenate(views))
        return jnp.mean(found.reshape(len(views), inputs.shape[0], -1), axis=0)

    body = inner.hidden
    hidden = None if body is None else lambda weights, inputs: over_rotations(body, weights, inputs)
    return replace(inner, apply=lambda weights, inputs: over_rotations(inner.apply, weights, inputs), hidden=hidden)


@interned
def frozen(inner: Encoder, weights: Array) -> Encoder:
    """The encoder with these weights (size,) for good: nothing of it is left to infer.

    Args:
        inner: an encoder.
        weights: (size,).

    Returns:
        An `Encoder` without weights.

    Raises:
        ValueError: another number of weights.
    """
    known = _checked(inner, weights)
    return replace(inner, apply=lambda _, inputs: inner.apply(known.astype(inputs.dtype), inputs), size=0, hidden=None)


@interned
def body(inner: Encoder, weights: Array) -> Encoder:
    """What an encoder with these weights (size,) hands to its linear last layer, h / sqrt(width), frozen.

    With `gpax_lab.kernels.linear` on it, the last layer's weights are integrated out exactly (Bayesian linear
    regression on learned features), and a sampler is left with the kernel's and the noise's parameters.

    Args:
        inner: an encoder with a linear last layer.
        weights: (size,).

    Returns:
        An `Encoder` without weights, (m, width).

    Raises:
        ValueError: another number of weights, or no linear last layer.
    """
    if inner.hidden is None:
        raise ValueError("this encoder has no linear last layer: use mlp(...) or convolutional(...).")
    known, hidden = _checked(inner, weights), inner.hidden
    width = jax.eval_shape(hidden, known, jnp.zeros((1, *inner.shape))).shape[-1]

    def apply(_: Array, inputs: Array) -> Array:
        return hidden(known.astype(inputs.dtype), inputs) / math.sqrt(width)

    return Encoder(apply, 0, width, inner.shape, scaled=inner.scaled)


@interned
def last_layer(inner: Encoder, weights: Array, features: int | None = None) -> Encoder:
    """The frozen body of an encoder under a linear last layer that is to be inferred: fully Bayesian, by `nuts`.

    z = W h(x) / sqrt(width), W (features, width) ~ N(0, 1): few enough numbers for Hamiltonian Monte Carlo. The body is
    taken for known: train it without labels (`autoencoder`), or on other observations than those that W meets.

    Args:
        inner: an encoder with a linear last layer, e.g. the `network` of `autoencoder`.
        weights: (size,) of the whole encoder, e.g. of the best member of an ensemble, or those of that training.
        features: numbers returned; those of `inner` by default.

    Returns:
        An `Encoder` whose weights are W.

    Raises:
        ValueError: another number of weights, or no linear last layer.
    """
    below = body(inner, weights)
    outputs = inner.features if features is None else features

    def apply(free: Array, inputs: Array) -> Array:
        return below.apply(free[:0], inputs) @ free.reshape(below.features, outputs).astype(inputs.dtype)

    return Encoder(apply, below.features * outputs, outputs, inner.shape, scaled=inner.scaled)


@interned
def linear(directions: Array, centre: Array | None = None, shape: Sequence[int] | None = None) -> Encoder:
    """Projection of the flattened input on given directions (features, length), such as principal components.

    Args:
        directions: (features, length).
        centre: (length,) subtracted first; None for zero.
        shape: of one input, whose product is the length; (length,) by default.

    Returns:
        An `Encoder` without weights.
    """
    rows = jnp.asarray(directions)
    start = jnp.zeros(rows.shape[1], rows.dtype) if centre is None else jnp.asarray(centre)

    def apply(_: Array, inputs: Array) -> Array:
        flat = inputs.reshape(inputs.shape[0], -1)
        return (flat - start.astype(flat.dtype)[None]) @ rows.T.astype(flat.dtype)

    return Encoder(apply, 0, rows.shape[0], (rows.shape[1],) if shape is None else tuple(shape), scaled=True)


@interned
def of_units(inner: Encoder, shift: float, scale: float) -> Encoder:
    """The same network, which now takes inputs in the user's units and sees (inputs - shift) / scale."""

    def through(function: Callable[[Array, Array], Array], weights: Array, inputs: Array) -> Array:
        return function(weights, (inputs - shift) / scale)

    see = partial(through, inner.apply)
    return replace(
        inner, apply=see, hidden=None if inner.hidden is None else partial(through, inner.hidden), scaled=True
    )


def _checked(inner: Encoder, weights: Array) -> Array:
    known = jnp.asarray(weights)
    if known.shape != (inner.size,):
        raise ValueError(f"this encoder has {inner.size} weights; got an array {known.shape}.")
    return known
