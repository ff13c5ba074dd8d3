"""The template of a driver: done already? act once; unknown; make safe."""

import contextlib
import time
from abc import abstractmethod
from dataclasses import replace

import numpy as np

from gpax_instruments.drivers._bounded import Bounded, judged
from gpax_instruments.drivers._tokens import TokenMemory, check_token
from gpax_instruments.errors import LINK_FAULTS, DeviceError, Interference, PulseLost, StillBusy, UnknownOutcome
from gpax_instruments.links._deadline import after
from gpax_instruments.links._link import Link
from gpax_lab.core import InstrumentError, Measurement
from gpax_lab.core._axes import check_all

LITTLE_ENDIAN = "FORM:BORD SWAP"
"""Makes an instrument send blocks in little-endian order (SCPI 1999, FORMat:BORDer)."""

INTERFERENCE = "interference"
"""Flag of a measurement during which somebody else changed what acted on the sample."""

POLL_S = 0.005  # between two looks at a busy instrument


class ScpiInstrument(TokenMemory):
    """A microscope over SCPI, whose measurement acts at most once under a token. Nothing is opened before ``connect``.

    A driver says what its instrument is called, what it needs, which settings act on the sample, how the act is done,
    and what comes home: `model`, `act`, `word`, `_prepare`, `_check_settings`, `_perform` and `_fetch`.

    Args:
        address: ``tcp://host:port`` or a VISA resource name, see :func:`~gpax_instruments.links.open_link`.
        timeout_s: seconds for one exchange.
        busy_timeout_s: seconds that the instrument may be busy.
        tag: echo query that numbers the answers; None for an instrument without one.
        link: an open link to use in place of address.
    """

    comes_home = True
    """Whether a measurement tells what acted on the sample; where it does not, the settings are looked at once more."""

    MAX_BUSY_TIMEOUT_S = 86400.0
    """s: what is busy for a day is stuck."""

    busy_timeout_s = Bounded("s", 0.0, "MAX_BUSY_TIMEOUT_S", above=True)

    def __init__(
        self, address: str, timeout_s: float, busy_timeout_s: float, tag: str | None, link: Link | None
    ) -> None:
        super().__init__(address, timeout_s, tag, link)
        self.busy_timeout_s = busy_timeout_s

    def check_value(self, target: object) -> None:
        """Raise MoveRefused when target may not be sent. Sends nothing."""
        check_all(self.axes, target)

    def _measure(self, x: object, token: str) -> Measurement:
        """The measurement of token: one that is done is read; else act once, or say why not, and leave it safe."""
        goal = check_all(self.axes, x)
        check_token(token)
        self.scpi.connect()
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
            self.scpi.read_again("*ESR?")  # what it does from now on it will remember
            self._switched = False

    def _finished(self, measurement: Measurement, token: str, changed: str = "") -> Measurement:
        """The measurement, unless another program measured meanwhile: then the numbers may be those of that one."""
        with self._safe_when_stopped():
            done = self._done()
        if done != token and token not in self._forgotten:  # else it was switched off after it had told the numbers
            changed = changed or (
                f"another program has measured {done!r} while {self.act} {token} was fetched, and whose numbers these "
                "are is not known"
            )
        return self._spoiled(measurement, changed) if changed else measurement

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

    def _check_bias(self) -> None:
        """Raise Interference unless the constant bias is 0: in the safe state it was, and we never set another."""
        bias = self.scpi.read_finite_again("BIAS?", 1)
        if bias[0] != 0.0:
            raise Interference(
                f"{self.address}: the tip is at {float(bias[0])!r} V, which this program did not ask for"
            )

    def _block(self, command: str, dtype: str) -> np.ndarray:
        """A block of numbers, little-endian, since another program may have turned the order; again after a fault."""
        return self.scpi.read_block_again(command, dtype, first=LITTLE_ENDIAN)

    def _command(self, command: str, busy_timeout_s: float | None = None) -> list[str] | None:
        """Send once what acts on the world, wait for its end, and return what the error queue holds.

        None when the link broke on the way, so that the command may or may not have arrived. Raises StillBusy.
        """
        before = self.scpi.reconnects
        try:
            self.scpi.write(command)
            self._wait_idle(busy_timeout_s)
            errors = self.scpi.errors()
        except StillBusy:
            raise  # waiting as long again would only leave it longer as it is
        except LINK_FAULTS:
            return None
        return errors if self.scpi.reconnects == before else None

    def _act(self, token: str, command: str, busy_timeout_s: float | None = None, remedy: str = "") -> None:
        """Send the command that measures under token, once, and see it done.

        Raises:
            DeviceError: the instrument refused it; remedy goes with the reason.
            PulseLost: the instrument was switched off and on meanwhile; it was made safe, and nothing is repeated.
            UnknownOutcome: it may have happened, or is still going on.
        """
        self._ours(token)
        try:
            errors = self._command(command, busy_timeout_s)
            if errors is None:
                self._wait_idle(busy_timeout_s)
            done = self._done()
        except LINK_FAULTS as fault:
            raise UnknownOutcome(
                f"{self.act} {token}: begun, and the instrument cannot be asked any more, or does not end ({fault})"
            ) from fault
        if done == token:
            self._blank = False
            return
        if errors:
            raise DeviceError(f"{self.act} {token} was refused: {'; '.join(errors)}{remedy}")
        if self._lost_to_power(token):
            raise PulseLost(self._cut_by_power(token))
        raise UnknownOutcome(
            f"{self.act} {token}: the instrument's last {self.act} is {done!r}, and whether this one was begun is not "
            f"known ({'the link broke' if errors is None else 'no error reported'}); look at the sample before going on"
        )

    def _wait_idle(self, busy_timeout_s: float | None = None) -> None:
        """Return when idle. Raises StillBusy after busy_timeout_s, None for `busy_timeout_s`."""
        seconds = judged(self, "busy_timeout_s") if busy_timeout_s is None else busy_timeout_s
        deadline = after(seconds)
        while (state := self.scpi.read_again("STAT?").strip().upper()) != "IDLE":
            if not time.monotonic() <= deadline:
                raise StillBusy(
                    f"{self.address}: still {state[:40]} after {seconds:g} s; look at the instrument, or allow it "
                    "more time"
                )
            time.sleep(POLL_S)
