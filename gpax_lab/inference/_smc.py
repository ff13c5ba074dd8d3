"""Streaming inference: particles that follow the posterior from reading to reading, and the evidence with them.

Iterated batch importance sampling (Chopin 2002, Biometrika 89, 539) with Hamiltonian moves: new readings reweight the
particles; when these degenerate they are resampled and moved at the present posterior. Readings that surprise are
brought in step by step along a tempered bridge (Del Moral, Doucet & Jasra 2006, JRSS B 68, 411).
"""

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from gpax_lab.core import Status
from gpax_lab.core._ahead import Ahead, compile_ahead
from gpax_lab.core._interning import interned
from gpax_lab.core._linalg import cholesky, solve_lower
from gpax_lab.core._observations import EMPTY, Observations
from gpax_lab.inference._density import UnconstrainedDensity, unconstrained_density
from gpax_lab.inference._posterior import Info, Posterior, Sampler, conditioning_ahead
from gpax_lab.inference._weights import ess_fraction, systematic_resample, weight_variance
from gpax_lab.models._model import Model

JUMPS = 2
"""Jumps after each trajectory from the third on: together as dear as a short one."""


class Tuning(NamedTuple):
    """What the particles carry on.

    Attributes:
        position: (draws, p), unconstrained.
        step_size: () of their moves, in units of their spread.
        log_likelihood: (draws,) of the readings that they know.
        evidence_variance: () Monte Carlo variance of the log evidence up to the last resampling.
    """

    position: Array
    step_size: Array
    log_likelihood: Array
    evidence_variance: Array


class Settings(NamedTuple):
    """The static settings; see `smc`."""

    draws: int
    resample_below: float
    bridge_above: float
    max_stages: int
    max_moves: int
    max_leapfrog: int
    target_accept: float
    max_correlation: float


class SMCState(NamedTuple):
    """Particles at inverse temperature lam between the posterior of the old readings and that of all."""

    key: Array
    z: Array  # (draws, p)
    value: Array  # (2, draws) log likelihood of all readings, and of the old ones
    log_weight: Array  # (draws,) normalised
    log_evidence: Array
    evidence_variance: Array  # up to the last resampling
    lam: Array
    step_size: Array
    stage: Array
    correlation: Array  # largest correlation that the moves of a stage left
    acceptance: Array
    gradients: Array
    divergences: Array


@interned
def smc(
    draws: int = 128,
    resample_below: float = 0.5,
    bridge_above: float = 0.5,
    max_stages: int = 60,
    max_moves: int = 30,
    max_leapfrog: int = 32,
    target_accept: float = 0.8,
    max_correlation: float = 0.3,
) -> Sampler:
    """Follow the posterior with a cloud of weighted draws; yields the log evidence at every update.

    An update costs one likelihood per draw as long as the weights stay even. Otherwise the draws are resampled and
    moved by Hamiltonian Monte Carlo, whose metric is the covariance of the cloud and whose step size follows its
    acceptance, until they have forgotten where they were. Where that takes more than three trajectories, jumps by the
    difference of two draws come between them (ter Braak 2006), so that draws change between modes.

    Args:
        draws: particles; all of them serve prediction and decisions.
        resample_below: effective share of the draws below which they are resampled and moved.
        bridge_above: effective share that one step along the bridge must leave; a reading that would leave less is
            brought in gradually.
        max_stages: steps along one bridge, at most.
        max_moves: Hamiltonian trajectories per draw after resampling, at most.
        max_leapfrog: leapfrog steps per trajectory, at most.
        target_accept: mean acceptance probability aimed at.
        max_correlation: moves go on until no coordinate, nor on a bridge the log likelihood, correlates more than this
            with what it was. Draws that remember lag behind on a long bridge, and the evidence comes out too low, by
            more than its stated error: by 2 nats for 342 readings at once and eight parameters with wide priors. There,
            0.1 and more draws are worth their time.

    Returns:
        A Sampler. Where `max_moves` did not suffice the outcome is "the moves did not mix", where `max_stages` did
        not, "the bridge was not crossed": the draws are then not to be trusted, and `nuts` is the fallback.

    Raises:
        ValueError: a count or a share is out of range.
    """
    if draws < 8 or min(max_stages, max_moves, max_leapfrog) < 1:
        raise ValueError("smc needs draws >= 8 and max_stages, max_moves and max_leapfrog of at least 1.")
    if not 0 < bridge_above <= resample_below <= 1:
        raise ValueError("smc needs 0 < bridge_above <= resample_below <= 1.")
    settings = Settings(
        draws, resample_below, bridge_above, max_stages, max_moves, max_leapfrog, target_accept, max_correlation
    )

    def init(key: Array, model: Model, obs: Observations) -> Posterior:
        model.check(obs)
        compile_ahead(programs, key, model, obs)
        return _init(key, model, obs, settings).conditioned(obs)

    def update(key: Array, posterior: Posterior, obs: Observations) -> Posterior:
        posterior.model.check_columns(obs)
        return _update(key, posterior, obs, settings).conditioned(obs)

    def programs(ahead: Ahead, key: Array, model: Model, obs: Observations) -> Posterior:
        begun = ahead(_begin, key, model, obs, draws)
        rest = (obs, settings, jax.typeof(jnp.asarray(False)))
        key_go, tuning, even, zero, nothing = begun
        found = ahead(_follow, key_go, model, tuning, even, zero, nothing, *rest)
        return conditioning_ahead(ahead, found, obs)

    return Sampler(init, update, programs=programs)


def _init(key: Array, model: Model, obs: Observations, settings: Settings) -> Posterior:
    key_go, tuning, even, zero, nothing = _begin(key, model, obs, settings.draws)
    return _follow(key_go, model, tuning, even, zero, nothing, obs, settings, jnp.asarray(False))


@partial(jax.jit, static_argnames=("model", "draws"))
def _begin(key: Array, model: Model, obs: Observations, draws: int) -> tuple[Array, Tuning, Array, Array, Observations]:
    """Particles of the prior, which know no reading."""
    space, dtype = unconstrained_density(model, obs.y.dtype), obs.y.dtype
    key_draw, key_go = jax.random.split(key)
    z = jax.vmap(space.draw)(jax.random.split(key_draw, draws))
    even = jnp.full(draws, -math.log(draws), dtype)
    nothing = obs._replace(status=jnp.full_like(obs.status, EMPTY))
    tuning = Tuning(z, jnp.asarray(0.5, dtype), jnp.zeros(draws, dtype), jnp.zeros((), dtype))
    return key_go, tuning, even, jnp.zeros((), dtype), nothing


def _update(key: Array, posterior: Posterior, obs: Observations, settings: Settings) -> Posterior:
    assert posterior.seen is not None  # `conditioned` has set it
    known = obs._replace(status=jnp.where(posterior.seen, obs.status, jnp.asarray(EMPTY, obs.status.dtype)))
    weight, evidence, aware = posterior.log_weight, posterior.log_evidence, jnp.asarray(True)
    return _follow(key, posterior.model, posterior.tuning, weight, evidence, known, obs, settings, aware)


@partial(jax.jit, static_argnames=("model", "settings"))  # the first fit and all later ones are compiled once
def _follow(
    key: Array,
    model: Model,
    tuning: Tuning,
    log_weight: Array,
    log_evidence: Array,
    known: Observations,
    obs: Observations,
    settings: Settings,
    aware: Array,
) -> Posterior:
    """From particles of the posterior of `known` readings to those of all of `obs`.

    Particles of the prior are not `aware` yet of what a prior program has observed: it comes in along the bridge.
    """
    space, dtype = unconstrained_density(model, obs.y.dtype), obs.y.dtype
    zero = jnp.zeros((), dtype)
    pair = jax.tree.map(lambda *leaves: jnp.stack(leaves), obs, known)
    z, step_size, old, variance = tuning
    value = jnp.stack([space.log_likelihoods(z, obs), old])
    count = jnp.asarray(0)
    start = SMCState(
        key,
        z,
        value,
        log_weight,
        log_evidence,
        variance,
        zero,
        step_size,
        count,
        zero,
        jnp.ones((), dtype),
        count,
        count,
    )

    def unfinished(cloud: SMCState) -> Array:
        return (cloud.lam < 1) & (cloud.stage < settings.max_stages) & jnp.isfinite(cloud.log_evidence)

    end = jax.lax.while_loop(unfinished, lambda cloud: _stage(cloud, space, pair, settings, aware), start)
    params = jax.vmap(space.constrain)(end.z)
    return Posterior(
        params,
        end.log_weight,
        end.log_evidence,
        None,
        _report(end, settings),
        Tuning(end.z, end.step_size, end.value[0], end.evidence_variance),
        model,
    )


def _rise(value: Array) -> Array:
    """Log weight gained over the whole bridge; a draw without a likelihood loses all."""
    new, old = value
    return jnp.where(jnp.isfinite(new) & jnp.isfinite(old), new - old, -jnp.inf)


def _next_lam(cloud: SMCState, settings: Settings) -> Array:
    """The farthest inverse temperature that leaves an effective share of `bridge_above`, by bisection."""
    rise = _rise(cloud.value)
    # Draws without a likelihood are lost at the first step, wherever it leads: they do not count against it.
    alive = jnp.where(jnp.isfinite(rise), cloud.log_weight, -jnp.inf)
    least = settings.bridge_above * ess_fraction(alive)

    def share(lam: Array) -> Array:
        return ess_fraction(alive + (lam - cloud.lam) * jnp.where(jnp.isfinite(rise), rise, 0.0))

    def halve(bracket: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], None]:
        low, high = bracket
        middle = 0.5 * (low + high)
        good = share(middle) >= least
        return (jnp.where(good, middle, low), jnp.where(good, high, middle)), None

    one = jnp.ones_like(cloud.lam)
    (low, _), _ = jax.lax.scan(halve, (cloud.lam, one), None, length=40)
    return jnp.where(share(one) >= least, one, low)


def _stage(
    cloud: SMCState, space: UnconstrainedDensity, pair: Observations, settings: Settings, aware: Array
) -> SMCState:
    """One step along the bridge: reweight, and resample and move if the weights have become uneven."""
    key, key_resample, key_move = jax.random.split(cloud.key, 3)
    lam = _next_lam(cloud, settings)
    rise = _rise(cloud.value)
    weight = cloud.log_weight + jnp.where(jnp.isfinite(rise), (lam - cloud.lam) * rise, -jnp.inf)
    gained = jax.scipy.special.logsumexp(weight)
    cloud = cloud._replace(
        key=key,
        lam=lam,
        log_weight=jnp.where(jnp.isfinite(gained), weight - gained, cloud.log_weight),
        log_evidence=cloud.log_evidence + gained,
        stage=cloud.stage + 1,
    )

    def renew() -> SMCState:
        return _move(key_move, _resample(key_resample, cloud), _cholesky_of(cloud), space, pair, settings, aware)

    # On the way over a bridge the draws move at every pier, so that they never lag far behind.
    worn = (ess_fraction(cloud.log_weight) < settings.resample_below) | (lam < 1)
    degenerate = worn & jnp.isfinite(gained)
    return jax.lax.cond(degenerate, renew, lambda: cloud)


def _cholesky_of(cloud: SMCState) -> Array:
    """(p, p) Cholesky factor of the weighted covariance of the cloud, shrunk a little to its diagonal."""
    draws, size = cloud.z.shape
    weight = jnp.exp(cloud.log_weight)
    gap = cloud.z - (weight @ cloud.z)[None]
    covariance = (gap * weight[:, None]).T @ gap
    spread = jnp.maximum(jnp.diagonal(covariance), 1e-12)
    effective = draws * ess_fraction(cloud.log_weight)
    keep = effective / (effective + size + 1.0)
    lower, ok = cholesky(keep * covariance + (1.0 - keep) * jnp.diag(spread))
    return jnp.where(ok, lower, jnp.diag(jnp.sqrt(spread)))


def _resample(key: Array, cloud: SMCState) -> SMCState:
    """Systematic resampling: every draw is kept floor or ceil of its expected number of times."""
    draws = cloud.log_weight.size
    index = systematic_resample(key, cloud.log_weight, draws)
    even = jnp.full_like(cloud.log_weight, -math.log(draws))
    return cloud._replace(
        z=cloud.z[index],
        value=cloud.value[:, index],
        log_weight=even,
        evidence_variance=cloud.evidence_variance + weight_variance(cloud.log_weight),
    )


class MoveState(NamedTuple):
    key: Array
    z: Array
    value: Array
    step_size: Array
    turn: Array  # trajectories and jumps so far
    moves: Array  # trajectories so far
    correlation: Array
    acceptance: Array
    gradients: Array
    divergences: Array


def _move(
    key: Array,
    cloud: SMCState,
    lower: Array,
    space: UnconstrainedDensity,
    pair: Observations,
    settings: Settings,
    aware: Array,
) -> SMCState:
    """Hamiltonian trajectories at the cloud's temperature until the draws have forgotten where they were.

    Where three of them do not suffice, each is followed by jumps: from mode to mode, over cliffs of the density.
    """

    def field(z: Array) -> tuple[Array, Array, Array]:
        return space.tempered(z, pair, cloud.lam, aware)

    bridging = (cloud.lam < 1) | (cloud.stage > 1)

    def features(z: Array, value: Array) -> Array:
        """Whitened coordinates, and on a bridge the log likelihood: what the evidence is made of."""
        fit = jnp.where(bridging & jnp.isfinite(value[0]), value[0], 0.0)
        return jnp.concatenate([solve_lower(lower, z.T).T, fit[:, None]], axis=1)

    home, one, none = features(cloud.z, cloud.value), jnp.ones_like(cloud.lam), jnp.asarray(0)
    start = MoveState(
        key, cloud.z, cloud.value, cloud.step_size, none, none, one, one, cloud.gradients, cloud.divergences
    )

    def going(walk: MoveState) -> Array:
        return (walk.moves < settings.max_moves) & (walk.correlation > settings.max_correlation)

    def once(walk: MoveState) -> MoveState:
        walk = _turn(walk, cloud.z, lower, field, settings)
        return walk._replace(correlation=_correlation(home, features(walk.z, walk.value)))

    end = jax.lax.while_loop(going, once, start)
    return cloud._replace(
        z=end.z,
        value=end.value,
        step_size=end.step_size,
        correlation=jnp.maximum(cloud.correlation, end.correlation),
        acceptance=jnp.minimum(cloud.acceptance, end.acceptance),
        gradients=end.gradients,
        divergences=end.divergences,
    )


def _turn(
    walk: MoveState, home: Array, lower: Array, field: Callable[[Array], tuple[Array, Array, Array]], settings: Settings
) -> MoveState:
    """One Hamiltonian trajectory of every draw, about a quarter of a period of the cloud long, or one jump of each."""
    key, key_momentum, key_length, key_jump, key_accept = jax.random.split(walk.key, 5)
    dtype, draws = walk.z.dtype, walk.z.shape[0]
    jumping = (walk.turn >= 3) & (walk.turn % (JUMPS + 1) != 2)
    momentum = jnp.where(jumping, 0.0, jax.random.normal(key_momentum, walk.z.shape, dtype))
    leaped = jnp.where(jumping, _jumps(key_jump, home), 0.0)
    # A random length, the same for all, so that no direction is travelled back to where it began (Neal 2011, 5.4.2).
    angle = math.pi / 2 * jax.random.uniform(key_length, dtype=dtype, minval=0.6, maxval=1.2)
    steps = jnp.clip(jnp.ceil(angle / walk.step_size), 1, settings.max_leapfrog).astype(int)
    size = jnp.where(jumping, 0.0, jnp.minimum(walk.step_size, angle / steps))
    steps = jnp.where(jumping, 1, steps)

    def leap(k: Array, at: tuple) -> tuple:
        """Drift and kick. Turn 0 stays where it is: it only finds the first slope, so that `field` compiles once."""
        z, p, begun, _energy, _value = at
        z = jnp.where(k > 0, z + size * p @ lower.T + leaped, z)
        energy, slope, value = field(z)
        kick = jnp.where((k == 0) | (k == steps), 0.5, 1.0) * size
        return z, p - kick * slope @ lower, jnp.where(k == 0, energy, begun), energy, value

    nothing = jnp.zeros(draws, dtype)
    at = (walk.z, momentum, nothing, nothing, walk.value)
    z, p, begun, energy, value = jax.lax.fori_loop(0, steps + 1, leap, at)
    error = energy + 0.5 * jnp.sum(p**2, axis=1) - begun - 0.5 * jnp.sum(momentum**2, axis=1)
    error = jnp.where(jnp.isfinite(error), error, jnp.inf)
    chance = jnp.exp(-jnp.maximum(error, 0.0))
    taken = jax.random.uniform(key_accept, (draws,), dtype) < chance
    mean = jnp.where(jumping, walk.acceptance, jnp.mean(chance))
    # The mean over the cloud hardly scatters, so the step size may follow it at once.
    followed = jnp.clip(walk.step_size * jnp.exp(1.5 * (mean - settings.target_accept)), 1e-3, 1.5)
    return walk._replace(
        key=key,
        z=jnp.where(taken[:, None], z, walk.z),
        value=jnp.where(taken[None], value, walk.value),
        step_size=jnp.where(jumping, walk.step_size, followed),
        turn=walk.turn + 1,
        moves=walk.moves + ~jumping,
        acceptance=mean,
        gradients=walk.gradients + draws * (steps + 1),
        divergences=walk.divergences + jnp.where(jumping, 0, jnp.sum(error > 1000.0)),
    )


def _jumps(key: Array, home: Array) -> Array:
    """(draws, p) the difference of two draws of the cloud for each, in some of its coordinates, few or many.

    Differential evolution (ter Braak 2006, Stat. Comput. 16, 239): whole differences lead from mode to mode. The cloud
    is the one before the moves, so that a jump and its reverse are equally probable.
    """
    draws, size = home.shape
    key_pair, key_where = jax.random.split(key)
    # Two of the others: by its own start a draw would be drawn onto another one.
    first, second = (jnp.arange(draws)[None] + jax.random.randint(key_pair, (2, draws), 1, draws)) % draws
    mark, share = jax.random.uniform(key_where, (draws, size + 1)), slice(size, None)
    return jnp.where(mark[:, :size] < mark[:, share], home[first] - home[second], 0.0)


def _correlation(before: Array, after: Array) -> Array:
    """The largest correlation over coordinates (draws, p) between two positions of the same draws."""
    a, b = before - before.mean(axis=0)[None], after - after.mean(axis=0)[None]
    scale = jnp.sqrt(jnp.sum(a**2, axis=0) * jnp.sum(b**2, axis=0))
    return jnp.max(jnp.sum(a * b, axis=0) / jnp.maximum(scale, jnp.finfo(scale.dtype).tiny))


def _report(cloud: SMCState, settings: Settings) -> Info:
    share = ess_fraction(cloud.log_weight)
    # With n draws an estimated correlation scatters by 1 / sqrt(n); it does not count as failure below that.
    limit = settings.max_correlation + 2.0 / math.sqrt(settings.draws)
    outcome = Status.worst(
        (~jnp.isfinite(cloud.log_evidence), Status.NOT_FINITE),
        (cloud.lam < 1, Status.BRIDGE_NOT_CROSSED),
        (cloud.divergences > 0.01 * jnp.maximum(cloud.gradients, 1), Status.DIVERGENT),
        (cloud.correlation > limit, Status.MOVES_NOT_MIXED),
    )
    size = share * settings.draws
    error = jnp.sqrt(cloud.evidence_variance + weight_variance(cloud.log_weight))
    return Info.unknown(size.dtype)._replace(
        outcome=outcome,
        ess_bulk=size,
        divergences=cloud.divergences,
        acceptance=cloud.acceptance,
        gradients=cloud.gradients,
        evidence_error=error,
    )
