"""An experiment is a pure state machine: init, propose, observe."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from gpax_lab.acquisition._acquisition import Acquisition
from gpax_lab.acquisition._candidates import Candidates, Choice
from gpax_lab.core._inputs import check_key, traced
from gpax_lab.core._observations import Observations
from gpax_lab.hypotheses._mixture import HypothesisMixture
from gpax_lab.inference._posterior import Posterior


class State(NamedTuple):
    """All that an experiment carries from one point to the next.

    Attributes:
        key: random key; split at every use.
        obs: observations, with pending slots for what is under way.
        posterior: what is believed now; a HypothesisMixture, such as a ModelAverage, where hypotheses compete.
        acquisition: what makes a point worth measuring; its weights may be changed between steps.
        candidates: where a point may lie.
        value: () acquisition value of the last proposal.
        fallback: () bool, whether the last proposal was chosen by distance because no acquisition value was finite.
        asked: (capacity, d) the point that was proposed for each slot, while `obs.x` holds the position at which it was
            measured, which on a real stage differs a little. A point of a pool is recognised by the proposed one.
    """

    key: Array
    obs: Observations
    posterior: Posterior | HypothesisMixture
    acquisition: Acquisition
    candidates: Candidates
    value: Array
    fallback: Array
    asked: Array

    def __repr__(self) -> str:
        """What it holds, without the numbers."""
        return f"<State: {self.obs!r}; {self.posterior!r}; {self.acquisition!r}; {self.candidates!r}>"


class NothingLeft(ValueError):
    """Every candidate is measured, pending, failed or vetoed: there is nothing to propose."""

    def __init__(self) -> None:
        super().__init__(
            "no candidate is left to measure: each one is measured, pending, failed or vetoed. The campaign is at its "
            "end, unless measurements are still to come; acquisition.pool(points, repeat=True) measures points again."
        )


class Experiment(NamedTuple):
    """Three pure functions, and what points they may be given, in the manner of an optax transformation.

    Attributes:
        init: (key, obs) -> state.
        propose: state -> state, x (q, d); the proposed points are now pending. Where fewer than q candidates are left
            these are proposed, and with none `NothingLeft` is raised; under jit, where shapes are fixed, the rows that
            are missing are NaN, and the state's value is -inf where all are.
        observe: (state, x (q, d), y (q,), noise (q,) or 0, asked (q, d) or None) -> state; a non-finite y is a failed
            measurement, `noise` the known variances. Results may come in any order and a few at a time. `x` are the
            positions at which they were measured, read back from the instrument, and what the model learns; `asked` are
            the points as `propose` returned them, to match a result to its pending point where the two differ. Without
            it the nearest pending point within `Candidates.tolerance` is matched.
        check: (points (n, d), their name) -> None; raises ValueError for points that `init` and `observe` would refuse,
            so that no instrument is sent there.
    """

    init: Callable[[Array, Observations], State]
    propose: Callable[[State], tuple[State, Array]]
    observe: Callable[..., State]
    check: Callable[[np.ndarray, str], None] = lambda points, whose: None

    def __repr__(self) -> str:
        """The calls."""
        return "<Experiment: init(key, obs), propose(state), observe(state, x, y), check(points, name)>"


def check_begin(key: Any, experiment: Any, order: str = "") -> None:
    """Refuse what no campaign can begin with.

    Raises:
        TypeError: the key is no random key or the experiment none, as where they are given in another order.
        ValueError: several keys.
    """
    check_key(key, order)
    if not isinstance(experiment, Experiment):
        name = getattr(experiment, "__name__", type(experiment).__name__)
        raise TypeError(f"an experiment is what bayes_opt(...) returns; got {name}.")


Objective = Callable[[Array, Array], Array]
"""A simulated measurement: (key, x (d,)) -> y (), which may be NaN where the measurement fails."""


def measurement_key(state: State) -> Array:
    """The key of the measurement that follows this state's proposal; the same in `simulate` and `run`."""
    return jax.random.fold_in(state.key, 1)


def token_of(key: Array, mark: str = "") -> str:
    """A measurement's name: its random key in hexadecimal, the same when a campaign is resumed.

    Args:
        key: of the measurement.
        mark: of the campaign, which tells its measurements from those of another one with the same key.
    """
    return "".join(f"{word:08x}" for word in np.asarray(jax.random.key_data(key))) + (f"-{mark}" if mark else "")


def tokens_of(key: Array, count: int, mark: str = "") -> list[str]:
    """Names of the measurements of so many points that a state with this key has proposed, in order."""
    return [token_of(one, mark) for one in jax.random.split(jax.random.fold_in(key, 1), count)]


def key_of(token: str) -> Array:
    """The random key that a token spells; simulated instruments draw their noise from it.

    Raises:
        ValueError, TypeError: the token does not begin with a key in hexadecimal digits.
    """
    token = token.partition("-")[0]
    words = [int(token[i : i + 8], 16) for i in range(0, len(token), 8)]
    return jax.random.wrap_key_data(jnp.asarray(words, jnp.uint32))


def left_of(x: Array) -> Array:
    """The points of a proposal that are there: the first ones. Outside jit.

    Raises:
        NothingLeft: none is.
    """
    count = int(np.isfinite(np.asarray(x)).all(axis=1).sum())
    if count == 0:
        raise NothingLeft
    return x if count == len(x) else x[:count]


def as_asked(state: State) -> Observations:
    """The observations with every slot where it was asked for."""
    return state.obs._replace(x=state.asked)


def empty_choice(obs: Observations) -> Choice:
    """A choice not made yet."""
    if not traced(obs.x):
        x = np.asarray(obs.x)
        return Choice(jnp.asarray(x[0]), jnp.asarray(np.array(np.nan, x.dtype)), jnp.asarray(np.array(False)))
    return Choice(obs.x[0], jnp.asarray(jnp.nan, obs.x.dtype), jnp.asarray(False))
