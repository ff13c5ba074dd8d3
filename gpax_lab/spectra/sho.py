"""Band excitation: amplitude, resonance, Q and phase of a simple harmonic oscillator from spectra of a band.

Frequencies are in Hz, phases in rad. A fit takes any batch (..., n) of spectra, complex or of amplitude only, begins at
a closed-form estimate and returns the four (three) numbers with their covariance and a status.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike

from gpax_lab.core._inputs import floating
from gpax_lab.core._status import Status
from gpax_lab.core._types import Complex
from gpax_lab.spectra._fit import Fit, curve_fit, judged, refused, transformed
from gpax_lab.spectra._residual import LITTLE, misfit, neighbour_correlation, widening
from gpax_lab.spectra._scalarizer import Scalarizer
from gpax_lab.spectra._sho_start import inputs, magnitude, start_of, unit_response

__all__ = [
    "ShoParams",
    "sho_amplitude_fit",
    "sho_fit",
    "sho_response",
    "sho_scalarizer",
]

_UNEXPLAINED, _ALIKE, _PEAKED, _REJECTED = 0.1, 0.5, 3.0, 12.0
"""A fit is poor if it leaves more than a tenth of the variance, and of that neighbours correlate by more than half
(of 64 bins of noise this has a standard deviation of 0.09), or its mean square is three times what its median says of
noise. With `huber`, bins whose square is twelve times the median do not count (5.4 standard deviations)."""

_EXPLAINED, _BESIDE = 22.0, 8.0
"""What a resonance explains beyond the mean, in mean squares of what is left, and how much of it without the bin that
tells most of it: less is no resonance, or may be a spike. Of 3,000 spectra of normal noise in 8, 16 and 32 bins 16, 5
and 6 pass both (of amplitudes 46, 4 and none), where 100, 82 and 40 (320, 244 and 56) passed without; of noise with
the tails of Student's t of three degrees of freedom, in 16 bins and more, 3 to 37."""

_LEAST, _SMOOTH = 1e-5, 0.8
"""Of a complex spectrum a fit is poor already if it leaves more than `residual.LITTLE` that is not noise: two modes
beside each other, or a saturated amplifier; and if it leaves more than a hundred thousandth of which hardly anything is
noise: neighbours correlate by 0.8. Where they are alike and it leaves less, or sigma is known and chi^2 is far above 1,
errors are larger by that."""

_LEAST_SIGNAL = 3.0
"""Amplitude over its standard deviation: below it there is no resonance to speak of, and errors are far from normal."""


class ShoParams(NamedTuple):
    """The four numbers of `sho_response`; `ShoParams(*jnp.moveaxis(fit.params, -1, 0))` are maps.

    `amplitude` of the drive response far below resonance (unit of the spectrum; the peak is Q times higher),
    `resonance` in Hz, `q` and `phase` in rad (pi behind the response far below resonance).
    """

    amplitude: ArrayLike
    resonance: ArrayLike
    q: ArrayLike
    phase: ArrayLike


def sho_response(frequency: ArrayLike, params: ShoParams | Array) -> Complex[Array, "*shape"]:
    """The damped oscillator, H(f) = A e^{i phi} f0^2 / (f^2 - i f f0 / Q - f0^2).

    Args:
        frequency: Hz, any shape.
        params: amplitude, resonance (Hz), q and phase (rad), scalars.

    Returns:
        Complex response, shape of `frequency`.

    Source: Jesse, Kalinin, Proksch, Baddorf, Rodriguez, Nanotechnology 18, 435503 (2007), the form fitted in BGlib.
    """
    amplitude, resonance, q, phase = (floating(v) for v in params)
    ratio = floating(frequency, "frequency") / resonance
    drive = amplitude * jnp.exp(1j * phase)
    return drive / (ratio**2 - 1j * ratio / q - 1.0)


def sho_fit(frequency: ArrayLike, spectrum: ArrayLike, sigma: ArrayLike | None = None, **options) -> Fit:
    """Fit complex spectra: least squares on real and imaginary part, right on the whole circle of phases.

    Args:
        frequency: (n,) Hz, increasing.
        spectrum: (..., n) complex; a NaN bin is left out.
        sigma: standard deviation of the real and of the imaginary part; see `curve_fit`.
        **options: of `curve_fit` (`huber`, `max_steps`, `chunk`); `least_r_squared` is 0.2 if not given, for a line can
            be drawn through any noise (four parameters, 64 bins: R^2 about 0.1).

    Returns:
        `Fit` of (amplitude, resonance Hz, Q, phase rad in (-pi, pi]). Status OUTSIDE_RANGE where the resonance is not
        inside the band by a bin, POOR_FIT also where the amplitude is less than three of its standard deviations, and
        where what is left is more than noise, as it is of two modes in one band. The
        fit runs in the Cartesian parts of the drive, which are smooth where the amplitude vanishes; it is never
        negative.

    Raises:
        ValueError: the spectra are not complex, or do not belong to the frequencies.
    """
    f, h = inputs(frequency, spectrum, complex_values=True)
    return _fitted(_CARTESIAN, f, h, sigma, options)


def sho_amplitude_fit(frequency: ArrayLike, amplitude: ArrayLike, sigma: ArrayLike | None = None, **options) -> Fit:
    """Fit amplitude-only spectra |H(f)|: `Fit` of (amplitude, resonance Hz, Q).

    The start is closed too: 1/|H|^2 is a parabola in f^2 whose three coefficients give A, f0 and Q; weighted by |H|^3.
    Amplitudes of pure noise are not normal but Rician: below a signal-to-noise of about 3 the tails are biased upwards.

    Args:
        frequency: (n,) Hz, increasing.
        amplitude: (..., n) real.
        sigma, **options: as for `sho_fit`.

    Raises:
        ValueError: the spectra are complex, or do not belong to the frequencies.
    """
    f, a = inputs(frequency, amplitude, complex_values=False)
    return _fitted(_MAGNITUDE, f, a, sigma, options)


def sho_scalarizer(which: str, **options) -> Scalarizer:
    """One of the four `ShoParams` of a complex spectrum: a `Scalarizer` of the arrays "frequency" and "spectrum".

    Args:
        which: a field of `ShoParams`, as "resonance".
        **options: of `sho_fit`.

    Raises:
        ValueError: there is no such number.
    """
    units = {"amplitude": "{spectrum}", "resonance": "{frequency}", "q": "1", "phase": "rad"}
    if which not in units:
        raise ValueError(f"the numbers of a resonance are {list(units)}; got {which!r}.")
    k = ShoParams._fields.index(which)

    def fit(frequency: ArrayLike, spectrum: ArrayLike) -> Fit:
        return sho_fit(frequency, spectrum, **options)

    return Scalarizer.of_fit(fit, lambda p: p[k], ("frequency", "spectrum"), name=which, unit=units[which])


def _widened(fit: Fit, by: Array) -> Fit:
    """The fit with variances larger by a factor (...)."""
    assert fit.released is not None  # `curve_fit` gives both
    each = by[..., None, None]
    std, covariance = jnp.sqrt(by)[..., None] * fit.std, each * fit.covariance
    return fit._replace(std=std, covariance=covariance, released=each * fit.released)


@jax.jit
def _beginning(f: Array, h: Array) -> tuple[Array, Array, Array]:
    """Middle of the band (Hz), frequencies over it, and where fits begin: (..., 4) Cartesian parts or (..., 3)."""
    centre, found = jnp.mean(f), start_of(f, h)
    shape = [found[..., 1] / centre, jnp.log(found[..., 2])]
    if not jnp.iscomplexobj(h):
        return centre, f / centre, jnp.stack([found[..., 0], *shape], axis=-1)
    drive = [found[..., 0] * jnp.cos(found[..., 3]), found[..., 0] * jnp.sin(found[..., 3])]
    return centre, f / centre, jnp.stack([*drive, *shape], axis=-1)


def _cartesian(x: Array, u: Array) -> Array:
    real, imag, _ = unit_response(x, u[2], jnp.exp(-u[3]))
    return lax.complex(u[0] * real - u[1] * imag, u[1] * real + u[0] * imag)


def _cartesian_slopes(x: Array, u: Array) -> tuple[Array, ...]:
    """Derivatives of H = (u0 + i u1) / D by D = r^2 - 1 - i r e^-u3, r = x / u2: dH = -H dD / D."""
    loss, inverse = jnp.exp(-u[3]), 1.0 / u[2]
    real, imag, _ = unit_response(x, u[2], loss)
    along, across = u[0] * real - u[1] * imag, u[1] * real + u[0] * imag
    minus, plus = imag * across - real * along, real * across + imag * along  # -H / D = minus - i plus
    ratio = x * inverse
    by_resonance = -2.0 * ratio * ratio * inverse, ratio * loss * inverse  # dD / du2
    return (
        lax.complex(real, imag),
        lax.complex(-imag, real),
        lax.complex(minus * by_resonance[0] + plus * by_resonance[1], minus * by_resonance[1] - plus * by_resonance[0]),
        lax.complex(ratio * loss * plus, ratio * loss * minus),  # dD / du3 = i r e^-u3
    )


def _polar(u: Array, centre: Array) -> Array:
    return jnp.stack([jnp.sqrt(u[0] ** 2 + u[1] ** 2), u[2] * centre, jnp.exp(u[3]), jnp.arctan2(u[1], u[0])])


def _magnitude_slopes(x: Array, u: Array) -> tuple[Array, ...]:
    square, loss = jnp.square(x / u[1]), jnp.exp(-2.0 * u[2])
    inside = jnp.square(square - 1.0) + square * loss
    unit = lax.rsqrt(inside)
    cube = u[0] * unit / inside
    return unit, cube * square * (2.0 * (square - 1.0) + loss) / u[1], cube * square * loss


def _magnitude_units(u: Array, centre: Array) -> Array:
    return jnp.stack([jnp.abs(u[0]), u[1] * centre, jnp.exp(u[2])])


class _Resonance(NamedTuple):
    """A resonance in the parameters that are fitted: curve, its slopes, and what it is in the user's units."""

    curve: Callable[[Array, Array], Array]
    slopes: Callable[[Array, Array], tuple[Array, ...]]
    in_units: Callable[[Array, Array], Array]


_CARTESIAN = _Resonance(_cartesian, _cartesian_slopes, _polar)
_MAGNITUDE = _Resonance(magnitude, _magnitude_slopes, _magnitude_units)


def _fitted(of: _Resonance, frequency: Array, values: Array, sigma: ArrayLike | None, options: dict[str, Any]) -> Fit:
    sigma = None if sigma is None else floating(sigma, "sigma")
    centre, x, start = _beginning(frequency, values)
    settings: dict[str, Any] = {"least_r_squared": 0.2, "jac": of.slopes}
    fit = curve_fit(of.curve, x, values, start, sigma, **settings | options)
    left, wider = _left(of.curve, fit, x, values, sigma, options.get("huber"))
    return _judged(transformed(_widened(fit, wider), of.in_units, centre), frequency, left)


@partial(jax.jit, static_argnames="model")
def _left(
    model: Callable[[Array, Array], Array],
    fit: Fit,
    x: Array,
    h: Array,
    sigma: ArrayLike | None,
    huber: ArrayLike | None,
) -> tuple[Array, Array]:
    """(...) bool: the fit leaves much that is not noise, which knows nothing of its neighbour and has no peak.

    Or it explains no more than fits to noise do, or not without a single bin. Also (...) by how much variances are
    larger because what is left is not noise.
    """
    parts = 2 if jnp.iscomplexobj(h) else 1

    def one(u: Array, y: Array, weight: Array) -> tuple[Array, Array]:
        there = jnp.isfinite(y)
        rest = jnp.where(there, weight * (y - jax.vmap(model, (0, None))(x, u)), 0.0)
        y = jnp.where(there, weight * y, 0.0)
        count = jnp.maximum(jnp.sum(there), 1)
        power, about = jnp.abs(rest) ** 2, jnp.abs(jnp.where(there, y - jnp.sum(y) / count, 0.0)) ** 2
        if huber is not None:  # spikes were left out, and nothing else shows them
            usual = jnp.nanmedian(jnp.where(there, power, jnp.nan))
            far = power > _REJECTED * usual
            rest, about = jnp.where(far, 0.0, rest), jnp.where(far, 0.0, about)
            power = jnp.abs(rest) ** 2
        total, gain = jnp.sum(power), about - power
        level = total / jnp.maximum(parts * count - u.shape[0], 1)
        explained = (jnp.sum(gain) > _EXPLAINED * level) & (jnp.sum(gain) - jnp.max(gain) > _BESIDE * level)
        alike = neighbour_correlation(rest)
        # The median of an exponential is ln 2 of its mean; of the square of a normal number it is 0.455 of it.
        quiet = jnp.nanmedian(jnp.where(there, power, jnp.nan)) / (math.log(2.0) if jnp.iscomplexobj(y) else 0.455)
        peaked = total > _PEAKED * quiet * count
        poor = (total > _UNEXPLAINED * jnp.sum(about)) & ((alike > _ALIKE) | peaked)
        wider = widening(alike, parts * count)
        if parts == 2:  # amplitudes of noise are not normal: their tails are alike in neighbours without a second mode
            poor = poor | ((total > LITTLE * jnp.sum(about)) & (wider > 1.0))
            poor = poor | ((total > _LEAST * jnp.sum(about)) & (alike > _SMOOTH))
        if sigma is not None:
            wider = wider * misfit(level, parts * count)
        return ~explained | poor, wider

    weight = jnp.broadcast_to(jnp.ones(()) if sigma is None else 1.0 / jnp.asarray(sigma), h.shape)
    for _ in fit.status.shape:
        one = jax.vmap(one)
    left, wider = one(fit.params, h, weight)
    return jnp.asarray(left), jnp.asarray(wider, fit.params.dtype)


@jax.jit
def _judged(fit: Fit, f: Array, left: Array) -> Fit:
    """The fit with status OUTSIDE_RANGE where the resonance is not a bin inside the band.

    And POOR_FIT where no signal stands out.
    """
    bin_width = (f[-1] - f[0]) / (f.shape[0] - 1)
    resonance = fit.params[..., 1]
    outside = ~((resonance > f[0] + bin_width) & (resonance < f[-1] - bin_width))
    faint = ~(fit.params[..., 0] > _LEAST_SIGNAL * judged(fit).std[..., 0])
    fit = refused(fit, faint | left)
    outside = outside & (fit.status != Status.BAD_INPUT)
    return fit._replace(status=jnp.where(outside, jnp.int8(Status.OUTSIDE_RANGE), fit.status))
