"""Laws written as text: "A * exp(-x / t) + C" becomes a mean function, and readable text again.

Text is parsed into a tree and walked; nothing of it is ever executed as Python.
"""

import ast
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax import Array

from gpax_lab.core._interning import interned
from gpax_lab.core._priors import Params
from gpax_lab.means import Law

FUNCTIONS: Mapping[str, tuple[Callable[..., Array], int]] = {
    "exp": (jnp.exp, 1),
    "log": (jnp.log, 1),
    "sqrt": (jnp.sqrt, 1),
    "abs": (jnp.abs, 1),
    "sin": (jnp.sin, 1),
    "cos": (jnp.cos, 1),
    "tan": (jnp.tan, 1),
    "tanh": (jnp.tanh, 1),
    "sigmoid": (jax.nn.sigmoid, 1),
    "max": (jnp.maximum, 2),
    "min": (jnp.minimum, 2),
}
"""What a formula may call, and with how many arguments."""

_SIGNS: Mapping[type[ast.operator], Callable[[Any, Any], Array]] = {
    ast.Add: jnp.add,
    ast.Sub: jnp.subtract,
    ast.Mult: jnp.multiply,
    ast.Div: jnp.divide,
}

DISTRIBUTIONS: Mapping[str, type[dist.Distribution]] = {
    "Normal": dist.Normal,
    "LogNormal": dist.LogNormal,
    "HalfNormal": dist.HalfNormal,
    "Uniform": dist.Uniform,
    "Gamma": dist.Gamma,
    "InverseGamma": dist.InverseGamma,
    "Exponential": dist.Exponential,
}
"""Distributions that can be written down as data."""

LONGEST = 2000
"""Characters of the longest formula."""
DEEPEST = 100
"""Operations and calls inside one another; "a + b + c" is 2 deep. Python's own stack holds about 1000 calls, of which
writing a formula evenly takes three a level."""


@interned
def formula(
    text: str,
    prior: Mapping[str, Any],
    units: Mapping[str, str] | None = None,
    inputs: Sequence[str] = ("x",),
    source: str = "written by hand",
) -> Law:
    """A law written as text.

    Args:
        text: numbers, names, + - * / **, parentheses, and calls of `FUNCTIONS`.
        prior: distribution, or fixed value, of every name that is not an input; scalars.
        units: unit of each parameter; None where nobody knows.
        inputs: names of the inputs in order, in the user's words, e.g. ("V", "tau").
        source: a paper, or where the formula comes from.

    Returns:
        A Law of len(inputs) inputs whose `formula` is the text, written evenly.

    Raises:
        ValueError: the text is no formula, calls what is unknown, or does not read the names of inputs and prior.

    Example:
        >>> law = formula("A*exp(-x/t)", {"A": dist.Normal(0.0, 1.0), "t": dist.LogNormal(0.0, 1.0)})
        >>> law.formula
        'A * exp(-x / t)'
    """
    tree = parse(text)
    used, known = names(tree), set(prior)
    _check_inputs(inputs, used)
    clash = sorted(known & set(inputs))
    if clash:
        raise ValueError(f"{clash} are inputs and have a prior: a name is either an input or a parameter.")
    strange = sorted(used - known - set(inputs))
    if strange:
        raise ValueError(f"{strange} in {text!r} are unknown: the inputs are {list(inputs)}; give all others a prior.")
    idle = sorted(known - used)
    if idle:
        raise ValueError(f"{idle} have a prior and are not in {text!r}: leave them out, or use them.")
    return Law(
        lambda x, params: evaluate(tree, x, params, inputs),
        dict(prior),
        dict.fromkeys(prior, "?") | dict(units or {}),
        ast.unparse(tree),
        source,
        len(inputs),
    )


def parse(text: str) -> ast.expr:
    """The tree of a formula, of which every node is allowed.

    Raises:
        ValueError: the text is no formula; the message has the offending piece of it.
    """
    if not isinstance(text, str) or len(text) > LONGEST:
        raise ValueError(f"a formula is text of at most {LONGEST} characters.")
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, RecursionError, MemoryError) as error:
        reason = getattr(error, "msg", None) or "nested too deep"
        raise ValueError(f"{_short(text)!r} is not a formula: {reason}.") from error
    except ValueError as error:  # a NUL among the characters
        raise ValueError(f"{_short(text)!r} is not a formula: {error}.") from error
    _check_depth(tree, text)
    _check(tree, text.strip())
    return tree


def _short(text: str) -> str:
    return text if len(text) <= 200 else f"{text[:190]}..."


def _check_depth(tree: ast.expr, text: str) -> None:
    """Refuse, without recursion, a tree that would exhaust Python's stack when it is walked or traced."""
    level, depth = [tree], 0
    while level := [inner for node in level for inner in ast.iter_child_nodes(node) if isinstance(inner, ast.expr)]:
        depth += 1
        if depth > DEEPEST:
            raise ValueError(
                f"{_short(text)!r} is nested more than {DEEPEST} deep: write a shorter formula (a sum of n terms is "
                "n - 1 deep; parentheses around halves of it make it less)."
            )


def normal(text: str) -> str:
    """The formula written evenly, e.g. 'x ** 2 + 1' for '(x**2)+1'."""
    return ast.unparse(parse(text))


def names(tree: ast.expr) -> set[str]:
    """Names that a formula reads; functions not among them."""
    called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and id(node) not in called}


def function(text: str, inputs: Sequence[str] = ("x",)) -> Callable[[Array], Array]:
    """x (d,) -> (), a formula of the inputs alone.

    Raises:
        ValueError: as in `formula`, or a name is not an input.
    """
    tree = parse(text)
    used = names(tree)
    _check_inputs(inputs, set(inputs))
    strange = sorted(used - set(inputs))
    if strange:
        raise ValueError(f"{strange} in {text!r} are unknown: the inputs are {list(inputs)}.")
    return lambda x: evaluate(tree, x, {}, inputs)


def evaluate(tree: ast.expr, x: Array, params: Params, inputs: Sequence[str]) -> Array:
    """() value of a parsed formula at x (d,)."""
    column = {name: i for i, name in enumerate(inputs)}

    def value(node: ast.expr) -> Any:
        match node:
            case ast.Constant(number):
                return float(number)  # type: ignore[arg-type]
            case ast.Name(name):
                return x[column[name]] if name in column else params[name]
            case ast.UnaryOp(ast.USub(), inner):
                return -value(inner)
            case ast.UnaryOp(_, inner):
                return value(inner)
            case ast.BinOp(base, ast.Pow(), exponent):
                return _power(value(base), value(exponent))
            case ast.BinOp(left, sign, right):
                return _SIGNS[type(sign)](value(left), value(right))
            case ast.Call(ast.Name(name), arguments):
                return FUNCTIONS[name][0](*map(value, arguments))
        raise AssertionError(node)

    return jnp.broadcast_to(jnp.asarray(value(tree), x.dtype), ())


def _power(base: Any, exponent: Any) -> Array:
    # A whole number as exponent takes negative bases, and its gradient at 0 is finite.
    whole = isinstance(exponent, float) and exponent.is_integer() and abs(exponent) < 64
    return jnp.power(base, int(exponent) if whole else exponent)


def _check_inputs(inputs: Sequence[str], used: set[str]) -> None:
    if isinstance(inputs, str) or not inputs or len(set(inputs)) < len(inputs):
        raise ValueError(f"inputs are names, each once, such as ('x',) or ('V', 'tau'); got {inputs!r}.")
    wrong = sorted(name for name in inputs if not name.isidentifier() or name in FUNCTIONS)
    if wrong:
        raise ValueError(f"{wrong} can not name inputs: take a word that is no function.")
    called = sorted(used & set(FUNCTIONS))
    if called:
        raise ValueError(f"{called} are functions: write {called[0]}(...), or call the parameter by another name.")


def _check(node: ast.AST, text: str) -> None:
    """Refuse what is not on the list, with the piece of text it stands for."""
    match node:
        case ast.Constant(int() | float() as value) if not isinstance(value, bool) and _finite(value):
            return
        case ast.Name():
            return
        case ast.UnaryOp(ast.USub() | ast.UAdd(), inner):
            return _check(inner, text)
        case ast.BinOp(left, sign, right) if type(sign) in _SIGNS or isinstance(sign, ast.Pow):
            _check(left, text)
            return _check(right, text)
        case ast.Call(ast.Name(name), arguments, []) if name in FUNCTIONS:
            if len(arguments) != FUNCTIONS[name][1]:
                piece = ast.get_source_segment(text, node)
                raise ValueError(f"{piece!r}: {name} takes {FUNCTIONS[name][1]} argument(s), not {len(arguments)}.")
            for inner in arguments:
                _check(inner, text)
            return None
        case ast.Call(ast.Name(name)):
            piece = ast.get_source_segment(text, node)
            raise ValueError(f"{piece!r} calls {name}, which a formula can not: it may call {', '.join(FUNCTIONS)}.")
    piece = ast.get_source_segment(text, node)
    raise ValueError(f"{piece!r} has no place in a formula: use numbers, names, + - * / **, ( ) and functions.")


def _finite(value: int | float) -> bool:
    try:
        return math.isfinite(float(value))
    except OverflowError:
        return False


def distribution(data: Any) -> Any:
    """The numpyro distribution of {"distribution": "Normal", "loc": 0, "scale": 1}, or a number as it is.

    Raises:
        ValueError: an unknown distribution, or arguments that it does not take.
    """
    if not isinstance(data, Mapping):
        return jnp.asarray(data, float)
    given = {key: jnp.asarray(value, float) for key, value in data.items() if key != "distribution"}
    kind = DISTRIBUTIONS.get(data.get("distribution", ""))
    if kind is None:
        raise ValueError(f"{dict(data)} is no distribution: `distribution` is one of {', '.join(DISTRIBUTIONS)}.")
    if set(given) != set(_arguments(kind)):
        raise ValueError(f"{data['distribution']} takes {', '.join(_arguments(kind))}; got {', '.join(given)}.")
    return kind(**given)


def as_data(value: Any) -> Any:
    """A scalar distribution, or a fixed value, as plain data; `distribution` makes it again.

    Raises:
        ValueError: the distribution is none of `DISTRIBUTIONS`.
    """
    if isinstance(value, Mapping):
        return dict(value)
    if not hasattr(value, "sample"):
        return float(np.asarray(value))
    kind = type(value)
    if kind not in DISTRIBUTIONS.values():
        raise ValueError(f"{kind.__name__} can not be written as data: use one of {', '.join(DISTRIBUTIONS)}.")
    return {"distribution": kind.__name__} | {name: float(getattr(value, name)) for name in _arguments(kind)}


def _arguments(kind: type[dist.Distribution]) -> Iterable[str]:
    return list(kind.arg_constraints)
