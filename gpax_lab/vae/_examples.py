"""What a variational autoencoder learns from."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import DTypeLike

from gpax_lab.core._inputs import numbers
from gpax_lab.core._types import ArrayLike, Float


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Examples:
    """Images or spectra, and what is known about them; made by `examples`.

    Attributes:
        x: (n, *shape) what the encoder sees.
        target: (n, *output) what the decoder shall give: x itself, or the other domain of a pair.
        condition: (n, conditions) what is known of every example and given to encoder and decoder; 0 columns for none.
        label: (n,) int32 class, -1 where it is not known.
        properties: (n, properties) continuous, NaN where not known; 0 columns for none.
    """

    x: Array
    target: Array
    condition: Array
    label: Array
    properties: Array

    def __len__(self) -> int:
        return int(self.x.shape[0])

    def take(self, index: Array) -> "Examples":
        """The examples of this index (m,)."""
        return jax.tree.map(lambda part: part[index], self)


def examples(
    x: ArrayLike,
    target: ArrayLike | None = None,
    condition: ArrayLike | None = None,
    label: ArrayLike | None = None,
    properties: ArrayLike | None = None,
    dtype: DTypeLike = jnp.float32,
) -> Examples:
    """Examples to learn from.

    Args:
        x: (n, h, w), (n, h, w, channels) or (n, length).
        target: (n, ...) the other domain; None for x itself.
        condition: (n,) or (n, conditions); one-hot for a class.
        label: (n,) classes 0, 1, ...; -1 where it is not known.
        properties: (n,) or (n, properties), of mean 0 and standard deviation 1 or so; NaN where not known.
        dtype: in which everything is computed; single precision is enough for images.

    Returns:
        `Examples`.

    Raises:
        ValueError: shapes that do not fit, values that are not finite, labels below -1.

    Example:
        >>> examples(jnp.zeros((3, 8, 8)), label=[0, 1, -1]).label
        Array([ 0,  1, -1], dtype=int32)
    """
    kind = jnp.dtype(dtype)
    inputs = _numbers(x, "x", kind)
    if inputs.ndim < 2:
        raise ValueError(f"x is (n, h, w), (n, h, w, channels) or (n, length); got {inputs.shape}.")
    count = len(inputs)
    if count < 1:
        raise ValueError("x holds no examples.")
    targets = inputs if target is None else _numbers(target, "target", kind)
    given = _columns(condition, count, kind)
    if not np.isfinite(np.asarray(given)).all():
        raise ValueError("condition holds values that are not finite: a condition is known of every example.")
    known = _columns(properties, count, kind)
    if np.isinf(np.asarray(known)).any():
        raise ValueError("properties hold infinite values; NaN means that a value is not known.")
    labels = np.full(count, -1) if label is None else np.asarray(label)
    if labels.shape != (count,) or labels.dtype.kind not in "iu" or labels.min() < -1:
        raise ValueError(f"label is ({count},) integers, -1 where not known; got {labels.dtype} {labels.shape}.")
    if targets.shape[0] != count or targets.ndim < 2:
        raise ValueError(f"target has as many examples as x, {count}; got {targets.shape}.")
    return Examples(inputs, targets, given, jnp.asarray(labels, jnp.int32), known)


def _numbers(values: ArrayLike, name: str, dtype: jnp.dtype) -> Array:
    if isinstance(values, np.ma.MaskedArray):
        raise ValueError(f"{name} is masked: fill the masked values in first.")
    array = np.asarray(values)
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{name} must be real numbers; got {array.dtype}.")
    array = array.astype(dtype)
    if not np.isfinite(array).all():
        raise ValueError(f"{name} holds values that are not finite: leave those examples out, or fill them in.")
    return jnp.asarray(array)


def _columns(values: ArrayLike | None, count: int, dtype: jnp.dtype) -> Array:
    if values is None:
        return jnp.asarray(np.zeros((count, 0), dtype))
    table = jnp.asarray(np.asarray(values), dtype)
    table = table[:, None] if table.ndim == 1 else table
    if table.ndim != 2 or table.shape[0] != count:
        raise ValueError(f"conditions and properties are ({count},) or ({count}, columns); got {table.shape}.")
    return table


def unit_range(images: ArrayLike, low: float | None = None, high: float | None = None) -> Float[Array, "*shape"]:
    """Images scaled to [0, 1] together, between the percentiles 0.5 and 99.5 or two values, and cut beyond.

    Scaled together, not one by one: how bright one is compared with another is kept. For other images of the same kind
    give the same `low` and `high` (`numpy.percentile(images, (0.5, 99.5))` of the first ones).

    Args:
        images: (n, h, w), or of any other shape.
        low: value that becomes 0; the percentile 0.5 by default.
        high: value that becomes 1; the percentile 99.5 by default.

    Returns:
        Values in [0, 1], of the same shape, float32.

    Raises:
        ValueError: values that are not finite, or all alike.
    """
    values = numbers(images, "images", missing=True)
    if not np.isfinite(values).all():
        raise ValueError("the images hold values that are not finite: fill them in first.")
    bottom = float(np.percentile(values, 0.5)) if low is None else low
    top = float(np.percentile(values, 99.5)) if high is None else high
    if not top > bottom:
        raise ValueError(f"the images are all alike, or high is not above low: {bottom} to {top}.")
    return jnp.asarray(np.clip((values - bottom) / (top - bottom), 0.0, 1.0), jnp.float32)
