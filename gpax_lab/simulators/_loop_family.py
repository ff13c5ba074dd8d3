"""Families of hysteresis loops with known causes: coercive bias, imprint, height, and class of loop."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from gpax_lab.core._types import Float, Int
from gpax_lab.spectra.loops import LoopParams, loop_function, triangle

SWITCHING, PINCHED, LINEAR = 0, 1, 2
"""Classes: one switch, two of half the height that pull apart, and none at all."""


class Loops(NamedTuple):
    """Loops and what made them.

    Attributes:
        loops: (n, points) response, of order one.
        bias: (points,) V, one cyclic sweep.
        classes: (n,) of `SWITCHING`, `PINCHED`, `LINEAR`.
        coercive: (n,) half the distance of the two switches, V.
        imprint: (n,) their mean, V.
        height: (n,) between the two remanent states; 0 for linear ones.
        corner: (n,) width of the corners of a switch, V.
    """

    loops: Float[Array, "n points"]
    bias: Float[Array, " points"]
    classes: Int[Array, " n"]
    coercive: Float[Array, " n"]
    imprint: Float[Array, " n"]
    height: Float[Array, " n"]
    corner: Float[Array, " n"]


def loop_family(
    key: Array,
    count: int,
    points: int = 64,
    num_classes: int = 3,
    coercive: tuple[float, float] = (2.0, 5.0),
    imprint: float = 0.7,
    noise: float = 0.05,
    vmax: float = 8.0,
    corner: tuple[float, float] = (0.6, 0.6),
) -> Loops:
    """Loops by the nine-parameter function (`spectra.loops.loop_function`), with noise.

    Args:
        key: random key.
        count: loops.
        points: of a sweep, a multiple of 4 for exact turning points.
        num_classes: the first so many of the three classes, equally frequent.
        coercive: range of the coercive bias, V.
        imprint: standard deviation of the imprint, V.
        noise: standard deviation of the response.
        vmax: amplitude of the sweep, V.
        corner: range of the width of the corners, V.

    Raises:
        ValueError: no loop, num_classes other than 1 to 3, a coercive bias that the sweep does not reach, or corners of
            no width.

    Example:
        >>> found = loop_family(jax.random.key(0), 5, 32)
        >>> found.loops.shape, found.bias.shape
        ((5, 32), (32,))
    """
    if count < 1 or not 1 <= num_classes <= 3 or not 0 < coercive[0] <= coercive[1] < vmax:
        raise ValueError("count is 1 or more, num_classes 1 to 3, and the coercive bias lies within the sweep.")
    if not 0 < corner[0] <= corner[1]:
        raise ValueError(f"corner is a range of positive widths; got {corner}.")
    keys = jax.random.split(key, 5)
    label = jax.random.randint(keys[0], (count,), 0, num_classes)
    half = jax.random.uniform(keys[1], (count,), minval=coercive[0], maxval=coercive[1])
    middle = imprint * jax.random.truncated_normal(keys[2], -2.0, 2.0, (count,))
    height = jnp.where(label == LINEAR, 0.0, jax.random.uniform(keys[3], (count,), minval=0.8, maxval=1.2))
    # A key of its own: families drawn with one width stay what they are.
    soft = jax.random.uniform(jax.random.fold_in(key, 5), (count,), minval=corner[0], maxval=corner[1])
    bias = triangle(vmax, points)

    def one(label: Array, half: Array, middle: Array, height: Array, soft: Array) -> Array:
        def loop(height: Array, middle: Array, half: Array) -> Array:
            widths = jnp.full((4,), soft)
            params = LoopParams(-0.5 * height, height, middle + half, middle - half, jnp.asarray(0.0), *widths)
            return loop_function(bias, params)

        # A pinched loop is two of half the height, one on either side of zero bias.
        pinched = 0.5 * height
        pair = loop(pinched, middle + 0.6 * half, 0.4 * half) + loop(pinched, middle - 0.6 * half, 0.4 * half)
        single = loop(height, middle, half)
        slope = jnp.where(label == LINEAR, 0.05, 0.01) * bias
        return jnp.where(label == PINCHED, pair, single) + slope

    clean = jax.vmap(one)(label, half, middle, height, soft)
    loops = clean + noise * jax.random.normal(keys[4], clean.shape)
    return Loops(loops, bias, label, half, middle, height, soft)
