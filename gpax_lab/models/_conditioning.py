"""The one home of conditioning: stabilise, factor, solve, moments.

The marginal likelihood, prediction, leave-one-out and joint draws are views of one masked Gram matrix. A slot that
is not active has its row and column zeroed, a one on the diagonal and a zero residual: determinant and quadratic form
of the others are untouched, whatever the slot holds.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from gpax_lab.core._linalg import centred_log_density, cholesky, jitter, solve_lower, solve_upper
from gpax_lab.core._priors import Params
from gpax_lab.kernels import KernelLike


class Factor(NamedTuple):
    """All that prediction at new points needs, for one set of parameters.

    Attributes:
        x: (n, d) inputs in the unit cube.
        lower: (n, n) Cholesky factor of the stabilised Gram matrix of the active slots.
        alpha: (n,) K^-1 r over the measured slots, 0 elsewhere.
        active: (n,) bool, slots that reduce the variance.
        ok: () bool, whether the factorisation succeeded.
        finite: () bool, whether all numbers of the matrix were finite: if they were and it has no factor, it is not
            positive definite.
    """

    x: Array
    lower: Array
    alpha: Array
    active: Array
    ok: Array
    finite: Array


def gram(kernel: KernelLike, params: Params, x: Array, z: Array) -> Array:
    """(n, m) kernel matrix of x (n, d) and z (m, d)."""
    return jax.vmap(lambda a: jax.vmap(lambda b: kernel(a, b, params))(z))(x)


def masked(k: Array, noise: Array, active: Array) -> Array:
    """The stabilised Gram matrix K + diag(noise) + jitter, with inactive slots made inert.

    The jitter is relative: `linalg.jitter` times the mean of diag(K) over active slots.
    """
    level = jnp.sum(jnp.where(active, jnp.diagonal(k), 0.0)) / jnp.maximum(jnp.sum(active), 1)
    diagonal = jnp.where(active, noise + jitter(k.dtype) * level, 1.0)
    pair = active[:, None] & active[None, :]
    return jnp.where(pair, k, 0.0) + jnp.diag(diagonal)


def log_marginal(kernel: KernelLike, params: Params, x: Array, residual: Array, noise: Array, active: Array) -> Array:
    """() log N(residual | 0, K + noise) over the active slots (R&W 2006, eq. 2.30)."""
    return log_marginal_of(gram(kernel, params, x, x), residual, noise, active)


def log_marginal_of(k: Array, residual: Array, noise: Array, active: Array) -> Array:
    """() the same for a kernel matrix (n, n) that is at hand."""
    k = masked(k, noise, active)
    constant = 0.5 * jnp.log(2 * jnp.pi) * jnp.sum(active)
    return centred_log_density(k, jnp.where(active, residual, 0.0)) - constant


def condition(kernel: KernelLike, params: Params, x: Array, residual: Array, noise: Array, measured: Array) -> Factor:
    """Condition on the measured residuals."""
    k = masked(gram(kernel, params, x, x), noise, measured)
    lower, ok = cholesky(k)
    alpha = solve_upper(lower, solve_lower(lower, jnp.where(measured, residual, 0.0)))
    return Factor(
        x=x, lower=lower, alpha=jnp.where(measured, alpha, 0.0), active=measured, ok=ok, finite=jnp.isfinite(k).all()
    )


def condition_on_pending(
    kernel: KernelLike, params: Params, factor: Factor, x: Array, noise: Array, active: Array
) -> Factor:
    """The same means, with the variances that will hold once all `active` slots are measured.

    The variance of a Gaussian process does not depend on the observations, so pending points need no guesses (GP-BUCB,
    Desautels et al. 2014, JMLR 15, 4053).
    """
    lower, ok = cholesky(masked(gram(kernel, params, x, x), noise, active))
    alpha = jnp.where(factor.active, factor.alpha, 0.0)
    # A slot that turned pending since the factor was made has a new position: its alpha is zero, so means agree.
    return factor._replace(x=x, lower=lower, alpha=alpha, active=active, ok=factor.ok & ok)


def _whitened_cross(kernel: KernelLike, params: Params, factor: Factor, x: Array) -> tuple[Array, Array]:
    cross = jnp.where(factor.active[:, None], gram(kernel, params, factor.x, x), 0.0)
    return cross, solve_lower(factor.lower, cross)


def moments(kernel: KernelLike, params: Params, factor: Factor, x: Array) -> tuple[Array, Array]:
    """Mean (m,) and variance (m,) of the residual process at x (m, d) (R&W 2006, eq. 2.25 and 2.26).

    The variance is floored at the library's jitter times the prior variance, where rounding would make it negative.
    """
    cross, white = _whitened_cross(kernel, params, factor, x)
    prior = jax.vmap(lambda a: kernel(a, a, params))(x)
    variance = jnp.maximum(prior - jnp.sum(white**2, axis=0), jitter(prior.dtype) * prior)
    return factor.alpha @ cross, variance


def joint_moments(kernel: KernelLike, params: Params, factor: Factor, x: Array) -> tuple[Array, Array]:
    """Mean (m,) and covariance (m, m) of the residual process at x (m, d)."""
    cross, white = _whitened_cross(kernel, params, factor, x)
    return factor.alpha @ cross, gram(kernel, params, x, x) - white.T @ white


def paths(
    kernel: KernelLike,
    params: Params,
    factor: Factor,
    x: Array,
    *,
    key: Array,
    count: int,
    noise: Array,
    anchors: Array,
) -> Array:
    """(count, m) values at x (m, d) of functions drawn from the residual process, the same ones for the same key.

    Pathwise conditioning (Matheron's rule; Wilson et al. 2021, JMLR 22, 105): a draw f of the prior becomes one of the
    posterior by f(x) + k(x, X) K^-1 (r - f(X) - e). The draw of the prior is exact at the anchors and at X, and the
    kernel's interpolation in between, so that any kernel will do.

    Args:
        kernel: k(x, z, params).
        params: its parameters.
        factor: the conditioned process.
        x: (m, d) where they are wanted, in the unit cube.
        key: names the functions.
        count: how many.
        noise: (n,) variance of each observation.
        anchors: (a, d) points of the unit cube.
    """
    key_prior, key_noise = jax.random.split(key)
    n, dtype = factor.active.size, x.dtype
    points = jnp.concatenate([factor.x, anchors])
    used = jnp.concatenate([factor.active, jnp.ones(anchors.shape[0], bool)])
    values, prior = prior_paths(kernel, params, points, used, key_prior, count)
    sd = jnp.sqrt(jnp.where(factor.active, noise, 0.0))[:, None]
    at_slots = values[:n] + sd * jax.random.normal(key_noise, (n, count), dtype)
    back = solve_upper(factor.lower, solve_lower(factor.lower, jnp.where(factor.active[:, None], at_slots, 0.0)))
    update = jnp.where(factor.active[:, None], factor.alpha[:, None] - back, 0.0)
    weights = prior.at[:n].add(update)
    return weights.T @ gram(kernel, params, points, x)


def prior_paths(
    kernel: KernelLike, params: Params, points: Array, used: Array, key: Array, count: int
) -> tuple[Array, Array]:
    """Functions drawn from the prior: values (n, count) at points (n, d), and weights (n, count) to evaluate them.

    A function is exact at the `used` points (n,) and follows the kernel's interpolation, k(x, points) @ weights, in
    between.
    """
    shape, dtype = (points.shape[0], count), points.dtype
    lower, _ = cholesky(masked(gram(kernel, params, points, points), jnp.zeros(shape[0], dtype), used))
    white = jnp.where(used[:, None], jax.random.normal(key, shape, dtype), 0.0)
    return lower @ white, jnp.where(used[:, None], solve_upper(lower, white), 0.0)


def leave_one_out(
    kernel: KernelLike, params: Params, x: Array, residual: Array, noise: Array, active: Array
) -> tuple[Array, Array]:
    """Mean (n,) and variance (n,) of each observation given all others (R&W 2006, eq. 5.12), noise included."""
    lower, _ = cholesky(masked(gram(kernel, params, x, x), noise, active))
    inverse = solve_lower(lower, jnp.eye(x.shape[0], dtype=x.dtype))
    precision = jnp.sum(inverse**2, axis=0)
    weights = (jnp.where(active, residual, 0.0) @ inverse.T) @ inverse
    return residual - weights / precision, 1.0 / precision
