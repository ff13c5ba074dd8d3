"""What a page draws of a state: pure functions, compiled once for a capacity, and how positions lie on a screen."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from gpax_lab.acquisition._candidates import domain, is_open
from gpax_lab.core._linalg import in_chunks
from gpax_lab.core._observations import EMPTY
from gpax_lab.core._types import Float
from gpax_lab.experiment import State
from gpax_lab.experiment._experiment import as_asked
from gpax_lab.hypotheses import HypothesisMixture
from gpax_lab.inference._posterior import Posterior

MOST = 4096
"""Positions of a map at which a posterior is evaluated."""
_CHUNK = 1024
_SAME = 1e-9  # of the width: a position that was asked for


class Maps(NamedTuple):
    """The posterior and the acquisition function at the positions of a map.

    Attributes:
        mean, std: (m,) of the noise-free quantity, in its unit.
        acquisition: (m,) larger is better.
        free: (m,) bool: positions that nobody asked for yet, and no person closed.
    """

    mean: Float[Array, " m"]
    std: Float[Array, " m"]
    acquisition: Float[Array, " m"]
    free: Array


@jax.jit
def maps(state: State, x: Array) -> Maps:
    """The maps of a state at positions x (m, d) in the user's units."""
    mean, variance = state.posterior.moments(x)
    view = state.posterior if state.acquisition.own_pending else state.posterior.with_pending(state.obs)
    asked = as_asked(state)
    where = domain(state.candidates, view, asked)

    def value_of(points: Array) -> Array:
        return state.acquisition(view, state.obs, points, state.key, where)

    values = value_of(x) if state.acquisition.joint else in_chunks(value_of, x, _CHUNK)
    width = jnp.maximum(jnp.max(x, axis=0) - jnp.min(x, axis=0), jnp.finfo(x.dtype).tiny)

    def is_asked(point: Array) -> Array:
        near = jnp.all(jnp.abs(asked.x - point[None]) <= _SAME * width[None], axis=1)
        return jnp.any((asked.status != EMPTY) & near)

    near = jax.lax.map(is_asked, x, batch_size=_CHUNK)
    return Maps(mean, jnp.sqrt(variance), values, ~near & is_open(state.candidates.closed, x))


@jax.jit
def predicted(posterior: Posterior | HypothesisMixture, x: Array) -> tuple[Array, Array]:
    """Mean (n,) and standard deviation (n,) of new observations at x (n, d), their noise included."""
    mean, variance = posterior.moments(x)
    noise = jnp.exp(posterior.log_weight) @ posterior.noise_variance(x)
    return mean, jnp.sqrt(variance + noise)


def likely_next(found: Maps, x: np.ndarray, count: int = 3) -> list[int]:
    """Numbers of the free positions with the largest acquisition values, a tenth of the width apart from each other."""
    values = np.where(np.asarray(found.free), np.asarray(found.acquisition, np.float64), -np.inf)
    values[~np.isfinite(values)] = -np.inf
    width = np.maximum(np.ptp(x, axis=0), np.finfo(float).tiny)
    chosen: list[int] = []
    for _ in range(count):
        at = int(np.argmax(values))
        if not np.isfinite(values[at]):
            break
        chosen.append(at)
        values[np.linalg.norm((x - x[at]) / width, axis=1) < 0.1] = -np.inf
    return chosen


def thinned(positions: np.ndarray, most: int = MOST) -> np.ndarray:
    """Positions (m, d), or a part of them that still is a grid where they are one."""
    x = np.asarray(positions, np.float64)
    if len(x) <= most:
        return x
    axes = [np.unique(column) for column in x.T]
    if np.prod([len(axis) for axis in axes]) != len(x):
        return x[np.unique(np.linspace(0, len(x) - 1, most).astype(int))]
    step = 1
    while np.prod([-(-len(axis) // step) for axis in axes]) > most:
        step += 1
    keep = np.all([np.isin(column, axis[::step]) for column, axis in zip(x.T, axes, strict=True)], axis=0)
    return x[keep]


def layout(x: np.ndarray) -> dict[str, Any]:
    """How positions (m, d) lie: {"grid": [columns, rows], "order": ...} for a regular map of two axes, else {}.

    `order` puts them row by row, the first axis running fastest and the second one upwards.
    """
    if x.shape[1] != 2:
        return {}
    columns, rows = (np.unique(column) for column in x.T)
    if len(columns) * len(rows) != len(x) or min(len(columns), len(rows)) < 2:
        return {}
    return {"grid": [len(columns), len(rows)], "order": np.lexsort((x[:, 0], x[:, 1])).tolist()}


def probabilities(posterior: Any) -> dict[str, Any] | None:
    """Names of competing hypotheses, their probabilities and the errors of these; None where none compete."""
    if not isinstance(posterior, HypothesisMixture):
        return None
    p, error = np.asarray(posterior.probability, float), np.asarray(posterior.probability_error, float)
    return {"names": list(posterior.names), "p": p.tolist(), "error": error.tolist()}


def weights(state: State) -> list[dict[str, Any]]:
    """Names and weights of the terms of the acquisition function."""
    names: Sequence[str] = state.acquisition.names
    return [{"name": name, "weight": float(w)} for name, w in zip(names, state.acquisition.weights, strict=True)]
