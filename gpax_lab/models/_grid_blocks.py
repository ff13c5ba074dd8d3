"""Measurements on a grid, cut into blocks for a composite likelihood.

The log determinant of a masked Kronecker matrix has no closed form. Parameters are learned from a composite likelihood
instead (Varin, Reid & Firth 2011, Statistica Sinica 21, 5): measurements are cut into blocks, every block enters with
its exact marginal likelihood, and correlations between blocks are left out. Its score has mean zero at the true
parameters, as the full one has, so that it is unbiased; it is deterministic, which a stochastic trace is not.
"""

from itertools import zip_longest
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

from gpax_lab.core._observations import capacity_for


def unit_axis(n: int) -> np.ndarray:
    """(n,) coordinates of the pixels of an axis: 0 for the first, 1 for the last."""
    return np.arange(n) / max(n - 1, 1)


class Blocks(NamedTuple):
    """Observations cut into blocks, for the composite likelihood.

    Attributes:
        pixel: (blocks, size, d) int, where each was read.
        y: (blocks, size) standardised observations, 0 in an unused slot.
        used: (blocks, size) bool.
        axes: (n_a,) coordinates of the pixels of each axis.
        weight: () what a block counts: a half where every observation is in two of them.
    """

    pixel: Array
    y: Array
    used: Array
    axes: tuple[Array, ...]
    weight: Array


def _near(x: np.ndarray, index: np.ndarray, size: int) -> list[np.ndarray]:
    """Cut points into blocks of at most `size` neighbours, at the median of the longest side."""
    if index.size <= size:
        return [index]
    side = int(np.argmax(np.ptp(x[index], axis=0)))
    order = index[np.argsort(x[index, side], kind="stable")]
    return _near(x, order[: index.size // 2], size) + _near(x, order[index.size // 2 :], size)


def blocks_of(
    y: np.ndarray, measured: np.ndarray, rng: np.random.Generator, size: int = 256, limit: int = 16
) -> Blocks:
    """Blocks of observations for the composite likelihood.

    All observations in one block, and the likelihood is exact, where there are at most `size`. Otherwise two coverings:
    blocks of neighbours, which tell of noise and short scales, and blocks of observations from everywhere, which tell
    of long ones; each observation counts by half in either. Of each covering at most `limit` blocks are taken, at
    random.

    Args:
        y: (*shape) standardised observations, any number where there is none.
        measured: (*shape) bool, at least one True.
        rng: chooses the blocks.
        size: observations in a block.
        limit: blocks of each covering.

    Returns:
        Blocks, of both coverings alternately.
    """
    pixels = np.argwhere(measured)
    axes = [unit_axis(n) for n in measured.shape]
    x = np.stack([axis[i] for axis, i in zip(axes, pixels.T, strict=True)], axis=1)
    values, count = y[tuple(pixels.T)], len(pixels)
    if count <= size:
        groups, rows, slots = [np.arange(count)], 1, capacity_for(count)
    else:
        near = _near(x, np.arange(count), size)
        mixed = rng.permutation(count)
        far = [mixed[k : k + size] for k in range(0, count, size)]
        picked = ([cover[i] for i in rng.permutation(len(cover))[:limit]] for cover in (near, far))
        groups = [group for pair in zip_longest(*picked) for group in pair if group is not None]
        slots = size
        rows = 1 << (len(groups) - 1).bit_length()  # few numbers of blocks, few compiles
    pixel = np.zeros((rows, slots, measured.ndim), np.int32)
    read, used = np.zeros((rows, slots), values.dtype), np.zeros((rows, slots), bool)
    for k, group in enumerate(groups):
        pixel[k, : group.size], read[k, : group.size], used[k, : group.size] = pixels[group], values[group], True
    coordinates = tuple(jnp.asarray(axis, values.dtype) for axis in axes)
    weight = jnp.asarray(1.0 if len(groups) == 1 else 0.5, values.dtype)
    return Blocks(jnp.asarray(pixel), jnp.asarray(read), jnp.asarray(used), coordinates, weight)
