"""Laplace's approximation: Gaussians at the modes in unconstrained coordinates, corrected by importance weights."""

import math
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.special import logsumexp

from gpax_lab.core import Status
from gpax_lab.core._ahead import Ahead, compile_ahead
from gpax_lab.core._interning import interned
from gpax_lab.core._linalg import cholesky, solve_upper
from gpax_lab.core._observations import Observations
from gpax_lab.inference._bfgs import BFGSResult, at_mode, minimize_bfgs
from gpax_lab.inference._checks import check_own, check_start
from gpax_lab.inference._density import UnconstrainedDensity, unconstrained_density
from gpax_lab.inference._importance import WIDE, Proposal, Weighted, adapted, draw, weigh
from gpax_lab.inference._posterior import Info, Posterior, Sampler, conditioning_ahead
from gpax_lab.inference._weights import ess_fraction, pareto_k, weight_variance
from gpax_lab.models._model import Model

GTOL = 1e-6
"""The slope, in nats per prior standard deviation of an unconstrained parameter, at which a mode is reached."""
SCALE_DRAWS = 64
"""Prior draws whose standard deviations these are."""
MODES = 4
"""Most modes that draws are taken around."""
DEPTH = 12.0
"""Modes that lie farther below the best one, in nats, are left out."""
APART = 0.1
"""Modes are different where a coordinate differs by more than this, in prior standard deviations."""
LEAST, WHOLE = 0.05, 0.1
"""Shares of the draws that are spread over the modes, and over the prior, however little weight these have."""
GAUSSIAN = 0.99
"""Effective share of plain draws above which the posterior is the Gaussians, and nothing need be adapted."""


class Tuning(NamedTuple):
    """Where the last modes lay: (MODES, p) unconstrained, the best first; NaN where there were fewer."""

    modes: Array


class Settings(NamedTuple):
    """The static settings of one fit; see `laplace`."""

    num_samples: int
    starts: int
    iterations: int
    weighted: bool
    rounds: int


@interned
def laplace(
    num_samples: int = 64, starts: int = 8, iterations: int = 60, weighted: bool = True, rounds: int = 2
) -> Sampler:
    """The modes of the posterior by BFGS, and weighted draws from Gaussians of their curvature.

    In unconstrained coordinates z with mode z^ and Hessian H of minus the log density, q = N(z^, H^-1); with several
    modes the mixture of these, each with the mass that its Gaussian has. Draws carry importance weights p(z) / q(z),
    and q is adapted to them (`inference.proposal`) unless they are even, as they are where the posterior is Gaussian.
    The evidence is the mean weight; without weights it is log sum_k p(z_k) (2 pi)^(p/2) |H_k|^(-1/2) (MacKay 2003, ch.
    27).

    Where it fails, the weights tell and the status says so: less than a quarter of the draws is effective, or less
    than half with Pareto's k above 0.7. That is so for most physics with a few observations, and with tens of
    parameters: use `smc`. Once adapted, a tenth of the draws is as wide as the prior, which may or may not meet a mode
    that no start led to. Without weights draws are too sure, because the posterior of a scale has a long tail.

    Args:
        num_samples: number of draws.
        starts: prior draws from which the optimiser starts; later fits also start from the last modes.
        iterations: most BFGS steps from each start.
        weighted: whether draws carry importance weights.
        rounds: how often the proposal is adapted.

    Returns:
        A Sampler. It is one to two orders of magnitude cheaper than `nuts`.

    Raises:
        ValueError: a count is below 1, or rounds below 0.
    """
    if min(num_samples, starts, iterations) < 1 or rounds < 0:
        raise ValueError("laplace needs num_samples, starts and iterations of at least 1, and rounds of at least 0.")
    settings = Settings(num_samples=num_samples, starts=starts, iterations=iterations, weighted=weighted, rounds=rounds)

    def unknown(model: Model, obs: Observations) -> Tuning:
        # No mode is known yet: the optimiser leaves a start that is not a number at once.
        return Tuning(
            jnp.asarray(np.full((MODES, unconstrained_density(model, obs.y.dtype).size), np.nan, obs.y.dtype))
        )

    def init(key: Array, model: Model, obs: Observations) -> Posterior:
        check_start(key, model, obs)
        compile_ahead(programs, key, model, obs)
        return _fit(key, model, obs, unknown(model, obs), settings).conditioned(obs)

    def update(key: Array, posterior: Posterior, obs: Observations) -> Posterior:
        check_own(posterior, Tuning, "laplace")
        posterior.model.check_columns(obs)
        return _fit(key, posterior.model, obs, posterior.tuning, settings).conditioned(obs)

    def programs(ahead: Ahead, key: Array, model: Model, obs: Observations) -> Posterior:
        return conditioning_ahead(ahead, ahead(_fit, key, model, obs, unknown(model, obs), settings), obs)

    return Sampler(init, update, programs=programs)


class _Modes(NamedTuple):
    """The best modes: points (MODES, p), energies and slopes (MODES,), energy infinite where there is none; and whether
    a further one was as good as these."""

    z: Array
    energy: Array
    slope: Array
    more: Array


def _distinct(ends: BFGSResult, unit: Array) -> _Modes:
    """The best `MODES` of the ends of the descents, each once."""
    order = jnp.argsort(jnp.where(jnp.isfinite(ends.value), ends.value, jnp.inf))
    z, energy, slope = ends.z[order], ends.value[order], ends.slope[order]
    # What the optimiser left half-way is a mode only if there is nothing better.
    mode = at_mode(slope) | (jnp.arange(energy.size) == 0)
    near = jnp.max(jnp.abs(z[:, None] - z[None, :]) / unit[None, None], axis=2) < APART
    again = jnp.any(jnp.tril(near, -1) & mode[None, :], axis=1)
    good = jnp.isfinite(energy) & ~again & (energy < energy[0] + DEPTH) & mode
    ranked = jnp.argsort(~good, stable=True)[:MODES]
    kept = jnp.where(good[ranked], energy[ranked], jnp.inf)
    # Where there is none the best one stands, and has no share; where no start has a density, one that is a point.
    best = z[jnp.argmax(jnp.isfinite(z).all(axis=1))]
    points = jnp.where(jnp.isfinite(kept)[:, None], z[ranked], best[None])
    short = MODES - ranked.size
    more = jnp.sum(good & (energy < energy[0] + 3.0)) > MODES
    return _Modes(
        jnp.pad(points, ((0, short), (0, 0)), mode="edge"),
        jnp.pad(kept, (0, short), constant_values=jnp.inf),
        jnp.pad(slope[ranked], (0, short), mode="edge"),
        more,
    )


def _curvature(space: UnconstrainedDensity, obs: Observations, z: Array) -> Array:
    """(p, p) Hessian of the energy, one column after the other: what a large model holds in memory is held once."""
    slope = jax.grad(lambda z: space.potential(z, obs))
    columns = jax.lax.map(lambda e: jax.jvp(slope, (z,), (e,))[1], jnp.eye(space.size, dtype=z.dtype))
    return 0.5 * (columns + columns.T)


def _gaussians(
    space: UnconstrainedDensity, obs: Observations, modes: _Modes, unit: Array
) -> tuple[Proposal, Array, Array]:
    """The mixture of Gaussians at the modes, its log mass, and whether the curvature of the best one was positive."""
    wide = jnp.diag(unit)

    def one(mode: tuple[Array, Array]) -> tuple[Array, Array, Array]:
        z, energy = mode
        curvature = jax.lax.cond(jnp.isfinite(energy), lambda: _curvature(space, obs, z), lambda: wide)
        finite = jnp.isfinite(curvature).all()
        eye = jnp.eye(space.size, dtype=z.dtype)
        upside, positive = cholesky(jnp.where(finite, curvature, eye))
        inverse = solve_upper(upside, eye)
        lower, factored = cholesky(inverse @ inverse.T)
        good = positive & finite & factored
        lower = jnp.where(good, lower, wide)
        return lower, jnp.sum(jnp.log(jnp.diagonal(lower))) - energy, good

    lower, mass, good = jax.lax.map(one, (modes.z, modes.energy))
    first = jnp.arange(MODES) == 0
    mass = jnp.where(good | first, mass, -jnp.inf)
    mass = jnp.where(jnp.isfinite(mass), mass, -jnp.inf)
    total = logsumexp(mass)
    share = jnp.where(jnp.isfinite(total), mass - total, jnp.where(first, 0.0, -jnp.inf))
    return Proposal(modes.z, lower, share), total + 0.5 * space.size * math.log(2 * math.pi), good[0]


def _with_prior(proposal: Proposal, prior: Array, unit: Array) -> tuple[Proposal, Array]:
    """A component as wide as the prior beside the modes, which finds what no start led to; and the least shares."""
    mean = jnp.concatenate([proposal.mean, jnp.mean(prior, axis=0)[None]])
    lower = jnp.concatenate([proposal.lower, jnp.diag(unit)[None]])
    there = jnp.isfinite(proposal.log_share)
    least = jnp.append(jnp.where(there, LEAST / jnp.maximum(jnp.sum(there), 1), 0.0), WHOLE)
    # The first draws are the Gaussians' own, so that what they say of a Gaussian posterior is exact.
    return Proposal(mean, lower, jnp.append(proposal.log_share, -jnp.inf)), least.astype(unit.dtype)


class _Round(NamedTuple):
    number: Array
    proposal: Proposal
    found: Weighted


def _importance(
    key: Array, space: UnconstrainedDensity, obs: Observations, proposal: Proposal, least: Array, settings: Settings
) -> tuple[Array, Array]:
    """Draws (n, p) and log ratios (n,): from the Gaussians where these are the posterior, else from adapted ones."""
    dtype, count = obs.y.dtype, settings.num_samples

    def once(last: _Round) -> _Round:
        wide = jnp.where(last.number == 0, 0.0, WIDE).astype(dtype)
        begun = last.number == 0
        moved = adapted(last.proposal, last.found, least)
        now = jax.tree.map(lambda old, new: jnp.where(begun, old, new), last.proposal, moved)
        z = draw(jax.random.fold_in(key, last.number), now, count, wide)
        log_target = -jax.lax.map(lambda one: space.potential(one, obs), z)
        return _Round(last.number + 1, now, weigh(z, log_target, now, wide))

    def going(last: _Round) -> Array:
        plain = (last.number == 1) & (ess_fraction(last.found.log_ratio) > GAUSSIAN)
        return (last.number <= settings.rounds) & ~plain

    nothing = jnp.zeros(count, dtype)
    blank = Weighted(jnp.zeros((count, space.size), dtype), nothing, jnp.zeros((count, MODES + 1), dtype))
    end = jax.lax.while_loop(going, once, _Round(jnp.asarray(0), proposal, blank))
    return end.found.z, end.found.log_ratio


@partial(jax.jit, static_argnames=("model", "settings"))
def _fit(key: Array, model: Model, obs: Observations, tuning: Tuning, settings: Settings) -> Posterior:
    space = unconstrained_density(model, obs.y.dtype)
    dtype = obs.y.dtype
    key_start, key_draw = jax.random.split(key)
    prior = jax.vmap(space.draw)(jax.random.split(key_start, max(SCALE_DRAWS, settings.starts)))
    unit = jnp.maximum(jnp.std(prior, axis=0), jnp.finfo(dtype).tiny)
    starts = jnp.concatenate([tuning.modes, prior[: settings.starts]])

    def down(z: Array) -> BFGSResult:
        return minimize_bfgs(lambda z: space.potential(z, obs), z, GTOL, settings.iterations, unit)

    ends = jax.lax.map(down, starts)
    modes = _distinct(ends, unit)
    proposal, mass, positive = _gaussians(space, obs, modes, unit)
    log_weight = jnp.full(settings.num_samples, -math.log(settings.num_samples), dtype)
    if settings.weighted:
        wider, least = _with_prior(proposal, prior, unit)
        z, ratio = _importance(key_draw, space, obs, wider, least, settings)
        total = logsumexp(ratio)
        evidence = total - math.log(settings.num_samples)
        log_weight = jnp.where(jnp.isfinite(total), ratio - total, log_weight)
    else:
        z, evidence = draw(key_draw, proposal, settings.num_samples, jnp.zeros((), dtype)), mass
    known = jnp.isfinite(modes.energy)[:, None]
    gradients = jnp.sum(ends.num_evals) + 2 * space.size * jnp.sum(known)
    info = _report(evidence, modes.slope[0], positive, modes.more, log_weight, gradients, settings)
    params = jax.vmap(space.constrain)(z)
    return Posterior(
        params=params,
        log_weight=log_weight,
        log_evidence=evidence,
        factor=None,
        info=info,
        tuning=Tuning(jnp.where(known, modes.z, jnp.nan)),
        model=model,
    )


def _report(
    evidence: Array,
    slope: Array,
    positive: Array,
    more: Array,
    log_weight: Array,
    gradients: Array,
    settings: Settings,
) -> Info:
    draws = settings.num_samples
    size = draws * ess_fraction(log_weight)
    # Below a quarter posteriors were found wrong by a third of a standard deviation (`benchmarks/posteriors.py`).
    least = max(0.25 * draws, min(2.0, 0.5 * draws))
    heavy = (pareto_k(log_weight) > 0.7) & (size < 0.5 * draws)  # k alone scatters where draws are few
    status = Status.worst(
        (~jnp.isfinite(evidence), Status.NOT_FINITE),
        (~at_mode(slope), Status.STILL_CLIMBING),
        (~positive, Status.NOT_A_MAXIMUM),
        (more, Status.MORE_MODES),
        ((size < least) | heavy, Status.NOT_GAUSSIAN),
    )
    nan = jnp.full((), jnp.nan, evidence.dtype)
    # The evidence is a mean of weights; without weights it has no error that draws could tell.
    error = jnp.sqrt(weight_variance(log_weight)) if settings.weighted else nan
    error = jnp.where(jnp.isfinite(evidence), error, jnp.nan)
    return Info.unknown(evidence.dtype)._replace(
        status=status, ess_bulk=size, gradients=gradients, evidence_error=error
    )
