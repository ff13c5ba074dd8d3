"""What a campaign may set at a Nanonis controller, and the frame of its scan."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from gpax_lab.core import Axis

COORDINATES = {
    "x": ("m",),
    "y": ("m",),
    "bias": ("V",),
    "setpoint": ("A",),
    "pulse": ("V",),
    "width": ("s", "log10(s)"),
}
"""Name of an axis, and its units."""

TOGETHER = (("x", "y"), ("pulse", "width"))
"""Axes of which neither makes sense alone."""

ROUNDING = 1e-6  # relative: limits are told in single precision


class Frame(NamedTuple):
    """The frame of the scan: centre in m, angle in degrees, clockwise."""

    x: float = 0.0
    y: float = 0.0
    angle: float = 0.0

    def to_sample(self, x: np.ndarray) -> np.ndarray:
        """Positions (n, 2) m along and across its lines, from its centre, as positions on the sample."""
        return np.asarray(x @ self._turn + [self.x, self.y])

    def of_sample(self, x: np.ndarray) -> np.ndarray:
        """Positions (n, 2) m on the sample as positions in the frame."""
        return np.asarray((x - [self.x, self.y]) @ self._turn.T)

    @property
    def _turn(self) -> np.ndarray:
        cos, sin = math.cos(math.radians(self.angle)), math.sin(math.radians(self.angle))
        return np.array([[cos, -sin], [sin, cos]])


def check_axes(axes: Sequence[Axis], max_bias: float, max_setpoint: float, max_width: float) -> tuple[Axis, ...]:
    """The axes, where they can be set and lie within what the driver allows.

    Args:
        axes: to be judged.
        max_bias: highest magnitude of a bias or a pulse, V.
        max_setpoint: A.
        max_width: longest pulse, s.

    Raises:
        ValueError: which axis, and what it may be.
    """
    axes = tuple(axes)
    names = [getattr(axis, "name", None) for axis in axes]
    if not axes or any(not isinstance(axis, Axis) for axis in axes) or len(set(names)) != len(names):
        raise ValueError("a Nanonis needs one axis or more, each once")
    for axis in axes:
        units = COORDINATES.get(axis.name)
        if units is None:
            raise ValueError(f"axis {axis.name!r}: a Nanonis can set {', '.join(COORDINATES)}")
        if axis.unit not in units:
            raise ValueError(f"axis {axis.name}: its unit is {' or '.join(units)}, not {axis.unit!r}")
        low, high = _allowed(axis, max_bias, max_setpoint, max_width)
        if not (low <= axis.low and axis.high <= high):
            raise ValueError(
                f"axis {axis.name} allows {axis.low!r} to {axis.high!r} {axis.unit}, the driver's own limits are "
                f"{low:g} to {high:g}; narrow the axis. Nothing was sent"
            )
    for one, other in TOGETHER:
        if (one in names) != (other in names):
            raise ValueError(f"axes {one} and {other}: give both or neither")
    return axes


def _allowed(axis: Axis, max_bias: float, max_setpoint: float, max_width: float) -> tuple[float, float]:
    if axis.name in ("bias", "pulse"):
        return -max_bias, max_bias
    if axis.name == "setpoint":
        return 0.0, max_setpoint
    if axis.name == "width":
        logarithmic = axis.unit != "s"
        return (-6.0, math.log10(max_width)) if logarithmic else (1e-6, max_width)
    return -math.inf, math.inf


def corners(axes: Sequence[Axis]) -> np.ndarray:
    """(4, 2) corners of the box of the axes x and y, in m."""
    x, y = (next(axis for axis in axes if axis.name == name) for name in ("x", "y"))
    return np.array([[a, b] for a in (x.low, x.high) for b in (y.low, y.high)])
