"""Laplace's approximation: a Gaussian at the mode in unconstrained coordinates, corrected by importance weights."""

import math
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from gpax_lab.infer import outcomes
from gpax_lab.infer.descend import Descent, at_mode, descend
from gpax_lab.infer.posterior import Info, Posterior, Sampler
from gpax_lab.infer.space import space_of
from gpax_lab.infer.weights import effective_share, weight_variance
from gpax_lab.linalg import cholesky, solve_upper
from gpax_lab.models.model import Model
from gpax_lab.observations import Observations

FLAT = 1e-6
"""The slope, in nats per prior standard deviation of an unconstrained parameter, at which a mode is reached."""
SPREAD = 64
"""Prior draws whose standard deviations these are."""


class Tuning(NamedTuple):
    """Where the last mode lay: (p,) unconstrained."""

    mode: Array


class Settings(NamedTuple):
    """The static settings of one fit; see `laplace`."""

    draws: int
    starts: int
    iterations: int
    weighted: bool


def laplace(draws: int = 64, starts: int = 8, iterations: int = 60, weighted: bool = True) -> Sampler:
    """The mode of the posterior by BFGS, and draws from the Gaussian of its curvature.

    In unconstrained coordinates z with mode z^ and Hessian H of minus the log density, q = N(z^, H^-1). With
    importance weights p(z) / q(z) the draws and the evidence are corrected for what the Gaussian misses; the
    evidence then is the mean weight, otherwise log p(z^) + p/2 log 2 pi - 1/2 log |H| (MacKay 2003, ch. 27).

    Where it fails: weighted draws are calibrated while few parameters have one mode (ranks uniform and intervals right
    over 200 simulated processes with 12 readings, `benchmarks/calibration.py`). Without weights the draws are too
    sure, because the posterior of a scale has a long tail: there 95 percent intervals hold 93 percent, and the ranks
    of lengthscale and noise are at the edge of uniform. With tens of parameters the weights collapse, which the
    outcome says; a second mode is never seen, which nothing says.

    Args:
        draws: number of draws.
        starts: prior draws from which the optimiser starts; later fits also start from the last mode.
        iterations: most BFGS steps from each start.
        weighted: whether draws carry importance weights.

    Returns:
        A Sampler. It is one to two orders of magnitude cheaper than `nuts`, and blind to other modes.

    Raises:
        ValueError: a count is below 1.
    """
    if min(draws, starts, iterations) < 1:
        raise ValueError("laplace needs draws, starts and iterations of at least 1.")
    settings = Settings(draws, starts, iterations, weighted)

    def init(key: Array, model: Model, obs: Observations) -> Posterior:
        model.check(obs)
        # No mode is known yet: the optimiser leaves a start that is not a number at once.
        unknown = Tuning(jnp.full(space_of(model, obs.y.dtype).size, jnp.nan, obs.y.dtype))
        return _fit(key, model, obs, unknown, settings).conditioned(obs)

    def update(key: Array, posterior: Posterior, obs: Observations) -> Posterior:
        return _fit(key, posterior.model, obs, posterior.tuning, settings).conditioned(obs)

    return Sampler(init, update)


@partial(jax.jit, static_argnames=("model", "settings"))
def _fit(key: Array, model: Model, obs: Observations, tuning: Tuning, settings: Settings) -> Posterior:
    space = space_of(model, obs.y.dtype)
    dtype = obs.y.dtype
    key_start, key_draw = jax.random.split(key)
    prior = jax.vmap(space.draw)(jax.random.split(key_start, max(SPREAD, settings.starts)))
    unit = jnp.maximum(jnp.std(prior, axis=0), jnp.finfo(dtype).tiny)
    starts = jnp.concatenate([tuning.mode[None], prior[: settings.starts]])

    def down(z: Array) -> Descent:
        return descend(lambda z: space.potential(z, obs), z, FLAT, settings.iterations, unit)

    ends = jax.lax.map(down, starts)
    best = jnp.argmin(jnp.where(jnp.isfinite(ends.value), ends.value, jnp.inf))
    mode, energy = ends.z[best], ends.value[best]
    slope = jax.grad(lambda z: space.potential(z, obs))
    # One column after the other: what a large model holds in memory is held once.
    columns = jax.lax.map(lambda e: jax.jvp(slope, (mode,), (e,))[1], jnp.eye(space.size, dtype=dtype))
    curvature, eye = 0.5 * (columns + columns.T), jnp.eye(space.size, dtype=dtype)
    finite = jnp.isfinite(curvature).all()
    lower, positive = cholesky(jnp.where(finite, curvature, eye))
    positive = positive & finite
    lower = jnp.where(positive, lower, eye)
    white = jax.random.normal(key_draw, (settings.draws, space.size), dtype)
    z = mode[None] + jax.vmap(lambda w: solve_upper(lower, w))(white)
    log_det = jnp.sum(jnp.log(jnp.diagonal(lower)))
    constant = 0.5 * space.size * math.log(2 * math.pi)
    evidence = constant - energy - log_det
    log_weight = jnp.full(settings.draws, -math.log(settings.draws), dtype)
    if settings.weighted:
        log_p = -jax.lax.map(lambda one: space.potential(one, obs), z)
        ratio = log_p + 0.5 * jnp.sum(white**2, axis=1) + constant - log_det
        ratio = jnp.where(jnp.isfinite(ratio), ratio, -jnp.inf)
        total = jax.scipy.special.logsumexp(ratio)
        evidence = total - math.log(settings.draws)
        log_weight = jnp.where(jnp.isfinite(total), ratio - total, log_weight)
    gradients = jnp.sum(ends.tries) + 2 * space.size
    info = _report(evidence, ends.slope[best], positive, log_weight, gradients, settings)
    params = jax.vmap(space.constrain)(z)
    return Posterior(params, log_weight, evidence, None, info, Tuning(mode), model)


def _report(
    evidence: Array, slope: Array, positive: Array, log_weight: Array, gradients: Array, settings: Settings
) -> Info:
    size = settings.draws * effective_share(log_weight)
    codes = [
        (~jnp.isfinite(evidence), outcomes.NOT_FINITE),
        (~at_mode(slope), outcomes.STILL_CLIMBING),
        (~positive, outcomes.NOT_CONVERGED),
        (size < max(0.05 * settings.draws, min(2.0, 0.5 * settings.draws)), outcomes.NOT_GAUSSIAN),
    ]
    outcome = jnp.select([c for c, _ in codes], [jnp.asarray(o) for _, o in codes], jnp.asarray(outcomes.OK))
    nan = jnp.full((), jnp.nan, evidence.dtype)
    zero = jnp.asarray(0)
    # The evidence is a mean of weights; without weights it has no error that draws could tell.
    error = jnp.sqrt(weight_variance(log_weight)) if settings.weighted else nan
    error = jnp.where(jnp.isfinite(evidence), error, jnp.nan)
    return Info(outcome, nan, size, nan, zero, nan, nan, gradients, zero, error)
