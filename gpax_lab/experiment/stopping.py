"""When enough is enough. A rule looks at a state and gives a reason to stop, or nothing."""

from collections.abc import Callable
from typing import TypeAlias

import jax.numpy as jnp
from jax.scipy.special import ndtr

from gpax_lab.acquire.scores import log_ei
from gpax_lab.experiment.experiment import State
from gpax_lab.observations import MEASURED, used

Rule: TypeAlias = Callable[[State], str | None]


def budget(points: int) -> Rule:
    """Stop once `points` slots are used: measured, failed and pending ones, seeds included."""

    def rule(state: State) -> str | None:
        return f"the budget of {points} points is used" if used(state.obs) >= points else None

    return rule


def target(value: float, maximize: bool = True, confidence: float = 0.95) -> Rule:
    """Stop once some measured point lies beyond `value` (unit of y) with the given posterior probability.

    The noise-free quantity counts, draw by draw, so one lucky reading does not end a campaign.
    """
    sign = 1.0 if maximize else -1.0

    def rule(state: State) -> str | None:
        mean, variance = state.posterior.predict(state.obs.x)
        std = jnp.sqrt(jnp.maximum(variance, jnp.finfo(variance.dtype).tiny))
        weight = jnp.exp(state.posterior.log_weight)
        probability = weight @ ndtr(sign * (mean - value) / std)
        best = float(jnp.max(jnp.where(state.obs.status == MEASURED, probability, 0.0)))
        return f"the target {value:g} is reached with probability {best:.3f}" if best >= confidence else None

    return rule


def no_more_gain(below: float, maximize: bool = True) -> Rule:
    """Stop once the largest expected improvement over the candidates is below `below` (unit of y)."""
    score = log_ei(maximize)

    def rule(state: State) -> str | None:
        choice = state.candidates.best(
            state.key, lambda x: score(state.posterior, state.obs, x, state.key), state.obs, score.joint
        )
        gain = float(jnp.exp(choice.value))
        return f"no more gain expected: at best {gain:.3g}, asked {below:g}" if gain < below else None

    return rule
