"""Encoders trained without labels: the image is known everywhere before the first spectrum is paid for."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array
from jax.flatten_util import ravel_pytree
from jax.typing import ArrayLike

from gpax_lab.core._inputs import check_key
from gpax_lab.core._types import Float
from gpax_lab.nn._decoders import FeatureDecoder
from gpax_lab.nn._encoder import Encoder
from gpax_lab.nn._encoders import frozen, linear, of_units
from gpax_lab.nn._training import start, train_steps


class Pretrained(NamedTuple):
    """What training without labels came to.

    Attributes:
        encoder: frozen; its features of the training inputs have mean 0 and standard deviation 1.
        network: the encoder that was trained, for inputs in their own units, so that with `weights` it is what was
            trained: `last_layer(found.network, found.weights)`. For principal components it is `encoder`.
        weights: (size,) of the network.
        explained: () share of the variance of the inputs that the decoder restores; 0 for constant features.
        loss: (num_steps,) mean squared error during training, of inputs of unit variance.
    """

    encoder: Encoder
    network: Encoder
    weights: Float[Array, " size"]
    explained: Float[Array, ""]
    loss: Float[Array, " num_steps"]


class _Plan(NamedTuple):
    """Static settings of a training run."""

    steps: int
    batch_size: int
    learning_rate: float
    noise: float


def autoencoder(
    key: Array,
    encoder: Encoder,
    inputs: ArrayLike,
    num_steps: int = 1500,
    batch_size: int = 128,
    learning_rate: float = 3e-3,
    noise: float = 0.3,
) -> Pretrained:
    """Train an encoder so that a decoder can restore its input from the features alone (Vincent et al. 2008).

    The input is given with noise added and asked for without (a denoising autoencoder), the whole run is one compiled
    loop of Adam with a cosine schedule, in float32.

    Args:
        key: random key.
        encoder: of this package, with weights, e.g. `mlp(shape)`.
        inputs: (n, *shape), e.g. the patches around all pixels.
        num_steps: minibatches.
        batch_size: inputs in each.
        learning_rate: Adam's first step size.
        noise: standard deviation of the noise, in standard deviations of the inputs.

    Returns:
        A `Pretrained`.

    Raises:
        ValueError: inputs of another shape, fewer than two, not finite or all alike; an encoder without weights;
            counts below 1.
    """
    check_key(key, "autoencoder(key, encoder, inputs)")
    if min(num_steps, batch_size) < 1 or not learning_rate > 0 or noise < 0:
        raise ValueError(
            "autoencoder needs num_steps and batch_size of at least 1, a positive learning_rate, and noise that is not "
            "negative."
        )
    shown = _checked(encoder, inputs)
    plan = _Plan(num_steps, min(batch_size, shown.shape[0]), learning_rate, noise)
    weights, loss, explained = _train(key, encoder, shown, plan)
    around, width = float(jnp.mean(jnp.asarray(inputs))), float(jnp.std(jnp.asarray(inputs)))
    network = of_units(encoder, around, width)
    return Pretrained(_standardized(network, weights, inputs), network, weights, explained, loss)


def principal_components(inputs: ArrayLike, features: int) -> Pretrained:
    """The linear encoder that restores most: principal components of the inputs (n, *shape), each of unit variance.

    Where the inputs hold fewer directions than features are asked for, the rest of the features are 0.

    Args:
        inputs: (n, *shape).
        features: number of components.

    Returns:
        A `Pretrained` without weights.

    Raises:
        ValueError: more features than n - 1 or than numbers in an input, or inputs that are all alike.
    """
    table = jnp.asarray(inputs)
    flat = table.reshape(table.shape[0], -1)
    most = min(len(flat) - 1, flat.shape[1])
    if not 1 <= features <= most:
        raise ValueError(f"between 1 and {most} principal components can be had of {flat.shape}.")
    directions, centre, explained, largest = _components(flat, features)
    if not float(largest) > 0:
        raise ValueError("the inputs hold a value that is not finite, or are all alike: they have no components.")
    encoder = linear(directions, centre, jnp.shape(inputs)[1:])
    return Pretrained(encoder, encoder, jnp.zeros(0), explained, jnp.zeros(0))


@partial(jax.jit, static_argnames="features")
def _components(flat: Array, features: int) -> tuple[Array, Array, Array, Array]:
    """Directions (features, p) for unit variance, centre (p,), share of the variance, largest singular value."""
    centre = jnp.mean(flat, axis=0)
    _, singular, directions = jnp.linalg.svd(flat - centre[None], full_matrices=False)
    real = singular[:features] > max(flat.shape) * jnp.finfo(flat.dtype).eps * singular[0]
    width = jnp.where(real, singular[:features], jnp.inf) / jnp.sqrt(len(flat))
    explained = jnp.sum(singular[:features] ** 2) / jnp.sum(singular**2)
    return directions[:features] / width[:, None], centre, explained, singular[0]


def _checked(encoder: Encoder, inputs: ArrayLike) -> Array:
    x = jnp.asarray(inputs)
    if encoder.size == 0:
        raise ValueError("this encoder has no weights to train.")
    if x.shape[1:] != encoder.shape or len(x) < 2:
        raise ValueError(f"the encoder takes inputs (n, {', '.join(map(str, encoder.shape))}); got {x.shape}.")
    sd = float(jnp.std(x))
    if not sd > 0:
        raise ValueError("the inputs hold a value that is not finite, or are all alike: nothing to learn from.")
    return ((x - jnp.mean(x)) / sd).astype(jnp.float32)


@partial(jax.jit, static_argnames=("encoder", "plan"))
def _train(key: Array, encoder: Encoder, inputs: Array, plan: _Plan) -> tuple[Array, Array, Array]:
    flat = inputs.reshape(inputs.shape[0], -1)
    decoder = FeatureDecoder((64, 64), flat.shape[1])
    key_encoder, key_decoder, key_steps = jax.random.split(key, 3)
    free = jax.random.normal(key_encoder, (encoder.size,), jnp.float32)
    known, unflatten = ravel_pytree(decoder.init(key_decoder, jnp.zeros((1, encoder.features), jnp.float32)))
    scale, shift = jnp.std(inputs), jnp.mean(inputs)
    adam = optax.adam(optax.cosine_decay_schedule(plan.learning_rate, plan.steps))

    def restored(both: tuple[Array, Array], shown: Array) -> Array:
        return jnp.asarray(decoder.apply(unflatten(both[1]), encoder.apply(both[0], shown)))

    def loss(both: tuple[Array, Array], key: Array) -> tuple[Array, Array]:
        key_index, key_noise = jax.random.split(key)
        index = jax.random.randint(key_index, (plan.batch_size,), 0, inputs.shape[0])
        noise = jax.random.normal(key_noise, (plan.batch_size, *inputs.shape[1:]), inputs.dtype)
        shown = (inputs[index] - shift) / scale + plan.noise * noise
        value = jnp.mean((restored(both, shown) - (flat[index] - shift) / scale) ** 2)
        return value, value

    begun = start(adam, (free, known.astype(jnp.float32)))
    state, course = train_steps(loss, adam, begun, jax.random.split(key_steps, plan.steps))
    both = state.params
    some = inputs[:: max(1, inputs.shape[0] // 2048)]
    missed = restored(both, some) - some.reshape(some.shape[0], -1)
    around = some - jnp.mean(some, axis=0, keepdims=True)
    return both[0], course, 1.0 - jnp.mean(missed**2) / jnp.mean(around**2)


def _standardized(network: Encoder, weights: Array, inputs: ArrayLike) -> Encoder:
    """Frozen, with features of mean 0 and standard deviation 1."""
    shown = jnp.asarray(inputs)
    inner = frozen(network, weights)
    found = inner.apply(jnp.zeros(0, shown.dtype), shown)
    centre, width = jnp.mean(found, axis=0), jnp.maximum(jnp.std(found, axis=0), jnp.finfo(found.dtype).eps)

    def apply(nothing: Array, seen: Array) -> Array:
        z = inner.apply(nothing, seen)
        return (z - centre[None].astype(seen.dtype)) / width[None].astype(seen.dtype)

    return Encoder(apply, 0, network.features, network.shape, scaled=True)
