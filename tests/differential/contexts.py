"""The contexts in which a function is compiled, and the comparison with the same function op by op."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from table import Row

COPIES = 3
MAPS = Path("/proc/self/maps")


class Finding(NamedTuple):
    """One row in one context: the largest relative error, infinite where NaN, infinities, integers or shapes differ."""

    row: str
    context: str
    error: float
    tolerance: float

    @property
    def agrees(self) -> bool:
        return bool(self.error <= self.tolerance)


def _is_float(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jnp.floating)


def projected(values: Any) -> jax.Array:
    """() weighted sum of all finite floating entries: one number that every entry has a part in."""
    total = jnp.zeros(())
    for k, leaf in enumerate(jax.tree.leaves(values)):
        if jnp.issubdtype(leaf.dtype, jnp.complexfloating):
            leaf = jnp.real(leaf) + 0.3 * jnp.imag(leaf)
        if _is_float(leaf):
            weight = jnp.cos(1.0 + k + 0.7 * jnp.arange(leaf.size, dtype=leaf.dtype))
            total = total + jnp.sum(jnp.where(jnp.isfinite(leaf), leaf, 0.0).ravel() * weight)
    return total


def _slope(function: Callable) -> Callable:
    """The function's value and the slope of its projection along the floating leaves of the first argument."""

    def both(first: Any, *rest: Any) -> tuple[Any, Any]:
        leaves, tree = jax.tree.flatten(first)
        moving = [leaf for leaf in leaves if _is_float(leaf)]

        def value(moved: list) -> tuple[jax.Array, Any]:
            left = iter(moved)
            given = tree.unflatten([next(left) if _is_float(leaf) else leaf for leaf in leaves])
            result = function(given, *rest)
            return projected(result), result

        (_, result), slope = jax.value_and_grad(value, has_aux=True)(moving)
        return result, slope

    return both


def _stacked(first: Any) -> Any:
    return jax.tree.map(lambda leaf: jnp.stack([leaf] * COPIES), first)


def _always(first: Any) -> jax.Array:
    """() bool that is true, which the compiler can not know."""
    leaves = jax.tree.leaves(first)
    plain = next((leaf for leaf in leaves if not jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)), None)
    return jax.random.key_data(leaves[0]).sum() >= 0 if plain is None else ~jnp.any(jnp.isinf(plain * 1.0))


def _behind_a_branch(function: Callable, first: Any, rest: tuple) -> Any:
    shapes = jax.eval_shape(function, first, *rest)

    def nothing() -> Any:
        return jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)

    return jax.lax.cond(_always(first), lambda: function(first, *rest), nothing)


def _vmap(function: Callable, first: Any, rest: tuple) -> Any:
    return jax.vmap(lambda one: function(one, *rest))(_stacked(first))


def _scan(function: Callable, first: Any, rest: tuple) -> Any:
    def turn(total: jax.Array, one: Any) -> tuple[jax.Array, Any]:
        result = function(one, *rest)
        return total + projected(result), result

    return jax.lax.scan(turn, jnp.zeros(()), _stacked(first))[1]


def _map(function: Callable, first: Any, rest: tuple) -> Any:
    return jax.lax.map(lambda one: function(one, *rest), _stacked(first), batch_size=2)


def _branch(function: Callable, first: Any, rest: tuple) -> Any:
    return jax.lax.map(lambda one: _behind_a_branch(function, one, rest), _stacked(first))


CONTEXTS: dict[str, tuple[Callable, bool, bool]] = {
    "jit": (lambda function, first, rest: function(first, *rest), False, False),
    "vmap": (_vmap, True, False),
    "scan": (_scan, True, False),
    "map": (_map, True, False),
    "branch": (_branch, True, False),
    "grad": (lambda function, first, rest: function(first, *rest), False, True),
    "grad branch": (_branch, True, True),
}
"""What is compiled, whether it stands for several copies of the first argument, whether the slope is wanted."""


def worst(found: Any, right: Any) -> float:
    """The largest difference of two pytrees, relative to the largest entry of each right leaf; see `Finding`.

    An entry that is rounding itself, such as a residual that is zero, is measured against a millionth of the largest
    entry of all leaves.
    """
    pairs = [(np.asarray(a), np.asarray(b)) for a, b in zip(*map(_plain, (found, right)), strict=True)]
    level = max((_largest(b) for _, b in pairs if b.dtype.kind in "fc"), default=0.0)
    return max((_difference(a, b, 1e-6 * level) for a, b in pairs), default=0.0)


def _plain(values: Any) -> list:
    leaves = [jnp.asarray(leaf) for leaf in jax.tree.leaves(values)]
    return [jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x for x in leaves]


def _largest(values: np.ndarray) -> float:
    finite = np.abs(values[np.isfinite(values)])
    return float(finite.max()) if finite.size else 0.0


def _difference(found: np.ndarray, right: np.ndarray, least: float) -> float:
    if found.shape != right.shape or found.dtype != right.dtype:
        return np.inf
    if right.dtype.kind not in "fc":
        return 0.0 if np.array_equal(found, right) else np.inf
    finite = np.isfinite(right)
    if not np.array_equal(found[~finite], right[~finite], equal_nan=True) or not np.isfinite(found[finite]).all():
        return np.inf
    gap = _largest(found[finite] - right[finite])
    return gap / max(_largest(right), least, np.finfo(right.dtype).tiny) if gap else 0.0


def findings(row: Row, contexts: tuple[str, ...]) -> list[Finding]:
    """Compile a row in the contexts and compare each with the row op by op."""
    function, args = row.make()
    args = jax.tree.map(jnp.asarray, args)
    sloped = _slope(function)

    @functools.cache
    def right(with_slope: bool) -> Any:
        with jax.disable_jit():
            return (sloped if with_slope else function)(*args)

    found = []
    for name in contexts:
        build, copies, with_slope = CONTEXTS[name]
        chosen = sloped if with_slope else function
        whole = jax.jit(lambda first, rest, build=build, chosen=chosen: build(chosen, first, rest))
        result = whole(args[0], args[1:])
        whole.clear_cache()  # a thousand kept would take gigabytes
        each = [jax.tree.map(lambda leaf, k=k: leaf[k], result) for k in range(COPIES)] if copies else [result]
        error = max(worst(one, right(with_slope)) for one in each)
        found.append(Finding(row.name, name, error, row.tolerance))
    forget_if_many()
    return found


def forget_if_many() -> None:
    """Drop compiled functions before a process has mapped more memory than the system allows."""
    if MAPS.exists() and MAPS.read_bytes().count(b"\n") > 4_000:
        jax.clear_caches()
