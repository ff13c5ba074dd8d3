"""Our own scalarizers as plug-ins: functions that make a `spectra.Scalarizer` of their options.

A plug-in may also be a `spectra.Scalarizer`, or a plain function: its positional parameters are names of arrays, those
by keyword the options in settings, and its attributes `quantity` and `unit` say what the number is, {array} standing
for the unit of an array.
"""

from functools import cache
from typing import Literal

import jax
import jax.numpy as jnp
from jax import Array

from gpax_lab.spectra import Estimate, Fit, Scalarizer, log10, loops, sho
from gpax_lab.spectra._scalarizer import stated


def _cleaned(area: Scalarizer, despike: bool, reject_above: float | None) -> Scalarizer:
    found = area.prepared(response=loops.despike) if despike else area
    return found if reject_above is None else found.rejecting(response=reject_above)


@cache
def loop_area(*, despike: bool = False, reject_above: float | None = None) -> Scalarizer:
    """Area of a hysteresis loop.

    Args:
        despike: whether single points far from their neighbours are replaced first.
        reject_above: magnitude of the response from which on a measurement counts as failed.
    """
    return _cleaned(loops.LOOP_AREA, despike, reject_above)


@cache
def log_loop_area(*, despike: bool = False, reject_above: float | None = None) -> Scalarizer:
    """Decimal logarithm of the area of a hysteresis loop.

    Args:
        despike: whether single points far from their neighbours are replaced first.
        reject_above: magnitude of the response from which on a measurement counts as failed.
    """
    return _cleaned(loops.LOG_LOOP_AREA, despike, reject_above)


@cache
def mean_of(
    *, array: str, log: bool = False, low: float | None = None, high: float | None = None, axis: str | None = None
) -> Scalarizer:
    """Mean of an array of the measurement, such as counts of a spectrum within a window.

    Args:
        array: name of the array.
        log: whether the decimal logarithm is taken.
        low: lower end of a window.
        high: upper end of a window.
        axis: name of the array along which the window lies, such as energy.

    Raises:
        ValueError: a window without the axis along which it lies.
    """
    if axis is None and (low, high) != (None, None):
        raise ValueError("low and high are ends of a window: say along which array it lies, as in axis = 'energy'.")

    @jax.jit
    def mean(values: Array, along: Array | None = None) -> Estimate:
        if along is None:
            return stated(jnp.mean(values))
        if along.shape != values.shape[-1:]:
            raise ValueError(f"{array!r} has shape {values.shape}, and {axis!r} {along.shape}: not one for its last.")
        inside = jnp.ones_like(along, bool) if low is None else along >= low
        inside = inside if high is None else inside & (along <= high)
        return stated(jnp.mean(values, where=jnp.broadcast_to(inside, values.shape)))

    found = Scalarizer("mean", mean, (array,) if axis is None else (array, axis), f"{{{array}}}")
    return log10(found) if log else found


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
