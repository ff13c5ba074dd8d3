"""An experiment is a pure state machine: init, propose, observe."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from gpax_lab.acquire.candidates import Candidates, Choice
from gpax_lab.acquire.score import Score
from gpax_lab.infer.posterior import Posterior
from gpax_lab.infer.race import Race
from gpax_lab.observations import Observations


class State(NamedTuple):
    """All that an experiment carries from one point to the next.

    Attributes:
        key: random key; split at every use.
        obs: observations, with pending slots for what is under way.
        posterior: what is believed now; a Race where hypotheses compete.
        score: what makes a point worth measuring; its weights may be changed between steps.
        candidates: where a point may lie.
        value: () score of the last proposal.
        fallback: () bool, whether the last proposal was chosen by distance because no score was finite.
    """

    key: Array
    obs: Observations
    posterior: Posterior | Race
    score: Score
    candidates: Candidates
    value: Array
    fallback: Array


class Experiment(NamedTuple):
    """Three pure functions, in the manner of an optax transformation.

    Attributes:
        init: (key, obs) -> state.
        propose: state -> state, x (q, d); the proposed points are now pending.
        observe: (state, x (q, d), y (q,), noise (q,) or 0) -> state; a non-finite y is a failed reading, `noise` the
            known variances. Answers may come in any order and in any portion.
    """

    init: Callable[[Array, Observations], State]
    propose: Callable[[State], tuple[State, Array]]
    observe: Callable[..., State]


Objective = Callable[[Array, Array], Array]
"""A simulated measurement: (key, x (d,)) -> y (), which may be NaN where the reading fails."""


def measurement_key(state: State) -> Array:
    """The key of the measurement that follows this state's proposal; the same in `simulate` and `run`."""
    return jax.random.fold_in(state.key, 1)


def empty_choice(obs: Observations) -> Choice:
    """A choice not made yet."""
    return Choice(obs.x[0], jnp.asarray(jnp.nan, obs.x.dtype), jnp.asarray(False))
