"""Is any of the hypotheses any good? Posterior predictive checks of observations against what a model says of them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from gpax_lab.core import Status
from gpax_lab.core._ahead import Ahead, compile_ahead
from gpax_lab.core._linalg import cholesky, over_draws, solve_lower
from gpax_lab.core._observations import EMPTY, MEASURED, Observations
from gpax_lab.core._priors import Params
from gpax_lab.hypotheses._mixture import NONE_OF_THESE
from gpax_lab.hypotheses._model_average import ModelAverage
from gpax_lab.hypotheses._sensitivity import prior_sweep, with_width
from gpax_lab.inference._checks import check_seen
from gpax_lab.inference._posterior import Posterior
from gpax_lab.models._model import DrawsJointly, Model, able

REPLICATES = 64
"""Sets of residuals drawn for each draw of the posterior, to compare with."""
DOUBT = 0.01
"""A check this improbable says that the model misses something."""
SWEPT = (0.5, 1.0, 2.0)
"""Factors of the width of priors that the report tries, from the draws at hand."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class PredictiveCheck:
    """How observations look to a model that has seen them. Small probabilities speak against the model.

    Attributes:
        pit: (capacity,) probability integral transform of each observation given the others, for a process, or given
            the parameters, for a law alone: uniform on [0, 1] for a good model; NaN in slots without an observation.
        size: () p-value of the size of the residuals: the probability of residuals as large as these. Insensitive where
            the noise was inferred, which absorbs the misfit.
        structure: () p-value of the correlation between residuals of neighbouring points, the probability of one as
            large as this: what the law misses is smooth, noise is not.
        held_out: (capacity,) log density of each observation as predicted by all others [nat]; 0 in slots without
            one. Unlike the evidence it hardly depends on how wide priors are.
    """

    pit: Array
    size: Array
    structure: Array
    held_out: Array


def predictive_check(key: Array, posterior: Posterior, obs: Observations) -> PredictiveCheck:
    """Posterior predictive checks of one model (Gelman, Meng & Stern 1996, Statistica Sinica 6, 733).

    Given its parameters a model holds that the observations are normal with a known mean and covariance. For every
    draw, their Mahalanobis distance is compared with its chi-square distribution, and the mean product of each left-out
    residual with that of its nearest neighbour with residuals drawn from the model. Probabilities are averaged over
    draws. With `StudentNoise` observations of a process are normal given the excess of each of them, which is a
    parameter; residuals of a law are replaced by normal scores of the same probability. The posterior has seen the
    observations it is checked by, so they tend to the middle: a small one is news. Held-out densities are those of
    draws weighted back to what they would be without the observation (`held_out`).

    Args:
        key: random key of the replicates.
        posterior: conditioned on these observations.
        obs: the observations.

    Raises:
        ValueError: the model standardises observations by themselves, so that it held nothing before it saw them; or
            fewer than three observations, or others than the posterior knows.
    """
    if posterior.model.standardized:
        raise ValueError(
            "a model that standardises observations by themselves held nothing possible before it saw them: give it "
            "standardize=(location, scale)."
        )
    if not isinstance(obs.status, jax.core.Tracer):
        count = int(np.sum(np.asarray(obs.status) == MEASURED))
        if count < 3:
            raise ValueError(f"a check needs three observations or more; there are {count}.")
        known = posterior.seen
        if known is not None and not isinstance(known, jax.core.Tracer) and int(np.sum(np.asarray(known))) != count:
            raise ValueError(
                f"this posterior knows {int(np.sum(np.asarray(known)))} observations, and {count} are to be checked: "
                "give those that it was fitted to, or condition it on these (`posterior.conditioned(obs)`)."
            )
    return _judged(_residuals(posterior.model, posterior.params, obs), posterior.log_weight, obs, key)


class _Residuals(NamedTuple):
    """What a model says of the observations, draw by draw.

    Attributes:
        white: (draws, capacity) white residuals.
        z: (draws, capacity) residuals given all others, in standard deviations.
        make: (draws, capacity, capacity) what turns white noise into such residuals.
        log_density: (draws, capacity) of each observation.
    """

    white: Array
    z: Array
    make: Array
    log_density: Array


@partial(jax.jit, static_argnames="model")
def _residuals(model: Model, params: Params, obs: Observations) -> _Residuals:
    measured, tails = obs.measured, model.tails
    nothing = obs._replace(status=jnp.full_like(obs.status, EMPTY))
    both, one = measured[:, None] & measured[None], jnp.eye(measured.size, dtype=obs.y.dtype)

    def of_one(params: Params) -> _Residuals:
        factor = model.condition(params, nothing)
        mean, covariance = able(model, DrawsJointly).joint(params, factor, obs.x)
        noise = model.noise_variance(params, factor, obs.x)
        noise = obs.noise + (noise if tails is None else noise / tails.fresh)
        residual = jnp.where(measured, obs.y - mean, 0.0)
        if tails is not None and "excess" not in params:  # a law has no covariance: every observation speaks for itself
            white = jnp.where(measured, tails.normal_score(residual, noise), 0.0)
            return _Residuals(white, white, one, tails.log_density(residual, noise))
        if tails is not None:
            noise = noise * tails.times(params, obs.capacity)
        lower, _ = cholesky(jnp.where(both, covariance + jnp.diag(noise), one))
        white = solve_lower(lower, residual)
        inverse = solve_lower(lower, one)  # K^-1 = inverse^T inverse
        scale = 1.0 / jnp.sqrt(jnp.sum(inverse**2, axis=0))
        z = scale * (inverse.T @ white)
        log_density = -0.5 * z**2 - jnp.log(scale) - 0.5 * math.log(2 * math.pi)
        return _Residuals(white, z, scale[:, None] * inverse.T, log_density)

    return over_draws(of_one, params)


@jax.jit  # of arrays alone: whatever the model, it is compiled once
def _judged(found: _Residuals, log_weight: Array, obs: Observations, key: Array) -> PredictiveCheck:
    white, z, make, log_density = found
    measured, weight = obs.measured, jnp.exp(log_weight)
    count, near = jnp.sum(measured), _nearest(obs)
    size = weight @ jax.scipy.stats.chi2.sf(jnp.sum(white**2, axis=1), count)

    def agreement(z: Array) -> Array:
        return jnp.sum(jnp.where(measured, z * z[near], 0.0)) / count

    def beaten(z: Array, make: Array, key: Array) -> Array:
        drawn = jax.random.normal(key, (REPLICATES, z.size), z.dtype) @ make.T
        return jnp.mean(jax.vmap(agreement)(jnp.where(measured[None], drawn, 0.0)) >= agreement(z))

    structure = weight @ jax.vmap(beaten)(z, make, jax.random.split(key, weight.size))
    pit = jnp.where(measured, weight @ jax.scipy.stats.norm.cdf(z), jnp.nan)
    return PredictiveCheck(pit, size, structure, jnp.where(measured, held_out(log_density, log_weight), 0.0))


def held_out(log_density: Array, log_weight: Array) -> Array:
    """(n,) log density of observations given all others, from draws that know all.

    Without observation i a draw has the weight w / p_i: importance weights, of which none may be above sqrt(S) times
    their mean (Ionides 2008, J. Comput. Graph. Stat. 17, 295; Gelfand 1996 for the identity).

    Args:
        log_density: (S, n) of each observation under each draw, given the parameters and, for a process, all others.
        log_weight: (S,) of the draws.
    """
    ratio = log_weight[:, None] - log_density
    ratio -= jax.scipy.special.logsumexp(ratio, axis=0)[None]
    ratio = jnp.minimum(ratio, -0.5 * math.log(log_weight.size))
    total = jax.scipy.special.logsumexp(ratio, axis=0)
    return jax.scipy.special.logsumexp(ratio + log_density, axis=0) - total


def _nearest(obs: Observations) -> Array:
    """(capacity,) slot of the nearest other observation, in units of the range of each input."""
    x = jnp.where(obs.measured[:, None], obs.x, jnp.nan)
    width = jnp.nanmax(x, axis=0) - jnp.nanmin(x, axis=0)
    at = obs.x / jnp.where(width > 0, width, 1.0)[None]
    apart = jnp.sum((at[:, None] - at[None]) ** 2, axis=-1)
    other = obs.measured[None] & ~jnp.eye(obs.y.shape[0], dtype=bool)
    return jnp.argmin(jnp.where(other, apart, jnp.inf), axis=1)


def comparison_report(posterior: ModelAverage, obs: Observations, key: Array | None = None) -> str:
    """What may be said of competing hypotheses, in words: probabilities, checks, and whether any of them will do.

    Beside the evidence stands how well each predicts an observation from all others. It warns where these disagree,
    where another one would be the most probable with priors half or twice as wide, and where a fit had trouble.

    Args:
        posterior: of a `model_average`.
        obs: its observations.
        key: random key of the checks.

    Raises:
        TypeError: the posterior is no ModelAverage.
        ValueError: observations of another shape, or without some that it knows.
    """
    if type(posterior) is not ModelAverage:
        raise TypeError(f"comparison_report takes the posterior of model_average(...); got {type(posterior).__name__}.")
    for one in posterior.posteriors:
        check_seen(one, obs)
    keys = jax.random.split(jax.random.key(0) if key is None else key, len(posterior.names))
    compile_ahead(_programs, keys[0], posterior, obs)
    checks = [predictive_check(k, p, obs) for p, k in zip(posterior.posteriors, keys, strict=True)]
    wide = max(map(len, posterior.names)) + 2
    heads = ("probability", "log evidence", "held out", "size of residuals", "their correlation")
    lines = [f"{int(obs.measured.sum())} observations", "".ljust(wide) + "".join(head.rjust(20) for head in heads)]
    order = np.argsort(-np.asarray(posterior.probability))
    for i in order:
        belief, check = posterior.posteriors[i], checks[i]
        cells = (
            f"{float(posterior.probability[i]):.3f} +- {float(posterior.probability_error[i]):.3f}",
            f"{float(belief.log_evidence):.2f} +- {float(belief.info.evidence_error):.2f}",
            f"{float(check.held_out.sum()):.2f}",
            f"p = {float(check.size):.3f}",
            f"p = {float(check.structure):.3f}",
        )
        lines.append(posterior.names[i].ljust(wide) + "".join(cell.rjust(20) for cell in cells))
    lines.append(_sentence(posterior, checks[order[0]], int(order[0])))
    lines += _against(posterior, checks, order)
    lines += _with_other_priors(posterior)
    for i in order:
        code = int(posterior.posteriors[i].info.status)
        if code != Status.OK:
            lines.append(f"{posterior.names[i]}: {Status.of(code).describe()}")
    return "\n".join(lines)


def _programs(ahead: Ahead, key: Array, posterior: ModelAverage, obs: Observations) -> None:
    """What a report on these posteriors calls."""
    for one in posterior.posteriors:
        ahead(_judged, ahead(_residuals, one.model, one.params, obs), one.log_weight, obs, key)
    stay = {NONE_OF_THESE, *posterior.hypotheses.adopted}
    for name, one in zip(posterior.names, posterior.posteriors, strict=True):
        if name not in stay:
            ahead(with_width, one, jax.ShapeDtypeStruct((), one.log_weight.dtype))


def _with_other_priors(posterior: ModelAverage) -> list[str]:
    """Who would lead with priors half or twice as wide, where that is another one, or why that can not be told."""
    try:
        sweep = prior_sweep(posterior, SWEPT)
    except ValueError as error:  # a hierarchical program whose draws are not its parameters
        return [f"Whether the width of priors decides was not tried: {error}"]
    if not sweep.overturned:
        return []
    over = sweep.factors[sweep.overtaken]
    leaders = [f"{posterior.names[m]} with priors {f:g} times as wide" for f, m in sweep.leaders() if f in over]
    return [f"The width of priors decides: {' and '.join(leaders)} would lead. See prior_sweep(...)."]


def _against(posterior: ModelAverage, checks: Sequence[PredictiveCheck], order: np.ndarray) -> list[str]:
    """A line where another one predicts held-out observations better than the most probable, by twice the error."""
    each, best = np.stack([np.asarray(check.held_out) for check in checks]), order[0]
    gain = each - each[best]
    count = max(int(np.sum(np.any(each != 0.0, axis=0))), 1)
    total = gain.sum(axis=1)
    # The error of a sum of differences, observation by observation (Vehtari, Gelman & Gabry 2017, Stat. Comput. 27,
    # 1413).
    error = np.sqrt(np.maximum(np.sum(gain**2, axis=1) - total**2 / count, 0.0) * count / max(count - 1, 1))
    other = int(total.argmax())
    if other == best or not total[other] > 2.0 * error[other]:
        return []
    names = posterior.names
    return [
        f"But {names[other]} predicts held-out observations better, by {total[other]:.1f} +- {error[other]:.1f} nats: "
        f"what {names[best]} has ahead it owes to its priors, or it misses something."
    ]


def _sentence(posterior: ModelAverage, check: PredictiveCheck, best: int) -> str:
    name, sure = posterior.names[best], float(posterior.probability[best])
    settled = f"{'settled' if sure >= 0.95 else 'not settled yet'} ({sure:.3f})"
    if name == NONE_OF_THESE:
        holds = "none of these hypotheses holds as it stands" if sure >= 0.95 else "perhaps none of these holds"
        return f"The process without any law is the most probable, {settled}: {holds}."
    if min(float(check.size), float(check.structure)) < DOUBT:
        return f"{name} is the best of these, but misses something: plot its residuals before you trust it."
    return f"{name} is the most probable, {settled}."
