"""NSID and USID files by plain h5py: dtypes, complex numbers, titles and uneven axes stay what they are."""

from pathlib import Path
from typing import Any

import numpy as np

from gpax_lab.storage import _inspection as inside
from gpax_lab.storage._dataset import UNKNOWN, Dataset
from gpax_lab.storage._nsid import Axis
from gpax_lab.storage.readers import _usid as usid
from gpax_lab.storage.readers._common import unique

NAME, ORDER = "gpax_lab_name", "gpax_lab_order"
"""Attributes of our own files: the name as it was given, which HDF5 may not carry, and the place among the others."""


def read_hdf5(path: Path) -> dict[str, Dataset]:
    """Every NSID and USID main data set of a file, and what lies beside those of USID.

    Args:
        path: of an HDF5 file.

    Returns:
        Data sets by the names that `save` was given, else by the shortest ones that tell them apart: quantities, last
        parts of paths, paths; none where the file holds no main data set.

    Raises:
        UnreadableFile: the file leads elsewhere, is damaged, declares far more than it holds, or contradicts itself.
        OSError: it is no HDF5 file.

    Source: NSID as pyNSID 0.0.7.2 tells it (`check_if_main`), USID as pyUSID does.
    """
    import h5py

    inside.check_heaps(path)

    found: dict[str, Dataset] = {}
    given: dict[str, tuple[int, str]] = {}
    with h5py.File(path, "r") as file:
        nodes = inside.datasets(file)
        sides: list[tuple[str, usid.Side]] = []
        used: set[str] = set()
        for node in nodes:
            if all(link in node.attrs for link in usid.LINKS):
                parts, positions = usid.main(file, node, _values)
                found |= {f"{node.name.strip('/')}{part}": one for part, one in parts.items()}
                sides.append((node.name, positions))
                used |= {node.name, *(file[node.attrs[link]].name for link in usid.LINKS)}
            elif _is_nsid(node):
                found[node.name.strip("/")] = _nsid(node)
                if NAME in node.attrs:
                    given[node.name.strip("/")] = int(node.attrs[ORDER]), _attribute(node, NAME)
                used.add(node.name)
        others = {}
        for node in nodes:
            # Images and tables beside the main data sets: a topography, the frequencies of bins, a noise floor.
            unread = sides and node.name not in used and node.dtype.kind in "biufc" and node.ndim > 0
            if unread and (one := usid.beside(node, _values(node), sides)) is not None:
                others[node.name.strip("/")] = one
    if found and given.keys() == found.keys():
        return {given[path][1]: found[path] for path in sorted(found, key=given.__getitem__)}
    if not others:
        return _shortened(found)
    names = unique([*_shortened(found), *_shortened(others)])
    return dict(zip(names, [*found.values(), *others.values()], strict=True))


def _values(node: Any) -> Any:
    return np.asarray(inside.checked(node)[()])  # a reference may lead to one that no group names


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
    return usid.text(node.attrs.get(name, default))


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
        values = _values(scale)
        axes.append(Axis(name, values, _attribute(scale, "units", "1"), _attribute(scale, "quantity", name), kind))
    metadata = {
        key: {name: _plain(value) for name, value in node.parent[key].attrs.items()}
        for key in ("metadata", "original_metadata")
        if key in node.parent
    }
    title = _attribute(node, "title") or _attribute(node, "main_data_name")
    kind = _attribute(node, "data_type").replace("DataType.", "")
    unit = _attribute(node, "units", "a.u.")
    return Dataset(_values(node), tuple(axes), _attribute(node, "quantity"), unit, title, kind, metadata)


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return usid.text(value)
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value
