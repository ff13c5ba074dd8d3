"""What a fitted loop says: area, coercive biases, remanence, each with a standard deviation and a status."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from gpax_lab.core._status import Status
from gpax_lab.core._types import Float
from gpax_lab.spectra._fit import Fit, judged, transformed
from gpax_lab.spectra._loop import loop_area, loop_function, rising
from gpax_lab.spectra._loop_fit import diagonals, loop_fit
from gpax_lab.spectra._loop_point import switched_at
from gpax_lab.spectra._scalarizer import Estimate, Scalarizer, checked

SATURATED, TAIL = 0.1, 0.3
"""The least error of a response, in errors of the height: in saturation both branches differ by nothing at all, which
no measurement tells. And that of a nucleation bias of a fit that is not good, as a share of its distance from the
switch: it is where a tail begins, and depends on the form that the loop is given (both by `benchmarks/flags.py`)."""

NUCLEATION = 0.03
"""Switched share at the nucleation bias: the branch has left saturation by 3 percent of its height (BGlib: 0.97)."""


class LoopScalars(NamedTuple):
    """What `loop_scalars` returns, in this order; biases in V, `area` in response x V, the rest in response.

    Attributes:
        area: signed, of the fitted loop over the measured sweep; its size is the work of switching, up to a factor.
        coercive_up, coercive_down: bias at which the rising and the falling branch has switched by half.
        imprint: their mean.
        remanence_up, remanence_down: response at zero bias on the rising and on the falling branch.
        switchable: difference of the remanences, falling minus rising.
        nucleation_up, nucleation_down: bias at which 3 percent of the branch has switched.
    """

    area: ArrayLike
    coercive_up: ArrayLike
    coercive_down: ArrayLike
    imprint: ArrayLike
    remanence_up: ArrayLike
    remanence_down: ArrayLike
    switchable: ArrayLike
    nucleation_up: ArrayLike
    nucleation_down: ArrayLike


def loop_scalars(params: ArrayLike, bias: ArrayLike, up: ArrayLike | None = None) -> Float[Array, " 9"]:
    """The nine `LoopScalars` of one loop from its parameters (9,); differentiable. Shape (9,).

    Args:
        params: (9,) `LoopParams`.
        bias: (n,) V, the sweep over which the area is taken.
        up: bool (n,), the rising branch; read from the cyclic sweep if not given.

    Returns:
        (9,).
    """
    p, v = jnp.asarray(params), jnp.asarray(bias)
    branch = rising(v) if up is None else jnp.asarray(up)
    rise, fall = (p[2], p[5], p[6]), (p[3], p[7], p[8])
    up_half, down_half = switched_at(0.5, *rise), switched_at(0.5, *fall)
    zero = jnp.zeros(2, p.dtype)
    remanence = loop_function(zero, p, jnp.array([True, False]))
    found = LoopScalars(
        area=loop_area(v, loop_function(v, p, branch)),
        coercive_up=up_half,
        coercive_down=down_half,
        imprint=0.5 * (up_half + down_half),
        remanence_up=remanence[0],
        remanence_down=remanence[1],
        switchable=remanence[1] - remanence[0],
        nucleation_up=switched_at(NUCLEATION, *rise),
        nucleation_down=switched_at(1.0 - NUCLEATION, *fall),
    )
    return jnp.stack([jnp.asarray(value) for value in found])


def scalars_of_fit(fit: Fit, bias: ArrayLike, up: ArrayLike | None = None) -> Fit:
    """The nine `LoopScalars` of fitted loops as a `Fit`, with covariance by the delta method and a status for each.

    Each number is judged by its own error and its change when what the fit left unresolved is let go (`fit.judged`):
    the area of a loop is good though a corner is sharper than the steps, or lies at the end of the sweep, or the fit
    is poor because there is much noise. Errors are larger than those of the fit where what it leaves is not noise.
    Where a straight line describes the points about as well nothing switches, and where a loop upside down does, it
    is not known which: such biases are refused. A `scalarizer` of the same quantity says the same, but for the least
    errors that only these numbers have (`SATURATED`, `TAIL`).

    Args:
        fit: of `loop_fit`, batch (...).
        bias: (n,) V and up: bool (n,), the sweep of the fit.

    Returns:
        `Fit` with status (..., 9), in the order of `LoopScalars`.
    """
    v = jnp.asarray(bias, fit.params.dtype)
    found = transformed(fit, loop_scalars, v, rising(v) if up is None else jnp.asarray(up))
    return judged(_widened(found, fit))


@jax.jit
def _widened(found: Fit, fit: Fit) -> Fit:
    """With what the errors of numbers do not know: the form of the tails, and that nothing is exact in saturation."""
    if found.released is None:
        return found
    value = dict(zip(LoopScalars._fields, jnp.moveaxis(found.params, -1, 0), strict=True))
    least = SATURATED * fit.std[..., 1]
    away = [value[f"nucleation_{way}"] - value[f"coercive_{way}"] for way in ("up", "down")]
    tails = [jnp.where(fit.status != Status.OK, TAIL * far, 0.0) for far in away]
    more = jnp.stack([*[jnp.zeros_like(least)] * 4, *[least] * 3, *tails], axis=-1)
    more = jnp.where(jnp.isfinite(more), more, 0.0) ** 2
    return found._replace(released=found.released + diagonals(more))


def loop_scalarizer(which: str, **options) -> Scalarizer:
    """One of the nine `LoopScalars` of a loop: a `Scalarizer` of the arrays "bias" and "response".

    Args:
        which: a field of `LoopScalars`, as "coercive_up".
        **options: of `loop_fit`.

    Raises:
        ValueError: there is no such number.

    Example:
        >>> from gpax_lab.spectra.loops import loop_function, triangle
        >>> bias = triangle(8.0, 64)
        >>> loop = loop_function(bias, jnp.array([-1.0, 2.0, 2.5, -2.5, 0.01, 0.8, 0.9, 0.9, 0.8]))
        >>> coercive = loop_scalarizer("coercive_up")
        >>> round(float(coercive.function(bias, loop).value), 3), coercive.unit_of({"bias": "V"})
        (2.544, 'V')
    """
    if which not in LoopScalars._fields:
        raise ValueError(f"the numbers of a loop are {list(LoopScalars._fields)}; got {which!r}.")
    k = LoopScalars._fields.index(which)

    @jax.jit
    def function(bias: ArrayLike, response: ArrayLike) -> Estimate:
        found = scalars_of_fit(loop_fit(bias, response, **options), bias)
        status = found.status[..., k]
        return checked(found.params[..., k], found.covariance[..., k, k], status, status == Status.OK)

    if which == "area":
        unit = "{response} {bias}"
    else:
        unit = "{response}" if which in ("remanence_up", "remanence_down", "switchable") else "{bias}"
    return Scalarizer(which.replace("_", " "), function, ("bias", "response"), unit)
