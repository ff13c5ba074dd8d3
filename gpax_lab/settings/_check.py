"""Checks of plain values: each says which field is wrong, what was given and what is allowed."""

import difflib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from numbers import Real
from typing import Any, TypeAlias, TypeVar

T = TypeVar("T")
Check: TypeAlias = Callable[[Any, str], Any]
"""(value, name of the field) -> the value to keep; raises SettingsError."""


class SettingsError(ValueError):
    """A setting is missing, unknown, of the wrong type or out of its range."""


def wrong(where: str, given: Any, allowed: str) -> SettingsError:
    """The error for a value that is not allowed."""
    return SettingsError(f"{where} = {given!r} is not allowed: give {allowed}.")


def suggestion(given: Any, allowed: Iterable[str]) -> str:
    """' Did you mean ...?' with the nearest allowed word, or nothing."""
    near = difflib.get_close_matches(str(given), list(allowed), n=1, cutoff=0.5)
    return f' Did you mean "{near[0]}"?' if near else ""


def one_of_words(words: Iterable[str]) -> str:
    """The words in quotation marks: "a", "b" or "c"."""
    *many, last = [f'"{word}"' for word in words]
    return f"{', '.join(many)} or {last}" if many else last


def text(value: Any, where: str) -> str:
    """Text that is not empty."""
    if not isinstance(value, str) or not value.strip():
        raise wrong(where, value, "a text that is not empty")
    return value


def file_name(value: Any, where: str) -> str:
    """A file name without a folder, good on every system."""
    name = text(value, where)
    bad = any(c in '/\\:*?"<>|' or not c.isprintable() for c in name)
    if bad or name != name.strip() or name.strip(".") == "" or name.endswith(".") or len(name.encode()) > 200:
        raise wrong(where, value, "a file name of at most 200 bytes, without a folder")
    return name


def flag(value: Any, where: str) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise wrong(where, value, "true or false")
    return value


def word(*allowed: str) -> Check:
    """One of the given words."""

    def check(value: Any, where: str) -> str:
        if value not in allowed:
            raise SettingsError(f"{wrong(where, value, one_of_words(allowed))}{suggestion(value, allowed)}")
        return str(value)

    return check


def whole(low: int, high: int | None = None) -> Check:
    """A whole number, both limits included."""

    def check(value: Any, where: str) -> int:
        good = isinstance(value, int) and not isinstance(value, bool)
        if not good or value < low or (high is not None and value > high):
            limits = f"of at least {low}" if high is None else f"from {low} to {high}"
            raise wrong(where, value, f"a whole number {limits}")
        return int(value)

    return check


def number(low: float = -math.inf, high: float = math.inf, *, above: bool = False) -> Check:
    """A finite number within [low, high]; `above` excludes `low` itself."""

    def check(value: Any, where: str) -> float:
        good = isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
        if not good or not low <= value <= high or (above and value == low):
            lower = f" {'above' if above else 'of at least'} {low:g}" if low > -math.inf else ""
            upper = f" and at most {high:g}" if high < math.inf else ""
            raise wrong(where, value, f"a finite number{lower}{upper}")
        return float(value)

    return check


def several(check: Check, count: int | None = None) -> Check:
    """A list, each entry of which passes `check`."""

    def each(value: Any, where: str) -> tuple[Any, ...]:
        many = isinstance(value, Sequence) and not isinstance(value, str)
        if not many or not value or (count is not None and len(value) != count):
            raise wrong(where, value, "a list that is not empty" if count is None else f"a list of {count} values")
        return tuple(check(item, f"{where}[{index}]") for index, item in enumerate(value))

    return each


def either(*checks: Check, allowed: str) -> Check:
    """A value that passes one of the checks, which `allowed` puts in words."""

    def check(value: Any, where: str) -> Any:
        for one in checks:
            try:
                return one(value, where)
            except SettingsError:
                continue
        raise wrong(where, value, allowed)

    return check


def one_or_list(check: Check) -> Check:
    """A value that passes `check`, or a list of such values."""
    each = several(check)
    return lambda value, where: each(value, where) if isinstance(value, list | tuple) else check(value, where)


def as_table(value: Any, where: str) -> Mapping[str, Any]:
    """A TOML table."""
    if not isinstance(value, Mapping):
        raise wrong(where, value, "a table")
    return value


def one_of(**kinds: type) -> Check:
    """A table whose field `kind` says which dataclass describes the rest."""

    def check(value: Any, where: str) -> Any:
        table = dict(as_table(value, where))
        if "kind" not in table:
            raise SettingsError(f"{where}.kind is missing: give {one_of_words(kinds)}.")
        return parsed(kinds[word(*kinds)(table.pop("kind"), f"{where}.kind")], table, where)

    return check


def section(kind: type) -> Check:
    """A table that the dataclass `kind` describes."""
    return lambda value, where: parsed(kind, as_table(value, where), where)


@dataclass(frozen=True)
class Described:
    """What is known about a field besides its type."""

    check: Check
    needed_for: str


def entry(check: Check, default: Any = MISSING, needed_for: str = "") -> Any:
    """A field of a section: its check, its default (none: it must be given; a function makes it), what it is for."""
    about = {"about": Described(check, needed_for)}
    if callable(default):
        return field(default_factory=default, metadata=about)
    return field(default=default, metadata=about)


def parsed(kind: type[T], table: Mapping[str, Any], where: str) -> T:
    """An instance of the dataclass `kind` from a table.

    Args:
        kind: a frozen dataclass whose fields were made by `entry`.
        table: plain values.
        where: name of the table, "" for the whole file.

    Raises:
        SettingsError: an unknown or missing field, or a value that its check refuses.
    """
    known = {f.name: f for f in fields(kind) if f.metadata}  # type: ignore[arg-type]
    prefix = f"{where}." if where else ""
    for name in table:
        if name not in known:
            place = f"[{where}] has" if where else "there are"
            raise SettingsError(f"{prefix}{name} is unknown: {place} {', '.join(known)}.{suggestion(name, known)}")
    values = {}
    for name, about in known.items():
        described: Described = about.metadata["about"]
        if name in table:
            values[name] = described.check(table[name], prefix + name)
        elif about.default is MISSING and about.default_factory is MISSING:
            purpose = f" ({described.needed_for})" if described.needed_for else ""
            raise SettingsError(f"{prefix}{name} is missing{purpose}.")
    return kind(**values)
