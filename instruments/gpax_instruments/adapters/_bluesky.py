"""Devices of bluesky (ophyd, ophyd-async, or anything of its protocols) as an instrument."""

import inspect
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from gpax_instruments.adapters._adapter import Adapter
from gpax_instruments.adapters._signals import Signal, differing
from gpax_instruments.adapters._station import check_source, made_by, thing
from gpax_instruments.adapters._units import agree
from gpax_instruments.errors import DeviceError, LinkLost, LinkTimeout
from gpax_lab.core import Axis, InstrumentError


class Bluesky(Adapter):
    """Devices that bluesky's RunEngine would drive, driven here: Movable ones as axes, Readable ones as detectors.

    Each device is staged before the first measurement and unstaged in the safe state. Devices of coroutines
    (ophyd-async) are connected and run in an event loop of their own.

    Args:
        source: function without arguments that makes the devices (a mapping by name, or an object that has them), or
            the name under which it is registered; called by ``connect``, and again where the link was lost.
        axes: coordinates with their limits, in the unit of their device; limits that it has narrow them further.
        positioners: name of the device of each axis in what source makes; that of the axis where it is left out.
        detectors: names of the devices that are triggered and read.
        signals: names of the data that are kept, as the devices call them; None for all.
        safe: values that devices are set to in the safe state, by name, in this order.
        units: unit of an array, or of an axis as the device spells it.
        repeatable: whether a measurement whose outcome is unknown may be done again at the same position.
        timeout_s: seconds for one exchange, and for connecting.
        busy_timeout_s: seconds for one move, and for one measurement.

    Raises:
        ValueError: no such station, names of axes that there are not, no detectors, or a time outside the limits.
    """

    system = "bluesky's devices"
    claimed_by = "source"

    def __init__(
        self,
        source: str | Callable[[], Any],
        axes: Sequence[Axis],
        *,
        positioners: Mapping[str, str] | None = None,
        detectors: Sequence[str],
        signals: Sequence[str] | None = None,
        safe: Mapping[str, float] | None = None,
        units: Mapping[str, str] | None = None,
        repeatable: bool = False,
        timeout_s: float = 10.0,
        busy_timeout_s: float = 120.0,
    ) -> None:
        super().__init__(axes, units, repeatable, timeout_s, busy_timeout_s)
        check_source(source)
        self.source = source
        at = self._by_axis("positioners", positioners)
        self._at = [at.get(axis.name, axis.name) for axis in self._given]
        self._detectors, self._signals, self._safe_at = tuple(detectors), signals, dict(safe or {})
        if not self._detectors:
            raise ValueError("detectors: name at least one device")
        self._devices: dict[str, Any] = {}
        self._about: dict[str, Any] = {}
        self._staged: list[Any] = []

    def identity(self) -> str:
        """Devices of bluesky have no serial numbers: none is told."""
        return ""

    # --- the devices ----------------------------------------------------------------------------------------------

    def _open(self) -> None:
        made = self._ask(partial(made_by, self.source))
        names = list(dict.fromkeys([*self._at, *self._detectors, *self._safe_at]))
        self._devices = {name: self._ask(partial(_device, made, name)) for name in names}
        self._staged = []
        for device in self._devices.values():
            self._ask_timed(partial(_connected, device))
        for axis, name in zip(self._given, self._at, strict=True):
            if not callable(getattr(self._devices[name], "set", None)):
                raise DeviceError(f"{name} can not be set: it is no Movable of bluesky")
            agree(axis.name, axis.unit, self._ask(partial(_unit, self._devices[name])), self._units)
        self._about = {}
        for name in self._detectors:
            self._about |= dict(self._ask(self._devices[name].describe))

    def _limits(self) -> list[tuple[float, float] | None]:
        return [self._ask(partial(_limits, self._devices[name])) for name in self._at]

    def _where(self) -> np.ndarray:
        return np.array([self._ask(partial(_position, self._devices[name])) for name in self._at])

    def _send(self, setpoint: np.ndarray) -> None:
        for name, value in zip(self._at, setpoint.tolist(), strict=True):
            self._set(name, value)

    def _set(self, name: str, value: float) -> None:
        device = self._devices[name]
        if callable(check := getattr(device, "check_value", None)):
            self._ask(partial(check, value))
        self._ask_timed(lambda seconds: _set(device, value, seconds), long=True)

    def _acquire(self, token: str) -> dict[str, Signal]:
        if not self._staged:
            for device in self._devices.values():
                self._staged.append(device)
                self._ask_timed(partial(_done, device, "stage"), long=True)
        for name in self._detectors:
            self._ask_timed(partial(_done, self._devices[name], "trigger"), long=True)
        found: dict[str, Any] = {}
        for name in self._detectors:
            found |= dict(self._ask_long(self._devices[name].read))
        if missing := sorted(set(self._signals or ()) - set(found)):
            raise DeviceError(f"the detectors give no {', '.join(missing)}, but {', '.join(found)}")
        kept = found if self._signals is None else {name: found[name] for name in self._signals}
        return {name: Signal(told["value"], self._unit_of(name)) for name, told in kept.items()}

    def _unit_of(self, name: str) -> str:
        return self._units.get(name) or str(self._about.get(name, {}).get("units") or "a.u.")

    def _safe(self) -> None:
        for name in dict.fromkeys([*self._at, *self._detectors]):
            if callable(stop := getattr(self._devices[name], "stop", None)):
                self._ask(stop)
        for name, value in self._safe_at.items():
            for setpoint in self._way_to_safe(name, value, self._at):
                self._set(name, setpoint)
        while self._staged:
            self._ask_timed(partial(_done, self._staged[-1], "unstage"), long=True)
            self._staged.pop()

    def _unsafe(self) -> str:
        return differing((n, self._ask(partial(_position, self._devices[n])), v) for n, v in self._safe_at.items())

    def _release(self) -> None:
        self._devices, self._staged = {}, []

    def _fault(self, error: BaseException) -> type[InstrumentError]:
        """Words of ophyd and ophyd-async for a device that is not there any more, beside those of everybody."""
        names = {one.__name__ for one in type(error).__mro__}
        if names & {"DisconnectedError", "NotConnectedError", "NotConnected", "DestroyedError"}:
            return LinkLost
        if names & {"StatusTimeoutError", "WaitTimeoutError"}:
            return LinkTimeout
        return super()._fault(error)


# --- one device, in the thread of all devices ------------------------------------------------------------------------


def _device(made: Any, name: str) -> Any:
    holder, last, found = thing(made, name)
    return getattr(holder, last) if found is None else found


def _connected(device: Any, seconds: float) -> Any:
    """Connect a device; a coroutine for those of ophyd-async."""
    if inspect.iscoroutinefunction(getattr(device, "connect", None)):
        return device.connect(timeout=seconds)
    if callable(wait := getattr(device, "wait_for_connection", None)):
        return wait(timeout=seconds)
    return None


def _unit(device: Any) -> str:
    return str(getattr(device, "egu", "") or "") if isinstance(getattr(device, "egu", ""), str) else ""


def _limits(device: Any) -> tuple[float, float] | None:
    """Limits of a positioner of ophyd; equal ones stand for none."""
    found = getattr(device, "limits", None)
    if not isinstance(found, tuple | list) or len(found) != 2 or found[0] == found[1]:
        return None
    return float(found[0]), float(found[1])


async def _position(device: Any) -> float:
    """Where a device stands: what it locates, its position, or what it reads under its own name."""
    if callable(locate := getattr(device, "locate", None)):
        return _number((await _value(locate()))["readback"])
    if (position := getattr(device, "position", None)) is not None and not callable(position):
        return _number(position)
    told = await _value(device.read())
    name = str(getattr(device, "name", ""))
    return _number(told[name if name in told else next(iter(told))]["value"])


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return float("nan")


async def _value(found: Any) -> Any:
    return await found if inspect.isawaitable(found) else found


async def _set(device: Any, value: float, seconds: float) -> None:
    await _finished(device.set(value), seconds, f"the move of {getattr(device, 'name', device)}")


async def _finished(status: Any, seconds: float, what: str) -> None:
    """Return when a status of bluesky is done; raise what went wrong."""
    if inspect.isawaitable(status):
        await status
        return
    if not hasattr(status, "add_callback"):  # stage() of ophyd gives a list of devices, others None
        return
    done = threading.Event()
    status.add_callback(lambda *_: done.set())
    if not done.wait(seconds):
        raise TimeoutError(f"{what} is not done within {seconds:g} s")
    if (error := status.exception(0)) is not None:
        raise error
    if not status.success:
        raise DeviceError(f"{what} has failed")


async def _done(device: Any, act: str, seconds: float) -> None:
    """Let a device do what it can do without an argument, and wait for its end; nothing where it can not."""
    if callable(function := getattr(device, act, None)):
        await _finished(function(), seconds, f"{act} of {getattr(device, 'name', device)}")
