"""What is public in the house: functions, and the methods and properties of classes."""

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from types import ModuleType

import gpax_lab

ROOMS_OUTSIDE = {
    "agents": "servers of a protocol: texts, files and processes",
    "ask_tell": "campaigns of people, tables and other programs: files and tables",
    "cli": "the command line: texts, files and processes",
    "live": "a page over HTTP: texts, files and threads",
    "plot": "pictures by matplotlib",
    "settings": "TOML files into objects, outside jit",
    "storage": "files, journals and locks",
}


def modules() -> Iterator[ModuleType]:
    """Every module in the rooms where arrays are computed."""
    for found in pkgutil.walk_packages(gpax_lab.__path__, "gpax_lab."):
        if found.name.split(".")[1] not in ROOMS_OUTSIDE and not found.name.rpartition(".")[2].startswith("__"):
            yield importlib.import_module(found.name)


def _methods(name: str, owner: type) -> Iterator[str]:
    for method, value in vars(owner).items():
        compiled = type(value).__name__ in ("PjitFunction", "classmethod")
        if not method.startswith("_") and (compiled or inspect.isfunction(value) or isinstance(value, property)):
            yield f"{name}.{method}"


def names() -> set[str]:
    """`module.function` and `module.Class.method` of all that is public there, without `gpax_lab.`."""
    found = set()
    for module in modules():
        room = module.__name__.removeprefix("gpax_lab.")
        for name, value in vars(module).items():
            if name.startswith("_") or getattr(value, "__module__", None) != module.__name__:
                continue
            if inspect.isclass(value):
                found |= {f"{room}.{method}" for method in _methods(name, value)}
            elif callable(value):
                found.add(f"{room}.{name}")
    return found
