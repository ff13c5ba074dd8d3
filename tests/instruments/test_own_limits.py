"""Limits of the drivers themselves, at every door; and answers by which a limit would be judged."""

import math
import re

import numpy as np
import pytest
from gpax_instruments.drivers import PFM, STEM, BandExcitation, DomainWriter, Stage
from gpax_instruments.errors import BadFrame, DeviceError, DoseSpent
from gpax_instruments.links import open_link
from scripted import AXES, KINDS, PLACE, PULSE, Scripted, block

from gpax_lab.core import Axis, InstrumentError

NOWHERE = "tcp://127.0.0.1:1"

NUMBERS = {  # driver, its number, a good value, the first beyond it
    "vmax": (PFM, 8.0, 20.1),
    "max_bias": (PFM, 15.0, 20.1),
    "points": (PFM, 64, 1_000_001),
    "timeout_s": (PFM, 2.0, 3601.0),
    "loop_timeout_s": (PFM, 30.0, 86401.0),
    "image_timeout_s": (DomainWriter, 30.0, 3601.0),
    "dose_budget": (STEM, 1e9, 1.1e15),
    "max_shot": (STEM, 1e7, 1.1e10),
    "shot_timeout_s": (STEM, 30.0, 86401.0),
    "centre": (BandExcitation, 350e3, 1.1e7),
    "width": (BandExcitation, 60e3, 1.1e7),
    "bins": (BandExcitation, 64, 65_537),
    "spectrum_timeout_s": (BandExcitation, 30.0, 86401.0),
}
ATTRIBUTE = {
    "loop_timeout_s": "busy_timeout_s",
    "shot_timeout_s": "busy_timeout_s",
    "spectrum_timeout_s": "busy_timeout_s",
}
BAD = [
    80_000_000_000_000_000,
    1e300,
    math.nan,
    math.inf,
    -math.inf,
    -1.0,
    0,
    True,
    "8",
    [8.0],
    np.float64("nan"),
    10**400,
]


def made(driver, **options):
    return driver(NOWHERE, **({} if driver is DomainWriter else {"axes": AXES}), **options)


@pytest.mark.parametrize("name", NUMBERS)
def test_a_number_outside_is_refused_by_constructor_and_attribute(name):
    driver, good, beyond = NUMBERS[name]
    device, attribute = made(driver, **{name: good}), ATTRIBUTE.get(name, name)
    for bad in (*BAD, beyond):
        with pytest.raises(ValueError, match="nothing was sent"):
            made(driver, **{name: bad})
        with pytest.raises(ValueError, match="nothing was sent"):
            setattr(device, attribute, bad)
    assert getattr(device, attribute) == good  # a refusal changes nothing
    setattr(device, attribute, np.float64(good) if isinstance(good, float) else np.int64(good))


@pytest.mark.parametrize("name", ["points", "bins"])
def test_counts_are_whole(name):
    with pytest.raises(ValueError, match="whole"):
        made(NUMBERS[name][0], **{name: 64.5})


def test_limits_can_be_narrowed_and_not_widened():
    device = made(PFM, vmax=4.0, max_bias=5.0)
    with pytest.raises(ValueError, match="at most 5"):
        device.vmax = 6.0
    with pytest.raises(ValueError, match="at most 5"):
        made(PFM, vmax=6.0, max_bias=5.0)
    device.MAX_BIAS_V = 1e300  # of the object, which does not count
    with pytest.raises(ValueError, match="at most 20"):
        device.max_bias = 100.0
    with pytest.raises(ValueError, match="at most 20"):
        made(PFM, vmax=80.0)

    class Amplified(PFM):
        """A laboratory that knows its film."""

        MAX_BIAS_V = 100.0

    assert made(Amplified, vmax=80.0).vmax == 80.0


def test_a_limit_that_is_narrowed_afterwards_holds_before_anything_is_sent(serve):
    microscope = Scripted("PFM")
    with PFM(serve(microscope).address, AXES, vmax=8.0, points=16) as device:
        device.max_bias = 5.0
        with pytest.raises(ValueError, match="vmax"):
            device.measure(PLACE, "t1")
        device.scpi.link.close()
        with pytest.raises(ValueError, match="vmax"):
            device.measure(PLACE, "t1")
        assert microscope.acts() == []
        assert max(float(line.split()[1].split(",")[0]) for line in microscope.sent if "WAV" in line) == 8.0
        device.vmax = 5.0
        assert device.measure(PLACE, "t1").ok


def forced(device, name, value):
    """The number of a driver as a program would set it that goes around the driver's own check."""
    device.__dict__[name] = value


def wide(device, axis):
    """As `forced`, for the limits of an axis."""
    axes = list(device.axes)
    axes[axis] = Axis(axes[axis].name, axes[axis].unit, -1e3, 1e3)
    forced(device, "_axes", tuple(axes))


def spent(device, microscope, budget):
    """A specimen that has had more than any budget of the driver's own, and the budget forced."""
    microscope.dose = 1e16
    forced(device, "dose_budget", budget)


def strong(device, microscope, highest):
    """A beam that gives more in one shot than the driver ever allows, and the limit forced."""
    microscope.answers["DOSE:SHOT?"] = "1e12,1e12"
    forced(device, "_doses", None)
    forced(device, "max_shot", highest)


BEYOND = {  # kind, what is forced, and the place
    "amplitude of a loop": ("pfm", lambda d, _: forced(d, "vmax", 80.0), PLACE),
    "any amplitude": ("pfm", lambda d, _: forced(d, "vmax", math.inf), PLACE),
    "points of a loop": ("pfm", lambda d, _: forced(d, "points", 10**7), PLACE),
    "no amplitude": ("pfm", lambda d, _: forced(d, "vmax", math.nan), PLACE),
    "centre of a band": ("band", lambda d, _: forced(d, "centre", 1e8), PLACE),
    "bins of a band": ("band", lambda d, _: forced(d, "bins", 10**6), PLACE),
    "bias of a pulse": ("writer", lambda d, _: wide(d, 0), (80.0, -1.0)),
    "duration of a pulse": ("writer", lambda d, _: wide(d, 1), (5.0, 9.0)),
    "time for a pulse": ("writer", lambda d, _: forced(d, "image_timeout_s", math.inf), PULSE),
    "place": ("pfm", lambda d, _: wide(d, 0), (2e-6, 6e-7)),
    "place of a shot": ("stem", lambda d, _: wide(d, 0), (2e-6, 6e-7)),
    "budget": ("stem", lambda d, _: forced(d, "dose_budget", math.nan), PLACE),
    "high budget": ("stem", lambda d, m: spent(d, m, 1e300), PLACE),
    "any budget": ("stem", lambda d, m: spent(d, m, math.inf), PLACE),
    "shot": ("stem", lambda d, _: forced(d, "max_shot", math.nan), PLACE),
    "high shot": ("stem", lambda d, m: strong(d, m, 1e300), PLACE),
    "any shot": ("stem", lambda d, m: strong(d, m, math.inf), PLACE),
    "busy_timeout": ("pfm", lambda d, _: forced(d, "busy_timeout_s", math.nan), PLACE),
    "any busy_timeout": ("stem", lambda d, _: forced(d, "busy_timeout_s", math.inf), PLACE),
}

DOORS = [  # an act without a place is done where the instrument is
    (beyond, door)
    for beyond, (_, _, place) in BEYOND.items()
    for door in ("measure", "measure over a new connection", *(["trigger"] if place == PLACE else []))
]


@pytest.mark.parametrize(("beyond", "door"), DOORS)
def test_no_door_lets_through_what_was_set_behind_the_back_of_the_driver(serve, beyond, door):
    kind, force, place = BEYOND[beyond]
    model, driver, options, _ = KINDS[kind]
    microscope = Scripted(model)
    device = driver(serve(microscope).address, **options).connect()
    before = len(microscope.sent)
    force(device, microscope)
    if "new" in door:
        device.scpi.link.close()
    with pytest.raises((ValueError, InstrumentError)) as caught:
        device.trigger("t1") if door == "trigger" else device.measure(place, "t1")
    assert len(str(caught.value)) > 30
    assert microscope.acts() == []
    harmful = ("BIAS:WAV", "BAND", "BEAM:UNBL", "PULS", "MOVE 2e-06")
    assert not any(line.startswith(harmful) for line in microscope.sent[before:])
    device.close()


@pytest.mark.parametrize(
    "limits",
    [
        {"bias": (1.0, 80.0)},
        {"bias": (-80.0, 1.0)},
        {"bias": (1.0, math.nan)},
        {"log_duration": (-3.0, 300.0)},
        {"log_duration": (-300.0, 2.0)},
    ],
)
def test_pulses_outside_are_refused_by_constructor_and_attribute(limits):
    with pytest.raises(ValueError, match="axis"):
        DomainWriter(NOWHERE, **limits)
    device = DomainWriter(NOWHERE)
    if not any(math.isnan(v) for pair in limits.values() for v in pair):
        wide = (
            Axis("bias", "V", *limits.get("bias", (1.0, 10.0))),
            Axis("log10 duration", "log10(s)", *limits.get("log_duration", (-3.0, 2.0))),
        )
        with pytest.raises(ValueError, match="own limits"):
            device.axes = wide
    with pytest.raises(ValueError, match="two axes"):
        device.axes = AXES


def test_axes_given_later_stay_within_the_instrument(serve):
    wide = [Axis(n, "m", 0.0, 2e-6) for n in "xy"]
    with PFM(serve(Scripted("PFM")).address, AXES, points=16) as device:
        with pytest.raises(DeviceError, match="narrow the axis"):
            device.axes = wide
        assert device.axes == AXES
    with DomainWriter(serve(Scripted("PFM")).address) as writer, pytest.raises(DeviceError, match="narrow the axis"):
        writer.axes = (Axis("bias", "V", 1.0, 12.0), writer.axes[1])


def test_a_band_ends_within_the_limit():
    with pytest.raises(ValueError, match="band"):
        made(BandExcitation, centre=9.99e6, width=1e6)
    with pytest.raises(ValueError, match="settle_s"):
        Axis("x", "m", 0.0, 1.0, settle_s=1e300)


@pytest.mark.parametrize("address", ["tcp://h:99999999", "tcp://[::1", "tcp://h:-1", "tcp://h", "udp://h:1"])
def test_an_address_that_is_none_says_what_to_write(address):
    with pytest.raises(ValueError, match=re.escape("write tcp://host:port")):
        open_link(address)


NO_NUMBERS = ["nan", "9.91E37", "inf", "-9.9e37", "1e999", "1,2,3,4,5,6,7", "0,nan", "nan,nan,nan,nan", "x", "1;2"]
AT_CONNECTION = {  # what each driver asks for, and numbers that make no sense there
    "pfm": {"LIM?": ["0", "0,0,0,0", "1,0,0,1", "0,1,0"], "LOOP:RAIL?": ["0", "-1"]},
    "band": {"LIM?": ["0", "0,1e-6"], "SCAN:PIX?": ["1", "0,4", "1,0.5", "1,1e9", "-1,4"]},
    "writer": {
        "PULS:LIM?": ["0", "1,10,0,100", "10,1,0.001,100", "1,10,100,1"],
        "IMAG:PIX?": ["0,4", "1,-4", "1,1e300"],
    },
    "stem": {
        "LIM?": ["0"],
        "DOSE:SHOT?": ["0", "0,0", "-1,5", "1e300,1"],
        "DOSE:SCAN?": ["0", "-1", "1e300", "1,2"],
        "SCAN:PIX?": ["1,1e300"],
        "DIFF:PIX?": ["0,4"],
    },
}
AT_EVERY_ACT = {
    "pfm": {"POS?": ["0"], "BIAS?": ["1", "0,0"], "BIAS:WAV?": ["0", "0,0", "8,16,0"]},
    "band": {"POS?": ["0,0,0"], "BIAS?": ["-1"], "BAND?": ["0", "0,0,0"]},
    "writer": {"BIAS?": ["1e-3"]},
    "stem": {"POS?": ["0"], "DOSE?": ["-1", "1,2"], "DOSE:SHOT?": ["0", "0,0"], "DOSE:SCAN?": ["0", "1,2"]},
}


def cases(table):
    return [(kind, query) for kind, queries in table.items() for query in queries]


@pytest.mark.parametrize(("kind", "query"), cases(AT_CONNECTION))
def test_an_answer_by_which_nothing_can_be_judged_keeps_from_connecting(serve, kind, query):
    model, driver, options, _ = KINDS[kind]
    microscope = Scripted(model)
    server = serve(microscope)
    for answer in NO_NUMBERS + AT_CONNECTION[kind][query]:
        microscope.answers[query] = answer
        device = driver(server.address, **options)
        with pytest.raises((DeviceError, BadFrame), match=r"answered|tell|limits are|exposes|saturates"):
            device.connect()
        assert not device.scpi.link.alive


@pytest.mark.parametrize(("kind", "query"), cases(AT_EVERY_ACT))
def test_an_answer_by_which_nothing_can_be_judged_keeps_from_acting(serve, kind, query):
    model, driver, options, place = KINDS[kind]
    microscope = Scripted(model)
    honest = microscope.answers[query]
    with driver(serve(microscope).address, **options) as device:
        device.scpi.pause_s = 0.0
        for answer in NO_NUMBERS + AT_EVERY_ACT[kind][query]:
            microscope.answers[query] = answer
            with pytest.raises(InstrumentError) as caught:
                device.measure(place, "t1")
            assert len(str(caught.value)) > 30  # words, and not of Python
            microscope.answers[query] = honest
            device.connect()
        assert microscope.acts() == []
        assert device.measure(place, "t1").ok


@pytest.mark.parametrize("answer", ["nan", "inf", "9.91e37", "-1", "1,2", "0"])
def test_a_dose_that_is_no_dose_exposes_nothing(serve, answer):
    microscope = Scripted("STEM")
    microscope.dose = 100.0
    with STEM(serve(microscope).address, AXES, dose_budget=1500.0) as scope:
        assert scope.measure(PLACE, "t1").ok
        before = microscope.acts()
        with pytest.raises(DoseSpent):
            scope.measure(PLACE, "t2")
        with pytest.raises(DoseSpent):
            scope.image()
        microscope.answers["DOSE?"] = answer  # "0": a counter that was set back would open the budget again
        for act in (lambda: scope.measure(PLACE, "t3"), scope.image, scope.shots_left):
            with pytest.raises(DeviceError, match=r"DOSE\?|counter"):
                act()
        assert microscope.acts() == before


def test_without_a_budget_the_limit_of_the_driver_holds(serve):
    microscope = Scripted("STEM")
    microscope.dose = 9.999999e14
    with STEM(serve(microscope).address, AXES) as scope:
        assert scope.dose_budget == STEM.MAX_DOSE
        assert scope.shots_left() == 100_000
        microscope.dose = 1e15
        with pytest.raises(DoseSpent):
            scope.measure(PLACE, "t1")
    strong = Scripted("STEM")
    with pytest.raises(DeviceError, match="Reduce the current"):
        STEM(serve(strong).address, AXES, max_shot=999.0).connect()
    assert strong.acts() == []


def test_energies_are_numbers(serve):
    microscope = Scripted("STEM")
    for energies in ([1.0, np.nan, 3.0], []):
        microscope.answers["EELS:ENER?"] = block(energies, "<f8")
        with pytest.raises(DeviceError, match="energies"):
            STEM(serve(microscope).address, AXES).connect()


@pytest.mark.parametrize("answer", ["nan", "1,2", "-1"])
def test_the_dose_of_a_position_that_is_not_told_fails_the_measurement(serve, answer):
    microscope = Scripted("STEM")
    microscope.answers["SHOT:DOSE?"] = answer
    with STEM(serve(microscope).address, AXES) as scope:
        measurement = scope.measure(PLACE, "t1")
    assert measurement.flags == ("dose",)
    assert measurement.arrays["counts"].size == 6
    assert np.isnan(measurement.arrays["dose"])


@pytest.mark.parametrize("answer", ["", "nan", "1", "1,2,3", "5,3", "-1,3", "1;2"])
def test_cells_that_make_no_sense(serve, answer):
    microscope = Scripted("PFM")
    with DomainWriter(serve(microscope).address, timeout_s=0.2) as writer:
        assert writer.cells_left() == 97
        microscope.answers["FILM:CELL?"] = answer or None
        with pytest.raises(InstrumentError):
            writer.cells_left()


@pytest.mark.parametrize(("kind", "query"), [("stem", "SHOT:USED?"), ("writer", "PULS:USED?")])
def test_whether_a_token_was_used_is_yes_or_no(serve, kind, query):
    model, driver, options, place = KINDS[kind]
    microscope = Scripted(model)
    microscope.answers[query] = "perhaps"
    with driver(serve(microscope).address, **options) as device, pytest.raises(DeviceError, match="0 or 1"):
        device.measure(place, "t1")
    assert microscope.acts() == []


@pytest.mark.parametrize("missing", ["_check_settings", "_perform", "_fetch", "_fire"])
def test_a_driver_that_leaves_out_what_makes_it_one_can_not_be_made(missing):
    does = {name: vars(PFM)[name] for name in ("_check_settings", "_perform", "_fetch", "_fire") if name != missing}
    unfinished = type("Unfinished", (Stage,), {"model": "PFM", "act": "loop", "word": "LOOP", **does})
    with pytest.raises(TypeError, match=missing):
        unfinished(NOWHERE, AXES, 1.0, 1.0, None, None)
