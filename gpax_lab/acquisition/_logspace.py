"""Logarithms of improvement that stay accurate far into the tail, with finite gradients, in float32 and float64."""

import jax.numpy as jnp
from jax import Array
from jax.scipy.special import logsumexp, ndtr

_LOG_SQRT_2PI = 0.9189385332046727


def log_improvement(u: Array) -> Array:
    """log(phi(u) + u Phi(u)): the log of expected improvement at unit standard deviation.

    The plain formula near and above zero. Below, with a = -u and Laplace's continued fraction of Mills' ratio,
    Phi(-a) / phi(a) = 1 / (a + t), t = 1 / (a + 2 / (a + 3 / ...)) (Abramowitz & Stegun 1964, 26.2.14), so that
    log(phi(u) + u Phi(u)) = log phi(u) + log(t / (a + t)): no two numbers cancel, however far out. Relative error below
    1e-14 in float64 and 1e-6 in float32 for -1e6 <= u <= 1e3.

    Args:
        u: any shape, (mean - incumbent) / standard deviation.

    Returns:
        Array of the shape and dtype of u; finite, with finite gradients.
    """
    border, depth = (-4.0, 24) if u.dtype == jnp.float64 else (-2.0, 16)
    low = u <= border
    near = jnp.where(low, border, u)
    plain = jnp.log(jnp.exp(-0.5 * near**2 - _LOG_SQRT_2PI) + near * ndtr(near))
    a = jnp.where(low, -u, -border)
    # Where the fraction is cut off, its rest t solves t = (depth + 1) / (a + t).
    rest = 0.5 * (jnp.sqrt(a**2 + 4.0 * (depth + 1)) - a)
    for k in range(depth, 0, -1):
        rest = k / (a + rest)
    tail = jnp.log(rest) - jnp.log(a + rest)
    gaussian = -0.5 * jnp.minimum(u, 0.0) ** 2 - _LOG_SQRT_2PI
    return jnp.where(low, gaussian + tail, plain)


def log_mean_exp(values: Array, log_weight: Array) -> Array:
    """(m,) log of the weighted mean over draws of exp(values); values (draws, m), log_weight (draws,) normalised."""
    return logsumexp(values + log_weight[:, None], axis=0)
