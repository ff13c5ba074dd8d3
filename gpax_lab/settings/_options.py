"""Options of a plug-in as fields of settings, read from its signature, its annotations and its docstring."""

import inspect
import re
import types
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import MISSING, dataclass, is_dataclass, make_dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import numpy as np
from jax import Array
from jax.typing import ArrayLike

from gpax_lab.settings._check import (
    Check,
    SettingsError,
    described,
    either,
    entry,
    file_path,
    flag,
    number,
    one_or_list,
    or_none,
    section,
    several,
    table_of,
    text,
    whole,
    word,
)

_ARGUMENT = re.compile(r"^ {4}(\w+)(?: \([^)]*\))?: (.*)$")
_UNIT = re.compile(r" ?\[([^\]\s,]+)\]")
_END = re.compile(r"(?<!et al)(?<!e\.g)(?<=[\w)\]])\. (?=[A-Z`])")


@dataclass(frozen=True)
class Option:
    """A parameter of a function that settings may give.

    Attributes:
        name: of the parameter.
        check: of its value.
        default: where it is left out; MISSING where it must be given.
        meaning: one line of the function's docstring.
        unit: of a number.
        unlimited: what leaving a limit out stands for.
    """

    name: str
    check: Check
    default: Any
    meaning: str
    unit: str
    unlimited: float

    def field(self) -> Any:
        """The field of a section."""
        return entry(self.check, self.default, self.meaning, self.unit, self.unlimited)


@lru_cache
def options(
    function: Callable[..., Any], left_out: frozenset[str] = frozenset(), only_keywords: bool = False
) -> tuple[Option, ...]:
    """The options of a function, or of the class that is made.

    A parameter whose annotation a settings file can not express is none where it has a default.

    Args:
        function: the plug-in.
        left_out: parameters that come from elsewhere.
        only_keywords: whether positional parameters come from elsewhere.

    Raises:
        SettingsError: a parameter that must be given and can not be expressed.
    """
    hints, lines, found = _hints(function), argument_lines(function), []
    for name, parameter in inspect.signature(function).parameters.items():
        kind = parameter.kind
        if name in left_out or kind in (kind.VAR_POSITIONAL, kind.VAR_KEYWORD):
            continue
        if only_keywords and kind is not kind.KEYWORD_ONLY:
            continue
        required = parameter.default is parameter.empty
        found_check = _bounded(function, name) or check_of(hints.get(name, Any))
        if found_check is None:
            if not required:
                continue
            raise SettingsError(
                f"{_name(function)} needs {name}, which a settings file can not express: annotate it as float, int, "
                "str, bool, a Literal, a tuple or a dataclass of these, or give it a default."
            )
        default = MISSING if required else parameter.default
        if isinstance(default, list):
            default = tuple(default)
        check = or_none(found_check) if _none_means_something(default, hints.get(name)) else found_check
        meaning = lines.get(name, "")
        unit = _unit(function, name, hints.get(name), meaning)
        found.append(Option(name, check, default, _UNIT.sub("", meaning), unit, _unlimited(function, name)))
    return tuple(found)


def section_of(
    name: str, function: Callable[..., Any], given: Sequence[Option], base: type | None = None, **more: Any
) -> type:
    """A dataclass whose fields are options. Each call makes a new class, which callers keep.

    Args:
        name: the attribute `kind` of the class.
        function: what the options belong to; its first line describes the section.
        given: the options.
        base: a section that has further fields.
        more: fields made by `entry`.

    Raises:
        SettingsError: an option has the name of a field that the section has already.
    """
    taken = set(getattr(base, "__dataclass_fields__", {})) | set(more) | {"kind"}
    if twice := sorted(taken & {option.name for option in given}):
        raise SettingsError(f"{_name(function)} has options {twice}, names that its section has already: rename them.")
    about = {} if base else {"__doc__": first_line(function)}
    parts = [(option.name, Any, option.field()) for option in given]
    parts = [*((key, Any, value) for key, value in more.items()), *parts]
    return make_dataclass(
        _name(function),
        parts,
        bases=(base,) if base else (),
        namespace={"kind": name, "made_by": staticmethod(function), "options": tuple(o.name for o in given), **about},
        frozen=True,
        kw_only=True,
    )


def made(section: Any, **more: Any) -> Any:
    """What the function of a section makes of its options.

    Args:
        section: an instance of a class by `section_of`.
        more: arguments that come from elsewhere.
    """
    kind = type(section)
    given = {name: _value(getattr(section, name), described(kind)[name][1].check) for name in kind.options}
    return kind.made_by(**given, **more)


def _value(value: Any, check: Check) -> Any:
    if hasattr(type(value), "made_by"):
        return made(value)
    if isinstance(value, tuple):
        return tuple(_value(one, check) for one in value)
    return Path(value) if check.path and value is not None else value


def check_of(annotation: Any) -> Check | None:
    """The check of a value so annotated; None where a settings file can not express it."""
    if get_origin(annotation) is Annotated:
        return _annotated(annotation)
    plain: Mapping[Any, Check] = {
        bool: flag, int: whole(), float: number(), str: text, Path: file_path, ArrayLike: one_or_list(number()),
        Array: one_or_list(number()),
    }  # fmt: skip
    if isinstance(annotation, type | types.UnionType | str) or annotation is ArrayLike:
        try:
            if annotation in plain:
                return plain[annotation]
        except TypeError:
            return None
    if isinstance(annotation, type) and is_dataclass(annotation):
        return _dataclass(annotation)
    return _composed(get_origin(annotation), get_args(annotation))


@lru_cache
def _dataclass(kind: type) -> Check:
    return section(section_of("", kind, options(kind)))


def _composed(origin: Any, inner: tuple[Any, ...]) -> Check | None:
    if origin is Literal and all(isinstance(value, str) for value in inner):
        return word(*inner)
    if origin in (Union, types.UnionType):
        if Array in inner or np.ndarray in inner:  # an array among other things: settings hold none
            return None
        checks = [check_of(one) for one in inner if one is not type(None)]
        known = [check for check in checks if check is not None]
        return known[0] if len(known) == 1 else either(*known) if known else None
    if origin is tuple and inner and inner[-1] is not Ellipsis:
        each = [check_of(one) for one in inner]
        return several(each[0], len(inner)) if each[0] is not None and len(set(inner)) == 1 else None
    if isinstance(origin, type) and issubclass(origin, Mapping) and inner[0] is str:
        check = check_of(inner[1])
        return None if check is None else table_of(check, "values")
    if isinstance(origin, type) and issubclass(origin, Collection) and inner:
        check = check_of(inner[0])
        return None if check is None else several(check)
    return None


def _annotated(annotation: Any) -> Check | None:
    """Limits as `Annotated[float, x]` has them, x with attributes ge, gt and le, such as those of annotated_types."""
    kind, *metadata = get_args(annotation)
    limits = {key: getattr(one, key) for one in metadata for key in ("ge", "gt", "le") if hasattr(one, key)}
    limits = {key: value for key, value in limits.items() if value is not None}
    if kind is int and limits:
        low = limits.get("ge", limits["gt"] + 1 if "gt" in limits else None)
        return whole(low, limits.get("le"))
    if kind is float and limits:
        low = limits.get("gt", limits.get("ge", float("-inf")))
        return number(low, limits.get("le", float("inf")), above="gt" in limits)
    return check_of(kind)


def _bounded(function: Any, name: str) -> Check | None:
    """The limits of a driver's own number of this name; see `gpax_instruments.drivers.PFM.vmax`."""
    bound = inspect.getattr_static(function, name, None) if inspect.isclass(function) else None
    if bound is None or not all(hasattr(bound, key) for key in ("low", "high", "above", "whole")):
        return None
    high = _highest(function, bound)
    if bound.whole:
        return whole(int(bound.low), int(high))
    return number(bound.low, high, above=bound.above)


def _highest(function: Any, bound: Any) -> float:
    """The highest value that any object of the class may allow."""
    high = inspect.getattr_static(function, bound.high)
    return _highest(function, high) if hasattr(high, "high") else float(high)


def _unlimited(function: Any, name: str) -> float:
    bound = inspect.getattr_static(function, name, None) if inspect.isclass(function) else None
    return _highest(function, bound) if getattr(bound, "none", False) else float("inf")


def _none_means_something(default: Any, annotation: Any) -> bool:
    optional = get_origin(annotation) in (Union, types.UnionType) and type(None) in get_args(annotation)
    return optional and default is not None and default is not MISSING


def _unit(function: Any, name: str, annotation: Any, meaning: str) -> str:
    for one in get_args(annotation)[1:] if get_origin(annotation) is Annotated else ():
        if isinstance(one, str):
            return one
    bound = inspect.getattr_static(function, name, None) if inspect.isclass(function) else None
    if isinstance(getattr(bound, "unit", None), str):
        return str(bound.unit).split(" ")[0].replace("of", "")  # type: ignore[union-attr]
    if named := _UNIT.search(meaning):
        return named[1]
    return "s" if name.endswith("_s") else ""


def _hints(function: Any) -> dict[str, Any]:
    """Annotations with their names resolved; those that name what is not there are left out."""
    target = function.__init__ if inspect.isclass(function) and not is_dataclass(function) else function
    target = inspect.unwrap(target)
    try:
        return get_type_hints(target, include_extras=True)
    except Exception:  # a name that only type checkers import
        found: dict[str, Any] = {}
        scope = getattr(target, "__globals__", {})
        for name, annotation in getattr(target, "__annotations__", {}).items():
            holder = type("_", (), {"__annotations__": {name: annotation}})
            try:
                found |= get_type_hints(holder, scope, include_extras=True)
            except Exception:
                continue
        return found


def argument_lines(function: Any) -> dict[str, str]:
    """The first sentence on each argument (or attribute) in a docstring."""
    found: dict[str, list[str]] = {}
    inside, last = False, ""
    for line in (inspect.getdoc(function) or "").splitlines():
        if line.strip() in ("Args:", "Attributes:"):
            inside = True
        elif inside and line.strip() and not line.startswith(" "):
            inside = False
        elif inside and (start := _ARGUMENT.match(line)):
            last = start[1]
            found[last] = [start[2]]
        elif inside and last and line.strip():
            found[last].append(line.strip())
    return {name: _plain_words(re.split(_END, " ".join(words), maxsplit=1)[0]) for name, words in found.items()}


def first_line(function: Any) -> str:
    """The first sentence of a docstring."""
    words = " ".join((inspect.getdoc(function) or "").split("\n\n")[0].split())
    return f"{_plain_words(re.split(_END, words, maxsplit=1)[0])}." if words else ""


def _plain_words(words: str) -> str:
    """Text without the marks of reStructuredText."""
    return re.sub(r", see :\w+:`[^`]*`|:\w+:|`", "", words).rstrip(".")


def _name(function: Any) -> str:
    return str(getattr(function, "__name__", type(function).__name__))
