"""What structure says about a spectrum, as models that compete: position, brightness, the pattern around it."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from gpax_lab.core._inputs import numbers
from gpax_lab.core._interning import interned
from gpax_lab.core._types import ArrayLike
from gpax_lab.images._patches import around, normalized
from gpax_lab.kernels import KernelLike, matern52
from gpax_lab.models import gp
from gpax_lab.models._deep_kernel import deep_kernel
from gpax_lab.models._model import Model

POSITION, BRIGHTNESS, PATTERN = "position", "brightness", "pattern"
"""Names of the three models of `descriptions`."""


def descriptions(
    image: ArrayLike,
    positions: ArrayLike,
    size: int,
    *,
    components: int = 5,
    brightness: Callable[[Array], Array] | None = None,
    kernel: KernelLike = matern52,
    standardize: bool | tuple[float, float] = True,
) -> dict[str, Model]:
    """Three processes of a quantity in an image: on the position, on the brightness, on the pattern around it.

    Which of them holds is not known beforehand, and a network that has to find it out needs more measurements than most
    campaigns have. Let them compete by `model_average(laplace())` on `hypotheses(...)` of them, made with (location,
    scale): on a measured map of hysteresis loops this found the best spectra as fast as the right one of the three
    would have, and faster than any deep kernel (`benchmarks/dkl_active.py`).

    Args:
        image: (h, w).
        positions: (n, 2) points that may be measured, row and column in pixels.
        size: edge of the patch that is the pattern, pixels.
        components: principal components of the patches that stand for the pattern.
        brightness: positions (m, 2) -> (m, 1), in any unit; None for the image's own value, interpolated.
        kernel: of all three.
        standardize: as in `gp.exact`; (location, scale) from what is known beforehand, where they are to compete.

    Returns:
        Models of points (row, column), by name.

    Raises:
        ValueError: an image, positions or components that do not fit.

    Example:
        >>> from gpax_lab import hypotheses
        >>> from gpax_lab.images import pixel_positions
        >>> image = np.random.default_rng(0).normal(size=(20, 20))
        >>> hypotheses(descriptions(image, pixel_positions((20, 20)), 5, standardize=(0.0, 1.0))).names
        ('position', 'brightness', 'pattern')
    """
    from gpax_lab.nn._pretrain import principal_components

    points = numbers(positions, "positions")
    if points.ndim != 2 or points.shape[1] != 2 or not np.all(np.ptp(points, axis=0) > 0):
        raise ValueError(f"positions must be (n, 2) and differ in rows and columns; got shape {points.shape}.")
    seen = normalized(jnp.asarray(image, jnp.result_type(float)))
    look = around(seen, size)
    encoder = principal_components(look(jnp.asarray(points)), components).encoder
    bright = _flat(around(seen, 1)) if brightness is None else _flat(brightness)
    value = principal_components(bright(jnp.asarray(points)), 1).encoder  # standardises it
    box = np.stack([points.min(axis=0), points.max(axis=0)], axis=1)
    common: dict[str, Any] = {"kernel": kernel, "standardize": standardize, "bounds": box}
    return {
        POSITION: gp.exact(2, **common),
        BRIGHTNESS: deep_kernel(value, bright, **common),
        PATTERN: deep_kernel(encoder, look, **common),
    }


@interned
def _flat(look: Callable[[Array], Array]) -> Callable[[Array], Array]:
    return lambda x: look(x).reshape(x.shape[0], 1)
