"""What `bayes_opt` compiles: the choice of the next points, and the taking in of answers."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from gpax_lab.acquisition._candidates import Candidates, Choice, domain
from gpax_lab.acquisition._information import seeks_optimum, telling_apart
from gpax_lab.acquisition._penalties import last_point
from gpax_lab.acquisition._route import shortest_path
from gpax_lab.core._observations import EMPTY, PENDING, VETOED, Observations, add_pending, answered_slot, assimilate
from gpax_lab.core._types import ArrayLike
from gpax_lab.experiment._buffer import reserved, tolerance_of
from gpax_lab.experiment._experiment import State, as_asked
from gpax_lab.hypotheses._mixture import HypothesisMixture


class ProposalSettings(NamedTuple):
    """The static settings of `propose_points`; see `bayes_opt`."""

    batch_size: int
    by_travel: bool
    num_samples: int | None
    floor: float
    apart_every: int | None


@partial(jax.jit, static_argnames="settings")
def propose_points(state: State, settings: ProposalSettings) -> tuple[State, Array]:
    """The state with the points (q, d) of the next batch pending, and these points; NaN where a pool is used up."""
    posterior, start, batch_size = state.posterior, state.key, settings.batch_size
    # Acquisition functions that compare hypotheses need their probabilities as they are; the published bandit has none.
    rivals = False
    if isinstance(posterior, HypothesisMixture) and posterior.competes and seeks_optimum(state.acquisition):
        rivals, posterior = True, posterior.floored(settings.floor)
    if settings.num_samples is not None:
        start, key_draws = jax.random.split(start)
        posterior = posterior.thinned(key_draws, settings.num_samples)

    def choose(
        carry: tuple[Array, Observations, Observations], _: None
    ) -> tuple[tuple[Array, Observations, Observations], Choice]:
        key, obs, asked = carry
        key, key_search, key_draw = jax.random.split(key, 3)
        view = posterior if state.acquisition.own_pending else posterior.with_pending(obs)

        where = domain(state.candidates, view, asked)

        def value_of(x: Array) -> Array:
            return state.acquisition(view, obs, x, key_draw, where)

        def value_apart(x: Array) -> Array:
            return telling_apart(state.acquisition)(view, obs, x, key_draw, where)

        def best(value: Callable[[Array], Array]) -> Choice:
            return state.candidates.best(key_search, value, asked, state.acquisition.joint)

        if rivals and settings.apart_every is not None:
            due = (_asked(obs) + 1) % settings.apart_every == 0
            choice = jax.lax.cond(due, lambda: best(value_apart), lambda: best(value_of))
        else:
            choice = best(value_of)
        return (key, add_pending(obs, choice.x), add_pending(asked, choice.x)), choice

    (key, obs, asked), choices = jax.lax.scan(choose, (start, state.obs, as_asked(state)), None, length=batch_size)
    after = state._replace(obs=obs, asked=asked.x)
    x = choices.x
    last = jnp.max(jnp.where(jnp.isfinite(x).all(axis=1), jnp.arange(batch_size), 0))  # behind it the pool was used up
    if settings.by_travel and batch_size > 1:
        x = _on_the_way(last_point(state.obs), x, last)
        # Slots in the order of the visit, so that the last one is where the instrument will be.
        after = reserved(state, x, PENDING)
    return after._replace(key=key, value=choices.value[last], fallback=choices.fallback[last]), x


def _on_the_way(start: Array, x: Array, last: Array) -> Array:
    """The points x (q, d), of which those up to `last` are there, along the shortest path; the others stay behind."""
    order = shortest_path(start, jnp.where(jnp.isfinite(x), x, x[last][None]))
    return x[order][jnp.argsort(order > last, stable=True)]


class Answers(NamedTuple):
    """What came back from the instrument: y (q,) at x (q, d), known variances, and the points sought (q, d)."""

    x: Array | np.ndarray
    y: Array
    noise: ArrayLike
    sought: Array | np.ndarray


@jax.jit
def take_in(
    key: Array, obs: Observations, asked: Array, candidates: Candidates, answers: Answers
) -> tuple[Array, Array, Observations, Array]:
    """The observations with the answers to the points sought; and the keys.

    Returns:
        Key of the state, key of the fit, observations, and (capacity, d) where each slot was asked for.
    """
    key, key_fit = jax.random.split(key)
    x, y, noise, sought = answers
    x, sought = jnp.asarray(x, obs.x.dtype), jnp.asarray(sought, obs.x.dtype)
    tolerance = tolerance_of(candidates, obs, sought)
    variances = jnp.broadcast_to(jnp.asarray(noise, obs.y.dtype), (x.shape[0],))

    def one(
        carry: tuple[Observations, Array], answer: tuple[Array, Array, Array, Array]
    ) -> tuple[tuple[Observations, Array], None]:
        obs, asked = carry
        x, y, noise, sought = answer
        after = assimilate(obs, x, y, noise, tolerance, sought)
        unasked = (after.status != obs.status) & ~answered_slot(obs, sought, tolerance)
        return (after, jnp.where(unasked[:, None], sought[None], asked)), None

    (obs, asked), _ = jax.lax.scan(one, (obs, asked), (x, y, variances, sought))
    return key, key_fit, obs, asked


def _asked(obs: Observations) -> Array:
    """() number of points asked for so far, seeds among them."""
    return jnp.sum((obs.status != EMPTY) & (obs.status != VETOED))
