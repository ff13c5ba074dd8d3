"""Images as sums of plane waves, which rotate, shift and magnify exactly.

g(v) = sum_k a_k cos(k v) + b_k sin(k v) is a band-limited object. Seen rotated by R, shifted by s and magnified by m,
each wave stays a plane wave, with the wave vector R k / m; and a plane wave is a product of a function of the row
and one of the column, so that an image of h x w pixels is one matrix product, (h, 2 K) (2 K, w). A network that is
asked for its value at every pixel costs some hundred times as much.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array


def wave_vectors(reach: tuple[float, ...], finest: float) -> np.ndarray:
    """(K, d) integer wave vectors, one of each pair n and -n, whose waves over +-reach are no shorter than 2 finest.

    Args:
        reach: half a period along each axis, in half widths.
        finest: half the shortest wavelength, in half widths.
    """
    most = [int(length / finest) for length in reach]
    whole = np.stack(np.meshgrid(*[np.arange(-m, m + 1) for m in most], indexing="ij"), axis=-1).reshape(-1, len(reach))
    length = np.sqrt(np.sum((whole / np.array(reach)) ** 2, axis=1))
    first = np.array([next((x for x in row if x), 0) for row in whole])
    return whole[(length <= 1.0 / finest * (1 + 1e-9)) & ((first > 0) | np.all(whole == 0, axis=1))]


class _Products:
    """The waves of a lattice at given points, by the recurrence cos((n + 1) t) = 2 cos t cos n t - cos((n - 1) t)."""

    def __init__(self, whole: np.ndarray) -> None:
        self.index = [np.abs(whole[:, axis]) for axis in range(2)]
        self.sign = [np.where(whole[:, axis] < 0, -1.0, 1.0) for axis in range(2)]

    def along(self, slopes: tuple[Array, Array], points: Array) -> tuple[Array, Array]:
        """cos and sin (n, K, points) of (n_1 slopes_1 + n_2 slopes_2) points; slopes (n,), points (n, points)."""
        parts = []
        for axis in range(2):
            cos, sin = _multiples(slopes[axis][:, None] * points, int(self.index[axis].max(initial=0)))
            sign = jnp.asarray(self.sign[axis], points.dtype)[None, :, None]
            parts.append((cos[:, self.index[axis]], sign * sin[:, self.index[axis]]))
        (c1, s1), (c2, s2) = parts
        return c1 * c2 - s1 * s2, s1 * c2 + c1 * s2


def _multiples(t: Array, most: int) -> tuple[Array, Array]:
    """cos(n t) and sin(n t), n = 0 .. most, stacked along axis 1."""
    cos, sin = [jnp.ones_like(t), jnp.cos(t)], [jnp.zeros_like(t), jnp.sin(t)]
    for _ in range(2, most + 1):
        cos.append(2.0 * cos[1] * cos[-1] - cos[-2])
        sin.append(2.0 * cos[1] * sin[-1] - sin[-2])
    return jnp.stack(cos[: most + 1], axis=1), jnp.stack(sin[: most + 1], axis=1)


class Lattice:
    """Static: the waves, their period and the pixels of the image."""

    def __init__(self, whole: np.ndarray, reach: tuple[float, ...], axes: tuple[np.ndarray, ...]) -> None:
        self.whole, self.axes = whole, axes
        self.k = np.pi * whole / np.array(reach)
        self.unit = np.pi / np.array(reach)
        self.products = _Products(whole) if whole.shape[1] == 2 else None

    @property
    def count(self) -> int:
        """Number of waves."""
        return len(self.whole)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def wave_image(lattice: Lattice, waves: Array, matrix: Array, shift: Array) -> Array:
    """Images (n, h, w) of objects (n, 2 K): cosine coefficients, then sine coefficients.

    Args:
        lattice: of waves in two dimensions.
        waves: (n, 2 K).
        matrix: (n, 2, 2) from points in the image to points in the object, v = matrix (u - shift).
        shift: (n, 2).
    """
    return _forward(lattice, waves, matrix, shift)[0]


def _forward(lattice: Lattice, waves: Array, matrix: Array, shift: Array):
    assert lattice.products is not None
    count = lattice.count
    unit = jnp.asarray(lattice.unit, waves.dtype)
    points = [jnp.asarray(axis, waves.dtype)[None] - shift[:, i, None] for i, axis in enumerate(lattice.axes)]
    along = [lattice.products.along((unit[0] * matrix[:, 0, i], unit[1] * matrix[:, 1, i]), points[i]) for i in (0, 1)]
    (cr, sr), (cc, sc) = along
    a, b = waves[:, :count, None], waves[:, count:, None]
    left = jnp.concatenate([a * cr + b * sr, b * cr - a * sr], axis=1)
    right = jnp.concatenate([cc, sc], axis=1)
    return jnp.einsum("nkr,nkc->nrc", left, right), (points, cr, sr, left, right)


def _backward(lattice: Lattice, kept, slope: Array):
    # The recurrence is not walked back: the derivative of a wave by its phase is the wave a quarter period on.
    points, cr, sr, left, right = kept
    count = lattice.count
    of_left = jnp.einsum("nrc,nkc->nkr", slope, right)
    of_right = jnp.einsum("nrc,nkr->nkc", slope, left)
    l1, l2 = of_left[:, :count], of_left[:, count:]
    by_waves = jnp.concatenate([jnp.sum(l1 * cr - l2 * sr, axis=2), jnp.sum(l1 * sr + l2 * cr, axis=2)], axis=1)
    by_row = l1 * left[:, count:] - l2 * left[:, :count]  # (n, K, rows): slope by the phase of a wave, row by row
    by_column = of_right[:, count:] * right[:, :count] - of_right[:, :count] * right[:, count:]
    k = jnp.asarray(lattice.k, slope.dtype)
    by_axis = [jnp.einsum("nkr,nr,kd->nd", by, at, k) for by, at in zip((by_row, by_column), points, strict=True)]
    by_matrix = jnp.stack(by_axis, axis=-1)
    # The phase is k (matrix (u - shift)).
    return by_waves, by_matrix, jnp.sum(by_row, axis=2) @ k


def _vjp_forward(lattice: Lattice, waves: Array, matrix: Array, shift: Array):
    out, kept = _forward(lattice, waves, matrix, shift)
    return out, (kept, matrix)


def _vjp_backward(lattice: Lattice, kept, slope: Array):
    by_waves, by_matrix, by_phase = _backward(lattice, kept[0], slope)
    return by_waves, by_matrix, -jnp.einsum("nd,nde->ne", by_phase, kept[1])


wave_image.defvjp(_vjp_forward, _vjp_backward)


def wave_spectrum(lattice: Lattice, waves: Array, stretch: Array, shift: Array) -> Array:
    """Spectra (n, length) of objects (n, 2 K) in one dimension, v = stretch (u - shift); stretch and shift (n,)."""
    count = lattice.count
    points = stretch[:, None] * (jnp.asarray(lattice.axes[0], waves.dtype)[None] - shift[:, None])
    phase = jnp.asarray(lattice.k[:, 0], waves.dtype)[None, :, None] * points[:, None, :]
    return jnp.einsum("nk,nkl->nl", waves[:, :count], jnp.cos(phase)) + jnp.einsum(
        "nk,nkl->nl", waves[:, count:], jnp.sin(phase)
    )
