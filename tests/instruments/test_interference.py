"""Safe before anything else; what acts on the sample is read back and compared; somebody else is noticed."""

import numpy as np
import pytest
from gpax_instruments.drivers import PFM, STEM, DomainWriter
from gpax_instruments.errors import DeviceError, DoseSpent, Interference, LinkTimeout, PulseLost, UnknownOutcome
from gpax_instruments.twins import start_pfm, start_stem
from scripted import AXES, KINDS, PLACE, Scripted, impatient, wave_of

from gpax_lab.core import MoveRefused
from gpax_lab.spectra.loops import triangle


@pytest.fixture
def bench(serve):
    """bench(kind, **options) -> (driver, microscope, place)."""
    drivers = []

    def make(kind, microscope=None, **options):
        model, driver, usual, place = KINDS[kind]
        microscope = microscope or Scripted(model)
        drivers.append(driver(serve(microscope).address, **({"timeout_s": 30.0} | usual | options)))
        return drivers[-1], microscope, place

    yield make
    for driver in drivers:
        driver.close()


@pytest.mark.parametrize("kind", KINDS)
def test_connect_makes_safe_before_anything_else(bench, kind):
    driver, microscope, place = bench(kind)
    assert (microscope.tip, microscope.beam, microscope.bias) == ("ENGAGED", "UNBLANKED", 3.0)  # a program was killed
    driver.connect()
    assert microscope.sent[0] == "SAFE"
    assert (microscope.tip, microscope.beam, microscope.bias) == ("WITHDRAWN", "BLANKED", 0.0)
    assert driver.measure(place, "t1").ok
    microscope.tip, microscope.beam, microscope.bias, asked = "ENGAGED", "UNBLANKED", 3.0, len(microscope.sent)
    driver.connect()  # over a link that is open
    assert microscope.sent[asked] == "SAFE"
    assert (microscope.tip, microscope.beam, microscope.bias) == ("WITHDRAWN", "BLANKED", 0.0)


@pytest.mark.parametrize("kind", KINDS)
def test_so_does_a_first_measurement_without_connect_but_no_later_connection(bench, kind):
    driver, microscope, place = bench(kind)
    driver.measure(place, "t1")
    assert microscope.sent[0] == "SAFE"
    assert microscope.sent.count("SAFE") == 1
    driver.scpi.link.close()  # broken: perhaps in the middle of a pulse, which SAFE would cut
    driver.measure(place, "t2")
    assert microscope.sent.count("SAFE") == 1
    assert len(microscope.acts()) == 2


@pytest.mark.parametrize("kind", KINDS)
def test_limits_that_do_not_fit_do_not_keep_connect_from_making_safe(bench, kind):
    driver, microscope, _ = bench(kind)
    microscope.answers["LIM?"], microscope.answers["PULS:LIM?"] = "0,1e-9,0,1e-9", "1,2,0.001,100"
    with pytest.raises(DeviceError, match="narrow the axis"):
        driver.connect()
    assert (microscope.tip, microscope.beam, microscope.bias) == ("WITHDRAWN", "BLANKED", 0.0)


@pytest.mark.parametrize("kind", KINDS)
def test_what_does_not_get_safe_is_not_connected(bench, kind):
    driver, microscope, _ = bench(kind)
    microscope.answers |= {"TIP?": "ENGAGED", "BEAM?": "UNBLANKED"}
    with pytest.raises(DeviceError, match="by hand"):
        driver.connect()
    assert microscope.acts() == []


def set_another(kind, microscope):
    """What another program does to what acts on the sample."""
    match kind:
        case "pfm":
            microscope.wave = [10.0, 16.0]
        case "band":
            microscope.band = [2e5, 1e4, 64.0]
        case "stem":
            microscope.answers["DOSE:SHOT?"] = "2000,100"
        case "writer":
            microscope.bias = 4.0


@pytest.mark.parametrize("kind", KINDS)
def test_another_setting_is_noticed_before_the_sample_feels_it(bench, kind):
    driver, microscope, place = bench(kind)
    assert driver.measure(place, "t1").ok
    set_another(kind, microscope)
    before = microscope.acts()
    with pytest.raises(Interference, match="program"):
        driver.measure(place, "t2")
    assert microscope.acts() == before
    assert (microscope.tip, microscope.beam, microscope.bias) == ("WITHDRAWN", "BLANKED", 0.0)


@pytest.mark.parametrize("kind", ["pfm", "band", "writer"])
def test_a_constant_bias_is_noticed_before_the_tip_goes_down(bench, kind):
    driver, microscope, place = bench(kind)
    driver.connect()
    for bias in ("4.0", "nan"):
        microscope.answers["BIAS?"] = bias
        with pytest.raises(DeviceError):
            driver.measure(place, "t1")
    assert microscope.acts() == []
    assert microscope.tip == "WITHDRAWN"


SNEAKS = {"pfm": "MEAS:LOOP", "band": "MEAS:BAND", "stem": "MEAS:EELS"}


@pytest.mark.parametrize("kind", SNEAKS)
def test_a_setting_that_changes_between_read_back_and_act_fails_the_measurement_and_ends_the_campaign(bench, kind):
    driver, microscope, place = bench(kind)
    driver.measure(place, "t1")
    microscope.before[SNEAKS[kind]] = lambda: set_another(kind, microscope)
    measurement = driver.measure(place, "t2")
    assert not measurement.ok
    assert "interference" in measurement.flags
    assert measurement.reason
    assert "othing was" not in measurement.reason  # it was: the change is seen in what came home, or after the act
    assert measurement.arrays  # kept as evidence
    assert (microscope.tip, microscope.beam, microscope.bias) == ("WITHDRAWN", "BLANKED", 0.0)
    acts = microscope.acts()
    with pytest.raises(Interference, match="connect again"):
        driver.measure(place, "t3")
    assert microscope.acts() == acts
    microscope.before.clear()
    if kind != "stem":  # its dose is another one still
        assert driver.connect().measure(place, "t4").ok


def test_the_bias_that_was_applied_is_told_in_volts(bench):
    driver, microscope, place = bench("pfm", vmax=2.0)
    microscope.before["MEAS:LOOP"] = lambda: set_another("pfm", microscope)
    measurement = driver.measure(place, "t1")
    assert "10 V" in measurement.reason
    assert "2 V" in measurement.reason


@pytest.mark.parametrize(("gain", "ok"), [(1.0, True), (1.005, True), (1.03, False), (-1.0, False), (0.0, False)])
def test_a_waveform_is_compared_as_a_whole_within_the_error_of_a_calibration(bench, gain, ok):
    driver, microscope, place = bench("pfm", points=18)  # its samples miss the corners
    bias = gain * wave_of(8.0, 18)
    np.testing.assert_allclose(wave_of(8.0, 18), np.asarray(triangle(8.0, 18)), atol=1e-5)
    microscope.answers["LOOP:BIAS?"] = lambda _: b"#3144" + bias.astype("<f8").tobytes()
    assert driver.measure(place, "t1").ok is ok


def test_another_pulse_than_was_sent_ends_the_campaign(bench):
    driver, microscope, place = bench("writer")
    microscope.answers["PULS?"] = "7.0,0.1"
    measurement = driver.measure(place, "t1")
    assert set(measurement.flags) == {"elsewhere", "interference"}
    assert microscope.tip == "WITHDRAWN"
    with pytest.raises(Interference):
        driver.measure(place, "t2")


@pytest.mark.parametrize("kind", KINDS)
def test_a_second_program_that_measures_is_noticed(bench, kind):
    driver, microscope, place = bench(kind)
    microscope.token = "of-an-earlier-campaign"
    driver.measure(place, "t1")
    driver.measure(place, "t2")
    microscope.token = "theirs"
    before = microscope.acts()
    with pytest.raises(Interference, match="'theirs'"):
        driver.measure(place, "t3")
    assert microscope.acts() == before
    assert driver.connect().measure(place, "t3").ok  # the user has looked, and says so


@pytest.mark.parametrize(("kind", "data"), [("pfm", "LOOP:DATA?"), ("writer", "IMAG:DATA?"), ("band", "BAND:DATA?")])
def test_numbers_that_may_be_of_the_other_program_are_no_measurement(bench, kind, data):
    driver, microscope, place = bench(kind)
    honest = microscope.answers[data]

    def late(argument):
        microscope.token = "theirs"
        return honest(argument) if callable(honest) else honest

    microscope.answers[data] = late
    measurement = driver.measure(place, "t1")
    assert not measurement.ok
    assert "theirs" in measurement.reason
    with pytest.raises(Interference):
        driver.measure(place, "t2")


def test_a_beam_that_somebody_moved_before_the_shot_is_not_believed(bench):
    driver, microscope, place = bench("stem")
    microscope.before["MEAS:EELS"] = lambda: setattr(microscope, "position", [1e-7, 1e-7])
    with pytest.raises(MoveRefused, match="reads"):
        driver.measure(place, "t1")
    assert microscope.beam == "BLANKED"


def refuse_to_park(microscope):
    """The second move is refused, as the instrument tells in its queue of errors."""
    obey, moves = microscope.one, []

    def one(word, argument):
        if word == "MOVE":
            moves.append(argument)
            if len(moves) == 2:
                microscope.answers["SYST:ERR?"] = lambda _: told.pop(0)
                told = ['-222,"Data out of range"'] + 10 * ['0,"No error"']
                return None
        return obey(word, argument)

    microscope.one = one


def test_a_shot_is_kept_where_the_beam_is_refused_its_way_to_the_parking_place(bench):
    driver, microscope, place = bench("stem", park=(0.0, 0.0))
    driver.connect()
    refuse_to_park(microscope)
    measurement = driver.measure(place, "t1")
    assert (measurement.ok, measurement.flags) == (True, ("not parked",))
    np.testing.assert_array_equal(measurement.arrays["counts"], np.ones(6))
    np.testing.assert_array_equal(measurement.position, place)
    assert microscope.beam == "BLANKED"
    assert driver.measure(place, "t2").flags == ()


def test_a_loop_that_the_instrument_holds_is_read_wherever_the_stage_has_gone_since(bench):
    driver, microscope, place = bench("pfm")
    driver.measure(place, "t1")
    microscope.position = [1e-7, 1e-7]
    measurement = driver.connect().measure(place, "t1")
    assert (measurement.ok, measurement.flags) == (True, ())
    np.testing.assert_array_equal(measurement.position, place)
    assert microscope.names() == ["t1"]
    microscope.before["MEAS:LOOP"] = lambda: setattr(microscope, "position", [1e-7, 1e-7])
    with pytest.raises(MoveRefused, match="reads"):  # one that was just asked for is where it was sent, or nowhere
        driver.measure(place, "t2")


def test_a_loop_from_before_the_amplitude_was_narrowed_is_no_interference(bench):
    killed, microscope, place = bench("pfm", vmax=8.0)
    killed.measure(place, "t1")
    killed.close()
    driver = PFM(killed.address, AXES, vmax=4.0, points=16, timeout_s=30.0)
    measurement = driver.measure(place, "t1")
    assert (measurement.ok, measurement.reason, measurement.flags) == (True, "", ("waveform",))
    assert np.max(np.abs(measurement.arrays["bias"])) == 8.0
    assert driver.measure(place, "t2").flags == ()
    assert microscope.applied == [4.0, 16.0]
    driver.close()


def test_another_waveform_is_noticed_too_where_the_link_broke_before_it_was_read(bench):
    driver, microscope, place = bench("pfm")
    driver.connect()
    microscope.before["MEAS:LOOP"] = lambda: set_another("pfm", microscope)
    honest = microscope.answers["LOOP:DATA?"]
    microscope.answers["LOOP:DATA?"] = None
    with pytest.raises(LinkTimeout), impatient(driver, "FORM:BORD"):
        driver.measure(place, "t1")
    microscope.answers["LOOP:DATA?"] = honest
    measurement = driver.measure(place, "t1")
    assert (measurement.ok, measurement.flags) == (False, ("interference",))
    assert microscope.names() == ["t1"]


def test_a_bias_that_is_set_during_the_move_keeps_the_tip_up(bench):
    driver, microscope, place = bench("pfm")
    driver.connect()
    microscope.before["MOVE"] = lambda: setattr(microscope, "bias", 10.0)
    with pytest.raises(Interference, match=r"10\.0 V"):
        driver.measure(place, "t1")
    assert "TIP:ENG" not in microscope.sent
    assert microscope.acts() == []
    assert (microscope.tip, microscope.bias) == ("WITHDRAWN", 0.0)


@pytest.mark.parametrize("door", ["measure", "trigger", "image"])
def test_a_beam_that_another_program_left_on_is_off_when_the_budget_is_spent(bench, door):
    driver, microscope, place = bench("stem", dose_budget=1400.0)
    driver.measure(place, "t1")
    microscope.beam, acts = "UNBLANKED", microscope.acts()
    acting = {"measure": lambda: driver.measure(place, "t2"), "trigger": lambda: driver.trigger("t2")}
    with pytest.raises(DoseSpent, match="nothing was exposed"):
        acting.get(door, driver.image)()
    assert microscope.beam == "BLANKED"
    assert microscope.acts() == acts


def test_an_amplitude_that_this_program_changes_is_sent_and_not_taken_for_another_program(bench):
    driver, microscope, place = bench("pfm")
    driver.measure(place, "t1")
    driver.vmax = 3.0
    assert driver.measure(place, "t2").ok
    assert microscope.applied == [3.0, 16.0]


def test_an_unknown_outcome_of_our_own_is_not_taken_for_another_program(bench):
    driver, microscope, place = bench("pfm")
    driver.measure(place, "t1")
    microscope.before["MEAS:LOOP"] = lambda: setattr(microscope, "deaf", True)
    with pytest.raises(UnknownOutcome), impatient(driver, "MEAS:LOOP"):
        driver.measure(place, "t2")
    microscope.before.clear()
    microscope.deaf = False
    assert driver.measure(place, "t3").ok


def test_a_beam_left_on_is_off_at_once_and_the_dose_stops():
    with start_stem(seed=1) as twin, STEM(twin.address, _small()) as killed:
        assert killed.scpi.query("BEAM:UNBL;BEAM?") == "UNBLANKED"  # done before the other connection is opened
        killed.close()
        scope = STEM(twin.address, _small()).connect()
        dose = scope.dose()
        assert scope.scpi.query("BEAM?") == "BLANKED"
        assert scope.dose() == dose
        scope.close()


def _small():
    return [type(axis)(axis.name, "m", 0.0, 1e-7) for axis in AXES]


def test_two_programs_on_one_simulated_microscope():
    with (
        start_pfm(seed=1, law="thermodynamic") as twin,
        PFM(twin.address, AXES, vmax=2.0) as ours,
        PFM(twin.address, AXES, vmax=10.0) as theirs,  # sets its own waveform
        DomainWriter(twin.address) as writer,
    ):
        with pytest.raises(Interference, match="its waveform is"):
            ours.measure(PLACE, "ours-1")
        assert theirs.measure(PLACE, "theirs-1").ok
        ours.connect()
        with pytest.raises(Interference, match="its waveform is"):
            theirs.measure(PLACE, "theirs-2")
        assert ours.measure(PLACE, "ours-2").ok
        ours.scpi.write("BIAS 5")
        with pytest.raises(Interference, match=r"5\.0 V"):
            writer.measure((5.0, -1.0), "w-1")
        assert writer.measure((5.0, -1.0), "w-1").ok  # it made safe


def test_a_loop_that_was_cut_off_costs_its_point_alone():
    with start_pfm(seed=1, dwell=30.0) as twin:
        killed = PFM(twin.address, AXES).connect()
        killed.scpi.write('MEAS:LOOP "cut"')
        assert killed.scpi.query("STAT?") == "BUSY"
        killed.close()
        again = PFM(twin.address, AXES).connect()
        assert again.scpi.query("STAT?;TIP?") == "IDLE;WITHDRAWN"
        with pytest.raises(PulseLost, match="cut off") as caught:
            again.measure(PLACE, "cut")
        assert caught.value.point_failed
        again.close()


def test_a_link_that_breaks_before_the_safe_state_is_tried_again(bench):
    driver, microscope, _ = bench("stem")
    name, calls = microscope.answers["*IDN?"], []
    microscope.answers["*IDN?"] = lambda _: calls.append(None) or (name if len(calls) > 2 else "\x01")
    driver.connect()
    assert microscope.beam == "BLANKED"
    assert len(calls) >= 3
