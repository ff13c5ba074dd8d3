"""A link over pyvisa: HiSLIP and VXI-11, and USB, GPIB or serial where a backend offers them.

HiSLIP numbers its messages, so pyvisa-py drops late and duplicated answers by itself. Raw sockets are refused here:
pyvisa-py reports a closed peer there as a time-out after spinning, and hands late answers to the next query.
"""

import contextlib
import re
import socket
import struct
import threading
import time
from collections.abc import Iterator
from typing import Any, NoReturn

from gpax_instruments.errors import BadFrame, LinkLost, LinkTimeout
from gpax_instruments.links._deadline import after

CHUNK_BYTES = 65536
MAX_CHUNK_BYTES = 1 << 20  # one read of the backend; the deadline is looked at in between
GRACE_S = 0.05  # after the deadline: silence ends by the backend's own time-out, which tells more
_SOCKET = re.compile(r"TCPIP\d*::(?P<host>.+)::(?P<port>\d+)::SOCKET", re.IGNORECASE)


class VisaLink:
    """One VISA resource, read message by message. Open when the constructor returns.

    The backend keeps its own time within one read of 1 MiB at most, and begins anew with every byte. With pyvisa-py a
    peer that drips is cut at the deadline; with another VISA library it can stretch that one read.

    Args:
        resource: VISA resource name.
        timeout_s: seconds for connecting. pyvisa-py's HiSLIP uses 5 s of its own for a host that is silent.
        backend: pyvisa's name of the VISA library: "" takes an installed one and else pyvisa-py, "@py" pyvisa-py.

    Raises:
        ValueError: a raw socket resource.
        LinkLost, LinkTimeout: nobody answers there, or no VISA library is installed.
    """

    def __init__(self, resource: str, timeout_s: float = 5.0, backend: str = "") -> None:
        raw = _SOCKET.fullmatch(resource.strip())
        if raw:
            raise ValueError(
                f"{resource}: use tcp://{raw['host']}:{raw['port']} instead; a raw socket through VISA cannot tell a "
                "closed peer from a slow one, nor a late answer from the right one"
            )
        self.address = resource
        self.sent = 0
        self._manager: Any = _manager(backend)  # loading a VISA library is no part of the time to connect in
        self._resource: Any = None
        self._unread = bytearray()
        self._complete = True  # whether the whole message has been taken from the backend
        self.reconnect(after(timeout_s))

    @property
    def alive(self) -> bool:
        """Whether the resource is open and in step."""
        return self._resource is not None

    def reconnect(self, deadline: float) -> None:
        """Close the session and open a new one. Raises LinkLost, LinkTimeout."""
        self.close()
        try:
            left = self._left(deadline)
            self._resource = self._manager.open_resource(self.address, open_timeout=left, timeout=left)
        except Exception as error:
            self._fail(error, "while connecting")

    def close(self) -> None:
        """Close the session. Never clears it first: clear() does not return on a dead link."""
        resource, self._resource = self._resource, None
        self._unread.clear()
        self._complete = True
        if resource is not None:
            with contextlib.suppress(Exception):  # closing what is already gone may complain in many ways
                resource.close()

    def write(self, data: bytes, deadline: float) -> None:
        """Send data as one message, or close and raise."""
        resource = self._open()
        try:
            resource.timeout = self._left(deadline)
            resource.visalib.write(resource.session, data)
        except Exception as error:
            self._fail(error, "while sending")
        self.sent += len(data)
        self._unread.clear()
        self._complete = False

    def read_into(self, view: memoryview, deadline: float) -> None:
        """Fill view from the present message, or close and raise."""
        done = 0
        while done < len(view):
            if not self._unread:
                self._receive(len(view) - done, deadline, f"after {done} of {len(view)} bytes")
            n = min(len(view) - done, len(self._unread))
            view[done : done + n] = self._unread[:n]
            del self._unread[:n]
            done += n

    def read_exact(self, n: int, deadline: float) -> bytes:
        """Exactly n bytes of the present message, or close and raise."""
        data = bytearray(n)
        self.read_into(memoryview(data), deadline)
        return bytes(data)

    def read_until(self, mark: bytes, deadline: float) -> bytes:
        """The bytes before the one-byte mark, or the rest of the message where it ends without one."""
        searched = 0
        while (at := self._unread.find(mark, searched)) < 0:
            searched = len(self._unread)
            if self._complete:
                at = searched
                break
            self._receive(CHUNK_BYTES, deadline, f"after {searched} bytes of a line")
        line = bytes(self._unread[:at])
        del self._unread[: at + 1]
        return line

    def drain(self) -> bytes:
        """What is left of the last answer. LinkLost when the session is closed."""
        self._open()
        stray = bytes(self._unread)
        self._unread.clear()
        return stray

    def _receive(self, hint: int, deadline: float, when: str) -> None:
        resource = self._open()
        if self._complete:
            self._fail(ValueError("the message ended"), when)
        from pyvisa.constants import StatusCode

        try:
            resource.timeout = self._left(deadline)
            size = min(max(hint, CHUNK_BYTES), MAX_CHUNK_BYTES)
            quiet = resource.ignore_warning(StatusCode.success_device_not_present, StatusCode.success_max_count_read)
            with _cut_at(resource, deadline), quiet:
                chunk, status = resource.visalib.read(resource.session, size)
        except Exception as error:
            late = time.monotonic() >= deadline and not isinstance(error, TimeoutError)
            self._fail(TimeoutError("deadline passed") if late else error, when)
        self._unread += chunk
        self._complete = status != StatusCode.success_max_count_read

    def _open(self) -> Any:
        if self._resource is None:
            raise LinkLost(f"{self.address}: the link is closed; reconnect")
        return self._resource

    def _left(self, deadline: float) -> int:
        """Milliseconds to the deadline, at least 1: VISA reads 0 as `do not wait`."""
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("deadline passed")
        return max(1, int(left * 1000))

    def _fail(self, error: Exception, when: str) -> NoReturn:
        self.close()
        kind = classify(error)
        raise kind(f"{self.address}: {error or type(error).__name__}, {when}; closed, reconnect") from error


@contextlib.contextmanager
def _cut_at(resource: Any, deadline: float) -> Iterator[None]:
    """Shut the sockets of pyvisa-py's session a moment after the deadline: its own time-out is one of every byte."""
    session = getattr(resource.visalib, "sessions", {}).get(resource.session)  # other libraries have no such table
    interface = getattr(session, "interface", None)
    sockets = [part for part in getattr(interface, "__dict__", {}).values() if isinstance(part, socket.socket)]
    if not sockets:
        yield
        return

    def cut() -> None:
        for part in sockets:
            with contextlib.suppress(OSError):
                part.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(max(0.0, deadline - time.monotonic()) + GRACE_S, cut)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()  # no thread is left behind, and none that cuts the next read


def _manager(backend: str) -> Any:
    import pyvisa

    try:
        return pyvisa.ResourceManager(backend)
    except (OSError, ValueError, ImportError) as error:
        raise LinkLost(
            f"no VISA library ({error}); install the instrument maker's, or `pip install pyvisa-py`"
        ) from error


def classify(error: Exception) -> type[LinkLost] | type[LinkTimeout] | type[BadFrame]:
    """Our class for what pyvisa and its backends raise: VISA errors, and plain Python errors that slip through."""
    from pyvisa.constants import StatusCode
    from pyvisa.errors import InvalidBinaryFormat, VisaIOError

    if isinstance(error, TimeoutError):
        return LinkTimeout
    if isinstance(error, VisaIOError):
        return LinkTimeout if error.error_code == StatusCode.error_timeout else LinkLost
    if isinstance(error, OSError):  # reset, broken pipe, refused
        return LinkLost
    if isinstance(error, RuntimeError) and "synchronization" not in str(error) and "message type" not in str(error):
        return LinkLost  # pyvisa-py: "Connection was dropped by server."
    if isinstance(error, InvalidBinaryFormat | ValueError | RuntimeError | AssertionError | struct.error):
        return BadFrame  # UnicodeDecodeError is a ValueError; pyvisa-py asserts on message headers
    return LinkLost
