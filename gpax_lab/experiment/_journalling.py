"""What a campaign writes into its journal and when, and what it takes up from there when it is resumed."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from gpax_lab.core._observations import Observations
from gpax_lab.experiment import _record as record
from gpax_lab.experiment._adoption import Extend
from gpax_lab.experiment._contracts import Journal
from gpax_lab.experiment._experiment import Experiment, State
from gpax_lab.experiment._health import Health
from gpax_lab.experiment._history import History, Progress, history, progress_of
from gpax_lab.experiment._identity import recognised, refuse
from gpax_lab.experiment._intervention_records import to_record
from gpax_lab.experiment._rescalarize import kept, rescalarize
from gpax_lab.experiment._scalarizers import Scalarizers
from gpax_lab.experiment._versions import going_on_with
from gpax_lab.experiment.interventions import Intervention

_SPARE_BYTES = 4 << 20
"""Bytes free before a measurement beside twice the largest one so far: for the state after it, and to spare."""


class Journalling:
    """The journal of one run: what is on the disk, and what waits for the next write.

    Whatever follows from what is on the disk (proposals, states) waits for the next entry that does not, so that a step
    costs two writes: one before its measurement and one after.

    Args:
        campaign: the journal.

    Attributes:
        step: finished campaign steps.
        state: the last recorded state; None before the first fit.
        told: what the journal says; where this program goes on from there, that of its beginning.
        answers: by token, what every recorded measurement gave; NaN for one that was discarded.
        begun: tokens of measurements that were begun and have no answer.
        mark: of the campaign, in every token.
        health: what became of its fits and proposals.
    """

    def __init__(self, campaign: Journal) -> None:
        entries = campaign.history
        self._campaign = campaign
        self.step = 0
        self.state: State | None = None
        self.answers: dict[str, record.Answer] = {}
        self.begun: set[str] = set()
        self.mark = str(entries[0].header.get("mark", "")) if entries else ""
        self.told = History()
        self._asked: dict[str, np.ndarray] = {}
        self._known: dict[str, np.ndarray] = {}
        self._waiting: list[record.Record] = []
        self._described: dict[str, Any] = {}
        self.health = Health.of(entries)
        self._largest = max((_size(entry.arrays) for entry in entries if entry.kind == "reading"), default=0)

    def read(self) -> History:
        """Read what the journal says; nothing is computed."""
        self.told = history(self._campaign.history)
        self.step, self.answers, self.begun = self.told.step, self.told.answers, self.told.begun
        self._asked, self._known = self.told.asked_at, self.told.arrays
        return self.told

    def resume(self, experiment: Experiment, extend: Extend | None) -> Progress:
        """How far the journal says that the campaign has come."""
        progress = progress_of(experiment, self.read(), extend)
        self.state = progress.state
        return progress

    def announce(self) -> None:
        """Record who goes on with the journal: by another program, processor or compiler not bit for bit."""
        before = self._campaign.history
        if before[1:] or not any("versions" in entry.header for entry in before):
            self._campaign.append(("resume" if before[1:] else "begin", self.step, going_on_with(before), {}))

    def recognise(self, described: dict[str, Any], another: bool) -> None:
        """Compare an instrument with the one that the journal knows, and record it where it is new."""
        self._described = described
        if described and not recognised(described, self._campaign.history, another):
            self._campaign.append(("instrument", self.step, described, {}))

    def recognise_again(self, described: dict[str, Any]) -> None:
        """The same after it was lost."""
        if described != self._described:
            refuse(self._described, described, "the instrument was lost, and what came back")
            self._campaign.append(("instrument", self.step, described, {}))
            self._described = described

    def flush(self, *more: record.Record) -> None:
        """Write what waits, and these records, in one go."""
        self._campaign.append(*self._waiting, *more)
        self._waiting = []

    def remember(self, state: State) -> None:
        """Queue the state for the next write; it follows from what is on the disk already."""
        self.state = state
        changed = record.snapshot(state, self._known)
        record.merge(self._known, changed)
        self.told.learned()
        self._waiting.append(("state", self.step, {}, changed))
        self._wait(("posterior", self.step, record.posterior_summary(state), {}))

    def intervened(self, action: Intervention) -> None:
        """Queue what a person asked for."""
        header, arrays = to_record(action)
        self._waiting.append(("intervention", self.step, header, arrays))

    def proposed(self, state: State, x: jax.Array, pinned: bool) -> None:
        """Queue the points x (q, d) that are measured next, and the state's reasons for them."""
        header = {
            "value": None if pinned else float(state.value),
            "fallback": bool(state.fallback),
            "pinned": pinned,
            "key": np.asarray(jax.random.key_data(state.key)).tolist(),
        }
        self._wait(("proposal", self.step, header, {"x": np.asarray(x)}))

    def _wait(self, entry: record.Record) -> None:
        self.health = self.health.after(entry[0], entry[2])
        self._waiting.append(entry)

    def suspended(self, step: int, seconds: float) -> None:
        """Record that this process stood still."""
        self.flush(("suspended", step, {"seconds": seconds}, {}))

    def answer_to(self, token: str, x: np.ndarray) -> record.Answer | None:
        """What the measurement of this token at x (d,) gave, if that is recorded.

        Raises:
            ValueError: it was made elsewhere.
        """
        if token in self._asked and not np.array_equal(self._asked[token], x):
            raise ValueError(
                f"the journal measured {self._asked[token].tolist()} where this program would measure {x.tolist()}: "
                "seeds, settings, acquisition or versions differ from those that wrote it. Restore them, or begin anew."
            )
        return self.answers.get(token)

    def intend(self, step: int, token: str, phase: str, x: np.ndarray) -> None:
        """Record that a measurement begins, as long as the disk can take what it may give."""
        self._campaign.require_space(_SPARE_BYTES + 2 * self._largest)
        self.flush(("intent", step, {"token": token, "phase": phase}, {"x": x}))

    def measured(
        self,
        step: int,
        token: str,
        header: Mapping[str, Any],
        arrays: dict[str, np.ndarray],
        value: float,
        noise: float,
    ) -> record.Answer:
        """Record what a measurement gave."""
        self._largest = max(self._largest, _size(arrays))
        numbers = {"y": np.asarray(value, np.float64), "noise": np.asarray(noise, np.float64)}
        self.flush(("reading", step, {"token": token, "value": float(value)} | dict(header), arrays | numbers))
        answer = record.Answer(float(value), float(noise), record.position_of(arrays))
        self.told.answers[token] = answer
        return answer

    def rescalarized(self, obs: Observations, scalarize: Scalarizers) -> Observations:
        """The observations with every recorded measurement scalarized anew."""
        return rescalarize(obs, self._campaign.measurements(), scalarize, self.told.discarded)

    def scalarize_failed(self, scalarize: Scalarizers) -> dict[str, record.Answer]:
        """Answers by token to measurements that no scalarizer could use before, and this one can; recorded.

        Raises:
            Exception: what the scalarizer raises; it has to be mended before the instrument is used.
        """
        usable: dict[str, record.Answer] = {}
        if all(np.isfinite(answer.y) for answer in self.answers.values()) and not any(
            entry.kind == "reread" for entry in self._campaign.history
        ):
            return usable
        for entry in self._campaign.measurements():
            token = entry.header["token"]
            if np.isfinite(entry.arrays["y"]) or token in self.told.discarded:
                continue
            answer = self.answers[token]
            if not np.isfinite(answer.y):
                value, variance = scalarize(kept(entry))
                if not np.isfinite(value):
                    continue
                answer = self.answers[token] = answer._replace(y=value, noise=variance)
                header = {"token": token, "value": value, "scalarizer": scalarize.chosen}
                numbers = {"y": np.asarray(value, np.float64), "noise": np.asarray(variance, np.float64)}
                self._waiting.append(("reread", self.step, header, numbers))
            usable[token] = answer
        self.flush()
        return usable


def _size(arrays: Mapping[str, np.ndarray]) -> int:
    return sum(array.nbytes for array in arrays.values())
