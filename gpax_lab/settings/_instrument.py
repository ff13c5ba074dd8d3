"""From the settings of an instrument to its driver, and what a driver may know beside measuring."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any, Protocol, runtime_checkable

import numpy as np

from gpax_lab.settings._check import SettingsError, described
from gpax_lab.settings._kinds import axes_of
from gpax_lab.settings._options import made


@runtime_checkable
class HasPositions(Protocol):
    """An instrument that can measure at given positions only."""

    positions: np.ndarray  # (n, d)


@runtime_checkable
class HasTruth(Protocol):
    """A simulation or a record, which knows what a measurement without noise would be."""

    def truth(self, x: np.ndarray) -> Sequence[Any]:
        """Measurements at positions x (n, d)."""


@runtime_checkable
class HasArrays(Protocol):
    """An instrument that knows the names of all arrays of its measurements beforehand."""

    @property
    def arrays(self) -> tuple[str, ...]:
        """The names."""


@runtime_checkable
class HasUnits(Protocol):
    """An instrument that knows units of arrays of its measurements beforehand."""

    @property
    def units(self) -> Mapping[str, str]:
        """By name of the array."""


def spans(instrument: Any) -> Iterator[tuple[str, str, Any]]:
    """Name, field and limits of each axis whose limits the settings give, in order."""
    axes = axes_of(type(instrument).made_by)
    if axes.given is None:
        return
    if axes.fixed is not None:
        for name in axes.fixed:
            yield name, f"instrument.{name}", getattr(instrument, name)
    else:
        for name, span in instrument.axes.items():
            yield name, f"instrument.axes.{name}", span


def axis_count(instrument: Any) -> int | None:
    """Number of axes, as far as it is known before the driver is made."""
    axes = axes_of(type(instrument).made_by)
    if axes.fixed is not None:
        return len(axes.fixed)
    return None if axes.given is None else len(instrument.axes)


def is_record(instrument: Any) -> bool:
    """Whether it can measure at given positions only, as far as its class says."""
    driver = type(instrument).made_by
    return hasattr(driver, "positions") or any(
        "positions" in getattr(one, "__annotations__", {}) for one in getattr(driver, "__mro__", ())
    )


def code_of(instrument: Any) -> dict[str, str]:
    """The files with code of their own that an instrument loads as it is connected, by the name of the option.

    Its class says by which options they are named (`LOADS`).
    """
    told = ((name, getattr(instrument, name)) for name in getattr(type(instrument).made_by, "LOADS", ()))
    return {name: str(value) for name, value in told if value is not None}


def driver_of(instrument: Any) -> Any:
    """The driver that the settings say; nothing is opened.

    Raises:
        SettingsError: the driver refuses a setting.
    """
    axes = axes_of(type(instrument).made_by)
    try:
        if axes.given is None:
            return _with_axes(made(instrument))
        fixed = axes.fixed or {}
        each = [
            made(span, name=name, **({"unit": fixed[name]} if name in fixed else {}))
            for name, _, span in spans(instrument)
        ]
        return _with_axes(made(instrument, axes=tuple(each)))
    except (ValueError, TypeError, OSError, KeyError) as error:
        names = described(type(instrument))
        about = str(error).partition(" = ")[0]
        raise SettingsError(f"instrument{'.' if about in names else ': '}{error}") from error


def _with_axes(driver: Any) -> Any:
    if getattr(driver, "axes", None) is None:
        raise ValueError(f"{type(driver).__name__} tells no axes, and a campaign needs their limits: give it `axes`.")
    return driver


def files_of(section: Any) -> Iterator[str]:
    """The files that settings name, anywhere in a section."""
    for about in fields(section):
        value = getattr(section, about.name)
        if hasattr(type(value), "__dataclass_fields__"):
            yield from files_of(value)
        elif value is not None and about.metadata and about.metadata["about"].check.path:
            yield str(value)
