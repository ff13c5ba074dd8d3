"""USID data sets: positions x spectra with tables of what each row and column is (Somnath et al., arXiv:1903.09515).

Rows and columns come in any order (serpentine scans, spectra within cycles) and need not be all of a grid; what is one
becomes axes, what is none stays a list whose coordinates are kept as metadata.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from gpax_lab.storage._dataset import SPATIAL, SPECTRAL, UNKNOWN, Dataset, axis
from gpax_lab.storage._errors import UnreadableFile
from gpax_lab.storage._nsid import Axis
from gpax_lab.storage.readers._common import decoded, split_unit, unique

LINKS = ("Position_Indices", "Position_Values", "Spectroscopic_Indices", "Spectroscopic_Values")
"""Object references of a USID main data set (pyUSID, `check_if_main`)."""
_CLOSE = 1e-5  # of the largest value; the tables are float32, and a difference below this is rounding


class Side(NamedTuple):
    """Rows or columns of a main data set.

    Attributes:
        axes: slowest first; one that counts where they form no grid.
        order: the rows or columns in the order of the axes.
        tables: coordinates that no axis can hold, by name.
        units: of all coordinates, by name.
        notes: what contradicts itself in the file, in words.
    """

    axes: tuple[Axis, ...]
    order: np.ndarray
    tables: dict[str, np.ndarray]
    units: dict[str, str]
    notes: tuple[str, ...]


def main(file: Any, node: Any, read: Callable[[Any], np.ndarray]) -> tuple[dict[str, Dataset], Side]:
    """A USID main data set in its N dimensions, and its positions.

    Compound values (`sho32` and other fits) become one data set for each field, "Amplitude [V]" an amplitude in V.

    Args:
        file: open, of h5py.
        node: the main data set.
        read: the values of a data set of the file.

    Raises:
        UnreadableFile: the tables are shorter than the data, or differ in shape.
    """
    if node.ndim != 2:
        raise UnreadableFile(f"{node.name} should have rows of positions and columns of spectra; it is {node.shape}.")
    rows = _side(file, node, "Position", read)
    columns = _side(file, node, "Spectroscopic", read)
    values = read(node)
    # A copy of all values is made only where their order differs from that of the axes.
    if not np.array_equal(rows.order, np.arange(len(values))):
        values = values[rows.order]
    if not np.array_equal(columns.order, np.arange(values.shape[1])):
        values = values[:, columns.order]
    axes = _apart((*rows.axes, *columns.axes))
    values = values.reshape([len(one.values) for one in axes])
    metadata: dict[str, Any] = {**rows.tables, **columns.tables}
    if metadata:
        metadata["units"] = {name: (rows.units | columns.units)[name] for name in metadata}
    if rows.notes or columns.notes:
        metadata["contradictions"] = [*rows.notes, *columns.notes]
    metadata |= about(node)
    quantity, unit = text(node.attrs.get("quantity", "generic")), text(node.attrs.get("units", ""))
    title = node.name.rsplit("/", 1)[-1]
    if values.dtype.names is None:
        return {"": Dataset(values, axes, quantity, unit or "a.u.", title, metadata=metadata)}, rows
    fields = {}
    for field in values.dtype.names:
        what, its = split_unit(field)
        fields[f"/{field}"] = Dataset(values[field], axes, what, its or "a.u.", f"{title} {what}", metadata=metadata)
    return fields, rows


def beside(node: Any, values: np.ndarray, positions: list[tuple[str, Side]]) -> Dataset | None:
    """An array of a USID file that is no main data set: over the positions where it has one number for each of them.

    Args:
        node: the data set.
        values: of it.
        positions: the positions of the main data sets, with their paths.
    """
    if values.dtype.kind not in "biufc" or values.ndim == 0 or values.size == 0:
        return None
    name = node.name.rsplit("/", 1)[-1]
    quantity, unit = text(node.attrs.get("quantity", "")) or name, text(node.attrs.get("units", "")) or "a.u."
    # The positions of the main data set whose path has most in common with this one.
    for _, side in sorted(positions, key=lambda one: -_common(one[0], node.name)):
        shape = tuple(len(one.values) for one in side.axes)
        if values.ndim == 2 and values.shape == shape:
            return Dataset(values, side.axes, quantity, unit, name, metadata=about(node))
        if values.size == len(values) == len(side.order) > 1:
            return Dataset(
                values.ravel()[side.order].reshape(shape), side.axes, quantity, unit, name, metadata=about(node)
            )
    kind, unit_of_axis = (SPATIAL, "px") if values.ndim == 2 and min(values.shape) > 1 else (UNKNOWN, "1")
    names = ("y", "x") if kind == SPATIAL else tuple(f"axis_{k}" for k in range(values.ndim))
    axes = tuple(
        axis(one, np.arange(n, dtype=float), unit_of_axis, kind=kind)
        for one, n in zip(names, values.shape, strict=True)
    )
    return Dataset(values, axes, quantity, unit, name, metadata=about(node))


def about(node: Any) -> dict[str, Any]:
    """What a file says of a data set.

    Args:
        node: an open h5py data set.

    Returns:
        "attributes" of the data set, and "groups": by path, the outermost first, those of the groups that it lies in
        where they have any. What points to other parts of the file is left out.
    """
    found = {"attributes": _attributes(node)}
    group, groups = node.parent, {}
    while group.name != "/":
        if inside := _attributes(group):
            groups[group.name.strip("/")] = inside
        group = group.parent
    if inside := _attributes(group):
        groups["/"] = inside
    return found | ({"groups": dict(reversed(groups.items()))} if groups else {})


def text(value: Any) -> str:
    """An attribute as text: the first element of an array, bytes as `decoded` reads them, empty where there is none."""
    if isinstance(value, np.ndarray):
        value = value.ravel()[0] if value.size else ""
    return decoded(value) if isinstance(value, bytes) else str(value)


def _common(one: str, other: str) -> int:
    return next((k for k, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def _attributes(node: Any) -> dict[str, Any]:
    """Attributes but for those that point to other parts of the file."""
    import h5py

    found = {}
    for name, value in node.attrs.items():
        if isinstance(value, h5py.Reference | h5py.RegionReference) or name in LINKS:
            continue
        if isinstance(value, np.ndarray | np.generic):
            if value.dtype.kind not in "biufcSUO" or (value.dtype.kind == "O" and _points(value)):
                continue
            value = value.tolist()
        found[str(name)] = _words(value)
    return found


def _points(value: Any) -> bool:
    import h5py

    return any(isinstance(one, h5py.Reference | h5py.RegionReference) for one in np.asarray(value).ravel())


def _words(value: Any) -> Any:
    if isinstance(value, list):
        return [_words(one) for one in value]
    return decoded(value) if isinstance(value, bytes) else value


def _apart(axes: tuple[Axis, ...]) -> tuple[Axis, ...]:
    """Axes of positions and spectra with names of their own."""
    names: list[str] = []
    for one in axes:
        name = one.name
        while name in names:
            name += "_spectrum"
        names.append(name)
    return tuple(one._replace(name=name) for one, name in zip(axes, names, strict=True))


def _side(file: Any, node: Any, which: str, read: Callable[[Any], np.ndarray]) -> Side:
    """The rows (positions) or columns (spectra) of a main data set.

    Where one index has several values (a bias that differs from cycle to cycle, a position that was never reached), the
    axis counts the index, in unit "1", and the values themselves are kept as a table.
    """
    table = file[node.attrs[f"{which}_Values"]]
    indices, numbers = read(file[node.attrs[f"{which}_Indices"]]), np.asarray(read(table), np.float64)
    if indices.shape != numbers.shape or indices.ndim != 2:
        raise UnreadableFile(f"{node.name}: {which} indices and values have shapes {indices.shape}, {numbers.shape}.")
    if which == "Position":
        indices, numbers = indices.T, numbers.T
    count = node.shape[0 if which == "Position" else 1]
    if indices.shape[1] < count:
        raise UnreadableFile(f"{node.name}: the {which} tables describe {indices.shape[1]} of {count}.")
    indices, numbers = indices[:, :count], numbers[:, :count]  # tables of a whole scan, data of one that was stopped
    labels = [text(label).strip() for label in np.atleast_1d(table.attrs.get("labels", []))][: len(indices)]
    labels = [label or f"{which.lower()}_{k}" for k, label in enumerate(labels)]
    labels += [f"{which.lower()}_{k}" for k in range(len(labels), len(indices))]
    labels = unique(labels)
    units = [text(unit).strip() or "1" for unit in np.atleast_1d(table.attrs.get("units", []))][: len(indices)]
    units += ["1"] * (len(indices) - len(units))
    named = dict(zip(labels, units, strict=True))
    kind = SPATIAL if which == "Position" else SPECTRAL
    ranks: list[np.ndarray] = [np.unique(row, return_inverse=True)[1].ravel() for row in indices]
    found = _grid(ranks)
    notes: list[str] = []
    told = [_tells(rank, row) for rank, row in zip(ranks, numbers, strict=True)]
    if which == "Position" and (found is None or not all(told)):
        # The values were set on the instrument; indices are counted by a program, and wrong ones are not believed.
        levels = [_levels(row) for row in numbers]
        known = [level for level in levels if level is not None]
        by_values = _grid(known) if len(known) == len(levels) else None
        if by_values is not None and max(by_values[1]) > 1:
            if found is not None:
                notes.append("the indices of the positions contradict their values; the values are believed.")
            found, ranks, told = by_values, known, [True] * len(known)
        elif found is not None:
            bad = [label for label, good in zip(labels, told, strict=True) if not good]
            notes.append(f"one index of {', '.join(bad)} has several values, or one value several indices.")
    if found is None:
        name = "position" if which == "Position" else "spectrum"
        base = axis(name, np.arange(count, dtype=float), "1", kind=kind)
        return Side((base,), np.arange(count), dict(zip(labels, numbers, strict=True)), named, tuple(notes))
    order, _, slowest = found
    axes, tables = [], {}
    for k in slowest:
        _, first = np.unique(ranks[k], return_index=True)
        along, unit = numbers[k][first], units[k]
        if not (told[k] if which == "Position" else _one_value(ranks[k], numbers[k])) or not np.isfinite(along).all():
            tables[labels[k]] = numbers[k][order]
            along, unit = np.unique(indices[k]).astype(float), "1"
        axes.append(axis(labels[k], along, unit, kind=kind))
    return Side(tuple(axes), order, tables, named, tuple(notes))


def _grid(ranks: list[np.ndarray]) -> tuple[np.ndarray, list[int], list[int]] | None:
    """Of a full grid: what sorts its points, its sizes, and its dimensions, the slowest first; None if it is none."""
    count = len(ranks[0]) if ranks else 0
    sizes = [int(rank.max()) + 1 for rank in ranks] if count else []
    if count == 0 or np.prod([float(n) for n in sizes]) != count:
        return None
    changes = [int(np.count_nonzero(np.diff(rank))) for rank in ranks]
    # The slowest changes least; of dimensions that change equally often the first named is the fastest, as in USID.
    slowest = sorted(range(len(ranks)), key=lambda k: (changes[k], -k))
    flat = np.ravel_multi_index([ranks[k] for k in slowest], [sizes[k] for k in slowest])
    order = np.argsort(flat, kind="stable")
    return (order, sizes, slowest) if np.array_equal(flat[order], np.arange(count)) else None


def _one_value(rank: np.ndarray, row: np.ndarray) -> bool:
    """Whether every index has one value; NaN is none."""
    _, first = np.unique(rank, return_index=True)
    along = row[first]
    return np.allclose(row, along[rank], rtol=0.0, atol=_CLOSE * float(np.abs(along).max()))


def _tells(rank: np.ndarray, row: np.ndarray) -> bool:
    """Whether every index has one value, and every value one index."""
    if not np.isfinite(row).all() or not _one_value(rank, row):
        return False
    levels = _levels(row)
    return levels is not None and levels.max() == rank.max()


def _levels(row: np.ndarray) -> np.ndarray | None:
    """The rank of every value among the different ones; None where one is not finite."""
    if not np.isfinite(row).all():
        return None
    order = np.argsort(row, kind="stable")
    steps = np.diff(row[order]) > _CLOSE * float(np.ptp(row) or 1.0)
    ranks = np.empty(len(row), np.int64)
    ranks[order] = np.concatenate([[0], np.cumsum(steps)])
    return ranks
