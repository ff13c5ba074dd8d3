"""Weighted draws of a model's parameters, conditioned and ready to predict; and the contract of a sampler."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol, Self, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from gpax_lab.core import Status
from gpax_lab.core._ahead import Ahead
from gpax_lab.core._inputs import check_query, traced
from gpax_lab.core._linalg import over_draws
from gpax_lab.core._observations import PENDING, Observations
from gpax_lab.core._types import ArrayLike, Float, Int, Int8
from gpax_lab.inference._weights import mixture_moments, systematic_resample
from gpax_lab.models._exactness import Needs, contradictory
from gpax_lab.models._model import ConditionsOnPending, DrawsJointly, DrawsPaths, LeavesOneOut, Model, able


class Info(NamedTuple):
    """What is only reported of an inference run; all entries are () arrays.

    Attributes:
        status: code of `Status`; `Status.of(status).describe()` gives it in words with its remedy.
        r_hat: the largest rank-normalised split R-hat over parameters (NaN where it has no meaning).
        ess_bulk: the smallest bulk effective sample size over parameters.
        ess_tail: the smallest tail effective sample size over parameters.
        divergences: number of divergent transitions among the draws.
        saturated: fraction of draws whose trajectory hit the largest tree depth.
        acceptance: mean acceptance statistic of the draws.
        gradients: number of gradient evaluations, warm-up included.
        failures: number of kept draws whose covariance had no Cholesky factor.
        evidence_error: Monte Carlo standard error of the log evidence (NaN where there is none).
    """

    status: Int8[Array, "*batch"]
    r_hat: Float[Array, "*batch"]
    ess_bulk: Float[Array, "*batch"]
    ess_tail: Float[Array, "*batch"]
    divergences: Int[Array, "*batch"]
    saturated: Float[Array, "*batch"]
    acceptance: Float[Array, "*batch"]
    gradients: Int[Array, "*batch"]
    failures: Int[Array, "*batch"]
    evidence_error: Float[Array, "*batch"]

    @classmethod
    def unknown(cls, dtype: jnp.dtype) -> Self:
        """`OK`, nothing counted, and NaN for every number that a sampler may give."""
        nan, zero = jnp.full((), jnp.nan, dtype), jnp.asarray(0)
        return cls(
            status=Status.worst(),
            r_hat=nan,
            ess_bulk=nan,
            ess_tail=nan,
            divergences=zero,
            saturated=nan,
            acceptance=nan,
            gradients=zero,
            failures=zero,
            evidence_error=nan,
        )


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Posterior:
    """Draws from a posterior.

    Attributes:
        params: constrained values by name, each (draws, ...).
        log_weight: (draws,) normalised log weights.
        log_evidence: () log marginal likelihood, NaN where the sampler gives none.
        factor: the model's conditioned factor for each draw, leading axis draws.
        info: diagnostics.
        tuning: what the sampler carries on to the next update.
        model: the model (static).
        seen: (capacity,) bool, slots whose observations it knows; set by `conditioned`.
    """

    params: dict[str, Array]
    log_weight: Array
    log_evidence: Array
    factor: Any
    info: Info
    tuning: Any
    model: Model = field(metadata={"static": True})
    seen: Array | None = None

    def __repr__(self) -> str:
        """Kind of model, number of draws, parameters and status, without the numbers; `summary` has these."""
        shapes = {name: np.shape(value)[1:] for name, value in self.params.items()}
        named = ", ".join(f"{name} {shape}" if shape else name for name, shape in shapes.items())
        kind, draws = type(self.model).__name__, math.prod(np.shape(self.log_weight))
        return f"<Posterior of {kind}: {draws} draws of {named}; {status_in_words(self.info.status)}>"

    @property
    def status(self) -> Status:
        """What the fit came to: `status.describe()` says it in words with the remedy (outside jit)."""
        return Status.of(self.info.status)

    @property
    def models(self) -> tuple[Model, ...]:
        """The models behind it: one."""
        return (self.model,)

    @jax.jit
    def predict(
        self, x: Float[Array, "m d"]
    ) -> tuple[Float[Array, "draws m *outputs"], Float[Array, "draws m *outputs"]]:
        """Mean (draws, m) and variance (draws, m) of the noise-free quantity at x (m, d), draw by draw."""
        check_query(x, self.model.dim)
        return over_draws(lambda params, factor: self.model.predict(params, factor, x), self.params, self.factor)

    @jax.jit
    def moments(self, x: Float[Array, "m d"]) -> tuple[Float[Array, " m"], Float[Array, " m"]]:
        """Mean (m,) and variance (m,) of the mixture over draws at x (m, d), by the law of total variance.

        Points are taken in chunks, so that memory grows with the draws and not with draws times points.
        """
        check_query(x, self.model.dim)
        return mixture_moments(self.predict, self.log_weight, x)

    @partial(jax.jit, static_argnames="count")
    def paths(
        self, obs: Observations, key: Array, x: Float[Array, "m d"], count: int = 1
    ) -> Float[Array, "draws count m"]:
        """(draws, count, m) functions drawn from the posterior, `count` from each draw, at x (m, d).

        The same key gives the same functions, so that they can be looked at here and there (pathwise conditioning).
        """
        check_query(x, self.model.dim)
        self.model.check_columns(obs)
        keys = jax.random.split(key, self.log_weight.size)
        model = able(self.model, DrawsPaths)
        return over_draws(lambda p, f, k: model.paths(p, f, obs, k, count, x), self.params, self.factor, keys)

    def joint(self, index: ArrayLike, x: Float[Array, "m d"]) -> tuple[Float[Array, " m"], Float[Array, "m m"]]:
        """Mean (m,) and covariance (m, m) of the noise-free quantity at x (m, d), of draw number `index`."""
        check_query(x, self.model.dim)
        params, factor = jax.tree.map(lambda leaf: leaf[index], (self.params, self.factor))
        return able(self.model, DrawsJointly).joint(params, factor, x)

    def path(self, index: ArrayLike, obs: Observations, key: Array, x: Float[Array, "m d"]) -> Float[Array, " m"]:
        """(m,) function drawn from draw number `index`, at x (m, d); the same key gives the same function."""
        check_query(x, self.model.dim)
        self.model.check_columns(obs)
        params, factor = jax.tree.map(lambda leaf: leaf[index], (self.params, self.factor))
        return able(self.model, DrawsPaths).paths(params, factor, obs, key, 1, x)[0]

    @jax.jit
    def noise_variance(self, x: Float[Array, "m d"]) -> Float[Array, "draws m *outputs"]:
        """(draws, m) variance that a new observation at x (m, d) adds, in the user's unit squared."""
        check_query(x, self.model.dim)
        return over_draws(lambda params, factor: self.model.noise_variance(params, factor, x), self.params, self.factor)

    @jax.jit
    def leave_one_out(
        self, obs: Observations
    ) -> tuple[Float[Array, "draws capacity *outputs"], Float[Array, "draws capacity *outputs"]]:
        """Mean and variance (draws, capacity) of each observation given the others, draw by draw, noise included.

        The draws themselves know all observations. Meaningful in measured slots; a vector model has a last axis more.
        """
        self.model.check_columns(obs)
        model = able(self.model, LeavesOneOut)
        return over_draws(lambda params: model.leave_one_out(params, obs), self.params)

    def conditioned(self, obs: Observations) -> "Posterior":
        """The posterior with its factor computed from its draws and the observations."""
        self.model.check_columns(obs)
        factor = condition_draws(self.model, self.params, obs)
        both = factor.ok, getattr(factor, "finite", None)
        weight, info, seen = _settled(*both, self.log_weight, self.info, obs, self.model.needs_noise)
        return replace(self, log_weight=weight, factor=factor, seen=seen, info=info)

    def with_pending(self, obs: Observations) -> "Posterior":
        """The same posterior whose variances, not means, know of the pending points. Costs nothing where none is."""

        model = able(self.model, ConditionsOnPending)

        def conditioned() -> Any:
            return over_draws(lambda p, f: model.condition_on_pending(p, f, obs), self.params, self.factor)

        pending = jnp.any(obs.status == PENDING)
        return replace(self, factor=jax.lax.cond(pending, conditioned, lambda: self.factor))

    def thinned(self, key: Array, count: int) -> "Posterior":
        """At most `count` of the draws, chosen by weight (systematic resampling), each of equal weight.

        For decisions that cost more per draw than the posterior does. Parameters, factor and weights are those of the
        chosen draws; what the sampler carries on is left as it is.
        """
        if self.log_weight.size <= count:
            return self
        index = systematic_resample(key, self.log_weight, count)
        params, factor = jax.tree.map(lambda leaf: leaf[index], (self.params, self.factor))
        even = jnp.full(count, -math.log(count), self.log_weight.dtype)
        return replace(self, params=params, factor=factor, log_weight=even)

    def summary(self) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Mean and standard deviation of every parameter, by name (outside jit)."""
        weight = np.exp(np.asarray(self.log_weight, np.float64))
        draws = {name: np.asarray(value, np.float64) for name, value in self.params.items()}
        mean = {name: np.tensordot(weight, value, axes=1) for name, value in draws.items()}
        sd = {name: np.sqrt(np.tensordot(weight, (draws[name] - mean[name]) ** 2, axes=1)) for name in draws}
        return mean, sd

    def save(self, path: str | Path) -> None:
        """Write it into an .npz file, from which `load_posterior(path, model)` reads it in another program."""
        from gpax_lab.inference._stored import save  # it builds posteriors

        save(self, path)

    def without_factor(self) -> "Posterior":
        """What has to be stored: the factor follows from the rest, see `conditioned`."""
        return replace(self, factor=None)


def status_in_words(code: Any) -> str:
    """A status with its remedy; its shape where it stands for several, or is traced."""
    if traced(code) or not isinstance(code, np.ndarray | Array | int) or np.ndim(code):
        return f"status of shape {np.shape(code)}"
    status = Status.of(code)
    return f"status {status.name}: {status.describe()}"


@runtime_checkable
class Predictive(Protocol):
    """What predicts with weighted draws: a `Posterior`, or a model average over several."""

    @property
    def log_weight(self) -> Array:
        """(draws,) normalised."""

    def moments(self, x: Float[Array, "m d"]) -> tuple[Array, Array]:
        """Mean and variance (m,) at x (m, d), over all draws."""

    def noise_variance(self, x: Float[Array, "m d"]) -> Array:
        """(draws, m) variance of a new observation about the quantity."""

    def leave_one_out(self, obs: Observations) -> tuple[Array, Array]:
        """Mean and variance (draws, capacity) of each observation given all others."""


class Sampler(NamedTuple):
    """Turns observations into a posterior.

    Attributes:
        init: (key, model, obs) -> posterior.
        update: (key, posterior, obs) -> posterior; warm start with the same model and more data.
        yields_evidence: whether its posteriors know their log evidence.
        several: whether it follows several hypotheses at once, instead of one model.
        programs: (ahead, key, model, obs) -> shapes of the posterior; hands what `init` calls to `ahead.Ahead`. None
            where everything is compiled as it comes.
    """

    init: Callable[[Array, Any, Observations], Any]
    update: Callable[[Array, Any, Observations], Any]
    yields_evidence: bool = True
    several: bool = False
    programs: Callable[[Ahead, Array, Any, Observations], Any] | None = None

    def __repr__(self) -> str:
        """The two calls."""
        return f"<Sampler: init(key, {'hypotheses' if self.several else 'model'}, obs), update(key, posterior, obs)>"


def conditioning_ahead(ahead: Ahead, posterior: Posterior, obs: Observations) -> Posterior:
    """Shapes of `posterior.conditioned(obs)` from those of the posterior, its programs handed to `ahead`."""
    factor = ahead(condition_draws, posterior.model, posterior.params, obs)
    needs = posterior.model.needs_noise
    both = factor.ok, getattr(factor, "finite", None)
    weight, info, seen = ahead(_settled, *both, posterior.log_weight, posterior.info, obs, needs)
    return replace(posterior, log_weight=weight, factor=factor, seen=seen, info=info)


@partial(jax.jit, static_argnames="needs")
def _settled(
    ok: Array, finite: Array | None, log_weight: Array, info: Info, obs: Observations, needs: Needs
) -> tuple[Array, Info, Array]:
    """Weights and diagnostics once it is known which draws have a factor (draws,), and the slots they have seen.

    Also whether the numbers of their covariances were finite (draws,), None where the model does not tell.
    """
    failures = jnp.sum(~ok)
    bad = (failures > 0) & (info.status == Status.OK)
    status = jnp.where(bad, Status.FACTORISATION_FAILED, info.status)
    if finite is not None:
        indefinite = jnp.all(finite & ~ok) & (status == Status.NOT_FINITE)
        status = jnp.where(indefinite, Status.NOT_POSITIVE_DEFINITE, status)
    if needs != "nothing":
        status = jnp.where(contradictory(obs, needs), Status.CONTRADICTION, status)
    # A draw without a factor predicts nothing: it loses its weight, unless no draw has one.
    weight = jnp.where(ok, log_weight, -jnp.inf)
    weight = jnp.where((failures > 0) & ok.any(), weight - jax.scipy.special.logsumexp(weight), log_weight)
    return weight, info._replace(status=status, failures=failures), obs.measured


@partial(jax.jit, static_argnames="model")
def condition_draws(model: Model, params: dict[str, Array], obs: Observations) -> Any:
    """The model's factor for every draw. Compiled on its own, so that a restored state gets the same bits."""
    return over_draws(lambda p: model.condition(p, obs), params)
