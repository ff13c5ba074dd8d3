"""Whether the latents are what they should be, where the truth is known."""

import jax.numpy as jnp
from jax import Array

from gpax_lab.core._types import ArrayLike, Float


def circular_correlation(a: ArrayLike, b: ArrayLike) -> Float[Array, ""]:
    """() correlation of two angles (n,), rad, in [-1, 1]; an offset between them changes nothing.

    sum_ij sin(a_i - a_j) sin(b_i - b_j) over the root of the product of both with itself. Source: Fisher & Lee,
    Biometrika 70, 327 (1983).

    Args:
        a: (n,) rad.
        b: (n,) rad.

    Returns:
        () correlation, dimensionless.

    Example:
        >>> import numpy as np
        >>> angle = np.linspace(0, 6, 50)
        >>> float(circular_correlation(angle, angle + 2.0)) > 0.999
        True
    """
    one, other = _angles(a), _angles(b)

    def cross(x: Array, y: Array) -> Array:
        # sum_ij sin(x_i - x_j) sin(y_i - y_j), in n instead of n^2 terms.
        cc, ss = jnp.sum(jnp.cos(x) * jnp.cos(y)), jnp.sum(jnp.sin(x) * jnp.sin(y))
        cs, sc = jnp.sum(jnp.cos(x) * jnp.sin(y)), jnp.sum(jnp.sin(x) * jnp.cos(y))
        return 2.0 * (ss * cc - cs * sc)

    return cross(one, other) / jnp.sqrt(cross(one, one) * cross(other, other))


def _angles(values: ArrayLike) -> Array:
    angles = jnp.asarray(values, jnp.result_type(float))
    if angles.ndim != 1 or angles.shape[0] < 3:
        raise ValueError(f"angles are (n,), three or more; got {angles.shape}.")
    return angles


def angle_error(found: ArrayLike, truth: ArrayLike, order: int = 1) -> Float[Array, " n"]:
    """(n,) error of angles, rad, after the offset that fits best: the object's own zero can not be known.

    Args:
        found: (n,) rad.
        truth: (n,) rad.
        order: of the object's symmetry.

    Returns:
        (n,) rad, in [-pi, pi]/order.
    """
    away = order * (_angles(found) - _angles(truth))
    offset = jnp.arctan2(jnp.mean(jnp.sin(away)), jnp.mean(jnp.cos(away)))
    return jnp.arctan2(jnp.sin(away - offset), jnp.cos(away - offset)) / order


def shift_correlation(found: ArrayLike, truth: ArrayLike, angle: ArrayLike | None = None) -> Float[Array, " d"]:
    """(d,) correlation of shifts (n, d), axis by axis.

    Args:
        found: (n, d).
        truth: (n, d).
        angle: (n,) rad, by which each object is rotated. The object's own centre can not be known: about another one
            the same image has the shift s + R(angle) c. With the angles the c that fits best is taken out first.

    Returns:
        (d,) correlation, dimensionless.
    """
    one, other = jnp.asarray(found), jnp.asarray(truth)
    if angle is not None:
        cos, sin = jnp.cos(jnp.asarray(angle)), jnp.sin(jnp.asarray(angle))
        rotation = jnp.stack([jnp.stack([cos, -sin], axis=-1), jnp.stack([sin, cos], axis=-1)], axis=-2)
        centre = jnp.mean(jnp.einsum("nji,nj->ni", rotation, one - other), axis=0)
        one = one - jnp.einsum("nij,j->ni", rotation, centre)
    one, other = one - jnp.mean(one, axis=0, keepdims=True), other - jnp.mean(other, axis=0, keepdims=True)
    return jnp.sum(one * other, axis=0) / jnp.sqrt(jnp.sum(one**2, axis=0) * jnp.sum(other**2, axis=0))


def explained(latents: ArrayLike, truth: ArrayLike) -> Float[Array, " k"]:
    """(k,) share of the variance of each true number (n, k) that a linear function of the latents (n, d) explains.

    Near 1 where the latents hold it, near 0 where they are free of it (give the sine and cosine of an angle).

    Args:
        latents: (n, d).
        truth: (n, k) or (n,).

    Returns:
        (k,) shares, at most 1.
    """
    given = jnp.asarray(latents, jnp.result_type(float))
    given = jnp.concatenate([given, jnp.ones((len(given), 1), given.dtype)], axis=1)
    wanted = jnp.asarray(truth, given.dtype).reshape(len(given), -1)
    fit = given @ jnp.linalg.lstsq(given, wanted)[0]
    centred = wanted - jnp.mean(wanted, axis=0, keepdims=True)
    return 1.0 - jnp.sum((wanted - fit) ** 2, axis=0) / jnp.sum(centred**2, axis=0)
