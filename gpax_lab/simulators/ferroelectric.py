"""A thin ferroelectric film that switches under a tip: domains, walls and a hysteresis loop at every point.

The film is a set of plane waves and two soft bumps, so every property is a smooth closed formula of the position: there
is no grid, no interpolation, and the truth at any point follows from the key alone (the same in float32 and float64 to
rounding). Positions are metres in the frame of the sample, `x = (x, y)` in [0, size]; the response is in pm/V.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from gpax_lab.core._types import Float
from gpax_lab.spectra.loops import LoopParams, loop_area, loop_function, triangle

__all__ = [
    "Film",
    "film",
    "loop",
    "loop_area_map",
    "polarization",
]

_WAVES = 48
"""Plane waves per random field: enough for a nearly Gaussian field, few enough for microseconds a point."""

_CORRELATION = 0.2
"""Correlation length of the loop parameters as a share of the field of view: twenty points can learn the map."""

_BUMP = 0.17
"""Standard deviation of the two bumps of film quality, share of the field: two maxima, not one ridge."""

_STRIPE_PERIOD = 0.25
"""Period of the stripe domains as a share of the field of view: four stripe pairs across."""

_WALL_HALF_WIDTH = 0.012
"""Half-width of a wall as the tip sees it, as a share of the field: the tip blurs the wall, itself a few unit cells."""

_BEST, _SECOND = 1.0, 0.6
"""Heights of the best bump of film quality and of the lower local maximum, on a flat film of quality 0."""

_HEIGHT, _COERCIVE = 60.0, 2.4
"""Loop height (pm/V) and half-width (V) at quality 1: the order of a lead titanate or lead zirconate titanate film."""


class _Waves(NamedTuple):
    """Random field of unit variance: sqrt(2/K) sum_k cos(2 pi w_k . u + p_k) over positions u in the unit square."""

    wave: Array  # (K, 2) wave vectors, periods per field of view
    phase: Array  # (K,) rad


class Film(NamedTuple):
    """A simulated film. Positions inside are shares of the field of view."""

    size: Array  # (2,) m, width and height of the field of view
    centres: Array  # (2, 2) the best position and the lower local maximum
    texture: _Waves  # slow variation of the film quality
    shape: _Waves  # slow variation of imprint, tilt and corner widths
    domains: _Waves  # sign = domain, zero = wall


def _gaussian_waves(u: Array) -> _Waves:
    """Uniforms (3, K) to waves of a Gaussian spectrum: correlation exp(-|d|^2 / 2 l^2), l = `_CORRELATION`.

    Wave vectors are normal with standard deviation 1 / (2 pi l) (Rahimi and Recht, NIPS 2007), drawn by Box and Muller.
    """
    radius = jnp.sqrt(-2.0 * jnp.log1p(-u[0])) / (2.0 * jnp.pi * _CORRELATION)
    return _Waves(radius[:, None] * _direction(2.0 * jnp.pi * u[1]), 2.0 * jnp.pi * u[2])


def _stripe_waves(u: Array, axis: Array) -> _Waves:
    """Uniforms (2, K) to waves of one period within 45 degrees of an axis: their zero lines are bent stripes.

    Level sets of such a field are the labyrinths of Cahn's random-wave model (J. Chem. Phys. 42, 93, 1965).
    """
    return _Waves(_direction(axis + 0.5 * jnp.pi * (u[0] - 0.5)) / _STRIPE_PERIOD, 2.0 * jnp.pi * u[1])


def _direction(angle: Array) -> Array:
    return jnp.stack([jnp.cos(angle), jnp.sin(angle)], axis=-1)


def _field(waves: _Waves, u: Array) -> Array:
    # Both terms in full: jaxlib 0.10.2 compiles a sum of products, then mapped, wrongly on CPU (jax issue 39103).
    phase = 2.0 * jnp.pi * (waves.wave[:, 0] * u[0] + waves.wave[:, 1] * u[1]) + waves.phase
    return jnp.sqrt(2.0 / _WAVES) * jnp.sum(jnp.cos(phase))


@jax.jit
def film(key: Array, size_m: ArrayLike = 2e-6) -> Film:
    """Draw a film.

    The best position lies in the inner 60 percent of the field, the lower maximum opposite to it, half a field away, so
    that the largest loop area is one clear region and a greedy search can be caught by the other.

    Args:
        key: PRNG key; the film is a function of it and of `size_m` only.
        size_m: side of the field of view in m, () or (2,).

    Returns:
        The film. The draws are float32 in every precision, so the same key gives the same film.
    """
    draws = jax.random.uniform(key, (8 * _WAVES + 3,), jnp.float32)  # one draw: each costs half a second of compilation
    distance, direction, axis = draws[:3]
    waves = draws[3:].reshape(8, _WAVES)
    arm = (0.28 + 0.05 * distance) * _direction(2.0 * jnp.pi * direction)
    return Film(
        size=jnp.broadcast_to(jnp.asarray(size_m, jnp.result_type(float)), (2,)),
        centres=0.5 + jnp.stack([arm, -arm]),
        texture=_gaussian_waves(waves[0:3]),
        shape=_gaussian_waves(waves[3:6]),
        domains=_stripe_waves(waves[6:8], jnp.pi * axis),
    )


def polarization(film: Film, x: ArrayLike) -> Float[Array, ""]:
    """Out-of-plane polarization before switching, in (-1, 1), at one position `x (2,)` in m: the cheap image.

    p = tanh(psi / (k w)): psi the domain field, k its wave number, so psi / k is the distance to the wall near a wall,
    and w the half-width seen by the tip. The profile is the Landau-Ginzburg kink of a 180 degree wall (Tagantsev, Cross
    and Fousek, Domains in Ferroic Crystals and Thin Films, Springer 2010).

    Args:
        film: the film.
        x: (2,) in m.

    Returns:
        ().
    """
    distance = _field(film.domains, jnp.asarray(x) / film.size) * _STRIPE_PERIOD / (2.0 * jnp.pi)
    return jnp.tanh(distance / _WALL_HALF_WIDTH)


def quality(film: Film, x: ArrayLike) -> Float[Array, ""]:
    """Film quality at one position `x (2,)` in m: 0 poor, about 1 at the best position, about 0.6 at the lower maximum.

    q(u) = sum_j h_j exp(-|u - c_j|^2 / 2 b^2) + 0.07 t(u): two bumps of width b and a slow texture t, standing
    for strain and composition that vary over the film.

    Args:
        film: the film.
        x: (2,) in m.

    Returns:
        ().
    """
    u = jnp.asarray(x) / film.size
    away = jnp.square(film.centres[:, 0] - u[0]) + jnp.square(film.centres[:, 1] - u[1])
    bumps = jnp.exp(-0.5 * away / _BUMP**2)
    return _BEST * bumps[0] + _SECOND * bumps[1] + 0.07 * _field(film.texture, u)


def loop_params(film: Film, x: ArrayLike) -> LoopParams:
    """Loop parameters at one position `x (2,)` in m, scalars in pm/V and V.

    Height and half-width grow with the quality; the domain that was there shifts the loop (imprint); at a wall,
    wall = 1 - p^2, the loop is pinched: lower by 3 percent, narrower by 6, its corners twice as wide, because a wall
    needs no nucleation and moves at a lower bias.

    Args:
        film: the film.
        x: (2,) in m.

    Returns:
        `LoopParams` of scalars.
    """
    u = jnp.asarray(x) / film.size
    q, p, s = quality(film, x), polarization(film, x), _field(film.shape, u)
    wall = 1.0 - jnp.square(p)
    height = _HEIGHT * (0.55 + 0.45 * q) * (1.0 - 0.03 * wall)
    half = _COERCIVE * (0.7 + 0.3 * q) * (1.0 - 0.06 * wall)
    imprint = 0.2 * s + 0.15 * p
    corner = 0.6 * (1.0 + wall)
    return LoopParams(
        a0=-0.5 * height + 0.02 * _HEIGHT * s,
        a1=height,
        a2=imprint + half,
        a3=imprint - half,
        a4=0.004 * _HEIGHT * (1.0 + 0.5 * s),
        b0=corner,
        b1=corner * (1.3 + 0.1 * s),
        b2=corner * (1.2 - 0.1 * s),
        b3=corner,
    )


def loop(
    film: Film, x: ArrayLike, bias: ArrayLike, up: ArrayLike | None = None, vmax: ArrayLike | None = None
) -> Float[Array, "*n"]:
    """Noise-free response in pm/V, shape of `bias`, of the loop at one position.

    A sweep too small to switch gives a flat loop: the height is multiplied by the switched share
    (1 + tanh((vmax - half-width) / 0.5 V)) / 2, which is 1 for a sweep well above the coercive bias.

    Args:
        film: the film.
        x: (2,) position in m; outside the field of view the formulas go on smoothly.
        bias: (n,) V, a cyclic sweep.
        up: bool (n,), the rising branch, and vmax: () V, the amplitude, where `bias` is not the whole cycle.

    Raises:
        Nothing; a non-finite position or bias gives a non-finite response.
    """
    v = jnp.asarray(bias)
    params = loop_params(film, x)
    half = 0.5 * (jnp.asarray(params.a2) - params.a3)
    amplitude = jnp.max(jnp.abs(v)) if vmax is None else jnp.asarray(vmax)
    share = 0.5 * (1.0 + jnp.tanh((amplitude - half) / 0.5))
    return loop_function(v, params._replace(a0=params.a0 * share, a1=params.a1 * share), up)


def grid(film: Film, shape: tuple[int, int]) -> Float[Array, "n 2"]:
    """Positions (nx * ny, 2) in m of an evenly spaced grid over the field, corners included, x slowest.

    `values.reshape(nx, ny)` is indexed [x, y]; show it with `imshow(values.T, origin="lower")`.

    Args:
        film: the film.
        shape: (nx, ny) points along x and y.

    Returns:
        (nx * ny, 2) in m.
    """
    x, y = (film.size[i] * jnp.linspace(0.0, 1.0, shape[i]) for i in range(2))
    return jnp.stack([g.ravel() for g in jnp.meshgrid(x, y, indexing="ij")], axis=-1)


def loop_area_map(film: Film, positions: ArrayLike, bias: ArrayLike | None = None) -> Float[Array, " n"]:
    """The truth: |loop area| in pm at `positions (m, 2)` in m, noise-free, shape (m,).

    The loop of `bias (n,)` (default 64 points of an 8 V triangle) is integrated as a measured one would be.

    Args:
        film: the film.
        positions: (m, 2) in m.
        bias: (n,) V.

    Returns:
        (m,) pm.
    """
    v = triangle(8.0, 64) if bias is None else jnp.asarray(bias)
    return jax.vmap(lambda x: jnp.abs(loop_area(v, loop(film, x, v))))(jnp.asarray(positions))


def noise(key: Array, shape: tuple[int, ...], relative: ArrayLike) -> Float[Array, "*shape"]:
    """White Gaussian noise in pm/V: standard deviation `relative` times the loop height at quality 1 (`_HEIGHT`).

    Args:
        key: random key.
        shape: of the result.
        relative: () standard deviation over the height of a loop.

    Returns:
        `shape`, pm/V.
    """
    return jnp.asarray(relative) * _HEIGHT * jax.random.normal(key, shape, jnp.float32).astype(jnp.result_type(float))


def drift(key: Array, steps: int, rate: ArrayLike, walk: ArrayLike = 0.0) -> Float[Array, "steps 2"]:
    """Where the sample has gone: (steps, 2) in m, first row 0.

    d_n = n rate e + walk sum_{i<n} xi_i with e a random direction and xi standard normal: a linear creep and a random
    walk. The tip at read-back position x then measures the film at x - d_n.

    Args:
        key: PRNG key.
        steps: how many measurements.
        rate: () m per measurement.
        walk: () m per square root of a measurement.
    """
    key_angle, key_walk = jax.random.split(key)
    angle = jax.random.uniform(key_angle, (), jnp.float32, 0.0, 2.0 * jnp.pi)
    direction = jnp.stack([jnp.cos(angle), jnp.sin(angle)]).astype(jnp.result_type(float))
    kicks = jax.random.normal(key_walk, (steps, 2), jnp.float32).astype(jnp.result_type(float)).at[0].set(0.0)
    linear = jnp.asarray(rate) * jnp.outer(jnp.arange(steps, dtype=direction.dtype), direction)
    return linear + jnp.asarray(walk) * jnp.cumsum(kicks, axis=0)
