"""Points that fill a unit cube evenly."""

import jax.numpy as jnp
import numpy as np
from jax import Array


def additive_recurrence(count: int, dim: int, shift: Array | float = 0.0) -> Array:
    """(count, dim) points of Roberts' R_d sequence: x_n = frac(shift + n / phi^j), phi^(dim + 1) = phi + 1.

    Args:
        count: number of points.
        dim: number of coordinates.
        shift: scalar or (dim,), where the sequence begins.
    """
    root = 2.0
    for _ in range(50):  # the fixed point of this map is phi; each iteration gains a digit
        root = (1.0 + root) ** (1.0 / (dim + 1))
    alpha = np.array([root ** -(j + 1) for j in range(dim)])
    steps = np.arange(1, count + 1)[:, None] * alpha[None]
    return jnp.mod(jnp.broadcast_to(jnp.asarray(shift), (dim,))[None] + steps, 1.0)
