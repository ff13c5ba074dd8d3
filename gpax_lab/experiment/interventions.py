"""What a person may do between two steps. Each action is data, journalled, and applied by a pure function.

Each one may say who asks for it and why: `Pin(x, by="Ana", why="a crack")`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import jax.numpy as jnp
import numpy as np

from gpax_lab.acquisition._candidates import closing
from gpax_lab.core._inputs import numbers, points_of, traced
from gpax_lab.core._observations import PENDING, VETOED
from gpax_lab.experiment._buffer import reserved, with_buffer
from gpax_lab.experiment._experiment import State
from gpax_lab.hypotheses import _formulas as formulas
from gpax_lab.hypotheses._mixture import Hypotheses
from gpax_lab.means import Law
from gpax_lab.models._model import Model
from gpax_lab.models._parametric import parametric

__all__ = [
    "Adopt",
    "Discard",
    "Intervention",
    "Pin",
    "Reject",
    "Rescale",
    "Reweigh",
    "Veto",
]

_NO_INTERVENTION = "an intervention is a Pin, Veto, Reweigh, Rescale, Adopt, Reject or Discard; got {!r}."


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """Who asks for an intervention, and why; the journal keeps both.

    Attributes:
        by: name of a person or a program.
        why: the reason, in words.
        wish: name of the wish that it comes from, where there is one; see `gpax_lab.live`.
    """

    by: str = ""
    why: str = ""
    wish: str = ""


@dataclass(frozen=True)
class Pin(_Asked):
    """Measure these points next, (q, d) in the user's units, instead of what the acquisition function would choose."""

    x: np.ndarray


@dataclass(frozen=True)
class Veto(_Asked):
    """Never measure these points, or anywhere in a box.

    Attributes:
        x: (n, d) points in the user's units: each takes a slot of its own.
        box: (d, 2) low and high of each input, in place of points: no candidate within is proposed any more.

    Raises:
        ValueError: both, or neither.
    """

    x: np.ndarray | None = None
    box: np.ndarray | None = None

    def __post_init__(self) -> None:
        if (self.x is None) == (self.box is None):
            raise ValueError("a Veto is of points x or of a box: give one of them.")


@dataclass(frozen=True)
class Reweigh(_Asked):
    """Change the weights of the acquisition function's terms, one number each, in the order of `Acquisition.names`."""

    weights: tuple[float, ...]


@dataclass(frozen=True)
class Rescale(_Asked):
    """Use another scalarizer, by the name under which the campaign knows it; past measurements too."""

    scalarizer: str


@dataclass(frozen=True)
class Adopt(_Asked):
    """Let a law join the model average, as proposed or edited: all as data, so that the journal can bring it back.

    Attributes:
        name: of the new hypothesis.
        formula: its law, see `formulas.formula`.
        prior: parameter -> fixed number or {"distribution": ..., its arguments}, see `formulas.distribution`.
        units: of the parameters.
        inputs: names of the inputs in order.
        scale: location and scale of the observations as known beforehand; None for that of the other hypotheses.
        noise: variance of the noise relative to the scale squared, as an entry of `prior`; None for the default prior.
        share: its probability at the moment of adoption; None for that of one among equals, 1 / (M + 1). The others
            keep the rest in their proportions.
        source: where it comes from.
    """

    name: str
    formula: str
    prior: Mapping[str, Any]
    units: Mapping[str, str] = field(default_factory=dict)
    inputs: tuple[str, ...] = ("x",)
    scale: tuple[float, float] | None = None
    noise: Any = None
    share: float | None = None
    source: str = "adopted during the campaign"

    @classmethod
    def of(cls, name: str, law: Law, inputs: Sequence[str] = ("x",), **more: Any) -> "Adopt":
        """A law made by `formula`, or by `Proposal.law`, under this name; `more` as in `Adopt`.

        Raises:
            ValueError: the law's formula can not be read back, or a prior can not be written as data.
        """
        formulas.parse(law.formula)
        prior = {parameter: formulas.as_data(value) for parameter, value in law.prior.items()}
        return cls(name, law.formula, prior, dict(law.units), tuple(inputs), source=law.source, **more)

    @property
    def law(self) -> Law:
        """The law that the text says."""
        prior = {name: _distribution(value) for name, value in self.prior.items()}
        return formulas.formula(self.formula, prior, self.units, self.inputs, self.source)

    def model(self, known: Hypotheses) -> Model:
        """The law with independent noise, on the scale of the other hypotheses.

        Raises:
            ValueError: the formula, the prior or the scale is none, or a parameter is called noise.
        """
        if "noise" in self.prior:
            raise ValueError("the prior of the noise is given as noise=..., not among the parameters of the law.")
        scale = known.scale if self.scale is None else self.scale
        if scale is None:
            raise ValueError(
                f"{self.name!r} needs scale=(location, scale) of the observations, as the other models have: its noise "
                "is relative to it, and evidence on another scale can not be compared."
            )
        law = self.law
        noise = {} if self.noise is None else {"noise": _distribution(self.noise)}
        return parametric(law.dim, law, dict(law.prior) | noise, standardize=scale)


def _distribution(value: Any) -> Any:
    """From data, or from a numpyro distribution that can be written as data."""
    return formulas.distribution(formulas.as_data(value))


@dataclass(frozen=True)
class Reject(_Asked):
    """Turn a proposed law down. It changes nothing; the journal knows of it."""

    name: str
    formula: str


@dataclass(frozen=True)
class Discard(_Asked):
    """Mark a past measurement as bad: from now on it is a failed one, and the model is fitted anew without it.

    Attributes:
        token: its name in the journal.
    """

    token: str


Intervention: TypeAlias = Pin | Veto | Reweigh | Rescale | Adopt | Reject | Discard
"""What a person may ask for between two steps; a hook of `run` gives any number of them."""


def apply(state: State, action: Intervention) -> State:
    """The state after an intervention. A pin marks its points as pending; `run` then measures them.

    Raises:
        ValueError: the number of weights is not the number of terms, or points have the wrong width, are not finite, or
            lie far outside the box of the model; or no candidate would be left outside a box.
        TypeError: it is no intervention.
    """
    match action:
        case Veto(None, box) if box is not None:
            return state._replace(candidates=closing(state.candidates, box))
        case Pin(x) | Veto(x):
            points = points_of(x, state.obs.x.shape[1], state.obs.x.dtype, "the points")
            for model in state.posterior.models:
                model.check_points(points, f"the points to {type(action).__name__.lower()}")
            state = with_buffer(state, len(points))
            return reserved(state, jnp.asarray(points), VETOED if isinstance(action, Veto) else PENDING)
        case Reweigh(weights):
            if len(weights) != len(state.acquisition.weights):
                raise ValueError(f"{len(state.acquisition.weights)} weights needed, for {state.acquisition.names}.")
            given = [] if traced(weights) else [numbers(weight, "a weight") for weight in weights]
            if not all(weight.shape == () and np.isfinite(weight) for weight in given):
                raise ValueError(f"a weight of the acquisition function is one finite number; got {weights}.")
            arrays = tuple(jnp.asarray(w, old.dtype) for w, old in zip(weights, state.acquisition.weights, strict=True))
            return state._replace(acquisition=replace(state.acquisition, weights=arrays))
        case Rescale() | Adopt() | Reject() | Discard():  # `run` does what needs a fit
            return state
    raise TypeError(_NO_INTERVENTION.format(action))
