"""A physics model without a Gaussian process around it: a mean function and independent noise."""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from gpax_lab.core._interning import interned
from gpax_lab.core._observations import Observations
from gpax_lab.core._priors import Params, Prior, Program, complete, given_shapes, name_of, parameter_shapes
from gpax_lab.core._types import ArrayLike, Float
from gpax_lab.means import Mean
from gpax_lab.models._exactness import Needs
from gpax_lab.models._model import Model
from gpax_lab.models._noise import Noise, NoiseModel, StudentNoise, noise_model, only_known
from gpax_lab.models._scaling import Scale, box, check_standardize, measured_inputs, standardisation


class ParametricFactor(NamedTuple):
    """Nothing but the scale of the observations; the parameters say the rest. `ok` is () bool."""

    scale: Scale
    ok: Array


@dataclass(frozen=True, eq=False, repr=False)
class Parametric(Model):
    """y = mean(x) + noise; build it by `parametric`.

    Attributes:
        mean: m(x, params) for one point, in the user's units.
        low: (d,) lower corner of the box that a noise function sees as the unit cube, in the user's units.
        width: (d,) of the box, likewise.
        rule: the noise of observations.
        standardize: as in `gp.exact`.
        program: prior of all parameters.
        noiseless: whether observations scatter by their known variances alone.
    """

    mean: Mean
    low: np.ndarray
    width: np.ndarray
    noise: NoiseModel
    standardize: bool | tuple[float, float]
    program: Program
    noiseless: bool

    def __repr__(self) -> str:
        """Kind of model and mean function."""
        return f"{super().__repr__()[:-1]}: mean {name_of(self.mean)}>"

    @property
    def prior(self) -> Program:
        """Of all parameters."""
        return self.program

    @property
    def dim(self) -> int:
        """Number of inputs d."""
        return self.low.size

    @property
    def standardized(self) -> bool:
        """Whether observations are standardised by themselves."""
        return self.standardize is True

    @property
    def tails(self) -> StudentNoise | None:
        """What makes the noise heavier than normal."""
        return self.noise.tails

    @property
    def needs_noise(self) -> Needs:
        """All observations, where the model adds no noise of its own."""
        return "all" if self.noiseless else "nothing"

    def log_likelihood(self, params: Params, obs: Observations) -> Float[Array, ""]:
        """() log density of the observations, independent given the parameters."""
        variance = jnp.where(obs.measured, self._variance(params, obs), 1.0)
        residual = jnp.where(obs.measured, obs.y - self._at(params, measured_inputs(obs)), 0.0)
        if self.tails is not None:
            return jnp.sum(jnp.where(obs.measured, self.tails.log_density(residual, variance), 0.0))
        terms = residual**2 / variance + jnp.log(2 * jnp.pi * variance)
        return -0.5 * jnp.sum(jnp.where(obs.measured, terms, 0.0))

    def condition(self, params: Params, obs: Observations) -> ParametricFactor:
        """The scale of the observations; the parameters say the rest."""
        return ParametricFactor(self._scale(obs), jnp.asarray(True))

    def condition_on_pending(self, params: Params, factor: ParametricFactor, obs: Observations) -> ParametricFactor:
        """The same factor: given the parameters nothing is left to learn of the mean."""
        return factor

    def predict(
        self, params: Params, factor: ParametricFactor, x: Float[Array, "m d"]
    ) -> tuple[Float[Array, " m"], Float[Array, " m"]]:
        """Mean (m,) at x (m, d), and no variance: what is open is how far the draws differ."""
        value = self._at(params, x)
        return value, jnp.zeros_like(value)

    def joint(
        self, params: Params, factor: ParametricFactor, x: Float[Array, "m d"]
    ) -> tuple[Float[Array, " m"], Float[Array, "m m"]]:
        """Mean (m,) and a covariance (m, m) of zeros."""
        value = self._at(params, x)
        return value, jnp.zeros((value.size, value.size), value.dtype)

    def paths(
        self,
        params: Params,
        factor: ParametricFactor,
        obs: Observations,
        key: Array,
        count: int,
        x: Float[Array, "m d"],
    ) -> Float[Array, "count m"]:
        """(count, m) times the mean function."""
        return jnp.broadcast_to(self._at(params, x)[None], (count, x.shape[0]))

    def noise_variance(self, params: Params, factor: ParametricFactor, x: Float[Array, "m d"]) -> Float[Array, " m"]:
        """(m,) variance that a new observation at x (m, d) adds."""
        return self._fresh * self._variance_at(params, x, jnp.zeros_like(x[:, 0]), factor.scale)

    def leave_one_out(
        self, params: Params, obs: Observations
    ) -> tuple[Float[Array, " capacity"], Float[Array, " capacity"]]:
        """Mean and variance (capacity,) of each observation: given the parameters the others say nothing of it."""
        return self._at(params, obs.x), self._fresh * self._variance(params, obs)

    @property
    def _fresh(self) -> float:
        return 1.0 if self.tails is None else self.tails.fresh

    def _variance_at(self, params: Params, x: Array, known: Array, scale: Scale) -> Array:
        unit = (x - jnp.asarray(self.low[None], x.dtype)) / jnp.asarray(self.width[None], x.dtype)
        return scale.scale**2 * self.noise.variance(params, unit, known, scale)

    def _at(self, params: Params, x: Array) -> Array:
        mean = self.mean
        return jax.vmap(lambda a: mean(a, params))(x)

    def _scale(self, obs: Observations) -> Scale:
        return standardisation(obs, self.standardize, centred=False, robust=self.tails is not None)

    def _variance(self, params: Params, obs: Observations) -> Array:
        return self._variance_at(params, measured_inputs(obs), obs.noise, self._scale(obs))


@interned
def parametric(
    dim: int,
    mean: Mean,
    prior: Prior | None = None,
    noise: Noise = "inferred",
    bounds: ArrayLike | None = None,
    standardize: bool | tuple[float, float] = True,
) -> Parametric:
    """y = mean(x) + noise: all uncertainty lies in the parameters of the physics and in the noise.

    Args:
        dim: number of inputs d.
        mean: m(x, params) for one point, in the user's units.
        prior: as in `gp.exact`.
        noise: as in `gp.exact`.
        bounds: as in `gp.exact`; matters only to a noise function.
        standardize: as in `gp.exact`; sets the unit of the parameter `noise`.

    Returns:
        A Model whose draws each predict without variance: what is open is how far the draws differ.

    Raises:
        ValueError: a parameter has no prior or a prior names an unknown parameter.
    """
    standardize = check_standardize(standardize)
    low, width = box(bounds, dim)
    known = given_shapes(prior)
    rule = noise_model(noise, dim, known)
    physics = parameter_shapes(mean, 1, dim, known)
    program = complete(prior, physics | rule.reads, dim, physics, rule.prior)
    return Parametric(mean, low, width, rule, standardize, program, only_known(noise, prior))
