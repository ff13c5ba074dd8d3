"""Several quantities of one point at once, such as the principal components of its spectrum."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from gpax_lab.core._inputs import unmasked
from gpax_lab.core._interning import interned
from gpax_lab.core._observations import Observations
from gpax_lab.core._priors import Params, Program
from gpax_lab.core._types import ArrayLike, Float
from gpax_lab.models._exactness import Needs
from gpax_lab.models._model import ConditionsOnPending, LeavesOneOut, Model, able
from gpax_lab.models._noise import StudentNoise


class MultiOutputFactor(NamedTuple):
    """The factors of all columns, leading axis outputs, and whether all could be computed, of finite numbers."""

    columns: Any
    ok: Array
    finite: Array | None

    @classmethod
    def of(cls, columns: Any) -> "MultiOutputFactor":
        """Of the factors of all columns; `finite` only where they tell."""
        finite = getattr(columns, "finite", None)
        return cls(columns, jnp.all(columns.ok), None if finite is None else jnp.all(finite))


@dataclass(frozen=True, eq=False, repr=False)
class MultiOutput(Model):
    """One model for every column of y; build it by `multi_output`.

    It draws no functions and no joint values: its columns are independent given the parameters, so draw from a model
    of one of them.

    Attributes:
        model: of a single quantity.
        columns: number of them.
    """

    model: Model
    columns: int

    def __repr__(self) -> str:
        """Number of quantities and their model."""
        return f"<MultiOutput of {self.columns} quantities, each {self.model!r}>"

    @property
    def outputs(self) -> int:
        """Number of quantities."""
        return self.columns

    @property
    def prior(self) -> Program:
        """Of the common parameters."""
        return self.model.prior

    @property
    def dim(self) -> int:
        """Number of inputs d."""
        return self.model.dim

    @property
    def standardized(self) -> bool:
        """Whether each column is standardised by itself."""
        return self.model.standardized

    @property
    def tails(self) -> StudentNoise | None:
        """What makes the noise heavier than normal."""
        return self.model.tails

    @property
    def bounds(self) -> np.ndarray | None:
        """(d, 2) box in the user's units."""
        return self.model.bounds

    @property
    def needs_noise(self) -> Needs:
        """Which observations need a known variance."""
        return self.model.needs_noise

    def log_likelihood(self, params: Params, obs: Observations) -> Float[Array, ""]:
        """() sum over columns, independent given the parameters."""
        return jnp.sum(self._each(self.model.log_likelihood, params, obs))

    def condition(self, params: Params, obs: Observations) -> MultiOutputFactor:
        """A factor for each column."""
        factor = self._each(self.model.condition, params, obs)
        return MultiOutputFactor.of(factor)

    def condition_on_pending(self, params: Params, factor: MultiOutputFactor, obs: Observations) -> MultiOutputFactor:
        """The factors with the variances that will hold once the pending points are measured."""
        model = able(self.model, ConditionsOnPending)
        first = obs._replace(y=obs.y.reshape(obs.capacity, -1)[:, 0])  # variances do not depend on the observations
        columns = jax.vmap(lambda one: model.condition_on_pending(params, one, first))(factor.columns)
        return MultiOutputFactor.of(columns)

    def predict(
        self, params: Params, factor: MultiOutputFactor, x: Float[Array, "m d"]
    ) -> tuple[Float[Array, "m outputs"], Float[Array, "m outputs"]]:
        """Mean (m, outputs) and variance (m, outputs) at x (m, d)."""
        return jax.vmap(lambda one: self.model.predict(params, one, x), out_axes=-1)(factor.columns)

    def noise_variance(
        self, params: Params, factor: MultiOutputFactor, x: Float[Array, "m d"]
    ) -> Float[Array, "m outputs"]:
        """(m, outputs) variance that a new observation at x (m, d) adds."""
        return jax.vmap(lambda one: self.model.noise_variance(params, one, x), out_axes=-1)(factor.columns)

    def leave_one_out(
        self, params: Params, obs: Observations
    ) -> tuple[Float[Array, "capacity outputs"], Float[Array, "capacity outputs"]]:
        """Mean and variance (capacity, outputs) of each observation given the others of its column."""
        mean, variance = self._each(able(self.model, LeavesOneOut).leave_one_out, params, obs)
        return mean.T, variance.T

    def _each(self, function: Callable[..., Any], params: Params, obs: Observations) -> Any:
        if self.columns == 1 and obs.y.ndim == 1:  # a column of observations is kept as (capacity,)
            obs = obs._replace(y=obs.y[:, None])
        if obs.y.ndim != 2 or obs.y.shape[1] != self.columns:
            raise ValueError(
                f"this model has {self.columns} outputs: y must be (capacity, {self.columns}), got {obs.y.shape}."
            )
        return jax.vmap(lambda y: function(params, obs._replace(y=y)), in_axes=1)(obs.y)


@interned
def multi_output(model: Model, outputs: int) -> MultiOutput:
    """The same model for every column of y (capacity, outputs), with common parameters.

    Given the parameters (kernel, noise relative to each column's scale, weights of an encoder) the columns are
    independent processes; what they have in common is what structure means. Where one column tells of another beyond
    that, use `kernels.coregion`.

    Args:
        model: of a single quantity, standardising by itself so that columns of any scale may share parameters.
        outputs: number of columns.

    Returns:
        A Model whose `predict` returns mean (m, outputs) and variance (m, outputs), as `noise_variance` does, and
        `leave_one_out` (capacity, outputs) of each; for `ensemble`, `nuts`, `smc` and `laplace`. Scores look at one
        quantity: give them a model of the quantity itself, or a linear combination by `SpectralBasis.coefficients`.

    Raises:
        ValueError: fewer than one column, or a model of several quantities.
    """
    if outputs < 1:
        raise ValueError(f"multi_output needs at least one output; got {outputs}.")
    if model.outputs != 1:
        raise ValueError(f"multi_output repeats a model of one quantity; this one has {model.outputs}.")
    return MultiOutput(model, outputs)


FOLDS = 20
"""Parts of the spectra that are left out in turn to see what components miss."""


def _components(values: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean (n,), all singular values, and the first `count` directions (count, n)."""
    mean = values.mean(axis=0)
    _, singular, directions = np.linalg.svd(values - mean, full_matrices=False)
    return mean, singular, directions[:count]


class SpectralBasis(NamedTuple):
    """Mean and principal components of spectra: spectrum = mean + coefficients @ components + rest.

    Attributes:
        mean: (n,) of the spectra.
        components: (k, n) orthonormal, the most important one first.
        rest: (n,) variance of new spectra that the components leave out, channel by channel.
        explained: () share of the variance that the components hold.
    """

    mean: Float[Array, " n"]
    components: Float[Array, "k n"]
    residual_variance: Float[Array, " n"]
    explained: Float[Array, ""]

    @classmethod
    def of(cls, spectra: ArrayLike, components: int) -> "SpectralBasis":
        """From measured spectra (m, n); outside jit.

        What the components leave out is measured on spectra that had no part in them (leave-one-out, or twenty folds).

        Raises:
            ValueError: not (m, n), not finite, fewer than components + 2 spectra, or fewer channels than components.
        """
        values = np.asarray(unmasked(spectra), np.result_type(float, np.asarray(spectra).dtype))
        fits = values.ndim == 2 and 1 <= components <= min(values.shape[0] - 2, values.shape[1])
        if not fits or not np.isfinite(values).all():
            raise ValueError(
                f"spectra must be finite, (m, n), m >= components + 2 = {components + 2} and n >= {components}; "
                f"got {values.shape}."
            )
        mean, singular, kept = _components(values, components)
        explained = np.sum(singular[:components] ** 2) / max(np.sum(singular**2), np.finfo(float).tiny)
        fold, missed = np.arange(len(values)) % min(len(values), FOLDS), np.zeros_like(values)
        for one in np.unique(fold):
            centre, _, rows = _components(values[fold != one], components)
            away = values[fold == one] - centre
            missed[fold == one] = away - away @ rows.T @ rows
        rest = np.mean(missed**2, axis=0)
        return cls(jnp.asarray(mean), jnp.asarray(kept), jnp.asarray(rest), jnp.asarray(explained))

    def coefficients(self, spectra: ArrayLike) -> Float[Array, "m k"]:
        """(m, k) of spectra (m, n)."""
        return (jnp.asarray(spectra) - self.mean[None]) @ self.components.T

    def spectra(
        self, mean: Float[Array, "m k"], variance: Float[Array, "m k"]
    ) -> tuple[Float[Array, "m n"], Float[Array, "m n"]]:
        """New spectra (m, n) and their variance from mean and variance (m, k) of the coefficients.

        With the variance of new observations of the coefficients (their noise included) it is that of measured spectra.
        """
        return self.mean[None] + mean @ self.components, variance @ self.components**2 + self.residual_variance[None]


def mixture_moments(posterior: Any, x: Array) -> tuple[Array, Array]:
    """Mean (m, outputs) and variance (m, outputs) of the mixture over draws of the posterior of a `MultiOutput`."""
    mean, variance = posterior.predict(x)
    weight = jnp.exp(posterior.log_weight)
    centre = jnp.tensordot(weight, mean, axes=1)
    return centre, jnp.tensordot(weight, variance + (mean - centre[None]) ** 2, axes=1)
