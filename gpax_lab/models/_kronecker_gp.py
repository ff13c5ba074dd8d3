"""A Gaussian process whose covariance on a grid is a sum of Kronecker products."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from gpax_lab.core._interning import interned
from gpax_lab.core._priors import Params, Prior, Program, Scoped, sample, with_dim
from gpax_lab.core._structural import Structural
from gpax_lab.core._types import Float
from gpax_lab.kernels import KernelLike
from gpax_lab.models import _kronecker as kronecker
from gpax_lab.models import gp
from gpax_lab.models._conditioning import gram, log_marginal_of
from gpax_lab.models._grid_blocks import Blocks, unit_axis


class _OfAxis(Mapping[str, Array]):
    """The parameters of one axis of one part; its variance is one, because a part has one variance for all axes."""

    def __init__(self, params: Params, part: str, axis: int):
        self.scoped = Scoped(with_dim(params, 1), f"{part}axis{axis}")

    def __getitem__(self, name: str) -> Array:
        return jnp.asarray(1.0) if name == "variance" else self.scoped[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.scoped)

    def __len__(self) -> int:
        return len(self.scoped)


@dataclass(frozen=True, eq=False)
class KroneckerGP(Structural):
    """A process on a grid; build it by `process`. It is a `Density` of `Blocks`, from which its parameters are learned.

    Attributes:
        parts: for each part, k_a(x, z, params) of each axis, for points of one input.
        prior: of all parameters.
    """

    compiled: ClassVar[dict[str, tuple[int, ...]]] = {"log_likelihood": ()}

    parts: tuple[tuple[KernelLike, ...], ...]
    prior: Program

    @property
    def axes(self) -> int:
        """Number of axes of the images it describes."""
        return len(self.parts[0])

    def log_likelihood(self, params: Params, blocks: Blocks) -> Float[Array, ""]:
        """() composite log likelihood: every block with its exact marginal likelihood, times its weight."""
        # Pixels have few distances along an axis: tables of them cost a sixth of what a kernel for each pair would.
        tables = self.rows(params, blocks.axes)

        def one(block: tuple[Array, Array, Array]) -> Array:
            pixel, y, used = block

            def log_marginal() -> Array:
                return log_marginal_of(from_tables(tables, pixel, pixel), y, params["noise"], used)

            # Blocks that only fill the array up, or that the caller leaves out, cost nothing.
            return jax.lax.cond(jnp.any(used), log_marginal, lambda: jnp.zeros((), y.dtype))

        cut = blocks.pixel, blocks.y, blocks.used
        on_cpu = jax.default_backend() == "cpu"  # one by one: batches of eight are no faster there
        return blocks.weight * jnp.sum(jax.lax.map(one, cut) if on_cpu else jax.vmap(one)(cut))

    def rows(self, params: Params, axes: Sequence[Array]) -> list[list[Array]]:
        """(n_a,) covariance of the first pixel with all of each axis, of each part; the first carries the variance."""
        rows = []
        for name, kernels in _named(self.parts):
            each = [
                gram(k, _OfAxis(params, name, a), x[:1, None], x[:, None])[0]
                for a, (k, x) in enumerate(zip(kernels, axes, strict=True))
            ]
            rows.append([params[f"{name}variance"] * each[0], *each[1:]])
        return rows

    def grams(self, params: Params, shape: Sequence[int]) -> list[list[Array]]:
        """(n_a, n_a) covariance of each axis of each part for a grid of `shape`; the first carries the variance."""
        rows = self.rows(params, [jnp.asarray(unit_axis(n), params["noise"].dtype) for n in shape])
        return [[row[_lags(jnp.arange(row.size))] for row in part] for part in rows]


def _lags(pixel: Array) -> Array:
    """(n, n) distances of pixels (n,) of one axis, in pixels."""
    return jnp.abs(pixel[:, None] - pixel[None, :])


def from_tables(tables: Sequence[Sequence[Array]], pixels: Array, others: Array) -> Array:
    """(n, m) covariance of pixels (n, d) and others (m, d) from what `KroneckerGP.rows` returns."""
    lags = [jnp.abs(i[:, None] - j[None, :]) for i, j in zip(pixels.T, others.T, strict=True)]
    size = math.prod(row.size for row in tables[0])
    if size > pixels.shape[0] * others.shape[0]:
        return reduce(
            jnp.add, [reduce(jnp.multiply, [t[at] for t, at in zip(part, lags, strict=True)]) for part in tables]
        )
    # One table of all distances: one number to look up for a pair, and one to add to in the gradient.
    table = reduce(jnp.add, [kronecker.outer(part) for part in tables]).ravel()
    flat = reduce(lambda at, axis: at * axis[0].size + axis[1], zip(tables[0], lags, strict=True), jnp.asarray(0))
    return table[flat]


def _named(parts: Sequence[tuple[KernelLike, ...]]) -> list[tuple[str, tuple[KernelLike, ...]]]:
    """The parts with what their parameters are called by: nothing where there is one, else part0/, part1/, ..."""
    return [("" if len(parts) == 1 else f"part{k}/", kernels) for k, kernels in enumerate(parts)]


@interned
def process(*parts: Sequence[KernelLike], prior: Prior | None = None) -> KroneckerGP:
    """f(x) with covariance sum_p variance_p prod_a k_pa(x_a, z_a), and observations y = f + noise.

    Parameters are `noise` and, for a single part, `variance` and those of axis a as `axis{a}/lengthscale` and so on;
    for several parts `part{p}/variance` and `part{p}/axis{a}/lengthscale`. Variances are relative to the standardised
    observations; a lengthscale is in lengths of the axis (times n - 1 in pixels).

    Args:
        *parts: one stationary kernel for each axis of the image or cube, for each part. The product of two RBF is the
            isotropic RBF; that of two Matern kernels is rough in the same way along the axes, and not isotropic.
        prior: as in `gp.exact`; what is left out gets the defaults of `priors.default`.

    Returns:
        A `KroneckerGP`, for `gpax_lab.reconstruct`.

    Raises:
        ValueError: no part, parts of no or of different numbers of axes, a kernel that is not stationary, or a prior
            that does not fit the parameters.

    Example:
        >>> from gpax_lab import priors
        >>> from gpax_lab.kernels import matern52
        >>> names = priors.sample(jax.random.key(0), process((matern52, matern52)).prior)
        >>> sorted(names)
        ['axis0/lengthscale', 'axis1/lengthscale', 'noise', 'variance']
    """
    every = tuple(tuple(kernels) for kernels in parts)
    if not every or not every[0] or len({len(kernels) for kernels in every}) > 1:
        raise ValueError(
            f"each part needs one kernel for each axis; got {[len(kernels) for kernels in every]} kernels."
        )

    def kernel(x: Array, z: Array, params: Params) -> Array:
        total = jnp.zeros((), x.dtype)
        for name, kernels in _named(every):
            value = params[f"{name}variance"]
            for a, k in enumerate(kernels):
                value = value * k(x[a : a + 1], z[a : a + 1], _OfAxis(params, name, a))
            total = total + value
        return total

    prior_of_all = gp.exact(len(every[0]), kernel, prior=prior, standardize=False).prior
    _check_stationary(every, prior_of_all)
    return KroneckerGP(every, prior_of_all)


def _check_stationary(parts: Sequence[tuple[KernelLike, ...]], prior: Program) -> None:
    """Raise ValueError for a kernel that sees more than the distance of two points."""

    @jax.jit
    def pairs(x: Array) -> list[tuple[Array, Array]]:
        params = sample(jax.random.key(0), prior)

        def one(name: str, axis: int, k: KernelLike) -> tuple[Array, Array]:
            near, far = (k(at[:1], at[1:], _OfAxis(params, name, axis)) for at in x)
            return near, far

        return [one(*where) for where in distinct]

    every = [(name, a, k) for name, kernels in _named(parts) for a, k in enumerate(kernels)]
    distinct = list({k: (name, a, k) for name, a, k in reversed(every)}.values())
    for (_, a, _), (near, far) in zip(distinct, pairs(jnp.array([[0.1, 0.3], [0.55, 0.75]])), strict=True):
        if not np.isclose(near, far, rtol=1e-4):
            raise ValueError(
                f"the kernel of axis {a} is not stationary: on a grid it may depend on the distance of two points "
                "only, like rbf, matern52 or periodic. Use gp.exact for this one."
            )
