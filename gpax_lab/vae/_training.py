"""Training: whole epochs as one compiled loop, on data that stay on the device."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from gpax_lab.core._inputs import check_key
from gpax_lab.core._types import Float
from gpax_lab.nn._checkpoints import Checkpointer
from gpax_lab.nn._progress import ProgressBar
from gpax_lab.nn._training import TrainState, keep_best, start, train_epochs, train_steps
from gpax_lab.vae._elbo import ELBOTerms, Weight, Weights, elbo
from gpax_lab.vae._examples import Examples
from gpax_lab.vae._fingerprint import Steps, agree, of_training
from gpax_lab.vae._model import VAE, Params
from gpax_lab.vae._stored import Stored

ADAM = optax.scale_by_adam()
"""Kingma & Ba 2015, arXiv:1412.6980, with its usual memory; the step size is an argument of its own."""


class History(NamedTuple):
    """What each epoch came to; (epochs,) or (epochs, members) each.

    Attributes:
        terms: of the bound, means over the epoch while the weights moved.
        held_out: bound on the held-out examples after the epoch, all weights 1; NaN without any.
    """

    terms: ELBOTerms
    held_out: np.ndarray


class Epoch(NamedTuple):
    """What is told after every epoch."""

    number: int
    of: int
    terms: ELBOTerms
    held_out: np.ndarray


class Trained(NamedTuple):
    """A model with what it has learned.

    Attributes:
        model: the VAE.
        params: its parameters, after the best epoch on the held-out examples, or after the last one without any.
        history: of training.
        outcome: "finished", "stopped early" or "not finite" (then the parameters are the last good ones: lower the
            rate, or check the data).
        members: how many were trained side by side; None for one (params and history have no axis for it then).
    """

    model: VAE
    params: Params
    history: History
    outcome: str
    members: int | None = None

    def member(self, number: int) -> "Trained":
        """One of the members, alone."""
        if self.members is None:
            raise ValueError("this is one model, not several: train with members=...")
        terms = ELBOTerms(*[term[:, number] for term in self.history.terms])
        params = jax.tree.map(lambda leaf: leaf[number], self.params)
        return Trained(self.model, params, History(terms, self.history.held_out[:, number]), self.outcome)

    def best(self) -> "Trained":
        """The member with the highest bound: on the held-out examples if there are any, else in the last epoch."""
        held = self.history.held_out
        score = np.nanmax(held, axis=0) if np.isfinite(held).any() else self.history.terms.elbo[-1]
        return self.member(int(np.nanargmax(score)))


def train(
    key: Array,
    model: VAE,
    data: Examples | Stored,
    epochs: int = 100,
    batch_size: int = 100,
    learning_rate: Weight = 1e-3,
    weights: Weights | None = None,
    held_out: Examples | None = None,
    patience: int | None = None,
    members: int | None = None,
    optimizer: optax.GradientTransformation = ADAM,
    progress: bool | Callable[[Epoch], None] = True,
    checkpoint: str | Path | None = None,
    every: int = 10,
    devices: Sequence[jax.Device] | None = None,
) -> Trained:
    """Raise the bound by stochastic gradient ascent, one compiled loop an epoch.

    Args:
        key: random key: the same key, the same weights.
        model: a VAE.
        data: examples, or a `stored` set that is larger than memory.
        epochs: how often all examples are seen.
        batch_size: examples in a step; the few that are left over change from epoch to epoch.
        learning_rate: step size of the optimiser, a number or a schedule of the epoch.
        weights: of the terms of the bound, numbers or schedules of the epoch.
        held_out: examples that are not trained on; the parameters of the best epoch on them are kept.
        patience: epochs without a better bound on them that end training; None never.
        members: models trained side by side from different starts and on different batches.
        optimizer: an optax transformation whose updates are multiplied by -rate; Adam by default.
        progress: a bar with the terms of the bound, nothing, or a function of every `Epoch`.
        checkpoint: folder where training is kept every so many epochs and from which it goes on, exactly, if it holds a
            run with the same settings.
        every: epochs between two checkpoints.
        devices: over which every batch is spread; the first one by default.

    Returns:
        A `Trained`.

    Raises:
        ValueError: examples that do not fit the model, counts below 1, patience without held-out examples, or a batch
            that the devices cannot share.
        CheckpointMismatch: the folder holds another run.

    Example:
        >>> key = jax.random.key(0)
        >>> from gpax_lab import vae
        >>> small = vae.model((8, 8), latent=1, encoder=vae.MLP((16,)))
        >>> images = jax.random.uniform(key, (32, 8, 8))
        >>> found = vae.train(key, small, vae.examples(images), epochs=2, batch_size=16, progress=False)
        >>> found.outcome
        'finished'
    """
    plan = _Plan.of(model, data, epochs, batch_size, members, optimizer, devices)
    weighed, history = weights or Weights(), list[_Note]()
    _check(key, model, held_out, patience, every)
    _check_numbers(learning_rate, weighed)
    state, checkpointer = _start(key, plan, data.first() if isinstance(data, Stored) else data), None
    if checkpoint is not None:
        about = of_training(key, model, data, held_out, state, Steps(optimizer, learning_rate, weighed))
        checkpointer = Checkpointer(checkpoint, about | {"batch_size": plan.batch_size}, every, agree)
        state, history = checkpointer.resume(state, _Note(ELBOTerms(*jnp.zeros(len(ELBOTerms._fields))), np.zeros(())))
    callback, close = _callback(progress, epochs, len(history))

    def run_epoch(state: TrainState, number: int) -> tuple[TrainState, _Note] | None:
        state, terms = _one_epoch(plan, state, data, number, learning_rate, weighed)
        if not np.isfinite(terms.objective).all():
            return None
        state, score = _held_out(plan, state, held_out)
        return state, _Note(terms, score)

    try:
        state, outcome = train_epochs(run_epoch, state, epochs, history, patience, callback, checkpointer)
    finally:
        close()
        if checkpointer is not None:
            checkpointer.close()
    params = state.params if held_out is None else state.best
    return Trained(model, params, _history(history, members), outcome, members)


def _check_numbers(learning_rate: Weight, weights: Weights) -> None:
    """Refuse numbers with which the bound does not rise; schedules are functions, and not looked into."""
    if not callable(learning_rate) and not 0 < float(learning_rate) < np.inf:
        raise ValueError(f"learning_rate must be above 0 and finite; got {learning_rate}.")
    for name, value in weights._asdict().items():
        if not callable(value) and not 0 <= float(np.min(value)) <= float(np.max(value)) < np.inf:
            raise ValueError(f"weights.{name} must be finite and not below 0; got {value}.")


def _check(key: Array, model: VAE, held_out: Examples | None, patience: int | None, every: int) -> None:
    check_key(key, "train(key, model, data)")
    if every < 1:
        raise ValueError(f"every is 1 or more epochs; got {every}.")
    if patience is not None and (held_out is None or patience < 1):
        raise ValueError("patience is 1 or more, and needs held_out examples.")
    if held_out is not None:
        model.check(held_out)


class _Note(NamedTuple):
    """What is noted of an epoch: numbers, or (members,) of them."""

    terms: ELBOTerms
    held_out: np.ndarray


class _Plan(NamedTuple):
    """The static settings of training."""

    model: VAE
    batch_size: int
    steps: int
    members: int | None
    optimizer: optax.GradientTransformation
    mesh: Mesh | None

    @staticmethod
    def of(
        model: VAE,
        data: Examples | Stored,
        epochs: int,
        batch: int,
        members: int | None,
        optimizer: optax.GradientTransformation,
        devices: Sequence[jax.Device] | None,
    ) -> "_Plan":
        if epochs < 1 or batch < 1 or (members is not None and members < 1):
            raise ValueError(f"epochs, batch and members are 1 or more; got {epochs}, {batch}, {members}.")
        model.check(data.first() if isinstance(data, Stored) else data)
        count = data.chunk if isinstance(data, Stored) else len(data)
        batch = min(batch, count)
        mesh = None
        if devices is not None:
            if batch % len(devices):
                raise ValueError(f"a batch of {batch} cannot be shared evenly by {len(devices)} devices.")
            mesh = Mesh(np.array(devices), ("examples",))
        return _Plan(model, batch, count // batch, members, optimizer, mesh)


@partial(jax.jit, static_argnames="plan")
def _start(key: Array, plan: _Plan, data: Examples) -> TrainState:
    dtype = data.x.dtype

    def one(key: Array) -> TrainState:
        key_init, key_steps = jax.random.split(key)
        params = plan.model.init(key_init, dtype)
        sd = jnp.std(data.x)
        params["seen"] = jnp.stack([jnp.mean(data.x), jnp.where(sd > 0, sd, 1.0)])
        if plan.model.likelihood.noisy:
            params["log_sd"] = jnp.log(0.5 * jnp.std(data.target))
        return start(plan.optimizer, params, dtype=dtype, key=key_steps)

    return one(key) if plan.members is None else jax.vmap(one)(jax.random.split(key, plan.members))


def _one_epoch(
    plan: _Plan, state: TrainState, data: Examples | Stored, number: int, rate: Weight, weights: Weights
) -> tuple[TrainState, ELBOTerms]:
    chunks = [data] if isinstance(data, Examples) else data.epoch(number)
    parts = 1 if isinstance(data, Examples) else data.chunks
    total: list[ELBOTerms] = []
    for index, chunk in enumerate(chunks):
        at = number + (index + np.arange(plan.steps) / plan.steps) / parts
        course = [_course(weight, at, chunk.x.dtype) for weight in (rate, *weights)]
        state, terms = _epoch(plan, state, chunk, course[0], Weights(*course[1:]))
        total.append(terms)
    return state, jax.tree.map(lambda *same: np.mean([np.asarray(term) for term in same], axis=0), *total)


def _course(weight: Weight, at: np.ndarray, dtype: jnp.dtype) -> Array:
    """(steps,) values of a number or a schedule of the epoch."""
    if not callable(weight):
        return jnp.asarray(np.broadcast_to(np.asarray(weight, dtype), at.shape))
    return jnp.broadcast_to(jnp.asarray(weight(jnp.asarray(at)), dtype), at.shape)


@partial(jax.jit, static_argnames="plan")
def _epoch(
    plan: _Plan, state: TrainState, data: Examples, rate: Array, weights: Weights
) -> tuple[TrainState, ELBOTerms]:
    return _over_members(plan, lambda one: _steps(plan, one, data, rate, weights))(state)


def _over_members(plan: _Plan, function: Callable) -> Callable:
    return function if plan.members is None else jax.vmap(function)


def _steps(
    plan: _Plan, state: TrainState, data: Examples, rate: Array, weights: Weights
) -> tuple[TrainState, ELBOTerms]:
    key_order, key_steps, key_next = jax.random.split(state.key, 3)
    order = jax.random.permutation(key_order, data.x.shape[0])[: plan.steps * plan.batch_size]

    def loss(params: Params, given: tuple[Array, Array, Weights]) -> tuple[Array, ELBOTerms]:
        key, index, now = given
        batch = data.take(index)
        if plan.mesh is not None:
            batch = jax.lax.with_sharding_constraint(batch, NamedSharding(plan.mesh, PartitionSpec("examples")))
        terms = elbo(plan.model, params, key, batch, now)
        return -terms.objective, terms

    keys = jax.random.split(key_steps, plan.steps)
    inputs = keys, order.reshape(plan.steps, -1), weights
    state, terms = train_steps(loss, plan.optimizer, state, inputs, rate)
    return state._replace(key=key_next), jax.tree.map(jnp.mean, terms)


@partial(jax.jit, static_argnames="plan")
def _judged(plan: _Plan, state: TrainState, data: Examples) -> tuple[TrainState, Array]:
    def one(state: TrainState) -> tuple[TrainState, Array]:
        # The same draws after every epoch: only the parameters make the difference.
        score = mean_elbo(plan.model, state.params, jax.random.key(0), data, plan.batch_size)
        return keep_best(state, score), score

    return _over_members(plan, one)(state)


def _held_out(plan: _Plan, state: TrainState, data: Examples | None) -> tuple[TrainState, np.ndarray]:
    if data is None:
        return state, np.full(() if plan.members is None else (plan.members,), np.nan)
    state, score = _judged(plan, state, data)
    return state, np.asarray(score)


def mean_elbo(model: VAE, params: Params, key: Array, data: Examples, batch_size: int = 100) -> Float[Array, ""]:
    """() evidence lower bound, mean over examples, with one draw for each, in batches. Changes nothing.

    Args:
        model: a VAE.
        params: its parameters.
        key: random key.
        data: examples.
        batch_size: examples at a time.

    Returns:
        () nat.
    """
    count = data.x.shape[0]
    batch_size = min(batch_size, count)
    whole = count // batch_size

    def part(_: None, given: tuple[Array, Examples]) -> tuple[None, Array]:
        return None, elbo(model, params, given[0], given[1]).elbo

    pieces = jax.tree.map(lambda a: a[: whole * batch_size].reshape(whole, batch_size, *a.shape[1:]), data)
    _, found = jax.lax.scan(part, None, (jax.random.split(key, whole), pieces))
    total = jnp.sum(found) * batch_size
    if count > whole * batch_size:
        rest = jax.tree.map(lambda a: a[whole * batch_size :], data)
        last = elbo(model, params, jax.random.fold_in(key, whole), rest).elbo
        total = total + last * (count - whole * batch_size)
    return total / count


def _history(history: list[_Note], members: int | None) -> History:
    form = (0,) if members is None else (0, members)
    if not history:
        blank = jnp.zeros(form)
        return History(ELBOTerms(blank, blank, blank, blank, blank, blank, blank), np.zeros(form))
    return History(*jax.tree.map(lambda *same: np.stack(same), *history))


def _callback(
    progress: bool | Callable[[Epoch], None], epochs: int, done: int
) -> tuple[Callable[[int, _Note], None], Callable[[], None]]:
    """What is called after every epoch, and at the end."""
    if callable(progress):
        return (lambda number, note: progress(Epoch(number, epochs, *note))), (lambda: None)
    if not progress:
        return (lambda number, note: None), (lambda: None)
    bar = ProgressBar(epochs, done, "bound")

    def show(number: int, note: _Note) -> None:
        bar.show(
            {
                "bound": note.terms.elbo,
                "reconstruction": note.terms.reconstruction,
                "KL": note.terms.kl_continuous,
                "KL of classes": note.terms.kl_discrete,
                "held out": note.held_out,
            }
        )

    return show, bar.close
