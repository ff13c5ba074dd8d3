"""Terms to add to a score: the time a move takes, and distance from what has been measured."""

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from gpax_lab.acquire.score import Outlook, Score, Settings, term
from gpax_lab.observations import EMPTY, Observations


def last_point(obs: Observations) -> Array:
    """(d,) the point asked last: where the instrument is now."""
    return obs.x[jnp.max(jnp.where(obs.status != EMPTY, jnp.arange(obs.capacity), 0))]


def _travel(outlook: Outlook, settings: Settings) -> Array:
    dtype = outlook.x.dtype
    distance = jnp.linalg.norm(outlook.x - last_point(outlook.obs)[None], axis=1)
    return -jnp.log(settings["measure_s"].astype(dtype) + distance / settings["speed"].astype(dtype))


def travel(speed: float, measure_s: float) -> Score:
    """Minus the log of the time a measurement takes, to be added to a score in log space.

    -log(measure_s + |x - x_now| / speed): log_ei() + travel(...) is the log of expected improvement per second.

    Args:
        speed: of the move, in units of x per second.
        measure_s: time at the point itself, seconds.
    """
    return term("travel", _travel, speed=speed, measure_s=measure_s)


def _closeness(outlook: Outlook, settings: Settings) -> Array:
    obs, dtype = outlook.obs, outlook.x.dtype
    radius = jnp.broadcast_to(settings["radius"].astype(dtype), outlook.x.shape[1:])
    gap = (outlook.x[:, None, :] - obs.x[None, :, :]) / radius[None, None, :]
    square = jnp.where((obs.status != EMPTY)[None], jnp.sum(gap**2, axis=2), jnp.inf)
    # log(1 - exp(-r^2)), floored so that a measured point is very unattractive but never NaN.
    return jnp.log(-jnp.expm1(-jnp.maximum(jnp.min(square, axis=1), jnp.finfo(dtype).eps)))


def closeness(radius: ArrayLike) -> Score:
    """Penalty for points close to measured, pending and failed ones, to be added to a score in log space.

    log(1 - exp(-r^2)) with r the distance to the nearest such point in units of `radius`: -36 at r = 0, -0.5 at
    r = 1, nothing beyond r = 2.

    Args:
        radius: scalar or (d,), in units of x.
    """
    return term("closeness", _closeness, radius=jnp.asarray(radius))
