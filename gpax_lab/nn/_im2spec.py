"""From image to spectrum and back: encoder-decoder networks that say how sure they are."""

from functools import partial
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from jax.flatten_util import ravel_pytree

from gpax_lab.core._inputs import numbers
from gpax_lab.nn._encoders import Encoder


class Translation(NamedTuple):
    """A trained ensemble that turns what is seen in one domain into what is expected in the other.

    Attributes:
        weights: (members, p) of encoder and decoder, float32.
        residual_variance: (n,) variance of what the ensemble left open on held-out pairs, of standardised channels,
        flattened.
        input_stats: (2,) mean and standard deviation of the inputs.
        output_stats: (2, *shape) mean and standard deviation of the outputs, channel by channel.
        loss: (members, checks) mean squared error on held-out pairs in the course of training, standardised.
        plan: static: networks and shapes.
    """

    weights: Array
    residual_variance: Array
    input_stats: Array
    output_stats: Array
    loss: Array
    plan: "Plan"

    def predict(self, inputs: Array) -> tuple[Array, Array]:
        """Mean and variance (n, *shape of an output) for inputs (n, *shape of an input), in the user's units.

        The variance of a new reading: what was left open on held-out pairs, plus how far the members differ here.
        """
        return _predict(
            self.plan, self.weights, self.residual_variance, self.input_stats, self.output_stats, jnp.asarray(inputs)
        )


class Plan(NamedTuple):
    """What is static of a translation."""

    encoder: Encoder
    widths: tuple[int, ...]
    shape: tuple[int, ...]


class _Decoder(nn.Module):
    """Features to the mean of every channel."""

    widths: tuple[int, ...]
    length: int

    @nn.compact
    def __call__(self, z: Array) -> Array:
        for width in self.widths:
            z = nn.gelu(nn.Dense(width)(z))
        return nn.Dense(self.length)(z)


class _Training(NamedTuple):
    """Static settings of training."""

    members: int
    steps: int
    batch_size: int
    learning_rate: float
    every: int
    decay: float
    noise: float


CHECKS = 40
"""How often in the course of training the held-out pairs are looked at."""


def im2spec(
    key: Array,
    inputs: Array,
    outputs: Array,
    encoder: Encoder,
    widths: tuple[int, ...] = (64, 128),
    members: int = 4,
    steps: int = 2000,
    batch_size: int = 64,
    learning_rate: float = 1e-3,
    held_out: float = 0.2,
    decay: float = 1e-3,
    noise: float = 0.3,
    start: Translation | None = None,
    capacity: int | None = None,
) -> Translation:
    """Train encoder-decoders from one domain to the other (Kalinin et al. 2021, arXiv:2012.03877, in spirit).

    Inputs and outputs may be patches, spectra or anything else of fixed shape: with images in and spectra out this is
    im2spec, the other way round spec2im. Each of the `members` starts elsewhere and trains on other minibatches, with
    noise on its inputs; its error on held-out pairs is taken forty times, and the best weights are kept. What the
    ensemble then leaves open on the held-out pairs is the variance of a channel; a variance learned by the network
    itself was overconfident by far with a hundred pairs. All members train side by side in one compiled loop, in
    float32; units of any size are fine.

    In a campaign give the largest number of pairs as `capacity` and the last answer as `start`: training then goes on
    where it was, is compiled once for each number of steps, and a pair that was held out once is never trained on.

    Args:
        key: random key.
        inputs: (n, *shape).
        outputs: (n, *other shape).
        encoder: of `models.encoders`, with weights; its features are the latent space.
        widths: of the decoder's hidden layers.
        members: of the ensemble.
        steps: minibatches.
        batch_size: pairs in a minibatch.
        learning_rate: Adam's first step size.
        held_out: share of the pairs that are only used to stop.
        decay: weight decay.
        noise: standard deviation of the noise on the inputs, in theirs.
        start: an earlier answer for the first of the same pairs, with the same encoder, widths and members.
        capacity: pairs for which room is kept; their number by default.

    Raises:
        ValueError: shapes that do not fit, values that are not finite, fewer than 5 pairs or fewer than 2 of them to
            train on, more pairs than the capacity, or a start with other networks.
    """
    shown, asked = numbers(inputs, "inputs", missing=True), numbers(outputs, "outputs", missing=True)
    held = _held(len(shown), held_out)
    _check(shown, asked, encoder, held)
    room = len(shown) if capacity is None else capacity
    if room < len(shown):
        raise ValueError(f"{len(shown)} pairs do not fit into a capacity of {room}.")
    plan = Plan(encoder, tuple(widths), asked.shape[1:])
    if start is not None and (start.plan != plan or start.weights.shape[0] != members):
        raise ValueError("start has another encoder object, other widths, outputs or members: leave it out.")
    scale_in = np.array([shown.mean(), shown.std() or 1.0])
    spread = asked.std(axis=0)
    scale_out = np.stack([asked.mean(axis=0), np.where(spread > 0, spread, 1.0)])
    training = _Training(members, steps, batch_size, learning_rate, max(steps // CHECKS, 1), decay, noise)
    standard = (shown - scale_in[0]) / scale_in[1], ((asked - scale_out[0]) / scale_out[1]).reshape(len(asked), -1)
    parts = [_padded(values[rows], room) for rows in (~held, held) for values in standard]
    counts = jnp.array([np.sum(~held), np.sum(held)])
    weights, rest, loss = _train(key, plan, training, counts, None if start is None else start.weights, *parts)
    return Translation(weights, rest, jnp.asarray(scale_in), jnp.asarray(scale_out), loss, plan)


def _held(count: int, share: float) -> np.ndarray:
    """(count,) bool: which pairs are held out; more pairs change nothing about the first ones.

    The golden ratio's sequence is spread evenly over any stretch of pairs, and follows no row of an image.
    """
    if not 0 < share < 1:
        raise ValueError(f"held_out is a share between 0 and 1; got {share}.")
    return np.asarray((np.arange(count) * 0.6180339887498949) % 1.0 < share)


def _padded(values: np.ndarray, room: int) -> Array:
    """In float32, with rows of 0 behind, so that one compiled function serves any number of pairs."""
    full = np.zeros((room, *values.shape[1:]), np.float32)
    full[: len(values)] = values
    return jnp.asarray(full)


def _check(shown: np.ndarray, asked: np.ndarray, encoder: Encoder, held: np.ndarray) -> None:
    if encoder.size == 0 or shown.shape[1:] != encoder.shape:
        raise ValueError(f"the encoder needs weights and takes inputs (n, *{encoder.shape}); got {shown.shape}.")
    if len(shown) != len(asked) or len(shown) < 5 or asked.ndim < 2:
        raise ValueError(f"as many inputs as outputs, 5 or more; got {shown.shape} and {asked.shape}.")
    if not (np.isfinite(shown).all() and np.isfinite(asked).all()):
        raise ValueError("inputs or outputs hold values that are not finite: leave those pairs out.")
    if np.sum(~held) < 2:
        raise ValueError(f"held_out leaves {np.sum(~held)} of {len(shown)} pairs to train on: make it smaller.")


def _network(plan: Plan):
    decoder = _Decoder(plan.widths, int(np.prod(plan.shape)))
    example = decoder.init(jax.random.key(0), jnp.zeros((1, plan.encoder.features), jnp.float32))
    _, unflatten = ravel_pytree(example)

    def start(key: Array) -> Array:
        key_encoder, key_decoder = jax.random.split(key)
        free = jax.random.normal(key_encoder, (plan.encoder.size,), jnp.float32)
        known = decoder.init(key_decoder, jnp.zeros((1, plan.encoder.features), jnp.float32))
        return jnp.concatenate([free, ravel_pytree(known)[0]])

    def apply(weights: Array, inputs: Array) -> Array:
        z = plan.encoder.apply(weights[: plan.encoder.size], inputs)
        return jnp.asarray(decoder.apply(unflatten(weights[plan.encoder.size :]), z))

    return start, apply


@partial(jax.jit, static_argnames=("plan", "training"))
def _train(
    key: Array,
    plan: Plan,
    training: _Training,
    counts: Array,
    begin: Array | None,
    x: Array,
    y: Array,
    x_out: Array,
    y_out: Array,
) -> tuple[Array, Array, Array]:
    start, apply = _network(plan)
    out = (jnp.arange(x_out.shape[0]) < counts[1]).astype(x.dtype)[:, None] / counts[1].astype(x.dtype)
    adam = optax.adamw(optax.cosine_decay_schedule(training.learning_rate, training.steps), weight_decay=training.decay)

    def loss(weights: Array, index: Array, noise: Array) -> Array:
        return jnp.mean((apply(weights, x[index] + training.noise * noise) - y[index]) ** 2)

    def step(carry, key):
        weights, state = carry
        key_index, key_noise = jax.random.split(key)
        index = jax.random.randint(key_index, (training.batch_size,), 0, counts[0])
        noise = jax.random.normal(key_noise, (training.batch_size, *x.shape[1:]), x.dtype)
        move, state = adam.update(jax.grad(loss)(weights, index, noise), state, weights)
        return (optax.apply_updates(weights, move), state), None

    def check(carry, keys):
        weights, state, best, score = carry
        (weights, state), _ = jax.lax.scan(step, (weights, state), keys)
        now = jnp.sum(jnp.mean((apply(weights, x_out) - y_out) ** 2, axis=1, keepdims=True) * out)
        better = now < score
        return (weights, state, jnp.where(better, weights, best), jnp.minimum(now, score)), now

    def member(key: Array, known: Array | None) -> tuple[Array, Array]:
        key_start, key_steps = jax.random.split(key)
        weights = start(key_start) if known is None else known
        checks = training.steps // training.every
        keys = jax.random.split(key_steps, checks * training.every).reshape(checks, training.every)
        begun = (weights, adam.init(weights), weights, jnp.full((), jnp.inf, weights.dtype))
        (_, _, best, _), course = jax.lax.scan(check, begun, keys)
        return best, course

    weights, course = jax.vmap(member)(jax.random.split(key, training.members), begin)
    found = jax.vmap(lambda w: apply(w, x_out))(weights)
    missed = jnp.sum((jnp.mean(found, axis=0) - y_out) ** 2 * out, axis=0)
    spread = jnp.sum(jnp.var(found, axis=0) * out, axis=0)
    # Few held-out pairs: a channel borrows from the others as much as four pairs of its own would say.
    count = counts[1].astype(x.dtype)
    rest = (count * missed + 4.0 * jnp.mean(missed)) / (count + 4.0)
    return weights, jnp.maximum(rest - spread, 0.1 * rest), course


@partial(jax.jit, static_argnames="plan")
def _predict(plan: Plan, weights: Array, rest: Array, shown: Array, asked: Array, inputs: Array) -> tuple[Array, Array]:
    _, apply = _network(plan)
    x = ((inputs - shown[0]) / shown[1]).astype(weights.dtype)
    found = jax.vmap(lambda w: apply(w, x))(weights).astype(asked.dtype)
    centre = jnp.mean(found, axis=0)
    variance = rest[None] + jnp.mean((found - centre[None]) ** 2, axis=0)
    form = (len(inputs), *plan.shape)
    return asked[0][None] + asked[1][None] * centre.reshape(form), asked[1][None] ** 2 * variance.reshape(form)
