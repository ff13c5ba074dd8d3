"""Tunnelling into the simulated film: a gap that widens with its quality, and two states above it. No wire here.

The differential conductance at a position u of the film and a bias V is proportional to

    g(V) = g0 + s((V - D/2) / w) + s((-V - D/2) / w) + sum_k a_k sech^2((V - E_k) / w_k),    s(z) = 1 / (1 + exp(-z)),

and the current through a gap of height z to its integral from 0 to V and to exp(-2 kappa z). All of it is a closed
formula, so that the truth about every spectrum is known.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from gpax_lab.simulators import ferroelectric

KAPPA = 1.087e10
"""1/m: sqrt(2 m phi) / hbar for a work function of 4.5 eV (Chen, Scanning Tunneling Microscopy, 1.2)."""

CONTACT_S = 7.748e-5
"""S: quantum of conductance 2 e^2 / h, the conductance at contact (CODATA 2018)."""

FLOOR, EDGE_V = 0.02, 0.015
GAP_V, GAP_RISE_V = 0.35, 0.45
"""V: the gap at quality 0, and what quality 1 adds."""

STATES = ((0.55, 0.6, 0.03), (0.85, 0.9, 0.05))
"""Of each state: distance above the upper edge (V), height and width (V)."""

STEP_M = 2e-10
"""m: height of a domain over its neighbours, half of a unit cell."""

_CHUNK = 1024


class Site(NamedTuple):
    """What the tip finds at positions (n, 2)."""

    gap: np.ndarray  # (n,) V
    height: np.ndarray  # (n,) m, of the surface


@jax.jit
def _sites(film: ferroelectric.Film, x: Array) -> tuple[Array, Array]:
    at = jax.vmap(lambda p: (ferroelectric.quality(film, p), ferroelectric.polarization(film, p)))
    quality, polarization = at(x)
    return GAP_V + GAP_RISE_V * jnp.clip(quality, 0.0, 1.2), 0.5 * STEP_M * polarization


class Surface:
    """The film that a seed draws, centred under the scanner.

    Args:
        seed: of the film.
        side: of the field, m.
    """

    def __init__(self, seed: int, side: float) -> None:
        self.side = side
        self.film = jax.jit(ferroelectric.film)(jax.random.key(seed), side)
        self.sites(np.zeros((1, 2)))  # compiled before anybody waits for it

    def sites(self, x: np.ndarray) -> Site:
        """Gap and height at x (n, 2) m from the centre."""
        x = np.asarray(x, np.float64) + 0.5 * self.side
        size = 1 if len(x) == 1 else _CHUNK
        padded = np.concatenate([x, np.zeros((-len(x) % size, 2))])
        parts = [_sites(self.film, padded[k : k + size]) for k in range(0, len(padded), size)]
        gap, height = (np.concatenate([np.asarray(part[k], np.float64) for part in parts])[: len(x)] for k in (0, 1))
        return Site(gap, height)


def conductance(gap: np.ndarray | float, bias: np.ndarray | float) -> np.ndarray:
    """g of the module's formula, of the broadcast shape of gap and bias, both V."""
    gap, v = np.asarray(gap), np.asarray(bias)
    half = 0.5 * gap
    total = FLOOR + _sigmoid((v - half) / EDGE_V) + _sigmoid((-v - half) / EDGE_V)
    for above, height, width in STATES:
        total = total + height * _sech2((v - half - above) / width)
    return total


def integral(gap: np.ndarray | float, bias: np.ndarray | float) -> np.ndarray:
    """The integral of `conductance` from 0 to bias, V."""
    gap, v = np.asarray(gap), np.asarray(bias)
    half = 0.5 * gap

    def primitive(v: np.ndarray) -> np.ndarray:
        total = FLOOR * v + EDGE_V * (np.logaddexp(0.0, (v - half) / EDGE_V) - np.logaddexp(0.0, (-v - half) / EDGE_V))
        for above, height, width in STATES:
            total = total + height * width * np.tanh((v - half - above) / width)
        return total

    return primitive(v) - primitive(np.zeros(()))


def current(gap: np.ndarray | float, bias: np.ndarray | float, z: np.ndarray | float) -> np.ndarray:
    """Tunnelling current, A, at a bias (V) through a gap of height z (m)."""
    return CONTACT_S * integral(gap, bias) * np.exp(-2.0 * KAPPA * np.asarray(z))


def height_for(gap: np.ndarray | float, bias: np.ndarray | float, setpoint: float) -> np.ndarray:
    """Height z, m, at which the current at a bias has the magnitude of the setpoint (A); below 0: in contact."""
    largest = CONTACT_S * np.abs(integral(gap, bias))
    with np.errstate(divide="ignore"):
        return np.log(largest / setpoint) / (2.0 * KAPPA)


def gap_width(gap: float, threshold: float) -> float:
    """Distance, V, between the two biases nearest to 0 at which g is `threshold`: what `sts.gap` would find.

    Raises:
        ValueError: g does not cross the threshold.
    """
    v = np.linspace(-2.0, 2.0, 40001)
    high = conductance(gap, v) > threshold
    middle = v.size // 2
    if high[middle] or not (high[middle:].any() and high[:middle].any()):
        raise ValueError(f"the conductance does not cross {threshold}")
    return float(v[middle + np.argmax(high[middle:])] - v[middle - np.argmax(high[middle::-1])])


def _sigmoid(z: np.ndarray) -> np.ndarray:
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * z)))


def _sech2(z: np.ndarray) -> np.ndarray:
    return np.asarray(1.0 - np.tanh(z) ** 2)
