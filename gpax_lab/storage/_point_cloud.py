"""Measurements of a campaign as point clouds: scalars, status and stacked raw arrays at their measured positions."""

import re
from typing import Any, NamedTuple

import numpy as np

from gpax_lab.core._observations import FAILED, MEASURED
from gpax_lab.storage._contents import RAW
from gpax_lab.storage._errors import ExportError
from gpax_lab.storage._nexus import NAMES
from gpax_lab.storage._nsid import Axis, Column, Main, Stacked
from gpax_lab.storage._records import JournalRecord

_COLUMNS = {"step", "reason", "elapsed", "wall", "x"}
_RESERVED = {"status", "readings", "proposals", "log", "settings", "reading", "reading_index", "metadata", *NAMES}


class _Stack(NamedTuple):
    name: str
    rows: tuple[int, ...]
    values: Stacked  # (len(rows), ...)
    unit: str
    shared: bool  # the same vector in every measurement


class _Points(NamedTuple):
    positions: np.ndarray  # (n, d)
    names: tuple[str, ...]
    units: tuple[str, ...]

    def cloud(
        self,
        rows: tuple[int, ...],
        name: str,
        title: str,
        values: np.ndarray | Stacked,
        unit: str = "1",
        channels: tuple[Axis, ...] = (),
    ) -> Main:
        """Values (len(rows), *channels) at the positions of these measurements."""
        return Main(
            name=name,
            title=title,
            values=values,
            unit=unit,
            quantity=title,
            data_type="POINT_CLOUD",
            axes=(_index(rows), *channels),
            coordinates=self.positions[list(rows)],
            coordinate_unit=self.units[0] if len(set(self.units)) == 1 else ", ".join(self.units),
        )


def unit_of(value: Any) -> str:
    """A unit as readers take it."""
    return str(value) if value else "1"  # readers refuse an empty unit


def slug(name: str, taken: set[str]) -> str:
    """A name that HDF5 paths and attributes of Python objects can carry, not yet taken; it is added to `taken`."""
    base = re.sub(r"\W+", "_", name, flags=re.ASCII).strip("_") or "data"
    number, free = 1, base
    while free in taken:
        number += 1
        free = f"{base}_{number}"
    taken.add(free)
    return free


def _points(campaign: JournalRecord, measurements: tuple[JournalRecord, ...]) -> _Points:
    rows = [np.ravel(position_of(record)) for record in measurements]
    sizes = {row.size for row in rows}
    if len(sizes) > 1 or 0 in sizes:
        raise ExportError(f"the measurements have positions of {sorted(sizes)} coordinates; all need the same number")
    axes = campaign.header.get("axes") or []
    size = sizes.pop()
    if len(axes) != size:
        axes = [{"name": f"x{index}"} for index in range(size)]
    taken: set[str] = set()
    names = tuple(slug(str(axis.get("name", "x")), taken) for axis in axes)
    return _Points(np.array(rows, np.float64), names, tuple(unit_of(axis.get("unit")) for axis in axes))


def position_of(record: JournalRecord) -> Any:
    """Where a measurement was taken: by its position, unless that was not believed."""
    doubted = any(flag in record.header.get("flags", ()) for flag in ("position_unclear", "position_outside"))
    names = ("x",) if doubted and "x" in record.arrays else ("place", "position", "x")
    return next((record.arrays[name] for name in names if name in record.arrays), ())


def _stacks(measurements: tuple[JournalRecord, ...]) -> list[_Stack]:
    found: dict[tuple[str, Any, str], list[int]] = {}
    for row, record in enumerate(measurements):
        for name, array in record.arrays.items():
            if name.startswith(RAW) and array.size:
                found.setdefault((name, array.shape, array.dtype.str), []).append(row)
    stacks = []
    for (name, _, _), rows in found.items():
        units = measurements[rows[0]].header.get("units") or {}
        short = name[len(RAW) :]
        values = Stacked([measurements[row].arrays[name] for row in rows])
        unit = unit_of(units.get(short, units.get(name)))
        stacks.append(_Stack(short, tuple(rows), values, unit, _is_shared(values)))
    return stacks


def _is_shared(values: Stacked) -> bool:
    if len(values.shape) != 2:
        return False
    first = values.row(0).tobytes()
    return all(values.row(index).tobytes() == first for index in range(values.shape[0]))


def _pair(stacks: list[_Stack], measurements: tuple[JournalRecord, ...]) -> dict[int, int]:
    """Which stack (by index) is the axis of which: as the header says, else the first shared one of equal length."""
    pairs: dict[int, int] = {}
    for index, stack in enumerate(stacks):
        named = measurements[stack.rows[0]].header.get("axes")
        said = named.get(stack.name) if isinstance(named, dict) else None
        for other, axis in enumerate(stacks):
            fits = other != index and axis.shared and axis.values.shape[1:] == stack.values.shape[1:]
            fits = fits and axis.values.dtype.kind != "c" and set(stack.rows) <= set(axis.rows)
            inferred = len(axis.rows) > 1 and not stack.shared
            if fits and (axis.name == said if said else inferred):
                pairs[index] = other
                break
    return pairs


def _index(rows: tuple[int, ...]) -> Axis:
    return Axis("reading", np.arange(len(rows)), "1", "reading", "POINT_CLOUD")


def _channels(stack: _Stack, axis: _Stack | None, taken: set[str]) -> tuple[Axis, ...]:
    if axis is not None:
        return (Axis(slug(axis.name, taken), axis.values.row(0), axis.unit, axis.name, "SPECTRAL"),)
    shape = stack.values.shape[1:]
    kinds = ["SPECTRAL"] if len(shape) == 1 else ["CHANNEL"] * len(shape)
    return tuple(
        Axis(slug("channel", taken), np.arange(size), "1", "channel", kind)
        for size, kind in zip(shape, kinds, strict=True)
    )


def _raw(stacks: list[_Stack], measurements: tuple[JournalRecord, ...], points: _Points, taken: set[str]) -> list[Main]:
    pairs = _pair(stacks, measurements)
    mains = []
    for index, stack in enumerate(stacks):
        if index in pairs.values() and index not in pairs:
            continue  # it is written as the axis of another
        name = slug(stack.name, taken)
        axis = stacks[pairs[index]] if index in pairs else None
        channels = _channels(stack, axis, {name, *_RESERVED})
        cloud = points.cloud(stack.rows, name, stack.name, stack.values, stack.unit, channels)
        mains.append(cloud._replace(columns={"reading_index": np.array(stack.rows, np.int64)}))
    return mains


def _scalars(
    campaign: JournalRecord, measurements: tuple[JournalRecord, ...], points: _Points, taken: set[str]
) -> list[Main]:
    quantity = campaign.header.get("quantity") or {}
    quantities = quantity if isinstance(quantity, list) else [quantity]
    rows = [np.ravel(value_of(record.header.get("value"))) for record in measurements]
    width = max(row.size for row in rows)
    every = tuple(range(len(measurements)))
    mains = []
    for column in range(width):
        about = quantities[column] if column < len(quantities) else {}
        title = str(about.get("name") or ("value" if width == 1 else f"value {column}"))
        values = np.array([row[column] if column < row.size else np.nan for row in rows])
        mains.append(points.cloud(every, slug(title, taken), title, values, unit_of(about.get("unit"))))
    return mains


def value_of(value: Any) -> np.ndarray:
    """A measurement's scalar or list of scalars; None (it failed) is NaN."""
    return np.asarray(np.nan if value is None else value, np.float64)


def _table(
    measurements: tuple[JournalRecord, ...], points: _Points, status: np.ndarray, start: float
) -> dict[str, Column]:
    headers = [record.header for record in measurements]
    table = {
        "step": Column(np.array([record.step for record in measurements], np.int64), "1"),
        "status": Column(status, "1"),
        "reason": Column([str(header.get("reason") or "") for header in headers], "1"),
        "elapsed": Column(np.array([record.monotonic - start for record in measurements]), "s"),
        "wall": Column(np.array([record.wall for record in measurements]), "s"),
    }
    for index, (name, unit) in enumerate(zip(points.names, points.units, strict=True)):
        table[f"position_{name}"] = Column(points.positions[:, index].copy(), unit)
    inputs = [np.ravel(record.arrays.get("x", ())) for record in measurements]
    if len({row.size for row in inputs}) == 1 and inputs[0].size:
        table["x"] = Column(np.array(inputs, np.float64), "1")
    return table


def from_measurements(
    campaign: JournalRecord, measurements: tuple[JournalRecord, ...]
) -> tuple[list[Main], dict[str, Column]]:
    """Point clouds and the table of the measurements, failed ones included.

    Args:
        campaign: the entry that names axes and quantity.
        measurements: the entries of kind "reading".

    Returns:
        The data sets (measured quantity first, then status, then raw arrays) and the columns of the table; both empty
        where there is no measurement.

    Raises:
        ExportError: positions with different numbers of coordinates.
    """
    if not measurements:
        return [], {}
    points = _points(campaign, measurements)
    status = np.array([MEASURED if record.header.get("ok", True) else FAILED for record in measurements], np.int8)
    taken = set(_RESERVED) | _COLUMNS | {"posterior_mean", "posterior_sd", "posterior_diagnostics"}
    every = tuple(range(len(measurements)))
    marks = points.cloud(every, "status", "status", status)
    scalars = _scalars(campaign, measurements, points, taken)
    mains = [*scalars, marks, *_raw(_stacks(measurements), measurements, points, taken)]
    table = _table(measurements, points, status, campaign.monotonic)
    # Once more as columns: rosettasciio shows the units of columns, but not those of an NXdata signal.
    return mains, {**table, **{main.name: Column(np.asarray(main.values), main.unit) for main in scalars}}
