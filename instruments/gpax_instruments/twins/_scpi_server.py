"""A SCPI server over raw TCP: lines in, answers out, one thread a connection, 127.0.0.1 only."""

import contextlib
import socket
import threading
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Protocol, runtime_checkable

from gpax_instruments.twins._dialect import Piece
from gpax_instruments.twins._faults import Faults, deliver

HOST = "127.0.0.1"  # a twin obeys anybody who can reach it, so nobody outside this machine can
MAX_LINE = 1 << 20


@runtime_checkable
class Device(Protocol):
    """What a server serves."""

    def execute(self, line: bytes) -> list[Piece]:
        """Obey one line and return its answers."""
        ...

    def report(self, code: int) -> None:
        """Put an error in the queue."""
        ...

    @property
    def status(self) -> int:
        """IEEE 488.2 status byte."""
        ...


class WireLog:
    """Every line received: ``<monotonic seconds> <scpi|hislip> <line>``, flushed at once. Without a path, nothing."""

    def __init__(self, path: str | Path | None = None) -> None:
        self._file = open(path, "a", encoding="ascii", errors="backslashreplace") if path else None  # noqa: SIM115
        self._lock = threading.Lock()

    def write(self, channel: str, line: bytes) -> None:
        """Add a line."""
        if self._file is not None:
            with self._lock:
                self._file.write(f"{time.monotonic():.6f} {channel} {line.decode('latin-1').strip()}\n")
                self._file.flush()

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()


class Listener(ABC):
    """Accepts connections on 127.0.0.1 and serves each in a thread of its own; subclasses say how."""

    def __init__(self, device: Device, faults: Faults, log: WireLog, port: int = 0) -> None:
        self.device, self.faults, self.log = device, faults, log
        self.stopping = threading.Event()
        self._listener = socket.create_server((HOST, port))
        self._listener.settimeout(0.1)
        self.port: int = self._listener.getsockname()[1]
        self._open: set[socket.socket] = set()
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def start(self) -> None:
        """Begin to accept."""
        self._thread.start()

    def stop(self) -> None:
        """Stop accepting and cut every connection."""
        self.stopping.set()
        if self._thread.is_alive():
            self._thread.join(5.0)
        self._listener.close()
        self.cut_all()

    def cut_all(self) -> None:
        """Cut every connection; new ones are welcome."""
        for connection in list(self._open):
            cut(connection)

    @abstractmethod
    def serve(self, connection: socket.socket) -> None:
        """Talk to one client until it leaves."""

    def _accept(self) -> None:
        while not self.stopping.is_set():
            with contextlib.suppress(OSError):  # the time-out included
                connection, _ = self._listener.accept()
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        self._open.add(connection)
        try:
            with connection, contextlib.suppress(OSError):
                self.serve(connection)
        finally:
            self._open.discard(connection)


class ScpiServer(Listener):
    """Lines ended by a newline; the answers of one line go back joined by ``;`` as one line."""

    def serve(self, connection: socket.socket) -> None:
        """Obey line after line."""
        pending = bytearray()
        while data := connection.recv(1 << 16):
            pending += data
            *lines, rest = pending.split(b"\n")
            pending = rest
            for line in lines:
                self._obey(connection, bytes(line))
            if len(pending) > MAX_LINE:
                pending.clear()
                self.device.report(-363)

    def _obey(self, connection: socket.socket, line: bytes) -> None:
        self.log.write("scpi", line)
        answer = self.device.execute(line)
        if answer:
            deliver(connection, answer, list, self.faults.take_for(answer), self.stopping.wait)


def cut(connection: socket.socket) -> None:
    """Close a connection that another thread may be reading: close alone would not wake it."""
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
