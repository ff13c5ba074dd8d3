"""Whether intervals hold, by leave-one-out as the campaign goes, and a standard deviation that would have."""

from functools import partial
from statistics import NormalDist

import jax
import jax.numpy as jnp
from jax import Array

from gpax_lab.core._observations import Observations
from gpax_lab.core._types import Float, Int
from gpax_lab.inference._posterior import Predictive
from gpax_lab.inference._weights import mixture

CAUTION = 10.0
"""Observations that the belief in the model's own standard deviation is worth: with as many, the factor goes half of
the way."""


def leave_one_out_scores(posterior: Predictive, obs: Observations) -> Float[Array, " capacity *outputs"]:
    """How far each observation lies from what the others say of it, in standard deviations; 0 in unmeasured slots.

    z_i = (y_i - m_i) / s_i with the mean and the standard deviation, noise included, of the mixture over draws (and
    hypotheses) given all other observations, in closed form (R&W 2006, eq. 5.12). The draws know all of them.

    Args:
        posterior: of a model, or a model average.
        obs: what it was fitted to.

    Returns:
        (capacity,), or (capacity, outputs) for a model of several quantities.
    """
    means, variances = posterior.leave_one_out(obs)
    shape = means.shape[1:]
    draws = means.shape[0]
    mean, variance = mixture(means.reshape(draws, -1), variances.reshape(draws, -1), posterior.log_weight)
    used = obs.measured.reshape((-1,) + (1,) * (len(shape) - 1))
    some = used & (variance.reshape(shape) > 0)
    z = (obs.y - mean.reshape(shape)) / jnp.sqrt(jnp.where(some, variance.reshape(shape), 1.0))
    return jnp.where(some, z, 0.0)


@partial(jax.jit, static_argnames="level")
def coverage(posterior: Predictive, obs: Observations, level: float = 0.9) -> tuple[Int[Array, ""], Int[Array, ""]]:
    """How many observations lie inside the interval that the others give for them, and how many there are.

    Args:
        posterior: of a model, or a model average.
        obs: what it was fitted to.
        level: probability that the interval should have.

    Returns:
        () inside and () observations, both int; their ratio is the coverage so far.
    """
    z, used = _scores(posterior, obs)
    return jnp.sum(used & (jnp.abs(z) <= _edge(level))), jnp.sum(used)


@partial(jax.jit, static_argnames="level")
def recalibration(posterior: Predictive, obs: Observations, level: float = 0.9) -> Float[Array, ""]:
    """() factor by which standard deviations are to be multiplied so that intervals of `level` hold.

    The ceil((n + 1) level)-th smallest |z| of n leave-one-out scores (split conformal prediction's correction for few
    of them; Lei et al. 2018, JASA 113, 1094), over the normal quantile that should be there; shrunk to 1 in the
    logarithm by n / (n + 10), since ten observations say little of a tail. 1 without observations.

    The guarantee is for observations that are exchangeable. Points that an acquisition function has chosen are not:
    they crowd where the quantity is large, and how the model errs there says less of other points.
    `benchmarks/stuck.py` measures both.

    Args:
        posterior: of a model, or a model average.
        obs: what it was fitted to.
        level: probability that the interval should have.
    """
    z, used = _scores(posterior, obs)
    n = jnp.sum(used)
    ordered = jnp.sort(jnp.where(used, jnp.abs(z), jnp.inf).ravel())
    rank = jnp.clip(jnp.ceil((n + 1) * level).astype(int), 1, jnp.maximum(n, 1)) - 1
    held = jnp.where(n > 0, ordered[rank], _edge(level))
    ratio = jnp.maximum(held / _edge(level), jnp.finfo(z.dtype).eps)
    return jnp.exp(n / (n + CAUTION) * jnp.log(ratio)).astype(z.dtype)


def intervals(
    posterior: Predictive,
    obs: Observations,
    x: Float[Array, "m d"],
    level: float = 0.9,
    *,
    recalibrated: bool = True,
    of_observations: bool = False,
) -> tuple[Float[Array, " m"], Float[Array, " m"]]:
    """Lower and upper ends (m,) of the intervals at x (m, d), in the user's unit: mean -+ quantile times standard
    deviation.

    Args:
        posterior: of a model, or a model average.
        obs: what it was fitted to.
        x: (m, d) points.
        level: probability that they should hold.
        recalibrated: whether the standard deviation is multiplied by `recalibration` where that is above 1. It helped
            where it mattered (processes on a measured map with 15 observations: 71 to 79 percent became 76 to 81 of the
            90 asked for) and changed little elsewhere. It never narrows: leave-one-out by draws that know all
            observations is too hopeful for that, most of all for networks whose training it stops (there 73 percent
            would become 68).
        of_observations: whether for a new observation, noise included, instead of the quantity itself.
    """
    mean, variance = posterior.moments(x)
    if of_observations:
        variance = variance + jnp.exp(posterior.log_weight) @ posterior.noise_variance(x)
    half = _edge(level) * jnp.sqrt(variance)
    if recalibrated:
        half = jnp.maximum(recalibration(posterior, obs, level), 1.0) * half
    return mean - half, mean + half


def _scores(posterior: Predictive, obs: Observations) -> tuple[Array, Array]:
    """The scores, and which of them there are, of one shape."""
    z = leave_one_out_scores(posterior, obs)
    used = obs.measured.reshape((-1,) + (1,) * (z.ndim - 1))
    return z, jnp.broadcast_to(used, z.shape)


def _edge(level: float) -> float:
    """Normal quantile of a central interval."""
    if not 0 < level < 1:
        raise ValueError(f"the level of an interval lies between 0 and 1; got {level}.")
    return NormalDist().inv_cdf(0.5 * (1.0 + level))
