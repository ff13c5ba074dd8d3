"""What differs between the settings of a campaign and those that it is to go on with, and whether it may."""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from gpax_instruments.drivers.pfm import PFM

from gpax_lab.settings._check import SettingsError
from gpax_lab.settings._files import to_plain
from gpax_lab.settings._schema import Settings

Judge = Callable[[Any, Any, Mapping[str, Any], Mapping[str, Any]], bool]
"""(before, after, all before, all after) -> whether the limit got narrower, or stayed."""


def _lower(unlimited: float) -> Judge:
    return lambda before, after, *_: _or(after, unlimited) <= _or(before, unlimited)


def _or(value: Any, default: float) -> float:
    return default if value is None else float(value)


def _higher(before: Any, after: Any, *_: Any) -> bool:
    return bool(after >= before)


def _no_more(before: Any, after: Any, *_: Any) -> bool:
    return not after or bool(before)


def _tolerance(axis: str) -> Judge:
    def allowed(value: Any, plain: Mapping[str, Any]) -> float:
        span = plain[f"instrument.{axis}.high"] - plain[f"instrument.{axis}.low"]
        return _or(value, 1e-3 * span)  # as `Axis.allowed_error`

    return lambda before, after, old, new: allowed(after, new) <= allowed(before, old)


LIMITS: Mapping[str, Judge] = {
    **{f"instrument.{axis}.low": _higher for axis in "xy"},
    **{f"instrument.{axis}.high": _lower(math.inf) for axis in "xy"},
    **{f"instrument.{axis}.max_step": _lower(math.inf) for axis in "xy"},
    **{f"instrument.{axis}.tolerance": _tolerance(axis) for axis in "xy"},
    "instrument.vmax": _lower(math.inf),
    "instrument.max_bias": _lower(PFM.MAX_BIAS_V),
    "instrument.repeatable": _no_more,
}
"""Limits, which a campaign that goes on may narrow and never widen."""

FREE = (
    *(f"instrument.{name}" for name in ("address", "timeout_s", "loop_timeout_s", "x.settle_s", "y.settle_s", "file")),
    *(f"campaign.{name}" for name in ("steps", "name", "failures", "wait_s", "idle_s")),
    *(f"stop.{name}" for name in ("budget", "target", "confidence", "no_more_gain")),
)
"""What neither bounds the instrument nor changes what was learned so far."""


class Change(NamedTuple):
    """One field that differs.

    Attributes:
        name: of the field.
        before: its value in the campaign; None for none.
        after: the value that is wanted.
        refused: why it may not differ, in words; empty where it may.
    """

    name: str
    before: Any
    after: Any
    refused: str

    def __str__(self) -> str:
        return f"{self.name} {_word(self.before)} -> {_word(self.after)}"


def _word(value: Any) -> str:
    return "none" if value is None else repr(value)


def changes(before: Settings, after: Settings) -> tuple[Change, ...]:
    """The fields in which `after` differs from the settings of a campaign that was begun.

    Args:
        before: in force.
        after: wanted.
    """
    old, new = _flat(to_plain(before)), _flat(to_plain(after))
    names = [name for name in dict.fromkeys((*old, *new)) if old.get(name) != new.get(name)]
    return tuple(Change(name, old.get(name), new.get(name), _refused(name, old, new)) for name in names)


def _refused(name: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    if old.get("instrument.kind") != new.get("instrument.kind"):
        return "it is another kind of instrument"
    if name in FREE:
        return ""
    if name not in LIMITS:
        return "what was measured so far depends on it"
    return "" if LIMITS[name](old.get(name), new.get(name), old, new) else "a limit may be narrowed, and this is wider"


def _flat(plain: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in plain.items():
        found |= _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return found


def agreed(found: tuple[Change, ...], source: str, yes: bool) -> None:
    """Raise unless a campaign may go on with these changes.

    Args:
        found: see `changes`.
        source: where they come from, for messages.
        yes: whether somebody said that they are meant.

    Raises:
        SettingsError: a change that is refused, or nobody said so.
    """
    back = "Or go on with what the journal says: --as-journalled."
    if refused := [change for change in found if change.refused]:
        words = "; ".join(f"{change} ({change.refused})" for change in refused)
        raise SettingsError(f"{source} differs from the campaign where it may not: {words}. Restore it. {back}")
    if found and not yes:
        words = "; ".join(map(str, found))
        raise SettingsError(f"{source} differs from the campaign: {words}. If that is meant, say --yes. {back}")
