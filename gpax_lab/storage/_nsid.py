"""Arrays in the NSID layout with NeXus attributes, as one HDF5 file.

NSID (pyNSID 0.0.7.2, `check_if_main`) wants each data set in a group of its own with one attached scale per dimension,
none of them empty, and seven text attributes; NeXus (NXdata, nexusformat.org) wants the group to name its signal and
axes. Both readers are satisfied by the same file, written here with plain h5py.

A plan is first laid out as a flat list of `Item`s; writing and verifying walk over that one list.
"""

import io
import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from gpax_lab.storage import _files as files
from gpax_lab.storage._errors import ExportError

CREATOR = "gpax_lab"
ROOT = "campaign"
# HDF5 keeps an attribute in the object header, where 64 KiB is the limit, unless the file uses the newest format.
_HEADER_LIMIT = 64_000
_NSID_VERSION = "0.0.7.2"  # the release whose layout this is


class Axis(NamedTuple):
    """One dimension of a data set: its name, values (length of the dimension), unit, quantity and sidpy type."""

    name: str
    values: np.ndarray
    unit: str
    quantity: str
    kind: str


class Stacked:
    """Arrays of equal shape and dtype as the rows of one that is never whole in memory.

    Args:
        rows: arrays, or what `numpy.asarray` makes one of (`_records.Later`).
    """

    def __init__(self, rows: Sequence[Any]) -> None:
        self._rows = rows
        self.shape: tuple[int, ...] = (len(rows), *rows[0].shape)
        self.dtype: np.dtype = rows[0].dtype

    def row(self, index: int) -> np.ndarray:
        """One of them."""
        return np.asarray(self._rows[index])

    def pieces(self, nbytes: int = 1 << 22) -> Iterator[tuple[slice, np.ndarray]]:
        """Rows in turn, as many at a time as so many bytes hold, and at least one."""
        size = max(1, nbytes // max(1, math.prod(self.shape[1:]) * self.dtype.itemsize))
        for start in range(0, self.shape[0], size):
            end = min(start + size, self.shape[0])
            yield slice(start, end), np.stack([self.row(index) for index in range(start, end)])


class Main(NamedTuple):
    """A data set that NSID and NeXus readers find.

    Attributes:
        name: of its group and data set, made of letters, digits and underscores.
        title: the name as people wrote it.
        values: any shape with no empty dimension.
        unit: its unit; "1" where there is none.
        quantity: what it is.
        data_type: sidpy's word ("POINT_CLOUD", ...).
        axes: one for each dimension.
        coordinates: (points, d) positions of a point cloud, or None.
        coordinate_unit: their unit.
        columns: further data sets in the same group.
    """

    name: str
    title: str
    values: np.ndarray | Stacked
    unit: str
    quantity: str
    data_type: str
    axes: tuple[Axis, ...]
    coordinates: np.ndarray | None = None
    coordinate_unit: str = "1"
    columns: Mapping[str, np.ndarray | list[str]] = MappingProxyType({})


class Column(NamedTuple):
    """One column of a table."""

    values: np.ndarray | list[str]
    unit: str


class Item(NamedTuple):
    """A group (`values` None) or a data set, its attributes, and the names of the scales of its dimensions."""

    path: str
    values: np.ndarray | Stacked | list[str] | str | None
    attributes: dict[str, Any]
    scales: tuple[str, ...] = ()


class Plan(NamedTuple):
    """What an HDF5 file is to hold: data sets, tables of columns, metadata for every data set, and further items."""

    mains: tuple[Main, ...]
    tables: Mapping[str, Mapping[str, Column]]
    metadata: Mapping[str, Any]
    title: str
    start: str
    fields: tuple[Item, ...] = ()


def attribute(value: Any) -> Any:
    """A metadata value as readers keep it: None becomes text (they drop it), mixed and text lists become JSON text."""
    if value is None:
        return "None"
    if isinstance(value, bool | float | str):
        return value
    if isinstance(value, int):
        return value if abs(value) < 2**63 else str(value)
    if isinstance(value, list) and value and all(isinstance(item, float | int) for item in value):
        array = np.asarray(value)
        return array if array.dtype.kind in "biuf" else json.dumps(value)
    return json.dumps(value, sort_keys=True)


def flatten(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one level of dotted names."""
    flat: dict[str, Any] = {}
    for key, item in value.items():
        name = f"{prefix}{key}"
        if isinstance(item, Mapping) and item:
            flat.update(flatten(item, f"{name}."))
        else:
            flat[name] = attribute(item)
    return flat


def _main_items(main: Main, metadata: dict[str, Any]) -> Iterable[Item]:
    group = f"/{ROOT}/{main.name}"
    names = [axis.name for axis in main.axes]
    about: dict[str, Any] = {"NX_class": "NXdata", "signal": main.name, "axes": names}
    if len(names) > 1:
        about["interpretation"] = "spectrum"  # the last dimension is what one detector reading is made of
    yield Item(group, None, about)
    yield Item(f"{group}/title", main.title, {})
    for axis in main.axes:
        described = {"name": axis.name, "units": axis.unit, "quantity": axis.quantity, "dimension_type": axis.kind}
        yield Item(f"{group}/{axis.name}", axis.values, described)
    attributes = {
        "quantity": main.quantity,
        "units": main.unit,
        "title": main.title,
        "main_data_name": main.name,
        "data_type": main.data_type,
        "modality": "autonomous campaign",
        "source": CREATOR,
        "pyNSID_version": _NSID_VERSION,
    }
    yield Item(f"{group}/{main.name}", main.values, attributes, tuple(names))
    for name, values in main.columns.items():
        yield Item(f"{group}/{name}", values, {"long_name": name})
    yield Item(f"{group}/metadata", None, metadata)
    yield Item(f"{group}/original_metadata", None, {"title": main.title})
    if main.coordinates is not None:
        # `spacial_units` is spelled so in the format; as a data set the coordinates would crash its reader.
        cloud = {"coordinates": main.coordinates, "spacial_units": main.coordinate_unit, "quantity": main.quantity}
        yield Item(f"{group}/point_cloud", None, cloud)


def layout(plan: Plan) -> list[Item]:
    """The groups and data sets of a plan, in the order in which they are written."""
    entry = {"NX_class": "NXentry", "title": plan.title, "start_time": plan.start}
    root = {"NX_class": "NXroot", "creator": CREATOR, "default": ROOT}
    if plan.mains:
        entry["default"] = plan.mains[0].name
    items = [Item("/", None, root), Item(f"/{ROOT}", None, entry)]
    metadata = flatten(plan.metadata)
    for main in plan.mains:
        items += _main_items(main, metadata)
    items.append(Item(f"/{ROOT}/settings", None, {"NX_class": "NXcollection", **metadata}))
    for name, columns in plan.tables.items():
        items.append(Item(f"/{ROOT}/{name}", None, {"NX_class": "NXcollection"}))
        items += [
            Item(f"/{ROOT}/{name}/{key}", column.values, {"units": column.unit, "long_name": key})
            for key, column in columns.items()
        ]
    return [*items, *plan.fields]


def to_file(descriptor: int, items: list[Item]) -> None:
    """The HDF5 file, written to an empty file as it is made, with little memory.

    Raises:
        OSError: the disk refused.
    """
    import h5py

    sink = _Sink(descriptor)
    try:
        with h5py.File(sink, "w", libver=_libver(items)) as file:
            _fill(file, items, lambda: sink.error is not None)
    except Exception:
        if sink.error is None:
            raise
    if sink.error is not None:
        raise sink.error


def _libver(items: list[Item]) -> str | None:
    """The newest format where an attribute needs it, else what h5py takes by itself."""
    sizes = [value.nbytes for item in items for value in item.attributes.values() if isinstance(value, np.ndarray)]
    return "latest" if max(sizes, default=0) > _HEADER_LIMIT else None


def _fill(file: Any, items: list[Item], given_up: Callable[[], bool] = lambda: False) -> None:
    import h5py

    for item in items:
        if given_up():
            return
        if item.values is None:
            node = file.require_group(item.path)
        elif isinstance(item.values, list):
            node = file.create_dataset(item.path, data=item.values, dtype=h5py.string_dtype())
        elif isinstance(item.values, Stacked):
            node = file.create_dataset(item.path, item.values.shape, item.values.dtype)
            for rows, part in item.values.pieces():
                node[rows] = part
        else:
            node = file.create_dataset(item.path, data=item.values)
        for key, value in item.attributes.items():
            node.attrs[key] = value
        for index, name in enumerate(item.scales):
            scale = node.parent[name]
            scale.make_scale(name)
            node.dims[index].label = name
            node.dims[index].attach_scale(scale)


class _Sink(io.RawIOBase):
    """A file for HDF5 to write to, which never tells it of a failure.

    HDF5 can not close a file whose disk has run full, and takes the process with it. So the first failure is kept in
    `error`, and what comes after it goes nowhere.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._at = self._size = 0
        self.error: OSError | None = None

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + (0, self._at, self._size)[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        found = b""
        if self.error is None:
            found = files.read_back(self._descriptor, self._at, self._at + len(view))
        view[:] = found + bytes(len(view) - len(found))
        self._at += len(view)
        return len(view)

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        if self.error is None:
            try:
                os.lseek(self._descriptor, self._at, os.SEEK_SET)
                files.write_all(self._descriptor, view)
            except OSError as error:
                self.error = error
        self._at += len(view)
        self._size = max(self._size, self._at)
        return len(view)

    def truncate(self, size: int | None = None) -> int:
        size = self._at if size is None else size
        if self.error is None:
            try:
                files.truncate(self._descriptor, size)
            except OSError as error:
                self.error = error
        self._size = size
        return size


def _same(wanted: Any, found: Any) -> bool:
    if isinstance(wanted, str):
        return bool(wanted == (found.decode() if isinstance(found, bytes) else found))
    if isinstance(wanted, list):
        return wanted == [item.decode() if isinstance(item, bytes) else str(item) for item in found]
    wanted, found = np.asarray(wanted), np.asarray(found)
    return wanted.dtype == found.dtype and wanted.shape == found.shape and wanted.tobytes() == found.tobytes()


def _same_all(item: Item, node: Any) -> bool:
    return item.values is None or _same(item.values, node[()])


def _same_pieces(values: Stacked, node: Any) -> bool:
    fits = (values.shape, values.dtype) == (node.shape, node.dtype)
    return fits and all(_same(part, node[rows]) for rows, part in values.pieces())


def write(place: Path, items: list[Item]) -> None:
    """Write a new HDF5 file, durably, and read it back.

    Args:
        place: a name that is free.
        items: what stands in it.

    Raises:
        OSError: the disk refused.
        ExportError: it did not read back.
    """
    descriptor = files.open_new(place)
    try:
        to_file(descriptor, items)
        files.sync(descriptor)
    finally:
        os.close(descriptor)
    verify(place, items)


def verify(path: Path, items: list[Item]) -> None:
    """Read a file back and compare every value with what was meant, bit for bit.

    Raises:
        ExportError: something differs, with its place.
    """
    import h5py

    with path.open("rb") as raw, h5py.File(raw, "r") as file:
        for item in items:
            node = file[item.path]
            if not (_same_pieces(item.values, node) if isinstance(item.values, Stacked) else _same_all(item, node)):
                raise ExportError(f"{item.path} did not read back as it was written")
            for key, value in item.attributes.items():
                if not _same(value, node.attrs[key]):
                    raise ExportError(f"the attribute {key!r} of {item.path} did not read back as it was written")
            if tuple(dimension.label for dimension in getattr(node, "dims", ()))[: len(item.scales)] != item.scales:
                raise ExportError(f"{item.path} lost the names of its dimensions")
