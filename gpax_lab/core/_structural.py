"""Values of static structure: frozen dataclasses that are equal where their parts are, and compile their methods."""

import pickle
import types
from collections.abc import Callable, Hashable
from dataclasses import fields
from functools import cached_property
from typing import Any, ClassVar, Self

import jax

from gpax_lab.core._interning import Unequal, of_fields


class Structural:
    """Base of frozen dataclasses without arrays that JAX traces: models, kernels, parts of them.

    Two are equal if their types and fields are: numbers, arrays and distributions by value, functions by identity (and
    by the numbers that they read from around them), see `_interning.fingerprint`. So they serve as static arguments of
    `jax.jit`, and what was compiled for one serves its equals.

    A copy is the same object. One that was pickled and read back (cloudpickle is needed for that) equals the original
    where every function of the user's in it can be imported from a module by its name; a lambda, a function within
    another one and those of a notebook are written out and come back as other functions, so that such a model is
    another one: it gives the same numbers, and is compiled once more.

    Attributes:
        compiled: names of methods that are compiled as they are called, with the positions of their static arguments.
            Called op by op, a density is a hundred programs for the compiler; as one it is one, and is traced once.
    """

    compiled: ClassVar[dict[str, tuple[int, ...]]] = {}

    def __post_init__(self) -> None:
        """Put a compiled method in the place of each that `compiled` names."""
        for name, static in self.compiled.items():
            if hasattr(self, name):
                object.__setattr__(self, name, jax.jit(getattr(self, name), static_argnums=static))

    @cached_property
    def _structure(self) -> Hashable:
        try:
            key = of_fields(self)
            hash(key)
        except (Unequal, TypeError):
            return object()
        return key

    @cached_property
    def _hash(self) -> int:
        return hash(self._structure)

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        return isinstance(other, Structural) and type(self) is type(other) and self._structure == other._structure

    def __hash__(self) -> int:
        return self._hash

    def __copy__(self) -> Self:
        """Itself: nothing of it changes."""
        return self

    def __deepcopy__(self, memo: object) -> Self:
        """Itself: nothing of it changes, and a copy of what it holds would be compiled again."""
        return self

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[type, bytes]]:
        """For pickle: such values hold functions, which cloudpickle can write and pickle alone can not."""
        try:
            import cloudpickle
        except ImportError as error:
            raise TypeError(
                "models, kernels and laws are made of functions, which do not pickle: keep a posterior by "
                "posterior.save(path), read it by load_posterior(path, model), or install cloudpickle."
            ) from error
        parts = {one.name: getattr(self, one.name) for one in fields(self)}  # type: ignore[arg-type]
        return _rebuilt, (type(self), cloudpickle.dumps(parts))


def _rebuilt(kind: type, packed: bytes) -> Any:
    return kind(**pickle.loads(packed))


def alike(first: Structural, second: Structural) -> bool:
    """Whether two values are equal, or could be for what is known.

    Functions count as the same if their code is, as after pickling; and what holds a part that can be compared with
    nothing, such as a distribution with an array that may change, is alike any of its type.
    """
    if first == second:
        return True
    keys = first._structure, second._structure
    known = all(isinstance(key, tuple) for key in keys)
    return type(first) is type(second) and (not known or _by_code(keys[0]) == _by_code(keys[1]))


def _by_code(key: Hashable) -> Hashable:
    if isinstance(key, tuple):
        return tuple(_by_code(part) for part in key)
    return (key.__qualname__, key.__code__) if isinstance(key, types.FunctionType) else key
