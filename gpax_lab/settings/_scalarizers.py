"""Our own scalarizers as plug-ins: functions that make a `spectra.Scalarizer` of their options.

A plug-in may also be a `spectra.Scalarizer`, or a plain function: its positional parameters are names of arrays, those
by keyword the options in settings, and its attributes `quantity` and `unit` say what the number is, {array} standing
for the unit of an array.
"""

from dataclasses import replace
from functools import cache
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from gpax_lab.core._inputs import traced
from gpax_lab.spectra import Estimate, Fit, Scalarizer, edx, eels, log10, loops, peaks, sho, sts
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


@cache
def loop(
    *,
    number: Literal[
        "area",
        "coercive_up",
        "coercive_down",
        "imprint",
        "remanence_up",
        "remanence_down",
        "switchable",
        "nucleation_up",
        "nucleation_down",
    ],
    despike: bool = False,
    reject_above: float | None = None,
) -> Scalarizer:
    """A number of the hysteresis loop fitted to bias and response, with its variance.

    Args:
        number: which one.
        despike: whether single points far from their neighbours are replaced first.
        reject_above: magnitude of the response from which on a measurement counts as failed.
    """  # fmt: skip
    return _cleaned(loops.loop_scalarizer(number), despike, reject_above)


@cache
def peak(
    *,
    window: tuple[float, float],
    number: Literal["height", "centre", "width"] = "height",
    shape: Literal["gaussian", "lorentzian", "pseudo_voigt", "plasmon"] = "gaussian",
    gain: float | None = None,
    min_significance: float | None = None,
    axis: str = "energy",
    array: str = "counts",
) -> Scalarizer:
    """A number of one peak on a sloping background, fitted in a window of a spectrum, with its variance.

    Args:
        window: [low, high] in the unit of the axis.
        number: which of its parameters.
        shape: of the peak.
        gain: detector counts per electron, for counts, whose noise follows from it.
        min_significance: height over its standard deviation below which the measurement has failed; 4 by default for
            the centre and the width.
        axis: name of the array along which the peak lies, such as bias.
        array: name of the spectrum.
    """
    index = ("height", "centre", "width").index(number)
    return peaks.peak_scalarizer(window, index, shape, gain, min_significance, (axis, array))


@cache
def edge(
    *,
    fit_window: tuple[float, float],
    window: tuple[float, float],
    method: Literal["log", "poisson"] = "log",
    gain: float = 1.0,
    axis: str = "energy",
    array: str = "counts",
) -> Scalarizer:
    """Counts of an edge of an energy-loss spectrum above its power-law background, with their variance.

    Args:
        fit_window: [low, high] below the edge, where the background is fitted [eV].
        window: [low, high] above the edge, where counts are summed [eV].
        method: of the background; poisson where channels hold few counts.
        gain: detector counts per electron.
        axis: name of the array of energies.
        array: name of the spectrum.
    """
    return _of_arrays(eels.edge_scalarizer(fit_window, window, method=method, gain=gain), axis, array)


@cache
def gap(
    *,
    threshold: float,
    sigma: float,
    derive: bool = False,
    window: int | None = None,
    order: int = 2,
    axis: str = "bias",
    array: str | None = None,
) -> Scalarizer:
    """Width of the gap of a tunnelling spectrum, swept either way, with its variance.

    Args:
        threshold: conductance at the edges of the gap, five sigma or more above its floor; in the unit of the current
            per V.
        sigma: standard deviation of the conductance, as measured in the gap.
        derive: whether the conductance is the derivative of the current, instead of that of a lock-in.
        window: points, odd, over which the derivative is taken; 7 by default, or of what smoothed the conductance.
        order: of the polynomial of the derivative.
        axis: name of the array of biases.
        array: name of the conductance, or of the current; by default these words.
    """
    points = window if window is not None else 7 if derive else 1
    width = sts.gap_scalarizer(threshold, sigma, points, order)

    def function(bias: Array, values: Array) -> Estimate:
        if not traced(bias) and bias[0] > bias[-1]:
            bias, values = bias[::-1], values[::-1]
        return width.function(bias, sts.derivative(bias, values, points, order)[0] if derive else values)

    return Scalarizer("gap", function, (axis, array or ("current" if derive else "conductance")), f"{{{axis}}}")


@cache
def line(
    *,
    element: str,
    others: tuple[str, ...] = (),
    mn_fwhm: float = 0.130,
    terms: int = 4,
    unit_of_energy: Literal["keV", "eV"] = "keV",
    axis: str = "energy",
    array: str = "counts",
) -> Scalarizer:
    """Counts of the X-ray lines of an element, separated from those of others and the bremsstrahlung, with variance.

    Args:
        element: element and shell, such as "Fe K".
        others: of the elements that are there beside it.
        mn_fwhm: width of the detector at the K line of manganese [keV].
        terms: of the smooth background.
        unit_of_energy: of the axis.
        axis: name of the array of energies.
        array: name of the spectrum.

    Raises:
        ValueError: a line that is not known.
    """
    names = tuple(dict.fromkeys((element, *others)))
    if unknown := [name for name in names if name not in edx.LINES]:
        raise ValueError(f"the lines {unknown} are not known; there are {', '.join(edx.LINES)}.")
    size = 1e-3 if unit_of_energy == "eV" else 1.0
    known: dict[bytes, Array] = {}

    def function(energy: Any, counts: Array) -> Estimate:
        with jax.ensure_compile_time_eval():  # the lines are where the axis says, and do not change with the spectrum
            x = np.asarray(energy, float) * size
            if x.tobytes() not in known:
                known.clear()
                known[x.tobytes()] = edx.shapes(x, {name: edx.LINES[name] for name in names}, mn_fwhm, terms)
        return edx.line_scalarizer(known[x.tobytes()], 0).function(energy, counts)

    return Scalarizer(f"counts of {element}", function, (axis, array), f"{{{array}}}")


def _of_arrays(found: Scalarizer, axis: str, array: str) -> Scalarizer:
    """The same number of arrays of other names."""
    first, second = found.arrays
    unit = found.unit.replace(f"{{{first}}}", f"{{{axis}}}").replace(f"{{{second}}}", f"{{{array}}}")
    return replace(found, arrays=(axis, array), unit=unit)
