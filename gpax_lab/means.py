"""Mean functions m(x, params): physics written as plain functions of one point in the user's units.

`x` has shape (d,). Write your own with the same signature and give a prior for every parameter it reads. Each one
here names its parameters, with units, and a default prior where the literature has one.
"""

from collections.abc import Callable
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax import Array

from gpax_lab.priors import Params

Mean: TypeAlias = Callable[[Array, Params], Array]


def zero(x: Array, params: Params) -> Array:
    """m = 0."""
    return jnp.zeros((), x.dtype)


def constant(x: Array, params: Params) -> Array:
    """m = level (unit of y)."""
    return jnp.broadcast_to(params["level"], ())


def dips(count: int) -> Mean:
    """`count` minima on a level background, each with a cusp-like Lorentzian root profile.

    m(x) = y0 - sum_n A_n / sqrt((x - x0_n)^2 + w_n^2), for one input (Ziatdinov et al. 2021, arXiv:2108.10280).
    Parameters: y0 (unit of y); A, x0, w of shape (count,) in units of y times x, x, and x.
    """

    def mean(x: Array, params: Params) -> Array:
        depth = params["A"] / jnp.sqrt((x[0] - params["x0"]) ** 2 + params["w"] ** 2)
        return params["y0"] - jnp.sum(depth * jnp.ones(count))

    return mean


def two_dips_prior(ordered: bool = True) -> dict[str, dist.Distribution]:
    """The priors of the two-dip problem on x in [0, 1] (Ziatdinov et al. 2021, arXiv:2108.10280).

    Args:
        ordered: x0 ~ U(0.1, 0.5), U(0.5, 0.9), one dip in each half, so that the dips can not swap names;
            otherwise both x0 ~ U(0, 1).
    """
    low, high = (jnp.array([0.1, 0.5]), jnp.array([0.5, 0.9])) if ordered else (jnp.zeros(2), jnp.ones(2))
    return {
        "y0": dist.Uniform(-10.0, 10.0),
        "A": dist.LogNormal(jnp.zeros(2), 1.0),
        "x0": dist.Uniform(low, high),
        "w": dist.HalfNormal(0.1 * jnp.ones(2)),
    }


def power_law_switch(x: Array, params: Params) -> Array:
    """A power law that changes its exponent at t, with a logistic step of width `width` so that gradients see t.

    m(x) = (1 - s) x^beta1 + s x^beta2, s = logistic((x - t) / width), for x >= 0. Parameters: t, width (unit of x),
    beta1, beta2 (dimensionless).
    """
    late = jax.nn.sigmoid((x[0] - params["t"]) / params["width"])
    # x = 0 has no logarithm; the power there is 0 for the positive exponents of this law.
    safe = jnp.where(x[0] > 0, x[0], 1.0)
    early_value, late_value = safe ** params["beta1"], safe ** params["beta2"]
    return jnp.where(x[0] > 0, (1.0 - late) * early_value + late * late_value, 0.0)


def growing_oscillation(x: Array, params: Params) -> Array:
    """m(x) = A exp(a x) sin(b x). Parameters: A (unit of y), a and b (1 / unit of x)."""
    return params["A"] * jnp.exp(params["a"] * x[0]) * jnp.sin(params["b"] * x[0])
