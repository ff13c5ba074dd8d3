"""From image to spectrum and back: encoder-decoder networks that say how sure they are."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from jax.flatten_util import ravel_pytree
from jax.typing import ArrayLike

from gpax_lab.core._inputs import check_key, numbers
from gpax_lab.core._types import Float
from gpax_lab.nn._decoders import FeatureDecoder
from gpax_lab.nn._encoder import Encoder
from gpax_lab.nn._training import TrainState, keep_best, start, train_rounds, train_steps


class _Plan(NamedTuple):
    """What is static of a trained ensemble."""

    encoder: Encoder
    widths: tuple[int, ...]
    shape: tuple[int, ...]
    held_out: float


class Im2Spec(NamedTuple):
    """A trained ensemble that predicts in one domain what belongs to an input of the other; made by `im2spec`.

    Attributes:
        weights: (members, p) of encoder and decoder, float32.
        residual_variance: (n,) variance of the standardised channels, flattened, that the ensemble left open on the
            held-out pairs.
        input_stats: (2,) mean and standard deviation of the inputs.
        output_stats: (2, *shape) mean and standard deviation of the outputs, channel by channel.
        loss: (members, checks) mean squared error on held-out pairs in the course of training, standardised.
        plan: static: networks and shapes.
    """

    weights: Float[Array, "members p"]
    residual_variance: Float[Array, " n"]
    input_stats: Float[Array, "2"]
    output_stats: Float[Array, " 2 *shape"]
    loss: Float[Array, "members checks"]
    plan: _Plan

    def predict(self, inputs: ArrayLike) -> tuple[Float[Array, " n *shape"], Float[Array, " n *shape"]]:
        """Mean and variance (n, *shape of an output) for inputs (n, *shape of an input), in the user's units.

        The variance of a new measurement: what was left open on held-out pairs, plus how far the members differ here.
        """
        return _predict(
            self.plan, self.weights, self.residual_variance, self.input_stats, self.output_stats, jnp.asarray(inputs)
        )


class _Training(NamedTuple):
    """Static settings of training."""

    members: int
    steps: int
    batch_size: int
    learning_rate: float
    every: int
    decay: float
    noise: float


class _Pairs(NamedTuple):
    """Inputs and outputs, standardised: those trained on, and those held out."""

    x: Array
    y: Array
    x_out: Array
    y_out: Array


CHECKS = 40
"""How often in the course of training the held-out pairs are evaluated."""


def im2spec(
    key: Array,
    inputs: ArrayLike,
    outputs: ArrayLike,
    encoder: Encoder,
    widths: tuple[int, ...] = (64, 128),
    members: int = 4,
    num_steps: int = 2000,
    batch_size: int = 64,
    learning_rate: float = 1e-3,
    held_out: float = 0.2,
    decay: float = 1e-3,
    noise: float = 0.3,
    start: Im2Spec | None = None,
    capacity: int | None = None,
) -> Im2Spec:
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
        encoder: of this package, with weights, e.g. `mlp(shape)`; its features are the latent space.
        widths: of the decoder's hidden layers.
        members: of the ensemble.
        num_steps: minibatches.
        batch_size: pairs in a minibatch.
        learning_rate: Adam's first step size.
        held_out: share of the pairs that are only used to stop.
        decay: weight decay.
        noise: standard deviation of the noise on the inputs, in theirs.
        start: an earlier answer for the first of the same pairs, with the same encoder, widths and members.
        capacity: number of pairs that fit into the buffer; their number by default.

    Returns:
        An `Im2Spec`, which predicts in the user's units.

    Raises:
        ValueError: shapes that do not fit, values that are not finite, fewer than 5 pairs or fewer than 2 of them to
            train on, more pairs than the capacity, counts below 1, or a start with other networks or another share held
            out.
    """
    check_key(key, "im2spec(key, inputs, outputs, encoder)")
    x, y = numbers(inputs, "inputs", missing=True), numbers(outputs, "outputs", missing=True)
    if min(members, num_steps, batch_size) < 1 or not learning_rate > 0 or min(decay, noise) < 0:
        raise ValueError(
            "im2spec needs members, num_steps and batch_size of at least 1, a positive learning_rate, and decay and "
            "noise that are not negative."
        )
    held = _held(len(x), held_out)
    _check(x, y, encoder, held)
    slots = len(x) if capacity is None else capacity
    if slots < len(x):
        raise ValueError(f"{len(x)} pairs do not fit into a capacity of {slots}.")
    plan = _Plan(encoder, tuple(widths), y.shape[1:], held_out)
    _check_start(start, plan, members)
    input_stats = np.array([x.mean(), x.std() or 1.0])
    sd = y.std(axis=0)
    output_stats = np.stack([y.mean(axis=0), np.where(sd > 0, sd, 1.0)])
    every = max(num_steps // CHECKS, 1)
    training = _Training(members, num_steps, batch_size, learning_rate, every, decay, noise)
    standard_y = ((y - output_stats[0]) / output_stats[1]).reshape(len(y), -1)
    standard = (x - input_stats[0]) / input_stats[1], standard_y
    pairs = _Pairs(*(_padded(values[rows], slots) for rows in (~held, held) for values in standard))
    counts = jnp.array([np.sum(~held), np.sum(held)])
    weights, rest, loss = _train(key, plan, training, counts, None if start is None else start.weights, pairs)
    return Im2Spec(weights, rest, jnp.asarray(input_stats), jnp.asarray(output_stats), loss, plan)


def _check_start(start: Im2Spec | None, plan: _Plan, members: int) -> None:
    if start is None:
        return
    if start.plan._replace(held_out=plan.held_out) != plan or start.weights.shape[0] != members:
        raise ValueError("start has another encoder object, other widths, outputs or members: leave it out.")
    if start.plan.held_out != plan.held_out:
        raise ValueError(
            f"start was trained with held_out={start.plan.held_out}: with {plan.held_out} pairs that were held out "
            "would be trained on, or the other way round. Give the same, or leave start out."
        )


def _held(count: int, share: float) -> np.ndarray:
    """(count,) bool: which pairs are held out; more pairs change nothing about the first ones.

    The golden ratio's sequence covers any stretch of pairs evenly, and follows no row of an image.
    """
    if not 0 < share < 1:
        raise ValueError(f"held_out is a share between 0 and 1; got {share}.")
    return np.asarray((np.arange(count) * 0.6180339887498949) % 1.0 < share)


def _padded(values: np.ndarray, capacity: int) -> Array:
    """In float32, with rows of 0 behind, so that one compiled function serves any number of pairs."""
    full = np.zeros((capacity, *values.shape[1:]), np.float32)
    full[: len(values)] = values
    return jnp.asarray(full)


def _check(x: np.ndarray, y: np.ndarray, encoder: Encoder, held: np.ndarray) -> None:
    if encoder.size == 0 or x.shape[1:] != encoder.shape:
        raise ValueError(f"the encoder needs weights and takes inputs (n, *{encoder.shape}); got {x.shape}.")
    if len(x) != len(y) or len(x) < 5 or y.ndim < 2:
        raise ValueError(f"as many inputs as outputs, 5 or more; got {x.shape} and {y.shape}.")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError("inputs or outputs hold values that are not finite: leave those pairs out.")
    if np.sum(~held) < 2:
        raise ValueError(f"held_out leaves {np.sum(~held)} of {len(x)} pairs to train on: make it smaller.")


def _network(plan: _Plan):
    decoder = FeatureDecoder(plan.widths, int(np.prod(plan.shape)))
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
    plan: _Plan,
    training: _Training,
    counts: Array,
    begin: Array | None,
    pairs: _Pairs,
) -> tuple[Array, Array, Array]:
    x, y, x_out, y_out = pairs
    begin_with, apply = _network(plan)
    out = (jnp.arange(x_out.shape[0]) < counts[1]).astype(x.dtype)[:, None] / counts[1].astype(x.dtype)
    adam = optax.adamw(optax.cosine_decay_schedule(training.learning_rate, training.steps), weight_decay=training.decay)

    def loss(weights: Array, key: Array) -> tuple[Array, None]:
        key_index, key_noise = jax.random.split(key)
        index = jax.random.randint(key_index, (training.batch_size,), 0, counts[0])
        noise = jax.random.normal(key_noise, (training.batch_size, *x.shape[1:]), x.dtype)
        return jnp.mean((apply(weights, x[index] + training.noise * noise) - y[index]) ** 2), None

    def check(state: TrainState, keys: Array) -> tuple[TrainState, Array]:
        state, _ = train_steps(loss, adam, state, keys)
        missed = jnp.sum(jnp.mean((apply(state.params, x_out) - y_out) ** 2, axis=1, keepdims=True) * out)
        return keep_best(state, -missed), missed

    def member(key: Array, known: Array | None) -> tuple[Array, Array]:
        key_start, key_steps = jax.random.split(key)
        weights = begin_with(key_start) if known is None else known
        checks = training.steps // training.every
        keys = jax.random.split(key_steps, checks * training.every).reshape(checks, training.every)
        state, course = train_rounds(check, start(adam, weights, dtype=weights.dtype), keys)
        return state.best, course

    weights, course = jax.vmap(member)(jax.random.split(key, training.members), begin)
    found = jax.vmap(lambda w: apply(w, x_out))(weights)
    missed = jnp.sum((jnp.mean(found, axis=0) - y_out) ** 2 * out, axis=0)
    disagreement = jnp.sum(jnp.var(found, axis=0) * out, axis=0)
    # Few held-out pairs: a channel borrows from the others as much as four pairs of its own would say.
    count = counts[1].astype(x.dtype)
    rest = (count * missed + 4.0 * jnp.mean(missed)) / (count + 4.0)
    return weights, jnp.maximum(rest - disagreement, 0.1 * rest), course


@partial(jax.jit, static_argnames="plan")
def _predict(
    plan: _Plan, weights: Array, residual_variance: Array, input_stats: Array, output_stats: Array, inputs: Array
) -> tuple[Array, Array]:
    _, apply = _network(plan)
    x = ((inputs - input_stats[0]) / input_stats[1]).astype(weights.dtype)
    found = jax.vmap(lambda w: apply(w, x))(weights).astype(output_stats.dtype)
    centre = jnp.mean(found, axis=0)
    variance = residual_variance[None] + jnp.mean((found - centre[None]) ** 2, axis=0)
    shape = (len(inputs), *plan.shape)
    mean, sd = output_stats
    return mean[None] + sd[None] * centre.reshape(shape), sd[None] ** 2 * variance.reshape(shape)
