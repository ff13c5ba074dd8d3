"""The template of a driver: done already? act once; unknown; make safe."""

import contextlib
from abc import abstractmethod
from dataclasses import replace

import numpy as np

from gpax_instruments.drivers._bounded import Bounded
from gpax_instruments.drivers._connection import C
from gpax_instruments.drivers._tokens import TokenMemory, check_token
from gpax_instruments.errors import LINK_FAULTS, Interference, PulseLost
from gpax_lab.core import InstrumentError, Measurement
from gpax_lab.core._axes import check_all

INTERFERENCE = "interference"
"""Flag of a measurement during which somebody else changed what acted on the sample."""


class ActsOnce(TokenMemory[C]):
    """A microscope whose measurement acts at most once under a token. Nothing is opened before ``connect``.

    A driver says how its instrument is reached, which settings act on the sample, how the act is done, and what comes
    home: `_prepare`, `_check_settings`, `_wait_idle`, `_perform` and `_fetch`.

    Args:
        address: of the instrument.
        timeout_s: seconds for one exchange.
        busy_timeout_s: seconds that the instrument may be busy.
    """

    comes_home = True
    """Whether a measurement tells what acted on the sample; where it does not, the settings are looked at once more."""

    MAX_BUSY_TIMEOUT_S = 86400.0
    """s: what is busy for a day is stuck."""

    busy_timeout_s = Bounded("s", 0.0, "MAX_BUSY_TIMEOUT_S", above=True)

    def __init__(self, address: str, timeout_s: float, busy_timeout_s: float) -> None:
        super().__init__(address, timeout_s)
        self.busy_timeout_s = busy_timeout_s

    def check_value(self, target: object) -> None:
        """Raise MoveRefused when target may not be sent. Sends nothing."""
        check_all(self.axes, target)

    def _measure(self, x: object, token: str) -> Measurement:
        """The measurement of token: one that is done is read; else act once, or say why not, and leave it safe."""
        goal = check_all(self.axes, x)
        check_token(token)
        self.client.connect()
        changed = ""
        with self._safe_when_stopped():
            self._wait_idle()
            fresh = not self._is_done(token)
            if fresh:
                self._may_act(token)
                self._perform(goal, token)
                changed = "" if self.comes_home else self._changed()
            try:
                measurement = self._fetch(goal, fresh)
            except LINK_FAULTS:
                if self._lost_to_power(token):
                    raise PulseLost(self._cut_by_power(token)) from None
                raise
            if fresh and INTERFERENCE in measurement.flags:
                changed = measurement.reason
            if not changed:
                measurement = self._leave(measurement)
        return self._finished(measurement, token, changed)

    @abstractmethod
    def _wait_idle(self) -> None:
        """Return when idle. Raises StillBusy after `busy_timeout_s`."""

    @abstractmethod
    def _check_settings(self) -> None:
        """Raise Interference unless what acts on the sample is as we asked for; DeviceError where it is not told."""

    @abstractmethod
    def _perform(self, goal: np.ndarray, token: str) -> None:
        """Go to goal (d,), and act once under token."""

    @abstractmethod
    def _fetch(self, goal: np.ndarray, fresh: bool) -> Measurement:
        """What the last measurement gave; fresh: we have just asked for it at goal (d,)."""

    def _leave(self, measurement: Measurement) -> Measurement:
        """What is done after a measurement; the measurement, with a flag where that was refused."""
        return measurement

    def _changed(self) -> str:
        """What somebody else has changed of the settings, in words."""
        try:
            self._check_settings()
        except Interference as error:
            return str(error)
        return ""

    def _may_act(self, token: str) -> None:
        """Raise unless nothing was done under token, and what would act is what we asked for.

        Raises:
            PulseLost: an act under token had begun, or may have.
            Interference, DeviceError: see `_check_settings`.
        """
        if self.cost and self._used(token):
            raise PulseLost(f"{self.act} {token} had begun and was cut off: {self.cost}")
        if self._lost_to_power(token):
            raise PulseLost(self._cut_by_power(token))
        self._check_settings()
        if self._switched:
            self._will_remember()
            self._switched = False

    def _will_remember(self) -> None:
        """It was switched on, and what it does from now on it can tell: let it say so."""

    def _finished(self, measurement: Measurement, token: str, changed: str = "") -> Measurement:
        """The measurement, unless another program measured meanwhile: then the numbers may be those of that one."""
        with self._safe_when_stopped():
            changed = changed or self._taken_over(token)
        return self._spoiled(measurement, changed) if changed else measurement

    def _taken_over(self, token: str) -> str:
        """That another program has measured since the measurement of token was, in words."""
        done = self._done()
        if done == token or token in self._forgotten:  # else it was switched off after it had told the numbers
            return ""
        return (
            f"another program has measured {done!r} while {self.act} {token} was fetched, and whose numbers these are "
            "is not known"
        )

    def _spoiled(self, measurement: Measurement, reason: str) -> Measurement:
        """The measurement as failed, since somebody else changed what acted on the sample.

        The instrument is made safe, and every measurement from now on is refused.
        """
        self._interference = reason
        with contextlib.suppress(InstrumentError):  # the next measurement is refused, and its caller makes safe again
            self.make_safe()
        words = "; ".join(dict.fromkeys(filter(None, (measurement.reason, reason))))
        return replace(
            measurement, ok=False, reason=words, flags=tuple(dict.fromkeys((*measurement.flags, INTERFERENCE)))
        )
