import contextlib
import random
import time

import numpy as np
import pytest
from gpax_instruments import _codecs as codecs
from gpax_instruments.errors import LINK_FAULTS, BadFrame, DeviceError, LinkLost, LinkTimeout
from gpax_instruments.links._link import SocketLink
from gpax_instruments.links._scpi import TAG_ECHO, TAG_ESE, Scpi
from scripted import given_up

RAMP = np.arange(1000, dtype="<f4")


def reply(line):
    """The answer of a well-behaved instrument to a message, compound queries included."""
    parts = []
    for command in line.split(";"):
        name, _, argument = command.lstrip(":").partition(" ")
        match name:
            case "*IDN?":
                parts.append(b"Maker,Model,1,0")
            case "SYST:TAG?" | "ECHO?":
                parts.append(argument.encode())
            case "*ESE":
                register = argument
            case "*ESE?":
                parts.append(register.encode())
            case "RAMP?":
                parts.append(codecs.format_block(RAMP, terminator=b""))
            case "SYST:ERR?":
                parts.append(b'0,"No error"')
    return b";".join(parts) + b"\n" if parts else b""


def honest(connection, line):
    connection.sendall(reply(line))


@pytest.fixture
def client(serve):
    """client(answer, **options) -> a Scpi client of a server that answers so."""
    clients = []

    def make(answer, **options):
        options = {"timeout_s": 30.0, "pause_s": 0.0} | options
        clients.append(Scpi(SocketLink("127.0.0.1", serve(answer).port), **options))
        return clients[-1]

    yield make
    for each in clients:
        each.close()


@pytest.mark.parametrize("tag", [None, TAG_ECHO, TAG_ESE])
def test_text_numbers_and_blocks(client, tag):
    scpi = client(honest, tag=tag)
    assert scpi.connect() == "Maker,Model,1,0"
    for k in range(300):  # past the modulus of the register echo
        assert scpi.query(f"ECHO? {k}") == str(k)
    values, flags = scpi.query_numbers("ECHO? 1.5e-6,9.91E37")
    assert values[0] == 1.5e-6
    assert flags == ("nan",)
    block = scpi.query_block("RAMP?", "<f4")
    assert block.tobytes() == RAMP.tobytes()
    assert scpi.query_block("RAMP?", ">u4").dtype.isnative
    assert scpi.errors() == []


def after_the_greeting(fault):
    """Answer *IDN? and, from the second connection on, everything; `fault(connection, line)` answers the rest."""
    state = {"faults": 0}

    def answer(connection, line):
        if "*IDN?" in line or state["faults"]:
            return honest(connection, line)
        state["faults"] += 1
        return fault(connection, line)

    return answer


def duplicate(connection, line):
    connection.sendall(reply(line) * 2)


def late(connection, line):
    given_up(connection)
    connection.sendall(reply(line))


def tear(n, close):
    def fault(connection, line):
        connection.sendall(reply(line)[:n])
        return not close

    return fault


FAULTS = {
    "drop": (tear(5, close=True), LinkLost, 0),
    "stall": (tear(5, close=False), LinkTimeout, 0.2),
    "late": (late, LinkTimeout, 0.2),
    "junk": (lambda c, line: c.sendall(b"\x07junk#" + reply(line)), BadFrame, 0),
    "closed": (lambda c, line: False, LinkLost, 0),
}
BLOCK_FAULTS = FAULTS | {
    "short": (lambda c, line: c.sendall(reply(line).replace(b"#44000", b"#44004")), LinkTimeout, 0.2),
    "long": (lambda c, line: c.sendall(reply(line).replace(b"#44000", b"#43996")), BadFrame, 0),
    "indefinite": (lambda c, line: c.sendall(reply(line).replace(b"#44000", b"#0")), BadFrame, 0),
    "torn item": (lambda c, line: c.sendall(reply(line).replace(b"#44000", b"#43999")), BadFrame, 0),
    "huge": (lambda c, line: c.sendall(reply(line).replace(b"#44000", b"#9999999999")), BadFrame, 0),
}


@contextlib.contextmanager
def waiting(scpi, seconds):
    """Where a deadline is to end it, that one for now; 0: no deadline shall be the cause."""
    usual, scpi.timeout_s = scpi.timeout_s, seconds or scpi.timeout_s
    try:
        yield
    finally:
        scpi.timeout_s = usual


@pytest.mark.parametrize("tag", [None, TAG_ECHO])
@pytest.mark.parametrize("fault", FAULTS)
def test_faults_in_text(client, within, fault, tag):
    answer, kind, seconds = FAULTS[fault]
    scpi = client(after_the_greeting(answer), tag=tag)
    scpi.connect()
    with within(seconds), pytest.raises(kind), waiting(scpi, seconds):
        scpi.query("ECHO? 1234567")
    assert not scpi.link.alive
    assert scpi.read_again("ECHO? 7") == "7"


@pytest.mark.parametrize("tag", [None, TAG_ECHO])
@pytest.mark.parametrize("fault", BLOCK_FAULTS)
def test_faults_in_blocks(client, within, fault, tag):
    answer, kind, seconds = BLOCK_FAULTS[fault]
    scpi = client(after_the_greeting(answer), tag=tag)
    scpi.connect()
    with within(seconds), pytest.raises(kind), waiting(scpi, seconds):
        scpi.query_block("RAMP?", "<f4")
    assert not scpi.link.alive
    np.testing.assert_array_equal(scpi.read_block_again("RAMP?", "<f4"), RAMP)


def test_a_duplicate_that_is_already_there_is_found_before_the_next_query(client):
    scpi = client(after_the_greeting(duplicate), tag=None)
    scpi.connect()
    assert scpi.query("ECHO? 1") == "1"
    time.sleep(0.02)
    with pytest.raises(BadFrame, match="unasked"):
        scpi.query("ECHO? 2")
    assert scpi.read_again("ECHO? 3") == "3"


@pytest.mark.parametrize("tag", [TAG_ECHO, TAG_ESE])
def test_no_answer_to_the_wrong_query_in_1000_random_trials(client, tag):
    """Duplicates at once and after a random delay (so that they come after the check), late answers, junk, drops."""
    dice = random.Random(1)

    def answer(connection, line):
        fate, data = dice.random(), reply(line)
        if fate < 0.02:
            given_up(connection)  # beyond the deadline
        elif fate < 0.04:
            data = b"1;junk\n" + data
        elif fate < 0.06:
            connection.sendall(data[: dice.randrange(len(data))])
            return False
        connection.sendall(data)
        if fate > 0.6:  # a duplicate, while the next query is on its way
            time.sleep(dice.choice([0, 1e-4, 1e-3, 3e-3]))
            connection.sendall(data)
        return True

    scpi = client(answer, tag=tag, timeout_s=0.1, attempts=1)
    right = faults = 0
    for k in range(1000):
        try:
            scpi.connect()
            assert scpi.query(f"ECHO? {k}") == str(k)
            right += 1
        except (*LINK_FAULTS, DeviceError):  # a late word in place of the identity is refused too
            faults += 1
    assert right + faults == 1000
    assert right > 100  # a busy machine makes more answers late
    assert faults > 100


def test_a_read_is_repeated_a_bounded_number_of_times(client):
    scpi = client(lambda c, line: honest(c, line) if "*IDN?" in line else False, attempts=3)
    with pytest.raises(LinkLost):
        scpi.read_again("ECHO? 1")


def test_a_plain_query_and_a_write_are_never_repeated(serve):
    server = serve(lambda c, line: honest(c, line) if "*IDN?" in line else False)
    scpi = Scpi(SocketLink("127.0.0.1", server.port), 30.0)
    scpi.connect()
    with pytest.raises(LinkLost):
        scpi.query("ECHO? 1")
    scpi.connect()
    scpi.write("PULSE")
    given_up(scpi.link._socket)
    with pytest.raises(LinkLost):
        scpi.write("PULSE 2")
    time.sleep(0.05)
    assert [line for line in server.lines if "*IDN?" not in line] == ["ECHO? 1", "PULSE"]
    scpi.close()


def test_setup_is_done_again_and_another_instrument_is_refused(client):
    state = {"name": b"A", "setups": 0}

    def answer(connection, line):
        if line == "*IDN?":
            connection.sendall(state["name"] + b"\n")
        elif line == "SET":
            state["setups"] += 1
        else:
            return False

    scpi = client(answer, setup=lambda s: s.write("SET"), attempts=2)
    scpi.connect()
    with pytest.raises(LinkLost):
        scpi.read_again("GONE?")
    assert state["setups"] == 2
    state["name"] = b"B"
    with pytest.raises(DeviceError, match="check the address"):
        scpi.read_again("GONE?")
    assert not scpi.link.alive


def test_the_error_queue_is_emptied_and_bounded(client):
    queue = ['-222,"Data out of range"', '-113,"Undefined header"']
    scpi = client(lambda c, line: c.sendall((queue.pop(0) if queue else '0,"No error"').encode() + b"\n"))
    with pytest.raises(DeviceError, match=r"-222.*-113"):
        scpi.check()
    scpi.check()
    endless = client(lambda c, line: c.sendall(b'-1,"again"\n'))
    assert len(endless.errors()) == 64


@pytest.mark.parametrize("command", ["", "A?\nB?", "POS?\r", "\xb5m?", "A\x00"])
def test_a_command_is_one_line_of_text(client, command):
    scpi = client(honest)
    with pytest.raises(ValueError, match="one line"):
        scpi.query(command)
    with pytest.raises(ValueError, match="one line"):
        scpi.write(command)
    assert scpi.link.sent == 0
    assert scpi.link.alive


def test_ctrl_c_in_the_middle_of_an_exchange_leaves_no_link_out_of_step(client, monkeypatch):
    scpi = client(honest)
    scpi.connect()

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(scpi.link, "read_until", interrupted)
    with pytest.raises(KeyboardInterrupt):
        scpi.query("ECHO? 1")
    monkeypatch.undo()
    assert not scpi.link.alive
    assert scpi.read_again("ECHO? 2") == "2"
