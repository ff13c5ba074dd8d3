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


def axis_units(axes: Sequence[Axis]) -> list[tuple[float, str]]:
    """Size and name of the unit in which each axis reads well: one for all lengths, that of the widest."""
    lengths = [axis.high - axis.low for axis in axes if axis.unit == "m"]
    of_lengths = length_unit(max(lengths)) if lengths else (1.0, "m")
    return [of_lengths if axis.unit == "m" else (1.0, axis.unit) for axis in axes]


def position(x: np.ndarray, axes: Sequence[Axis]) -> str:
    """A position in the units of the axes, e.g. '(0.412, 1.300) um' or '(3.2 V, -0.5 log10(s))'."""
    units = axis_units(axes)
    numbers = [
        f"{float(v) / size:.3f}" if axis.unit == "m" else f"{float(v):.4g}"
        for v, (size, _), axis in zip(np.ravel(x), units, axes, strict=True)
    ]
    names = [name for _, name in units]
    if len(set(names)) == 1:
        return f"({', '.join(numbers)}) {names[0]}"
    return f"({', '.join(f'{number} {name}' for number, name in zip(numbers, names, strict=True))})"


def value(number: float, unit: str, sd: float | None = None) -> str:
    """A value with its unit, and its standard deviation if known."""
    return f"{number:.4g} {unit}" if sd is None else f"{number:.4g} +- {sd:.2g} {unit}"
