"""Readings without noise: what a model that takes known variances alone can not be asked to explain."""

from typing import Literal, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from gpax_lab.inputs import traced
from gpax_lab.observations import Observations

Needs: TypeAlias = Literal["nothing", "repeats", "all"]
"""Which readings need a known variance above zero: none, those that repeat a place with another result, or all."""

_ROUNDING = 16
"""Steps of the dtype within which two places are one: 0.1 + 0.2 is 0.3."""


def _certain(obs: Observations) -> Array:
    """(capacity,) bool: measured slots whose known variance is zero."""
    return obs.measured & (obs.noise <= 0)


def contradictory(obs: Observations, needs: Needs) -> Array:
    """() bool: whether no model that takes known variances alone explains the readings."""
    certain, y = _certain(obs), obs.y.reshape(obs.capacity, -1)
    if needs == "all":
        return certain.any()
    if needs == "nothing":
        return jnp.asarray(False)

    def with_another(slot: tuple[Array, Array, Array]) -> Array:
        x, value, here = slot
        same = jnp.all(abs(obs.x - x[None]) <= _ROUNDING * jnp.finfo(x.dtype).eps * abs(x[None]), axis=1) & certain
        return here & jnp.any(same & jnp.any(y != value[None], axis=1))

    return jnp.any(jax.lax.map(with_another, (obs.x, y, certain)))


def refuse_impossible(obs: Observations) -> None:
    """Refuse measured slots that `observations` would not have filled so (outside jit).

    Raises:
        ValueError: a place or reading that is not finite, or a variance that is none; the slot is named.
    """
    used = np.asarray(obs.measured)
    each = {
        "a place that is not finite": np.isfinite(np.asarray(obs.x)).all(axis=1),
        "a reading that is not finite": np.isfinite(np.asarray(obs.y)).reshape(obs.capacity, -1).all(axis=1),
        "a variance that is negative or not finite": np.isfinite(np.asarray(obs.noise)) & (np.asarray(obs.noise) >= 0),
    }
    for what, good in each.items():
        if (used & ~good).any():
            slot = int((used & ~good).argmax())
            raise ValueError(f"slot {slot} is measured and holds {what}: make readings by observations(x, y, noise).")


def refuse_contradictions(obs: Observations, needs: Needs) -> None:
    """Refuse such readings by their slots (outside jit).

    Raises:
        ValueError: two readings of one place differ and are known exactly, or a law is to meet exact readings.
    """
    if needs == "nothing" or traced(obs) or not bool(contradictory(obs, needs)):
        return
    slots = np.flatnonzero(np.asarray(_certain(obs)))
    remedy = "give their variances as noise=... of the observations, or let the noise be inferred (noise='inferred')."
    if needs == "all":
        raise ValueError(f"this model takes known variances alone, and that of reading {slots[0]} is 0: {remedy}")
    x, y = np.asarray(obs.x)[slots], np.asarray(obs.y).reshape(obs.capacity, -1)[slots]
    for i in range(len(slots)):
        same = (abs(x - x[i]) <= _ROUNDING * np.finfo(x.dtype).eps * abs(x[i])).all(axis=1)
        other = np.flatnonzero(same & (y != y[i]).any(axis=1))
        if other.size:
            pair = f"readings {slots[i]} and {slots[other[0]]} at {x[i].tolist()}"
            raise ValueError(f"{pair} are {y[i].tolist()} and {y[other[0]].tolist()}, both known exactly: {remedy}")
