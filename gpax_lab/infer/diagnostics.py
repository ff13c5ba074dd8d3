"""R-hat and effective sample sizes in JAX, so that they come out of the same compiled function as the draws.

Rank-normalised split R-hat, bulk and tail ESS of Vehtari et al. 2021 (Bayesian Analysis 16, 667).
"""

import jax
import jax.numpy as jnp
from jax import Array
from jax.scipy.special import ndtri


def _split(draws: Array) -> Array:
    """Each chain (chains, n) in two halves: (2 chains, n // 2)."""
    half = draws.shape[1] // 2
    return jnp.concatenate([draws[:, :half], draws[:, -half:]])


def _rank_normalise(draws: Array) -> Array:
    """Normal scores of the average ranks, so that ties count alike."""
    flat = draws.ravel()
    ordered = jnp.sort(flat)
    rank = 0.5 * (jnp.searchsorted(ordered, flat, side="left") + jnp.searchsorted(ordered, flat, side="right") + 1)
    return ndtri((rank - 0.375) / (flat.size + 0.25)).reshape(draws.shape).astype(draws.dtype)


def _rhat(chains: Array) -> Array:
    n = chains.shape[1]
    within = jnp.mean(jnp.var(chains, axis=1, ddof=1))
    between = jnp.var(jnp.mean(chains, axis=1), ddof=1)
    return jnp.sqrt((n - 1) / n + between / within)


def _ess(chains: Array) -> Array:
    """Effective size of (chains, n) by Geyer's initial monotone sequence."""
    count, n = chains.shape
    centred = chains - jnp.mean(chains, axis=1, keepdims=True)
    spectrum = jnp.fft.rfft(centred, n=2 * n, axis=1)
    autocov = jnp.mean(jnp.fft.irfft(jnp.abs(spectrum) ** 2, n=2 * n, axis=1)[:, :n], axis=0) / n
    mean_var = autocov[0] * n / (n - 1)
    between = jnp.var(jnp.mean(chains, axis=1), ddof=1) if count > 1 else jnp.zeros(())
    total = mean_var * (n - 1) / n + between
    rho = 1.0 - (mean_var - autocov * n / (n - 1)) / total
    rho = rho.at[0].set(1.0)
    pairs = rho[: n - n % 2].reshape(-1, 2).sum(axis=1)
    keep = jnp.cumprod(pairs > 0)
    kept = jnp.sum(keep)
    pairs = jax.lax.associative_scan(jnp.minimum, jnp.where(keep == 1, pairs, 0.0))
    # The first even lag after the last kept pair counts if positive: lower variance (Vehtari et al. 2021, app. A).
    last = jnp.where(kept < pairs.size, jnp.maximum(rho[jnp.minimum(2 * kept, n - 1)], 0.0), 0.0)
    tau = jnp.maximum(-1.0 + 2.0 * jnp.sum(pairs) + last, 1.0 / jnp.log10(count * n))
    return count * n / tau


def _moving(draws: Array) -> Array:
    return jnp.ptp(draws) > 0


def split_rhat(draws: Array) -> Array:
    """Rank-normalised split R-hat, the larger of bulk and folded.

    Args:
        draws: (chains, n) of one scalar quantity, n >= 4.

    Returns:
        () R-hat; 1 at best. Infinite where the draws never moved.
    """
    folded = jnp.abs(draws - jnp.median(draws))
    value = jnp.maximum(_rhat(_rank_normalise(_split(draws))), _rhat(_rank_normalise(_split(folded))))
    return jnp.where(_moving(draws), value, jnp.inf)


def bulk_ess(draws: Array) -> Array:
    """() effective number of draws for the centre of the distribution; draws (chains, n)."""
    return jnp.where(_moving(draws), _ess(_rank_normalise(_split(draws))), 0.0)


def tail_ess(draws: Array) -> Array:
    """() effective number of draws for the 5 and 95 percent quantiles, the smaller of both; draws (chains, n)."""
    low, high = jnp.quantile(draws, jnp.array([0.05, 0.95], draws.dtype))
    pair = jnp.stack([_split((draws <= q).astype(draws.dtype)) for q in (low, high)])
    return jnp.where(_moving(draws), jnp.min(jax.vmap(_ess)(pair)), 0.0)
