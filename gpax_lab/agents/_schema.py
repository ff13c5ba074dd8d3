"""Arguments of tools, checked against their JSON schema before anything is done with them; refused, never changed.

Only the words of JSON Schema that our tools use are known, and nothing that they do not name is let through.
"""

import math
from collections.abc import Mapping
from typing import Any

from gpax_lab.agents._refused import Refused

LONGEST = 64 << 10
"""Characters of all arguments of a call together."""
_SHOWN = 40


def checked(schema: Mapping[str, Any], arguments: Any) -> dict[str, Any]:
    """The arguments of a call, with the defaults of those that are missing.

    Args:
        schema: of an object, with `properties` and `required`.
        arguments: as a client sent them.

    Raises:
        Refused: something is missing, unknown, of another type, too long, out of its limits, or no finite number.
    """
    if not isinstance(arguments, Mapping):
        raise Refused("arguments are a table of names and values")
    if _size(arguments) > LONGEST:
        raise Refused(f"arguments have at most {LONGEST} characters together")
    return _object("", schema, arguments)


def _size(value: Any, depth: int = 12) -> int:
    """Characters of a value, about; stops counting where it is far too large."""
    if depth == 0:
        return LONGEST + 1
    if isinstance(value, str):
        return len(value)
    parts = [*value.keys(), *value.values()] if isinstance(value, Mapping) else value
    if not isinstance(parts, list | tuple):
        return 8
    if len(parts) > LONGEST:
        return LONGEST + 1
    return len(parts) + sum(_size(part, depth - 1) for part in parts)


def _object(name: str, schema: Mapping[str, Any], value: Mapping[str, Any]) -> dict[str, Any]:
    known = schema.get("properties", {})
    where = f"{name}: " if name else ""
    if missing := [one for one in schema.get("required", ()) if one not in value]:
        raise Refused(f"{where}{', '.join(missing)} is missing")
    found = {one: about["default"] for one, about in known.items() if "default" in about}
    for key, one in value.items():
        about = known.get(key, schema.get("additionalProperties"))
        if not isinstance(about, Mapping):
            raise Refused(f"{where}there is no argument {_short(key)}; there are {', '.join(known) or 'none'}")
        found[str(key)] = _value(str(key), about, one)
    if len(found) > schema.get("maxProperties", len(found)):
        raise Refused(f"{where}at most {schema['maxProperties']} entries")
    return found


def _value(name: str, schema: Mapping[str, Any], value: Any) -> Any:
    if "anyOf" in schema:
        return _any_of(name, schema["anyOf"], value)
    match schema.get("type"):
        case "number" | "integer":
            found: Any = _number(name, schema, value)
        case "string":
            found = _text(name, schema, value)
        case "boolean":
            if not isinstance(value, bool):
                raise Refused(f"{name}: true or false is needed; got {_short(value)}")
            found = value
        case "array":
            found = _list(name, schema, value)
        case "object":
            if not isinstance(value, Mapping):
                raise Refused(f"{name}: a table of names and values is needed; got {_short(value)}")
            found = _object(name, schema, value)
        case other:
            raise AssertionError(f"a tool's schema has the type {other!r}")
    if "enum" in schema and found not in schema["enum"]:
        raise Refused(f"{name}: one of {', '.join(map(str, schema['enum']))} is needed; got {_short(value)}")
    return found


def _any_of(name: str, schemas: list[Mapping[str, Any]], value: Any) -> Any:
    reasons = []
    for schema in schemas:
        try:
            return _value(name, schema, value)
        except Refused as error:
            reasons.append(str(error))
    raise Refused("; or ".join(reasons))


def _number(name: str, schema: Mapping[str, Any], value: Any) -> float | int:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Refused(f"{name}: a number is needed; got {_short(value)}")
    try:
        finite = math.isfinite(value)
    except OverflowError:
        finite = False
    if not finite:
        raise Refused(f"{name}: a finite number is needed; got {_short(value)}")
    if schema["type"] == "integer" and value != int(value):
        raise Refused(f"{name}: a whole number is needed; got {value!r}")
    unit = schema.get("x-units", "")
    low, high = schema.get("minimum", -math.inf), schema.get("maximum", math.inf)
    if not low <= value <= high:
        raise Refused(f"{name}: {value!r} is outside {low!r} to {high!r}{f' {unit}' if unit else ''}")
    return int(value) if schema["type"] == "integer" else float(value)


def _text(name: str, schema: Mapping[str, Any], value: Any) -> str:
    if not isinstance(value, str):
        raise Refused(f"{name}: text is needed; got {_short(value)}")
    text = value.strip()
    if len(text) > schema["maxLength"]:
        raise Refused(f"{name}: at most {schema['maxLength']} characters; got {len(text)}")
    if len(text) < schema.get("minLength", 0):
        raise Refused(f"{name}: it is empty" if not text else f"{name}: at least {schema['minLength']} characters")
    if any(not character.isprintable() for character in text):
        raise Refused(f"{name}: it has characters that can not be shown, such as line breaks")
    return text


def _list(name: str, schema: Mapping[str, Any], value: Any) -> list[Any]:
    if not isinstance(value, list | tuple):
        raise Refused(f"{name}: a list is needed; got {_short(value)}")
    if not schema.get("minItems", 0) <= len(value) <= schema["maxItems"]:
        raise Refused(f"{name}: {schema.get('minItems', 0)} to {schema['maxItems']} entries; got {len(value)}")
    return [_value(name, schema["items"], one) for one in value]


def _short(value: Any) -> str:
    try:
        text = repr(value)
    except ValueError:  # an integer of too many digits
        return "a number beyond all bounds"
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."
