"""A simulated specimen for STEM: particles on a film, whose composition follows from their shape.

What an image shows (thickness) determines what a spectrum holds, exactly up to noise: a model that sees the structure
around a position can predict its spectrum. Positions are shares (0, 1) of the field of view, energies eV, doses e/nm^2.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from gpax_lab.core._types import Float

__all__ = [
    "eels",
    "haadf",
    "specimen",
]

EDGES = (456.0, 532.0)
"""Onsets in eV of the edge of the particles' metal and of that of their oxide shell: Ti-L3 and O-K."""

ENERGY = np.arange(400.0, 640.0, 1.0)
"""eV of the channels of a spectrum."""

_SHELL = 0.015
"""Thickness of the oxide shell, share of the field of view."""

CRITICAL_DOSE = 4.0e4
"""e/nm^2 after which a share 1/e of the oxygen is left: of the order of oxides that reduce under the beam."""


class _Specimen(NamedTuple):
    """What `specimen` returns, and describes."""

    centre: Float[Array, "k 2"]
    radius: Float[Array, " k"]
    lean: Float[Array, " k"]


def specimen(key: Array, particles: int = 14) -> _Specimen:
    """Draw particles: anywhere, radii 0.03 to 0.11, each elongated along some direction.

    Args:
        key: random key.
        particles: how many (static).

    Returns:
        centre (k, 2) and radius (k,) of the particles, shares of the field of view, and lean (k,) of each, rad.
    """
    key_centre, key_radius, key_lean = jax.random.split(key, 3)
    centre = jax.random.uniform(key_centre, (particles, 2), minval=0.05, maxval=0.95)
    radius = 0.03 + 0.08 * jax.random.uniform(key_radius, (particles,)) ** 2
    return _Specimen(centre, radius, jax.random.uniform(key_lean, (particles,), minval=0.0, maxval=jnp.pi))


def thickness(of: _Specimen, x: Array) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Thickness () at x (2,) in shares of a large particle's diameter, and the part of it () that is shell.

    Spheroids of axis ratio 1.4; the shell is what lies within `_SHELL` of the surface along the beam.

    Args:
        of: the specimen.
        x: (2,) shares of the field of view.

    Returns:
        Thickness () and shell ().
    """
    gap = x[None] - of.centre
    c, s = jnp.cos(of.lean), jnp.sin(of.lean)
    along, across = c * gap[:, 0] + s * gap[:, 1], -s * gap[:, 0] + c * gap[:, 1]

    def chord(radius: Array) -> Array:
        square = radius**2 - (along / 1.4) ** 2 - across**2
        inside = square > 0
        return jnp.where(inside, jnp.sqrt(jnp.where(inside, square, 1.0)), 0.0)

    whole, core = chord(of.radius), chord(jnp.maximum(of.radius - _SHELL, 0.0))
    return jnp.sum(whole) / 0.11, jnp.sum(whole - core) / 0.11


def haadf(of: _Specimen, x: Float[Array, " 2"], dose: ArrayLike) -> Float[Array, ""]:
    """() dark-field signal at x (2,): thickness, of which oxygen's small part goes with the dose.

    Args:
        of: the specimen.
        x: (2,) shares of the field of view.
        dose: e/nm^2 that the position had before.

    Returns:
        ().
    """
    whole, shell = thickness(of, x)
    left = jnp.exp(-jnp.asarray(dose) / CRITICAL_DOSE)
    return 0.05 + whole - 0.1 * shell * (1.0 - left)


def eels(of: _Specimen, x: Float[Array, " 2"], dose: ArrayLike) -> Float[Array, " n"]:
    """(n,) expected counts at `ENERGY` for ten thousand electrons of the beam: a power law and two rounded edges.

    The metal's edge follows the core, the oxide's the shell, which the dose removes.

    Args:
        of: the specimen.
        x: (2,) shares of the field of view.
        dose: e/nm^2 that the position had before.

    Returns:
        (n,) counts, n the length of `ENERGY`.
    """
    whole, shell = thickness(of, x)
    left = jnp.exp(-jnp.asarray(dose) / CRITICAL_DOSE)
    background = (0.3 + whole) * (ENERGY / 400.0) ** -3.0

    def edge(onset: float) -> Array:
        above = ENERGY - onset
        rise = jax.nn.sigmoid(above / 2.0)
        return (
            rise
            * (jnp.maximum(ENERGY, onset) / onset) ** -3.0
            * (1.0 + 1.5 * jnp.exp(-0.5 * ((above - 6.0) / 3.0) ** 2))
        )

    metal = 0.25 * (whole - 0.5 * shell) * edge(EDGES[0])
    return background + metal + 0.35 * shell * left * edge(EDGES[1])
