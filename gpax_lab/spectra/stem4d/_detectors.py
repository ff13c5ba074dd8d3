"""Virtual detectors and the centre of mass of a diffraction pattern."""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from gpax_lab.core._inputs import floating
from gpax_lab.core._types import Float


def radii(shape: tuple[int, int], centre: ArrayLike | tuple[float, float]) -> Array:
    """(n, m) distance in pixels of every detector pixel from a centre (2,), row and column."""
    row, column = jnp.asarray(centre, jnp.result_type(float))
    return jnp.hypot(jnp.arange(shape[0])[:, None] - row, jnp.arange(shape[1])[None, :] - column)


def annular(
    shape: tuple[int, int], centre: ArrayLike | tuple[float, float], inner: ArrayLike, outer: ArrayLike
) -> Float[Array, "n m"]:
    """(n, m) share of every pixel that lies between two radii (pixels): bright field with inner 0, dark field without.

    Edges are one pixel wide, so that signals change smoothly with the radii.

    Args:
        shape: (n, m) of a pattern, pixels.
        centre: (2,) row and column, pixels.
        inner, outer: () radii, pixels.

    Returns:
        (n, m) between 0 and 1.
    """
    r = radii(shape, centre)
    disc = jnp.clip(jnp.asarray(outer) - r + 0.5, 0.0, 1.0)
    return disc - jnp.where(jnp.asarray(inner) > 0, jnp.clip(jnp.asarray(inner) - r + 0.5, 0.0, 1.0), 0.0)


def segment(
    shape: tuple[int, int],
    centre: ArrayLike | tuple[float, float],
    inner: ArrayLike,
    outer: ArrayLike,
    index: int,
    count: int = 4,
) -> Float[Array, "n m"]:
    """(n, m) one of `count` equal sectors of an annular detector, the first one centred on the direction of rows.

    Args:
        shape, centre, inner, outer: of `annular`.
        index: which sector, from 0.
        count: of sectors.

    Returns:
        (n, m) between 0 and 1.
    """
    row, column = jnp.asarray(centre, jnp.result_type(float))
    angle = jnp.arctan2(jnp.arange(shape[1])[None, :] - column, jnp.arange(shape[0])[:, None] - row)
    sector = jnp.mod(angle / (2.0 * jnp.pi) * count + 0.5, count)
    return annular(shape, centre, inner, outer) * (jnp.floor(sector) == index)


def virtual_detector(patterns: ArrayLike, mask: ArrayLike) -> tuple[Float[Array, "*batch"], Float[Array, "*batch"]]:
    """Signal (...) of a detector with this mask (n, m), and its Poisson variance: sum I mask, sum I mask^2.

    The variance holds where patterns are counts. Pixels of weight 0 may hold anything.

    Args:
        patterns: (..., n, m) counts.
        mask: (n, m) weights.

    Returns:
        Signal (...) and its variance (...).
    """
    intensity = _floating(patterns)
    weight = jnp.asarray(mask).astype(intensity.dtype)
    if intensity.shape[-2:] != weight.shape:
        raise ValueError(f"the mask {weight.shape} must have the shape of a pattern {intensity.shape[-2:]}.")
    counted = _without_dead(intensity, weight)
    return jnp.einsum("...ij,ij->...", counted, weight), jnp.einsum("...ij,ij->...", counted, weight**2)


def _floating(patterns: ArrayLike) -> Array:
    """Counts in floating point: sums of uint16 would wrap around."""
    return floating(patterns)


def _without_dead(intensity: Array, weight: Array) -> Array:
    """0 where the weight is 0, so that a NaN there stays there."""
    used = (weight != 0).reshape((1,) * (intensity.ndim - 2) + weight.shape)
    return jnp.where(used, intensity, 0.0)


class CentreOfMass(NamedTuple):
    """What `centre_of_mass` returns, and describes."""

    value: Float[Array, "*batch 2"]
    variance: Float[Array, "*batch 2"]
    counts: Float[Array, "*batch"]


def centre_of_mass(
    patterns: ArrayLike, centre: ArrayLike | tuple[float, float] | None = None, mask: ArrayLike | None = None
) -> CentreOfMass:
    """First moment sum I r / sum I of each pattern, relative to a centre, with its Poisson variance.

    With weights w: <r> = sum w I r / sum w I and var = sum w^2 I (r - <r>)^2 / (sum w I)^2, the delta method for
    independent Poisson counts.

    Args:
        patterns: (..., n, m) counts.
        centre: (2,) row and column of the undeflected beam in pixels; None for pixel (n // 2, m // 2).
        mask: (n, m) weights of pixels, e.g. 0 where the detector is dead.

    Returns:
        value (..., 2), row and column in pixels from the centre, its variance (..., 2), and counts (...); NaN where a
        pattern is empty or holds a value that is not finite.
    """
    intensity = _floating(patterns)
    if intensity.ndim < 2:
        raise ValueError(f"patterns are (..., n, m); got {intensity.shape}.")
    n, m = intensity.shape[-2:]
    middle = jnp.asarray((n // 2, m // 2) if centre is None else centre, intensity.dtype)
    weight = jnp.ones((n, m), intensity.dtype) if mask is None else jnp.asarray(mask).astype(intensity.dtype)
    if weight.shape != (n, m):
        raise ValueError(f"the mask {weight.shape} must have the shape of a pattern {(n, m)}.")
    counted = intensity if mask is None else _without_dead(intensity, weight)
    over = weight.reshape((1,) * (counted.ndim - 2) + weight.shape)
    weighted = counted if mask is None else counted * over
    twice = weighted if mask is None else weighted * over
    total = jnp.sum(weighted, axis=(-2, -1))
    good = jnp.isfinite(total) & (total > 0)
    safe = jnp.where(good, total, 1.0)
    value, variance = [], []
    for sums, length, zero in ((-1, n, middle[0]), (-2, m, middle[1])):
        distance = jnp.arange(length, dtype=intensity.dtype) - zero
        first = jnp.einsum("...i,i->...", jnp.sum(weighted, axis=sums), distance) / safe
        line = jnp.sum(twice, axis=sums)
        powers = [jnp.einsum("...i,i->...", line, distance**k) for k in (0, 1, 2)]
        moment = powers[2] - 2.0 * first * powers[1] + first**2 * powers[0]
        value.append(jnp.where(good, first, jnp.nan))
        variance.append(jnp.where(good, jnp.maximum(moment, 0.0) / safe**2, jnp.nan))
    return CentreOfMass(jnp.stack(value, axis=-1), jnp.stack(variance, axis=-1), total)


def deflection(
    patterns: ArrayLike, centre: ArrayLike | tuple[float, float] | None = None
) -> tuple[Float[Array, "*batch"], Float[Array, "*batch"]]:
    """Scalarizer: |centre of mass| (...) in pixels and its variance by the delta method.

    How strongly a position bends the beam, whichever way. A length is never negative: where the beam is not bent it
    comes out at about its standard deviation, not at 0. No deflection at all has the mean variance of its components.

    Args:
        patterns: (..., n, m) counts.
        centre: (2,) row and column of the undeflected beam, pixels; the middle of the detector if not given.

    Returns:
        Deflection (...) in pixels and its variance (...).
    """
    found = centre_of_mass(patterns, centre)
    square = jnp.sum(found.value**2, axis=-1)
    size = jnp.sqrt(jnp.where(square > 0, square, 1.0))
    along = jnp.sum(found.value**2 * found.variance, axis=-1) / jnp.where(square > 0, square, 1.0)
    mean = jnp.mean(found.variance, axis=-1)
    return jnp.where(square > 0, size, jnp.where(square == 0, 0.0, jnp.nan)), jnp.where(square > 0, along, mean)
