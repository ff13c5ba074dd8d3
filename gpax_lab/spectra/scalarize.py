"""Scalarizers: from a spectrum to (value, variance), composed from a fit and any function of its parameters.

A number that is not good gives (nan, nan): a failed reading, never a bad number that looks like a good one. What is
judged is the quantity: a parameter at its bound is no matter where it does not change what was asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import jax
import jax.numpy as jnp
from jax import Array

from gpax_lab.core._status import Status
from gpax_lab.spectra.fit import Fit, judged, transformed

Scalar = Callable[..., tuple[Array, Array]]
"""Arrays of one spectrum -> () value and () variance; NaN both where the fit failed."""


class HasArrays(Protocol):
    """A reading as instruments hand it back."""

    @property
    def arrays(self) -> Mapping[str, Any]:
        """Raw arrays by name."""


def scalarizer(
    fit: Callable[..., Fit], quantity: Callable[[Array], Array], accept: tuple[Status, ...] = (Status.OK,)
) -> Scalar:
    """Compose a fit and a quantity: value f(p), variance (df/dp)^T C (df/dp) by the delta method.

    Args:
        fit: arrays of one spectrum -> `Fit` without batch.
        quantity: parameters (p,) -> (), differentiable: one of them, a ratio, a logarithm, an area.
        accept: statuses that count as good, of the quantity: `fit.judged` finds it good where the fit could not
            determine all of its parameters if it has an error with these let go, and does not change by more (its
            variance is then that one), and refuses it where other parameters describe the spectrum as well and give
            another one.

    Returns:
        Function of the same arrays -> (value, variance), compiled once; `jax.vmap` maps it over spectra.

    Example:
        >>> import jax.numpy as jnp
        >>> from gpax_lab.spectra.loop_fit import loop_fit
        >>> from gpax_lab.spectra.loops import loop_function, triangle
        >>> opening = scalarizer(loop_fit, lambda p: jnp.log10(p[2] - p[3]))
        >>> bias = triangle(8.0, 64)
        >>> loop = loop_function(bias, jnp.array([-1.0, 2.0, 2.5, -2.5, 0.01, 0.8, 0.9, 0.9, 0.8]))
        >>> value, variance = opening(bias, loop)
        >>> round(float(value), 3)
        0.699
    """

    fitted = jax.jit(fit)  # compiled once for all scalarizers of this fit: swapping the quantity costs next to nothing

    def number(p: Array) -> Array:
        return jnp.reshape(quantity(p), (1,))

    @jax.jit
    def read(found: Fit) -> tuple[Array, Array]:
        one = judged(transformed(found, number))
        good = jnp.any(jnp.stack([one.status[0] == status for status in accept]))
        return _checked(one.params[0], one.covariance[0, 0], good)

    def scalar(*arrays: Any) -> tuple[Array, Array]:
        found = fitted(*arrays)
        if found.status.ndim:
            raise ValueError("a scalarizer takes one spectrum; map it over a batch with jax.vmap.")
        return read(found)

    return scalar


def combine(function: Callable[..., Array], *scalars: Scalar) -> Scalar:
    """A quantity of several scalarizers of the same spectrum, with error propagation.

    Variance sum_k (df/dv_k)^2 var_k: right where the fits use different bins (peaks in separate windows) and so have
    independent errors. For numbers of one fit write one `quantity` instead: it knows their covariance.

    Args:
        function: values () -> (), differentiable.
        *scalars: each takes the same arrays.
    """

    @jax.jit
    def propagate(values: Array, variances: Array) -> tuple[Array, Array]:
        value, slope = jax.value_and_grad(lambda v: function(*v))(values)
        return _checked(value, jnp.sum(slope**2 * variances), jnp.all(jnp.isfinite(values)))

    def scalar(*arrays: Any) -> tuple[Array, Array]:
        pairs = [one(*arrays) for one in scalars]
        return propagate(*(jnp.stack([jnp.asarray(v) for v in column]) for column in zip(*pairs, strict=True)))

    return scalar


def ratio(numerator: Scalar, denominator: Scalar) -> Scalar:
    """Ratio of two independent scalars, as of two peaks fitted in separate windows."""
    return combine(lambda a, b: a / b, numerator, denominator)


def difference(first: Scalar, second: Scalar) -> Scalar:
    """First minus second, independent."""
    return combine(lambda a, b: a - b, first, second)


def log10(scalar: Scalar) -> Scalar:
    """Decimal logarithm of a scalar; a value that is not positive is a failed reading."""
    return combine(jnp.log10, scalar)


def of_reading(scalar: Scalar, *names: str) -> Callable[[HasArrays], tuple[float, float]]:
    """A campaign's scalarizer: takes the named arrays from a reading, in the order of the scalar's arguments.

    Args:
        scalar: of `scalarizer` or `combine`, or any function arrays -> (value, variance).
        *names: of the reading's arrays, as `"bias", "response"`.

    Returns:
        Function reading -> (value, variance) as Python floats, NaN both if the fit failed.

    Raises:
        ValueError: from the returned function, if the reading has no array of that name.
    """
    if not names:
        raise ValueError('name the arrays of the reading to use, as in of_reading(scalar, "bias", "response").')

    def scalarize(reading: HasArrays) -> tuple[float, float]:
        missing = [name for name in names if name not in reading.arrays]
        if missing:
            raise ValueError(f"the reading has no {missing}; it has {sorted(reading.arrays)}.")
        value, variance = scalar(*(jnp.asarray(reading.arrays[name]) for name in names))
        return float(value), float(variance)

    return scalarize


def _checked(value: Array, variance: Array, good: Array) -> tuple[Array, Array]:
    good = good & jnp.isfinite(value) & jnp.isfinite(variance)
    return jnp.where(good, value, jnp.nan), jnp.where(good, variance, jnp.nan)
