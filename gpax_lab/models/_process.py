"""What the Gaussian processes of the library share."""

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from gpax_lab.core._priors import Params, Program, name_of
from gpax_lab.core._types import Float
from gpax_lab.kernels import KernelLike
from gpax_lab.models._model import Model
from gpax_lab.models._noise import StudentNoise
from gpax_lab.models._scaling import Scale
from gpax_lab.models._transform import DataTransform


@dataclass(frozen=True, eq=False, repr=False)
class Process(Model):
    """A residual process in the unit cube, and the transform that leads there.

    Attributes:
        kernel: k(x, z, params) for one pair of points of the unit cube.
        transform: from observations to the process and back.
    """

    kernel: KernelLike
    transform: DataTransform

    def __repr__(self) -> str:
        """Kind of process, kernel and mean function."""
        mean = "the average of the observations" if self.transform.mean is None else name_of(self.transform.mean)
        return f"{super().__repr__()[:-1]}: kernel {name_of(self.kernel)}, mean {mean}>"

    @property
    def prior(self) -> Program:
        """Of all parameters."""
        return self.transform.prior

    @property
    def dim(self) -> int:
        """Number of inputs d."""
        return self.transform.low.size

    @property
    def standardized(self) -> bool:
        """Whether observations are standardised by themselves."""
        return self.transform.standardize is True

    @property
    def bounds(self) -> np.ndarray | None:
        """(d, 2) box in the user's units."""
        return self.transform.bounds

    @property
    def tails(self) -> StudentNoise | None:
        """What makes the noise heavier than normal."""
        return self.transform.noise.tails

    def noise_variance(self, params: Params, factor: Any, x: Float[Array, "m d"]) -> Float[Array, " m"]:
        """(m,) variance that a new observation at x (m, d) adds."""
        return self.transform.noise_variance(params, factor.scale, x)

    def _in_units(self, params: Params, scale: Scale, x: Array, f: Array, variance: Array) -> tuple[Array, Array]:
        """Mean and variance (or covariance) of the quantity from those of the residual process."""
        return self.transform.mean_at(params, scale, x) + scale.scale * f, jnp.asarray(scale.scale**2) * variance
