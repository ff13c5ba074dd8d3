"""The ports of the simulated Nanonis controller: frames in, frames out, one client a port at a time, 127.0.0.1 only."""

import socket
import threading
import time
from collections.abc import Callable
from typing import Any

from gpax_instruments import _nanonis_codecs as codecs
from gpax_instruments._nanonis_commands import COMMANDS
from gpax_instruments.errors import BadFrame
from gpax_instruments.twins import _faults as faults
from gpax_instruments.twins._dialect import ScpiError
from gpax_instruments.twins._nanonis_modules import Handlers
from gpax_instruments.twins._nanonis_world import Ledger, Refused
from gpax_instruments.twins._scpi_server import HOST, WireLog, cut

ARM = "Twin.Fault"
"""Command of this twin alone: name, count, seconds of a fault to arm."""

MODULES = ("BiasSpectr", "Scan")  # those that a person may have left closed
MAX_REQUEST = 1 << 24
POLL_S = 0.005


class Controller:
    """Obeys requests, one at a time whatever the port.

    Args:
        lock: of the world; handlers that wait let other ports in.
        handlers: what each command does.
        release: whose forms are spoken.
        armed: faults to look at.
        fields: whether a refusal comes after fields of zeros in place of alone.
        ledger: gets every fault that strikes.
    """

    def __init__(
        self,
        lock: threading.Condition,
        handlers: Handlers,
        release: int,
        armed: faults.Faults,
        fields: bool,
        ledger: Ledger,
    ) -> None:
        self.lock, self.handlers, self.release, self.faults, self.fields = lock, handlers, release, armed, fields
        self.ledger = ledger

    def answer(self, name: str, body: bytes) -> bytes:
        """The body of the answer."""
        if name == ARM:
            return self._arm(body)
        command = COMMANDS.get(name)
        if command is None or self.release < command.since:
            return codecs.error_section(f"Unknown command {name}")
        arguments, returns = command.form(self.release)
        try:
            values, at = codecs.unpack(arguments, body)
            if at != len(body):
                raise BadFrame(f"{len(body) - at} bytes too many")
        except BadFrame as error:
            return self._refusal(returns, f"invalid arguments: {error}")
        with self.lock:
            if name.partition(".")[0] in MODULES and self.faults.take(frozenset({"MODULE"})):
                return self._refusal(returns, "NeedModule: please open the module to use this function")
            try:
                result = self.handlers[name](*values)
            except Refused as refused:
                return self._refusal(returns, str(refused))
        return codecs.pack(returns, result) + codecs.error_section()

    def _refusal(self, returns: str, text: str) -> bytes:
        return (codecs.pack(returns, codecs.zeros(returns)) if self.fields else b"") + codecs.error_section(text)

    def _arm(self, body: bytes) -> bytes:
        try:
            (name, count, seconds), _ = codecs.unpack("s i f", body)
            self.faults.arm(name, count, seconds)
        except (BadFrame, ScpiError) as error:
            return codecs.error_section(f"no such fault: {error}")
        return codecs.error_section()


class TcpPort:
    """One port, which serves one client at a time; who comes second waits.

    Args:
        controller: what obeys.
        log: gets every request.
        port: 0 for a free one.
    """

    def __init__(self, controller: Controller, log: WireLog, port: int) -> None:
        self.controller, self.log = controller, log
        self._listener = socket.create_server((HOST, port))
        self._listener.settimeout(0.1)
        self.number: int = self._listener.getsockname()[1]
        self._stopping = threading.Event()
        self._open: socket.socket | None = None
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def start(self) -> None:
        """Begin to accept."""
        self._thread.start()

    def close(self) -> None:
        """Give the port back; for a port that was never opened."""
        self._listener.close()

    def stop(self) -> None:
        """Accept no more, and cut the connection."""
        self._stopping.set()
        if self._open is not None:
            cut(self._open)
        self._thread.join(5.0)
        self._listener.close()

    def _accept(self) -> None:
        while not self._stopping.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:  # the time-out included
                continue
            with connection:
                self._open = connection
                try:
                    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    connection.settimeout(None)
                    self._serve(connection)
                except OSError:
                    pass
                self._open = None

    def _serve(self, connection: socket.socket) -> None:
        while (header := _exactly(connection, codecs.HEADER_BYTES)) is not None:
            padded, size, wanted = codecs.split_header(header)
            if not 0 <= size <= MAX_REQUEST or (body := _exactly(connection, size)) is None:
                return
            try:
                name = codecs.name_of(padded)
            except BadFrame:
                return
            self.log.write("nanonis", f"{name} {body.hex()}".encode())
            answer = self.controller.answer(name, body)
            if wanted:
                self._send(connection, padded, answer, bool(name != ARM), _returns(name))

    def _send(self, connection: socket.socket, padded: bytes, answer: bytes, may_fail: bool, returns: str) -> None:
        names = faults.ANSWER | frozenset({"ECHO"}) | (faults.BLOCK if "F2" in returns else frozenset())
        fault = self.controller.faults.take(names) if may_fail else None
        kind = fault.name if fault else ""
        if kind:
            self.controller.ledger.write("fault", name=kind, answer=codecs.name_of(padded))
        if kind == "ECHO":
            padded = b"Current.Get" if padded.startswith(b"Bias.Get") else b"Bias.Get"
            padded = padded.ljust(codecs.NAME_BYTES, b"\0")
        header = codecs.answer_header(padded, len(answer))
        body = answer[: len(answer) * 3 // 4] if kind == "SHORT" else answer
        junk = faults.JUNK_BYTES if kind == "JUNK" else b""
        faults.transmit(connection, [junk + header + body], fault, self._patience(connection))

    def _patience(self, connection: socket.socket) -> Callable[[float], bool]:
        def wait(seconds: float) -> bool:
            """Sleep so long; true as soon as the client has gone, since the next one waits at this port."""
            end = time.monotonic() + seconds
            while (left := end - time.monotonic()) > 0:
                if self._stopping.wait(min(left, POLL_S)) or _gone(connection):
                    return True
            return False

        return wait


def _returns(name: str) -> str:
    command: Any = COMMANDS.get(name)
    return command.returns if command else ""


def _gone(connection: socket.socket) -> bool:
    try:
        return connection.recv(1, socket.MSG_PEEK | getattr(socket, "MSG_DONTWAIT", 0)) == b""
    except (BlockingIOError, InterruptedError):
        return False
    except OSError:
        return True


def _exactly(connection: socket.socket, count: int) -> bytes | None:
    """So many bytes; None where the client has gone."""
    data = bytearray()
    while len(data) < count:
        got = connection.recv(min(count - len(data), 1 << 20))
        if not got:
            return None
        data += got
    return bytes(data)
