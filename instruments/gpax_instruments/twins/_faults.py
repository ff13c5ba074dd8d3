"""Misbehaviour on command: what is armed, and how an answer goes wrong on the wire."""

import socket
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gpax_instruments.twins._dialect import Block, Piece, PowerFailed, ScpiError

Buffer = bytes | memoryview

ANSWER = frozenset({"DROP", "HALF", "STALL", "LATE", "DUP", "JUNK"})
"""Faults of the next answer, whatever it is."""

BLOCK = frozenset({"SHORT"})
"""Faults of the next answer with a block in it."""

LOOP = frozenset({"NAN", "SAT"})
"""Faults of the next loop triggered, or of the present one when it is read next."""

MOVE = frozenset({"REFUSE"})
"""Faults of the next move."""

POWER = frozenset({"POWER"})
"""Faults of the next pulse or shot: it begins, and the power fails."""

NANONIS = frozenset({"ECHO", "MODULE"})
"""Faults of a Nanonis controller alone: the next answer bears another name, or is that a module is not open."""

JUNK_BYTES = b"\x15JUNK\xff\x00"
_SMALL = 1 << 16  # buffers below this are joined: a copy is cheaper than a system call and a packet


@dataclass
class Fault:
    """An armed fault: how often it will still strike, and how many seconds STALL and LATE take."""

    name: str
    count: int
    seconds: float


class Faults:
    """The faults armed, oldest first; shared by all connections."""

    def __init__(self) -> None:
        self._armed: list[Fault] = []
        self._lock = threading.Lock()

    def arm(self, name: str, count: int = 1, seconds: float = 1.0) -> None:
        """Arm a fault, or disarm all with CLEAR. Raises ScpiError -224 for an unknown name, -222 out of range."""
        if name == "CLEAR":
            self.clear()
            return
        if name not in ANSWER | BLOCK | LOOP | MOVE | POWER | NANONIS:
            raise ScpiError(-224)
        if not (1 <= count <= 1_000_000 and 0 <= seconds <= 3600):
            raise ScpiError(-222)
        with self._lock:
            self._armed.append(Fault(name, count, seconds))

    def clear(self) -> None:
        """Disarm everything."""
        with self._lock:
            self._armed.clear()

    def take(self, names: frozenset[str]) -> Fault | None:
        """Use up one strike of the oldest fault among names."""
        with self._lock:
            fault = next((fault for fault in self._armed if fault.name in names), None)
            if fault is not None:
                fault.count -= 1
                if fault.count == 0:
                    self._armed.remove(fault)
            return fault

    def power(self) -> None:
        """Raise PowerFailed where it is time for it."""
        if self.take(POWER) is not None:
            raise PowerFailed("the power failed on command")

    def take_for(self, answer: Sequence[Piece]) -> Fault | None:
        """The fault that strikes this answer."""
        return self.take(ANSWER | BLOCK if any(isinstance(piece, Block) for piece in answer) else ANSWER)


def deliver(
    connection: socket.socket,
    answer: Sequence[Piece],
    frame: Callable[[list[Buffer]], list[Buffer]],
    fault: Fault | None,
    wait: Callable[[float], bool],
) -> None:
    """Send an answer, rightly or wrongly.

    Args:
        connection: where to.
        answer: pieces, joined by ``;`` and ended by a newline.
        frame: turns the bytes of the answer into the bytes on the wire (HiSLIP adds headers).
        fault: what goes wrong.
        wait: sleeps that many seconds; true when the answer is not wanted any more.

    Raises:
        OSError: the connection is gone; ConnectionAbortedError where the fault was to close it.
    """
    kind = fault.name if fault else ""
    buffers = render(answer, short=kind == "SHORT")
    if kind == "JUNK":
        buffers.insert(0, JUNK_BYTES)
    transmit(connection, coalesce(frame(buffers)), fault, wait)


def transmit(
    connection: socket.socket, stream: Sequence[Buffer], fault: Fault | None, wait: Callable[[float], bool]
) -> None:
    """Send a whole answer as `deliver` does, or as far as the fault lets it."""
    kind = fault.name if fault else ""
    if kind == "HALF":
        connection.shutdown(socket.SHUT_WR)
        return
    if kind == "LATE" and fault and wait(fault.seconds):
        return
    if kind in ("DROP", "STALL") and fault:
        whole = memoryview(b"".join(stream))
        connection.sendall(whole[: len(whole) // 2])
        if kind == "DROP":
            raise ConnectionAbortedError("dropped on command")
        if not wait(fault.seconds):
            connection.sendall(whole[len(whole) // 2 :])
        return
    for _ in range(2 if kind == "DUP" else 1):
        for buffer in stream:
            connection.sendall(buffer)


def render(answer: Sequence[Piece], short: bool = False) -> list[Buffer]:
    """The bytes of an answer; with `short`, each block lacks its last quarter, whatever its header says."""
    buffers: list[Buffer] = []
    for piece in answer:
        if buffers:
            buffers.append(b";")
        if isinstance(piece, Block):
            keep = piece.data.nbytes * 3 // 4 // 4 * 4 if short else piece.data.nbytes
            buffers += [piece.header, piece.data[:keep]]
        else:
            buffers.append(piece.encode("ascii"))
    return [*buffers, b"\n"]


def coalesce(buffers: Sequence[Buffer]) -> list[Buffer]:
    """Join neighbouring small buffers; large ones stay as they are, uncopied."""
    joined: list[Buffer] = []
    pending: list[Buffer] = []
    for buffer in buffers:
        if len(buffer) < _SMALL:
            pending.append(buffer)
            continue
        joined += [b"".join(pending), buffer] if pending else [buffer]
        pending = []
    return [*joined, b"".join(pending)] if pending else joined
