"""The public names of the project: what the faces of its packages list in `__all__`.

A module is public when no part of its path begins with an underscore. A name that several faces list has its home in
the one deepest in the tree, where the reference describes it; the others link there.
"""

import ast
import importlib
import inspect
import pkgutil
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

PACKAGES = ("gpax_lab", "gpax_instruments")


class Name(NamedTuple):
    """One name of one face."""

    face: str
    name: str
    value: Any

    @property
    def path(self) -> str:
        """Dotted path by which it is imported."""
        return f"{self.face}.{self.name}"


@cache
def modules() -> tuple[ModuleType, ...]:
    """All public modules, imported, in the order of their names."""
    names = []
    for package in PACKAGES:
        found = pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}.")
        names += [package, *(module.name for module in found)]
    public = [name for name in names if not any(part.startswith("_") for part in name.split("."))]
    return tuple(importlib.import_module(name) for name in sorted(public))


def names_of(module: ModuleType) -> list[Name]:
    """The names of a face, without the modules among them."""
    listed = [Name(module.__name__, name, getattr(module, name)) for name in getattr(module, "__all__", ())]
    return [name for name in listed if not inspect.ismodule(name.value)]


def _key(name: Name) -> Any:
    plain = isinstance(name.value, (int, float, str, bytes, tuple, type(None)))
    return ("value", name.name, repr(name.value)) if plain else id(name.value)


@cache
def _homes() -> dict[Any, Name]:
    found: dict[Any, Name] = {}
    for name in (name for module in modules() for name in names_of(module)):
        known = found.get(_key(name))
        if known is None or name.face.count(".") > known.face.count("."):
            found[_key(name)] = name
    return found


def home(name: Name) -> Name:
    """The name under which the reference describes this value."""
    return _homes()[_key(name)]


def public_names() -> list[Name]:
    """Every public name once, at its home."""
    return sorted(_homes().values(), key=lambda name: name.path)


def find(path: str) -> Name | None:
    """The home of what a dotted path means, public or private, None where it means nothing public."""
    parts = path.split(".")
    for length in range(len(parts) - 1, 0, -1):
        try:
            value: Any = importlib.import_module(".".join(parts[:length]))
        except ImportError:
            continue
        try:
            for part in parts[length:]:
                value = getattr(value, part)
        except AttributeError:
            return None
        try:
            return _homes().get(id(value))
        except TypeError:
            return None
    return None


def described(name: Name) -> str:
    """The docstring of a public name; of a constant or a type, the text below its assignment."""
    value = name.value
    if inspect.isclass(value) or inspect.isroutine(value):
        return inspect.getdoc(value) or ""
    if is_function_like(value):
        return inspect.cleandoc(vars(value)["__doc__"])
    return _text_below(name.face, name.name)


def is_function_like(value: Any) -> bool:
    """Whether it is an object of ours that is called like a function and described like one, as kernels are."""
    ours = type(value).__module__.split(".")[0] in PACKAGES
    return ours and callable(value) and isinstance(vars(value).get("__doc__"), str)


def _text_below(module: str, name: str) -> str:
    """The string that stands below `name = ...` in this module, or in the one that it was imported from."""
    source = Path(inspect.getsourcefile(importlib.import_module(module)) or "")
    tree = ast.parse(source.read_text(encoding="utf-8"))
    for before, after in zip(tree.body, [*tree.body[1:], None], strict=True):
        targets = before.targets if isinstance(before, ast.Assign) else [getattr(before, "target", None)]
        assigned = (node for target in targets if target is not None for node in ast.walk(target))
        if any(isinstance(node, ast.Name) and node.id == name for node in assigned):
            text = after.value if isinstance(after, ast.Expr) else None
            return inspect.cleandoc(text.value) if isinstance(text, ast.Constant) else ""
    for node in ast.walk(tree):  # those below `if TYPE_CHECKING:` as well
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    return _text_below(node.module, alias.name)
    return ""
