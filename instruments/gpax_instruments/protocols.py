"""The few abilities an instrument may have, in bluesky's words, and the reading it hands back.

A protocol is a promise about methods, nothing to inherit from: ``isinstance(device, Movable)`` asks
whether the methods are there. Words as in ``bluesky.protocols``; signatures are ours and synchronous.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np

from gpax_instruments.limits import Axis


class Location(NamedTuple):
    """Where a device was told to be and where it says it is, both (d,) float64 in axis units."""

    setpoint: np.ndarray
    readback: np.ndarray


@dataclass(frozen=True, eq=False)
class Measurement:
    """One measurement with everything needed to judge it.

    Args:
        arrays: raw signals by name, as they came; kept in a failed reading too, as evidence for the record.
        units: unit of each array by the same name.
        position: (d,) float64 read-back position in axis units (metres stay float64, outside JAX): the place to which
            a campaign ascribes the reading, in the coordinates of the x that it was asked for.
        ok: False when the reading must not be used as a number.
        reason: why not, in words; empty when ok.
        flags: the same in single words, for counting ("nan", "inf", "saturated", ...).

    Raises:
        ValueError: a failed reading without a reason, arrays and units that do not match.
    """

    arrays: Mapping[str, np.ndarray]
    units: Mapping[str, str]
    position: np.ndarray
    ok: bool = True
    reason: str = ""
    flags: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        if set(self.arrays) != set(self.units):
            raise ValueError(f"every array needs a unit: arrays {sorted(self.arrays)}, units {sorted(self.units)}")
        if not self.ok and not self.reason:
            raise ValueError("a failed reading must say why: give a reason")


@runtime_checkable
class Readable(Protocol):
    """Can report its present values without changing anything."""

    def read(self) -> Measurement:
        """Read once more what is there; safe to repeat."""


@runtime_checkable
class Movable(Protocol):
    """Can be sent to a place."""

    def set(self, target: np.ndarray) -> None:
        """Go to target, (d,) in axis units, and return when there. Raises MoveRefused, UnknownOutcome."""


@runtime_checkable
class Locatable(Protocol):
    """Can say where it is."""

    def locate(self) -> Location:
        """Setpoint and read-back, in axis units."""


@runtime_checkable
class Checkable(Protocol):
    """Can judge a target without moving."""

    def check_value(self, target: np.ndarray) -> None:
        """Raise MoveRefused when target may not be sent."""


@runtime_checkable
class Triggerable(Protocol):
    """Can be told to take one measurement."""

    def trigger(self, token: str) -> None:
        """Start the measurement named token, at most once, and return when it is done."""


@runtime_checkable
class Stoppable(Protocol):
    """Can be halted."""

    def stop(self, success: bool = True) -> None:
        """Halt what is moving; success=False when something went wrong."""


@runtime_checkable
class SafeState(Protocol):
    """Knows a state in which it can be left alone."""

    def make_safe(self) -> None:
        """Enter the safe state (tip withdrawn, bias 0, beam blanked); safe to call at any time, and twice."""


@runtime_checkable
class Instrument(Protocol):
    """What a campaign drives: ``measure`` is a function from a place to a reading.

    ``repeatable`` answers one question: may a measurement whose outcome is unknown be done again at the same
    place? A pulse that changes the sample says no. An instrument may have ``remembers_token`` beside it: whether it can
    tell at present of a token that was used before whether that one is done, and then hands back its reading.
    """

    axes: tuple[Axis, ...]
    repeatable: bool

    def identity(self) -> str:
        """Maker, model, serial number and version, as the instrument gives them."""

    def measure(self, x: np.ndarray, token: str) -> Measurement:
        """Measure at x, (d,) in axis units; the token names this one measurement, whatever happens to the link."""

    def make_safe(self) -> None:
        """Enter the safe state."""

    def close(self) -> None:
        """Let go of the link."""
