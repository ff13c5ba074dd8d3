"""A microscope over SCPI that is safe before anything else: whenever it is connected, and whenever an error ends it."""

import contextlib
import time
from abc import abstractmethod
from collections.abc import Iterator
from types import TracebackType
from typing import Self

from gpax_instruments.drivers._bounded import Bounded
from gpax_instruments.errors import LINK_FAULTS, DeviceError, DoseSpent
from gpax_instruments.links._deadline import after
from gpax_instruments.links._link import Link, open_link
from gpax_instruments.links._scpi import Scpi
from gpax_lab.core import Axis, Instrument, InstrumentError

POWER_ON = "*ESE 128;*STB?"
"""Asks whether the instrument was switched on since its events were read last, and leaves the answer as it is: bit 7 of
the event register (IEEE 488.2, 11.5.1.1), let through to bit 5 of the status byte (11.2.1.1)."""


class Connection(Instrument):
    """The client of an instrument, and its safe state. Nothing is opened before ``connect``.

    Args:
        address: ``tcp://host:port`` or a VISA resource name, see :func:`~gpax_instruments.links.open_link`.
        timeout_s: seconds for one exchange.
        tag: echo query that numbers the answers; None for an instrument without one.
        link: an open link to use in place of address.
    """

    model: str
    """Must occur in the identity."""

    axes: tuple[Axis, ...]

    MAX_TIMEOUT_S = 3600.0
    """s: an exchange that takes an hour has failed, and a campaign that waits longer for it is lost to the night."""

    timeout_s = Bounded("s", 0.0, "MAX_TIMEOUT_S", above=True)

    def __init__(self, address: str, timeout_s: float, tag: str | None, link: Link | None) -> None:
        self.address, self.timeout_s = address, timeout_s
        self._tag, self._link = tag, link
        self._client: Scpi | None = None
        self._greeted = self._only_safe = self._bare = False

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
        self._greeted = False
        self._begin_anew()
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

    @abstractmethod
    def _prepare(self, scpi: Scpi) -> None:
        """What a measurement needs beyond the greeting; the safe state is reached without it."""

    @abstractmethod
    def _begin_anew(self) -> None:
        """What somebody else has done before we connect is no longer ours to judge."""

    @abstractmethod
    def _forget(self) -> None:
        """The instrument was switched off and on: it knows nothing of what was begun before."""

    @abstractmethod
    def _look_back(self, scpi: Scpi) -> None:
        """Before our first act: what the instrument still knows of those before."""

    # --- the safe state -------------------------------------------------------------------------------------------

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
