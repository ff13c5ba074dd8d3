"""In which order a scanner visits the points of a batch."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array


def shortest_path(start: Array, x: Array) -> Array:
    """(q,) order in which to visit x (q, d) from start (d,), ending anywhere.

    Nearest neighbour first, then every reversal of a stretch that shortens the path (2-opt, Croes 1958), until none
    does. The shortest path of nearly all batches of up to ten points.

    Example:
        >>> shortest_path(jnp.zeros(1), jnp.array([[3.0], [1.0], [2.0]])).tolist()
        [1, 2, 0]
    """
    count = x.shape[0]
    points = jnp.concatenate([start[None], x])
    distance = jnp.linalg.norm(points[:, None] - points[None], axis=-1)
    order = _nearest_first(distance)
    swaps = np.array([(i, j) for i in range(1, count + 1) for j in range(i + 1, count + 1)])
    return (_two_opt(distance, order, swaps) if len(swaps) else order)[1:] - 1


def _nearest_first(distance: Array) -> Array:
    """(q + 1,) points in the order of always going to the nearest one left, beginning at point 0."""

    def go(carry: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], Array]:
        at, left = carry
        following = jnp.argmin(jnp.where(left, distance[at], jnp.inf))
        return (following, left.at[following].set(False)), following

    left = jnp.arange(distance.shape[0]) > 0
    _, order = jax.lax.scan(go, (jnp.asarray(0), left), None, length=distance.shape[0] - 1)
    return jnp.concatenate([jnp.zeros(1, order.dtype), order])


def length_of(distance: Array, order: Array) -> Array:
    """() length of the path through the points in this order."""
    return jnp.sum(distance[order[:-1], order[1:]])


def _two_opt(distance: Array, order: Array, swaps: np.ndarray) -> Array:
    """The best reversal of a stretch, again and again, while it shortens the path."""
    index = jnp.arange(order.size)

    def reversed_between(order: Array, swap: Array) -> Array:
        inside = (index >= swap[0]) & (index <= swap[1])
        return order[jnp.where(inside, swap[0] + swap[1] - index, index)]

    def improve(carry: tuple[Array, Array]) -> tuple[Array, Array]:
        order, _ = carry
        tried = jax.vmap(lambda swap: reversed_between(order, swap))(jnp.asarray(swaps))
        lengths = jax.vmap(lambda one: length_of(distance, one))(tried)
        best = jnp.argmin(lengths)
        now = length_of(distance, order)
        better = lengths[best] < now * (1.0 - 1e-9)
        return jnp.where(better, tried[best], order), better

    return jax.lax.while_loop(lambda carry: carry[1], improve, (order, jnp.asarray(True)))[0]
