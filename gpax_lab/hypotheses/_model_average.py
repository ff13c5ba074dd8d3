"""Competing hypotheses: a posterior for each, and how probable each of them is.

Before an observation is taken in, every hypothesis predicts it; the sum of the log densities it gave to what was then
read is its log evidence, however the points were chosen (Dawid 1984, JRSS A 147, 278). With prior probabilities of the
hypotheses that makes their posterior probabilities.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.special import logsumexp

from gpax_lab.core._ahead import Ahead, compile_ahead, refuse_quietly
from gpax_lab.core._inputs import check_key
from gpax_lab.core._interning import interned
from gpax_lab.core._observations import Observations
from gpax_lab.core._types import Float
from gpax_lab.hypotheses._mixture import Hypotheses, HypothesisMixture, check_followed
from gpax_lab.inference._checks import INIT, checked_sampler
from gpax_lab.inference._posterior import Posterior, Sampler
from gpax_lab.inference._stored import pack, write


@jax.tree_util.register_dataclass
@dataclass(frozen=True, repr=False)
class ModelAverage(HypothesisMixture):
    """What is believed when several hypotheses compete: Bayesian model averaging by prequential evidence.

    Attributes:
        log_prior: (M,) log prior probabilities of the hypotheses.
    """

    log_prior: Array

    @property
    def competes(self) -> bool:
        """Yes."""
        return True

    @property
    def log_probability(self) -> Float[Array, " hypotheses"]:
        """(M,) log posterior probability of each hypothesis. One whose evidence is not finite has none."""
        return _log_probability(self.log_prior, self.log_evidence)

    @property
    def probability_error(self) -> Float[Array, " hypotheses"]:
        """(M,) Monte Carlo standard error of the probabilities, to first order in that of the log evidences."""
        error = jnp.stack([posterior.info.evidence_error for posterior in self.posteriors])
        return _probability_error(self.log_probability, error)

    def floored(self, floor: float) -> "ModelAverage":
        """For decisions: the same, but the share `floor` of the probability belongs evenly to all that compete.

        What is believed and reported is untouched; a decision that trusts the evidence of a handful of observations may
        never look where the other hypotheses expect the optimum. One without finite evidence stays out.
        """
        log_p = self.log_probability
        competes = jnp.isfinite(log_p)
        even = math.log(floor) - jnp.log(jnp.sum(competes)) if floor > 0 else -jnp.inf
        mixed = jnp.where(competes, jnp.logaddexp(math.log1p(-floor) + log_p, even), -jnp.inf)
        shift = jnp.where(competes, mixed - self.log_evidence, -jnp.inf)
        return replace(self, log_prior=shift.astype(self.log_prior.dtype))

    def with_posterior(self, posterior: Posterior, share: float, wider: Hypotheses) -> "ModelAverage":
        """With one more posterior, whose probability is `share` now and moves with what is observed from now on.

        The observations so far suggested the hypothesis, so they say nothing for it: what it explains of them better or
        worse than the mixture of the others is taken back. That is done in the prior,
        p(new) = s / (1 - s) * sum_m p_m Z_m / Z_new, and not in the evidence, as `laplace` finds the whole evidence
        anew after every observation.

        Args:
            posterior: of the new hypothesis, fitted to all observations.
            share: s.
            wider: the M + 1 hypotheses.
        """
        mixture = logsumexp(jnp.where(jnp.isfinite(self.log_evidence), self.log_prior + self.log_evidence, -jnp.inf))
        odds: Array = jnp.log(share) - jnp.log1p(-share)
        log_prior = jnp.append(self.log_prior, odds + mixture - posterior.log_evidence)
        return ModelAverage((*self.posteriors, posterior), wider, log_prior)

    def joined_anew(self, shares: Sequence[float | None]) -> "ModelAverage":
        """The same posteriors, the last of which join again one after the other, with the share that they had at first.

        Args:
            shares: of the last ones, as in `Hypotheses.share_of_newcomer`.
        """
        count = len(self.posteriors) - len(shares)
        begun = ModelAverage(self.posteriors[:count], self.hypotheses.first(count), self.log_prior[:count])
        for n, share in enumerate(shares, start=count):
            newcomer = begun.hypotheses.share_of_newcomer(share)
            begun = begun.with_posterior(self.posteriors[n], newcomer, self.hypotheses.first(n + 1))
        return ModelAverage(begun.posteriors, self.hypotheses, begun.log_prior)

    def save(self, path: str | Path) -> None:
        """Write it into an .npz file, from which `load_posterior(path, hypotheses)` reads it in another program."""
        arrays = {"log_prior": np.asarray(self.log_prior), "prior": np.asarray(self.hypotheses.prior)}
        each = [pack(one, f"{i}/", arrays) for i, one in enumerate(self.posteriors)]
        write(path, {"names": list(self.names), "each": each}, arrays)


@jax.jit
def _log_probability(log_prior: Array, log_evidence: Array) -> Array:
    joint = log_prior + log_evidence
    return jax.nn.log_softmax(jnp.where(jnp.isfinite(joint), joint, -jnp.inf))


@jax.jit
def _probability_error(log_probability: Array, evidence_error: Array) -> Array:
    p = jnp.exp(log_probability)
    slope = p[:, None] * (jnp.eye(p.size, dtype=p.dtype) - p[None, :])  # d p_m / d log evidence_k
    return jnp.sqrt((slope**2) @ evidence_error**2)


@interned
def model_average(sampler: Sampler) -> Sampler:
    """The sampler that follows every hypothesis of a `Hypotheses` by `sampler`.

    Args:
        sampler: one that yields the log evidence: `smc`, or `laplace` where posteriors are near Gaussian.

    Returns:
        A Sampler whose posterior is a `ModelAverage`.

    Raises:
        TypeError: it is no sampler.
        ValueError: it yields no evidence, as `nuts`.
    """
    if not checked_sampler(sampler).yields_evidence:
        raise ValueError("this sampler yields no log evidence to compare hypotheses by: use smc() or laplace().")

    def programs(ahead: Ahead, key: Array, model: Hypotheses, obs: Observations) -> ModelAverage:
        assert sampler.programs is not None  # as asked below
        refuse_quietly(model.models.values(), obs)
        each = tuple(sampler.programs(ahead, key, one, obs) for one in model.models.values())
        return ModelAverage(each, model, jax.typeof(jnp.asarray(np.log(model.prior).astype(obs.y.dtype))))

    def init(key: Array, model: Hypotheses, obs: Observations) -> ModelAverage:
        check_key(key, INIT)
        if not isinstance(model, Hypotheses):
            raise TypeError("model_average(...) follows several models: give it hypotheses({name: model, ...}).")
        compile_ahead(together, key, model, obs)
        keys = jax.random.split(key, len(model.models))
        each = tuple(sampler.init(k, m, obs) for k, m in zip(keys, model.models.values(), strict=True))
        return ModelAverage(each, model, jnp.asarray(np.log(model.prior).astype(obs.y.dtype)))

    def update(key: Array, posterior: ModelAverage, obs: Observations) -> ModelAverage:
        check_followed(posterior, ModelAverage, "model_average")
        keys = jax.random.split(key, len(posterior.posteriors))
        each = tuple(sampler.update(k, p, obs) for k, p in zip(keys, posterior.posteriors, strict=True))
        return replace(posterior, posteriors=each)

    together = None if sampler.programs is None else programs
    return Sampler(init, update, several=True, programs=together)
