"""Weighted draws: how many they are worth, and a choice of them by weight."""

import jax
import jax.numpy as jnp
from jax import Array


def effective_share(log_weight: Array) -> Array:
    """() effective share of the draws, (sum w)^2 / (n sum w^2), in (0, 1]; 0 where every weight is 0."""
    top = jax.scipy.special.logsumexp(log_weight)
    size = jnp.exp(2 * top - jax.scipy.special.logsumexp(2 * log_weight))
    return jnp.where(jnp.isfinite(top), size / log_weight.size, 0.0)


def weight_variance(log_weight: Array) -> Array:
    """() relative variance of the mean of the weights, (1 / share - 1) / n: what importance sampling adds to a log
    evidence."""
    return (1.0 / jnp.maximum(effective_share(log_weight), 1.0 / log_weight.size) - 1.0) / log_weight.size


def systematic(key: Array, log_weight: Array, count: int) -> Array:
    """(count,) indices; each draw appears floor or ceil of `count` times its weight (systematic resampling)."""
    edges = jnp.cumsum(jnp.exp(log_weight))
    place = (jnp.arange(count) + jax.random.uniform(key, dtype=edges.dtype)) / count * edges[-1]
    return jnp.minimum(jnp.searchsorted(edges, place), log_weight.size - 1)
