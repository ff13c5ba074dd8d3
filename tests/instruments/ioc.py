"""An IOC of EPICS that misbehaves on demand: ``python ioc.py PORT`` with the CA server's variables set to 127.0.0.1."""

import sys

from caproto import AlarmSeverity, AlarmStatus, ChannelType
from caproto.server import PVGroup, pvproperty, run

LIMITS = {"lower_ctrl_limit": -1.0, "upper_ctrl_limit": 0.9, "units": "mm", "precision": 6}


class Stage(PVGroup):
    """Two axes with read-back, a diode, a spectrum, a lamp."""

    x = pvproperty(value=0.5, name="x", **LIMITS)
    y = pvproperty(value=0.5, name="y", **LIMITS)
    x_rbv = pvproperty(value=0.5, name="x.RBV", units="mm")
    y_rbv = pvproperty(value=0.5, name="y.RBV", units="mm")
    x_stop = pvproperty(value=0, name="x.STOP")
    diode = pvproperty(value=1.5, name="diode", units="A", precision=6, alarm_group="diode")
    spectrum = pvproperty(value=[float(n) for n in range(64)], name="spectrum", units="1", max_length=64)
    lamp = pvproperty(value="On", name="lamp", dtype=ChannelType.ENUM, enum_strings=["Off", "On"])
    mode = pvproperty(value=0, name="mode")  # 1: deaf, 2: clamps, 3: the diode is INVALID

    async def _go(self, readback, value):
        mode = self.mode.value
        if mode != 1:
            await readback.write(min(max(value, 0.4), 0.6) if mode == 2 else value)

    @x.putter
    async def x(self, instance, value):
        await self._go(self.x_rbv, value)

    @y.putter
    async def y(self, instance, value):
        await self._go(self.y_rbv, value)

    @mode.putter
    async def mode(self, instance, value):
        severity = AlarmSeverity.INVALID_ALARM if value == 3 else AlarmSeverity.NO_ALARM
        await self.diode.write(1.5, severity=severity, status=AlarmStatus.READ)

    @lamp.startup
    async def lamp(self, instance, async_lib):
        print("ready", flush=True)


if __name__ == "__main__":
    run(Stage(prefix="T:").pvdb, interfaces=["127.0.0.1"])
    sys.exit(0)
