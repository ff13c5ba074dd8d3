"""Laws of a property over composition: its value for a mixture of k components, from those of the components.

A point x (k,) holds the fractions of all components, which sum to one (`normalized` makes them of percents, and
`simplex_grid` lists them). All laws here are linear in
their coefficients, whose priors are normal, so `marginal` makes each a Gaussian process: its coefficients are then
integrated exactly, and what is left to be inferred is the noise and, for each order of interaction, one width.
"""

import math
from itertools import combinations
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax import Array

from gpax_lab.core._compositions import normalized, simplex_grid
from gpax_lab.core._interning import interned
from gpax_lab.core._priors import Params, as_program, sample
from gpax_lab.kernels import KernelLike
from gpax_lab.laws._ranges import Range, level, span
from gpax_lab.means import Law, Mean

__all__ = [
    "constant",
    "marginal",
    "nordheim",
    "normalized",
    "redlich_kister",
    "simplex_grid",
    "vegard",
]

_STEEPEST = 4.0
"""A pair of components holds x_i x_j <= 1/4 of an interaction: one of 4 ranges of y bends the law by a whole range."""
_USUAL, _EITHER_WAY = 1.0, 1.5
"""Median of a learned width in ranges of y, and the standard deviation of its logarithm: an interaction of one range
bends the law by a quarter of it, and 95 percent reach from 0.05 to 19 ranges."""


@interned
def constant(components: int, y: Range) -> Law:
    """m = C: the composition does not matter.

    Args:
        components: k.
        y: (low, high), the range of the property.

    Returns:
        A law of the fractions (k,).
    """
    _checked(components)
    return Law(lambda x, p: p["C"] + 0.0 * x[0], {"C": level(y)}, {"C": "y"}, "m = C", "constant", components)


@interned
def vegard(components: int, y: Range) -> Law:
    """m = sum_i x_i P_i: between the pure components the property is a straight line (Vegard 1921).

    Parameters: P (k,), the property of each pure component, normal around the middle of the range of y.

    Args:
        components: k.
        y: (low, high), the range of the property.

    Returns:
        A law of the fractions (k,).
    """
    return _series(components, y, 0, "m = sum x_i P_i", "Vegard 1921, Z. Phys. 5, 17")


@interned
def nordheim(components: int, y: Range, learned: bool = True) -> Law:
    """m = sum_i x_i P_i + sum_(i<j) x_i x_j A_ij: disorder scatters in proportion to x_i x_j (Nordheim 1931).

    Parameters: P (k,); A (k (k - 1) / 2,), an interaction of each pair in the order of `pairs`.

    Args:
        components: number of components k.
        y: range of the property.
        learned: whether interactions of one order share a width that is learned, log-normal around one range of y: A is
            then in units of `width_A`. False for interactions of 4 ranges of y, whatever the observations say.
    """
    formula = "m = sum x_i P_i + sum x_i x_j A_ij"
    return _series(components, y, 1, formula, "Nordheim 1931, Ann. Phys. 401, 607", learned)


@interned
def redlich_kister(components: int, y: Range, order: int = 1, learned: bool = True) -> Law:
    """m = sum_i x_i P_i + sum_(i<j) x_i x_j [A_ij + sum_r B_r,ij (x_i - x_j)^r] (Redlich & Kister 1948).

    Interactions that differ on the two sides of a pair. Parameters: P (k,) and A (k (k - 1) / 2,) as in `nordheim`; B
    for r = 1 (B2, B3, ... for higher powers) like A, each order with a width of its own where widths are learned. As
    (x_i - x_j)^r < 1, a prior of the same width lets every further term matter less than the one before it.

    Args:
        components: number of components k.
        y: range of the property.
        order: highest power r of (x_i - x_j), at least 1; `nordheim` is order 0.
        learned: as in `nordheim`.

    Raises:
        ValueError: order < 1, fewer than two components, or a range that is none.
    """
    if order < 1:
        raise ValueError(f"redlich_kister needs order >= 1; got {order}: order 0 is nordheim(...).")
    tail = "".join(f" + x_i x_j (x_i - x_j){'' if r == 1 else f'^{r}'} {_name(r)}_ij" for r in range(1, order + 1))
    formula = f"m = sum x_i P_i + sum [x_i x_j A_ij{tail}]"
    return _series(components, y, 1 + order, formula, "Redlich & Kister 1948, Ind. Eng. Chem. 40, 345", learned)


def _pairs(components: int) -> list[tuple[int, int]]:
    """All (i, j), i < j, in the order of the interactions.

    Raises:
        ValueError: fewer than two components.
    """
    _checked(components)
    return list(combinations(range(components), 2))


class Marginal(NamedTuple):
    """A law whose coefficients are integrated over their normal priors.

    Attributes:
        mean: the law at the means of these priors (unit of y).
        kernel: the covariance that the coefficients give two points (unit of y squared).
        prior: of the parameters that are left, which both read.
    """

    mean: Mean
    kernel: KernelLike
    prior: dict[str, Any]


def marginal(law: Law) -> Marginal:
    """The Gaussian process that a law is, if it is linear in those of its parameters whose priors are normal.

    With y = m0(x) + phi(x) . w and w ~ N(0, S), y has mean m0(x) and covariance phi(x)^T S phi(z) (R&W 2006, eq. 2.11).
    Other parameters, as the widths of interactions, stay: m0 and phi may depend on them in any way. Take its kernel as
    it is, in the user's units and over fractions: `gp.exact(k, found.kernel, found.mean, found.prior | {"noise": ...},
    standardize=False)`, with a prior for the variance `noise` in the unit of y squared.

    Args:
        law: of this module, or one like it.

    Returns:
        `Marginal`: mean and kernel, and the prior of what is left.

    Raises:
        TypeError: no prior is normal.
        ValueError: the law is not linear in the parameters whose priors are.
    """
    normal = {name: prior for name, prior in law.prior.items() if isinstance(prior, dist.Normal)}
    left = {name: prior for name, prior in law.prior.items() if name not in normal}
    if not normal:
        raise TypeError(f"the priors of {list(left)} are not normal: only normal coefficients integrate to a process.")
    centre = {name: jnp.broadcast_to(p.loc, p.batch_shape) for name, p in normal.items()}
    width = {name: jnp.broadcast_to(p.scale, p.batch_shape) for name, p in normal.items()}

    def law_at(x: Array, coefficients: Params, params: Params) -> Array:
        values = {name: jnp.asarray(v, x.dtype) for name, v in coefficients.items()}
        return law.mean(x, values | {name: params[name] for name in left})

    def slopes(x: Array, coefficients: Params, params: Params) -> Array:
        point = {name: jnp.asarray(v, x.dtype) for name, v in coefficients.items()}
        found = jax.grad(lambda p: law_at(x, p, params))(point)
        return jnp.concatenate([jnp.ravel(width[name].astype(x.dtype) * found[name]) for name in normal])

    at = (1.0 + jnp.arange(law.dim, dtype=jnp.result_type(float))) / (law.dim + 1)
    some = sample(jax.random.key(0), as_program(left))
    here = slopes(at, centre, some)
    there = slopes(at, {name: centre[name] + (1.0 + 0.5 * width[name]) for name in centre}, some)
    if not jnp.allclose(here, there, rtol=1e-4, atol=1e-6 * jnp.max(jnp.abs(here))):
        raise ValueError(f"the law {law.formula} is not linear in {list(normal)}: follow it with parametric and smc.")

    def mean(x: Array, params: Params) -> Array:
        return law_at(x, centre, params)

    def kernel(x: Array, z: Array, params: Params) -> Array:
        return slopes(x, centre, params) @ slopes(z, centre, params)

    return Marginal(mean, kernel, left)


def _checked(components: int) -> None:
    if components < 2:
        raise ValueError(f"a mixture has two components or more; got {components}.")


def _name(power: int) -> str:
    return ("A", "B")[power] if power < 2 else f"B{power}"


def _series(components: int, y: Range, terms: int, formula: str, source: str, learned: bool = False) -> Law:
    """Vegard's law and `terms` powers of (x_i - x_j), from 0 on, times x_i x_j, each with a width if these are learned.

    Coefficients are counted in their width, so that neither knows of the other before observations (Papaspiliopoulos,
    Roberts & Skold 2007, Statist. Sci. 22, 59).
    """
    first, second = (jnp.array(side) for side in zip(*_pairs(components), strict=True))
    names = [_name(r) for r in range(terms)]

    def wide(p: Params, name: str) -> Array | float:
        return p[f"width_{name}"] if learned else 1.0

    def mean(x: Array, p: Params) -> Array:
        a, b = x[first], x[second]
        bends = [wide(p, name) * jnp.sum(p[name] * a * b * (a - b) ** r) for r, name in enumerate(names)]
        return jnp.sum(p["P"] * x) + sum(bends, start=jnp.zeros((), x.dtype))

    ends = level(y)
    prior = {"P": dist.Normal(jnp.full(components, ends.loc), ends.scale)}
    units = {"P": "y"} | dict.fromkeys(names, "1" if learned else "y")
    prior |= {name: dist.Normal(jnp.zeros(first.size), 1.0 if learned else _STEEPEST * span(y)) for name in names}
    if learned and names:
        prior |= {f"width_{name}": dist.LogNormal(math.log(_USUAL * span(y)), _EITHER_WAY) for name in names}
        units |= {f"width_{name}": "y" for name in names}
        formula += ", " + ", ".join(f"{name} in units of width_{name}" for name in names)
    return Law(mean, prior, units, formula, source, components)
