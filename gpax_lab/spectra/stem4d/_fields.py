"""From deflections to electric field, potential and charge (differential phase contrast).

A thin specimen of thickness t deflects the beam by theta = sigma lambda / (2 pi) integral E dz towards the positive
side. Fields here are projected: in V (that is V/nm times nm); divide by the thickness for V/nm.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from gpax_lab.core._linalg import cholesky, solve_lower, solve_upper
from gpax_lab.core._types import Float

VACUUM_PERMITTIVITY = 0.0552634936
"""epsilon_0 in e / (V nm): CODATA 2022."""


def projected_field(
    deflection: ArrayLike, angle: ArrayLike, wavelength: ArrayLike, interaction: ArrayLike
) -> Float[Array, "*batch 2"]:
    """Projected electric field (..., 2) in V from the centre of mass (..., 2) in detector pixels.

    E = -2 pi theta / (lambda sigma), theta = deflection * angle (Mueller et al. 2014, doi:10.1038/ncomms6653).
    Electrons go to where the potential is higher: the centre of mass points against E.

    Args:
        deflection: (..., 2) pixels.
        angle: mrad of a detector pixel.
        wavelength: nm.
        interaction: sigma in rad / (V nm).
    """
    theta = 1e-3 * jnp.asarray(deflection) * jnp.asarray(angle)
    return -2.0 * jnp.pi * theta / (jnp.asarray(wavelength) * jnp.asarray(interaction))


def without_descan(deflection: Float[Array, "h w 2"]) -> Float[Array, "h w 2"]:
    """Deflections (h, w, 2) less the plane through them: what the scan coils add, not the specimen.

    A field that is uniform over the scan goes with it.

    Args:
        deflection: (h, w, 2) pixels; positions that are not finite do not count.

    Returns:
        (h, w, 2) pixels.
    """
    h, w, _ = deflection.shape
    dtype = deflection.dtype
    along = [jnp.linspace(-1, 1, n, dtype=dtype) for n in (h, w)]
    rows, columns = jnp.meshgrid(*along, indexing="ij")
    basis = jnp.stack([jnp.ones_like(rows), rows, columns], axis=-1).reshape(-1, 3)
    values = deflection.reshape(-1, 2)
    good = jnp.isfinite(values).all(axis=1, keepdims=True)
    design, right = jnp.where(good, basis, 0.0), jnp.where(good, values, 0.0)
    lower, _ = cholesky(design.T @ design + 1e-12 * h * w * jnp.eye(3, dtype=dtype))
    plane = basis @ solve_upper(lower, solve_lower(lower, design.T @ right))
    return deflection - plane.reshape(deflection.shape)


class DetectorRotation(NamedTuple):
    """What `align_detector` returns, and describes."""

    field: Float[Array, "h w 2"]
    angle: Float[Array, ""]
    residual_curl: Float[Array, ""]


def align_detector(field: Float[Array, "h w 2"], step: tuple[float, float] = (1.0, 1.0)) -> DetectorRotation:
    """Rotate the field so that it has no curl, as an electrostatic field must (Savitzky et al. 2021, py4DSTEM).

    The angle that leaves the least mean squared curl is found in closed form; of its two solutions, 180 degrees apart,
    the one with the smaller absolute value is taken: a detector mounted upside down must be stated by hand.

    Args:
        field: (h, w, 2).
        step: between scan positions along rows and columns, in any unit: their ratio matters.

    Returns:
        field (h, w, 2) in the axes of the scan; angle () in radians by which it was rotated; residual_curl (), the mean
        squared curl that is left over the mean squared divergence: near 0 where there is a field, above about 0.5 where
        there is nothing but noise, and the angle then means nothing.
    """
    u, v = field[..., 0], field[..., 1]
    du, dv = (jnp.stack(jnp.gradient(a, *step)) for a in (u, v))
    # A rotation by a mixes the curl with the divergence: curl' = cos(a) curl + sin(a) div.
    curl, divergence = dv[0] - du[1], du[0] + dv[1]
    cc, dd, cd = (jnp.nanmean(a * b) for a, b in ((curl, curl), (divergence, divergence), (curl, divergence)))
    angle = 0.5 * jnp.arctan2(-2.0 * cd, dd - cc)
    apart = jnp.sqrt((cc - dd) ** 2 + 4.0 * cd**2)
    most = cc + dd + apart
    return DetectorRotation(rotate_vectors(field, angle), angle, (cc + dd - apart) / jnp.where(most > 0, most, 1.0))


def rotate_vectors(field: Float[Array, "*batch 2"], angle: ArrayLike) -> Float[Array, "*batch 2"]:
    """The vectors (..., 2) rotated by an angle in radians, from rows towards columns.

    Args:
        field: (..., 2).
        angle: () rad.

    Returns:
        (..., 2).
    """
    c, s = jnp.cos(angle), jnp.sin(angle)
    return jnp.stack([c * field[..., 0] - s * field[..., 1], s * field[..., 0] + c * field[..., 1]], axis=-1)


def _waves(h: int, w: int, step: tuple[float, float], dtype) -> tuple[Array, Array]:
    """Angular wave numbers of rows (h, 1) and columns (1, w); 0 at Nyquist, where a real derivative has no value."""

    def along(n: int, size: float) -> Array:
        k = 2.0 * jnp.pi * jnp.fft.fftfreq(n, size).astype(dtype)
        return k.at[n // 2].set(0.0) if n % 2 == 0 else k

    return along(h, step[0])[:, None], along(w, step[1])[None, :]


def _gaussian(h: int, w: int, step: tuple[float, float], smooth: float, dtype) -> Array:
    """(h, w) Fourier transform of a Gaussian filter of standard deviation `smooth`, Nyquist waves included."""
    rows, columns = (
        2.0 * jnp.pi * jnp.fft.fftfreq(n, size).astype(dtype) for n, size in zip((h, w), step, strict=True)
    )
    return jnp.exp(-0.5 * smooth**2 * (rows[:, None] ** 2 + columns[None, :] ** 2))


def _mirrored(field: Array) -> Array:
    """A field (h, w, 2) continued evenly in its potential: periodic without a jump."""
    u, v = field[..., 0], field[..., 1]
    u = jnp.concatenate([u, -u[::-1]], axis=0)
    u = jnp.concatenate([u, u[:, ::-1]], axis=1)
    v = jnp.concatenate([v, v[::-1]], axis=0)
    v = jnp.concatenate([v, -v[:, ::-1]], axis=1)
    return jnp.stack([u, v], axis=-1)


def potential(
    field: ArrayLike, step: tuple[float, float], periodic: bool = False, high_pass: float = 0.0
) -> Float[Array, "h w"]:
    """Projected potential (h, w) in V nm whose gradient is nearest to minus the field, with mean zero.

    V = F^-1[ i k . E_k / (|k|^2 + k0^2) ]: least squares in Fourier space (Frankot & Chellappa 1988).

    Args:
        field: (h, w, 2) V, along rows and columns; finite.
        step: nm between scan positions along rows and columns.
        periodic: whether the scan ends where it begins; otherwise it is continued by its mirror image.
        high_pass: k0 in 1/nm: waves longer than 2 pi / k0, where noise of the field grows most, are suppressed.
    """
    e = jnp.asarray(field)
    h, w = e.shape[:2]
    e = e if periodic else _mirrored(e)
    kr, kc = _waves(e.shape[0], e.shape[1], step, e.dtype)
    square = kr**2 + kc**2
    # E = -grad V, so E_k = -i k V_k and V_k = i k . E_k / k^2.
    source = 1j * (kr * jnp.fft.fft2(e[..., 0]) + kc * jnp.fft.fft2(e[..., 1]))
    series = jnp.where(square > 0, source / jnp.where(square > 0, square + high_pass**2, 1.0), 0.0)
    found = jnp.fft.ifft2(series).real[:h, :w]
    return found - jnp.mean(found)


def charge(
    field: ArrayLike, step: tuple[float, float], periodic: bool = False, smooth: float = 0.0
) -> Float[Array, "h w"]:
    """Projected charge density (h, w) in e / nm^2: epsilon_0 div E (Gauss's law).

    Args:
        field: (h, w, 2) V.
        step: nm between scan positions.
        periodic: as in `potential`: the derivative is then exact for band-limited fields; else central differences.
        smooth: nm, standard deviation of a Gaussian filter: a derivative amplifies the noise of every pixel.
    """
    e = jnp.asarray(field)
    h, w = e.shape[:2]
    e = e if periodic else _mirrored(e)
    kr, kc = _waves(e.shape[0], e.shape[1], step, e.dtype)
    low = _gaussian(e.shape[0], e.shape[1], step, smooth, e.dtype)
    if periodic:
        series = 1j * (kr * jnp.fft.fft2(e[..., 0]) + kc * jnp.fft.fft2(e[..., 1]))
        divergence = jnp.fft.ifft2(low * series).real
    else:
        # The mirrored field has kinks: central differences there, waves would ring.
        calm = [jnp.fft.ifft2(low * jnp.fft.fft2(e[..., k])).real[:h, :w] for k in (0, 1)]
        slopes = [
            jnp.asarray(jnp.gradient(one, size, axis=k)) for k, (one, size) in enumerate(zip(calm, step, strict=True))
        ]
        divergence = slopes[0] + slopes[1]
    return VACUUM_PERMITTIVITY * divergence[:h, :w]


def charge_variance(
    variance: ArrayLike, step: tuple[float, float], periodic: bool = False, smooth: float = 0.0
) -> Float[Array, "h w"]:
    """Variance (h, w) in (e / nm^2)^2 of `charge` from that of the field (h, w, 2) in V^2, errors being independent.

    The charge is linear in the field: its variance is that of the field through the square of the impulse response. In
    a scan that is not periodic this holds away from the border by more than `smooth`.

    Args:
        variance: (h, w, 2) V^2.
        step, periodic, smooth: of `charge`.

    Returns:
        (h, w) (e / nm^2)^2.
    """
    v = jnp.asarray(variance)
    h, w = v.shape[:2]
    impulse = jnp.zeros((h, w, 2), v.dtype)
    total = jnp.zeros((h, w), v.dtype)
    for k in (0, 1):
        if periodic:
            answer = charge(impulse.at[0, 0, k].set(1.0), step, True, smooth)
        else:
            # Beyond the border nothing is known: from the middle the filter is the same.
            answer = jnp.roll(
                charge(impulse.at[h // 2, w // 2, k].set(1.0), step, False, smooth), (-(h // 2), -(w // 2)), (0, 1)
            )
        total = total + jnp.fft.ifft2(jnp.fft.fft2(answer**2) * jnp.fft.fft2(v[..., k])).real
    return jnp.maximum(total, 0.0)
