"""What `run` drives and tells: the instrument, its readings, the journal, the progress, the end."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from gpax_lab.experiment import _record as record
from gpax_lab.experiment._experiment import State
from gpax_lab.experiment.interventions import Intervention


class Measurement(Protocol):
    """What an instrument hands back: raw arrays with units, the read-back position, and whether it may be used.

    The position is in the coordinates of x. It is what the model learns: a stage goes a little beside. None, where an
    instrument does not know or tells it in other coordinates, stands for the place that was asked.
    """

    arrays: Mapping[str, np.ndarray]
    units: Mapping[str, str]
    position: np.ndarray | None
    ok: bool
    reason: str
    flags: tuple[str, ...]


class Instrument(Protocol):
    """What a campaign drives; see `gpax_instruments.protocols.Instrument`.

    An instrument whose `remembers_token` is true can tell whether the measurement of a token was done, and then hands
    back that reading instead of measuring twice; it is asked again even where it is not `repeatable`. It may become
    false for a while, where the instrument was switched off and on and has forgotten.
    """

    repeatable: bool

    def measure(self, x: np.ndarray, token: str) -> Any:
        """Measure at x (d,) in the user's units; the token names this one measurement."""

    def make_safe(self) -> None:
        """Enter a state in which the instrument can be left alone.

        Also called by another thread than `measure`, never at the same time, when a fit takes longer than `idle_s`.
        """


class Journal(Protocol):
    """Where records go; see `gpax_lab.storage.Campaign`."""

    @property
    def history(self) -> Sequence[record.JournalRecord]:
        """What was recorded before this program started."""

    def append(self, *entries: record.Record) -> None:
        """Make records durable in one write."""

    def readings(self) -> Iterable[record.JournalRecord]:
        """Every reading recorded so far, raw arrays included."""

    def require_space(self, nbytes: int) -> None:
        """Raise if the disk could not take that many bytes more."""


Scalarizer = Callable[[Any], float | tuple[float, float]]
"""Reading -> value, or (value, variance), in the unit of the quantity. A value or variance that is not finite, masked
or None is a failed reading; anything else than one number, or a negative variance, is an error."""

Hook = Callable[[State], Sequence[Intervention]]
"""Asked between two steps, all about the same state; wishes are journalled and applied, Rescale and Adopt first."""


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        state: the last state; None if it was stopped before the first fit.
        steps: campaign steps done in all, seeds not counted.
        reason: why it ended, in words.
        finished: whether the campaign is over (False: it was stopped and can be resumed).
    """

    state: State | None
    steps: int
    reason: str
    finished: bool


@dataclass(frozen=True)
class Event:
    """What `run` tells a progress display after every measurement.

    Attributes:
        phase: "seed", "measure", "learn", "model" (the first fit) or "lost" (the instrument is waited for).
        step: steps done so far (seeds done so far in the seed phase).
        total: steps asked for (seeds asked for in the seed phase).
        x: (d,) point just measured, or None.
        y: its value (NaN: failed), or None.
        state: the state, or None before the first fit.
    """

    phase: str
    step: int
    total: int
    x: np.ndarray | None
    y: float | None
    state: State | None
