"""The contract that every model of the house fulfils."""

import pickle
import warnings
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import jax
import numpy as np
from jax import Array

from gpax_lab.core import _compiler as compiler
from gpax_lab.core._inputs import resolved, traced
from gpax_lab.core._observations import MEASURED, Observations
from gpax_lab.models._exactness import Needs, refuse_contradictions, refuse_impossible
from gpax_lab.models._noise import StudentNoise
from gpax_lab.models._outlier import warn_of_a_lone_reading
from gpax_lab.priors import Params, Program

NARROW = 1e-3
"""Share of the box within which no kernel of the default priors tells places apart."""


COMPILED = (
    "log_likelihood", "condition", "condition_on_pending", "predict", "joint", "paths", "noise_variance", "leave_one_out",
)  # fmt: skip
"""Functions of a model that are compiled as they are called."""


@dataclass(frozen=True, eq=False)
class Model:
    """Static structure: functions only, no data. Two models are equal if they are the same object.

    Attributes:
        prior: numpyro program that returns a mapping of every parameter.
        log_likelihood: (params, obs) -> () log density of the measured readings in the user's units.
        condition: (params, obs) -> factor, a pytree that holds all that prediction needs; `factor.ok` () bool says
            whether it could be computed.
        condition_on_pending: (params, factor, obs) -> factor with the same means and the variances that will hold once the
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
        tails: None for Gaussian noise, or what makes it heavier, so that one reading far from all others does not set
            their scale.
        outputs: number of quantities.
        needs_noise: which readings need a known variance, because the model adds none.
    """

    prior: Program
    log_likelihood: Callable[[Params, Observations], Array]
    condition: Callable[[Params, Observations], Any]
    condition_on_pending: Callable[[Params, Any, Observations], Any]
    predict: Callable[[Params, Any, Array], tuple[Array, Array]]
    joint: Callable[[Params, Any, Array], tuple[Array, Array]]
    paths: Callable[[Params, Any, Observations, Array, int, Array], Array]
    noise_variance: Callable[[Params, Any, Array], Array]
    leave_one_out: Callable[[Params, Observations], tuple[Array, Array]]
    dim: int
    standardized: bool
    bounds: np.ndarray | None
    tails: StudentNoise | None = None
    outputs: int = 1
    needs_noise: Needs = "nothing"

    def __post_init__(self) -> None:
        # Called op by op, a density is a hundred programs for the compiler; as one it is one, and is traced once.
        for name in COMPILED:
            function = getattr(self, name)
            if not hasattr(function, "lower"):
                count = 4 if name == "paths" else ()
                object.__setattr__(self, name, jax.jit(function, static_argnums=count))

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[bytes]]:
        """For pickle: a model is made of functions, which cloudpickle can write and pickle alone can not."""
        try:
            import cloudpickle
        except ImportError as error:
            raise TypeError(
                "a model is made of functions, which do not pickle: keep a posterior by posterior.save(path), read it "
                "by load_posterior(path, model), or install cloudpickle."
            ) from error
        parts = {one.name: getattr(self, one.name) for one in fields(self)}
        plain = {name: getattr(part, "__wrapped__", part) if name in COMPILED else part for name, part in parts.items()}
        return _rebuilt, (cloudpickle.dumps(plain),)

    def check(self, obs: Observations) -> None:
        """Refuse readings that the model can not be meant for (outside jit; under jit nothing can be known).

        Warns where one reading sets the scale of all, and where all lie within next to nothing of the box.

        Raises:
            TypeError: they are no Observations.
            ValueError: inputs or readings have another number of columns, inputs lie farther outside the box than it is
                wide or in steps too coarse for it, readings that are known exactly contradict each other, or a measured
                slot holds what `observations` would have refused.
        """
        if not isinstance(obs, Observations):
            raise TypeError(f"readings are given as observations(x, y); got {type(obs).__name__}.")
        compiler.warn_once()
        self.check_columns(obs)
        if self.bounds is not None:
            resolved(self.bounds, obs.x.dtype)
        if traced(obs):
            return
        refuse_impossible(obs)
        if self.standardized and self.tails is None:
            warn_of_a_lone_reading(obs)
        refuse_contradictions(obs, self.needs_noise)
        places = np.asarray(obs.x)[np.asarray(obs.status) == MEASURED]
        self.check_places(places, "the readings")
        if said := self._narrow(places, "the readings"):
            warnings.warn(said, stacklevel=3)

    def check_columns(self, obs: Observations) -> None:
        """Refuse readings of another shape than the model looks at (also under jit).

        Raises:
            ValueError: inputs or readings have another number of columns.
        """
        if obs.x.shape[-1] != self.dim:
            raise ValueError(f"this model has {self.dim} inputs, the observations {obs.x.shape[-1]}.")
        found = 1 if obs.y.ndim == 1 else obs.y.shape[1]
        if found != self.outputs:
            remedy = "models.vector.vector(model, m), or one column of y" if self.outputs == 1 else "y (n, m)"
            raise ValueError(
                f"this model looks at {self.outputs} quantities, the readings hold {found}: give {remedy}."
            )

    def check_places(self, x: np.ndarray, whose: str) -> None:
        """Refuse places (n, d) farther outside the box than it is wide (outside jit).

        Raises:
            ValueError: such a place, or another number of inputs.
        """
        if x.shape[-1] != self.dim:
            raise ValueError(f"this model has {self.dim} inputs, {whose} {x.shape[-1]}.")
        if self.bounds is None:
            return
        low, high = self.bounds.T
        far = (x < 2 * low - high) | (x > 2 * high - low)
        if far.any():
            column = int(far.any(axis=0).argmax())
            row = "" if whose == "the candidates" else f" (row {int(far[:, column].argmax())})"
            span, made_for = (
                f"[{a:g}, {b:g}]" for a, b in ((x[:, column].min(), x[:, column].max()), self.bounds[column])
            )
            raise ValueError(
                f"input {column} of {whose}{row} spans {span}, but the model is made for {made_for}: give it "
                "bounds=[[low, high], ...] in your own units, one pair for each input (without bounds, the unit cube)."
            )

    def check_extent(self, x: np.ndarray, whose: str) -> None:
        """Refuse places (n, d) that differ, but all by less than `NARROW` of the box (outside jit).

        Raises:
            ValueError: all are one place to the model.
        """
        if said := self._narrow(x, whose):
            raise ValueError(said)

    def _narrow(self, x: np.ndarray, whose: str) -> str | None:
        if self.bounds is None or len(x) < 2:
            return None
        low, high = x.min(axis=0), x.max(axis=0)
        same = high - low <= 16 * np.finfo(x.dtype).eps * np.maximum(np.abs(low), np.abs(high))
        narrow = high - low < NARROW * (self.bounds[:, 1] - self.bounds[:, 0])
        if same.all() or not narrow.all():
            return None
        column = int((~same).argmax())
        span, made_for = (f"[{a:g}, {b:g}]" for a, b in ((low[column], high[column]), self.bounds[column]))
        return (
            f"input {column} of {whose} spans {span}, next to nothing of {made_for}, which the model is made for: give "
            "it bounds=[[low, high], ...] in your own units, one pair for each input (without bounds, the unit cube)."
        )


def _rebuilt(packed: bytes) -> Model:
    return Model(**pickle.loads(packed))
