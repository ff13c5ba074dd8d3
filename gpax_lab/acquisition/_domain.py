"""What an observation has to be the best of: the observations that lie where may still be asked."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jax import Array

from gpax_lab.core._inputs import numbers
from gpax_lab.core._observations import Observations
from gpax_lab.core._types import ArrayLike
from gpax_lab.hypotheses._mixture import HypothesisMixture
from gpax_lab.inference._posterior import Posterior

POINTS = 128
"""Points of a domain that are looked at where no observation lies in it."""

Region: TypeAlias = Callable[[Array], Array]
"""x (d,) -> () bool, whether it lies inside. Pass the same function object each time: a new one compiles anew."""


class Domain(NamedTuple):
    """Observations with which a new one has to compete.

    Attributes:
        inside: (capacity,) bool, slots that lie where may still be asked.
        points: (n, d) some points of the domain.
        predicted: (draws, n) posterior mean there, draw by draw; 0 where an observation lies inside.
    """

    inside: Array
    points: Array
    predicted: Array


@dataclass(frozen=True)
class Window:
    """The region between two corners, both included: ((low, high), ...) for each input."""

    bounds: tuple[tuple[float, float], ...]

    def __call__(self, x: Array) -> Array:
        """Whether x (d,) lies inside.

        Raises:
            ValueError: the window has another number of inputs.
        """
        if len(self.bounds) != x.shape[0]:
            raise ValueError(f"among has bounds of {len(self.bounds)} inputs, and a point has {x.shape[0]}.")
        low, high = jnp.asarray(self.bounds, x.dtype).T
        return jnp.all((x >= low) & (x <= high))


def as_region(among: Region | ArrayLike | None) -> Region | None:
    """A function as it is; bounds (d, 2) as a window, infinite ones allowed.

    Raises:
        ValueError: neither.
    """
    if among is None or callable(among):
        return among
    bounds = numbers(among, "among")
    if bounds.ndim != 2 or bounds.shape[1] != 2 or not (bounds[:, 0] <= bounds[:, 1]).all():
        raise ValueError(
            f"among is a function x (d,) -> bool, or bounds (d, 2) with low <= high; got {bounds.tolist()}."
        )
    return Window(tuple((low, high) for low, high in bounds.tolist()))


def domain_of(posterior: Posterior | HypothesisMixture, obs: Observations, inside: Array, points: Array) -> Domain:
    """The domain whose slots are `inside`; the posterior is asked about the points only if no observation is."""
    shape = jax.eval_shape(posterior.predict, points)[0]
    nothing = jnp.zeros(shape.shape, shape.dtype)
    some = (obs.measured & inside).any()
    predicted = jax.lax.cond(some, lambda: nothing, lambda: posterior.predict(points)[0])
    return Domain(inside, points, predicted)
