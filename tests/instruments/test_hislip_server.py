"""The HiSLIP door on its own: what clients leave behind when they leave."""

import contextlib
import socket
import threading

import pytest
from gpax_instruments.twins._dialect import Dialect
from gpax_instruments.twins._faults import Faults
from gpax_instruments.twins._hislip import MAX_PAYLOAD, HislipServer, Kind, receive, send
from gpax_instruments.twins._scpi_server import WireLog
from scripted import eventually


@pytest.fixture
def server():
    device = Dialect()
    device.add("*IDN?", lambda: "twin")
    made = HislipServer(device, Faults(), WireLog())
    made.start()
    yield made
    made.stop()


@contextlib.contextmanager
def client(server):
    """Both connections of a client."""
    with contextlib.ExitStack() as stack:
        ends = [stack.enter_context(socket.create_connection(("127.0.0.1", server.port), 10.0)) for _ in range(2)]
        send(ends[0], Kind.INITIALIZE, 0, 0x01000000, b"hislip0")
        number = receive(ends[0]).parameter & 0xFFFF
        send(ends[1], Kind.ASYNC_INITIALIZE, 0, number)
        receive(ends[1])
        yield ends


def lock(end, milliseconds):
    send(end, Kind.LOCK, 1, milliseconds)
    return receive(end).control


def test_who_waits_for_a_lock_and_leaves_is_not_waited_for(server):
    with client(server) as holder, client(server) as heir:
        assert lock(holder[1], 0) == 1
        before = set(threading.enumerate())
        with client(server) as leaver:
            send(leaver[1], Kind.LOCK, 1, 1_000_000)  # waits, and its client leaves
            assert eventually(lambda: len(server._sessions) == 3)
        assert eventually(lambda: len(server._sessions) == 2)
        assert eventually(lambda: not set(threading.enumerate()) - before)
        send(holder[1], Kind.LOCK, 0, 0)
        assert receive(holder[1]).control == 1
        assert lock(heir[1], 1000) == 1


def test_a_message_without_an_end_is_not_kept_for_ever(server):
    with client(server) as (sync, _):
        for _ in range(3):
            send(sync, Kind.DATA, 0, 2, b" " * MAX_PAYLOAD)
        send(sync, Kind.DATA_END, 0, 4, b"\n")
        send(sync, Kind.DATA_END, 0, 6, b"SYST:ERR?\n")
        assert receive(sync).payload.startswith(b"-363")
        send(sync, Kind.DATA_END, 0, 8, b"*IDN?\n")
        assert receive(sync).payload == b"twin\n"
