"""Measurements as a journal keeps them, and past ones seen through another scalarizer."""

from collections.abc import Callable, Container, Iterable, Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from gpax_lab.core import Measurement
from gpax_lab.core._observations import FAILED, MEASURED, Observations
from gpax_lab.experiment._record import Answer, JournalRecord, position_of

_RAW = "raw/"
_LONGEST = 100_000  # characters of what is kept as text


class Received(NamedTuple):
    """What an instrument handed back, as far as a journal can hold it.

    Attributes:
        arrays: numbers, under the names that they have in a journal.
        units: as text.
        position: as it came; None for none.
        ok: whether the instrument says that it may be used.
        reason: why not, in words.
        flags: the same in single words; "rounded:name" and "not_kept:name" for arrays that are not as they came.
        words: arrays that are no numbers, as text, by name.
        error: what the driver has to mend; None where all is kept.
    """

    arrays: dict[str, np.ndarray]
    units: dict[str, str]
    position: Any
    ok: bool
    reason: str
    flags: tuple[str, ...]
    words: dict[str, str]
    error: TypeError | None


def received(measurement: Any) -> Received:
    """Whatever an instrument hands back after it has acted, without an error: the act can not be undone."""
    given, units = _part(measurement, "arrays"), _part(measurement, "units")
    arrays: dict[str, np.ndarray] = {}
    words: dict[str, str] = {}
    flags = _flags(_part(measurement, "flags"))
    for name, value in given.items() if isinstance(given, Mapping) else ():
        stored = storable(value)
        if stored is None:
            words[str(name)] = _text(value)
            flags.append(f"not_kept:{name}")
        else:
            arrays[f"{_RAW}{name}"] = stored
            flags += [f"rounded:{name}"] if stored.dtype != np.asarray(value).dtype else []
    missing = [] if isinstance(given, Mapping) else ["arrays"]
    ok, reason = False, _part(measurement, "reason")
    try:
        ok = bool(measurement.ok)
    except Exception:
        missing.append("ok")
    error = None
    if missing or words:
        what = [f"no {name}" for name in missing] + [f"{name!r}, which is kept as text only" for name in words]
        error = TypeError(
            f"the instrument handed back a {type(measurement).__name__} that the journal can not hold as it is: "
            f"{', '.join(what)}. All else is recorded; let the driver hand back arrays of numbers, and resume"
        )
    given_reason = "" if reason is None else _text(reason)
    plain = {str(name): _text(unit) for name, unit in units.items()} if isinstance(units, Mapping) else {}
    why = given_reason or (str(error) if missing else "")
    return Received(
        arrays=arrays,
        units=plain,
        position=_part(measurement, "position"),
        ok=ok,
        reason=why,
        flags=tuple(flags),
        words=words,
        error=error,
    )


def storable(value: Any) -> np.ndarray | None:
    """The array as a journal can hold it, with at most 64 bits a part; None for what is no array of numbers."""
    try:
        array = np.asarray(value)
        if array.dtype.kind not in "biufc":
            return None
        widest = np.complex128 if array.dtype.kind == "c" else np.float64
        with np.errstate(all="ignore"):
            return array.astype(widest) if array.dtype.itemsize > np.dtype(widest).itemsize else array
    except Exception:  # rows of different lengths, an object with tricks of its own
        return None


def _part(measurement: Any, name: str) -> Any:
    try:
        return getattr(measurement, name, None)
    except Exception:
        return None


def _flags(given: Any) -> list[str]:
    try:
        return [given] if isinstance(given, str) else [_text(one) for one in given or ()]
    except Exception:
        return ["flags_unclear"]


def _text(value: Any) -> str:
    """In words; never an error, and never endless."""
    try:
        return str(value.tolist() if isinstance(value, np.ndarray) else value)[:_LONGEST]
    except Exception:
        return f"<{type(value).__name__}>"


def kept(entry: JournalRecord) -> Measurement:
    """The measurement of a journal entry; not ok where the instrument gave none, or a bad one."""
    header = entry.header
    arrays = {name.removeprefix(_RAW): array for name, array in entry.arrays.items() if name.startswith(_RAW)}
    position = entry.arrays.get("position", entry.arrays["x"])
    usable = bool(header.get("usable", False))
    units = {name: header.get("units", {}).get(name, "") for name in arrays}
    reason = header.get("reason") or ("" if usable else "no reason was recorded")
    return Measurement(arrays, units, position, usable, reason, tuple(header["flags"]))


def mended(obs: Observations, answers: Iterable[Answer]) -> Observations | None:
    """The observations with failed slots that have an answer by now filled; None where there are none.

    Args:
        obs: observations.
        answers: measurements that could not be used at first, each with its position.
    """
    x, y, noise, status = (np.array(part) for part in obs)
    changed = False
    for answer in answers:
        point = np.asarray(answer.position, x.dtype)
        slot = next((s for s in np.flatnonzero(status == FAILED) if np.array_equal(x[s], point)), None)
        if slot is not None:
            y[slot], noise[slot], status[slot], changed = answer.y, answer.noise, MEASURED, True
    return Observations(*map(jnp.asarray, (x, y, noise, status))) if changed else None


def rescalarize(
    obs: Observations,
    entries: Iterable[JournalRecord],
    scalar: Callable[[Any], tuple[float, float]],
    discarded: Container[str] = (),
) -> Observations:
    """The observations with every measurement scalarized anew.

    Args:
        obs: observations whose measured and failed slots are in the journal.
        entries: the journal's measurements in order.
        scalar: measurement -> value and variance; a non-finite value is a failed measurement.
        discarded: tokens of measurements that were marked bad, which they stay.

    Returns:
        Observations with other `y`, `noise` and `status` in these slots.
    """
    x, y, noise, status = (np.array(part) for part in obs)
    open_slots = list(np.flatnonzero((status == MEASURED) | (status == FAILED)))
    for entry in entries:
        point = np.asarray(position_of(entry.arrays), x.dtype)
        slot = next((s for s in open_slots if np.array_equal(x[s], point)), None)
        if slot is None:  # measured, and the program ended before the state took it in
            continue
        open_slots.remove(slot)
        value, variance = (np.nan, 0.0) if entry.header.get("token") in discarded else _read(entry, scalar)
        good = np.isfinite(value)
        y[slot], noise[slot], status[slot] = (value, variance, MEASURED) if good else (0.0, 0.0, FAILED)
    return Observations(*map(jnp.asarray, (x, y, noise, status)))


def _read(entry: JournalRecord, scalar: Callable[[Any], tuple[float, float]]) -> tuple[float, float]:
    """Value and variance of a measurement; what was told as a number is one whatever the scalarizer."""
    if entry.header.get("told"):
        return float(entry.arrays["y"]), float(entry.arrays["noise"])
    return scalar(kept(entry))
