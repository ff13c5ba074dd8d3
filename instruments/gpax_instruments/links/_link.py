"""A byte link with exact reads and one deadline a call.

The rule that makes answers trustworthy: a link that was interrupted in the middle of an exchange is dead. It is
closed at once and must be reconnected, so bytes that come late can never be handed to the next query.
"""

import socket
import time
from typing import NoReturn, Protocol, runtime_checkable
from urllib.parse import urlsplit

from gpax_instruments.errors import BadFrame, LinkLost, LinkTimeout
from gpax_instruments.links._deadline import after

BUFFER_BYTES = 65536
MAX_LINE_BYTES = 1 << 20  # an answer in text that is longer than this is no answer


@runtime_checkable
class Link(Protocol):
    """Bytes to and from one instrument. Every deadline is a value of ``time.monotonic``.

    Every method but ``close`` raises LinkLost, LinkTimeout or BadFrame, and leaves the link closed when it does.
    ``sent`` counts the bytes handed to the wire since the link was made.
    """

    address: str
    sent: int

    @property
    def alive(self) -> bool:
        """Whether the link is open and in step."""

    def write(self, data: bytes, deadline: float) -> None:
        """Send all of data."""

    def read_into(self, view: memoryview, deadline: float) -> None:
        """Fill view completely."""

    def read_exact(self, n: int, deadline: float) -> bytes:
        """Exactly n bytes."""

    def read_until(self, mark: bytes, deadline: float) -> bytes:
        """The bytes before the one-byte mark, which is consumed; or the rest, where the link marks its end itself."""

    def drain(self) -> bytes:
        """Take what is waiting although nobody asked for it, without waiting for more."""

    def close(self) -> None:
        """Close; safe to call twice. Leaves no thread and no half-read answer behind."""

    def reconnect(self, deadline: float) -> None:
        """Close and open again."""


class SocketLink:
    """Raw TCP (SCPI's port 5025 and the like), open when the constructor returns. Works on every platform.

    Args:
        host: name or address.
        port: TCP port.
        timeout_s: seconds for the first connection.

    Raises:
        LinkLost, LinkTimeout: the first connection failed.
    """

    def __init__(self, host: str, port: int, timeout_s: float = 5.0) -> None:
        self.host, self.port = host, port
        self.address = f"tcp://[{host}]:{port}" if ":" in host else f"tcp://{host}:{port}"
        self.sent = 0
        self._socket: socket.socket | None = None
        self._memory = memoryview(bytearray(BUFFER_BYTES))
        self._start = self._stop = 0  # the unread part of _memory
        self.reconnect(after(timeout_s))

    @property
    def alive(self) -> bool:
        """Whether the socket is open; a peer that went away shows at the next call."""
        return self._socket is not None

    def reconnect(self, deadline: float) -> None:
        """Open a new connection; nothing of the old one survives. Raises LinkLost, LinkTimeout."""
        self.close()
        left = deadline - time.monotonic()
        if left <= 0:
            raise LinkTimeout(f"{self.address}: no time left to connect")
        try:
            fresh = socket.create_connection((self.host, self.port), timeout=left)
        except TimeoutError as error:
            raise LinkTimeout(f"{self.address}: no connection in {left:.3g} s; is the instrument on?") from error
        except OSError as error:
            raise LinkLost(
                f"{self.address}: cannot connect ({error}); is the instrument on, is the port right?"
            ) from error
        fresh.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # short commands must not wait for company
        self._socket = fresh

    def close(self) -> None:
        """Close the socket and forget what was received."""
        fresh, self._socket = self._socket, None
        self._start = self._stop = 0
        if fresh is not None:
            fresh.close()

    def write(self, data: bytes, deadline: float) -> None:
        """Send all of data, or close and raise."""
        try:
            self._open(deadline).sendall(data)  # its timeout covers the whole call
        except OSError as error:
            self._fail(error, "while sending")
        self.sent += len(data)

    def read_into(self, view: memoryview, deadline: float) -> None:
        """Fill view, straight into the caller's memory, or close and raise."""
        done = self._take(view)
        while done < len(view):
            done += self._receive(view[done:], deadline, f"after {done} of {len(view)} bytes")

    def read_exact(self, n: int, deadline: float) -> bytes:
        """Exactly n bytes, or close and raise."""
        data = bytearray(n)
        self.read_into(memoryview(data), deadline)
        return bytes(data)

    def read_until(self, mark: bytes, deadline: float) -> bytes:
        """The bytes before the one-byte mark, which is consumed; or close and raise."""
        line = bytearray()
        while True:
            unread = self._memory[self._start : self._stop].tobytes()
            at = unread.find(mark)
            line += unread if at < 0 else unread[:at]
            if len(line) > MAX_LINE_BYTES:
                self.close()
                raise BadFrame(f"{self.address}: {len(line)} bytes and no end of the answer; reconnect")
            if at >= 0:
                self._start += at + 1
                return bytes(line)
            self._start, self._stop = 0, 0
            self._stop = self._receive(self._memory, deadline, f"after {len(line)} bytes of a line")

    def drain(self) -> bytes:
        """What is waiting now, unasked for; LinkLost when the other side has closed."""
        stray = bytearray(self._memory[self._start : self._stop])
        self._start = self._stop = 0
        raw = self._open(after(1.0))
        raw.setblocking(False)
        while len(stray) < MAX_LINE_BYTES:
            try:
                got = raw.recv_into(self._memory)
            except (BlockingIOError, InterruptedError):
                break
            except OSError as error:
                self._fail(error, "before the query")
            if got == 0:
                self._fail(ConnectionError("closed by the other side"), "before anything was sent")
            stray += self._memory[:got]
        return bytes(stray)

    def _take(self, view: memoryview) -> int:
        n = min(len(view), self._stop - self._start)
        view[:n] = self._memory[self._start : self._start + n]
        self._start += n
        return n

    def _receive(self, view: memoryview, deadline: float, when: str) -> int:
        try:
            got = self._open(deadline).recv_into(view)
        except OSError as error:
            self._fail(error, when)
        if got == 0:  # the other side closed; asking again would return 0 for ever
            self._fail(ConnectionError("closed by the other side"), when)
        return got

    def _open(self, deadline: float) -> socket.socket:
        if self._socket is None:
            raise LinkLost(f"{self.address}: the link is closed; reconnect")
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("deadline passed")
        self._socket.settimeout(left)
        return self._socket

    def _fail(self, error: OSError, when: str) -> NoReturn:
        self.close()
        if isinstance(error, TimeoutError):
            raise LinkTimeout(
                f"{self.address}: no answer in time, {when}; closed, so that no late answer is used"
            ) from error
        raise LinkLost(f"{self.address}: {error}, {when}; reconnect") from error


def open_link(address: str, timeout_s: float = 5.0) -> Link:
    """Open the link that an address names.

    Args:
        address: ``tcp://host:port`` for a raw socket, anything else is a VISA resource name such as
            ``TCPIP::127.0.0.1::hislip0,4880::INSTR`` or ``USB0::0x0957::0x17A6::MY123::INSTR``.
        timeout_s: seconds for connecting.

    Raises:
        ValueError: an address that cannot be used, with what to write instead.
        LinkLost, LinkTimeout: nobody answers there.
    """
    if "://" in address:
        try:
            parts = urlsplit(address)
            host, port = parts.hostname, parts.port
        except ValueError as error:  # a port beyond 65535, an open bracket
            raise ValueError(f"{address!r}: {error}; write tcp://host:port") from error
        if parts.scheme != "tcp" or not host or not port or parts.path not in ("", "/"):
            raise ValueError(f"{address!r}: write tcp://host:port, or a VISA resource name")
        return SocketLink(host, port, timeout_s)
    from gpax_instruments.links._visa import VisaLink  # pyvisa is imported only where it is used

    return VisaLink(address, timeout_s)
