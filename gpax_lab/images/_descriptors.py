"""Short descriptions of patches: principal components, sliding Fourier magnitudes, non-negative factors.

Stacks of patches are (n, size, size), as `patches` cuts them.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from gpax_lab.core._inputs import floating, native
from gpax_lab.core._types import Float, Num


class Principal(NamedTuple):
    """What `principal` returns, and describes."""

    mean: Float[Array, " p"]
    components: Float[Array, "k p"]
    variance: Float[Array, " k"]
    total: Float[Array, ""]
    shape: tuple[int, ...]


def principal(stack: ArrayLike, k: int) -> Principal:
    """Principal components by the eigenvectors of the smaller of the two Gram matrices; not for use under `vmap`.

    Args:
        stack: (n, ...) patches or spectra, finite.
        k: components, at most min(n - 1, d).

    Returns:
        mean (d,) patch, d the product of `shape`; components (k, d), orthonormal rows, largest variance first, the
        largest entry of each positive; variance (k,) explained by each, unit of the patch squared; total () variance of
        all; shape of one patch. `scores` and `restored` take all of it.

    Raises:
        ValueError: fewer than two patches, or more components than they determine.
    """
    values = _stack(stack)
    n, shape = values.shape[0], values.shape[1:]
    flat = values.reshape(n, -1)
    if not 1 <= k <= min(n - 1, flat.shape[1]):
        raise ValueError(f"{flat.shape} values determine 1 to {min(n - 1, flat.shape[1])} components; got {k}.")
    mean = jnp.mean(flat, axis=0)
    centred = flat - mean[None]
    components, variance = _eigen(centred, k)
    return Principal(mean, components, variance, jnp.sum(centred**2) / (n - 1), shape)


@partial(jax.jit, static_argnames="k")
def _eigen(centred: Array, k: int) -> tuple[Array, Array]:
    n, d = centred.shape
    tall = n > d
    power, vectors = jnp.linalg.eigh(centred.T @ centred if tall else centred @ centred.T)
    power, vectors = power[::-1][:k], vectors[:, ::-1][:, :k]
    rows = vectors.T if tall else vectors.T @ centred
    # Gram-Schmidt by QR: where a variance is all but 0 the rows of the wide case are rounding and not orthogonal.
    rows = jnp.linalg.qr(rows.T)[0].T
    largest = jnp.take_along_axis(rows, jnp.argmax(jnp.abs(rows), axis=1)[:, None], axis=1)
    return rows * jnp.where(largest < 0, -1.0, 1.0), jnp.maximum(power, 0.0) / (n - 1)


def scores(found: Principal, stack: ArrayLike, whiten: bool = False) -> Float[Array, "n k"]:
    """(n, k) coordinates of patches (n, ...); `whiten` divides each by its standard deviation.

    A component that is rounding error and nothing else (more of them than the patches have) is 0 when whitened.

    Args:
        found: components of `principal`.
        stack: (n, ...) patches of the shape that the components have.
        whiten: whether coordinates are divided by their standard deviations.

    Returns:
        (n, k).
    """
    values = _stack(stack)
    if values.shape[1:] != found.shape:
        raise ValueError(f"patches {found.shape} were analysed; got {values.shape[1:]}.")
    out = (values.reshape(values.shape[0], -1) - found.mean[None]) @ found.components.T
    if not whiten:
        return out
    least = found.components.shape[1] * jnp.finfo(out.dtype).eps * found.variance[0]
    real = found.variance > least
    return jnp.where(real, 1.0 / jnp.sqrt(jnp.where(real, found.variance, 1.0)), 0.0)[None] * out


def restored(found: Principal, coordinates: ArrayLike) -> Float[Array, " n *shape"]:
    """Patches (n, ...) from coordinates (n, k): the inverse of `scores` without `whiten`.

    Args:
        found: components of `principal`.
        coordinates: (n, k).

    Returns:
        (n, ...) in the unit of the patches.
    """
    flat = floating(coordinates, "coordinates") @ found.components + found.mean[None]
    return flat.reshape(-1, *found.shape)


def fourier_magnitude(stack: ArrayLike, window: bool = True, radial: bool = False) -> Float[Array, " n *m"]:
    """|FFT| of each patch less its mean: what repeats in it, wherever it lies.

    Args:
        stack: (n, size, size), or (n, h, w).
        window: Hann window (static).
        radial: mean over directions, which rotation leaves alone: rings 0, 1, ... of whole frequencies (static).

    Returns:
        (n, h, w) with frequency 0 in the middle, or (n, min(h, w) // 2) rings.

    Source: sliding window Fourier descriptors: Vasudevan et al., Appl. Phys. Lett. 106, 091601 (2015).
    """
    values = _stack(stack)
    if values.ndim != 3:
        raise ValueError(f"a stack of patches is (n, h, w); got {values.shape}.")
    return _magnitude(values, window, radial)


@partial(jax.jit, static_argnames=("window", "radial"))
def _magnitude(values: Array, window: bool, radial: bool) -> Array:
    h, w = values.shape[1:]
    values = values - jnp.mean(values, axis=(1, 2), keepdims=True)
    if window:
        sides = [np.sin(np.pi * (np.arange(n) + 0.5) / n) ** 2 for n in (h, w)]
        values = values * jnp.asarray(np.outer(*sides), values.dtype)[None]
    size = jnp.abs(jnp.fft.fftshift(jnp.fft.fft2(values), axes=(1, 2)))
    if not radial:
        return size
    rings = min(h, w) // 2
    rows, columns = (np.fft.fftshift(np.fft.fftfreq(n, 1.0 / min(h, w))) for n in (h, w))
    ring = np.rint(np.hypot(rows[:, None], columns[None])).astype(int)
    member = np.stack([(ring == k).ravel() / max((ring == k).sum(), 1) for k in range(rings)])
    return size.reshape(-1, h * w) @ jnp.asarray(member.T, values.dtype)


def windows(shape: tuple[int, int], size: int, step: int) -> Num[Array, "rows columns 2"]:
    """(rows, columns, 2) centres of windows of `size` pixels that lie inside an image of this shape, `step` apart.

    Args:
        shape: (h, w) of the image, pixels.
        size: pixels along an edge of a window.
        step: pixels between neighbouring windows.

    Returns:
        (rows, columns, 2).
    """
    if not 1 <= size <= min(shape) or step < 1:
        raise ValueError(f"a window of 1 to {min(shape)} pixels and a step of 1 or more; got {size} and {step}.")
    starts = [jnp.arange(0, n - size + 1, step, dtype=jnp.result_type(float)) + 0.5 * (size - 1) for n in shape]
    return jnp.stack(jnp.meshgrid(*starts, indexing="ij"), axis=-1)


def factors(descriptors: ArrayLike, k: int, seed: int = 0, max_iter: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """Non-negative factors D ~ W H by scikit-learn: maps and end members of sliding Fourier magnitudes.

    Args:
        descriptors: (n, ...) non-negative.
        k: factors.
        seed: of the start where the singular vectors leave it open.
        max_iter: rounds.

    Returns:
        W (n, k) and H (k, ...), numpy arrays.

    Raises:
        ImportError: scikit-learn is absent.
        ValueError: negative or non-finite values.
    """
    try:
        from sklearn.decomposition import NMF
    except ImportError as error:
        raise ImportError("factors needs scikit-learn: pip install scikit-learn.") from error
    values = native(descriptors, "descriptors")
    if values.ndim < 2 or not np.isfinite(values).all() or (values < 0).any():
        raise ValueError("descriptors are (n, ...), finite and not negative; take magnitudes or subtract the minimum.")
    model = NMF(n_components=k, init="nndsvda", random_state=seed, max_iter=max_iter, tol=1e-4)
    weights = model.fit_transform(values.reshape(values.shape[0], -1))
    return weights, model.components_.reshape(k, *values.shape[1:])


def _stack(stack: ArrayLike) -> Array:
    values = floating(stack)
    if values.ndim < 2 or values.shape[0] < 1:
        raise ValueError(f"a stack is (n, ...); got {values.shape}.")
    return values
