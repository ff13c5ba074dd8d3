"""Exact Gaussian processes with any kernel, any mean function and priors on everything."""

from collections.abc import Callable

from jax import Array

from gpax_lab.core._interning import interned
from gpax_lab.core._priors import Params, Prior
from gpax_lab.core._types import ArrayLike
from gpax_lab.kernels import KernelLike, matern52
from gpax_lab.means import Mean
from gpax_lab.models._exact import ExactGP
from gpax_lab.models._noise import Noise
from gpax_lab.models._transform import data_transform

__all__ = ["exact"]


@interned
def exact(
    dim: int,
    kernel: KernelLike = matern52,
    mean: Mean | None = None,
    prior: Prior | None = None,
    noise: Noise = "inferred",
    bounds: ArrayLike | None = None,
    standardize: bool | tuple[float, float] = True,
    uncertain_inputs: int | None = None,
    anchors: Callable[[Params], Array] | None = None,
) -> ExactGP:
    """A Gaussian process y(x) = mean(x) + f(x) + noise with priors on all parameters.

    The kernel sees x mapped from `bounds` to the unit cube and describes observations divided by their scale; the mean
    function sees and returns the user's units. This is the structured Gaussian process when `mean` is a physics
    model (Ziatdinov et al. 2021, arXiv:2108.10280).

    Args:
        dim: number of inputs d.
        kernel: k(x, z, params) for one pair of points.
        mean: m(x, params) for one point; None for the average of the observations (zero if `standardize` is False).
        prior: numpyro distributions by parameter name, or a numpyro program that returns such a mapping; what a program
            has observed conditions its parameters, and the evidence counts the density of that. Kernel and
            noise parameters left out get the defaults of `priors.default`; those of the mean must be given.
        noise: "inferred" adds a parameter `noise` (variance, relative to the standardised observations) to the known
            variances of the observations; "known" takes these alone (the measured-noise process); a function n(x,
            params) of x in the unit cube gives a variance that changes from point to point, e.g.
            `HeteroscedasticNoise()`; `StudentNoise(capacity=...)` doubts observations that are far from all others.
        bounds: (d, 2) box of x in the user's units; None if x already lies in the unit cube.
        standardize: True scales observations by their standard deviation (with `StudentNoise` by that of observations
            which are not far off), (location, scale) by fixed numbers of the user's unit, False not at all: variances
            are then in the user's unit squared.
        uncertain_inputs: None where observations were taken where they were asked for. The capacity of the observations
            where each was taken at x + e, e ~ N(0, input_noise^2) unknown: adds parameters `input_noise` (d,), in
            widths of the box, and `displacement` (capacity, d), e in units of it. Predictions are for true points.
            A campaign of n seed points and m steps has a capacity of n + m, rounded up to a multiple of 8, and
            can not go on past its planned end.
        anchors: params -> (a, d) points in the user's units at which a drawn function is exact; None for 256 that fill
            the box evenly, which is too thin for short lengthscales in more than three dimensions.

    Returns:
        An `ExactGP`: a `Model` that also draws jointly, draws functions, leaves one out and knows of pending points.

    Raises:
        TypeError: `dim` is no whole number, or kernel, mean or noise are no functions of these arguments.
        ValueError: a parameter has no prior, a prior names an unknown parameter, bounds are not a box, or the
            observations have another capacity than `uncertain_inputs`.

    Example:
        >>> import jax, numpyro.distributions as dist
        >>> from gpax_lab import priors
        >>> model = exact(1, mean=lambda x, p: p["slope"] * x[0], prior={"slope": dist.Normal(0.0, 1.0)})
        >>> sorted(priors.sample(jax.random.key(0), model.prior))
        ['lengthscale', 'noise', 'slope', 'variance']
    """
    transform = data_transform(
        dim,
        kernel,
        mean=mean,
        prior=prior,
        noise=noise,
        bounds=bounds,
        standardize=standardize,
        uncertain_inputs=uncertain_inputs,
    )
    return ExactGP(kernel, transform, anchors)
