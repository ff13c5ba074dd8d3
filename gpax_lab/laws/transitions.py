"""Laws of phase transitions: order parameters, susceptibilities, activated transport."""

import jax.numpy as jnp
import numpyro.distributions as dist
from jax import Array

from gpax_lab.core._interning import interned
from gpax_lab.core._priors import Params
from gpax_lab.core._steps import logistic_step
from gpax_lab.laws._ranges import Range, height, level, power_of, span
from gpax_lab.means import Law

__all__ = [
    "arrhenius",
    "curie_weiss",
    "first_order",
    "landau_first",
    "landau_second",
    "second_order",
]

_SHARP = 0.01
"""Width of a jump, in lengths of the range of x: below the distance of two compositions, and visible to gradients."""

_BOLTZMANN = 8.617333262e-5
"""eV / K (CODATA 2018)."""


@interned
def second_order(x: Range, y: Range) -> Law:
    """m = S0 (1 - x / xc)^2 + C below xc, C above: the order vanishes continuously. x counts from the low end.

    A hypothesis of Ziatdinov et al. 2021, arXiv:2112.06649, for switching across a composition spread. There the zero
    of the parabola and the transition are two parameters, so that the "second-order" law may jump; here they are one.

    Args:
        x, y: (low, high), the ranges of the input and of the property.

    Returns:
        `Law` of one input.
    """

    low = float(x[0])

    def mean(x: Array, p: Params) -> Array:
        return p["S0"] * jnp.maximum((p["xc"] - x[0]) / (p["xc"] - low), 0.0) ** 2 + p["C"]

    prior = {"S0": height(y), "xc": dist.Uniform(*_right_of_zero(x)), "C": level(y)}
    units = {"S0": "y", "xc": "x", "C": "y"}
    formula = f"m = S0 max({_left('xc', low)}, 0)^2 + C"
    return Law(mean, prior, units, formula, "Ziatdinov et al. 2021, arXiv:2112.06649")


@interned
def first_order(x: Range, y: Range) -> Law:
    """m = S0 (1 - x / x0)^(5/4) + C0 below xc, C1 above: the order jumps. x counts from the low end of the range.

    A hypothesis of Ziatdinov et al. 2021, arXiv:2112.06649.

    Args:
        x, y: (low, high), the ranges of the input and of the property.

    Returns:
        `Law` of one input.
    """
    width, low = _SHARP * span(x), float(x[0])

    def mean(x: Array, p: Params) -> Array:
        order = power_of((p["x0"] - x[0]) / (p["x0"] - low), 1.25)
        above = logistic_step(x[0], p["xc"], width)
        return (1.0 - above) * (p["S0"] * order + p["C0"]) + above * p["C1"]

    where = _right_of_zero(x)
    prior = {
        "S0": height(y),
        "x0": dist.Uniform(where[0], where[1] + span(x)),
        "xc": dist.Uniform(*where),
        "C0": level(y),
        "C1": level(y),
    }
    units = {"S0": "y", "x0": "x", "xc": "x", "C0": "y", "C1": "y"}
    formula = f"m = S0 max({_left('x0', low)}, 0)^(5/4) + C0 for x <= xc, C1 for x > xc"
    return Law(mean, prior, units, formula, "Ziatdinov et al. 2021, arXiv:2112.06649")


def _right_of_zero(x: Range) -> Range:
    """Where a transition may lie: the range without its first twentieth, because the laws divide by the way there."""
    return (x[0] + 0.05 * span(x), x[1])


def _left(end: str, low: float, x: str = "x") -> str:
    """The share of the way from the low end of the range that is left."""
    return f"1 - {x} / {end}" if low == 0 else f"({end} - {x}) / ({end} - {low:g})"


@interned
def landau_second(x: Range, y: Range) -> Law:
    """m = P0 sqrt((Tc - T) / (Tc - T_low)) below Tc, 0 above: the minimum of a (T - Tc) P^2 / 2 + b P^4 / 4.

    x is the temperature; P0 is the order parameter at the low end of its range (Landau 1937).

    Args:
        x, y: (low, high), the ranges of the input and of the property.

    Returns:
        `Law` of one input.
    """
    low = float(x[0])

    def mean(x: Array, p: Params) -> Array:
        return p["P0"] * power_of((p["Tc"] - x[0]) / (p["Tc"] - low), 0.5)

    prior = {"P0": height(y), "Tc": dist.Uniform(*_right_of_zero(x))}
    return Law(mean, prior, {"P0": "y", "Tc": "x"}, f"m = P0 sqrt(max({_left('Tc', low, 'T')}, 0))", "Landau 1937")


@interned
def landau_first(x: Range, y: Range) -> Law:
    """The minimum of a (T - T0) P^2 / 2 - b P^4 / 4 + c P^6 / 6 (Devonshire 1949): the order parameter jumps at Tc.

    m^2 = (2 / 3) P_j^2 (1 + sqrt(1 - (3 / 4) (T - T0) / (Tc - T0))) below Tc, 0 above, with P_j = sqrt(3 b / 4 c) the
    jump at Tc. D = Tc - T0 is how far the transition lies above the limit of the disordered phase.

    Args:
        x, y: (low, high), the ranges of the input and of the property.

    Returns:
        `Law` of one input.
    """
    width = _SHARP * span(x)

    def mean(x: Array, p: Params) -> Array:
        # (T - T0) / (Tc - T0) = 1 + (T - Tc) / D, which the phase does not reach beyond 4 / 3.
        inside = 1.0 - 0.75 * (1.0 + (x[0] - p["Tc"]) / p["D"])
        order = p["Pj"] * jnp.sqrt(2.0 / 3.0 * (1.0 + power_of(inside, 0.5)))
        return (1.0 - logistic_step(x[0], p["Tc"], width)) * order

    prior = {
        "Pj": height(y),
        "Tc": dist.Uniform(*_right_of_zero(x)),
        "D": dist.LogNormal(jnp.log(0.1 * span(x)), 1.0),
    }
    formula = "m^2 = 2/3 Pj^2 (1 + sqrt(1 - 3/4 (1 + (T - Tc) / D))) for T <= Tc, 0 for T > Tc"
    return Law(mean, prior, {"Pj": "y", "Tc": "x", "D": "x"}, formula, "Devonshire 1949")


@interned
def curie_weiss(x: Range, y: Range) -> Law:
    """m = C / (T - T0), for temperatures above T0.

    The prior keeps T0 below the range, by at least a hundredth of it; A is the value at the lower end.

    Args:
        x, y: (low, high), the ranges of the input and of the property.

    Returns:
        `Law` of one input.
    """
    low = float(x[0])

    def mean(x: Array, p: Params) -> Array:
        return p["A"] * p["gap"] / (x[0] - low + p["gap"])

    prior = {"A": height(y), "gap": dist.LogNormal(jnp.log(0.2 * span(x)), 1.0)}
    formula = f"m = A gap / (T - T0), T0 = {low:g} - gap, Curie constant A gap"
    return Law(mean, prior, {"A": "y", "gap": "x"}, formula, "Curie & Weiss 1907")


@interned
def arrhenius(x: Range, y: Range) -> Law:
    """m = A exp(-E / k (1 / T - 1 / T_mid)): an activated process with energy E in eV, T in kelvin.

    A is the value at T_mid, the middle of the range of 1 / T; like that, A and E are distinguished by the data.

    Args:
        x, y: (low, high), the ranges of the input and of the property.

    Returns:
        `Law` of one input.
    """
    span(x)
    if x[0] <= 0:
        raise ValueError(f"temperatures are in kelvin, above 0; the range begins at {x[0]}.")
    inverse = 0.5 * (1.0 / x[0] + 1.0 / x[1])

    def mean(x: Array, p: Params) -> Array:
        return p["A"] * jnp.exp(-p["E"] / _BOLTZMANN * (1.0 / x[0] - inverse))

    prior = {"A": dist.LogNormal(jnp.log(0.3 * max(abs(y[0]), abs(y[1]))), 1.0), "E": dist.HalfNormal(0.5)}
    return Law(mean, prior, {"A": "y", "E": "eV"}, f"m = A exp(-E / k (1 / T - {inverse:.4g}))", "Arrhenius 1889")
