"""Where a campaign measures first, and where a measurement was made: by the word of the instrument, as far as that is
believed."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gpax_lab.acquisition._candidates import Candidates
from gpax_lab.core._inputs import point_table
from gpax_lab.experiment._experiment import State
from gpax_lab.experiment._rescalarize import storable

FAR = 1.0
"""Widths outside the candidates' box beyond which a position is taken for a mistake, or for other coordinates."""


def first_points(seeds: Any) -> np.ndarray:
    """(n, d) the seeds, checked before the instrument moves.

    Raises:
        ValueError: none, or such as are no points.
    """
    kind = np.float32 if getattr(seeds, "dtype", None) == np.float32 else np.float64
    points = point_table(np.atleast_2d(seeds), kind, "seeds")
    if len(points) == 0:
        raise ValueError(f"a campaign begins with one seed or more, (n, d); got {points.shape}.")
    return points


@dataclass(frozen=True)
class MeasuredAt:
    """What a position says.

    Attributes:
        learned_at: (d,) where the measurement is learned.
        position: what the instrument reported; None for nothing that can be recorded.
        believed: whether the measurement may be used.
        reason: why not, in words.
        flags: the same, in single words.
    """

    learned_at: np.ndarray
    position: np.ndarray | None
    believed: bool = True
    reason: str = ""
    flags: tuple[str, ...] = ()

    def arrays(self, x: np.ndarray) -> dict[str, np.ndarray]:
        """For the journal: the position as it came, and the position that is learned where it differs from x."""
        reported = {} if self.position is None else {"position": self.position}
        return reported if np.array_equal(self.learned_at, x) else reported | {"place": self.learned_at}


def measured_at(
    x: np.ndarray, position: Any, state: State | None = None, width: np.ndarray | None = None
) -> MeasuredAt:
    """Where a measurement asked for at x (d,) is learned.

    A position of another size, or one that is masked or not finite, says nothing, and the measurement is learned at x.
    Any other one is believed; with the flag "position_differs" where it lies farther from x than the candidates'
    tolerance, and not at all, so that the measurement is a failed one, where it lies more than a width outside of their
    box or is too far for the model.

    Args:
        x: (d,) the position asked for.
        position: as the instrument reported it, in the coordinates of x; or None.
        state: of the campaign; None before the first fit.
        width: (d,) of the seeds' box; before the first fit, a hundredth of it is the tolerance.
    """
    reported = None if position is None else storable(position)
    if reported is None or reported.dtype.kind not in "fiu":
        return MeasuredAt(x, None)
    if np.ma.is_masked(position):
        return MeasuredAt(x, None, flags=("position_unclear",))
    if reported.size == x.size and reported.shape in ((), (1, x.size)):  # a number, or a row of a table
        reported = reported.reshape(x.shape)
    if reported.shape != x.shape or not np.isfinite(reported).all():
        return MeasuredAt(x, reported, flags=("position_unclear",))
    there = reported.astype(x.dtype if x.dtype.kind == "f" else np.float64)
    if np.array_equal(there, x):
        return MeasuredAt(there, reported)
    if state is not None:
        tolerance = np.asarray(_tolerance(state.candidates, x))
    else:
        wide = np.full(x.shape, np.inf) if width is None else width
        tolerance = np.where(wide > 0, 0.01 * wide, 1e-3 * np.maximum(np.abs(x), 1.0))
    if not np.any(np.abs(there - x) > tolerance):
        return MeasuredAt(there, reported)
    if state is not None and _far(there, state):
        reason = (
            f"measured at {reported.tolist()} by its position, proposed at {x.tolist()}: far outside of where "
            "candidates lie. If it is in other coordinates than x, convert it, or hand back position=None"
        )
        return MeasuredAt(x, reported, False, reason, ("position_outside",))
    return MeasuredAt(there, reported, flags=("position_differs",))


def _far(there: np.ndarray, state: State) -> bool:
    low, high = (np.asarray(corner) for corner in state.candidates.corners)
    width = np.where(high > low, high - low, np.maximum(np.abs(high), 1.0))
    try:
        for model in state.posterior.models:
            model.check_points(there[None], "the position measured")
    except ValueError:
        return True
    return bool(np.any((there < low - FAR * width) | (there > high + FAR * width)))


@jax.jit
def _tolerance(candidates: Candidates, x: jax.Array) -> jax.Array:
    return candidates.tolerance(jnp.asarray(x)[None])[0]
