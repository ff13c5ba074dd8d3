"""An instrument that answers nothing, drips, or never ends: the deadline holds, and the safe state is asked for."""

import contextlib
import socket
import time

import pytest
from gpax_instruments.drivers import DomainWriter
from gpax_instruments.errors import LINK_FAULTS, LinkTimeout, StillBusy, UnknownOutcome
from gpax_instruments.links._link import SocketLink
from scripted import KINDS, Scripted, eventually, impatient

from gpax_lab.core import InstrumentError

ACT = {"pfm": "MEAS:LOOP", "writer": "PULS", "band": "MEAS:BAND", "stem": "MEAS:EELS"}
BUSY_S = {"pfm": "loop_timeout_s", "writer": "image_timeout_s", "band": "spectrum_timeout_s", "stem": "shot_timeout_s"}


class Dripping(Scripted):
    """From its act on, it answers with a byte now and then, for ever."""

    drips = False

    def __call__(self, connection, line):
        super().__call__(connection, line)
        while self.drips and "?" in line:
            connection.sendall(b"1")  # OSError when the client gives up
            time.sleep(0.02)


@pytest.fixture
def bench(serve):
    drivers = []

    def make(kind, of=Scripted, **options):
        model, driver, usual, place = KINDS[kind]
        microscope = of(model)
        arguments = {"timeout_s": 30.0} | usual | options
        if driver is DomainWriter:
            arguments["log_duration"] = (-3.0, -1.0)
        drivers.append(driver(serve(microscope).address, **arguments))
        drivers[-1].scpi.pause_s = 0.0
        return drivers[-1].connect(), microscope, place

    yield make
    for driver in drivers:
        driver.close()


@contextlib.contextmanager
def deadlines(link):
    """The calls of a link: of each exchange, by its deadline, the most seconds that it was allowed to wait."""
    allowed, usual = {}, {}

    def watched(call):
        def watching(*arguments):
            deadline = arguments[-1]
            allowed.setdefault(deadline, deadline - time.monotonic())
            return call(*arguments)

        return watching

    for name in ("write", "read_into", "read_exact", "read_until", "reconnect"):
        usual[name] = getattr(link, name)
        setattr(link, name, watched(usual[name]))
    try:
        yield allowed
    finally:
        for name, call in usual.items():
            setattr(link, name, call)


@pytest.mark.parametrize("of", [Scripted, Dripping])
@pytest.mark.parametrize("kind", KINDS)
def test_silence_after_the_act_is_an_unknown_outcome_and_safe_is_sent_all_the_same(bench, kind, of):
    driver, microscope, place = bench(kind, of)
    silence = "deaf" if of is Scripted else "drips"
    microscope.before[ACT[kind]] = lambda: setattr(microscope, silence, True)
    with (
        pytest.raises(UnknownOutcome, match=r"cannot be asked|may still be on") as caught,
        deadlines(driver.scpi.link) as allowed,
        impatient(driver, ACT[kind]),
    ):
        driver.measure(place, "t1")
    waits = list(allowed.values())
    silent = waits[next(i for i, seconds in enumerate(waits) if seconds <= 0.1) :]
    assert max(silent) <= 0.1
    assert len(silent) <= 15 * driver.scpi.attempts  # so that all of it ends, safe state included, within 4.5 s
    assert any("not seen to be obeyed" in note for note in caught.value.__notes__)
    assert eventually(lambda: (microscope.tip, microscope.beam, microscope.bias) == ("WITHDRAWN", "BLANKED", 0.0))
    assert len(microscope.acts()) == 1  # asked once, whatever happened
    assert not driver.scpi.link.alive


@pytest.mark.parametrize("kind", KINDS)
def test_one_that_never_ends_is_waited_for_once_and_made_safe(bench, kind):
    driver, microscope, place = bench(kind, **{BUSY_S[kind]: 0.2})
    microscope.before[ACT[kind]] = lambda: microscope.answers.update({"STAT?": "BUSY"})
    microscope.before["SAFE"] = lambda: microscope.answers.update({"STAT?": "IDLE"})
    with pytest.raises(UnknownOutcome, match="still BUSY after") as caught:
        driver.measure(place, "t1")
    assert isinstance(caught.value.__cause__, StillBusy)
    assert (microscope.tip, microscope.beam, microscope.bias) == ("WITHDRAWN", "BLANKED", 0.0)
    assert len(microscope.acts()) == 1
    microscope.before.clear()
    assert driver.measure(place, "t2").ok


@pytest.mark.parametrize("kind", ["pfm", "band", "stem"])
def test_a_move_that_never_ends_measures_nothing(bench, kind):
    driver, microscope, place = bench(kind, **{BUSY_S[kind]: 0.2})
    microscope.before["MOVE"] = lambda: microscope.answers.update({"STAT?": "BUSY"})
    with pytest.raises(UnknownOutcome, match="does not end"):
        driver.measure(place, "t1")
    assert microscope.acts() == []
    assert microscope.sent[-1] == "SAFE"


@pytest.mark.parametrize("of", [Scripted, Dripping])
@pytest.mark.parametrize("kind", KINDS)
def test_silence_before_the_act_acts_on_nothing(bench, kind, of):
    driver, microscope, place = bench(kind, of)
    setattr(microscope, "deaf" if of is Scripted else "drips", True)
    with impatient(driver, seconds=0.1), deadlines(driver.scpi.link) as allowed:
        with pytest.raises(LINK_FAULTS):
            driver.measure(place, "t1")
        assert max(allowed.values()) <= 0.1
        assert len(allowed) <= 8 * driver.scpi.attempts
        assert microscope.acts() == []
        asked = microscope.sent.count("SAFE")
        with pytest.raises(LINK_FAULTS):
            driver.make_safe()
    assert eventually(lambda: microscope.sent.count("SAFE") > asked)


def test_a_word_that_is_no_state_is_told(bench):
    driver, microscope, place = bench("pfm", loop_timeout_s=0.1)
    microscope.answers["STAT?"] = "PERHAPS"
    with pytest.raises(StillBusy, match="still PERHAPS"):
        driver.measure(place, "t1")


def test_a_door_at_which_nobody_opens():
    with socket.create_server(("127.0.0.1", 0), backlog=1) as listener:
        _, driver, usual, _ = KINDS["pfm"]
        device = driver(f"tcp://127.0.0.1:{listener.getsockname()[1]}", timeout_s=0.1, **usual)
        for act in (device.connect, device.make_safe, device.identity):
            with pytest.raises(LINK_FAULTS, match=r"no answer in time|no connection"):
                act()
        device.close()


def test_a_peer_that_does_not_read_holds_nobody():
    with socket.create_server(("127.0.0.1", 0), backlog=1) as listener:
        link = SocketLink("127.0.0.1", listener.getsockname()[1])
        with pytest.raises(LinkTimeout):
            link.write(b"x" * (1 << 26), time.monotonic() + 0.2)
        assert not link.alive


def test_the_image_of_a_microscope_that_hangs_leaves_the_beam_off(bench):
    driver, microscope, _ = bench("stem", shot_timeout_s=0.2)
    microscope.before["SCAN"] = lambda: (
        microscope.answers.update({"STAT?": "BUSY"}),
        setattr(microscope, "beam", "ON"),
    )
    with pytest.raises(InstrumentError, match="still BUSY"):
        driver.image()
    assert microscope.beam == "BLANKED"
