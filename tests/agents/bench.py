"""Instruments for agents: they note what reaches them."""

import time

import numpy as np

from gpax_lab.core import Axis, Instrument, InstrumentError, Measurement, MoveRefused

AXES = (Axis("x", "m", 0.0, 1e-6), Axis("bias", "V", -5.0, 5.0))


class Lost(InstrumentError):
    unreachable = True


class Bench(Instrument):
    """Curves, or images, that carry a dose; every call is noted."""

    repeatable = False

    def __init__(self, shape=(16,), slow=0.0, dose=2.0):
        self.calls, self.shape, self.slow, self.dose, self.fail = [], shape, slow, dose, None

    @property
    def axes(self):
        return AXES

    @property
    def limits(self):
        return {"vmax": 5.0}

    def identity(self):
        return "Bench 1"

    @property
    def units(self):
        return {"bias": "V", "response": "pm"} if len(self.shape) == 1 else {"height": "m"}

    def measure(self, x, token):
        self.calls.append(("measure", tuple(np.asarray(x).tolist()), token))
        time.sleep(self.slow)
        if self.fail is not None:
            raise self.fail
        arrays = {} if self.dose is None else {"dose": np.array(self.dose)}
        values = np.arange(np.prod(self.shape), dtype=float).reshape(self.shape) * x[0]
        if len(self.shape) == 1:
            arrays |= {"bias": np.linspace(-5, 5, self.shape[0]), "response": values}
        else:
            arrays |= {"height": values}
        return Measurement(arrays, {name: "V" if name == "bias" else "pm" for name in arrays}, position=np.asarray(x))

    def make_safe(self):
        self.calls.append(("make_safe",))

    @property
    def measured(self):
        return [call for call in self.calls if call[0] == "measure"]

    @property
    def safe(self):
        return sum(call[0] == "make_safe" for call in self.calls)


REFUSED = MoveRefused("axis x: sent and did not arrive")
