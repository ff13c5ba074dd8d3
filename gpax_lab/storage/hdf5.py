"""NSID and USID files by plain h5py: dtypes, complex numbers, titles and uneven axes stay what they are."""

from pathlib import Path
from typing import Any

import numpy as np

from .dataset import SPATIAL, SPECTRAL, UNKNOWN, Dataset, axis
from .nsid import Axis

USID_LINKS = ("Position_Indices", "Position_Values", "Spectroscopic_Indices", "Spectroscopic_Values")
"""Object references of a USID main data set (pyUSID, `check_if_main`)."""
NAME, ORDER = "gpax_lab_name", "gpax_lab_order"
"""Attributes of our own files: the name as it was given, which HDF5 may not carry, and the place among the others."""


def read_hdf5(path: Path) -> dict[str, Dataset]:
    """Every NSID and USID main data set of a file, by the shortest name that tells them apart."""
    import h5py

    found: dict[str, Dataset] = {}
    given: dict[str, tuple[int, str]] = {}
    with h5py.File(path, "r") as file:
        nodes: list[Any] = []
        file.visititems(lambda _, node: nodes.append(node) if isinstance(node, h5py.Dataset) else None)
        for node in nodes:
            if all(link in node.attrs for link in USID_LINKS):
                found |= {f"{node.name.strip('/')}{part}": one for part, one in _usid(file, node).items()}
            elif _is_nsid(node):
                found[node.name.strip("/")] = _nsid(node)
                if NAME in node.attrs:
                    given[node.name.strip("/")] = int(node.attrs[ORDER]), _attribute(node, NAME)
    if found and given.keys() == found.keys():
        return {given[path][1]: found[path] for path in sorted(found, key=given.__getitem__)}
    return _shortened(found)


def _shortened(found: dict[str, Dataset]) -> dict[str, Dataset]:
    """Quantities as names where they differ, else the last parts of the paths, else the paths."""
    choices = (
        [dataset.quantity for dataset in found.values()],
        [path.rsplit("/", 1)[-1] for path in found],
        list(found),
    )
    names = next(names for names in choices if len(set(names)) == len(names) and "generic" not in names[1:])
    return dict(zip(names, found.values(), strict=True))


def _attribute(node: Any, name: str, default: str = "") -> str:
    value = node.attrs.get(name, default)
    return value.decode() if isinstance(value, bytes) else str(value)


def _is_nsid(node: Any) -> bool:
    """As pyNSID tells them: seven attributes and a scale for every dimension, but lenient about the version's name."""
    attributes = {"quantity", "units", "main_data_name", "data_type", "modality", "source"}
    if not attributes <= set(node.attrs) or node.ndim == 0:
        return False
    return all(len(scale) > 0 and len(scale[0]) == n for scale, n in zip(node.dims, node.shape, strict=True))


def _nsid(node: Any) -> Dataset:
    axes = []
    for dimension in node.dims:
        scale = dimension[0]
        name = _attribute(scale, NAME) or dimension.label or scale.name.rsplit("/", 1)[-1]
        kind = _attribute(scale, "dimension_type", UNKNOWN).replace("DimensionType.", "").upper()
        values = np.asarray(scale[()])
        axes.append(Axis(name, values, _attribute(scale, "units", "1"), _attribute(scale, "quantity", name), kind))
    metadata = {
        key: {name: _plain(value) for name, value in node.parent[key].attrs.items()}
        for key in ("metadata", "original_metadata")
        if key in node.parent
    }
    title = _attribute(node, "title") or _attribute(node, "main_data_name")
    kind = _attribute(node, "data_type").replace("DataType.", "")
    unit = _attribute(node, "units", "a.u.")
    return Dataset(node[()], tuple(axes), _attribute(node, "quantity"), unit, title, kind, metadata)


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode()
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value


def _usid(file: Any, node: Any) -> dict[str, Dataset]:
    """A USID main data set (positions x spectra) in its N dimensions; one that is no full grid stays as it is.

    Compound values (`sho32` and other fits) become one data set for each field, "Amplitude [V]" an amplitude in V.
    """
    values = node[()]
    positions, position_grid, position_tables = _ancillary(file, node, "Position", axis_of_names=1)
    spectral, spectral_grid, spectral_tables = _ancillary(file, node, "Spectroscopic", axis_of_names=0)
    axes = (*positions, *spectral)
    metadata = position_tables | spectral_tables
    if position_grid and spectral_grid:
        # The first name of an ancillary table varies fastest unless its indices say otherwise; axes are slowest first.
        values = values.reshape([len(one.values) for one in axes])
    else:
        axes = tuple(
            axis(name, np.arange(n, dtype=float), "1", kind=kind)
            for name, n, kind in zip(("position", "spectrum"), values.shape, (SPATIAL, SPECTRAL), strict=True)
        )
    quantity, unit = _attribute(node, "quantity", "generic"), _attribute(node, "units", "a.u.")
    title = node.name.rsplit("/", 1)[-1]
    if values.dtype.names is None:
        return {"": Dataset(values, axes, quantity, unit or "a.u.", title, metadata=metadata)}
    fields = {}
    for field in values.dtype.names:
        what, _, its = field.partition(" [")
        fields[f"/{field}"] = Dataset(
            values[field], axes, what, its.rstrip("]") or "a.u.", f"{title} {what}", metadata=metadata
        )
    return fields


def _ancillary(
    file: Any, node: Any, which: str, axis_of_names: int
) -> tuple[tuple[Axis, ...], bool, dict[str, np.ndarray]]:
    """Axes (slowest first) of the positions or spectra, whether they form a full grid in that order, and the values
    that no axis can hold: where one index has several values (a bias that differs from cycle to cycle, a position that
    was never reached), the axis counts the index, in unit "1", and the values themselves are kept as metadata.
    """
    indices = np.asarray(file[node.attrs[f"{which}_Indices"]][()])
    table = file[node.attrs[f"{which}_Values"]]
    numbers = np.asarray(table[()], np.float64)
    if axis_of_names == 1:
        indices, numbers = indices.T, numbers.T
    labels = [_plain(label) for label in np.atleast_1d(table.attrs.get("labels", []))]
    units = [_plain(unit) for unit in np.atleast_1d(table.attrs.get("units", []))]
    labels += [f"{which.lower()}_{k}" for k in range(len(labels), len(indices))]
    units += ["1"] * (len(indices) - len(units))
    changes = [int(np.count_nonzero(np.diff(row.astype(np.int64)))) for row in indices]
    order = sorted(range(len(indices)), key=lambda k: changes[k])  # the slowest changes least
    kind = SPATIAL if which == "Position" else SPECTRAL
    axes, sizes, tables = [], [], {}
    for k in order:
        unique, first, rank = np.unique(indices[k], return_index=True, return_inverse=True)
        sizes.append(len(unique))
        name, along, unit = str(labels[k]).strip() or f"{which.lower()}_{k}", numbers[k][first], str(units[k])
        # The tables are float32: 1e-5 of the largest is rounding, not another value; NaN is never close.
        if not np.allclose(numbers[k], along[rank.ravel()], rtol=0.0, atol=1e-5 * float(np.abs(along).max())):
            tables[name] = numbers[k]
            along, unit = unique.astype(float), "1"
        axes.append(axis(name, along, unit, kind=kind))
    expected = np.indices(sizes).reshape(len(sizes), -1) if sizes else np.zeros((0, 1))
    ranks = [np.unique(indices[k], return_inverse=True)[1] for k in order]
    same_size = expected.shape[1] == indices.shape[1]
    full = same_size and all(np.array_equal(a, b) for a, b in zip(expected, ranks, strict=True))
    return tuple(axes), bool(full), tables
