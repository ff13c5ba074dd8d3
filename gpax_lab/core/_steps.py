"""Steps that gradients see."""

import jax
from jax import Array


def logistic_step(x: Array, at: Array, width: Array | float) -> Array:
    """From 0 below `at` to 1 above it, over about `width`: 1 / (1 + exp(-(x - at) / width))."""
    return jax.nn.sigmoid((x - at) / width)
