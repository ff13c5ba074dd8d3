"""A physics model without a Gaussian process around it: a mean function and independent noise."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from gpax_lab.core._interning import interned
from gpax_lab.core._observations import Observations
from gpax_lab.means import Mean
from gpax_lab.models._model import Model
from gpax_lab.models._noise import Noise, noise_rule, only_known
from gpax_lab.models._scaling import Scale, box, checked, inside, standardisation
from gpax_lab.priors import Params, Prior, complete, given_shapes, parameter_shapes


class ParametricFactor(NamedTuple):
    """Nothing but the scale of the readings; the parameters say the rest. `ok` is () bool."""

    scale: Scale
    ok: Array


@interned
def parametric(
    dim: int,
    mean: Mean,
    prior: Prior | None = None,
    noise: Noise = "inferred",
    bounds: ArrayLike | None = None,
    standardize: bool | tuple[float, float] = True,
) -> Model:
    """y = mean(x) + noise: all uncertainty lies in the parameters of the physics and in the noise.

    Args:
        dim: number of inputs d.
        mean: m(x, params) for one point, in the user's units.
        prior: as in `gp.exact`.
        noise: as in `gp.exact`.
        bounds: as in `gp.exact`; matters only to a noise function.
        standardize: as in `gp.exact`; sets the unit of the parameter `noise`.

    Returns:
        A Model whose draws each predict without variance: the spread is that between draws.

    Raises:
        ValueError: a parameter has no prior or a prior names an unknown parameter.
    """
    standardize = checked(standardize)
    low, width = box(bounds, dim)
    known = given_shapes(prior)
    rule = noise_rule(noise, dim, known)
    physics = parameter_shapes(mean, 1, dim, known)
    reads, tails = physics | rule.reads, rule.tails
    fresh = 1.0 if tails is None else tails.fresh

    def variance_at(params: Params, x: Array, known: Array, scale: Scale) -> Array:
        unit = (x - jnp.asarray(low[None], x.dtype)) / jnp.asarray(width[None], x.dtype)
        return scale.scale**2 * rule.variance(params, unit, known, scale)

    def at(params: Params, x: Array) -> Array:
        return jax.vmap(lambda a: mean(a, params))(x)

    def scale_of(obs: Observations) -> Scale:
        return standardisation(obs, standardize, centred=False, robust=tails is not None)

    def spread(params: Params, obs: Observations) -> Array:
        scale = scale_of(obs)
        return variance_at(params, inside(obs), obs.noise, scale)

    def log_likelihood(params: Params, obs: Observations) -> Array:
        variance = jnp.where(obs.measured, spread(params, obs), 1.0)
        residual = jnp.where(obs.measured, obs.y - at(params, inside(obs)), 0.0)
        if tails is not None:
            return jnp.sum(jnp.where(obs.measured, tails.log_density(residual, variance), 0.0))
        terms = residual**2 / variance + jnp.log(2 * jnp.pi * variance)
        return -0.5 * jnp.sum(jnp.where(obs.measured, terms, 0.0))

    def condition(params: Params, obs: Observations) -> ParametricFactor:
        return ParametricFactor(scale_of(obs), jnp.asarray(True))

    def shrink(params: Params, factor: ParametricFactor, obs: Observations) -> ParametricFactor:
        return factor

    def predict(params: Params, factor: ParametricFactor, x: Array) -> tuple[Array, Array]:
        value = at(params, x)
        return value, jnp.zeros_like(value)

    def joint(params: Params, factor: ParametricFactor, x: Array) -> tuple[Array, Array]:
        value = at(params, x)
        return value, jnp.zeros((value.size, value.size), value.dtype)

    def paths(params: Params, factor: ParametricFactor, obs: Observations, key: Array, count: int, x: Array) -> Array:
        return jnp.broadcast_to(at(params, x)[None], (count, x.shape[0]))

    def noise_variance(params: Params, factor: ParametricFactor, x: Array) -> Array:
        return fresh * variance_at(params, x, jnp.zeros_like(x[:, 0]), factor.scale)

    def leave_one_out(params: Params, obs: Observations) -> tuple[Array, Array]:
        return at(params, obs.x), fresh * spread(params, obs)

    return Model(
        prior=complete(prior, reads, dim, physics, rule.prior),
        log_likelihood=log_likelihood,
        condition=condition,
        condition_on_pending=shrink,
        predict=predict,
        joint=joint,
        paths=paths,
        noise_variance=noise_variance,
        leave_one_out=leave_one_out,
        dim=dim,
        standardized=standardize is True,
        tails=tails,
        bounds=None,
        needs_noise="all" if only_known(noise, prior) else "nothing",
    )
