"""Deep kernels: an exact Gaussian process on what a neural network makes of the structure at a point.

Three ways of learning, one model. `nn.frozen` leaves only the kernel to infer (with any sampler); an encoder with its
weights is fitted by `inference.ensemble`; `nn.last_layer` leaves a linear layer and the kernel to `inference.nuts`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from jax import Array

from gpax_lab.core._interning import interned
from gpax_lab.core._observations import Observations
from gpax_lab.core._priors import Params, Prior, Program, check_function
from gpax_lab.core._readable_prior import ReadablePrior
from gpax_lab.core._sequence import additive_recurrence
from gpax_lab.core._structural import Structural
from gpax_lab.core._types import ArrayLike, Float
from gpax_lab.kernels import KernelLike, active, matern52
from gpax_lab.means import Mean
from gpax_lab.models import gp
from gpax_lab.models._exact import ANCHORS, ExactGP, GPFactor
from gpax_lab.models._exactness import Needs
from gpax_lab.models._model import Model
from gpax_lab.models._noise import Noise, StudentNoise
from gpax_lab.models._scaling import box
from gpax_lab.nn._encoder import Encoder

REACH = 3.0
"""Half width of the box of features: three standard deviations of what an untrained encoder returns. The kernel's
lengthscales are in units of that box, as they are in units of the user's box for other models."""

TINY, HUGE = 1e-4, 50.0
"""Sizes of what is seen at a few points (largest and median absolute value) outside of which an untrained network is
constant, or its features fly out of their box."""


@dataclass(frozen=True, eq=False, repr=False)
class DeepKernelGP(Model):
    """An exact process on features; build it by `deep_kernel`.

    Attributes:
        encoder: from what is seen at a point to its features.
        inputs: points (m, d) -> inputs of the encoder (m, *shape); None where a point is itself the input.
        process: the exact process on the features, and on the point itself where `keeps_point`.
        box: (d, 2) box of points in the user's units; None where none was given.
        size: number of inputs d of a point.
        keeps_point: whether the process sees the point beside its features.
    """

    encoder: Encoder
    inputs: Callable[[Array], Array] | None
    process: ExactGP
    box: np.ndarray | None
    size: int
    keeps_point: bool

    @property
    def dim(self) -> int:
        """Number of inputs d of a point."""
        return self.size

    @property
    def bounds(self) -> np.ndarray | None:
        """(d, 2) box of points in the user's units."""
        return self.box

    @property
    def standardized(self) -> bool:
        """Whether observations are standardised by themselves."""
        return self.process.standardized

    @property
    def tails(self) -> StudentNoise | None:
        """What makes the noise heavier than normal."""
        return self.process.tails

    @property
    def needs_noise(self) -> Needs:
        """Which observations need a known variance."""
        return self.process.needs_noise

    @cached_property
    def prior(self) -> Program:
        """Of the process, and N(0, 1) of the encoder's weights."""

        def program() -> dict[str, Array]:
            values = self.process.prior()
            if self.encoder.size:
                values |= {"weights": numpyro.sample("weights", dist.Normal(jnp.zeros(self.encoder.size), 1.0))}
            return values

        return ReadablePrior(program)

    def process_inputs(self, params: Params, x: Array) -> Array:
        """(m, k) what the process sees of points x (m, d)."""
        return _process_inputs(self.encoder, self.inputs, self.keeps_point, params, x)

    def log_likelihood(self, params: Params, obs: Observations) -> Float[Array, ""]:
        """() log marginal likelihood of the observations."""
        return self.process.log_likelihood(params, self._embedded(params, obs))

    def condition(self, params: Params, obs: Observations) -> GPFactor:
        """The factor of the process on the features."""
        return self.process.condition(params, self._embedded(params, obs))

    def condition_on_pending(self, params: Params, factor: GPFactor, obs: Observations) -> GPFactor:
        """The factor with the variances that will hold once the pending points are measured."""
        return self.process.condition_on_pending(params, factor, self._embedded(params, obs))

    def predict(
        self, params: Params, factor: GPFactor, x: Float[Array, "m d"]
    ) -> tuple[Float[Array, " m"], Float[Array, " m"]]:
        """Mean (m,) and variance (m,) at x (m, d)."""
        return self.process.predict(params, factor, self.process_inputs(params, x))

    def joint(
        self, params: Params, factor: GPFactor, x: Float[Array, "m d"]
    ) -> tuple[Float[Array, " m"], Float[Array, "m m"]]:
        """Mean (m,) and covariance (m, m) at x (m, d)."""
        return self.process.joint(params, factor, self.process_inputs(params, x))

    def paths(
        self, params: Params, factor: GPFactor, obs: Observations, key: Array, count: int, x: Float[Array, "m d"]
    ) -> Float[Array, "count m"]:
        """(count, m) functions drawn from the process."""
        return self.process.paths(
            params, factor, self._embedded(params, obs), key, count, self.process_inputs(params, x)
        )

    def noise_variance(self, params: Params, factor: GPFactor, x: Float[Array, "m d"]) -> Float[Array, " m"]:
        """(m,) variance that a new observation at x (m, d) adds."""
        return self.process.noise_variance(params, factor, self.process_inputs(params, x))

    def leave_one_out(
        self, params: Params, obs: Observations
    ) -> tuple[Float[Array, " capacity"], Float[Array, " capacity"]]:
        """Mean and variance (capacity,) of each observation given the others."""
        return self.process.leave_one_out(params, self._embedded(params, obs))

    def _embedded(self, params: Params, obs: Observations) -> Observations:
        return obs._replace(x=self.process_inputs(params, obs.x))


@interned
def deep_kernel(
    encoder: Encoder,
    inputs: Callable[[Array], Array] | None = None,
    *,
    dim: int | None = None,
    kernel: KernelLike = matern52,
    mean: Mean | None = None,
    prior: Prior | None = None,
    noise: Noise = "inferred",
    bounds: ArrayLike | None = None,
    positions: bool = False,
    standardize: bool | tuple[float, float] = True,
) -> DeepKernelGP:
    """A Gaussian process y(x) = mean(x) + f(g(s(x); w)) + noise (Wilson et al. 2016, arXiv:1511.02222).

    s(x) is what is seen at x, such as the patch of an image around a pixel; g the encoder with weights w; f a process
    with the given kernel on the features g. With a mean function it is a structured deep kernel: physics where it is
    known, the network for the rest.

    The prior of the network's weights is made for inputs of order one (`images.normalized`). Encoders that were
    made for given inputs (`linear`, and what `pretrain` returns) take them in their own units.

    An exact process on learned features is overconfident where few observations meet many weights (Ober et al.
    2021, arXiv:2102.12108): compare with `nn.linear` on principal components, which has no weights to learn.

    Args:
        encoder: of `models.encoders`.
        inputs: s, points (m, d) -> inputs of the encoder (m, *shape), e.g. `images.around(image, 16)`; None
            where a point is itself the (flattened) input.
        dim: number of inputs d of a point; 2 (row, column) with `inputs`, else the length of an input.
        kernel: k(z, z', params) on the features, mapped from [-3, 3] to the unit cube.
        mean: m(x, params) of the point in the user's units; None for the average of the observations.
        prior: of the kernel's, the noise's and the mean's parameters, as in `gp.exact`; that of the `weights` is
            N(0, 1).
        noise: as in `gp.exact`.
        bounds: (d, 2) box of points in the user's units; needed with `positions`. A check that observations lie in it,
            and where functions are drawn (batches, posterior sampling) the box in which they are exact at 256 points:
            without it they lose their variance with four features or more.
        positions: whether the kernel also sees the point itself, mapped from `bounds` to the unit cube: features first.
        standardize: as in `gp.exact`.

    Returns:
        A `DeepKernelGP` with a parameter `weights` (encoder.size,) beside those of the process.

    Raises:
        TypeError: the encoder is none, or what `gp.exact` refuses by its type.
        ValueError: inputs that the encoder can not take or that are far from order one, or no bounds for `positions`.

    Example:
        >>> import jax
        >>> from gpax_lab import images, nn
        >>> image = jax.random.normal(jax.random.key(0), (32, 32))
        >>> model = deep_kernel(nn.mlp((8, 8)), images.around(image, 8))
        >>> model.dim
        2
    """
    _check_parts(encoder, mean)
    dim = dim or (int(np.prod(encoder.shape)) if inputs is None else 2)
    if positions and bounds is None:
        raise ValueError("positions=True measures distances between points: give bounds=[[low, high], ...].")
    low, width = box(bounds, dim)
    edges = np.stack([low, low + width], axis=1)
    _check_inputs(encoder, inputs, dim, None if bounds is None else edges)
    keeps_point = positions or mean is not None
    first = dim if keeps_point else 0
    columns = [first + i for i in range(encoder.features)] + (list(range(dim)) if positions else [])
    process = gp.exact(
        first + encoder.features,
        active(columns, kernel) if keeps_point else kernel,
        None if mean is None else _MeanOfPoint(mean, dim),
        prior,
        noise,
        np.concatenate([edges[:first], [[-REACH, REACH]] * encoder.features]),
        standardize,
        anchors=None if bounds is None else _EvenPoints(encoder, inputs, keeps_point, low, width),
    )
    given = None if bounds is None else np.asarray(bounds, np.float64)
    return DeepKernelGP(encoder, inputs, process, given, dim, keeps_point)


@dataclass(frozen=True, eq=False)
class _MeanOfPoint(Structural):
    """The mean function of a process on points and features: it sees the point alone."""

    mean: Mean
    dim: int

    def __call__(self, u: Array, params: Params) -> Array:
        return self.mean(u[: self.dim], params)


@dataclass(frozen=True, eq=False)
class _EvenPoints(Structural):
    """Parameters -> what the process sees of points all over the box."""

    encoder: Encoder
    inputs: Callable[[Array], Array] | None
    keeps_point: bool
    low: np.ndarray
    width: np.ndarray

    def __call__(self, params: Params) -> Array:
        dtype = jnp.result_type(*params.values())
        share = additive_recurrence(ANCHORS, self.low.size).astype(dtype)
        x = jnp.asarray(self.low, dtype)[None] + jnp.asarray(self.width, dtype)[None] * share
        return _process_inputs(self.encoder, self.inputs, self.keeps_point, params, x)


def _process_inputs(
    encoder: Encoder, inputs: Callable[[Array], Array] | None, keeps_point: bool, params: Params, x: Array
) -> Array:
    """(m, k) features of points x (m, d), behind the points themselves where the process sees them too."""
    weights = params["weights"] if encoder.size else jnp.zeros(0, x.dtype)
    z = embed(encoder, inputs, weights, x)
    return jnp.concatenate([x, z], axis=1) if keeps_point else z


def embed(encoder: Encoder, inputs: Callable[[Array], Array] | None, weights: Array, x: Array) -> Array:
    """Features (m, k) of points x (m, d) for one set of weights (size,)."""
    shown = x if inputs is None else inputs(x)
    return encoder.apply(weights, shown.reshape(x.shape[0], *encoder.shape).astype(x.dtype))


def _check_parts(encoder: Encoder, mean: Mean | None) -> None:
    if not isinstance(encoder, Encoder):
        raise TypeError(f"the encoder is what nn.mlp(...), nn.convolutional(...) and the like return; got {encoder!r}.")
    if mean is not None:
        check_function(mean, 1)


def _check_inputs(
    encoder: Encoder, inputs: Callable[[Array], Array] | None, dim: int, bounds: np.ndarray | None
) -> None:
    shown = np.zeros((2, dim)).shape if inputs is None else inputs(jnp.zeros((2, dim))).shape
    if shown[0] != 2 or int(np.prod(shown[1:])) != int(np.prod(encoder.shape)):
        raise ValueError(
            f"the encoder takes inputs of shape {encoder.shape}, and a point (of {dim} numbers) shows {shown[1:]}: "
            "give the encoder that shape, or other inputs."
        )
    if encoder.scaled or inputs is None:
        return
    share = np.asarray(additive_recurrence(16, dim))
    points = share if bounds is None else bounds[:, 0] + (bounds[:, 1] - bounds[:, 0]) * share
    size = np.abs(np.asarray(inputs(jnp.asarray(points))))
    if np.median(size) > HUGE or 0 < size.max() < TINY:
        raise ValueError(
            f"the inputs of the encoder are of size {np.median(size):.1g}, and networks are made for numbers of order "
            "one: scale them, as by images.normalized(image)."
        )
