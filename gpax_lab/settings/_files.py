"""From a TOML file to settings and back."""

import tomllib
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from gpax_lab.settings._check import SettingsError, parsed
from gpax_lab.settings._rules import agree
from gpax_lab.settings._schema import KINDS, Recorded, Settings


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
    agree(settings)
    return settings


def load(path: str | Path) -> Settings:
    """Settings from a TOML file; a relative file name of a recorded map counts from its folder.

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
    if isinstance(settings.instrument, Recorded):
        file = (path.parent / settings.instrument.file).resolve()
        return replace(settings, instrument=replace(settings.instrument, file=str(file)))
    return settings


def to_plain(section: Any) -> dict[str, Any]:
    """The settings as plain values that `parse` reads back; what is None is left out."""
    plain: dict[str, Any] = {"kind": KINDS[type(section)]} if type(section) in KINDS else {}
    for about in fields(section):
        value = getattr(section, about.name)
        if value is not None:
            plain[about.name] = _plain(value)
    return plain


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return to_plain(value)
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def to_toml(settings: Settings) -> str:
    """The settings as the text of a TOML file."""
    parts = []
    for name, table in to_plain(settings).items():
        if table:
            lines = [f"{key} = {_toml(value)}" for key, value in table.items()]
            parts.append("\n".join([f"[{name}]", *lines, ""]))
    return "\n".join(parts)


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return '"' + "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in escaped) + '"'
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {_toml(item)}" for key, item in value.items()) + " }" if value else "{}"
    if isinstance(value, list):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    return repr(value)
