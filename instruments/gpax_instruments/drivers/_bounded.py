"""Numbers of a driver that stay within its own limits, whoever sets them."""

from typing import Any

from gpax_lab.core._axes import finite


class Bounded:
    """A number of a driver that stays within its limits whoever sets it: constructor, settings or attribute.

    Args:
        unit: for messages.
        low: lowest value allowed.
        high: name of the class attribute that holds the highest value allowed, or of another such number of the driver,
            which may have been narrowed.
        above: low itself is refused.
        whole: only whole numbers are allowed.
        none: None is allowed, and stands for the highest value.

    Example:
        >>> class Source:
        ...     MAX_BIAS_V = 20.0
        ...     vmax = Bounded("V", 0.0, "MAX_BIAS_V", above=True)
        >>> source = Source()
        >>> source.vmax = 80
        Traceback (most recent call last):
        ValueError: vmax = 80 V: give a finite number above 0 and at most 20, the driver's own limit; nothing was sent
    """

    def __init__(
        self, unit: str, low: float, high: str, *, above: bool = False, whole: bool = False, none: bool = False
    ) -> None:
        self.unit, self.low, self.high = unit, low, high
        self.above, self.whole, self.none = above, whole, none
        self.name = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return self if instance is None else instance.__dict__[self.name]

    def __set__(self, instance: Any, value: object) -> None:
        instance.__dict__[self.name] = self.check(instance, value)

    def limit(self, instance: Any) -> float:
        """The highest value that instance allows now."""
        high = getattr(type(instance), self.high)  # of the class: an attribute of the object can not widen it
        return float(getattr(instance, self.high) if isinstance(high, Bounded) else high)

    def check(self, instance: Any, value: object) -> float | int:
        """Return value as a float, or an int where it must be whole. Raises ValueError outside the limits."""
        high = self.limit(instance)
        if value is None and self.none:
            return high
        good = finite(value) and self.low <= value <= high and not (self.above and value == self.low)  # type: ignore[operator]
        if not good or (self.whole and value != int(value)):  # type: ignore[call-overload]
            kind = "a whole number" if self.whole else "a finite number"
            least = f"above {self.low:g}" if self.above else f"of at least {self.low:g}"
            raise ValueError(
                f"{self.name} = {value!r} {self.unit}: give {kind} {least} and at most {high:g}, "
                "the driver's own limit; nothing was sent"
            )
        return int(value) if self.whole else float(value)  # type: ignore[call-overload, arg-type]


def judged(instance: Any, name: str) -> float:
    """A `Bounded` number of a driver, judged once more: within its limits, whoever has touched the driver."""
    return float(getattr(type(instance), name).check(instance, getattr(instance, name)))
