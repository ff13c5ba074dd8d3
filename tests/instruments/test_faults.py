"""Every fault of the simulated microscope over both links: the right outcome, in time, without busy waiting."""

import contextlib
import gc
import random
import socket
import warnings

import numpy as np
import pytest
from gpax_instruments.drivers import PFM
from gpax_instruments.errors import LINK_FAULTS, BadFrame, LinkLost, LinkTimeout
from gpax_instruments.links import open_link
from gpax_instruments.links._link import SocketLink
from gpax_instruments.links._scpi import TAG_ECHO, Scpi
from gpax_instruments.twins import start_pfm
from scripted import impatient

from gpax_lab.core import Axis, MoveRefused

PATIENCE, LATENESS, AMPLE = 0.3, 600.0, 30.0


@pytest.fixture(scope="module")
def twin():
    with start_pfm(seed=0) as running:
        yield running


@pytest.fixture(params=["socket", "hislip"])
def address(request, twin):
    with socket.create_connection(("127.0.0.1", twin.scpi_port), timeout=AMPLE) as door:
        door.sendall(b"FAULT CLEAR;*OPC?\n")  # nothing that the test before has armed meets this one
        assert door.recv(2) == b"1\n"
    if request.param == "socket":
        return f"tcp://127.0.0.1:{twin.scpi_port}"
    return f"TCPIP::127.0.0.1::hislip0,{twin.hislip_port}::INSTR"


@pytest.fixture
def scpi(address):
    client = Scpi(open_link(address), AMPLE, tag=TAG_ECHO)
    client.connect()
    client.write("*RST")
    client.write("*CLS")
    client.write("FORM:BORD SWAP")
    yield client
    client.close()
    with warnings.catch_warnings():  # pyvisa-py leaves a socket to the collector here and there
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


TEXT = {  # fault: (outcome over the raw socket, over HiSLIP, seconds to it)
    "DROP": (LinkLost, LinkLost, 0),
    "HALF": (LinkLost, LinkLost, 0),
    "STALL": (LinkTimeout, LinkTimeout, PATIENCE),
    "LATE": (LinkTimeout, LinkTimeout, PATIENCE),
    "JUNK": (BadFrame, BadFrame, 0),
}
BLOCK = TEXT | {"SHORT": (LinkTimeout, BadFrame, PATIENCE)}


def expected(table, fault, scpi):
    over_socket, over_hislip, seconds = table[fault]
    raw = isinstance(scpi.link, SocketLink)
    return (over_socket if raw else over_hislip), seconds


@pytest.mark.parametrize("fault", TEXT)
def test_a_fault_in_a_text_answer(scpi, within, fault):
    kind, seconds = expected(TEXT, fault, scpi)
    scpi.write(f"FAULT {fault},1,{LATENESS}")
    scpi.timeout_s = seconds or AMPLE
    with within(seconds), pytest.raises(kind):
        scpi.query("LIM?")
    assert not scpi.link.alive
    scpi.timeout_s = AMPLE
    for k in range(5):  # nothing of the late or torn answer is left
        assert scpi.read_again(f"SYST:TAG? {k}") == str(k)


@pytest.mark.parametrize("fault", BLOCK)
def test_a_fault_in_a_block(scpi, within, fault):
    kind, seconds = expected(BLOCK, fault, scpi)
    scpi.write(f"FAULT {fault},1,{LATENESS}")
    scpi.timeout_s = seconds or AMPLE
    with within(seconds), pytest.raises(kind):
        scpi.query_block("TEST:BLOCK? 4000", "<f4")
    assert not scpi.link.alive
    scpi.timeout_s = AMPLE
    np.testing.assert_array_equal(scpi.read_block_again("TEST:BLOCK? 4000", "<f4"), np.arange(1000))


def test_a_duplicated_answer_goes_to_nobody(scpi):
    for k in range(20):
        scpi.connect()
        scpi.write("FAULT DUP,1")
        assert scpi.query(f"SYST:TAG? {k}") == str(k)
        assert scpi.read_again(f"SYST:TAG? {k + 100}") == str(k + 100)


def test_no_answer_to_the_wrong_query_in_random_trials(scpi):
    """1,000 trials with a faster server are in test_scpi; these go over the real links."""
    dice, right, faults = random.Random(2), 0, 0
    scpi.timeout_s = 0.1
    scpi.attempts = 1
    for k in range(100):
        with contextlib.suppress(*LINK_FAULTS):
            scpi.connect()
            fate = dice.choice(["", "", "FAULT DUP,1", f"FAULT LATE,1,{LATENESS}", "FAULT DUP,2", "FAULT JUNK,1"])
            if fate:
                scpi.write(fate)
            faults += 1
            assert scpi.query(f"SYST:TAG? {k + 1000}") == str(k + 1000)
            right += 1
    assert right > 30
    assert faults > right


@pytest.mark.parametrize("nbytes", [0, 4, 1_000_000])
def test_blocks_are_byte_exact_in_both_orders(scpi, nbytes):
    truth = np.arange(nbytes // 4, dtype="<f4")
    assert scpi.query_block(f"TEST:BLOCK? {nbytes}", "<f4").tobytes() == truth.tobytes()
    scpi.write("FORM:BORD NORM")
    assert scpi.query_block(f"TEST:BLOCK? {nbytes}", ">f4").tobytes() == truth.tobytes()
    scpi.write("FORM:BORD SWAP")


@pytest.fixture
def pfm(address, scpi):
    low_x, high_x, low_y, high_y = scpi.query_numbers("LIM?")[0].tolist()
    axes = [Axis("x", "m", low_x, high_x), Axis("y", "m", low_y, high_y)]
    driver = PFM(address, axes, vmax=8.0, points=64, timeout_s=AMPLE)
    driver.connect()
    yield driver
    driver.close()


def middle(pfm):
    return np.array([(axis.low + axis.high) / 2 for axis in pfm.axes])


def test_one_loop_of_the_twin(pfm):
    measurement = pfm.measure(middle(pfm), "plain")
    assert measurement.ok, measurement.reason
    assert np.abs(measurement.arrays["bias"]).max() == pytest.approx(8.0)
    assert measurement.arrays["response"].shape == (64,)
    assert measurement.arrays["response"].std() > 0
    again = pfm.measure(middle(pfm), "plain")  # the same token: the same loop, not a new one
    assert again.arrays["response"].tobytes() == measurement.arrays["response"].tobytes()
    pfm.make_safe()
    assert pfm.scpi.query("TIP?") == "WITHDRAWN"


@pytest.mark.parametrize("fault", ["NAN", "SAT"])
def test_a_bad_loop_is_a_failed_measurement(pfm, fault):
    pfm.connect()
    arm_before_the_data(pfm, fault)
    measurement = pfm.measure(middle(pfm), f"bad-{fault}")
    assert not measurement.ok
    assert measurement.flags == ({"NAN": "nan", "SAT": "saturated"}[fault],)
    assert pfm.measure(middle(pfm), f"good-{fault}").ok


def test_a_refused_move_is_not_measured(pfm):
    pfm.measure(middle(pfm), "before")
    pfm.scpi.write("FAULT REFUSE,1")
    with pytest.raises(MoveRefused):
        pfm.measure([axis.low for axis in pfm.axes], "refused")
    assert pfm.scpi.query("LOOP:TOK?") == '"before"'


@pytest.mark.parametrize("fault", [*BLOCK, "DUP"])
def test_a_fault_while_the_loop_is_read_costs_no_second_pulse(pfm, fault):
    arm_before_the_data(pfm, fault)
    token = f"once-{fault}"
    measurement = pfm.measure(middle(pfm), token)
    assert measurement.ok, measurement.reason
    assert pfm.measure(middle(pfm), token).arrays["response"].tobytes() == measurement.arrays["response"].tobytes()


def arm_before_the_data(pfm, fault):
    """Arm a fault for the answer that carries the loop, once."""
    read, armed = pfm.scpi.query_block, []

    def query_block(command, dtype):
        if command == "LOOP:DATA?" and not armed:
            armed.append(fault)
            pfm.scpi.write(f"FAULT {fault},1,{LATENESS}")
            with impatient(pfm, seconds=PATIENCE):
                return read(command, dtype)
        return read(command, dtype)

    pfm.scpi.query_block = query_block
