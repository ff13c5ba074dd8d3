"""The words that settings may use for kernels, distributions, scores and scalars; a new word is a new row here."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpyro.distributions as dist
from jax import Array

from gpax_lab import acquisition, kernels
from gpax_lab.acquisition import Acquisition
from gpax_lab.kernels import KernelLike
from gpax_lab.settings._check import Check, number
from gpax_lab.spectra import loops

KERNELS: Mapping[str, KernelLike] = {
    "rbf": kernels.rbf,
    "matern12": kernels.matern12,
    "matern32": kernels.matern32,
    "matern52": kernels.matern52,
    "rational_quadratic": kernels.rational_quadratic,
    "periodic": kernels.periodic,
    "linear": kernels.linear,
}


class Named(NamedTuple):
    """A distribution and the limits of its arguments."""

    make: Callable[..., dist.Distribution]
    arguments: Mapping[str, Check]


_POSITIVE = number(0.0, above=True)

DISTRIBUTIONS: Mapping[str, Named] = {  # kernel and noise parameters are positive, so only these
    "LogNormal": Named(dist.LogNormal, {"loc": number(), "scale": _POSITIVE}),
    "HalfNormal": Named(dist.HalfNormal, {"scale": _POSITIVE}),
    "Gamma": Named(dist.Gamma, {"concentration": _POSITIVE, "rate": _POSITIVE}),
    "InverseGamma": Named(dist.InverseGamma, {"concentration": _POSITIVE, "rate": _POSITIVE}),
    "Exponential": Named(dist.Exponential, {"rate": _POSITIVE}),
    "Uniform": Named(dist.Uniform, {"low": number(0.0), "high": _POSITIVE}),
}


class ScoreWord(NamedTuple):
    """A score, the arguments it takes besides the goal, and whether it is a logarithm (so that penalties add up)."""

    make: Callable[..., Acquisition]
    arguments: tuple[str, ...]
    has_goal: bool
    logarithm: bool


ACQUISITIONS: Mapping[str, ScoreWord] = {
    "log_ei": ScoreWord(acquisition.log_ei, ("xi",), True, True),
    "log_pi": ScoreWord(acquisition.log_pi, ("xi",), True, True),
    "ucb": ScoreWord(acquisition.ucb, ("beta",), True, False),
    "uncertainty": ScoreWord(acquisition.uncertainty, (), False, False),
    "disagreement": ScoreWord(acquisition.disagreement, (), False, False),
    "thompson": ScoreWord(acquisition.thompson, (), True, False),
}


class Scalar(NamedTuple):
    """A number read from a loop: (bias (n,) V, response (n,)) -> () , its name and its unit for responses in `{}`."""

    read: Callable[[Array, Array], Array]
    name: str
    unit: str


def _area(bias: Array, response: Array) -> Array:
    return abs(loops.loop_area(bias, response))


SCALARIZERS: Mapping[str, Scalar] = {
    "loop_area": Scalar(_area, "loop area", "{} V"),
    "log_loop_area": Scalar(loops.log_loop_area, "log10 of the loop area", "log10({} V)"),
}
