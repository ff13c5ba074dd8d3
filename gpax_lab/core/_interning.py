"""Equal parts make one thing: what is built twice from equal arguments is the same object, and compiled once.

JAX keeps what it has compiled by the functions that it was given, and compares those by identity. A factory that is
`interned` returns the object that it has made of equal arguments before, for as long as somebody keeps that: functions
count as equal where they are the same one and the numbers, texts and arrays that they read from around them are as they
were; arrays, distributions and everything else by value.
"""

import ast
import contextlib
import dataclasses
import functools
import hashlib
import inspect
import types
import weakref
from collections.abc import Callable, Hashable, Mapping
from typing import Any, ParamSpec, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist

P = ParamSpec("P")
T = TypeVar("T")


class Unequal(Exception):
    """A part that can be compared with nothing: a traced value, or an object of somebody else's that does not hash."""


def interned(factory: Callable[P, T]) -> Callable[P, T]:
    """A factory of immutable things that returns the same one for equal arguments.

    Where an argument can not be compared (a traced array, say) a new one is made, as without this. What functions that
    a function calls read from elsewhere, and objects that it belongs to, count as fixed, as they do under `jax.jit`.

    Args:
        factory: a pure function; what it returns must not be changed by anybody.
    """
    signature = inspect.signature(factory)
    made: weakref.WeakValueDictionary[Hashable, Any] = weakref.WeakValueDictionary()

    @functools.wraps(factory)
    def same(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            given = signature.bind(*args, **kwargs)
            given.apply_defaults()
            key = (jax.config.read("jax_enable_x64"), *(fingerprint(value) for value in given.arguments.values()))
            hash(key)
        except (Unequal, TypeError):  # a wrong call, of which the factory says what is wrong
            return factory(*args, **kwargs)
        kept = made.get(key)
        if kept is None:
            found = factory(*args, **kwargs)
            if _tracing():  # what was made in here may hold traced arrays, and must not get out
                return found
            kept = _kept(found)
            if kept is None:  # a tuple that nothing of ours keeps alive
                return found
            with contextlib.suppress(TypeError):  # None and numbers have no weak references, and need none
                made[key] = kept
        return kept.value if isinstance(kept, _Whole) else kept

    return same


class _Whole:
    """Stands for a tuple, to which there are no weak references, for as long as its first function lives."""

    def __init__(self, value: Any) -> None:
        self.value = value


def _kept(found: Any) -> Any:
    """What a weak reference can be held to: `found`, or the function of ours that a tuple of functions begins with."""
    if not isinstance(found, tuple):
        return found
    first = found[0]
    if not inspect.isfunction(first) or not first.__module__.startswith("gpax_lab.") or "_whole" in vars(first):
        return None
    whole = vars(first)["_whole"] = _Whole(found)
    return whole


def _tracing() -> bool:
    """Whether JAX is tracing something around this call."""
    return isinstance(jnp.asarray(np.zeros(())), jax.core.Tracer)


def fingerprint(part: Any) -> Hashable:
    """A key that is equal for equal parts.

    Raises:
        Unequal: nothing is known to be equal to it.
    """
    if part is None or isinstance(part, bool | int | float | complex | str | bytes | np.generic):
        return type(part), (part.dtype.str, part.tobytes()) if isinstance(part, np.generic) else repr(part)
    if isinstance(part, jax.core.Tracer):
        raise Unequal
    if isinstance(part, np.ndarray | jax.Array):
        return _of_array(part)
    if isinstance(part, dist.Distribution):
        return _of_distribution(part)
    if isinstance(part, types.FunctionType) and _made_here(part):
        with contextlib.suppress(Unequal):
            return _of_made(part)
    if isinstance(part, types.FunctionType):
        return part, tuple((name, fingerprint(value)) for name, value in _read_by(part))
    if isinstance(part, functools.partial):
        return type(part), part.func, fingerprint(part.args), fingerprint(part.keywords)
    if isinstance(part, tuple | list):
        return type(part), tuple(fingerprint(value) for value in part)
    if isinstance(part, ast.AST):  # of a formula
        return type(part), ast.dump(part)
    if isinstance(part, Mapping):
        return type(part), tuple((name, fingerprint(value)) for name, value in part.items())
    if dataclasses.is_dataclass(part) and not isinstance(part, type) and type(part).__module__.startswith("gpax_lab."):
        return of_fields(part)
    try:
        hash(part)
    except TypeError as error:
        raise Unequal from error
    return part


def of_fields(part: Any) -> Hashable:
    """A key of a dataclass: its type, and what its fields hold.

    Raises:
        Unequal: nothing is known to be equal to what a field holds.
    """
    return type(part), tuple(fingerprint(getattr(part, one.name)) for one in dataclasses.fields(part))


class _Same:
    """Equal to the same object alone, whatever that one says of equality."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.value is other.value

    def __hash__(self) -> int:
        return id(self.value)


def _of_distribution(prior: dist.Distribution) -> Hashable:
    """By value where it is one of numpyro's; JAX does not see all of what a user's own one holds."""

    def own(part: Any) -> bool:
        return isinstance(part, dist.Distribution) and not type(part).__module__.startswith("numpyro.")

    leaves, structure = jax.tree.flatten(prior, is_leaf=own)
    for leaf in leaves:
        # An array of the user's is held as it is, and may be changed; a number that numpyro reshaped is its own.
        if isinstance(leaf, np.ndarray) and leaf.flags.writeable and (leaf.size > 1 or leaf.base is None):
            raise Unequal
    return type(prior), structure, tuple(_Same(leaf) if own(leaf) else fingerprint(leaf) for leaf in leaves)


_SIMPLE = bool | int | float | complex | str | bytes | np.generic | np.ndarray | jax.Array


def _made_here(function: types.FunctionType) -> bool:
    """Whether it is a function that one of ours has made: every call makes a new one of the same code."""
    return function.__module__.startswith("gpax_lab.") and "<locals>" in function.__qualname__


def _of_made(function: types.FunctionType) -> Hashable:
    """By its code and by all that it has from the function that made it."""
    cells = [(name, _held(cell, function)) for name, cell in _cells(function)]
    defaults = fingerprint(function.__defaults__), fingerprint(function.__kwdefaults__)
    return function.__code__, tuple(cells), defaults, tuple((n, fingerprint(v)) for n, v in _read_by(function))


def _cells(function: types.FunctionType) -> list[tuple[str, types.CellType]]:
    return list(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))


def _held(cell: types.CellType, function: types.FunctionType) -> Hashable:
    try:
        value = cell.cell_contents
    except ValueError as error:  # it is empty still
        raise Unequal from error
    return "itself" if value is function else fingerprint(value)


def _read_by(function: types.FunctionType) -> list[tuple[str, Any]]:
    """Numbers, texts and arrays that a function finds around it, by name."""
    names, codes = set(), [function.__code__]
    while codes:
        code = codes.pop()
        names |= set(code.co_names)
        codes += [inner for inner in code.co_consts if isinstance(inner, types.CodeType)]
    found = {name: function.__globals__[name] for name in names if name in function.__globals__}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        with contextlib.suppress(ValueError):  # a cell that is empty still
            found[name] = cell.cell_contents
    return [(name, found[name]) for name in sorted(found) if isinstance(found[name], _SIMPLE)]


def _of_array(array: np.ndarray | jax.Array) -> Hashable:
    if isinstance(array, jax.Array) and jax.dtypes.issubdtype(array.dtype, jax.dtypes.prng_key):
        return "key", str(array.dtype), _of_array(jax.random.key_data(array))
    values = np.asarray(array)
    if values.dtype.hasobject:
        raise Unequal
    data = values.tobytes()
    return (
        "array",
        getattr(array, "weak_type", False),
        values.shape,
        values.dtype.str,
        data if len(data) <= 256 else hashlib.sha256(data).digest(),
    )
