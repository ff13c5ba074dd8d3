"""The No-U-Turn sampler: numpyro's kernel driven by one scan inside one compiled function.

`numpyro.infer.MCMC` traces and compiles anew for every data set; here data are arguments of fixed shape, so a
campaign compiles once. A later fit starts where the last one ended: its positions, step size and mass matrix.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from numpyro.infer import NUTS

from gpax_lab.core import Status
from gpax_lab.core._ahead import Ahead, compile_ahead
from gpax_lab.core._interning import interned
from gpax_lab.core._observations import Observations
from gpax_lab.inference import _diagnostics as diagnostics
from gpax_lab.inference._checks import check_own, check_start
from gpax_lab.inference._density import UnconstrainedDensity, start, unconstrained_density
from gpax_lab.inference._posterior import Info, Posterior, Sampler, conditioning_ahead
from gpax_lab.models._model import Model


class Tuning(NamedTuple):
    """Where the chains ended: position (chains, p), step_size (chains,), inverse_mass (chains, p)."""

    position: Array
    step_size: Array
    inverse_mass: Array


class Settings(NamedTuple):
    """The static settings of one fit; see `nuts`."""

    num_warmup: int
    num_samples: int
    num_chains: int
    thin_to: int
    adapt_mass: bool
    target_accept: float
    max_tree_depth: int
    max_r_hat: float
    min_ess: float


class _Trace(NamedTuple):
    z: Array
    diverging: Array
    steps: Array
    accept: Array


@interned
def nuts(
    num_warmup: int = 300,
    num_samples: int = 300,
    num_chains: int = 1,
    thin_to: int | None = 64,
    rewarm: int | None = None,
    target_accept: float = 0.8,
    max_tree_depth: int = 8,
    max_r_hat: float = 1.05,
    min_ess: float = 50.0,
) -> Sampler:
    """Sample the posterior by the No-U-Turn sampler (Hoffman & Gelman 2014; numpyro's implementation).

    Args:
        num_warmup: warm-up iterations of the first fit, in which step size and mass matrix adapt.
        num_samples: iterations kept per chain; all of them enter the diagnostics.
        num_chains: chains, run one after the other (on a CPU faster than in lockstep).
        thin_to: draws kept for prediction and decisions, evenly thinned from all; None keeps every one.
        rewarm: warm-up iterations of later fits, which start from the last positions, step size and mass matrix
            (the mass matrix then stays). None repeats the full warm-up of the first fit from the last positions.
        target_accept: acceptance statistic aimed at; higher means smaller steps.
        max_tree_depth: a trajectory takes at most 2^depth - 1 steps.
        max_r_hat: R-hat above which the status is "not mixed".
        min_ess: bulk effective sample size below which the status is "not mixed".

    Returns:
        A Sampler whose posterior carries R-hat, ESS, divergences and a `Status`.

    Raises:
        ValueError: a count is too small, for diagnostics or at all, or a probability is none.
    """
    if num_warmup < 10 or num_samples < 8 or num_chains < 1:
        raise ValueError("nuts needs num_warmup >= 10, num_samples >= 8 and num_chains >= 1.")
    if (thin_to is not None and thin_to < 1) or (rewarm is not None and rewarm < 0) or max_tree_depth < 1:
        raise ValueError("nuts needs thin_to >= 1 or None, rewarm >= 0 or None, and max_tree_depth >= 1.")
    if not 0 < target_accept < 1:
        raise ValueError(f"target_accept is a probability between 0 and 1; got {target_accept}.")
    total = num_samples * num_chains
    first = Settings(
        num_warmup=num_warmup,
        num_samples=num_samples,
        num_chains=num_chains,
        thin_to=total if thin_to is None else min(thin_to, total),
        adapt_mass=True,
        target_accept=target_accept,
        max_tree_depth=max_tree_depth,
        max_r_hat=max_r_hat,
        min_ess=min_ess,
    )
    later = first if rewarm is None else first._replace(num_warmup=rewarm, adapt_mass=False)

    def init(key: Array, model: Model, obs: Observations) -> Posterior:
        check_start(key, model, obs)
        compile_ahead(programs, key, model, obs)
        key_start, key_fit = jax.random.split(key)
        return _fit(key_fit, model, obs, _cold_start(key_start, model, obs, num_chains), first).conditioned(obs)

    def update(key: Array, posterior: Posterior, obs: Observations) -> Posterior:
        check_own(posterior, Tuning, "nuts")
        if len(posterior.tuning.step_size) != num_chains:
            raise ValueError(
                f"this posterior has {len(posterior.tuning.step_size)} chains, the sampler {num_chains}: give as many, "
                "or use init."
            )
        posterior.model.check_columns(obs)
        return _fit(key, posterior.model, obs, posterior.tuning, later).conditioned(obs)

    def programs(ahead: Ahead, key: Array, model: Model, obs: Observations) -> Posterior:
        start = ahead(_cold_start, key, model, obs, num_chains)
        return conditioning_ahead(ahead, ahead(_fit, key, model, obs, start, first), obs)

    return Sampler(init, update, yields_evidence=False, programs=programs)


@partial(jax.jit, static_argnames=("model", "chains"))
def _cold_start(key: Array, model: Model, obs: Observations, chains: int) -> Tuning:
    space = unconstrained_density(model, obs.y.dtype)
    position = jax.lax.map(lambda k: start(k, space, obs), jax.random.split(key, chains))
    ones = jnp.ones((chains, space.size), obs.y.dtype)
    return Tuning(position, 0.1 * ones[:, 0], ones)


def _run_chain(
    key: Array, tuning: Tuning, space: UnconstrainedDensity, obs: Observations, settings: Settings
) -> tuple[Tuning, _Trace]:
    """One chain: warm-up and draws in one scan, so that the kernel is compiled once."""
    kernel = NUTS(
        potential_fn=lambda z: space.potential(z, obs),
        step_size=tuning.step_size,
        inverse_mass_matrix=tuning.inverse_mass,
        adapt_mass_matrix=settings.adapt_mass,
        target_accept_prob=settings.target_accept,
        max_tree_depth=settings.max_tree_depth,
    )
    state = kernel.init(key, settings.num_warmup, tuning.position, (), {})

    def step(state, _):
        state = kernel.sample(state, (), {})
        return state, _Trace(state.z, state.diverging, state.num_steps, state.accept_prob)

    state, trace = jax.lax.scan(step, state, None, length=settings.num_warmup + settings.num_samples)
    adapted = state.adapt_state
    return Tuning(state.z, adapted.step_size, adapted.inverse_mass_matrix), trace


@partial(jax.jit, static_argnames=("model", "settings"))
def _fit(key: Array, model: Model, obs: Observations, tuning: Tuning, settings: Settings) -> Posterior:
    space = unconstrained_density(model, obs.y.dtype)
    keys = jax.random.split(key, settings.num_chains)
    started = jax.lax.map(lambda z: space.potential(z, obs), tuning.position)
    before = tuning
    tuning, trace = jax.lax.map(lambda a: _run_chain(a[0], a[1], space, obs, settings), (keys, before))
    after = jax.tree.map(lambda leaf: leaf[:, settings.num_warmup :], trace)
    if not settings.adapt_mass:
        tuning = tuning._replace(inverse_mass=_blend(before.inverse_mass, after.z))
    flat = after.z.reshape(-1, space.size)
    kept = flat[jnp.linspace(0, flat.shape[0] - 1, settings.thin_to).round().astype(int)]
    params = jax.vmap(space.constrain)(kept)
    info = _diagnose(after, jnp.sum(trace.steps), jnp.isfinite(started), settings)
    log_weight = jnp.full(settings.thin_to, -jnp.log(settings.thin_to), obs.y.dtype)
    return Posterior(
        params=params,
        log_weight=log_weight,
        log_evidence=jnp.full((), jnp.nan, obs.y.dtype),
        factor=None,
        info=info,
        tuning=tuning,
        model=model,
    )


def _blend(old: Array, z: Array) -> Array:
    """Next inverse mass (chains, p): the variance of the draws z (chains, n, p), held near the old one.

    A chain that hardly moved would otherwise report a tiny variance, take tiny steps, and never move again.
    """
    n = z.shape[0] * z.shape[1]
    variance = jnp.var(z.reshape(n, -1), axis=0)
    return jnp.clip((n * variance[None] + 20.0 * old) / (n + 20.0), 0.2 * old, 5.0 * old)


def _diagnose(after: _Trace, gradients: Array, started: Array, settings: Settings) -> Info:
    r_hat, bulk, tail = jax.lax.map(diagnostics.summary, jnp.moveaxis(after.z, -1, 0))
    r_hat, bulk, tail = jnp.max(r_hat), jnp.min(bulk), jnp.min(tail)
    divergences = jnp.sum(after.diverging)
    saturated = jnp.mean(after.steps >= 2**settings.max_tree_depth - 1)
    status = Status.worst(
        (~jnp.any(started), Status.NOT_FINITE),
        (divergences > 0.01 * after.diverging.size, Status.DIVERGENT),
        (saturated > 0.5, Status.SATURATED),
        (~(r_hat <= settings.max_r_hat) | (bulk < settings.min_ess), Status.NOT_MIXED),
    )
    return Info.unknown(r_hat.dtype)._replace(
        status=status,
        r_hat=r_hat,
        ess_bulk=bulk,
        ess_tail=tail,
        divergences=divergences,
        saturated=saturated,
        acceptance=jnp.mean(after.accept),
        gradients=gradients,
    )
