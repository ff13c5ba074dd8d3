"""Where a proposal may lie: a grid, a pool of given points, or a continuous box; and the search in each."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from jax.typing import DTypeLike

from gpax_lab.acquisition._domain import POINTS, Domain, Region, domain_of
from gpax_lab.acquisition._neighbours import beside, tolerance_around
from gpax_lab.core._inputs import check_key, point_table, resolved, traced
from gpax_lab.core._linalg import in_chunks
from gpax_lab.core._observations import EMPTY, VETOED, Observations, float_dtype
from gpax_lab.core._sequence import additive_recurrence
from gpax_lab.core._types import ArrayLike, Bool, Float
from gpax_lab.hypotheses._mixture import HypothesisMixture
from gpax_lab.inference._posterior import Posterior
from gpax_lab.models._scaling import box as edges

ValueOf: TypeAlias = Callable[[Array], Array]

SLACK = 1e-3
"""An observation that lies outside by this share of the width counts as inside: a stage goes a little beside."""
_GOLDEN = 0.6180339887498949  # multiples of the golden ratio fill the unit interval most evenly
ANSWER = 1e-2
"""How far, in widths of a box, an observation may lie from the pending point that it answers."""


class Choice(NamedTuple):
    """The best candidate.

    Attributes:
        x: (d,) the point; NaN where every candidate is excluded.
        value: () its acquisition value; -inf where every candidate is excluded, NaN where none had a finite acquisition
            value.
        fallback: () bool, whether the point was chosen by distance because no acquisition value was finite.
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


def _choose(x: Array, values: Array, allowed: Array, distance: Callable[[], Array]) -> Choice:
    finite = jnp.where(allowed & jnp.isfinite(values), values, -jnp.inf)
    best = jnp.argmax(finite)
    fallback = ~jnp.isfinite(finite[best])

    def remote() -> Array:
        # With no usable value the campaign goes on with the most remote allowed point: space filling,
        # never index 0.
        return jnp.argmax(jnp.where(allowed, jnp.nan_to_num(distance(), posinf=1e30), -1.0))

    index = jax.lax.cond(fallback, remote, lambda: best)
    value = jnp.where(fallback, jnp.where(allowed.any(), jnp.nan, -jnp.inf), finite[index])
    return Choice(jnp.where(allowed.any(), x[index], jnp.nan), value.astype(values.dtype), fallback)


def _inside(among: Region | None, obs: Observations, low: Array, high: Array) -> Array:
    """(capacity,) bool: slots in the region, or between the corners as far as inputs can be distinguished."""
    if among is not None:
        return jax.vmap(among)(obs.x)
    used = (obs.status != EMPTY)[:, None]
    largest = jnp.maximum(jnp.max(jnp.where(used, jnp.abs(obs.x), 0.0), axis=0), jnp.maximum(abs(low), abs(high)))
    span = high - low
    # An input that is the same for all candidates (a task, a fidelity) has no width: what it must equal is its value.
    fixed = span <= 16 * jnp.finfo(low.dtype).eps * largest
    slack = jnp.where(fixed, 0.1 * SLACK * largest, SLACK * span)[None]
    return jnp.all((obs.x >= low[None] - slack) & (obs.x <= high[None] + slack), axis=1)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Pool:
    """Given points, such as the wells of a combinatorial library or the pixels of an image.

    Attributes:
        points: (m, d) in the user's units.
        width: (d,) extent of the pool, for distances.
        repeat: whether a point may be measured again (static).
        chunk: candidates scored together; bounds memory (static).
        twins: (m,) how many points before this one are the same; None where all differ.
        among: observations that count as the best so far, instead of those inside the pool's bounding box (static).
        closed: (k, d, 2) boxes in which nothing is proposed, see `closing`; None for none.
    """

    points: Array
    width: Array
    repeat: bool = field(default=False, metadata={"static": True})
    chunk: int = field(default=4096, metadata={"static": True})
    twins: Array | None = None
    among: Region | None = field(default=None, metadata={"static": True})
    closed: Array | None = None

    def __repr__(self) -> str:
        """How many points, without the numbers."""
        return f"<Pool: points {np.shape(self.points)}{', repeat' if self.repeat else ''}>"

    def best(self, key: Array, value_of: ValueOf, obs: Observations, joint: bool = False) -> Choice:
        """The allowed point of largest value; `joint` takes all points at once."""
        count = self.points.shape[0]
        values = value_of(self.points) if joint else in_chunks(value_of, self.points, self.chunk)
        allowed = jnp.ones(count, bool) if self.repeat else ~self.taken(obs)
        return _choose(
            self.points,
            values,
            allowed & is_open(self.closed, self.points),
            lambda: _nearest(self.points, obs, self.width),
        )

    def taken(self, obs: Observations) -> Bool[Array, " m"]:
        """(m,) bool: points that were measured, are pending, failed or are vetoed.

        A slot takes the point that it equals; of points that are the same (two wells of one composition) the first one
        that is left, and a veto all of them. A slot that equals none takes the nearest one if it lies within a
        twentieth of the way to the next one, input by input in steps of the pool; `obs.x` is where was asked.
        """
        points = self.points
        largest = jnp.max(jnp.where((obs.status != EMPTY)[:, None], jnp.abs(obs.x), 0.0), axis=0)

        def mine(x: Array) -> Array:
            same = jnp.all(points == x[None], axis=1)
            return jax.lax.cond(same.any(), lambda: same, lambda: beside(points, x, largest))

        def take(count: Array, slot: tuple[Array, Array]) -> tuple[Array, None]:
            x, status = slot
            here = jax.lax.cond(status != EMPTY, mine, lambda x: jnp.zeros(points.shape[0], bool), x)
            return count + jnp.where(here, jnp.where(status == VETOED, points.shape[0], 1), 0), None

        count, _ = jax.lax.scan(take, jnp.zeros(points.shape[0], int), (obs.x, obs.status))
        return count > (0 if self.twins is None else self.twins)

    def tolerance(self, x: Array, pending: Array | None = None) -> Array:
        """(n, d) how far from x (n, d) a point may lie and answer it: half the way to the next point of the pool.

        Where `pending` (n,) says that there is nothing to answer it is 0, and takes no time.
        """
        wanted = jnp.ones(x.shape[0], bool) if pending is None else pending

        def one(slot: tuple[Array, Array]) -> Array:
            point, asked = slot
            return jax.lax.cond(asked, lambda x: tolerance_around(self.points, x), jnp.zeros_like, point)

        return jax.lax.map(one, (x, wanted))

    @property
    def corners(self) -> tuple[Float[Array, " d"], Float[Array, " d"]]:
        """Lower and upper corner (d,) of the pool's bounding box."""
        if traced(self.points):
            return jnp.min(self.points, axis=0), jnp.max(self.points, axis=0)
        points = np.asarray(self.points)
        return jnp.asarray(points.min(axis=0)), jnp.asarray(points.max(axis=0))

    def inside(self, obs: Observations) -> Bool[Array, " capacity"]:
        """(capacity,) bool: slots that lie in the pool's bounding box, or `among` what was said to count."""
        return _inside(self.among, obs, *self.corners)

    def spanning_points(self) -> Float[Array, "n d"]:
        """(n, d) some points of the pool, all of them if they are few."""
        count = self.points.shape[0]
        if count <= POINTS:
            return self.points
        return self.points[(np.arange(POINTS) * _GOLDEN % 1.0 * count).astype(int)]

    def space_filling(self, key: Array, count: int) -> Float[Array, "count d"]:
        """(count, d) distinct random points of the pool, to begin with."""
        check_key(key, "space_filling(key, count)")
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
        among: observations that count as the best so far, instead of those inside the box (static).
        closed: (k, d, 2) boxes in which nothing is proposed, see `closing`; None for none.
    """

    low: Array
    high: Array
    starts: int = field(default=512, metadata={"static": True})
    refine: int = field(default=8, metadata={"static": True})
    iterations: int = field(default=40, metadata={"static": True})
    among: Region | None = field(default=None, metadata={"static": True})
    closed: Array | None = None

    def __repr__(self) -> str:
        """How many inputs, without the numbers."""
        return f"<Box: {np.size(self.low)} inputs, {self.starts} starts>"

    def best(self, key: Array, value_of: ValueOf, obs: Observations, joint: bool = False) -> Choice:
        """The best point found; a `joint` function (Thompson), drawn at the starts alone, is not climbed from there."""
        low, width = self.low[None], (self.high - self.low)[None]
        unit = jax.random.uniform(key, (self.starts, self.low.size), self.low.dtype)
        values = value_of(low + width * unit)
        if not joint:
            top = unit[jnp.argsort(jnp.where(jnp.isnan(values), jnp.inf, -values))[: self.refine]]
            climbed = self._climb(lambda u: value_of(low + width * u), top)
            unit = jnp.concatenate([climbed, unit])
            values = jnp.concatenate([value_of(low + width * climbed), values])
        points = low + width * unit
        return _choose(points, values, is_open(self.closed, points), lambda: _nearest(points, obs, width[0]))

    def tolerance(self, x: Array, pending: Array | None = None) -> Array:
        """(n, d) how far from x (n, d) a point may lie and answer it: a hundredth of the box; see `Pool.tolerance`."""
        tolerance = jnp.broadcast_to(ANSWER * (self.high - self.low)[None], x.shape)
        return tolerance if pending is None else jnp.where(pending[:, None], tolerance, 0.0)

    @property
    def corners(self) -> tuple[Float[Array, " d"], Float[Array, " d"]]:
        """Lower and upper corner (d,)."""
        return self.low, self.high

    def inside(self, obs: Observations) -> Bool[Array, " capacity"]:
        """(capacity,) bool: slots that lie in the box, or `among` what was said to count."""
        return _inside(self.among, obs, *self.corners)

    def spanning_points(self) -> Float[Array, "n d"]:
        """(n, d) some points that fill the box evenly."""
        middle = jnp.full(self.low.size, 0.5, self.low.dtype)
        return self.low[None] + (self.high - self.low)[None] * additive_recurrence(POINTS, self.low.size, middle)

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

    def space_filling(self, key: Array, count: int) -> Float[Array, "count d"]:
        """(count, d) points that fill the box evenly, from a random shift, to begin with."""
        check_key(key, "space_filling(key, count)")
        shift = jax.random.uniform(key, (self.low.size,), self.low.dtype)
        unit = additive_recurrence(count, self.low.size, shift)
        return self.low[None] + (self.high - self.low)[None] * unit


Candidates: TypeAlias = Pool | Box

_CLOSED = 8
"""Boxes for which there is room from the first one on; more double it, and are compiled anew."""


def is_open(closed: Array | None, x: Array) -> Bool[Array, " m"]:
    """(m,) bool: points x (m, d) that lie in none of the closed boxes (k, d, 2); a box of NaN holds none."""
    if closed is None:
        return jnp.ones(x.shape[0], bool)
    within = (x[:, None] >= closed[None, :, :, 0]) & (x[:, None] <= closed[None, :, :, 1])
    return ~jnp.any(jnp.all(within, axis=2), axis=1)


def with_room(candidates: Candidates) -> Candidates:
    """The same candidates with room for closed boxes, so that the first one changes no shape (outside jit)."""
    if candidates.closed is not None:
        return candidates
    low = candidates.corners[0]
    return replace(candidates, closed=jnp.full((_CLOSED, low.size, 2), jnp.nan, low.dtype))


def closing(candidates: Candidates, box: ArrayLike) -> Candidates:
    """The candidates, none of which within a box (d, 2), in the user's units, is proposed any more (outside jit).

    Raises:
        ValueError: it is no box of these inputs, or none of a pool's points would be left.
    """
    low = candidates.corners[0]
    given = np.asarray(box, np.asarray(low).dtype)
    if given.shape != (low.size, 2) or not np.isfinite(given).all() or not (given[:, 0] < given[:, 1]).all():
        raise ValueError(f"a closed box is ({low.size}, 2), finite, low < high; got {given.tolist()}.")
    known = np.asarray(with_room(candidates).closed)
    used = int(np.isfinite(known).all((1, 2)).sum())
    room = len(known) if used < len(known) else 2 * used
    boxes = np.full((room, low.size, 2), np.nan, given.dtype)
    boxes[:used], boxes[used] = known[:used], given
    closed = jnp.asarray(boxes)
    if isinstance(candidates, Pool) and not is_open(closed, candidates.points).any():
        raise ValueError("no candidate would be left outside the closed boxes.")
    return replace(candidates, closed=closed)


def domain(candidates: Candidates, posterior: Posterior | HypothesisMixture, obs: Observations) -> Domain:
    """The observations with which a new one has to compete, for an `Acquisition`; `obs.x` is where was asked."""
    return domain_of(posterior, obs, candidates.inside(obs), candidates.spanning_points())


def pool(points: ArrayLike, repeat: bool = False, dtype: DTypeLike | None = None) -> Pool:
    """A pool of points, such as the wells of a combinatorial library or the pixels of an image.

    Args:
        points: (m, d) in the user's units.
        repeat: whether a point may be measured again.
        dtype: floating dtype, float64 by default.

    Returns:
        A Pool.

    Raises:
        ValueError: not two-dimensional, empty, not finite, or points that are not distinct in the dtype.
    """
    values = point_table(points, float_dtype(dtype), "the pool")
    if values.shape[0] == 0:
        raise ValueError(f"a pool holds finite points of shape (m, d), m >= 1; got {values.shape}.")
    width = np.ptp(values, axis=0)
    return Pool(jnp.asarray(values), jnp.asarray(np.where(width > 0, width, 1.0)), repeat, twins=_twins(values))


def _twins(points: np.ndarray) -> Array | None:
    """(m,) number of earlier points that are the same; None where all differ."""
    _, group, size = np.unique(points + 0.0, axis=0, return_inverse=True, return_counts=True)  # -0 is 0
    if (size == 1).all():
        return None
    order = np.argsort(group.ravel(), kind="stable")
    earlier = np.empty(len(points), int)
    earlier[order] = np.arange(len(points)) - np.repeat(np.cumsum(size) - size, size)
    return jnp.asarray(earlier)


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
    resolved(np.stack([low, low + width], axis=1), float_dtype(dtype))
    axes = [np.linspace(a, a + w, n) for a, w, n in zip(low, width, shape, strict=True)]
    return pool(np.stack([axis.ravel() for axis in np.meshgrid(*axes, indexing="ij")], axis=1), repeat, dtype)


def box(
    bounds: ArrayLike, starts: int = 512, refine: int = 8, iterations: int = 40, dtype: DTypeLike | None = None
) -> Box:
    """A continuous box, searched by gradient ascent from the best of many random points.

    Args:
        bounds: (d, 2) low and high of each input, in the user's units.
        starts: random points that are scored.
        refine: how many of them, the best ones, gradient ascent goes on from.
        iterations: of the ascent (Adam in the unit cube).
        dtype: floating dtype, float64 by default.

    Returns:
        A Box.

    Raises:
        ValueError: bounds are not (d, 2), not finite, empty, or in steps too coarse in the dtype; or no starts, or a
            negative number of refinements or iterations.
    """
    if starts < 1 or min(refine, iterations) < 0:
        raise ValueError(f"box needs starts >= 1, refine and iterations >= 0; got {starts}, {refine}, {iterations}.")
    low, width = edges(bounds, np.shape(np.asarray(bounds))[0])
    kind = float_dtype(dtype)
    resolved(np.stack([low, low + width], axis=1), kind)
    return Box(jnp.asarray(low, kind), jnp.asarray(low + width, kind), starts, refine, iterations)
