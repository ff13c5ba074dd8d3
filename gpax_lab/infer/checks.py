"""Is any of the hypotheses any good? Posterior predictive checks of readings against what a model says of them."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from gpax_lab.infer import outcomes
from gpax_lab.infer.posterior import Posterior
from gpax_lab.infer.race import NONE_OF_THESE, Race
from gpax_lab.linalg import over_draws
from gpax_lab.observations import Observations

REPLICATES = 64
"""Sets of residuals drawn for each draw of the posterior, to compare with."""
DOUBT = 0.01
"""A check this improbable says that the model misses something."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class PredictiveCheck:
    """How readings look to a model that has seen them. Small probabilities speak against the model.

    Attributes:
        pit: (capacity,) probability integral transform of each reading given the others, for a process, or given the
            parameters, for a law alone: uniform on [0, 1] for a good model; NaN in slots without a reading.
        size: () probability of residuals as large as these. Blind where the noise was inferred: it takes the misfit.
        structure: () probability of neighbours' residuals that agree as much as these: what the law misses is smooth,
            noise is not.
    """

    pit: Array
    size: Array
    structure: Array


@jax.jit
def predictive_check(posterior: Posterior, obs: Observations, key: Array) -> PredictiveCheck:
    """Posterior predictive checks of one model (Gelman, Meng & Stern 1996, Statistica Sinica 6, 733).

    For every draw the residuals z = (y - mean) / sd are compared with standard normal ones by two discrepancies: their
    sum of squares, and the mean product of each with that of its nearest neighbour. Probabilities are averaged over
    draws. A posterior has seen the readings it is checked by, so they are somewhat too large, never too small.

    Args:
        posterior: conditioned on these readings.
        obs: the readings; at least three of them measured.
        key: random key of the replicates.
    """
    mean, variance = over_draws(lambda params: posterior.model.leave_one_out(params, obs), posterior.params)
    measured, weight = obs.measured, jnp.exp(posterior.log_weight)
    z = jnp.where(measured[None], (obs.y[None] - mean) / jnp.sqrt(variance), 0.0)
    count = jnp.sum(measured)
    size = weight @ jax.scipy.stats.chi2.sf(jnp.sum(z**2, axis=1), count)
    near = _nearest(obs)

    def agreement(z: Array) -> Array:
        return jnp.sum(jnp.where(measured, z * z[near], 0.0)) / count

    def beaten(z: Array, key: Array) -> Array:
        drawn = jax.random.normal(key, (REPLICATES, z.size), z.dtype)
        return jnp.mean(jax.vmap(agreement)(jnp.where(measured[None], drawn, 0.0)) >= agreement(z))

    structure = weight @ jax.vmap(beaten)(z, jax.random.split(key, weight.size))
    pit = jnp.where(measured, weight @ jax.scipy.stats.norm.cdf(z), jnp.nan)
    return PredictiveCheck(pit, size, structure)


def _nearest(obs: Observations) -> Array:
    """(capacity,) slot of the nearest other reading, in units of the range of each input."""
    x = jnp.where(obs.measured[:, None], obs.x, jnp.nan)
    width = jnp.nanmax(x, axis=0) - jnp.nanmin(x, axis=0)
    at = obs.x / jnp.where(width > 0, width, 1.0)[None]
    apart = jnp.sum((at[:, None] - at[None]) ** 2, axis=-1)
    other = obs.measured[None] & ~jnp.eye(obs.y.shape[0], dtype=bool)
    return jnp.argmin(jnp.where(other, apart, jnp.inf), axis=1)


def verdict(posterior: Race, obs: Observations, key: Array | None = None) -> str:
    """What may be said of competing hypotheses, in words: probabilities, checks, and whether any of them will do.

    Args:
        posterior: of a `race`.
        obs: its readings.
        key: random key of the checks.

    Raises:
        TypeError: the posterior is no Race.
    """
    if not isinstance(posterior, Race):
        raise TypeError(f"a verdict is on several hypotheses, the posterior of race(...); got {type(posterior)}.")
    keys = jax.random.split(jax.random.key(0) if key is None else key, len(posterior.names))
    checks = [predictive_check(p, obs, k) for p, k in zip(posterior.posteriors, keys, strict=True)]
    wide = max(map(len, posterior.names)) + 2
    heads = ("probability", "log evidence", "residuals so large", "so alike nearby")
    lines = [f"{int(obs.measured.sum())} readings", "".ljust(wide) + "".join(head.rjust(20) for head in heads)]
    order = np.argsort(-np.asarray(posterior.probability))
    for i in order:
        belief, check = posterior.posteriors[i], checks[i]
        cells = (
            f"{float(posterior.probability[i]):.3f} +- {float(posterior.probability_error[i]):.3f}",
            f"{float(belief.log_evidence):.2f} +- {float(belief.info.evidence_error):.2f}",
            f"p = {float(check.size):.3f}",
            f"p = {float(check.structure):.3f}",
        )
        lines.append(posterior.names[i].ljust(wide) + "".join(cell.rjust(20) for cell in cells))
    lines.append(_sentence(posterior, checks[order[0]], int(order[0])))
    for i in order:
        code = int(posterior.posteriors[i].info.outcome)
        if code != outcomes.OK:
            lines.append(f"{posterior.names[i]}: {outcomes.message(code)}")
    return "\n".join(lines)


def _sentence(posterior: Race, check: PredictiveCheck, best: int) -> str:
    name, sure = posterior.names[best], float(posterior.probability[best])
    if name == NONE_OF_THESE:
        return "The process without any law is the most probable: none of these hypotheses holds as it stands."
    if min(float(check.size), float(check.structure)) < DOUBT:
        return f"{name} is the best of these, but misses something: look at its residuals before you believe it."
    return f"{name} is the most probable, {'settled' if sure >= 0.95 else 'not settled yet'} ({sure:.3f})."
