"""Sections of settings that are read from plug-ins: instruments, samplers, laws, and what scalarizers and acquisition
functions add to theirs."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, get_args

from gpax_lab.core._plugins import PluginError, load_plugin, plugin_names, plugins
from gpax_lab.settings._check import (
    SettingsError,
    entry,
    one_of_words,
    or_none,
    ordered_table_of,
    section,
    word,
)
from gpax_lab.settings._options import Option, _hints, options, section_of
from gpax_lab.settings._tables import CHECKS, DEFAULTS
from gpax_lab.spectra import Scalarizer


def load(group: str, name: str) -> Any:
    """A plug-in. Raises SettingsError where it is unknown or can not be loaded."""
    try:
        return load_plugin(group, name)
    except PluginError as error:
        raise SettingsError(str(error)) from error


def names(group: str) -> tuple[str, ...]:
    """Names of the plug-ins of a group; SettingsError where there are none at all."""
    found = plugin_names(group)
    if not found:
        raise SettingsError(
            f"no {group} are registered, not even those of gpax-lab: install it again (pip install -e .)."
        )
    return found


def options_of(
    group: str, name: str, left_out: frozenset[str] = frozenset(), keywords: bool = False
) -> tuple[Option, ...]:
    """The options of a plug-in, with the limits that are known of our own."""
    return _limited(options(load(group, name), left_out, keywords), (group, name))


def _limited(found: tuple[Option, ...], key: tuple[str, str]) -> tuple[Option, ...]:
    checks, defaults = CHECKS.get(key, {}), DEFAULTS.get(key, {})

    def one(option: Option) -> Option:
        check = checks.get(option.name, option.check)
        if check is not option.check and option.check.allowed.endswith('or "none"'):
            check = or_none(check)
        return replace(option, check=check, default=defaults.get(option.name, option.default))

    return tuple(map(one, found))


# --- instruments -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class AxesOf:
    """What settings say of the axes of a driver.

    Attributes:
        fixed: unit of each axis by name, where the driver's class says so in `AXES`, or has its `axes`.
        given: the class of an axis, where settings give its limits.
    """

    fixed: Mapping[str, str] | None
    given: Callable[..., Any] | None


@lru_cache
def axes_of(driver: Any) -> AxesOf:
    """What settings say of the axes of a driver.

    Raises:
        SettingsError: it takes `axes`, and does not say of which class they are.
    """
    fixed, known = getattr(driver, "AXES", None), inspect.getattr_static(driver, "axes", None)
    if isinstance(known, tuple | list):
        fixed = {axis.name: axis.unit for axis in known}
    if "axes" not in inspect.signature(driver).parameters:
        return AxesOf(fixed, None)
    inner = get_args(_hints(driver).get("axes"))
    if not inner or not {"name", "unit", "low", "high"} <= set(inspect.signature(inner[0]).parameters):
        raise SettingsError(
            f"{driver.__name__} takes axes: annotate them as Sequence[Axis], Axis with name, unit, low, high."
        )
    return AxesOf(fixed, inner[0])


@lru_cache
def span_section(axis: Callable[..., Any], unit: str | None = None) -> type:
    """The limits of one axis; its unit is none of them where the driver knows it."""
    left_out = frozenset({"name"} if unit is None else {"name", "unit"})
    found = _limited(options(axis, left_out), ("axes", ""))
    if unit is not None:
        lengths = {"low", "high", "max_step", "tolerance"}
        found = tuple(replace(one, unit=unit) if one.name in lengths else one for one in found)
    return section_of("", axis, found)


def instrument_section(name: str) -> type:
    """The settings of an instrument: the options of its driver, and its axes."""
    return _instrument_section(name, load("instruments", name))


@lru_cache
def _instrument_section(name: str, driver: Any) -> type:
    axes, found = axes_of(driver), options_of("instruments", name, frozenset({"axes"}))
    more: dict[str, Any] = {}
    if axes.given is not None and axes.fixed is not None:
        for axis, unit in axes.fixed.items():
            span = section(span_section(axes.given, unit))
            more[axis] = entry(span, meaning=f"limits of the {axis} axis, {{ low = ..., high = ... }} in {unit}")
    elif axes.given is not None:
        line = "axes in order, NAME = { unit = ..., low = ..., high = ... }"
        more["axes"] = entry(ordered_table_of(section(span_section(axes.given)), "axes"), meaning=line)
    kind = section_of(name, driver, found, **more)
    if axes.given is None:
        sets = "sets its axes by itself" if axes.fixed is not None else "takes none"
        kind.hints = {  # type: ignore[attr-defined]
            "axes": f"{driver.__name__} {sets}. Settings give limits to a class that takes them, as "
            "def __init__(self, axes: Sequence[Axis])."
        }
    return kind


# --- samplers and laws -------------------------------------------------------------------------------------------


def sampler_section(name: str) -> type:
    """The settings of a sampler."""
    return _plain_section("samplers", name, load("samplers", name))


@lru_cache
def _plain_section(group: str, name: str, function: Any) -> type:
    return section_of(name, function, options_of(group, name))


# --- scalarizers and acquisition functions -----------------------------------------------------------------------


def arrays_of(scalarizer: Any) -> tuple[str, ...]:
    """The arrays that a plain function takes as a scalarizer; none for what is, or makes, a `spectra.Scalarizer`."""
    if isinstance(scalarizer, Scalarizer):
        return ()
    positional = [
        one
        for one in inspect.signature(scalarizer).parameters.values()
        if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)
    ]
    needed = [one for one in positional if one.default is one.empty]
    return tuple(one.name for one in positional) if needed else ()


def scalarizer_options(name: str) -> tuple[Option, ...]:
    """The options of a scalarizer: what a plain function takes by keyword only, or all that makes a `Scalarizer`."""
    plugin = load("scalarizers", name)
    if isinstance(plugin, Scalarizer):
        return ()
    return options_of("scalarizers", name, keywords=bool(arrays_of(plugin)))


def acquisition_options(name: str) -> tuple[Option, ...]:
    """The options of an acquisition function; where to the optimum lies is said by quantity.goal."""
    return options_of("acquisitions", name, frozenset({"maximize"}))


def refined(
    base: type, field: str, group: str, find: Callable[[str], tuple[Option, ...]], table: Any, where: str
) -> type:
    """The section `base` with the options of the plug-in that its field names.

    Raises:
        SettingsError: there is no such plug-in, or the table has an option of another one.
    """
    default = base.__dataclass_fields__[field].default  # type: ignore[attr-defined]
    name = word(*names(group))(table.get(field, default), f"{where}.{field}")
    kind = _refined(base, name, load(group, name), find)
    for given in table:
        if given not in kind.__dataclass_fields__ and (users := _users(group, find, given)):  # type: ignore[attr-defined]
            raise SettingsError(
                f'{where}.{given} has no meaning for {field} = "{name}"; it belongs to {one_of_words(users)}.'
            )
    return kind


@lru_cache
def _refined(base: type, name: str, plugin: Any, find: Callable[[str], tuple[Option, ...]]) -> type:
    return section_of(name, plugin, find(name), base)


def _users(group: str, find: Callable[[str], tuple[Option, ...]], option: str) -> list[str]:
    found = []
    for name in plugins(group)[0]:
        try:
            found += [name] if option in [one.name for one in find(name)] else []
        except SettingsError:
            continue
    return found
