"""A client of the Nanonis TCP programming interface in which an answer belongs to its own question or to nobody.

An answer has no number, only the name of its command. So after a timeout, or an answer of another name, the link is
closed for good; and two equal questions in a row are parted by another one, lest an answer that came twice pass for the
second.
"""

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

from gpax_instruments import _nanonis_codecs as codecs
from gpax_instruments._nanonis_commands import COMMANDS, R14718
from gpax_instruments.errors import LINK_FAULTS, BadFrame, DeviceError
from gpax_instruments.links._deadline import after
from gpax_instruments.links._link import Link
from gpax_lab.core import InstrumentError

PARTING = ("Util.AcqPeriodGet", "Bias.Get")
"""Questions that do no harm, of which one parts two equal others."""


class NanonisClient:
    """Commands over one of the ports, one at a time.

    Args:
        link: an open link; this client owns it from here on.
        timeout_s: seconds for one exchange.
        setup: what must be done after every (re)connection; it may use ``call``.
        attempts: how often a read is tried in all.
        pause_s: seconds before the first repetition, then twice, three times as long.
    """

    def __init__(
        self,
        link: Link,
        timeout_s: float = 5.0,
        *,
        setup: Callable[["NanonisClient"], None] | None = None,
        attempts: int = 3,
        pause_s: float = 0.05,
    ) -> None:
        self.link, self.timeout_s = link, timeout_s
        self.attempts, self.pause_s = attempts, pause_s
        self.reconnects = 0  # grows with every link made anew: what was sent over the old one is in doubt
        self.release, self.product = 0, ""  # of the host software; 0 before it was asked
        self._setup, self._identity, self._last = setup, "", ""

    @property
    def ready(self) -> bool:
        """Whether the link is open and was set up."""
        return self.link.alive and bool(self._identity)

    def connect(self) -> str:
        """Make the link usable: reopen it if need be, compare the identity with the first one, redo the setup.

        Returns:
            product line, version and releases.

        Raises:
            DeviceError: another controller answers at this address.
            LinkLost, LinkTimeout, BadFrame: the link failed again.
        """
        if self.ready:
            return self._identity
        if not self.link.alive:
            self.reconnects += 1
            self.link.reconnect(after(self.timeout_s))
            self._last = ""
        try:
            product, version, host, real_time = self.call("Util.VersionGet")
            identity = f"{product},{version},R{host},R{real_time}"
            if self._identity and identity != self._identity:
                raise DeviceError(
                    f"{self.link.address} is now {identity!r}, it was {self._identity!r}; check the address"
                )
            self.release, self.product = host, product
            if self._setup is not None:
                self._setup(self)
        except BaseException:
            self.link.close()  # half set up is not set up
            raise
        self._identity = identity
        return identity

    def call(self, name: str, *values: Any, wait_s: float = 0.0) -> list[Any]:
        """Send a command once, and return what it returns.

        Args:
            name: of the command.
            values: its arguments.
            wait_s: seconds that the controller may take for it beyond those of an exchange.

        Raises:
            DeviceError: refused, with the controller's words, or not in this release; nothing else is wrong.
            LinkLost, LinkTimeout, BadFrame: the link failed, and is closed; the command may have been obeyed.
        """
        command = COMMANDS[name]
        if self.release and self.release < command.since:
            raise DeviceError(f"{name} needs release R{command.since}, {self.link.address} has R{self.release}")
        arguments, returns = command.form(self.release or R14718)
        request = codecs.pack(arguments, values)
        with self._exchange(name):
            if name == self._last:
                parting = PARTING[name == PARTING[0]]
                self._answered(parting, codecs.pack("", ()), COMMANDS[parting].returns, after(self.timeout_s))
            self._last = name
            answer, refused = self._answered(name, request, returns, after(self.timeout_s + wait_s))
        if refused:
            raise DeviceError(f"{name} was refused: {refused}")
        return answer

    def again(self, name: str, *values: Any, wait_s: float = 0.0) -> list[Any]:
        """`call` for a command that may be repeated: reads, and settings. Raises what the last attempt raised."""
        for attempt in range(self.attempts):
            try:
                self.connect()
                return self.call(name, *values, wait_s=wait_s)
            except LINK_FAULTS:
                if attempt + 1 == self.attempts:
                    raise
                time.sleep(self.pause_s * (attempt + 1))
        raise AssertionError("at least one attempt")

    def close(self) -> None:
        """Close the link."""
        self.link.close()

    def _answered(self, name: str, request: bytes, returns: str, deadline: float) -> tuple[list[Any], str]:
        stray = self.link.drain()
        if stray:
            raise BadFrame(f"{len(stray)} bytes had come that nobody asked for: {stray[:40]!r}")
        self.link.write(codecs.request_header(name, len(request)) + request, deadline)
        told, size, _ = codecs.split_header(self.link.read_exact(codecs.HEADER_BYTES, deadline))
        if told.rstrip(b"\0") != name.encode():
            raise BadFrame(f"the answer is one to {told.rstrip(bytes(1))!r}")
        if not 0 <= size <= codecs.MAX_BODY_BYTES:
            raise BadFrame(f"an answer of {size} bytes is announced")
        body = bytearray(size)
        self.link.read_into(memoryview(body), deadline)
        return codecs.parse_answer(returns, body)

    @contextlib.contextmanager
    def _exchange(self, name: str) -> Iterator[None]:
        """Close the link whenever an exchange does not come to its own end, whatever ended it."""
        try:
            yield
        except BaseException as error:
            self.link.close()
            if isinstance(error, BadFrame):
                raise BadFrame(f"{self.link.address}: {name}: {error}; closed, reconnect") from error
            if isinstance(error, InstrumentError):
                error.add_note(f"it was asked {name}")
            raise
