"""A campaign as an optimizer of bluesky-adaptive 1.x, for plans of a RunEngine."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gpax_lab.ask_tell._campaign import AskTell
from gpax_lab.ask_tell._suggest import ID_KEY, Suggesting
from gpax_lab.experiment.stopping import Rule

__all__ = ["Optimizer"]


class Optimizer(Suggesting):
    """What `bluesky_adaptive.protocols` ask of an optimizer, its optional parts included.

    The names of the actuators are those of the inputs. Each suggestion carries the number of its point as `_id`; the
    evaluation function gives it back with the value: `{"_id": ..., "area": ...}`.

    Args:
        campaign: see `open_campaign`.
        maximize: whether large values are the good ones, for `get_best_points`.
        rules: reasons to stop, see `experiment.stopping`; they look at what is learned.

    Example:
        `RE(optimize(OptimizationProblem(Optimizer(campaign), actuators, sensors, evaluate), iterations=20))`
    """

    def __init__(self, campaign: AskTell, maximize: bool = True, rules: Sequence[Rule] = ()) -> None:
        super().__init__(campaign, campaign.output[0], {})
        self._maximize, self._rules = maximize, tuple(rules)

    def suggest(self, num_points: int | None = None) -> list[dict[str, Any]]:
        """As `Suggesting`; without a number, one point."""
        return super().suggest(1 if num_points is None else num_points)

    def get_best_points(self) -> list[tuple[int, dict[str, float], dict[str, float]]]:
        """The best point by what the model makes of it: its `_id`, its inputs and what was measured there."""
        best = self.campaign.best(self._maximize)
        inputs = dict(zip(self.campaign.names, map(float, best.x), strict=True))
        return [(best.id, inputs, {self._output: best.y})]

    def register_failures(self, suggestions: Iterable[Mapping[str, Any]]) -> None:
        """Suggestions that could not be measured, by their `_id`; they are not proposed again.

        A plan that fails names all that it had been given: those that were answered before stay measured.

        Raises:
            ValueError: one was not suggested.
        """
        for suggestion in suggestions:
            number = self._number(suggestion[ID_KEY])
            if self.campaign._is_open(number):
                self.campaign.fail(number, "the plan failed")

    def should_stop(self) -> tuple[bool, str | None]:
        """Whether a rule wants to stop, and why."""
        if not self._rules or not self.campaign.measured:
            return False, None
        state = self.campaign.state
        reason = next((text for rule in self._rules if (text := rule(state))), None)
        return reason is not None, reason

    def checkpoint(self) -> None:
        """Nothing is left to write: what was told is in the journal."""
