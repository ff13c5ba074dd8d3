"""Laws of a property over composition: its value for a mixture of k components, from those of the components.

A point x (k,) holds the fractions of all components, which sum to one (`compositions`). All laws here are linear in
their parameters and their priors are normal, so `marginal` turns each into a Gaussian process: its coefficients are
then integrated exactly, and only the noise is left to be inferred.
"""

from itertools import combinations
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax import Array

from gpax_lab.kernels import Kernel
from gpax_lab.means import Law, Mean
from gpax_lab.physics.shapes import Range, level, span
from gpax_lab.priors import Params

STEEPEST = 4.0
"""A pair of components holds x_i x_j <= 1/4 of an interaction: one of 4 ranges of y bends the law by a whole range."""


def constant(components: int, y: Range) -> Law:
    """m = C: the composition does not matter."""
    _checked(components)
    return Law(lambda x, p: p["C"] + 0.0 * x[0], {"C": level(y)}, {"C": "y"}, "m = C", "constant", components)


def vegard(components: int, y: Range) -> Law:
    """m = sum_i x_i P_i: between the pure components the property is a straight line (Vegard 1921).

    Parameters: P (k,), the property of each pure component, normal around the middle of the range of y.
    """
    return _series(components, y, 0, "m = sum x_i P_i", "Vegard 1921, Z. Phys. 5, 17")


def nordheim(components: int, y: Range) -> Law:
    """m = sum_i x_i P_i + sum_(i<j) x_i x_j A_ij: disorder scatters in proportion to x_i x_j (Nordheim 1931).

    Parameters: P (k,); A (k (k - 1) / 2,), an interaction of each pair in the order of `pairs`, of about 4 ranges of y.
    """
    formula = "m = sum x_i P_i + sum x_i x_j A_ij"
    return _series(components, y, 1, formula, "Nordheim 1931, Ann. Phys. 401, 607")


def redlich_kister(components: int, y: Range, order: int = 1) -> Law:
    """m = sum_i x_i P_i + sum_(i<j) x_i x_j [A_ij + sum_r B_r,ij (x_i - x_j)^r] (Redlich & Kister 1948).

    Interactions that differ on the two sides of a pair. Parameters: P (k,) and A (k (k - 1) / 2,) as in `nordheim`; B
    for r = 1 (B2, B3, ... for higher powers) like A. As (x_i - x_j)^r < 1, a prior of the same width lets every
    further term matter less than the one before it.

    Args:
        components: number of components k.
        y: range of the property.
        order: highest power r of (x_i - x_j), at least 1; `nordheim` is order 0.

    Raises:
        ValueError: order < 1, fewer than two components, or a range that is none.
    """
    if order < 1:
        raise ValueError(f"redlich_kister needs order >= 1; got {order}: order 0 is nordheim(...).")
    tail = "".join(f" + x_i x_j (x_i - x_j){'' if r == 1 else f'^{r}'} {_name(r)}_ij" for r in range(1, order + 1))
    formula = f"m = sum x_i P_i + sum [x_i x_j A_ij{tail}]"
    return _series(components, y, 1 + order, formula, "Redlich & Kister 1948, Ind. Eng. Chem. 40, 345")


def pairs(components: int) -> list[tuple[int, int]]:
    """All (i, j), i < j, in the order of the interactions.

    Raises:
        ValueError: fewer than two components.
    """
    _checked(components)
    return list(combinations(range(components), 2))


class Marginal(NamedTuple):
    """A linear law whose coefficients are integrated over their normal priors.

    Attributes:
        mean: the law at the means of its priors (unit of y).
        kernel: the covariance that the coefficients give two points (unit of y squared).
    """

    mean: Mean
    kernel: Kernel


def marginal(law: Law) -> Marginal:
    """The Gaussian process that a law is, if it is linear in its parameters and their priors are normal.

    With y = m0(x) + phi(x) . w and w ~ N(0, S), y has mean m0(x) and covariance phi(x)^T S phi(z) (R&W 2006, eq. 2.11).
    Take its kernel as it is, in the user's units and over fractions: `gp.exact(k, found.kernel, found.mean,
    standardize=False)`, with a prior for the variance `noise` in the unit of y squared.

    Raises:
        TypeError: a prior is not normal.
        ValueError: the law is not linear in its parameters.
    """
    wrong = [name for name, prior in law.prior.items() if not isinstance(prior, dist.Normal)]
    if wrong:
        raise TypeError(f"the priors of {wrong} are not normal: only normal coefficients integrate to a process.")
    centre = {name: jnp.broadcast_to(p.loc, p.batch_shape) for name, p in law.prior.items()}
    width = {name: jnp.broadcast_to(p.scale, p.batch_shape) for name, p in law.prior.items()}

    def slopes(x: Array, params: Params) -> Array:
        found = jax.grad(lambda p: law.mean(x, p))({name: jnp.asarray(v, x.dtype) for name, v in params.items()})
        return jnp.concatenate([jnp.ravel(width[name].astype(x.dtype) * found[name]) for name in law.prior])

    at = (1.0 + jnp.arange(law.dim, dtype=jnp.result_type(float))) / (law.dim + 1)
    here = slopes(at, centre)
    there = slopes(at, {name: centre[name] + (1.0 + 0.5 * width[name]) for name in centre})
    if not jnp.allclose(here, there, rtol=1e-4, atol=1e-6 * jnp.max(jnp.abs(here))):
        raise ValueError(f"the law {law.formula} is not linear in its parameters: follow it with parametric and smc.")

    def mean(x: Array, params: Params) -> Array:
        return law.mean(x, {name: v.astype(x.dtype) for name, v in centre.items()})

    def kernel(x: Array, z: Array, params: Params) -> Array:
        return slopes(x, centre) @ slopes(z, centre)

    return Marginal(mean, kernel)


def _checked(components: int) -> None:
    if components < 2:
        raise ValueError(f"a mixture has two components or more; got {components}.")


def _name(power: int) -> str:
    return ("A", "B")[power] if power < 2 else f"B{power}"


def _series(components: int, y: Range, terms: int, formula: str, source: str) -> Law:
    """Vegard's law and `terms` powers of (x_i - x_j), from 0 on, times x_i x_j."""
    first, second = (jnp.array(side) for side in zip(*pairs(components), strict=True))
    names = [_name(r) for r in range(terms)]

    def mean(x: Array, p: Params) -> Array:
        a, b = x[first], x[second]
        bends = [jnp.sum(p[name] * a * b * (a - b) ** r) for r, name in enumerate(names)]
        return jnp.sum(p["P"] * x) + sum(bends, start=jnp.zeros((), x.dtype))

    ends = level(y)
    prior = {"P": dist.Normal(jnp.full(components, ends.loc), ends.scale)}
    prior |= {name: dist.Normal(jnp.zeros(first.size), STEEPEST * span(y)) for name in names}
    return Law(mean, prior, dict.fromkeys(prior, "y"), formula, source, components)
