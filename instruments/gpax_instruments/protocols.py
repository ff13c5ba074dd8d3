"""The few abilities an instrument may have beside those of `gpax_lab.core.Instrument`, in bluesky's words.

A protocol is a promise about methods, nothing to inherit from: ``isinstance(device, Movable)`` asks whether the methods
are there. Words as in ``bluesky.protocols``; signatures are ours and synchronous.
"""

from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np

from gpax_lab.core import Measurement


class Location(NamedTuple):
    """Where a device was told to be and where it says it is, both (d,) float64 in axis units."""

    setpoint: np.ndarray
    readback: np.ndarray


@runtime_checkable
class Readable(Protocol):
    """Can report its present values without changing anything."""

    def read(self) -> Measurement:
        """Read once more what is there; safe to repeat."""


@runtime_checkable
class Movable(Protocol):
    """Can be sent to a position."""

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
