"""An instrument that was switched off and on forgets its tokens: what may have begun is never done again."""

import socket

import pytest
from gpax_instruments.drivers import PFM, STEM, BandExcitation, DomainWriter
from gpax_instruments.errors import DeviceError, PulseLost, UnknownOutcome
from gpax_instruments.twins import start_pfm, start_stem
from scripted import AXES, KINDS, PLACE, PULSE, Scripted, impatient

from gpax_lab.core import Axis

ONCE = ("pfm", "writer", "stem")
"""Whose act spends its place."""

DATA = {"pfm": "LOOP:DATA?", "writer": "IMAG:DATA?", "stem": "SHOT:DATA?"}


class Fused(Scripted):
    """The power fails right after the next act where `fuse` is set: the connection ends, and the memory is empty."""

    fuse = False

    def __call__(self, connection, line):
        before = len(self.acts())
        super().__call__(connection, line)
        if self.fuse and len(self.acts()) > before:
            self.fuse = False
            self.switch_on()
            return False
        return True

    @property
    def safe(self):
        return (self.tip, self.beam, self.bias) == ("WITHDRAWN", "BLANKED", 0.0)


@pytest.fixture
def bench(serve):
    """bench(kind) -> (driver, microscope, place, a second driver of the same microscope)."""
    drivers = []

    def make(kind):
        model, driver, usual, place = KINDS[kind]
        microscope = Fused(model)
        address = serve(microscope).address
        drivers.extend(driver(address, timeout_s=30.0, **usual) for _ in range(2))
        return drivers[-2], microscope, place, drivers[-1]

    yield make
    for driver in drivers:
        driver.close()


@pytest.mark.parametrize("kind", ONCE)
def test_a_power_failure_in_the_middle_of_an_act_costs_its_point_and_nothing_is_done_twice(bench, kind):
    driver, microscope, place, _ = bench(kind)
    assert driver.measure(place, "t1").ok
    assert driver.remembers_token
    microscope.fuse = True
    for _ in range(2):  # and when it is asked for again
        with pytest.raises(PulseLost, match="switched off and on") as caught:
            driver.measure(place, "t2")
        assert caught.value.point_failed
        assert microscope.safe
        assert microscope.names() == ["t1", "t2"]
    assert not driver.remembers_token
    microscope.dose = 2000.0  # a counter that went on
    assert driver.measure(place, "t3").ok
    assert driver.remembers_token
    with pytest.raises(PulseLost):
        driver.measure(place, "t2")
    assert microscope.names() == ["t1", "t2", "t3"]


@pytest.mark.parametrize("kind", ONCE)
def test_a_program_that_comes_later_knows_that_nothing_is_remembered_until_the_next_act(bench, kind):
    driver, microscope, place, later = bench(kind)
    driver.connect()
    microscope.fuse = True
    with pytest.raises(PulseLost):
        driver.measure(place, "t1")
    driver.close()  # killed before it could write down what had become of t1
    for _ in range(2):
        later.connect()
        assert not later.remembers_token
    assert later.measure(place, "t2").ok
    assert later.remembers_token
    assert microscope.names() == ["t1", "t2"]


@pytest.mark.parametrize("kind", ONCE)
def test_an_instrument_whose_last_token_is_gone_was_switched_off_whatever_its_register_says(bench, kind):
    driver, microscope, place, _ = bench(kind)
    driver.measure(place, "t1")
    microscope.fuse, honest = True, microscope.switch_on
    microscope.switch_on = lambda: (honest(), microscope.read_events())  # another program has read it
    for _ in range(2):
        with pytest.raises(PulseLost, match="switched off and on"):
            driver.measure(place, "t2")
        assert microscope.safe
    assert microscope.names() == ["t1", "t2"]
    assert not driver.remembers_token


@pytest.mark.parametrize("kind", ONCE)
def test_a_program_that_comes_later_trusts_no_register_that_another_program_has_read(bench, kind):
    driver, microscope, place, later = bench(kind)
    assert driver.measure(place, "t1").ok
    driver.close()  # killed after it had begun t2
    microscope.act('"t2"')
    microscope.switch_on()
    microscope.read_events()
    later.connect()
    for _ in range(2):
        assert not later.remembers_token
        later.connect()  # over a link that is open
    microscope.dose = 1000.0
    assert later.measure(place, "t3").ok
    assert later.remembers_token


@pytest.mark.parametrize("kind", ONCE)
def test_a_first_act_of_unknown_outcome_is_not_remembered_where_the_register_is_silent(bench, kind):
    driver, microscope, place, _ = bench(kind)
    driver.connect()
    microscope.fuse, honest = True, microscope.switch_on
    microscope.switch_on = lambda: (honest(), microscope.read_events())
    with pytest.raises(UnknownOutcome):
        driver.measure(place, "t1")
    assert not driver.remembers_token
    assert microscope.names() == ["t1"]


@pytest.mark.parametrize("kind", ONCE)
def test_a_campaign_begins_at_an_instrument_that_has_done_nothing_and_remembers_from_then_on(bench, kind):
    driver, microscope, place, later = bench(kind)
    driver.connect()
    assert not driver.remembers_token
    assert driver.measure(place, "t1").ok
    assert driver.remembers_token
    driver.close()
    assert later.connect().remembers_token
    assert later.measure(place, "t1").ok  # read, and not done again
    assert microscope.names() == ["t1"]


@pytest.mark.parametrize("kind", ONCE)
def test_numbers_that_a_power_failure_took_away_are_not_measured_again(bench, kind):
    driver, microscope, place, _ = bench(kind)
    driver.connect()
    microscope.answers[DATA[kind]] = lambda _: microscope.token and microscope.switch_on()
    with pytest.raises(PulseLost, match="switched off and on"), impatient(driver, "FORM:BORD"):
        driver.measure(place, "t1")
    with pytest.raises(PulseLost, match="switched off and on"):
        driver.measure(place, "t1")
    assert microscope.names() == ["t1"]


def test_a_spectrum_at_zero_bias_is_taken_again(bench):
    driver, microscope, place, _ = bench("band")
    driver.connect()
    microscope.fuse = True
    assert driver.measure(place, "t1").ok
    assert microscope.names() == ["t1", "t1"]


@pytest.mark.parametrize("kind", KINDS)
def test_one_that_was_switched_off_between_two_measurements_is_made_safe_and_goes_on(bench, kind):
    driver, microscope, place, _ = bench(kind)
    assert driver.measure(place, "t1").ok
    microscope.switch_on()
    driver.scpi.link.close()
    asked = microscope.sent.count("SAFE")
    assert driver.measure(place, "t2").ok
    assert microscope.sent.count("SAFE") == asked + 1
    assert microscope.sent.index("SAFE", 1) < microscope.sent.index(next(s for s in microscope.sent if '"t2"' in s))


def test_a_first_connection_to_an_instrument_that_was_just_switched_on_measures(bench):
    driver, microscope, place, _ = bench("pfm")
    microscope.switch_on()
    driver.connect()
    assert not driver.remembers_token
    assert driver.measure(place, "t1").ok
    assert (driver.remembers_token, microscope.status) == (True, 0)


# --- the same with the simulated microscopes -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def twins(tmp_path_factory):
    """By name: a running microscope with its log, the driver, its arguments, a place."""
    logs = [tmp_path_factory.mktemp("power") / f"{n}.log" for n in "ab"]
    small = [Axis(axis.name, "m", 0.0, 1e-7) for axis in AXES]
    with (
        start_pfm(seed=1, law="thermodynamic", band=1, wire_log=logs[0]) as a,
        start_stem(seed=1, wire_log=logs[1]) as b,
    ):
        yield {
            "pfm": (a, logs[0], PFM, {"axes": AXES}, PLACE),
            "writer": (a, logs[0], DomainWriter, {}, PULSE),
            "band": (a, logs[0], BandExcitation, {"axes": AXES}, PLACE),
            "stem": (b, logs[1], STEM, {"axes": small}, (4e-8, 6e-8)),
        }


def events(twin):
    """Its event register, which is left empty."""
    with socket.create_connection(("127.0.0.1", twin.scpi_port), timeout=30) as raw:
        raw.sendall(b"*ESR?\n")
        return int(raw.makefile("rb").readline())


@pytest.mark.parametrize("kind", ONCE)
def test_the_power_of_a_simulated_microscope_fails_in_the_middle_of_an_act(twins, kind):
    twin, log, driver, options, place = twins[kind]
    with driver(twin.address, **options) as device:
        device.measure(place, f"{kind}-1")
        assert events(twin) & 128 == 0
        device.scpi.write("FAULT POWER")
        for _ in range(2):
            with pytest.raises(PulseLost, match="switched off and on"):
                device.measure(place, f"{kind}-2")
        assert device._unsafe(device.scpi) == ""
        assert device._done() == ""
        with driver(twin.address, **options) as later:
            assert not later.remembers_token
        if kind == "stem":  # its counter began anew, by which no budget can be kept
            with pytest.raises(DeviceError, match="counter"):
                device.measure(place, f"{kind}-3")
            with STEM(twin.address, **options) as fresh:
                assert fresh.measure(place, f"{kind}-3").ok
        else:
            assert device.measure(place, f"{kind}-3").ok
    lines = [line for line in log.read_text().splitlines() if "MEAS:" in line or "PULS " in line]
    assert [sum(f'"{kind}-{k}"' in line for line in lines) for k in (1, 2, 3)] == [1, 1, 1]


def test_a_power_failure_leaves_the_sample_and_takes_the_memory(twins):
    twin, _, driver, options, place = twins["writer"]
    with driver(twin.address, **options) as device:
        left = device.cells_left()
        device.scpi.write("FAULT POWER")
        with pytest.raises(PulseLost):
            device.measure(place, "cell")
        assert device.cells_left() == left - 1
        assert device.scpi.query('PULS:USED? "cell";BIAS?;TIP?') == "0;0.0;WITHDRAWN"
    assert events(twin) & 128
    assert events(twin) & 128 == 0
