"""Where a proposal may lie: a grid, a pool of given points, or a continuous box; and the search in each."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from jax.typing import ArrayLike, DTypeLike

from gpax_lab.linalg import in_chunks
from gpax_lab.models.scaling import box as edges
from gpax_lab.observations import EMPTY, Observations, float_dtype
from gpax_lab.sequence import additive_recurrence

ValueOf: TypeAlias = Callable[[Array], Array]


class Choice(NamedTuple):
    """The best candidate.

    Attributes:
        x: (d,) the point.
        value: () its score; -inf where every candidate is excluded, NaN where none had a finite score.
        fallback: () bool, whether the point was chosen by distance because no score was finite.
    """

    x: Array
    value: Array
    fallback: Array


def _nearest(x: Array, obs: Observations, width: Array) -> Array:
    """(m,) distance of x (m, d) to the nearest used slot, in widths of the domain; infinite with none."""
    used = obs.status != EMPTY
    return jax.lax.map(
        lambda point: jnp.min(jnp.where(used, jnp.linalg.norm((obs.x - point[None]) / width[None], axis=1), jnp.inf)),
        x,
        batch_size=256,
    )


def _choose(x: Array, values: Array, allowed: Array, distance: Array) -> Choice:
    finite = jnp.where(allowed & jnp.isfinite(values), values, -jnp.inf)
    best = jnp.argmax(finite)
    fallback = ~jnp.isfinite(finite[best])
    # With no usable score the campaign goes on with the most remote allowed point: space filling, never index 0.
    remote = jnp.argmax(jnp.where(allowed, jnp.nan_to_num(distance, posinf=1e30), -1.0))
    index = jnp.where(fallback, remote, best)
    value = jnp.where(fallback, jnp.where(allowed.any(), jnp.nan, -jnp.inf), finite[index])
    return Choice(x[index], value.astype(values.dtype), fallback)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Pool:
    """Given points, such as the wells of a combinatorial library or the pixels of an image.

    Attributes:
        points: (m, d) in the user's units.
        width: (d,) extent of the pool, for distances.
        repeat: whether a point may be measured again (static).
        chunk: candidates scored together; bounds memory (static).
    """

    points: Array
    width: Array
    repeat: bool = field(default=False, metadata={"static": True})
    chunk: int = field(default=4096, metadata={"static": True})

    def best(self, key: Array, value_of: ValueOf, obs: Observations, joint: bool = False) -> Choice:
        """The allowed point of largest value; `joint` scores all points in one piece."""
        count = self.points.shape[0]
        values = value_of(self.points) if joint else in_chunks(value_of, self.points, self.chunk)
        distance = _nearest(self.points, obs, self.width)
        allowed = jnp.ones(count, bool) if self.repeat else distance > 1e-9
        return _choose(self.points, values, allowed, distance)

    def spread(self, key: Array, count: int) -> Array:
        """(count, d) distinct random points of the pool, to begin with."""
        return jax.random.choice(key, self.points, (count,), replace=False)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Box:
    """A continuous box, searched by gradient ascent from many starts.

    Attributes:
        low: (d,) lower corner.
        high: (d,) upper corner.
        starts: random points scored first (static).
        refine: the best of them that climb (static).
        iterations: steps of the climb (static).
    """

    low: Array
    high: Array
    starts: int = field(default=512, metadata={"static": True})
    refine: int = field(default=8, metadata={"static": True})
    iterations: int = field(default=40, metadata={"static": True})

    def best(self, key: Array, value_of: ValueOf, obs: Observations, joint: bool = False) -> Choice:
        """The best point found; a joint score (Thompson) is only scored at the starts, where one function is drawn."""
        low, width = self.low[None], (self.high - self.low)[None]
        unit = jax.random.uniform(key, (self.starts, self.low.size), self.low.dtype)
        values = value_of(low + width * unit)
        if not joint:
            top = unit[jnp.argsort(jnp.where(jnp.isnan(values), jnp.inf, -values))[: self.refine]]
            climbed = self._climb(lambda u: value_of(low + width * u), top)
            unit = jnp.concatenate([climbed, unit])
            values = jnp.concatenate([value_of(low + width * climbed), values])
        points = low + width * unit
        return _choose(points, values, jnp.ones(values.size, bool), _nearest(points, obs, width[0]))

    def _climb(self, value_of: ValueOf, unit: Array) -> Array:
        """Projected Adam in the unit cube; a step that is not finite stays where it was."""
        optimiser = optax.adam(optax.cosine_decay_schedule(0.05, self.iterations))
        slope = jax.grad(lambda u: -jnp.sum(value_of(u)))

        def step(carry, _):
            u, state = carry
            gradient = slope(u)
            move, state = optimiser.update(jnp.where(jnp.isfinite(gradient), gradient, 0.0), state)
            return (jnp.clip(u + move, 0.0, 1.0), state), None

        (unit, _), _ = jax.lax.scan(step, (unit, optimiser.init(unit)), None, length=self.iterations)
        return unit

    def spread(self, key: Array, count: int) -> Array:
        """(count, d) points that fill the box evenly, from a random shift, to begin with."""
        shift = jax.random.uniform(key, (self.low.size,), self.low.dtype)
        unit = additive_recurrence(count, self.low.size, shift)
        return self.low[None] + (self.high - self.low)[None] * unit


Candidates: TypeAlias = Pool | Box


def pool(points: ArrayLike, repeat: bool = False, dtype: DTypeLike | None = None) -> Pool:
    """A pool of points (m, d) in the user's units.

    Raises:
        ValueError: not two-dimensional, empty, or not finite.
    """
    values = np.asarray(points, float_dtype(dtype))
    if values.ndim != 2 or values.shape[0] == 0 or not np.isfinite(values).all():
        raise ValueError(f"a pool holds finite points of shape (m, d), m >= 1; got {values.shape}.")
    width = np.ptp(values, axis=0)
    return Pool(jnp.asarray(values), jnp.asarray(np.where(width > 0, width, 1.0)), repeat)


def grid(bounds: ArrayLike, shape: Sequence[int], repeat: bool = False, dtype: DTypeLike | None = None) -> Pool:
    """A regular grid over a box as a pool, first input slowest.

    Args:
        bounds: (d, 2) low and high of each input, both included.
        shape: points along each input.
        repeat: whether a point may be measured again.
        dtype: floating dtype, float64 by default.

    Example:
        >>> grid([[0, 1], [0, 2]], (2, 3)).points.shape
        (6, 2)
    """
    low, width = edges(bounds, len(shape))
    axes = [np.linspace(a, a + w, n) for a, w, n in zip(low, width, shape, strict=True)]
    return pool(np.stack([axis.ravel() for axis in np.meshgrid(*axes, indexing="ij")], axis=1), repeat, dtype)


def box(
    bounds: ArrayLike, starts: int = 512, refine: int = 8, iterations: int = 40, dtype: DTypeLike | None = None
) -> Box:
    """A continuous box with bounds (d, 2); see `Box` for the search settings.

    Raises:
        ValueError: bounds are not (d, 2), not finite, or empty.
    """
    low, width = edges(bounds, np.shape(np.asarray(bounds))[0])
    kind = float_dtype(dtype)
    return Box(jnp.asarray(low, kind), jnp.asarray(low + width, kind), starts, refine, iterations)
