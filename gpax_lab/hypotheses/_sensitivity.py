"""How much the conclusion on competing hypotheses owes to the width of their priors.

A hypothesis pays for what it held possible and did not find: twice as wide a prior of a parameter that the observations
determine costs log 2 of evidence. So a conclusion that changes when priors become wider or narrower is no conclusion
yet.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax import Array
from numpyro import handlers

from gpax_lab.core._priors import Params
from gpax_lab.core._programs import Program, latent_and_observed, vetted
from gpax_lab.hypotheses._mixture import NONE_OF_THESE
from gpax_lab.hypotheses._model_average import ModelAverage
from gpax_lab.inference._posterior import Posterior
from gpax_lab.inference._weights import weight_variance

FACTORS = (0.5, 0.7, 1.0, 1.4, 2.0)
HEAVIEST = 0.1
"""Share of the sum that one draw may carry: above it the draws do not reach where the other prior would lead."""

OF_OBSERVATIONS = ("noise", "excess", "input_noise", "displacement", "white")
"""Parameters that say how observations scatter, in value and in input: their priors stay as given."""

SCALED = (
    dist.Normal,
    dist.HalfNormal,
    dist.LogNormal,
    dist.Cauchy,
    dist.HalfCauchy,
    dist.Laplace,
    dist.Logistic,
    dist.StudentT,
)
"""Families with a width of their own. Others, as Uniform, say where a parameter can be, and stay as they are."""


@dataclass(frozen=True)
class PriorSweep:
    """Evidence of every hypothesis with narrower and wider priors.

    Attributes:
        names: M hypotheses.
        factors: (F,) by which the width of every prior of `SCALED` was multiplied.
        log_evidence: (F, M); NaN where the draws at hand do not tell.
        error: (F, M) Monte Carlo standard error.
        probability: (F, M); NaN where the evidence of any is.
    """

    names: tuple[str, ...]
    factors: np.ndarray
    log_evidence: np.ndarray
    error: np.ndarray
    probability: np.ndarray

    @property
    def overturned(self) -> bool:
        """Whether another hypothesis leads at some factor, beyond twice the Monte Carlo error of the two."""
        return bool(self.overtaken.any())

    @property
    def overtaken(self) -> np.ndarray:
        """(factors,) whether another one than with the priors as given leads there, beyond that error."""
        usual = np.abs(np.log(self.factors)).argmin()
        if not np.isfinite(self.probability[usual]).all():
            return np.zeros(len(self.factors), bool)
        best = int(self.probability[usual].argmax())
        log_p = np.log(np.maximum(self.probability, 1e-300))
        doubt = 2.0 * np.sqrt(self.error**2 + self.error[:, [best]] ** 2)
        with np.errstate(invalid="ignore"):
            return np.any(log_p - log_p[:, [best]] > doubt, axis=1)

    def leaders(self) -> list[tuple[float, int]]:
        """Factor, and number of the hypothesis that leads there, where that is known."""
        known = np.isfinite(self.probability).all(axis=1)
        return [(float(self.factors[f]), int(self.probability[f].argmax())) for f in np.flatnonzero(known)]

    @property
    def stable(self) -> bool:
        """Whether the same hypothesis leads at every factor, beyond twice its Monte Carlo error, and all are known."""
        if not np.isfinite(self.probability).all():
            return False
        best = int(self.probability[0].argmax())
        log_p = np.log(np.maximum(self.probability, 1e-300))
        doubt = 2.0 * np.sqrt(self.error**2 + self.error[:, [best]] ** 2)
        ahead = log_p[:, [best]] - log_p > doubt
        return bool(np.all(np.delete(ahead, best, axis=1)))

    def __str__(self) -> str:
        """A table: probability of each hypothesis, by width."""
        wide = max(26, *(len(name) + 2 for name in self.names))
        lines = ["probability, and log evidence with its error, for priors so many times as wide"]
        lines += ["width".ljust(8) + "".join(name.rjust(wide) for name in self.names)]
        for f, factor in enumerate(self.factors):
            cells = [
                f"{p:.3f}  {z:9.2f} +- {e:.2f}" if np.isfinite(z) else "unknown from these draws"
                for p, z, e in zip(self.probability[f], self.log_evidence[f], self.error[f], strict=True)
            ]
            lines.append(f"{factor:<8g}" + "".join(cell.rjust(wide) for cell in cells))
        if self.stable:
            lines.append("The conclusion holds.")
        elif self.overturned:
            lines.append("The conclusion depends on the width of the priors.")
        else:
            lines.append(
                "Whether the conclusion holds, these draws do not tell: some widths are out of reach or too close."
            )
        lines.append("Noise, and priors without a scale of their own (uniform ones), are as given throughout.")
        return "\n".join(lines)


def prior_sweep(posterior: ModelAverage, factors: Sequence[float] = FACTORS) -> PriorSweep:
    """Log evidence with priors narrower and wider than they were, from the draws at hand.

    With another prior p' the evidence is Z' = Z E[p'(theta) / p(theta)] over the posterior, so that nothing is fitted
    anew. Where single draws carry that mean, the answer is NaN: fit with the other priors if it matters. The flexible
    process (`NONE_OF_THESE`) stays as it is: it stands for no physics whose width could be in question. So do laws that
    were adopted during the campaign: what they gained by observations before is taken back for the width they had.

    Args:
        posterior: of a `model_average`.
        factors: multiples of the width (of the scale, for a log-normal of the scale of the logarithm).

    Raises:
        TypeError: the posterior is no ModelAverage.
        ValueError: a factor is not positive, or a prior program draws what it does not return as it is.

    Source: importance weights between priors; Kass & Raftery 1995, J. Am. Stat. Assoc. 90, 773, section 5.
    """
    if type(posterior) is not ModelAverage:
        raise TypeError(
            f"prior_sweep takes several hypotheses and their evidence, a model_average(...); got {type(posterior)}."
        )
    widths = np.asarray(factors, float)
    if widths.ndim != 1 or not np.all(widths > 0):
        raise ValueError(f"factors are positive numbers; got {factors}.")
    for name, one in zip(posterior.names, posterior.posteriors, strict=True):
        _check_sites(name, vetted(one.model.prior))
    stay = {NONE_OF_THESE, *posterior.hypotheses.adopted}
    fixed = [name in stay for name in posterior.names]
    each = [
        [
            (p.log_evidence, p.info.evidence_error) if stays else with_width(p, jnp.asarray(w, p.log_weight.dtype))
            for p, stays in zip(posterior.posteriors, fixed, strict=True)
        ]
        for w in widths
    ]
    table = np.asarray(each, float)  # (F, M, 2)
    joint = table[..., 0] + np.asarray(posterior.log_prior)[None]
    with np.errstate(invalid="ignore"):  # NaN where one of them is not known
        probability = np.exp(joint - np.logaddexp.reduce(joint, axis=1)[:, None])
    return PriorSweep(posterior.names, widths, table[..., 0], table[..., 1], probability)


def _check_sites(name: str, program: Program) -> None:
    """Refuse a program whose sites do not follow from its parameters: the widths of their priors are then unknown."""
    trace = handlers.trace(handlers.seed(program, jax.random.key(0)))
    values = trace()
    for site in latent_and_observed(program)[0]:
        if site not in values or not np.array_equal(values[site], trace.trace[site]["value"]):
            raise ValueError(
                f"the prior program of {name!r} draws {site!r} and does not return it by that name: prior_sweep needs "
                f"every drawn value among the parameters, {{{site!r}: ...}}."
            )


@jax.jit
def with_width(posterior: Posterior, factor: Array) -> tuple[Array, Array]:
    """Log evidence and its error with every prior `factor` times as wide."""
    ratio = jax.vmap(lambda params: _log_ratio(posterior, params, factor))(posterior.params)
    weight = posterior.log_weight + ratio
    gained = jax.scipy.special.logsumexp(weight)
    # At the width it was fitted with, weights are what they were and nothing is added to the error.
    added = jnp.maximum(weight_variance(weight) - weight_variance(posterior.log_weight), 0.0)
    known = (jnp.max(weight) - gained < jnp.log(HEAVIEST)) | (factor == 1.0)
    error = jnp.sqrt(posterior.info.evidence_error**2 + added)
    return jnp.where(known, posterior.log_evidence + gained, jnp.nan), jnp.where(known, error, jnp.nan)


def _log_ratio(posterior: Posterior, params: Params, factor: Array) -> Array:
    """() log of wider over given prior density of one draw."""
    given = handlers.seed(vetted(posterior.model.prior), jax.random.key(0))
    program = handlers.substitute(given, data=dict(params))
    total = jnp.zeros(())
    for site in handlers.trace(program).get_trace().values():
        of_physics = site["name"].rsplit("/", 1)[-1] not in OF_OBSERVATIONS
        if site["type"] == "sample" and not site["is_observed"] and of_physics:
            wide, value = widened(site["fn"], factor), site["value"]
            total = total + jnp.sum(wide.log_prob(value) - site["fn"].log_prob(value))
    return total


def widened(prior: dist.Distribution, factor: Array | float) -> dist.Distribution:
    """The distribution with its scale multiplied; as it is where it has none (see `SCALED`)."""
    if isinstance(prior, dist.Independent):
        return widened(prior.base_dist, factor).to_event(prior.reinterpreted_batch_ndims)
    if isinstance(prior, dist.ExpandedDistribution):
        return widened(prior.base_dist, factor).expand(prior.batch_shape)
    if not isinstance(prior, SCALED):
        return prior
    given = {name: getattr(prior, name) for name in prior.arg_constraints}
    return type(prior)(**(given | {"scale": prior.scale * factor}))
