"""What a person may do between two steps. Each action is data, journalled, and applied by a pure function."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import jax.numpy as jnp
import numpy as np

from gpax_lab.experiment.experiment import State
from gpax_lab.experiment.room import with_room
from gpax_lab.observations import PENDING, VETOED, add_pending


@dataclass(frozen=True)
class Pin:
    """Measure these points next, (q, d) in the user's units, instead of what the score would choose."""

    x: np.ndarray


@dataclass(frozen=True)
class Veto:
    """Never measure these points, (n, d) in the user's units: each takes a slot of its own."""

    x: np.ndarray


@dataclass(frozen=True)
class Reweigh:
    """Change the weights of the score's terms, one number each, in the order of `score.names`."""

    weights: tuple[float, ...]


@dataclass(frozen=True)
class Rescale:
    """Use another scalarizer, by the name under which the campaign knows it; past readings are read anew with it."""

    scalarizer: str


Intervention: TypeAlias = Pin | Veto | Reweigh | Rescale


def apply(state: State, action: Intervention) -> State:
    """The state after an intervention. A pin marks its points as pending; `run` then measures them.

    Raises:
        ValueError: the number of weights is not the number of terms, or points have the wrong width.
    """
    match action:
        case Pin(x) | Veto(x):
            points = np.atleast_2d(np.asarray(x, state.obs.x.dtype))
            if points.shape[1] != state.obs.x.shape[1] or not np.isfinite(points).all():
                raise ValueError(f"points must be finite, shape (n, {state.obs.x.shape[1]}); got {points.tolist()}.")
            state = with_room(state, len(points))
            obs = state.obs
            for point in jnp.asarray(points):
                obs = add_pending(obs, point, VETOED if isinstance(action, Veto) else PENDING)
            return state._replace(obs=obs)
        case Reweigh(weights):
            if len(weights) != len(state.score.weights):
                raise ValueError(f"{len(state.score.weights)} weights needed, for {state.score.names}.")
            arrays = tuple(jnp.asarray(w, old.dtype) for w, old in zip(weights, state.score.weights, strict=True))
            return state._replace(score=replace(state.score, weights=arrays))
        case Rescale():
            return state


def join_pins(pinned: np.ndarray | None, action: Intervention) -> np.ndarray | None:
    """The points (q, d) that people want next, after one more intervention; None for none."""
    if not isinstance(action, Pin):
        return pinned
    points = np.atleast_2d(action.x)
    return points if pinned is None else np.concatenate([pinned, points])


def to_record(action: Intervention) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Header and arrays for the journal."""
    kind = type(action).__name__.lower()
    match action:
        case Pin(x) | Veto(x):
            return {"action": kind}, {"x": np.atleast_2d(np.asarray(x, np.float64))}
        case Reweigh(weights):
            return {"action": kind, "weights": list(weights)}, {}
        case Rescale(name):
            return {"action": kind, "scalarizer": name}, {}


def from_record(header: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Intervention:
    """The intervention that `to_record` wrote."""
    match header["action"]:
        case "pin":
            return Pin(arrays["x"])
        case "veto":
            return Veto(arrays["x"])
        case "reweigh":
            return Reweigh(tuple(header["weights"]))
        case "rescale":
            return Rescale(header["scalarizer"])
        case other:
            raise ValueError(f"the journal holds an intervention of unknown kind {other!r}: of a newer version?")
