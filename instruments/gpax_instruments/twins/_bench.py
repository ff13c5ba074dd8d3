"""A simulated transistor with two gates, as a station of a laboratory: things with `get`, `set` and a unit."""

import math
import random
from collections.abc import Callable

GATE_V = 1.0
"""Highest voltage of a gate, of either sign; beyond it a gate stays where it is."""

PEAK_A, NOISE_A = 1e-9, 2e-12
AT_V, WIDTH_V = (0.3, -0.2), 0.25  # where the current is highest


class Knob:
    """One parameter, as those of QCoDeS are.

    Args:
        unit: of its value.
        get: reads it.
        set: sets it; None where it can only be read.
    """

    def __init__(self, unit: str, get: Callable[[], float], set: Callable[[float], None] | None = None) -> None:
        self.unit, self.get, self.settable = unit, get, set is not None
        self._set = set

    def set(self, value: float) -> None:
        """Set it."""
        if self._set is not None:
            self._set(value)


def bench() -> dict[str, Knob]:
    """A station of `adapters.Parameters`: gates gate1 and gate2 [V], and the current [A] with its noise."""
    volts = [0.0, 0.0]
    noise = random.Random(0)

    def gate(index: int) -> Knob:
        def move(value: float) -> None:
            if abs(value) <= GATE_V:
                volts[index] = value

        return Knob("V", lambda: volts[index], move)

    def current() -> float:
        away = sum((v - at) ** 2 for v, at in zip(volts, AT_V, strict=True)) / WIDTH_V**2
        return PEAK_A * math.exp(-0.5 * away) + noise.gauss(0.0, NOISE_A)

    return {"gate1": gate(0), "gate2": gate(1), "current": Knob("A", current)}
