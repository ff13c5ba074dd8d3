"""What differs between the settings of a campaign and those that it is to go on with, and whether it may."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from gpax_lab.settings._check import SettingsError, described
from gpax_lab.settings._files import to_plain
from gpax_lab.settings._instrument import code_of, spans
from gpax_lab.settings._schema import Settings

FREE = (
    *(f"campaign.{name}" for name in ("steps", "name", "max_failures", "wait_s", "idle_s")),
    *(f"stop.{name}" for name in ("budget", "target", "confidence", "no_more_gain")),
    "instrument.address",
    "instrument.file",
    "interventions",
)
"""What neither bounds the instrument nor changes what was learned so far."""

_BOUNDING = ("vmax", "dose_budget")
"""Options of drivers that bound what acts on the sample, beside those that begin with max_."""


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
    return tuple(Change(name, old.get(name), new.get(name), _refused(name, before, after, old, new)) for name in names)


def _refused(name: str, before: Settings, after: Settings, old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    if old.get("instrument.kind") != new.get("instrument.kind"):
        return "it is another kind of instrument"
    last = name.rpartition(".")[2]
    if name in FREE or (name.startswith("instrument.") and (last.endswith("timeout_s") or last == "settle_s")):
        return ""
    narrower = _narrower(name, before, after)
    if narrower is None:
        return "what was measured so far depends on it"
    return "" if narrower else "a limit may be narrowed, and this is wider"


def _narrower(name: str, before: Settings, after: Settings) -> bool | None:
    """Whether a limit of the instrument got narrower, or stayed; None where the field is no limit."""
    for (_, where, old), (_, _, new) in zip(spans(before.instrument), spans(after.instrument), strict=False):
        if name == f"{where}.low":
            return bool(new.low >= old.low)
        if name in (f"{where}.high", f"{where}.max_step"):
            field = name.rpartition(".")[2]
            return _or(getattr(new, field), math.inf) <= _or(getattr(old, field), math.inf)
        if name == f"{where}.tolerance":
            return _tolerance(new) <= _tolerance(old)
    section, _, field = name.partition(".")
    fields = described(type(before.instrument))
    if section != "instrument" or field not in fields:
        return None
    old, new = (getattr(one.instrument, field) for one in (before, after))
    if field == "repeatable":
        return not new or bool(old)
    if field in _BOUNDING or field.startswith("max_"):
        unlimited = fields[field][1].unlimited
        return _or(new, unlimited) <= _or(old, unlimited)
    return None


def _or(value: Any, default: float) -> float:
    return default if value is None else float(value)


def _tolerance(span: Any) -> float:
    return _or(span.tolerance, 1e-3 * (span.high - span.low))  # where none is given, as `Axis.allowed_error`


def _flat(plain: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in plain.items():
        if isinstance(value, list) and value and all(isinstance(one, Mapping) and "name" in one for one in value):
            value = {one["name"]: {key: item for key, item in one.items() if key != "name"} for one in value}
        found |= _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return found


def check_code(settings: Settings, trusted: bool) -> None:
    """Raise unless a campaign may load the files with code that its settings name; a journal may be a stranger's.

    Args:
        settings: with which it goes on.
        trusted: whether a person named these settings, or said yes.

    Raises:
        SettingsError: it names such files, and nobody said that they are meant.
    """
    if not trusted and (found := code_of(settings.instrument)):
        words = ", ".join(f'instrument.{name} = "{value}"' for name, value in found.items())
        raise SettingsError(
            f"this campaign loads code that its files name: {words}. If you know these files, say --yes, or name "
            "settings of your own that say the same: --settings FILE."
        )


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
