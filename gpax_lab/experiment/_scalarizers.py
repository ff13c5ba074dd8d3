"""The scalarizers of a campaign by name, and the one in force: from a measurement to a value and its variance."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from gpax_lab.core._inputs import one_value
from gpax_lab.experiment._contracts import Scalarizer


class Scalarizers:
    """Several ways to a number, of which one is in force.

    Args:
        given: one, or several by name, of which the first is in force.

    Attributes:
        chosen: name of the one in force.

    Raises:
        TypeError: one can not be called, or there is none.
    """

    def __init__(self, given: Scalarizer | Mapping[str, Scalarizer]) -> None:
        self._by_name = dict(given) if isinstance(given, Mapping) else {"value": given}
        wrong = [name for name, scalarizer in self._by_name.items() if not callable(scalarizer)]
        if wrong or not self._by_name:
            raise TypeError(
                f"scalarize is a function of a measurement, or some by name; no function: {wrong or given}."
            )
        self.chosen = ""

    def choose(self, name: str | None) -> None:
        """Put another one in force; None: the first.

        Raises:
            ValueError: there is none of this name.
        """
        name = next(iter(self._by_name)) if name is None else name
        if name not in self._by_name:
            raise ValueError(f"no scalarizer {name!r}; there are {sorted(self._by_name)}.")
        self.chosen = name

    def __call__(self, measurement: Any) -> tuple[float, float]:
        """Value and variance; NaN and 0 where there is no finite number.

        Raises:
            Exception: whatever the scalarizer raises; ValueError where it gives something else than one number.
        """
        if not measurement.ok:
            return np.nan, 0.0
        value, variance = one_value(self._by_name[self.chosen](measurement))
        return (value, variance) if np.isfinite(value) and np.isfinite(variance) else (np.nan, 0.0)
