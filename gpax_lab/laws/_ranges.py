"""Ranges of x and y, and the default priors that follow from them."""

from typing import TypeAlias

import jax.numpy as jnp
import numpyro.distributions as dist
from jax import Array

Range: TypeAlias = tuple[float, float]


def span(of: Range) -> float:
    """Length of a range.

    Raises:
        ValueError: it is not (low, high) with low < high.
    """
    low, high = of
    if not high > low:
        raise ValueError(f"a range is (low, high) with low < high; got {of}.")
    return float(high) - float(low)


def level(y: Range) -> dist.Distribution:
    """A value of y somewhere in its range, or not far outside: normal around the middle."""
    return dist.Normal(0.5 * (y[0] + y[1]), 0.5 * span(y))


def height(y: Range) -> dist.Distribution:
    """A positive difference of two values of y."""
    return dist.HalfNormal(span(y))


def power_of(x: Array, exponent: Array | float) -> Array:
    """x^exponent () for x > 0, 0 elsewhere; gradients stay finite at 0."""
    safe = jnp.where(x > 0, x, 1.0)
    return jnp.where(x > 0, safe**exponent, 0.0)
