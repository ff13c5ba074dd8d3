"""One measurement: announced, made by the guarded instrument, and recorded before it is used."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from gpax_lab.core import InstrumentError
from gpax_lab.experiment import _record as record
from gpax_lab.experiment._contracts import SECURED, Event, Hold
from gpax_lab.experiment._experiment import State
from gpax_lab.experiment._guard import LOSSES, Guard, Paused
from gpax_lab.experiment._journalling import Journalling
from gpax_lab.experiment._positions import measured_at
from gpax_lab.experiment._rescalarize import received
from gpax_lab.experiment._scalarizers import Scalarizers

_POLL_S = 0.05
"""s between two looks whether people still hold the campaign."""

ON_REQUEST = "stopped on request; resume goes on from here"


class _Lost(Exception):
    """The instrument could not be reached, after it was asked to measure or (`entered` False) before."""

    def __init__(self, fault: Exception, entered: bool) -> None:
        super().__init__(str(fault))
        self.fault, self.entered = fault, entered


class Measuring:
    """An instrument under guard that measures for a campaign.

    Args:
        guard: of the instrument.
        journal: where everything is recorded.
        scalarizers: what makes a number of a measurement.
        max_failures: so many failed measurements in a row pause the campaign; None for any number.
        stop: whether the campaign is to pause.
        hold: whether people hold it; see `run`.
        callback: told when the instrument is lost.

    Attributes:
        width: (d,) of the box of the seeds, None for one seed; see `measured_at`.
    """

    def __init__(
        self,
        guard: Guard,
        journal: Journalling,
        scalarizers: Scalarizers,
        max_failures: int | None,
        stop: Callable[[], bool],
        hold: Hold,
        callback: Callable[[Event], None],
    ) -> None:
        self.width: np.ndarray | None = None
        self._guard, self._instrument, self._journal = guard, guard.instrument, journal
        self._scalarizers, self._stop, self._hold, self._callback = scalarizers, stop, hold, callback
        self._max_failures, self._failed, self._why = max_failures, 0, ""

    def recognise(self, another: bool) -> None:
        """See that the instrument is the one that the journal knows, and let it rest."""
        self._journal.recognise(self._guard.description(), another)
        self._guard.rest()

    def pause_after_failures(self) -> None:
        """Raises Paused where too many measurements in a row have failed."""
        if self._max_failures is not None and self._failed >= self._max_failures:
            raise Paused(
                f"{self._failed} measurements in a row failed, the last one because "
                f"{self._why or 'of an unknown reason'}"
                ". Look at the instrument, its limits and the scalarizer; resume goes on from here"
            )

    def hold(self, attend: Callable[[], None], state: State | None) -> bool:
        """Wait while people hold the campaign, and do `attend` now and then; returns whether they did.

        Raises:
            Paused: on request.
            Exception: what went wrong when the instrument was to be made safe.
        """
        held, safe = False, False
        while True:
            if self._stop():
                raise Paused(ON_REQUEST)
            if not (word := self._hold()):
                return held
            if word == SECURED and not safe:
                self._reach(self._guard.secure)
                safe = True
            attend()
            if not held:
                self._callback(Event("held", self._journal.step, 0, None, None, state))
            held = True
            time.sleep(_POLL_S)

    def secure(self) -> None:
        """Make the instrument safe before something that takes long."""
        if self._guard.idle_s is not None:
            self._reach(self._guard.secure)

    def __call__(self, x: np.ndarray, token: str, step: int, phase: str, state: State | None = None) -> record.Answer:
        """What the measurement of this token at x (d,) gave, from the journal if it holds it, else from the instrument.

        Raises:
            Paused: on request, or after too many failures.
            Exception: what the instrument, the scalarizer or the disk raised.
        """
        if (known := self._journal.answer_to(token, x)) is not None:
            return known
        self.hold(lambda: None, state)
        self.pause_after_failures()
        for loss in range(LOSSES + 1):
            try:
                self._wake(step)
                self._reach(self._guard.ready)
                answer = self._ask(x, token, step, phase, state)
                self._wake(step)
                return answer
            except _Lost as out_of_reach:
                if loss == LOSSES:
                    raise out_of_reach.fault from None
                self._await_return(out_of_reach.fault)
                if out_of_reach.entered:
                    self._journal.begun.add(token)  # its outcome is as unknown as after kill -9
        raise AssertionError("unreachable")

    def _await_return(self, fault: Exception) -> None:
        """Wait for a lost instrument, and see that it is the same and allows no more."""
        step = self._journal.step
        health = self._journal.health
        self._callback(
            Event("lost", step, 0, None, None, self._journal.state, status=health.worst, fallbacks=health.fallbacks)
        )
        self._guard.await_return(fault, step, lambda: self._journal.recognise_again(self._guard.description()))

    def _wake(self, step: int) -> None:
        """Where this process stood still, or the machine slept: say so, and begin anew from the safe state."""
        if (seconds := self._guard.watch.untold()) > 0:
            self._journal.suspended(step, seconds)
            self.secure()

    def _reach(self, act: Callable[[], None]) -> None:
        """Do it, or wait for the lost instrument, which is then safe."""
        try:
            act()
        except Exception as fault:
            if not self._guard.lost(fault):
                raise
            self._await_return(fault)

    def _ask(self, x: np.ndarray, token: str, step: int, phase: str, state: State | None) -> record.Answer:
        """Announce the measurement, have it done, and record it."""
        may_repeat = self._instrument.repeatable or self._instrument.remembers_token
        doubtful = token in self._journal.begun and not may_repeat
        self._journal.intend(step, token, phase, x)
        if doubtful:
            text = "begun before the program ended; outcome unknown, and this instrument must not repeat it"
            return self._record_failure(step, token, x, text)
        entered = False
        try:
            with self._guard.at_work():
                entered = True
                measurement = self._instrument.measure(x, token)
        except Exception as error:
            if entered and isinstance(error, InstrumentError) and error.point_failed:
                return self._record_failure(step, token, x, str(error), type(error).__name__)
            if self._guard.lost(error):
                raise _Lost(error, entered) from error
            raise
        return self._record(step, token, x, measurement, state)

    def _record_failure(self, step: int, token: str, x: np.ndarray, reason: str, *flags: str) -> record.Answer:
        header = {"ok": False, "reason": reason, "flags": list(flags), "units": {}}
        return self._recorded(step, token, header, {"x": x}, np.nan, 0.0)

    def _record(self, step: int, token: str, x: np.ndarray, measurement: Any, state: State | None) -> record.Answer:
        raw, value, variance = received(measurement), np.nan, 0.0
        error: Exception | None = raw.error
        where = measured_at(x, raw.position, state, self.width)
        why = "the scalarizer gave no finite value"
        try:
            value, variance = self._scalarizers(measurement) if where.believed and raw.ok else (np.nan, 0.0)
        except Exception as problem:  # the raw measurement is kept before anyone hears of it
            error, why = problem, f"the scalarizer raised {problem!r}"
        header = {
            "ok": bool(np.isfinite(value)),
            "reason": raw.reason or where.reason or ("" if np.isfinite(value) else why),
            "flags": [*raw.flags, *where.flags],
            "units": raw.units,
            "scalarizer": self._scalarizers.chosen,
            "usable": raw.ok and where.believed,
            "seconds": self._guard.worked_s,
        } | ({"words": raw.words} if raw.words else {})
        answer = self._recorded(step, token, header, {"x": x} | where.arrays(x) | raw.arrays, value, variance)
        if error is not None:
            raise error
        return answer

    def _recorded(
        self, step: int, token: str, header: dict[str, Any], arrays: dict[str, np.ndarray], value: float, noise: float
    ) -> record.Answer:
        self._failed, self._why = (0, "") if np.isfinite(value) else (self._failed + 1, header["reason"])
        return self._journal.measured(step, token, header, arrays, value, noise)
