"""What comes in from outside: points, observations and variances, converted and checked alike wherever they enter.

Nothing of a traced array can be known, so that everything here is for what lies outside jit; see `traced`.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import DTypeLike

COARSE = 1e-4
"""Share of a box that one step of the floating dtype may be, at most."""


class Observed(NamedTuple):
    """What was measured: points x (q, d), observations y (q,) or (q, m), known variances (q,)."""

    x: Any
    y: Any
    noise: Any


def traced(*values: Any) -> bool:
    """Whether any leaf is traced by JAX, so that only its shape is known."""
    return any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(values))


def check_key(key: Any, taken_by: str = "", several: bool = False) -> None:
    """Refuse what is no random key (also under jit).

    Args:
        key: what was given as one.
        taken_by: the call with its arguments in order, for errors.
        several: whether an array (k,) of keys is wanted.

    Raises:
        TypeError: it is no key, but a number, say, or another argument in its place.
        ValueError: it is several keys where one is wanted, or one where several are.
    """
    dtype, shape = getattr(key, "dtype", None), getattr(key, "shape", None)
    order = f" The order of arguments is {taken_by}." if taken_by else ""
    example = "jax.random.split(jax.random.key(0), 8)" if several else "jax.random.key(0)"
    typed = dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key)
    if dtype is None or shape is None or not (typed or (dtype == np.uint32 and shape)):
        got = repr(key) if isinstance(key, bool | int | float | str | None) else f"a value of type {type(key).__name__}"
        raise TypeError(f"{'keys' if several else 'key'} must be {example}, got {got}.{order}")
    keys = shape if typed else shape[:-1]  # the former kind of keys has a last axis of numbers
    if len(keys) != several or (several and not typed):
        got = f"one key; split it: {example}" if several else f"keys of shape {keys}: take one of them, keys[0]"
        raise ValueError(f"{'keys of shape (K,) are' if several else 'one key is'} expected, got {got}.{order}")


def numbers(values: Any, what: str, missing: bool = False) -> np.ndarray:
    """Real numbers as a float64 array; a masked entry, None and NA are NaN.

    Args:
        values: an array, a masked array, a list, a column or table of pandas.
        what: its name, for errors.
        missing: whether entries may be missing.

    Raises:
        ValueError: complex numbers, text or dates; a ragged list; or missing entries where there may be none.
    """
    array = _array(values, what)
    hidden = np.ma.getmaskarray(array) if isinstance(array, np.ma.MaskedArray) else None
    plain = np.ma.getdata(array) if hidden is not None else array
    if plain.dtype == object:
        gone = np.array([_is_missing(item) for item in plain.ravel()], bool).reshape(plain.shape)
        hidden = gone if hidden is None else hidden | gone
        plain = _from_objects(np.where(hidden, 0.0, plain), what)
    if plain.dtype.kind == "c":
        raise ValueError(f"{what} is complex ({plain.dtype}): pass a real quantity, its .real, abs() or angle.")
    if plain.dtype.kind not in "fiub":
        raise ValueError(f"{what} must hold real numbers; got {plain.dtype}.")
    if plain.dtype.kind in "iu" and plain.size and max(abs(int(plain.max())), abs(int(plain.min()))) > 2**53:
        raise ValueError(f"{what} holds integers beyond 2**53, which float64 can not tell apart: subtract an offset.")
    result = plain.astype(np.float64)
    if hidden is None or not hidden.any():
        return result
    if not missing:
        row = np.argwhere(hidden)[0].tolist()
        raise ValueError(f"{what} is masked or missing in {_row(row)}: remove that row.")
    return np.where(hidden, np.nan, result)


def _array(values: Any, what: str) -> np.ndarray:
    if isinstance(values, list | tuple) and any(isinstance(item, np.ma.MaskedArray) for item in values):
        return np.ma.array([np.ma.getdata(item) for item in values], mask=[np.ma.getmaskarray(item) for item in values])
    if isinstance(values, np.ma.MaskedArray):
        return values
    try:
        return np.asarray(values)
    except ValueError as error:
        raise ValueError(f"{what} must be one array of numbers: {error}") from error


def _is_missing(item: Any) -> bool:
    return item is None or item is np.ma.masked or type(item).__name__ in ("NAType", "NaTType")


def _from_objects(values: np.ndarray, what: str) -> np.ndarray:
    if any(isinstance(item, str | bytes) for item in values.ravel()):
        raise ValueError(f"{what} holds text: pass numbers.")
    if any(isinstance(item, complex | np.complexfloating) for item in values.ravel()):
        raise ValueError(f"{what} is complex: pass a real quantity, its .real, abs() or angle.")
    try:
        return values.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{what} must hold real numbers: {error}") from error


def _row(index: list[int]) -> str:
    return f"row {index[0]}" if index else "its only entry"


def point_table(x: Any, dtype: DTypeLike, what: str = "x", apart: bool = True) -> np.ndarray:
    """Inputs (n, d) of `dtype`.

    Raises:
        ValueError: not two-dimensional, not finite, too large for `dtype`, or, if `apart`, not told apart in it.
    """
    values = numbers(x, what)
    if values.ndim != 2:
        raise ValueError(f"{what} must have shape (n, d); got {values.shape}. One input column: x[:, None].")
    bad = ~np.isfinite(values).all(axis=1)
    if bad.any():
        row = int(bad.argmax())
        raise ValueError(
            f"{what} holds a non-finite input in row {row}, {values[row].tolist()}: remove that row (a failed "
            "observation belongs into y as NaN)."
        )
    return _told_apart(values, np.dtype(dtype), what, apart)


def _told_apart(values: np.ndarray, kind: np.dtype, what: str, apart: bool) -> np.ndarray:
    """The points in another dtype, in which those that differ by more than the dtype's step still differ."""
    with np.errstate(over="ignore"):
        cast = values.astype(kind)
    for column in range(values.shape[1] if apart and len(values) > 1 else 0):
        each, same = np.unique(values[:, column]), np.unique(cast[:, column])
        if len(same) == len(each):
            continue
        merged = np.flatnonzero(np.diff(each.astype(kind)) == 0)
        lost = np.diff(each)[merged] > 4 * np.finfo(kind).eps * (each[-1] - each[0])
        if lost.any():
            first = merged[int(lost.argmax())]
            raise ValueError(
                f"column {column} of {what}: {each[first]:.17g} and {each[first + 1]:.17g} are one number in {kind}. "
                "Subtract an offset, such as the first time stamp, from it and from the bounds, or compute in float64."
            )
    if not np.isfinite(cast).all():
        raise ValueError(f"{what} holds a point too large for {kind}: use another unit, or compute in float64.")
    return cast


def resolved(bounds: np.ndarray, dtype: DTypeLike) -> None:
    """Refuse a box (d, 2) in which the floating dtype has no steps fine enough.

    Raises:
        ValueError: a step is more than `COARSE` of its width.
    """
    kind = np.dtype(dtype)
    for column, (low, high) in enumerate(np.asarray(bounds, np.float64)):
        step = float(np.finfo(kind).eps) * max(abs(low), abs(high))
        if step > COARSE * (high - low):
            raise ValueError(
                f"input {column} lies in [{low:.17g}, {high:.17g}], where {kind} has steps of {step:.2g}: subtract an "
                "offset, such as the first time stamp, from it and from the bounds"
                + ("." if kind == np.float64 else ", or compute in float64.")
            )


def value_table(y: Any, count: int, dtype: DTypeLike, outputs: int | None = None) -> np.ndarray:
    """Observations (n,), or (n, m) of several quantities, of `dtype`; a missing or masked one is NaN.

    Args:
        y: a list, array, column (n, 1) or table; a number where n is 1.
        count: number of points n.
        dtype: floating dtype.
        outputs: number of quantities m where it is known.

    Raises:
        ValueError: a shape that does not say which observation belongs to which point, or a number too large for
            `dtype`.
    """
    values, kind = numbers(y, "y", missing=True), np.dtype(dtype)
    shape = values.shape
    if count == 1 and (values.ndim == 0 or (values.ndim == 1 and values.size == outputs)):
        values = values.reshape(1, -1)
    if values.ndim == 2 and values.shape[1] == 1 and outputs in (None, 1):
        values = values[:, 0]
    if values.ndim not in (1, 2) or values.shape[0] != count:
        known = {None: f"({count},) or ({count}, m)", 1: f"({count},)"}
        raise ValueError(f"y must have shape {known.get(outputs, (count, outputs))} to match x; got {shape}.")
    found = 1 if values.ndim == 1 else values.shape[1]
    if outputs is not None and found != outputs:
        raise ValueError(f"y must have shape {(count,) if outputs == 1 else (count, outputs)}; got {shape}.")
    with np.errstate(over="ignore"):
        cast = values.astype(kind)
    if (np.isfinite(values) & ~np.isfinite(cast)).any():
        raise ValueError(f"y holds a number too large for {kind}: use another unit, or compute in float64.")
    return cast


def variances(noise: Any, count: int, dtype: DTypeLike, failed: np.ndarray | None = None) -> np.ndarray:
    """Known variances (n,) of observations, of `dtype`; 0 where unknown.

    Args:
        noise: a number for all, or (n,), or a column; None for unknown.
        count: number of observations n.
        dtype: floating dtype.
        failed: (n,) observations that failed, whose variance is not looked at.

    Raises:
        ValueError: another shape; or a variance that is negative, infinite, not a number, or lost in `dtype`.
    """
    kind = np.dtype(dtype)
    if noise is None:
        return np.zeros(count, kind)
    values = numbers(noise, "noise", missing=True)
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.shape not in ((), (1,), (count,)):
        raise ValueError(f"noise is one variance, or has shape ({count},) to match x; got {values.shape}.")
    values = np.broadcast_to(values, (count,))
    if failed is not None:
        values = np.where(failed & ~(np.isfinite(values) & (values >= 0)), 0.0, values)
    bad = ~(np.isfinite(values) & (values >= 0))
    if bad.any():
        row = int(bad.argmax())
        raise ValueError(
            f"noise holds variances of the observations: finite, zero or positive; got {values[row]} in row {row}."
        )
    with np.errstate(over="ignore", under="ignore"):
        cast = values.astype(kind)
    if not np.isfinite(cast).all() or ((values > 0) & (cast == 0)).any():
        raise ValueError(f"noise holds a variance that {kind} can not hold: use another unit, or compute in float64.")
    return cast


def points_of(x: Any, dim: int, dtype: DTypeLike, what: str = "x", apart: bool = True) -> np.ndarray:
    """Points (n, d) of which the number of inputs is known: also a single one (d,), or numbers (n,) of one input.

    With `apart=False` they may be closer together than the dtype tells, as observations of one point are.

    Raises:
        ValueError: another number of inputs, or what `point_table` refuses.
    """
    values = numbers(x, what)
    shape = values.shape
    if dim == 1 and values.ndim <= 1:
        values = values.reshape(-1, 1)
    elif values.ndim == 1 and values.size == dim:
        values = values[None]
    if values.ndim != 2 or values.shape[1] != dim:
        raise ValueError(f"{what} must have shape (n, {dim}); got {shape}.")
    return point_table(values, dtype, what, apart)


def check_query(x: Any, dim: int) -> None:
    """Refuse what is no array of points (m, d) at which a posterior is asked (also under jit).

    Raises:
        ValueError: it is no array, or of another shape.
    """
    shape = getattr(x, "shape", None)
    if shape is None:
        raise ValueError(f"x must be an array (m, {dim}), one row a point; got {type(x).__name__}: jnp.asarray(x).")
    if len(shape) != 2 or shape[1] != dim:
        remedy = " One column of inputs is x[:, None]." if dim == 1 and len(shape) == 1 else ""
        raise ValueError(f"x must have shape (m, {dim}), one row a point; got {shape}.{remedy}")


def observed(x: Any, y: Any, noise: Any, dim: int, outputs: int, dtype: DTypeLike) -> Observed:
    """Points, observations and variances of what was measured, as arrays that fit observations of `dim` inputs.

    Raises:
        ValueError: see `points_of`, `value_table` and `variances`; the row is named.
    """
    points = points_of(x, dim, dtype, apart=False)
    values = value_table(y, len(points), dtype, outputs)
    failed = ~np.isfinite(values).all(axis=tuple(range(1, values.ndim)))
    return Observed(points, values, variances(noise, len(points), dtype, failed))


def one_value(result: Any) -> tuple[float, float]:
    """Value and variance that a scalarizer gave: a number, an array of one, or (value, variance); NaN where missing.

    Raises:
        ValueError: several numbers, no numbers, or a negative variance.
    """
    parts = result if isinstance(result, tuple) else (result,)
    if len(parts) not in (1, 2):
        raise ValueError(f"a scalarizer gives a value or (value, variance); got a tuple of {len(parts)}.")
    each = [numbers(part, "what the scalarizer gave", missing=True) for part in parts]
    for part in each:
        if part.size != 1:
            raise ValueError(f"a scalarizer gives one number, or (value, variance); got shape {part.shape}.")
    value, variance = (float(part.reshape(())) for part in (*each, np.zeros(()))[:2])
    if variance < 0:
        raise ValueError(f"a scalarizer gives (value, variance) with a variance of zero or more; got {variance}.")
    return value, variance


def unmasked(values: Any) -> np.ndarray:
    """An array of any dtype, with NaN where it was masked."""
    if not np.ma.is_masked(values):
        return np.asarray(np.ma.getdata(values) if isinstance(values, np.ma.MaskedArray) else values)
    kind = values.dtype if values.dtype.kind in "fc" else np.dtype(np.float64)
    return np.where(np.ma.getmaskarray(values), kind.type(np.nan), np.ma.getdata(values)).astype(kind)


def native(values: Any, what: str = "values", missing: bool = True) -> np.ndarray:
    """Numbers in the machine's byte order and a width that JAX has, of their own dtype, with NaN where masked.

    Args:
        values: an array, a masked array, a list; nothing traced.
        what: its name, for errors.
        missing: whether entries may be masked.

    Raises:
        ValueError: no numbers, or masked entries where there may be none.
    """
    array = _array(values, what)
    if array.dtype == object:
        return numbers(array, what, missing)
    if array.dtype.kind not in "fciub":
        raise ValueError(f"{what} must hold numbers; got {array.dtype}.")
    if not missing and np.ma.is_masked(array):
        row = np.argwhere(np.ma.getmaskarray(array))[0].tolist()
        raise ValueError(f"{what} is masked in {_row(row)}: leave it out, there and in what was measured.")
    plain = unmasked(array)
    wide = {"f": np.dtype(np.float64), "c": np.dtype(np.complex128)}.get(plain.dtype.kind, plain.dtype)
    kind = wide if plain.dtype.itemsize > wide.itemsize else plain.dtype.newbyteorder("=")
    return plain.astype(kind, copy=False)


def inexact(values: Any, what: str = "values", missing: bool = True) -> Array:
    """Real or complex values in floating point, in the machine's byte order, with NaN where masked; also under jit.

    The dtype is kept from float32 upwards (and complex64). Half precision becomes float32, in which sums of squares do
    not overflow, and whole numbers the default.

    Args:
        values: an array, a masked array, a list.
        what: its name, for errors.
        missing: whether entries may be masked.

    Raises:
        ValueError: no numbers, or masked entries where there may be none.
    """
    if type(values) in (bool, int, float):
        return jnp.asarray(float(values))  # takes the dtype of whatever it meets
    known = isinstance(values, Array) or traced(values)
    array = jnp.asarray(values if known else native(values, what, missing))
    if jnp.issubdtype(array.dtype, jnp.inexact):
        return array if array.dtype.itemsize >= 4 else array.astype(jnp.float32)
    return array.astype(jnp.result_type(float))


def floating(values: Any, what: str = "values", missing: bool = True) -> Array:
    """Real values in floating point; see `inexact`.

    Raises:
        ValueError: they are complex, or what `inexact` refuses.
    """
    array = inexact(values, what, missing)
    if jnp.issubdtype(array.dtype, jnp.complexfloating):
        raise ValueError(f"{what} must be real; got {array.dtype}: take .real, abs() or angle.")
    return array
