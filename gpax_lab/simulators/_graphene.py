"""A honeycomb of atoms with vacancies, foreign atoms and molecules, as a STEM would show it."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from gpax_lab.core._types import Float, Int

CARBON, EDGE, FOREIGN, MOLECULE = 0, 1, 2, 3
"""Classes of atoms: in the perfect lattice, beside a vacancy, of another element, in a molecule on top."""


class Honeycomb(NamedTuple):
    """What `graphene` returns, and describes."""

    image: Float[Array, "h w"]
    positions: Float[np.ndarray, "n 2"]
    classes: Int[np.ndarray, " n"]
    bond: float
    angle: float


def graphene(
    key: Array,
    shape: tuple[int, int] = (192, 192),
    bond: float = 9.0,
    angle: float = 0.2,
    vacancies: float = 0.01,
    foreign: float = 0.02,
    molecules: int = 2,
    thermal: float = 0.04,
    noise: float = 0.1,
    width: float = 0.28,
) -> Honeycomb:
    """A rotated honeycomb with defects.

    The number of atoms depends on the draw, so the geometry is made in numpy, from a seed that the key gives.

    Args:
        key: random key.
        shape: (h, w) pixels.
        bond: distance of neighbours, pixels.
        angle: of the lattice, rad.
        vacancies: share of missing atoms.
        foreign: share of atoms of a heavier element, 1.8 times as bright.
        molecules: rings of six atoms on top, 0.8 times as bright.
        thermal: standard deviation of an atom's position, bonds.
        noise: standard deviation of a pixel.
        width: of an atom's Gaussian, bonds.

    Returns:
        image (h, w), a carbon atom is 1 high; positions (n, 2), row and column in pixels, of the atoms whose centre
        lies in the image, as moved by the heat; classes (n,): 0 in the perfect lattice, 1 beside a vacancy, 2 of
        another element, 3 in a molecule on top; bond, the distance of neighbours in pixels; angle of the lattice, rad,
        from rows towards columns: at 0 a third of the bonds lie along the rows' index.

    Raises:
        ValueError: shares outside [0, 1], or a bond that does not fit.

    Example:
        >>> found = graphene(jax.random.key(0), (64, 64))
        >>> found.image.shape, set(found.classes.tolist()) <= {CARBON, EDGE, FOREIGN, MOLECULE}
        ((64, 64), True)
    """
    if not (0 <= vacancies <= 1 and 0 <= foreign <= 1) or not 0 < bond < min(shape) or molecules < 0:
        raise ValueError("shares lie in [0, 1], the bond within the image, and molecules are not negative.")
    key_seed, key_noise = jax.random.split(key)
    rng = np.random.default_rng(int(jax.random.randint(key_seed, (), 0, 2**31 - 1)))
    ideal = _lattice(shape, bond, angle)
    gone = rng.random(len(ideal)) < vacancies
    missing, there = ideal[gone], ideal[~gone]
    label = np.where(rng.random(len(there)) < foreign, FOREIGN, CARBON)
    if len(missing):
        near = np.min(np.linalg.norm(there[:, None] - missing[None], axis=-1), axis=1) < 1.1 * bond
        label = np.where(near & (label == CARBON), EDGE, label)
    rings = [_ring(rng, shape, bond) for _ in range(molecules)]
    positions = np.concatenate([there, *rings]) + thermal * bond * rng.normal(size=(len(there) + 6 * molecules, 2))
    classes = np.concatenate([label, np.full(6 * molecules, MOLECULE)])
    height = np.array([1.0, 1.0, 1.8, 0.8])[classes]
    rows, columns = (
        jnp.exp(-0.5 * ((jnp.arange(n)[None] - jnp.asarray(positions[:, axis])[:, None]) / (width * bond)) ** 2)
        for axis, n in enumerate(shape)
    )
    image = (jnp.asarray(height)[:, None] * rows).T @ columns
    image = image + noise * jax.random.normal(key_noise, shape)
    inside = np.all((positions >= 0) & (positions <= np.array(shape) - 1), axis=1)
    return Honeycomb(image, positions[inside], classes[inside], bond, angle)


def _lattice(shape: tuple[int, int], bond: float, angle: float) -> np.ndarray:
    """Positions of a perfect honeycomb in and a little around the image."""
    many = int(2 * max(shape) / bond)
    first, second = bond * np.array([1.5, math.sqrt(3) / 2]), bond * np.array([1.5, -math.sqrt(3) / 2])
    i, j = np.meshgrid(np.arange(-many, many + 1), np.arange(-many, many + 1), indexing="ij")
    corner = i.reshape(-1, 1) * first + j.reshape(-1, 1) * second
    both = np.concatenate([corner, corner + np.array([bond, 0.0])])
    rotation = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    positions = both @ rotation.T + 0.5 * np.array(shape)
    return positions[np.all((positions > -bond) & (positions < np.array(shape) + bond), axis=1)]


def _ring(rng: np.random.Generator, shape: tuple[int, int], bond: float) -> np.ndarray:
    middle = rng.uniform(0.2, 0.8, 2) * np.array(shape)
    at = rng.uniform(0, 2 * math.pi) + np.arange(6) * math.pi / 3
    return middle + bond * np.stack([np.cos(at), np.sin(at)], axis=-1)
