"""Streaming inference: particles that follow the posterior from observation to observation, with the evidence.

Iterated batch importance sampling (Chopin 2002, Biometrika 89, 539) with Hamiltonian moves: new observations reweight
the particles; when these degenerate they are resampled and moved at the present posterior. Observations that surprise
are brought in step by step, by tempering (Del Moral, Doucet & Jasra 2006, JRSS B 68, 411).
"""

import math
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from gpax_lab.core import Status
from gpax_lab.core._ahead import Ahead, compile_ahead
from gpax_lab.core._interning import interned
from gpax_lab.core._observations import EMPTY, Observations
from gpax_lab.inference._checks import check_own, check_seen, check_start
from gpax_lab.inference._density import UnconstrainedDensity, unconstrained_density
from gpax_lab.inference._posterior import Info, Posterior, Sampler, conditioning_ahead
from gpax_lab.inference._smc_moves import covariance_factor, move_particles
from gpax_lab.inference._smc_state import Settings, SMCState, Tuning
from gpax_lab.inference._weights import ess_fraction, systematic_resample, weight_variance
from gpax_lab.models._model import Model


@interned
def smc(
    num_samples: int = 128,
    resample_below: float = 0.5,
    temper_above: float = 0.5,
    max_stages: int = 60,
    max_moves: int = 30,
    max_leapfrog: int = 32,
    target_accept: float = 0.8,
    max_correlation: float = 0.3,
) -> Sampler:
    """Sequential Monte Carlo: weighted particles that follow the posterior; yields the log evidence at every update.

    An update costs one likelihood per particle as long as the weights stay even. Otherwise the particles are resampled
    and moved by Hamiltonian Monte Carlo, whose metric is their covariance and whose step size follows its acceptance,
    until they have forgotten where they were. Where that takes more than three trajectories, moves by the difference of
    two particles come between them (differential evolution, ter Braak 2006), so that particles change between modes.

    Args:
        num_samples: particles; all of them serve prediction and decisions.
        resample_below: fraction of effective particles (ESS / n) below which they are resampled and moved.
        temper_above: fraction of effective particles that one tempering step must leave; an observation that would
            leave less is brought in gradually.
        max_stages: tempering steps of one update, at most.
        max_moves: Hamiltonian trajectories per particle after resampling, at most.
        max_leapfrog: leapfrog steps per trajectory, at most.
        target_accept: mean acceptance probability aimed at.
        max_correlation: moves go on until no coordinate, nor under tempering the log likelihood, correlates more than
            this with what it was. Particles that remember lag behind where tempering is long, and the evidence comes
            out too low, by more than its stated error: by 2 nats for 342 observations at once and eight parameters with
            wide priors. There, 0.1 and more particles are worth their time.

    Returns:
        A Sampler. Where `max_moves` did not suffice the status is `Status.MOVES_NOT_MIXED`, where `max_stages` did
        not, `Status.TEMPERING_INCOMPLETE`: the particles are then not to be trusted, and `nuts` is the fallback.

    Raises:
        ValueError: a count or a fraction is out of range.
    """
    if num_samples < 8 or min(max_stages, max_moves, max_leapfrog) < 1:
        raise ValueError("smc needs num_samples >= 8 and max_stages, max_moves and max_leapfrog of at least 1.")
    if not 0 < temper_above <= resample_below <= 1:
        raise ValueError("smc needs 0 < temper_above <= resample_below <= 1.")
    if not (0 < target_accept < 1 and 0 < max_correlation <= 1):
        raise ValueError("smc needs 0 < target_accept < 1 and 0 < max_correlation <= 1.")
    settings = Settings(
        num_samples=num_samples,
        resample_below=resample_below,
        temper_above=temper_above,
        max_stages=max_stages,
        max_moves=max_moves,
        max_leapfrog=max_leapfrog,
        target_accept=target_accept,
        max_correlation=max_correlation,
    )

    def init(key: Array, model: Model, obs: Observations) -> Posterior:
        check_start(key, model, obs)
        compile_ahead(programs, key, model, obs)
        return _init(key, model, obs, settings).conditioned(obs)

    def update(key: Array, posterior: Posterior, obs: Observations) -> Posterior:
        check_own(posterior, Tuning, "smc")
        if len(posterior.log_weight) != num_samples:
            raise ValueError(
                f"this posterior has {len(posterior.log_weight)} particles, the sampler {num_samples}: give as many, "
                "or use init."
            )
        check_seen(posterior, obs)
        return _update(key, posterior, obs, settings).conditioned(obs)

    def programs(ahead: Ahead, key: Array, model: Model, obs: Observations) -> Posterior:
        key_go, particles = ahead(_begin, key, model, obs, num_samples)
        found = ahead(_follow, key_go, model, particles, obs, settings)
        return conditioning_ahead(ahead, found, obs)

    return Sampler(init, update, programs=programs)


class _Particles(NamedTuple):
    """Particles of the posterior of the `known` observations.

    Those of the prior are not `aware` yet of what a prior program has observed: it comes in by tempering.
    """

    tuning: Tuning
    log_weight: Array
    log_evidence: Array
    known: Observations
    aware: Array


def _init(key: Array, model: Model, obs: Observations, settings: Settings) -> Posterior:
    key_go, particles = _begin(key, model, obs, settings.num_samples)
    return _follow(key_go, model, particles, obs, settings)


@partial(jax.jit, static_argnames=("model", "num_samples"))
def _begin(key: Array, model: Model, obs: Observations, num_samples: int) -> tuple[Array, _Particles]:
    """Particles of the prior, which know no observation."""
    space, dtype = unconstrained_density(model, obs.y.dtype), obs.y.dtype
    key_draw, key_go = jax.random.split(key)
    z = jax.vmap(space.draw)(jax.random.split(key_draw, num_samples))
    even = jnp.full(num_samples, -math.log(num_samples), dtype)
    nothing = obs._replace(status=jnp.full_like(obs.status, EMPTY))
    tuning = Tuning(
        position=z,
        step_size=jnp.asarray(0.5, dtype),
        log_likelihood=jnp.zeros(num_samples, dtype),
        evidence_variance=jnp.zeros((), dtype),
    )
    return key_go, _Particles(tuning, even, jnp.zeros((), dtype), nothing, jnp.zeros((), bool))


def _update(key: Array, posterior: Posterior, obs: Observations, settings: Settings) -> Posterior:
    assert posterior.seen is not None  # `conditioned` has set it
    known = obs._replace(status=jnp.where(posterior.seen, obs.status, jnp.asarray(EMPTY, obs.status.dtype)))
    particles = _Particles(posterior.tuning, posterior.log_weight, posterior.log_evidence, known, jnp.asarray(True))
    return _follow(key, posterior.model, particles, obs, settings)


@partial(jax.jit, static_argnames=("model", "settings"))  # the first fit and all later ones are compiled once
def _follow(key: Array, model: Model, particles: _Particles, obs: Observations, settings: Settings) -> Posterior:
    """From particles of the posterior of the known observations to those of all of `obs`."""
    tuning, log_weight, log_evidence, known, aware = particles
    space = unconstrained_density(model, obs.y.dtype)
    pair = jax.tree.map(lambda *leaves: jnp.stack(leaves), obs, known)
    log_likelihood = jnp.stack([space.log_likelihoods(tuning.position, obs), tuning.log_likelihood])
    start = SMCState.begun(key, tuning, log_likelihood, log_weight, log_evidence)

    def unfinished(state: SMCState) -> Array:
        return (state.inverse_temperature < 1) & (state.stage < settings.max_stages) & jnp.isfinite(state.log_evidence)

    end = jax.lax.while_loop(unfinished, lambda state: _stage(state, space, pair, settings, aware), start)
    return Posterior(
        params=jax.vmap(space.constrain)(end.z),
        log_weight=end.log_weight,
        log_evidence=end.log_evidence,
        factor=None,
        info=_report(end, settings),
        tuning=end.tuning(),
        model=model,
    )


def _log_weight_gain(log_likelihood: Array) -> Array:
    """Log weight gained over the whole tempering; a particle without a likelihood loses all."""
    new, old = log_likelihood
    return jnp.where(jnp.isfinite(new) & jnp.isfinite(old), new - old, -jnp.inf)


def _next_temperature(state: SMCState, settings: Settings) -> Array:
    """The farthest inverse temperature that leaves the fraction `temper_above` of effective particles (bisection)."""
    rise = _log_weight_gain(state.log_likelihood)
    # Particles without a likelihood are lost at the first step, wherever it leads: they do not count against it.
    alive = jnp.where(jnp.isfinite(rise), state.log_weight, -jnp.inf)
    least = settings.temper_above * ess_fraction(alive)

    def share(temperature: Array) -> Array:
        return ess_fraction(
            alive + (temperature - state.inverse_temperature) * jnp.where(jnp.isfinite(rise), rise, 0.0)
        )

    def halve(bracket: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], None]:
        low, high = bracket
        middle = 0.5 * (low + high)
        good = share(middle) >= least
        return (jnp.where(good, middle, low), jnp.where(good, high, middle)), None

    one = jnp.ones_like(state.inverse_temperature)
    (low, _), _ = jax.lax.scan(halve, (state.inverse_temperature, one), None, length=40)
    return jnp.where(share(one) >= least, one, low)


def _stage(
    state: SMCState, space: UnconstrainedDensity, pair: Observations, settings: Settings, aware: Array
) -> SMCState:
    """One tempering step: reweight, and resample and move if the weights have become uneven."""
    key, key_resample, key_move = jax.random.split(state.key, 3)
    temperature = _next_temperature(state, settings)
    rise = _log_weight_gain(state.log_likelihood)
    weight = state.log_weight + jnp.where(
        jnp.isfinite(rise), (temperature - state.inverse_temperature) * rise, -jnp.inf
    )
    gained = jax.scipy.special.logsumexp(weight)
    state = state._replace(
        key=key,
        inverse_temperature=temperature,
        log_weight=jnp.where(jnp.isfinite(gained), weight - gained, state.log_weight),
        log_evidence=state.log_evidence + gained,
        stage=state.stage + 1,
    )

    def renew() -> SMCState:
        return move_particles(
            key_move, _resample(key_resample, state), covariance_factor(state), space, pair, settings, aware
        )

    # Under tempering the particles move at every stage, so that they never lag far behind.
    worn = (ess_fraction(state.log_weight) < settings.resample_below) | (temperature < 1)
    degenerate = worn & jnp.isfinite(gained)
    return jax.lax.cond(degenerate, renew, lambda: state)


def _resample(key: Array, state: SMCState) -> SMCState:
    """Systematic resampling: every particle is kept floor or ceil of its expected number of times."""
    count = state.log_weight.size
    index = systematic_resample(key, state.log_weight, count)
    even = jnp.full_like(state.log_weight, -math.log(count))
    return state._replace(
        z=state.z[index],
        log_likelihood=state.log_likelihood[:, index],
        log_weight=even,
        evidence_variance=state.evidence_variance + weight_variance(state.log_weight),
    )


def _report(state: SMCState, settings: Settings) -> Info:
    share = ess_fraction(state.log_weight)
    # With n particles an estimated correlation scatters by 1 / sqrt(n); it does not count as failure below that.
    limit = settings.max_correlation + 2.0 / math.sqrt(settings.num_samples)
    status = Status.worst(
        (~jnp.isfinite(state.log_evidence), Status.NOT_FINITE),
        (state.inverse_temperature < 1, Status.TEMPERING_INCOMPLETE),
        (state.divergences > 0.01 * jnp.maximum(state.gradients, 1), Status.DIVERGENT),
        (state.correlation > limit, Status.MOVES_NOT_MIXED),
    )
    size = share * settings.num_samples
    error = jnp.sqrt(state.evidence_variance + weight_variance(state.log_weight))
    return Info.unknown(size.dtype)._replace(
        status=status,
        ess_bulk=size,
        divergences=state.divergences,
        acceptance=state.acceptance,
        gradients=state.gradients,
        evidence_error=error,
    )
