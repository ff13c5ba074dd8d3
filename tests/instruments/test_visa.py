import contextlib
import gc
import socket
import struct
import threading
import time

import numpy as np
import pytest
from gpax_instruments.errors import BadFrame, LinkLost, LinkTimeout
from gpax_instruments.links import Link, Scpi
from gpax_instruments.links._deadline import after
from gpax_instruments.links._visa import VisaLink, classify
from pyvisa.constants import StatusCode
from pyvisa.errors import InvalidBinaryFormat, VisaIOError


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (VisaIOError(StatusCode.error_timeout), LinkTimeout),
        (VisaIOError(StatusCode.error_connection_lost), LinkLost),
        (VisaIOError(StatusCode.error_resource_not_found), LinkLost),
        (TimeoutError("timed out"), LinkTimeout),
        (ConnectionResetError(), LinkLost),
        (BrokenPipeError(), LinkLost),
        (ConnectionRefusedError(), LinkLost),
        (RuntimeError("Connection was dropped by server."), LinkLost),
        (RuntimeError("protocol synchronization error"), BadFrame),
        (RuntimeError("unrecognized message type: 77"), BadFrame),
        (InvalidBinaryFormat(), BadFrame),
        (ValueError("no digits"), BadFrame),
        (UnicodeDecodeError("ascii", b"\xff", 0, 1, "no"), BadFrame),
        (struct.error("short"), BadFrame),
        (AssertionError(), BadFrame),
    ],
)
def test_every_exception_of_pyvisa_has_a_class_of_ours(error, kind):
    assert classify(error) is kind


@pytest.mark.parametrize("name", ["TCPIP::127.0.0.1::5025::SOCKET", "tcpip0::localhost::5025::socket"])
def test_raw_sockets_are_refused(name):
    with pytest.raises(ValueError, match=r"use tcp://.*:5025 instead"):
        VisaLink(name)


# pyvisa-py drops its sockets on a failed connection without closing them
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_connecting_to_nobody(within):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    import pyvisa

    pyvisa.ResourceManager("@py")  # loading the backend takes its time and is not part of the claim
    with within(1), pytest.raises(LinkLost):
        VisaLink(f"TCPIP::127.0.0.1::hislip0,{port}::INSTR", timeout_s=1, backend="@py")
    gc.collect()  # here, where the warning is expected


def test_an_unknown_backend_says_what_to_install():
    with pytest.raises(LinkLost, match="pyvisa-py"):
        VisaLink("TCPIP::127.0.0.1::hislip0::INSTR", backend="@nosuch")


class Hislip:
    """The least HiSLIP server (IVI-6.1, synchronized mode); `answer(send, text)` calls send(data) to answer."""

    def __init__(self, answer):
        self.answer, self._open = answer, []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.resource = f"TCPIP::127.0.0.1::hislip0,{self._listener.getsockname()[1]}::INSTR"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._open.append(connection)
                threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection):
        stream, parts = connection.makefile("rb"), []
        with connection, stream, contextlib.suppress(OSError, struct.error):
            while True:
                _, kind, _, number, length = struct.unpack("!2sBBIQ", stream.read(16))
                data = stream.read(length)
                if kind == 0:  # Initialize -> InitializeResponse, version 1.0, session 7
                    connection.sendall(struct.pack("!2sBBHHQ", b"HS", 1, 0, 0x0100, 7, 0))
                elif kind == 17:  # AsyncInitialize
                    connection.sendall(struct.pack("!2sBBIQ", b"HS", 18, 0, 0, 0))
                elif kind == 15:  # AsyncMaxMsgSize
                    connection.sendall(struct.pack("!2sBBIQ", b"HS", 16, 0, 0, 8) + data)
                elif kind in (6, 7):  # Data, DataEnd
                    parts.append(data)
                    if kind == 7:
                        text = b"".join(parts).decode().strip()
                        parts.clear()

                        def send(data, end=True, number=number, length=None):
                            head = struct.pack(
                                "!2sBBIQ", b"HS", 6 + end, 0, number, len(data) if length is None else length
                            )
                            connection.sendall(head + data)

                        if self.answer(send, text) is False:
                            connection.shutdown(socket.SHUT_RDWR)
                            return

    def stop(self):
        self._listener.close()
        for connection in self._open:
            connection.close()


@pytest.fixture
def hislip():
    """hislip(answer) -> an open VisaLink to a HiSLIP server that answers so."""
    servers, links = [], []

    def make(answer):
        servers.append(Hislip(answer))
        links.append(VisaLink(servers[-1].resource, timeout_s=30, backend="@py"))
        return links[-1]

    yield make
    for each in [*links, *servers]:
        each.close() if isinstance(each, VisaLink) else each.stop()


BLOCK = b"#210" + bytes(range(10))  # ten bytes, newline among them


def echo(send, text):
    if text == "BLOCK?":
        send(BLOCK[:5], end=False)  # a message may come in pieces
        send(BLOCK[5:] + b"\n")
    elif text == "BARE?":
        send(BLOCK)  # END alone ends a message; a newline need not come
    elif text == "NOEND?":
        send(b"bare")
    elif text == "LONG?":
        send(b"#6400000" + np.arange(100_000, dtype="<f4").tobytes() + b"\n")
    else:
        send(text.encode() + b"\n")


def test_messages_with_and_without_a_newline(hislip):
    wire = hislip(echo)
    assert isinstance(wire, Link)
    scpi = Scpi(wire, 30.0)
    assert scpi.query("HELLO?") == "HELLO?"
    for command in ("BLOCK?", "BARE?"):
        assert scpi.query_block(command, "u1").tolist() == list(range(10))
    assert scpi.query("NOEND?") == "bare"
    np.testing.assert_array_equal(scpi.query_block("LONG?", "<f4"), np.arange(100_000))
    assert wire.sent == len("HELLO?\nBLOCK?\nBARE?\nNOEND?\nLONG?\n")


def drip(send, text, **first):
    """Something every now and then, until nobody listens any more."""
    send(b"1", **first)
    end = time.monotonic() + 30.0
    while time.monotonic() < end:
        time.sleep(0.02)
        send(b"1", end=False)


FAULTS = {
    "dripping messages": (lambda send, text: drip(send, text, end=False), LinkTimeout, 0.2),
    "dripping bytes of one message": (lambda send, text: drip(send, text, length=1 << 19), LinkTimeout, 0.2),
    "closed": (lambda send, text: False, LinkLost, 0),
    "drop mid answer": (lambda send, text: send(b"half", length=9) or False, LinkLost, 0),
    "stall": (lambda send, text: send(b"half", length=9), LinkTimeout, 0.2),
    "no answer": (lambda send, text: None, LinkTimeout, 0.2),
    "late": (lambda send, text: time.sleep(30.0) or send(b"late\n"), LinkTimeout, 0.2),
    "not text": (lambda send, text: send(b"\xff\x07\n"), BadFrame, 0),
    "empty": (lambda send, text: send(b"\n"), BadFrame, 0),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_end_in_time_and_kill_the_link(hislip, within, fault):
    answer, kind, seconds = FAULTS[fault]
    state = []
    wire = hislip(lambda send, text: echo(send, text) if state else (state.append(1), answer(send, text))[1])
    scpi = Scpi(wire, seconds or 30.0)
    with within(seconds), pytest.raises(kind):
        scpi.query("ONE?")
    assert not wire.alive
    with pytest.raises(LinkLost, match="reconnect"):
        wire.write(b"x\n", after(1))
    wire.reconnect(after(30))
    scpi.timeout_s = 30.0
    assert scpi.query("TWO?") == "TWO?"


def test_a_block_that_is_shorter_than_its_header_says(hislip, within):
    scpi = Scpi(hislip(lambda send, text: send(b"#220" + bytes(10))), 30.0)
    with within(0), pytest.raises(BadFrame, match="the message ended"):
        scpi.query_block("BLOCK?", "u1")


def test_a_duplicated_message_is_dropped_by_its_number(hislip):
    scpi = Scpi(hislip(lambda send, text: echo(send, text) or echo(send, text)), 30.0)
    for k in range(50):
        assert scpi.query(f"NUMBER{k}?") == f"NUMBER{k}?"


def test_more_than_one_line_in_a_message_is_out_of_step(hislip):
    scpi = Scpi(hislip(lambda send, text: send(b"one\ntwo\n")), 30.0)
    assert scpi.query("A?") == "one"
    with pytest.raises(BadFrame, match="unasked"):
        scpi.query("B?")
