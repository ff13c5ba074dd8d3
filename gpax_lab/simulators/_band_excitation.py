"""A simulated band-excitation measurement: resonance spectra over a domain pattern, and while a bias is swept.

Everything a spectrum holds is a function of the domain image around its pixel (the polarization there, how much wall
is near, which domain prevails), so a model that sees the structure can predict the spectrum, exactly up to noise.
Frequencies are in Hz, biases in V, responses in pm.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from gpax_lab.core._types import Complex
from gpax_lab.simulators.ferroelectric import Film, film, grid, polarization
from gpax_lab.spectra.loops import LoopParams, loop_function
from gpax_lab.spectra.sho import ShoParams, sho_response

RESONANCE, QUALITY = 350e3, 120.0
"""Contact resonance (Hz) and Q of an ordinary cantilever on a hard film: the usual 300 to 400 kHz, Q of 50 to 200."""

HEIGHT, COERCIVE = 60.0, 2.4
"""Loop height (pm) and half-width (V) far from walls: as in `ferroelectric`."""

REACH = 0.03
"""How far a wall acts on what the tip reads, standard deviation as a share of the field of view."""

SOFTENING = 0.004
"""Relative shift of the resonance when the response changes by one loop height: a switched domain is a bit stiffer."""


class BESample(NamedTuple):
    """What a simulated sample is, pixel by pixel; every array is (n, n) [x, y]."""

    image: Array  # polarization in (-1, 1) as the cheap image shows it, with its noise
    sho: ShoParams  # amplitude pm (of the as-grown state), resonance Hz, Q, phase rad
    loop: LoopParams  # response of a full cycle in pm, biases in V


def be_spectrum(
    key: Array,
    frequency: ArrayLike,
    amplitude: ArrayLike,
    resonance: ArrayLike,
    q: ArrayLike,
    phase: ArrayLike,
    noise: ArrayLike,
) -> Complex[Array, " n"]:
    """One noisy complex spectrum: `sho_response` + noise (e_1 + i e_2), e standard normal.

    Args:
        key: random key.
        frequency: (n,) Hz.
        amplitude, resonance, q, phase: () each, in units of response, Hz, 1, rad.
        noise: () standard deviation of the real and of the imaginary part of every bin, units of response.

    Returns:
        Complex (n,).
    """
    clean = sho_response(frequency, ShoParams(amplitude, resonance, q, phase))
    parts = jax.random.normal(key, (2, *clean.shape), clean.real.dtype)
    return clean + jnp.asarray(noise, parts.dtype) * jax.lax.complex(parts[0], parts[1])


def _near(field: Array, reach: float) -> Array:
    """(n, n) Gaussian mean of a field over its surroundings; at an edge over the part inside."""
    position = jnp.arange(field.shape[0], dtype=field.dtype) / (field.shape[0] - 1)
    weight = jnp.exp(-0.5 * jnp.square((position[:, None] - position[None, :]) / reach))
    weight = weight / jnp.sum(weight, axis=1, keepdims=True)
    return weight @ field @ weight.T


@partial(jax.jit, static_argnames="n")
def be_sample(key: Array, n: int = 64, sample: Film | None = None, noise: ArrayLike = 0.02) -> BESample:
    """Draw a domain pattern and what follows from it.

    With p the polarization, w the share of wall 1 - p^2 and m the polarization, both averaged over `REACH`:
    resonance f (1 + 0.004 m - 0.02 w), Q (1 - 0.4 w), as-grown amplitude h |p| / 2 with phase 0.3 or 0.3 - pi;
    loop height h = H (1 - 0.3 w), coercive half-width c (1 - 0.4 w), imprint 0.5 m, corners (0.5 + 0.6 w) V.
    Walls are softer, lossier and easier to switch; where one domain prevails the loop is shifted towards it.

    Args:
        key: random key.
        n: pixels of a side (static).
        sample: a film of `ferroelectric.film`; drawn from the key if not given.
        noise: standard deviation of the image.

    Returns:
        The sample. The image's noise is the only thing in it that the structure does not determine.
    """
    key_film, key_image = jax.random.split(key)
    found = film(key_film) if sample is None else sample
    p = jax.vmap(lambda x: polarization(found, x))(grid(found, (n, n))).reshape(n, n)
    wall, prevailing = _near(1.0 - jnp.square(p), REACH), _near(p, REACH)
    height, half = HEIGHT * (1.0 - 0.3 * wall), COERCIVE * (1.0 - 0.4 * wall)
    imprint, corner = 0.5 * prevailing, 0.5 + 0.6 * wall
    return BESample(
        image=p + jnp.asarray(noise, p.dtype) * jax.random.normal(key_image, p.shape, p.dtype),
        sho=ShoParams(
            amplitude=0.5 * height * jnp.abs(p),
            resonance=RESONANCE * (1.0 + 0.004 * prevailing - 0.02 * wall),
            q=QUALITY * (1.0 - 0.4 * wall),
            phase=0.3 - jnp.where(p < 0, jnp.pi, 0.0),
        ),
        loop=LoopParams(
            a0=-0.5 * height,
            a1=height,
            a2=imprint + half,
            a3=imprint - half,
            a4=0.004 * height,
            b0=corner,
            b1=1.3 * corner,
            b2=1.2 * corner,
            b3=corner,
        ),
    )


def be_switching(
    frequency: ArrayLike, bias: ArrayLike, sho: ShoParams, loop: LoopParams, up: ArrayLike | None = None
) -> Complex[Array, "n_bias n_frequency"]:
    """Noise-free spectra of one pixel while the bias is swept: complex (n_bias, n_frequency).

    The loop's response r at each bias is the amplitude; a negative one is a phase shifted by pi. The resonance moves
    with the polarization, f (1 + s r / |a1|) with s = `SOFTENING`.

    Args:
        frequency: (n_frequency,) Hz.
        bias: (n_bias,) V, one cyclic sweep.
        sho: scalars; resonance, q and the phase of a positive response are used, the amplitude is not.
        loop: scalars, response in the unit of the spectra.
        up: bool (n_bias,), the rising branch where `bias` is not a whole cycle.
    """
    response = loop_function(bias, loop, up)
    shifted = sho.resonance * (1.0 + SOFTENING * response / jnp.abs(jnp.asarray(loop.a1)))
    one = jax.vmap(lambda r, f: sho_response(frequency, ShoParams(r, f, sho.q, sho.phase)))
    return one(response, shifted)
