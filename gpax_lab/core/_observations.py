"""Observations of fixed shape: what was proposed, what was measured, and what is still under way.

Shapes never change while points arrive, so compiled functions are reused; `grow` is the one recompile.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import DTypeLike

from gpax_lab.core import _inputs as inputs
from gpax_lab.core._types import ArrayLike, Bool, Float, Int8

EMPTY, PENDING, MEASURED, FAILED, VETOED = 0, 1, 2, 3, 4
"""Values of `Observations.status`."""

SMALLEST_CAPACITY = 8


class Observations(NamedTuple):
    """Measured, pending, failed and vetoed points in a buffer of fixed capacity.

    Attributes:
        x: (capacity, d) inputs in the user's units; an empty slot holds a valid point, never NaN.
        y: (capacity,) or (capacity, m) observations in the user's units; 0 where there is none.
        noise: (capacity,) known variance of each observation (unit of y squared); 0 where unknown.
        status: (capacity,) int8, one of EMPTY, PENDING, MEASURED, FAILED, VETOED (a point that nobody went to).
    """

    x: Float[Array, "capacity d"]
    y: Float[Array, " capacity *outputs"]
    noise: Float[Array, " capacity"]
    status: Int8[Array, " capacity"]

    def __repr__(self) -> str:
        """How many observations there are of each kind, without the numbers."""
        slots = f"{np.shape(self.x)[-2]} slots" if np.ndim(self.x) > 1 else "slots"
        if isinstance(self.status, np.ndarray | Array) and not inputs.traced(self.status):
            status = np.asarray(self.status)
            kinds = {"measured": MEASURED, "pending": PENDING, "failed": FAILED, "vetoed": VETOED}
            counts = {kind: int(np.sum(status == code)) for kind, code in kinds.items()}
            told = ", ".join(f"{count} {kind}" for kind, count in counts.items() if count or kind == "measured")
            slots = f"{told} in {slots}"
        return f"<Observations: {slots}; x {np.shape(self.x)}, y {np.shape(self.y)}>"

    @property
    def capacity(self) -> int:
        """Number of slots."""
        return self.x.shape[0]

    @property
    def measured(self) -> Bool[Array, "*batch capacity"]:
        """(capacity,) bool: slots that enter a likelihood."""
        return self.status == MEASURED


def float_dtype(dtype: DTypeLike | None = None) -> np.dtype:
    """The floating dtype to compute in: float64 unless the caller asks for another one.

    Raises:
        RuntimeError: float64 is wanted but JAX would silently compute in float32.
    """
    wanted = np.dtype(np.float64 if dtype is None else dtype)
    if wanted == np.float64 and not jax.config.read("jax_enable_x64"):
        raise RuntimeError(
            "Gaussian processes are computed in float64 and JAX's 64-bit mode is off. Call gpax_lab.setup() (or "
            'jax.config.update("jax_enable_x64", True)) before the first JAX call, or pass dtype=jnp.float32.'
        )
    return wanted


def capacity_for(points: int) -> int:
    """The smallest power of two, at least 8, that holds `points` slots."""
    return max(SMALLEST_CAPACITY, 1 << max(points - 1, 0).bit_length())


def observations(
    x: ArrayLike,
    y: ArrayLike | None = None,
    noise: ArrayLike | None = None,
    capacity: int | None = None,
    dtype: DTypeLike | None = None,
) -> Observations:
    """Put observations into a buffer.

    Args:
        x: (n, d) inputs in the user's units, finite; n may be 0.
        y: (n,) or (n, m) observations; one that is not finite, masked or None is stored as failed. A column (n, 1) is
            (n,).
        noise: (n,) known variances of the observations, or a scalar; 0 or None where unknown.
        capacity: number of slots; the next power of two above n by default. Where you drive an experiment yourself,
            give the number of points you plan: a buffer that has to grow compiles everything anew.
        dtype: floating dtype, float64 by default.

    Returns:
        Observations whose first n slots hold the observations.

    Raises:
        ValueError: shapes disagree, numbers are complex, an input is not finite or masked, inputs are not told apart in
            the dtype, a variance is negative or not finite, or capacity < n.
        RuntimeError: float64 is wanted and JAX's 64-bit mode is off.

    Example:
        >>> obs = observations([[0.1], [0.7]], [1.0, 2.0])
        >>> obs.x.shape, int(obs.measured.sum())
        ((8, 1), 2)
    """
    kind = float_dtype(dtype)
    points = inputs.point_table(x, kind)
    n = points.shape[0]
    values = np.zeros(n, kind) if y is None else inputs.value_table(y, n, kind)
    ok = np.isfinite(values).all(axis=tuple(range(1, values.ndim)))
    variances = inputs.variances(noise, n, kind, np.asarray(~ok))
    slots = capacity_for(n) if capacity is None else capacity
    if slots < max(n, 1):
        raise ValueError(f"capacity {slots} does not hold {n} observations.")
    status = np.where(ok, MEASURED, FAILED) if y is not None else np.full(n, PENDING)
    filler = points[:1] if n else np.zeros((1, points.shape[1]), kind)
    pad = slots - n
    ok_column = ok.reshape((n,) + (1,) * (values.ndim - 1))
    return Observations(
        x=jnp.asarray(np.concatenate([points, np.repeat(filler, pad, axis=0)])),
        y=jnp.asarray(np.concatenate([np.where(ok_column, values, 0.0), np.zeros((pad, *values.shape[1:]), kind)])),
        noise=jnp.asarray(np.concatenate([variances, np.zeros(pad, kind)])),
        status=jnp.asarray(np.concatenate([status, np.full(pad, EMPTY)]).astype(np.int8)),
    )


def grow(obs: Observations, capacity: int | None = None) -> Observations:
    """Move to a larger buffer, the next power of two by default. Outside jit: shapes change.

    Raises:
        ValueError: the new capacity is smaller than the present one.
    """
    slots = capacity_for(obs.capacity + 1) if capacity is None else capacity
    pad = slots - obs.capacity
    if pad < 0:
        raise ValueError(f"cannot shrink observations from {obs.capacity} to {slots} slots.")
    return Observations(
        x=jnp.concatenate([obs.x, jnp.repeat(obs.x[:1], pad, axis=0)]),
        y=jnp.concatenate([obs.y, jnp.zeros((pad, *obs.y.shape[1:]), obs.y.dtype)]),
        noise=jnp.concatenate([obs.noise, jnp.zeros(pad, obs.noise.dtype)]),
        status=jnp.concatenate([obs.status, jnp.full(pad, EMPTY, obs.status.dtype)]),
    )


def used(obs: Observations) -> int:
    """Number of slots that are not empty (outside jit)."""
    return int(np.count_nonzero(np.asarray(obs.status) != EMPTY))


@jax.jit
def add_pending(obs: Observations, x: Array, status: int = PENDING) -> Observations:
    """Reserve the first empty slot for a point that is about to be measured.

    Args:
        obs: observations with at least one empty slot (see `grow`); with none, nothing changes.
        x: (d,) the point; where it is not finite there is none, and nothing changes.
        status: VETOED for a point that must never be measured.

    Returns:
        Observations with that slot pending (or vetoed).
    """
    here = _first(obs.status == EMPTY) & jnp.isfinite(x).all()
    return obs._replace(
        x=jnp.where(here[:, None], x[None], obs.x),
        status=jnp.where(here, jnp.int8(status), obs.status),
    )


def assimilate(
    obs: Observations,
    x: Array,
    y: Array,
    noise: Array | float = 0.0,
    tolerance: Array | float = 0.0,
    asked: Array | None = None,
) -> Observations:
    """Put one observation into the pending slot that waits for it, or into the first empty slot.

    The slot then holds the point that was measured, which is what a model learns.

    Args:
        obs: observations.
        x: (d,) where it was measured, as the instrument reads it back; where it is not finite nothing was measured,
            and nothing changes.
        y: () or (m,) the observation; a non-finite one marks the slot as failed.
        noise: () known variance of the observation; one that is negative or not finite marks the slot as failed, too.
        tolerance: how far from a pending point, input by input, a point may lie and still answer it, in units of x;
            (), (d,), or (capacity, d) where every slot has its own. Of several the nearest is answered, in units of
            its tolerance. 0: only the very point.
        asked: (d,) the point as it was proposed, where that is known; its slot is then found whatever x is.

    Returns:
        Observations with the slot measured or failed. Answers may come in any order.
    """
    x = jnp.asarray(x, obs.x.dtype)
    waiting = answered_slot(obs, x if asked is None else asked, tolerance)
    there = jnp.isfinite(x).all()
    here = jnp.where(waiting.any(), waiting, _first(obs.status == EMPTY)) & there
    ok = jnp.isfinite(y).all() & jnp.isfinite(noise) & (jnp.asarray(noise) >= 0)
    here_y = here.reshape((-1,) + (1,) * (obs.y.ndim - 1))
    return Observations(
        x=jnp.where(here[:, None], x[None], obs.x),
        y=jnp.where(here_y & ok, jnp.asarray(y)[None], obs.y),
        noise=jnp.where(here, jnp.where(ok, noise, 0.0).astype(obs.noise.dtype), obs.noise),
        status=jnp.where(here, jnp.where(ok, MEASURED, FAILED).astype(jnp.int8), obs.status),
    )


def answered_slot(obs: Observations, x: Array, tolerance: Array | float = 0.0) -> Array:
    """(capacity,) bool: the pending slot that an observation at x (d,) answers, see `assimilate`; all False if none."""
    allowed = jnp.broadcast_to(jnp.asarray(tolerance, obs.x.dtype), obs.x.shape)
    gap = jnp.abs(obs.x - x[None].astype(obs.x.dtype))
    close = gap <= allowed
    # An input without tolerance is either equal, and no miss, or not close.
    miss = jnp.max(jnp.where(gap > 0, gap / jnp.where(allowed > 0, allowed, 1.0), 0.0), axis=1)
    waiting = (obs.status == PENDING) & close.all(axis=1)
    return (jnp.arange(obs.capacity) == jnp.argmin(jnp.where(waiting, miss, jnp.inf))) & waiting.any()


def _first(where: Array) -> Array:
    """(capacity,) bool: the first slot of those, if there is one."""
    return (jnp.arange(where.size) == jnp.argmax(where)) & where.any()


def as_if_measured(obs: Observations) -> Array:
    """(capacity,) bool: measured and pending slots, those that reduce the uncertainty of what comes next."""
    return (obs.status == MEASURED) | (obs.status == PENDING)
