"""Arrays that another program has left on a Tiled server."""

from typing import Any

import numpy as np

DEEPEST = 4  # levels of containers


def arrays_of(address: str, key: str) -> dict[str, np.ndarray]:
    """All arrays below a key, by name.

    Raises:
        ImportError: Tiled's client is not installed.
        ValueError: there is none.
    """
    try:
        from tiled.client import from_uri
    except ImportError as error:
        raise ImportError('data on a Tiled server need its client: pip install "tiled[client]"') from error
    found: dict[str, np.ndarray] = {}
    _collect(from_uri(address)[key], key.rpartition("/")[2], found, DEEPEST)
    if not found:
        raise ValueError(f"{key} on {address} holds no array")
    return found


def _collect(node: Any, name: str, found: dict[str, np.ndarray], levels: int) -> None:
    if hasattr(node, "items") and not hasattr(node, "shape"):
        if levels:
            for inner, child in node.items():
                _collect(child, inner, found, levels - 1)
    elif hasattr(node, "shape") and np.dtype(getattr(node, "dtype", float)).kind in "fiubc":
        found[name] = np.asarray(node.read())
