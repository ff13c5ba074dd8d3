"""Tunnelling spectra: derivatives of I(V), normalised conductance, the gap and its edges.

A spectrum is `bias (n,)` in V in even steps and `current (..., n)`.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from gpax_lab.core._inputs import floating, native, numbers, traced
from gpax_lab.core._status import Status
from gpax_lab.core._types import Float, Int8
from gpax_lab.spectra._scalarizer import Estimate, Scalarizer

__all__ = [
    "derivative",
    "gap",
    "gap_scalarizer",
    "normalized_conductance",
    "thermal_peak",
    "thermal_width",
]

_BOLTZMANN = 8.617333262e-5
"""eV/K, CODATA 2018."""


class _Gap(NamedTuple):
    """What `gap` returns, and describes."""

    width: Float[Array, "*batch"]
    lower: Float[Array, "*batch"]
    upper: Float[Array, "*batch"]
    width_variance: Float[Array, "*batch"]
    lower_variance: Float[Array, "*batch"]
    upper_variance: Float[Array, "*batch"]
    status: Int8[Array, "*batch"]


def derivative(
    bias: ArrayLike, current: ArrayLike, window: int = 7, order: int = 2, deriv: int = 1
) -> tuple[Float[Array, "*batch n"], Float[Array, " n"]]:
    """dI/dV (or I smoothed, d2I/dV2) by a local polynomial of least squares in a sliding window.

    At the ends, where the window does not fit, the polynomial of the outermost whole window is used.

    Args:
        bias: (n,) V in even steps, concrete.
        current: (..., n).
        window: points, odd (static).
        order: of the polynomial, below `window` (static).
        deriv: 0, 1, 2 ... up to `order` (static).

    Returns:
        (..., n) derivative, and (n,) its variance for a current of unit variance and independent noise.

    Raises:
        ValueError: an even window, one longer than the sweep, an order that does not fit, or uneven steps.

    Source: Savitzky, Golay, Anal. Chem. 36, 1627 (1964); ends after Gorry, Anal. Chem. 62, 570 (1990).
    """
    v, y = numbers(bias, "bias"), floating(current, "current")
    if v.ndim != 1 or y.shape[-1:] != v.shape:
        raise ValueError(f"bias (n,) and current (..., n); got {v.shape} and {y.shape}.")
    if window % 2 == 0 or not 0 <= deriv <= order < window <= v.size:
        raise ValueError(
            f"an odd window of at most {v.size} points, deriv <= order < window; got {window}, {order}, {deriv}."
        )
    step = (v[-1] - v[0]) / (v.size - 1)
    if step == 0 or np.abs(np.diff(v) - step).max() > 1e-3 * abs(step):
        raise ValueError(
            "the bias must go in even steps, one way: interpolate it, or split the sweep at its turning point."
        )
    matrix = _savitzky_golay(v.size, window, order, deriv) / step**deriv
    return y @ jnp.asarray(matrix.T, y.dtype), jnp.asarray((matrix**2).sum(1), y.dtype)


def _savitzky_golay(n: int, window: int, order: int, deriv: int) -> np.ndarray:
    """(n, n) matrix in units of the step."""
    half = window // 2
    t = np.arange(-half, half + 1)
    fit = np.linalg.pinv(np.vander(t, order + 1, increasing=True).astype(float))
    out = np.zeros((n, n))
    for i in range(n):
        first = min(max(i - half, 0), n - window)
        index = i - first - half
        powers = [
            0.0 if k < deriv else np.prod(np.arange(k, k - deriv, -1.0)) * float(index) ** (k - deriv)
            for k in range(order + 1)
        ]
        out[i, first : first + window] = np.array(powers) @ fit
    return out


def normalized_conductance(
    bias: ArrayLike, current: ArrayLike, conductance: ArrayLike, broadening: ArrayLike
) -> Float[Array, "*batch n"]:
    """(dI/dV) / (I/V), the total conductance broadened so that it does not vanish in a gap.

    I/V -> smoothed over V with the width of `broadening`: G(V) = sum_V' |I/V|(V') exp(-|V - V'|/b) / sum exp(...), and
    sqrt(G^2 + c^2) with c the conductance b sees at its largest, times 1e-3.

    Args:
        bias: (n,) V.
        current: (..., n).
        conductance: (..., n) dI/dV, from a lock-in or `derivative`, in the unit of current per V.
        broadening: b, V: about the gap.

    Returns:
        (..., n), 1 for an ohmic junction.

    Source: Stroscio, Feenstra, Fein, Phys. Rev. Lett. 57, 2579 (1986); Feenstra, Phys. Rev. B 50, 4561 (1994) (b).
    """
    v, i, slope = floating(bias, "bias", missing=False), floating(current, "current"), floating(conductance)
    v, b = v.astype(i.dtype), jnp.asarray(broadening, i.dtype)
    if v.ndim != 1 or i.shape[-1:] != v.shape or slope.shape != i.shape:
        raise ValueError(f"bias (n,), current and conductance (..., n); got {v.shape}, {i.shape}, {slope.shape}.")
    zero = jnp.abs(v) < 1e-6 * jnp.max(jnp.abs(v))
    ratio = jnp.where(zero, 0.0, 1.0 / jnp.where(zero, 1.0, v))
    total = jnp.abs(i * ratio.reshape((1,) * (i.ndim - 1) + v.shape))
    kernel = jnp.exp(-jnp.abs(v[:, None] - v[None]) / b) * ~zero[None]
    kernel = kernel / jnp.sum(kernel, axis=1, keepdims=True)
    broadened = total @ kernel.T
    floor = 1e-3 * jnp.max(broadened, axis=-1, keepdims=True)
    return slope / jnp.sqrt(broadened**2 + floor**2)


def gap(
    bias: ArrayLike, conductance: ArrayLike, threshold: ArrayLike, sigma: ArrayLike, window: int = 1, order: int = 2
) -> _Gap:
    """Edges where the conductance first rises above a threshold on either side of zero bias, between points linearly.

    var V_edge = sigma^2 ((1 - f)^2 + f^2 + 2 f (1 - f) rho) / slope^2 for a crossing at fraction f of a step, rho the
    correlation that smoothing leaves between neighbours, and the slope taken over the window of the smoothing;
    var width = the sum of both edges.

    Args:
        bias: (n,) V, rising.
        conductance: (..., n), smoothed (`derivative`).
        threshold: () or (...) conductance; five sigma or more above the floor in the gap: at three, spikes of the noise
            are taken for edges, most of them THRESHOLD_RECROSSED, and the scatter is 1.4 times what is stated.
        sigma: () standard deviation of the conductance; measure it in the gap.
        window, order: of the `derivative` that made the conductance (static); 1 where noise of neighbours is
            independent, as from a lock-in.

    Returns:
        Each of shape (...), NaN where the status is not OK: width V, upper less lower edge; lower and upper V;
        width_variance, lower_variance and upper_variance V^2, from the noise of the conductance; status, int8 code of
        `Status`.

    Raises:
        ValueError: a bias that does not rise.
    """
    y = floating(conductance, "conductance")
    if not traced(bias) and np.any(np.diff(native(bias, "bias", missing=False)) <= 0):
        raise ValueError("the bias must rise; for a sweep downwards pass bias[::-1] and conductance[..., ::-1].")
    v = floating(bias, "bias", missing=False).astype(y.dtype)
    if v.ndim != 1 or y.shape[-1:] != v.shape:
        raise ValueError(f"bias (n,) and conductance (..., n); got {v.shape} and {y.shape}.")
    limit = jnp.broadcast_to(floating(threshold, "threshold").astype(y.dtype), y.shape[:-1]).ravel()
    noise = floating(sigma, "sigma").astype(y.dtype)
    found = _gaps(v, y.reshape(-1, y.shape[-1]), limit, noise, window // 2, _neighbours(window, order))
    return jax.tree.map(lambda leaf: leaf.reshape(y.shape[:-1]), found)


def _neighbours(window: int, order: int) -> float:
    """Correlation of the first derivative at two neighbouring points that a local polynomial leaves."""
    if window < 3:
        return 0.0
    weights = _savitzky_golay(2 * window, window, order, 1)[window : window + 2]
    return float(weights[0] @ weights[1] / (weights[0] @ weights[0]))


@partial(jax.jit, static_argnames=("reach", "rho"))
def _gaps(v: Array, y: Array, limit: Array, noise: Array, reach: int, rho: float) -> _Gap:
    return jax.vmap(lambda row, level: _gap(v, noise, row, level, reach, rho))(y, limit)


def _gap(v: Array, noise: Array, y: Array, limit: Array, reach: int, rho: float) -> _Gap:
    high, n = y > limit, v.size
    middle = jnp.argmin(jnp.abs(v))
    index = jnp.arange(n)
    right = jnp.min(jnp.where(high & (index >= middle), index, n))
    left = jnp.max(jnp.where(high & (index <= middle), index, -1))

    def crossing(inner: Array, outer: Array) -> tuple[Array, Array]:
        inner, outer = jnp.clip(inner, 0, n - 1), jnp.clip(outer, 0, n - 1)
        rise = jnp.where(y[outer] > y[inner], y[outer] - y[inner], jnp.nan)
        f = (limit - y[inner]) / rise
        step = v[outer] - v[inner]
        # The rise between two noisy points is a poor slope: one over the window of the smoothing is taken.
        away = jnp.where(outer > inner, reach, -reach)
        far, near = jnp.clip(outer + away, 0, n - 1), jnp.clip(inner - away, 0, n - 1)
        slope = (y[far] - y[near]) / (v[far] - v[near])
        return v[inner] + f * step, (noise / slope) ** 2 * ((1.0 - f) ** 2 + f**2 + 2.0 * f * (1.0 - f) * rho)

    upper, upper_variance = crossing(right - 1, right)
    lower, lower_variance = crossing(left + 1, left)
    # Within the noise of the threshold a rising conductance may dip below it; two deviations below, it has not risen.
    again = jnp.any((y < limit - 2.0 * noise) & ((index > right) | (index < left)))
    status = Status.worst(
        (~jnp.all(jnp.isfinite(y)), Status.BAD_INPUT),
        (high[middle], Status.NO_GAP),
        ((right == n) | (left < 0), Status.OUTSIDE_RANGE),
        (again, Status.THRESHOLD_RECROSSED),
    )
    values = (upper - lower, lower, upper, lower_variance + upper_variance, lower_variance, upper_variance)
    w, lo, up, w_var, lo_var, up_var = (jnp.where(status == Status.OK, value, jnp.nan) for value in values)
    return _Gap(w, lo, up, w_var, lo_var, up_var, status)


def gap_scalarizer(threshold: ArrayLike, sigma: ArrayLike, window: int = 1, order: int = 2) -> Scalarizer:
    """Width of the gap: a `Scalarizer` of the arrays "bias" and "conductance"; arguments as in `gap`.

    Args:
        threshold, sigma, window, order: of `gap`.

    Returns:
        A `Scalarizer` in the unit of the bias.
    """

    def function(bias: ArrayLike, conductance: ArrayLike) -> Estimate:
        found = gap(bias, conductance, threshold, sigma, window, order)
        return Estimate(found.width, found.width_variance, found.status)

    return Scalarizer("gap", function, ("bias", "conductance"), "{bias}")


def thermal_peak(v: Array, p: Array) -> Array:
    """p0 sech^2((v - p1) / p2) + p3 + p4 (v - p1): a sharp level seen through the Fermi edge of the tip.

    For `curve_fit`; p2 = 2 k_B T / e, in V, where temperature alone broadens: `thermal_width`.

    Args:
        v: () V.
        p: (5,) height, centre (V), width (V), offset and slope.

    Returns:
        ().

    Source: Tersoff, Hamann, Phys. Rev. B 31, 805 (1985), with the derivative of the Fermi function, sech^2(eV/2kT)/4kT.
    """
    decay = jnp.exp(-2.0 * jnp.abs((v - p[1]) / p[2]))  # cosh would overflow in single precision
    return p[0] * 4.0 * decay / (1.0 + decay) ** 2 + p[3] + p[4] * (v - p[1])


def thermal_width(temperature: ArrayLike) -> Float[Array, "*shape"]:
    """2 k_B T / e in V for T in K.

    Args:
        temperature: K, of any shape.

    Returns:
        V.
    """
    return 2.0 * _BOLTZMANN * floating(temperature, "temperature")
