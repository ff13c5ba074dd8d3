"""Equal parts make one thing: what is built twice from equal arguments is the same object, and compiled once.

JAX keeps what it has compiled by the functions that it was given, and compares those by identity. A factory that is
`interned` returns the object that it has made of equal arguments before, for as long as somebody keeps that: functions
count as equal where they are the same one, arrays, distributions and everything else by value.
"""

import contextlib
import dataclasses
import functools
import hashlib
import inspect
import weakref
from collections.abc import Callable, Hashable, Mapping
from typing import Any, ParamSpec, TypeVar

import jax
import numpy as np
import numpyro.distributions as dist

P = ParamSpec("P")
T = TypeVar("T")


class _Unequal(Exception):
    """A part that can be compared with nothing: a traced value, or an object of somebody else's that does not hash."""


def interned(factory: Callable[P, T]) -> Callable[P, T]:
    """A factory of immutable things that returns the same one for equal arguments.

    Where an argument can not be compared (a traced array, say) a new one is made, as without this. What the functions
    among the arguments read from elsewhere counts as fixed, as it does under `jax.jit`.

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
        except (_Unequal, TypeError):  # a wrong call, of which the factory says what is wrong
            return factory(*args, **kwargs)
        kept = made.get(key)
        if kept is None:
            kept = _kept(factory(*args, **kwargs))
            with contextlib.suppress(TypeError):  # None and numbers have no weak references, and need none
                made[key] = kept
        return kept.value if isinstance(kept, _Whole) else kept

    return same


class _Whole:
    """Stands for a tuple, to which there are no weak references, for as long as its first function lives."""

    def __init__(self, value: Any) -> None:
        self.value = value


def _kept(found: Any) -> Any:
    if not isinstance(found, tuple):
        return found
    whole = _Whole(found)
    next(part for part in found if inspect.isfunction(part)).__dict__["_whole"] = whole
    return whole


def fingerprint(part: Any) -> Hashable:
    """A key that is equal for equal parts.

    Raises:
        _Unequal: nothing is known to be equal to it.
    """
    if part is None or isinstance(part, bool | int | float | complex | str | bytes | np.generic):
        return type(part), part.tobytes() if isinstance(part, np.generic) else repr(part)
    if isinstance(part, jax.core.Tracer):
        raise _Unequal
    if isinstance(part, np.ndarray | jax.Array):
        return _of_array(part)
    if isinstance(part, dist.Distribution):
        leaves, structure = jax.tree.flatten(part)
        return type(part), structure, tuple(fingerprint(leaf) for leaf in leaves)
    if isinstance(part, functools.partial):
        return type(part), part.func, fingerprint(part.args), fingerprint(part.keywords)
    if isinstance(part, tuple | list):
        return type(part), tuple(fingerprint(value) for value in part)
    if isinstance(part, Mapping):
        return type(part), tuple((name, fingerprint(value)) for name, value in part.items())
    if dataclasses.is_dataclass(part) and not isinstance(part, type) and type(part).__module__.startswith("gpax_lab."):
        values = tuple(fingerprint(getattr(part, one.name)) for one in dataclasses.fields(part))
        return type(part), values
    try:
        hash(part)
    except TypeError as error:
        raise _Unequal from error
    return part


def _of_array(array: np.ndarray | jax.Array) -> Hashable:
    if isinstance(array, jax.Array) and jax.dtypes.issubdtype(array.dtype, jax.dtypes.prng_key):
        return "key", str(array.dtype), _of_array(jax.random.key_data(array))
    values = np.asarray(array)
    if values.dtype.hasobject:
        raise _Unequal
    data = values.tobytes()
    return "array", values.shape, values.dtype.str, data if len(data) <= 256 else hashlib.sha256(data).digest()
