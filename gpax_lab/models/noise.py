"""How much a reading scatters: inferred, known, or both."""

from collections.abc import Callable
from typing import Literal, TypeAlias

import jax.numpy as jnp
from jax import Array

from gpax_lab.models.scaling import Scale
from gpax_lab.priors import Params

Noise: TypeAlias = Literal["inferred", "known"]
VarianceOf: TypeAlias = Callable[[Params, Array, Scale], Array]


def noise_rule(noise: Noise) -> tuple[VarianceOf, dict[str, tuple[int, ...]]]:
    """The noise variance of standardised readings, and the parameters it reads.

    Args:
        noise: "inferred" for a common unknown variance on top of the known ones, "known" for the known ones alone.

    Returns:
        (params, known (n,), scale) -> (n,) variance of standardised readings; names and shapes of its parameters.

    Raises:
        ValueError: another word.
    """
    if noise == "inferred":
        return lambda params, known, scale: params["noise"] + known / scale.scale**2, {"noise": ()}
    if noise == "known":
        return lambda params, known, scale: jnp.asarray(known / scale.scale**2), {}
    raise ValueError(f'noise must be "inferred" or "known"; got {noise!r}.')
