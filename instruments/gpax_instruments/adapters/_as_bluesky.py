"""Our instruments as devices of bluesky: a RunEngine scans them as it scans a beamline."""

import itertools
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from gpax_lab.core import Axis, Instrument, Measurement
from gpax_lab.core._measurement import require_instrument


class _Status:
    """What bluesky waits for (`bluesky.protocols.Status`)."""

    def __init__(self) -> None:
        self._over, self._lock = threading.Event(), threading.Lock()
        self._calls: list[Callable[[Any], None]] = []
        self._error: BaseException | None = None

    def add_callback(self, callback: Callable[[Any], None]) -> None:
        """Call back when it is done; at once where it is."""
        with self._lock:
            if not self._over.is_set():
                self._calls.append(callback)
                return
        callback(self)

    def exception(self, timeout: float | None = 0.0) -> BaseException | None:
        """What went wrong; None when nothing did. Raises TimeoutError where it is not done in time."""
        if not self._over.wait(timeout):
            raise TimeoutError("not done yet")
        return self._error

    @property
    def done(self) -> bool:
        """Whether it is over, for good or ill."""
        return self._over.is_set()

    @property
    def success(self) -> bool:
        """Whether it is over and nothing went wrong."""
        return self.done and self._error is None

    def finish(self, error: BaseException | None = None) -> None:
        """It is over."""
        with self._lock:
            self._error = error
            self._over.set()
            calls, self._calls = self._calls, []
        for call in calls:
            call(self)


class _Act:
    """The instrument behind the devices, where the axes were sent, and the last measurement."""

    def __init__(self, instrument: Instrument) -> None:
        self.instrument = instrument
        self.target: dict[str, float] = {}
        self.measurement: Measurement | None = None
        self.at = 0.0  # time of it
        self._lock = threading.Lock()
        self._run, self._count = uuid.uuid4().hex[:12], itertools.count()

    def axes(self) -> tuple[Axis, ...]:
        """Those of the instrument, as they are now."""
        return tuple(self.instrument.axes or ())

    def measure(self) -> None:
        """Measure where the axes were sent."""
        missing = [axis.name for axis in self.axes() if axis.name not in self.target]
        if missing:
            raise ValueError(f"axis {', '.join(missing)} was not set: set every axis once before the first trigger")
        x = np.array([self.target[axis.name] for axis in self.axes()], np.float64)
        with self._lock:
            self.measurement = self.instrument.measure(x, f"bluesky-{self._run}-{next(self._count)}")
            self.at = time.time()

    def make_safe(self) -> None:
        """Leave it safe, after what is being measured."""
        with self._lock:
            self.instrument.make_safe()


class _Device:
    """What all devices have of bluesky's protocols."""

    parent: Any = None

    def __init__(self, act: _Act, name: str) -> None:
        self._act, self.name = act, name

    def read_configuration(self) -> dict[str, Any]:
        """Nothing that is set beside what is measured."""
        return {}

    def describe_configuration(self) -> dict[str, Any]:
        """As `read_configuration`."""
        return {}

    def stop(self, success: bool = True) -> None:
        """Make the instrument safe: bluesky asks for it at the end of every plan, however it ended."""
        self._act.make_safe()


class _BlueskyAxis(_Device):
    """One axis: Movable, Readable, Locatable, Checkable, Stoppable. It is moved when the detector is triggered."""

    def __init__(self, act: _Act, name: str, axis: Axis) -> None:
        super().__init__(act, name)
        self.axis = axis

    @property
    def hints(self) -> dict[str, Any]:
        """What is plotted."""
        return {"fields": [self.name]}

    def _now(self) -> Axis:
        return next(axis for axis in self._act.axes() if axis.name == self.axis.name)

    def check_value(self, value: Any) -> None:
        """Raise MoveRefused where value may not be sent. Sends nothing."""
        self._now().check(value)

    def set(self, value: Any) -> _Status:
        """Keep value as the target of the next measurement. Raises MoveRefused outside the limits; sends nothing."""
        self._act.target[self.axis.name] = self._now().check(value)
        status = _Status()
        status.finish()
        return status

    def locate(self) -> dict[str, float]:
        """Setpoint and read-back of the last measurement; NaN for what there is none of."""
        return {"setpoint": self._act.target.get(self.axis.name, float("nan")), "readback": self._readback()}

    def _readback(self) -> float:
        measurement, names = self._act.measurement, [axis.name for axis in self._act.axes()]
        if measurement is None or measurement.position is None:
            return self._act.target.get(self.axis.name, float("nan"))
        return float(measurement.position[names.index(self.axis.name)])

    def read(self) -> dict[str, Any]:
        """Read-back of the last measurement."""
        return {self.name: {"value": self._readback(), "timestamp": self._act.at or time.time()}}

    def describe(self) -> dict[str, Any]:
        """Of `read`."""
        about = {"source": f"gpax_lab:{self.axis.name}", "dtype": "number", "shape": [], "units": self.axis.unit}
        return {self.name: about}


class _BlueskyDetector(_Device):
    """The measurement: Triggerable, Readable, Configurable, Stoppable."""

    def trigger(self) -> _Status:
        """Go where the axes were sent and measure there, in a thread of its own."""
        status = _Status()

        def work() -> None:
            try:
                self._act.measure()
            except BaseException as error:
                status.finish(error)
            else:
                status.finish()

        threading.Thread(target=work, name=self.name, daemon=True).start()
        return status

    def _last(self) -> Measurement:
        if self._act.measurement is None:
            raise RuntimeError(f"{self.name}: nothing was measured yet; trigger it first")
        return self._act.measurement

    @property
    def hints(self) -> dict[str, Any]:
        """The scalars among the arrays, as soon as they are known."""
        last = self._act.measurement
        return {"fields": [f"{self.name}-{n}" for n, v in last.arrays.items() if v.ndim == 0] if last else []}

    def read(self) -> dict[str, Any]:
        """Arrays of the last measurement, whether it is good (1 or 0), and why not."""
        last, at = self._last(), self._act.at
        values: Mapping[str, Any] = {name: v.item() if v.ndim == 0 else v for name, v in last.arrays.items()}
        told = {**values, "ok": int(last.ok), "reason": last.reason}
        return {f"{self.name}-{name}": {"value": value, "timestamp": at} for name, value in told.items()}

    def describe(self) -> dict[str, Any]:
        """Of `read`; known after the first measurement."""
        last, found = self._last(), {}
        for name, values in last.arrays.items():
            found[f"{self.name}-{name}"] = {
                "source": f"gpax_lab:{name}",
                "dtype": "array" if values.ndim else "number",
                "shape": list(values.shape),
                "dtype_numpy": values.dtype.str,
                "units": last.units[name],
            }
        found[f"{self.name}-ok"] = {"source": "gpax_lab:ok", "dtype": "integer", "shape": []}
        found[f"{self.name}-reason"] = {"source": "gpax_lab:reason", "dtype": "string", "shape": []}
        return found

    def read_configuration(self) -> dict[str, Any]:
        """Identity and limits of the instrument."""
        told = {"identity": self._act.instrument.identity(), **self._act.instrument.limits}
        return {f"{self.name}-{name}": {"value": value, "timestamp": time.time()} for name, value in told.items()}

    def describe_configuration(self) -> dict[str, Any]:
        """Of `read_configuration`."""
        return {
            name: {
                "source": "gpax_lab:configuration",
                "dtype": "string" if isinstance(told["value"], str) else "number",
                "shape": [],
            }
            for name, told in self.read_configuration().items()
        }


def as_bluesky(instrument: Instrument, name: str = "instrument") -> tuple[dict[str, Any], Any]:
    """An instrument as devices that bluesky's RunEngine scans. Needs nothing installed.

    The axes take targets, and refuse those outside their limits; the instrument goes there when the detector is
    triggered, and the axes then read what was read back. A bad measurement is read with ``ok`` 0 and its reason. At
    the end of every plan, however it ends, bluesky stops the devices, which makes the instrument safe.

    Args:
        instrument: connected.
        name: begins the names of all devices.

    Returns:
        the axes by name, and the detector.

    Raises:
        ValueError: it tells no axes.
        TypeError: it is no instrument.

    Example:
        >>> class Bench(Instrument):
        ...     axes = (Axis("x", "m", 0.0, 1.0),)
        ...
        ...     def measure(self, x, token):
        ...         return Measurement({"power": np.asarray(x[0] ** 2)}, {"power": "W"}, position=x)
        ...
        ...     def make_safe(self):
        ...         pass
        >>> axes, detector = as_bluesky(Bench(), "bench")
        >>> axes["x"].set(0.5).success, detector.trigger().exception(timeout=10.0)
        (True, None)
        >>> detector.read()["bench-power"]["value"]
        0.25
    """
    require_instrument(instrument)
    act = _Act(instrument)
    if not act.axes():
        raise ValueError(f"{type(instrument).__name__} tells no axes, and bluesky scans axes: give it `axes`")
    return {axis.name: _BlueskyAxis(act, f"{name}-{axis.name}", axis) for axis in act.axes()}, _BlueskyDetector(
        act, name
    )
