"""A simulated four-dimensional STEM measurement: a focused probe on a thin specimen, and the pattern behind it.

The specimen is a phase object: the probe is multiplied by exp(i sigma V), V the projected potential. Lengths are in nm,
angles in mrad, projected potentials in V nm, doses in electrons. Everything is periodic over the field of view.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from gpax_lab.core._types import Complex, Float

__all__ = [
    "atoms",
    "discs",
    "interaction",
    "pattern",
    "perovskite",
    "probe",
    "scan",
    "seen_field",
    "wavelength",
]

_PLANCK, _MASS, _CHARGE, _LIGHT = 6.62607015e-34, 9.1093837139e-31, 1.602176634e-19, 299792458.0
"""h (J s), m (kg), e (C), c (m/s): CODATA 2022."""


def wavelength(voltage: float) -> float:
    """Electron wavelength in nm at an acceleration voltage in V, relativistic (Kirkland 2010, eq. 2.5).

    Args:
        voltage: V.

    Returns:
        nm.
    """
    energy = _CHARGE * voltage
    momentum = math.sqrt(energy * (2.0 * _MASS * _LIGHT**2 + energy)) / _LIGHT
    return 1e9 * _PLANCK / momentum


def interaction(voltage: float) -> float:
    """sigma in rad / (V nm): phase per projected potential (Kirkland 2010, eq. 5.6).

    Args:
        voltage: V.

    Returns:
        rad / (V nm).
    """
    rest, energy = _MASS * _LIGHT**2, _CHARGE * voltage
    ratio = (rest + energy) / (2.0 * rest + energy)
    return 2.0 * math.pi / (wavelength(voltage) * voltage) * ratio


class _Probe(NamedTuple):
    """What `probe` returns, and describes."""

    wave: Complex[Array, "n n"]
    pixel: Float[Array, ""]
    angle: Float[Array, ""]
    semi_angle: Float[Array, ""]
    voltage: float


def probe(n: int, field: float, voltage: float = 80e3, semi_angle: float = 20.0, defocus: ArrayLike = 0.0) -> _Probe:
    """An aperture with a soft edge, focused.

    Args:
        n: pixels along an edge of the grid (static).
        field: nm along an edge.
        voltage: V.
        semi_angle: mrad of the aperture.
        defocus: nm; positive is underfocus: the probe comes to its focus that far behind the specimen's surface.

    Returns:
        The focused probe and the grid that it and the specimen are sampled on: wave (n, n) complex, centred on pixel
        (0, 0), sum |wave|^2 = 1; pixel () nm of the specimen; angle () mrad of a pixel of the pattern; semi_angle ()
        mrad of the aperture; voltage V (a Python float, fixed with the grid).

    Raises:
        ValueError: the grid cannot hold twice the aperture's angle, or a number is not positive.
    """
    if n < 8 or min(field, voltage, semi_angle) <= 0:
        raise ValueError("a probe needs n of at least 8 and positive field, voltage and semi_angle.")
    lam = wavelength(voltage)
    step = 1e3 * lam / field
    if 2.0 * semi_angle > step * n / 2:
        raise ValueError(
            f"the pattern reaches {step * n / 2:.1f} mrad, an aperture of {semi_angle} mrad needs twice its own angle: "
            "take more pixels, a smaller field or a smaller aperture."
        )
    k = jnp.fft.fftfreq(n, field / n)
    angle = 1e3 * lam * jnp.sqrt(k[:, None] ** 2 + k[None, :] ** 2)
    aperture = jnp.clip((semi_angle - angle) / step + 0.5, 0.0, 1.0)
    # Free space multiplies by exp(-i pi lambda k^2 z): after z = defocus nothing is left of this.
    phase = jnp.pi * lam * defocus * (angle / (1e3 * lam)) ** 2
    wave = jnp.fft.ifft2(aperture * jnp.exp(1j * phase))
    wave = wave / jnp.sqrt(jnp.sum(jnp.abs(wave) ** 2))
    real = aperture.dtype
    return _Probe(wave, jnp.asarray(field / n, real), jnp.asarray(step, real), jnp.asarray(semi_angle, real), voltage)


def atoms(positions: ArrayLike, strength: ArrayLike, width: ArrayLike, n: int, field: float) -> Float[Array, "n n"]:
    """Projected potential (n, n) in V nm of columns: sum_i s_i / (2 pi w_i^2) exp(-r^2 / (2 w_i^2)), periodic.

    Args:
        positions: (m, 2) nm, along rows and columns of the grid.
        strength: (m,) or () V nm^3, the integral of a column's projected potential.
        width: (m,) or () nm.
        n: pixels along an edge (static).
        field: nm along an edge.
    """
    centres = jnp.asarray(positions)
    weight = jnp.broadcast_to(jnp.asarray(strength, centres.dtype), centres.shape[:1])
    size = jnp.broadcast_to(jnp.asarray(width, centres.dtype), centres.shape[:1])
    k = 2.0 * jnp.pi * jnp.fft.fftfreq(n, field / n)
    # Built from its Fourier series: smooth over the border, and exact wherever the column stands.
    along = [jnp.exp(-1j * k[None] * p[:, None] - 0.5 * (size[:, None] * k[None]) ** 2) for p in centres.T]
    series = jnp.einsum("m,mi,mj->ij", weight.astype(along[0].dtype), along[0], along[1])
    return jnp.fft.ifft2(series).real * (n / field) ** 2


def perovskite(
    cells: int,
    n: int,
    lattice: float = 0.4,
    displacement: ArrayLike = 0.0,
    strength: tuple[float, float] = (0.5, 0.3),
    width: float = 0.03,
) -> Float[Array, "n n"]:
    """Projected potential (n, n) of cells x cells perovskite cells seen along [001]: A columns, and B columns moved.

    Args:
        cells: along an edge (static); the field of view is cells * lattice.
        n: pixels along an edge (static).
        lattice: nm.
        displacement: (cells, cells, 2) or broadcastable, nm: where each B column stands off its cell's centre, along
            rows and columns; the polarization.
        strength: V nm^3 of A and B columns: peaks near 90 V nm for the default width, as of one or two unit cells.
        width: nm, with thermal vibration.
    """
    corner = jnp.arange(cells) * lattice
    a = jnp.stack(jnp.meshgrid(corner, corner, indexing="ij"), axis=-1)
    b = a + 0.5 * lattice + jnp.broadcast_to(jnp.asarray(displacement, a.dtype), a.shape)
    columns = jnp.concatenate([a.reshape(-1, 2), b.reshape(-1, 2)])
    weight = jnp.repeat(jnp.asarray(strength, a.dtype), cells**2)
    return atoms(columns, weight, width, n, cells * lattice)


def pattern(
    of: _Probe,
    potential: Float[Array, "n n"],
    position: Float[Array, " 2"],
    dose: ArrayLike | None = None,
    key: Array | None = None,
) -> Float[Array, "n n"]:
    """Diffraction pattern (n, n) with the undeflected beam at pixel (n // 2, n // 2), rows along rows of the specimen.

    I(k) = |F[psi(r - p) exp(i sigma V(r))]|^2, whose sum is 1; with a dose, Poisson counts.

    Args:
        of: a `probe`.
        potential: (n, n) V nm on the probe's grid.
        position: (2,) nm.
        dose: electrons that hit the specimen; None for probabilities.
        key: random key of the counts; needed with a dose.
    """
    n = of.wave.shape[0]
    k = jnp.fft.fftfreq(n).astype(potential.dtype)
    shift = jnp.exp(-2j * jnp.pi * (k[:, None] * position[0] + k[None, :] * position[1]) / of.pixel)
    moved = jnp.fft.ifft2(jnp.fft.fft2(of.wave) * shift)
    exit_wave = moved * jnp.exp(1j * interaction(of.voltage) * potential)
    intensity = jnp.fft.fftshift(jnp.abs(jnp.fft.fft2(exit_wave)) ** 2) / n**2
    if dose is None:
        return intensity
    if key is None:
        raise ValueError("counts are random: give a key with the dose.")
    expected = jnp.asarray(dose, intensity.dtype) * intensity
    return jax.random.poisson(key, expected).astype(intensity.dtype)


def scan(
    of: _Probe,
    potential: Float[Array, "n n"],
    positions: Float[Array, "m 2"],
    dose: ArrayLike | None = None,
    key: Array | None = None,
    chunk: int = 64,
) -> Float[Array, "m n n"]:
    """Patterns (m, n, n) at positions (m, 2) nm, `chunk` of them at a time.

    Args:
        of: a `probe`.
        potential: (n, n) V nm.
        positions: (m, 2) nm.
        dose, key: of `pattern`.
        chunk: patterns computed together (static).

    Returns:
        (m, n, n).
    """
    keys = jax.random.split(jax.random.key(0) if key is None else key, positions.shape[0])
    if dose is not None and key is None:
        raise ValueError("counts are random: give a key with the dose.")
    one = lambda a: pattern(of, potential, a[0], dose, a[1])  # noqa: E731
    return jax.lax.map(one, (positions, keys), batch_size=chunk)


def seen_field(of: _Probe, potential: Float[Array, "n n"]) -> Float[Array, "2 n n"]:
    """(2, n, n) V: minus the gradient of the projected potential, averaged over the probe's intensity, exactly.

    By Ehrenfest's theorem this is what the centre of mass of the pattern measures, whatever the probe and however
    strong the phase object (Mueller et al. 2014, doi:10.1038/ncomms6653; Lazic et al. 2016).

    Args:
        of: a `probe`.
        potential: (n, n) V nm.

    Returns:
        (2, n, n) V.
    """
    n, field = of.wave.shape[0], of.wave.shape[0] * of.pixel
    k = 2.0 * jnp.pi * jnp.fft.fftfreq(n).astype(potential.dtype) * n / field
    k = jnp.where(jnp.abs(jnp.arange(n) - n // 2) == 0, 0.0, k) if n % 2 == 0 else k  # the derivative at Nyquist is 0
    intensity = jnp.abs(of.wave) ** 2
    # Correlation: the probe at p weighs the field at r with |psi(r - p)|^2.
    response = jnp.conj(jnp.fft.fft2(intensity)) * jnp.fft.fft2(potential)
    return -jnp.stack([jnp.fft.ifft2(1j * k[:, None] * response).real, jnp.fft.ifft2(1j * k[None, :] * response).real])


def discs(
    n: int, centres: Float[Array, "m 2"], radius: ArrayLike, strength: ArrayLike, dose: ArrayLike, key: Array
) -> Float[Array, "n n"]:
    """A pattern (n, n) of Bragg discs with soft edges: counts with `dose` electrons in all.

    Args:
        n: pixels along an edge (static).
        centres: (m, 2) pixels.
        radius: pixels.
        strength: (m,) relative intensity of each disc.
        dose: electrons.
        key: random key.
    """
    axis = jnp.arange(n, dtype=centres.dtype)
    rows, columns = axis[None, :, None] - centres[:, 0, None, None], axis[None, None, :] - centres[:, 1, None, None]
    inside = jnp.clip(jnp.asarray(radius, centres.dtype) - jnp.hypot(rows, columns) + 0.5, 0.0, 1.0)
    image = jnp.einsum("m,mij->ij", jnp.asarray(strength, centres.dtype), inside)
    return jax.random.poisson(key, jnp.asarray(dose, centres.dtype) * image / jnp.sum(image)).astype(centres.dtype)
