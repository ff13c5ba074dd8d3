"""Formulas that files carry for their axes, evaluated without executing anything."""

import ast
import operator
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from gpax_lab.storage._errors import UnreadableFile

_BINARY: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
}
_CALLS = {name: getattr(np, name) for name in ("sin", "cos", "tan", "exp", "log", "log10", "sqrt", "abs", "arctan")}
_CALLS |= {"atan": np.arctan, "asin": np.arcsin, "acos": np.arccos, "Abs": np.abs}
_NAMES = {"pi": np.pi, "E": np.e}
_LONGEST = 1000  # characters; a formula of an axis is a line


def evaluate(text: str, values: Mapping[str, Any]) -> Any:
    """The value of an arithmetic expression of named numbers and arrays.

    Raises:
        UnreadableFile: it contains anything else, or has no value.

    Example:
        >>> float(evaluate("1 + a * x**2", {"a": 2.0, "x": 3.0}))
        19.0
    """
    if len(text) > _LONGEST:
        raise UnreadableFile(f"the formula of an axis has {len(text)} characters.")
    try:
        tree = ast.parse(text.strip(), mode="eval")
        with np.errstate(all="ignore"):
            return _value(tree.body, values)
    except (SyntaxError, RecursionError, OverflowError, MemoryError, ZeroDivisionError, ValueError) as error:
        raise UnreadableFile(f"the formula {text[:60]!r} of an axis has no value: {error}") from None


def _value(node: ast.expr, values: Mapping[str, Any]) -> Any:
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float) and not isinstance(node.value, bool):
        return np.float64(node.value)
    if isinstance(node, ast.Name) and (node.id in values or node.id in _NAMES):
        return values[node.id] if node.id in values else _NAMES[node.id]
    if isinstance(node, ast.BinOp) and type(node.op) in _BINARY:
        return _BINARY[type(node.op)](_value(node.left, values), _value(node.right, values))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        value = _value(node.operand, values)
        return -value if isinstance(node.op, ast.USub) else value
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _CALLS and not node.keywords:
        return _CALLS[node.func.id](*(_value(argument, values) for argument in node.args))
    raise ValueError("only numbers, names, + - * / ** and functions of one number are understood")
