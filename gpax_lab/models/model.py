"""The contract that every model of the house fulfils."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax import Array

from gpax_lab.models.lone import warn_of_a_lone_reading
from gpax_lab.observations import MEASURED, Observations
from gpax_lab.priors import Params, Program


@dataclass(frozen=True, eq=False)
class Model:
    """Static structure: functions only, no data. Two models are equal if they are the same object.

    Attributes:
        prior: numpyro program that returns a mapping of every parameter.
        log_likelihood: (params, obs) -> () log density of the measured readings in the user's units.
        condition: (params, obs) -> factor, a pytree that holds all that prediction needs; `factor.ok` () bool says
            whether it could be computed.
        shrink: (params, factor, obs) -> factor with the same means and the variances that will hold once the
            pending points are measured.
        predict: (params, factor, x (m, d)) -> mean (m,) and variance (m,) of the noise-free quantity, user's units.
        joint: (params, factor, x (m, d)) -> mean (m,) and covariance (m, m), likewise.
        paths: (params, factor, obs, key, count, x (m, d)) -> (count, m) functions drawn from the process, user's units;
            the same key gives the same functions, wherever they are evaluated.
        noise_variance: (params, factor, x (m, d)) -> (m,) variance that a new reading at x adds to the noise-free
            quantity.
        leave_one_out: (params, obs) -> mean (capacity,) and variance (capacity,) of each reading given the others,
            noise included; meaningful in measured slots.
        dim: number of inputs d.
        standardized: whether readings are standardised by themselves, so that the prior depends on them and the
            evidence can not be compared with that of another model.
        bounds: (d, 2) box in the user's units that the model is made for; None where it makes no difference.
        robust: whether its noise has heavy tails, so that one reading far from all others does not set their scale.
    """

    prior: Program
    log_likelihood: Callable[[Params, Observations], Array]
    condition: Callable[[Params, Observations], Any]
    shrink: Callable[[Params, Any, Observations], Any]
    predict: Callable[[Params, Any, Array], tuple[Array, Array]]
    joint: Callable[[Params, Any, Array], tuple[Array, Array]]
    paths: Callable[[Params, Any, Observations, Array, int, Array], Array]
    noise_variance: Callable[[Params, Any, Array], Array]
    leave_one_out: Callable[[Params, Observations], tuple[Array, Array]]
    dim: int
    standardized: bool
    bounds: np.ndarray | None
    robust: bool = False

    def check(self, obs: Observations) -> None:
        """Refuse readings that the model can not be meant for (outside jit; under jit nothing can be known).

        Raises:
            ValueError: the inputs have another number of columns, or lie farther outside the box than it is wide.
        """
        if obs.x.shape[-1] != self.dim:
            raise ValueError(f"this model has {self.dim} inputs, the observations {obs.x.shape[-1]}.")
        if self.standardized and not self.robust:
            warn_of_a_lone_reading(obs)
        if self.bounds is None or any(isinstance(leaf, jax.core.Tracer) for leaf in (obs.status, obs.x)):
            return
        x = np.asarray(obs.x)[np.asarray(obs.status) == MEASURED]
        low, high = self.bounds.T
        far = (x < 2 * low - high) | (x > 2 * high - low)
        if far.any():
            column = int(far.any(axis=0).argmax())
            span, made_for = (
                f"[{a:g}, {b:g}]" for a, b in ((x[:, column].min(), x[:, column].max()), self.bounds[column])
            )
            raise ValueError(
                f"input {column} of the readings spans {span}, but the model is made for {made_for}: give it "
                "bounds=[[low, high], ...] in your own units, one pair for each input (without bounds, the unit cube)."
            )
