"""States out of a journal, for a page of another process than the campaign's."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from gpax_lab.experiment import Experiment, State
from gpax_lab.experiment._adoption import Extend
from gpax_lab.experiment._history import grown
from gpax_lab.experiment._intervention_records import from_record
from gpax_lab.experiment._record import merge, observations_of, restore
from gpax_lab.experiment.interventions import Adopt
from gpax_lab.storage import JournalRecord


class Restoring:
    """Called with the new entries of a journal, it gives the state after them; None where no new one is recorded.

    Args:
        experiment: the one that writes the journal.
        extend: the same with other hypotheses.
    """

    def __init__(self, experiment: Experiment, extend: Extend | None = None) -> None:
        self._experiment, self._extend = experiment, extend
        self._arrays: dict[str, np.ndarray] = {}
        self._own: set[str] = set()
        self._adopted: list[Adopt] = []
        self._later: list[Adopt] = []
        self._templates: dict[Any, State] = {}  # tracing a sampler takes a second

    def __call__(self, found: Sequence[JournalRecord]) -> State | None:
        """The state after these entries."""
        new = False
        for record in found:
            if record.kind == "intervention" and isinstance(action := from_record(record.header, record.arrays), Adopt):
                self._later.append(action)
            if record.kind == "state":
                merge(self._arrays, record.arrays, self._own)
                self._adopted, self._later, new = [*self._adopted, *self._later], [], True
        return self._state() if new else None

    def _state(self) -> State:
        obs = observations_of(self._arrays)
        key = (obs.x.shape, len(self._adopted))
        if key not in self._templates:
            experiment = grown(self._experiment, self._arrays, self._adopted, self._extend)
            self._templates[key] = jax.eval_shape(experiment.init, jax.random.key(0), obs)
        return restore(self._experiment, self._arrays, self._templates[key])
