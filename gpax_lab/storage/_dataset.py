"""A measured array with its axes and units: what every reader returns and the writer takes."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gpax_lab.core._inputs import unmasked
from gpax_lab.storage._nsid import Axis

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

    def positions(self) -> tuple[np.ndarray, np.ndarray]:
        """Where every pixel of an image, or every spectrum of a grid, lies on the sample.

        Where the frame of a scan was rotated, its axes "y" and "x" run along and across its lines, from its centre, and
        `metadata["frame"]` holds that centre and the angle (degrees, clockwise).

        Returns:
            x and y, (ny, nx) each, in the unit of the axes.

        Raises:
            KeyError: there is no axis "y" or "x"; says which there are.
        """
        x, y = (np.asarray(self.axis(name).values, np.float64) for name in "xy")
        across, up = np.meshgrid(x, y)
        kept = self.metadata.get("metadata", {})  # where a written file has them
        frame = self.metadata.get("frame") or {
            key[6:]: value for key, value in kept.items() if str(key).startswith("frame.")
        }
        if not frame or not frame["turned"]:
            return across, up
        angle = np.deg2rad(float(frame["angle"]))
        return (
            float(frame["x"]) + across * np.cos(angle) + up * np.sin(angle),
            float(frame["y"]) - across * np.sin(angle) + up * np.cos(angle),
        )

    def moved(self, *names: str) -> "Dataset":
        """The same with its dimensions in another order.

        Args:
            names: of all axes, in the order that is wanted.

        Raises:
            ValueError: an axis that is not there, or is not given once.

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


_LENGTHS = {"m", "cm", "mm", "um", "\u00b5m", "\u03bcm", "nm", "pm", "\u00c5", "\u212b", "A", "inch"}
_LENGTHS |= {"px", "pixel", "pixels"}
_PLACE = re.compile(r"[xyz]([ _-].*)?|.*(position|distance|height|width|depth|length|line|row|column).*", re.IGNORECASE)
_SPECTRUM = re.compile(r".*(wave.?length|lambda|energy|frequency|current|bias|voltage|time).*", re.IGNORECASE)


def axis(name: str, values: Any, unit: str = "1", quantity: str = "", kind: str = "") -> Axis:
    """One axis of a `Dataset`.

    Lengths are spatial, but not a wavelength; "A" is a length (in Å) only where the name is that of a coordinate, else
    a current.

    Args:
        name: of the dimension; no other one of the data set has it.
        values: (n,) one for each element along the dimension.
        unit: of the values.
        quantity: what they are; empty for the name.
        kind: "SPATIAL", "SPECTRAL" or another of sidpy's words; empty for the one that follows from unit and name.

    Example:
        >>> [axis(name, [0.0], unit).kind for name, unit in (("x", "nm"), ("Wavelength", "nm"), ("Current", "A"))]
        ['SPATIAL', 'SPECTRAL', 'SPECTRAL']
    """
    found = kind or (SPATIAL if is_spatial(name, unit) else SPECTRAL)
    return Axis(name, np.asarray(values), unit or "1", quantity or name, found)


def is_spatial(name: str, unit: str) -> bool:
    """Whether an axis of that name and unit runs over the sample."""
    if unit not in _LENGTHS or _SPECTRUM.fullmatch(name):
        return False
    return unit != "A" or _PLACE.fullmatch(name) is not None


def _check(axis: Axis) -> None:
    values = np.asarray(axis.values)
    if values.ndim != 1 or values.size == 0 or not np.isfinite(values).all():
        raise ValueError(f"axis {axis.name!r} needs finite values, one for each element; got shape {values.shape}.")


def _kind_of(axes: tuple[Axis, ...]) -> str:
    spatial = sum(axis.kind == SPATIAL for axis in axes)
    rest = len(axes) - spatial
    words = {(2, 0): "IMAGE", (0, 1): "SPECTRUM", (1, 1): "LINE_PLOT", (2, 1): "SPECTRAL_IMAGE", (2, 2): "IMAGE_4D"}
    return words.get((spatial, rest), "UNKNOWN")
