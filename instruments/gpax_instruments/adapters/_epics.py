"""EPICS Channel Access: process variables as axes and detectors."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gpax_instruments.adapters._adapter import Adapter
from gpax_instruments.adapters._signals import Signal, differing
from gpax_instruments.adapters._units import agree
from gpax_instruments.adapters._worker import fault_of
from gpax_instruments.errors import DeviceError, LinkLost
from gpax_lab.core import Axis, InstrumentError

INVALID_ALARM = 3  # severity by which an IOC says that a value is undefined (EPICS Application Developer's Guide)


class EPICS(Adapter):
    """Process variables (PVs) of EPICS over Channel Access. Moves are puts with completion, and are read back.

    Where the IOC is found is said by EPICS's own variables (``EPICS_CA_ADDR_LIST``). Needs caproto (extra `epics`).

    Args:
        address: prefix of all PVs, such as "BL7:", of which one campaign at a time may make use.
        axes: coordinates with their limits, in the unit of their PV; its control limits narrow them further.
        setpoint: PV that each axis is sent by; the name of the axis where it is left out.
        readback: PV that tells where an axis stands; the setpoint itself where it is left out, which finds less.
        detectors: PV of each array of a measurement, scalars or waveforms.
        trigger: PV that 1 is put to, with completion, before the detectors are read.
        halt: PVs that 1 is put to first in the safe state, such as "x.STOP".
        safe: values that make safe, by PV; put in this order, and read back.
        units: unit of an array, or of an axis as the IOC spells it.
        repeatable: whether a measurement whose outcome is unknown may be done again at the same position.
        timeout_s: seconds for one exchange, and for finding all PVs.
        busy_timeout_s: seconds for one move, and for one measurement.

    Raises:
        ValueError: names of axes that there are not, no detectors, or a time outside the limits.
    """

    system = "EPICS"

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
        super().__init__(axes, units, repeatable, timeout_s, busy_timeout_s)
        self.address = address
        to, back = self._by_axis("setpoint", setpoint), self._by_axis("readback", readback)
        self._to = [to.get(axis.name, axis.name) for axis in self._given]
        self._back = [back.get(axis.name, at) for axis, at in zip(self._given, self._to, strict=True)]
        self._detectors, self._trigger = dict(detectors), trigger
        self._halt, self._safe_at = tuple(halt or ()), dict(safe or {})
        if not self._detectors:
            raise ValueError('detectors: name at least one, ARRAY = "PV"')
        self._context: Any = None
        self._pvs: dict[str, Any] = {}

    def identity(self) -> str:
        """PVs have no maker: the prefix."""
        return self.address

    def _open(self) -> None:
        self._ask(self._search)
        for axis, at in zip(self._given, self._to, strict=True):
            agree(axis.name, axis.unit, _unit(self._read(at).metadata), self._units)

    def _search(self) -> None:
        try:
            from caproto.threading.client import Context
        except ImportError as error:
            raise ImportError("EPICS needs caproto: pip install gpax-lab[epics]") from error
        names = [*self._to, *self._back, *self._detectors.values(), *self._halt, *self._safe_at]
        names = list(dict.fromkeys([*names, self._trigger] if self._trigger else names))
        self._context = Context(timeout=self.timeout_s)
        found = self._context.get_pvs(*(self.address + name for name in names))
        self._pvs = dict(zip(names, found, strict=True))
        share_s = 0.9 * self.timeout_s  # they connect side by side
        for pv in found:
            pv.wait_for_connection(timeout=share_s)

    def _read(self, name: str, long: bool = False) -> Any:
        """A read with units, limits and alarm."""
        pv = self._pvs[name]
        return self._ask_timed(lambda timeout_s: pv.read(data_type="control", timeout=timeout_s), long)

    def _put(self, name: str, value: float, long: bool = False) -> None:
        """A put with completion."""
        pv = self._pvs[name]
        number = int(value) if float(value).is_integer() else value  # an enumeration takes no float
        done = self._ask_timed(lambda timeout_s: pv.write(number, wait=True, timeout=timeout_s), long)
        status = getattr(done, "status", None)
        if status is not None and not getattr(status, "success", True):
            raise DeviceError(f"{self.address}{name} refuses {value!r}: {getattr(status, 'description', status)}")

    def _limits(self) -> list[tuple[float, float] | None]:
        found: list[tuple[float, float] | None] = []
        for name in self._to:
            about = self._read(name).metadata
            low, high = getattr(about, "lower_ctrl_limit", 0.0), getattr(about, "upper_ctrl_limit", 0.0)
            found.append(None if low == high else (low, high))  # equal ones are EPICS's way to say none
        return found

    def _where(self) -> np.ndarray:
        return np.array([self._scalar(name) for name in self._back])

    def _scalar(self, name: str) -> float:
        values = np.asarray(self._read(name).data, np.float64)
        return float(values[0]) if values.size == 1 else float("nan")

    def _send(self, setpoint: np.ndarray) -> None:
        for name, value in zip(self._to, setpoint.tolist(), strict=True):
            self._put(name, value, long=True)

    def _acquire(self, token: str) -> dict[str, Signal]:
        if self._trigger:
            self._put(self._trigger, 1, long=True)
        return {name: self._signal(name, at) for name, at in self._detectors.items()}

    def _signal(self, name: str, at: str) -> Signal:
        answer = self._read(at, long=True)
        values, unit = np.asarray(answer.data), self._units.get(name) or _unit(answer.metadata) or "a.u."
        trouble = "" if getattr(answer.metadata, "severity", 0) < INVALID_ALARM else "the IOC says that it is INVALID"
        return Signal(values[0] if values.shape == (1,) else values, unit, None, trouble)

    def _safe(self) -> None:
        for name in self._halt:
            self._put(name, 1)
        for name, value in self._safe_at.items():
            for setpoint in self._way_to_safe(name, value, self._to):
                self._put(name, setpoint, long=True)

    def _unsafe(self) -> str:
        return differing((self.address + name, self._scalar(name), value) for name, value in self._safe_at.items())

    def _release(self) -> None:
        context, self._context, self._pvs = self._context, None, {}
        if context is not None:
            context.disconnect()
            context.broadcaster.disconnect()

    def _fault(self, error: BaseException) -> type[InstrumentError]:
        """Timeouts of PVs that are not there any more, and caproto's own words for a link that is gone."""
        gone = any(not getattr(pv, "connected", True) for pv in self._pvs.values())
        if gone or type(error).__name__ in ("DisconnectedError", "ContextDisconnectedError", "DeadCircuitError"):
            return LinkLost
        return fault_of(error)


def _unit(about: Any) -> str:
    """Unit as an IOC tells it; empty where it tells none."""
    unit = getattr(about, "units", b"")
    return unit.decode("latin-1").strip("\0 ") if isinstance(unit, bytes) else str(unit)
