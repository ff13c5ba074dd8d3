"""One small world behind the libraries of several control systems, each as far as its adapter uses it.

They misbehave on demand, as the real ones were seen to do. Those are the peers of `adapter_peers.py`.
"""

import contextlib
import json
import sys
import threading
import types

import numpy as np
from gpax_instruments.adapters import EPICS, Bluesky, MicroManager, Parameters, Tango, TangoSTEM

from gpax_lab.core import Axis

LONG = {"timeout_s": 10.0, "busy_timeout_s": 10.0}
DARK = LONG | {"safe": {"lamp": 0.0}}


class World:
    """Two axes from 0 to 1 and a signal. `acts` has everything that was sent, in order.

    `fault` is (what, when): what of "gone", "silent" and "refuse" happens once, when an act of that kind comes next;
    "dead" happens to every one.
    """

    def __init__(self, lost):
        self.lost = lost
        self.position, self.acts, self.opened, self.measured = np.array([0.5, 0.5]), [], 0, 0
        self.lit = True  # whoever was here before has left the light on
        self.fault, self.deaf, self.rails, self.told = ("", ""), False, (0.0, 1.0), None
        self.signal, self.drift, self.stuck_on = 2.5, 0.0, False
        self.free, self.struck = threading.Event(), lambda: None  # the second is called when it begins to hang

    def look(self, when):
        what, at = self.fault
        if what and at in (when, "all"):
            if at != "all":
                self.fault = ("", "")
            if what == "gone":
                raise self.lost()
            if what == "refuse":
                raise ValueError("not now")
            self.struck()
            self.free.wait(30.0)

    def open(self):
        self.look("open")
        self.opened += 1

    def move(self, axis, value):
        self.look("move")
        self.acts.append(("move", axis, value))
        if not self.deaf:
            self.position[axis] = min(max(value, self.rails[0]), self.rails[1])

    def where(self, axis):
        self.look("where")
        return float(self.position[axis]) if self.told is None else self.told

    def measure(self):
        self.look("measure")
        self.acts.append(("measure",))
        self.measured += 1
        self.position += self.drift
        return self.signal

    def light(self, on):
        self.look("safe")
        self.acts.append(("light", on))
        self.lit = bool(on) or self.stuck_on


def axes(**more):
    return tuple(Axis(name, "1", 0.0, 1.0, **more) for name in "xy")


class Rig:
    """An adapter and its world."""

    narrows = True  # the library tells limits
    axis = "x"  # what the x axis is called where the safe state is said; empty where that is not ours to say
    saturates = False
    lost = ConnectionResetError

    def __init__(self, monkeypatch):
        self.world = World(self.lost)
        self.patch = monkeypatch
        self.limits = (-1.0, 2.0)
        self.unit = "1"

    def module(self, name, **members):
        module = types.ModuleType(name)
        vars(module).update(members)
        self.patch.setitem(sys.modules, name, module)
        return module

    def axes(self, **more):
        return axes(**more)


# --- QCoDeS and PyMeasure ---------------------------------------------------------------------------------------------


class FakeParameter:
    def __init__(self, get=None, set=None, unit="", vals=None):
        self.unit, self.vals, self.gettable, self.settable = unit, vals, get is not None, set is not None
        if get:
            self.get = get
        if set:
            self.set = set


class QcodesRig(Rig):
    axis = "stage.x"

    def station(self):
        world = self.world
        world.open()
        limits = types.SimpleNamespace(min_value=self.limits[0], max_value=self.limits[1])
        x, y = (
            FakeParameter(lambda i=i: world.where(i), lambda v, i=i: world.move(i, v), self.unit, limits)
            for i in (0, 1)
        )
        lamp = FakeParameter(lambda: int(world.lit), lambda v: world.light(v))
        return {"stage": types.SimpleNamespace(x=x, y=y), "lamp": lamp, "diode": FakeParameter(world.measure, unit="A")}

    def make(self, axes=None, **more):
        return Parameters(
            self.station, axes or self.axes(), position={"x": "stage.x", "y": "stage.y"}, detectors={"signal": "diode"},
            **DARK | more,
        )  # fmt: skip


class PymeasureRig(Rig):
    narrows = False

    def station(self):
        world = self.world
        world.open()

        class Bench:
            x = property(lambda self: world.where(0), lambda self, v: world.move(0, v))
            y = property(lambda self: world.where(1), lambda self, v: world.move(1, v))
            power = property(lambda self: world.measure())
            lamp = property(lambda self: world.lit, lambda self, v: world.light(v))

        return Bench()

    def make(self, axes=None, **more):
        return Parameters(
            self.station, axes or self.axes(), detectors={"signal": "power"}, units={"signal": "A"},
            **DARK | more,
        )  # fmt: skip


# --- EPICS ------------------------------------------------------------------------------------------------------------


class FakePV:
    def __init__(self, rig, name):
        self.rig, self.name, self.connected = rig, name, True

    def wait_for_connection(self, timeout):
        pass

    def read(self, *, data_type, timeout):
        world, values, unit = self.rig.world, [0.0], ""
        assert data_type == "control"
        limits = (0.0, 0.0)
        if self.name in ("T:x", "T:y"):
            values, unit, limits = [world.where("xy".index(self.name[-1]))], self.rig.unit, self.rig.limits
        if self.name == "T:signal":
            values, unit = [world.measure()], "A"
        if self.name == "T:lamp":
            values = [int(world.lit)]
        about = types.SimpleNamespace(
            units=unit.encode(), lower_ctrl_limit=limits[0], upper_ctrl_limit=limits[1], severity=self.rig.severity
        )
        return types.SimpleNamespace(data=np.array(values), metadata=about)

    def write(self, value, *, wait, timeout):
        assert wait
        if self.name in ("T:x", "T:y"):
            self.rig.world.move("xy".index(self.name[-1]), value)
        elif self.name == "T:lamp":
            self.rig.world.light(value)
        else:
            self.rig.world.acts.append(("halt", self.name))
        return types.SimpleNamespace(status=types.SimpleNamespace(success=True))


class EpicsRig(Rig):
    severity = 0

    def __init__(self, monkeypatch):
        super().__init__(monkeypatch)
        rig = self

        class Context:
            def __init__(self, timeout):
                self.broadcaster = types.SimpleNamespace(disconnect=lambda: None)

            def get_pvs(self, *names):
                rig.world.open()
                return [FakePV(rig, name) for name in names]

            def disconnect(self):
                pass

        self.module("caproto")
        self.module("caproto.threading")
        self.module("caproto.threading.client", Context=Context)

    def make(self, axes=None, **more):
        return EPICS(
            "T:", axes or self.axes(), detectors={"signal": "signal"}, halt=("x.STOP",),
            **DARK | more,
        )  # fmt: skip


# --- Tango ------------------------------------------------------------------------------------------------------------


class DevFailed(Exception):
    """As PyTango raises it: a stack of errors in words."""


class ConnectionFailed(DevFailed):
    pass


class FakeProxy:
    COMMANDS = ("place_beam", "get_fov", "blank_beam", "unblank_beam", "acquire_spectrum", "get_image_data_cached")

    def __init__(self, rig):
        self.rig, self.world = rig, rig.world
        self.values = np.zeros(1)

    def ping(self):
        self.world.open()

    def set_timeout_millis(self, millis):
        assert millis >= 1

    def get_command_list(self):
        return list(self.COMMANDS)

    def get_attribute_list(self):
        return ["beam_pos", "beam_state"]

    def read_attribute(self, name):
        value = not self.world.lit if name == "beam_state" else [self.world.where(0), self.world.where(1)]
        return types.SimpleNamespace(value=value)

    def command_inout(self, name, argument=None):
        try:
            return getattr(self, f"_{name}")(argument)
        except ValueError as error:
            raise DevFailed(types.SimpleNamespace(reason="PyDs_PythonError", desc=str(error))) from error

    def _place_beam(self, position):
        for axis, value in enumerate(position):
            self.world.move(axis, value)

    def _blank_beam(self, _):
        self.world.light(False)

    def _unblank_beam(self, _):
        self.world.lit = True

    def _get_fov(self, _):
        return 1e-7

    def _acquire_spectrum(self, detector):
        assert detector == "eels"
        self.values = np.full(4, self.world.measure(), "<f4")
        return "spectrum-1"

    def _get_image_data_cached(self, index):
        assert index == 0
        return json.dumps({"shape": [4], "dtype": "<f4"}), self.values.tobytes()


class TangoRig(Rig):
    narrows = False  # a beam is always somewhere in its field of view
    axis = ""

    @staticmethod
    def lost():
        return ConnectionFailed(types.SimpleNamespace(reason="API_CorbaException", desc="no device any more"))

    def __init__(self, monkeypatch):
        super().__init__(monkeypatch)
        self.module("tango", DeviceProxy=lambda address: FakeProxy(self), EnsureOmniThread=contextlib.nullcontext)

    def make(self, axes=None, **more):
        return TangoSTEM("tango://here:1/a/b/c#dbase=no", axes or self.axes(), units={"spectrum": "1"}, **LONG | more)


class FakeDevice:
    """Attributes x, y, signal and lamp; a command Stop."""

    def __init__(self, rig):
        self.rig, self.world, self.busy = rig, rig.world, 0

    def ping(self):
        self.world.open()

    def set_timeout_millis(self, millis):
        assert millis >= 1

    def get_attribute_config(self, names):
        return [self._about(name) for name in names]

    def _about(self, name):
        low, high = map(str, self.rig.limits) if name in "xy" else ("Not specified", "Not specified")
        unit = self.rig.unit if name in "xy" else "A" if name == "signal" else ""
        return types.SimpleNamespace(name=name, unit=unit, min_value=low, max_value=high)

    def read_attribute(self, name):
        match name:
            case "x" | "y":
                value = self.world.where("xy".index(name))
            case "lamp":
                value = float(self.world.lit)
            case _:
                value = self.world.measure()
        return types.SimpleNamespace(value=value)

    def write_attribute(self, name, value):
        if name == "lamp":
            self.world.light(value)
            return
        try:
            self.world.move("xy".index(name), value)
        except ValueError as error:
            raise DevFailed(types.SimpleNamespace(reason="API_AttrNotAllowed", desc=str(error))) from error
        self.busy = 3

    def state(self):
        self.busy = max(0, self.busy - 1)
        return "MOVING" if self.busy else "ON"

    def command_inout(self, name):
        assert name == "Stop"
        self.world.acts.append(("halt", name))


class AttributesRig(TangoRig):
    narrows = True
    axis = "x"

    def __init__(self, monkeypatch):
        super().__init__(monkeypatch)
        self.module("tango", DeviceProxy=lambda address: FakeDevice(self), EnsureOmniThread=contextlib.nullcontext)

    def make(self, axes=None, **more):
        return Tango(
            "a/b/c", axes or self.axes(), detectors={"signal": "signal"}, halt=("Stop",),
            **DARK | more,
        )  # fmt: skip


# --- Micro-Manager ----------------------------------------------------------------------------------------------------


class FakeCore:
    """The core's own words for everything that goes wrong are RuntimeErrors."""

    def __init__(self, world):
        self.world = world
        world.open()

    def __getattr__(self, name):
        if name in ("setTimeoutMs", "setExposure", "setAutoShutter", "waitForDevice"):
            return lambda *_: None
        if name.startswith("get") and name.endswith("Device"):
            return lambda: name[3:-6]
        raise AttributeError(name)

    def getXPosition(self, device):
        return 1e6 * self.world.where(0)

    def getYPosition(self, device):
        return 1e6 * self.world.where(1)

    def setXYPosition(self, device, x, y):
        try:
            self.world.move(0, x / 1e6)
            self.world.move(1, y / 1e6)
        except ValueError as error:
            raise RuntimeError(str(error)) from None

    def snapImage(self):
        self.signal = self.world.measure()

    def getImage(self):
        image = np.full((4, 4), 10.0 if np.isnan(self.signal) else 3)
        if np.isnan(self.signal):
            image[0, 0] = np.nan
        return image

    def getImageBitDepth(self):
        return 8

    def stop(self, device):
        self.world.acts.append(("halt", device))

    def setShutterOpen(self, on):
        self.world.light(on)

    def getShutterOpen(self):
        return self.world.lit


class CoreRig(Rig):
    narrows = False
    axis = ""

    def axes(self, **more):
        return tuple(Axis(name, "m", 0.0, 1.0, **more) for name in "xy")

    def make(self, axes=None, **more):
        return MicroManager(None, axes or self.axes(), core=lambda: FakeCore(self.world), **LONG | more)


# --- bluesky ----------------------------------------------------------------------------------------------------------


class FakeStatus:
    """Done when its function has returned, in a thread of its own."""

    def __init__(self, function):
        self._error, self._done, self._calls = None, threading.Event(), []

        def work():
            try:
                function()
            except Exception as error:
                self._error = error
            self._done.set()
            for call in self._calls:
                call(self)

        self._work = work

    def add_callback(self, call):
        self._calls.append(call)
        threading.Thread(target=self._work, daemon=True).start()

    def exception(self, timeout):
        assert self._done.wait(timeout)
        return self._error

    @property
    def done(self):
        return self._done.is_set()

    @property
    def success(self):
        return self._error is None


class FakeMotor:
    """As those of ophyd are: synchronous, with a status."""

    def __init__(self, rig, axis):
        self.rig, self.axis, self.name = rig, axis, "xy"[axis]
        self.limits, self.egu = rig.limits, rig.unit

    @property
    def position(self):
        return self.rig.world.where(self.axis)

    def set(self, value):
        return FakeStatus(lambda: self.rig.world.move(self.axis, value))

    def stop(self, *, success=False):
        self.rig.world.acts.append(("halt", self.name))


class FakeDetector:
    name = "det"

    def __init__(self, world):
        self.world, self.value, self.staged = world, 0.0, False

    def stage(self):
        self.staged = True
        return [self]

    def unstage(self):
        self.staged = False
        return [self]

    def trigger(self):
        assert self.staged
        return FakeStatus(lambda: setattr(self, "value", self.world.measure()))

    def read(self):
        return {"signal": {"value": self.value, "timestamp": 0.0}}

    def describe(self):
        return {"signal": {"source": "here", "dtype": "number", "shape": [], "units": "A"}}


class FakeLamp:
    name = "lamp"

    def __init__(self, world):
        self.world = world

    def set(self, value):
        return FakeStatus(lambda: self.world.light(value))

    def read(self):
        return {"lamp": {"value": int(self.world.lit), "timestamp": 0.0}}


class BlueskyRig(Rig):
    def devices(self):
        self.world.open()
        return {
            "x": FakeMotor(self, 0), "y": FakeMotor(self, 1), "det": FakeDetector(self.world),
            "lamp": FakeLamp(self.world),
        }  # fmt: skip

    def make(self, axes=None, **more):
        return Bluesky(self.devices, axes or self.axes(), detectors=("det",), **DARK | more)


class AsyncMotor:
    """As those of ophyd-async are: everything is a coroutine."""

    def __init__(self, world, axis):
        self.world, self.axis, self.name, self.connected = world, axis, "xy"[axis], False

    async def connect(self, timeout):
        self.connected = True

    async def locate(self):
        return {"setpoint": 0.0, "readback": self.world.where(self.axis)}

    async def set(self, value):
        assert self.connected
        self.world.move(self.axis, value)

    async def stop(self, success=True):
        self.world.acts.append(("halt", self.name))


class AsyncDetector:
    name = "det"

    def __init__(self, world):
        self.world, self.value = world, 0.0

    async def stage(self):
        pass

    async def unstage(self):
        pass

    async def trigger(self):
        self.value = self.world.measure()

    async def read(self):
        return {"signal": {"value": self.value, "timestamp": 0.0}}

    async def describe(self):
        return {"signal": {"source": "here", "dtype": "number", "shape": [], "units": "A"}}


class AsyncLamp:
    name = "lamp"

    def __init__(self, world):
        self.world = world

    async def set(self, value):
        self.world.light(value)

    async def read(self):
        return {"lamp": {"value": int(self.world.lit), "timestamp": 0.0}}


class AsyncRig(BlueskyRig):
    narrows = False

    def devices(self):
        self.world.open()
        world = self.world
        return types.SimpleNamespace(
            x=AsyncMotor(world, 0), y=AsyncMotor(world, 1), det=AsyncDetector(world), lamp=AsyncLamp(world)
        )


RIGS = {
    "qcodes": QcodesRig,
    "pymeasure": PymeasureRig,
    "epics": EpicsRig,
    "tango": AttributesRig,
    "tango stem": TangoRig,
    "micromanager": CoreRig,
    "ophyd": BlueskyRig,
    "ophyd-async": AsyncRig,
}
