"""A thin SCPI client in which an answer belongs to its own query or to nobody.

SCPI has no request numbers, so a duplicated answer that arrives just after the check for stray bytes would pass for
the next one. Here a query is sent together with one that echoes a number (IEEE 488.2 answers both in one message):
``SYST:TAG? 17;:POS?`` is answered ``17;1e-6,2e-6``, and an answer without its own number is refused.
"""

import contextlib
import itertools
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import numpy as np

from gpax_instruments import _codecs as codecs
from gpax_instruments.errors import LINK_FAULTS, BadFrame, DeviceError
from gpax_instruments.links._deadline import after
from gpax_instruments.links._link import Link
from gpax_lab.core import InstrumentError

TAG_ECHO = "SYST:TAG? {n}"
"""Echo query of the simulated instruments, and of real ones that offer it."""

TAG_ESE = "*ESE {n};*ESE?"
"""Echo query for every IEEE 488.2 instrument, by its event enable register (11.5.1.3); it counts modulo 256."""

MAX_ERRORS = 64  # a queue that never empties must not hold us
MAX_BLOCK_BYTES = 1 << 28  # a header torn by noise must not allocate a gigabyte
MAX_EDGE = 8192  # pixels: a square of float32 with this edge is MAX_BLOCK_BYTES

T = TypeVar("T")


class Scpi:
    """Queries and commands over a link.

    Args:
        link: an open link; this client owns it from here on.
        timeout_s: seconds for one exchange, whatever its size.
        tag: echo query with ``{n}`` in it, or None: ``"SYST:TAG? {n}"`` where the instrument has it, as the simulated
            ones do, ``"*ESE {n};*ESE?"`` on every IEEE 488.2 instrument. Needed on raw sockets; HiSLIP numbers its
            messages itself. Without it, only the check for stray bytes before each query protects.
        setup: what must be sent again after a reconnection; it may use ``query`` and ``write``, and must do no harm
            when repeated.
        attempts: how often a read declared repeatable is tried in all.
        pause_s: seconds before the first repetition, then twice, three times as long.
    """

    def __init__(
        self,
        link: Link,
        timeout_s: float = 5.0,
        *,
        tag: str | None = None,
        setup: Callable[["Scpi"], None] | None = None,
        attempts: int = 3,
        pause_s: float = 0.05,
    ) -> None:
        self.link = link
        self.timeout_s = timeout_s
        self.attempts, self.pause_s = attempts, pause_s
        self.reconnects = 0  # grows with every link made anew: what was sent over the old one is in doubt
        self._tag, self._setup = tag, setup
        self._numbers = itertools.count(1)  # goes on over reconnections: a number is never used twice
        self._identity = ""

    @property
    def ready(self) -> bool:
        """Whether the link is open and was set up."""
        return self.link.alive and bool(self._identity)

    def connect(self) -> str:
        """Make the link usable: reopen it if need be, compare the identity with the first one, redo the setup.

        Returns:
            the answer to ``*IDN?``.

        Raises:
            DeviceError: another instrument answers at this address.
            LinkLost, LinkTimeout, BadFrame: the link failed again.
        """
        if self.ready:
            return self._identity
        if not self.link.alive:
            self.reconnects += 1
            self.link.reconnect(after(self.timeout_s))
        try:
            identity = self.query("*IDN?")
            if self._identity and identity != self._identity:
                raise DeviceError(
                    f"{self.link.address} is now {identity!r}, it was {self._identity!r}; check the address"
                )
            if self._setup is not None:
                self._setup(self)
        except BaseException:
            self.link.close()  # half set up is not set up
            raise
        self._identity = identity
        return identity

    def write(self, command: str) -> None:
        """Send a command that has no answer, once. Raises a link fault; then it may or may not have arrived."""
        line = _line(command)
        with self._exchange():
            self._check_idle()
            self.link.write(line, after(self.timeout_s))

    def query(self, command: str) -> str:
        """Send a query once and return its answer without the newline. Raises LinkLost, LinkTimeout, BadFrame."""
        message, prefix = self._compose(command)
        deadline = after(self.timeout_s)
        with self._exchange():
            self._ask(message, prefix, deadline)
            line = self.link.read_until(b"\n", deadline).removesuffix(b"\r")
            if not line or not line.isascii() or not line.decode("ascii").isprintable():
                raise BadFrame(f"{command}: the answer is not text: {line[:40]!r}")
            return line.decode("ascii")

    def query_numbers(self, command: str) -> tuple[np.ndarray, tuple[str, ...]]:
        """Comma-separated numbers and their flags, see :func:`codecs.parse_numbers`. Raises as ``query``."""
        answer = self.query(command)
        try:
            return codecs.parse_numbers(answer)
        except BadFrame as error:
            self.link.close()  # perhaps the answer to something else
            raise BadFrame(f"{self.link.address}: {command} is answered {answer[:40]!r}: {error}; reconnect") from error

    def query_finite(self, command: str, count: int) -> np.ndarray:
        """That many finite numbers, (count,) float64.

        Raises:
            DeviceError: another count, or a number that is not finite: nothing can be judged by it.
            LinkLost, LinkTimeout, BadFrame: as ``query``.
        """
        values, flags = self.query_numbers(command)
        if flags or values.shape != (count,):
            raise DeviceError(
                f"{self.link.address}: {command} is answered {values.tolist()}, where {count} finite numbers are "
                "needed; check the instrument and its firmware"
            )
        return values

    def query_frame(self, command: str) -> tuple[float, int]:
        """Size of a pixel, finite and positive, and pixels along an edge. Raises as ``query_finite``."""
        size, pixels = self.query_finite(command, 2).tolist()
        if not (size > 0 and 1 <= pixels <= MAX_EDGE and pixels == int(pixels)):
            raise DeviceError(
                f"{self.link.address}: {command} is answered {[size, pixels]}, where a positive size and a whole "
                f"number of pixels up to {MAX_EDGE} are needed"
            )
        return size, int(pixels)

    def query_block(self, command: str, dtype: Any) -> np.ndarray:
        """Send a query once and return its IEEE 488.2 block, (n,) of dtype in native order. Raises as ``query``.

        The data are received straight into the array that is returned.
        """
        message, prefix = self._compose(command)
        deadline = after(self.timeout_s)
        with self._exchange():
            self._ask(message, prefix, deadline)
            digits = codecs.header_digits(self.link.read_exact(2, deadline))
            if digits == 0:
                raise BadFrame(f"{command}: an indefinite block (#0) has no length to check; ask for a definite one")
            nbytes = codecs.header_length(self.link.read_exact(digits, deadline))
            if nbytes > MAX_BLOCK_BYTES:
                raise BadFrame(
                    f"{command}: a block of {nbytes} bytes is announced; more than {MAX_BLOCK_BYTES} is no block"
                )
            values = np.empty(codecs.item_count(nbytes, dtype), dtype=dtype)
            self.link.read_into(values.view(np.uint8).data, deadline)
            tail = self.link.read_until(b"\n", deadline).removesuffix(b"\r")
            if tail:
                raise BadFrame(f"{command}: {len(tail)} bytes follow the block, whose header promised {nbytes}")
            return values if values.dtype.isnative else codecs.native(values)

    def read_again(self, command: str) -> str:
        """A query that changes nothing: repeated after reconnection, at most ``attempts`` times in all."""
        return self._again(lambda: self.query(command))

    def read_numbers_again(self, command: str) -> tuple[np.ndarray, tuple[str, ...]]:
        """As ``read_again``, for comma-separated numbers."""
        return self._again(lambda: self.query_numbers(command))

    def read_finite_again(self, command: str, count: int) -> np.ndarray:
        """As ``read_again``, for that many finite numbers; raises as ``query_finite``."""
        return self._again(lambda: self.query_finite(command, count))

    def read_block_again(self, command: str, dtype: Any, first: str = "") -> np.ndarray:
        """As ``read_again``, for a block; each time the command ``first`` is sent before."""

        def read() -> np.ndarray:
            if first:
                self.write(first)
            return self.query_block(command, dtype)

        return self._again(read)

    def errors(self) -> list[str]:
        """Empty the instrument's error queue, oldest first; at most 64 entries.

        Not repeated on a fault: an entry that was on its way is gone.
        """
        found: list[str] = []
        for _ in range(MAX_ERRORS):
            entry = self.query("SYST:ERR?")
            if entry.split(",")[0].strip() in ("0", "+0"):
                break
            found.append(entry)
        return found

    def check(self) -> None:
        """Raise DeviceError when the error queue is not empty."""
        found = self.errors()
        if found:
            raise DeviceError(f"{self.link.address} reports: {'; '.join(found)}")

    def close(self) -> None:
        """Close the link."""
        self.link.close()

    def _again(self, read: Callable[[], T]) -> T:
        for attempt in itertools.count(1):
            try:
                self.connect()
                return read()
            except LINK_FAULTS:
                if attempt >= self.attempts:
                    raise
                time.sleep(self.pause_s * attempt)
        raise AssertionError("unreachable")

    @contextlib.contextmanager
    def _exchange(self) -> Iterator[None]:
        """Whatever interrupts an exchange, Ctrl-C included, leaves the link closed: it may be out of step."""
        try:
            yield
        except BaseException as error:
            self.link.close()
            if isinstance(error, Exception) and not isinstance(error, InstrumentError):
                raise BadFrame(f"{self.link.address}: {error!r}; closed, reconnect") from error
            raise

    def _check_idle(self) -> None:
        stray = self.link.drain()
        if stray:
            raise BadFrame(
                f"{self.link.address}: {len(stray)} bytes came unasked ({stray[:40]!r}); out of step, reconnect"
            )

    def _compose(self, command: str) -> tuple[bytes, bytes]:
        """The message that asks for command, and the bytes its answer must begin with."""
        if self._tag is None:
            return _line(command), b""
        n = next(self._numbers)
        number = n % 256 if self._tag == TAG_ESE else n
        # A header after ';' continues the path of the one before (SCPI-99 volume 1, 6.2.4); ':' starts at the root.
        absolute = command if command.startswith(("*", ":")) else f":{command}"
        return _line(f"{self._tag.format(n=number)};{absolute}"), b"%d;" % number

    def _ask(self, message: bytes, prefix: bytes, deadline: float) -> None:
        self._check_idle()
        self.link.write(message, deadline)
        for i, expected in enumerate(prefix):  # byte by byte: a wrong answer may be shorter than the prefix
            got = self.link.read_exact(1, deadline)
            if got[0] != expected:
                raise BadFrame(
                    f"{self.link.address}: an answer begins {prefix[:i] + got!r}, not {prefix!r}; it is not ours"
                )


def _line(command: str) -> bytes:
    if not command or not command.isascii() or not command.isprintable():
        raise ValueError(f"{command!r}: a command is one line of printable ASCII")
    return command.encode("ascii") + b"\n"
