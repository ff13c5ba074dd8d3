"""When enough is enough. A rule takes a state and gives a reason to stop, or nothing."""

from collections.abc import Callable
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.special import ndtr

from gpax_lab.acquisition._candidates import domain
from gpax_lab.acquisition._domain import Region, as_region
from gpax_lab.acquisition._functions import log_ei
from gpax_lab.core._observations import used
from gpax_lab.core._types import ArrayLike
from gpax_lab.experiment._experiment import State, as_asked

__all__ = ["Ask", "Rule", "budget", "no_more_gain", "target"]

Rule: TypeAlias = Callable[[State], str | None]
"""A stopping rule: state -> the reason to stop, in words, or None."""


class Ask:
    """A rule that asks people in place of ending the campaign, which is held until they answer.

    `gpax_lab.live.Inbox` shows the question and brings the answer; without one give `run` a `hold` that holds as long
    as there is a `question`, and once more after `answer`: the rule is then asked again.

    Args:
        rule: whose reason becomes a question.
        again_after: points after which it asks again when people said to go on.

    Attributes:
        question: the reason to stop that waits for an answer, or None.

    Raises:
        ValueError: `again_after` is less than one.

    Example:
        >>> rule = Ask(lambda state: "nothing new since hours")
        >>> rule.question is None
        True
    """

    def __init__(self, rule: Rule, again_after: int = 10) -> None:
        if not again_after >= 1:
            raise ValueError(f"again_after is 1 point or more; got {again_after}.")
        self.rule, self.again_after = rule, again_after
        self.question: str | None = None
        self._answer: bool | None = None
        self._quiet_until = 0

    def __call__(self, state: State) -> str | None:
        """The reason to stop, once people agreed to it."""
        points, self.question = used(state.obs), None
        if points < self._quiet_until or (reason := self.rule(state)) is None:
            return None
        agreed, self._answer = self._answer, None
        if agreed is None:
            self.question = reason
            return None
        if agreed:
            return reason
        self._quiet_until = points + self.again_after
        return None

    def answer(self, stop: bool) -> None:
        """Say whether the campaign is to stop; without a question nothing happens."""
        if self.question is not None:
            self._answer, self.question = bool(stop), None


def budget(points: int) -> Rule:
    """Stop once `points` slots are used: measured, failed and pending ones, seeds included.

    Raises:
        ValueError: fewer than one.
    """
    if not points >= 1:
        raise ValueError(f"a budget is of 1 point or more; got {points}.")

    def rule(state: State) -> str | None:
        return f"the budget of {points} points is used" if used(state.obs) >= points else None

    return rule


def target(
    value: float, maximize: bool = True, confidence: float = 0.95, among: Region | ArrayLike | None = None
) -> Rule:
    """Stop once some measured point lies beyond `value` (unit of y) with the given posterior probability.

    The noise-free quantity counts, draw by draw, so one lucky observation does not end a campaign; and only points
    where may still be asked, or `among` others, as in `acquisition.log_ei`.

    Raises:
        ValueError: the value is not finite, or the confidence no probability: it would never stop.
    """
    if not np.isfinite(value) or not 0 < confidence < 1:
        raise ValueError(f"a target is finite, and its confidence between 0 and 1; got {value} and {confidence}.")
    sign, region = (1.0 if maximize else -1.0), as_region(among)

    def rule(state: State) -> str | None:
        mean, variance = state.posterior.predict(state.obs.x)
        std = jnp.sqrt(jnp.maximum(variance, jnp.finfo(variance.dtype).tiny))
        weight = jnp.exp(state.posterior.log_weight)
        probability = weight @ ndtr(sign * (mean - value) / std)
        asked = as_asked(state)
        inside = state.candidates.inside(asked) if region is None else jax.vmap(region)(asked.x)
        best = float(jnp.max(jnp.where(state.obs.measured & inside, probability, 0.0)))
        return f"the target {value:g} is reached with probability {best:.3f}" if best >= confidence else None

    return rule


def no_more_gain(below: float, maximize: bool = True, among: Region | ArrayLike | None = None) -> Rule:
    """Stop once the largest expected improvement over the candidates is below `below` (unit of y).

    Improvement is over the observations where may still be asked, or `among` others, as in `acquisition.log_ei`.

    Raises:
        ValueError: `below` is negative or no number.
    """
    if not below >= 0:
        raise ValueError(f"no_more_gain needs a smallest gain of 0 or more, in the unit of y; got {below}.")
    improvement = log_ei(maximize, among=among)

    @jax.jit
    def largest(state: State) -> Array:
        asked = as_asked(state)
        where = domain(state.candidates, state.posterior, asked)
        choice = state.candidates.best(
            state.key, lambda x: improvement(state.posterior, state.obs, x, state.key, where), asked, improvement.joint
        )
        return jnp.exp(choice.value)

    def rule(state: State) -> str | None:
        gain = float(largest(state))
        return f"no more gain expected: at best {gain:.3g}, asked {below:g}" if gain < below else None

    return rule
