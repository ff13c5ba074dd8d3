"""Laws of domain writing: the radius of a domain that a tip writes, against the pulse's bias and duration.

Inputs are x[0], the bias in V, and x[1], the decimal logarithm of the duration in s. `r` is the largest radius that one
expects, in any unit of length.
"""

import jax.numpy as jnp
import numpyro.distributions as dist
from jax import Array

from gpax_lab.core._interning import interned
from gpax_lab.core._priors import Params
from gpax_lab.core._steps import logistic_step
from gpax_lab.means import Law

__all__ = [
    "charge_injection",
    "thermodynamic",
    "wall_kinetics",
    "wall_pinning",
]

_SOURCE = "in the spirit of Liu et al. 2022, arXiv:2202.01089"
_SHARP = 0.02
"""Width of the threshold in V: below what an experiment resolves, and visible to gradients."""


def _check(bias: tuple[float, float], r: float) -> None:
    low, high = bias
    if not (0 < low < high and r > 0):
        raise ValueError(f"domains are written by a bias (low, high) with 0 < low < high, and r > 0; got {bias}, {r}.")


@interned
def thermodynamic(bias: tuple[float, float], r: float) -> Law:
    """r = r_c + r_0 ((V / V_c)^2 - 1)^(1/3) above V_c, nothing below; the duration does not matter.

    Args:
        bias: lowest and highest bias in V.
        r: largest radius expected.
    """
    _check(bias, r)

    def mean(x: Array, p: Params) -> Array:
        over = (x[0] / p["Vc"]) ** 2 - 1.0
        root = jnp.where(over > 1e-9, jnp.cbrt(jnp.where(over > 1e-9, over, 1.0)), 0.0)
        return logistic_step(x[0], p["Vc"], _SHARP) * (p["rc"] + p["r0"] * root)

    prior = {
        "rc": dist.LogNormal(jnp.log(0.2 * r), 1.0),
        "r0": dist.LogNormal(jnp.log(0.2 * r), 1.0),
        "Vc": dist.Uniform(0.5 * bias[0], 0.5 * (bias[0] + bias[1])),
    }
    units = {"rc": "y", "r0": "y", "Vc": "V"}
    return Law(mean, prior, units, "r = rc + r0 ((V / Vc)^2 - 1)^(1/3) for V > Vc, 0 for V <= Vc", _SOURCE, 2)


@interned
def wall_kinetics(bias: tuple[float, float], r: float, shortest: float = -3.0) -> Law:
    """r = A V^al (log10 tau + c): a wall that creeps, logarithmic in time.

    Args:
        bias: as above.
        r: as above.
        shortest: log10 of the shortest duration in s; c is at least so large that no radius is negative.
    """
    _check(bias, r)

    def mean(x: Array, p: Params) -> Array:
        return p["A"] * (x[0] / bias[1]) ** p["al"] * (x[1] + p["c"])

    prior = {
        "A": dist.LogNormal(jnp.log(0.2 * r), 1.0),
        "al": dist.Normal(1.0, 0.5),
        "c": dist.Uniform(0.05 - shortest, 4.0 - shortest),
    }
    formula = f"r = A (V / {bias[1]:g} V)^al (log10(tau / s) + c)"
    return Law(mean, prior, {"A": "y", "al": "1", "c": "1"}, formula, _SOURCE, 2)


@interned
def charge_injection(bias: tuple[float, float], r: float) -> Law:
    """r = A V^al tau^be with be > 0: injected charge spreads as a power of time.

    Args:
        bias: as above.
        r: as above.
    """
    _check(bias, r)

    def mean(x: Array, p: Params) -> Array:
        return p["A"] * (x[0] / bias[1]) ** p["al"] * 10.0 ** (p["be"] * x[1])

    prior = {
        "A": dist.LogNormal(jnp.log(0.5 * r), 1.0),
        "al": dist.Normal(1.0, 0.5),
        "be": dist.HalfNormal(0.5),
    }
    return Law(mean, prior, {"A": "y", "al": "1", "be": "1"}, f"r = A (V / {bias[1]:g} V)^al (tau / s)^be", _SOURCE, 2)


@interned
def wall_pinning(bias: tuple[float, float], r: float, log_duration: tuple[float, float] = (-3.0, 2.0)) -> Law:
    """r = h ((V / Vp)^(2/3) - 1)^(1/2) / (1 + (tau0 / tau)^mu) above Vp: a wall that creeps until it is pinned.

    A charge at height h over the film makes a normal field E(r) = (V / h) (1 + r^2 / h^2)^(-3/2) on its surface. The
    wall stops where the field falls to the pinning field Vp / h, which gives the square root. On its way it waits at
    pinning sites for thermal activation. Their log waiting times follow a logistic distribution of median
    ln(tau0) and width 1 / mu, so that the share of the way done is its cumulative: slow at first, finished at last.

    Args:
        bias: as above.
        r: as above.
        log_duration: log10 of the shortest and the longest duration in s.
    """
    _check(bias, r)
    middle, half = 0.5 * (log_duration[0] + log_duration[1]), 0.5 * (log_duration[1] - log_duration[0])

    def mean(x: Array, p: Params) -> Array:
        over = jnp.cbrt((x[0] / p["Vp"]) ** 2) - 1.0
        stop = jnp.where(over > 1e-9, jnp.sqrt(jnp.where(over > 1e-9, over, 1.0)), 0.0)
        done = logistic_step(x[1], p["t0"], 1.0 / (jnp.log(10.0) * p["mu"]))
        return logistic_step(x[0], p["Vp"], _SHARP) * p["h"] * stop * done

    prior = {
        "h": dist.LogNormal(jnp.log(0.5 * r), 1.0),
        "Vp": dist.Uniform(0.5 * bias[0], 0.5 * (bias[0] + bias[1])),
        "t0": dist.Normal(middle, half),
        "mu": dist.LogNormal(jnp.log(0.6), 0.5),
    }
    units = {"h": "y", "Vp": "V", "t0": "1", "mu": "1"}
    formula = "r = h ((V / Vp)^(2/3) - 1)^(1/2) / (1 + 10^(mu (t0 - log10(tau / s)))) for V > Vp, 0 for V <= Vp"
    return Law(mean, prior, units, formula, _SOURCE, 2)
