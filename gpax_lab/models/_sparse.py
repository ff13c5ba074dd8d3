"""Sparse Gaussian processes for scattered observations by the thousands: inducing points and the collapsed bound.

With m inducing points z the process is described by its values there. The parameters are learned from a lower bound of
the log marginal likelihood (Titsias 2009, AISTATS, eq. 9; here with a noise variance for each observation),

    log N(r | 0, Q + D) - tr(D^-1 (K - Q)) / 2,    Q = K_nm K_mm^-1 K_mn,

and predictions are those of the optimal variational distribution. Observations are taken in chunks, so that time is
O(N m^2) and memory O(m^2 + chunk m), gradients included.
"""

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from gpax_lab.core._interning import interned
from gpax_lab.core._linalg import cholesky, in_chunks, jitter, solve_lower
from gpax_lab.core._observations import Observations, as_if_measured
from gpax_lab.core._priors import Params, Prior
from gpax_lab.core._sequence import additive_recurrence
from gpax_lab.core._types import ArrayLike, Float
from gpax_lab.kernels import KernelLike, matern52
from gpax_lab.means import Mean
from gpax_lab.models._conditioning import gram, prior_paths
from gpax_lab.models._exact import ANCHORS
from gpax_lab.models._exactness import Needs
from gpax_lab.models._noise import Noise
from gpax_lab.models._process import Process
from gpax_lab.models._scaling import Scale, box
from gpax_lab.models._transform import data_transform

CHUNK = 1024
"""Observations taken at a time."""


class SparseFactor(NamedTuple):
    """All that prediction needs, for one set of parameters.

    Attributes:
        whiten: (m, m) L^-1, with K_mm = L L'. A product with it is what would be a triangular solve in the loop over
            chunks, where LAPACK is not allowed.
        reduce: (m, m) M^-1, with I + L^-1 K_mn D^-1 K_nm L^-T = M M'.
        alpha: (m,) the mean of the residual process at x is k(x, z) alpha.
        scale: of the observations.
        ok: () bool, whether both factors exist.
        finite: () bool, whether all numbers of K_mm were finite.
    """

    whiten: Array
    reduce: Array
    alpha: Array
    scale: Scale
    ok: Array
    finite: Array


class _Sums(NamedTuple):
    """Over active observations: (m, m) A A', (m,) A r, () r'r, log |D|, tr D^-1 (K - Q), number; A whitened twice."""

    square: Array
    projected: Array
    energy: Array
    log_noise: Array
    left_out: Array
    number: Array


@dataclass(frozen=True, eq=False, repr=False)
class SparseGP(Process):
    """A Gaussian process seen through inducing points; build it by `sparse`.

    Attributes:
        kernel: k(x, z, params) for one pair of points of the unit cube.
        transform: from observations to the process and back.
        inducing: (m, d) inducing points in the unit cube.
    """

    inducing: np.ndarray

    @property
    def bounds(self) -> np.ndarray | None:
        """None: observations lie all over the box, and points outside it are predicted by the prior."""
        return None

    @property
    def needs_noise(self) -> Needs:
        """All observations, where the model adds no noise of its own."""
        return "all" if self.transform.noiseless else "nothing"

    def log_likelihood(self, params: Params, obs: Observations) -> Float[Array, ""]:
        """() lower bound of the log marginal likelihood (Titsias 2009, eq. 9)."""
        x, residual, variance, scale = self.transform.parts(params, obs)
        whiten, ok, _ = self._whitening(params, x.dtype)
        total = self._sums(params, whiten, x, residual, variance, obs.measured)
        lower, positive = cholesky(jnp.eye(len(self.inducing), dtype=x.dtype) + total.square)
        fitted = solve_lower(lower, total.projected)
        constant = total.number * (jnp.log(2 * jnp.pi) + 2 * jnp.log(scale.scale))
        log_det = total.log_noise + 2 * jnp.sum(jnp.log(jnp.where(positive, jnp.diagonal(lower), 1.0)))
        value = -0.5 * (constant + log_det + total.energy - fitted @ fitted + total.left_out)
        return jnp.where(ok & positive, value, -jnp.inf)

    def condition(self, params: Params, obs: Observations) -> SparseFactor:
        """The optimal variational distribution of the values at the inducing points."""
        x, residual, variance, scale = self.transform.parts(params, obs)
        whiten, ok, finite = self._whitening(params, x.dtype)
        total = self._sums(params, whiten, x, residual, variance, obs.measured)
        reduce, positive = self._reduced(total.square)
        alpha = whiten.T @ (reduce.T @ (reduce @ total.projected))
        finite = finite & jnp.isfinite(total.square).all()
        return SparseFactor(whiten=whiten, reduce=reduce, alpha=alpha, scale=scale, ok=ok & positive, finite=finite)

    def condition_on_pending(self, params: Params, factor: SparseFactor, obs: Observations) -> SparseFactor:
        """The factor with the variances that will hold once the pending points are measured."""
        of = self.transform
        variance = of.variance_at(params, obs, obs.x, factor.scale)
        total = self._sums(params, factor.whiten, of.unit(obs.x), jnp.zeros_like(obs.y), variance, as_if_measured(obs))
        reduce, positive = self._reduced(total.square)
        return factor._replace(reduce=reduce, ok=factor.ok & positive)

    def predict(
        self, params: Params, factor: SparseFactor, x: Float[Array, "m d"]
    ) -> tuple[Float[Array, " m"], Float[Array, " m"]]:
        """Mean (m,) and variance (m,) at x (m, d)."""

        def of_chunk(x: Array) -> tuple[Array, Array]:
            cross, own = self._cross(params, self.transform.unit(x))
            white = factor.whiten @ cross
            variance = own - jnp.sum(white**2, axis=0) + jnp.sum((factor.reduce @ white) ** 2, axis=0)
            return factor.alpha @ cross, jnp.maximum(variance, jitter(own.dtype) * own)

        f, variance = in_chunks(of_chunk, x, CHUNK)
        return self._in_units(params, factor.scale, x, f, variance)

    def joint(
        self, params: Params, factor: SparseFactor, x: Float[Array, "m d"]
    ) -> tuple[Float[Array, " m"], Float[Array, "m m"]]:
        """Mean (m,) and covariance (m, m) at x (m, d)."""
        u = self.transform.unit(x)
        cross = gram(self.kernel, params, self._inducing(x.dtype), u)
        white = factor.whiten @ cross
        kept = factor.reduce @ white
        covariance = gram(self.kernel, params, u, u) - white.T @ white + kept.T @ kept
        return self._in_units(params, factor.scale, x, factor.alpha @ cross, covariance)

    def paths(
        self, params: Params, factor: SparseFactor, obs: Observations, key: Array, count: int, x: Float[Array, "m d"]
    ) -> Float[Array, "count m"]:
        """(count, m) functions drawn from the process, by Matheron's rule at the inducing points."""
        of, m = self.transform, len(self.inducing)
        key_prior, key_values = jax.random.split(key)
        inducing = self._inducing(x.dtype)
        points = jnp.concatenate([inducing, additive_recurrence(ANCHORS, self.dim, 0.5).astype(x.dtype)])
        values, prior = prior_paths(self.kernel, params, points, jnp.ones(len(points), bool), key_prior, count)
        white = jax.random.normal(key_values, (m, count), x.dtype)
        # A function of the prior, with its values at the inducing points replaced by known ones.
        update = factor.alpha[:, None] + factor.whiten.T @ (factor.reduce.T @ white - factor.whiten @ values[:m])
        f = prior.at[:m].add(update).T @ gram(self.kernel, params, points, of.unit(x))
        return of.mean_at(params, factor.scale, x)[None] + factor.scale.scale * f

    def leave_one_out(
        self, params: Params, obs: Observations
    ) -> tuple[Float[Array, " capacity"], Float[Array, " capacity"]]:
        """Mean and variance (capacity,) of each observation given the others.

        R&W 2006, eq. 5.12, for the covariance Q + D; what Q leaves out of the variance is added as in `predict`.
        """
        x, residual, variance, scale = self.transform.parts(params, obs)
        factor = self.condition(params, obs)

        def of_chunk(x: Array) -> tuple[Array, Array, Array]:
            cross, own = self._cross(params, x)
            white = factor.whiten @ cross
            return factor.alpha @ cross, jnp.sum((factor.reduce @ white) ** 2, 0), own - jnp.sum(white**2, 0)

        f, kept, left = in_chunks(of_chunk, x, CHUNK)
        variance = self._stable(params, variance)
        precision = (1.0 - kept / variance) / variance
        alone = residual - (residual - f) / variance / precision
        left_out = self.transform.left_out_variance(params, obs, scale, 1.0 / precision + left)
        return self._in_units(params, scale, obs.x, alone, left_out)

    def _inducing(self, dtype: jnp.dtype) -> Array:
        return jnp.asarray(self.inducing, dtype)

    def _cross(self, params: Params, u: Array) -> tuple[Array, Array]:
        """(m, n) covariance of inducing points with u (n, d) of the unit cube, and their own variance (n,)."""
        kernel = self.kernel
        return gram(kernel, params, self._inducing(u.dtype), u), jax.vmap(lambda a: kernel(a, a, params))(u)

    def _whitening(self, params: Params, dtype: jnp.dtype) -> tuple[Array, Array, Array]:
        points, eye = self._inducing(dtype), jnp.eye(len(self.inducing), dtype=dtype)
        k = gram(self.kernel, params, points, points)
        lower, ok = cholesky(k + jitter(dtype) * jnp.mean(jnp.diagonal(k)) * eye)
        return solve_lower(lower, eye), ok, jnp.isfinite(k).all()

    def _stable(self, params: Params, variance: Array) -> Array:
        # The jitter that `gp.exact` puts on the diagonal: observations may be known without error.
        first = self._inducing(variance.dtype)[0]
        return variance + jitter(variance.dtype) * self.kernel(first, first, params)

    def _reduced(self, square: Array) -> tuple[Array, Array]:
        eye = jnp.eye(len(self.inducing), dtype=square.dtype)
        lower, ok = cholesky(eye + square)
        return solve_lower(lower, eye), ok

    def _sums(self, params: Params, whiten: Array, x: Array, residual: Array, variance: Array, active: Array) -> _Sums:
        rows = min(CHUNK, x.shape[0])
        count = -(-x.shape[0] // rows)

        def cut(values: Array, fill: float | bool) -> Array:
            widths = [(0, count * rows - values.shape[0])] + [(0, 0)] * (values.ndim - 1)
            return jnp.pad(values, widths, constant_values=fill).reshape(count, rows, *values.shape[1:])

        def of_chunk(chunk: tuple[Array, Array, Array, Array]) -> _Sums:
            x, residual, variance, active = chunk
            variance = jnp.where(active, self._stable(params, variance), 1.0)
            shrunk = jnp.where(active, 1.0 / jnp.sqrt(variance), 0.0)
            cross, own = self._cross(params, x)
            projection = whiten @ cross
            left = jnp.where(active, (own - jnp.sum(projection**2, axis=0)) / variance, 0.0)
            a, r = projection * shrunk[None], jnp.where(active, residual, 0.0) * shrunk
            return _Sums(a @ a.T, a @ r, r @ r, jnp.sum(jnp.log(variance)), jnp.sum(left), jnp.sum(active))

        chunks = cut(x, 0.5), cut(residual, 0.0), cut(variance, 1.0), cut(active, False)
        # A chunk is computed again when the gradient comes back: nothing of size N m is kept.
        total = jax.lax.map(jax.checkpoint(of_chunk), chunks)
        return jax.tree.map(lambda leaf: jnp.sum(leaf, axis=0), total)


@interned
def sparse(
    dim: int,
    kernel: KernelLike = matern52,
    mean: Mean | None = None,
    prior: Prior | None = None,
    noise: Noise = "inferred",
    bounds: ArrayLike | None = None,
    standardize: bool | tuple[float, float] = True,
    inducing: int | ArrayLike = 128,
) -> SparseGP:
    """A Gaussian process for up to tens of thousands of observations: as `gp.exact`, seen through inducing points.

    Use `laplace` with few starts above a few thousand observations. The approximation is good where inducing points lie
    closer than a lengthscale; the bound, as the evidence of a sampler, tells which number is enough.

    Args:
        dim: number of inputs d.
        kernel: as in `gp.exact`.
        mean: as in `gp.exact`.
        prior: as in `gp.exact`.
        noise: as in `gp.exact`.
        bounds: as in `gp.exact`.
        standardize: as in `gp.exact`.
        inducing: (m, d) inducing points in the user's units, e.g. from `inducing_points`; or their number, to fill the
            box evenly, which is good for up to three inputs.

    Returns:
        A `SparseGP`, whose log likelihood is the bound.

    Raises:
        ValueError: as in `gp.exact`, or no inducing point.

    Example:
        >>> from gpax_lab import laplace, observations
        >>> x = np.random.default_rng(0).random((2000, 1))
        >>> obs = observations(x, np.sin(9 * x[:, 0]), capacity=2000)
        >>> model, sampler = sparse(1, inducing=16), laplace(num_samples=4, starts=1, iterations=10)
        >>> posterior = sampler.init(jax.random.key(0), model, obs)
        >>> bool(abs(posterior.moments(jnp.array([[0.5]]))[0][0] - np.sin(4.5)) < 0.01)
        True
    """
    transform = data_transform(dim, kernel, mean=mean, prior=prior, noise=noise, bounds=bounds, standardize=standardize)
    return SparseGP(kernel, transform, _inducing_points(inducing, dim, bounds))


def _inducing_points(inducing: int | ArrayLike, dim: int, bounds: ArrayLike | None) -> np.ndarray:
    """(m, d) inducing points in the unit cube."""
    if np.ndim(inducing) == 0:
        count = np.asarray(inducing)
        if count.dtype.kind not in "iu" or count < 1:
            raise ValueError(f"inducing must be a number of points, at least 1, or points (m, {dim}); got {inducing}.")
        return np.asarray(additive_recurrence(int(count), dim))
    points = np.asarray(inducing, float)
    if points.ndim != 2 or points.shape[1] != dim or len(points) == 0 or not np.isfinite(points).all():
        raise ValueError(f"inducing points must be finite and (m, {dim}), m at least 1; got shape {points.shape}.")
    low, width = box(bounds, dim)
    unit = (points - low) / width
    if not ((unit > -0.5) & (unit < 1.5)).all(axis=1).any():
        raise ValueError(
            f"all inducing points lie far outside the bounds {np.stack([low, low + width], 1).tolist()}: both are in "
            "the user's units."
        )
    return unit


def inducing_points(
    x: ArrayLike, count: int, bounds: ArrayLike | None = None, lengthscale: float | None = None
) -> Float[np.ndarray, "count d"]:
    """(count, d) of the points of observations, each where the ones before leave most variance.

    Greedy conditional variance, which is a pivoted Cholesky factorisation (Burt, Rasmussen & van der Wilk 2020, JMLR
    21, 131), for a Matern 5/2 kernel. Time O(N count^2), memory O(N count).

    Args:
        x: (N, d) points of observations in the user's units.
        count: how many to take, at most N.
        bounds: as in `gp.exact`.
        lengthscale: in the unit cube; by default 0.3 sqrt(d), the median of the library's prior.

    Returns:
        (count, d) points in the user's units, for `sparse(inducing=...)`.

    Raises:
        ValueError: x is not (N, d), or count is not between 1 and N.
    """
    points = np.asarray(x, float)
    if points.ndim != 2 or not 1 <= count <= len(points) or not np.isfinite(points).all():
        raise ValueError(f"x must be finite, (N, d), N >= count >= 1; got shape {points.shape} and count {count}.")
    if lengthscale is not None and not lengthscale > 0:
        raise ValueError(f"the lengthscale must be positive, in lengths of the box; got {lengthscale}.")
    low, width = box(bounds, points.shape[1])
    scale = 0.3 * np.sqrt(points.shape[1]) if lengthscale is None else lengthscale
    return points[np.asarray(_greedy(jnp.asarray((points - low) / width / scale), count))]


@partial(jax.jit, static_argnames="count")
def _greedy(x: Array, count: int) -> Array:
    params = {"variance": jnp.ones((), x.dtype), "lengthscale": jnp.ones(x.shape[1], x.dtype)}

    def step(k: Array, carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        rows, left, picked = carry
        i = jnp.argmax(left)
        row = (gram(matern52, params, x[i][None], x)[0] - rows[:, i] @ rows) / jnp.sqrt(
            jnp.maximum(left[i], jnp.finfo(x.dtype).tiny)
        )
        # What was picked, and its repetitions, have nothing left; -1 keeps them from coming again.
        rest = jnp.where(left < 0, -1.0, jnp.maximum(left - row**2, 0.0)).at[i].set(-1.0)
        return rows.at[k].set(row), rest, picked.at[k].set(i)

    begin = jnp.zeros((count, x.shape[0]), x.dtype), jnp.ones(x.shape[0], x.dtype), jnp.zeros(count, int)
    return jax.lax.fori_loop(0, count, step, begin)[2]
