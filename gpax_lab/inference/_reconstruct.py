"""An image or spectral cube from the part of it that was measured, with learned parameters and calibrated doubt."""

import math
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax import Array
from jax.typing import DTypeLike

from gpax_lab.core import Status
from gpax_lab.core._observations import EMPTY, MEASURED, Observations, capacity_for, float_dtype
from gpax_lab.core._types import ArrayLike, Float, Int, Int8
from gpax_lab.inference._bfgs import MODE_GTOL, BFGSResult, at_mode, minimize_bfgs
from gpax_lab.inference._density import unconstrained_density
from gpax_lab.kernels import matern52
from gpax_lab.models import _grid_blocks as grid_blocks
from gpax_lab.models import _grid_moments as grid_moments
from gpax_lab.models import gridded
from gpax_lab.models._grid_blocks import Blocks
from gpax_lab.models._kronecker_gp import KroneckerGP
from gpax_lab.models._scaling import Scale, standardisation

STARTS = (0.5, 0.16, 0.025)
"""The optimiser starts from these quantiles of every parameter's prior: its median, and one and two standard deviations
below, where scales are short. Two scales in one image make more than one mode, and the best is taken."""
FEW = 8
"""Blocks on which all starts run; the best then goes on with all of them."""
FIRST = 2
"""Blocks on which the first start learns how the density is curved, at a quarter of the price. Others come near a mode
on so many, and go on from there with that curvature, which takes them a third of the steps."""
LOOSE_GTOL = 5.0
"""Slope at which they are near, in nats per log parameter."""
CLOSE_GTOL = 0.3
"""Slope at which they are compared with the best so far: what they could still gain is some hundredths of a nat."""
GTOL = 0.1 * MODE_GTOL
"""Ten times flatter than asked, so that a search that stalls by rounding is told from one that got lost."""
SLOTS = 256
"""The number of slots of a direct solution is a power of two up to this, and a multiple of it above."""
DIRECT = 2048
"""Most observations solved by a Cholesky factor."""
DIRECT_WORK = 1 << 34
"""Most observations squared times pixels for that: two seconds of one core, and conjugate gradients take as long."""
DRAWS = 512
"""Prior draws whose quantiles these are."""
STEPS = 200
"""Most moves of the optimiser; a handful of parameters takes 15 to 60."""


class Reconstruction(NamedTuple):
    """What is believed of every pixel, measured or not.

    Attributes:
        mean: (*shape) posterior mean of the noise-free quantity, in the unit of the image.
        std: (*shape) its standard deviation, likewise.
        noise_std: () standard deviation of the noise of an observation, likewise.
        params: learned parameters by name; variances relative to the standardised observations, lengthscales in lengths
            of their axis.
        residual: () the largest error of a linear solution, in posterior standard deviations; see `kronecker.Solution`.
        iterations: () steps of conjugate gradients, mean and all draws; 0 for a direct solution.
        status: () code of `Status`.
    """

    mean: Float[Array, "*shape"]
    std: Float[Array, "*shape"]
    noise_std: Float[Array, ""]
    params: dict[str, Array]
    residual: Float[Array, ""]
    iterations: Int[Array, ""]
    status: Int8[Array, ""]

    @property
    def message(self) -> str:
        """The status in words, with its remedy."""
        return Status.of(self.status).describe()


class Mode(NamedTuple):
    """Where the optimiser stopped: parameters by name, the log posterior density () and its largest slope ()."""

    params: dict[str, Array]
    log_density: Array
    slope: Array


class _Search(NamedTuple):
    """Searches one after the other: each field has them on its leading axis.

    Attributes:
        start: (searches, p) where a fresh one starts. A step of one changes a parameter e-fold.
        fresh: whether it starts there, knowing nothing of the curvature.
        rival: whether it goes on from the last one, if not fresh, and has to beat the best; else from the best.
        before: blocks of which the best knows the curvature.
        now: blocks it looks at.
        flat: slope at which it stops.
    """

    start: Array
    fresh: Array
    rival: Array
    before: Array
    now: Array
    gtol: Array


@cache
def _default(axes: int) -> KroneckerGP:
    return gridded.process((matern52,) * axes, (matern52,) * axes, prior=smooth_and_textured(axes))


def smooth_and_textured(axes: int) -> dict[str, dist.Distribution]:
    """Priors of two parts: the first has the defaults, the second is a texture of a tenth of its scale and variance.

    Two parts alike could swap their names, and each mode would be there twice.
    """
    fine = dist.LogNormal(jnp.full(1, math.log(0.03 * math.sqrt(axes))), 0.7)
    texture = {f"part1/axis{a}/lengthscale": fine for a in range(axes)}
    return texture | {"part1/variance": dist.LogNormal(math.log(0.1), 1.0)}


def reconstruct(
    key: Array,
    image: ArrayLike,
    process: KroneckerGP | None = None,
    num_samples: int = 64,
    tolerance: float = 3e-3,
    iterations: int | None = None,
    leading: int = 2048,
    dtype: DTypeLike | None = None,
) -> Reconstruction:
    """Fill the holes of an image by a Gaussian process with parameters learned from it.

    Parameters are at the mode of prior times composite likelihood (`models.gridded`, which says what that leaves out);
    their uncertainty is not carried on, which thousands of observations allow and a dozen do not: use `gp.exact` with
    `nuts` there. Given them, mean and standard deviation are those of the exact process. Few observations (1000 of
    128 x 128 pixels, 2000 of 64 x 64; see `DIRECT_WORK`) are solved directly. More are solved by conjugate gradients,
    up to `tolerance` and to the Monte Carlo error of `num_samples` draws (9 percent of the standard deviation in each
    pixel for 64).

    Args:
        key: of the blocks the parameters are learned from, and of the draws.
        image: (n_1, ..., n_d) observations in the user's unit, NaN (or masked) where nothing was measured.
        process: from `gridded.process`, one kernel for each axis; None for two parts, smooth and textured, both Matern
            5/2. Keep it from image to image: a new process, image shape or power of two of blocks compiles anew,
            nothing else does.
        num_samples: draws from which the standard deviation is computed by conjugate gradients.
        tolerance: error at which they stop, in posterior standard deviations.
        iterations: most steps of conjugate gradients, however few the observations; None: 500, and none for few
            observations.
        leading: modes solved exactly in the preconditioner (static): more of them cost memory and save steps.
        dtype: floating dtype, float64 by default.

    Returns:
        Reconstruction; check `status` (or `message`) before using it, and plot all of it by
        `plot.reconstruction(image, filled.mean, filled.std)`. With `gpax_lab.setup()` one core
        compiles 5 to 10 s for a first image; a further one takes 2 to 4 s (64 x 64) or 8 s (256 x 256).

    Raises:
        TypeError: the key is none.
        ValueError: an image without pixels or observations, infinite observations, a process for another number of
            axes, or a setting that makes no sense.

    Example:
        >>> import numpy as np
        >>> i, j = np.mgrid[:24, :24]
        >>> truth = 5e-9 * np.sin(i / 5) * np.cos(j / 6)
        >>> holes = np.random.default_rng(0).random(truth.shape) < 0.7
        >>> filled = reconstruct(jax.random.key(0), np.where(holes, np.nan, truth))
        >>> bool(np.abs(filled.mean - truth)[holes].mean() < 0.1 * truth.std()), int(filled.status)
        (True, 0)
    """
    if not hasattr(key, "dtype"):
        raise TypeError(f"key is a random key such as jax.random.key(0); got {key!r}.")
    kind = float_dtype(dtype)
    y, measured = _checked_image(image, kind)
    process = _default(y.ndim) if process is None else process
    if process.axes != y.ndim:
        raise ValueError(f"this process has {process.axes} axes, the image {y.ndim}: one kernel for each axis.")
    most = 500 if iterations is None else iterations
    if min(num_samples, most, leading) < 1 or not tolerance > 0:
        raise ValueError("num_samples, iterations and leading must be at least 1, and the tolerance positive.")
    (seed, key_start, key_draws), scale, standard = _begin(key, jnp.asarray(y), jnp.asarray(measured))
    standard = np.asarray(standard)
    rng = np.random.default_rng(np.asarray(seed).tolist())
    blocks = grid_blocks.blocks_of(standard, measured, rng)
    mode = learn(key_start, process, blocks)
    limits = jnp.asarray(tolerance, kind), jnp.asarray(most)
    count = int(measured.sum())
    if iterations is None and count <= DIRECT and count**2 * y.size <= DIRECT_WORK:
        slots = _slots(standard, measured)
        return _solve(process, mode, slots, axes=blocks.axes, scale=scale, tolerance=limits[0])
    ranks = grid_moments.ranks(process, mode.params, y.shape)
    arrays = jnp.asarray(standard), jnp.asarray(measured)
    return _fill(
        key_draws, process, mode, *arrays, scale=scale, limits=limits, samples=num_samples, leading=leading, ranks=ranks
    )


class _Slots(NamedTuple):
    """Standardised observations (slots,), their pixels (slots, d), and which slots are used."""

    y: Array
    pixel: Array
    used: Array


def _slots(standard: np.ndarray, measured: np.ndarray) -> _Slots:
    """What was measured, in few numbers of slots, so that little is compiled."""
    pixel = np.argwhere(measured).astype(np.int32)
    count = len(pixel)
    more = (capacity_for(count) if count <= SLOTS else -(-count // SLOTS) * SLOTS) - count
    used = np.arange(count + more) < count
    read = np.pad(standard[measured], (0, more))
    return _Slots(jnp.asarray(read), jnp.asarray(np.pad(pixel, ((0, more), (0, 0)))), jnp.asarray(used))


def _checked_image(image: ArrayLike, kind: np.dtype) -> tuple[np.ndarray, np.ndarray]:
    hidden = np.ma.getmaskarray(image) if isinstance(image, np.ma.MaskedArray) else None
    values = np.asarray(image)
    if values.dtype.kind not in "fiub":
        raise ValueError(f"an image holds real numbers; got {values.dtype}.")
    y = np.where(False if hidden is None else hidden, np.nan, values).astype(kind)
    if y.ndim == 0 or y.size == 0:
        raise ValueError(f"an image has at least one axis and one pixel; got shape {y.shape}.")
    if np.isinf(y).any():
        raise ValueError(f"{np.isinf(y).sum()} pixels are infinite: give NaN where nothing usable was measured.")
    measured = ~np.isnan(y)
    if not measured.any():
        raise ValueError("every pixel is NaN: there is nothing to reconstruct from.")
    return np.where(measured, y, 0.0).astype(kind), measured


@jax.jit
def _begin(key: Array, y: Array, measured: Array) -> tuple[tuple[Array, Array, Array], Scale, Array]:
    """What chooses the blocks, keys of the start and of the draws, the scale, and standardised observations."""
    flat = y.ravel()
    status = jnp.where(measured.ravel(), MEASURED, EMPTY).astype(jnp.int8)
    scale = standardisation(Observations(flat[:, None], flat, jnp.zeros_like(flat), status), True, centred=True)
    key_blocks, key_start, key_draws = jax.random.split(key, 3)
    return (jax.random.key_data(key_blocks), key_start, key_draws), scale, (y - scale.location) / scale.scale


@partial(jax.jit, static_argnames="process")
def learn(key: Array, process: KroneckerGP, blocks: Blocks) -> Mode:
    """The mode of prior times composite likelihood in unconstrained coordinates, the best that several starts lead to.

    Args:
        key: of the prior draws.
        process: the process.
        blocks: from `grid_blocks.blocks_of`.
    """
    space = unconstrained_density(process, blocks.y.dtype)
    draws = jax.vmap(space.draw)(jax.random.split(key, DRAWS))
    starts = jnp.quantile(draws, jnp.asarray(STARTS, draws.dtype), axis=0)
    every, filled = blocks.y.shape[0], jnp.sum(blocks.used.any(axis=1))

    def down(found: tuple[BFGSResult, BFGSResult], search: _Search) -> tuple[tuple[BFGSResult, BFGSResult], None]:
        best, last = found
        some: Any = blocks._replace(used=blocks.used & (jnp.arange(every) < search.now)[:, None])
        z = jnp.select([search.fresh, search.rival], [search.start, last.z], best.z)
        # Twice the observations, twice the curvature.
        share = jnp.minimum(search.before, filled) / jnp.minimum(search.now, filled)
        inverse = jnp.where(search.fresh, 0.0, best.inverse * share.astype(z.dtype))
        end = minimize_bfgs(lambda z: space.potential(z, some), z, search.gtol, STEPS, jnp.ones_like(z), inverse)
        better = jnp.where(search.rival, ~search.fresh & (end.value < best.value), True)
        return (jax.tree.map(lambda new, old: jnp.where(better, new, old), end, best), end), None

    # One loop for all searches, so that the density is compiled once.
    searches = [(0, True, False, FIRST, FIRST, GTOL), (0, False, False, FIRST, FEW, GTOL)]
    for k in range(1, len(STARTS)):
        searches += [(k, True, True, FEW, FIRST, LOOSE_GTOL), (k, False, True, FEW, FEW, CLOSE_GTOL)]
    searches += [(0, False, False, FEW, every, GTOL)]
    start, fresh, rival, before, now, flat = (jnp.asarray(column) for column in zip(*searches, strict=True))
    table = _Search(starts[start], fresh, rival, before, now, flat.astype(starts.dtype))
    nothing, none = jnp.full((), jnp.inf, starts.dtype), jnp.asarray(0)
    begin = BFGSResult(starts[0], nothing, nothing, none, none, jnp.zeros((starts.shape[1],) * 2, starts.dtype))
    (end, _), _ = jax.lax.scan(down, (begin, begin), table)
    return Mode(space.constrain(end.z), -end.value, end.slope)


@partial(jax.jit, static_argnames="process")
def _solve(
    process: KroneckerGP,
    mode: Mode,
    slots: _Slots,
    *,
    axes: tuple[Array, ...],
    scale: Scale,
    tolerance: Array,
) -> Reconstruction:
    mean, std, residual, ok = grid_moments.direct(process, mode.params, *slots, axes)
    none = jnp.asarray(0)
    return _reconstruction(
        mode, scale, mean=mean, std=std, ok=ok, residual=residual, tolerance=tolerance, iterations=none
    )


@partial(jax.jit, static_argnames=("process", "samples", "leading", "ranks"))
def _fill(
    key: Array,
    process: KroneckerGP,
    mode: Mode,
    y: Array,
    measured: Array,
    *,
    scale: Scale,
    limits: tuple[Array, Array],
    samples: int,
    leading: int,
    ranks: tuple[int, ...],
) -> Reconstruction:
    tolerance, most = limits
    system = grid_moments.condition(process, mode.params, measured, leading, ranks)
    mean, std, residual, steps = grid_moments.moments(system, y, key, samples, tolerance, most)
    return _reconstruction(
        mode, scale, mean=mean, std=std, ok=system.ok, residual=residual, tolerance=tolerance, iterations=steps
    )


def _reconstruction(
    mode: Mode,
    scale: Scale,
    *,
    mean: Array,
    std: Array,
    ok: Array,
    residual: Array,
    tolerance: Array,
    iterations: Array,
) -> Reconstruction:
    """Standardised moments in the unit of the image, with the status."""
    learned = jnp.isfinite(mode.log_density)
    # Twice: the residual is computed anew, and rounding parts it from the one that stopped the loop.
    solved = ok & (residual <= 2 * tolerance) & jnp.isfinite(mean).all() & jnp.isfinite(std).all()
    status = Status.worst(
        (~learned, Status.NOT_FINITE), (~solved, Status.NOT_SOLVED), (~at_mode(mode.slope), Status.STILL_CLIMBING)
    )
    # A failure is told by the status; what then comes back is what was known before, and never NaN.
    usable = jnp.isfinite(mean) & jnp.isfinite(std)
    return Reconstruction(
        mean=scale.location + scale.scale * jnp.where(usable, mean, 0.0),
        std=scale.scale * jnp.where(usable, std, 1.0),
        noise_std=scale.scale * jnp.sqrt(mode.params["noise"]),
        params=dict(mode.params),
        residual=residual,
        iterations=iterations,
        status=status,
    )
