"""Least squares for many spectra at once: Levenberg-Marquardt with standard deviations and a status for each fit.

A model is `model(x, params)` for one point x of the axis and one vector of parameters, real or complex; the library
maps it over points and pixels.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike, DTypeLike

from gpax_lab.core._inputs import floating, inexact, native
from gpax_lab.core._status import Status
from gpax_lab.spectra._least_squares import fit_all
from gpax_lab.spectra._normal_equations import STRIDE, Formula, Jacobian, Model, Task, gauss_jordan_solve
from gpax_lab.spectra._outcome import Fit

MOVED = 2.0
"""Standard deviations by which a number may change when what is unresolved is let go."""

RIVALS = 3.0
"""Standard deviations by which a number may differ between two sets of parameters that describe the data as well."""

REOPENED = (Status.AT_BOUND, Status.NOT_CONVERGED, Status.UNRESOLVED, Status.POOR_FIT)
"""Statuses of a fit of which single numbers may be good, if it has their errors with what is unresolved let go."""

HUBER = 1.345
"""Tuning constant: 95 percent efficiency for normal errors (Huber, Robust Statistics, 1981)."""


def curve_fit(
    model: Model,
    x: Any,
    y: ArrayLike,
    start: ArrayLike | list[Array] | tuple[Array, ...],
    sigma: ArrayLike | None = None,
    *,
    jac: Jacobian | None = None,
    lower: ArrayLike | Sequence[float] | None = None,
    upper: ArrayLike | Sequence[float] | None = None,
    huber: ArrayLike | None = None,
    least_r_squared: ArrayLike = 0.0,
    max_steps: ArrayLike = 60,
    chunk: int | None = None,
) -> Fit:
    """Fit a model to every spectrum: minimise sum |y - model|^2 / sigma^2 within a box.

    Damping after Nielsen, scaled by the diagonal of J^T J (Marquardt); steps are cut at the box, and a parameter that
    the gradient presses against its bound is held there. A non-finite y is left out.

    Args:
        model: (one point of x, params (p,)) -> () real or complex. Pass the same function object every time: a new one
            is compiled anew.
        x: (n,), or a pytree of arrays (n, ...): the axis.
        y: (..., n) real or complex.
        start: (p,) or (..., p); a list of such arrays runs every one of them and keeps the best.
        sigma: standard deviation of y (of its real and of its imaginary part), () or (n,) or the shape of y. Without it
            the noise is taken as equal at all points and estimated from the residual.
        jac: same arguments -> tuple of the p derivatives () of the model, where you have them in closed form: a fit is
            then two to three times faster. Default: forward-mode differentiation.
        lower, upper: (p,) bounds, -inf and inf for none.
        huber: residuals beyond this many standard deviations pull only linearly (1.345 is usual), and in the end
            not at all beyond four times as many; the scale is sigma, or else 1.4826 median |residual|.
            Default: least squares.
        least_r_squared: below it the status is POOR_FIT.
        max_steps: steps of the longest fit.
        chunk: pixels handled together: bounds the memory (static). Default: 64 on a CPU, 16384 elsewhere.

    Returns:
        `Fit` of batch shape (...), in the real dtype of y.

    Raises:
        ValueError: shapes that do not belong together, or more parameters than values.

    Source: Nielsen, IMM-REP-1999-05 (damping); Huber, Robust Statistics (1981), section 7.6 (covariance with `huber`).
    """
    y = inexact(y, "y")
    real = jnp.finfo(y.dtype).dtype
    starts = [floating(s, "start").astype(real) for s in (start if isinstance(start, list | tuple) else [start])]
    x = jax.tree.map(partial(_axis, real), x)
    n, batch, p = _checked(x, y, starts)
    count = 1
    for size in batch:
        count *= size
    begin = _begin(starts, batch)
    noise = None if sigma is None else floating(sigma, "sigma").astype(real)
    if noise is not None:
        shared = noise.ndim == 0 or noise.shape == (n,)
        noise = jnp.broadcast_to(noise, (1, n)) if shared else jnp.broadcast_to(noise, y.shape).reshape(count, n)
    box = None if lower is None and upper is None else _box(lower, upper, p, real)
    task = Task(*_whole_strides(x, y.reshape(count, n), noise), box)
    size = chunk or (64 if jax.default_backend() == "cpu" else 16384)
    fit = fit_all(
        Formula(model, jac),
        task,
        begin,
        least=least_r_squared,
        starts=len(starts),
        huber=huber,
        max_steps=max_steps,
        size=size,
    )
    return fit if len(batch) == 1 else jax.tree.map(lambda leaf: leaf.reshape(*batch, *leaf.shape[1:]), fit)


def _axis(real: DTypeLike, leaf: ArrayLike) -> Array:
    """A leaf of the axis as an array, of the dtype of the fit; whole numbers and truth values stay what they are."""
    leaf = leaf if isinstance(leaf, Array) else jnp.asarray(native(leaf, "x", missing=False))
    return leaf.astype(real) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf


def _whole_strides(x: Any, y: Array, sigma: Array | None) -> tuple[Any, Array, Array | None]:
    """The axis, spectra and sigma with the last point repeated, as one that is left out, to a multiple of `STRIDE`.

    That is how many points are summed in one pass, and spectra of about the same length share what is compiled.
    """
    more = -y.shape[1] % STRIDE
    if more == 0:
        return x, y, sigma

    def longer(leaf: Array) -> Array:
        return jnp.concatenate([leaf, jnp.repeat(leaf[-1:], more, axis=0)])

    def left_out(values: Array) -> Array:
        return jnp.pad(values, ((0, 0), (0, more)), constant_values=jnp.nan)

    return jax.tree.map(longer, x), left_out(y), None if sigma is None else left_out(sigma)


@partial(jax.jit, static_argnames="batch")
def _begin(starts: list[Array], batch: tuple[int, ...]) -> Array:
    """(pixels * starts, p): every start of a pixel after the other."""
    p = starts[0].shape[-1]
    begin = jnp.stack([jnp.broadcast_to(_aligned(s, len(batch)), (*batch, p)) for s in starts], axis=-2)
    return begin.reshape(-1, p)


def _box(
    lower: ArrayLike | Sequence[float] | None, upper: ArrayLike | Sequence[float] | None, p: int, dtype
) -> tuple[Array, Array]:
    low = jnp.full(p, -jnp.inf, dtype) if lower is None else floating(lower, "lower").astype(dtype)
    high = jnp.full(p, jnp.inf, dtype) if upper is None else floating(upper, "upper").astype(dtype)
    if low.shape != (p,) or high.shape != (p,):
        raise ValueError(f"bounds have one value per parameter, shape ({p},); got {low.shape} and {high.shape}.")
    return low, high


def _aligned(start: Array, ndim: int) -> Array:
    return start.reshape((1,) * (ndim + 1 - start.ndim) + start.shape)


def _checked(x: Any, y: Array, starts: list[Array]) -> tuple[int, tuple[int, ...], int]:
    if y.ndim < 1 or not starts or any(s.ndim < 1 for s in starts):
        raise ValueError("y needs an axis of points and start one of parameters; pass jnp.array(...) of a named tuple.")
    n, batch, p = y.shape[-1], y.shape[:-1], starts[0].shape[-1]
    if any(leaf.shape[:1] != (n,) for leaf in jax.tree.leaves(x)):
        raise ValueError(f"x must have the {n} points of y on its leading axis.")
    if any(s.shape not in ((p,), (*batch, p)) for s in starts):
        raise ValueError(f"start must be ({p},) or {(*batch, p)}; got {[s.shape for s in starts]}.")
    values = n * (2 if jnp.iscomplexobj(y) else 1)
    if values <= p:
        raise ValueError(f"{values} values cannot determine {p} parameters and their noise; measure more points.")
    return n, batch, p


def transformed(fit: Fit, function: Callable[..., Array], *args: Any) -> Fit:
    """The fit in other parameters: q = function(p, *args) of shape (m,), covariance D C D^T with D = dq/dp.

    The delta method: right where the function is close to linear over a few standard deviations. Statuses stay; those
    of the new numbers are given by `judged`.

    Args:
        fit: of any batch shape.
        function: (p,) -> (m,), differentiable; pass the same function object every time.
        *args: arrays that are the same for all pixels.
    """
    return fit._replace(**_delta(function, fit, args))


def judged(fit: Fit) -> Fit:
    """Statuses of the numbers themselves, and their errors with all that is unresolved let go.

    A number may be good although the fit is not: the area of a loop whose corner is sharper than the steps. What the
    fit could not determine is let go (see `Fit.released`); the number is good if this leaves it an error, and does not
    change it by more than `MOVED` of these. The change counts into the error. And a number may be bad although the fit
    is good: where other parameters describe the spectrum as well and give one further away than `RIVALS` errors.

    Args:
        fit: of `curve_fit` or of `transformed`, of any batch shape (...).

    Returns:
        `Fit` with status (..., p), std and covariance; OUTSIDE_RANGE and BAD_INPUT stay, and POOR_FIT where the fit has
        no errors with what is unresolved let go.
    """
    return _judged(fit)


@jax.jit
def _judged(fit: Fit) -> Fit:
    status = jnp.broadcast_to(fit.status[..., None], fit.params.shape)
    if fit.released is None or fit.step is None:
        return fit._replace(status=status)
    known = jnp.isfinite(fit.released)
    covariance = jnp.where(known, fit.released + fit.step[..., :, None] * fit.step[..., None, :], fit.covariance)
    variance, released = (_diagonal(matrix) for matrix in (covariance, fit.released))
    status = judged_status(status, fit.params, released, fit.step)
    if fit.rival is not None:
        same = (fit.rival - fit.params) ** 2 <= RIVALS**2 * variance
        status = jnp.where((status == Status.OK) & ~same, jnp.int8(Status.POOR_FIT), status)
    return fit._replace(status=status, std=jnp.sqrt(jnp.maximum(variance, 0.0)), covariance=covariance)


def _diagonal(matrix: Array) -> Array:
    return jnp.stack([matrix[..., k, k] for k in range(matrix.shape[-1])], axis=-1)


def judged_status(status: Array, value: Array, variance: Array, change: Array) -> Array:
    """OK where a number is good although the fit is not; else the status of the fit.

    Args:
        status: (...) int8, of the fit.
        value, variance: (...) of the number, with what is unresolved let go.
        change: (...) of the number when that is let go, in its unit.

    Returns:
        (...) int8.
    """
    open_ = functools.reduce(jnp.logical_or, [status == k for k in REOPENED])
    known = jnp.isfinite(value) & jnp.isfinite(variance) & (variance >= 0) & (change**2 <= MOVED**2 * variance)
    return jnp.where(open_ & known, jnp.int8(Status.OK), status)


def refused(fit: Fit, where: Array) -> Fit:
    """The fit with status POOR_FIT where (...) is true, so that `judged` does not find a number of it good again."""
    open_ = where & functools.reduce(jnp.logical_or, [fit.status == k for k in (Status.OK, *REOPENED)])
    released = None if fit.released is None else jnp.where(open_[..., None, None], jnp.nan, fit.released)
    return fit._replace(status=jnp.where(open_, jnp.int8(Status.POOR_FIT), fit.status), released=released)


@partial(jax.jit, static_argnames="function")
def _delta(function: Callable[..., Array], fit: Fit, args: tuple) -> dict[str, Any]:
    def one(
        p: Array, covariance: Array, released: Array | None, step: Array | None, rival: Array | None
    ) -> tuple[Array | None, ...]:
        slope = jax.jacfwd(function)(p, *args)

        def carried(matrix: Array) -> Array:
            # Sums and not products of matrices: of small ones, mapped, these are four times slower on a CPU.
            left = jnp.sum(slope[:, :, None] * matrix[None], axis=1)
            return jnp.sum(left[:, None] * slope[None], axis=2)

        own = carried(covariance)
        std = jnp.sqrt(jnp.maximum(jnp.diagonal(own), 0.0))
        loose = None if released is None else carried(released)
        moved = None if step is None else jnp.sum(slope * step[None], axis=1)
        value = function(p, *args)
        # Where there is no rival, not even rounding differs.
        other = None if rival is None else jnp.where(jnp.all(rival == p), value, function(rival, *args))
        return value, own, std, loose, moved, other

    for _ in fit.status.shape:
        one = jax.vmap(one)
    found = one(fit.params, fit.covariance, fit.released, fit.step, fit.rival)
    return dict(zip(("params", "covariance", "std", "released", "step", "rival"), found, strict=True))


def normal_solve(a: Array, b: Array) -> Array:
    """A^-1 b for one symmetric positive definite A (p, p) and b (p,): for closed-form starts, under `vmap` too."""
    return gauss_jordan_solve(a[..., None], b[:, None, None])[0][:, 0, 0]
