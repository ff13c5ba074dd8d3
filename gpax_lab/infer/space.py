"""A model's parameters as one unconstrained vector, and its log density there."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpyro
from jax import Array
from jax.flatten_util import ravel_pytree
from numpyro import handlers
from numpyro.infer.util import constrain_fn, potential_energy, unconstrain_fn

from gpax_lab.models.model import Model
from gpax_lab.observations import Observations


class Space(NamedTuple):
    """Unconstrained coordinates z (size,) of a model; positive parameters lie on the log scale.

    Attributes:
        size: number of coordinates.
        draw: key -> z, one draw from the prior.
        constrain: z -> parameters by name.
        potential: (z, obs) -> () minus log of prior (with Jacobian) times likelihood.
    """

    size: int
    draw: Callable[[Array], Array]
    constrain: Callable[[Array], dict[str, Array]]
    potential: Callable[[Array, Observations], Array]


def space_of(model: Model, dtype: jnp.dtype) -> Space:
    """Lay out the parameters of a model as a vector of `dtype`."""

    def sites(key: Array) -> dict[str, Array]:
        traced = handlers.trace(handlers.seed(model.prior, key)).get_trace()
        return {name: site["value"] for name, site in traced.items() if site["type"] == "sample"}

    def free(key: Array) -> dict[str, Array]:
        return unconstrain_fn(handlers.seed(model.prior, key), (), {}, sites(key))

    shapes = jax.eval_shape(free, jax.random.key(0))
    template = {name: jnp.zeros(shape.shape, dtype) for name, shape in shapes.items()}
    flat, unflatten = ravel_pytree(template)
    if flat.size == 0:
        raise ValueError("every parameter of this model is fixed: give at least one a distribution to infer.")

    def draw(key: Array) -> Array:
        return ravel_pytree(free(key))[0].astype(dtype)

    def constrain(z: Array) -> dict[str, Array]:
        values = constrain_fn(handlers.seed(model.prior, jax.random.key(0)), (), {}, unflatten(z))
        return handlers.seed(handlers.substitute(model.prior, data=values), jax.random.key(0))()

    def program(obs: Observations) -> None:
        numpyro.factor("log_likelihood", model.log_likelihood(model.prior(), obs))

    def energy(z: Array, obs: Observations) -> Array:
        value = potential_energy(handlers.seed(program, jax.random.key(0)), (obs,), {}, unflatten(z))
        return jnp.where(jnp.isnan(value), jnp.inf, value)

    def potential(z: Array, obs: Observations) -> Array:
        # The branch is a border that the compiler does not fuse across. Without it the last bit of the gradient
        # depends on the loops around the call, and a sampler makes another trajectory of it.
        nowhere = jnp.full((), jnp.inf, dtype)
        return jax.lax.cond(jnp.all(jnp.isfinite(z)), lambda: energy(z, obs).astype(dtype), lambda: nowhere)

    return Space(flat.size, draw, constrain, potential)


def start(key: Array, space: Space, obs: Observations, tries: int = 16) -> Array:
    """The most probable of `tries` prior draws: (size,) a start where the density is finite, if any has one."""
    z = jax.vmap(space.draw)(jax.random.split(key, tries))
    energy = jax.lax.map(lambda one: space.potential(one, obs), z)
    return z[jnp.argmin(jnp.where(jnp.isfinite(energy), energy, jnp.inf))]
