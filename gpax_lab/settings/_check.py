"""Checks of plain values: each says which field is wrong, what was given and what is allowed."""

import difflib
import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, TypeVar

T = TypeVar("T")
_LARGEST = sys.float_info.max  # a whole number may be larger, and NaN is not smaller


class SettingsError(ValueError):
    """A setting is missing, unknown, of the wrong type or out of its range."""


@dataclass(frozen=True)
class Check:
    """A test of a plain value.

    Attributes:
        test: (value, name of the field) -> the value to keep; raises SettingsError.
        allowed: what passes, in words.
        section: the dataclass of a table, where the value is one.
        kinds: for a table that may be of several kinds: the dataclass of each by its word, or what is wrong with it.
        path: whether the value names a file.
    """

    test: Callable[[Any, str], Any]
    allowed: str
    section: type | None = None
    kinds: Callable[[], Mapping[str, type | str]] | None = None
    path: bool = False

    def __call__(self, value: Any, where: str) -> Any:
        """The value to keep. Raises SettingsError."""
        return self.test(value, where)


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


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise wrong(where, value, text.allowed)
    return value


text = Check(_text, "a text that is not empty")
file_path = Check(_text, "the path of a file", path=True)


def name_of(what: str) -> Check:
    """The name of a plug-in, which is looked up later."""
    return Check(_text, f"the name of {what}")


def _file_name(value: Any, where: str) -> str:
    name = text(value, where)
    bad = any(c in '/\\:*?"<>|' or not c.isprintable() for c in name)
    if bad or name != name.strip() or name.strip(".") == "" or name.endswith(".") or len(name.encode()) > 200:
        raise wrong(where, value, file_name.allowed)
    return name


file_name = Check(_file_name, "a file name of at most 200 bytes, without a folder")


def _flag(value: Any, where: str) -> bool:
    if not isinstance(value, bool):
        raise wrong(where, value, flag.allowed)
    return value


flag = Check(_flag, "true or false")


def word(*allowed: str) -> Check:
    """One of the given words."""

    def check(value: Any, where: str) -> str:
        if value not in allowed:
            raise SettingsError(f"{wrong(where, value, one_of_words(allowed))}{suggestion(value, allowed)}")
        return str(value)

    return Check(check, one_of_words(allowed))


def whole(low: int | None = None, high: int | None = None) -> Check:
    """A whole number, both limits included."""
    limits = "" if low is None else f" of at least {low}" if high is None else f" from {low} to {high}"

    def check(value: Any, where: str) -> int:
        good = isinstance(value, int) and not isinstance(value, bool)
        if not good or (low is not None and value < low) or (high is not None and value > high):
            raise wrong(where, value, f"a whole number{limits}")
        return int(value)

    return Check(check, f"a whole number{limits}")


def number(low: float = -math.inf, high: float = math.inf, *, above: bool = False) -> Check:
    """A finite number within [low, high]; `above` excludes `low` itself."""
    lower = f" {'above' if above else 'of at least'} {low:g}" if low > -math.inf else ""
    upper = f"{' and' if lower else ''} at most {high:g}" if high < math.inf else ""

    def check(value: Any, where: str) -> float:
        good = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= _LARGEST
        if not good or not low <= value <= high or (above and value == low):
            raise wrong(where, value, f"a finite number{lower}{upper}")
        return float(value)

    return Check(check, f"a finite number{lower}{upper}")


def several(check: Check, count: int | None = None) -> Check:
    """A list, each entry of which passes `check`."""
    allowed = "a list that is not empty" if count is None else f"a list of {count} values"

    def each(value: Any, where: str) -> tuple[Any, ...]:
        many = isinstance(value, Sequence) and not isinstance(value, str)
        if not many or not value or (count is not None and len(value) != count):
            raise wrong(where, value, allowed)
        return tuple(check(item, f"{where}[{index}]") for index, item in enumerate(value))

    return Check(each, f"{allowed}, each {check.allowed}", check.section, check.kinds)


def either(*checks: Check, allowed: str = "") -> Check:
    """A value that passes one of the checks, which `allowed` puts in words."""
    words = allowed or " or ".join(check.allowed for check in checks)

    def test(value: Any, where: str) -> Any:
        for one in checks:
            try:
                return one(value, where)
            except SettingsError:
                if isinstance(value, Mapping) and (one.section or one.kinds):
                    raise
        raise wrong(where, value, words)

    inner = next((one for one in checks if one.section or one.kinds), checks[0])
    return Check(test, words, inner.section, inner.kinds)


def one_or_list(check: Check) -> Check:
    """A value that passes `check`, or a list of such values."""
    each = several(check)
    return Check(
        lambda value, where: each(value, where) if isinstance(value, list | tuple) else check(value, where),
        f"{check.allowed}, or a list of such",
    )


def or_none(check: Check) -> Check:
    """A value that passes `check`, or the word "none"."""
    return Check(
        lambda value, where: None if value == "none" else check(value, where),
        f'{check.allowed}, or "none"',
        check.section,
        check.kinds,
    )


def as_table(value: Any, where: str) -> Mapping[str, Any]:
    """A TOML table."""
    if not isinstance(value, Mapping):
        raise wrong(where, value, "a table")
    return value


def table_of(check: Check, what: str) -> Check:
    """A table whose keys are names of the user's own and whose values pass `check`."""

    def test(value: Any, where: str) -> dict[str, Any]:
        return {name: check(item, f"{where}.{name}") for name, item in as_table(value, where).items()}

    return Check(test, f"a table of {what}, by name", check.section, check.kinds)


class Ordered(dict[str, Any]):
    """A table whose order counts: as plain values, which journals sort, a list of tables with names."""


def ordered_table_of(check: Check, what: str) -> Check:
    """As `table_of`, the order being kept; also a list of tables, each with a name."""

    def test(value: Any, where: str) -> Ordered:
        if isinstance(value, list | tuple):
            each = [dict(as_table(item, f"{where}[{index}]")) for index, item in enumerate(value)]
            value = {text(item.pop("name", None), f"{where}.name"): item for item in each}
        return Ordered({name: check(item, f"{where}.{name}") for name, item in as_table(value, where).items()})

    return Check(test, f"a table of {what}, by name", check.section, check.kinds)


def one_of(kinds: Callable[[], Iterable[str]], of: Callable[[str], type], default: str | None = None) -> Check:
    """A table whose field `kind` says which dataclass describes the rest.

    Args:
        kinds: the words that `kind` may be; asked when a table is there.
        of: the dataclass of one kind.
        default: the kind of a table that names none; None where it has to.
    """

    def check(value: Any, where: str) -> Any:
        table = dict(as_table(value, where))
        if "kind" not in table and default is None:
            raise SettingsError(f"{where}.kind is missing: give {one_of_words(kinds())}.")
        chosen = table.pop("kind", default)
        return parsed(of(word(*kinds())(chosen, f"{where}.kind")), table, where)

    def every() -> dict[str, type | str]:
        found: dict[str, type | str] = {}
        for name in kinds():
            try:
                found[name] = of(name)
            except SettingsError as error:
                found[name] = str(error)
        return found

    return Check(check, "a table", kinds=every)


def section(kind: type) -> Check:
    """A table that the dataclass `kind` describes."""
    return Check(lambda value, where: parsed(kind, as_table(value, where), where), "a table", kind)


@dataclass(frozen=True)
class Described:
    """What is known about a field besides its type.

    Attributes:
        check: of its value.
        meaning: one line: what it is for.
        unit: of the number.
        unlimited: what leaving a limit out stands for.
    """

    check: Check
    meaning: str
    unit: str = ""
    unlimited: float = math.inf


def entry(check: Check, default: Any = MISSING, meaning: str = "", unit: str = "", unlimited: float = math.inf) -> Any:
    """A field of a section: its check, its default (none: it must be given; a function makes it), what it is for."""
    about = {"about": Described(check, meaning, unit, unlimited)}
    if callable(default):
        return field(default_factory=default, metadata=about)
    return field(default=default, metadata=about)


def described(kind: type) -> dict[str, tuple[Any, Described]]:
    """The fields of a section by name: the dataclass field, and what is known about it."""
    return {f.name: (f, f.metadata["about"]) for f in fields(kind) if f.metadata}


def parsed(kind: type[T], table: Mapping[str, Any], where: str) -> T:
    """An instance of the dataclass `kind` from a table.

    Args:
        kind: a frozen dataclass whose fields were made by `entry`. Its static method `specialize(table, where)`, where
            there is one, names a subclass, which knows more fields; its `hints` say more of names that are none.
        table: plain values.
        where: name of the table, "" for the whole file.

    Raises:
        SettingsError: an unknown or missing field, or a value that its check refuses.
    """
    special = getattr(kind, "specialize", None)
    kind = kind if special is None else special(table, where)
    known = described(kind)
    prefix = f"{where}." if where else ""
    for name in table:
        if name not in known:
            if hint := getattr(kind, "hints", {}).get(name):
                raise SettingsError(f"{prefix}{name} is unknown: {hint}")
            there = f"[{where}] has" if where else "there are"
            raise SettingsError(
                f"{prefix}{name} is unknown: {there} {', '.join(known) or 'no options'}.{suggestion(name, known)}"
            )
    values = {}
    for name, (about, more) in known.items():
        if name in table:
            values[name] = more.check(table[name], prefix + name)
        elif about.default is MISSING and about.default_factory is MISSING:
            purpose = f" ({more.meaning})" if more.meaning else ""
            raise SettingsError(f"{prefix}{name} is missing{purpose}.")
    return kind(**values)
