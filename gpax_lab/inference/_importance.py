"""Importance sampling from a mixture of Gaussians that learns from its own weights.

Population Monte Carlo (Cappe et al. 2008, Stat. Comput. 18, 447, arXiv:0710.4242): every component moves to the
weighted draws that it is responsible for. A part of the draws comes from components twice as wide, so that no tail is
missed.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.scipy.special import logsumexp, ndtri

from gpax_lab.core._linalg import cholesky, solve_lower
from gpax_lab.core._sequence import additive_recurrence
from gpax_lab.inference._weights import ess_fraction

WIDE = 0.2
"""Share of the draws that come from the wider components."""
FACTOR = 2.0
"""How much wider these are, in standard deviations."""
EVEN = 12
"""Up to so many coordinates draws fill the space evenly (a shifted sequence); beyond, they are independent."""


class Proposal(NamedTuple):
    """A mixture of k Gaussians in p dimensions.

    Attributes:
        mean: (k, p).
        lower: (k, p, p) Cholesky factors of the covariances.
        log_share: (k,) normalised; -inf for a component that is not there.
    """

    mean: Array
    lower: Array
    log_share: Array


class Weighted(NamedTuple):
    """Draws from a proposal.

    Attributes:
        z: (n, p).
        log_ratio: (n,) log of the target over the proposal; -inf where the target is not finite.
        duty: (n, k) log probability that a draw came from each component.
    """

    z: Array
    log_ratio: Array
    duty: Array


def draw(key: Array, proposal: Proposal, count: int, wide: Array) -> Array:
    """(count, p) draws, a share `wide` () of them from components `FACTOR` times as wide."""
    components, size = proposal.mean.shape
    dtype = proposal.mean.dtype
    uniform = jax.random.uniform(key, (size + 1,) if size < EVEN else (count, size + 1), dtype)
    if size < EVEN:
        uniform = additive_recurrence(count, size + 1, uniform).astype(dtype)
    share = jnp.exp(proposal.log_share)
    edges = jnp.cumsum(jnp.concatenate([(1.0 - wide) * share, wide * share]))
    which = jnp.minimum(jnp.searchsorted(edges, uniform[:, 0] * edges[-1]), 2 * components - 1)
    tiny = jnp.finfo(dtype).eps
    white = ndtri(jnp.clip(uniform[:, 1:], tiny, 1.0 - tiny))
    white = jnp.where(which < components, 1.0, FACTOR).astype(dtype)[:, None] * white
    of = which % components
    return proposal.mean[of] + jnp.einsum("nij,nj->ni", proposal.lower[of], white)


def log_densities(z: Array, proposal: Proposal, wide: Array) -> Array:
    """(n, k) log of share times density of every component at z (n, p), its wider twin included."""
    size = z.shape[1]

    def of_one(mean: Array, lower: Array, log_share: Array) -> Array:
        square = jnp.sum(solve_lower(lower, (z - mean[None]).T) ** 2, axis=0)
        constant = -jnp.sum(jnp.log(jnp.diagonal(lower))) - 0.5 * size * math.log(2 * math.pi)
        own = jnp.log1p(-wide) - 0.5 * square
        twin = jnp.log(wide) - size * math.log(FACTOR) - 0.5 * square / FACTOR**2
        return log_share + constant + jnp.logaddexp(own, twin)

    return jax.vmap(of_one)(*proposal).T


def weigh(z: Array, log_target: Array, proposal: Proposal, wide: Array) -> Weighted:
    """The draws with their importance ratios."""
    each = log_densities(z, proposal, wide)
    total = logsumexp(each, axis=1)
    ratio = log_target - total
    return Weighted(z, jnp.where(jnp.isfinite(ratio), ratio, -jnp.inf), each - total[:, None])


def adapted(proposal: Proposal, found: Weighted, least: Array) -> Proposal:
    """The proposal moved towards the target that its weighted draws show.

    Weighted means and covariances by component, held near the present ones as if these were 2 p draws. Where no draw
    has a weight it stays as it is.

    Args:
        proposal: of k components.
        found: its draws.
        least: (k,) shares that the components have at least.
    """
    size = found.z.shape[1]
    top = logsumexp(found.log_ratio)
    some = jnp.isfinite(top)
    weight = jnp.where(some, jnp.exp(found.log_ratio - jnp.where(some, top, 0.0)), 0.0)
    effective = weight.size * ess_fraction(found.log_ratio)

    def of_one(mean: Array, lower: Array, duty: Array) -> tuple[Array, Array, Array]:
        own = weight * jnp.exp(duty)
        mass = jnp.sum(own)
        own = own / jnp.maximum(mass, jnp.finfo(mass.dtype).tiny)
        centre = own @ found.z
        gap = found.z - centre[None]
        here = (gap * own[:, None]).T @ gap
        keep = effective * mass / (effective * mass + 2.0 * size)
        shift = centre - mean
        covariance = keep * here + (1.0 - keep) * (lower @ lower.T + keep * jnp.outer(shift, shift))
        new, ok = cholesky(covariance)
        good = ok & (mass > 0)
        return jnp.where(good, mean + keep * shift, mean), jnp.where(good, new, lower), mass

    mean, lower, mass = jax.vmap(of_one, in_axes=(0, 0, 1))(proposal.mean, proposal.lower, found.duty)
    share = mass / jnp.maximum(jnp.sum(mass), jnp.finfo(mass.dtype).tiny)
    share = (1.0 - jnp.sum(least)) * share + least
    return Proposal(mean, lower, jnp.where(some, jnp.log(share / jnp.sum(share)), proposal.log_share))
