"""One measurement, and the instrument that takes it: all that a campaign and a driver know of each other."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from gpax_lab.core._axes import Axis


@dataclass(frozen=True, eq=False)
class Measurement:
    """One measurement with everything needed to judge it.

    Args:
        arrays: raw signals by name, as they came; kept in a failed measurement too, as evidence for the record.
        units: unit of each array by the same name.
        position: (d,) float64 read back, in the coordinates of the x that was proposed: where the model learns it
            (metres stay float64, outside JAX). None where the instrument does not know, or tells it in other
            coordinates: then it is learned at x.
        ok: False when the measurement must not be used as a number.
        reason: why not, in words; empty when ok.
        flags: the same in single words, for counting ("nan", "inf", "saturated", ...).

    Raises:
        ValueError: a failed measurement without a reason, or arrays and units that do not match.

    Example:
        >>> Measurement({"current": np.array(2e-12)}, {"current": "A"}, np.array([1e-6, 2e-6])).ok
        True
    """

    arrays: Mapping[str, np.ndarray]
    units: Mapping[str, str]
    position: np.ndarray | None
    ok: bool = True
    reason: str = ""
    flags: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if set(self.arrays) != set(self.units):
            raise ValueError(f"every array needs a unit: arrays {sorted(self.arrays)}, units {sorted(self.units)}")
        if not self.ok and not self.reason:
            raise ValueError("a failed measurement must say why: give a reason")


if TYPE_CHECKING:
    default = property
else:

    class default(property):
        """A property that a derived class, or an instance, replaces by assigning to it."""

        def __get__(self, instance: Any, owner: type | None = None) -> Any:
            if instance is None or self.fget.__name__ not in vars(instance):
                return super().__get__(instance, owner)
            return vars(instance)[self.fget.__name__]

        def __set__(self, instance: Any, value: Any) -> None:
            vars(instance)[self.fget.__name__] = value


@runtime_checkable
class Instrument(Protocol):
    """What a campaign drives: `measure` is a function from a point to a `Measurement`.

    Derive a class from it to have the defaults, and write `measure` and `make_safe`; or give a class of your own all
    members. `gpax_instruments.drivers` has instruments over SCPI.

    Example:
        >>> class Bench(Instrument):
        ...     repeatable = True
        ...
        ...     def measure(self, x, token):
        ...         return Measurement({"power": np.asarray(np.sum(x**2))}, {"power": "W"}, position=x)
        ...
        ...     def make_safe(self):
        ...         pass
        >>> float(Bench().measure(np.array([3.0]), "t1").arrays["power"])
        9.0
    """

    @default
    def repeatable(self) -> bool:
        """Whether a measurement whose outcome is unknown may be done again at the same point.

        A pulse that changes the sample says no.
        """
        return False

    @default
    def remembers_token(self) -> bool:
        """Whether it can tell whether the measurement of a token was done, and then hands that one back.

        Such an instrument is asked again even where it is not `repeatable`: it does not measure twice. It may become
        false for a while, where the instrument was switched off and on and has forgotten.
        """
        return False

    @default
    def axes(self) -> Sequence[Axis] | None:
        """Coordinates of x with their limits; None where they are not told. A campaign is held to them."""
        return None

    @default
    def limits(self) -> Mapping[str, float]:
        """Highest values allowed of what acts on the sample, by name; a campaign is held to them, too."""
        return {}

    def identity(self) -> str:
        """Maker, model, serial number and version, as the instrument gives them; empty where it gives none."""
        return ""

    @abstractmethod
    def measure(self, x: np.ndarray, token: str) -> Measurement:
        """Measure once at x (d,), in the units of the axes.

        Args:
            x: (d,) where.
            token: names this one measurement, whatever happens to the link.

        Raises:
            InstrumentError: one with `point_failed` costs this point alone, any other one ends the campaign.
        """

    @abstractmethod
    def make_safe(self) -> None:
        """Enter a state in which it can be left alone (tip withdrawn, bias 0, beam blanked); may be repeated.

        Also called by another thread than `measure`, never at the same time, when a fit takes longer than `idle_s`.
        """


MEMBERS = ("repeatable", "remembers_token", "axes", "limits", "identity", "measure", "make_safe")


def require_instrument(instrument: object) -> None:
    """Raise TypeError, with what is missing, unless it has all members of `Instrument`."""
    missing = [name for name in MEMBERS if not hasattr(instrument, name)]
    if missing:
        raise TypeError(
            f"{type(instrument).__name__} is no instrument, it has no {', '.join(missing)}: derive it from "
            "gpax_lab.core.Instrument, which gives defaults."
        )
