"""What the contract of the adapters does not ask: keys pressed, names resolved, errors told apart, data fetched."""

import os
import signal
import sys
import threading
import types

import numpy as np
import pytest
from adapter_rigs import EpicsRig, FakeProxy, QcodesRig, TangoRig
from gpax_instruments.adapters import Bluesky, Parameters
from gpax_instruments.adapters._station import thing
from gpax_instruments.adapters._tiled import arrays_of
from gpax_instruments.adapters._units import agree
from gpax_instruments.adapters._worker import Stuck, Worker, fault_of
from gpax_instruments.errors import DeviceError, DoseSpent, LinkLost, LinkTimeout

from gpax_lab.core import Axis

AXES = (Axis("x", "V", 0.0, 1.0),)


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_ctrl_c_ends_a_call_that_hangs_and_safety_goes_over_a_new_link(monkeypatch, within):
    rig = QcodesRig(monkeypatch)
    adapter = rig.make().connect()
    rig.world.lit, rig.world.fault = True, ("silent", "measure")
    rig.world.struck = lambda: threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT)).start()
    # A suite that was started in the background has SIGINT ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with within(2.0), pytest.raises(KeyboardInterrupt):
            adapter.measure([0.25, 0.75], "t")
    finally:
        signal.signal(signal.SIGINT, before)
    adapter.make_safe()
    assert not rig.world.lit
    assert rig.world.opened == 2
    rig.world.free.set()
    adapter.close()


def test_a_worker_that_hangs_runs_nothing_any_more():
    worker, free, ran = Worker(), threading.Event(), []
    with pytest.raises(Stuck, match="no answer within"):
        worker.call(lambda: free.wait(30.0), 0.05)
    with pytest.raises(Stuck, match="did not return"):
        worker.call(lambda: ran.append(1), 10.0)
    free.set()
    worker.close()
    assert ran == []


def test_a_coroutine_that_hangs_is_cancelled():
    import asyncio

    over = threading.Event()

    async def wait():
        try:
            await asyncio.sleep(30.0)
        finally:
            over.set()

    worker = Worker()
    with pytest.raises(Stuck):
        worker.call(wait, 0.05)
    assert over.wait(10.0)


def test_errors_of_libraries_become_ours():
    assert fault_of(TimeoutError()) is LinkTimeout
    assert fault_of(BrokenPipeError()) is LinkLost
    assert fault_of(EOFError()) is LinkLost
    assert fault_of(FileNotFoundError()) is DeviceError
    assert fault_of(RuntimeError("out of range")) is DeviceError
    wrapped = RuntimeError("could not set gate")
    wrapped.__cause__ = ConnectionResetError()
    assert fault_of(wrapped) is LinkLost
    pyvisa = pytest.importorskip("pyvisa")
    assert fault_of(pyvisa.errors.VisaIOError(pyvisa.constants.StatusCode.error_timeout)) is LinkTimeout
    assert fault_of(pyvisa.errors.VisaIOError(pyvisa.constants.StatusCode.error_connection_lost)) is LinkLost


def test_names_reach_into_mappings_objects_and_properties():
    class Lockin:
        level = property(lambda self: 1 / 0)  # never read by looking

    lockin = Lockin()
    root = {"rack": types.SimpleNamespace(lockin=lockin)}
    assert thing(root, "rack.lockin") == (root["rack"], "lockin", lockin)
    assert thing(root, "rack.lockin.level") == (lockin, "level", None)
    for path in ("shelf", "rack.meter", "rack.lockin.phase"):
        with pytest.raises(ValueError, match=path):
            thing(root, path)


@pytest.mark.parametrize(
    ("told", "good"),
    [("um", True), ("µm", True), ("μm", True), ("micron", True), ("", True), ("mm", False), ("UM", False)],
)
def test_units_are_the_same_in_other_spellings(told, good):
    if good:
        agree("x", "um", told, {})
    else:
        with pytest.raises(DeviceError, match=f"axis x is in um, the other side says {told}"):
            agree("x", "um", told, {})
        agree("x", "um", told, {"x": told})


def test_what_can_not_be_driven_is_told():
    for more, words in (
        ({"detectors": {}}, "name at least one"),
        ({"detectors": {"i": "i"}, "position": {"z": "z"}}, "there is no axis z"),
        ({"detectors": {"i": "i"}, "timeout_s": np.nan}, "timeout_s"),
    ):
        with pytest.raises(ValueError, match=words):
            Parameters(dict, AXES, **more)
    with pytest.raises(ValueError, match="names that differ"):
        Bluesky(dict, AXES * 2, detectors=("det",))
    read_only = types.SimpleNamespace(get=lambda: 0.0, settable=False)
    for station, words in (
        ({"x": read_only, "i": read_only}, "axis x: x can not be set"),
        ({"x": 3.0, "i": read_only}, "x is a float, which can be neither set nor got"),
        ({"i": read_only}, 'there is no "x"'),
    ):
        with pytest.raises(DeviceError, match=words):
            Parameters(lambda station=station: station, AXES, detectors={"i": "i"}).connect()


def test_an_alarm_of_the_other_side_spoils_a_measurement(monkeypatch):
    rig = EpicsRig(monkeypatch)
    with rig.make() as adapter:
        rig.severity = 3
        measurement = adapter.measure([0.25, 0.75], "t")
    assert measurement.flags == ("invalid",)
    assert "INVALID" in measurement.reason
    assert float(measurement.arrays["signal"]) == 2.5  # kept as evidence


def test_a_beam_has_its_time(monkeypatch):
    rig = TangoRig(monkeypatch)
    with rig.make(exposure_budget=1e-9) as adapter:
        assert adapter.measure([0.25, 0.75], "t").ok
        with pytest.raises(DoseSpent):
            adapter.measure([0.25, 0.75], "t")
        assert not rig.world.lit
    assert rig.world.measured == 1


@pytest.mark.parametrize(
    "answer",
    [
        ("no JSON", b""), ('{"shape": [4]}', b""), ('{"shape": [4], "dtype": "O"}', b"1234"), ("[]", b""), ("3", b""),
        ('{"shape": [-2, -2], "dtype": "<f4"}', bytes(16)), ('{"shape": [4], "dtype": "<f4"}', bytes(12)),
        ('{"shape": [4], "dtype": "<f4"}', bytes(15)), ('{"shape": 4, "dtype": "nonsense"}', bytes(16)), None,
    ],
    ids=repr,
)  # fmt: skip
def test_data_that_make_no_sense_are_the_error_of_the_device(monkeypatch, answer):
    rig = TangoRig(monkeypatch)
    with rig.make() as adapter:
        monkeypatch.setattr(FakeProxy, "_get_image_data_cached", lambda self, index: answer)
        with pytest.raises(DeviceError):
            adapter.measure([0.25, 0.75], "t")
        assert not rig.world.lit


class Node(dict):
    """As containers of Tiled are."""


def tiled(monkeypatch, tree):
    client = types.ModuleType("tiled.client")
    client.from_uri = lambda address: tree
    monkeypatch.setitem(sys.modules, "tiled", types.ModuleType("tiled"))
    monkeypatch.setitem(sys.modules, "tiled.client", client)


def test_data_come_from_a_tiled_server(monkeypatch):
    image = types.SimpleNamespace(shape=(2, 2), dtype="f4", read=lambda: np.ones((2, 2), "f4"))
    words = types.SimpleNamespace(shape=(1,), dtype="U3", read=lambda: ["abc"])
    tiled(monkeypatch, {"frame.h5": Node(image=Node(HAADF=image, note=words)), "empty": Node()})
    assert {name: values.shape for name, values in arrays_of("http://here", "frame.h5").items()} == {"HAADF": (2, 2)}
    with pytest.raises(ValueError, match="holds no array"):
        arrays_of("http://here", "empty")
    rig = TangoRig(monkeypatch)
    tiled(monkeypatch, {"spectrum-1": Node(EELS=image)})
    with rig.make(tiled="http://here") as adapter:
        assert adapter.measure([0.25, 0.75], "t").arrays["EELS"].shape == (2, 2)
    with rig.make(fetch=lambda key: {key: np.zeros(3)}) as adapter:
        assert adapter.measure([0.25, 0.75], "t").arrays["spectrum-1"].shape == (3,)
