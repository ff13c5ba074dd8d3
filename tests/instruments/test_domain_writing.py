"""Domain writing over the wire: refusals, one pulse per token whatever happens, and the hidden law found."""

import jax
import numpy as np
import pytest
from gpax_instruments.drivers import DomainWriter
from gpax_instruments.errors import BadFrame, DeviceError, PulseLost
from gpax_instruments.twins import start_pfm
from gpax_instruments.twins._writer import TRUTH, UNIT_M, law_of

from gpax_lab import acquisition, bayes_opt, hypotheses, model_average, run, smc
from gpax_lab.core import Instrument, MoveRefused
from gpax_lab.images import domain_radius
from gpax_lab.storage import Campaign

STRONG = np.array([8.0, 0.0])


@pytest.fixture(scope="module")
def twin():
    with start_pfm(seed=1, law="thermodynamic") as running:
        yield running


@pytest.fixture
def writer(twin):
    with DomainWriter(twin.address) as driver:
        yield driver
        driver.scpi.write("FAULT CLEAR")


def radius(measurement):
    """In units of 10 nm."""
    return float(domain_radius(measurement.arrays["image"], measurement.arrays["pixel"])[0]) / UNIT_M


def code_of(driver, line):
    """The error that a command leaves."""
    driver.scpi.write(line)
    errors = driver.scpi.errors()
    assert len(errors) <= 1
    return int(errors[0].split(",")[0]) if errors else 0


def test_one_domain(writer):
    before = writer.cells_left()
    assert isinstance(writer, Instrument)
    for ability in ("read", "check_value", "stop"):  # as in bluesky.protocols
        assert callable(getattr(writer, ability))
    measurement = writer.measure(STRONG, "a:1")
    assert measurement.ok
    assert measurement.arrays["image"].shape == (64, 64)
    assert measurement.units == {"image": "1", "pixel": "m"}
    np.testing.assert_allclose(measurement.position, STRONG, atol=1e-12)
    expected = 1.0 + 1.5 * (4.0**2 - 1.0) ** (1 / 3)
    assert abs(radius(measurement) - expected) < 5 * (0.2 + 0.06 * expected)
    np.testing.assert_array_equal(writer.read().arrays["image"], measurement.arrays["image"])
    weak = writer.measure([1.0, 0.0], "a:2")  # below the threshold of 2 V
    assert radius(weak) < 0.5
    assert writer.cells_left() == before - 2


def test_targets_outside_are_refused_before_anything_is_sent(writer):
    sent = writer.scpi.link.sent
    for x in ([10.1, 0.0], [0.9, 0.0], [5.0, 2.1], [5.0, -3.1], [np.nan, 0.0], [5.0]):
        with pytest.raises(MoveRefused, match="nothing was sent"):
            writer.measure(x, "b:1")
    with pytest.raises(ValueError, match="token"):
        writer.measure(STRONG, 'b"1')
    assert writer.scpi.link.sent == sent


@pytest.mark.parametrize("limits", [{"bias": (1.0, 12.0)}, {"log_duration": (-3.0, 3.0)}])
def test_limits_beyond_those_of_the_instrument_are_refused_at_once(twin, limits):
    driver = DomainWriter(twin.address, **limits)
    with pytest.raises(DeviceError, match="narrow the axis"):
        driver.connect()
    driver.close()


def test_refusals_of_the_instrument(writer):
    before = writer.cells_left()
    for line in ('PULS 10.5,1,"c"', 'PULS 0.5,1,"c"', 'PULS nan,1,"c"', 'PULS 5,101,"c"', 'PULS 5,1,""'):
        assert code_of(writer, line) == -222
    assert code_of(writer, "PULS 5,1") == -109
    assert writer.cells_left() == before
    assert code_of(writer, 'PULS 5,1,"c"') == 0
    assert code_of(writer, 'PULS 5,1,"d"') == 0
    for token in "cd":  # not only the last one
        assert code_of(writer, f'PULS 5,1,"{token}"') == -221
    assert writer.cells_left() == before - 2


def test_the_film_ends():
    with start_pfm(seed=1, law="thermodynamic", cells=2) as twin, DomainWriter(twin.address) as driver:
        for token in ("e:1", "e:2"):
            driver.measure(STRONG, token)
        with pytest.raises(DeviceError, match="fresh film"):
            driver.measure(STRONG, "e:3")
        assert driver.measure(STRONG, "e:2").ok  # the last one is still there


def test_a_token_is_remembered_over_a_new_connection(twin, writer):
    first = writer.measure(STRONG, "f:1")
    left = writer.cells_left()
    with DomainWriter(twin.address) as again:
        second = again.measure(STRONG, "f:1")
        assert again.cells_left() == left
    np.testing.assert_array_equal(first.arrays["image"], second.arrays["image"])


@pytest.mark.parametrize("fault", ["DROP", "HALF", "JUNK", "DUP", "SHORT"])
def test_a_broken_wire_never_pulses_twice(writer, fault):
    before = writer.cells_left()
    writer.scpi.write(f"FAULT {fault},2")
    assert writer.measure(STRONG, f"g:{fault}").ok
    assert writer.cells_left() == before - 1


def test_busy_instrument_and_safe_state():
    with (
        start_pfm(seed=1, law="thermodynamic", pace=0.5) as twin,
        DomainWriter(twin.address, image_timeout_s=5.0) as driver,
    ):
        assert code_of(driver, 'PULS 5,100,"h:1"') == 0  # 50 s
        assert driver.scpi.query("STAT?;TIP?") == "BUSY;ENGAGED"
        assert code_of(driver, 'PULS 5,1,"h:2"') == -213
        assert code_of(driver, 'MEAS:LOOP "h:3"') == -213
        assert code_of(driver, "MOVE 1e-6,1e-6") == -221
        driver.make_safe()  # ends the pulse
        assert driver.scpi.query("STAT?;TIP?") == "IDLE;WITHDRAWN"
        assert code_of(driver, 'PULS 5,1,"h:1"') == -221  # it had begun
        left = driver.cells_left()
        with pytest.raises(PulseLost) as caught:  # a campaign that resumes loses this point, and goes on
            driver.measure([5.0, 2.0], "h:1")
        assert caught.value.point_failed
        assert driver.cells_left() == left
        assert driver.measure([5.0, -1.0], "h:4").ok  # 50 ms, waited for
        assert driver.scpi.query("PULS:TOK?") == '"h:4"'


def test_limits_that_do_not_fit_are_no_reason_to_leave_the_tip_down(twin):
    with DomainWriter(twin.address) as driver:
        driver.measure(STRONG, "i:1")
        assert driver.scpi.query("TIP?") == "ENGAGED"
        narrow = DomainWriter(twin.address, bias=(1.0, 12.0))  # refused by connect
        narrow.make_safe()
        assert driver.scpi.query("TIP?") == "WITHDRAWN"
        with pytest.raises(DeviceError, match="narrow the axis"):
            narrow.measure(STRONG, "i:2")
        narrow.close()


def test_a_pulse_at_the_very_edge_is_a_fair_one(twin):
    with DomainWriter(twin.address, log_duration=(np.log10(1e-3), np.log10(100.0))) as driver:
        for edge in ([10.0, 2.0], [1.0, -3.0]):
            assert driver.measure(edge, f"j:{edge[0]:g}").ok


def test_another_pulse_than_asked_for_is_kept_and_told(twin):
    with DomainWriter(twin.address, tolerance=(0.01, 1e-3)) as driver:
        driver.measure([8.0, 0.0], "k:1")
        other = driver.measure([8.0, 0.002], "k:1")  # the domain of the token is there already, by another pulse
        assert not other.ok
        assert "instead of" in other.reason
        assert other.arrays["image"].shape == (64, 64)


def test_the_law_is_not_told():
    assert {law_of("random", seed) for seed in range(40)} == set(TRUTH)
    with pytest.raises(ValueError, match="no law"):
        law_of("linear", 0)
    with start_pfm(seed=0) as twin, pytest.raises(BadFrame) as caught:
        DomainWriter(twin.address).connect()
    assert "write domains" in caught.value.__notes__[0]


@pytest.mark.slow
@pytest.mark.parametrize("law", list(TRUTH))
def test_a_campaign_over_the_wire_finds_the_law(tmp_path, law):
    bounds = [[1.0, 10.0], [-3.0, 2.0]]
    models = hypotheses({name: model for name, (model, _) in TRUTH.items()}, bounds=bounds, scale=(3.0, 3.0))
    candidates = acquisition.grid(bounds, (12, 12))
    experiment = bayes_opt(models, model_average(smc(128)), acquisition.expected_information_gain(), candidates)
    header = {
        "settings": {},
        "axes": [{"name": "bias", "unit": "V"}, {"name": "log10 duration", "unit": "log10(s)"}],
        "quantity": {"name": "radius", "unit": "10 nm"},
    }
    seeds = np.array([[10.0, 2.0], [4.0, -1.0], [7.0, 0.5]])
    with (
        start_pfm(seed=3, law=law) as twin,
        Campaign.create(tmp_path / "film.gpxj", header) as record,
        DomainWriter(twin.address) as driver,
    ):
        outcome = run(experiment, driver, record, 12, seeds=seeds, key=jax.random.key(5), scalarize=radius)
    probability = dict(zip(models.names, np.asarray(outcome.state.posterior.probability).tolist(), strict=True))
    assert probability[law] > 0.9
