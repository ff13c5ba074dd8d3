"""Plug-ins: what this and other packages register as entry points, listed and loaded, with errors in words.

A package adds an instrument by one line of its pyproject.toml:

    [project.entry-points."gpax_lab.instruments"]
    my_microscope = "my_laboratory.microscope:Microscope"
"""

import difflib
import sys
from collections.abc import Iterable, Mapping
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

GROUPS: Mapping[str, str] = {
    "instruments": "instrument",
    "scalarizers": "scalarizer",
    "acquisitions": "acquisition function",
    "samplers": "sampler",
    "laws": "law",
    "readers": "reader",
    "stations": "station",
}
"""What may be registered, as gpax_lab.instruments and so on, and what one of each is called."""


class PluginError(ValueError):
    """A plug-in that is unknown, can not be loaded, or has the name of another one."""


def plugin_names(group: str) -> tuple[str, ...]:
    """Names registered in a group, sorted; nothing is imported."""
    return tuple(sorted({point.name for point in _registered(group)}))


def load_plugin(group: str, name: str) -> Any:
    """The object that is registered under a name.

    Args:
        group: one of `GROUPS`.
        name: in the group.

    Raises:
        PluginError: no such plug-in, two different ones of this name, or one that can not be imported.
    """
    what, found = GROUPS[group], [point for point in _registered(group) if point.name == name]
    if not found:
        known = plugin_names(group)
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
        hint = f' Did you mean "{near[0]}"?' if near else ""
        there = ", ".join(known) or "none: install gpax-lab (pip install -e .), which registers its own"
        other = "" if hint else " One of another package is there once that package is installed in this Python."
        raise PluginError(f'there is no {what} "{name}"; registered are {there}.{hint}{other}')
    if len({point.value for point in found}) > 1:
        owners = " and ".join(f"{_owner(point)} ({point.value})" for point in found)
        raise PluginError(f'{owners} both register the {what} "{name}": uninstall one of them, or rename it there.')
    try:
        return found[0].load()
    except Exception as error:  # whatever the module of somebody else raises
        reason = f"{type(error).__name__}: {error}"
        raise PluginError(
            f'the {what} "{name}" of {_owner(found[0])} can not be loaded from {found[0].value}: {reason}.'
        ) from error


def plugins(group: str) -> tuple[dict[str, Any], dict[str, str]]:
    """All plug-ins of a group that load, and why the others do not; both by name."""
    good: dict[str, Any] = {}
    bad: dict[str, str] = {}
    for name in plugin_names(group):
        try:
            good[name] = load_plugin(group, name)
        except PluginError as error:
            bad[name] = str(error)
    return good, bad


def _registered(group: str) -> Iterable[EntryPoint]:
    return _entry_points(f"gpax_lab.{group}", tuple(sys.path))


@lru_cache
def _entry_points(group: str, path: tuple[str, ...]) -> tuple[EntryPoint, ...]:
    """Entry points of a group; looked for anew when `sys.path` changes."""
    return tuple(entry_points(group=group))


def _owner(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist is not None else "an unknown distribution"
