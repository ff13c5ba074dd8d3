"""Gwyddion's native files (.gwy), by the description in Gwyddion's user guide ("Gwyddion native data format").

All numbers are little-endian. Rows are kept in the file's order: y grows downwards from the upper edge, as in Gwyddion.
"""

import struct
from pathlib import Path
from typing import Any

import numpy as np

from gpax_lab.storage._dataset import SPATIAL, SPECTRAL, UNKNOWN, Dataset, axis, is_spatial
from gpax_lab.storage._errors import UnreadableFile
from gpax_lab.storage._nsid import Axis
from gpax_lab.storage.readers._common import unique

_MAGIC = b"GWYP"
_DEEPEST = 32  # objects in objects; Gwyddion writes fewer than ten
_ATOMS = {"b": ("<B", 1), "c": ("<b", 1), "i": ("<i", 4), "q": ("<q", 8), "d": ("<d", 8)}
_ARRAYS = {"C": "<i1", "I": "<i4", "Q": "<i8", "D": "<f8"}
_TYPE = "type"  # the key under which an object keeps its own name; no component is called so twice


def container(path: Path) -> dict[str, Dataset]:
    """Every image, mask, volume, surface, curve and spectrum of a Gwyddion file.

    Raises:
        UnreadableFile: the file is no Gwyddion container or was cut, with the place.
    """
    raw = path.read_bytes()
    if not raw.startswith(_MAGIC):
        raise UnreadableFile("it does not start with GWYP; files of Gwyddion 1 are not read.")
    name, tree, _ = _object(raw, len(_MAGIC), len(raw), 0)
    if name != "GwyContainer":
        raise UnreadableFile(f"it holds one {name!r} instead of a container.")
    titles = {key: value for key, value in tree.items() if isinstance(value, str)}
    names: list[str] = []
    found: list[Dataset] = []
    for key, value in tree.items():
        kind = value.get(_TYPE) if isinstance(value, dict) else None
        if kind not in _READERS:
            continue
        metadata = _about(tree, key)
        title = _title(titles, key, value)
        for part, dataset in _READERS[kind](value, title, metadata):
            names.append(part)
            found.append(dataset)
    return dict(zip(unique(names), found, strict=True))


def _title(titles: dict[str, str], key: str, value: dict[str, Any]) -> str:
    """The title beside an object, its own, or its place."""
    parts = key.strip("/").split("/")
    number, what = (parts[1], parts[0]) if len(parts) > 1 and not parts[0].isdigit() else (parts[0], parts[-1])
    if what in ("data", "mask", "show"):
        title = titles.get(f"/{number}/data/title", "") or f"data_{number}"
        return title if what == "data" else f"{title} {'mask' if what == 'mask' else 'presentation'}"
    own = str(value.get("title") or "")
    return titles.get(f"{key}/title", "") or own or "_".join(parts)


def _about(tree: dict[str, Any], key: str) -> dict[str, Any]:
    """Metadata that Gwyddion keeps for the channel of an object."""
    parts = key.strip("/").split("/")
    place = f"/{parts[0]}/meta" if parts[0].isdigit() else f"{key}/meta"
    kept = tree.get(place)
    found = {k: v for k, v in kept.items() if k != _TYPE} if isinstance(kept, dict) else {}
    return {**found, "place": key}


def _field(value: dict[str, Any], title: str, metadata: dict[str, Any]) -> list[tuple[str, Dataset]]:
    (ny, nx), data = _shaped(value, "yx")
    unit = _unit(value, "si_unit_xy")
    axes = (_along(value, "y", ny, unit), _along(value, "x", nx, unit))
    return [(title, Dataset(data, axes, title, _unit(value, "si_unit_z") or "a.u.", title, metadata=metadata))]


def _brick(value: dict[str, Any], title: str, metadata: dict[str, Any]) -> list[tuple[str, Dataset]]:
    sizes, data = _shaped(value, "zyx")
    axes = tuple(_along(value, name, n, _unit(value, f"si_unit_{name}")) for name, n in zip("zyx", sizes, strict=True))
    calibration = value.get("calibration")
    if isinstance(calibration, dict) and len(np.atleast_1d(calibration.get("data", []))) == sizes[0]:
        along = np.asarray(calibration["data"], np.float64)
        unit = _unit(calibration, "si_unit_y")
        kind = SPATIAL if is_spatial("z", unit) else SPECTRAL
        axes = (axis("z", along, unit, kind=kind), *axes[1:])
    return [(title, Dataset(data, axes, title, _unit(value, "si_unit_w") or "a.u.", title, metadata=metadata))]


def _surface(value: dict[str, Any], title: str, metadata: dict[str, Any]) -> list[tuple[str, Dataset]]:
    points = np.asarray(value.get("data", []), np.float64)
    if points.size == 0 or points.size % 3:
        raise UnreadableFile(f"the surface {title!r} has {points.size} numbers, which are no triples.")
    x, y, z = points.reshape(-1, 3).T
    unit = _unit(value, "si_unit_xy") or "1"
    about = {**metadata, "X": x, "Y": y, "units": {"X": unit, "Y": unit}}
    base = axis("point", np.arange(len(z), dtype=float), "1", kind=UNKNOWN)
    return [(title, Dataset(z, (base,), title, _unit(value, "si_unit_z") or "a.u.", title, metadata=about))]


def _graph(value: dict[str, Any], title: str, metadata: dict[str, Any]) -> list[tuple[str, Dataset]]:
    found = []
    labels = [str(value.get(key) or name) for key, name in (("bottom_label", "x"), ("left_label", "y"))]
    units = [_unit(value, "x_unit"), _unit(value, "y_unit")]
    for k, curve in enumerate(value.get("curves", [])):
        x, y = (np.asarray(curve.get(key, []), np.float64) for key in ("xdata", "ydata"))
        if x.size == 0 or x.shape != y.shape:
            raise UnreadableFile(f"curve {k + 1} of the graph {title!r} has {x.size} abscissae and {y.size} values.")
        name = str(curve.get("description") or f"curve {k + 1}")
        base = axis(labels[0], x, units[0])
        full = f"{title} {name}"
        found.append((full, Dataset(y, (base,), labels[1], units[1] or "a.u.", full, metadata=metadata)))
    return found


def _spectra(value: dict[str, Any], title: str, metadata: dict[str, Any]) -> list[tuple[str, Dataset]]:
    """Spectra at positions; one data set if they have one axis, else one for each."""
    lines = value.get("data", [])
    positions = np.asarray(value.get("coords", []), np.float64)
    if not lines:
        return []
    positions = (
        positions.reshape(len(lines), -1) if positions.size and positions.size % len(lines) == 0 else positions[:0]
    )
    unit = _unit(value, "si_unit_xy") or "1"
    curves = [_line(line, value) for line in lines]
    about = dict(metadata)
    if positions.ndim == 2 and positions.shape[1] >= 2:
        about |= {"X": positions[:, 0], "Y": positions[:, 1], "units": {"X": unit, "Y": unit}}
    first = curves[0][0]
    together = all(len(a.values) == len(first.values) and np.array_equal(a.values, first.values) for a, *_ in curves)
    if together:
        base = axis("position", np.arange(len(curves), dtype=float), "1", kind=SPATIAL)
        data = np.stack([values for _, values, _ in curves])
        return [(title, Dataset(data, (base, first), title, curves[0][2] or "a.u.", title, metadata=about))]
    keys = [f"{title} {k + 1}" for k in range(len(curves))]
    return [
        (key, Dataset(values, (along,), title, its or "a.u.", key, metadata=about))
        for key, (along, values, its) in zip(keys, curves, strict=True)
    ]


def _line(line: dict[str, Any], owner: dict[str, Any]) -> tuple[Axis, np.ndarray, str]:
    data = np.asarray(line.get("data", []), np.float64)
    n = int(line.get("res", 0))
    if n < 1 or data.size != n:
        raise UnreadableFile(f"a spectrum has {data.size} values instead of {n}.")
    along = float(line.get("off", 0.0)) + float(line.get("real", 1.0)) * (np.arange(n) + 0.5) / n
    name = str(owner.get("spec_xlabel") or "x")
    return axis(name, along, _unit(line, "si_unit_x"), kind=SPECTRAL), data, _unit(line, "si_unit_y")


def _shaped(value: dict[str, Any], names: str) -> tuple[list[int], np.ndarray]:
    sizes = [int(value.get(f"{name}res", 0)) for name in names]
    data = np.asarray(value.get("data", []), np.float64)
    size = 1
    for n in sizes:
        size *= n
    if min(sizes) < 1 or data.size != size:
        raise UnreadableFile(f"{data.size} numbers do not fill {' x '.join(map(str, sizes))}.")
    return sizes, data.reshape(sizes)


def _along(value: dict[str, Any], name: str, count: int, unit: str) -> Axis:
    """Pixel centres of a real length, from an offset."""
    real, start = float(value.get(f"{name}real", count)), float(value.get(f"{name}off", 0.0))
    spatial = name in "xy" or is_spatial(name, unit)
    return axis(name, start + real * (np.arange(count) + 0.5) / count, unit, kind=SPATIAL if spatial else SPECTRAL)


def _unit(value: dict[str, Any], key: str) -> str:
    unit = value.get(key)
    return str(unit.get("unitstr", "")) if isinstance(unit, dict) else ""


_READERS = {
    "GwyDataField": _field,
    "GwyBrick": _brick,
    "GwySurface": _surface,
    "GwyGraphModel": _graph,
    "GwySpectra": _spectra,
}


def _object(raw: bytes, at: int, end: int, depth: int) -> tuple[str, dict[str, Any], int]:
    """Name, components and end of the object that starts here."""
    if depth > _DEEPEST:
        raise UnreadableFile(f"objects lie more than {_DEEPEST} deep in one another.")
    name, at = _word(raw, at, end)
    size, at = _number(raw, at, end, "<I", 4)
    last = at + size
    if last > end:
        raise UnreadableFile(f"the object {name!r} at byte {at} is {last - end} bytes longer than what holds it.")
    found: dict[str, Any] = {_TYPE: name}
    while at < last:
        key, at = _word(raw, at, last)
        kind, at = raw[at : at + 1].decode("latin-1"), at + 1
        value, at = _component(raw, at, last, kind, depth, key)
        if key != _TYPE:
            found[key] = value
    return name, found, last


def _component(raw: bytes, at: int, end: int, kind: str, depth: int, key: str) -> tuple[Any, int]:
    if kind in _ATOMS:
        return _number(raw, at, end, *_ATOMS[kind])
    if kind == "s":
        return _word(raw, at, end)
    if kind == "o":
        return _object(raw, at, end, depth + 1)[1:]
    if kind in _ARRAYS:
        count, at = _number(raw, at, end, "<I", 4)
        dtype = np.dtype(_ARRAYS[kind])
        if at + count * dtype.itemsize > end:
            raise UnreadableFile(f"{key!r} at byte {at} is to hold {count} numbers, which are not there.")
        return np.frombuffer(raw, dtype, count, at), at + count * dtype.itemsize
    if kind in "SO" and kind:
        count, at = _number(raw, at, end, "<I", 4)
        if count > end - at:
            raise UnreadableFile(f"{key!r} at byte {at} is to hold {count} parts, which are not there.")
        parts: list[Any] = []
        for _ in range(count):
            part, at = _word(raw, at, end) if kind == "S" else _object(raw, at, end, depth + 1)[1:]
            parts.append(part)
        return parts, at
    raise UnreadableFile(f"{key!r} at byte {at} is of the unknown type {kind!r}.")


def _number(raw: bytes, at: int, end: int, code: str, size: int) -> tuple[Any, int]:
    if at + size > end:
        raise UnreadableFile(f"the file was cut, or a size in it is wrong, at byte {at}.")
    return struct.unpack_from(code, raw, at)[0], at + size


def _word(raw: bytes, at: int, end: int) -> tuple[str, int]:
    last = raw.find(b"\0", at, end)
    if last < 0:
        raise UnreadableFile(f"the text at byte {at} has no end.")
    return raw[at:last].decode("utf-8", "replace"), last + 1
