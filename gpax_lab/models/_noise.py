"""Noise of an observation, in its value and in its position: inferred, known, or both; the same everywhere or not."""

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax import Array
from jax.scipy.special import betainc, ndtri
from scipy import special

from gpax_lab.core._inputs import traced
from gpax_lab.core._interning import interned
from gpax_lab.core._linalg import cholesky, jitter, solve_upper
from gpax_lab.core._observations import Observations
from gpax_lab.core._priors import Params, Scoped, parameter_shapes
from gpax_lab.core._sequence import additive_recurrence
from gpax_lab.kernels import rbf
from gpax_lab.models._scaling import Scale

NoiseFunction: TypeAlias = Callable[[Array, Params], Array]
Gaussian: TypeAlias = Literal["inferred", "known"] | NoiseFunction
Noise: TypeAlias = "Gaussian | StudentNoise"


class NoiseModel(NamedTuple):
    """A rule as a model uses it.

    Attributes:
        variance: (params, x (n, d) in the unit cube, known (n,), scale) -> (n,) variance of standardised observations.
        reads: names and shapes of its parameters.
        prior: distributions for those that have no default by name.
        tails: None for Gaussian noise of that variance, or what makes it heavier.
    """

    variance: Callable[[Params, Array, Array, Scale], Array]
    reads: dict[str, tuple[int, ...]]
    prior: Mapping[str, dist.Distribution]
    tails: "StudentNoise | None" = None


@interned
def noise_model(noise: Noise, dim: int, known: Mapping[str, tuple[int, ...]]) -> NoiseModel:
    """The noise variance of standardised observations, and the parameters it reads.

    Args:
        noise: "inferred" for a common unknown variance on top of the known ones, "known" for the known ones alone, or
            a function n(x, params) for an unknown variance that changes from point to point, on top of them; or any of
            these with heavier tails, `StudentNoise`.
        dim: number of inputs d.
        known: shapes of parameters whose prior is given.

    Raises:
        ValueError: another word.
    """
    if isinstance(noise, type):
        raise ValueError(f"noise={noise.__name__} is the class: write noise={noise.__name__}().")
    if isinstance(noise, StudentNoise):
        return noise_model(noise.of, dim, known)._replace(tails=noise)
    if callable(noise):
        prior = getattr(noise, "prior", {})
        reads = parameter_shapes(noise, 1, dim, {name: d.shape() for name, d in prior.items()} | dict(known))

        def varying(params: Params, x: Array, known: Array, scale: Scale) -> Array:
            return jax.vmap(lambda a: noise(a, params))(x) + known / scale.scale**2

        return NoiseModel(varying, reads, prior)
    if isinstance(noise, str) and noise == "inferred":
        if known.get("noise", ()) not in ((), (1,)):
            raise ValueError(
                f"the prior of 'noise' has the shape {known['noise']}, and the model has one noise: give (); for one "
                "that changes from point to point give a function noise=n(x, params) or HeteroscedasticNoise()."
            )
        return NoiseModel(lambda params, x, known, scale: params["noise"] + known / scale.scale**2, {"noise": ()}, {})
    if isinstance(noise, str) and noise == "known":
        return NoiseModel(lambda params, x, known, scale: jnp.asarray(known / scale.scale**2), {}, {})
    raise ValueError(
        f'noise must be "inferred", "known", a function n(x, params) or StudentNoise(...); got {noise!r}. A variance '
        'that is given is noise="known" with observations(x, y, noise=...), or prior={"noise": 0.01}, a fixed value.'
    )


@dataclass(frozen=True)
class HeteroscedasticNoise:
    """Noise whose level changes smoothly: log variance(x) = log noise + g(x), with a Gaussian process g of its own.

    The most likely heteroscedastic process of Goldberg, Williams & Bishop (1997, NeurIPS 10), with g sampled and not
    fitted: g is what a process with RBF kernel knows from its values at `anchors` points spread over the unit cube.
    Pass it as `noise` of a model; it reads `noise` (the level), `noise_field/variance` and `noise_field/lengthscale`
    of g, and `noise_field/white` (anchors,), its whitened values. Needs observations enough to tell scatter from
    signal: tens, or repeats.

    Attributes:
        anchors: number of anchor points; lengthscales of g shorter than their distance are not seen.

    Example:
        >>> from gpax_lab import gp, priors
        >>> model = gp.exact(1, noise=HeteroscedasticNoise())
        >>> sorted(priors.sample(jax.random.key(0), model.prior))[2:]
        ['noise_field/lengthscale', 'noise_field/variance', 'noise_field/white', 'variance']
    """

    anchors: int = 12

    def __post_init__(self) -> None:
        if self.anchors < 1:
            raise ValueError(f"HeteroscedasticNoise needs at least one anchor; got {self.anchors}.")

    @property
    def prior(self) -> dict[str, dist.Distribution]:
        """Of the whitened values."""
        return {"noise_field/white": dist.Normal(jnp.zeros(self.anchors), 1.0)}

    def __call__(self, x: Array, params: Params) -> Array:
        """() variance of an observation at x (d,) of the unit cube, relative to standardised observations."""
        field = Scoped(params, "noise_field")
        points = additive_recurrence(self.anchors, x.size).astype(x.dtype)
        k = jax.vmap(lambda a: jax.vmap(lambda b: rbf(a, b, field))(points))(points)
        lower, ok = cholesky(k + jitter(k.dtype) * field["variance"] * jnp.eye(self.anchors, dtype=k.dtype))
        g = jax.vmap(lambda a: rbf(x, a, field))(points) @ solve_upper(lower, field["white"].astype(k.dtype))
        # Where the anchors' matrix has no factor, the level is unknown: the density is then zero.
        return params["noise"] * jnp.where(ok, jnp.exp(g), jnp.nan)


@dataclass(frozen=True)
class StudentNoise:
    """Noise with heavy tails, so that an observation far from all others is doubted instead of followed.

    Student's t: y ~ f + sqrt(v / w) N(0, 1) with w ~ Gamma(df / 2, df / 2), v the variance that the noise has
    without tails (Lange, Little & Taylor 1989, J. Am. Stat. Assoc. 84, 881; in processes, Kuss 2006, thesis, ch. 5).
    Pass it as `noise` of a model. Where that standardises observations by themselves, it does so by their median and by
    the standard deviation of those that are not far off.

    `parametric` integrates w by the closed form. A process has no closed form: w becomes a parameter of each slot, as
    the point does with `uncertain_inputs`, so give `capacity`. It is whitened: `excess` ~ N(0, 1), and v / w is v times
    a growing function of it, exact in the distribution; above 2 the observation is an outlier. Nothing is approximated,
    every sampler follows it, and slots without an observation are standard normal. A function that bends to reach an
    outlier is another mode, in which a chain of `nuts` may stay: `smc` and `laplace` weigh the two.

    Attributes:
        df: degrees of freedom, above 2; 4 is usual, 3 forgives more, beyond 30 it is normal noise. The variance
            of a new observation is df / (df - 2) times v.
        capacity: number of slots of the observations; None for `parametric`. The rule of `uncertain_inputs` holds: n
            seed points and m steps make n + m, rounded up to a multiple of 8, and the campaign ends there.
        of: the noise whose tails these are: "inferred", "known" or a function n(x, params), as in `gp.exact`.

    Raises:
        ValueError: df is not above 2, or capacity is no number of slots.

    Example:
        >>> from gpax_lab import gp, observations
        >>> obs = observations(np.linspace(0, 1, 6)[:, None], [0.0, 0.2, 0.4, 9.0, 0.8, 1.0])
        >>> model = gp.exact(1, noise=StudentNoise(capacity=obs.capacity))
    """

    df: float = 4.0
    capacity: int | None = None
    of: Gaussian = "inferred"

    def __post_init__(self) -> None:
        if not self.df > 2:
            raise ValueError(f"StudentNoise needs df > 2, else no variance exists; got {self.df}.")
        _whole("the capacity of StudentNoise", self.capacity)
        if isinstance(self.of, StudentNoise):
            raise ValueError("StudentNoise(of=...) is the noise without tails; got StudentNoise itself.")

    @property
    def prior(self) -> dict[str, dist.Distribution]:
        """Of the whitened excess of each slot.

        Raises:
            ValueError: there is no capacity.
        """
        if self.capacity is None:
            raise ValueError(
                "a process follows the excess of every observation: write noise=StudentNoise(capacity=obs.capacity)."
            )
        return {"excess": dist.Normal(jnp.zeros(self.capacity), 1.0)}

    @property
    def fresh(self) -> float:
        """Variance of a new observation, relative to that without tails."""
        return self.df / (self.df - 2.0)

    def times(self, params: Params, capacity: int) -> Array:
        """(capacity,) what the variance of each slot's observation is multiplied by, 1 / w.

        Raises:
            ValueError: the observations have another capacity.
        """
        if capacity != self.capacity:
            raise ValueError(
                f"this model follows the excess of observations in {self.capacity} slots, the observations have "
                f"{capacity}: build one with StudentNoise(capacity=observations.capacity)."
            )
        return jnp.exp(log_excess(params["excess"], self.df))

    def normal_score(self, residual: Array, variance: Array) -> Array:
        """(n,) normal quantile of the probability that Student's t leaves below a residual: N(0, 1) if that holds.

        Args:
            residual: (n,) observation minus mean, in any unit.
            variance: (n,) that without tails, in its square.
        """
        nu = self.df
        tail = 0.5 * betainc(0.5 * nu, 0.5, nu / (nu + residual**2 / variance))  # the smaller one: it keeps its digits
        return -jnp.sign(residual) * ndtri(tail)

    def log_density(self, residual: Array, variance: Array) -> Array:
        """Log density of residuals (n,), tails integrated; variance (n,) is that without tails."""
        nu = self.df
        constant = math.lgamma(0.5 * (nu + 1.0)) - math.lgamma(0.5 * nu) - 0.5 * math.log(nu * math.pi)
        return constant - 0.5 * jnp.log(variance) - 0.5 * (nu + 1.0) * jnp.log1p(residual**2 / (nu * variance))


def only_known(noise: Noise, prior: Any = None) -> bool:
    """Whether a model adds nothing to the known variances of observations, by its rule or by a prior that fixes 0."""
    of = noise.of if isinstance(noise, StudentNoise) else noise
    fixed = prior.get("noise") if isinstance(prior, Mapping) and of == "inferred" else None
    if fixed is None or isinstance(fixed, dist.Distribution) or traced(fixed):
        return of == "known"
    return bool(np.all(np.asarray(fixed) == 0))


TABLE_END, TABLE_STEP = 10.0, 0.02
"""Nodes of `log_excess`: cubic between them, right to 1e-9; straight beyond, where nothing is probable."""


@functools.cache
def _table(df: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    nodes = np.linspace(-TABLE_END, TABLE_END, 2 * round(TABLE_END / TABLE_STEP) + 1)
    shape = 0.5 * df
    # From the tail that keeps its digits: w is small where the excess is large.
    small, large = special.gammaincinv(shape, special.ndtr(-nodes)), special.gammainccinv(shape, special.ndtr(nodes))
    gamma = np.where(nodes > 0, small, large)
    log_slope = -0.5 * nodes**2 - 0.5 * np.log(2 * np.pi) - shape * np.log(gamma) + gamma + special.gammaln(shape)
    return nodes, -np.log(gamma / shape), np.exp(log_slope)


def log_excess(excess: Array, df: float) -> Array:
    """-log w for w ~ Gamma(df / 2, df / 2), by quantiles: increasing in excess ~ N(0, 1), of its shape."""
    nodes, values, slopes = (jnp.asarray(part, excess.dtype) for part in _table(df))
    inside = jnp.clip(excess, -TABLE_END, TABLE_END)
    left = jnp.clip(jnp.floor((inside + TABLE_END) / TABLE_STEP).astype(int), 0, nodes.size - 2)
    t = (inside - nodes[left]) / TABLE_STEP
    bend = t**2 * (3.0 - 2.0 * t)
    value = (1.0 - bend) * values[left] + bend * values[left + 1]
    value += TABLE_STEP * t * (1.0 - t) * ((1.0 - t) * slopes[left] - t * slopes[left + 1])
    return value + (excess - inside) * jnp.where(excess > 0, slopes[-1], slopes[0])


def _whole(what: str, capacity: int | None) -> None:
    if capacity is None:
        return
    if isinstance(capacity, bool) or not isinstance(capacity, int | np.integer) or capacity < 1:
        raise ValueError(f"{what} is the capacity of the observations, at least 1; got {capacity!r}.")


class InputNoise(NamedTuple):
    """Where observations were taken.

    Attributes:
        where: (params, obs) -> the observations at the points where they were taken.
        reads: names and shapes of the parameters.
        prior: distributions for those that have no default by name.
    """

    where: Callable[[Params, Observations], Observations]
    reads: dict[str, tuple[int, ...]]
    prior: dict[str, dist.Distribution]


def input_noise_model(capacity: int | None, dim: int, width: np.ndarray) -> InputNoise:
    """Observations where they were asked for (None), or each at an unknown distance from there.

    A displacement is a parameter of its slot, whitened, so that any kernel and any mean function will do: no
    expansion of either is made (as in Girard et al. 2003, NeurIPS 15, or McHutchon & Rasmussen 2011, NeurIPS 24).

    Args:
        capacity: number of slots of the observations.
        dim: number of inputs d.
        width: (d,) of the box in the user's units.
    """
    if capacity is None:
        return InputNoise(lambda params, obs: obs, {}, {})
    _whole("uncertain_inputs", capacity)

    def where(params: Params, obs: Observations) -> Observations:
        if obs.capacity != capacity:
            raise ValueError(
                f"this model displaces observations in {capacity} slots, the observations have {obs.capacity}: "
                "build one with uncertain_inputs=observations.capacity."
            )
        shift = params["input_noise"][None] * params["displacement"]
        return obs._replace(x=obs.x + jnp.asarray(width[None], obs.x.dtype) * shift)

    reads = {"input_noise": (dim,), "displacement": (capacity, dim)}
    # 95 percent in 0.2 to 10 percent of the box: a stage that errs by more does not map anything.
    size = dist.LogNormal(jnp.full(dim, math.log(0.015)), 1.0)
    return InputNoise(where, reads, {"input_noise": size, "displacement": dist.Normal(jnp.zeros((capacity, dim)), 1.0)})
