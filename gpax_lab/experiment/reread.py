"""Past readings seen through another scalarizer, from the raw arrays that the journal kept."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from gpax_lab.experiment.record import Answer, Frame, place_of
from gpax_lab.observations import FAILED, MEASURED, Observations

_RAW = "raw/"


class Kept(NamedTuple):
    """A reading as the instrument handed it over; see `run.Reading`."""

    arrays: Mapping[str, np.ndarray]
    units: Mapping[str, str]
    position: np.ndarray
    ok: bool
    reason: str
    flags: tuple[str, ...]


def raw_arrays(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """An instrument's arrays under the names that they have in a journal."""
    return {f"{_RAW}{name}": np.asarray(array) for name, array in arrays.items()}


def kept(frame: Frame) -> Kept:
    """The reading of a journal frame; not ok where the instrument gave none, or a bad one."""
    header = frame.header
    arrays = {name.removeprefix(_RAW): array for name, array in frame.arrays.items() if name.startswith(_RAW)}
    position = frame.arrays.get("position", frame.arrays["x"])
    usable = bool(header.get("usable", False))
    return Kept(arrays, header.get("units", {}), position, usable, header.get("reason", ""), tuple(header["flags"]))


def mended(obs: Observations, answers: Iterable[Answer]) -> Observations | None:
    """The observations with failed slots that have an answer by now filled; None where there are none.

    Args:
        obs: observations.
        answers: readings that could not be used at first, each with its place.
    """
    x, y, noise, status = (np.array(part) for part in obs)
    changed = False
    for answer in answers:
        place = np.asarray(answer.place, x.dtype)
        slot = next((s for s in np.flatnonzero(status == FAILED) if np.array_equal(x[s], place)), None)
        if slot is not None:
            y[slot], noise[slot], status[slot], changed = answer.y, answer.noise, MEASURED, True
    return Observations(*map(jnp.asarray, (x, y, noise, status))) if changed else None


def reread(obs: Observations, frames: Iterable[Frame], scalar: Callable[[Any], tuple[float, float]]) -> Observations:
    """The observations with every reading scalarized anew.

    Args:
        obs: observations whose measured and failed slots are in the journal.
        frames: the journal's readings in order.
        scalar: reading -> value and variance; a non-finite value is a failed reading.

    Returns:
        Observations with other `y`, `noise` and `status` in these slots.
    """
    x, y, noise, status = (np.array(part) for part in obs)
    open_slots = list(np.flatnonzero((status == MEASURED) | (status == FAILED)))
    for frame in frames:
        place = np.asarray(place_of(frame.arrays), x.dtype)
        slot = next((s for s in open_slots if np.array_equal(x[s], place)), None)
        if slot is None:  # measured, and the program ended before the state took it in
            continue
        open_slots.remove(slot)
        value, variance = scalar(kept(frame))
        good = np.isfinite(value)
        y[slot], noise[slot], status[slot] = (value, variance, MEASURED) if good else (0.0, 0.0, FAILED)
    return Observations(*map(jnp.asarray, (x, y, noise, status)))
