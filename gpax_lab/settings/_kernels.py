"""Kernels written as text: `matern52 + scope("fast", periodic) * active([0], linear)`, as in Python.

Text is parsed into a tree and walked; nothing of it is ever executed as Python.
"""

import ast
from typing import Any, NamedTuple

from gpax_lab import kernels
from gpax_lab.kernels import KernelLike
from gpax_lab.settings._check import Check, SettingsError, one_of_words, suggestion, wrong
from gpax_lab.settings._tables import KERNELS

LONGEST = 500
"""Characters of the longest kernel."""

_CALLS = {"scope": 'scope("name", kernel)', "active": "active([0], kernel)", "coregion": "coregion(tasks, kernel)"}


class Written(NamedTuple):
    """A kernel that was written as text, and priors of those of its parameters that have none by default."""

    kernel: KernelLike
    prior: dict[str, Any]


def kernel_of(text: str) -> Written:
    """The kernel that a text says.

    Raises:
        ValueError: what is wrong, in words.
    """
    if len(text) > LONGEST:
        raise ValueError(f"it has more than {LONGEST} characters")
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise ValueError("it is no sum or product of kernels") from None
    return _walk(tree)


def _walk(node: ast.expr) -> Written:
    match node:
        case ast.Name(name) if name in KERNELS:
            return Written(KERNELS[name], {})
        case ast.Name(name):
            raise ValueError(f'there is no kernel "{name}".{suggestion(name, KERNELS)}')
        case ast.BinOp(left, ast.Add() | ast.Mult() as sign, right):
            one, other = _walk(left), _walk(right)
            join = kernels.add if isinstance(sign, ast.Add) else kernels.multiply
            return Written(join(one.kernel, other.kernel), one.prior | other.prior)
        case ast.Call(ast.Name("scope"), [ast.Constant(str(name)), inner], []):
            found = _walk(inner)
            scoped = {f"{name}/{parameter}": value for parameter, value in found.prior.items()}
            return Written(kernels.scope(name, found.kernel), scoped)
        case ast.Call(ast.Name("active"), [ast.List(items), inner], []):
            found = _walk(inner)
            dims = tuple(_whole(item) for item in items)
            return found._replace(kernel=kernels.active(dims, found.kernel))
        case ast.Call(ast.Name("coregion"), [count, inner], []):
            found, tasks = _walk(inner), _whole(count)
            return Written(kernels.coregion(tasks, found.kernel), found.prior | kernels.coregion_prior(tasks))
        case ast.Call(ast.Name(name)) if name in _CALLS:
            raise ValueError(f"{name} is written {_CALLS[name]}")
    raise ValueError(f"{ast.unparse(node)!r} is no kernel")


def _whole(node: ast.expr) -> int:
    match node:
        case ast.Constant(int(value)) if not isinstance(value, bool) and value >= 0:
            return value
    raise ValueError(f"{ast.unparse(node)!r} is no whole number of at least 0")


_ALLOWED = f"{one_of_words(KERNELS)}, or a sum or product of these, of {', '.join(_CALLS.values())}"


def _kernel(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise wrong(where, value, _ALLOWED)
    try:
        kernel_of(value)
    except ValueError as error:
        words = f"{str(error)[0].upper()}{str(error)[1:]}"
        raise SettingsError(f"{wrong(where, value, _ALLOWED)} {words}{'' if words[-1] in '.?' else '.'}") from None
    return value


kernel = Check(_kernel, _ALLOWED)
