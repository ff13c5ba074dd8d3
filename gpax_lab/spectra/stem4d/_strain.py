"""Strain from the positions of Bragg discs."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from gpax_lab.core._linalg import cholesky, solve_lower, solve_upper
from gpax_lab.core._status import Status
from gpax_lab.core._types import Float, Int8


class Discs(NamedTuple):
    """Attributes: centre (..., m, 2) pixels; variance (..., m, 2) of it; counts (..., m) above the background."""

    centre: Float[Array, "*batch m 2"]
    variance: Float[Array, "*batch m 2"]
    counts: Float[Array, "*batch m"]


class Lattice(NamedTuple):
    """A reciprocal lattice fitted to discs.

    Attributes:
        origin: (..., 2) pixels.
        vectors: (..., 2, 2): rows are the two reciprocal lattice vectors, pixels.
        covariance: (..., 2, 2) of (the first, the second vector) along either axis, pixels squared; multiplied by
            chi_square where that is above 1.
        chi_square: (...) squared misfit over what the counts explain, per degree of freedom; NaN for three discs.
        status: (...) int8 code of `Status`.
    """

    origin: Float[Array, "*batch 2"]
    vectors: Float[Array, "*batch 2 2"]
    covariance: Float[Array, "*batch 2 2"]
    chi_square: Float[Array, "*batch"]
    status: Int8[Array, "*batch"]


class Strain(NamedTuple):
    """NaN unless the lattice's status is OK or UNCHECKED.

    Attributes:
        tensor: (..., 2, 2) symmetric.
        rotation: (...) rad.
        std: (..., 4) of e_rr, e_cc, e_rc and rotation.
        status: (...) int8 code of `Status`, that of the lattice.
    """

    tensor: Float[Array, "*batch 2 2"]
    rotation: Float[Array, "*batch"]
    std: Float[Array, "*batch 4"]
    status: Int8[Array, "*batch"]


def find_discs(patterns: ArrayLike, expected: ArrayLike, window: float, passes: int = 4) -> Discs:
    """Centre of mass of each disc in a round window that follows it.

    The window starts at the expected position and moves onto the centre found; the mean of a ring around it is taken as
    background (the median of few counts is 0 or 1). Window and ring must hold the disc and no part of another one.

    Args:
        patterns: (..., n, m) counts.
        expected: (k, 2) pixels.
        window: radius in pixels: that of a disc and as much as it may move.
        passes: moves of the window (static).

    Raises:
        ValueError: patterns or positions of a wrong shape.
    """
    intensity, start = jnp.asarray(patterns), jnp.asarray(expected, jnp.result_type(float))
    if intensity.ndim < 2 or start.ndim != 2 or start.shape[1] != 2:
        raise ValueError(f"patterns (..., n, m) and positions (k, 2) are needed; got {intensity.shape}, {start.shape}.")
    flat = intensity.reshape(-1, *intensity.shape[-2:]).astype(start.dtype)
    found = jax.lax.map(lambda one: _discs_of(one, start, window, passes), flat, batch_size=16)
    return jax.tree.map(lambda leaf: leaf.reshape(intensity.shape[:-2] + leaf.shape[1:]), found)


def _discs_of(image: Array, start: Array, window: float, passes: int) -> Discs:
    rows = jnp.arange(image.shape[0], dtype=image.dtype)[:, None]
    columns = jnp.arange(image.shape[1], dtype=image.dtype)[None, :]

    def measure(centre: Array) -> tuple[Array, Array, Array]:
        r = jnp.hypot(rows - centre[0], columns - centre[1])
        inside = jnp.clip(window - r + 0.5, 0.0, 1.0)
        ring = (r > window) & (r < window + 2.0)
        level = jnp.nan_to_num(jnp.nanmean(jnp.where(ring, image, jnp.nan)))
        weight = inside * (image - level)
        total = jnp.sum(weight)
        safe = jnp.where(total > 0, total, 1.0)
        position = jnp.stack([jnp.sum(weight * rows), jnp.sum(weight * columns)]) / safe
        # A count in a pixel lies anywhere in it: 1/12.
        away = [(axis - p) ** 2 + 1.0 / 12.0 for axis, p in zip((rows, columns), position, strict=True)]
        second = jnp.stack([jnp.sum(inside**2 * image * square) for square in away])
        return jnp.where(total > 0, position, centre), second / safe**2, total

    def one(position: Array) -> Discs:
        centre = jax.lax.fori_loop(0, passes, lambda _, c: measure(c)[0], position)
        centre, variance, total = measure(centre)
        missing = ~(total > 0) | (jnp.linalg.norm(centre - position) > window)
        return Discs(
            jnp.where(missing, jnp.nan, centre), jnp.where(missing, jnp.inf, variance), jnp.where(missing, 0.0, total)
        )

    return jax.vmap(one)(start)


def fit_lattice(discs: Discs, indices: ArrayLike, poor: float = 5.0) -> Lattice:
    """Origin and lattice vectors of discs with known indices: weighted least squares, centre = origin + h a + k b.

    Args:
        discs: of `find_discs`; those with infinite variance are left out.
        indices: (m, 2) h and k of each disc.
        poor: reduced chi^2 above which the status is POOR_FIT.
    """
    design = jnp.concatenate([jnp.ones((len(jnp.asarray(indices)), 1)), jnp.asarray(indices, float)], axis=1)

    def one(centre: Array, variance: Array) -> Lattice:
        design_ = design.astype(centre.dtype)
        each = jnp.mean(variance, axis=-1)
        known = jnp.isfinite(each) & (each > 0) & jnp.isfinite(centre).all(axis=-1)
        weight = jnp.where(known, 1.0 / jnp.where(known, each, 1.0), 0.0)
        # Independent of the unit of the counts: the normal matrix is divided by its mean diagonal.
        normal = design_.T @ (weight[:, None] * design_)
        size = jnp.maximum(jnp.trace(normal), jnp.finfo(centre.dtype).tiny)
        lower, ok = cholesky(normal / size + 1e-14 * jnp.eye(3, dtype=centre.dtype))
        centres = jnp.where(weight[:, None] > 0, centre, 0.0)
        solve = lambda b: solve_upper(lower, solve_lower(lower, b)) / size  # noqa: E731
        found = solve(design_.T @ (weight[:, None] * centres))
        covariance = solve(jnp.eye(3, dtype=centre.dtype))
        missed = jnp.where(weight[:, None] > 0, centres - design_ @ found, 0.0)
        count = jnp.sum(weight > 0)
        chi = jnp.sum(weight[:, None] * missed**2) / jnp.maximum(2 * count - 6, 1)
        # Discs on one line leave a direction open: its variance is then that of nothing.
        spans = (
            ok & (count >= 3) & (jnp.max(jnp.diagonal(covariance)) < 1e6 * jnp.min(jnp.where(weight > 0, each, 1e30)))
        )
        status = Status.worst((~spans, Status.FEW_DISCS), (count == 3, Status.UNCHECKED), (chi > poor, Status.POOR_FIT))
        bad = status == Status.FEW_DISCS
        vectors = jnp.where(bad, jnp.nan, found[1:])
        second = covariance[1:, 1:] * jnp.maximum(chi, 1.0)
        return Lattice(jnp.where(bad, jnp.nan, found[0]), vectors, second, jnp.where(count > 3, chi, jnp.nan), status)

    flat = [a.reshape(-1, *a.shape[-2:]) for a in (discs.centre, discs.variance)]
    fitted = jax.vmap(one)(*flat)
    return jax.tree.map(lambda leaf: leaf.reshape(discs.centre.shape[:-2] + leaf.shape[1:]), fitted)


def _deformation(vectors: Array, reference: Array) -> Array:
    """(4,) e_rr, e_cc, e_rc, rotation. Reciprocal vectors (rows of G) obey g = F^-T g0, so F^-1 = G0^-1 G (rows)."""
    (a, b), (c, d) = reference
    inverse = jnp.stack([jnp.stack([d, -b]), jnp.stack([-c, a])]) / (a * d - b * c)
    back = inverse @ vectors  # F^-1
    (p, q), (r, s) = back
    f = jnp.stack([jnp.stack([s, -q]), jnp.stack([-r, p])]) / (p * s - q * r)
    return jnp.stack([f[0, 0] - 1.0, f[1, 1] - 1.0, 0.5 * (f[0, 1] + f[1, 0]), 0.5 * (f[1, 0] - f[0, 1])])


def strain(lattice: Lattice, reference: ArrayLike) -> Strain:
    """Infinitesimal strain and rotation relative to reference reciprocal vectors (2, 2), with standard deviations.

    F maps the reference crystal onto the strained one; e = (F + F^T)/2 - 1, and the rotation, from rows to columns, is
    (F_cr - F_rc)/2. Where a vector is longer in the pattern, the crystal is compressed.

    Args:
        lattice: of `fit_lattice`, batch (...).
        reference: (2, 2) rows are the reciprocal vectors of the unstrained crystal, pixels.

    Returns:
        `Strain` of batch shape (...).
    """
    known = jnp.asarray(reference, lattice.vectors.dtype)

    def one(vectors: Array, covariance: Array) -> tuple[Array, Array]:
        value = _deformation(vectors, known)
        slope = jax.jacobian(lambda v: _deformation(v, known))(vectors)  # (4, 2 vectors, 2 axes)
        return value, jnp.sqrt(jnp.einsum("eia,ij,eja->e", slope, covariance, slope))

    flat = lattice.vectors.reshape(-1, 2, 2), lattice.covariance.reshape(-1, 2, 2)
    value, std = jax.vmap(one)(*flat)
    lead = lattice.vectors.shape[:-2]
    value, std = value.reshape(*lead, 4), std.reshape(*lead, 4)
    e_rr, e_cc, e_rc, rotation = jnp.moveaxis(value, -1, 0)
    tensor = jnp.stack([jnp.stack([e_rr, e_rc], axis=-1), jnp.stack([e_rc, e_cc], axis=-1)], axis=-2)
    good = (lattice.status == Status.OK) | (lattice.status == Status.UNCHECKED)
    values = [jnp.where(good.reshape(lead + (1,) * (v.ndim - len(lead))), v, jnp.nan) for v in (tensor, rotation, std)]
    return Strain(values[0], values[1], values[2], lattice.status)
