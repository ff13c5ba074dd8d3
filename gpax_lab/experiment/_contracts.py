"""What `run` needs and tells beside the instrument: the journal, the scalarizer, the progress, the end."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from gpax_lab.core import Measurement, Status
from gpax_lab.experiment import _record as record
from gpax_lab.experiment._experiment import State
from gpax_lab.experiment.interventions import Intervention


@runtime_checkable
class Journal(Protocol):
    """Where records go; see `gpax_lab.storage.Campaign`."""

    @property
    def history(self) -> Sequence[record.JournalRecord]:
        """What was recorded before this program started."""

    def append(self, *entries: record.Record) -> None:
        """Make records durable in one write."""

    def measurements(self) -> Iterable[record.JournalRecord]:
        """Every measurement recorded so far, raw arrays included."""

    def require_space(self, nbytes: int) -> None:
        """Raise if the disk could not take that many bytes more."""


Scalarizer = Callable[[Measurement], float | tuple[float, float]]
"""Measurement -> value, or (value, variance), in the unit of the quantity.

A value or variance that is not finite, masked or None is a failed measurement; anything else than one number, or a
negative variance, is an error."""

Hook = Callable[[State], Sequence[Intervention]]
"""Asked between two steps, all about the same state; wishes are journalled and applied, Rescale and Adopt first."""


Hold = Callable[[], str]
"""Whether people hold a campaign: "" for no, HELD, or SECURED, where the instrument is made safe at once."""

HELD, SECURED = "held", "secured"


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        state: the last state; None if it was stopped before the first fit.
        steps: campaign steps done in all, seeds not counted.
        reason: why it ended, in words; of a campaign that is over also how many fits were not OK, and how many points
            were chosen by distance alone.
        finished: whether the campaign is over (False: it was stopped and can be resumed).
        status: the worst of all fits of the campaign; `OK` before the first one. `status.describe()` says what to do;
            that of the last fit is `state.posterior.status`.
        fallbacks: proposals of the campaign that were chosen by distance, because no acquisition value was finite.
    """

    state: State | None
    steps: int
    reason: str
    finished: bool
    status: Status = Status.OK
    fallbacks: int = 0


@dataclass(frozen=True)
class Event:
    """What `run` tells a progress display after every measurement.

    Attributes:
        phase: "seed", "measure", "learn", "model" (the first fit), "held" (by a person) or "lost" (the instrument is
            waited for).
        step: steps done so far (seeds done so far in the seed phase).
        total: steps asked for (seeds asked for in the seed phase).
        x: (d,) point just measured, or None.
        y: its value (NaN: failed), or None.
        state: the state, or None before the first fit.
        status: the worst of all fits so far; that of the last one is `state.posterior.status`.
        fallbacks: proposals so far that were chosen by distance, because no acquisition value was finite.
    """

    phase: str
    step: int
    total: int
    x: np.ndarray | None
    y: float | None
    state: State | None
    status: Status = Status.OK
    fallbacks: int = 0
