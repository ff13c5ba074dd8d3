"""Electron energy loss: power-law background, counts of edges, zero-loss alignment.

A spectrum is `energy (n,)` in eV, positive and even in steps, and `counts (..., n)`; windows are (low, high) in eV and
hold the channels low <= E < high. Fits of peaks are in `gpax_lab.spectra.peaks`.
"""

from __future__ import annotations

import functools
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.typing import ArrayLike

from gpax_lab.core._inputs import floating, native
from gpax_lab.core._status import Status
from gpax_lab.core._types import Float, Int8
from gpax_lab.spectra._scalarizer import Estimate, Scalarizer, checked

__all__ = [
    "Background",
    "background",
    "edge",
    "edge_ratio",
    "edge_scalarizer",
    "power_law",
]

_STEPS = 12
"""Scoring steps of the Poisson fit: quadratic convergence from the log-log start; more do not move a good fit."""

_POOR = 6.0
"""Standard deviations of chi^2 above 1 from which a background is a poor fit."""

_DOUBTS = (Status.OK, Status.POOR_FIT, Status.RISING_BACKGROUND, Status.EMPTY_CHANNELS)
"""Statuses of a background under which the counts of an edge are stated."""

_LEAST_EDGE = 4.0
"""Counts of an edge over their standard deviation from which something may be divided by them. Of 1,000 tails of few
counts without an edge 9 had one of 3: extrapolation is not quite linear in its parameters."""

_Window = tuple[float, float]


class Background(NamedTuple):
    """b(E) = exp(log_amplitude) (E / reference)^-exponent counts per channel; of batch shape (...).

    Attributes:
        log_amplitude: (...) logarithm of the counts of a channel at the reference energy.
        exponent: (...) r.
        covariance: (..., 2, 2) of (log_amplitude, exponent).
        chi_square: (...) sum (y - b)^2 / (gain b) over the fit window, per degree of freedom: 1 for a good fit.
        reference: () eV, inside the fit window: there the two are nearly independent.
        status: (...) int8 code of `Status`.
    """

    log_amplitude: Float[Array, "*batch"]
    exponent: Float[Array, "*batch"]
    covariance: Float[Array, "*batch 2 2"]
    chi_square: Float[Array, "*batch"]
    reference: Float[Array, ""]
    status: Int8[Array, "*batch"]


class _Edge(NamedTuple):
    """What `edge` returns, and describes."""

    counts: Float[Array, "*batch"]
    variance: Float[Array, "*batch"]
    background: Float[Array, "*batch"]
    status: Int8[Array, "*batch"]


def power_law(
    energy: ArrayLike, counts: ArrayLike, window: _Window, method: str = "log", gain: ArrayLike = 1.0
) -> Background:
    """Fit A E^-r below an edge.

    "log": least squares of log counts against log E, all channels with counts alike (the usual fit; biased where counts
    are few). "poisson": maximum likelihood for Poisson counts by Fisher scoring, unbiased down to single counts.

    Args:
        energy: (n,) eV.
        counts: (..., n) detector counts.
        window: (low, high) eV of the fit: the channels low <= E < high.
        method: "log" or "poisson" (static).
        gain: detector counts per electron: the variance of counts y is gain y.

    Returns:
        `Background`; covariance from Poisson statistics, for "log" by the sandwich of its weights.

    Raises:
        ValueError: an energy axis that is not positive, a window with fewer than three channels, an unknown method.

    Source: Egerton, Electron Energy-Loss Spectroscopy in the Electron Microscope, 3rd ed. (2011), section 4.4.
    """
    if method not in ("log", "poisson"):
        raise ValueError(f'method is "log" or "poisson"; got {method!r}.')
    x, y = _axes(energy, counts)
    inside = _window(energy, window, 3)
    return _power_law(x, y, inside, jnp.asarray(gain, y.dtype), method)


@partial(jax.jit, static_argnames="method")
def _power_law(x: Array, y: Array, inside: Array, gain: Array, method: str) -> Background:
    low, high = jnp.min(jnp.where(inside, x, jnp.inf)), jnp.max(jnp.where(inside, x, 0.0))
    reference = jnp.sqrt(low * high)
    # Outside the window an energy may be anything: the reference stands in for it.
    log_energy = jnp.where(inside, jnp.log(jnp.where(inside, x, reference) / reference), 0.0)
    fit = jax.vmap(lambda row: _fit_one(log_energy, row, inside, gain, method))(y.reshape(-1, y.shape[-1]))
    params, covariance, chi, status = (leaf.reshape(y.shape[:-1] + leaf.shape[1:]) for leaf in fit)
    return Background(params[..., 0], params[..., 1], covariance, chi, reference, status)


def _fit_one(log_energy: Array, y: Array, inside: Array, gain: Array, method: str) -> tuple[Array, Array, Array, Array]:
    finite = jnp.all(jnp.isfinite(y) | ~inside)
    y = jnp.where(inside & jnp.isfinite(y), y, 0.0)
    there = inside & (y > 0)
    logs = jnp.log(jnp.where(there, y, 1.0))
    weight = there.astype(y.dtype)
    start = _solve(*_moments(log_energy, weight, logs))
    if method == "log":
        params = start
        inverse = _inverse(_moments(log_energy, weight, logs)[0])
        spread = gain * weight / jnp.where(there, jnp.exp(start[0] - start[1] * log_energy), 1.0)
        covariance = inverse @ _moments(log_energy, spread, logs)[0] @ inverse
    else:
        used = inside.astype(y.dtype)

        def step(p: Array, _) -> tuple[Array, None]:
            mean = used * jnp.exp(jnp.clip(p[0] - p[1] * log_energy, -60.0, 60.0))
            working = p[0] - p[1] * log_energy + (y - mean) / jnp.where(mean > 0, mean, 1.0)
            return _solve(*_moments(log_energy, mean, working)), None

        total = jnp.sum(y) / jnp.maximum(jnp.sum(used), 1.0)
        flat = jnp.stack([jnp.log(jnp.maximum(total, 1e-30)), jnp.zeros((), y.dtype)])
        begin = jnp.where(jnp.sum(y) > 10 * gain * jnp.sum(used), start, flat)  # logs of a few counts mislead
        params, _ = lax.scan(step, begin, None, length=_STEPS)
        mean = used * jnp.exp(jnp.clip(params[0] - params[1] * log_energy, -60.0, 60.0))
        covariance = gain * _inverse(_moments(log_energy, mean, logs)[0])
        score = jnp.stack([jnp.sum(y - mean), jnp.sum((y - mean) * log_energy)])
        # In units of the score's own standard deviation; but rounding of the counts leaves some of it.
        rounding = (4.0 * jnp.finfo(y.dtype).eps * jnp.maximum(1.0, jnp.abs(params[0]))) ** 2 * jnp.sum(mean) / gain
        converged = score @ covariance @ score < gain**2 * jnp.maximum(1e-4, rounding)
        params = jnp.where(converged, params, jnp.nan)
    good = jnp.all(jnp.isfinite(params)) & jnp.all(jnp.isfinite(covariance))
    few = jnp.sum(there) < 3
    free = jnp.maximum(jnp.sum(inside) - 2, 1).astype(y.dtype)
    below = jnp.exp(jnp.clip(params[0] - params[1] * log_energy, -60.0, 60.0))
    chi = jnp.sum(jnp.where(inside, (y - below) ** 2 / (gain * below), 0.0)) / free
    # sum (y - b)^2 / b of Poisson counts varies by 2 n + sum 1/b.
    spread = jnp.sqrt(2.0 * free + jnp.sum(jnp.where(inside, gain / below, 0.0))) / free
    empty = (method == "log") & (jnp.sum(there) < jnp.sum(inside))
    status = Status.worst(
        (~finite, Status.BAD_INPUT),
        (few, Status.NO_COUNTS),
        (~good, Status.NOT_CONVERGED),
        (empty, Status.EMPTY_CHANNELS),
        (params[1] <= 0, Status.RISING_BACKGROUND),
        (chi > 1.0 + _POOR * spread, Status.POOR_FIT),
    )
    return params, covariance, chi, status


def _moments(log_energy: Array, weight: Array, target: Array) -> tuple[Array, Array]:
    """X^T W X (2, 2) and X^T W t (2,) with the columns 1 and -log_energy."""
    w0, w1, w2 = jnp.sum(weight), -jnp.sum(weight * log_energy), jnp.sum(weight * log_energy**2)
    right = jnp.stack([jnp.sum(weight * target), -jnp.sum(weight * log_energy * target)])
    return jnp.stack([jnp.stack([w0, w1]), jnp.stack([w1, w2])]), right


def _inverse(a: Array) -> Array:
    det = a[0, 0] * a[1, 1] - a[0, 1] ** 2
    adjugate = jnp.stack([jnp.stack([a[1, 1], -a[0, 1]]), jnp.stack([-a[0, 1], a[0, 0]])])
    return adjugate / jnp.where(det > 0, det, jnp.nan)


def _solve(a: Array, b: Array) -> Array:
    return _inverse(a) @ b


def background(energy: ArrayLike, fit: Background) -> Float[Array, "*batch n"]:
    """The background (..., n) in counts per channel at energies (n,) in eV.

    Args:
        energy: (n,) eV.
        fit: of `power_law`, batch (...).

    Returns:
        (..., n) counts per channel.
    """
    x = jnp.log(floating(energy, "energy").astype(fit.exponent.dtype) / fit.reference)
    x = x.reshape((1,) * fit.exponent.ndim + x.shape)
    return jnp.exp(fit.log_amplitude[..., None] - fit.exponent[..., None] * x)


def edge(
    energy: ArrayLike,
    counts: ArrayLike,
    fit_window: _Window,
    window: _Window,
    method: str = "log",
    gain: ArrayLike = 1.0,
) -> _Edge:
    """Counts of an edge: I = sum over the window of counts - b(E).

    var I = gain sum y + (db/dp)^T C (db/dp), p the two parameters of the background: the second term is what
    extrapolation costs, (h - 1) I_b in Egerton's notation, h growing as the windows part.

    Args:
        energy: (n,) eV.
        counts: (..., n).
        fit_window: (low, high) eV below the edge.
        window: (low, high) eV above it.
        method, gain: of `power_law`.

    Returns:
        Each of shape (...), NaN where the fit failed: counts above the background, their variance, counts of the
        background below them, and status, int8 code of `Status`. POOR_FIT, RISING_BACKGROUND and EMPTY_CHANNELS are
        doubts: the counts are there, and the scalarizers take them for failed measurements.

    Raises:
        ValueError: as `power_law`, or windows that overlap.

    Source: Egerton (2011), section 4.4.4 (h); the variance here is the delta method for the fit as it was made.
    """
    x, y = _axes(energy, counts)
    if window[0] < fit_window[1] and fit_window[0] < window[1]:
        raise ValueError(f"the windows {fit_window} and {window} overlap: the edge would count as background.")
    inside = _window(energy, window, 1)
    return _edge(x, y, power_law(energy, y, fit_window, method, gain), inside, jnp.asarray(gain, y.dtype))


@jax.jit
def _edge(x: Array, y: Array, fit: Background, inside: Array, gain: Array) -> _Edge:
    reference = jnp.where(inside, x, fit.reference)
    below = jnp.where(inside, background(reference, fit), 0.0)
    total = jnp.sum(jnp.where(inside, y, 0.0), axis=-1)
    log_energy = jnp.log(reference / fit.reference).reshape((1,) * fit.exponent.ndim + x.shape)
    slope = jnp.stack([jnp.sum(below, axis=-1), -jnp.sum(below * log_energy, axis=-1)], axis=-1)
    spread = jnp.sum(slope[..., :, None] * fit.covariance * slope[..., None, :], axis=(-2, -1))
    variance = gain * jnp.maximum(total, 1.0) + spread
    under = jnp.sum(below, axis=-1)
    status = jnp.where(jnp.isfinite(total) & jnp.any(inside), fit.status, jnp.int8(Status.BAD_INPUT))
    stated = functools.reduce(jnp.logical_or, [status == doubt for doubt in _DOUBTS])
    good = stated & jnp.isfinite(variance)
    values = [jnp.where(good, v, jnp.nan) for v in (total - under, variance, under)]
    last = jnp.where(good | ~stated, status, jnp.int8(Status.NOT_CONVERGED)).astype(jnp.int8)
    return _Edge(values[0], values[1], values[2], last)


def edge_scalarizer(fit_window: _Window, window: _Window, **options) -> Scalarizer:
    """Counts of an edge: a `Scalarizer` of the arrays "energy" and "counts"; arguments as in `edge`.

    Args:
        fit_window, window, **options: of `edge`.

    Returns:
        A `Scalarizer` in the unit of the counts.
    """

    def function(energy: ArrayLike, counts: ArrayLike) -> Estimate:
        found = edge(energy, counts, fit_window, window, **options)
        return checked(found.counts, found.variance, found.status, found.status == Status.OK)

    return Scalarizer("counts of an edge", function, ("energy", "counts"), "{counts}")


def edge_ratio(first: tuple[_Window, _Window], second: tuple[_Window, _Window], **options) -> Scalarizer:
    """Ratio of the counts of two edges, each a (fit window, window): a `Scalarizer` of "energy" and "counts".

    A failed measurement, with status NO_SIGNAL, where the second edge is not there (4 standard deviations).

    Args:
        first, second: (fit window, window) of each edge, eV.
        **options: of `edge`.

    Returns:
        A `Scalarizer` without unit.
    """

    def function(energy: ArrayLike, counts: ArrayLike) -> Estimate:
        a, b = (edge(energy, counts, *pair, **options) for pair in (first, second))
        ratio = a.counts / b.counts
        variance = (a.variance + ratio**2 * b.variance) / b.counts**2
        there = b.counts > _LEAST_EDGE * jnp.sqrt(b.variance)
        status = Status.worst_of(a.status, b.status)
        status = jnp.where((status == Status.OK) & ~there, jnp.int8(Status.NO_SIGNAL), status)
        return checked(ratio, variance, status, status == Status.OK)

    return Scalarizer("ratio of two edges", function, ("energy", "counts"))


def _axes(energy: ArrayLike, counts: ArrayLike) -> tuple[Array, Array]:
    y = floating(counts, "counts")
    x = floating(energy, "energy", missing=False).astype(y.dtype)
    if x.ndim != 1 or y.shape[-1:] != x.shape:
        raise ValueError(f"energy is (n,) and counts (..., n); got {x.shape} and {y.shape}.")
    return x, y


def _window(energy: ArrayLike, window: _Window, least: int) -> Array:
    """Channels of a window; checked wherever the energies are known, also under jit."""
    low, high = window
    x = energy if isinstance(energy, jax.core.Tracer) else native(energy, "energy", missing=False)
    inside = (x >= low) & (x < high)
    if not isinstance(energy, jax.core.Tracer):
        count = int(np.sum(inside))
        if count < least or low <= 0:
            raise ValueError(
                f"the window {window} eV holds {count} channels; {least} or more at energies above 0 are needed."
            )
    return jnp.asarray(inside)
