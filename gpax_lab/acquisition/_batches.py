"""Acquisition functions for batches. Each takes account of the pending points, so a batch grows point by point."""

from functools import lru_cache

import jax
import jax.numpy as jnp
from jax import Array

from gpax_lab.acquisition._acquisition import (
    Acquisition,
    AcquisitionContext,
    Settings,
    Term,
    need_positive,
    only_among,
    term,
)
from gpax_lab.acquisition._domain import Region
from gpax_lab.acquisition._functions import sign_of
from gpax_lab.core._inputs import traced
from gpax_lab.core._interning import interned
from gpax_lab.core._observations import EMPTY, PENDING, VETOED, as_if_measured
from gpax_lab.core._types import ArrayLike


def _paths(context: AcquisitionContext, count: int) -> tuple[Array, Array]:
    """Drawn functions at the candidates (draws, count, m) and at the slots (draws, count, capacity)."""
    x = jnp.concatenate([context.x, context.obs.x])
    values = context.posterior.paths(context.obs, context.key, x, count)
    return values[..., : context.x.shape[0]], values[..., context.x.shape[0] :]


def _log_softplus(u: Array) -> Array:
    """log log(1 + e^u), linear in the lower tail."""
    inside = jnp.maximum(u, -30.0)
    return jnp.where(u > -30.0, jnp.log(jax.nn.softplus(inside)), u)


@lru_cache  # the same function for the same arguments, so that equal terms share what is compiled
def _q_log(count: int, noisy: bool) -> Term:
    return lambda context, settings: _q_log_values(context, settings, count, noisy)


def _q_log_values(context: AcquisitionContext, settings: Settings, count: int, noisy: bool) -> Array:
    sign, obs = settings["sign"].astype(context.x.dtype), context.obs
    here, at_slots = _paths(context, count)
    if not noisy:  # an observation counts with its posterior mean, a pending point as the function drawn has it
        mean, _ = context.posterior.predict(obs.x)
        at_slots = jnp.where(obs.measured[None, None], mean[:, None], at_slots)
    best = context.best(at_slots, as_if_measured(obs), sign)
    tiny = jnp.finfo(here.dtype).eps * (jnp.max(jnp.abs(here)) + jnp.finfo(here.dtype).tiny)
    soft = jnp.maximum(settings["temperature"].astype(here.dtype) * context.std, tiny)[:, None]
    values = _log_softplus((sign * here - best[..., None]) / soft) + jnp.log(soft)
    weight = context.log_weight[:, None, None] - jnp.log(count)
    return jax.scipy.special.logsumexp(values + weight, axis=(0, 1))


@interned
def q_log_nei(
    maximize: bool = True, paths: int = 2, temperature: float = 0.01, among: Region | ArrayLike | None = None
) -> Acquisition:
    """Log expected improvement of a batch under noise, by functions drawn from the posterior.

    E[max(f(x) - max over measured and pending slots of f, 0)] over `paths` functions of every draw, the same functions
    for all points of a batch, so that the greedy batch maximises the joint improvement (Balandat et al. 2020,
    arXiv:1910.06403; logarithm and smoothing after Ament et al. 2023, arXiv:2310.20708).

    Args:
        maximize: False to look for a minimum.
        paths: functions per posterior draw.
        temperature: width of the smoothing of max, in posterior standard deviations at the point.
        among: which slots count, as in `log_ei`.

    Raises:
        ValueError: paths or temperature is not above 0.
    """
    need_positive("q_log_nei", paths=paths, temperature=temperature)
    sign, function = sign_of(maximize), only_among(_q_log(paths, True), among)
    return term("q_log_nei", function, own_pending=True, sign=sign, temperature=temperature)


@interned
def q_log_ei(
    maximize: bool = True, paths: int = 2, temperature: float = 0.01, among: Region | ArrayLike | None = None
) -> Acquisition:
    """As `q_log_nei`, over the incumbent of `log_ei` (largest posterior mean of a draw) and the pending points.

    Args:
        maximize: False to look for a minimum.
        paths: functions per posterior draw.
        temperature: width of the smoothing of max, in posterior standard deviations at the point.
        among: which slots count, as in `log_ei`.

    Raises:
        ValueError: paths or temperature is not above 0.
    """
    need_positive("q_log_ei", paths=paths, temperature=temperature)
    sign, function = sign_of(maximize), only_among(_q_log(paths, False), among)
    return term("q_log_ei", function, own_pending=True, sign=sign, temperature=temperature)


def _path(context: AcquisitionContext, settings: Settings) -> Array:
    key_which, key_path = jax.random.split(context.key)
    which = jax.random.categorical(key_which, context.log_weight)
    value = context.posterior.path(which, context.obs, key_path, context.x)
    return settings["sign"].astype(value.dtype) * value


@interned
def thompson_path(maximize: bool = True) -> Acquisition:
    """Thompson sampling of a function that exists everywhere: for a box, and for pools too large for `thompson`.

    A draw of the parameters is chosen by weight and a function drawn by pathwise conditioning (Wilson et al. 2021).
    Each point of a batch gets a function of its own.

    Args:
        maximize: False to look for a minimum.
    """
    return term("thompson_path", _path, own_pending=True, sign=sign_of(maximize))


def _ucb_pe(context: AcquisitionContext, settings: Settings) -> Array:
    mean, std = context.moments()
    sign, beta = settings["sign"].astype(mean.dtype), settings["beta"].astype(mean.dtype)
    obs = context.obs
    at, _ = context.posterior.predict(obs.x)
    weight = jnp.exp(context.log_weight)
    # At a slot the process is known nearly without doubt, so its mean stands for the lower bound there.
    floor = jnp.max(jnp.where(context.counting(obs.measured), sign * (weight @ at), -jnp.inf))
    if context.domain is not None:
        predicted = jnp.max(sign * (weight @ context.domain.predicted))
        floor = jnp.where(context.counting(obs.measured).any(), floor, predicted)
    upper = sign * mean + beta * std
    explore = jnp.where(upper >= floor, std, std - jnp.max(std) - 1.0)
    return jnp.where(jnp.any(obs.status == PENDING), explore, upper)


@interned
def ucb_pe(beta: float = 2.0, maximize: bool = True, among: Region | ArrayLike | None = None) -> Acquisition:
    """The upper confidence bound for the first point, pure exploration for the others (Contal et al. 2013).

    While points are pending, the next is the one of largest standard deviation among those whose upper bound mean +
    beta std reaches the best that is known (arXiv:1304.5350); pending points shrink the deviation and leave the mean.

    Args:
        beta: standard deviations that are added to the mean.
        maximize: False to look for a minimum.
        among: which observations the best is over; None for those where may still be asked, as in `log_ei`.
    """
    return term("ucb_pe", only_among(_ucb_pe, among), sign=sign_of(maximize), beta=beta)


@lru_cache
def _min_distance(memory: int) -> Term:
    return lambda context, settings: _distance_rule(context, settings, memory)


def _distance_rule(context: AcquisitionContext, settings: Settings, memory: int) -> Array:
    obs, dtype = context.obs, context.x.dtype
    visited = (obs.status != EMPTY) & (obs.status != VETOED)
    order = jnp.arange(obs.capacity)
    last = jnp.max(jnp.where(visited, order, -1))
    age = jnp.sum(visited[None, :] & (order[None, :] > order[:, None]), axis=1)  # 0 for the last one
    remembered = visited & (age < memory) & (last >= 0)
    radius = settings["radius"].astype(dtype) * settings["relax"].astype(dtype) ** age
    distance = jnp.linalg.norm(context.x[:, None, :] - obs.x[None, :, :], axis=2)
    return jnp.where(jnp.any((distance < radius[None]) & remembered[None], axis=1), -jnp.inf, 0.0)


@interned
def min_distance(radius: float, memory: int = 10, relax: float = 0.8) -> Acquisition:
    """Forbids points near the last ones, the less the longer ago: GPim's `dscale`, to be added to any other.

    A point closer than radius relax^i to the i-th last point (i = 0, 1, ...) of the last `memory` ones is excluded
    (-inf). Where nothing is left the most remote point is taken. For a gentler rule see `distance_penalty`.

    Args:
        radius: smallest distance to the point asked last, unit of x.
        memory: how many points back it counts.
        relax: factor per point back, in (0, 1].

    Raises:
        ValueError: a number is out of range.
    """
    need_positive("min_distance", radius=radius, memory=memory, relax=relax)
    if not traced(relax) and relax > 1:
        raise ValueError(f"min_distance needs relax of at most 1, or the distance grows with age; got {relax}.")
    return term("min_distance", _min_distance(memory), radius=radius, relax=relax)
