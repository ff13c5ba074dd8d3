"""Closed-form estimates of the oscillator's numbers, from which the fits of `gpax_lab.spectra.sho` begin."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from gpax_lab.core._inputs import floating, inexact
from gpax_lab.core._linalg import in_chunks
from gpax_lab.core._types import Float
from gpax_lab.spectra._fit import normal_solve

LEAST_Q, MOST_Q = 1.0, 1e6
"""Q outside of which a closed-form estimate is not believed: no cantilever is there."""


def sho_start(frequency: ArrayLike, spectrum: ArrayLike) -> Float[Array, "*batch p"]:
    """Closed-form estimate (..., 4) from complex spectra (..., n): amplitude, resonance, Q, phase.

    H (f^2 - i f g - k) = c with g = f0 / Q, k = f0^2 and c = A e^{i phi} f0^2 is linear in (g, k, c). It is weighted by
    |H|, which undoes the factor that the equation puts on the noise, so the estimate is nearly that of least squares
    (the weighting of Sanathanan and Koerner, IEEE Trans. Autom. Control 8, 56 (1963), with the data as first model).
    Where it makes no sense (k or g not positive) the highest bin and the width of the peak are used.

    Args:
        frequency: (n,) Hz, increasing.
        spectrum: (..., n), complex or amplitudes.

    Returns:
        (..., 4), or (..., 3) without the phase.
    """
    return start_of(*inputs(frequency, spectrum, complex_values=True))


def inputs(frequency: ArrayLike, spectrum: ArrayLike, complex_values: bool) -> tuple[Array, Array]:
    """The frequencies (n,) and spectra (..., n) as arrays, checked."""
    f, h = floating(frequency, "frequency", missing=False), inexact(spectrum, "the spectra")
    if jnp.iscomplexobj(h) != complex_values:
        raise ValueError("complex spectra go to `sho_fit`, amplitudes to `sho_amplitude_fit`.")
    if f.ndim != 1 or h.ndim < 1 or h.shape[-1] != f.shape[0] or f.shape[0] < 4:
        raise ValueError(f"frequency must be (n,) with n >= 4 and the spectra (..., n); got {f.shape} and {h.shape}.")
    return f.astype(jnp.finfo(h.dtype).dtype), h


def start_of(f: Array, spectra: Array) -> Array:
    """(..., 4) from complex and (..., 3) from amplitude spectra."""
    one = _start_of_one if jnp.iscomplexobj(spectra) else _start_of_amplitude
    return jnp.asarray(_apply(one, f, spectra))


@partial(jax.jit, static_argnames="function")
def _apply(function, f: Array, spectra: Array) -> Array:
    flat = in_chunks(jax.vmap(partial(function, f)), spectra.reshape(-1, f.shape[0]), 512)
    return flat.reshape(*spectra.shape[:-1], -1)


def _start_of_one(f: Array, h: Array) -> Array:
    """(4,) estimate of one spectrum; frequencies are scaled by their mean m, and 1 is taken from k to keep digits.

    The normal equations in sums: with weights w = |h|^2, the drive c eliminated and x^2 - 1 for f^2, two remain.
    """
    centre = jnp.mean(f)
    x = f / centre
    a, b, there, scale = _parts(h)
    w = a * a + b * b
    moments = jnp.stack([jnp.ones_like(x), x, x * x, x * x - 1.0], axis=1)
    w0, _, _, _ = w @ moments
    a0, a1, _, a2 = (w * a) @ moments
    b0, b1, _, b2 = (w * b) @ moments
    p0, _, p2, p3 = (w * w) @ moments
    w0 = jnp.where(w0 > 0, w0, 1.0)
    gg, gk, kk = p2 - (a1**2 + b1**2) / w0, (b1 * a0 - a1 * b0) / w0, p0 - (a0**2 + b0**2) / w0
    rg, rk = (b1 * a2 - a1 * b2) / w0, p3 - (a0 * a2 + b0 * b2) / w0
    det = gg * kk - gk**2
    safe = jnp.where(det > 0, det, 1.0)
    width, shift = (kk * rg - gk * rk) / safe, (gg * rk - gk * rg) / safe
    resonance = jnp.sqrt(jnp.maximum(1.0 + shift, 1e-6))
    q = resonance / jnp.where(width > 0, width, 1.0)
    good = (det > 0) & (width > 0) & (1.0 + shift > 0) & _plausible(resonance, q, x)
    peak, q_peak = _peak(x, w)
    resonance, q = jnp.where(good, resonance, peak), jnp.where(good, q, q_peak)
    # The drive for this resonance and Q by projection: also right where the linear estimate was not.
    real, imag, gain = unit_response(x, resonance, 1.0 / q)
    real, imag, one = real * there, imag * there, jnp.ones_like(x)
    power = (gain * there) @ one
    power = jnp.where(power > 0, power, 1.0)
    cosine, sine = (real * a + imag * b) @ one / power, (real * b - imag * a) @ one / power
    return jnp.stack([jnp.hypot(cosine, sine) * scale, resonance * centre, q, jnp.arctan2(sine, cosine)])


def _parts(h: Array) -> tuple[Array, Array, Array, Array]:
    """Real and imaginary part over the largest of them (0 where missing), 1 where there is a value, and the scale."""
    there = jnp.isfinite(h.real) & jnp.isfinite(h.imag)
    a, b = jnp.where(there, h.real, 0.0), jnp.where(there, h.imag, 0.0)
    scale = jnp.maximum(jnp.max(jnp.abs(a)), jnp.max(jnp.abs(b)))
    scale = jnp.where(scale > 0, scale, 1.0)
    return a / scale, b / scale, there.astype(a.dtype), scale


def _start_of_amplitude(f: Array, a: Array) -> Array:
    """(3,) estimate of one amplitude spectrum."""
    centre = jnp.mean(f)
    x = f / centre
    a = jnp.where(jnp.isfinite(a), jnp.abs(a), 0.0)
    scale = jnp.max(a)
    a = a / jnp.where(scale > 0, scale, 1.0)
    t = x**2 - 1.0  # the parabola about the middle of the band, to keep digits
    rows = jnp.stack([jnp.ones_like(t), t, t**2]) * a[None] ** 3
    p0, p1, p2 = normal_solve(rows @ rows.T, rows @ a)
    vertex = -0.5 * p1 / jnp.where(p2 > 0, p2, 1.0)  # of f^2 - 1: f0^2 (1 - 1 / 2 Q^2) - 1
    at_zero = p0 - p1 + p2  # 1 / A^2
    resonance = jnp.sqrt(jnp.sqrt(jnp.maximum(at_zero / jnp.where(p2 > 0, p2, 1.0), 1e-12)))
    inverse = 2.0 * (1.0 - (vertex + 1.0) / resonance**2)  # 1 / Q^2
    q = 1.0 / jnp.sqrt(jnp.where(inverse > 0, inverse, 1.0))
    good = (p2 > 0) & (at_zero > 0) & (inverse > 0) & _plausible(resonance, q, x)
    peak, q_peak = _peak(x, a * a)
    resonance, q = jnp.where(good, resonance, peak), jnp.where(good, q, q_peak)
    basis = magnitude(x, (1.0, resonance, jnp.log(q))) * (a > 0)
    return jnp.stack([basis @ a / jnp.sum(basis**2) * scale, resonance * centre, q])


def _plausible(resonance: Array, q: Array, x: Array) -> Array:
    """Whether an estimate lies within a band's width of the band and its Q is that of an oscillator."""
    band = x[-1] - x[0]
    inside = (resonance > x[0] - band) & (resonance < x[-1] + band)
    return inside & (q > LEAST_Q) & (q < MOST_Q)


def _peak(x: Array, power: Array) -> tuple[Array, Array]:
    """The highest bin, and Q from the number of bins above half of its power."""
    highest = x[jnp.argmax(power)]
    bins = jnp.maximum(jnp.sum(power > 0.5 * jnp.max(power)), 1)
    return highest, highest / (bins * (x[-1] - x[0]) / (x.shape[0] - 1))


def unit_response(x: Array, resonance: Array, loss: Array) -> tuple[Array, Array, Array]:
    """Real part, imaginary part and square of 1 / (r^2 - 1 - i r loss) with r = x / resonance.

    In real numbers: a division of complex ones is guarded against overflow and several times slower.
    """
    ratio = x / resonance
    stiff, lossy = ratio * ratio - 1.0, ratio * loss
    gain = 1.0 / (stiff * stiff + lossy * lossy)
    return gain * stiff, gain * lossy, gain


def magnitude(x: Array, u) -> Array:
    """|H| at frequency x for u = (amplitude, resonance, log Q)."""
    square = jnp.square(x / u[1])
    return u[0] / jnp.sqrt(jnp.square(square - 1.0) + square * jnp.exp(-2.0 * u[2]))
