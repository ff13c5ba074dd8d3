"""A process over mixtures: straight lines between the pure components, and what bends away from them."""

import math

import numpyro.distributions as dist

from gpax_lab.core._interning import interned
from gpax_lab.core._priors import Prior
from gpax_lab.kernels import KernelLike, add, matern52, mixing
from gpax_lab.models import gp
from gpax_lab.models._model import Model
from gpax_lab.models._noise import Noise

PURE = 2.0
"""Prior variance of a pure component's property, relative to standardised observations: mixtures are nearer to their
average than pure components are. Chosen with `BENT` on simulated laws and measured phase fractions
(`benchmarks/libraries.py`)."""
BENT, EITHER_WAY = 0.5, 1.0
"""Median of the variance that straight lines leave to the process, and the standard deviation of its logarithm."""


@interned
def over_compositions(
    components: int,
    kernel: KernelLike = matern52,
    prior: Prior | None = None,
    noise: Noise = "inferred",
    standardize: bool | tuple[float, float] = True,
    line: bool = True,
    uncertain_inputs: int | None = None,
) -> Model:
    """A process over fractions x (k,) that sum to one: y = sum_i x_i P_i + f(x) + noise.

    Vegard's law is its mean: the properties P_i of the pure components are normal and integrated exactly, so that they
    cost no parameter (R&W 2006, section 2.7). Where observations say that the property bends, f bends it.

    Args:
        components: number of components k, at least 2.
        kernel: of f, over fractions.
        prior: as in `gp.exact`. `pure`, the prior variance of P_i in standardised observations, is 2 and `variance`,
            that of f, has the median 0.5 where they are not given.
        noise: as in `gp.exact`.
        standardize: as in `gp.exact`. With False give a prior for `pure`, `variance` and `noise` in your own unit.
        line: False leaves the straight lines out: `gp.exact` over fractions.
        uncertain_inputs: as in `gp.exact`.

    Returns:
        A Model of `components` inputs.

    Raises:
        ValueError: fewer than two components, or as in `gp.exact`.

    Example:
        >>> from gpax_lab.core._compositions import simplex_grid
        >>> model = over_compositions(3)
        >>> model.dim == simplex_grid(3, 4).shape[1]
        True
    """
    if components < 2:
        raise ValueError(f"a mixture has two components or more; got {components}.")
    if line:
        kernel = add(mixing, kernel)
        prior = prior if callable(prior) else _defaults() | dict(prior or {})
    return gp.exact(
        components,
        kernel,
        prior=prior,
        noise=noise,
        standardize=standardize,
        uncertain_inputs=uncertain_inputs,
    )


def _defaults() -> dict[str, object]:
    return {"pure": PURE, "variance": dist.LogNormal(math.log(BENT), EITHER_WAY)}
