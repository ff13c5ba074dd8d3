"""Interventions as records of a journal, and back."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from gpax_lab.experiment.interventions import (
    _NO_INTERVENTION,
    Adopt,
    Discard,
    Intervention,
    Pin,
    Reject,
    Rescale,
    Reweigh,
    Veto,
)
from gpax_lab.hypotheses import _formulas as formulas

ASKED = ("by", "why", "wish")
"""What an intervention says of whoever asks for it."""


def join_pins(pinned: np.ndarray | None, action: Intervention) -> np.ndarray | None:
    """The points (q, d) that people want next, after one more intervention; None for none."""
    if not isinstance(action, Pin):
        return pinned
    points = np.atleast_2d(action.x)
    return points if pinned is None else np.concatenate([pinned, points])


def to_record(action: Intervention) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Header and arrays for the journal."""
    header, arrays = _to_record(action)
    asked = {name: value for name in ASKED if (value := getattr(action, name))}
    return header | asked, arrays


def _to_record(action: Intervention) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    kind = type(action).__name__.lower()
    match action:
        case Veto(None, box):
            return {"action": kind}, {"box": np.asarray(box, np.float64)}
        case Pin(x) | Veto(x):
            return {"action": kind}, {"x": np.atleast_2d(np.asarray(x, np.float64))}
        case Reweigh(weights):
            return {"action": kind, "weights": list(weights)}, {}
        case Rescale(name):
            return {"action": kind, "scalarizer": name}, {}
        case Adopt():
            plain = {
                "name": action.name,
                "formula": action.formula,
                "prior": {name: formulas.as_data(value) for name, value in action.prior.items()},
                "units": dict(action.units),
                "inputs": list(action.inputs),
                "scale": None if action.scale is None else [float(value) for value in action.scale],
                "noise": None if action.noise is None else formulas.as_data(action.noise),
                "share": action.share,
                "source": action.source,
            }
            return {"action": kind} | plain, {}
        case Discard(token):
            return {"action": kind, "token": token}, {}
        case Reject(name, text):
            return {"action": kind, "name": name, "formula": text}, {}
    raise TypeError(_NO_INTERVENTION.format(action))


def from_record(header: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Intervention:
    """The intervention that `to_record` wrote."""
    asked = {name: header[name] for name in ASKED if name in header}
    match header["action"]:
        case "pin":
            return Pin(arrays["x"], **asked)
        case "veto":
            return Veto(arrays.get("x"), arrays.get("box"), **asked)
        case "reweigh":
            return Reweigh(tuple(header["weights"]), **asked)
        case "rescale":
            return Rescale(header["scalarizer"], **asked)
        case "adopt":
            given = {name: value for name, value in header.items() if name != "action"}
            scale = None if given["scale"] is None else tuple(given["scale"])
            return Adopt(**given | {"inputs": tuple(given["inputs"]), "scale": scale})
        case "reject":
            return Reject(header["name"], header["formula"], **asked)
        case "discard":
            return Discard(header["token"], **asked)
        case other:
            raise ValueError(f"the journal holds an intervention of unknown kind {other!r}: of a newer version?")
