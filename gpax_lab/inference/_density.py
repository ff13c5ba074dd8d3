"""A model's parameters as one unconstrained vector, and its log density there."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
from jax import Array
from numpyro import handlers
from numpyro.infer.util import constrain_fn, potential_energy, unconstrain_fn

from gpax_lab.core._linalg import over_draws
from gpax_lab.core._observations import Observations
from gpax_lab.core._programs import latent_and_observed, log_observed, vetted
from gpax_lab.models._model import Density


class UnconstrainedDensity(NamedTuple):
    """Unconstrained coordinates z (size,) of a model; positive parameters lie on the log scale.

    Attributes:
        size: number of coordinates.
        draw: key -> z, one draw from the prior.
        constrain: z -> parameters by name.
        potential: (z, obs) -> () minus log of prior (with Jacobian) times likelihood.
        log_likelihoods: (z (n, size), obs) -> (n,), what the prior program has observed included.
        tempered: (z (n, size), pair, lam (), aware ()) -> minus the log of prior times L(first)^lam
            L(second)^(1 - lam) (n,), its slope (n, size), and the log likelihoods (2, n), of which the second is left 0
            where lam is 1. The first includes what the prior program has observed, the second only where it is aware.
    """

    size: int
    draw: Callable[[Array], Array]
    constrain: Callable[[Array], dict[str, Array]]
    potential: Callable[[Array, Observations], Array]
    log_likelihoods: Callable[[Array, Observations], Array]
    tempered: Callable[[Array, Observations, Array, Array], tuple[Array, Array, Array]]


def unconstrained_density(model: Density, dtype: jnp.dtype) -> UnconstrainedDensity:
    """Lay out the parameters of a model as a vector of `dtype`. What its prior program has observed is none.

    The model keeps what was made for it, and its functions are traced once for all programs that call them.
    """
    kept, kind = vars(model).setdefault("_spaces", {}), (jnp.dtype(dtype), jax.config.read("jax_enable_x64"))
    if kind not in kept:
        kept[kind] = _laid_out(model, jnp.dtype(dtype))
    return kept[kind]


def _laid_out(model: Density, dtype: jnp.dtype) -> UnconstrainedDensity:
    prior = vetted(model.prior)
    latent, observed = latent_and_observed(prior)
    unconditioned = handlers.block(prior, hide=list(observed)) if observed else prior

    def sites(key: Array) -> dict[str, Array]:
        traced = handlers.trace(handlers.seed(prior, key)).get_trace()
        return {name: traced[name]["value"] for name in latent}

    def free(key: Array) -> dict[str, Array]:
        return unconstrain_fn(handlers.seed(prior, key), (), {}, sites(key))

    shapes = jax.eval_shape(free, jax.random.key(0))
    names = sorted(shapes)
    ends = np.cumsum([math.prod(shapes[name].shape) for name in names])
    size = int(ends[-1]) if names else 0
    if size == 0:
        raise ValueError("every parameter of this model is fixed: give at least one a distribution to infer.")

    @jax.jit
    def draw(key: Array) -> Array:
        values = free(key)
        return jnp.concatenate([values[name].ravel() for name in names]).astype(dtype)

    def unflatten(z: Array) -> dict[str, Array]:
        parts = jnp.split(z, ends[:-1])
        return {name: part.reshape(shapes[name].shape) for name, part in zip(names, parts, strict=True)}

    @jax.jit
    def constrain(z: Array) -> dict[str, Array]:
        return handlers.seed(handlers.substitute(prior, data=constrained(z)), jax.random.key(0))()

    def constrained(z: Array) -> dict[str, Array]:
        return constrain_fn(handlers.seed(prior, jax.random.key(0)), (), {}, unflatten(z))

    # obs: Observations, or whatever else a density is of (the blocks of a grid).
    def program(obs: Any) -> None:
        numpyro.factor("log_likelihood", model.log_likelihood(prior(), obs))

    def energy(z: Array, obs: Any) -> Array:
        value = potential_energy(handlers.seed(program, jax.random.key(0)), (obs,), {}, unflatten(z))
        return jnp.where(jnp.isnan(value), jnp.inf, value)

    @jax.jit
    def potential(z: Array, obs: Any) -> Array:
        # A border that the compiler does not fuse across: rounding, which a trajectory multiplies, then depends less on
        # what is around the call, such as the capacity.
        nowhere = jnp.full((), jnp.inf, dtype)
        return jax.lax.cond(jnp.all(jnp.isfinite(z)), lambda: energy(z, obs).astype(dtype), lambda: nowhere)

    @jax.jit
    def prior_energy(z: Array) -> Array:
        return potential_energy(handlers.seed(unconditioned, jax.random.key(0)), (), {}, unflatten(z))

    def log_likelihood(z: Array, obs: Any) -> Array:
        value = model.log_likelihood(constrain(z), obs).astype(dtype)
        return jnp.where(jnp.isnan(value), -jnp.inf, value)

    @jax.jit
    def log_given(z: Array, obs: Any, aware: Array | bool) -> Array:
        """() log likelihood, and log density of what the prior program has observed where it is aware of that."""
        value = log_likelihood(z, obs)
        if not observed:
            return value
        known = jnp.where(aware, log_observed(prior, constrained(z)).astype(dtype), 0.0)
        return value + jnp.where(jnp.isnan(known), -jnp.inf, known)

    def log_likelihoods(z: Array, obs: Any) -> Array:
        return over_draws(lambda one: log_given(one, obs, True), z)

    return UnconstrainedDensity(
        size, draw, constrain, potential, log_likelihoods, _tempered(prior_energy, log_given, dtype)
    )


def _tempered(
    prior_energy: Callable[[Array], Array],
    log_given: Callable[[Array, Observations, Array | bool], Array],
    dtype: np.dtype,
) -> Callable[[Array, Observations, Array, Array], tuple[Array, Array, Array]]:
    """The function `UnconstrainedDensity.tempered`."""

    def tempered(z: Array, pair: Observations, lam: Array, aware: Array) -> tuple[Array, Array, Array]:
        energy, slope = over_draws(jax.value_and_grad(prior_energy), z)
        share = jnp.stack([lam, 1.0 - lam])

        def one_of(k: Array, so_far: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
            energy, slope, values = so_far
            obs = jax.tree.map(lambda leaf: leaf[k], pair)
            value, rise = over_draws(jax.value_and_grad(lambda one: log_given(one, obs, (k == 0) | aware)), z)
            return energy - share[k] * value, slope - share[k] * rise, values.at[k].set(value)

        # A loop of one or two rounds: the density is compiled once, and the old one costs nothing where lam is 1.
        rounds = jnp.where(lam < 1, 2, 1)
        begun = energy.astype(dtype), slope.astype(dtype), jnp.zeros((2, z.shape[0]), dtype)
        energy, slope, values = jax.lax.fori_loop(0, rounds, one_of, begun)
        good = jnp.isfinite(energy)
        return jnp.where(good, energy, jnp.inf), jnp.where(good[:, None] & jnp.isfinite(slope), slope, 0.0), values

    return tempered


def start(key: Array, space: UnconstrainedDensity, obs: Any, num_draws: int = 16) -> Array:
    """The most probable of `num_draws` prior draws: (size,) a start where the density is finite, if any has one."""
    z = jax.vmap(space.draw)(jax.random.split(key, num_draws))
    energy = jax.lax.map(lambda one: space.potential(one, obs), z)
    return z[jnp.argmin(jnp.where(jnp.isfinite(energy), energy, jnp.inf))]
