"""Several quantities of one place at once, such as the principal components of its spectrum."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from gpax_lab.core._inputs import unmasked
from gpax_lab.core._interning import interned
from gpax_lab.core._observations import Observations
from gpax_lab.models._model import Model
from gpax_lab.priors import Params


class VectorFactor(NamedTuple):
    """The factors of all columns, leading axis outputs, and whether each could be computed."""

    columns: Any
    ok: Array


@interned
def multi_output(model: Model, outputs: int) -> Model:
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
        ValueError: fewer than one column.
    """
    if outputs < 1:
        raise ValueError(f"vector needs at least one output; got {outputs}.")

    def each(function, params: Params, obs: Observations):
        if outputs == 1 and obs.y.ndim == 1:  # a column of readings is kept as (capacity,)
            obs = obs._replace(y=obs.y[:, None])
        if obs.y.ndim != 2 or obs.y.shape[1] != outputs:
            raise ValueError(f"this model has {outputs} outputs: y must be (capacity, {outputs}), got {obs.y.shape}.")
        return jax.vmap(lambda y: function(params, obs._replace(y=y)), in_axes=1)(obs.y)

    def condition(params: Params, obs: Observations) -> VectorFactor:
        factor = each(model.condition, params, obs)
        return VectorFactor(factor, jnp.all(factor.ok))

    def of_columns(function, factor: VectorFactor):
        return jax.vmap(function, out_axes=-1)(factor.columns)

    def shrink(params: Params, factor: VectorFactor, obs: Observations) -> VectorFactor:
        first = obs._replace(y=obs.y.reshape(obs.capacity, -1)[:, 0])  # variances do not depend on the readings
        columns = jax.vmap(lambda one: model.condition_on_pending(params, one, first))(factor.columns)
        return VectorFactor(columns, jnp.all(columns.ok))

    def no_draws(*_: Any) -> Any:
        raise NotImplementedError("a vector model draws no functions: draw from a model of one of its columns.")

    def leave_one_out(params: Params, obs: Observations) -> tuple[Array, Array]:
        mean, variance = each(model.leave_one_out, params, obs)
        return mean.T, variance.T

    return Model(
        prior=model.prior,
        log_likelihood=lambda params, obs: jnp.sum(each(model.log_likelihood, params, obs)),
        condition=condition,
        condition_on_pending=shrink,
        predict=lambda params, factor, x: of_columns(lambda one: model.predict(params, one, x), factor),
        joint=no_draws,
        paths=no_draws,
        noise_variance=lambda params, factor, x: of_columns(lambda one: model.noise_variance(params, one, x), factor),
        leave_one_out=leave_one_out,
        dim=model.dim,
        standardized=model.standardized,
        tails=model.tails,
        bounds=model.bounds,
        outputs=outputs,
        needs_noise=model.needs_noise,
    )


FOLDS = 20
"""Parts of the spectra that are left out in turn to see what components miss."""


def _components(values: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean (n,), all singular values, and the first `count` directions (count, n)."""
    mean = values.mean(axis=0)
    _, spread, directions = np.linalg.svd(values - mean, full_matrices=False)
    return mean, spread, directions[:count]


class SpectralBasis(NamedTuple):
    """Mean and principal components of spectra: spectrum = mean + coefficients @ components + rest.

    Attributes:
        mean: (n,) of the spectra.
        components: (k, n) orthonormal, the most important one first.
        rest: (n,) variance of new spectra that the components leave out, channel by channel.
        explained: () share of the variance that the components hold.
    """

    mean: Array
    components: Array
    rest: Array
    explained: Array

    @classmethod
    def of(cls, spectra: Array, components: int) -> "SpectralBasis":
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
        mean, spread, kept = _components(values, components)
        explained = np.sum(spread[:components] ** 2) / max(np.sum(spread**2), np.finfo(float).tiny)
        fold, missed = np.arange(len(values)) % min(len(values), FOLDS), np.zeros_like(values)
        for one in np.unique(fold):
            centre, _, rows = _components(values[fold != one], components)
            away = values[fold == one] - centre
            missed[fold == one] = away - away @ rows.T @ rows
        rest = np.mean(missed**2, axis=0)
        return cls(jnp.asarray(mean), jnp.asarray(kept), jnp.asarray(rest), jnp.asarray(explained))

    def coefficients(self, spectra: Array) -> Array:
        """(m, k) of spectra (m, n)."""
        return (jnp.asarray(spectra) - self.mean[None]) @ self.components.T

    def spectra(self, mean: Array, variance: Array) -> tuple[Array, Array]:
        """New spectra (m, n) and their variance from mean and variance (m, k) of the coefficients.

        With the variance of new readings of the coefficients (their noise included) it is that of measured spectra.
        """
        return self.mean[None] + mean @ self.components, variance @ self.components**2 + self.rest[None]


def vector_moments(posterior: Any, x: Array) -> tuple[Array, Array]:
    """Mean (m, outputs) and variance (m, outputs) of the mixture over draws of a `multi_output` model's posterior."""
    mean, variance = posterior.predict(x)
    weight = jnp.exp(posterior.log_weight)
    centre = jnp.tensordot(weight, mean, axes=1)
    return centre, jnp.tensordot(weight, variance + (mean - centre[None]) ** 2, axes=1)
