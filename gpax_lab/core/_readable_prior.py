"""A prior program that prints as its parameters and their distributions."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax import Array
from numpyro import handlers
from numpyro.distributions import Distribution

from gpax_lab.core._programs import Program, vetted
from gpax_lab.core._structural import Structural

_LONGEST = 4
"""Numbers of an array that are printed."""


@dataclass(frozen=True, eq=False, repr=False)
class ReadablePrior(Structural):
    """A numpyro program; two are equal where their programs are.

    Attributes:
        program: returns a value for every parameter.
    """

    program: Program

    def __call__(self) -> dict[str, Array]:
        """A value for every parameter, sampled where it has a distribution."""
        return self.program()

    def __repr__(self) -> str:
        """One line for each parameter: its name, its shape unless it is one number, and its distribution or value."""
        lines = list(_lines(self.program))
        return "\n".join(["Prior", *(f"  {line}" for line in lines or ["of no parameter"])])


def _lines(program: Program) -> Iterator[str]:
    found: dict[str, dict[str, Any]] = {}
    values: dict[str, Any] = {}

    def run(key: Array) -> int:
        traced = handlers.trace(handlers.seed(vetted(program), key))
        values.update(traced())
        found.update((name, site) for name, site in traced.trace.items() if site["type"] == "sample")
        return 0

    jax.eval_shape(run, jax.random.key(0))  # nothing is drawn, and nothing compiled
    for name, site in found.items():
        given = ", observed" if site["is_observed"] else ""
        yield f"{_named(name, site['value'])} ~ {_distribution(site['fn'])}{given}"
    for name, value in values.items():
        if name not in found:
            yield f"{_named(name, value)} = {_number(value)}"


def _named(name: str, value: Any) -> str:
    shape = np.shape(value)
    return f"{name} {shape}" if shape else name


def _distribution(fn: Distribution) -> str:
    while type(fn).__name__ in ("ExpandedDistribution", "Independent"):
        fn = fn.base_dist
    numbers = [f"{name}={_number(getattr(fn, name))}" for name in fn.arg_constraints if hasattr(fn, name)]
    return f"{type(fn).__name__}({', '.join(numbers)})"


def _number(value: Any) -> str:
    if isinstance(value, jax.core.Tracer):
        return "(depends on others)"
    array = np.asarray(value)
    if array.dtype.kind not in "fiu":
        return str(value)
    each = [f"{one:.4g}" for one in array.ravel()]
    if len(set(each)) == 1:
        return each[0]
    return f"[{', '.join(each[:_LONGEST])}{', ...' if len(each) > _LONGEST else ''}]"
