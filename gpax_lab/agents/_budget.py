"""What an agent may use up, counted from the journal: neither a new session nor a new server begins at zero."""

import math
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from gpax_lab.agents._refused import Refused
from gpax_lab.storage import JournalRecord


@dataclass(frozen=True)
class Budget:
    """Limits that whoever starts a server sets; no tool changes them.

    Attributes:
        points: measurements, or points asked for; None for any number.
        minutes: from an agent's first act on; None for any time.
        dose: sum of what `dose_of` says over all measurements, in its unit; None for any.
        dose_of: name of the array of a measurement that says what it cost the sample.

    Raises:
        ValueError: a limit that is not positive, or not finite.
    """

    points: int | None = None
    minutes: float | None = None
    dose: float | None = None
    dose_of: str = "dose"

    def __post_init__(self) -> None:
        for name in ("points", "minutes", "dose"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise ValueError(f"a budget of {name} is a positive number, or None; got {value!r}.")


class Spent:
    """How much of a budget is used up.

    Args:
        budget: the limits.
        by: name under which the journal knows the agent.
        history: of the journal.
    """

    def __init__(self, budget: Budget, by: str, history: Iterable[JournalRecord] = ()) -> None:
        self.budget, self._by = budget, by
        self.points, self.dose, self.begun, self.untold = 0, 0.0, math.inf, False
        for record in history:
            self.take(record.kind, record.header, record.arrays, record.wall)

    def take(self, kind: str, header: Any, arrays: Any, wall: float) -> None:
        """One entry of the journal more."""
        if header.get("by") == self._by:
            self.begun = min(self.begun, wall)
            self.points += int(header.get("points", kind == "intent"))
        if kind == "reading":
            cost = dose_in(arrays, self.budget.dose_of)
            self.untold |= cost is None and bool(header.get("ok"))
            self.dose += cost or 0.0

    def require(self, points: int = 0) -> None:
        """See that there is enough left.

        Raises:
            Refused: there is not.
        """
        limits = self.budget
        if limits.points is not None and self.points + points > limits.points:
            raise Refused(
                f"the budget is {limits.points} points, of which {self.points} are used: whoever runs the server may "
                "allow more, no tool can"
            )
        if limits.dose is not None and self.untold:
            raise Refused(
                f"there is a budget of dose, and a measurement did not say what it cost: it has no {limits.dose_of!r}"
            )
        if limits.dose is not None and self.dose >= limits.dose:
            raise Refused(f"the budget of dose, {limits.dose:g}, is used up: {self.dose:g}")
        if limits.minutes is not None and (time.time() - self.begun) / 60.0 > limits.minutes:
            raise Refused(f"the {limits.minutes:g} minutes of the budget are over")

    def plain(self) -> dict[str, Any]:
        """What is allowed and what is used, for answers."""
        minutes = None if math.isinf(self.begun) else (time.time() - self.begun) / 60.0
        return {
            "points": {"used": self.points, "allowed": self.budget.points},
            "minutes": {"used": minutes, "allowed": self.budget.minutes},
            "dose": {"used": self.dose, "allowed": self.budget.dose},
        }


def dose_in(arrays: Any, name: str) -> float | None:
    """What a measurement cost the sample; None where it does not say."""
    value = arrays.get(f"raw/{name}")
    if value is None:
        return None
    total = float(np.sum(np.asarray(value, np.float64)))
    return total if math.isfinite(total) and total >= 0 else None
