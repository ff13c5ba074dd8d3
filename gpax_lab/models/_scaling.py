"""From the user's units to the unit cube and to standardised observations, and back."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

from gpax_lab.core._inputs import numbers
from gpax_lab.core._observations import Observations
from gpax_lab.core._types import ArrayLike


class Scale(NamedTuple):
    """Standardisation y = location + scale * y_standard; both () in the unit of y."""

    location: Array
    scale: Array


def box(bounds: ArrayLike | None, dim: int) -> tuple[np.ndarray, np.ndarray]:
    """Lower corner (d,) and width (d,) of the user's box; (0, 1) when there is none.

    Raises:
        TypeError: `dim` is no whole number.
        ValueError: no inputs, or bounds are not (d, 2), masked, complex, not finite, or a lower one is not below its
            upper one.
    """
    if not isinstance(dim, int | np.integer) or isinstance(dim, bool):
        raise TypeError(f"dim is the number of inputs, a whole number such as gp.exact(2); got {dim!r}.")
    if dim < 1:
        raise ValueError(f"a model has at least one input; got dim = {dim}.")
    if bounds is None:
        return _kept(np.zeros(dim)), _kept(np.ones(dim))
    edges = numbers(bounds, "bounds")
    if edges.shape != (dim, 2) or not np.isfinite(edges).all() or not (edges[:, 0] < edges[:, 1]).all():
        raise ValueError(f"bounds must be ({dim}, 2) finite [low, high] with low < high; got {edges.tolist()}.")
    return _kept(edges[:, 0].copy()), _kept(edges[:, 1] - edges[:, 0])


def _kept(values: np.ndarray) -> np.ndarray:
    """The same, not to be written to: equal models share it."""
    values.setflags(write=False)
    return values


def check_standardize(rule: bool | tuple[float, float]) -> bool | tuple[float, float]:
    """The rule as it is.

    Raises:
        ValueError: it is neither True, False nor a finite (location, scale) with a positive scale.
    """
    if isinstance(rule, bool):
        return rule
    try:
        location, scale = (float(value) for value in rule)
    except (TypeError, ValueError):
        location = scale = np.nan
    if not (np.isfinite(location) and np.isfinite(scale) and scale > 0):
        raise ValueError(f"standardize must be True, False or (location, scale) with scale > 0; got {rule!r}.")
    return (location, scale)


def measured_inputs(obs: Observations) -> Array:
    """(capacity, d) inputs in which every slot without an observation holds a measured point.

    A mean function may be undefined where an observation failed; a NaN there would poison the gradients of all others.
    """
    return jnp.where(obs.measured[:, None], obs.x, obs.x[jnp.argmax(obs.measured)][None])


FAR = 10.0
"""Observations farther from the median than this many deviations (1.4826 times the median one) do not set a robust
scale. Generous, so that a steep function keeps all its observations: normal noise goes beyond once in 1e23."""


def standardisation(obs: Observations, rule: bool | tuple[float, float], centred: bool, robust: bool = False) -> Scale:
    """How observations are standardised.

    Args:
        obs: observations with y of shape (capacity,).
        rule: False for none, (location, scale) for fixed numbers, True for mean and standard deviation of the
            observations (scale 1 while fewer than two distinct ones exist).
        centred: whether the location is subtracted; False where a mean function in the user's units does it.
        robust: whether the location is the median, and observations that are `FAR` from it do not count for the scale.

    Returns:
        Scale with () entries of the dtype of y.
    """
    dtype = obs.y.dtype
    if rule is False:
        return Scale(jnp.zeros((), dtype), jnp.ones((), dtype))
    if rule is not True:
        return Scale(jnp.asarray(rule[0] if centred else 0.0, dtype), jnp.asarray(rule[1], dtype))
    measured = obs.measured
    # Divide by the largest magnitude first, so that squares of picoamperes do not underflow.
    largest = jnp.max(jnp.where(measured, jnp.abs(obs.y), 0.0))
    unit = jnp.where(largest > 0, largest, 1.0)
    reduced = jnp.where(measured, obs.y / unit, 0.0)
    counted = measured
    if robust:
        middle = median(reduced, measured)
        deviation = jnp.abs(reduced - middle)
        usual = 1.4826 * median(deviation, measured)
        # Where half of the observations are equal, nothing says what is far.
        counted = measured & ((deviation <= FAR * usual) | (usual <= 10 * jnp.finfo(dtype).eps))
    count = jnp.maximum(jnp.sum(counted), 1)
    mean = jnp.sum(jnp.where(counted, reduced, 0.0)) / count
    sd = jnp.sqrt(jnp.sum(jnp.where(counted, (reduced - mean) ** 2, 0.0)) / count)
    mean = middle if robust else mean
    # Equal observations differ by rounding only; they must not be blown up to unit variance.
    distinct = sd > 10 * jnp.finfo(dtype).eps
    scale = jnp.where(distinct, sd * unit, jnp.where(largest > 0, unit, 1.0))
    return Scale(jnp.where(centred, mean * unit, 0.0).astype(dtype), scale.astype(dtype))


def median(values: Array, counted: Array) -> Array:
    """() median of those values (n,) that count (n,) bool; 0 where none does."""
    count = jnp.maximum(jnp.sum(counted), 1)
    ordered = jnp.sort(jnp.where(counted, values, jnp.inf))
    value = 0.5 * (ordered[(count - 1) // 2] + ordered[count // 2])
    return jnp.where(counted.any(), value, 0.0)
