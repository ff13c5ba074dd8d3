"""Observations without noise: what a model that takes known variances alone can not be asked to explain."""

from typing import Literal, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from gpax_lab.core._inputs import traced
from gpax_lab.core._observations import Observations

Needs: TypeAlias = Literal["nothing", "repeats", "all"]
"""Which observations need a known variance above zero: none, those that repeat a point with another result, or all."""

_ROUNDING = 16
"""Steps of the dtype within which two points are one: 0.1 + 0.2 is 0.3."""
_BESIDE, _CLIFF = 1e-7, 1e-3
"""Points this part of their range apart, with observations that differ by more than that part of theirs: too steep."""


def _certain(obs: Observations) -> Array:
    """(capacity,) bool: measured slots whose known variance is zero."""
    return obs.measured & (obs.noise <= 0)


def contradictory(obs: Observations, needs: Needs) -> Array:
    """() bool: whether no model that takes known variances alone explains the observations.

    Two exact ones at a point differ, or lie as close as `_BESIDE` and differ by more than `_CLIFF`.
    """
    certain = _certain(obs)
    if needs == "all":
        return certain.any()
    if needs == "nothing":
        return jnp.asarray(False)
    return jnp.any(jax.lax.map(lambda slot: certain[slot] & jnp.any(_against(obs, slot)), jnp.arange(obs.capacity)))


def _against(obs: Observations, slot: Array | int) -> Array:
    """(capacity,) bool: exact observations that contradict the one in this slot."""
    certain, y = _certain(obs), obs.y.reshape(obs.capacity, -1)

    def width(of: Array) -> Array:
        """Range of each column over the exact observations."""
        return jnp.ptp(jnp.where(certain[:, None], of, of[slot][None]), axis=0)[None]

    apart, step = abs(obs.x - obs.x[slot][None]), abs(y - y[slot][None])
    same = jnp.all(apart <= _ROUNDING * jnp.finfo(obs.x.dtype).eps * abs(obs.x[slot])[None], axis=1)
    beside = jnp.all(apart <= _BESIDE * width(obs.x), axis=1)
    return certain & ((same & jnp.any(step > 0, axis=1)) | (beside & jnp.any(step > _CLIFF * width(y), axis=1)))


def refuse_impossible(obs: Observations) -> None:
    """Refuse measured slots that `observations` would not have filled so (outside jit).

    Raises:
        ValueError: a point or observation that is not finite, or a variance that is none; the slot is named.
    """
    used = np.asarray(obs.measured)
    each = {
        "a point that is not finite": np.isfinite(np.asarray(obs.x)).all(axis=1),
        "an observation that is not finite": np.isfinite(np.asarray(obs.y)).reshape(obs.capacity, -1).all(axis=1),
        "a variance that is negative or not finite": np.isfinite(np.asarray(obs.noise)) & (np.asarray(obs.noise) >= 0),
    }
    for what, good in each.items():
        if (used & ~good).any():
            slot = int((used & ~good).argmax())
            raise ValueError(f"slot {slot} is measured and holds {what}: make it by observations(x, y, noise).")


def refuse_contradictions(obs: Observations, needs: Needs) -> None:
    """Refuse such observations by their slots (outside jit).

    Raises:
        ValueError: two observations of one point differ and are known exactly, or a law is to meet exact observations.
    """
    if needs == "nothing" or traced(obs) or not bool(contradictory(obs, needs)):
        return
    slots = np.flatnonzero(np.asarray(_certain(obs)))
    remedy = "give their variances as noise=... of the observations, or let the noise be inferred (noise='inferred')."
    if needs == "all":
        raise ValueError(f"this model takes known variances alone, and that of observation {slots[0]} is 0: {remedy}")
    x, y = np.asarray(obs.x), np.asarray(obs.y).reshape(obs.capacity, -1)
    for i in slots:
        if (others := np.flatnonzero(np.asarray(_against(obs, int(i))))).size:
            j = others[0]
            at = f"{x[i].tolist()}" if (x[i] == x[j]).all() else f"{x[i].tolist()} and, next to it, {x[j].tolist()}"
            values = f"{y[i].tolist()} and {y[j].tolist()}"
            raise ValueError(f"observations {i} and {j} at {at} are {values}, both known exactly: {remedy}")
