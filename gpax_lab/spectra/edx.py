"""Energy-dispersive X-ray spectra: intensities of known lines from few counts, by maximum likelihood.

The model of a spectrum is counts ~ Poisson(sum_j a_j S_j(E)), a_j >= 0: unit-area lines and a few smooth shapes of the
bremsstrahlung. Energies in keV.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.scipy.special import erf
from jax.typing import ArrayLike

from gpax_lab.core._inputs import floating, native, traced
from gpax_lab.core._linalg import cholesky, solve_lower, solve_upper
from gpax_lab.core._status import Status
from gpax_lab.core._types import Float, Int8
from gpax_lab.spectra._scalarizer import Estimate, Scalarizer, checked

__all__ = [
    "Lines",
    "fit_lines",
    "line_scalarizer",
    "line_width",
]

LINES: Mapping[str, float | tuple[tuple[float, float], ...]] = {
    "O K": 0.525,
    "Fe L": 0.705,
    "Na K": 1.041,
    "Mg K": 1.254,
    "Al K": 1.487,
    "Si K": 1.740,
    "S K": 2.307,
    "K K": ((3.313, 1.0), (3.590, 0.11)),
    "Ca K": ((3.690, 1.0), (4.013, 0.13)),
    "Ti K": ((4.509, 1.0), (4.932, 0.13)),
    "Mn K": ((5.895, 1.0), (6.490, 0.13)),
    "Fe K": ((6.400, 1.0), (7.058, 0.13)),
    "Cu K": ((8.041, 1.0), (8.905, 0.13)),
}
"""keV, K-alpha (from potassium on the mean of its doublet, two to one) with K-beta at its usual share, which would
otherwise be taken for the next element but one: K-beta of Mn lies at Fe. X-ray Data Booklet (LBNL, 2009), tables 1-2
and 1-3; "Fe L" is L-alpha. Shares change by a few percent with the detector's window and the specimen's thickness."""

_POOR = 6.0
"""Standard deviations of Pearson's sum above its mean from which a fit is poor."""

_PAIR = 3.65e-3
"""keV per electron-hole pair in silicon: Knoll, Radiation Detection and Measurement, 4th ed., ch. 11."""
_FANO = 0.115
"""Fano factor of silicon: Alig, Bloom, Struck, Phys. Rev. B 22, 5565 (1980)."""
_MN_K = 5.895
"""keV, Mn K-alpha, mean of the doublet: the line at which ISO 15632 states a detector's resolution."""


class Lines(NamedTuple):
    """Of batch shape (...).

    Attributes:
        counts: (..., m) counts of each component, lines first and then the background.
        covariance: (..., m, m) inverse of the Fisher information; a bound where an intensity is 0.
        deviance: (...) of the fit; at few counts a channel it is not chi^2, so compare pixels with each other.
        status: (...) int8 code of `Status`.
    """

    counts: Float[Array, "*batch m"]
    covariance: Float[Array, "*batch m m"]
    deviance: Float[Array, "*batch"]
    status: Int8[Array, "*batch"]


def line_width(energy: ArrayLike, mn_fwhm: ArrayLike = 0.130) -> Float[Array, "*shape"]:
    """Full width at half maximum, keV: w(E)^2 = w_Mn^2 + 8 ln2 F eps (E - E_Mn).

    Args:
        energy: keV.
        mn_fwhm: keV, the detector's width at Mn K-alpha.

    Source: Fiori, Newbury, Scanning Electron Microsc. 1, 401 (1978); Knoll, ch. 11 (F, eps).
    """
    squared = floating(mn_fwhm, "mn_fwhm") ** 2 + 8.0 * jnp.log(2.0) * _FANO * _PAIR * (
        floating(energy, "energy") - _MN_K
    )
    return jnp.sqrt(jnp.maximum(squared, 1e-4**2))


def shapes(
    energy: ArrayLike,
    lines: Mapping[str, float | tuple[tuple[float, float], ...]],
    mn_fwhm: ArrayLike = 0.130,
    terms: int = 4,
) -> Float[Array, "m n"]:
    """Components (m, n), each of sum 1 over the axis: lines, then the background.

    Lines are Gaussians integrated over the channels. The background is `terms` Bernstein polynomials in log E,
    which are positive, so that a non-negative sum of them is.

    Args:
        energy: (n,) keV, channel centres, even steps.
        lines: name -> energy in keV, or ((energy, weight), ...) for a family such as K-alpha and K-beta.
        mn_fwhm: keV.
        terms: of the background.

    Raises:
        ValueError: no positive axis, no line, or a line off the axis.
    """
    x = floating(energy, "energy", missing=False).astype(jnp.result_type(float))
    if x.ndim != 1 or x.size < 2 or float(x[0]) <= 0 or not lines or terms < 0:
        raise ValueError("energy is (n,), rising and positive (cut the channels below 0 keV), with one line or more.")
    families = [v if isinstance(v, tuple) else ((v, 1.0),) for v in lines.values()]
    ends = float(x[0]), float(x[-1])
    off = [name for name, f in zip(lines, families, strict=True) if not all(ends[0] < e < ends[1] for e, _ in f)]
    if off:
        raise ValueError(
            f"the lines {off} lie off the axis, {float(x[0]):.3g} to {float(x[-1]):.3g} keV; leave them out."
        )
    borders = jnp.concatenate([x - 0.5 * (x[1] - x[0]), x[-1:] + 0.5 * (x[1] - x[0])])
    rows = [sum(w * _line(borders, e, line_width(e, mn_fwhm)) for e, w in family) for family in families]
    t = jnp.clip(jnp.log(x / x[0]) / jnp.log(x[-1] / x[0]), 0.0, 1.0)
    rows += [t**k * (1.0 - t) ** (terms - 1 - k) for k in range(terms)]
    return jnp.stack([row / jnp.sum(row) for row in rows])


def _line(borders: Array, energy: float, fwhm: Array) -> Array:
    sigma = fwhm / jnp.sqrt(8.0 * jnp.log(2.0))
    return 0.5 * jnp.diff(erf((borders - energy) / (sigma * jnp.sqrt(2.0))))


def fit_lines(counts: ArrayLike, components: ArrayLike, num_steps: int = 200) -> Lines:
    """Poisson maximum likelihood of non-negative intensities by EM: a_j <- a_j sum_E S_j y / (sum_k a_k S_k).

    Each step raises the likelihood and keeps the total counts.

    Args:
        counts: (..., n), not negative; pass whole numbers of any dtype but sum no uint8.
        components: (m, n) of `shapes`.
        num_steps: of EM (static).

    Returns:
        `Lines`.

    Raises:
        ValueError: axes of different length.

    Source: Shepp, Vardi, IEEE Trans. Med. Imaging 1, 113 (1982); Teurtrie et al., Ultramicroscopy 249, 113719 (2023).
    """
    s = floating(components, "components", missing=False)
    y = jnp.asarray(counts if traced(counts) else native(counts, "counts"))
    y = floating(y, "counts") if jnp.issubdtype(y.dtype, jnp.inexact) else y.astype(s.dtype)
    if s.ndim != 2 or y.shape[-1:] != s.shape[1:]:
        raise ValueError(f"counts (..., n) and components (m, n); got {y.shape} and {s.shape}.")
    found = _fit_all(y.reshape(-1, y.shape[-1]), s.astype(y.dtype), num_steps)
    return jax.tree.map(lambda leaf: leaf.reshape(y.shape[:-1] + leaf.shape[1:]), found)


@partial(jax.jit, static_argnames="steps")
def _fit_all(y: Array, s: Array, steps: int) -> Lines:
    tiny = jnp.finfo(y.dtype).tiny ** 0.5
    finite = jnp.all(jnp.isfinite(y) & (y >= 0), axis=-1)
    y = jnp.where(finite[:, None], y, 0.0)
    total = jnp.sum(y, axis=-1)
    mass = jnp.sum(s, axis=1)

    def step(a: Array, _) -> tuple[Array, None]:
        return a * ((y / jnp.maximum(a @ s, tiny)) @ s.T) / mass[None], None

    begin = jnp.broadcast_to(total[:, None] / s.shape[0], (y.shape[0], s.shape[0]))
    a, _ = lax.scan(step, begin, None, length=steps)
    mean = jnp.maximum(a @ s, tiny)
    deviance = 2.0 * jnp.sum(jnp.where(y > 0, y * jnp.log(jnp.where(y > 0, y, 1.0) / mean), 0.0) - (y - mean), axis=-1)
    # A mean of 0 where nothing was counted says nothing: half a count, shared by all channels, bounds the information.
    floor = jnp.maximum(mean, 0.5 / y.shape[1])
    covariance = lax.map(lambda m: _inverse((s / m[None]) @ s.T), floor)
    # Pearson's sum has the mean n and the variance 2 n + sum 1 / mean for any Poisson means.
    pearson, channels = jnp.sum((y - mean) ** 2 / floor, axis=-1), y.shape[1]
    poor = pearson > channels + _POOR * jnp.sqrt(2.0 * channels + jnp.sum(1.0 / floor, axis=-1))
    status = Status.worst((~finite, Status.BAD_INPUT), (total <= 0, Status.NO_COUNTS), (poor, Status.POOR_FIT))
    good = status != Status.BAD_INPUT
    return Lines(
        jnp.where(good[:, None], a, jnp.nan), jnp.where(good[:, None, None], covariance, jnp.nan), deviance, status
    )


def _inverse(a: Array) -> Array:
    scale = 1.0 / jnp.sqrt(jnp.diagonal(a))
    lower, ok = cholesky(a * scale[:, None] * scale[None])
    inverse = solve_upper(lower, solve_lower(lower, jnp.eye(a.shape[0], dtype=a.dtype)))
    return jnp.where(ok, inverse, jnp.nan) * scale[:, None] * scale[None]


def line_scalarizer(components: ArrayLike, which: int) -> Scalarizer:
    """Counts of component `which` of a spectrum: a `Scalarizer` of the arrays "energy" and "counts".

    Args:
        components: (m, n) of `shapes` at the energies of the spectra to come.
        which: of them.
    """

    def function(_: ArrayLike, counts: ArrayLike) -> Estimate:
        found = fit_lines(counts, components)
        variance = found.covariance[which, which]
        return checked(found.counts[which], variance, found.status, found.status == Status.OK)

    return Scalarizer("counts of a line", function, ("energy", "counts"), "{counts}")
