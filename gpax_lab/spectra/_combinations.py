"""Scalarizers of scalarizers: ratios, differences, logarithms, with error propagation."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from gpax_lab.core._status import Status
from gpax_lab.spectra._scalarizer import Estimate, Scalarizer, checked


def combine(
    function: Callable[..., Array], *scalarizers: Scalarizer, name: str = "value", unit: str = "1"
) -> Scalarizer:
    """A quantity of several scalarizers of the same spectrum, with error propagation.

    Variance sum_k (df/dv_k)^2 var_k: right where the fits use different bins (peaks in separate windows) and so have
    independent errors. For numbers of one fit write one `quantity` instead: it knows their covariance.

    Args:
        function: values () -> (), differentiable.
        *scalarizers: each takes its arrays by name.
        name, unit: of the quantity.

    Returns:
        A `Scalarizer` of all the arrays that they take.
    """
    arrays = tuple(dict.fromkeys(name for one in scalarizers for name in one.arrays))
    parts = [[arrays.index(name) for name in one.arrays] for one in scalarizers]

    @jax.jit
    def propagate(values: Array, variances: Array, status: Array) -> Estimate:
        value, slope = jax.value_and_grad(lambda v: function(*v))(values)
        return checked(value, jnp.sum(slope**2 * variances), status, jnp.all(jnp.isfinite(values)))

    def joined(*given: Any) -> Estimate:
        found = [one.function(*(given[k] for k in part)) for one, part in zip(scalarizers, parts, strict=True)]
        values, variances = (jnp.stack([jnp.asarray(one[k]) for one in found]) for k in (0, 1))
        return propagate(values, variances, Status.worst_of(*(one.status for one in found)))

    return Scalarizer(name, joined, arrays, unit)


def ratio(numerator: Scalarizer, denominator: Scalarizer) -> Scalarizer:
    """Ratio of two independent numbers, as of two peaks fitted in separate windows.

    Args:
        numerator, denominator: scalarizers whose errors are independent.

    Returns:
        A `Scalarizer` in the quotient of their units.
    """
    same = numerator.unit == denominator.unit
    unit = "1" if same else f"({numerator.unit})/({denominator.unit})"
    name = f"{numerator.name} / {denominator.name}"
    return combine(lambda a, b: a / b, numerator, denominator, name=name, unit=unit)


def difference(first: Scalarizer, second: Scalarizer) -> Scalarizer:
    """First minus second, independent.

    Args:
        first, second: of one unit.

    Returns:
        A `Scalarizer` in that unit.

    Raises:
        ValueError: they have different units.
    """
    if first.unit != second.unit:
        raise ValueError(f"a difference needs one unit; got {first.unit!r} and {second.unit!r}.")
    return combine(lambda a, b: a - b, first, second, name=f"{first.name} - {second.name}", unit=first.unit)


def log10(scalarizer: Scalarizer) -> Scalarizer:
    """Decimal logarithm of a number; a value that is not positive is a failed measurement.

    Args:
        scalarizer: of a positive number.

    Returns:
        A `Scalarizer` with the unit "log10(...)".
    """
    unit = "1" if scalarizer.unit == "1" else f"log10({scalarizer.unit})"
    return combine(jnp.log10, scalarizer, name=f"log10 of {scalarizer.name}", unit=unit)
