"""Exact Bayesian regression over subsets of the columns of a table: their evidence, and their coefficients."""

import functools
import itertools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.special import gammaln

from gpax_lab.core._linalg import cholesky, in_chunks, jitter, solve_lower, solve_upper

SHAPE, RATE = 1.0, 0.01
"""Inverse gamma prior of the noise variance relative to that of the observations: half of it below 0.014, a heavy tail
above, so that neither a precise instrument nor pure noise is excluded."""


class Scaled(NamedTuple):
    """Terms and values with mean 0 and standard deviation 1.

    Attributes:
        design: (n, p + 2) the constant, the terms, and zeros for a term that is not there.
        target: (n,) values.
        centre: (p,) means of the terms.
        scales: (p,) their standard deviations.
        location: mean of the values.
        scale: their standard deviation.
    """

    design: np.ndarray
    target: np.ndarray
    centre: np.ndarray
    scales: np.ndarray
    location: np.floating
    scale: np.floating


def scaled_to_unit(table: np.ndarray, values: np.ndarray) -> Scaled:
    """The terms (n, p) and the values (n,) with mean 0 and standard deviation 1."""
    centre, scales = table.mean(axis=0), table.std(axis=0)
    location, scale = values.mean(), values.std()
    design = np.column_stack([np.ones(len(values)), (table - centre) / scales, np.zeros(len(values))])
    return Scaled(design, (values - location) / scale, centre, scales, location, scale)


def coefficients_of(scaled: Scaled, chosen: np.ndarray, width: float) -> tuple[np.ndarray, np.ndarray, float]:
    """Means and standard deviations (1 + k,) of constant and coefficients, and the left-out error, in user's units."""
    index = np.concatenate([[0], chosen])
    mean, covariance, left_out = _fit(jnp.asarray(scaled.design[:, index]), jnp.asarray(scaled.target), width)
    # b_j (t_j - centre) / scale, in the user's units: b_j / scale t_j, and the rest joins the constant.
    back = np.diag(np.concatenate([[1.0], 1.0 / scaled.scales[chosen - 1]]))
    back[0, 1:] = -scaled.centre[chosen - 1] / scaled.scales[chosen - 1]
    coefficients = scaled.scale * back @ np.asarray(mean)
    coefficients[0] += scaled.location
    sd = scaled.scale * np.sqrt(np.diagonal(back @ np.asarray(covariance) @ back.T))
    return coefficients, sd, float(scaled.scale * np.sqrt(np.mean(np.asarray(left_out) ** 2)))


def all_subsets(weigh: Callable, count: int, largest: int) -> tuple[np.ndarray, np.ndarray]:
    """Every subset (s, largest) of 1..count, filled up with count + 1, and its evidence (s,)."""
    each = [
        chosen + (count + 1,) * (largest - size)
        for size in range(largest + 1)
        for chosen in itertools.combinations(range(1, count + 1), size)
    ]
    subsets = np.array(each, int)
    return subsets, np.asarray(weigh(jnp.asarray(subsets)))


def greedy_subsets(weigh: Callable, count: int, largest: int, beam: int) -> tuple[np.ndarray, np.ndarray]:
    """The same for subsets that grow from the best ones that are smaller by a term."""
    front: list[tuple[int, ...]] = [()]
    found, evidence = list(front), [np.asarray(weigh(jnp.full((1, largest), count + 1)))]
    for size in range(1, largest + 1):
        wider = {tuple(sorted({*old, j})) for old in front for j in range(1, count + 1) if j not in old}
        level = sorted(wider)
        rows = np.array([chosen + (count + 1,) * (largest - size) for chosen in level], int)
        values = np.asarray(weigh(jnp.asarray(rows)))
        front = [level[i] for i in np.argsort(-values, kind="stable")[:beam]]
        found += level
        evidence.append(values)
    return np.array([chosen + (count + 1,) * (largest - len(chosen)) for chosen in found], int), np.concatenate(
        evidence
    )


@functools.partial(jax.jit, static_argnames="width")
def log_evidences(design: Array, target: Array, width: float, subsets: Array) -> Array:
    """(s,) log evidence of subsets (s, k) of the columns of design (n, p), the constant in front of each."""
    gram, moment, square = design.T @ design, design.T @ target, target @ target
    n, constant = target.size, jnp.zeros(1, subsets.dtype)

    def one(chosen: Array) -> Array:
        index = jnp.concatenate([constant, chosen])
        # A column of zeros, the term that is not there, has the precision of its prior and changes nothing.
        lower, rest = _reduced(gram[index][:, index], moment[index], square, width)
        end = SHAPE + 0.5 * n
        return (
            gammaln(end)
            - gammaln(SHAPE)
            + SHAPE * jnp.log(RATE)
            - end * jnp.log(RATE + 0.5 * rest)
            - 0.5 * n * jnp.log(2 * jnp.pi)
            - jnp.sum(jnp.log(jnp.diagonal(lower)))
            - index.size * jnp.log(width)
        )

    return in_chunks(jax.vmap(one), subsets, 4096)


def _reduced(gram: Array, moment: Array, square: Array, width: float) -> tuple[Array, Array]:
    """Cholesky factor of the precision, and what is left of the squared observations: y'y - m' A^-1 m >= 0."""
    lower, _ = cholesky(gram + jnp.eye(gram.shape[0], dtype=gram.dtype) / width**2)
    white = solve_lower(lower, moment)
    # Rounding may take it below zero where a subset explains the observations to the last digit.
    return lower, jnp.maximum(square - white @ white, jitter(gram.dtype) ** 1.5 * square)


@functools.partial(jax.jit, static_argnames="width")
def _fit(design: Array, target: Array, width: float) -> tuple[Array, Array, Array]:
    """Posterior mean (k,) and covariance (k, k) of the coefficients, and the left-out errors (n,) in closed form."""
    lower, rest = _reduced(design.T @ design, design.T @ target, target @ target, width)
    mean = solve_upper(lower, solve_lower(lower, design.T @ target))
    half = solve_lower(lower, jnp.eye(mean.size, dtype=mean.dtype))
    noise = (RATE + 0.5 * rest) / (SHAPE + 0.5 * target.size - 1.0)
    leverage = jnp.sum((half @ design.T) ** 2, axis=0)
    return mean, noise * half.T @ half, (target - design @ mean) / (1.0 - leverage)
