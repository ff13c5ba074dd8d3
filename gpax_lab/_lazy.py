"""Faces whose names are imported when they are first used: a driver needs numpy and a link, and no compiler."""

import importlib
import sys
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any


def lazy(package: str, homes: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """`__getattr__` and `__dir__` of a package.

    Args:
        package: its `__name__`.
        homes: by module, the names that come from it, with spaces between them; by the package itself, its modules.
    """
    home_of = {name: module for module, names in homes.items() for name in names.split()}
    modules = set(homes.get(package, "").split())

    class Face(ModuleType):
        def __setattr__(self, name: str, value: Any) -> None:
            # Importing a subpackage would put it where a function of the same name is promised.
            if not (isinstance(value, ModuleType) and name in home_of and name not in modules):
                super().__setattr__(name, value)

    face = sys.modules[package]
    face.__class__ = Face

    def __getattr__(name: str) -> Any:
        if name not in home_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        if name in modules:
            value = importlib.import_module(f"{package}.{name}")
        else:
            value = getattr(importlib.import_module(home_of[name]), name)
        vars(face)[name] = value
        return value

    def __dir__() -> list[str]:
        return sorted({*vars(face), *home_of})

    return __getattr__, __dir__
