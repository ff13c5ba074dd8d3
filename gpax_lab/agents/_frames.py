"""A measurement as agents take it: a curve in the answer, an image or a cube in a file beside the journal."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gpax_lab.agents._refused import Refused
from gpax_lab.core import Measurement
from gpax_lab.storage import _files as files

MODALITIES = {1: "curve", 2: "image", 3: "hyperspectral"}
"""By the number of dimensions."""
_INLINE = 4096
"""Numbers of a curve that go into an answer; longer ones go into a file."""


def main_output(arrays: Mapping[str, Any]) -> str:
    """The array that a measurement is about: the last one of the most dimensions."""
    most = max((np.ndim(array) for array in arrays.values()), default=0)
    return next((name for name in reversed(list(arrays)) if np.ndim(arrays[name]) == most), "")


def frame(measurement: Measurement, output: str, where: tuple[str, float], stem: Path) -> dict[str, Any]:
    """x, y and their labels; or the path of a file, which is written.

    Args:
        measurement: a good one.
        output: name of the array that is wanted.
        where: name and position of the first axis: x of a single number.
        stem: of the file, without a suffix.

    Raises:
        Refused: the measurement has no such array, or one of another shape.
    """
    if output not in measurement.arrays:
        raise Refused(f"the measurement has no array {output!r}; it has {', '.join(measurement.arrays)}")
    values, words = real(measurement.arrays[output]), label(measurement, output)
    if values.ndim == 0:
        return {"x": [where[1]], "y": values.reshape(1), "x_label": where[0], "y_label": words}
    if values.ndim == 1:
        along = abscissa(measurement, output)
        x = np.arange(len(values), dtype=float) if along is None else real(measurement.arrays[along])
        named = {"x_label": "index" if along is None else label(measurement, along), "y_label": words}
        if len(values) <= _INLINE:
            return {"x": x, "y": values} | named
        return {"path": str(_table(stem, np.stack([x, values], axis=1)))} | named
    if values.ndim not in MODALITIES:
        raise Refused(f"{output!r} has {values.ndim} dimensions; curves, images and cubes can be given")
    return {"path": str(_array(stem, values))}


def abscissa(measurement: Measurement, output: str) -> str | None:
    """Name of the array along which a curve lies: the first other one of its length."""
    length = np.shape(measurement.arrays[output])
    others = (name for name, array in measurement.arrays.items() if name != output and np.shape(array) == length)
    return next(others, None)


def label(measurement: Measurement, name: str) -> str:
    """Name and unit of an array."""
    unit = measurement.units.get(name, "")
    size = "magnitude of " if np.iscomplexobj(measurement.arrays[name]) else ""
    return f"{size}{name} ({unit})" if unit else f"{size}{name}"


def real(array: Any) -> np.ndarray:
    """float64 values; magnitudes of complex ones."""
    values = np.asarray(array)
    return np.asarray(np.abs(values) if values.dtype.kind == "c" else values, np.float64)


def _array(stem: Path, values: np.ndarray) -> Path:
    place = stem.with_suffix(".npy")
    with files.replacing(place) as temporary, _opened(temporary) as file:
        np.save(file, values, allow_pickle=False)
    return place


def _table(stem: Path, values: np.ndarray) -> Path:
    place = stem.with_suffix(".csv")
    with files.replacing(place) as temporary, _opened(temporary) as file:
        np.savetxt(file, values, delimiter=",", fmt="%.17g")
    return place


def _opened(temporary: Path) -> Any:
    return os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
