"""What inference and acquisition need of a model, and what only some models can do."""

import warnings
from abc import ABC, abstractmethod
from typing import Any, ClassVar, NoReturn, Protocol, runtime_checkable

import numpy as np
from jax import Array

from gpax_lab.core import _compiler as compiler
from gpax_lab.core._inputs import resolved, traced
from gpax_lab.core._observations import MEASURED, Observations
from gpax_lab.core._priors import Params, Program
from gpax_lab.core._structural import Structural
from gpax_lab.core._types import Float
from gpax_lab.models._exactness import Needs, refuse_contradictions, refuse_impossible
from gpax_lab.models._noise import StudentNoise
from gpax_lab.models._outlier import warn_of_outlier

NARROW = 1e-3
"""Share of the box within which no kernel of the default priors tells points apart."""


@runtime_checkable
class Density(Protocol):
    """What a sampler needs: a prior and a log likelihood of data of any type."""

    @property
    def prior(self) -> Program:
        """Numpyro program that returns a mapping of every parameter."""

    def log_likelihood(self, params: Params, obs: Any, /) -> Array:
        """() log density of the data."""


class Model(Structural, ABC):
    """A prior, a log likelihood and a predictor, as an immutable value without data.

    A model is a frozen dataclass; two are equal if their fields are, functions by identity. A copy is the same object;
    one read back by pickle equals it if all of its functions can be imported by name (a lambda or a function of a
    notebook comes back as another one, and the model is compiled once more). To write one, give the
    properties and methods below. What only some can do has a protocol of its own: `DrawsJointly`, `DrawsPaths`,
    `LeavesOneOut`, `ConditionsOnPending`.
    """

    compiled: ClassVar[dict[str, tuple[int, ...]]] = {
        "log_likelihood": (), "condition": (), "condition_on_pending": (), "predict": (), "joint": (), "paths": (4,),
        "noise_variance": (), "leave_one_out": (),
    }  # fmt: skip

    def __repr__(self) -> str:
        """What kind of model it is."""
        return f"<{type(self).__name__} of {self.dim} input{'s' if self.dim > 1 else ''}>"

    @property
    @abstractmethod
    def prior(self) -> Program:
        """Numpyro program that returns a mapping of every parameter."""

    @property
    @abstractmethod
    def dim(self) -> int:
        """Number of inputs d."""

    @property
    @abstractmethod
    def standardized(self) -> bool:
        """Whether observations are standardised by themselves.

        Then the prior depends on them, and the evidence can not be compared with that of another model.
        """

    @property
    def bounds(self) -> np.ndarray | None:
        """(d, 2) box in the user's units that the model is made for; None where it makes no difference."""
        return None

    @property
    def tails(self) -> StudentNoise | None:
        """None for Gaussian noise, or what makes it heavier: one observation far from all others then sets no scale."""
        return None

    @property
    def outputs(self) -> int:
        """Number of quantities."""
        return 1

    @property
    def needs_noise(self) -> Needs:
        """Which observations need a known variance, because the model adds none."""
        return "nothing"

    @abstractmethod
    def log_likelihood(self, params: Params, obs: Observations) -> Float[Array, ""]:
        """() log density of the observations, in the user's units."""

    @abstractmethod
    def condition(self, params: Params, obs: Observations) -> Any:
        """Factor: a pytree of all that prediction needs; `factor.ok` () bool says whether it could be computed.

        Where it also has `factor.finite` () bool, whether all numbers of the covariance were finite, a kernel that is
        not positive definite is told apart from one that is not a number.
        """

    @abstractmethod
    def predict(
        self, params: Params, factor: Any, x: Float[Array, "m d"]
    ) -> tuple[Float[Array, " m *outputs"], Float[Array, " m *outputs"]]:
        """Mean (m,) and variance (m,) of the noise-free quantity at x (m, d), in the user's units."""

    @abstractmethod
    def noise_variance(self, params: Params, factor: Any, x: Float[Array, "m d"]) -> Float[Array, " m *outputs"]:
        """(m,) variance that a new observation at x (m, d) adds to the noise-free quantity."""

    def check(self, obs: Observations) -> None:
        """Refuse observations that the model can not be meant for (outside jit; under jit nothing can be known).

        Warns where one observation sets the scale of all, and where all lie within next to nothing of the box.

        Raises:
            TypeError: they are no Observations.
            ValueError: inputs or observations have another number of columns, inputs lie farther outside the box than
                it is wide or in steps too coarse for it, observations that are known exactly contradict each other, or
                a measured slot holds what `observations` would have refused.
        """
        if not isinstance(obs, Observations):
            raise TypeError(f"observations are given as observations(x, y); got {type(obs).__name__}.")
        compiler.warn_once()
        self.check_columns(obs)
        if self.bounds is not None:
            resolved(self.bounds, obs.x.dtype)
        if traced(obs):
            return
        refuse_impossible(obs)
        if self.standardized and self.tails is None:
            warn_of_outlier(obs)
        refuse_contradictions(obs, self.needs_noise)
        points = np.asarray(obs.x)[np.asarray(obs.status) == MEASURED]
        self.check_points(points, "the observations")
        if said := self._narrow(points, "the observations"):
            warnings.warn(said, stacklevel=3)

    def check_columns(self, obs: Observations) -> None:
        """Refuse observations of another shape than the model takes (also under jit).

        Raises:
            ValueError: inputs or observations have another number of columns.
        """
        if obs.x.shape[-1] != self.dim:
            raise ValueError(f"this model has {self.dim} inputs, the observations {obs.x.shape[-1]}.")
        found = 1 if obs.y.ndim == 1 else obs.y.shape[1]
        if found != self.outputs:
            remedy = "models.multi_output(model, m), or one column of y" if self.outputs == 1 else "y (n, m)"
            raise ValueError(
                f"this model is of {self.outputs} quantities, the observations hold {found}: give {remedy}."
            )

    def check_points(self, x: np.ndarray, whose: str) -> None:
        """Refuse points (n, d) farther outside the box than it is wide (outside jit).

        Raises:
            ValueError: such a point, or another number of inputs.
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
        """Refuse points (n, d) that differ, but all by less than `NARROW` of the box (outside jit).

        Raises:
            ValueError: all are one point to the model.
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


@runtime_checkable
class DrawsJointly(Protocol):
    """A model that knows how its values at several points go together."""

    def joint(
        self, params: Params, factor: Any, x: Float[Array, "m d"]
    ) -> tuple[Float[Array, " m"], Float[Array, "m m"]]:
        """Mean (m,) and covariance (m, m) of the noise-free quantity at x (m, d), in the user's units."""


@runtime_checkable
class DrawsPaths(Protocol):
    """A model from which whole functions are drawn."""

    def paths(
        self, params: Params, factor: Any, obs: Observations, key: Array, count: int, x: Float[Array, "m d"]
    ) -> Float[Array, "count m"]:
        """(count, m) functions at x (m, d), user's units; a key gives the same ones, wherever they are looked at."""


@runtime_checkable
class LeavesOneOut(Protocol):
    """A model that says in closed form what its other observations say of each."""

    def leave_one_out(
        self, params: Params, obs: Observations
    ) -> tuple[Float[Array, " capacity *outputs"], Float[Array, " capacity *outputs"]]:
        """Mean and variance (capacity,) of each observation given the others, noise included; of measured slots."""


@runtime_checkable
class ConditionsOnPending(Protocol):
    """A model whose variances know of points that are asked for and not yet answered."""

    def condition_on_pending(self, params: Params, factor: Any, obs: Observations) -> Any:
        """Factor with the same means, and the variances that will hold once the pending points are measured."""


ABILITIES: dict[object, str] = {
    DrawsJointly: "joint draws at several points",
    DrawsPaths: "functions drawn from it",
    LeavesOneOut: "leave-one-out predictions",
    ConditionsOnPending: "variances that know of pending points",
}


def able(model: Model, ability: type) -> Any:
    """The model, if it can do that.

    Raises:
        TypeError: it can not, in words.
    """
    return model if isinstance(model, ability) else _refuse(model, ability)


def _refuse(model: Model, ability: type) -> NoReturn:
    hint = "; take a model of one of its quantities" if model.outputs > 1 else ""
    raise TypeError(f"{type(model).__name__} has no {ABILITIES[ability]}{hint}.")
