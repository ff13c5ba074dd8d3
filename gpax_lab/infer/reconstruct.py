"""An image or spectral cube from the part of it that was measured, with learned parameters and calibrated doubt."""

from functools import cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from jax.typing import ArrayLike, DTypeLike

from gpax_lab.infer import outcomes
from gpax_lab.infer.space import Space, space_of, start
from gpax_lab.kernels import matern52
from gpax_lab.models import gridded
from gpax_lab.models.gridded import Process
from gpax_lab.models.scaling import Scale, standardisation
from gpax_lab.observations import EMPTY, MEASURED, Observations, float_dtype

TRIES = 16
"""Prior draws of which the most probable starts the optimiser."""
STEPS = 100
"""Most L-BFGS steps; a handful of parameters takes 10 to 30."""
SLOPE = 0.1
"""The largest slope at a mode, in nats per unit of a log parameter. The prior alone curves the density by two, so that
the mode is then off by less than a tenth of a posterior standard deviation."""


class Reconstruction(NamedTuple):
    """What is believed of every pixel, measured or not.

    Attributes:
        mean: (*shape) posterior mean of the noise-free quantity, in the unit of the image.
        std: (*shape) its standard deviation, likewise.
        noise_std: () standard deviation of the noise of a reading, likewise.
        params: learned parameters by name; variances relative to the standardised readings, lengthscales in lengths of
            their axis.
        residual: () the largest error of a linear solution, in posterior standard deviations; see `kronecker.Solution`.
        iterations: () steps of conjugate gradients, mean and all draws.
        outcome: () code of `infer.outcomes`.
    """

    mean: Array
    std: Array
    noise_std: Array
    params: dict[str, Array]
    residual: Array
    iterations: Array
    outcome: Array

    @property
    def message(self) -> str:
        """The outcome in words, with its remedy."""
        return outcomes.message(self.outcome)


class Mode(NamedTuple):
    """Where the optimiser stopped: parameters by name, the log posterior density () and its largest slope ()."""

    params: dict[str, Array]
    log_density: Array
    slope: Array


@cache
def _default(axes: int) -> Process:
    return gridded.process((matern52,) * axes)


def reconstruct(
    key: Array,
    image: ArrayLike,
    process: Process | None = None,
    samples: int = 64,
    tolerance: float = 3e-3,
    iterations: int = 500,
    leading: int = 1024,
    dtype: DTypeLike | None = None,
) -> Reconstruction:
    """Fill the holes of an image by a Gaussian process with parameters learned from it.

    Parameters are at the mode of prior times composite likelihood (`models.gridded`, which says what that leaves out);
    their uncertainty is not carried on, which thousands of readings allow and a dozen do not: use `gp.exact` with
    `nuts` there. Given them, mean and standard deviation are those of the exact process, up to `tolerance` and to the
    Monte Carlo error of `samples` draws (9 percent of the standard deviation in each pixel for 64).

    Args:
        key: of the blocks the parameters are learned from, and of the draws.
        image: (n_1, ..., n_d) readings in the user's unit, NaN where nothing was measured.
        process: from `gridded.process`, one kernel for each axis; None for Matern 5/2. Keep it from image to image:
            it compiles anew for every new process, shape of the image and power of two of blocks, and for nothing else.
        samples: draws from which the standard deviation is computed.
        tolerance: error at which conjugate gradients stop, in posterior standard deviations.
        iterations: most steps of conjugate gradients.
        leading: modes solved exactly in the preconditioner (static): more of them cost memory and save steps.
        dtype: floating dtype, float64 by default.

    Returns:
        Reconstruction; look at `outcome` (or `message`) before using it.

    Raises:
        ValueError: an image without pixels or readings, infinite readings, a process for another number of axes, or a
            setting that makes no sense.

    Example:
        >>> import numpy as np
        >>> i, j = np.mgrid[:24, :24]
        >>> truth = 5e-9 * np.sin(i / 5) * np.cos(j / 6)
        >>> holes = np.random.default_rng(0).random(truth.shape) < 0.7
        >>> filled = reconstruct(jax.random.key(0), np.where(holes, np.nan, truth))
        >>> bool(np.abs(filled.mean - truth)[holes].mean() < 0.1 * truth.std()), int(filled.outcome)
        (True, 0)
    """
    kind = float_dtype(dtype)
    y, measured = _checked_image(image, kind)
    process = _default(y.ndim) if process is None else process
    if len(process.kernels) != y.ndim:
        raise ValueError(f"this process has {len(process.kernels)} axes, the image {y.ndim}: one kernel for each axis.")
    if min(samples, iterations, leading) < 1 or not tolerance > 0:
        raise ValueError("samples, iterations and leading must be at least 1, and the tolerance positive.")
    key_blocks, key_start, key_draws = jax.random.split(key, 3)
    scale = _scale(jnp.asarray(y), jnp.asarray(measured))
    standard = (y - np.asarray(scale.location)) / np.asarray(scale.scale)
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key_blocks)).tolist())
    mode = learn(key_start, process, gridded.blocks_of(standard, measured, rng))
    limits = jnp.asarray(tolerance, kind), jnp.asarray(iterations)
    return _fill(
        key_draws, process, mode, jnp.asarray(standard), jnp.asarray(measured), scale, limits, samples, leading
    )


def _checked_image(image: ArrayLike, kind: np.dtype) -> tuple[np.ndarray, np.ndarray]:
    values = np.asarray(image)
    if values.dtype.kind not in "fiub":
        raise ValueError(f"an image holds real numbers; got {values.dtype}.")
    y = values.astype(kind)
    if y.ndim == 0 or y.size == 0:
        raise ValueError(f"an image has at least one axis and one pixel; got shape {y.shape}.")
    if np.isinf(y).any():
        raise ValueError(f"{np.isinf(y).sum()} pixels are infinite: give NaN where nothing usable was measured.")
    measured = ~np.isnan(y)
    if not measured.any():
        raise ValueError("every pixel is NaN: there is nothing to reconstruct from.")
    return np.where(measured, y, 0.0).astype(kind), measured


@jax.jit
def _scale(y: Array, measured: Array) -> Scale:
    flat = y.ravel()
    status = jnp.where(measured.ravel(), MEASURED, EMPTY).astype(jnp.int8)
    return standardisation(Observations(flat[:, None], flat, jnp.zeros_like(flat), status), True, centred=True)


@partial(jax.jit, static_argnames="process")
def learn(key: Array, process: Process, blocks: Observations) -> Mode:
    """The mode of prior times composite likelihood in unconstrained coordinates, by L-BFGS from the best prior draw.

    Args:
        key: of the prior draws.
        process: the process.
        blocks: from `gridded.blocks_of`.
    """
    space = space_of(process.model, blocks.y.dtype)
    z, value, slope = _descend(space, blocks, start(key, space, blocks, TRIES))
    return Mode(space.constrain(z), -value, slope)


def _descend(space: Space, blocks: Observations, z: Array) -> tuple[Array, Array, Array]:
    """Minimum (p,) of the potential from z, its value () and largest slope (); stops as soon as it is flat."""

    def energy(z: Array) -> Array:
        return space.potential(z, blocks)

    solver = optax.lbfgs()
    value_and_grad = optax.value_and_grad_from_state(energy)

    def steep(gradient: Array) -> Array:
        return jnp.max(jnp.abs(gradient))

    def step(carry: tuple) -> tuple:
        z, state, _, k = carry
        value, gradient = value_and_grad(z, state=state)
        move, state = solver.update(gradient, state, z, value=value, grad=gradient, value_fn=energy)
        new = optax.apply_updates(z, move)
        return jnp.where(jnp.isfinite(new).all(), new, z), state, steep(gradient), k + 1

    # Ten times flatter than asked, so that a line search that stalls by rounding is told from one that got lost.
    begin = z, solver.init(z), jnp.full((), jnp.inf, z.dtype), jnp.asarray(0)
    z, _, _, _ = jax.lax.while_loop(lambda c: (c[2] > 0.1 * SLOPE) & (c[3] < STEPS), step, begin)
    value, gradient = jax.value_and_grad(energy)(z)
    return z, value, steep(gradient)


@partial(jax.jit, static_argnames=("process", "samples", "leading"))
def _fill(
    key: Array,
    process: Process,
    mode: Mode,
    y: Array,
    measured: Array,
    scale: Scale,
    limits: tuple[Array, Array],
    samples: int,
    leading: int,
) -> Reconstruction:
    tolerance, most = limits
    system = gridded.condition(process, mode.params, measured, leading)
    mean, solution = gridded.mean(system, y, tolerance, most)
    std, residual, steps = gridded.spread(system, key, samples, tolerance, most)
    residual = jnp.maximum(residual, solution.residual)
    learned = jnp.isfinite(mode.log_density)
    # Twice: the residual is computed anew, and rounding parts it from the one that stopped the loop.
    solved = system.ok & (residual <= 2 * tolerance) & jnp.isfinite(mean).all() & jnp.isfinite(std).all()
    codes = outcomes.NOT_FINITE, outcomes.NOT_SOLVED, outcomes.STILL_CLIMBING
    outcome = jnp.select([~learned, ~solved, ~(mode.slope <= SLOPE)], [jnp.asarray(c) for c in codes], outcomes.OK)
    # A failure is told by the outcome; what then comes back are the prior's numbers, and never NaN.
    usable = jnp.isfinite(mean) & jnp.isfinite(std)
    prior_std = jnp.sqrt(jnp.maximum(jnp.nan_to_num(mode.params["variance"], nan=1.0), 0.0))
    return Reconstruction(
        scale.location + scale.scale * jnp.where(usable, mean, 0.0),
        scale.scale * jnp.where(usable, std, prior_std),
        scale.scale * jnp.sqrt(mode.params["noise"]),
        dict(mode.params),
        residual,
        solution.iterations + steps,
        outcome,
    )
