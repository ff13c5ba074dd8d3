"""The simulated microscope as its clients meet it: bytes on a plain socket, and HiSLIP through pyvisa-py."""

import gc
import socket
import time
import warnings

import jax
import numpy as np
import pytest
from gpax_instruments.twins import start_pfm
from gpax_instruments.twins._hislip import Kind, packets, receive, send
from gpax_instruments.twins._microscope import RAIL, SIZE_M
from raw_socket import AMPLE, Raw

from gpax_lab.simulators import ferroelectric
from gpax_lab.spectra.loops import triangle

PAUSE = 0.4  # what STALL and LATE take
NOISE = 0.02


@pytest.fixture(scope="module")
def twin():
    with start_pfm(seed=0, noise=NOISE) as running:
        yield running
        running.process.stdin.close()  # the owner is gone
        assert running.process.wait(AMPLE) == 0


@pytest.fixture
def raw(twin):
    client = Raw(twin.scpi_port)
    assert client.ask("FAULT CLEAR;*RST;*CLS;*OPC?") == "1"  # obeyed before another connection is opened
    yield client
    client.socket.close()


def test_identity_tag_and_compound_queries(raw):
    assert raw.ask("*IDN?").startswith("gpax_lab,PFM twin,0,")
    assert raw.ask("SYST:TAG? 17;POS?").split(";")[0] == "17"
    assert raw.ask("syst:tag? -5;:SYSTem:TAG? 6 ; *OPC?\r") == "-5;6;1"
    assert raw.ask("LIM?") == f"0.0,{SIZE_M!r},0.0,{SIZE_M!r}"


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("NONSENSE 1", -113),
        ("MOVE?", -113),
        ("MOVE here,there", -104),
        ("MOVE 1e-6", -109),
        ("MOVE 1e-6,1e-6,1e-6", -108),
        ("MOVE 2.1e-6,1e-6", -222),
        ("MOVE nan,1e-6", -222),
        ("MOVE 1e-6,-inf", -222),
        ("MOVE 1e-6,-5e-324", -222),
        ("BIAS 21", -222),
        ("BIAS:WAV 8,7.5", -104),
        ("BIAS:WAV 0,64", -222),
        ("BIAS:WAV 8,1000000", -222),
        ('MEAS:LOOP "no waveform yet"', -221),
        ("MEAS:LOOP bare", -104),
        ('MEAS:LOOP "open', -102),
        ('MEAS:LOOP ""', -221),
        ("FORM:BORD UP", -224),
        ("FAULT WORSE", -224),
        ("TEST:BLOCK? 3", -222),
    ],
)
def test_what_is_wrong_is_refused_and_changes_nothing(raw, line, code):
    before = raw.ask("POS?;BIAS?;BIAS:WAV?;TIP?;LOOP:TOK?;FORM:BORD?")
    raw.send(line)
    assert raw.ask("SYST:ERR?").startswith(f'{code},"')
    assert raw.ask("SYSTEM:ERROR:NEXT?") == '0,"No error"'
    assert raw.ask("POS?;BIAS?;BIAS:WAV?;TIP?;LOOP:TOK?;FORM:BORD?") == before


def test_event_register_and_a_full_error_queue(raw):
    raw.send("MOVE 9,9")
    raw.send("NONSENSE")
    assert raw.ask("*ESR?;*ESR?") == "48;0"  # execution error, command error
    for _ in range(40):
        raw.send("NONSENSE")
    codes = [raw.ask("SYST:ERR?").split(",")[0] for _ in range(33)]
    assert codes == ["-222"] + ["-113"] * 30 + ["-350", "0"]
    assert raw.ask("*ESE 36;*ESE?;*STB?") == "36;32"


def test_state_follows_the_commands(raw):
    assert raw.ask("TIP:ENG;TIP?;\tBIAS\t-1.5 ;BIAS?") == "ENGAGED;-1.5"
    assert raw.ask("SAFE;TIP?;BIAS?") == "WITHDRAWN;0.0"
    raw.send("MOVE 1.5e-6,0")
    readback = np.array([float(v) for v in raw.ask("POS?").split(",")])
    assert 0 < np.abs(readback - [1.5e-6, 0]).max() < 2e-11
    assert np.all((readback >= 0) & (readback <= SIZE_M))


def measure(raw, token, x=8e-7, y=1.1e-6):
    raw.send(f'BIAS:WAV 8,64;MOVE {x!r},{y!r};MEAS:LOOP "{token}"')
    assert raw.ask("*OPC?;LOOP:TOK?;STAT?;SYST:ERR?") == f'1;"{token}";IDLE;0,"No error"'
    return np.frombuffer(raw.block("LOOP:DATA?"), "<f4")


def test_a_loop_is_that_of_the_film_plus_noise(raw):
    response = measure(raw, "film")
    bias = np.frombuffer(raw.block("LOOP:BIAS?"), "<f8")
    np.testing.assert_allclose(bias, triangle(8.0, 64), atol=1e-12)
    film = ferroelectric.film(jax.random.key(0), SIZE_M)
    position = np.array([float(v) for v in raw.ask("POS?").split(",")])
    residual = response - np.asarray(ferroelectric.loop(film, position, bias))
    sd = NOISE * ferroelectric._HEIGHT
    assert abs(residual.std() / sd - 1) < 4 / np.sqrt(2 * 64)
    assert abs(residual.mean()) < 4 * sd / np.sqrt(64)
    assert raw.ask("TIP?") == "ENGAGED"
    assert float(raw.ask("LOOP:RAIL?")) == RAIL > 2 * np.abs(response).max()


def test_noise_follows_from_the_token(raw):
    first, other = measure(raw, "a"), measure(raw, "b")
    elsewhere, again = measure(raw, "c", 3e-7), measure(raw, "a")
    np.testing.assert_array_equal(again, first)
    assert not np.any(other == first)
    assert not np.any(elsewhere == first)


def test_a_token_pulses_once(raw):
    response = measure(raw, "once")
    raw.send('MOVE 1e-7,1e-7;MEAS:LOOP "once"')
    assert raw.ask("SYST:ERR?") == '-221,"Settings conflict"'
    np.testing.assert_array_equal(np.frombuffer(raw.block("LOOP:DATA?"), "<f4"), response)


def test_blocks_in_both_byte_orders(raw):
    ramp = np.arange(250_000, dtype="<f4")
    assert raw.block("TEST:BLOCK? 1000000") == ramp.tobytes()
    raw.send("FORM:BORD NORM")
    assert raw.block("TEST:BLOCK? 1000000") == ramp.astype(">f4").tobytes()
    measure(raw, "swapped")
    big = np.frombuffer(raw.block("LOOP:DATA?"), ">f4")
    raw.send("FORM:BORD SWAP")
    np.testing.assert_array_equal(np.frombuffer(raw.block("LOOP:DATA?"), "<f4"), big)
    assert raw.block("TEST:BLOCK? 0") == b""


# --- faults: what the bytes look like -------------------------------------------------------------------------------


def test_drop_closes_in_the_middle(raw):
    raw.send("FAULT DROP")
    raw.send("TEST:BLOCK? 4000")
    assert 0 < len(raw.rest()) < 4000


def test_half_closes_before_the_answer(raw):
    raw.send("FAULT HALF")
    raw.send("LIM?")
    assert raw.rest() == b""
    raw.send("*CLS")  # it still listens


def test_stall_stops_in_the_middle(raw):
    raw.send(f"FAULT STALL,1,{PAUSE}")
    start = time.monotonic()
    assert raw.ask("LIM?") == f"0.0,{SIZE_M!r},0.0,{SIZE_M!r}"
    assert time.monotonic() - start >= PAUSE
    raw.send(f"FAULT STALL,1,{10 * AMPLE}")
    raw.send("LIM?")
    assert raw.more()  # the first half comes, and nothing after it
    raw.silence(0.1)
    assert b"0.0,2e-06" in raw.buffer
    assert b"\n" not in raw.buffer


def test_late_duplicated_and_junk(raw):
    raw.send(f"FAULT LATE,1,{PAUSE}")
    start = time.monotonic()
    assert raw.ask("SYST:TAG? 1") == "1"
    assert time.monotonic() - start >= PAUSE
    raw.send("FAULT DUP")
    assert (raw.ask("SYST:TAG? 2"), raw.line()) == ("2", b"2\n")
    raw.send("FAULT JUNK,2")
    for k in (3, 4):
        raw.send(f"SYST:TAG? {k}")
        line = raw.line()
        assert len(line) == 7 + 2
        assert line.endswith(b"%d\n" % k)
    assert raw.ask("SYST:TAG? 5") == "5"


def test_short_leaves_data_out(raw):
    raw.send("FAULT SHORT")
    assert raw.ask("SYST:TAG? 1") == "1"  # waits for a block
    raw.send("TEST:BLOCK? 400")
    while len(raw.buffer) < 5 + 300 + 1:
        assert raw.more()
    raw.silence(0.1)
    assert raw.buffer[:5] == b"#3400"
    assert raw.buffer[-1:] == b"\n"
    assert len(raw.buffer) == 5 + 300 + 1


def test_bad_loops_and_a_refused_move(raw):
    raw.send("FAULT NAN")
    assert 0 < np.isnan(measure(raw, "nan")).sum() < 64
    assert np.isnan(np.frombuffer(raw.block("LOOP:DATA?"), "<f4")).any()  # the stored loop is spoilt, not its copy
    raw.send("FAULT SAT")
    assert (np.abs(measure(raw, "sat")) == RAIL).sum() > 10
    assert np.abs(measure(raw, "good")).max() < RAIL
    raw.send("FAULT REFUSE;MOVE 1e-7,1e-7")
    assert raw.ask("SYST:ERR?") == '-222,"Data out of range"'
    assert float(raw.ask("POS?").split(",")[0]) == pytest.approx(8e-7, abs=1e-10)
    raw.send("MOVE 1e-7,1e-7")
    assert raw.ask("SYST:ERR?") == '0,"No error"'


def test_faults_can_be_disarmed_and_wait_for_another_connection(raw, twin):
    raw.send("FAULT DUP,5")
    raw.send("FAULT CLEAR")
    assert raw.ask("SYST:TAG? 1") == "1"
    assert (raw.ask("*OPC?;FAULT DUP,2"), raw.line()) == ("1", b"1\n")  # one for this answer, to know it is armed
    other = Raw(twin.scpi_port)
    assert (other.ask("SYST:TAG? 2"), other.line()) == ("2", b"2\n")
    other.socket.close()
    assert raw.ask("SYST:TAG? 3") == "3"


# --- HiSLIP -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def visa(twin, raw):
    pyvisa = pytest.importorskip("pyvisa")
    pytest.importorskip("pyvisa_py")
    manager = pyvisa.ResourceManager("@py")
    resource = manager.open_resource(twin.hislip_address, timeout=1000 * AMPLE)
    yield resource
    resource.close()
    manager.close()
    del resource, manager
    with warnings.catch_warnings():  # pyvisa-py leaves a socket to the collector here and there
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


def test_hislip_through_pyvisa(visa, raw):
    assert visa.query("*IDN?").startswith("gpax_lab,PFM twin")
    assert visa.query("SYST:TAG? 17;POS?").startswith("17;")
    values = visa.query_binary_values("TEST:BLOCK? 4000000", datatype="f", container=np.ndarray)  # several messages
    np.testing.assert_array_equal(values, np.arange(1_000_000, dtype=np.float32))
    visa.write("NONSENSE")
    visa.query("*OPC?")  # the status byte comes over the other connection: nothing else orders the two
    assert visa.read_stb() & 4
    assert visa.query("SYST:ERR?").startswith("-113")
    visa.visalib.sessions[visa.session].interface.trigger()
    assert visa.query("SYST:ERR?").startswith("-211")
    assert raw.ask("TIP:ENG;TIP?") == visa.query("TIP?").strip() == "ENGAGED"  # one microscope, two doors


def test_hislip_clear_forgets_a_late_answer(visa):
    visa.write("FAULT LATE,1,30")
    visa.write("SYST:TAG? 1")
    visa.clear()
    assert visa.query("SYST:TAG? 2").strip() == "2"


def test_hislip_clear_before_the_query_uses_its_fault_up(twin):
    """The two connections of a client are not ordered: a clear may overtake the query that it is meant for."""
    sync, asynchronous = (socket.create_connection(("127.0.0.1", twin.hislip_port), timeout=AMPLE) for _ in range(2))
    with sync, asynchronous:
        send(sync, Kind.INITIALIZE, 0, 0x01000000, b"hislip0")
        send(asynchronous, Kind.ASYNC_INITIALIZE, 0, receive(sync).parameter & 0xFFFF)
        assert receive(asynchronous).kind == Kind.ASYNC_INITIALIZE_RESPONSE
        send(sync, Kind.DATA_END, 0, 2, b"FAULT LATE,1,30\n")
        send(asynchronous, Kind.ASYNC_CLEAR)
        assert receive(asynchronous).kind == Kind.ASYNC_CLEAR_ACKNOWLEDGE
        send(sync, Kind.DATA_END, 0, 4, b"SYST:TAG? 1\n")
        send(sync, Kind.CLEAR_COMPLETE)
        assert receive(sync).kind == Kind.CLEAR_ACKNOWLEDGE
        send(sync, Kind.DATA_END, 0, 6, b"SYST:TAG? 2\n")
        assert receive(sync) == (Kind.DATA_END, 0, 6, b"2\n")


def test_hislip_lock_has_one_holder(visa, twin):
    pyvisa = pytest.importorskip("pyvisa")
    manager = pyvisa.ResourceManager("@py")
    other = manager.open_resource(twin.hislip_address, timeout=1000 * AMPLE)
    first, second = (r.visalib.sessions[r.session].interface for r in (visa, other))
    assert visa.query("*OPC?").strip() == other.query("*OPC?").strip() == "1"
    assert first.async_lock_request(0.1) == "success"
    assert second.async_lock_request(0.1) == "failure"
    assert first.async_lock_release() == "success"
    assert second.async_lock_request(0.1) == "success"
    other.close()


def test_hislip_refuses_what_is_not_hislip(twin):
    with socket.create_connection(("127.0.0.1", twin.hislip_port), timeout=AMPLE) as stranger:
        stranger.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert stranger.recv(16)[:3] == b"HS\x02"  # fatal error


def test_packets_split_an_answer_without_losing_a_byte():
    payload = bytes(range(256)) * 5
    stream = b"".join(packets([b"17;", memoryview(payload), b"\n"], 7, 300))
    got, kinds = b"", []
    while stream:
        kinds.append(stream[2])
        n = int.from_bytes(stream[8:16], "big")
        assert n <= 300
        got, stream = got + stream[16 : 16 + n], stream[16 + n :]
    assert got == b"17;" + payload + b"\n"
    assert kinds == [6, 6, 6, 6, 7]


def test_only_this_machine_can_reach_it(twin):
    for port in (twin.scpi_port, twin.hislip_port):
        with pytest.raises(OSError, match=r".*"):  # 127.0.0.2 is this machine too, but another address
            socket.create_connection(("127.0.0.2", port), timeout=1).close()
