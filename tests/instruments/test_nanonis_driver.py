"""The driver of a Nanonis controller against the simulated one."""

import json
import threading

import numpy as np
import pytest
from gpax_instruments._nanonis_commands import COMMANDS, R13742
from gpax_instruments.drivers import Nanonis
from gpax_instruments.drivers._nanonis_axes import Frame
from gpax_instruments.errors import DeviceError, Interference, LinkLost, PulseLost, UnknownOutcome
from gpax_instruments.twins import _tunnelling as tunnelling
from gpax_instruments.twins import start_nanonis
from gpax_instruments.twins._nanonis_world import RANGE_M
from nanonis_ports import AMPLE, LATENESS, arm, client_of
from scripted import eventually

from gpax_lab.core import Axis, Instrument, MoveRefused
from gpax_lab.spectra import sts

SIDE = 9e-7
XY = (Axis("x", "m", -SIDE, SIDE, tolerance=1e-9), Axis("y", "m", -SIDE, SIDE, tolerance=1e-9))
PULSE = (Axis("pulse", "V", 1.0, 8.0), Axis("width", "log10(s)", -3.0, 0.0))
HERE, THERE = np.array([2e-7, -3e-7]), np.array([-5e-7, 1e-7])
SPECTRUM = {"channels": ("Current", "LI Demod 1 X (A)"), "lockin_amplitude": 0.01, "sweep": (-1.5, 1.5), "points": 301}


class Bench:
    """A twin with its ledger and its log of the wire."""

    def __init__(self, folder, **options):
        self.ledger_file, self.wire_file = folder / "ledger", folder / "wire"
        self.options = {"seed": 1, "ports": 3, "ledger": self.ledger_file, "wire_log": self.wire_file} | options
        self.twin = start_nanonis(**self.options)
        self.surface = tunnelling.Surface(1, RANGE_M[0])

    def driver(self, axes=XY, **options):
        return Nanonis(self.twin.address, axes, **{"bias": 1.2, "setpoint": 1e-10, "timeout_s": AMPLE} | options)

    def acts(self, kind):
        lines = self.ledger_file.read_text().splitlines() if self.ledger_file.exists() else []
        return [entry for entry in map(json.loads, lines) if entry["act"] == kind]

    def wire(self):
        """Names of the commands received, in order."""
        return [line.split()[2] for line in self.wire_file.read_text().splitlines()]

    def other(self):
        """Somebody else's client, at the third port."""
        return client_of(self.twin, 2)


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    one = Bench(tmp_path_factory.mktemp("nanonis"))
    yield one
    crashes = one.acts("crash")
    one.twin.stop()
    assert crashes == []  # in no test of this file


@pytest.fixture(autouse=True)
def calm(request):
    if "bench" in request.fixturenames:
        with request.getfixturevalue("bench").other() as client:
            arm(client, "CLEAR")
            client.call("FolMe.XYPosSet", 0.0, 0.0, 1)
            client.call("Scan.FrameSet", 0.0, 0.0, 1e-6, 1e-6, 0.0)
            client.call("Scan.PropsSet", 0, 0, 0, "image", "", ["Current"], 0)


def test_a_spectrum_has_the_gap_that_the_film_has_there(bench):
    with bench.driver(**SPECTRUM) as scope:
        assert isinstance(scope, Instrument)
        assert "R14718" in scope.identity()
        for k, x in enumerate((HERE, THERE)):
            measurement = scope.measure(x, f"gap-{k}")
            assert measurement.ok
            np.testing.assert_allclose(measurement.position, x, atol=2e-11)
            assert set(measurement.arrays) == {"bias", "current", "li_demod_1_x", "conductance"}
            assert measurement.units == {"bias": "V", "current": "A", "li_demod_1_x": "A", "conductance": "A/V"}
            site = bench.surface.sites(measurement.position[None])
            # The controller holds the height of 100 pA at 1.2 V, so that the conductance is known in A/V.
            z = tunnelling.height_for(site.gap[0], 1.2, 1e-10)
            scale = tunnelling.CONTACT_S * np.exp(-2 * tunnelling.KAPPA * z)
            bias, conductance = (measurement.arrays[name].astype(float) for name in ("bias", "conductance"))
            noise = 0.002 * np.max(conductance)
            found = sts.gap(bias, conductance, 0.5 * scale, noise)
            truth = tunnelling.gap_width(site.gap[0], 0.5)
            assert abs(float(found.width) - truth) < 4 * float(found.width_variance) ** 0.5 + 2e-3


def test_nothing_is_sent_to_a_place_outside(bench):
    with bench.driver() as scope:
        before = scope.client.link.sent, scope._safe_client.link.sent
        for bad in (np.nan, np.inf, -np.inf, 1.01 * SIDE, -1.01 * SIDE, 1e300, "1e-7", None, True):
            for x in ([bad, 0.0], [0.0, bad]):
                with pytest.raises(MoveRefused, match="nothing was sent"):
                    scope.measure(np.array(x, dtype=object), "outside")
        for x in (0.0, [0.0], [0.0, 0.0, 0.0]):
            with pytest.raises(MoveRefused):
                scope.measure(x, "outside")
        with pytest.raises(ValueError, match="token"):
            scope.measure(HERE, 'a "token"')
        assert (scope.client.link.sent, scope._safe_client.link.sent) == before


def test_axes_beyond_the_range_of_the_scanner_are_told(bench):
    wide = (Axis("x", "m", -1.1e-6, 0.0), XY[1])
    with pytest.raises(DeviceError, match="narrow the axes"):
        bench.driver(wide).connect()
    whole = tuple(Axis(name, "m", -1e-6, 1e-6) for name in "xy")
    with bench.driver(whole) as scope:  # half of the range, told in single precision
        assert scope.measure([1e-6, -1e-6], "corner").ok


def test_the_range_is_asked_for_again_after_the_link_was_lost(bench, monkeypatch):
    with bench.driver() as scope:
        call = scope.client.call
        halved = lambda name, *v, **o: [1e-6, 1e-6, 1e-7] if name == "Piezo.RangeGet" else call(name, *v, **o)  # noqa: E731
        monkeypatch.setattr(scope.client, "call", halved)
        scope.client.close()
        with pytest.raises(DeviceError, match="narrow the axes"):
            scope.measure(HERE, "narrowed")


def test_a_refused_move_costs_the_point_alone(bench):
    with bench.driver() as scope:
        with bench.other() as client:
            arm(client, "REFUSE")
        with pytest.raises(MoveRefused, match="outside the piezo range"):
            scope.measure(HERE, "refused")
        assert scope.measure(HERE, "allowed").ok


def test_a_move_that_is_acknowledged_and_not_made_is_found(bench, monkeypatch):
    with bench.driver() as scope:
        scope.measure(THERE, "before")
        call = scope.client.call
        monkeypatch.setattr(
            scope.client, "call", lambda name, *v, **o: [] if "XYPosSet" in name else call(name, *v, **o)
        )
        with pytest.raises(MoveRefused, match="reads"):
            scope.measure(HERE, "still-there")


def test_what_the_controller_makes_of_a_setting_is_told(bench):
    with pytest.raises(DeviceError, match=r"made .* of it"):
        bench.driver(mode="image", pixels=100).connect()
    with pytest.raises(DeviceError, match=r"\[0, 1, 0, 4096.*made|made \[0, 1, 0, 4096"):
        bench.driver(points=5000).connect()
    with pytest.raises(DeviceError, match="no signal 'Currant'"):
        bench.driver(channels=("Currant",)).connect()
    with pytest.raises(DeviceError, match="LI Demod 1 X"):
        bench.driver(channels=("LI Demod 9 X",)).connect()


def test_it_leaves_the_tip_withdrawn_and_the_bias_at_zero_in_this_order(bench):
    with bench.driver() as scope:
        scope.measure(HERE, "left-safe")
        start = len(bench.wire())
    wire = bench.wire()[start:]
    assert wire.index("BiasSpectr.Stop") < wire.index("ZCtrl.Withdraw") < wire.index("Bias.Set")
    assert {"FolMe.Stop", "Scan.Action"} <= set(wire)
    with bench.other() as client:
        assert (client.call("ZCtrl.StatusGet"), client.call("Bias.Get")) == ([1], [0.0])
    assert set(bench.wire()) <= {*COMMANDS, "Twin.Fault"}


def test_it_is_made_safe_before_anything_else_whatever_was_left(bench):
    with bench.other() as client:
        client.call("Bias.Set", 2.0)
        client.call("ZCtrl.OnOffSet", 1)
    start = len(bench.wire())
    with bench.driver():
        names = [name for name in bench.wire()[start:] if name != "Util.VersionGet"]
        assert names[0] == "BiasSpectr.Stop"
        assert "Bias.Set" in names[: names.index("Piezo.RangeGet")]


def test_a_tip_that_does_not_withdraw_keeps_its_bias_and_is_told(bench, monkeypatch):
    """Without a bias a controller that is still on would drive the tip into the surface."""
    with bench.driver() as scope:
        scope.measure(HERE, "stuck")
        safe, call = scope._safe_client, scope._safe_client.call

        def refusing(name, *values, **options):
            if name == "ZCtrl.Withdraw":
                raise DeviceError("ZCtrl.Withdraw was refused: NeedModule")
            return call(name, *values, **options)

        monkeypatch.setattr(safe, "call", refusing)
        with pytest.raises(DeviceError, match=r"not safe: .* on, the bias 1\.2.*NeedModule"):
            scope.make_safe()
        monkeypatch.undo()


def test_a_module_that_is_closed_keeps_no_other_from_the_safe_state(bench):
    with bench.driver() as scope:
        scope.measure(HERE, "closed-module")
        with bench.other() as client:
            arm(client, "MODULE")
        scope.make_safe()
        assert scope._unsafe(scope._safe_client) == ""


@pytest.fixture(scope="module")
def slow(tmp_path_factory):
    one = Bench(tmp_path_factory.mktemp("slow"), dwell=LATENESS)
    yield one
    one.twin.stop()


def test_it_is_made_safe_while_a_spectrum_holds_the_first_port(slow):
    problems = []
    with slow.driver(busy_timeout_s=LATENESS) as scope:

        def measure():
            try:
                scope.measure(HERE, "held")
            except DeviceError as error:
                problems.append(str(error))

        thread = threading.Thread(target=measure)
        thread.start()
        with slow.other() as client:
            assert eventually(lambda: client.call("BiasSpectr.StatusGet") == [1])
            scope.make_safe()
            thread.join(AMPLE)
            assert not thread.is_alive()
            assert (client.call("ZCtrl.StatusGet"), client.call("Bias.Get")) == ([1], [0.0])
    assert "stopped" in problems[0]
    assert [act["cut"] for act in slow.acts("spectrum")] == [True]


def test_the_spectrum_of_a_token_is_read_from_its_file_and_not_taken_again(bench):
    with bench.driver(**SPECTRUM) as scope:
        first = scope.measure(HERE, "once:1")
    with bench.driver(**SPECTRUM) as scope:
        assert scope.remembers_token
        again = scope.measure(HERE, "once:1")
        for name, values in first.arrays.items():
            np.testing.assert_array_equal(again.arrays[name], values, err_msg=name)
        np.testing.assert_allclose(again.position, first.position, atol=1e-14)
        elsewhere = scope.measure(THERE, "once:1")
        assert (elsewhere.ok, elsewhere.flags) == (False, ("elsewhere",))
    assert [act["name"] for act in bench.acts("spectrum")].count("once-1") == 1


@pytest.mark.parametrize("fault", ["DROP", "HALF", "JUNK", "ECHO", "DUP", "SHORT", "STALL", "LATE"])
def test_a_fault_in_the_answer_of_a_spectrum_costs_no_second_one(bench, fault):
    token = f"fault-{fault}"
    with bench.driver() as scope:
        scope.measure(HERE, f"first-{fault}")
        call = scope.client.call

        def armed(name, *values, **options):
            if name == "BiasSpectr.Start":
                with bench.other() as client:
                    arm(client, fault)
                scope.client.call = call
                scope.client.timeout_s, options["wait_s"] = 0.3, 0.0
            try:
                return call(name, *values, **options)
            finally:
                scope.client.timeout_s = AMPLE

        scope.client.call = armed
        assert scope.measure(HERE, token).ok
    assert [act["name"] for act in bench.acts("spectrum")].count(token) == 1


def test_bad_numbers_are_a_reading_that_says_so(bench):
    with bench.driver() as scope:
        for fault, flag in (("NAN", "nan"), ("SAT", "saturated")):
            with bench.other() as client:
                arm(client, fault)
            measurement = scope.measure(HERE, f"bad-{fault}")
            assert (measurement.ok, measurement.flags) == (False, (flag,))
        assert scope.measure(HERE, "good").ok


def pulses_of(bench):
    return len(bench.acts("pulse"))


def test_a_pulse_is_given_once_whatever_happens(bench):
    before, x = pulses_of(bench), [*HERE, 5.0, -2.0]
    with bench.driver((*XY, *PULSE)) as scope:
        assert not scope.repeatable
        assert scope.measure(x, "pulse-1").ok
        assert scope.remembers_token
        last = bench.acts("pulse")[-1]
        np.testing.assert_allclose([last["bias"], last["width"]], [5.0, 0.01], rtol=1e-6)
        assert pulses_of(bench) == before + 1
        call = scope.client.call

        def armed(name, *values, **options):
            if name == "Bias.Pulse":
                with bench.other() as client:
                    arm(client, "DROP")
            return call(name, *values, **options)

        scope.client.call = armed
        with pytest.raises(UnknownOutcome, match="look at the sample"):
            scope.measure(x, "pulse-2")
        assert pulses_of(bench) == before + 2
    with bench.driver((*XY, *PULSE)) as scope:  # a new program
        assert scope.remembers_token
        with pytest.raises(PulseLost, match="had begun"):
            scope.measure(x, "pulse-2")
        assert pulses_of(bench) == before + 2
        assert scope.measure(x, "pulse-3").ok
        assert pulses_of(bench) == before + 3
        assert scope.measure(x, "pulse-3").ok  # it has a file
        assert pulses_of(bench) == before + 3


def test_a_pulse_that_is_noted_as_done_is_read_out_without_another(bench):
    x = [*HERE, 4.0, -1.0]
    with bench.driver((*XY, *PULSE), mode="signal", channels=("Z",)) as scope:
        first = scope.measure(x, "pulse-5")
        before = pulses_of(bench)
        again = scope.measure(x, "pulse-5")
        assert pulses_of(bench) == before
        np.testing.assert_allclose(again.arrays["z"], first.arrays["z"], atol=1e-11)
    with bench.other() as client:
        assert "[gpax done pulse-5]" in client.call("Scan.PropsGet")[4]


def test_a_mark_leaves_the_rest_of_the_comment_alone(bench):
    with bench.other() as client:
        client.call("Scan.PropsSet", 0, 0, 0, "image", "tip 7, sample B", ["Current"], 0)
        with bench.driver((*XY, *PULSE)) as scope:
            scope.measure([*HERE, 3.0, -1.0], "pulse-6")
            scope.measure([*HERE, 3.0, -1.0], "pulse-7")
        assert client.call("Scan.PropsGet")[3:5] == ["image", "tip 7, sample B [gpax done pulse-7]"]


def test_a_sweep_that_spends_its_place_is_not_taken_again(bench, tmp_path):
    with bench.driver(spends=True) as scope:
        assert not scope.repeatable
        assert scope.measure(HERE, "spent-1").ok
        call = scope.client.call

        def dropped(name, *values, **options):
            if name == "BiasSpectr.Start":
                raise LinkLost("cut")
            return call(name, *values, **options)

        scope.client.call = dropped
        with pytest.raises(UnknownOutcome, match="may have happened"):
            scope.measure(HERE, "spent-2")
    with bench.driver(spends=True) as scope, pytest.raises(PulseLost):
        scope.measure(HERE, "spent-2")


def set_bias(client):
    client.call("Bias.Set", 0.7)


def set_sweep(client):
    client.call("BiasSpectr.LimitsSet", -9.0, 9.0)


@pytest.mark.parametrize("meddle", [set_bias, set_sweep])
def test_somebody_else_who_changes_what_acts_is_noticed(bench, meddle):
    with bench.driver() as scope:
        scope.measure(HERE, f"alone-{meddle.__name__}")
        with bench.other() as client:
            meddle(client)
        with pytest.raises(Interference, match="somebody else"):
            scope.measure(HERE, f"meddled-{meddle.__name__}")
        with bench.other() as client:
            assert client.call("ZCtrl.StatusGet") == [1]  # and it was made safe


def test_somebody_else_who_pulses_is_noticed(bench):
    with bench.driver((*XY, *PULSE)) as scope:
        scope.measure([*HERE, 3.0, -1.0], "ours")
        with bench.other() as client:
            client.call("Scan.PropsSet", 0, 0, 0, "image", "[gpax done theirs]", ["Current"], 0)
        with pytest.raises(Interference, match="'theirs'"):
            scope.measure([*HERE, 3.0, -1.0], "ours-2")


def test_an_image_lies_as_the_axes_do(bench):
    with bench.driver(mode="image", channels=("Z", "Current"), frame_m=2e-7, pixels=48) as scope:
        image = scope.measure(THERE, "image-1")
        assert image.ok
        np.testing.assert_allclose(image.position, THERE, atol=1e-13)
        assert set(image.arrays) == {"z_forward", "z_backward", "current_forward", "current_backward", "pixel"}
        assert image.units["z_forward"] == "m"
        pixel = float(image.arrays["pixel"])
        np.testing.assert_allclose(pixel, 2e-7 / 48)
        steps = (np.arange(48) + 0.5) * pixel - 1e-7
        x = np.stack(np.meshgrid(THERE[0] + steps, THERE[1] + steps, indexing="ij"), -1).reshape(-1, 2)
        site = bench.surface.sites(x)
        expected = (site.height + tunnelling.height_for(site.gap, 1.2, 1e-10)).reshape(48, 48)
        np.testing.assert_allclose(image.arrays["z_forward"], expected, atol=1.5e-11)  # noise of 2 pm
        assert np.ptp(expected) > 1e-10
        again = scope.measure(THERE, "image-1")
        np.testing.assert_array_equal(again.arrays["z_forward"], image.arrays["z_forward"])


def test_points_in_the_frame_are_turned_with_it(bench):
    with bench.other() as client:
        client.call("Scan.FrameSet", 1e-7, 2e-7, 4e-7, 4e-7, 30.0)
        client.call("FolMe.XYPosSet", 1e-7, 2e-7, 1)
        inner = tuple(Axis(name, "m", -2e-7, 2e-7, tolerance=1e-9) for name in "xy")
        with bench.driver(inner, in_frame=True) as scope:
            measurement = scope.measure([1e-7, 0.0], "in-frame")
            np.testing.assert_allclose(measurement.position, [1e-7, 0.0], atol=1e-11)
            found = client.call("FolMe.XYPosGet", 1)
            cos, sin = np.cos(np.radians(30.0)), np.sin(np.radians(30.0))
            np.testing.assert_allclose(found, [1e-7 + 1e-7 * cos, 2e-7 - 1e-7 * sin], atol=1e-11)  # clockwise
            client.call("Scan.FrameSet", 1e-7, 2e-7, 4e-7, 4e-7, 31.0)
            scope.client.close()
            with pytest.raises(Interference, match="frame of the scan"):
                scope.measure([1e-7, 0.0], "in-frame-2")
        far = tuple(Axis(name, "m", -9e-7, 9e-7) for name in "xy")
        with pytest.raises(DeviceError, match="narrow the axes"):
            bench.driver(far, in_frame=True).connect()


def test_a_frame_and_back():
    frame = Frame(1e-7, -2e-7, 77.0)
    x = np.random.default_rng(0).normal(size=(5, 2))
    np.testing.assert_allclose(frame.of_sample(frame.to_sample(x)), x, atol=1e-12)


def test_bias_and_setpoint_as_axes(bench):
    axes = (Axis("bias", "V", 0.5, 2.0), Axis("setpoint", "A", 2e-11, 1e-9))
    with bench.driver(axes, mode="signal", channels=("Current", "Bias")) as scope:
        for k, x in enumerate(([0.5, 2e-11], [2.0, 1e-9])):
            measurement = scope.measure(x, f"tip-{k}")
            np.testing.assert_allclose(measurement.position, x, rtol=1e-6)
            np.testing.assert_allclose(measurement.arrays["current"], x[1], rtol=0.02)
            np.testing.assert_allclose(measurement.arrays["bias"], x[0], rtol=1e-6)


def test_a_release_that_cannot_read_its_files_is_helped_by_the_folder(tmp_path):
    session = tmp_path / "session"
    session.mkdir()
    bench = Bench(tmp_path, release=R13742, session=session, refusals="fields")
    with bench.twin:
        with bench.driver() as scope:
            assert not scope.remembers_token
            assert scope.repeatable
            assert scope.measure(HERE, "old-1").ok
        with bench.driver(session_folder=str(session)) as scope:
            assert scope.remembers_token
            assert scope.measure(HERE, "old-1").ok
            assert scope.measure(HERE, "old-2").ok
        assert [act["name"] for act in bench.acts("spectrum")] == ["old-1", "old-2"]
        assert sorted(path.name for path in session.iterdir()) == ["old-100001.dat", "old-200001.dat"]


WRONG = [
    ({"bias": 0.0}, "without a bias"),
    ({"bias": float("nan")}, "finite number"),
    ({"bias": 11.0}, "within 10 V"),
    ({"max_bias": 0.5}, r"within 0\.5 V"),
    ({"sweep": (-20.0, 1.0)}, "sweep"),
    ({"sweep": (1.0, 1.0)}, "different"),
    ({"setpoint": -1e-10}, "setpoint"),
    ({"setpoint": 1e-3}, "setpoint"),
    ({"points": 1}, "points"),
    ({"mode": "movie"}, "spectrum"),
    ({"channels": ()}, "channels"),
    ({"channels": "Current"}, "channels"),
    ({"lockin_amplitude": 2.0}, "lockin_amplitude"),
    ({"settling_s": -1.0}, "settling_s"),
    ({"mode": "image", "in_frame": True}, "in_frame"),
    ({"frame_m": 0.0}, "frame_m"),
    ({"safe_port": 6501}, "safe_port"),
    ({"axes": ()}, "one axis"),
    ({"axes": XY[:1]}, "both or neither"),
    ({"axes": (*XY, PULSE[0])}, "both or neither"),
    ({"axes": (Axis("x", "nm", 0.0, 1.0), XY[1])}, "its unit is m"),
    ({"axes": (Axis("speed", "m/s", 0.0, 1.0),)}, "can set x, y"),
    ({"axes": (Axis("bias", "V", -11.0, 1.0),)}, "narrow the axis"),
    ({"address": "127.0.0.1:6501"}, "tcp://host:port"),
    ({"address": "TCPIP::127.0.0.1::INSTR"}, "tcp://host:port"),
]


@pytest.mark.parametrize(("wrong", "words"), WRONG, ids=lambda value: str(value)[:40])
def test_what_can_not_be_meant_is_refused_before_anything_is_opened(wrong, words):
    with pytest.raises(ValueError, match=words):
        Nanonis(**{"address": "tcp://127.0.0.1:6501", "axes": XY, "bias": 1.0} | wrong)


def test_one_port_alone_is_not_enough(bench):
    with pytest.raises(LinkLost) as caught:
        bench.driver(safe_port=1).connect()
    assert any("safe_port" in note for note in caught.value.__notes__)


def test_another_controller_is_told(bench):
    scope = bench.driver()
    scope._safe_client.product = "x"
    with pytest.raises(DeviceError, match="not a Nanonis"):
        scope._check_identity(scope._safe_client)
    scope.close()
