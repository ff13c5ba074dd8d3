"""The driver against a small microscope of our own, whose wire can be cut before or after a command is obeyed."""

import math
import time

import numpy as np
import pytest
from gpax_instruments import _codecs as codecs
from gpax_instruments.drivers import PFM
from gpax_instruments.errors import BadFrame, DeviceError, LinkLost, LinkTimeout, UnknownOutcome

from gpax_lab.core import Axis, Instrument, MoveRefused

SPAN = 2e-6
AXES = (Axis("x", "m", 0.0, SPAN, tolerance=1e-9), Axis("y", "m", 0.0, SPAN, tolerance=1e-9))
HERE = np.array([1e-6, 5e-7])
LOOP = np.linspace(-0.5, 0.5, 16, dtype="<f4")


def wave_of(vmax, points):
    """0, up to vmax, down to -vmax, and back to one step before 0."""
    corners, at = [0.0, vmax, -vmax, 0.0], [0.0, 0.25, 0.75, 1.0]
    return np.interp(np.arange(int(points)) / points, at, corners)


class Microscope:
    """Obeys the command set of the PFM. `cuts` lists (word, obeyed first?): the connection is cut there, once each."""

    def __init__(self):
        self.position, self.pulses, self.token = [0.0, 0.0], [], ""
        self.tip, self.bias, self.wave = "WITHDRAWN", 0.0, [1.0, 8]
        self.errors, self.cuts, self.loop, self.offset = [], [], LOOP, 0.0
        self.moves, self.name = [], "Maker,PFM,1,0"
        self.applied = np.zeros(0)

    def __call__(self, connection, line):
        for cut in self.cuts:
            if cut[0] in line:
                self.cuts.remove(cut)
                if cut[1]:
                    self.obey(line)
                return False
        answer = self.obey(line)
        if answer:
            connection.sendall(answer)
        return True

    def obey(self, line):
        parts = [a for c in line.split(";") if (a := self.one(*c.lstrip(":").partition(" ")[::2])) is not None]
        return b";".join(parts) + b"\n" if parts else b""

    def one(self, name, argument):
        numbers = lambda values: ",".join(repr(float(v)) for v in values).encode()  # noqa: E731
        match name:
            case "*IDN?":
                return self.name.encode()
            case "SYST:TAG?":
                return argument.encode()
            case "*STB?":
                return b"0"
            case "LOOP:USED?":
                return b"%d" % (argument.strip('"') in self.pulses)
            case "SYST:ERR?":
                return self.errors.pop(0).encode() if self.errors else b'0,"No error"'
            case "LIM?":
                return numbers([0, SPAN, 0, SPAN])
            case "MOVE":
                self.moves.append([float(v) for v in argument.split(",")])
                self.position = list(self.moves[-1])
            case "POS?":
                return numbers([self.position[0] + self.offset, self.position[1]])
            case "BIAS:WAV":
                self.wave = [float(v) for v in argument.split(",")]
            case "BIAS:WAV?":
                return numbers(self.wave)
            case "BIAS?":
                return numbers([self.bias])
            case "LOOP:RAIL?":
                return b"1.0"
            case "TIP:ENG":
                self.tip = "ENGAGED"
            case "TIP?":
                return self.tip.encode()
            case "SAFE":
                self.tip, self.bias = "WITHDRAWN", 0.0
            case "MEAS:LOOP":
                self.token = argument.strip('"')
                self.pulses.append(self.token)
                self.applied = wave_of(*self.wave)
            case "STAT?":
                return b"IDLE"
            case "LOOP:TOK?":
                return f'"{self.token}"'.encode()
            case "LOOP:BIAS?":
                return codecs.format_block(self.applied[: len(self.loop)].astype("<f8"), terminator=b"")
            case "LOOP:DATA?":
                return codecs.format_block(self.loop, terminator=b"")


@pytest.fixture
def bench(serve):
    """bench(**options) -> (driver, microscope, server)."""
    drivers = []

    def make(axes=AXES, **options):
        microscope = Microscope()
        server = serve(microscope)
        options = {"vmax": 8.0, "points": 16, "timeout_s": 0.3, "loop_timeout_s": 2.0} | options
        drivers.append(PFM(server.address, axes, **options))
        return drivers[-1], microscope, server

    yield make
    for driver in drivers:
        driver.close()


def test_the_driver_keeps_its_promises(bench):
    pfm, _, _ = bench()
    assert isinstance(pfm, Instrument)
    for ability in ("read", "set", "locate", "check_value", "trigger", "stop"):  # as in bluesky.protocols
        assert callable(getattr(pfm, ability))


def test_one_loop(bench):
    pfm, microscope, _ = bench(response_unit="pm/V")
    with pfm:
        measurement = pfm.measure(HERE, "run-1:0001")
        assert microscope.tip == "ENGAGED"
        again = pfm.read()
        assert again.arrays["response"].tobytes() == measurement.arrays["response"].tobytes()
        assert again.units == {"bias": "V", "response": "pm/V"}
    assert measurement.ok
    assert measurement.position.tolist() == HERE.tolist()
    assert measurement.position.dtype == np.float64
    assert measurement.arrays["bias"].dtype == np.float64
    np.testing.assert_array_equal(measurement.arrays["response"], LOOP)
    assert microscope.wave == [8.0, 16]
    assert microscope.pulses == ["run-1:0001"]
    assert microscope.tip == "WITHDRAWN"  # leaving the block makes safe


@pytest.fixture(scope="module")
def targets():
    """10,000 random targets: inside, outside, not a number, infinite, denormal, one step beyond a limit."""
    rng = np.random.default_rng(0)
    special = [math.nan, math.inf, -math.inf, 5e-324, -5e-324, 1e-310, np.nextafter(SPAN, 1), 0.0, SPAN, 1e308, -0.0]
    values = np.where(rng.random((10_000, 2)) < 0.5, rng.choice(special, (10_000, 2)), rng.normal(0, SPAN, (10_000, 2)))
    return values


def test_not_one_byte_is_sent_for_a_refused_target(bench, targets):
    pfm, microscope, server = bench()
    pfm.connect()
    sent, received = pfm.scpi.link.sent, server.received
    refused = 0
    for k, x in enumerate(targets):
        if not ((x >= 0) & (x <= SPAN)).all():
            refused += 1
            with pytest.raises(MoveRefused):
                pfm.measure(x, f"t{k}")
    assert 4000 < refused < 10_000
    assert pfm.scpi.link.sent == sent
    time.sleep(0.05)
    assert server.received == received
    assert microscope.moves == []


def test_what_is_sent_is_inside_and_exact(bench, targets):
    pfm, microscope, _ = bench()
    allowed = targets[((targets >= 0) & (targets <= SPAN)).all(axis=1)][:300]
    for x in allowed:
        pfm.set(x)
    assert len(allowed) == 300
    assert microscope.moves == allowed.tolist()


def test_a_long_move_goes_by_small_steps(bench):
    axes = [Axis(n, "m", 0.0, SPAN, max_step=3e-7, tolerance=1e-9, settle_s=0.02) for n in "xy"]
    pfm, microscope, _ = bench(axes=axes)
    pfm.set([1e-6, 2e-7])
    path = np.array([[0.0, 0.0], *microscope.moves])
    assert len(path) == 5
    assert np.abs(np.diff(path, axis=0)).max() <= 3e-7
    assert path[-1].tolist() == [1e-6, 2e-7]


@pytest.mark.parametrize("offset", [2e-9, math.nan, 9.91e37])
def test_a_read_back_elsewhere_is_not_measured(bench, offset):
    pfm, microscope, _ = bench()
    microscope.offset = offset
    with pytest.raises(MoveRefused):
        pfm.measure(HERE, "t1")
    assert microscope.pulses == []


def test_the_error_queue_refuses_a_move(bench):
    pfm, microscope, _ = bench()
    pfm.connect()
    microscope.errors.append('-222,"Data out of range"')
    with pytest.raises(MoveRefused, match="-222"):
        pfm.measure(HERE, "t1")
    assert microscope.pulses == []


def test_old_errors_of_others_are_not_ours(bench):
    pfm, microscope, _ = bench()
    microscope.errors.append('-113,"Undefined header"')
    assert pfm.measure(HERE, "t1").ok


CUTS_THAT_HEAL = ["LIM?", "STAT?", "LOOP:TOK?", "POS?", "TIP:ENG", "TIP?", "LOOP:DATA?", "LOOP:BIAS?"]


@pytest.mark.parametrize("obeyed", [True, False])
@pytest.mark.parametrize("word", CUTS_THAT_HEAL)
def test_a_cut_during_a_read_changes_nothing(bench, word, obeyed):
    pfm, microscope, _ = bench()
    if word != "LIM?":
        pfm.connect()
    microscope.cuts.append((word, obeyed))
    if word == "LIM?":
        with pytest.raises(LinkLost):
            pfm.connect()
    measurement = pfm.measure(HERE, "t1")
    assert measurement.ok
    np.testing.assert_array_equal(measurement.arrays["response"], LOOP)
    assert microscope.pulses == ["t1"]
    assert microscope.cuts == []


def test_a_cut_right_after_the_pulse_is_recognised_by_its_token(bench):
    pfm, microscope, _ = bench()
    microscope.cuts.append(("MEAS:LOOP", True))
    assert pfm.measure(HERE, "t1").ok
    assert microscope.pulses == ["t1"]


def test_a_pulse_that_nobody_saw_is_not_repeated(bench):
    pfm, microscope, _ = bench()
    pfm.connect()
    microscope.token = "old"
    microscope.cuts.append(("MEAS:LOOP", False))
    with pytest.raises(UnknownOutcome, match="last loop is 'old'"):
        pfm.measure(HERE, "t1")
    assert microscope.pulses == []
    assert microscope.tip == "WITHDRAWN"  # made safe


def test_a_cut_right_after_the_move_is_recognised_by_the_read_back(bench):
    pfm, microscope, _ = bench()
    microscope.cuts.append(("MOVE", True))
    assert pfm.measure(HERE, "t1").ok
    assert microscope.moves == [HERE.tolist()]


def test_a_move_that_nobody_saw_is_not_repeated(bench):
    pfm, microscope, _ = bench()
    microscope.cuts.append(("MOVE", False))
    with pytest.raises(UnknownOutcome, match="read-back"):
        pfm.measure(HERE, "t1")
    assert microscope.moves == []
    assert microscope.pulses == []


def test_a_token_that_is_already_done_is_read_and_not_pulsed_again(bench):
    """A campaign killed between the pulse and its record asks again with the same token."""
    pfm, microscope, server = bench()
    pfm.measure(HERE, "t1")
    pfm.close()
    other = PFM(server.address, AXES, vmax=8.0, points=16)
    measurement = other.measure(HERE, "t1")
    assert measurement.ok
    assert microscope.pulses == ["t1"]
    with pytest.raises(MoveRefused):
        other.measure([0.0, 0.0], "t1")  # the loop of this token was taken elsewhere
    other.close()


def test_a_refused_loop_is_an_error_of_the_device(bench):
    pfm, microscope, _ = bench()
    pfm.connect()
    honest = microscope.one

    def refuse(name, argument):
        if name == "MEAS:LOOP":
            microscope.errors.append('-221,"Settings conflict"')
            return None
        return honest(name, argument)

    microscope.one = refuse
    with pytest.raises(DeviceError, match="-221"):
        pfm.measure(HERE, "t1")


@pytest.mark.parametrize(
    ("value", "count", "flag"),
    [(math.nan, 1, "nan"), (math.inf, 1, "inf"), (9.91e37, 1, "nan"), (1.0, 3, "saturated"), (-1.0, 16, "saturated")],
)
def test_a_bad_loop_is_a_failed_measurement(bench, value, count, flag):
    pfm, microscope, _ = bench()
    microscope.loop = LOOP.copy()
    microscope.loop[:count] = value
    measurement = pfm.measure(HERE, "t1")
    assert not measurement.ok
    assert flag in measurement.flags
    assert f"{count} of 16" in measurement.reason


def test_a_loop_of_the_wrong_length_is_a_failed_measurement(bench):
    pfm, microscope, _ = bench()
    microscope.loop = LOOP[:12]
    assert pfm.measure(HERE, "t1").flags == ("short",)


def test_make_safe_works_on_a_broken_link_and_says_when_it_cannot(bench, serve):
    pfm, microscope, server = bench()
    pfm.measure(HERE, "t1")
    microscope.cuts += [("SAFE", False), ("BIAS?", True)]
    pfm.make_safe()
    assert microscope.tip == "WITHDRAWN"
    assert microscope.cuts == []
    honest = microscope.one
    microscope.one = lambda name, argument: b"ENGAGED" if name == "TIP?" else honest(name, argument)
    with pytest.raises(DeviceError, match="by hand"):
        pfm.make_safe()
    server.stop()
    with pytest.raises((LinkLost, LinkTimeout, BadFrame)):
        pfm.make_safe()


def test_settings_that_make_no_sense(bench):
    with pytest.raises(ValueError, match="axes"):
        PFM("tcp://h:1", AXES[:1])
    with pytest.raises(ValueError, match="in m"):
        PFM("tcp://h:1", [Axis("x", "um", 0.0, 2.0)] * 2)
    with pytest.raises(ValueError, match="vmax"):
        PFM("tcp://h:1", AXES, vmax=math.nan)
    pfm, microscope, _ = bench()
    for token in ("", 'a"b', "a\nb", "x" * 65):
        with pytest.raises(ValueError, match="token"):
            pfm.measure(HERE, token)
    microscope.name = "Maker,Oscilloscope,1,0"
    with pytest.raises(DeviceError, match="not a PFM"):
        pfm.connect()
    wide, _, _ = bench(axes=[Axis(n, "m", 0.0, 2 * SPAN) for n in "xy"])
    with pytest.raises(DeviceError, match="narrow the axis"):
        wide.connect()
