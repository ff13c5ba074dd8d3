"""One reading so far from all others that it takes the scale of the readings with it."""

import warnings

import jax
import numpy as np

from gpax_lab.core._observations import MEASURED, Observations

FEWEST = 5
"""Readings below which nothing is far from the others."""
LONE, FEW = 10.0, 10.0
"""Distance from the mean of all n - 1 others in their standard deviations, LONE (1 + FEW / (n - 3)): 60 for five
readings, as four may agree by chance, 43 for six, 16 for twenty."""
TAKEN = 3.0
"""Times by which the reading widens the standard deviation."""
FLANK = 2.0
"""Deviations of the rest by which the nearest reading stands out too, on the flank of a peak or of steep growth."""
SHARE = 1e-3
"""Share of the height that is left on a flank, at least."""


def lone_reading(x: np.ndarray, y: np.ndarray) -> int | None:
    """Number of the one reading that sets the scale alone, if there is one.

    It is far from all others (`LONE`), widens the standard deviation more
    than `TAKEN` times, and its nearest neighbour does not stand out to the same side.

    Args:
        x: (n, d) inputs.
        y: (n,) readings.
    """
    if len(y) < FEWEST:
        return None
    which = int(np.argmax(np.abs(y - np.median(y))))
    others = np.arange(len(y)) != which
    away, spread = y[which] - y[others].mean(), y[others].std()
    if not (spread > 0 and abs(away) > LONE * (1.0 + FEW / (len(y) - 3)) * spread and y.std() > TAKEN * spread):
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
    return slots, x, y, lone_reading(x, y)


def warn_of_a_lone_reading(obs: Observations, before: Observations | None = None) -> None:
    """Warn, naming slot, place and value, where one reading takes the scale with it. Outside jit only.

    Silent for several outputs, for fewer than five readings, and where all other readings are equal.

    Args:
        obs: readings.
        before: readings that were looked at already; the one that was alone among these is not named again.
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
    place = ", ".join(f"{value:g}" for value in x[which])
    warnings.warn(
        f"the reading in slot {slots[which]}, y = {y[which]:g} at x = [{place}], is far from the {len(rest)} others "
        f"({rest.min():g} to {rest.max():g}) and sets the scale of all. If it is an accident, leave it out (y = nan) "
        "or use noise=StudentNoise(...); if it is real, say what scale to expect: standardize=(location, scale).",
        stacklevel=4 if before is None else 3,
    )
