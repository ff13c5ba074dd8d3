"""A Tango device with an axis that takes its time, and misbehaves on demand: ``python tango_device.py PORT``."""

import sys
import time

import numpy as np
from tango import AttrQuality, AttrWriteType, DevState
from tango.server import Device, attribute, command, run

NAME = "test/stage/1"
MOVE_S = 0.1


class Stage(Device):
    """x goes to where it is written in `MOVE_S`; mode 1 makes it deaf, mode 2 the current invalid."""

    x = attribute(dtype=float, access=AttrWriteType.READ_WRITE, unit="mm", min_value=-1.0, max_value=0.9)
    x_read = attribute(dtype=float, unit="mm")
    current = attribute(dtype=float, unit="A")
    spectrum = attribute(dtype=(float,), max_dim_x=64)
    shutter = attribute(dtype=float, access=AttrWriteType.READ_WRITE)
    mode = attribute(dtype=int, access=AttrWriteType.READ_WRITE)

    def init_device(self):
        super().init_device()
        self._from = self._to = 0.0
        self._begun, self._shutter, self._mode = 0.0, 1.0, 0

    def _share(self):
        return min(1.0, (time.monotonic() - self._begun) / MOVE_S)

    def dev_state(self):
        return DevState.MOVING if self._share() < 1.0 else DevState.ON

    def read_x(self):
        return self._to

    def write_x(self, value):
        if self._mode != 1:
            self._from, self._to, self._begun = self.read_x_read(), value, time.monotonic()

    def read_x_read(self):
        return self._from + self._share() * (self._to - self._from)

    def read_current(self):
        return 1.5, time.time(), AttrQuality.ATTR_INVALID if self._mode == 2 else AttrQuality.ATTR_VALID

    def read_spectrum(self):
        return np.arange(16.0)

    def read_shutter(self):
        return self._shutter

    def write_shutter(self, value):
        self._shutter = value

    def read_mode(self):
        return self._mode

    def write_mode(self, value):
        self._mode = value

    @command()
    def Stop(self):
        self._to = self._from = self.read_x_read()

    @command()
    def Expose(self):
        pass


if __name__ == "__main__":
    port = sys.argv[1]
    words = ["stage", "1", "-nodb", "-dlist", NAME, "-ORBendPoint", f"giop:tcp:127.0.0.1:{port}"]
    run((Stage,), args=words, post_init_callback=lambda: print(f"tango://127.0.0.1:{port}/{NAME}#dbase=no", flush=True))
