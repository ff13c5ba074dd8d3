"""What decides the result of training, in numbers and words that can be compared in another process.

Functions and networks have no name that holds elsewhere, so they are told apart by what they do: schedules by their
values, the optimizer by its first updates, the networks, the likelihood and the physics term by the bound of the
untrained model. How long is trained (epochs, patience) is left out: a run may go on for longer than was planned.
"""

import hashlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from gpax_lab.nn._training import TrainState
from gpax_lab.vae._elbo import Weight, Weights, elbo
from gpax_lab.vae._examples import Examples
from gpax_lab.vae._model import VAE, Params
from gpax_lab.vae._stored import Stored

EPOCHS = np.concatenate([np.arange(512), 2 ** np.arange(9, 18)])
"""Epochs at which schedules are compared."""

PROBES = ((1.0, None), (2.0, None), (3.0, None), (1e3, None), (1.0, 10), (1.0, 100), (1.0, 1_000), (1.0, 30_000))
"""Sizes of gradients with which an optimizer is probed, and the step it is put forward to; None for the next one."""

ROUNDING = 2e-5
"""Relative difference that another processor's order of summing makes in single precision, with room to spare."""

FEW = 16
"""Examples on which models are compared."""


class Steps(NamedTuple):
    """What steps are made by: the optimizer, its rate, and the weights of the terms of the bound."""

    optimizer: optax.GradientTransformation
    learning_rate: Weight
    weights: Weights


def of_training(
    key: Array,
    model: VAE,
    data: Examples | Stored,
    held_out: Examples | None,
    state: TrainState,
    steps: Steps,
) -> dict[str, Any]:
    """What must agree for a run to be gone on with; `state` is that before the first step."""
    typed = jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
    params = state.params if state.score.ndim == 0 else jax.tree.map(lambda leaf: leaf[0], state.params)
    first = data.first() if isinstance(data, Stored) else data
    return {
        "key": np.asarray(jax.random.key_data(key) if typed else key).tolist(),
        "random numbers": str(jax.random.key_impl(key)) if typed else None,
        **_of_model(model, params),
        "bound of the untrained model": _bound(model, params, first.take(jnp.arange(min(FEW, len(first))))),
        "examples": _of_stored(data) if isinstance(data, Stored) else _digest(data),
        "held_out": None if held_out is None else _digest(held_out),
        "members": None if state.score.ndim == 0 else len(state.score),
        "optimizer": _updates(steps.optimizer, params),
        "learning_rate": _course(steps.learning_rate),
        **{f"weights.{name}": _course(value) for name, value in steps.weights._asdict().items()},
    }


def of_trained(model: VAE, params: Params) -> list[float]:
    """The terms of the bound of a model on examples made up for that, by which it is told from another one."""
    keys = jax.random.split(jax.random.key(0), 4)
    dtype = params["log_sd"].dtype

    def drawn(key: Array, *shape: int) -> Array:
        return jax.random.uniform(key, (FEW, *shape), dtype, 0.1, 0.9)

    x, target = drawn(keys[0], *model.shape), drawn(keys[1], *model.output)
    unknown = jnp.full(FEW, -1, jnp.int32)
    condition, properties = drawn(keys[2], model.conditions), drawn(keys[3], model.properties)
    return _bound(model, params, Examples(x, target, condition, unknown, properties))


def agree(now: Any, then: Any) -> bool:
    """Whether two entries of a fingerprint are the same; lists of floats up to what another processor rounds."""
    if not (isinstance(now, list) and now and isinstance(now[0], float)) or not isinstance(then, list):
        return bool(now == then)
    return len(now) == len(then) and np.allclose(now, then, rtol=ROUNDING, atol=0.0, equal_nan=True)


def _of_model(model: VAE, params: Params) -> dict[str, Any]:
    leaves = jax.tree_util.tree_leaves_with_path(params)
    return {
        "shape": list(model.shape),
        "output": list(model.output),
        "parts": [repr(part) for part in model.parts],
        "classes": model.classes,
        "conditions": model.conditions,
        "properties": model.properties,
        "gumbel": model.gumbel,
        "likelihood": model.likelihood.name,
        "networks": [f"{jax.tree_util.keystr(path)} {leaf.dtype} {leaf.shape}" for path, leaf in leaves],
    }


def _bound(model: VAE, params: Params, some: Examples) -> list[float]:
    return [float(term) for term in elbo(model, params, jax.random.key(0), some)]


def _course(weight: Weight) -> Any:
    """A number, or the values of a schedule."""
    if not callable(weight):
        return np.asarray(weight, float).tolist()
    values = jnp.broadcast_to(jnp.asarray(weight(jnp.asarray(EPOCHS, float))), EPOCHS.shape)
    return [float(value) for value in np.asarray(values)]


def _updates(optimizer: optax.GradientTransformation, params: Params) -> list[float]:
    """Updates of a few entries of every parameter, from gradients of many sizes, early and late in a training.

    An optimizer is made of functions, which have no name that holds elsewhere; what shows in none of these updates (a
    schedule that changes in between, a limit above all gradients here) is not told apart.
    """
    leaves, structure = jax.tree.flatten(params)
    opt_state, found = optimizer.init(params), []
    for step, (size, count) in enumerate(PROBES):
        # Within a step from 1e-6 of it upwards: what is added to a denominator, and where gradients are clipped, shows.
        waves = [np.sin(1.0 + step + np.arange(leaf.size)).reshape(leaf.shape) for leaf in leaves]
        sizes = [size * 10.0 ** (-2 * (k % 4)) for k in range(len(leaves))]
        gradient = [jnp.asarray(size * wave, leaf.dtype) for size, wave, leaf in zip(sizes, waves, leaves, strict=True)]
        at = jax.tree.map(lambda leaf, count=count: _counted(leaf, count), opt_state)
        updates, opt_state = optimizer.update(jax.tree.unflatten(structure, gradient), at, params)
        found += [float(value) for leaf in jax.tree.leaves(updates) for value in np.ravel(leaf)[: FEW // 4]]
    return found


def _counted(leaf: Any, count: int | None) -> Any:
    """A counter of steps put forward to `count`; every other part of an optimizer's state as it is."""
    counts = count is not None and jnp.ndim(leaf) == 0 and jnp.issubdtype(jnp.result_type(leaf), jnp.integer)
    return jnp.asarray(count, leaf.dtype) if counts else leaf


def _digest(data: Examples) -> str:
    """Of everything that the examples hold."""
    found = hashlib.sha256()
    for part in jax.tree.leaves(data):
        values = np.asarray(part)
        found.update(f"{values.dtype} {values.shape}".encode())
        found.update(np.ascontiguousarray(values).tobytes())
    return found.hexdigest()


def _of_stored(data: Stored) -> dict[str, Any]:
    """Of the first and last block, since the whole does not fit into memory, and the order of all."""
    blocks = [_digest(data.blocks([index])) for index in (0, data.rows // data.block - 1)]
    return {"blocks": blocks} | {name: getattr(data, name) for name in ("names", "rows", "chunk", "block", "seed")}
