"""A posterior in a file: its arrays, to be read back with the model that made it.

A model is made of functions, so that it is not in the file: build it again by the same lines. Names and shapes of the
parameters, its density at a few points and what the draws predict at a few points tell whether it is the same one.
"""

import json
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from gpax_lab.core._observations import EMPTY, MEASURED, Observations
from gpax_lab.core._sequence import additive_recurrence
from gpax_lab.inference import _ensemble, _laplace, _nuts, _smc_state
from gpax_lab.inference._density import unconstrained_density
from gpax_lab.inference._posterior import Info, Posterior, condition_draws
from gpax_lab.models._model import Model

TUNINGS: Mapping[str, type] = {
    "ensemble": _ensemble.Tuning,
    "laplace": _laplace.Tuning,
    "nuts": _nuts.Tuning,
    "smc": _smc_state.Tuning,
}
"""What each sampler of this library carries on, by its name."""
FORMAT = 1
POINTS = 5
"""Points of the box at which predictions are compared."""


def save(posterior: Posterior, path: str | Path) -> None:
    """Write a posterior into one .npz file; `load_posterior` reads it.

    Raises:
        TypeError: it is none, or was made by a sampler of your own.
    """
    if not isinstance(posterior, Posterior):
        raise TypeError(f"save writes a Posterior or a ModelAverage; got {type(posterior).__name__}.")
    arrays: dict[str, np.ndarray] = {}
    write(path, {"each": [pack(posterior, "0/", arrays)]}, arrays)


def write(path: str | Path, about: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    """The file of arrays, and in it what there is to know of them."""
    text = json.dumps({"format": FORMAT, **about})
    with Path(path).open("wb") as file:
        np.savez(file, allow_pickle=False, about=np.asarray(text), **arrays)


def read(path: str | Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """What `write` wrote.

    Raises:
        ValueError: no such file content, or one of another version.
    """
    if Path(path).is_file() and not zipfile.is_zipfile(path):  # numpy would advise to unpickle it
        raise ValueError(f"{path} holds no posterior: it is no .npz file, or it was cut off while it was written.")
    with np.load(path, allow_pickle=False) as file:
        if "about" not in file:
            raise ValueError(f"{path} holds no posterior.")
        about, arrays = json.loads(str(file["about"])), {name: file[name] for name in file.files}
    if about["format"] != FORMAT:
        raise ValueError(f"{path} is of format {about['format']}, and this version reads {FORMAT}.")
    return about, arrays


def pack(posterior: Posterior, prefix: str, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """Put the arrays of one posterior among the others; what else there is to know comes back."""
    made_by = next((name for name, kind in TUNINGS.items() if type(posterior.tuning) is kind), None)
    if made_by is None:
        name = type(posterior.tuning).__qualname__
        raise TypeError(f"the sampler's {name} is not of this library: keep such a posterior yourself.")
    for name, value in posterior.params.items():
        arrays[f"{prefix}params/{name}"] = np.asarray(value)
    parts = {"info": posterior.info, "tuning": posterior.tuning, "factor": posterior.factor}
    counts = {}
    for part, tree in parts.items():
        leaves = jax.tree.leaves(tree)
        counts[part] = len(leaves)
        arrays.update({f"{prefix}{part}/{i}": np.asarray(leaf) for i, leaf in enumerate(leaves)})
    if posterior.model.bounds is not None:
        arrays[f"{prefix}bounds"] = np.asarray(posterior.model.bounds)
    arrays[f"{prefix}log_weight"] = np.asarray(posterior.log_weight)
    arrays[f"{prefix}log_evidence"] = np.asarray(posterior.log_evidence)
    if posterior.seen is not None:
        arrays[f"{prefix}seen"] = np.asarray(posterior.seen)
        arrays[f"{prefix}density"] = _density(posterior.model, posterior.seen.size, posterior.log_weight.dtype)
    if posterior.factor is not None:
        arrays[f"{prefix}probe"] = np.asarray(_probe(posterior))
    return {"params": list(posterior.params), "counts": counts, "tuning": made_by}


def unpack(about: dict[str, Any], prefix: str, arrays: dict[str, np.ndarray], model: Model) -> Posterior:
    """The posterior that `pack` took apart, of this model."""
    params = {name: jnp.asarray(arrays[f"{prefix}params/{name}"]) for name in about["params"]}
    log_weight = jnp.asarray(arrays[f"{prefix}log_weight"])
    _check_parameters(params, model, log_weight.dtype)

    def leaves(part: str) -> list[Array]:
        return [jnp.asarray(arrays[f"{prefix}{part}/{i}"]) for i in range(about["counts"][part])]

    # Files of before name the class by its module: gpax_lab.inference.smc:Tuning.
    made_by = about["tuning"].partition(":")[0].rpartition(".")[2].removeprefix("_")
    if made_by not in TUNINGS:
        raise ValueError(f"the file was not written by this library: it names the sampler {about['tuning']}.")
    tuning = TUNINGS[made_by](*leaves("tuning"))
    seen = jnp.asarray(arrays[f"{prefix}seen"]) if f"{prefix}seen" in arrays else None
    evidence = jnp.asarray(arrays[f"{prefix}log_evidence"])
    posterior = Posterior(
        params=params,
        log_weight=log_weight,
        log_evidence=evidence,
        factor=None,
        info=Info(*leaves("info")),
        tuning=tuning,
        model=model,
        seen=seen,
    )
    before, now = arrays.get(f"{prefix}bounds"), model.bounds
    if not (before is now if before is None or now is None else np.array_equal(before, now)):
        raise ValueError("the model is not the one of this file: it is made for other bounds.")
    if seen is not None:
        density = _density(model, seen.size, log_weight.dtype)
        _same(density, arrays[f"{prefix}density"], "its prior, kernel, mean or scale")
    if not about["counts"]["factor"] or seen is None:
        return posterior
    shape = jax.eval_shape(condition_draws, model, params, _like(model, seen.size, log_weight.dtype))
    wanted, found = jax.tree.leaves(shape), leaves("factor")
    if [w.shape for w in wanted] != [f.shape for f in found]:
        raise ValueError("the model is not the one of this file: what it makes of the observations has another shape.")
    posterior = replace(posterior, factor=jax.tree.unflatten(jax.tree.structure(shape), found))
    _same(np.asarray(_probe(posterior)), arrays[f"{prefix}probe"], "what it predicts from the same draws")
    return posterior


def _same(now: np.ndarray, before: np.ndarray, what: str) -> None:
    """Compare up to rounding; the compiler or the processor may be another one."""
    close = 1e-2 if before.dtype == np.float32 else 1e-6
    largest = np.max(np.abs(before[np.isfinite(before)]), initial=0.0)
    if now.shape != before.shape or not np.allclose(now, before, rtol=close, atol=close * largest, equal_nan=True):
        raise ValueError(f"the model is not the one of this file: {what} differs.")


def _check_parameters(params: dict[str, Array], model: Model, dtype: np.dtype) -> None:
    space = unconstrained_density(model, dtype)
    wanted = jax.eval_shape(space.constrain, jax.ShapeDtypeStruct((space.size,), dtype))
    needs = {name: value.shape for name, value in wanted.items()}
    has = {name: value.shape[1:] for name, value in params.items()}
    if needs != has:
        raise ValueError(f"the model is not the one of this file: it has the parameters {needs}, the file {has}.")


def _like(model: Model, capacity: int, dtype: np.dtype) -> Observations:
    """Shapes of the observations that the posterior was conditioned on."""

    def array(*shape: int) -> Any:
        return jax.ShapeDtypeStruct(shape, dtype)

    y = array(capacity) if model.outputs == 1 else array(capacity, model.outputs)
    status: Any = jax.ShapeDtypeStruct((capacity,), np.dtype(np.int8))
    return Observations(array(capacity, model.dim), y, array(capacity), status)


def _density(model: Model, capacity: int, dtype: np.dtype) -> np.ndarray:
    """(3,) log density of the model at three points of its space, given a few observations made up for that."""
    count = min(POINTS, capacity)
    x = jnp.zeros((capacity, model.dim), dtype).at[:count].set(_probe_points(model, dtype)[:count])
    y = jnp.zeros(capacity if model.outputs == 1 else (capacity, model.outputs), dtype)
    y = y.at[:count].set(jnp.arange(1.0, count + 1.0, dtype=dtype).reshape(-1, *[1] * (y.ndim - 1)))
    status = jnp.where(jnp.arange(capacity) < count, MEASURED, EMPTY).astype(jnp.int8)
    space, obs = unconstrained_density(model, dtype), Observations(x, y, jnp.ones(capacity, dtype), status)
    points = jnp.asarray([-0.3, 0.0, 0.4], dtype)[:, None] * jnp.ones(space.size, dtype)[None]
    return np.asarray(jax.lax.map(lambda z: space.potential(z, obs), points))


def _probe_points(model: Model, dtype: np.dtype) -> Array:
    """(5, d) in the box of the model."""
    low, high = (np.zeros(model.dim), np.ones(model.dim)) if model.bounds is None else model.bounds.T
    return jnp.asarray(low + (high - low) * np.asarray(additive_recurrence(POINTS, model.dim)), dtype)


def _probe(posterior: Posterior) -> Array:
    """(2, draws, 5) mean and variance at a few points of the box."""
    mean, variance = posterior.predict(_probe_points(posterior.model, posterior.log_weight.dtype))
    return jnp.stack([mean, variance])
