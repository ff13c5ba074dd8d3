"""What every microscope of the family has in common: its client, one measurement, acts sent once, the safe state."""

import contextlib
import re
import time
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import replace
from types import TracebackType
from typing import Self

import numpy as np

from gpax_instruments.drivers._bounded import Bounded, judged
from gpax_instruments.errors import (
    LINK_FAULTS,
    DeviceError,
    DoseSpent,
    Interference,
    PulseLost,
    StillBusy,
    UnknownOutcome,
)
from gpax_instruments.links._deadline import after
from gpax_instruments.links.link import Link, open_link
from gpax_instruments.links.scpi import Scpi
from gpax_lab.core import Axis, Instrument, InstrumentError, Measurement
from gpax_lab.core._axes import check_all

LITTLE_ENDIAN = "FORM:BORD SWAP"
"""Makes an instrument send blocks in little-endian order (SCPI 1999, FORMat:BORDer)."""

INTERFERENCE = "interference"
"""Flag of a reading during which somebody else changed what acted on the sample."""

POWER_ON = "*ESE 128;*STB?"
"""Asks whether the instrument was switched on since its events were read last, and leaves the answer as it is: bit 7 of
the event register (IEEE 488.2, 11.5.1.1), let through to bit 5 of the status byte (11.2.1.1)."""

POLL_S = 0.005  # between two looks at a busy instrument
_TOKEN = re.compile(r"[A-Za-z0-9_.:-]{1,64}")


def _unquoted(answer: str) -> str:
    return answer.strip().strip('"')


def check_token(token: str) -> None:
    """Raise ValueError where the token is none."""
    if not _TOKEN.fullmatch(token):
        raise ValueError(f"token {token!r}: letters, digits and _.:- only, 64 at most")


class ScpiInstrument(Instrument):
    """A microscope over SCPI, whose measurement acts at most once under a token. Nothing is opened before ``connect``.

    A driver says what its instrument is called, what it needs, which settings act on the sample, how the act is done,
    and what comes home: `model`, `act`, `word`, `_prepare`, `_check_settings`, `_perform` and `_fetch`.

    Args:
        address: ``tcp://host:port`` or a VISA resource name, see :func:`~gpax_instruments.links.link.open_link`.
        timeout_s: seconds for one exchange.
        busy_timeout_s: seconds that the instrument may be busy.
        tag: echo query that numbers the answers; None for an instrument without one.
        link: an open link to use in place of address.
    """

    model: str
    """Must occur in the identity."""

    act: str
    """What one measurement is called in messages."""

    word: str
    """First part of the queries about the last measurement."""

    cost = ""
    """What an act that was cut off has cost, for messages; empty where an act leaves the sample as it is."""

    comes_home = True
    """Whether a reading tells what acted on the sample; where it does not, the settings are looked at once more."""

    axes: tuple[Axis, ...]

    MAX_TIMEOUT_S = 3600.0
    """s: an exchange that takes an hour has failed, and a campaign that waits longer for it is lost to the night."""

    MAX_PATIENCE_S = 86400.0
    """s: what is busy for a day is stuck."""

    timeout_s = Bounded("s", 0.0, "MAX_TIMEOUT_S", above=True)
    busy_timeout_s = Bounded("s", 0.0, "MAX_PATIENCE_S", above=True)

    def __init__(
        self, address: str, timeout_s: float, busy_timeout_s: float, tag: str | None, link: Link | None
    ) -> None:
        self.address, self.timeout_s, self.busy_timeout_s = address, timeout_s, busy_timeout_s
        self._tag, self._link = tag, link
        self._client: Scpi | None = None
        self._greeted = self._only_safe = self._bare = False
        self._known: set[str] | None = None  # tokens that may have been measured last; None: not looked yet
        self._interference = ""  # what somebody else did, in words
        self._last = ""  # token of the measurement that was last seen done
        self._switched = False  # it was switched on, and its register still says so
        self._blank = False  # it has done nothing yet, or nothing since it was switched on
        self._begun: set[str] = set()  # tokens that we have acted under, or found done
        self._forgotten: set[str] = set()  # those of them that it can not know of any more

    @property
    def remembers_token(self) -> bool:
        """Whether the instrument can tell of a token that was used before whether it has acted under it.

        Not after it was switched off and on, nor where it has done nothing yet, until it has acted anew: then what was
        begun before has an unknown outcome, and may not be asked for again.
        """
        return not self._blank

    @property
    def scpi(self) -> Scpi:
        """The client below; LinkLost where nobody answers."""
        if self._client is None:
            link = self._link or open_link(self.address, self.timeout_s)
            self._client = Scpi(link, self.timeout_s, tag=self._tag, setup=self._setup)
        return self._client

    def connect(self) -> Self:
        """Open the link, make safe, check the instrument.

        The safe state comes before all but the identity: a program that was killed may have left the tip down, a bias
        on, a beam unblanked or a pulse going on. A measurement that is under way is cut off.

        Raises:
            DeviceError: another instrument, one that does not get safe, or one that can not do what is asked.
            LinkLost, LinkTimeout, BadFrame: the link failed.
        """
        self._greeted, self._known, self._interference = False, None, ""
        if self.scpi.ready:
            self.make_safe()
            self._greeted = True
            if self.scpi.link.alive:
                self._prepare(self.scpi)  # somebody may have changed what we had set
                self._look_back(self.scpi)
        for attempt in range(self.scpi.attempts):
            try:
                self.scpi.connect()  # greets over a new link
                break
            except LINK_FAULTS:
                if self._greeted or attempt + 1 == self.scpi.attempts:  # safe, or nobody is there
                    raise
                time.sleep(self.scpi.pause_s)
        return self

    def identity(self) -> str:
        """The answer to ``*IDN?``."""
        return self.scpi.connect()

    def close(self) -> None:
        """Close the link. The instrument stays as it is: call ``make_safe`` first."""
        if self._client is not None:
            self._client.close()

    def __enter__(self) -> Self:
        return self.connect()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        try:
            self.make_safe()
        finally:
            self.close()

    def _setup(self, scpi: Scpi) -> None:
        """Runs after every (re)connection; may only write what does no harm when repeated."""
        identity = scpi.query("*IDN?")
        if self.model not in identity.upper():
            raise DeviceError(f"{self.address} is {identity!r}, not a {self.model}; check the address")
        known = self._greeted
        if not known:  # later connections may come in the middle of a measurement, which SAFE would end
            self._greet(scpi)
        self._bare = self._only_safe
        if not self._bare:
            if int(scpi.query_finite(POWER_ON, 1)[0]) & 32:
                self._forget()
                if known:
                    self._greet(scpi)  # nothing is going on that SAFE could end
            self._prepare(scpi)
            self._look_back(scpi)

    def _greet(self, scpi: Scpi) -> None:
        """Make safe what we do not know yet."""
        scpi.write("SAFE")
        self._see_safe(scpi)
        scpi.errors()  # errors of whoever was here before are not ours
        self._greeted = True

    def _look_back(self, scpi: Scpi) -> None:
        """Before our first act: an instrument that has done nothing knows of no token that was used before.

        It may have been switched off and on, and another program have read of it in the register of events.
        """
        if self._known is None and not _unquoted(scpi.query(f"{self.word}:TOK?")):
            self._blank = True

    @abstractmethod
    def _prepare(self, scpi: Scpi) -> None:
        """What a measurement needs beyond the greeting; the safe state is reached without it."""

    # --- one measurement ------------------------------------------------------------------------------------------

    def check_value(self, target: object) -> None:
        """Raise MoveRefused when target may not be sent. Sends nothing."""
        check_all(self.axes, target)

    def _measure(self, x: object, token: str) -> Measurement:
        """The reading of token: what is done already is read; else act once, or say why not, and leave it safe."""
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
                reading = self._fetch(goal, fresh)
            except LINK_FAULTS:
                if self._lost_to_power(token):
                    raise PulseLost(self._cut_by_power(token)) from None
                raise
            if fresh and INTERFERENCE in reading.flags:
                changed = reading.reason
            if not changed:
                reading = self._leave(reading)
        return self._finished(reading, token, changed)

    @abstractmethod
    def _check_settings(self) -> None:
        """Raise Interference unless what acts on the sample is as we asked for; DeviceError where it is not told."""

    @abstractmethod
    def _perform(self, goal: np.ndarray, token: str) -> None:
        """Go to goal (d,), and act once under token."""

    @abstractmethod
    def _fetch(self, goal: np.ndarray, fresh: bool) -> Measurement:
        """What the last measurement gave; fresh: we have just asked for it at goal (d,)."""

    def _leave(self, reading: Measurement) -> Measurement:
        """What is done after a measurement; the reading, with a flag where that was refused."""
        return reading

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

    def _used(self, token: str) -> bool:
        """Whether an act under token has begun, whatever became of it."""
        command = f'{self.word}:USED? "{token}"'
        answer = self.scpi.read_again(command).strip()
        if answer not in ("0", "1"):
            raise DeviceError(f"{self.address}: {command} is answered {answer[:40]!r}, where 0 or 1 is needed")
        return answer == "1"

    def _forget(self) -> None:
        """The instrument was switched off and on: it knows nothing of what was begun before."""
        self._switched, self._blank, self._last = True, True, ""
        self._forgotten |= self._begun
        self._begun.clear()

    def _lost_to_power(self, token: str) -> bool:
        """Whether an act under token may have begun, and the instrument can not know of it any more."""
        return bool(self.cost) and token in self._forgotten

    def _cut_by_power(self, token: str) -> str:
        return (
            f"{self.act} {token}: the instrument was switched off and on after it was asked for, and does not know "
            f"whether it had begun; it is not repeated, since perhaps {self.cost}"
        )

    def _done(self) -> str:
        """Token of the measurement done last, empty before the first."""
        done = _unquoted(self.scpi.read_again(f"{self.word}:TOK?"))
        if self._last and not done:
            self._forget()
            self.make_safe()
        self._last = done
        return done

    def _is_done(self, token: str) -> bool:
        """Whether the measurement of token is done already.

        Raises:
            Interference: the last one is neither ours nor the one that was there when we connected.
        """
        if self._interference:
            raise Interference(f"{self._interference}; connect again once the instrument is yours alone")
        done = self._done()
        if self._known is None:
            self._known = {done}
        if done not in {token, "", *self._known}:  # an instrument that was started anew has none
            raise Interference(
                f"{self.address}: its last measurement is {done!r}, which this program did not ask for: does another "
                "program use the instrument? Nothing was measured"
            )
        if done == token:
            self._ours(token)
        return done == token

    def _ours(self, token: str) -> None:
        """From now on the measurement of token may be the last one."""
        self._known = {token} if self._known is None else self._known | {token}
        self._begun.add(token)

    @contextlib.contextmanager
    def _safe_when_stopped(self) -> Iterator[None]:
        """Make safe when an error ends the campaign; one that costs a point alone leaves the instrument as it is."""
        try:
            yield
        except DoseSpent:
            raise  # nothing was exposed, and the beam was seen blanked
        except InstrumentError as fault:
            if not fault.point_failed:
                try:
                    self.make_safe()
                except InstrumentError as error:
                    words = "; ".join([str(error), *getattr(error, "__notes__", ())])
                    fault.add_note(f"and it could not be made safe: {words}")
            raise

    def _finished(self, reading: Measurement, token: str, changed: str = "") -> Measurement:
        """The reading, unless another program measured while it was fetched: then the numbers may be of that one."""
        with self._safe_when_stopped():
            done = self._done()
        if done != token and token not in self._forgotten:  # else it was switched off after it had told the numbers
            changed = changed or (
                f"another program has measured {done!r} while {self.act} {token} was fetched, and whose numbers these "
                "are is not known"
            )
        return self._spoiled(reading, changed) if changed else reading

    def _spoiled(self, reading: Measurement, reason: str) -> Measurement:
        """The reading as failed, since somebody else changed what acted on the sample.

        The instrument is made safe, and every measurement from now on is refused.
        """
        self._interference = reason
        with contextlib.suppress(InstrumentError):  # the next measurement is refused, and its caller makes safe again
            self.make_safe()
        words = "; ".join(dict.fromkeys(filter(None, (reading.reason, reason))))
        return replace(reading, ok=False, reason=words, flags=tuple(dict.fromkeys((*reading.flags, INTERFERENCE))))

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

    def stop(self, success: bool = True) -> None:
        """Halt: the same as ``make_safe``, whatever the reason."""
        self.make_safe()

    def make_safe(self) -> None:
        """Withdraw the tip and set the bias to 0 (blank the beam), and see that it is so. May be repeated.

        Raises:
            DeviceError: the instrument answers but is not safe.
            LinkLost, LinkTimeout, BadFrame: it could not be asked. Go to the instrument.
        """
        self._only_safe = True  # limits that do not fit are no reason to leave the tip down
        try:
            self._reach_safe()
        finally:
            self._only_safe = False

    def _reach_safe(self) -> None:
        for attempt in range(self.scpi.attempts):
            try:
                self.scpi.connect()
                self.scpi.write("SAFE")
                self._see_safe(self.scpi)
            except LINK_FAULTS as fault:
                if attempt == 0 and self._greeted:
                    self._safe_unseen()
                if attempt + 1 == self.scpi.attempts:
                    fault.add_note("SAFE was sent and not seen to be obeyed; go to the instrument")
                    raise
                continue
            if self._bare:
                self.scpi.close()  # the next call opens it anew, and prepares it
            return

    def _safe_unseen(self) -> None:
        """Ask an instrument that has stopped answering, and that we knew, for the safe state: it may still obey."""
        link = self.scpi.link
        with contextlib.suppress(InstrumentError):
            link.reconnect(after(self.timeout_s))
            link.write(b"SAFE\n", after(self.timeout_s))
        link.close()

    def _see_safe(self, scpi: Scpi) -> None:
        trouble = self._unsafe(scpi)
        if trouble:
            raise DeviceError(f"not safe: {trouble}")

    def _unsafe(self, scpi: Scpi) -> str:
        """What is not as it should be after SAFE, in words with a remedy; empty when all is well."""
        tip, bias = scpi.query("TIP?").strip().upper(), scpi.query_numbers("BIAS?")[0]
        if tip == "WITHDRAWN" and bias.tolist() == [0.0]:
            return ""
        return f"tip {tip}, bias {bias.tolist()} V; withdraw by hand"
