"""Families of hysteresis loops with known causes: coercive bias, imprint, height, and what kind of loop it is."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from gpax_lab.spectra.loops import LoopParams, loop_function, triangle

SWITCHING, PINCHED, LINEAR = 0, 1, 2
"""Kinds: one switch, two of half the height that pull apart, and none at all."""


class Loops(NamedTuple):
    """Loops and what made them.

    Attributes:
        loops: (n, points) response, of order one.
        bias: (points,) V, one cyclic sweep.
        kind: (n,) of `SWITCHING`, `PINCHED`, `LINEAR`.
        coercive: (n,) half the distance of the two switches, V.
        imprint: (n,) their mean, V.
        height: (n,) between the two remanent states; 0 for linear ones.
    """

    loops: Array
    bias: Array
    kind: Array
    coercive: Array
    imprint: Array
    height: Array


def loop_family(
    key: Array,
    count: int,
    points: int = 64,
    kinds: int = 3,
    coercive: tuple[float, float] = (2.0, 5.0),
    imprint: float = 0.7,
    noise: float = 0.05,
    vmax: float = 8.0,
) -> Loops:
    """Loops by the nine-parameter function (`spectra.loops.loop_function`), with noise.

    Args:
        key: random key.
        count: loops.
        points: of a sweep, a multiple of 4 for exact turning points.
        kinds: the first so many of the three kinds, equally frequent.
        coercive: range of the coercive bias, V.
        imprint: standard deviation of the imprint, V.
        noise: standard deviation of the response.
        vmax: amplitude of the sweep, V.

    Raises:
        ValueError: no loop, kinds other than 1 to 3, or a coercive bias that the sweep does not reach.
    """
    if count < 1 or not 1 <= kinds <= 3 or not 0 < coercive[0] <= coercive[1] < vmax:
        raise ValueError("count is 1 or more, kinds 1 to 3, and the coercive bias lies within the sweep.")
    keys = jax.random.split(key, 5)
    kind = jax.random.randint(keys[0], (count,), 0, kinds)
    half = jax.random.uniform(keys[1], (count,), minval=coercive[0], maxval=coercive[1])
    middle = imprint * jax.random.truncated_normal(keys[2], -2.0, 2.0, (count,))
    height = jnp.where(kind == LINEAR, 0.0, jax.random.uniform(keys[3], (count,), minval=0.8, maxval=1.2))
    bias = triangle(vmax, points)

    def one(kind: Array, half: Array, middle: Array, height: Array) -> Array:
        def loop(height: Array, middle: Array, half: Array) -> Array:
            ones = jnp.full((4,), 0.6)
            params = LoopParams(-0.5 * height, height, middle + half, middle - half, jnp.asarray(0.0), *ones)
            return loop_function(bias, params)

        # A pinched loop is two of half the height, one on either side of zero bias.
        pinched = 0.5 * height
        pair = loop(pinched, middle + 0.6 * half, 0.4 * half) + loop(pinched, middle - 0.6 * half, 0.4 * half)
        single = loop(height, middle, half)
        slope = jnp.where(kind == LINEAR, 0.05, 0.01) * bias
        return jnp.where(kind == PINCHED, pair, single) + slope

    clean = jax.vmap(one)(kind, half, middle, height)
    loops = clean + noise * jax.random.normal(keys[4], clean.shape)
    return Loops(loops, bias, kind, half, middle, height)
