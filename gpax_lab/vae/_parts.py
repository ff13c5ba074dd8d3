"""Parts of the latent space: what each is, how the network says it, and what its prior is.

Every part turns `raw` numbers of the network into a mean and a standard deviation, draws from that, and knows its
Kullback-Leibler divergence from the prior in closed form. Numbers are in units of the prior's standard deviation, but
for an angle on the circle.
"""

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

LEAST_SD = 1e-4
"""A posterior narrower than this (in prior widths) would make the bound of data without noise grow for ever."""


def _width(raw: Array) -> Array:
    return jax.nn.softplus(raw) + LEAST_SD


def _log_normal(z: Array, mean: Array | float = 0.0, sd: Array | float = 1.0) -> Array:
    return -0.5 * ((z - mean) / sd) ** 2 - jnp.log(sd) - 0.5 * math.log(2 * math.pi)


@dataclass(frozen=True)
class Gaussian:
    """`size` numbers with the prior N(0, 1) and an independent Gaussian posterior."""

    name: str
    size: int

    @property
    def raw(self) -> int:
        """Numbers that the network gives for this part."""
        return 2 * self.size

    def posterior(self, raw: Array) -> tuple[Array, Array]:
        """(..., raw) -> mean and standard deviation (..., size)."""
        return raw[..., : self.size], _width(raw[..., self.size :])

    def kl(self, mean: Array, sd: Array) -> Array:
        """(...,) KL(q || p) = sum (mean^2 + sd^2 - 1)/2 - log sd (Kingma & Welling 2014, arXiv:1312.6114, app. B)."""
        return jnp.sum(0.5 * (mean**2 + sd**2 - 1.0) - jnp.log(sd), axis=-1)

    def log_prior(self, z: Array) -> Array:
        """(...,) log p(z)."""
        return jnp.sum(_log_normal(z), axis=-1)

    def log_posterior(self, z: Array, mean: Array, sd: Array) -> Array:
        """(...,) log q(z)."""
        return jnp.sum(_log_normal(z, mean, sd), axis=-1)

    def draw(self, key: Array, shape: tuple[int, ...], dtype: jnp.dtype) -> Array:
        """(*shape, size) draws of the prior."""
        return jax.random.normal(key, (*shape, self.size), dtype)


@dataclass(frozen=True)
class Shift(Gaussian):
    """Shift along each axis; `sd` is the prior's width in half widths of the longer side."""

    sd: float = 0.1


@dataclass(frozen=True)
class Scale(Gaussian):
    """Magnification exp(sd z): never negative, and as likely m times as 1/m times."""

    sd: float = 0.1


@dataclass(frozen=True)
class GaussianRotation(Gaussian):
    """Angle with a Gaussian prior of width `sd` rad on the line: for objects rotated by less than 180 degrees."""

    sd: float = 1.0


@dataclass(frozen=True)
class Angle:
    """Angle on the circle: von Mises prior of this concentration (0: uniform), wrapped Gaussian posterior.

    An object that looks the same after a rotation by 2 pi/order has its angle on a circle of that length. The network
    gives a direction, so that nothing jumps where the angle comes full circle, and two angles that differ by a period
    have the same bound. `views` rotated views of the image are encoded, see `rotation`.
    """

    name: str
    concentration: float = 0.0
    order: int = 1
    views: int | None = None
    size: int = 1
    raw: int = 3

    def posterior(self, raw: Array) -> tuple[Array, Array]:
        """(..., 3) -> mean and standard deviation (..., 1), rad."""
        x, y = raw[..., 0] + 1.0, raw[..., 1]
        # atan2 has no slope at the origin, and a steep one beside it.
        close = x**2 + y**2 < 1e-4
        mean = jnp.arctan2(jnp.where(close, 0.0, y), jnp.where(close, 1.0, x))
        return mean[..., None] / self.order, _width(raw[..., 2:]) / self.order

    def kl(self, mean: Array, sd: Array) -> Array:
        """(...,) KL of a wrapped Gaussian from von Mises: log 2 pi I0(k) - k exp(-sd^2/2) cos(mean) - entropy.

        Angles times `order` throughout. Source: Mardia & Jupp, Directional Statistics (2000), eqs. 3.5.24 and 3.5.64.
        """
        theta, width = self.order * mean[..., 0], self.order * sd[..., 0]
        towards = self.concentration * jnp.exp(-0.5 * width**2) * jnp.cos(theta)
        return self._log_norm - towards - wrapped_entropy(width)

    @property
    def _log_norm(self) -> float:
        return math.log(2 * math.pi) + math.log(np.i0(self.concentration))

    def log_prior(self, z: Array) -> Array:
        """(...,) log density on the circle of length 2 pi/order."""
        return self.concentration * jnp.cos(self.order * z[..., 0]) - self._log_norm + math.log(self.order)

    def log_posterior(self, z: Array, mean: Array, sd: Array) -> Array:
        """(...,) log density of the wrapped Gaussian."""
        period = 2 * math.pi / self.order
        away = z[..., 0] - mean[..., 0]
        away = away - period * jnp.round(away / period)
        periods = _last(period * jnp.arange(-8.0, 9.0, dtype=z.dtype), away.ndim)
        return jax.nn.logsumexp(_log_normal(away[..., None] + periods, 0.0, sd[..., 0, None]), axis=-1)

    def draw(self, key: Array, shape: tuple[int, ...], dtype: jnp.dtype) -> Array:
        """(*shape, 1) draws of the prior, rad."""
        key_on, key_line = jax.random.split(key)
        bins = 4096  # the inverse of the distribution function, on a grid much finer than any angle is known
        theta = (np.arange(bins) + 0.5) / bins * 2 * math.pi - math.pi
        share = np.cumsum(np.exp(self.concentration * (np.cos(theta) - 1.0)))
        at = jnp.searchsorted(jnp.asarray(share / share[-1], dtype), jax.random.uniform(key_on, (*shape, 1), dtype))
        jitter = (jax.random.uniform(key_line, (*shape, 1), dtype) - 0.5) * (2 * math.pi / bins)
        return (jnp.asarray(theta, dtype)[jnp.minimum(at, bins - 1)] + jitter) / self.order


Part = Gaussian | Angle

NARROW = 0.5
"""Below this width a wrapped Gaussian loses less than 1e-9 of its mass around the circle (2 Phi(-pi/0.5))."""


def _last(values: Array, before: int) -> Array:
    """Values (k,) along an axis behind `before` others."""
    return values.reshape((1,) * before + values.shape)


def wrapped_entropy(sd: Array) -> Array:
    """Entropy (...,) of a Gaussian of standard deviation sd (...,) wrapped around the circle, nat.

    -log(phi(q)/2 pi) + 2 sum_k (-1)^k q^((k^2 + k)/2) / (k (1 - q^k)), q = exp(-sd^2), phi Euler's product; below 0.5
    that of the Gaussian itself. Source: Mardia & Jupp (2000), sec. 3.5.7, by Jacobi's product for the density.
    """
    narrow = sd < NARROW
    wide = jnp.where(narrow, NARROW, sd)
    k = _last(jnp.arange(1.0, 13.0, dtype=sd.dtype), sd.ndim)
    m = _last(jnp.arange(1.0, 121.0, dtype=sd.dtype), sd.ndim)
    power = -(wide[..., None] ** 2)
    log_euler = jnp.sum(jnp.log1p(-jnp.exp(m * power)), axis=-1)
    sign = jnp.where(k % 2 == 0, 1.0, -1.0).astype(sd.dtype)
    terms = sign * jnp.exp(0.5 * (k**2 + k) * power) / (k * -jnp.expm1(k * power))
    full = math.log(2 * math.pi) - log_euler + 2.0 * jnp.sum(terms, axis=-1)
    line = 0.5 * math.log(2 * math.pi * math.e) + jnp.log(jnp.where(narrow, sd, NARROW))
    return jnp.where(narrow, line, full)


def rotation(
    prior: str = "uniform", width: float | None = None, order: int = 1, views: int | None = None
) -> GaussianRotation | Angle:
    """Invariance to rotation.

    An encoder that has to tell angles all around the circle gets stuck half way. So it is shown the image rotated by
    0, 90, 180 and 270 degrees, says of each view how likely it is the one to describe, and what it is; the bound is
    summed over the views, as it is over classes.

    Args:
        prior: "uniform" on the circle; "von_mises" around 0; "normal" on the line, for small rotations.
        width: of the prior, rad: the standard deviation of "normal" (1 by default), 1/sqrt(concentration) of
            "von_mises" (of order times the angle).
        order: the object looks the same after a rotation by 2 pi/order (4 for a square lattice seen along its axis).
        views: of the image, 1, 2 (by 180 degrees) or 4 (square images); as many as a uniform prior, the
            order and the image admit by default. Decoding costs as many times as much.

    Returns:
        A part of the latent space, for `model(invariances=...)`.

    Raises:
        ValueError: an unknown prior, a width that is missing or makes no sense, an order below 1, other views.
    """
    if views not in (None, 1, 2, 4) or (prior != "uniform" and views not in (None, 1)):
        raise ValueError(f"views is 1, 2 or 4, above 1 only with a uniform prior; got {views}.")
    if prior not in ("uniform", "von_mises", "normal"):
        raise ValueError(f'prior must be "uniform", "von_mises" or "normal"; got {prior!r}.')
    if order < 1 or (width is not None and not width > 0):
        raise ValueError(f"order must be 1 or more and width positive; got order {order}, width {width}.")
    if prior == "normal":
        if order != 1:
            raise ValueError('an angle on the line has no period: use "uniform" or "von_mises" with an order.')
        return GaussianRotation("rotation", 1, 1.0 if width is None else width)
    if (prior == "von_mises") != (width is not None):
        raise ValueError('width belongs to "von_mises" and "normal", and "von_mises" needs it.')
    return Angle("rotation", 0.0 if width is None else 1.0 / width**2, order, views if prior == "uniform" else 1)


def translation(sd: float = 0.1, axes: int = 2) -> Shift:
    """Invariance to shifts; `sd` of the prior in half widths of the longer side, `axes` 1 for spectra.

    Args:
        sd: of the prior, half widths of the longer side.
        axes: 2 for images, 1 for spectra.

    Returns:
        A part of the latent space, for `model(invariances=...)`.
    """
    if not sd > 0 or axes not in (1, 2):
        raise ValueError(f"sd must be positive and axes 1 or 2; got {sd} and {axes}.")
    return Shift("translation", axes, sd)


def scaling(sd: float = 0.1) -> Scale:
    """Invariance to magnification, of this prior standard deviation of its logarithm.

    Args:
        sd: of the prior of the logarithm of the magnification.

    Returns:
        A part of the latent space, for `model(invariances=...)`.
    """
    if not sd > 0:
        raise ValueError(f"sd must be positive; got {sd}.")
    return Scale("scaling", 1, sd)
