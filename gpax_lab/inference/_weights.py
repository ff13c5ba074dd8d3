"""Weighted draws: how many they are worth, a choice of them by weight, and the moments of their mixture."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array

from gpax_lab.core._linalg import in_chunks

CHUNK = 4096
"""Points at which the moments of a mixture are computed at a time."""


def ess_fraction(log_weight: Array) -> Array:
    """() effective share of the draws, (sum w)^2 / (n sum w^2), in (0, 1]; 0 where every weight is 0."""
    top = jax.scipy.special.logsumexp(log_weight)
    size = jnp.exp(2 * top - jax.scipy.special.logsumexp(2 * log_weight))
    return jnp.where(jnp.isfinite(top), size / log_weight.size, 0.0)


def weight_variance(log_weight: Array) -> Array:
    """() relative variance of the mean of the weights, (1 / share - 1) / n: what importance sampling adds to a log
    evidence."""
    return (1.0 / jnp.maximum(ess_fraction(log_weight), 1.0 / log_weight.size) - 1.0) / log_weight.size


def systematic_resample(key: Array, log_weight: Array, count: int) -> Array:
    """(count,) indices; each draw appears floor or ceil of `count` times its weight (systematic resampling)."""
    edges = jnp.cumsum(jnp.exp(log_weight))
    position = (jnp.arange(count) + jax.random.uniform(key, dtype=edges.dtype)) / count * edges[-1]
    return jnp.minimum(jnp.searchsorted(edges, position), log_weight.size - 1)


@jax.jit
def pareto_k(log_weight: Array) -> Array:
    """() shape k of the generalised Pareto distribution that the largest weights follow; NaN with fewer than 25 draws.

    Above 0.7 the mean of the weights, and all that is averaged with them, has no error that draws could tell (Vehtari
    et al. 2024, JMLR 25, 72, arXiv:1507.02646). The fit is that of Zhang & Stephens (2009, Technometrics 51, 316),
    drawn towards 0.5 as if ten more draws had said so.
    """
    count = log_weight.size
    tail = min(count // 5, int(3 * count**0.5))
    if tail < 5:
        return jnp.full((), jnp.nan, log_weight.dtype)
    top = jnp.sort(log_weight)[-tail - 1 :]
    top = jnp.exp(top - jnp.where(jnp.isfinite(top[-1]), top[-1], 0.0))
    x = top[1:] - top[0]
    largest, quarter = x[-1], x[int(tail / 4 + 0.5) - 1]
    flat = ~((largest > 1e-8) & (quarter > 0))  # equal weights have no tail; nor does one draw that carries all
    x = jnp.where(flat, jnp.arange(1, tail + 1, dtype=x.dtype), x)
    points = 30 + int(tail**0.5)
    grid = 1.0 - jnp.sqrt(points / (jnp.arange(1, points + 1, dtype=x.dtype) - 0.5))
    b = grid / (3.0 * x[int(tail / 4 + 0.5) - 1]) + 1.0 / x[-1]
    shape = jnp.mean(jnp.log1p(-b[:, None] * x[None]), axis=1)
    share = jax.nn.softmax(tail * (jnp.log(-b / shape) - shape - 1.0))
    k = jnp.mean(jnp.log1p(-jnp.sum(b * share) * x))
    k = (tail * k + 10 * 0.5) / (tail + 10)
    return jnp.where(flat, jnp.where(largest > 1e-8, jnp.inf, -jnp.inf), k)


def mixture(mean: Array, variance: Array, log_weight: Array) -> tuple[Array, Array]:
    """Mean (m,) and variance (m,) of a mixture of draws (draws, m), by the law of total variance."""
    weight = jnp.exp(log_weight)
    centre = weight @ mean
    return centre, weight @ variance + weight @ (mean - centre[None]) ** 2


def mixture_moments(
    predict: Callable[[Array], tuple[Array, Array]], log_weight: Array, x: Array
) -> tuple[Array, Array]:
    """Mean (m,) and variance (m,) of the mixture of what `predict` gives at x (m, d), in chunks of points."""

    def of_chunk(x: Array) -> tuple[Array, Array]:
        mean, variance = predict(x)
        return mixture(mean, variance, log_weight)

    return in_chunks(of_chunk, x, CHUNK)
