"""Laws of plain shape: lines, kinks, steps, peaks, dips, powers. Each is made for the ranges of one's own x and y.

Default priors are wide over those ranges: positions uniform along x, levels and heights of the size of y. Replace any
of them by what is known: the width of a prior is part of the hypothesis, and of its evidence.
"""

import jax.numpy as jnp
import numpyro.distributions as dist
from jax import Array

from gpax_lab.core._interning import interned
from gpax_lab.core._priors import Params
from gpax_lab.core._steps import logistic_step
from gpax_lab.laws._ranges import Range, height, level, power_of, span
from gpax_lab.means import Law

__all__ = [
    "dip",
    "flat",
    "hill",
    "kink",
    "line",
    "parabola",
    "peak",
    "power",
    "step",
]


@interned
def flat(x: Range, y: Range) -> Law:
    """m = C: nothing depends on x.

    Args:
        x, y: (low, high), the ranges of the input and of the property.

    Returns:
        `Law` of one input.
    """
    span(x)
    return Law(lambda x, p: p["C"] + 0.0 * x[0], {"C": level(y)}, {"C": "y"}, "m = C", "constant")


@interned
def line(x: Range, y: Range) -> Law:
    """m = C + k (x - x_mid), the level C taken at the middle of the range.

    Args:
        x, y: (low, high), the ranges of the input and of the property.

    Returns:
        `Law` of one input.
    """
    middle, slope = 0.5 * (x[0] + x[1]), span(y) / span(x)
    return Law(
        lambda x, p: p["C"] + p["k"] * (x[0] - middle),
        {"C": level(y), "k": dist.Normal(0.0, slope)},
        {"C": "y", "k": "y / x"},
        f"m = C + k (x - {middle:g})",
        "straight line",
    )


@interned
def parabola(x: Range, y: Range) -> Law:
    """m = C + k (x - x_mid) + q (x - x_mid)^2.

    Args:
        x, y: (low, high), the ranges of the input and of the property.

    Returns:
        `Law` of one input.
    """
    middle, slope = 0.5 * (x[0] + x[1]), span(y) / span(x)

    def mean(x: Array, p: Params) -> Array:
        away = x[0] - middle
        return p["C"] + p["k"] * away + p["q"] * away**2

    prior = {"C": level(y), "k": dist.Normal(0.0, slope), "q": dist.Normal(0.0, 2 * slope / span(x))}
    units = {"C": "y", "k": "y / x", "q": "y / x^2"}
    return Law(mean, prior, units, f"m = C + k (x - {middle:g}) + q (x - {middle:g})^2", "parabola")


@interned
def kink(x: Range, y: Range) -> Law:
    """m = C + k1 (x - xc) below xc, C + k2 (x - xc) above: continuous, with a change of slope.

    Args:
        x, y: (low, high), the ranges of the input and of the property.

    Returns:
        `Law` of one input.
    """
    slope = span(y) / span(x)

    def mean(x: Array, p: Params) -> Array:
        away = x[0] - p["xc"]
        return p["C"] + p["k1"] * jnp.minimum(away, 0.0) + p["k2"] * jnp.maximum(away, 0.0)

    prior = {"C": level(y), "k1": dist.Normal(0.0, slope), "k2": dist.Normal(0.0, slope), "xc": dist.Uniform(*x)}
    units = {"C": "y", "k1": "y / x", "k2": "y / x", "xc": "x"}
    return Law(mean, prior, units, "m = C + k1 min(x - xc, 0) + k2 max(x - xc, 0)", "two lines that meet")


@interned
def step(x: Range, y: Range) -> Law:
    """m = C + A / (1 + exp(-(x - xc) / w)): a step of width w.

    Args:
        x, y: (low, high), the ranges of the input and of the property.

    Returns:
        `Law` of one input.
    """

    def mean(x: Array, p: Params) -> Array:
        return p["C"] + p["A"] * logistic_step(x[0], p["xc"], p["w"])

    prior = {
        "C": level(y),
        "A": dist.Normal(0.0, span(y)),
        "xc": dist.Uniform(*x),
        "w": dist.LogNormal(jnp.log(0.03 * span(x)), 0.7),
    }
    return Law(mean, prior, {"C": "y", "A": "y", "xc": "x", "w": "x"}, "m = C + A / (1 + exp(-(x - xc) / w))", "step")


def _lorentzian(x: Range, y: Range, sign: float, source: str) -> Law:
    def mean(x: Array, p: Params) -> Array:
        return p["C"] + sign * p["A"] / (1.0 + ((x[0] - p["x0"]) / p["w"]) ** 2)

    prior = {
        "C": level(y),
        "A": height(y),
        "x0": dist.Uniform(*x),
        "w": dist.LogNormal(jnp.log(0.1 * span(x)), 0.7),
    }
    units = {"C": "y", "A": "y", "x0": "x", "w": "x"}
    return Law(mean, prior, units, f"m = C {'+' if sign > 0 else '-'} A / (1 + ((x - x0) / w)^2)", source)


@interned
def peak(x: Range, y: Range) -> Law:
    """A Lorentzian of height A and half width w at x0, on a level C.

    Args:
        x, y: (low, high), the ranges of the input and of the property.

    Returns:
        `Law` of one input.
    """
    return _lorentzian(x, y, 1.0, "Lorentzian peak")


@interned
def dip(x: Range, y: Range) -> Law:
    """A Lorentzian of depth A and half width w at x0, below a level C.

    Args:
        x, y: (low, high), the ranges of the input and of the property.

    Returns:
        `Law` of one input.
    """
    return _lorentzian(x, y, -1.0, "Lorentzian dip")


@interned
def power(x: Range, y: Range) -> Law:
    """m = C + A (x / x_max)^n for x >= 0, n between about 0.3 and 5.

    Args:
        x, y: (low, high), the ranges of the input and of the property.

    Returns:
        `Law` of one input.
    """
    largest = _positive(x)

    def mean(x: Array, p: Params) -> Array:
        return p["C"] + p["A"] * power_of(x[0] / largest, p["n"])

    prior = {"C": level(y), "A": dist.Normal(0.0, span(y)), "n": dist.LogNormal(0.3, 0.6)}
    return Law(mean, prior, {"C": "y", "A": "y", "n": "1"}, f"m = C + A (x / {largest:g})^n", "power law")


@interned
def hill(x: Range, y: Range) -> Law:
    """m = C + A x^n / (K^n + x^n) for x >= 0: saturation, cooperative where n > 1 (Hill 1910).

    Args:
        x, y: (low, high), the ranges of the input and of the property.

    Returns:
        `Law` of one input.
    """
    largest = _positive(x)

    def mean(x: Array, p: Params) -> Array:
        ratio = power_of(x[0] / p["K"], p["n"])
        return p["C"] + p["A"] * ratio / (1.0 + ratio)

    prior = {
        "C": level(y),
        "A": dist.Normal(0.0, span(y)),
        "K": dist.LogNormal(jnp.log(0.3 * largest), 0.7),
        "n": dist.LogNormal(0.3, 0.6),
    }
    return Law(mean, prior, {"C": "y", "A": "y", "K": "x", "n": "1"}, "m = C + A x^n / (K^n + x^n)", "Hill 1910")


def _positive(x: Range) -> float:
    span(x)
    if x[0] < 0:
        raise ValueError(f"a power of x needs x >= 0; the range begins at {x[0]}.")
    return float(x[1])
