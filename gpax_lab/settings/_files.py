"""From a TOML file to settings and back."""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from gpax_lab.settings._check import Ordered, SettingsError, parsed
from gpax_lab.settings._instrument import axis_count
from gpax_lab.settings._rules import agree
from gpax_lab.settings._schema import Settings

_BARE = re.compile(r"[A-Za-z0-9_-]+")


def parse(table: Mapping[str, Any]) -> Settings:
    """Settings from plain values (a TOML file, or the header of a journal).

    Raises:
        SettingsError: naming the field, what was given and what is allowed.

    Example:
        >>> parse({"campaign": {"steps": 30}, "instrument": {"kind": "twin"}}).sampler.num_samples
        200
        >>> parse({"campaign": {"steps": 0}, "instrument": {"kind": "twin"}})
        Traceback (most recent call last):
        gpax_lab.settings._check.SettingsError: campaign.steps = 0 is not allowed: give a whole number from 1 to 100000.
    """
    settings = parsed(Settings, table, "")
    agree(settings, axis_count(settings.instrument))
    return settings


def load(path: str | Path) -> Settings:
    """Settings from a TOML file; a relative name of another file counts from its folder.

    Raises:
        SettingsError: not TOML, or a field is wrong.
        OSError: the file cannot be read.
    """
    path = Path(path)
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} is not TOML: {error}.") from None
    try:
        settings = parse(table)
    except SettingsError as error:
        raise SettingsError(f"{path}: {error}") from None
    return _resolved(settings, path.parent)


def _resolved(section: Any, folder: Path) -> Any:
    """The section with the files that it names found from a folder."""
    new = {}
    for about in fields(section):
        value = getattr(section, about.name)
        if is_dataclass(value):
            new[about.name] = _resolved(value, folder)
        elif value is not None and about.metadata and about.metadata["about"].check.path:
            new[about.name] = str((folder / value).resolve())
    return replace(section, **new)


def to_plain(section: Any) -> dict[str, Any]:
    """The settings as plain values that `parse` reads back; what is None, or nothing, is left out."""
    kind = getattr(type(section), "kind", "")
    plain: dict[str, Any] = {"kind": kind} if kind and not _named_otherwise(section) else {}
    for about in fields(section):
        value = getattr(section, about.name)
        if value is not None and not (isinstance(value, tuple | Mapping) and not value):
            plain[about.name] = _plain(value)
        elif value is None and about.default is not None:
            plain[about.name] = "none"
    return plain


def _named_otherwise(section: Any) -> bool:
    """Whether a field says of what kind the section is: scalarizer, function, law."""
    return any(hasattr(base, "specialize") for base in type(section).__mro__)


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return to_plain(value)
    if isinstance(value, Ordered):
        return [{"name": name} | _plain(item) for name, item in value.items()]
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def to_toml(settings: Settings) -> str:
    """The settings as the text of a TOML file."""
    parts = []
    for name, table in to_plain(settings).items():
        many = isinstance(table, list)
        for one in table if many else [table]:
            lines = [f"{_key(key)} = {_toml(value)}" for key, value in one.items()]
            parts.append("\n".join([f"[[{name}]]" if many else f"[{name}]", *lines, ""]))
    return "\n".join(parts)


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else _toml(name)


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return '"' + "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in escaped) + '"'
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_key(key)} = {_toml(item)}" for key, item in value.items()) + " }" if value else "{}"
    if isinstance(value, list):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    return repr(value)
