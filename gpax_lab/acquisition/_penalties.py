"""Terms to add to an acquisition function: time of a move, distance from measured points, the chance to fail."""

import jax.numpy as jnp
from jax import Array

from gpax_lab.acquisition._acquisition import Acquisition, AcquisitionContext, Settings, need_positive, term
from gpax_lab.core._inputs import traced
from gpax_lab.core._interning import interned
from gpax_lab.core._observations import EMPTY, FAILED, VETOED, Observations
from gpax_lab.core._types import ArrayLike


def last_point(obs: Observations) -> Array:
    """(d,) the point asked last: where the instrument is now."""
    visited = (obs.status != EMPTY) & (obs.status != VETOED)
    return obs.x[jnp.max(jnp.where(visited, jnp.arange(obs.capacity), 0))]


def _travel(context: AcquisitionContext, settings: Settings) -> Array:
    dtype = context.x.dtype
    gap = context.x - last_point(context.obs)[None]
    square = jnp.sum(gap**2, axis=1)
    moved = square > 0
    distance = jnp.where(moved, jnp.sqrt(jnp.where(moved, square, 1.0)), 0.0)
    busy = settings["measure_s"].astype(dtype) + jnp.where(moved, settings["settle_s"].astype(dtype), 0.0)
    return -jnp.log(busy + distance / settings["speed"].astype(dtype))


@interned
def travel(speed: float, measure_s: float, settle_s: float = 0.0) -> Acquisition:
    """Minus the log of the time a measurement takes, to be added to an acquisition function in log space.

    -log(measure_s + settle_s + |x - x_now| / speed): log_ei() + travel(...) is the log of expected improvement per
    second. Staying where the instrument is costs no settling.

    Args:
        speed: of the move, in units of x per second.
        measure_s: time at the point itself (dwell), seconds.
        settle_s: time to settle after a move, seconds.

    Raises:
        ValueError: speed or measure_s is not above 0, or settle_s is negative.
    """
    need_positive("travel", speed=speed, measure_s=measure_s)
    if not traced(settle_s) and not settle_s >= 0:
        raise ValueError(f"travel needs settle_s of 0 or more; got {settle_s}.")
    return term("travel", _travel, speed=speed, measure_s=measure_s, settle_s=settle_s)


def _distance_penalty(context: AcquisitionContext, settings: Settings) -> Array:
    obs, dtype = context.obs, context.x.dtype
    radius = jnp.broadcast_to(settings["radius"].astype(dtype), context.x.shape[1:])
    gap = (context.x[:, None, :] - obs.x[None, :, :]) / radius[None, None, :]
    square = jnp.where((obs.status != EMPTY)[None], jnp.sum(gap**2, axis=2), jnp.inf)
    # log(1 - exp(-r^2)), floored so that a measured point is very unattractive but never NaN.
    return jnp.log(-jnp.expm1(-jnp.maximum(jnp.min(square, axis=1), jnp.finfo(dtype).eps)))


@interned
def distance_penalty(radius: ArrayLike) -> Acquisition:
    """Penalty for points close to measured, pending, failed and vetoed ones, to be added in log space.

    log(1 - exp(-r^2)) with r the distance to the nearest such point in units of `radius`: -36 at r = 0, -0.5 at
    r = 1, nothing beyond r = 2.

    Args:
        radius: scalar or (d,), in units of x.

    Raises:
        ValueError: the radius is not above 0.
    """
    need_positive("distance_penalty", radius=radius)
    return term("distance_penalty", _distance_penalty, radius=jnp.asarray(radius))


def _feasible(context: AcquisitionContext, settings: Settings) -> Array:
    obs, dtype = context.obs, context.x.dtype
    radius = jnp.broadcast_to(settings["radius"].astype(dtype), context.x.shape[1:])
    gap = (context.x[:, None, :] - obs.x[None, :, :]) / radius[None, None, :]
    near = jnp.exp(-0.5 * jnp.sum(gap**2, axis=2))
    good, bad = obs.measured, obs.status == FAILED
    share = (jnp.sum(good) + 1.0) / (jnp.sum(good | bad) + 2.0)  # of the whole campaign, Laplace's rule
    prior = settings["strength"].astype(dtype)
    return jnp.log((prior * share + near @ good.astype(dtype)) / (prior + near @ (good | bad).astype(dtype)))


@interned
def feasible(radius: ArrayLike, strength: float = 1.0) -> Acquisition:
    """Log probability that a measurement succeeds, to be added to an acquisition function in log space.

    Measurements that fail near each other (an obstacle, a dead grain, a composition that will not form) are learned
    from where they failed: log [(strength p + sum_i w_i good_i) / (strength + sum_i w_i)], the mean of a Beta
    distribution with w_i = exp(-r_i^2 / 2), r_i the distance to measurement i in units of `radius`, and p the share of
    measurements of the whole campaign that succeeded.

    Args:
        radius: scalar or (d,), in units of x: how far the fate of a measurement tells about its neighbours.
        strength: measurements that the share p counts for.

    Raises:
        ValueError: one of them is not above 0.
    """
    need_positive("feasible", radius=radius, strength=strength)
    return term("feasible", _feasible, radius=jnp.asarray(radius), strength=strength)
