"""What a laboratory's own program makes, and the things in it by their names."""

import importlib
import inspect
from collections.abc import Callable, Mapping
from typing import Any


def made_by(source: str | Callable[[], Any]) -> Any:
    """What a function without arguments makes: the function itself, or "module:function".

    Raises:
        ValueError: there is no such module or function.
    """
    if not isinstance(source, str):
        return source()
    module, colon, name = source.partition(":")
    if not (module and colon and name):
        raise ValueError(f'"{source}": give "module:function", a module that Python can import')
    try:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise ValueError(f'"{source}" is not there ({error}): is its folder on PYTHONPATH?') from error
    return found() if callable(found) else found


def thing(root: Any, path: str) -> tuple[Any, str, Any]:
    """The thing of a name such as "source.voltage": keys of mappings, attributes of objects.

    Returns:
        what holds it, its last name, and the thing itself; None in its place for a property, which is not read here.

    Raises:
        ValueError: there is none.
    """
    holder, (*inner, last) = root, path.split(".")
    try:
        for name in inner:
            holder = holder[name] if isinstance(holder, Mapping) else getattr(holder, name)
        if isinstance(holder, Mapping):
            return holder, last, holder[last]
        if isinstance(inspect.getattr_static(type(holder), last, None), property):
            return holder, last, None
        return holder, last, getattr(holder, last)
    except (KeyError, AttributeError) as error:
        raise ValueError(f'there is no "{path}" in what the laboratory\'s function made') from error
