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
    """Normal scores of the average ranks, so that ties count alike. Comparing all pairs compiles fast."""
    flat = draws.ravel()
    below = jnp.sum(flat[None, :] < flat[:, None], axis=1)
    equal = jnp.sum(flat[None, :] == flat[:, None], axis=1)
    rank = below + 0.5 * (equal + 1)
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


def _quantile(ordered: Array, q: float) -> Array:
    """Linear interpolation between order statistics, from sorted values."""
    position = q * (ordered.size - 1)
    low = int(position)
    return ordered[low] + (position - low) * (ordered[min(low + 1, ordered.size - 1)] - ordered[low])


def summary(draws: Array) -> tuple[Array, Array, Array]:
    """Convergence of one scalar quantity.

    Args:
        draws: (chains, n), n >= 8.

    Returns:
        () rank-normalised split R-hat (the larger of bulk and folded; 1 at best), () bulk ESS, and () tail ESS (the
        smaller of those for the 5 and 95 percent quantiles). Infinite, 0 and 0 where the draws never moved.
    """
    ordered = jnp.sort(draws.ravel())
    folded = jnp.abs(draws - _quantile(ordered, 0.5))
    tails = [(draws <= _quantile(ordered, q)).astype(draws.dtype) for q in (0.05, 0.95)]
    bulk, fold = (_rank_normalise(_split(part)) for part in (draws, folded))
    sizes = jax.lax.map(_ess, jnp.stack([bulk, *map(_split, tails)]))
    moved = ordered[-1] > ordered[0]
    r_hat = jnp.where(moved, jnp.maximum(_rhat(bulk), _rhat(fold)), jnp.inf)
    return r_hat, jnp.where(moved, sizes[0], 0.0), jnp.where(moved, jnp.minimum(sizes[1], sizes[2]), 0.0)
