"""Gaussian processes on a regular grid with missing pixels: images and spectral cubes, never a dense matrix.

The kernel is a sum of parts, each a product over the axes, so that the covariance is a sum of Kronecker products
(`models.kronecker`); two parts let an image be smooth and textured at once. Prediction is exact up to the tolerance of
conjugate gradients, and draws are pathwise (Matheron's rule; Wilson et al. 2021, JMLR 22, 105).

The log determinant of a masked Kronecker matrix has no closed form. Parameters are learned from a composite likelihood
instead (Varin, Reid & Firth 2011, Statistica Sinica 21, 5): readings are cut into blocks, every block enters with its
exact marginal likelihood, and correlations between blocks are left out. Its score has mean zero at the true parameters,
as the full one has, so that it is unbiased; it is deterministic, which a stochastic trace is not.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from itertools import zip_longest
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from gpax_lab.core._interning import interned
from gpax_lab.core._linalg import cholesky, in_chunks, solve_lower
from gpax_lab.core._observations import capacity_for
from gpax_lab.core._structural import Structural
from gpax_lab.kernels import KernelLike
from gpax_lab.models import _kronecker as kronecker
from gpax_lab.models import gp
from gpax_lab.models._conditioning import gram, log_marginal_of, masked
from gpax_lab.models._kronecker import Solution, System
from gpax_lab.priors import Params, Prior, Program, Scoped, sample, with_dim

VECTOR = 1 << 22
"""Numbers in one batch of draws that are solved together: 32 MiB in float64."""


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


class Blocks(NamedTuple):
    """Readings cut into blocks, for the composite likelihood.

    Attributes:
        pixel: (blocks, size, d) int, where each was read.
        y: (blocks, size) standardised readings, 0 in an unused slot.
        used: (blocks, size) bool.
        axes: (n_a,) coordinates of the pixels of each axis.
        weight: () what a block counts: a half where every reading is in two of them.
    """

    pixel: Array
    y: Array
    used: Array
    axes: tuple[Array, ...]
    weight: Array


class Moments(NamedTuple):
    """Posterior of f in every pixel from a direct solution.

    Attributes:
        mean: (*shape) posterior mean.
        std: (*shape) standard deviation.
        residual: () a bound on the error of the mean, as `kronecker.Solution.residual`.
        ok: () bool, whether the covariance of the readings has a Cholesky factor.
    """

    mean: Array
    std: Array
    residual: Array
    ok: Array


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

    def log_likelihood(self, params: Params, blocks: Blocks) -> Array:
        """() composite log likelihood: every block with its exact marginal likelihood, times its weight."""
        # Pixels have few distances along an axis: tables of them cost a sixth of what a kernel for each pair would.
        tables = self.rows(params, blocks.axes)

        def one(block: tuple[Array, Array, Array]) -> Array:
            pixel, y, used = block

            def log_marginal() -> Array:
                return log_marginal_of(_from_tables(tables, pixel, pixel), y, params["noise"], used)

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


def _from_tables(tables: Sequence[Sequence[Array]], pixels: Array, others: Array) -> Array:
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


def unit_axis(n: int) -> np.ndarray:
    """(n,) coordinates of the pixels of an axis: 0 for the first, 1 for the last."""
    return np.arange(n) / max(n - 1, 1)


@interned
def process(*parts: Sequence[KernelLike], prior: Prior | None = None) -> KroneckerGP:
    """f(x) with covariance sum_p variance_p prod_a k_pa(x_a, z_a), and readings y = f + noise.

    Parameters are `noise` and, for a single part, `variance` and those of axis a as `axis{a}/lengthscale` and so on;
    for several parts `part{p}/variance` and `part{p}/axis{a}/lengthscale`. Variances are relative to the standardised
    readings; a lengthscale is in lengths of the axis (times n - 1 in pixels).

    Args:
        *parts: one stationary kernel for each axis of the image or cube, for each part. The product of two RBF is the
            isotropic RBF; that of two Matern kernels is rough in the same way along the axes, and not isotropic.
        prior: as in `gp.exact`; what is left out gets the defaults of `priors.default`.

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


def _near(x: np.ndarray, index: np.ndarray, size: int) -> list[np.ndarray]:
    """Cut points into blocks of at most `size` neighbours, at the median of the longest side."""
    if index.size <= size:
        return [index]
    side = int(np.argmax(np.ptp(x[index], axis=0)))
    order = index[np.argsort(x[index, side], kind="stable")]
    return _near(x, order[: index.size // 2], size) + _near(x, order[index.size // 2 :], size)


def blocks_of(
    y: np.ndarray, measured: np.ndarray, rng: np.random.Generator, size: int = 256, limit: int = 16
) -> Blocks:
    """Blocks of readings for the composite likelihood.

    All readings in one block, and the likelihood is exact, where there are at most `size`. Otherwise two coverings:
    blocks of neighbours, which tell of noise and short scales, and blocks of readings from everywhere, which tell of
    long ones; each reading counts by half in either. Of each covering at most `limit` blocks are taken, at random.

    Args:
        y: (*shape) standardised readings, any number where there is none.
        measured: (*shape) bool, at least one True.
        rng: chooses the blocks.
        size: readings in a block.
        limit: blocks of each kind.

    Returns:
        Blocks, of both kinds by turns.
    """
    places = np.argwhere(measured)
    axes = [unit_axis(n) for n in measured.shape]
    x = np.stack([axis[i] for axis, i in zip(axes, places.T, strict=True)], axis=1)
    values, count = y[tuple(places.T)], len(places)
    if count <= size:
        groups, room, slots = [np.arange(count)], 1, capacity_for(count)
    else:
        near = _near(x, np.arange(count), size)
        mixed = rng.permutation(count)
        far = [mixed[k : k + size] for k in range(0, count, size)]
        picked = ([kind[i] for i in rng.permutation(len(kind))[:limit]] for kind in (near, far))
        groups = [group for pair in zip_longest(*picked) for group in pair if group is not None]
        slots = size
        room = 1 << (len(groups) - 1).bit_length()  # few numbers of blocks, few compiles
    pixel = np.zeros((room, slots, measured.ndim), np.int32)
    read, used = np.zeros((room, slots), values.dtype), np.zeros((room, slots), bool)
    for k, group in enumerate(groups):
        pixel[k, : group.size], read[k, : group.size], used[k, : group.size] = places[group], values[group], True
    coordinates = tuple(jnp.asarray(axis, values.dtype) for axis in axes)
    weight = jnp.asarray(1.0 if len(groups) == 1 else 0.5, values.dtype)
    return Blocks(jnp.asarray(pixel), jnp.asarray(read), jnp.asarray(used), coordinates, weight)


def ranks(grid: KroneckerGP, params: Params, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Modes of each axis that carry the process, see `kronecker.enough`: static, for `condition`."""
    values = _eigenvalues(grid, dict(params), shape)
    return kronecker.enough([[np.asarray(w) for w in part] for part in values], float(params["noise"]))


@partial(jax.jit, static_argnames=("grid", "shape"))
def _eigenvalues(grid: KroneckerGP, params: Params, shape: tuple[int, ...]) -> list[list[Array]]:
    return [[jnp.linalg.eigvalsh(k) for k in part] for part in grid.grams(params, shape)]


def condition(
    grid: KroneckerGP, params: Params, measured: Array, leading: int = 2048, ranks: Sequence[int] | None = None
) -> System:
    """Everything that prediction needs but the readings.

    Args:
        grid: the process.
        params: its parameters.
        measured: (*shape) bool.
        leading: modes that the preconditioner solves exactly; see `kronecker.prepare`.
        ranks: modes kept of each axis, from `ranks`; None for all.
    """
    return _condition(grid, params, measured, leading, None if ranks is None else tuple(ranks))


@partial(jax.jit, static_argnames=("grid", "leading", "ranks"))
def _condition(
    grid: KroneckerGP, params: Params, measured: Array, leading: int, ranks: tuple[int, ...] | None
) -> System:
    return kronecker.prepare(grid.grams(params, measured.shape), measured, params["noise"], leading, ranks)


@partial(jax.jit, static_argnames="grid")
def direct(grid: KroneckerGP, params: Params, y: Array, pixel: Array, used: Array, axes: Sequence[Array]) -> Moments:
    """Posterior of few readings by one Cholesky factor, exact in mean and standard deviation.

    m readings cost m^3 / 3 and m^2 for each pixel of the image; see R&W 2006, eq. 2.25 and 2.26. The jitter of the
    house is added to the noise.

    Args:
        grid: the process.
        params: its parameters.
        y: (m,) readings, any number in an unused slot.
        pixel: (m, d) int, where each was read.
        used: (m,) bool.
        axes: (n_a,) coordinates of the pixels of each axis, from `unit_axis`.
    """
    tables = grid.rows(params, axes)
    shape = tuple(axis.size for axis in axes)
    read = jnp.where(used, y, 0.0)
    k = masked(_from_tables(tables, pixel, pixel), params["noise"], used)
    lower, ok = cholesky(k)
    # The inverse factor turns substitution for every pixel into a product, which may stand in a loop.
    half = jnp.where(used[None], solve_lower(lower, jnp.eye(y.size, dtype=y.dtype)), 0.0)
    white = half @ read
    weights = white @ half
    level = reduce(jnp.add, [reduce(jnp.multiply, [row[0] for row in part]) for part in tables])

    def some(flat: Array) -> tuple[Array, Array]:
        others = jnp.stack(jnp.unravel_index(flat[:, 0], shape), axis=1).astype(pixel.dtype)
        seen = half @ _from_tables(tables, pixel, others)
        return white @ seen, level - jnp.sum(seen**2, axis=0)

    # The chunk bounds memory as `VECTOR` does for batches of draws.
    mean, variance = in_chunks(some, jnp.arange(math.prod(shape))[:, None], max(1, VECTOR // y.size))
    std = jnp.sqrt(jnp.maximum(variance, jnp.finfo(y.dtype).eps * level))
    # What is left over moves the mean by at most its norm over the noise, in posterior standard deviations.
    left = jnp.sum(jnp.where(used, read - k @ weights, 0.0) ** 2) / jnp.maximum(jnp.sum(used), 1)
    return Moments(mean.reshape(shape), std.reshape(shape), jnp.sqrt(left / params["noise"]), ok)


def mean(system: System, y: Array, tolerance: float | Array, limit: int | Array) -> tuple[Array, Solution]:
    """Posterior mean (*shape) of f given readings y (*shape), and the solution it comes from."""
    solution = kronecker.solve(system, y[None], tolerance, limit)
    return kronecker.synthesise(system, solution.coefficients)[0], solution


def _white(system: System, key: Array) -> tuple[Array, Array]:
    """Standard normal coefficients (parts, *ranks) and noise (*shape)."""
    dtype = system.root.dtype
    key_field, key_noise = jax.random.split(key)
    field = jax.random.normal(key_field, system.root.shape, dtype)
    return field, jax.random.normal(key_noise, system.measured.shape, dtype)


def _pathwise(
    system: System, y: Array, keys: Array, centre: Array, tolerance: float | Array, limit: int | Array
) -> tuple[Array, Solution]:
    """(count, *shape): the posterior mean given y where `centre` (count,), elsewhere a draw of f minus that mean.

    Matheron's rule: a prior draw f and a draw e of the noise give f - K M' (M K M' + s)^-1 (M f + e), whose covariance
    is the posterior's whatever was read. On the grid the prior draw is exact.
    """
    coefficients, noise = jax.vmap(lambda key: _white(system, key))(keys)
    one = centre.reshape(-1, *(1,) * y.ndim)
    coefficients = jnp.where(one[:, None], 0.0, coefficients)
    read = kronecker.synthesise(system, coefficients) + jnp.sqrt(system.noise) * noise
    solution = kronecker.solve(system, jnp.where(one, -y[None], read), tolerance, limit)
    return kronecker.synthesise(system, coefficients - solution.coefficients), solution


def paths(
    system: System, y: Array, key: Array, count: int, tolerance: float | Array, limit: int | Array
) -> tuple[Array, Solution]:
    """(count, *shape) functions drawn from the posterior given readings y (*shape), and the solution they come from.

    All are held and solved at once; `moments` bounds its memory.
    """
    keys = jax.random.split(key, count + 1)
    fields, solution = _pathwise(system, y, keys, jnp.arange(count + 1) == 0, tolerance, limit)
    return fields[:1] + fields[1:], solution


def moments(
    system: System, y: Array, key: Array, count: int, tolerance: float | Array, limit: int | Array
) -> tuple[Array, Array, Array, Array]:
    """Posterior mean (*shape) and standard deviation (*shape) of f, the worst residual () and all iterations ().

    The mean is solved for; the standard deviation is that of `count` draws around it, with a relative error in each
    pixel of 1 / sqrt(2 count). Right-hand sides are solved in batches of at most `VECTOR` numbers.
    """
    batch = max(1, min(count + 1, VECTOR // system.root.size))
    rounds = -(-(count + 1) // batch)
    slots = jnp.arange(rounds * batch).reshape(rounds, batch)
    keys = jax.random.split(key, rounds * batch).reshape(rounds, batch)

    def add(carry: tuple, one: tuple[Array, Array]) -> tuple[tuple, None]:
        (centre, total, residual, iterations), (slot, keys) = carry, one
        fields, solution = _pathwise(system, y, keys, slot == 0, tolerance, limit)
        drawn = ((slot > 0) & (slot <= count)).astype(y.dtype)
        centre = centre + jnp.tensordot((slot == 0).astype(y.dtype), fields, axes=1)
        total = total + jnp.tensordot(drawn, fields**2, axes=1)
        return (centre, total, jnp.maximum(residual, solution.residual), iterations + solution.iterations), None

    begin = jnp.zeros_like(y), jnp.zeros_like(y), jnp.zeros((), y.dtype), jnp.asarray(0)
    (centre, total, residual, iterations), _ = jax.lax.scan(add, begin, (slots, keys))
    return centre, jnp.sqrt(total / count), residual, iterations
