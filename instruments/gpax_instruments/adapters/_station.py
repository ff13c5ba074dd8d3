"""What a laboratory's own program makes, and the things in it by their names."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from gpax_lab.core._plugins import load_plugin, plugin_names


def check_source(source: str | Callable[[], Any]) -> None:
    """Raise ValueError where a name is that of no station; nothing is imported."""
    if isinstance(source, str) and source not in (known := plugin_names("stations")):
        raise ValueError(
            f'source = "{source}" is no station; there are {", ".join(known)}. A package adds one by a line of its '
            f'pyproject.toml, {source} = "my_module:my_function" below [project.entry-points."gpax_lab.stations"]'
        )


def made_by(source: str | Callable[[], Any]) -> Any:
    """What a function without arguments makes: the function itself, or the station that is registered under a name.

    Raises:
        PluginError: there is none, or it can not be imported.
    """
    return (load_plugin("stations", source) if isinstance(source, str) else source)()


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
        raise ValueError(f'there is no "{path}" in what the station has') from error
