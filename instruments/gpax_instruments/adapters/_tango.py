"""Tango: attributes of a device as axes and detectors, and what every adapter over Tango shares."""

import time
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from gpax_instruments.adapters._adapter import POLL_S, Adapter
from gpax_instruments.adapters._signals import Signal, differing
from gpax_instruments.adapters._units import agree
from gpax_instruments.drivers._bounded import judged
from gpax_instruments.errors import DeviceError, LinkLost, LinkTimeout
from gpax_lab.core import Axis, InstrumentError

UNREACHABLE = {"API_CantConnectToDevice", "API_CantConnectToDatabase", "API_DeviceNotExported", "API_ServerNotRunning"}
"""Reasons by which Tango says that nobody is there."""

BUSY = ("MOVING", "RUNNING", "INIT")
"""States of a device that is not done (Tango's own names)."""


class TangoLink(Adapter):
    """An adapter that talks to one Tango device. Arguments as those of `Adapter`, and the address of the device."""

    system = "Tango"

    def __init__(
        self,
        address: str,
        axes: Sequence[Axis],
        units: Mapping[str, str] | None,
        repeatable: bool,
        timeout_s: float,
        busy_timeout_s: float,
    ) -> None:
        super().__init__(axes, units, repeatable, timeout_s, busy_timeout_s)
        self.address = address
        self._proxy: Any = None
        self._library: Any = None

    def identity(self) -> str:
        """Class and name of the device."""
        if self._worker is None:
            self.connect()
        about = self._tango(lambda proxy: proxy.info())
        return f"{about.dev_class},{self._tango(lambda proxy: proxy.dev_name())}"

    def _open(self) -> None:
        self._ask_timed(self._reach)
        self._look()

    @abstractmethod
    def _look(self) -> None:
        """See whether the device has what is needed; send nothing that acts."""

    def _reach(self, seconds: float) -> None:
        try:
            import tango
        except ImportError as error:
            raise ImportError("Tango needs PyTango: pip install gpax-lab[tango]") from error
        self._library = tango
        with tango.EnsureOmniThread():
            self._proxy = tango.DeviceProxy(self.address)
            self._proxy.set_timeout_millis(_milliseconds(seconds))
            self._proxy.ping()

    def _tango(self, function: Callable[[Any], Any], long: bool = False) -> Any:
        """What function of the proxy returns."""
        proxy, library = self._proxy, self._library

        def call(seconds: float) -> Any:
            with library.EnsureOmniThread():
                proxy.set_timeout_millis(_milliseconds(seconds))
                return function(proxy)

        return self._ask_timed(call, long)

    def _command(self, name: str, *arguments: Any, long: bool = False) -> Any:
        return self._tango(lambda proxy: proxy.command_inout(name, *arguments), long)

    def _attribute(self, name: str, long: bool = False) -> Any:
        """Value of an attribute; None where the device says that it is invalid."""
        return self._tango(lambda proxy: proxy.read_attribute(name).value, long)

    def _release(self) -> None:
        self._proxy = None

    def _fault(self, error: BaseException) -> type[InstrumentError]:
        reasons = {str(getattr(one, "reason", "")) for one in getattr(error, "args", ())}
        if "API_DeviceTimedOut" in reasons:
            return LinkTimeout
        if type(error).__name__ in ("ConnectionFailed", "CommunicationFailed") or reasons & UNREACHABLE:
            return LinkLost
        return DeviceError if type(error).__name__ == "DevFailed" else super()._fault(error)

    def _words(self, error: BaseException) -> str:
        told = [str(one.desc) for one in getattr(error, "args", ()) if hasattr(one, "desc")]
        return told[0] if told else super()._words(error)


class Tango(TangoLink):
    """Attributes of a Tango device as axes and detectors; one device that has, or forwards, all of them.

    A write of an axis is waited for: until the device leaves its state MOVING (RUNNING, INIT), and until the read-back
    is there. Needs PyTango (extra `tango`).

    Args:
        address: of the device, ``a/b/c`` or, without a database, ``tango://host:port/a/b/c#dbase=no``.
        axes: coordinates with their limits, in the unit of their attribute; its own limits narrow them further.
        setpoint: attribute that each axis is sent by; the name of the axis where it is left out.
        readback: attribute that tells where an axis stands; the one of setpoint where it is left out.
        detectors: attribute of each array of a measurement, of any shape.
        trigger: command before the detectors are read; the device is waited for.
        halt: commands that come first in the safe state, such as "Stop".
        safe: values that make safe, by attribute; written in this order, and read back.
        units: unit of an array, or of an axis as the device spells it.
        repeatable: whether a measurement whose outcome is unknown may be done again at the same position.
        timeout_s: seconds for one exchange.
        busy_timeout_s: seconds for one move, and for one measurement.

    Raises:
        ValueError: names of axes that there are not, no detectors, or a time outside the limits.
    """

    def __init__(
        self,
        address: str,
        axes: Sequence[Axis],
        *,
        setpoint: Mapping[str, str] | None = None,
        readback: Mapping[str, str] | None = None,
        detectors: Mapping[str, str],
        trigger: str | None = None,
        halt: Sequence[str] | None = None,
        safe: Mapping[str, float] | None = None,
        units: Mapping[str, str] | None = None,
        repeatable: bool = False,
        timeout_s: float = 5.0,
        busy_timeout_s: float = 60.0,
    ) -> None:
        super().__init__(address, axes, units, repeatable, timeout_s, busy_timeout_s)
        to, back = self._by_axis("setpoint", setpoint), self._by_axis("readback", readback)
        self._to = [to.get(axis.name, axis.name) for axis in self._given]
        self._back = [back.get(axis.name, at) for axis, at in zip(self._given, self._to, strict=True)]
        self._detectors, self._trigger = dict(detectors), trigger
        self._halt, self._safe_at = tuple(halt or ()), dict(safe or {})
        if not self._detectors:
            raise ValueError('detectors: name at least one, ARRAY = "ATTRIBUTE"')
        self._about: dict[str, Any] = {}

    def _look(self) -> None:
        names = list(dict.fromkeys([*self._to, *self._back, *self._detectors.values(), *self._safe_at]))
        self._about = dict(zip(names, self._tango(lambda proxy: proxy.get_attribute_config(names)), strict=True))
        for axis, at in zip(self._given, self._to, strict=True):
            agree(axis.name, axis.unit, self._unit(at), self._units)

    def _unit(self, name: str) -> str:
        return str(getattr(self._about[name], "unit", ""))

    def _limits(self) -> list[tuple[float, float] | None]:
        return [_range(self._about[name]) for name in self._to]

    def _where(self) -> np.ndarray:
        return np.array([self._scalar(name) for name in self._back])

    def _scalar(self, name: str) -> float:
        value = self._attribute(name)
        return float("nan") if value is None or np.size(value) != 1 else float(np.ravel(value)[0])

    def _send(self, setpoint: np.ndarray) -> None:
        for name, value in zip(self._to, setpoint.tolist(), strict=True):
            self._write(name, value)
        self._wait()

    def _write(self, name: str, value: float) -> None:
        self._tango(lambda proxy: proxy.write_attribute(name, value), long=True)

    def _wait(self) -> None:
        """Return when the device is not busy. Raises LinkTimeout."""
        end = time.monotonic() + judged(self, "busy_timeout_s")
        while (state := str(self._tango(lambda proxy: proxy.state()))) in BUSY:
            if time.monotonic() > end:
                raise LinkTimeout(f"{self.address} is still {state} after {self.busy_timeout_s:g} s; look at it")
            time.sleep(POLL_S)

    def _acquire(self, token: str) -> dict[str, Signal]:
        if self._trigger is not None:
            self._command(self._trigger, long=True)
            self._wait()
        return {name: self._signal(name, at) for name, at in self._detectors.items()}

    def _signal(self, name: str, at: str) -> Signal:
        values, unit = self._attribute(at, long=True), self._units.get(name) or self._unit(at) or "a.u."
        if values is None:
            return Signal(np.nan, unit, None, "the device says that it is invalid")
        return Signal(values, unit)

    def _safe(self) -> None:
        for name in self._halt:
            self._command(name)
        for name, value in self._safe_at.items():
            for setpoint in self._way_to_safe(name, value, self._to):
                self._write(name, setpoint)
                self._wait()

    def _unsafe(self) -> str:
        return differing((name, self._scalar(name), value) for name, value in self._safe_at.items())


def _range(about: Any) -> tuple[float, float] | None:
    """Limits of an attribute, which Tango tells in text; None where one of them is not specified."""
    try:
        return float(about.min_value), float(about.max_value)
    except ValueError:
        return None


def _milliseconds(seconds: float) -> int:
    return max(1, int(1e3 * seconds))
