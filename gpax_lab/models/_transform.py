"""What every Gaussian process of the library shares: units, standardisation, mean, noise, points and prior."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from gpax_lab.core._interning import interned
from gpax_lab.core._observations import Observations
from gpax_lab.core._priors import Params, Prior, Program, complete, given_shapes, parameter_shapes
from gpax_lab.core._types import ArrayLike
from gpax_lab.kernels import KernelLike
from gpax_lab.means import Mean
from gpax_lab.models._noise import InputNoise, Noise, NoiseModel, input_noise_model, noise_model, only_known
from gpax_lab.models._scaling import Scale, box, check_standardize, measured_inputs, standardisation


@dataclass(frozen=True, eq=False)
class DataTransform:
    """From observations to a residual process in the unit cube, and back.

    Attributes:
        low: (d,) lower corner of the box in the user's units.
        width: (d,) of the box, likewise.
        mean: m(x, params), or None for the average of the observations.
        noise: of observations.
        input_noise: where they were taken.
        standardize: as in `gp.exact`.
        prior: of all parameters.
        noiseless: whether observations scatter by their known variances alone, at the points where they were asked for.
    """

    low: np.ndarray
    width: np.ndarray
    mean: Mean | None
    noise: NoiseModel
    input_noise: InputNoise
    standardize: bool | tuple[float, float]
    prior: Program
    noiseless: bool

    @property
    def bounds(self) -> np.ndarray:
        """(d, 2) the box."""
        return np.stack([self.low, self.low + self.width], axis=1)

    def unit(self, x: Array) -> Array:
        """(m, d) points of the user's box in the unit cube."""
        return (x - jnp.asarray(self.low[None], x.dtype)) / jnp.asarray(self.width[None], x.dtype)

    def mean_at(self, params: Params, scale: Scale, x: Array) -> Array:
        """(m,) mean function at x (m, d), both in the user's units."""
        if self.mean is None:
            return jnp.broadcast_to(scale.location, x.shape[:1])
        mean = self.mean
        return jax.vmap(lambda a: mean(a, params))(x)

    def variance_at(self, params: Params, obs: Observations, x: Array, scale: Scale) -> Array:
        """(capacity,) noise variance of standardised observations if they were taken at x (capacity, d)."""
        variance, tails = self.noise.variance(params, self.unit(x), obs.noise, scale), self.noise.tails
        return variance if tails is None else variance * tails.times(params, obs.capacity)

    def parts(self, params: Params, obs: Observations) -> tuple[Array, Array, Array, Scale]:
        """Points in the unit cube (capacity, d), standardised residuals and noise variances (capacity,), the scale."""
        scale = standardisation(obs, self.standardize, self.mean is None, self.noise.tails is not None)
        safe = measured_inputs(obs)
        residual = (obs.y - self.mean_at(params, scale, safe)) / scale.scale
        return self.unit(obs.x), residual, self.variance_at(params, obs, safe, scale), scale

    def noise_variance(self, params: Params, scale: Scale, x: Array) -> Array:
        """(m,) variance that a new observation at x (m, d) adds, in the user's unit squared."""
        variance = self.noise.variance(params, self.unit(x), jnp.zeros_like(x[:, 0]), scale)
        return scale.scale**2 * (variance if self.noise.tails is None else self.noise.tails.fresh * variance)

    def left_out_variance(self, params: Params, obs: Observations, scale: Scale, left_out: Array) -> Array:
        """(capacity,) variance of observations given all others, from `left_out`, in which they share their own excess.

        An observation is left out with all that it tells: its excess is then as that of a new one.
        """
        if self.noise.tails is None:
            return left_out
        variance = self.noise.variance(params, self.unit(measured_inputs(obs)), obs.noise, scale)
        return left_out + variance * (self.noise.tails.fresh - self.noise.tails.times(params, obs.capacity))


@interned
def data_transform(
    dim: int,
    kernel: KernelLike,
    *,
    mean: Mean | None,
    prior: Prior | None,
    noise: Noise,
    bounds: ArrayLike | None,
    standardize: bool | tuple[float, float],
    uncertain_inputs: int | None = None,
) -> DataTransform:
    """The transform of a process; arguments and errors as in `gp.exact`."""
    low, width = box(bounds, dim)
    standardize = check_standardize(standardize)
    known = given_shapes(prior)
    rule = noise_model(noise, dim, known)
    displaced = input_noise_model(uncertain_inputs, dim, width)
    physics = {} if mean is None else parameter_shapes(mean, 1, dim, known)
    reads = parameter_shapes(kernel, 2, dim, known) | rule.reads | displaced.reads | physics
    excess = {} if rule.tails is None else rule.tails.prior
    reads |= {name: known.get(name, value.shape()) for name, value in excess.items()}
    program = complete(prior, reads, dim, physics, dict(rule.prior) | displaced.prior | excess)
    # Where observations may lie beside where they were asked for, two different ones at one point are no contradiction.
    noiseless = only_known(noise, prior) and uncertain_inputs is None
    return DataTransform(
        low=low,
        width=width,
        mean=mean,
        noise=rule,
        input_noise=displaced,
        standardize=standardize,
        prior=program,
        noiseless=noiseless,
    )
