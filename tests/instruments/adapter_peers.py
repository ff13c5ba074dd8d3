"""The rigs of `adapter_rigs.py` with the libraries themselves, where these leave the world to us."""

import types

import pytest
from adapter_rigs import BlueskyRig, PymeasureRig, QcodesRig


class RealQcodes(QcodesRig):
    def __init__(self, monkeypatch):
        pytest.importorskip("qcodes", reason="QCoDeS is not installed: pip install gpax-lab[qcodes]")
        super().__init__(monkeypatch)

    def station(self):
        from qcodes.parameters import Parameter
        from qcodes.validators import Numbers

        world = self.world
        world.open()

        def coordinate(i):
            return Parameter(
                "xy"[i], unit=self.unit, vals=Numbers(*self.limits), get_cmd=lambda: world.where(i),
                set_cmd=lambda value: world.move(i, value),
            )  # fmt: skip

        lamp = Parameter("lamp", get_cmd=lambda: int(world.lit), set_cmd=world.light)
        stage = types.SimpleNamespace(x=coordinate(0), y=coordinate(1))
        return {"stage": stage, "lamp": lamp, "diode": Parameter("diode", get_cmd=world.measure, unit="A")}


class RealPymeasure(PymeasureRig):
    def __init__(self, monkeypatch):
        pytest.importorskip("pymeasure", reason="PyMeasure is not installed: pip install pymeasure")
        super().__init__(monkeypatch)

    def station(self):
        from pymeasure.adapters import Adapter
        from pymeasure.instruments import Instrument

        world = self.world
        world.open()

        class Wire(Adapter):
            answer = ""

            def _write(self, command, **_):
                word, _, value = command.partition(" ")
                match word:
                    case "x" | "y":
                        world.move("xy".index(word), float(value))
                    case "lamp":
                        world.light(float(value))
                    case "x?" | "y?":
                        self.answer = repr(world.where("xy".index(word[0])))
                    case "lamp?":
                        self.answer = str(int(world.lit))
                    case "power?":
                        self.answer = repr(float(world.measure()))

            def _read(self, **_):
                return self.answer

        class Bench(Instrument):
            x = Instrument.control("x?", "x %.17g", "Position.")
            y = Instrument.control("y?", "y %.17g", "Position.")
            lamp = Instrument.control("lamp?", "lamp %g", "Lamp.")
            power = Instrument.measurement("power?", "Power.")

        return Bench(Wire(), "bench", includeSCPI=False)


class RealOphyd(BlueskyRig):
    def __init__(self, monkeypatch):
        pytest.importorskip("ophyd", reason="ophyd is not installed: pip install gpax-lab[bluesky]")
        super().__init__(monkeypatch)

    def devices(self):
        from ophyd import Signal
        from ophyd.positioner import SoftPositioner
        from ophyd.status import DeviceStatus, Status

        world, rig = self.world, self
        world.open()

        class Motor(SoftPositioner):
            def __init__(self, axis):
                self.axis = axis
                super().__init__(name="xy"[axis], egu=rig.unit, limits=rig.limits)

            @property
            def position(self):
                return world.where(self.axis)

            def _setup_move(self, position, status):
                world.move(self.axis, position)
                status.set_finished()

            def stop(self, *, success=False):
                world.acts.append(("halt", self.name))

        class Detector(Signal):
            def stage(self):
                return [self]

            def unstage(self):
                return [self]

            def trigger(self):
                status = DeviceStatus(self)
                self.put(world.measure())
                status.set_finished()
                return status

        class Lamp(Signal):
            def set(self, value, **_):
                world.light(value)
                status = Status()
                status.set_finished()
                return status

            def get(self, **_):
                return int(world.lit)

        return {"x": Motor(0), "y": Motor(1), "det": Detector(name="signal", value=0.0), "lamp": Lamp(name="lamp")}


class RealOphydAsync(BlueskyRig):
    narrows = False

    def __init__(self, monkeypatch):
        pytest.importorskip("ophyd_async", reason="ophyd-async is not installed: pip install ophyd-async")
        super().__init__(monkeypatch)

    def devices(self):
        from ophyd_async.core import AsyncStatus, Device, StandardReadable, soft_signal_r_and_setter

        world = self.world
        world.open()

        class Motor(Device):
            def __init__(self, axis):
                self.axis = axis
                self.readback, self.tell = soft_signal_r_and_setter(float, units="1")
                super().__init__(name="xy"[axis])

            async def locate(self):
                self.tell(world.where(self.axis))
                return {"setpoint": 0.0, "readback": await self.readback.get_value()}

            @AsyncStatus.wrap
            async def set(self, value):
                world.move(self.axis, value)

            async def stop(self, success=True):
                world.acts.append(("halt", self.name))

        class Detector(StandardReadable):
            def __init__(self):
                with self.add_children_as_readables():
                    self.signal, self.tell = soft_signal_r_and_setter(float, units="A")
                super().__init__(name="det")

            @AsyncStatus.wrap
            async def trigger(self):
                self.tell(world.measure())

        class Lamp(StandardReadable):
            def __init__(self):
                with self.add_children_as_readables():
                    self.state, self.tell = soft_signal_r_and_setter(float)
                super().__init__(name="lamp")

            @AsyncStatus.wrap
            async def set(self, value):
                world.light(value)

            async def read(self):
                self.tell(float(world.lit))
                return await super().read()

        return types.SimpleNamespace(x=Motor(0), y=Motor(1), det=Detector(), lamp=Lamp())


PEERS = {
    "real qcodes": RealQcodes,
    "real pymeasure": RealPymeasure,
    "real ophyd": RealOphyd,
    "real ophyd-async": RealOphydAsync,
}
