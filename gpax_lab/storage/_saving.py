"""Results as one NSID file that pyNSID, sidpy and NeXus readers open."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gpax_lab.storage import _files as files
from gpax_lab.storage._dataset import Dataset
from gpax_lab.storage._hdf5 import NAME, ORDER
from gpax_lab.storage._nsid import ROOT, Axis, Item, Main, Plan, flatten, layout, write
from gpax_lab.storage._point_cloud import slug
from gpax_lab.storage.readers._common import decoded


def save(path: str | Path, datasets: Mapping[str, Dataset], metadata: Mapping[str, Any] | None = None) -> Path:
    """Write data sets, e.g. the maps of a fit and their uncertainties, into a new HDF5 file.

    The file is written beside its target, read back and compared value for value, and then moved there: it is either
    whole or not there. dtypes are kept (pyNSID's own writer turns float32 into float64).

    Args:
        path: must not exist yet.
        datasets: by name.
        metadata: of the whole file, kept with its settings; each data set keeps its own beside it.

    Returns:
        The path.

    Raises:
        FileExistsError: there is a file already.
        ValueError: nothing to write, or an array that HDF5 can not hold (objects, text, empty).
        ExportError: it did not read back as it was meant.
        DiskFull: no room (an OSError).
        OSError: the disk refused in another way; nothing is left behind.

    Example:
        >>> import tempfile
        >>> from gpax_lab.storage import axis
        >>> from gpax_lab.storage import load
        >>> image = Dataset(np.eye(3), (axis("y", [0, 1, 2], "nm"), axis("x", [0, 1, 2], "nm")), "height", "nm")
        >>> file = save(Path(tempfile.mkdtemp()) / "height.h5", {"height": image})
        >>> load(file)["height"].unit
        'nm'
    """
    target = Path(path)
    if target.exists():
        raise FileExistsError(f"{target} exists; choose another name, or move it away.")
    if not datasets:
        raise ValueError("there is nothing to write.")
    taken: set[str] = set()
    mains = tuple(_main(slug(name, taken), name, dataset) for name, dataset in datasets.items())
    own: dict[str, dict[str, Any]] = {}
    for order, (main, (name, dataset)) in enumerate(zip(mains, datasets.items(), strict=True)):
        own |= _own(f"/{ROOT}/{main.name}", main, name, order, dataset)
    items = [_described(item, own) for item in layout(Plan(mains, {}, _plain(metadata or {}), target.stem, ""))]
    with files.replacing(target) as beside:
        write(beside, items)
    return target


def _main(name: str, title: str, dataset: Dataset) -> Main:
    values = dataset.values
    if values.dtype.kind not in "biufc" or values.size == 0:
        raise ValueError(f"{title!r}: numbers can be written, not {values.dtype} of shape {values.shape}.")
    taken = {name, "metadata", "original_metadata"}
    axes = tuple(
        Axis(slug(axis.name, taken), np.asarray(axis.values), axis.unit or "1", axis.quantity or axis.name, axis.kind)
        for axis in dataset.axes
    )
    return Main(
        name=name,
        title=dataset.title or title,
        values=values,
        unit=dataset.unit or "1",
        quantity=dataset.quantity,
        data_type=dataset.data_type,
        axes=axes,
    )


def _own(group: str, main: Main, name: str, order: int, dataset: Dataset) -> dict[str, dict[str, Any]]:
    """Attributes by path that give a data set its own names, place among the others, and metadata back."""
    about = dataset.metadata
    # What a reader found in an NSID file goes back where it was; anything else is metadata.
    split = about.keys() <= {"metadata", "original_metadata"} and all(isinstance(v, Mapping) for v in about.values())
    parts = dict(about) if split else {"metadata": about}
    found = {f"{group}/{part}": flatten(_plain(values)) for part, values in parts.items()}
    found.setdefault(f"{group}/metadata", {})
    found[f"{group}/{main.name}"] = {NAME: name, ORDER: order}
    return found | {f"{group}/{one.name}": {NAME: axis.name} for one, axis in zip(main.axes, dataset.axes, strict=True)}


def _described(item: Item, own: Mapping[str, dict[str, Any]]) -> Item:
    """An item with its own attributes: of metadata they replace the file's, else they are added."""
    if item.path not in own:
        return item
    kept = {} if item.values is None else item.attributes
    return item._replace(attributes={**kept, **own[item.path]})


def _plain(value: Any) -> Any:
    """Metadata of any reader as mappings, lists, numbers and text."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    if isinstance(value, bytes):
        value = decoded(value.rstrip(b"\0"))
    if value is None or isinstance(value, bool | int | float):
        return value
    return str(value).replace("\0", "\\0")  # HDF5 ends text at a zero
