"""Exact Gaussian processes with any kernel, any mean function and priors on everything."""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from gpax_lab.core._interning import interned
from gpax_lab.core._observations import Observations, as_if_measured
from gpax_lab.core._sequence import additive_recurrence
from gpax_lab.kernels import Kernel, matern52
from gpax_lab.means import Mean
from gpax_lab.models import _conditioning as conditioning
from gpax_lab.models._model import Model
from gpax_lab.models._noise import Noise, only_known
from gpax_lab.models._scaling import Scale
from gpax_lab.models._transform import frame
from gpax_lab.priors import Params, Prior

ANCHORS = 256
"""Points of the unit cube at which a drawn function is exact; in between it follows the kernel's interpolation."""


class GPFactor(NamedTuple):
    """A conditioned process and the scale of its readings."""

    residual: conditioning.Factor
    scale: Scale

    @property
    def ok(self) -> Array:
        """() bool: whether the covariance had a Cholesky factor."""
        return self.residual.ok


@interned
def exact(
    dim: int,
    kernel: Kernel = matern52,
    mean: Mean | None = None,
    prior: Prior | None = None,
    noise: Noise = "inferred",
    bounds: ArrayLike | None = None,
    standardize: bool | tuple[float, float] = True,
    uncertain_inputs: int | None = None,
    anchors: Callable[[Params], Array] | None = None,
) -> Model:
    """A Gaussian process y(x) = mean(x) + f(x) + noise with priors on all parameters.

    The kernel sees x mapped from `bounds` to the unit cube and describes readings divided by their scale; the mean
    function sees and returns the user's units. This is the structured Gaussian process when `mean` is a physics
    model (Ziatdinov et al. 2021, arXiv:2108.10280).

    Args:
        dim: number of inputs d.
        kernel: k(x, z, params) for one pair of points.
        mean: m(x, params) for one point; None for the average of the readings (zero if `standardize` is False).
        prior: numpyro distributions by parameter name, or a numpyro program that returns such a mapping; what a program
            has observed conditions its parameters, and the evidence counts the density of that. Kernel and
            noise parameters left out get the defaults of `priors.default`; those of the mean must be given.
        noise: "inferred" adds a parameter `noise` (variance, relative to the standardised readings) to the known
            variances of the readings; "known" takes these alone (the measured-noise process); a function n(x, params)
            of x in the unit cube gives a variance that changes from place to place, e.g. `HeteroscedasticNoise()`;
            `StudentNoise(capacity=...)` doubts readings that are far from all others.
        bounds: (d, 2) box of x in the user's units; None if x already lies in the unit cube.
        standardize: True scales readings by their standard deviation (with `StudentNoise` by that of readings which
            are not far off), (location, scale) by fixed numbers of the
            user's unit, False not at all: variances are then in the user's unit squared.
        uncertain_inputs: None where readings were taken where they were asked for. The capacity of the observations
            where each was taken at x + e, e ~ N(0, input_noise^2) unknown: adds parameters `input_noise` (d,), in
            widths of the box, and `displacement` (capacity, d), e in units of it. Predictions are for true places.
            A campaign of n seed points and m steps has a capacity of n + m, rounded up to a multiple of 8, and
            can not go on past its planned end.
        anchors: params -> (a, d) points in the user's units at which a drawn function is exact; None for 256 that fill
            the box evenly, which is too thin for short lengthscales in more than three dimensions.

    Returns:
        A Model.

    Raises:
        ValueError: a parameter has no prior, a prior names an unknown parameter, bounds are not a box, or the
            observations have another capacity than `uncertain_inputs`.

    Example:
        >>> import jax, numpyro.distributions as dist
        >>> model = exact(1, mean=lambda x, p: p["slope"] * x[0], prior={"slope": dist.Normal(0.0, 1.0)})
        >>> sorted(jax.eval_shape(lambda: __import__("gpax_lab.priors").priors.sample(jax.random.key(0), model.prior)))
        ['lengthscale', 'noise', 'slope', 'variance']
    """
    of = frame(dim, kernel, mean, prior, noise, bounds, standardize, uncertain_inputs)

    def log_likelihood(params: Params, obs: Observations) -> Array:
        x, residual, variance, scale = of.parts(params, of.displaced.where(params, obs))
        value = conditioning.log_marginal(kernel, params, x, residual, variance, obs.measured)
        return value - jnp.sum(obs.measured) * jnp.log(scale.scale)

    def condition(params: Params, obs: Observations) -> GPFactor:
        x, residual, variance, scale = of.parts(params, of.displaced.where(params, obs))
        return GPFactor(conditioning.condition(kernel, params, x, residual, variance, obs.measured), scale)

    def shrink(params: Params, factor: GPFactor, obs: Observations) -> GPFactor:
        obs = of.displaced.where(params, obs)
        variance = of.variance_at(params, obs, obs.x, factor.scale)
        return factor._replace(
            residual=conditioning.condition_on_pending(
                kernel, params, factor.residual, of.unit(obs.x), variance, as_if_measured(obs)
            )
        )

    def predict(params: Params, factor: GPFactor, x: Array) -> tuple[Array, Array]:
        f, variance = conditioning.moments(kernel, params, factor.residual, of.unit(x))
        scale = factor.scale.scale
        return of.mean_at(params, factor.scale, x) + scale * f, scale**2 * variance

    def joint(params: Params, factor: GPFactor, x: Array) -> tuple[Array, Array]:
        f, covariance = conditioning.joint_moments(kernel, params, factor.residual, of.unit(x))
        scale = factor.scale.scale
        return of.mean_at(params, factor.scale, x) + scale * f, scale**2 * covariance

    def paths(params: Params, factor: GPFactor, obs: Observations, key: Array, count: int, x: Array) -> Array:
        obs = of.displaced.where(params, obs)
        variance = of.variance_at(params, obs, obs.x, factor.scale)
        known = additive_recurrence(ANCHORS, dim).astype(x.dtype) if anchors is None else of.unit(anchors(params))
        f = conditioning.paths(kernel, params, factor.residual, variance, known, key, count, of.unit(x))
        return of.mean_at(params, factor.scale, x)[None] + factor.scale.scale * f

    def noise_variance(params: Params, factor: GPFactor, x: Array) -> Array:
        return of.noise_variance(params, factor.scale, x)

    def leave_one_out(params: Params, obs: Observations) -> tuple[Array, Array]:
        obs = of.displaced.where(params, obs)
        x, residual, variance, scale = of.parts(params, obs)
        f, spread = conditioning.leave_one_out(kernel, params, x, residual, variance, obs.measured)
        spread = of.unread(params, obs, scale, spread)
        return of.mean_at(params, scale, obs.x) + scale.scale * f, scale.scale**2 * spread

    return Model(
        prior=of.prior,
        log_likelihood=log_likelihood,
        condition=condition,
        condition_on_pending=shrink,
        predict=predict,
        joint=joint,
        paths=paths,
        noise_variance=noise_variance,
        leave_one_out=leave_one_out,
        dim=dim,
        standardized=of.standardize is True,
        tails=of.rule.tails,
        bounds=of.bounds,
        # Where readings may lie beside where they were asked for, two different ones at one place are no contradiction.
        needs_noise="repeats" if only_known(noise, prior) and uncertain_inputs is None else "nothing",
    )
