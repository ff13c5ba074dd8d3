"""Numbers as people write them: lengths with the fitting prefix, values with their unit."""

from collections.abc import Sequence

import numpy as np

from gpax_lab.core import Axis

_PREFIXES = ((1.0, "m"), (1e-3, "mm"), (1e-6, "um"), (1e-9, "nm"), (1e-12, "pm"))


def length_unit(span_m: float) -> tuple[float, str]:
    """Size in m and name of the unit in which a span reads well.

    Example:
        >>> length_unit(2e-6)
        (1e-06, 'um')
    """
    for size, name in _PREFIXES:
        if abs(span_m) >= 0.999 * size:
            return size, name
    return _PREFIXES[-1]


def span_unit(axes: Sequence[Axis]) -> tuple[float, str]:
    """The unit of the widest axis."""
    return length_unit(max(axis.high - axis.low for axis in axes))


def place(x: np.ndarray, axes: Sequence[Axis]) -> str:
    """A position in the axes' common unit, e.g. '(0.412, 1.300) um'."""
    size, name = span_unit(axes)
    return f"({', '.join(f'{float(v) / size:.3f}' for v in np.ravel(x))}) {name}"


def value(number: float, unit: str, sd: float | None = None) -> str:
    """A value with its unit, and its standard deviation if known."""
    return f"{number:.4g} {unit}" if sd is None else f"{number:.4g} +- {sd:.2g} {unit}"
