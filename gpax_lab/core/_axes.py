"""Axes with finite limits. A target outside is refused before anything is sent, and never clamped.

Clamping would measure at a point nobody asked for; and the usual clamp turns NaN into the lower limit.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real

import numpy as np

from gpax_lab.core._faults import MoveRefused

LONGEST_SETTLE_S = 3600.0
"""s: an axis that needs an hour after every move does not settle, it drifts."""


@dataclass(frozen=True)
class Axis:
    """One movable coordinate.

    Args:
        name: for messages and files.
        unit: unit of every number below.
        low: lowest allowed target.
        high: highest allowed target.
        max_step: longest single step; longer moves go by intermediate setpoints. None: any step.
        settle_s: seconds to wait after a move before the read-back.
        tolerance: largest allowed difference between target and read-back; None: 1e-3 of the span.

    Raises:
        ValueError: limits that are not finite with low < high, or another number that makes no sense.

    Example:
        >>> x = Axis("x", "m", low=0.0, high=2e-6, max_step=5e-7)
        >>> x.plan(0.0, 1e-6)
        [5e-07, 1e-06]
        >>> x.check(float("nan"))
        Traceback (most recent call last):
        gpax_lab.core._faults.MoveRefused: axis x: target nan is not a finite real number; nothing was sent
    """

    name: str
    unit: str
    low: float
    high: float
    max_step: float | None = None
    settle_s: float = 0.0
    tolerance: float | None = None

    def __post_init__(self) -> None:
        if not (self.name and self.unit):
            raise ValueError("an axis needs a name and a unit")
        if not (finite(self.low) and finite(self.high) and self.low < self.high):
            raise ValueError(
                f"axis {self.name}: limits must be finite with low < high, got {self.low!r}, {self.high!r}"
            )
        if not math.isfinite(float(self.high) - float(self.low)):
            raise ValueError(f"axis {self.name}: the span of the limits overflows")
        for label, value in (("max_step", self.max_step), ("tolerance", self.tolerance)):
            if value is not None and not (finite(value) and value > 0):
                raise ValueError(f"axis {self.name}: {label} must be finite and positive, got {value!r}")
        if not (finite(self.settle_s) and 0 <= self.settle_s <= LONGEST_SETTLE_S):
            raise ValueError(
                f"axis {self.name}: settle_s must be finite, not negative and at most {LONGEST_SETTLE_S:g} s, "
                f"got {self.settle_s!r}"
            )
        object.__setattr__(self, "low", float(self.low))  # numpy scalars would print badly in messages
        object.__setattr__(self, "high", float(self.high))

    @property
    def allowed_error(self) -> float:
        """Largest difference between target and read-back that counts as arrived."""
        return 1e-3 * (self.high - self.low) if self.tolerance is None else float(self.tolerance)

    def check(self, target: object) -> float:
        """Return target as a float, or raise MoveRefused. Nothing is rounded, clamped or guessed."""
        if not finite(target):
            raise MoveRefused(f"axis {self.name}: target {target!r} is not a finite real number; nothing was sent")
        value = float(target)  # type: ignore[arg-type]  # a finite Real
        if not self.low <= value <= self.high:
            raise MoveRefused(
                f"axis {self.name}: target {value!r} {self.unit} is outside {self.low!r} to {self.high!r}; "
                "nothing was sent"
            )
        return value

    def plan(self, start: float, target: float) -> list[float]:
        """Setpoints from start to target, each within the limits and at most max_step from the one before.

        Args:
            start: present read-back; may overshoot a limit by no more than the tolerance.
            target: where to go.

        Returns:
            at least one setpoint; the last is exactly target.

        Raises:
            MoveRefused: target not allowed, or the axis now stands outside its limits.
        """
        return [float(row[0]) for row in plan_path((self,), np.array([start]), np.array([target]))]

    def arrived(self, target: float, readback: float) -> None:
        """Raise MoveRefused unless the read-back is within the tolerance of target."""
        if not abs(readback - target) <= self.allowed_error:  # NaN fails too
            raise MoveRefused(
                f"axis {self.name}: sent to {target!r} {self.unit} but reads {readback!r} "
                f"(tolerance {self.allowed_error:.3g}); the point is not measured. Check the stage and its limits"
            )


def check_all(axes: Sequence[Axis], x: object) -> np.ndarray:
    """Check a whole target, (d,) in axis units; return it as float64 or raise MoveRefused."""
    try:
        values = np.asarray(x)
    except (TypeError, ValueError, OverflowError) as error:
        raise MoveRefused(f"target {x!r} is not an array of numbers; nothing was sent") from error
    if values.shape != (len(axes),):
        raise MoveRefused(f"target has shape {values.shape}, the axes need ({len(axes)},); nothing was sent")
    return np.array([axis.check(v) for axis, v in zip(axes, values.tolist(), strict=True)], dtype=np.float64)


def plan_path(axes: Sequence[Axis], start: np.ndarray, target: object) -> np.ndarray:
    """Straight path of setpoints, (n, d), from read-back start (d,) to target (d,); see :meth:`Axis.plan`."""
    end = check_all(axes, target)
    begin = np.array([_standing(axis, s) for axis, s in zip(axes, np.asarray(start, np.float64), strict=True)])
    longest = np.array([np.inf if axis.max_step is None else axis.max_step for axis in axes], dtype=np.float64)
    needed = float(np.max(np.abs(end - begin) / longest))
    if needed > 1e6:
        raise MoveRefused(f"the move would take {needed:.3g} steps; check max_step and its unit. Nothing was sent")
    n = max(1, math.ceil(needed))
    while True:
        path = begin + (end - begin) * (np.arange(1, n + 1)[:, None] / n)
        path[-1] = end
        path = np.clip(path, np.minimum(begin, end), np.maximum(begin, end))  # rounding may not leave the segment
        if np.all(np.abs(np.diff(path, axis=0, prepend=begin[None])) <= longest):
            return path
        n += 1  # a step was too long by rounding


def _standing(axis: Axis, start: float) -> float:
    if not axis.low - axis.allowed_error <= start <= axis.high + axis.allowed_error:
        raise MoveRefused(
            f"axis {axis.name} reads {float(start)!r} {axis.unit}, outside its limits; bring it back by hand. "
            "Nothing was sent"
        )
    return min(max(float(start), axis.low), axis.high)


def finite(value: object) -> bool:
    """Whether value is a finite real number, and no bool."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, Real):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an int beyond the range of float
        return False
