"""Adapters against the control systems themselves: servers in processes of their own, which are stopped and killed."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from gpax_instruments.adapters import EPICS, Bluesky, MicroManager, Parameters, Tango, TangoSTEM
from gpax_instruments.errors import LINK_FAULTS, DeviceError, DoseSpent, LinkLost, UnknownOutcome
from scripted import eventually

from gpax_lab.core import Axis, MoveRefused
from gpax_lab.storage import JournalError, read

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="processes are stopped by signals of POSIX"),
]
HERE = Path(__file__).parent


@contextlib.contextmanager
def running(*words, env=None):
    """A process, ended at the end however it stands."""
    process = subprocess.Popen(
        [sys.executable, *words], env=os.environ | (env or {}), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGCONT)
        process.kill()
        process.wait(10)
        process.stdin.close()
        process.stdout.close()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def lost(error):
    return isinstance(error, LINK_FAULTS) or isinstance(error.__cause__, LINK_FAULTS)


def gone(adapter, process, x, within):
    """What a server that stops, and one that is killed, do to a measurement."""
    process.send_signal(signal.SIGSTOP)
    with within(4 * adapter.timeout_s * 2), pytest.raises((*LINK_FAULTS, UnknownOutcome)) as caught:
        adapter.measure(x, "t")
    assert lost(caught.value)
    process.send_signal(signal.SIGCONT)
    adapter.make_safe()
    assert adapter.measure(x, "t").ok
    process.kill()
    process.wait(10)
    with within(4 * adapter.timeout_s * 2), pytest.raises((*LINK_FAULTS, UnknownOutcome)) as caught:
        adapter.measure(x, "t")
    assert lost(caught.value)
    with pytest.raises(LINK_FAULTS):
        adapter.make_safe()


# --- EPICS ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def ioc(monkeypatch):
    """Variables of EPICS for an IOC of this machine, and a function that starts it."""
    pytest.importorskip("caproto", reason="caproto is not installed: pip install gpax-lab[epics]")
    port = str(free_port())
    here = {"EPICS_CA_ADDR_LIST": "127.0.0.1", "EPICS_CA_AUTO_ADDR_LIST": "NO", "EPICS_CA_SERVER_PORT": port}
    for name, value in here.items():
        monkeypatch.setenv(name, value)
    server = {
        "EPICS_CAS_SERVER_PORT": port,
        "EPICS_CAS_INTF_ADDR_LIST": "127.0.0.1",
        "EPICS_CAS_BEACON_ADDR_LIST": "127.0.0.1",
    }
    server |= {"EPICS_CAS_AUTO_BEACON_ADDR_LIST": "NO"}

    @contextlib.contextmanager
    def start():
        with running(str(HERE / "ioc.py"), env=here | server) as process:
            assert process.stdout.readline() == "ready\n"
            yield process

    return start


def stage(**more):
    axes = tuple(Axis(name, "mm", -2.0, 2.0, tolerance=1e-6) for name in "xy")
    return EPICS(
        "T:", axes, readback={"x": "x.RBV", "y": "y.RBV"}, detectors={"current": "diode", "spectrum": "spectrum"},
        halt=("x.STOP",), safe={"lamp": 0.0}, **{"timeout_s": 3.0, "busy_timeout_s": 3.0} | more,
    )  # fmt: skip


def test_epics_moves_reads_back_and_is_safe(ioc):
    with ioc(), stage(timeout_s=20.0) as adapter:
        assert [(axis.low, axis.high) for axis in adapter.axes] == [(-1.0, 0.9)] * 2  # those of the IOC
        measurement = adapter.measure([0.25, -0.5], "t1")
        assert measurement.ok, measurement.reason
        np.testing.assert_allclose(measurement.position, [0.25, -0.5])
        assert {name: values.shape for name, values in measurement.arrays.items()} == {"current": (), "spectrum": (64,)}
        assert dict(measurement.units) == {"current": "A", "spectrum": "1"}
        for target in ([np.nan, 0.0], [np.inf, 0.0], [0.95, 0.0]):
            with pytest.raises(MoveRefused, match="nothing was sent"):
                adapter.measure(target, "t")
        np.testing.assert_allclose(adapter.locate().readback, [0.25, -0.5])
        for mode in (1, 2):  # deaf, and clamping
            adapter._ask(lambda mode=mode: adapter._context.get_pvs("T:mode")[0].write(mode, timeout=5))
            with pytest.raises(MoveRefused, match="reads"):
                adapter.measure([-0.3, 0.7], "t")
        adapter._ask(lambda: adapter._context.get_pvs("T:mode")[0].write(3, timeout=5))
        bad = adapter.measure([0.1, 0.1], "t")
        assert not bad.ok
        assert bad.flags == ("invalid",)
        assert adapter._scalar("lamp") == 0.0


def test_epics_refuses_another_unit(ioc):
    with ioc():
        adapter = EPICS("T:", (Axis("x", "m", 0.0, 1e-3),), detectors={"current": "diode"}, timeout_s=20.0)
        with pytest.raises(DeviceError, match="axis x is in m, the other side says mm"):
            adapter.connect()


def test_epics_that_stops_or_dies_is_a_lost_link(ioc, within):
    with ioc() as process:
        adapter = stage(timeout_s=20.0).connect()
        adapter.timeout_s = adapter.busy_timeout_s = 1.5
        gone(adapter, process, [0.1, 0.2], within)
        adapter.close()
    with ioc():  # and back
        adapter.timeout_s = adapter.busy_timeout_s = 20.0
        assert adapter.measure([0.1, 0.2], "t").ok
        adapter.close()


def test_a_campaign_waits_for_an_ioc_that_died_and_goes_on(ioc, tmp_path):
    """From a settings file, over the command line; the IOC is killed after the third measurement, and started anew."""
    text = """
        [campaign]
        steps = 1
        seeds = 60
        wait_s = 120.0
        [instrument]
        kind = "epics"
        address = "T:"
        readback = { x = "x.RBV", y = "y.RBV" }
        detectors = { current = "diode" }
        safe = { lamp = 0 }
        repeatable = true
        timeout_s = 3.0
        busy_timeout_s = 3.0
        [instrument.axes]
        x = { unit = "mm", low = -0.5, high = 0.5 }
        y = { unit = "mm", low = -0.5, high = 0.5 }
        [sampler]
        kind = "laplace"
        [acquisition]
        function = "random"
        [quantity]
        scalarizer = "mean_of"
        array = "current"
    """
    (tmp_path / "s.toml").write_text(textwrap.dedent(text))
    journal = tmp_path / "out" / "campaign.gpxj"

    def measured():
        try:
            return len(read(journal).of("reading"))
        except (OSError, JournalError):
            return 0

    words = ("-m", "gpax_lab", "run", str(tmp_path / "s.toml"), "--out", str(tmp_path / "out"))
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(ioc())
        campaign = stack.enter_context(running(*words))
        assert eventually(lambda: measured() >= 3)
        first.kill()
        assert eventually(lambda: len(read(journal).of("lost")) == 1)
        stack.enter_context(ioc())
        told = campaign.stdout.read()
        assert campaign.wait(120) == 0, told
    contents = read(journal)
    assert len(contents.of("found")) == 1
    assert measured() == 61


# --- Tango ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def column():
    """The twin behind Tango, and its address."""
    pytest.importorskip("tango", reason="PyTango is not installed: pip install gpax-lab[tango]")
    with running("-m", "gpax_instruments.twins.tango_stem", "--stdin-guard") as process:
        yield process, json.loads(process.stdout.readline())["tango"]


def beam(address, **more):
    axes = tuple(Axis(name, "m", 0.0, 1e-7) for name in "xy")
    return TangoSTEM(address, axes, units={"spectrum": "1"}, **{"timeout_s": 10.0, "busy_timeout_s": 20.0} | more)


def test_tango_places_the_beam_takes_a_spectrum_and_blanks(column):
    _, address = column
    x = np.array([2e-8, 7e-8])
    with beam(address) as adapter:
        assert adapter.identity() == "STEMTwin,gpax/twin/stem"
        measurement = adapter.measure(x, "t1")
        assert measurement.ok, measurement.reason
        np.testing.assert_allclose(measurement.position, x, rtol=1e-6)  # Tango's commands take float32
        assert measurement.arrays["spectrum"].shape == (240,)
        assert adapter._attribute("beam_state")  # blanked
        for mode, target in (("DEAF", [5e-8, 5e-8]), ("CLAMP", [1e-8, 1e-8]), ("REFUSE", [5e-8, 5e-8])):
            adapter._command("misbehave", mode)
            with pytest.raises(MoveRefused):
                adapter.measure(target, "t")
            adapter._command("misbehave", "")
        adapter._command("misbehave", "NAN")
        assert "nan" in adapter.measure(x, "t").flags
        adapter.detector = "eds"
        with pytest.raises(DeviceError, match="there is no 'eds'"):
            adapter.measure(x, "t")
        assert adapter._attribute("beam_state")
    with beam(address, exposure_budget=1e-9) as adapter:
        adapter.measure(x, "t")
        with pytest.raises(DoseSpent):
            adapter.measure(x, "t")


def test_tango_moves_the_stage_and_takes_images(column):
    _, address = column
    axes = (Axis("y", "m", -4e-8, 4e-8), Axis("alpha", "deg", -10.0, 10.0))
    for mode, shape in (("image", (64, 64)), ("camera", (32, 32))):
        with TangoSTEM(address, axes, positioner="stage", mode=mode, detector="haadf", timeout_s=10.0) as adapter:
            measurement = adapter.measure([2e-8, 3.0], "t")
            np.testing.assert_allclose(measurement.position, [2e-8, 3.0], rtol=1e-6)
            assert measurement.arrays[mode].shape == shape


def test_tango_that_stops_or_dies_is_a_lost_link(column, within):
    process, address = column
    with contextlib.suppress(LinkLost), beam(address) as adapter:
        adapter.timeout_s = adapter.busy_timeout_s = 2.0
        gone(adapter, process, np.array([2e-8, 7e-8]), within)


@pytest.fixture
def motor():
    """A Tango device with a slow axis, and its address."""
    pytest.importorskip("tango", reason="PyTango is not installed: pip install gpax-lab[tango]")
    with running(str(HERE / "tango_device.py"), str(free_port())) as process:
        yield process, process.stdout.readline().strip()


def stage_of(address, **more):
    return Tango(
        address, (Axis("x", "mm", -2.0, 2.0, tolerance=1e-6),), readback={"x": "x_read"}, trigger="Expose",
        detectors={"current": "current", "spectrum": "spectrum"}, halt=("Stop",), safe={"shutter": 0.0},
        **{"timeout_s": 10.0, "busy_timeout_s": 20.0} | more,
    )  # fmt: skip


def test_tango_attributes_are_moved_waited_for_and_read(motor):
    _, address = motor
    with stage_of(address) as adapter:
        assert [(axis.low, axis.high) for axis in adapter.axes] == [(-1.0, 0.9)]  # those of the attribute
        measurement = adapter.measure([0.5], "t")
        assert measurement.ok, measurement.reason
        np.testing.assert_allclose(measurement.position, [0.5])
        assert {name: values.shape for name, values in measurement.arrays.items()} == {"current": (), "spectrum": (16,)}
        assert dict(measurement.units) == {"current": "A", "spectrum": "a.u."}
        with pytest.raises(MoveRefused, match="nothing was sent"):
            adapter.measure([0.95], "t")
        adapter._tango(lambda proxy: proxy.write_attribute("mode", 1))  # deaf
        with pytest.raises(MoveRefused, match=r"sent to -0\.5 mm but reads 0\.5"):
            adapter.measure([-0.5], "t")
        adapter._tango(lambda proxy: proxy.write_attribute("mode", 2))  # the current is invalid
        bad = adapter.measure([0.25], "t")
        assert set(bad.flags) == {"invalid", "nan"}
        assert adapter._scalar("shutter") == 0.0
    with pytest.raises(DeviceError, match="axis x is in m, the other side says mm"):
        Tango(address, (Axis("x", "m", 0.0, 1.0),), detectors={"current": "current"}).connect()


def test_a_tango_device_that_stops_or_dies_is_a_lost_link(motor, within):
    process, address = motor
    adapter = stage_of(address).connect()
    adapter.timeout_s = adapter.busy_timeout_s = 2.0
    gone(adapter, process, [0.1], within)
    adapter.close()


# --- Micro-Manager ----------------------------------------------------------------------------------------------------


CONFIG = """
Device,Camera,DemoCamera,DCam
Device,XY,DemoCamera,DXYStage
Device,Z,DemoCamera,DStage
Device,Shutter,DemoCamera,DShutter
Property,Core,Initialize,1
Property,Core,Camera,Camera
Property,Core,Shutter,Shutter
Property,Core,Focus,Z
Property,Core,XYStage,XY
"""


@pytest.fixture
def demo(tmp_path):
    pytest.importorskip("pymmcore", reason="pymmcore is not installed: pip install gpax-lab[micromanager]")
    folder = pytest.importorskip("mm_test_adapters", reason="pip install mm-test-adapters").device_adapter_path()
    file = tmp_path / "demo.cfg"
    file.write_text(CONFIG)
    axes = (Axis("x", "m", 0.0, 1e-4), Axis("y", "m", 0.0, 1e-4), Axis("z", "um", 0.0, 50.0))
    with MicroManager(file, axes, adapters=Path(folder), exposure=1.0, timeout_s=20.0) as adapter:
        yield adapter


def test_micromanager_moves_focuses_and_takes_an_image(demo):
    measurement = demo.measure([2e-5, 3e-5, 10.0], "t1")
    assert measurement.ok, measurement.reason
    np.testing.assert_allclose(measurement.position, [2e-5, 3e-5, 10.0], atol=1e-8)
    assert measurement.arrays["image"].shape == (512, 512)
    assert "MMCore" in demo.identity()
    assert not demo._core.getShutterOpen()


def test_what_micromanager_itself_takes_for_a_position_never_reaches_it(demo):
    for target in ([np.nan, 0.0, 0.0], [np.inf, 0.0, 0.0], [1e12, 0.0, 0.0], [0.0, 0.0, np.nan]):
        with pytest.raises(MoveRefused, match="nothing was sent"):
            demo.measure(target, "t")
    before = demo.locate().readback
    demo._core.setXYPosition("XY", float("nan"), 0.0)  # as anybody else may do
    demo._core.waitForDevice("XY")
    assert abs(demo.locate().readback[0]) > 1e9  # metres
    with pytest.raises(MoveRefused, match="outside its limits; bring it back by hand"):
        demo.measure(before, "t")


def test_a_stage_of_micromanager_that_is_gone_is_a_lost_link(demo):
    demo._core.unloadAllDevices()
    with pytest.raises(LinkLost):
        demo.measure([2e-5, 3e-5, 10.0], "t")
    assert demo.measure([2e-5, 3e-5, 10.0], "t").ok  # loaded anew


# --- QCoDeS, PyMeasure and bluesky, each with a device that is not ours -----------------------------------------------


SIMULATED = """
spec: "1.1"
devices:
  source:
    eom: {"ASRL INSTR": {q: "\\r\\n", r: "\\n"}}
    error: ERROR
    properties:
      voltage:
        default: 1.0
        getter: {q: "VOLT?", r: "{:.6f}"}
        setter: {q: "VOLT {:.6f}", r: "OK", e: "FAIL"}
        specs: {min: 0, max: 6, type: float}
resources:
  ASRL1::INSTR: {device: source}
"""


def test_a_simulated_visa_source_is_driven_through_pymeasure(tmp_path):
    """One that answers FAIL beyond 6 V, which its driver does not read."""
    pytest.importorskip("pyvisa_sim", reason="PyVISA-sim is not installed: pip install pyvisa-sim")
    pytest.importorskip("pymeasure", reason="PyMeasure is not installed: pip install pymeasure")
    file = tmp_path / "source.yaml"
    file.write_text(SIMULATED)

    def bench():
        from pymeasure.instruments import Instrument

        class Source(Instrument):
            voltage = Instrument.control("VOLT?", "VOLT %.6f", "Voltage [V].", check_set_errors=False)

            def write(self, command, **more):
                super().write(command, **more)
                if command.startswith("VOLT "):
                    self.read()  # acknowledged, whatever it says

        return Source("ASRL1::INSTR", "source", includeSCPI=False, visa_library=f"{file}@sim")

    axes = (Axis("voltage", "V", 0.0, 10.0, tolerance=1e-3),)
    with Parameters(bench, axes, detectors={"told": "voltage"}, safe={"voltage": 0.0}, units={"told": "V"}) as adapter:
        measurement = adapter.measure([2.5], "t")
        assert measurement.ok
        assert float(measurement.arrays["told"]) == 2.5
        with pytest.raises(MoveRefused, match=r"sent to 8\.0 V but reads 2\.5"):
            adapter.measure([8.0], "t")
    assert adapter.axes[0].high == 10.0


def test_dummies_of_qcodes_are_driven():
    pytest.importorskip("qcodes", reason="QCoDeS is not installed: pip install gpax-lab[qcodes]")
    from qcodes.instrument_drivers.mock_instruments import DummyInstrument, DummyInstrumentWithMeasurement

    dac = DummyInstrument("dac", gates=["ch1", "ch2"])
    meter = DummyInstrumentWithMeasurement("dmm", setter_instr=dac)
    axes = tuple(Axis(name, "V", -1.0, 1.0) for name in ("ch1", "ch2"))
    station = {"dac": dac, "dmm": meter}
    try:
        with Parameters(
            lambda: station, axes, position={"ch1": "dac.ch1", "ch2": "dac.ch2"}, detectors={"current": "dmm.v1"},
            safe={"dac.ch1": 0.0, "dac.ch2": 0.0},
        ) as adapter:  # fmt: skip
            measurement = adapter.measure([0.25, -0.5], "t")
            assert measurement.ok
            assert measurement.units["current"] == "V"
            np.testing.assert_allclose(measurement.position, [0.25, -0.5])
        assert (dac.ch1(), dac.ch2()) == (0.0, 0.0)
    finally:
        dac.close()
        meter.close()


def test_the_simulated_devices_of_ophyd_are_driven():
    pytest.importorskip("ophyd", reason="ophyd is not installed: pip install gpax-lab[bluesky]")
    from ophyd.sim import SynAxis, SynGauss

    def devices():
        motor = SynAxis(name="motor")
        return {"x": motor, "det": SynGauss("det", motor, "motor", center=0.3, Imax=2.0, sigma=0.5)}

    with Bluesky(devices, (Axis("x", "mm", -1.0, 1.0),), detectors=("det",), units={"x": "mm"}) as adapter:
        here, there = (adapter.measure([x], "t") for x in (0.3, 0.8))
        assert float(here.arrays["det"]) == pytest.approx(2.0)
        assert float(there.arrays["det"]) == pytest.approx(2.0 * np.exp(-0.5))


def test_the_simulated_stage_of_ophyd_async_is_driven():
    pytest.importorskip("ophyd_async", reason="ophyd-async is not installed: pip install ophyd-async")
    from ophyd_async.sim import PatternGenerator, SimPointDetector, SimStage

    def devices():
        pattern = PatternGenerator()
        return {"stage": SimStage(pattern, name="stage"), "det": SimPointDetector(pattern, num_channels=1, name="det")}

    axes = tuple(Axis(name, "mm", -1.0, 1.0, tolerance=1e-3) for name in "xy")
    with Bluesky(devices, axes, positioners={"x": "stage.x", "y": "stage.y"}, detectors=("det",)) as adapter:
        measurement = adapter.measure([0.2, -0.1], "t")
        assert measurement.ok, measurement.reason
        np.testing.assert_allclose(measurement.position, [0.2, -0.1], atol=1e-3)
        assert measurement.arrays
