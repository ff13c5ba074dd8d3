"""Interventions that settings plan, at their step, each once."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from gpax_lab.experiment import Event, State
from gpax_lab.experiment import interventions as actions
from gpax_lab.experiment._record import JournalRecord
from gpax_lab.settings import _schema as schema
from gpax_lab.settings._prior import distribution


class Planned:
    """A hook of `experiment.run` that does what settings plan; call `follow` with every event.

    Args:
        planned: the sections [[interventions]], in order.
        history: of the journal, which says what was done before.
    """

    def __init__(self, planned: Sequence[Any], history: Sequence[JournalRecord]) -> None:
        self.step = history[-1].step if history else 0
        done = sum(frame.kind == "intervention" and frame.step == self.step for frame in history)
        before = [one for one in planned if one.step < self.step]
        now = [one for one in planned if one.step == self.step][done:]
        self.left = [one for one in planned if one not in before and (one.step > self.step or one in now)]

    def follow(self, event: Event) -> None:
        """Take note of the steps that are done."""
        if event.phase == "learn":
            self.step = event.step

    def __call__(self, state: State) -> list[actions.Intervention]:
        """What is due now."""
        due = [one for one in self.left if one.step <= self.step]
        self.left = [one for one in self.left if one.step > self.step]
        return [action_of(one) for one in due]


def action_of(planned: Any) -> actions.Intervention:
    """The intervention that a section says."""
    match planned:
        case schema.Pin():
            return actions.Pin(np.asarray(planned.points))
        case schema.Veto():
            return actions.Veto(np.asarray(planned.points))
        case schema.Reweigh():
            return actions.Reweigh(planned.weights)
        case schema.Rescale():
            return actions.Rescale(planned.scalarizer)
        case schema.Reject():
            return actions.Reject(planned.name, planned.formula, planned.why or "")
    prior = {name: distribution(value) for name, value in planned.prior.items()}
    return actions.Adopt(
        planned.name, planned.formula, prior, planned.units, tuple(planned.inputs), share=planned.share
    )
