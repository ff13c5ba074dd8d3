"""One observation so far from all others that it takes the scale of the observations with it."""

import warnings

import jax
import numpy as np

from gpax_lab.core._observations import MEASURED, Observations

FEWEST = 5
"""Observations below which nothing is far from the others."""
LONE, FEW = 10.0, 10.0
"""Distance from the mean of all n - 1 others in their standard deviations, LONE (1 + FEW / (n - 3)): 60 for five
observations, as four may agree by chance, 43 for six, 16 for twenty."""
TAKEN = 3.0
"""Times by which the observation widens the standard deviation."""
FLANK = 2.0
"""Deviations of the rest by which the nearest observation stands out too, on the flank of a peak or of steep growth."""
SHARE = 1e-3
"""Share of the height that is left on a flank, at least."""


def find_outlier(x: np.ndarray, y: np.ndarray) -> int | None:
    """Number of the one observation that sets the scale alone, if there is one.

    It is far from all others (`LONE`), widens the standard deviation more
    than `TAKEN` times, and its nearest neighbour does not stand out to the same side.

    Args:
        x: (n, d) inputs.
        y: (n,) observations.
    """
    if len(y) < FEWEST:
        return None
    which = int(np.argmax(np.abs(y - np.median(y))))
    others = np.arange(len(y)) != which
    away, sd = y[which] - y[others].mean(), y[others].std()
    if not (sd > 0 and abs(away) > LONE * (1.0 + FEW / (len(y) - 3)) * sd and y.std() > TAKEN * sd):
        return None
    width = np.ptp(x, axis=0)
    apart = np.linalg.norm((x - x[which]) / np.where(width > 0, width, 1.0), axis=1)
    near = int(np.argmin(np.where(others, apart, np.inf)))
    rest = y[others & (np.arange(len(y)) != near)]
    flank = np.sign(away) * (y[near] - rest.mean()) > max(FLANK * rest.std(), SHARE * abs(away))
    return None if flank else which


def _found(obs: Observations) -> tuple[np.ndarray, np.ndarray, np.ndarray, int | None]:
    slots = np.flatnonzero(np.asarray(obs.status) == MEASURED)
    x, y = np.asarray(obs.x, np.float64)[slots], np.asarray(obs.y, np.float64)[slots]
    return slots, x, y, find_outlier(x, y)


def warn_of_outlier(obs: Observations, before: Observations | None = None) -> None:
    """Warn, naming slot, point and value, where one observation takes the scale with it. Outside jit only.

    Silent for several outputs, for fewer than five observations, and where all other observations are equal.

    Args:
        obs: observations.
        before: observations that were looked at already; the one that was alone among these is not named again.
    """
    if obs.y.ndim != 1 or any(isinstance(leaf, jax.core.Tracer) for leaf in obs):
        return
    slots, x, y, which = _found(obs)
    if which is None:
        return
    if before is not None:
        known, _, _, named = _found(before)
        if named is not None and known[named] == slots[which]:
            return
    rest = np.delete(y, which)
    point = ", ".join(f"{value:g}" for value in x[which])
    warnings.warn(
        f"the observation in slot {slots[which]}, y = {y[which]:g} at x = [{point}], is far from the {len(rest)} "
        f"others ({rest.min():g} to {rest.max():g}) and sets the scale of all. If it is an accident, leave it out "
        "(y = nan) or use noise=StudentNoise(...); if it is real, say what scale to expect: "
        "standardize=(location, scale).",
        stacklevel=4 if before is None else 3,
    )
