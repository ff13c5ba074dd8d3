"""The whole schema of settings in words, from the same tables by which files are checked."""

from collections.abc import Iterator
from dataclasses import MISSING
from typing import Any, NamedTuple

from gpax_lab.core._plugins import plugins
from gpax_lab.settings._check import Check, described
from gpax_lab.settings._files import _plain, _toml
from gpax_lab.settings._options import first_line
from gpax_lab.settings._reconstruct import ReconstructSettings
from gpax_lab.settings._schema import Settings


class SchemaSection(NamedTuple):
    """A table of settings.

    Attributes:
        heading: its name, and what makes it of this kind.
        about: one line on it.
        fields: name and line of each field.
        kind: the dataclass behind it; None for one that can not be loaded.
    """

    heading: str
    about: str
    fields: tuple[tuple[str, str], ...]
    kind: type | None


def explain() -> str:
    """All that a settings file may say: every table and key, with defaults, units and what is allowed.

    Returns:
        Text, a paragraph for each table.
    """
    parts = []
    for one in (*schema(), *schema(ReconstructSettings, "of gpax-lab reconstruct")):
        width = max((len(name) for name, _ in one.fields), default=0)
        lines = [f"  {name:<{width}}  {line}" for name, line in one.fields]
        parts.append("\n".join([f"{one.heading}  {one.about}".rstrip(), *lines, ""]))
    return "\n".join(parts)


def schema(root: type = Settings, whose: str = "") -> Iterator[SchemaSection]:
    """The tables of a settings file, in order; each kind once.

    Args:
        root: all of the file.
        whose: words behind each heading, where it is another file than that of a campaign.
    """
    seen: dict[Any, str] = {}
    for one in _all(root, seen):
        yield one._replace(heading=f"{one.heading} {whose}".rstrip())


def _all(root: type, seen: dict[Any, str]) -> Iterator[SchemaSection]:
    for name, (_, about) in described(root).items():
        if about.check.section is None and about.check.kinds is None:
            allowed = f"NAME = {about.check.allowed.removeprefix('a table of ')}"
            yield SchemaSection(f"[{name}]", f"{about.meaning}: {allowed}", (), None)
        else:
            yield from _tables(name, about.check, seen)


def _tables(path: str, check: Check, seen: dict[Any, str]) -> Iterator[SchemaSection]:
    if check.section is not None:
        yield from _section(path, f"[{path}]", check.section, seen)
    elif check.kinds is not None:
        for word, kind in check.kinds().items():
            if isinstance(kind, str):
                yield SchemaSection(f'[{path}] kind = "{word}"', kind, (), None)
            else:
                named = getattr(kind, "by", None)
                of = "" if named else f' kind = "{word}"' if getattr(kind, "kind", "") else f" {word}"
                yield from _section(path, f"[{path}]{of}", kind, seen)


def _section(path: str, heading: str, kind: type, seen: dict[Any, str]) -> Iterator[SchemaSection]:
    if kind in seen:
        yield SchemaSection(heading, f"as {seen[kind]}", (), kind)
        return
    seen[kind] = heading
    fields = described(kind)
    yield SchemaSection(heading, first_line(kind), tuple((name, _line(*fields[name])) for name in fields), kind)
    if by := getattr(kind, "by", None):
        field, group = by
        yield from _specialized(heading, kind, field, group, seen)
    for name, (_, about) in fields.items():
        inner = f"{path}.{name}.NAME" if about.check.allowed.startswith("a table of") else f"{path}.{name}"
        yield from _tables(inner, about.check, seen)


def _specialized(heading: str, kind: type, field: str, group: str, seen: dict[Any, str]) -> Iterator[SchemaSection]:
    """What each plug-in adds to a section."""
    if group in seen:
        yield SchemaSection(f"{heading} {field} = ...", f"as {seen[group]}", (), None)
        return
    seen[group] = f"{heading} {field} = ..."
    good, bad = plugins(group)
    for name, plugin in good.items():
        found = kind.specialize({field: name}, heading.strip("[]"))  # type: ignore[attr-defined]
        fields = described(found)
        lines = tuple((option, _line(*fields[option])) for option in found.options)
        yield SchemaSection(f'{heading} {field} = "{name}"', first_line(plugin), lines, found)
    for name, words in bad.items():
        yield SchemaSection(f'{heading} {field} = "{name}"', words, (), None)


def _line(field: Any, about: Any) -> str:
    """Default, unit, what is allowed and what it is for."""
    if field.default is not MISSING:
        default = "" if field.default is None else _toml(_plain(field.default))
    else:
        default = "required" if field.default_factory is MISSING else ""
    unit = f" [{about.unit}]" if about.unit else ""
    meaning = f" - {about.meaning}" if about.meaning else ""
    return f"{f'{default}; ' if default else ''}{about.check.allowed}{unit}{meaning}"
