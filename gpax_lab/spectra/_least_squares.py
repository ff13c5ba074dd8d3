"""The engine of `gpax_lab.spectra._fit`: damped Gauss-Newton steps for blocks of pixels.

Those that are not done are gathered before each round, so that a few hard ones do not hold up the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike

from gpax_lab.spectra._normal_equations import (
    Formula,
    Task,
    curve,
    data,
    fix_params,
    free_parameters,
    gauss_jordan_solve,
    huber_limit,
    normal,
    spectra_as_real,
    within,
)
from gpax_lab.spectra._outcome import Fit, summary


class State(NamedTuple):
    """Where a problem stands; problems on the leading axis between rounds, in any order, on the last one within."""

    problem: Array  # its number
    params: Array
    trial: Array  # where to evaluate next
    gain: Array  # what the normal equations at `params` expect of it
    damping: Array
    growth: Array
    done: Array
    limit: Array  # of `huber`, fixed during a round, (2,)
    h: Array  # the normal equations at `params`, (p, p)
    g: Array  # (p,)
    cost: Array  # infinite before the first evaluation


class Descent(NamedTuple):
    """What changes from step to step of one block; the other fields are those of `State`."""

    steps: Array  # so far
    params: Array
    trial: Array
    gain: Array
    damping: Array
    growth: Array
    done: Array
    h: Array
    g: Array
    cost: Array


REJECTED = 4.0
"""With `huber`: a residual of this many limits does not count in the end (5.4 standard deviations for 1.345)."""

BLIND = 1.5e-8
"""A step that should lower the cost by a smaller share of it is taken blindly: some thousandths of an sd."""

ROUNDS = (3, 2, 2, 2, 2, 4, 8, 16)
"""Steps between two gatherings: most fits are done after few, and a block waits for its slowest."""


@partial(jax.jit, static_argnames=("formula", "starts", "size"))
def fit_all(
    formula: Formula,
    task: Task,
    begin: Array,
    *,
    least: ArrayLike,
    starts: int,
    huber: ArrayLike | None,
    max_steps: ArrayLike,
    size: int,
) -> Fit:
    """Fit every pixel from every start (pixels * starts, p) and keep the best; see `curve_fit`."""
    problems, real = begin.shape[0], begin.dtype
    task = task._replace(y=spectra_as_real(task.y))
    size = min(size, problems)

    def fresh(params: Array, limit: Array) -> State:
        p, one = params.shape[1], jnp.ones(problems, real)
        h, g = jnp.zeros((problems, p, p), real), jnp.zeros((problems, p), real)
        number, done = jnp.arange(problems), jnp.zeros(problems, bool)
        return State(
            problem=number,
            params=params,
            trial=params,
            gain=0.0 * one,
            damping=1e-4 * one,
            growth=2.0 * one,
            done=done,
            limit=limit,
            h=h,
            g=g,
            cost=jnp.inf * one,
        )

    # With `huber` each round is a fit with a new scale. A far residual pulls at first, or a poor start would discard
    # good points; then not at all, or one at a point that few others check (in a switch) would bend the curve.
    most = jnp.asarray(max_steps, jnp.int32)
    rounds = _rounds(most) if huber is None else jnp.stack([most, *[jnp.maximum(most // 3, 1)] * 3, most])
    far = [jnp.inf] * len(rounds) if huber is None else [jnp.inf, jnp.inf, REJECTED, REJECTED, REJECTED]

    def iteration(state: State, this: tuple[Array, Array]) -> tuple[State, None]:
        if huber is not None:
            state = fresh(state.params, state.limit)._replace(problem=state.problem)
        moved = lax.cond(
            jnp.all(state.done), lambda s: s, lambda s: _round(formula, task, s, starts, huber, this, size), state
        )
        return moved, None

    first = fresh(within(task, begin.T).T, jnp.ones((problems, 2), real))
    state, _ = lax.scan(iteration, first, (rounds, jnp.array(far, real)))
    order = jnp.argsort(state.problem)

    def close(index: Array) -> tuple[Fit, Array]:
        at = _last(jax.tree.map(lambda leaf: leaf[order[index]], state))
        limit = None if huber is None else at.limit
        return summary(formula, task, at.params, (at.h, at.g, at.cost), limit, index // starts, least)

    fit, cost = _blocks(close, jnp.arange(problems), size)
    best = jnp.argmin(cost.reshape(-1, starts), axis=1) + starts * jnp.arange(problems // starts)
    return jax.tree.map(lambda leaf: leaf[best], fit)


def _rounds(max_steps: Array) -> Array:
    """`max_steps` in rounds."""
    ends = jnp.minimum(jnp.cumsum(jnp.array(ROUNDS, jnp.int32)), max_steps)
    return jnp.diff(ends, prepend=0, append=max_steps)


def _last(state: State) -> State:
    """With the problems on the last axis."""
    return jax.tree.map(lambda leaf: jnp.moveaxis(leaf, 0, -1), state)


def _blocks(function: Callable, index: Array, size: int) -> Any:
    """Apply a function of `size` problem numbers to all of them, one block after the other."""
    count = index.shape[0]
    blocks = -(-count // size)
    padded = index[jnp.minimum(jnp.arange(blocks * size), count - 1)].reshape(blocks, size)
    found = lax.map(function, padded)
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:])[:count], found)


def _round(
    formula: Formula,
    task: Task,
    state: State,
    starts: int,
    huber: ArrayLike | None,
    this: tuple[Array, Array],
    size: int,
) -> State:
    """Up to this[0] steps for every problem; those not done come first, so whole blocks of done ones cost nothing."""
    order = jnp.argsort(state.done, stable=True)

    def block(index: Array) -> State:
        here = jax.tree.map(lambda leaf: leaf[index], state)
        return lax.cond(
            jnp.all(here.done),
            lambda: here,
            lambda: _advance(formula, task, here, here.problem // starts, huber, this),
        )

    return _blocks(block, order, size)


def _cut(task: Task, u: Array, move: Array, marquardt: Array, g: Array, free: Array) -> Array:
    """Where a step ends that the box stops.

    What would leave the box goes to its side, and the others move to where that is best for them.
    """
    there = within(task, u + move)
    inside = there == u + move

    def again(move: Array) -> Array:
        fixed = jnp.where(inside, 0.0, there - u)
        target = -g - jnp.sum(marquardt * fixed[None], axis=1)
        hold = fix_params(marquardt, inside & free)
        return gauss_jordan_solve(hold, jnp.where(inside & free, target, fixed)[:, None])[0][:, 0]

    return within(task, u + lax.cond(jnp.all(inside), lambda m: m, again, move))


def _advance(
    formula: Formula, task: Task, state: State, pixel: Array, huber: ArrayLike | None, this: tuple[Array, Array]
) -> State:
    """Up to this[0] damped steps of one block; ends when all its problems are done."""
    y, weight, _ = data(task, pixel)
    limit = None
    if huber is not None:
        first = jnp.nan_to_num((curve(formula, task.x, state.params.T) - y) * weight)
        limit = huber_limit(first, weight, task.sigma is not None, huber, this[1])
    begin = _last(state)
    real, p = y.dtype, begin.params.shape[0]
    eps = float(jnp.finfo(real).eps)
    tolerance, floor = eps**0.5, (8 * eps) ** 2 * y.shape[0]

    def step(carry: Descent) -> Descent:
        steps, u, trial, gain, damping, growth, done, h, g, cost = carry
        evaluated = jnp.isfinite(cost)
        h_new, g_new, cost_new = normal(formula, task.x, y, weight, trial, limit)
        good = jnp.isfinite(cost_new) & jnp.all(jnp.isfinite(g_new), axis=0)
        # A step cut at the box may point uphill: then the damping rotates it towards the gradient, which never does.
        better = ~done & good & (cost_new <= cost) & (gain >= 0)
        small = evaluated & (((gain >= 0) & (gain <= tolerance * cost)) | (cost <= floor))
        ratio = (cost - cost_new) / jnp.where(gain > 0, gain, jnp.inf)
        ratio = jnp.where(evaluated & good, ratio, 0.5)
        shrink = jnp.maximum(1.0 / 3.0, 1.0 - (2.0 * jnp.clip(ratio, 0.0, 1.0) - 1.0) ** 3)
        u, h, g = (jnp.where(better, new, old) for new, old in ((trial, u), (h_new, h), (g_new, g)))
        cost = jnp.where(better, cost_new, cost)
        damping, growth = (
            jnp.where(done, old, jnp.where(better, lower, higher))
            for old, lower, higher in ((damping, damping * shrink, damping * growth), (growth, 2.0, 2.0 * growth))
        )
        # Where to next, and whether it is worth looking there: the last small step is taken without.
        free = free_parameters(u, g, task)
        marquardt = h + damping[None, None] * h * jnp.eye(p, dtype=real)[..., None]
        move = gauss_jordan_solve(fix_params(marquardt, free), jnp.where(free, -g, 0.0)[:, None])[0][:, 0]
        trial = u + move if task.box is None else _cut(task, u, move, marquardt, g, free)
        move = trial - u
        gain = -jnp.sum(move * (g + 0.5 * jnp.sum(h * move[None], axis=1)), axis=0)
        near = (gain >= 0) & (gain <= BLIND * cost)
        u, cost = (jnp.where(near & ~done, new, old) for new, old in ((trial, u), (cost - gain, cost)))
        over = done | near | small | (~evaluated & ~good) | (damping > 1e12)
        return Descent(steps + 1, u, trial, gain, damping, growth, over, h, g, cost)

    def going(carry: Descent) -> Array:
        return (carry.steps < this[0]) & ~jnp.all(carry.done)

    # The first iteration evaluates the start.
    known = {name: value for name, value in begin._asdict().items() if name in Descent._fields}
    moved = lax.while_loop(going, step, Descent(steps=jnp.zeros((), jnp.int32), **known))._asdict()
    del moved["steps"]
    end = begin._replace(limit=begin.limit if limit is None else limit, **moved)
    return jax.tree.map(lambda leaf: jnp.moveaxis(leaf, -1, 0), end)
