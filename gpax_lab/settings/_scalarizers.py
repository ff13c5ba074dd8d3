"""Our own scalarizers: from the named arrays of a measurement to a number, or to a number and its variance.

A plug-in is a `spectra.Scalarizer`, a function that makes one of its options, or a plain function: its positional
parameters are names of arrays, those by keyword the options in settings, and its attributes `quantity` and `unit` say
what the number is, {array} standing for the unit of an array.
"""

from collections.abc import Callable
from functools import cache, partial
from typing import Any, Literal, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from gpax_lab.spectra import Fit, Scalarizer, loops, sho

F = TypeVar("F", bound=Callable[..., Any])


def _about(quantity: str, unit: str) -> Callable[[F], F]:
    def named(function: F) -> F:
        function.quantity, function.unit = quantity, unit  # type: ignore[attr-defined]
        return function

    return named


@partial(jax.jit, static_argnames=("read", "despike"))
def _read(read: Callable[[Array, Array], Array], bias: Array, response: Array, despike: bool) -> Array:
    return read(bias, loops.despike(response) if despike else response)


def _of_loop(
    read: Callable[[Array, Array], Array], bias: Any, response: Any, despike: bool, reject_above: float | None
) -> float:
    values = np.asarray(response, np.float64)
    if reject_above is not None and not np.max(np.abs(values)) < reject_above:
        return float("nan")
    return float(_read(read, jnp.asarray(bias, float), jnp.asarray(values), despike))


def _area(bias: Array, response: Array) -> Array:
    return abs(loops.loop_area(bias, response))


@_about("loop area", "{response} {bias}")
def loop_area(bias: Any, response: Any, *, despike: bool = False, reject_above: float | None = None) -> float:
    """Area of a hysteresis loop.

    Args:
        bias: (n,) V.
        response: (n,).
        despike: whether single points far from their neighbours are replaced first.
        reject_above: magnitude of the response from which on a measurement counts as failed.
    """
    return _of_loop(_area, bias, response, despike, reject_above)


@_about("log10 of the loop area", "log10({response} {bias})")
def log_loop_area(bias: Any, response: Any, *, despike: bool = False, reject_above: float | None = None) -> float:
    """Decimal logarithm of the area of a hysteresis loop.

    Args:
        bias: (n,) V.
        response: (n,).
        despike: whether single points far from their neighbours are replaced first.
        reject_above: magnitude of the response from which on a measurement counts as failed.
    """
    return _of_loop(loops.log_loop_area, bias, response, despike, reject_above)


@_about("mean", "a.u.")
def mean_of(measurement: Any, *, array: str, log: bool = False, low: float | None = None, high: float | None = None,
            axis: str | None = None) -> float:  # fmt: skip
    """Mean of an array of the measurement, such as counts of a spectrum within a window.

    Args:
        measurement: all of it.
        array: name of the array.
        log: whether the decimal logarithm is taken.
        low: lower end of a window.
        high: upper end of a window.
        axis: name of the array along which the window lies, such as energy.
    """
    values = np.asarray(measurement.arrays[array], np.float64)
    if axis is not None:
        at = np.asarray(measurement.arrays[axis], np.float64)
        inside = (at >= (-np.inf if low is None else low)) & (at <= (np.inf if high is None else high))
        values = values[..., inside]
    value = float(np.mean(values)) if values.size else float("nan")
    if log:
        return float(np.log10(value)) if value > 0 else float("nan")
    return value


_SHO = {"amplitude": "{real}", "resonance": "{frequency}", "q": "1", "phase": "rad"}


def _sho_fit(frequency: Array, real: Array, imaginary: Array) -> Fit:
    return sho.sho_fit(frequency, real + 1j * imaginary)


@cache
def resonance(number: Literal["amplitude", "resonance", "q", "phase"] = "resonance") -> Scalarizer:
    """A number of the simple harmonic oscillator fitted to a band-excitation spectrum, with its variance.

    Args:
        number: which of its parameters.
    """
    index = list(_SHO).index(number)
    arrays = ("frequency", "real", "imaginary")
    return Scalarizer.of_fit(_sho_fit, lambda p: p[index], arrays, name=number, unit=_SHO[number])
