"""Whether all measurements of a campaign lie in one corner of the space of its candidates."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np
from jax import Array
from scipy.spatial import KDTree

from gpax_lab.acquisition._candidates import Pool
from gpax_lab.core._observations import FAILED, MEASURED
from gpax_lab.core._types import ArrayLike
from gpax_lab.experiment._experiment import State

SMALL_SHARE = 0.5
"""Reach of the measurements, 1 for random points, below which a campaign is said to sit in a corner.

Forty of 240 points of a square: 0.4 for the forty nearest to a point, 0.47 to 0.55 with five random ones among them,
0.57 to 0.67 with twelve.
"""
_PLACES, _DRAWS = 2000, 16


class Reach(NamedTuple):
    """What `reach` returns, and describes."""

    share: float
    measurements: int

    def describe(self) -> str:
        """What to do about it; empty where all is well."""
        if self.share >= SMALL_SHARE or self.measurements <= 2:
            return ""
        return (
            f"(nearly) all {self.measurements} measurements lie in one corner: they reach {100 * self.share:.0f} "
            "percent of what as many random points would. Measure some points of another sort (pin them, or use "
            "acquisition.learning), or distrust the model elsewhere"
        )


def reach(
    points: ArrayLike, measured: ArrayLike, describe: Callable[[Array], Array] | None = None, seed: int = 0
) -> Reach:
    """How much of the space of the descriptors the measurements have reached (outside jit).

    A model that explains its measurements, all of one sort, is sure of points of another sort too. Where its
    measurements lie in one corner, nothing it says elsewhere has been put to the test.

    Args:
        points: (m, d) candidates.
        measured: (n, d) points of the measurements.
        describe: points (m, d) -> descriptors (m, k), such as features of the image around them; None for the points.
        seed: of the random points that are compared with.

    Returns:
        share: candidates as near to a measurement as half of them are to as many random points, over a half: about 1
        for random points, more for evenly spread ones (at most 2), near 0 in a corner, 1 without measurements;
        measurements: how many points have been measured, failed ones among them. Its method `describe`
        says what to do about it, and nothing where all is well.

    Example:
        >>> x = np.linspace(0.0, 1.0, 101)[:, None]
        >>> reach(x, x[:10]).share < 0.4 < 0.8 < reach(x, x[::10]).share
        True
    """
    rng = np.random.default_rng(seed)
    candidates, taken = np.asarray(points, float), np.asarray(measured, float)
    if len(candidates) > _PLACES:
        candidates = candidates[rng.choice(len(candidates), _PLACES, replace=False)]
    if not len(taken):
        return Reach(1.0, 0)
    if describe is not None:
        candidates, taken = (np.asarray(describe(jax.numpy.asarray(x)), float) for x in (candidates, taken))
    width = np.ptp(candidates, axis=0)
    candidates, taken = (x / np.where(width > 0, width, 1.0) for x in (candidates, taken))

    def nearest(to: np.ndarray) -> np.ndarray:
        """(m,) distance of every candidate to the nearest of these."""
        return KDTree(to).query(candidates)[0]

    many = min(len(taken), len(candidates))
    drawn = [nearest(candidates[rng.choice(len(candidates), many, replace=False)]) for _ in range(_DRAWS)]
    share = float(2.0 * np.mean(nearest(taken) <= np.median(drawn)))
    return Reach(share, len(taken))


def reach_of(state: State, describe: Callable[[Array], Array] | None = None) -> Reach:
    """`reach` of a campaign: of its candidates and the measurements so far (outside jit).

    Args:
        state: of the experiment.
        describe: as in `reach`.
    """
    candidates = state.candidates
    points = candidates.points if isinstance(candidates, Pool) else candidates.space_filling(jax.random.key(0), 512)
    status = np.asarray(state.obs.status)
    return reach(np.asarray(points), np.asarray(state.obs.x)[(status == MEASURED) | (status == FAILED)], describe)
