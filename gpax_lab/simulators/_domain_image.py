"""What a written domain looks like: its radius scatters around the law, its wall is rough, and the image is noisy.

Lengths are in one unit of your choice throughout. The contrast is +1 outside the domain and -1 inside it.
"""

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from gpax_lab.core._types import Float

MODES = 4
"""Fourier modes of a rough wall, the second to the fifth: the first one would only shift the domain."""

_ANGLES = 64  # angles over which the mean square of the wall is taken: exact for modes below 32


def written_radius(key: Array, r: ArrayLike, least: ArrayLike, base: ArrayLike, share: ArrayLike) -> Array:
    """Radius of one written domain: r + (base + share r) e with e ~ N(0, 1), 0 where the law gives less than `least`.

    Args:
        key: random key.
        r: () radius that the law gives.
        least: smallest r at which a domain nucleates.
        base: standard deviation of the radius of a small domain.
        share: how fast it grows with the radius.

    Returns:
        () radius, not negative.
    """
    r = jnp.asarray(r)
    scattered = r + (base + share * r) * jax.random.normal(key, r.shape, r.dtype)
    return jnp.where(r < least, 0.0, jnp.maximum(scattered, 0.0))


def domain_image(
    key: Array,
    radius: ArrayLike,
    n: int,
    pixel: ArrayLike,
    wall: ArrayLike,
    rough: ArrayLike = 0.0,
    jitter: ArrayLike = 0.0,
    noise: ArrayLike = 0.0,
) -> Float[Array, "n n"]:
    """Contrast tanh((rho^2 - R^2) / (2 R wall)) + noise, with R the radius in the direction of the pixel.

    R(angle) is radius times 1 + sum_k (a_k cos k angle + b_k sin k angle), scaled so that the area is pi radius^2
    whatever the roughness. Across the wall the profile is that of tanh(distance / wall), and it keeps the area up to
    terms of exp(-R / wall).

    Args:
        key: random key.
        radius: () of the circle of the same area; 0 for no domain.
        n: pixels of a side (static).
        pixel: size of a pixel.
        wall: half-width of the wall as the tip sees it, positive.
        rough: standard deviation of the radius along the wall, relative to the radius; well below 1.
        jitter: standard deviation of each coordinate of the centre around the middle of the image.
        noise: standard deviation of a pixel.

    Returns:
        (n, n) contrast.
    """
    radius = jnp.asarray(radius, jnp.result_type(float))
    key_wall, key_place, key_noise = jax.random.split(key, 3)
    wave = rough / jnp.sqrt(MODES) * jax.random.normal(key_wall, (2, MODES), radius.dtype)

    def shape(angle: Array) -> Array:
        phase = jnp.arange(2, 2 + MODES).reshape((1,) * angle.ndim + (-1,)) * angle[..., None]
        return 1.0 + jnp.cos(phase) @ wave[0] + jnp.sin(phase) @ wave[1]

    around = shape(2 * jnp.pi * jnp.arange(_ANGLES) / _ANGLES)
    centre = jitter * jax.random.normal(key_place, (2,), radius.dtype)
    position = (jnp.arange(n) - 0.5 * (n - 1)) * pixel
    down, across = position[:, None] - centre[0], position[None, :] - centre[1]
    r = jnp.maximum(radius, 1e-6 * pixel) * shape(jnp.arctan2(down, across)) / jnp.sqrt(jnp.mean(around**2))
    contrast = jnp.tanh((down**2 + across**2 - r**2) / (2.0 * jnp.abs(r) * wall))
    contrast = jnp.where(radius > 0.0, contrast, 1.0)
    return contrast + noise * jax.random.normal(key_noise, (n, n), radius.dtype)
