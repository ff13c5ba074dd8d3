"""The established acquisition functions, averaged over posterior draws, improvement and its probability in logs."""

from dataclasses import replace
from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.special import log_ndtr

from gpax_lab.acquisition._acquisition import Acquisition, AcquisitionContext, Settings, Term, goals, only_among, term
from gpax_lab.acquisition._domain import Region
from gpax_lab.acquisition._logspace import log_improvement, log_mean_exp
from gpax_lab.core._interning import interned
from gpax_lab.core._linalg import cholesky, jitter
from gpax_lab.core._observations import EMPTY, VETOED
from gpax_lab.core._types import ArrayLike

LARGEST_JOINT_DRAW = 4096
"""Candidates that one joint draw may have: its covariance takes 128 MiB in float64."""


def sign_of(maximize: bool) -> float:
    """+1 or -1.

    Raises:
        TypeError: neither True nor False.
    """
    if not isinstance(maximize, bool | np.bool_):
        raise TypeError(f"maximize is True to look for a maximum, False for a minimum; got {maximize!r}.")
    return 1.0 if maximize else -1.0


def _gap(context: AcquisitionContext, settings: Settings) -> tuple[Array, Array]:
    """How far the mean lies above the incumbent, and the standard deviation; (draws, m) both, maximisation sense.

    The incumbent of a draw is its largest posterior mean at a measured point of the domain: under noise the largest
    observation would be the luckiest one (Letham et al. 2019, arXiv:1706.07094).
    """
    obs = context.obs
    at_measured, _ = context.posterior.predict(obs.x)
    sign = settings["sign"].astype(context.mean.dtype)
    best = context.best(at_measured, obs.measured, sign)[:, None]
    tiny = jnp.finfo(context.mean.dtype).eps * (jnp.max(jnp.abs(context.mean)) + jnp.finfo(context.mean.dtype).tiny)
    return sign * context.mean - best - settings["xi"].astype(best.dtype), jnp.maximum(context.std, tiny)


def _log_ei(context: AcquisitionContext, settings: Settings) -> Array:
    gap, std = _gap(context, settings)
    return log_mean_exp(jnp.log(std) + log_improvement(gap / std), context.log_weight)


@interned
def log_ei(maximize: bool = True, xi: float = 0.0, among: Region | ArrayLike | None = None) -> Acquisition:
    """Log expected improvement log E[max(f - best, 0)] (Jones et al. 1998; log form Ament et al. 2023).

    `best` is over the observations that lie where may still be asked: in a campaign those within the candidates' box,
    so that an observation of another task, of a cheaper fidelity or outside of a window is nothing to improve on. Where
    none lies there it is the best that is predicted there. Called by itself, without a domain, it is over all
    observations.

    Args:
        maximize: False to look for a minimum.
        xi: improvement below this (unit of y) does not count.
        among: which observations count instead: a function x (d,) -> bool, or bounds (d, 2).
    """
    return term("log_ei", only_among(_log_ei, among), sign=sign_of(maximize), xi=xi)


def _log_pi(context: AcquisitionContext, settings: Settings) -> Array:
    gap, std = _gap(context, settings)
    return log_mean_exp(log_ndtr(gap / std), context.log_weight)


@interned
def log_pi(maximize: bool = True, xi: float = 0.0, among: Region | ArrayLike | None = None) -> Acquisition:
    """Log probability of improving on the best point by more than `xi` (Kushner 1964).

    Args:
        maximize: False to look for a minimum.
        xi: improvement below this (unit of y) does not count.
        among: which observations count, as in `log_ei`.
    """
    return term("log_pi", only_among(_log_pi, among), sign=sign_of(maximize), xi=xi)


def _ucb(context: AcquisitionContext, settings: Settings) -> Array:
    mean, std = context.moments()
    return settings["sign"].astype(mean.dtype) * mean + settings["beta"].astype(mean.dtype) * std


@interned
def ucb(beta: float = 2.0, maximize: bool = True) -> Acquisition:
    """Upper confidence bound mean + beta std of the mixture over draws (Srinivas et al. 2010, arXiv:0912.3995).

    With `maximize=False`, beta std - mean: the (negative) lower confidence bound.

    Args:
        beta: standard deviations that are added to the mean.
        maximize: False to look for a minimum.
    """
    return term("ucb", _ucb, sign=sign_of(maximize), beta=beta)


@lru_cache  # the same function for the same term, so that equal terms share what is compiled
def _learning(goal: Term, logarithm: bool) -> Term:
    def value(context: AcquisitionContext, settings: Settings) -> Array:
        obs, std = context.obs, context.moments()[1]
        asked = jnp.sum((obs.status != EMPTY) & (obs.status != VETOED))
        least = jnp.log(jnp.maximum(std, jnp.finfo(std.dtype).tiny)) if logarithm else std
        return jnp.where((asked + 1) % settings["every"] == 0, least, goal(context, settings))

    return value


@interned
def learning(acquisition: Acquisition, every: int = 3) -> Acquisition:
    """The same acquisition function, but every n-th point (seeds counted) is measured where least is known.

    A process that explains its first observations may be sure, and wrong, of points that look almost like them; a third
    of the points keeps a campaign from ending at the optimum of those (`benchmarks/stuck.py`). Terms that seek an
    optimum give way to the standard deviation, or to its logarithm where they are logarithms; penalties stay.

    Args:
        acquisition: e.g. `log_ei() + feasible(0.1)`.
        every: how often a point is spent on learning; 2 or more. Kept as an array, as all settings.

    Raises:
        ValueError: every < 2, or no term seeks an optimum.
    """
    if every < 2:
        raise ValueError(f"every point can not be spent on learning: every must be at least 2; got {every}.")
    seeking = goals(acquisition)
    if not any(seeking):
        raise ValueError(f"{acquisition.names} seek no optimum, so there is nothing that points could be taken from.")
    number = jnp.asarray(every)
    return replace(
        acquisition,
        terms=tuple(
            _learning(t, "log" in n) if g else t
            for t, n, g in zip(acquisition.terms, acquisition.names, seeking, strict=True)
        ),
        settings=tuple({**s, "every": number} if g else s for s, g in zip(acquisition.settings, seeking, strict=True)),
    )


@interned
def seek(maximize: bool = True, beta: float = 2.0, every: int = 3) -> Acquisition:
    """The default of this library: the upper confidence bound, and every third point where least is known.

    `learning(ucb(beta, maximize), every)`; the two numbers were chosen in `benchmarks/stuck.py`.

    Args:
        maximize: False to look for a minimum.
        beta: standard deviations that are added to the mean.
        every: how often a point is spent on learning; 2 or more.

    Raises:
        ValueError: every < 2.
    """
    return replace(learning(ucb(beta, maximize), every), names=("seek",))


def _uncertainty(context: AcquisitionContext, settings: Settings) -> Array:
    return context.moments()[1]


@interned
def uncertainty() -> Acquisition:
    """Standard deviation of the mixture over draws: measure where least is known (unit of y)."""
    return term("uncertainty", _uncertainty)


def _disagreement(context: AcquisitionContext, settings: Settings) -> Array:
    weight = jnp.exp(context.log_weight)
    return jnp.sqrt(weight @ (context.mean - (weight @ context.mean)[None]) ** 2)


@interned
def disagreement() -> Acquisition:
    """Standard deviation between the draws' means: where the hypotheses on the parameters part (unit of y).

    Query by committee over a Bayesian posterior (Riis et al. 2022, arXiv:2205.10186).
    """
    return term("disagreement", _disagreement)


def _thompson(context: AcquisitionContext, settings: Settings) -> Array:
    if context.x.shape[0] > LARGEST_JOINT_DRAW:
        raise ValueError(
            f"Thompson draws jointly over at most {LARGEST_JOINT_DRAW} candidates; got {context.x.shape[0]}. Use a "
            "coarser grid, a random part of the pool, or another acquisition function."
        )
    key_which, key_draw = jax.random.split(context.key)
    which = jax.random.categorical(key_which, context.log_weight)
    mean, covariance = context.posterior.joint(which, context.x)
    level = jnp.mean(jnp.diagonal(covariance))
    # A draw needs only a rough square root: a relative nugget of 1e-6 keeps smooth kernels positive definite.
    nugget = jnp.maximum(1e-6, jitter(mean.dtype)) * level + jnp.finfo(mean.dtype).tiny
    lower, _ = cholesky(covariance + nugget * jnp.eye(mean.size, dtype=mean.dtype))
    return settings["sign"].astype(mean.dtype) * (mean + lower @ jax.random.normal(key_draw, mean.shape, mean.dtype))


@interned
def thompson(maximize: bool = True) -> Acquisition:
    """One function drawn from the posterior (Thompson 1933): its maximum is the next point.

    A draw of the parameters is chosen by weight and one function over all candidates is drawn jointly.

    Args:
        maximize: False to look for a minimum.
    """
    return term("thompson", _thompson, joint=True, sign=sign_of(maximize))


def _random(context: AcquisitionContext, settings: Settings) -> Array:
    words = jax.lax.bitcast_convert_type(context.x, jnp.uint32).reshape(context.x.shape[0], -1)

    def one(words: Array) -> Array:
        # The point itself is part of the key: candidates looked at in chunks do not share their luck.
        key, _ = jax.lax.scan(lambda key, word: (jax.random.fold_in(key, word), None), context.key, words)
        return jax.random.uniform(key, dtype=context.x.dtype)

    return jax.vmap(one)(words)


@interned
def random() -> Acquisition:
    """Every candidate as good as any other: what a cleverer choice has to beat."""
    return term("random", _random)
