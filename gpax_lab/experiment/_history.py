"""What a journal says: the last state, what was proposed since, what is answered and what is not; a pure fold."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gpax_lab.experiment._adoption import Extend, competing, extended
from gpax_lab.experiment._experiment import Experiment, State, tokens_of
from gpax_lab.experiment._intervention_records import from_record, join_pins
from gpax_lab.experiment._record import Answer, JournalRecord, merge, observations_of, position_of, restore
from gpax_lab.experiment.interventions import Adopt, Discard, Intervention, Rescale, apply


@dataclass(frozen=True)
class Proposal:
    """Points that were proposed together.

    Attributes:
        x: (q, d) the points.
        key: of the state that waits for them, as integers.
        pinned: whether people asked for them.
        actions: what people had asked for since the proposal before.
    """

    x: np.ndarray
    key: tuple[int, ...]
    pinned: bool
    actions: tuple[Intervention, ...] = ()

    def same(self, other: "Proposal") -> bool:
        """Whether it is the same one."""
        return self.key == other.key and np.array_equal(self.x, other.x)

    def tokens(self, mark: str) -> list[str]:
        """Names of the measurements, in order, of a campaign with this mark."""
        return tokens_of(jax.random.wrap_key_data(jnp.asarray(self.key, jnp.uint32)), len(self.x), mark)


@dataclass
class History:
    """A journal, read from its beginning to its end.

    Attributes:
        arrays: of the last recorded state; empty before the first fit.
        step: number of finished campaign steps.
        scalarizer: name of the scalarizer in force, or None for the first.
        answers: by token, of every measurement that is recorded; NaN for one that was discarded since.
        asked_at: (d,) point by token of every measurement, in the order in which they were begun or told.
        phases: "seed", "measure" or "told" (by somebody whom nobody had asked), by token.
        reasons: why a measurement is no observation, in words, by token.
        begun: tokens of measurements that were begun and have no answer.
        adopted: laws that the last recorded state knows, in order.
        proposals: made since that state.
        later: what people asked for behind the last of them.
        new: tokens of measurements recorded since the last state, in order.
        discarded: of every measurement that was marked bad.
        to_discard: by token, those of them that the last state still holds, as they were learned.
    """

    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    step: int = 0
    scalarizer: str | None = None
    answers: dict[str, Answer] = field(default_factory=dict)
    asked_at: dict[str, np.ndarray] = field(default_factory=dict)
    phases: dict[str, str] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    begun: set[str] = field(default_factory=set)
    adopted: list[Adopt] = field(default_factory=list)
    proposals: list[Proposal] = field(default_factory=list)
    later: list[Intervention] = field(default_factory=list)
    new: list[str] = field(default_factory=list)
    discarded: set[str] = field(default_factory=set)
    to_discard: dict[str, Answer] = field(default_factory=dict)
    _own: set[str] = field(default_factory=set)

    def take(self, entry: JournalRecord) -> None:
        """One entry more."""
        match entry.kind:
            case "state":
                merge(self.arrays, entry.arrays, self._own)
                actions = [a for proposal in self.proposals for a in proposal.actions] + self.later
                self.scalarizer = _named(actions, self.scalarizer)
                self.adopted += [action for action in actions if isinstance(action, Adopt)]
                self.step = entry.step
                self.learned()
            case "intervention":
                action = from_record(entry.header, entry.arrays)
                if isinstance(action, Discard):
                    self.discard(action)
                else:
                    self.later.append(action)
            case "proposal":
                self.scalarizer = _named(self.later, self.scalarizer)
                header, x = entry.header, np.atleast_2d(entry.arrays["x"])
                new = Proposal(x, tuple(header["key"]), bool(header["pinned"]), tuple(self.later))
                if not (self.proposals and self.proposals[-1].same(new)):  # a program that goes on writes it again
                    self.proposals.append(new)
                self.later = []
            case "intent":
                token = entry.header["token"]
                self.begun.add(token)
                self.asked_at[token] = entry.arrays["x"]
                self.phases[token] = entry.header.get("phase", "measure")
            case "reading":
                self._measured(entry)
            case "reread":
                token = entry.header["token"]
                y, noise = (float(entry.arrays[name]) for name in ("y", "noise"))
                self.answers[token] = self.answers[token]._replace(y=y, noise=noise)

    def _measured(self, entry: JournalRecord) -> None:
        header, arrays = entry.header, entry.arrays
        token = header["token"]
        self.answers[token] = Answer(float(arrays["y"]), float(arrays["noise"]), position_of(arrays))
        self.begun.discard(token)
        self.asked_at.setdefault(token, arrays["x"])
        self.phases.setdefault(token, "told" if header.get("unasked") else "measure")
        if header.get("reason"):
            self.reasons[token] = header["reason"]
        self.new.append(token)

    def learned(self) -> None:
        """A state knows all of it."""
        self.proposals, self.later, self.new, self.to_discard = [], [], [], {}

    def discard(self, action: Discard) -> None:
        """A measurement is bad; one that was marked before stays what it is.

        Raises:
            ValueError: there is none of this name.
        """
        known = self.answers.get(action.token)
        if known is None:
            raise ValueError(f"no measurement is recorded under {action.token!r}: nothing can be discarded there.")
        if action.token in self.discarded:
            return
        self.discarded.add(action.token)
        self.reasons[action.token] = action.why
        if np.isfinite(known.y) and action.token not in self.new:
            self.to_discard[action.token] = known
        self.answers[action.token] = known._replace(y=np.nan, noise=0.0)


def history(entries: Sequence[JournalRecord]) -> History:
    """Read a journal; nothing is computed."""
    told = History()
    for entry in entries:
        told.take(entry)
    return told


class Progress(NamedTuple):
    """How far a journal says the campaign has come.

    Attributes:
        state: the last recorded state with later interventions applied, and the proposals but the last; None before the
            first fit.
        asked: whether a person was asked before the step under way; if so, the state knows all interventions.
        pinned: (q, d) points that a person asked for next, or None.
        experiment: the experiment, with the laws that were adopted.
        told: what the journal says.
    """

    state: State | None
    asked: bool
    pinned: np.ndarray | None
    experiment: Experiment
    told: History


def fold(experiment: Experiment, entries: Sequence[JournalRecord], extend: Extend | None = None) -> Progress:
    """Replay a journal: the last state, and what has happened since.

    Args:
        experiment: the experiment that wrote it, built from the same settings.
        entries: all entries in order.
        extend: needed where laws were adopted; see `Extend`.

    Returns:
        Progress, from which `run` continues the same trajectory.
    """
    return progress_of(experiment, history(entries), extend)


def progress_of(experiment: Experiment, told: History, extend: Extend | None = None) -> Progress:
    """The same from a journal that was read.

    Interventions without a proposal behind them were in a write that never finished, and are asked for again.
    """
    experiment = grown(experiment, told.arrays, told.adopted, extend)
    if not told.arrays:
        return Progress(None, bool(told.proposals), None, experiment, told)
    state, pinned = restore(experiment, told.arrays), None
    for number, proposal in enumerate(told.proposals):
        for action in proposal.actions:
            state = apply(state, action)
        if number < len(told.proposals) - 1:
            state = proposed_again(experiment, state, proposal)
        elif proposal.pinned:
            for action in proposal.actions:
                pinned = join_pins(pinned, action)
    return Progress(state, bool(told.proposals), pinned, experiment, told)


def proposed_again(experiment: Experiment, state: State, proposal: Proposal) -> State:
    """The state that waits for the points of a recorded proposal.

    Raises:
        ValueError: another program would propose other points.
    """
    if proposal.pinned:
        return state
    state, x = experiment.propose(state)
    count = len(proposal.x)
    if not np.array_equal(np.asarray(x)[:count], proposal.x):
        raise ValueError(
            f"the journal proposed {proposal.x.tolist()} where this program would propose {np.asarray(x).tolist()}: "
            "settings, acquisition or versions differ from those that wrote it. Restore them, or begin anew."
        )
    return state


def grown(
    experiment: Experiment, arrays: Mapping[str, np.ndarray], adopted: Sequence[Adopt], extend: Extend | None
) -> Experiment:
    """The experiment with the laws that were adopted, from the arrays of a state."""
    if not adopted:
        return experiment
    obs = observations_of(arrays)
    template = jax.eval_shape(experiment.init, jax.random.key(0), obs)
    return extended(experiment, competing(template.posterior).hypotheses, adopted, extend)


def _named(actions: Sequence[Intervention], before: str | None) -> str | None:
    """The scalarizer that people chose last."""
    return next((action.scalarizer for action in reversed(actions) if isinstance(action, Rescale)), before)
