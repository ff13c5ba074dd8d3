"""Plain values to JSON text and back: strict JSON, with NaN and infinities kept and nothing dropped silently."""

import datetime
import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

# JSON has no NaN or infinity, so such a number is the object {"$float": "nan"}; a key of the user's own that begins
# with the same mark is written with the mark doubled.
_MARK = "$"
MARK = _MARK.encode()
"""JSON text of ours without it is what `from_plain` would make of it."""
_FLOAT = "$float"


def _number(value: float) -> Any:
    return value if math.isfinite(value) else {_FLOAT: repr(value)}


def _scalar(value: Any, where: str) -> Any:
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, np.bool_):
        return bool(value)
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        return _number(float(value))
    if isinstance(value, datetime.date | datetime.time):  # a datetime is a date too
        return value.isoformat()
    raise TypeError(f"{where}: a header holds plain values, not {type(value).__name__}; arrays go next to the header")


def to_plain(value: Any, where: str = "header") -> Any:
    """Turn a value into one that strict JSON can carry.

    Args:
        value: mappings with text keys, lists, tuples, text, numbers, booleans, None, dates and times.
        where: the name under which an error points at the value.

    Returns:
        The same value made of dict, list, str, int, float, bool and None. Tuples become lists; dates and times
        become ISO 8601 text.

    Raises:
        TypeError: for anything else (arrays, bytes, keys that are not text), naming the place.
    """
    if isinstance(value, Mapping):
        plain = {}
        for key, item in value.items():
            if not isinstance(key, str):
                raise TypeError(f"{where}: the key {key!r} is not text")
            plain[_MARK + key if key.startswith(_MARK) else key] = to_plain(item, f"{where}.{key}")
        return plain
    if isinstance(value, list | tuple):
        return [to_plain(item, f"{where}[{index}]") for index, item in enumerate(value)]
    return _scalar(value, where)


def from_plain(value: Any) -> Any:
    """Undo `to_plain` (lists stay lists, dates stay text)."""
    if isinstance(value, dict):
        if value.keys() == {_FLOAT}:
            return float(value[_FLOAT])
        return {key[1:] if key.startswith(_MARK) else key: from_plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [from_plain(item) for item in value]
    return value


def dumps(value: Any, where: str = "header") -> str:
    """Strict JSON text of a plain value: sorted keys, no NaN literals."""
    return json.dumps(to_plain(value, where), sort_keys=True, separators=(",", ":"), allow_nan=False)


def loads(text: str | bytes) -> Any:
    """Read what `dumps` wrote."""
    return from_plain(json.loads(text))
