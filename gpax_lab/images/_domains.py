"""From the image of a domain to its radius."""

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from gpax_lab.core._inputs import floating
from gpax_lab.core._types import Float

NORMAL_QUARTILE = 0.6744897501960817
"""Median of |e| for e ~ N(0, 1): a median absolute value divided by it is a standard deviation."""


def domain_radius(image: ArrayLike, pixel: ArrayLike) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Radius of the circle of the same area: A = pixel^2 sum (1 - contrast) / 2, r = sqrt(A / pi).

    Partly reversed pixels count by their part, which locates the wall far below a pixel. The noise of a pixel follows
    from the differences of neighbours, by their median, which a wall does not disturb.

    Args:
        image: (n, m) contrast, +1 outside the domain and -1 inside; two rows or more.
        pixel: size of a pixel, in any unit of length.

    Returns:
        () radius and () standard deviation that pixel noise gives it, in the unit of `pixel`. A domain whose area is
        not above twice its standard deviation has radius 0 and the radius of that area as its standard deviation. Both
        are NaN where the domain reaches the border of the image, or where a pixel is not finite.

    Raises:
        ValueError: no image of two rows and two columns or more.
    """
    contrast = floating(image, "image").astype(jnp.result_type(float))
    if contrast.ndim != 2 or min(contrast.shape) < 2:
        raise ValueError(f"an image has two rows and two columns or more; got shape {contrast.shape}.")
    return _radius(contrast, floating(pixel, "pixel").astype(contrast.dtype))


@jax.jit
def _radius(contrast: Array, pixel: Array) -> tuple[Array, Array]:
    noise = jnp.median(jnp.abs(jnp.diff(contrast, axis=0))) / (NORMAL_QUARTILE * jnp.sqrt(2.0))
    area = pixel**2 * jnp.sum(0.5 * (1.0 - contrast))
    error = pixel**2 * 0.5 * noise * jnp.sqrt(contrast.size)
    found = (area > 2.0 * error) & (area > 0.0)
    r = jnp.sqrt(jnp.where(found, area, 1.0) / jnp.pi)
    radius = jnp.where(found, r, 0.0)
    deviation = jnp.where(found, error / (2.0 * jnp.pi * r), jnp.sqrt(2.0 * error / jnp.pi))
    border = jnp.concatenate([contrast[0], contrast[-1], contrast[:, 0], contrast[:, -1]])
    whole = jnp.all(border > 0.0) & jnp.all(jnp.isfinite(contrast))
    return jnp.where(whole, radius, jnp.nan), jnp.where(whole, deviation, jnp.nan)
