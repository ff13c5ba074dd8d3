"""Whether what a fit leaves is noise, which knows nothing of its neighbour."""

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

LITTLE = 0.003
"""Share of the variance that a fit may leave whatever it is like."""

NOT_NOISE = 3.5
"""Standard deviations of the correlation of neighbours, 1 / sqrt(n), above which what a fit leaves is no noise."""


def neighbour_correlation(rest: Array, closed: bool = False) -> Array:
    """(...) correlation of what is left (..., n) with its neighbour: sum r_k r*_k+1 / sum |r_k|^2; 0 where nothing is.

    Of n numbers of independent noise it has a standard deviation of about 1 / sqrt(n). Readings that were left out
    count as 0.

    Args:
        rest: (..., n) residuals, real or complex.
        closed: whether the last one is the neighbour of the first.
    """
    power = jnp.sum(jnp.abs(rest) ** 2, axis=-1)
    after = jnp.roll(rest, -1, axis=-1) * jnp.conj(rest)
    pairs = after if closed else after[..., :-1]
    return jnp.sum(pairs.real, axis=-1) / jnp.where(power > 0, power, 1.0)


def widening(alike: Array, count: ArrayLike, sure: float = NOT_NOISE) -> Array:
    """(...) by how much variances are larger because neighbours correlate: (1 + r) / (1 - r), or 1 if that is noise.

    That of a mean of numbers whose correlation falls as r^k with their distance k, a first-order autoregression.

    Args:
        alike: (...) r, of `neighbour_correlation`.
        count: () or (...) how many real numbers it is of.
        sure: standard deviations from which it is none of noise.
    """
    r = jnp.minimum(alike, 0.99)
    return jnp.where(alike > sure / jnp.sqrt(count), (1.0 + r) / (1.0 - r), 1.0)


def misfit(chi_square: Array, count: ArrayLike, sure: float = NOT_NOISE) -> Array:
    """(...) chi^2 per degree of freedom where it is above 1 by more than noise has it, else 1.

    Args:
        chi_square: (...) per degree of freedom, with a known noise.
        count: () or (...) how many real numbers it is of.
        sure: standard deviations from which it is none of noise.
    """
    return jnp.where(chi_square > 1.0 + sure * jnp.sqrt(2.0 / count), chi_square, 1.0)
