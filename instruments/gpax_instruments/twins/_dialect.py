"""The instrument side of SCPI: splitting lines, finding commands, checking parameters, the error queue.

IEEE 488.2-1992 (common commands, status byte) and SCPI-99 (headers in volume 1, errors in volume 2 chapter 21). One
deviation, on purpose: every header starts at the root: ``SYST:TAG? 17;POS?`` is ``SYST:TAG? 17;:POS?``.
"""

import itertools
import re
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

ERRORS = {  # SCPI-99 volume 2, 21.8
    -102: "Syntax error",
    -104: "Data type error",
    -108: "Parameter not allowed",
    -109: "Missing parameter",
    -113: "Undefined header",
    -211: "Trigger ignored",
    -213: "Init ignored",
    -221: "Settings conflict",
    -222: "Data out of range",
    -224: "Illegal parameter value",
    -230: "Data corrupt or stale",
    -350: "Queue overflow",
    -363: "Input buffer overrun",
}
QUEUE_LENGTH = 32
_POWER_ON = 128  # bit 7 of the event register, IEEE 488.2 11.5.1.1
_EVENT_BITS = {1: 32, 2: 16, 3: 8, 4: 4}  # hundreds digit of the error -> bit of the event register, SCPI-99 21.8.1
_INTEGER = re.compile(r"[+-]?\d{1,18}")


class ScpiError(Exception):
    """What a handler raises to refuse: a number of `ERRORS`, which goes to the error queue; nothing is answered."""

    def __init__(self, code: int) -> None:
        super().__init__(f'{code},"{ERRORS[code]}"')
        self.code = code


class PowerFailed(ConnectionAbortedError):
    """The instrument was switched off and on: every connection is cut, and what it had in memory is gone."""


class Block(NamedTuple):
    """An IEEE 488.2 definite-length block: `data` is sent as it is, without a copy."""

    data: memoryview

    @property
    def header(self) -> bytes:
        """``#<digits><length>``."""
        length = str(self.data.nbytes).encode()
        return b"#%d%b" % (len(length), length)


Piece = str | Block
"""The answer to one query; a line of queries has a list of them."""


class Command(NamedTuple):
    """A handler, what reads each of its parameters, and how many of them must be there."""

    handler: Callable[..., Piece | None]
    readers: Sequence[Callable[[str], Any]]
    least: int


class Dialect:
    """A table of commands with an error queue and the IEEE 488.2 status registers.

    `lock` is held while a command runs, so that commands of several connections do not mix; a handler that waits may
    use it as the condition that it is.
    """

    def __init__(self) -> None:
        self.lock = threading.Condition(threading.RLock())
        self.errors: deque[int] = deque()
        self.event, self.enable = _POWER_ON, 0
        self.forget: list[Callable[[], object]] = []  # called when the power fails, under `lock`
        self._table: dict[str, Command] = {}
        self.add("*CLS", self.clear)
        self.add("*ESR?", self._read_event)
        self.add("*ESE", self._set_enable, integer)
        self.add("*ESE?", lambda: str(self.enable))
        self.add("*STB?", lambda: str(self.status))
        self.add("SYSTem:ERRor[:NEXT]?", self._next_error)
        self.add("SYSTem:TAG?", str, integer)

    def add(self, pattern: str, handler: Callable[..., Piece | None], *readers: Callable[[str], Any], least: int = -1):
        """Register a command: capitals are the short form, ``[:NODE]`` may be left out, as SCPI writes its syntax."""
        command = Command(handler, readers, len(readers) if least < 0 else least)
        for header in _spellings(pattern):
            self._table[header] = command

    def execute(self, line: bytes) -> list[Piece]:
        """Obey one line, without its newline; the answers of its queries, in order. Faulty parts answer nothing.

        Raises:
            PowerFailed: a command ended in a power failure; the rest of the line is lost.
        """
        pieces: list[Piece] = []
        text = line.decode("latin-1").strip()
        try:
            units = split(text, ";") if text else []
        except ScpiError as error:
            self.report(error.code)
            return pieces
        for unit in units:
            try:
                with self.lock:
                    piece = self._powered(unit)
            except ScpiError as error:
                self.report(error.code)
            else:
                if piece is not None:
                    pieces.append(piece)
        return pieces

    def report(self, code: int) -> None:
        """Put an error in the queue; when it is full the newest entry becomes -350 (SCPI-99 21.8.1)."""
        with self.lock:
            self.event |= _EVENT_BITS[-code // 100]
            if len(self.errors) < QUEUE_LENGTH:
                self.errors.append(code)
            else:
                self.errors[-1] = -350

    def clear(self) -> None:
        """``*CLS``: empty the error queue and the event register."""
        self.errors.clear()
        self.event = 0

    @property
    def status(self) -> int:
        """Status byte: bit 2 errors in the queue, bit 5 an enabled event."""
        return 4 * bool(self.errors) | 32 * bool(self.event & self.enable)

    def _powered(self, unit: str) -> Piece | None:
        try:
            return self._one(unit)
        except PowerFailed:
            self.errors.clear()
            self.event, self.enable = _POWER_ON, 0
            for forget in self.forget:
                forget()
            self.lock.notify_all()
            raise

    def _one(self, unit: str) -> Piece | None:
        header, rest = [*unit.split(None, 1), "", ""][:2]
        command = self._table.get(header.upper().removeprefix(":"))
        if command is None:
            raise ScpiError(-113)
        words = [word.strip() for word in split(rest, ",")] if rest.strip() else []
        if len(words) > len(command.readers):
            raise ScpiError(-108)
        if len(words) < command.least:
            raise ScpiError(-109)
        return command.handler(*(read(word) for read, word in zip(command.readers, words, strict=False)))

    def _next_error(self) -> str:
        code = self.errors.popleft() if self.errors else 0
        return f'{code},"{ERRORS.get(code, "No error")}"'

    def _read_event(self) -> str:
        event, self.event = self.event, 0
        return str(event)

    def _set_enable(self, value: int) -> None:
        if not 0 <= value <= 255:
            raise ScpiError(-222)
        self.enable = value


def split(text: str, mark: str) -> list[str]:
    """Split at mark outside quotes. Raises ScpiError -102 for an open quote."""
    parts, quote = [""], ""
    for letter in text:
        if letter == mark and not quote:
            parts.append("")
            continue
        if quote == letter:
            quote = ""
        elif not quote and letter in "\"'":
            quote = letter
        parts[-1] += letter
    if quote:
        raise ScpiError(-102)
    return parts


def number(word: str) -> float:
    """A decimal number; NAN and INF are numbers here, for the handler to refuse. Raises ScpiError -104."""
    try:
        return float(word.replace("_", "?"))  # Python would take 1_000
    except ValueError:
        raise ScpiError(-104) from None


def integer(word: str) -> int:
    """A decimal integer. Raises ScpiError -104."""
    if not _INTEGER.fullmatch(word):
        raise ScpiError(-104)
    return int(word)


def string(word: str) -> str:
    """A quoted string, single or double. Raises ScpiError -104."""
    if len(word) < 2 or word[0] not in "\"'" or word[-1] != word[0]:
        raise ScpiError(-104)
    return word[1:-1]


def name(word: str) -> str:
    """A bare word, in capitals. Raises ScpiError -104."""
    if not word.isalpha():
        raise ScpiError(-104)
    return word.upper()


def _spellings(pattern: str) -> list[str]:
    """Every header that a pattern such as ``SYSTem:ERRor[:NEXT]?`` allows, in capitals."""
    query = "?" * pattern.endswith("?")
    nodes = re.findall(r"(\[?):?([*A-Za-z]+)", pattern)
    choices = []
    for optional, node in nodes:
        short, full = re.sub("[a-z]", "", node), node.upper()
        choices.append(dict.fromkeys([short, full] + [""] * bool(optional)))
    return [":".join(filter(None, words)) + query for words in itertools.product(*choices)]
