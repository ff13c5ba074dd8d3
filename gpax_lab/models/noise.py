"""How much a reading scatters, in value and in place: inferred, known, or both; the same everywhere or not."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax import Array

from gpax_lab.kernels import rbf
from gpax_lab.linalg import cholesky, jitter, solve_upper
from gpax_lab.models.scaling import Scale
from gpax_lab.observations import Observations
from gpax_lab.priors import Params, Scoped, parameter_shapes
from gpax_lab.sequence import additive_recurrence

NoiseFunction: TypeAlias = Callable[[Array, Params], Array]
Noise: TypeAlias = Literal["inferred", "known"] | NoiseFunction


class NoiseRule(NamedTuple):
    """A rule as a model uses it.

    Attributes:
        variance: (params, x (n, d) in the unit cube, known (n,), scale) -> (n,) variance of standardised readings.
        reads: names and shapes of its parameters.
        prior: distributions for those that have no default by name.
    """

    variance: Callable[[Params, Array, Array, Scale], Array]
    reads: dict[str, tuple[int, ...]]
    prior: Mapping[str, dist.Distribution]


def noise_rule(noise: Noise, dim: int, known: Mapping[str, tuple[int, ...]]) -> NoiseRule:
    """The noise variance of standardised readings, and the parameters it reads.

    Args:
        noise: "inferred" for a common unknown variance on top of the known ones, "known" for the known ones alone, or
            a function n(x, params) for an unknown variance that changes from place to place, on top of them.
        dim: number of inputs d.
        known: shapes of parameters whose prior is given.

    Raises:
        ValueError: another word.
    """
    if noise is SmoothNoise:
        raise ValueError("noise=SmoothNoise is the class: write noise=SmoothNoise().")
    if callable(noise):
        prior = getattr(noise, "prior", {})
        reads = parameter_shapes(noise, 1, dim, {name: d.shape() for name, d in prior.items()} | dict(known))

        def varying(params: Params, x: Array, known: Array, scale: Scale) -> Array:
            return jax.vmap(lambda a: noise(a, params))(x) + known / scale.scale**2

        return NoiseRule(varying, reads, prior)
    if noise == "inferred":
        return NoiseRule(lambda params, x, known, scale: params["noise"] + known / scale.scale**2, {"noise": ()}, {})
    if noise == "known":
        return NoiseRule(lambda params, x, known, scale: jnp.asarray(known / scale.scale**2), {}, {})
    raise ValueError(f'noise must be "inferred", "known" or a function n(x, params); got {noise!r}.')


@dataclass(frozen=True)
class SmoothNoise:
    """Noise whose level changes smoothly: log variance(x) = log noise + g(x), with a Gaussian process g of its own.

    The most likely heteroscedastic process of Goldberg, Williams & Bishop (1997, NeurIPS 10), with g sampled and not
    fitted: g is what a process with RBF kernel knows from its values at `anchors` points spread over the unit cube.
    Pass it as `noise` of a model; it reads `noise` (the level), `noise_field/variance` and `noise_field/lengthscale`
    of g, and `noise_field/white` (anchors,), its whitened values. Needs readings enough to tell scatter from signal:
    tens, or repeats.

    Attributes:
        anchors: number of anchor points; lengthscales of g shorter than their distance are not seen.

    Example:
        >>> from gpax_lab import gp, priors
        >>> model = gp.exact(1, noise=SmoothNoise())
        >>> sorted(priors.sample(jax.random.key(0), model.prior))[2:]
        ['noise_field/lengthscale', 'noise_field/variance', 'noise_field/white', 'variance']
    """

    anchors: int = 12

    def __post_init__(self) -> None:
        if self.anchors < 1:
            raise ValueError(f"SmoothNoise needs at least one anchor; got {self.anchors}.")

    @property
    def prior(self) -> dict[str, dist.Distribution]:
        """Of the whitened values."""
        return {"noise_field/white": dist.Normal(jnp.zeros(self.anchors), 1.0)}

    def __call__(self, x: Array, params: Params) -> Array:
        """() variance of a reading at x (d,) of the unit cube, relative to standardised readings."""
        field = Scoped(params, "noise_field")
        places = additive_recurrence(self.anchors, x.size).astype(x.dtype)
        k = jax.vmap(lambda a: jax.vmap(lambda b: rbf(a, b, field))(places))(places)
        lower, ok = cholesky(k + jitter(k.dtype) * field["variance"] * jnp.eye(self.anchors, dtype=k.dtype))
        g = jax.vmap(lambda a: rbf(x, a, field))(places) @ solve_upper(lower, field["white"].astype(k.dtype))
        # Where the anchors' matrix has no factor, the level is unknown: the density is then zero.
        return params["noise"] * jnp.where(ok, jnp.exp(g), jnp.nan)


class DisplacementRule(NamedTuple):
    """Where readings were taken.

    Attributes:
        where: (params, obs) -> the observations at the places where they were taken.
        reads: names and shapes of the parameters.
        prior: distributions for those that have no default by name.
    """

    where: Callable[[Params, Observations], Observations]
    reads: dict[str, tuple[int, ...]]
    prior: dict[str, dist.Distribution]


def displacement_rule(capacity: int | None, dim: int, width: np.ndarray) -> DisplacementRule:
    """Readings where they were asked for (None), or each at an unknown distance from there.

    A displacement is a parameter of its slot, whitened, so that any kernel and any mean function will do: no
    expansion of either is made (as in Girard et al. 2003, NeurIPS 15, or McHutchon & Rasmussen 2011, NeurIPS 24).

    Args:
        capacity: number of slots of the observations.
        dim: number of inputs d.
        width: (d,) of the box in the user's units.
    """
    if capacity is None:
        return DisplacementRule(lambda params, obs: obs, {}, {})
    if isinstance(capacity, bool) or not isinstance(capacity, int | np.integer) or capacity < 1:
        raise ValueError(f"uncertain_inputs is the capacity of the observations, at least 1; got {capacity!r}.")

    def where(params: Params, obs: Observations) -> Observations:
        if obs.capacity != capacity:
            raise ValueError(
                f"this model displaces readings in {capacity} slots, the observations have {obs.capacity}: "
                "build one with uncertain_inputs=observations.capacity."
            )
        shift = params["input_noise"][None] * params["displacement"]
        return obs._replace(x=obs.x + jnp.asarray(width[None], obs.x.dtype) * shift)

    reads = {"input_noise": (dim,), "displacement": (capacity, dim)}
    # 95 percent in 0.2 to 10 percent of the box: a stage that errs by more does not map anything.
    size = dist.LogNormal(jnp.full(dim, math.log(0.015)), 1.0)
    return DisplacementRule(
        where, reads, {"input_noise": size, "displacement": dist.Normal(jnp.zeros((capacity, dim)), 1.0)}
    )
