"""Training: whole epochs as one compiled loop, on data that stay on the device."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from gpax_lab.vae._elbo import ELBOTerms, Weight, Weights, elbo
from gpax_lab.vae._examples import Examples
from gpax_lab.vae._model import VAE, Params
from gpax_lab.vae._stored import Stored

ADAM = optax.scale_by_adam()
"""Kingma & Ba 2015, arXiv:1412.6980, with its usual memory; the step size is an argument of its own."""

FINISHED, STOPPED_EARLY, NOT_FINITE = "finished", "stopped early", "not finite"


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
            rate, or look at the data).
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


class State(NamedTuple):
    """What training carries from epoch to epoch; with members, every leaf has an axis for them.

    Attributes:
        params: parameters.
        memory: of the optimiser.
        key: for the next epoch.
        best: parameters with the best held-out bound.
        score: () that bound.
    """

    params: Params
    memory: Any
    key: Array
    best: Params
    score: Array


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
        >>> small = vae.model((8, 8), latent=1, encoder=vae.Dense((16,)))
        >>> pictures = jax.random.uniform(key, (32, 8, 8))
        >>> found = vae.train(key, small, vae.examples(pictures), epochs=2, batch_size=16, progress=False)
        >>> found.outcome
        'finished'
    """
    plan = _Plan.of(model, data, epochs, batch_size, members, optimizer, devices)
    if patience is not None and (held_out is None or patience < 1):
        raise ValueError("patience is 1 or more, and needs held_out examples.")
    if held_out is not None:
        model.check(held_out)
    rows: list[tuple[ELBOTerms, np.ndarray]] = []
    state, outcome = _start(key, plan, data.first() if isinstance(data, Stored) else data), FINISHED
    keeper = None
    if checkpoint is not None:
        from gpax_lab.vae._checkpoints import Checkpointer

        keeper = Checkpointer(checkpoint, plan.fingerprint(key, data), every)
        state, rows = keeper.resume(state, rows)
    tell, end = _teller(progress, epochs, len(rows))
    try:
        for number in range(len(rows), epochs):
            moved, terms = _one_epoch(plan, state, data, number, learning_rate, weights or Weights())
            if not all(np.isfinite(terms.objective).reshape(-1)):
                outcome = NOT_FINITE
                break
            moved, held = _held_out(plan, moved, held_out)
            state = moved
            rows.append((terms, held))
            tell(Epoch(number + 1, epochs, terms, held))
            if patience is not None and _idle([row[1] for row in rows]) >= patience:
                outcome = STOPPED_EARLY
                break
            if keeper is not None:
                keeper.keep(state, rows, last=number + 1 == epochs)
    finally:
        end()
        if keeper is not None:
            keeper.close()
    return Trained(model, state.params if held_out is None else state.best, _history(rows, members), outcome, members)


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
        count = data.chunk if isinstance(data, Stored) else data.many
        batch = min(batch, count)
        mesh = None
        if devices is not None:
            if batch % len(devices):
                raise ValueError(f"a batch of {batch} cannot be shared evenly by {len(devices)} devices.")
            mesh = Mesh(np.array(devices), ("examples",))
        return _Plan(model, batch, count // batch, members, optimizer, mesh)

    def fingerprint(self, key: Array, data: Examples | Stored) -> dict:
        """What must agree for a run to be gone on with."""
        seed = np.asarray(jax.random.key_data(key) if jnp.issubdtype(key.dtype, jax.dtypes.prng_key) else key)
        return {
            "key": seed.tolist(),
            "shape": list(self.model.shape),
            "parts": [repr(part) for part in self.model.parts],
            "classes": self.model.classes,
            "likelihood": self.model.likelihood.name,
            "examples": data.rows if isinstance(data, Stored) else data.many,
            "batch": self.batch_size,
            "members": self.members,
        }


@partial(jax.jit, static_argnames="plan")
def _start(key: Array, plan: _Plan, data: Examples) -> State:
    dtype = data.x.dtype

    def one(key: Array) -> State:
        key_init, key_steps = jax.random.split(key)
        params = plan.model.init(key_init, dtype)
        spread = jnp.std(data.x)
        params["seen"] = jnp.stack([jnp.mean(data.x), jnp.where(spread > 0, spread, 1.0)])
        if plan.model.likelihood.noisy:
            params["log_sd"] = jnp.log(0.5 * jnp.std(data.target))
        return State(params, plan.optimizer.init(params), key_steps, params, jnp.full((), -jnp.inf, dtype))

    return one(key) if plan.members is None else jax.vmap(one)(jax.random.split(key, plan.members))


def _one_epoch(
    plan: _Plan, state: State, data: Examples | Stored, number: int, rate: Weight, weights: Weights
) -> tuple[State, ELBOTerms]:
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
def _epoch(plan: _Plan, state: State, data: Examples, rate: Array, weights: Weights) -> tuple[State, ELBOTerms]:
    return _over_members(plan, lambda one: _steps(plan, one, data, rate, weights))(state)


def _over_members(plan: _Plan, function: Callable) -> Callable:
    return function if plan.members is None else jax.vmap(function)


def _steps(plan: _Plan, state: State, data: Examples, rate: Array, weights: Weights) -> tuple[State, ELBOTerms]:
    key_order, key_steps, key_next = jax.random.split(state.key, 3)
    order = jax.random.permutation(key_order, data.x.shape[0])[: plan.steps * plan.batch_size]

    def loss(params: Params, key: Array, batch: Examples, now: Weights) -> tuple[Array, ELBOTerms]:
        terms = elbo(plan.model, params, key, batch, now)
        return -terms.objective, terms

    def step(carry, given):
        params, memory = carry
        key, index, speed, now = given
        batch = data.take(index)
        if plan.mesh is not None:
            batch = jax.lax.with_sharding_constraint(batch, NamedSharding(plan.mesh, PartitionSpec("examples")))
        (_, terms), slope = jax.value_and_grad(loss, has_aux=True)(params, key, batch, now)
        move, memory = plan.optimizer.update(slope, memory, params)
        params = jax.tree.map(lambda leaf, by: leaf - speed.astype(leaf.dtype) * by, params, move)
        return (params, memory), terms

    keys = jax.random.split(key_steps, plan.steps)
    start = (state.params, state.memory)
    (params, memory), terms = jax.lax.scan(step, start, (keys, order.reshape(plan.steps, -1), rate, weights))
    return State(params, memory, key_next, state.best, state.score), jax.tree.map(jnp.mean, terms)


@partial(jax.jit, static_argnames="plan")
def _judged(plan: _Plan, state: State, data: Examples) -> tuple[State, Array]:
    def one(state: State) -> tuple[State, Array]:
        # The same draws after every epoch: only the parameters make the difference.
        score = mean_elbo(plan.model, state.params, jax.random.key(0), data, plan.batch_size)
        better = score > state.score
        best = jax.tree.map(lambda new, old: jnp.where(better, new, old), state.params, state.best)
        return state._replace(best=best, score=jnp.maximum(score, state.score)), score

    return _over_members(plan, one)(state)


def _held_out(plan: _Plan, state: State, data: Examples | None) -> tuple[State, np.ndarray]:
    if data is None:
        return state, np.full(() if plan.members is None else (plan.members,), np.nan)
    state, score = _judged(plan, state, data)
    return state, np.asarray(score)


def mean_elbo(model: VAE, params: Params, key: Array, data: Examples, batch_size: int = 100) -> Array:
    """() evidence lower bound, mean over examples, with one draw for each, in batches. Changes nothing."""
    count = data.x.shape[0]
    batch_size = min(batch_size, count)
    whole = count // batch_size

    def part(_: None, given: tuple[Array, Examples]) -> tuple[None, Array]:
        return None, elbo(model, params, given[0], given[1]).elbo

    pieces = Examples(*[a[: whole * batch_size].reshape(whole, batch_size, *a.shape[1:]) for a in data])
    _, found = jax.lax.scan(part, None, (jax.random.split(key, whole), pieces))
    total = jnp.sum(found) * batch_size
    if count > whole * batch_size:
        rest = Examples(*[a[whole * batch_size :] for a in data])
        last = elbo(model, params, jax.random.fold_in(key, whole), rest).elbo
        total = total + last * (count - whole * batch_size)
    return total / count


def _idle(held: list[np.ndarray]) -> int:
    """Epochs since any member had its best held-out bound."""
    scores = np.array(held).reshape(len(held), -1)
    return len(held) - 1 - int(np.max(np.argmax(scores, axis=0)))


def _history(rows: list[tuple[ELBOTerms, np.ndarray]], members: int | None) -> History:
    form = (0,) if members is None else (0, members)
    if not rows:
        blank = jnp.zeros(form)
        return History(ELBOTerms(blank, blank, blank, blank, blank, blank, blank), np.zeros(form))
    terms = jax.tree.map(lambda *same: np.stack(same), *[row[0] for row in rows])
    return History(terms, np.stack([row[1] for row in rows]))


def _teller(
    progress: bool | Callable[[Epoch], None], epochs: int, begun: int
) -> tuple[Callable[[Epoch], None], Callable[[], None]]:
    """What is called after every epoch, and at the end."""
    if callable(progress):
        return progress, lambda: None
    if not progress:
        return (lambda epoch: None), (lambda: None)
    from tqdm.auto import tqdm

    bar = tqdm(total=epochs, initial=begun, unit="epoch", desc="bound")

    def tell(epoch: Epoch) -> None:
        shown = {
            "bound": epoch.terms.elbo,
            "reconstruction": epoch.terms.reconstruction,
            "KL": epoch.terms.kl_continuous,
            "KL of classes": epoch.terms.kl_discrete,
            "held out": epoch.held_out,
        }
        means = {name: float(np.mean(np.asarray(value))) for name, value in shown.items()}
        bar.set_postfix({name: f"{value:.4g}" for name, value in means.items() if np.isfinite(value)}, refresh=False)
        bar.update()

    return tell, bar.close
