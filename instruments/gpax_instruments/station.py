"""What every microscope of the family has in common: its client, commands sent once, waiting, and the safe state."""

import re
import time
from types import TracebackType
from typing import Self

from gpax_instruments.deadline import after
from gpax_instruments.errors import LINK_FAULTS, DeviceError, LinkTimeout
from gpax_instruments.link import Link, open_link
from gpax_instruments.scpi import Scpi

POLL_S = 0.005  # between two looks at a busy instrument
_TOKEN = re.compile(r"[A-Za-z0-9_.:-]{1,64}")


def check_token(token: str) -> None:
    """Raise ValueError where the token is none."""
    if not _TOKEN.fullmatch(token):
        raise ValueError(f"token {token!r}: letters, digits and _.:- only, 64 at most")


class Station:
    """A microscope over SCPI. Nothing is opened before ``connect``.

    Args:
        address: ``tcp://host:port`` or a VISA resource name, see :func:`~gpax_instruments.link.open_link`.
        timeout_s: seconds for one exchange.
        patience_s: seconds that the instrument may be busy.
        tag: echo query that numbers the answers; None for an instrument without one.
        link: an open link to use in place of address.
    """

    model = "PFM"
    """Must occur in the identity."""

    def __init__(self, address: str, timeout_s: float, patience_s: float, tag: str | None, link: Link | None) -> None:
        self.address, self.timeout_s, self.patience_s = address, timeout_s, patience_s
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
        """Open the link, check the instrument. Raises DeviceError, LinkLost, LinkTimeout, BadFrame."""
        self.scpi.connect()
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
        if not self._greeted:  # errors of whoever was here before are not ours
            scpi.errors()
            self._greeted = True
        identity = scpi.query("*IDN?")
        if self.model not in identity.upper():
            raise DeviceError(f"{self.address} is {identity!r}, not a {self.model}; check the address")
        self._bare = self._only_safe
        if not self._bare:
            self._prepare(scpi)

    def _prepare(self, scpi: Scpi) -> None:
        """What a measurement needs beyond the greeting; the safe state is reached without it."""

    def _command(self, command: str, patience_s: float | None = None) -> list[str] | None:
        """Send once what acts on the world, wait for its end, and return what the error queue holds.

        None when the link broke on the way, so that the command may or may not have arrived.
        """
        before = self.scpi.reconnects
        try:
            self.scpi.write(command)
            self._wait_idle(patience_s)
            errors = self.scpi.errors()
        except LINK_FAULTS:
            return None
        return errors if self.scpi.reconnects == before else None

    def _wait_idle(self, patience_s: float | None = None) -> None:
        """Return when idle. Raises LinkTimeout after patience_s, None for `patience_s`."""
        seconds = self.patience_s if patience_s is None else patience_s
        deadline = after(seconds)
        while self.scpi.read_again("STAT?").strip().upper() != "IDLE":
            if time.monotonic() > deadline:
                raise LinkTimeout(f"{self.address}: still busy after {seconds} s; look at the instrument")
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
                trouble = self._unsafe(self.scpi)
            except LINK_FAULTS:
                if attempt + 1 == self.scpi.attempts:
                    raise
                continue
            if trouble:
                raise DeviceError(f"not safe: {trouble}")
            if self._bare:
                self.scpi.close()  # the next call opens it anew, and prepares it
            return

    def _unsafe(self, scpi: Scpi) -> str:
        """What is not as it should be after SAFE, in words with a remedy; empty when all is well."""
        tip, bias = scpi.query("TIP?").strip().upper(), scpi.query_numbers("BIAS?")[0]
        if tip == "WITHDRAWN" and bias.tolist() == [0.0]:
            return ""
        return f"tip {tip}, bias {bias.tolist()} V; withdraw by hand"
