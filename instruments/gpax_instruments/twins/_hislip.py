"""A HiSLIP server (IVI-6.1, synchronized mode) over the same device: two TCP connections a client, messages framed.

Built: initialization, data, device clear, trigger, locks, status, remote/local, maximum message size. Left out:
overlapped mode, service requests, TLS and the interrupted-error protocol (an answer that nobody read is dropped by the
client, which knows it by its message id). Locks are kept but not enforced on the device.
"""

import itertools
import socket
import struct
import threading
import time
from enum import IntEnum
from typing import Any, NamedTuple

from gpax_instruments.twins._faults import Buffer, deliver
from gpax_instruments.twins._scpi_server import MAX_LINE, Listener, cut

HEADER = struct.Struct("!2sBBIQ")  # prologue, type, control code, parameter, payload length: IVI-6.1 table 3
VERSION = 0x0100  # 1.0
VENDOR = 0x4758  # two letters of ours
MAX_PAYLOAD = 1 << 20


class Kind(IntEnum):
    """Message types, IVI-6.1 table 4."""

    INITIALIZE = 0
    INITIALIZE_RESPONSE = 1
    FATAL_ERROR = 2
    ERROR = 3
    LOCK = 4
    LOCK_RESPONSE = 5
    DATA = 6
    DATA_END = 7
    CLEAR_COMPLETE = 8
    CLEAR_ACKNOWLEDGE = 9
    REMOTE_LOCAL = 10
    REMOTE_LOCAL_RESPONSE = 11
    TRIGGER = 12
    MAX_SIZE = 15
    MAX_SIZE_RESPONSE = 16
    ASYNC_INITIALIZE = 17
    ASYNC_INITIALIZE_RESPONSE = 18
    ASYNC_CLEAR = 19
    STATUS = 21
    STATUS_RESPONSE = 22
    ASYNC_CLEAR_ACKNOWLEDGE = 23
    LOCK_INFO = 24
    LOCK_INFO_RESPONSE = 25


class Message(NamedTuple):
    """A message without its prologue."""

    kind: int
    control: int
    parameter: int
    payload: bytes


class Session:
    """One client: its two connections, the largest message it takes, and whether it asked to forget the answers."""

    def __init__(self, number: int, sync: socket.socket) -> None:
        self.number, self.sync = number, sync
        self.asynchronous: socket.socket | None = None
        self.max_payload = MAX_PAYLOAD
        self.cleared = threading.Event()


class HislipServer(Listener):
    """Serves a device to HiSLIP clients."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._sessions: dict[int, Session] = {}
        self._numbers = itertools.count(1)
        self._holder: int | None = None  # session that holds the exclusive lock
        self._lock = threading.Condition()

    def serve(self, connection: socket.socket) -> None:
        """The first message says which of a client's two connections this is."""
        first = receive(connection)
        if first.kind == Kind.INITIALIZE:
            session = Session(next(self._numbers) & 0xFFFF, connection)
            self._sessions[session.number] = session
            send(connection, Kind.INITIALIZE_RESPONSE, 0, VERSION << 16 | session.number)
            self._until_closed(session, connection, self._on_sync)
        elif first.kind == Kind.ASYNC_INITIALIZE and first.parameter in self._sessions:
            session = self._sessions[first.parameter]
            session.asynchronous = connection
            send(connection, Kind.ASYNC_INITIALIZE_RESPONSE, 0, VENDOR)
            self._until_closed(session, connection, self._on_async)
        else:
            send(connection, Kind.FATAL_ERROR, 3, 0, b"invalid initialization sequence")

    def _until_closed(self, session: Session, connection: socket.socket, react: Any) -> None:
        """Message after message; whichever connection ends takes the other with it."""
        pending = bytearray()
        try:
            while True:
                react(session, receive(connection), pending)
        finally:
            session.cleared.set()
            with self._lock:  # one that waits for a lock of this session's learns that it need not
                self._sessions.pop(session.number, None)
                self._release(session)
                self._lock.notify_all()
            for end in (session.sync, session.asynchronous):
                if end is not None:
                    cut(end)

    def _on_sync(self, session: Session, message: Message, pending: bytearray) -> None:
        if message.kind in (Kind.DATA, Kind.DATA_END):
            pending += message.payload
            if len(pending) > MAX_LINE:
                pending.clear()
                self.device.report(-363)
            elif message.kind == Kind.DATA_END:
                lines = bytes(pending).rstrip(b"\n").split(b"\n")
                pending.clear()
                for line in lines:
                    self._obey(session, line, message.parameter)
        elif message.kind == Kind.CLEAR_COMPLETE:
            pending.clear()
            session.cleared.clear()
            send(session.sync, Kind.CLEAR_ACKNOWLEDGE)
        elif message.kind == Kind.TRIGGER:
            self.log.write("hislip", b"<trigger>")
            self.device.report(-211)
        else:
            send(session.sync, Kind.ERROR, 1, 0, b"unrecognized message type")

    def _obey(self, session: Session, line: bytes, message_id: int) -> None:
        self.log.write("hislip", line)
        answer = self.device.execute(line)
        if not answer:
            return
        fault = self.faults.take_for(answer)  # used up even where a clear has come first and nobody wants the answer
        if session.cleared.is_set():
            return

        def frame(buffers: list[Buffer]) -> list[Buffer]:
            return packets(buffers, message_id, session.max_payload)

        deliver(session.sync, answer, frame, fault, session.cleared.wait)

    def _on_async(self, session: Session, message: Message, pending: bytearray) -> None:
        del pending  # only data arrive in pieces
        reply: tuple[Any, ...]
        if message.kind == Kind.MAX_SIZE and len(message.payload) == 8:
            (limit,) = struct.unpack("!Q", message.payload)
            session.max_payload = min(max(limit - HEADER.size, 256), MAX_PAYLOAD)
            reply = Kind.MAX_SIZE_RESPONSE, 0, 0, struct.pack("!Q", MAX_PAYLOAD)
        elif message.kind == Kind.ASYNC_CLEAR:
            session.cleared.set()
            reply = (Kind.ASYNC_CLEAR_ACKNOWLEDGE,)
        elif message.kind == Kind.LOCK:
            granted = self._acquire(session, message.parameter / 1000) if message.control else self._release(session)
            reply = Kind.LOCK_RESPONSE, granted
        elif message.kind == Kind.LOCK_INFO:
            reply = Kind.LOCK_INFO_RESPONSE, int(self._holder is not None), int(self._holder is not None)
        elif message.kind == Kind.REMOTE_LOCAL:
            reply = (Kind.REMOTE_LOCAL_RESPONSE,)
        elif message.kind == Kind.STATUS:
            reply = Kind.STATUS_RESPONSE, self.device.status
        else:
            reply = Kind.ERROR, 1, 0, b"unrecognized message type"
        assert session.asynchronous is not None
        send(session.asynchronous, *reply)

    def _acquire(self, session: Session, seconds: float) -> int:
        """1 when granted, 0 when another client kept it, 3 when already held: IVI-6.1 table 16."""
        end = time.monotonic() + seconds
        with self._lock:
            if self._holder == session.number:
                return 3
            while self._holder is not None:
                if not self._lock.wait(max(0.0, end - time.monotonic())) and time.monotonic() >= end:
                    return 0
                if session.number not in self._sessions:
                    return 0  # its client has left meanwhile, and would never release it
            self._holder = session.number
            return 1

    def _release(self, session: Session) -> int:
        with self._lock:
            if self._holder != session.number:
                return 3
            self._holder = None
            self._lock.notify_all()
            return 1


def packets(buffers: list[Buffer], message_id: int, limit: int) -> list[Buffer]:
    """One answer as Data messages and a last DataEnd, none longer than limit; the data are not copied."""
    left = sum(len(buffer) for buffer in buffers)
    room, framed = 0, list[Buffer]()
    for buffer in buffers:
        view = memoryview(buffer)
        while len(view):
            if not room:
                room = min(left, limit)
                left -= room
                framed.append(HEADER.pack(b"HS", Kind.DATA if left else Kind.DATA_END, 0, message_id, room))
            framed.append(view[:room])
            taken = min(room, len(view))
            view, room = view[taken:], room - taken
    return framed


def receive(connection: socket.socket) -> Message:
    """The next message. Raises OSError when the client has left or talks something else."""
    prologue, kind, control, parameter, length = HEADER.unpack(_exactly(connection, HEADER.size))
    if prologue != b"HS" or length > MAX_PAYLOAD:
        send(connection, Kind.FATAL_ERROR, 1, 0, b"poorly formed message header")
        raise ConnectionAbortedError("not HiSLIP")
    return Message(kind, control, parameter, _exactly(connection, length))


def send(connection: socket.socket, kind: int, control: int = 0, parameter: int = 0, payload: bytes = b"") -> None:
    """Send one message."""
    connection.sendall(HEADER.pack(b"HS", kind, control, parameter, len(payload)) + payload)


def _exactly(connection: socket.socket, n: int) -> bytes:
    data = bytearray(n)
    view = memoryview(data)
    while len(view):
        got = connection.recv_into(view)
        if not got:
            raise ConnectionResetError("the client closed")
        view = view[got:]
    return bytes(data)
