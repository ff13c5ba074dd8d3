"""What a page is told of an entry of the journal: plain values for JSON, without the arrays that it does not draw."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from gpax_lab.core import Status
from gpax_lab.storage import JournalRecord

_POINTS, _IMAGE, _WORDS = 1024, 96, 2000
_DIAGNOSTICS = ("r_hat", "ess_bulk", "ess_tail", "divergences")


def plain(value: Any) -> Any:
    """A value as strict JSON has it: what is not finite becomes None, long text is cut."""
    if isinstance(value, Mapping):
        return {str(name): plain(one) for name, one in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else None
    return None if value is None else str(value)[:_WORDS]


def digest(number: int, record: JournalRecord) -> dict[str, Any]:
    """What a page is told of an entry.

    Args:
        number: of the entry in its journal.
        record: the entry.

    Returns:
        number, kind, step, t (s, a clock that never goes back), wall (s since 1970), and what its kind has.
    """
    told = {"number": number, "kind": record.kind, "step": record.step, "t": record.monotonic, "wall": record.wall}
    try:
        return told | plain(_contents(record))
    except (KeyError, ValueError, TypeError, AttributeError):  # of another version, or of a program of somebody's own
        return told | {"kind": "unclear"}


def _contents(record: JournalRecord) -> dict[str, Any]:
    header, arrays = record.header, record.arrays
    match record.kind:
        case "intent":
            return {"token": header["token"], "phase": header.get("phase", ""), "x": np.asarray(arrays["x"])}
        case "proposal":
            return {"x": np.asarray(arrays["x"]), "pinned": header["pinned"], "value": header["value"]}
        case "reading":
            names = ("token", "ok", "reason", "flags", "seconds", "scalarizer")
            told = {name: header[name] for name in names if name in header}
            asked = np.asarray(arrays["x"])
            where = np.asarray(arrays.get("place", asked))
            numbers = {"y": float(arrays["y"]), "noise": float(arrays["noise"])}
            return told | numbers | {"x": where, "asked": asked}
        case "reread":
            return {"token": header["token"], "y": float(arrays["y"]), "ok": True}
        case "posterior":
            return _fit(header["diagnostics"])
        case "state" | "campaign":
            return {}
    small = {name: np.asarray(array) for name, array in arrays.items() if np.asarray(array).size <= _POINTS}
    return {"header": dict(header)} | small


def _fit(diagnostics: Mapping[str, Any]) -> dict[str, Any]:
    code = Status.of(int(diagnostics["outcome"]))
    words = code.describe()
    told = {name: diagnostics.get(name) for name in _DIAGNOSTICS}
    return told | {"ok": code == Status.OK, "outcome": code.name.lower(), "words": words}


def on_screen(values: np.ndarray) -> list[Any]:
    """A curve (n,), thinned to what a screen shows, as plain values."""
    at = np.unique(np.linspace(0, len(values) - 1, min(len(values), _POINTS)).astype(int))
    return plain(values[at])


def raw(record: JournalRecord) -> dict[str, Any]:
    """The arrays of a measurement as an instrument gave them, thinned to what a screen shows, with their units.

    Returns:
        curves {name: {unit, values (n,), index (n,)}} and images {name: {unit, shape, values (h, w)}}.
    """
    units = record.header.get("units", {})
    curves: dict[str, Any] = {}
    images: dict[str, Any] = {}
    numbers: dict[str, Any] = {}
    for key, stored in record.arrays.items():
        if not key.startswith("raw/"):
            continue
        name, values = key.removeprefix("raw/"), np.asarray(stored)
        unit = units.get(name, "")
        if values.dtype.kind == "c":
            values = np.abs(values)
        values = values.astype(np.float64)
        if values.ndim == 0 or values.size == 1:
            numbers[name] = {"unit": unit, "value": plain(float(values.ravel()[0]))}
        elif values.ndim == 1:
            index = on_screen(np.arange(len(values)))
            curves[name] = {"unit": unit, "values": on_screen(values), "index": index}
        elif values.ndim == 2:
            steps = [max(1, -(-n // _IMAGE)) for n in values.shape]
            images[name] = {
                "unit": unit,
                "shape": list(values.shape),
                "values": plain(values[:: steps[0], :: steps[1]]),
            }
    return {"curves": curves, "images": images, "numbers": numbers}
