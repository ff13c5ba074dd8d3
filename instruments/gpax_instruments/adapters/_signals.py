"""What detectors gave, judged before it may become a measurement."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from gpax_instruments import _codecs as codecs
from gpax_lab.core import Axis, Measurement, MoveRefused

NEAR = 1e-6  # share by which a value of the safe state may differ from what it was set to

INVALID = "invalid"
"""Flag of a measurement of which the other side itself says that it must not be used."""

MOVED = "moved"
"""Flag of a measurement during which the stage left its position."""


class Signal(NamedTuple):
    """What a detector gave.

    Attributes:
        values: any shape.
        unit: of values.
        rail: magnitude at which the detector saturates; None where it is not known.
        trouble: what the other side says is wrong with it, in words; empty when all is well.
    """

    values: Any
    unit: str
    rail: float | None = None
    trouble: str = ""


def measurement_of(
    signals: Mapping[str, Signal], axes: Sequence[Axis], goal: np.ndarray, position: np.ndarray | None
) -> Measurement:
    """A measurement with its quality.

    Args:
        signals: what came, by name.
        axes: coordinates, which say how far position may be from goal.
        goal: (d,) where it was to be taken.
        position: (d,) read-back after it; None where the other side does not tell it.

    Returns:
        ok=False where a number is none, a detector saturated, the other side says so, or the stage has moved.
    """
    arrays: dict[str, np.ndarray] = {}
    reasons: list[str] = []
    flags: dict[str, None] = {}
    for name, (values, _, rail, trouble) in signals.items():
        if trouble:
            reasons.append(f"{name}: {trouble}")
            flags[INVALID] = None
        try:
            arrays[name] = _numbers(values)
        except (TypeError, ValueError):
            arrays[name] = np.full((), np.nan)
            reasons.append(f"{name}: {str(values)[:40]!r} is no number")
            flags["nan"] = None
            continue
        ok, reason, found = codecs.quality(arrays[name], rail)
        flags.update(dict.fromkeys(found))
        if not ok:
            reasons.append(f"{name}: {reason}")
    if position is not None:
        try:
            for axis, target, value in zip(axes, goal.tolist(), position.tolist(), strict=True):
                axis.arrived(target, value)
        except MoveRefused as error:
            reasons.append(f"the stage has moved during the measurement: {error}")
            flags[MOVED] = None
    units = {name: signal.unit for name, signal in signals.items()}
    return Measurement(arrays, units, position, not reasons, "; ".join(reasons), tuple(flags))


def _numbers(values: Any) -> np.ndarray:
    """An array of numbers in memory of its own. Raises TypeError, ValueError for what is none."""
    found = np.asarray(values)
    return codecs.native(found) if found.dtype.kind in "fiubc" else found.astype(np.float64)


def differing(told: Iterable[tuple[str, float, float]]) -> str:
    """What is not at its value in the safe state, in words; empty when all is well.

    Args:
        told: name, what it reads, and what it was set to.
    """
    wrong = [
        f"{name} is {now:g}, not {value:g}"
        for name, now, value in told
        if not abs(now - value) <= NEAR * max(1.0, abs(value))
    ]
    return "; ".join(wrong) + ("; set it by hand" if wrong else "")
