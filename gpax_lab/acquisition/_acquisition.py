"""An acquisition function says how much a point is worth measuring: larger is better. It is a sum of terms."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from gpax_lab.acquisition._domain import Domain, Region, as_region, domain_of
from gpax_lab.core._inputs import traced
from gpax_lab.core._interning import interned
from gpax_lab.core._observations import Observations
from gpax_lab.core._types import ArrayLike, Bool, Float
from gpax_lab.hypotheses._mixture import HypothesisMixture
from gpax_lab.inference._posterior import Posterior
from gpax_lab.inference._weights import mixture


class AcquisitionContext(NamedTuple):
    """What every term of an acquisition function may use: the posterior's view of m candidates, computed once.

    Attributes:
        posterior: the posterior, with variances that know of pending points.
        obs: observations.
        x: (m, d) candidates in the user's units.
        mean: (draws, m) noise-free mean, draw by draw.
        std: (draws, m) its standard deviation.
        log_weight: (draws,) normalised log weights of the draws.
        key: random key for acquisition functions that draw.
        domain: the observations that count as the best so far; None for all of them.
    """

    posterior: Posterior | HypothesisMixture
    obs: Observations
    x: Array
    mean: Array
    std: Array
    log_weight: Array
    key: Array
    domain: Domain | None = None

    def moments(self) -> tuple[Float[Array, " m"], Float[Array, " m"]]:
        """Mean (m,) and standard deviation (m,) of the mixture over draws, by the law of total variance."""
        mean, variance = mixture(self.mean, self.std**2, self.log_weight)
        return mean, jnp.sqrt(variance)

    def counting(self, among: Bool[Array, " capacity"]) -> Bool[Array, " capacity"]:
        """(capacity,) bool: those of the slots `among` that lie where may be asked."""
        return among if self.domain is None else among & self.domain.inside

    def best(self, at: Array, among: Array, sign: Array) -> Array:
        """(draws, ...) the largest of what is believed at the slots, draw by draw, times `sign`.

        Where no observation counts, what is predicted at some points of the domain stands in for them; 0 where there is
        no domain either.

        Args:
            at: (draws, ..., capacity) believed at the slots.
            among: (capacity,) bool, slots that may count.
            sign: +1 for the largest, -1 for the smallest.
        """
        counts = self.counting(among)
        best = jnp.max(jnp.where(counts.reshape((1,) * (at.ndim - 1) + (-1,)), sign * at, -jnp.inf), axis=-1)
        if self.domain is not None:
            predicted = jnp.max(sign * self.domain.predicted, axis=1)
            best = jnp.where(counts.any(), best, predicted.reshape((-1,) + (1,) * (best.ndim - 1)))
        return jnp.where(jnp.isfinite(best), best, 0.0)


Settings: TypeAlias = dict[str, Array]
Term: TypeAlias = Callable[[AcquisitionContext, Settings], Array]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Acquisition:
    """A weighted sum of terms. Weights and settings are arrays, so they change without recompiling.

    Attributes:
        settings: one mapping of arrays per term.
        weights: one () array per term.
        terms: functions (context, settings) -> (m,) values (static).
        names: a name per term, for records and legends (static).
        joint: whether a term needs all candidates at once (static).
        own_pending: whether a term deals with pending points itself, and wants a posterior that does not know of
            them (static).
    """

    settings: tuple[Settings, ...]
    weights: tuple[Array, ...]
    terms: tuple[Term, ...] = field(metadata={"static": True})
    names: tuple[str, ...] = field(metadata={"static": True})
    joint: bool = field(default=False, metadata={"static": True})
    own_pending: bool = field(default=False, metadata={"static": True})

    def __repr__(self) -> str:
        """The sum, with its weights where they are known."""
        known = not traced(self.weights) and all(np.ndim(weight) == 0 for weight in self.weights)
        weights = [float(weight) for weight in self.weights] if known else [1.0] * len(self.names)
        each = (name if weight == 1 else f"{weight:g} {name}" for name, weight in zip(self.names, weights, strict=True))
        return f"<Acquisition: {' + '.join(each)}>"

    @jax.jit
    def __call__(
        self,
        posterior: Posterior | HypothesisMixture,
        obs: Observations,
        x: Array,
        key: Array | None = None,
        domain: Domain | None = None,
    ) -> Float[Array, " m"]:
        """Values (m,) at candidates x (m, d); `key` is needed by acquisition functions that draw (Thompson).

        `domain` says which observations an improvement is over, see `candidates.domain`; without one, over all.
        """
        mean, variance = posterior.predict(x)
        if mean.ndim != 2:
            raise ValueError(f"an acquisition function looks at one quantity: this model has {mean.shape[-1]}.")
        some = variance > 0  # a model without a process has none; sqrt must not see 0, its slope is infinite there
        std = jnp.where(some, jnp.sqrt(jnp.where(some, variance, 1.0)), 0.0)
        key = jax.random.key(0) if key is None else key
        context = AcquisitionContext(
            posterior=posterior,
            obs=obs,
            x=x,
            mean=mean,
            std=std,
            log_weight=posterior.log_weight,
            key=key,
            domain=domain,
        )
        parts = [w * t(context, s) for w, t, s in zip(self.weights, self.terms, self.settings, strict=True)]
        return jnp.sum(jnp.stack(parts), axis=0)

    def __add__(self, other: "Acquisition") -> "Acquisition":
        """Sum of two acquisition functions; in log space this multiplies them."""
        return Acquisition(
            settings=self.settings + other.settings,
            weights=self.weights + other.weights,
            terms=self.terms + other.terms,
            names=self.names + other.names,
            joint=self.joint or other.joint,
            own_pending=self.own_pending or other.own_pending,
        )

    def __rmul__(self, factor: float) -> "Acquisition":
        """The acquisition function times a number."""
        return replace(self, weights=tuple(factor * w for w in self.weights))

    def __neg__(self) -> "Acquisition":
        """The acquisition function with the opposite sign."""
        return -1.0 * self

    def __sub__(self, other: "Acquisition") -> "Acquisition":
        """Difference of two acquisition functions."""
        return self + (-other)


def term(
    name: str, function: Term, joint: bool = False, own_pending: bool = False, **settings: float | Array
) -> Acquisition:
    """An acquisition function of one term.

    Args:
        name: for records and legends.
        function: (context, settings) -> (m,) values, larger is better.
        joint: whether it needs all candidates at once.
        own_pending: whether it deals with pending points itself.
        **settings: numbers the function reads, kept as arrays.

    Raises:
        ValueError: a setting is NaN: no point could then be chosen by its value.
    """
    arrays = {key: jnp.asarray(value) for key, value in settings.items()}
    wrong = [key for key, value in settings.items() if not traced(value) and np.isnan(np.asarray(value)).any()]
    if wrong:
        raise ValueError(f"{wrong} of {name} must be numbers; got NaN.")
    return Acquisition((arrays,), (jnp.asarray(1.0),), (function,), (name,), joint, own_pending)


def need_positive(name: str, **settings: ArrayLike) -> None:
    """Refuse settings that make an acquisition function meaningless; traced ones can not be checked.

    Raises:
        ValueError: one is not above 0.
    """
    wrong = {key: value for key, value in settings.items() if not traced(value) and not np.all(np.asarray(value) > 0)}
    if wrong:
        raise ValueError(f"{name} needs numbers above 0; got {', '.join(f'{k} = {v}' for k, v in wrong.items())}.")


def only_among(function: Term, among: Region | ArrayLike | None) -> Term:
    """The term with improvement over observations in a region: x (d,) -> bool, or bounds (d, 2); None: the domain."""
    region = as_region(among)
    return function if region is None else _in_region(function, region)


@lru_cache  # the same function for the same arguments, so that equal terms share what is compiled
def _in_region(function: Term, region: Region) -> Term:
    def within(context: AcquisitionContext, settings: Settings) -> Array:
        inside = jax.vmap(region)(context.obs.x)
        points = context.x if context.domain is None else context.domain.points
        domain = domain_of(context.posterior, context.obs, inside, points)
        return function(context._replace(domain=domain), settings)

    return within


@interned
def of_moments(function: Callable[[Array, Array], Array]) -> Acquisition:
    """An acquisition function of your own from the posterior mean and standard deviation.

    Args:
        function: mean (m,), standard deviation (m,), both in the user's units -> values (m,), larger is better.

    Returns:
        An Acquisition of one term, to be added to others.

    Raises:
        TypeError: it is not a function of two arrays, or makes an acquisition function instead of values.
        ValueError: it does not give one value for each point, shape (m,).

    Example:
        >>> of_moments(lambda mean, std: 5 * std + 10 * mean).names
        ('of_moments',)
    """
    _check_function(function)
    return term("of_moments", lambda context, _: function(*context.moments()))


_WANTED = "an acquisition function is one of gpax_lab.acquisition (log_ei(), ucb(), ...) or a function of (mean, std)"


def _check_function(function: Any) -> None:
    """Refuse what is no function of (mean, std), by what it takes and gives and not by where it comes from."""
    if not callable(function):
        raise TypeError(f"{_WANTED}; got {type(function).__name__}.")
    name = getattr(function, "__name__", type(function).__name__)
    makes = TypeError(f"{name} is the function that makes an acquisition function: write {name}() instead of {name}.")
    try:
        signature = inspect.signature(function)
    except ValueError:  # a function written in C tells none: what it gives for two arrays says enough
        signature = inspect.signature(lambda mean, std: None)
    if signature.return_annotation in (Acquisition, Acquisition.__name__):
        raise makes
    try:
        signature.bind("mean", "std")
    except TypeError as error:
        raise TypeError(f"{_WANTED}; got {name}{signature}.") from error
    moments = jax.ShapeDtypeStruct((3,), jnp.result_type(float))
    found = jax.eval_shape(lambda mean, std: function(mean, std), moments, moments)
    if isinstance(found, Acquisition):
        raise makes
    if getattr(found, "shape", None) != moments.shape:
        got = getattr(found, "shape", type(found).__name__)
        raise ValueError(f"{name}(mean (m,), std (m,)) must give one value for each point, shape (m,); got {got}.")


def goals(acquisition: Acquisition) -> tuple[bool, ...]:
    """Which terms seek an optimum: those that have a sign, and what users write of mean and standard deviation."""
    return tuple("sign" in s or n == "of_moments" for s, n in zip(acquisition.settings, acquisition.names, strict=True))


def as_acquisition(function: Acquisition | Callable[[Array, Array], Array]) -> Acquisition:
    """An Acquisition as it is; a plain function of (mean, std) made into one.

    Raises:
        TypeError, ValueError: neither; see `of_moments`.
    """
    return function if isinstance(function, Acquisition) else of_moments(function)
