"""Hypotheses that compete, and what the posteriors of all of them say together."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Self

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from gpax_lab.core import Status
from gpax_lab.core._inputs import traced
from gpax_lab.core._interning import interned
from gpax_lab.core._observations import Observations
from gpax_lab.core._programs import latent_and_observed, vetted
from gpax_lab.core._structural import Structural
from gpax_lab.core._types import ArrayLike, Float, Int
from gpax_lab.inference._posterior import Info, Posterior, status_in_words
from gpax_lab.inference._weights import mixture_moments
from gpax_lab.kernels import matern52
from gpax_lab.means import Law
from gpax_lab.models import gp
from gpax_lab.models._model import Model
from gpax_lab.models._noise import Noise
from gpax_lab.models._parametric import parametric


@dataclass(frozen=True, eq=False)
class Hypotheses(Structural):
    """Models that compete, by name, and how probable each is before anything is read.

    Build one and keep it: it stands where a model does, in `bayes_opt(hypotheses, model_average(smc(256)), ...)`.

    Attributes:
        models: a model for each name.
        prior: (M,) probabilities that sum to one, in the order of `models`.
        scale: location and scale of the observations, where they were given.
        adopted: names of those that joined during a campaign.
    """

    models: Mapping[str, Model]
    prior: np.ndarray
    scale: tuple[float, float] | None = None
    adopted: tuple[str, ...] = ()

    def __repr__(self) -> str:
        """The names."""
        return f"<Hypotheses: {', '.join(map(repr, self.names))}>"

    @property
    def names(self) -> tuple[str, ...]:
        """Names in order."""
        return tuple(self.models)

    def share_of_newcomer(self, share: float | None = None) -> float:
        """Probability of one more hypothesis at the moment when it joins; None for one among equals, 1 / (M + 1)."""
        return 1 / (len(self.models) + 1) if share is None else float(share)

    def with_model(self, name: str, model: Model, share: float | None = None) -> "Hypotheses":
        """These hypotheses and one more behind them, which joined during a campaign.

        Args:
            name: of the new one.
            model: of the same inputs as the others.
            share: its prior probability, as in `share_of_newcomer`; the others keep the rest in their proportions.

        Raises:
            ValueError: a name that is there already, a share that is no probability, or other inputs.
        """
        probability = self.share_of_newcomer(share)
        dim = next(iter(self.models.values())).dim
        if name in self.names:
            raise ValueError(f"there is a hypothesis {name!r} already: give the new one another name.")
        if not 0 < probability < 1:
            raise ValueError(f"the share of {name!r} must lie between 0 and 1; got {probability}.")
        if model.dim != dim:
            raise ValueError(f"{name!r} has {model.dim} inputs, the other hypotheses have {dim}.")
        prior = np.append((1 - probability) * self.prior, probability)
        return Hypotheses({**self.models, name: model}, prior, self.scale, (*self.adopted, name))

    def first(self, count: int) -> "Hypotheses":
        """The first `count` of them, with the prior numbers that they have here."""
        return replace(self, models=dict(list(self.models.items())[:count]), prior=self.prior[:count])


NONE_OF_THESE = "none of these"
"""Name of the flexible process that runs along, so that a set of hypotheses without the truth is noticed."""


@interned
def hypotheses(
    models: Mapping[str, Model | Law],
    prior: Mapping[str, float] | None = None,
    *,
    bounds: ArrayLike | None = None,
    scale: tuple[float, float] | None = None,
    noise: Noise = "inferred",
    within_process: bool = False,
    flexible: bool = True,
) -> Hypotheses:
    """Hypotheses to be told apart.

    Laws become models here: `parametric`, or with a process around each that absorbs what it misses. Where `bounds` and
    `scale` are given a flexible process without any law runs along as `NONE_OF_THESE`: if it becomes the most probable
    one, the truth is none of the others.

    Evidence compares what the models said before they saw an observation. So their priors may not depend on
    observations: models of your own need `standardize=False`, or (location, scale) from what is known of the quantity.

    Args:
        models: two or more laws or models (one is enough beside `NONE_OF_THESE`), of the same inputs and the same
            observations.
        prior: relative probability of each name; None for even ones. `NONE_OF_THESE` has that of an average one unless
            it is named.
        bounds: (d, 2) box of the inputs in the user's units.
        scale: location and scale of the observations as known beforehand, e.g. the middle and half the width of their
            range.
        noise: of models made here, as in `gp.exact`; the inferred variance is relative to the scale squared.
        within_process: whether laws stand inside a process (structured GP) instead of alone.
        flexible: False leaves `NONE_OF_THESE` out.

    Raises:
        ValueError: fewer than two models, models of different numbers of inputs or quantities, prior programs that have
            not all observed the same, a model that standardises observations by themselves, laws without bounds and
            scale, options that would do nothing, or prior probabilities that are not positive or name no model.

    Example:
        >>> from gpax_lab.laws import shapes
        >>> x, y = (0.0, 1.0), (-1.0, 1.0)
        >>> laws = {"flat": shapes.flat(x, y), "line": shapes.line(x, y)}
        >>> hypotheses(laws, bounds=[x], scale=(0.0, 1.0)).names
        ('flat', 'line', 'none of these')
    """
    ready = _models(models, bounds, scale, noise, within_process, flexible)
    _check_comparable(ready, list(models))
    share = dict.fromkeys(ready, 1.0) if prior is None else dict(prior)
    if prior is not None and NONE_OF_THESE in ready and NONE_OF_THESE not in share:
        share[NONE_OF_THESE] = float(np.mean(list(share.values())))
    if set(share) != set(ready) or not all(np.isfinite(v) and v > 0 for v in share.values()):
        raise ValueError(f"the prior needs a positive number for each of {list(ready)}; got {share}.")
    weights = np.array([share[name] for name in ready], float)
    return Hypotheses(ready, weights / weights.sum(), scale)


def _models(
    models: Mapping[str, Model | Law],
    bounds: ArrayLike | None,
    scale: tuple[float, float] | None,
    noise: Noise,
    within_process: bool,
    flexible: bool,
) -> dict[str, Model]:
    """Laws as models, and the flexible process behind them."""
    laws = [name for name, model in models.items() if isinstance(model, Law)]
    if laws and (bounds is None or scale is None):
        raise ValueError(
            f"{laws} are laws: give bounds of the inputs and (location, scale) of the observations with them."
        )
    if not laws and within_process:
        raise ValueError("within_process puts laws inside a process, and there is no law among these models.")
    if bounds is not None and scale is None:
        raise ValueError("bounds without scale=(location, scale) of the observations do nothing: give both or none.")
    if len({model.dim for model in models.values()}) > 1:
        raise ValueError(f"hypotheses of {[m.dim for m in models.values()]} inputs can not be compared: use the same.")

    def made(model: Model | Law) -> Model:
        if isinstance(model, Model):
            return model
        assert scale is not None  # as checked above
        if within_process:
            return gp.exact(model.dim, matern52, model, model.prior, noise, bounds, scale)
        return parametric(model.dim, model, model.prior, noise, bounds, scale)

    ready = {name: made(model) for name, model in models.items()}
    if bounds is not None and scale is not None and flexible and NONE_OF_THESE not in ready:
        dim = next(iter(ready.values())).dim
        ready[NONE_OF_THESE] = gp.exact(dim, matern52, None, None, noise, bounds, scale)
    return ready


def _check_comparable(ready: Mapping[str, Model], given: list[str]) -> None:
    """Refuse models whose evidence can not be compared."""
    if len(ready) < 2:
        raise ValueError(f"a model average needs two hypotheses or more; got {given}.")
    relative = [name for name, model in ready.items() if model.standardized]
    if relative:
        raise ValueError(
            f"{relative} standardise the observations by themselves, so that their priors change with every "
            "observation and their evidence means nothing: pass standardize=(location, scale) of the quantity as you "
            "know it."
        )
    known = {name: latent_and_observed(vetted(model.prior))[1] for name, model in ready.items()}
    if len(set(known.values())) > 1:
        raise ValueError(
            f"the prior programs have observed {known}, and evidence counts the density of that: it can not be "
            "compared. Observe the same in all of them, or write what is known as the prior of the parameter."
        )
    if len({model.outputs for model in ready.values()}) > 1:
        raise ValueError(f"hypotheses of {[m.outputs for m in ready.values()]} quantities can not be compared.")


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class HypothesisMixture(ABC):
    """Posteriors of hypotheses that compete, and a probability for each. Predicts as the mixture of all.

    Attributes:
        posteriors: of each hypothesis, in order.
        hypotheses: the models (static).
    """

    posteriors: tuple[Posterior, ...]
    hypotheses: Hypotheses = field(metadata={"static": True})

    def __repr__(self) -> str:
        """The hypotheses, their draws and the worst status, without the numbers; `comparison_report` has these."""
        draws = ", ".join(
            f"{name!r} ({math.prod(np.shape(posterior.log_weight))} draws)"
            for name, posterior in zip(self.names, self.posteriors, strict=True)
        )
        codes = [posterior.info.status for posterior in self.posteriors]
        known = not traced(codes) and all(isinstance(code, Array) and code.ndim == 0 for code in codes)
        told = status_in_words(self.info.status) if known else "status of several"
        return f"<{type(self).__name__} of {draws}; {told}>"

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the hypotheses, in order."""
        return self.hypotheses.names

    @property
    def models(self) -> tuple[Model, ...]:
        """Models of the hypotheses, in order."""
        return tuple(self.hypotheses.models.values())

    @property
    def competes(self) -> bool:
        """Whether it has probabilities that the observations decide, as a `ModelAverage` has."""
        return False

    @property
    def log_evidence(self) -> Float[Array, " hypotheses"]:
        """(M,) log evidence of each hypothesis: the sum of its log predictive densities so far; NaN from samplers
        that give none."""
        return jnp.stack([p.log_evidence for p in self.posteriors])

    @property
    @abstractmethod
    def log_probability(self) -> Float[Array, " hypotheses"]:
        """(M,) log probability with which each hypothesis counts."""

    @property
    def probability_error(self) -> Float[Array, " hypotheses"]:
        """(M,) standard error of the probabilities; 0 where they are no estimates."""
        return jnp.zeros(len(self.posteriors), self.log_probability.dtype)

    @property
    def probability(self) -> Float[Array, " hypotheses"]:
        """(M,) posterior probability of each hypothesis."""
        return jnp.exp(self.log_probability)

    @property
    def log_weight(self) -> Float[Array, " draws"]:
        """(sum of draws,) log weight of every draw of every hypothesis in the mixture of all."""
        each = zip(self.log_probability, self.posteriors, strict=True)
        return jnp.concatenate([log_p + posterior.log_weight for log_p, posterior in each])

    @property
    def owner(self) -> Int[np.ndarray, " draws"]:
        """(sum of draws,) number of the hypothesis that a draw belongs to."""
        return np.repeat(np.arange(len(self.posteriors)), [p.log_weight.size for p in self.posteriors])

    @property
    def status(self) -> Status:
        """The worst of all fits: `status.describe()` says it in words with the remedy (outside jit)."""
        return Status.of(self.info.status)

    @property
    def info(self) -> Info:
        """The worst of all: the worst status, the largest R-hat, the fewest effective draws."""
        infos = [posterior.info for posterior in self.posteriors]
        each = jax.tree.map(lambda *values: jnp.stack(values), *infos)
        return Info(
            status=Status.worst_of(*each.status).astype(each.status.dtype),
            r_hat=jnp.max(each.r_hat),
            ess_bulk=jnp.min(each.ess_bulk),
            ess_tail=jnp.min(each.ess_tail),
            divergences=jnp.sum(each.divergences),
            saturated=jnp.max(each.saturated),
            acceptance=jnp.min(each.acceptance),
            gradients=jnp.sum(each.gradients),
            failures=jnp.sum(each.failures),
            evidence_error=jnp.max(each.evidence_error),
        )

    @jax.jit
    def predict(
        self, x: Float[Array, "m d"]
    ) -> tuple[Float[Array, "draws m *outputs"], Float[Array, "draws m *outputs"]]:
        """Mean and variance (sum of draws, m) of the noise-free quantity at x (m, d), draw by draw."""
        means, variances = zip(*(posterior.predict(x) for posterior in self.posteriors), strict=True)
        return jnp.concatenate(means), jnp.concatenate(variances)

    @jax.jit
    def moments(self, x: Float[Array, "m d"]) -> tuple[Float[Array, " m"], Float[Array, " m"]]:
        """Mean (m,) and variance (m,) of the mixture over hypotheses and draws at x (m, d)."""
        return mixture_moments(self.predict, self.log_weight, x)

    @partial(jax.jit, static_argnames="count")
    def paths(
        self, obs: Observations, key: Array, x: Float[Array, "m d"], count: int = 1
    ) -> Float[Array, "draws count m"]:
        """(sum of draws, count, m) functions drawn from the posteriors, `count` from each draw, at x (m, d)."""
        keys = jax.random.split(key, len(self.posteriors))
        return jnp.concatenate([p.paths(obs, k, x, count) for p, k in zip(self.posteriors, keys, strict=True)])

    def joint(self, index: ArrayLike, x: Float[Array, "m d"]) -> tuple[Float[Array, " m"], Float[Array, "m m"]]:
        """Mean (m,) and covariance (m, m) at x (m, d) of draw number `index`, of whichever hypothesis it is."""
        return jax.lax.switch(self._owner(index), [partial(p.joint, x=x) for p in self.posteriors], self._within(index))

    def path(self, index: ArrayLike, obs: Observations, key: Array, x: Float[Array, "m d"]) -> Float[Array, " m"]:
        """(m,) function drawn from draw number `index`, at x (m, d)."""
        each = [partial(p.path, obs=obs, key=key, x=x) for p in self.posteriors]
        return jax.lax.switch(self._owner(index), each, self._within(index))

    def _owner(self, index: ArrayLike) -> Array:
        return jnp.asarray(self.owner)[index]

    def _within(self, index: ArrayLike) -> Array:
        return jnp.asarray(np.concatenate([np.arange(p.log_weight.size) for p in self.posteriors]))[index]

    @jax.jit
    def noise_variance(self, x: Float[Array, "m d"]) -> Float[Array, "draws m *outputs"]:
        """(sum of draws, m) variance that a new observation at x (m, d) adds."""
        return jnp.concatenate([posterior.noise_variance(x) for posterior in self.posteriors])

    def leave_one_out(
        self, obs: Observations
    ) -> tuple[Float[Array, "draws capacity *outputs"], Float[Array, "draws capacity *outputs"]]:
        """Mean and variance (sum of draws, capacity) of each observation given all others, noise included."""
        means, variances = zip(*(posterior.leave_one_out(obs) for posterior in self.posteriors), strict=True)
        return jnp.concatenate(means), jnp.concatenate(variances)

    def floored(self, floor: float) -> Self:
        """Itself, for decisions; see `ModelAverage.floored`."""
        return self

    def save(self, path: str | Path) -> None:
        """Refused, but for a `ModelAverage`."""
        raise TypeError(f"save writes a Posterior or a ModelAverage; got {type(self).__name__}.")

    def conditioned(self, obs: Observations) -> Self:
        """All posteriors conditioned on the observations."""
        return replace(self, posteriors=tuple(p.conditioned(obs) for p in self.posteriors))

    def with_pending(self, obs: Observations) -> Self:
        """All posteriors with variances that know of the pending points."""
        return replace(self, posteriors=tuple(p.with_pending(obs) for p in self.posteriors))

    def thinned(self, key: Array, count: int) -> Self:
        """At most `count` draws of each hypothesis."""
        keys = jax.random.split(key, len(self.posteriors))
        return replace(self, posteriors=tuple(p.thinned(k, count) for p, k in zip(self.posteriors, keys, strict=True)))

    def summary(self) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Mean and standard deviation of `name/parameter`, and `probability/name` with its error (outside jit)."""
        mean: dict[str, np.ndarray] = {}
        sd: dict[str, np.ndarray] = {}
        for i, (name, posterior) in enumerate(zip(self.names, self.posteriors, strict=True)):
            for into, values in zip((mean, sd), posterior.summary(), strict=True):
                into.update({f"{name}/{parameter}": value for parameter, value in values.items()})
            mean[f"probability/{name}"] = np.asarray(self.probability[i])
            sd[f"probability/{name}"] = np.asarray(self.probability_error[i])
        return mean, sd

    def without_factor(self) -> Self:
        """What has to be stored."""
        return replace(self, posteriors=tuple(p.without_factor() for p in self.posteriors))


def check_followed(posterior: object, kind: type, sampler: str) -> None:
    """Raise TypeError unless a posterior of several models is of the kind that this sampler may update."""
    if not isinstance(posterior, kind):
        raise TypeError(
            f"{sampler}(...) updates the {kind.__name__} that its init made; got {type(posterior).__name__}: update it "
            f"by the sampler that made it, or begin with {sampler}(...).init(key, hypotheses, observations)."
        )
