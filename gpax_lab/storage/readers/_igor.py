"""Igor binary waves (.ibw; WaveMetrics, Technical Note 3), and the labels and notes of Asylum microscopes in them."""

import re
import struct
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gpax_lab.storage._dataset import SPATIAL, UNKNOWN, Dataset, axis
from gpax_lab.storage._errors import UnreadableFile
from gpax_lab.storage._nsid import Axis
from gpax_lab.storage.readers._common import decoded, unique

_TYPES = {2: "f4", 4: "f8", 8: "i1", 16: "i2", 32: "i4", 128: "i8", 72: "u1", 80: "u2", 96: "u4", 192: "u8"}
_TYPES |= {3: "c8", 5: "c16"}
_OLD = {1: 8, 2: 16, 3: 20}  # bytes of the first header, by version
_HEADER_2, _HEADER_5 = 110, 320  # bytes of the wave header before the data
_LABEL = 32  # bytes of a label of a row or column
# Asylum's channels whose unit is not the one of the wave, by the start of their names (MFP-3D and Cypher). There is no
# public list: these are the names that its files carry, with the unit of what they name; any other name is "a.u.".
_UNITS = {"phase": "deg", "freq": "Hz", "userin": "V", "lateral": "V", "current": "A", "curr": "A", "dissipation": "W"}
_UNITS |= {"backpackin": "V", "tipbias": "V", "samplebias": "V", "potential": "V", "input": "V", "losstan": "1"}
_UNITS |= {"phas": "deg", "time": "s", "q": "1"}
_LENGTHS = ("height", "zsensor", "zsnsr", "amp", "defl", "raw", "lvdt", "sensor", "displacement")
_DIRECTION = re.compile(r"(?:Nap)?(.*?)(\d*)(?:Mod\d*)?(?:Re)?(?:Trace)?(?:Mod\d*)?", re.IGNORECASE)


class Wave(NamedTuple):
    """A wave as the file has it: values in Igor's order, and per dimension scale, offset, unit and labels."""

    name: str
    values: np.ndarray
    unit: str
    scale: list[float]
    offset: list[float]
    units: list[str]
    labels: list[list[str]]
    note: str


def wave(path: Path) -> dict[str, Dataset]:
    """An Igor wave; layers or columns that carry labels are channels of their own.

    Igor's first dimension is x: layers that carry labels, and whatever begins with two axes of lengths, are images or
    stacks of them as (y, x, ...).

    Raises:
        UnreadableFile: the file is no Igor wave, was cut, or holds text.
    """
    found = _read(path.read_bytes())
    metadata: dict[str, Any] = {"note": found.note}
    for line in found.note.splitlines():
        key, colon, value = line.partition(":")
        if colon:
            metadata[key.strip()] = value.strip()
    values, axes = found.values, _axes(found)
    for dimension in (2, 1):
        labels = found.labels[dimension] if dimension < values.ndim else []
        if values.ndim != dimension + 1 or len(labels) != values.shape[dimension] or not any(labels):
            continue
        labels = [label or f"{found.name}_{k}" for k, label in enumerate(labels)]
        known = any(_known(label) for label in labels)
        kept = {**metadata, "labels": labels}
        channels = {}
        for k, (key, label) in enumerate(zip(unique(labels), labels, strict=True)):
            part = values[:, :, k].T if dimension == 2 else values[:, k]
            its = (axes[1], axes[0]) if dimension == 2 else (axes[0],)
            unit = _unit(label, k, metadata, found.unit, known) or "a.u."
            channels[key] = Dataset(part, its, label, unit, label, metadata=kept)
        return channels
    marks = list(found.labels)
    if values.ndim > 1 and all(one.kind == SPATIAL for one in axes[:2]):
        values, axes = values.swapaxes(0, 1), (axes[1], axes[0], *axes[2:])
        marks[:2] = marks[1::-1]
    about = {**metadata, "labels": marks} if any(marks) else metadata
    return {found.name: Dataset(values, axes, found.name, found.unit or "a.u.", found.name, metadata=about)}


def _read(raw: bytes) -> Wave:
    if len(raw) < 8:
        raise UnreadableFile(f"{len(raw)} bytes are no Igor wave.")
    order = "<" if raw[0] else ">"  # the version is a small number of 16 bits
    (version,) = struct.unpack_from(order + "h", raw)
    if version == 5:
        return _version_5(raw, order)
    if version in _OLD:
        return _old(raw, order, version)
    raise UnreadableFile(f"version {version} of Igor waves is not known; 1, 2, 3 and 5 are.")


def _version_5(raw: bytes, order: str) -> Wave:
    start = 64 + _HEADER_5
    if len(raw) < start:
        raise UnreadableFile("the file ends within its header.")
    if int(np.frombuffer(raw, order + "i2", start // 2).sum(dtype=np.int64)) & 0xFFFF:
        raise UnreadableFile("the checksum of the header is wrong: the file is damaged.")
    _, formula, note, unit_size, *sizes = struct.unpack_from(order + "4i4i4i", raw, 4)
    unit_sizes, label_sizes = sizes[:4], sizes[4:8]
    if min(formula, note, unit_size, *sizes) < 0:
        raise UnreadableFile("a part of the file has a negative size.")
    count, kind = struct.unpack_from(order + "ih", raw, 64 + 12)
    name = _text(raw[64 + 28 : 64 + 60])
    shape = struct.unpack_from(order + "4i", raw, 64 + 68)
    scale, offset = (list(struct.unpack_from(order + "4d", raw, 64 + at)) for at in (84, 116))
    unit = _text(raw[64 + 148 : 64 + 152])
    units = [_text(raw[64 + 152 + 4 * k : 64 + 156 + 4 * k]) for k in range(4)]
    dimensions = [n for n in shape if n > 0] or [count]
    values, end = _numbers(raw, start, kind, order, dimensions, count)
    end += formula
    text = _part(raw, end, note)
    end += note
    unit = _text(_part(raw, end, unit_size)) if unit_size else unit
    end += unit_size
    for k, size in enumerate(unit_sizes):
        units[k] = _text(_part(raw, end, size)) if size else units[k]
        end += size
    labels = []
    for size in label_sizes:
        part = _part(raw, end, size)
        # The first label is the one of the dimension as a whole.
        labels.append([_text(part[at : at + _LABEL]) for at in range(_LABEL, size - size % _LABEL, _LABEL)])
        end += size
    return Wave(
        name=name or "wave",
        values=values,
        unit=unit,
        scale=scale,
        offset=offset,
        units=units,
        labels=labels,
        note=_lines(text),
    )


def _old(raw: bytes, order: str, version: int) -> Wave:
    head = _OLD[version]
    start = head + _HEADER_2
    if len(raw) < start:
        raise UnreadableFile("the file ends within its header.")
    kind = struct.unpack_from(order + "h", raw, head)[0]
    name, unit, x_unit = (_text(raw[head + a : head + b]) for a, b in ((6, 26), (34, 38), (38, 42)))
    count, _, scale, offset = struct.unpack_from(order + "ihdd", raw, head + 42)
    values, end = _numbers(raw, start, kind, order, [count], count)
    note = struct.unpack_from(order + "i", raw, 6)[0] if version > 1 else 0
    text = _part(raw, end + 16, note) if note > 0 else b""  # 16 bytes of padding lie behind the data
    return Wave(
        name=name or "wave",
        values=values,
        unit=unit,
        scale=[scale],
        offset=[offset],
        units=[x_unit],
        labels=[[], [], [], []],
        note=_lines(text),
    )


def _numbers(raw: bytes, start: int, kind: int, order: str, shape: list[int], count: int) -> tuple[np.ndarray, int]:
    if kind not in _TYPES:
        raise UnreadableFile("the wave holds text." if kind == 0 else f"numbers of the type {kind} are not known.")
    dtype = np.dtype(order + _TYPES[kind])
    size = 1
    for n in shape:
        size *= n
    if count < 1 or size != count:
        raise UnreadableFile(f"{count} numbers do not fill the shape {tuple(shape)}.")
    if start + size * dtype.itemsize > len(raw):
        raise UnreadableFile(f"the file was cut: {size} numbers of {dtype.itemsize} bytes are not there.")
    values = np.frombuffer(raw, dtype, size, start).reshape(shape, order="F")
    return values, start + size * dtype.itemsize


def _part(raw: bytes, start: int, size: int) -> bytes:
    if start + size > len(raw):
        raise UnreadableFile("the file was cut behind its numbers: the note or the labels are not whole.")
    return raw[start : start + size]


def _axes(found: Wave) -> tuple[Axis, ...]:
    axes = []
    for index, count in enumerate(found.values.shape):
        unit = found.units[index] if index < len(found.units) else ""
        values = found.offset[index] + found.scale[index] * np.arange(count)
        kind = SPATIAL if unit == "m" and index < 2 else "" if unit else UNKNOWN
        axes.append(axis("time" if unit == "s" and index == 0 else "xyzt"[index], values, unit, kind=kind))
    return tuple(axes)


def _text(raw: bytes) -> str:
    """Text up to its NUL; what lies behind was left there by a longer one before it."""
    return decoded(raw.split(b"\0", 1)[0]).strip()


def _lines(raw: bytes) -> str:
    return decoded(raw).replace("\r\n", "\n").replace("\r", "\n").rstrip("\0")


def _known(label: str) -> bool:
    return label.lower().startswith((*_LENGTHS, *_UNITS)) or bool(re.search(r"(?:Re)?[Tt]race$", label))


def _unit(label: str, index: int, note: dict[str, Any], unit: str, asylum: bool) -> str:
    """The unit of a channel: of the note, of its kind, of the wave where it is a length; empty where nobody knows.

    The one unit of a wave is the one of its first layer; other layers of Asylum's images and force curves have others.
    """
    match = _DIRECTION.fullmatch(label)
    base, number = (match[1], match[2]) if match else (label, "")
    for key in (f"{label}Unit", f"{base}{number}Unit", f"{base}Unit"):
        if note.get(key):
            return {"°": "deg", "º": "deg"}.get(str(note[key]), str(note[key]))
    told = str(note.get(f"Channel{index + 1}DataType", ""))
    for name in (base.lower(), told.lower()):
        if name.startswith(_LENGTHS):
            return unit
        for start, its in sorted(_UNITS.items(), key=lambda item: -len(item[0])):
            if name == start or (len(start) > 1 and name.startswith(start)):
                return its
    return "" if asylum else unit
