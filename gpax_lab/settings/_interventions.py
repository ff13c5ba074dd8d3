"""Interventions that settings plan, at their step, each once."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from gpax_lab.experiment import Event, State
from gpax_lab.experiment import interventions as actions
from gpax_lab.experiment._record import JournalRecord
from gpax_lab.settings import _schema as schema
from gpax_lab.settings._prior import distribution

_BY = "settings"


class Planned:
    """A hook of `experiment.run` that does what settings plan; call `follow` with every event.

    Args:
        planned: the sections [[interventions]], in order.
        history: of the journal, which says what was done before.
    """

    def __init__(self, planned: Sequence[Any], history: Sequence[JournalRecord]) -> None:
        self.step = history[-1].step if history else 0
        done = sum(frame.kind == "intervention" and frame.step == self.step and _planned(frame) for frame in history)
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


def _planned(record: JournalRecord) -> bool:
    """Whether settings asked for an intervention; a former version said nothing of who did."""
    return record.header.get("by", _BY) == _BY


def action_of(planned: Any) -> actions.Intervention:
    """The intervention that a section says."""
    match planned:
        case schema.Pin():
            return actions.Pin(np.asarray(planned.points), by=_BY)
        case schema.Veto():
            return actions.Veto(np.asarray(planned.points), by=_BY)
        case schema.Reweigh():
            return actions.Reweigh(planned.weights, by=_BY)
        case schema.Rescale():
            return actions.Rescale(planned.scalarizer, by=_BY)
        case schema.Reject():
            return actions.Reject(planned.name, planned.formula, by=_BY, why=planned.why or "")
    prior = {name: distribution(value) for name, value in planned.prior.items()}
    return actions.Adopt(
        planned.name, planned.formula, prior, planned.units, tuple(planned.inputs), share=planned.share, by=_BY
    )
