import socket
import time

import pytest
from gpax_instruments.errors import BadFrame, LinkLost, LinkTimeout
from gpax_instruments.links import Link, open_link
from gpax_instruments.links._deadline import after
from gpax_instruments.links._link import MAX_LINE_BYTES, SocketLink
from scripted import given_up

PATIENCE = 0.2  # of a call that is to end by its deadline
AMPLE = 30.0  # of one that is not, however busy the machine


def respond(data, close=False):
    def answer(connection, _):
        connection.sendall(data)
        return not close

    return answer


@pytest.fixture
def link(serve):
    """link(answer) -> an open SocketLink to a server that answers so."""
    links = []

    def make(answer):
        links.append(SocketLink("127.0.0.1", serve(answer).port))
        return links[-1]

    yield make
    for each in links:
        each.close()


def test_lines_and_exact_bytes_in_any_cut(link):
    def drip(connection, _):
        for byte in b"first\nsecond\n\x00\x01\x02\n":
            connection.sendall(bytes([byte]))
            time.sleep(0.001)

    wire = link(drip)
    assert isinstance(wire, Link)
    wire.write(b"go\n", after(AMPLE))
    assert wire.read_until(b"\n", after(AMPLE)) == b"first"
    assert wire.read_exact(7, after(AMPLE)) == b"second\n"
    assert wire.read_exact(4, after(AMPLE)) == b"\x00\x01\x02\n"
    assert wire.sent == 3
    assert wire.drain() == b""


FAULTS = {
    "drop mid answer": (respond(b"half", close=True), LinkLost, 0),
    "stall mid answer": (respond(b"half"), LinkTimeout, PATIENCE),
    "no answer": (respond(b""), LinkTimeout, PATIENCE),
    "closed": (lambda c, _: False, LinkLost, 0),
    "half-closed": (lambda c, _: c.shutdown(socket.SHUT_WR), LinkLost, 0),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("read", ["read_until", "read_exact"])
def test_faults_end_in_time_and_kill_the_link(link, within, fault, read):
    answer, kind, seconds = FAULTS[fault]
    wire = link(answer)
    wire.write(b"?\n", after(AMPLE))
    with within(seconds), pytest.raises(kind):
        getattr(wire, read)(b"\n" if read == "read_until" else 10, after(seconds or AMPLE))
    assert not wire.alive
    for call in (lambda: wire.write(b"?\n", after(AMPLE)), lambda: wire.read_exact(1, after(AMPLE)), wire.drain):
        with pytest.raises(LinkLost, match="reconnect"):
            call()


def test_one_deadline_covers_a_dripping_answer(link, within):
    def drip(connection, _):
        while True:  # each byte comes in time, the whole does not; OSError once the client has given up
            connection.sendall(b".")
            time.sleep(0.02)

    wire = link(drip)
    wire.write(b"?\n", after(AMPLE))
    with within(PATIENCE), pytest.raises(LinkTimeout):
        wire.read_exact(100_000, after(PATIENCE))


def test_a_late_answer_reaches_nobody(link):
    def late(connection, line):
        if line == "slow":
            given_up(connection)
        connection.sendall(line.encode() + b"\n")

    wire = link(late)
    wire.write(b"slow\n", after(AMPLE))
    with pytest.raises(LinkTimeout):
        wire.read_until(b"\n", after(0.05))
    wire.reconnect(after(AMPLE))
    time.sleep(0.05)  # the late answer would be here by now
    wire.write(b"quick\n", after(AMPLE))
    assert wire.read_until(b"\n", after(AMPLE)) == b"quick"


def test_drain_shows_what_came_unasked_and_a_closed_peer(link, within):
    wire = link(respond(b"one\ntwo\n"))
    wire.write(b"?\n", after(AMPLE))
    assert wire.read_until(b"\n", after(AMPLE)) == b"one"
    assert wire.drain() == b"two\n"
    wire = link(respond(b"one\n", close=True))
    wire.write(b"?\n", after(AMPLE))
    assert wire.read_until(b"\n", after(AMPLE)) == b"one"
    given_up(wire._socket)
    with within(0), pytest.raises(LinkLost, match="before anything was sent"):
        wire.drain()


def test_an_endless_line_is_cut(link):
    wire = link(respond(b"x" * (MAX_LINE_BYTES + 2)))
    wire.write(b"?\n", after(AMPLE))
    with pytest.raises(BadFrame):
        wire.read_until(b"\n", after(5))
    assert not wire.alive


def test_connecting_to_nobody(within):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with within(1), pytest.raises(LinkLost, match="is the port right"):
        open_link(f"tcp://127.0.0.1:{port}", timeout_s=1)


@pytest.mark.parametrize("address", ["tcp://127.0.0.1", "http://127.0.0.1:80", "tcp://:5025", "tcp://h:1/path"])
def test_addresses_that_are_none(address):
    with pytest.raises(ValueError, match="tcp://host:port"):
        open_link(address)


def test_a_raw_socket_through_visa_is_refused_with_the_right_address():
    with pytest.raises(ValueError, match=r"use tcp://10\.0\.0\.7:5025 instead"):
        open_link("TCPIP0::10.0.0.7::5025::SOCKET")


def test_importing_does_not_load_pyvisa_or_jax():
    import subprocess
    import sys

    heavy = "pyvisa", "jax", "h5py"
    code = "import sys, gpax_instruments.drivers._pfm, gpax_instruments.drivers._replay\n"
    code += f"print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"
