"""A measured array with its axes and units: what every reader returns and the writer takes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gpax_lab.inputs import unmasked

from .nsid import Axis

SPATIAL, SPECTRAL, UNKNOWN = "SPATIAL", "SPECTRAL", "UNKNOWN"
"""Kinds of axes, in sidpy's words."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """An array, one axis for each dimension, and what it means.

    Attributes:
        values: of any shape and dtype, as in the file.
        axes: name, values, unit, quantity and kind of each dimension, in the order of the array.
        quantity: what was measured.
        unit: of the values; "a.u." where nobody knows.
        title: for people.
        data_type: sidpy's word: "IMAGE", "SPECTRUM", "SPECTRAL_IMAGE", "IMAGE_4D", ...
        metadata: whatever else the file says.

    Raises:
        ValueError: axes that do not fit the array, are not finite, or a name used twice.
    """

    values: np.ndarray
    axes: tuple[Axis, ...]
    quantity: str = "generic"
    unit: str = "a.u."
    title: str = ""
    data_type: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", unmasked(self.values))
        shape = tuple(len(axis.values) for axis in self.axes)
        if shape != self.values.shape:
            raise ValueError(f"the axes have lengths {shape}, the array {self.values.shape}: one axis per dimension.")
        names = [axis.name for axis in self.axes]
        if len(set(names)) != len(names):
            raise ValueError(f"axes need names of their own; got {names}.")
        for axis in self.axes:
            _check(axis)
        if not self.data_type:
            object.__setattr__(self, "data_type", _kind_of(self.axes))

    def axis(self, name: str) -> Axis:
        """The axis of that name.

        Raises:
            KeyError: there is none; says which there are.
        """
        for axis in self.axes:
            if axis.name == name:
                return axis
        raise KeyError(f"no axis {name!r}; there are {[axis.name for axis in self.axes]}.")

    def moved(self, *names: str) -> "Dataset":
        """The same with its dimensions in this order.

        Example:
            >>> axes = axis("energy", np.arange(5.0), "eV"), axis("y", np.arange(3.0), "nm")
            >>> cube = Dataset(np.zeros((5, 3)), axes)
            >>> cube.moved("y", "energy").values.shape
            (3, 5)
        """
        if sorted(names) != sorted(axis.name for axis in self.axes):
            raise ValueError(f"give every axis once: {[axis.name for axis in self.axes]}; got {list(names)}.")
        order = [next(i for i, axis in enumerate(self.axes) if axis.name == name) for name in names]
        axes = tuple(self.axes[i] for i in order)
        return Dataset(
            self.values.transpose(order), axes, self.quantity, self.unit, self.title, self.data_type, self.metadata
        )


def axis(name: str, values: Any, unit: str = "1", quantity: str = "", kind: str = "") -> Axis:
    """An axis; its quantity is its name and its kind follows from the unit (lengths are spatial) unless given."""
    lengths = {"m", "mm", "um", "µm", "nm", "pm", "A", "px", "pixel"}
    found = kind or (SPATIAL if unit in lengths else SPECTRAL)
    return Axis(name, np.asarray(values), unit or "1", quantity or name, found)


def _check(axis: Axis) -> None:
    values = np.asarray(axis.values)
    if values.ndim != 1 or values.size == 0 or not np.isfinite(values).all():
        raise ValueError(f"axis {axis.name!r} needs finite values, one for each element; got shape {values.shape}.")


def _kind_of(axes: tuple[Axis, ...]) -> str:
    spatial = sum(axis.kind == SPATIAL for axis in axes)
    rest = len(axes) - spatial
    words = {(2, 0): "IMAGE", (0, 1): "SPECTRUM", (1, 1): "LINE_PLOT", (2, 1): "SPECTRAL_IMAGE", (2, 2): "IMAGE_4D"}
    return words.get((spatial, rest), "UNKNOWN")
