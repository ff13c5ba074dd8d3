"""Compositions: fractions of k components that sum to one, and where they lie in an image.

Ternary compositions fill a triangle, quaternary ones a tetrahedron, with a pure component at every corner. All
functions are plain numpy: they prepare a library, they are not part of a compiled step.
"""

from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike

from gpax_lab.core._inputs import numbers

TOLERANCE = 1e-6
"""How far the sum of fractions may be from one; what was rounded needs `normalized` first."""

_HALF, _HEIGHT = 0.5, np.sqrt(3) / 2
CORNERS = {
    2: np.array([[0.0], [1.0]]),
    3: np.array([[0.0, 0.0], [1.0, 0.0], [_HALF, _HEIGHT]]),
    4: np.array([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [_HALF, _HEIGHT, 0.0], [_HALF, _HEIGHT / 3, np.sqrt(2 / 3)]]),
}
"""(k, k - 1) corners of the unit segment, triangle and tetrahedron, all edges of length 1."""


def checked(fractions: ArrayLike, tolerance: float = TOLERANCE) -> np.ndarray:
    """Fractions (n, k) as they are.

    Raises:
        ValueError: they are no table of at least two columns, not finite, negative, or do not sum to one.
    """
    table = _table(fractions)
    if (table < -tolerance).any():
        row = int(np.argmax((table < -tolerance).any(axis=1)))
        raise ValueError(f"row {row} has a negative fraction, {table[row].tolist()}: correct or drop it.")
    total = table.sum(axis=1)
    away = np.abs(total - 1)
    if (away <= tolerance).all():
        return table
    row = int(away.argmax())
    if np.allclose(total, 100.0, rtol=0.05):
        raise ValueError(
            f"rows sum to about 100 (row {row}: {total[row]:g}), these are percent: use compositions.normalized(...)."
        )
    raise ValueError(
        f"row {row} sums to {total[row]:g}, not 1: give the fractions of all components, or what "
        "compositions.normalized(...) makes of them."
    )


def normalized(amounts: ArrayLike) -> np.ndarray:
    """Amounts (n, k) in percent, or in any common unit, as fractions (n, k) that sum to one.

    Raises:
        ValueError: an amount is negative or not finite, or a row holds nothing.
    """
    table = _table(amounts)
    if (table < 0).any():
        raise ValueError("an amount is negative: set what lies below the detection limit to 0.")
    total = table.sum(axis=1, keepdims=True)
    if (total == 0).any():
        raise ValueError(f"row {int(np.argmax(total == 0))} holds nothing: drop it.")
    return table / total


def simplex_grid(components: int, steps: int) -> np.ndarray:
    """All compositions whose fractions are multiples of 1 / steps: (C(steps + k - 1, k - 1), k), first one slowest.

    Raises:
        ValueError: fewer than two components or one step.

    Example:
        >>> simplex_grid(3, 10).shape
        (66, 3)
    """
    if components < 2 or steps < 1:
        raise ValueError(f"a grid needs components >= 2 and steps >= 1; got {components} and {steps}.")
    # Stars and bars: k - 1 bars among steps + k - 1 places; what lies between two bars is a fraction.
    bars = np.array(list(combinations(range(steps + components - 1), components - 1)))
    edges = np.pad(bars, ((0, 0), (1, 1)), constant_values=((0, 0), (-1, steps + components - 1)))
    return (np.diff(edges, axis=1) - 1) / steps


def barycentric(fractions: ArrayLike, tolerance: float = TOLERANCE) -> np.ndarray:
    """Point (n, k - 1) of compositions (n, k) in the segment, triangle or tetrahedron of `CORNERS`, k = 2, 3 or 4.

    Raises:
        ValueError: fractions that are none (see `checked`), or of more than four components.
    """
    table = checked(fractions, tolerance)
    return table @ _corners(table.shape[1])


def _corners(components: int) -> np.ndarray:
    if components not in CORNERS:
        raise ValueError(f"points exist for 2, 3 or 4 components; got {components}: pick some and normalise them.")
    return CORNERS[components]


def _table(values: ArrayLike) -> np.ndarray:
    table = numbers(values, "compositions")
    if table.ndim != 2 or table.shape[1] < 2 or not np.isfinite(table).all():
        raise ValueError(f"compositions are a finite table (n, k) with k >= 2 components; got shape {table.shape}.")
    return table
