"""Parameters of QCoDeS, properties of PyMeasure, and whatever else can be set and got, as axes and detectors."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from gpax_instruments.adapters._adapter import Adapter
from gpax_instruments.adapters._signals import Signal, differing
from gpax_instruments.adapters._station import check_source, made_by, thing
from gpax_instruments.adapters._units import agree
from gpax_instruments.errors import DeviceError
from gpax_lab.core import Axis


class Knob(NamedTuple):
    """Something that can be set, got, or both.

    Attributes:
        get: None where it can not be read.
        set: None where it can not be set.
        unit: as it says itself; empty where it does not.
        limits: its own; None where it has none.
    """

    get: Callable[[], Any] | None
    set: Callable[[float], Any] | None
    unit: str
    limits: tuple[float, float] | None


class Parameters(Adapter):
    """Whatever a laboratory's own Python program can set and read: QCoDeS parameters, PyMeasure properties, the like.

    Args:
        source: function without arguments that makes the station (an instrument, a mapping of them, a QCoDeS station),
            or the name under which it is registered. Called by ``connect``, and again where the link was lost: it has
            to close what is left of the former one first (``qcodes.Instrument.close_all()``).
        axes: coordinates with their limits, in the unit of their parameter; a QCoDeS validator narrows them further.
        position: name of the parameter of each axis in what source makes, such as "dac.ch1"; that of the axis itself
            where it is left out.
        readback: name of what tells where an axis stands, where that is another one.
        detectors: name of what is measured, by name of the array.
        safe: values that make safe, by name of the parameter; set in this order, and read back.
        units: unit of an array, or of an axis as the parameter spells it.
        repeatable: whether a measurement whose outcome is unknown may be done again at the same position.
        timeout_s: seconds for one exchange, and for source.
        busy_timeout_s: seconds for one move, and for one measurement.

    Raises:
        ValueError: no such station, names of axes that there are not, no detectors, or a time outside the limits.
    """

    system = "the station"
    claimed_by = "source"

    def __init__(
        self,
        source: str | Callable[[], Any],
        axes: Sequence[Axis],
        *,
        position: Mapping[str, str] | None = None,
        readback: Mapping[str, str] | None = None,
        detectors: Mapping[str, str],
        safe: Mapping[str, float] | None = None,
        units: Mapping[str, str] | None = None,
        repeatable: bool = False,
        timeout_s: float = 10.0,
        busy_timeout_s: float = 60.0,
    ) -> None:
        super().__init__(axes, units, repeatable, timeout_s, busy_timeout_s)
        check_source(source)
        self.source = source
        self._position = self._by_axis("position", position)
        self._readback_at = self._by_axis("readback", readback)
        self._detectors, self._safe_at = dict(detectors), dict(safe or {})
        if not self._detectors:
            raise ValueError('detectors: name at least one, ARRAY = "NAME"')
        self._moving: list[Knob] = []
        self._reading: list[Knob] = []
        self._measured: dict[str, Knob] = {}
        self._safe_knobs: list[tuple[str, Knob, float]] = []

    def identity(self) -> str:
        """Names and values are the laboratory's: none is told."""
        return ""

    def _open(self) -> None:
        station = self._ask(partial(made_by, self.source))
        find = {name: self._ask(partial(_knob, station, name)) for name in self._names()}
        self._moving, self._reading = [], []
        for axis in self._given:
            knob = find[self._position.get(axis.name, axis.name)]
            if knob.set is None:
                raise DeviceError(f"axis {axis.name}: {self._position.get(axis.name, axis.name)} can not be set")
            agree(axis.name, axis.unit, knob.unit, self._units)
            self._moving.append(knob)
            self._reading.append(find[self._readback_at[axis.name]] if axis.name in self._readback_at else knob)
        self._measured = {name: find[at] for name, at in self._detectors.items()}
        self._safe_knobs = [(at, find[at], value) for at, value in self._safe_at.items()]
        if blind := [name for name, knob in self._measured.items() if knob.get is None]:
            raise DeviceError(f"detectors {blind} can not be read")
        if fixed := [at for at, knob, _ in self._safe_knobs if knob.set is None]:
            raise DeviceError(f"safe: {fixed} can not be set")

    def _names(self) -> list[str]:
        moving = [self._position.get(axis.name, axis.name) for axis in self._given]
        return list(dict.fromkeys([*moving, *self._readback_at.values(), *self._detectors.values(), *self._safe_at]))

    def _limits(self) -> list[tuple[float, float] | None]:
        return [knob.limits for knob in self._moving]

    def _where(self) -> np.ndarray | None:
        if any(knob.get is None for knob in self._reading):
            return None
        return np.array([_number(self._ask(knob.get)) for knob in self._reading if knob.get is not None])

    def _send(self, setpoint: np.ndarray) -> None:
        for knob, value in zip(self._moving, setpoint.tolist(), strict=True):
            if knob.set is not None:
                self._ask_long(partial(knob.set, value))

    def _acquire(self, token: str) -> dict[str, Signal]:
        found = {name: self._ask_long(knob.get) for name, knob in self._measured.items() if knob.get is not None}
        return {
            name: Signal(values, self._units.get(name) or self._measured[name].unit or "a.u.")
            for name, values in found.items()
        }

    def _safe(self) -> None:
        moved = [self._position.get(axis.name, axis.name) for axis in self._given]
        for at, knob, value in self._safe_knobs:
            for setpoint in self._way_to_safe(at, value, moved):
                if knob.set is not None:
                    self._ask_long(partial(knob.set, setpoint))

    def _unsafe(self) -> str:
        return differing((at, _number(self._ask(knob.get)), value) for at, knob, value in self._safe_knobs if knob.get)

    def _release(self) -> None:
        self._moving, self._reading, self._measured, self._safe_knobs = [], [], {}, []


def _number(value: Any) -> float:
    """What a parameter told, NaN where that is no number: then it is at no position."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return float("nan")


def _knob(station: Any, path: str) -> Knob:
    """What is set and got at a name.

    Raises:
        ValueError: it can be neither set nor got.
    """
    holder, name, found = thing(station, path)
    if found is None and not isinstance(holder, Mapping):  # a property, as those of PyMeasure
        about = getattr(type(holder), name, None)
        fixed = isinstance(about, property) and about.fset is None
        return Knob(lambda: getattr(holder, name), None if fixed else partial(setattr, holder, name), "", None)
    getter, setter = getattr(found, "get", None), getattr(found, "set", None)
    if not callable(getter) and not callable(setter):
        if callable(found):  # a function that measures
            return Knob(found, None, "", None)
        raise ValueError(f"{path} is a {type(found).__name__}, which can be neither set nor got")
    if getattr(found, "gettable", True) is False:
        getter = None
    if getattr(found, "settable", True) is False:
        setter = None
    return Knob(
        getter if callable(getter) else None,
        setter if callable(setter) else None,
        str(getattr(found, "unit", "") or ""),
        _valid(getattr(found, "vals", None)),
    )


def _valid(validator: Any) -> tuple[float, float] | None:
    """Lowest and highest value that a QCoDeS validator of numbers allows."""
    low, high = getattr(validator, "min_value", None), getattr(validator, "max_value", None)
    return None if low is None or high is None else (float(low), float(high))
