"""A campaign without an instrument: it is asked for points and told what was measured; all of it in the journal.

What is told is durable at once, and learned when the next points are asked for. Whoever looks at the posterior in
between looks at what would be learned then, and changes nothing: the trajectory follows from what was told before each
question.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gpax_lab.experiment import _learning as learning
from gpax_lab.experiment._adoption import Extend
from gpax_lab.experiment._contracts import Journal
from gpax_lab.experiment._experiment import Experiment, NothingLeft, State, left_of, token_of
from gpax_lab.experiment._history import Proposal, progress_of, proposed_again
from gpax_lab.experiment._intervention_records import to_record
from gpax_lab.experiment._journalling import Journalling
from gpax_lab.experiment._positions import measured_at
from gpax_lab.experiment._record import Record, Written
from gpax_lab.experiment.interventions import Adopt, Discard

NOTHING_YET = (
    "nothing is known yet to propose from: tell(x, y) what you have measured by hand, or open the campaign with "
    "seeds=..., the points to measure first."
)


class Told(NamedTuple):
    """One measurement as somebody tells it.

    Attributes:
        token: of the point that it answers; "" for one that nobody had asked for.
        x: (d,) the point.
        y: its value; NaN where it failed.
        noise: known variance of the value, 0 where unknown.
        at: (d,) where it was measured, or None for where it was asked for.
        reason: why it failed, in words.
        by: who tells it.
    """

    token: str
    x: np.ndarray
    y: float
    noise: float = 0.0
    at: np.ndarray | None = None
    reason: str = ""
    by: str = ""


class Asking:
    """What a campaign has asked, what it was told, and what follows.

    Args:
        experiment: the state machine.
        campaign: the journal, with or without history.
        key: random key of the campaign; only needed before the first fit.
        seeds: (n, d) points to measure first; n may be 0.
        num_steps: proposals that are planned, for which there is room in the buffer; None: it grows.
        extend: needed where laws were adopted.
        again: whether points that were handed out to a program that ended, and not answered, are handed out again.

    Raises:
        ValueError: the journal has other seeds, or another key, or they are needed and missing.
    """

    def __init__(
        self,
        experiment: Experiment,
        campaign: Journal,
        key: jax.Array | None,
        seeds: np.ndarray,
        num_steps: int | None = None,
        extend: Extend | None = None,
        again: bool = True,
    ) -> None:
        self.experiment, self.journal, self._extend = experiment, Journalling(campaign), extend
        self.told = self.journal.read()
        self._num_steps, self._adopted = num_steps, tuple[Adopt, ...]()
        self._state: State | None = None
        self._seen: State | None = None  # what the state would be if all that was told were learned now
        self.numbers = {token: number for number, token in enumerate(self.told.asked_at)}
        self._rank: dict[str, int] = {}
        self._again = [token for token in self.told.asked_at if token in self.told.begun] if again else []
        self._left: dict[str, np.ndarray] = {}
        self._tolerance: dict[str, np.ndarray] = {}
        self._width: np.ndarray | None = np.ptp(seeds, axis=0) if len(seeds) > 1 else None
        if self.told.arrays:
            for proposal in self.told.proposals:
                self._offer(proposal)
        else:
            self._begin(key, seeds)
        self.journal.announce()

    def _begin(self, key: jax.Array | None, seeds: np.ndarray) -> None:
        if key is None:
            raise ValueError("a campaign begins with a random key: key=jax.random.key(0), say.")
        self._key, key_seed = jax.random.split(key)
        if len(seeds):
            self.experiment.check(seeds, "the seeds")
        mark = self.journal.mark
        tokens = [token_of(jax.random.fold_in(key_seed, i), mark) for i in range(len(seeds))]
        strange = {t for t, phase in self.told.phases.items() if phase == "seed"} - set(tokens)
        if strange:
            raise ValueError("the journal was begun with another key or with other seeds: restore them, or begin anew.")
        for number, (token, x) in enumerate(zip(tokens, seeds, strict=True)):
            self.journal.answer_to(token, x)  # that it was asked there
            self._rank[token] = number
            if token not in self.told.asked_at:
                self._left[token] = x

    def _offer(self, proposal: Proposal) -> None:
        """Points of a proposal that nobody has been given yet, and their order."""
        for token, x in zip(proposal.tokens(self.journal.mark), proposal.x, strict=True):
            self._rank[token] = len(self._rank)
            if token not in self.told.asked_at:
                self._left[token] = np.asarray(x, np.float64)

    # Questions.

    def ask(
        self, count: int | None, exactly: bool = False, vet: Callable[[np.ndarray], None] = lambda x: None
    ) -> list[str]:
        """Tokens of the points to measure next; in the journal when this returns.

        Args:
            count: how many; None for those that wait, or else for one proposal.
            exactly: whether fewer are an error, so that none is handed out.
            vet: raises for points (n, d) that are not to be handed out.

        Raises:
            ValueError: nothing is known to propose from, or fewer points are left than needed.
            NothingLeft: no point is left.
        """
        if count is not None and not count >= 1:
            raise ValueError(f"a number of points is 1 or more; got {count}.")
        wanted = 1 if count is None else count
        while len(self._queue()) < wanted and not (self._left and not self.told.arrays):  # seeds come first
            try:
                self._propose()
            except (NothingLeft, NothingYet):
                if not self._queue():
                    raise
                break
        tokens = self._queue()[:count]
        if exactly and len(tokens) < wanted:
            raise ValueError(f"{len(tokens)} points can be handed out now, and not {wanted}.")
        vet(np.array([self.asked_at(token) for token in tokens]))
        self._hand_out(tokens)
        return tokens

    def _queue(self) -> list[str]:
        return [*self._again, *self._left]

    def _hand_out(self, tokens: list[str]) -> None:
        step, phase = self.journal.step, "measure" if self.told.arrays else "seed"
        new = [token for token in tokens if token in self._left]
        records: list[Record] = [
            ("intent", step, {"token": token, "phase": phase}, {"x": self._left[token]}) for token in new
        ]
        self._write(records)
        self._again = [token for token in self._again if token not in tokens]
        for token in new:
            del self._left[token]

    def _propose(self) -> None:
        state = self._learned()
        try:
            state, x = self.experiment.propose(state)
            x = left_of(x)
        except NothingLeft:
            self.journal.flush()
            raise
        self.journal.proposed(state, x, False)
        key = tuple(np.asarray(jax.random.key_data(state.key)).tolist())
        proposal = Proposal(np.asarray(x), key, False)
        self.told.proposals.append(proposal)
        self._state = self._seen = state
        self._offer(proposal)

    # What is believed.

    def _base(self) -> State | None:
        """The last state that the journal tells, waiting for all that was proposed since; None before the first fit."""
        if self._state is None and self.told.arrays:
            progress = progress_of(self.experiment, self.told, self._extend)
            self.experiment, self._adopted = progress.experiment, tuple(self.told.adopted)
            state = progress.state
            assert state is not None  # it has arrays
            if self.told.proposals:
                state = proposed_again(self.experiment, state, self.told.proposals[-1])
            self._state = state
            if not self._news():
                self._seen = state
        return self._state

    def _news(self) -> bool:
        return bool(self.told.new or self.told.to_discard)

    def look(self) -> State:
        """The state that knows all that was told. It is not recorded: a look changes nothing.

        Raises:
            ValueError: nothing was told.
        """
        if self._seen is None:
            state = self._base()
            if state is None:
                self._seen = self._first()
            elif self._news():
                bad = self.told.to_discard
                if bad and (obs := learning.without(state.obs, bad.values())) is not None:
                    state = learning.fitted_anew(self.experiment, state, obs, self._adopted)
                known = self._known()
                self._seen = learning.learn(self.experiment, state, known) if known else state
            else:
                self._seen = state
        return self._seen

    def _first(self) -> State:
        known = self._known()
        if not known:
            raise NothingYet(self.first())
        waiting = [self.asked_at(token) for token in self._rank if token not in self.told.answers]
        return learning.begin(self.experiment, self._key, known, waiting, self._num_steps)

    @property
    def fitted(self) -> State | None:
        """The state that knows all that was told, if it is computed already."""
        return self._seen

    @property
    def tokens(self) -> list[str]:
        """Of all points that were handed out or told, by their numbers."""
        return list(self.numbers)

    def asked_at(self, token: str) -> np.ndarray:
        """(d,) where a point was asked for, handed out or not."""
        point = self.told.asked_at[token] if token in self.told.asked_at else self._left[token]
        return np.asarray(point, np.float64)

    def first(self) -> str:
        """What has to come before the first fit, in words."""
        out = sum(token not in self.told.answers for token in self._rank)
        if not out:
            return NOTHING_YET
        return (
            f"the {out} points that come first are under way: tell what one of them gave, or fail(id), then ask again."
        )

    def _known(self) -> list[learning.Answered]:
        """What is not learned yet: answers in the order in which their points were proposed, then what nobody asked."""
        told = self.told
        answers = [token for token in told.new if told.phases[token] != "told"]
        answers.sort(key=lambda token: self._rank.get(token, self.numbers[token] - len(self.numbers)))
        others = [token for token in told.new if told.phases[token] == "told"]
        return [learning.Answered(told.asked_at[t], told.answers[t]) for t in answers] + [
            learning.Answered(told.asked_at[t], told.answers[t], False) for t in others
        ]

    def _learned(self) -> State:
        """The state that knows all that was told, queued for the journal."""
        first, answered = self._base() is None, bool(self.told.new)
        state = self.look()
        if first or self._news():
            self.journal.step += answered and not first
            self.journal.remember(state)
            self._state = state
        return state

    # Answers.

    def waiting(self) -> list[str]:
        """Tokens of points that were handed out and not answered, in order."""
        return sorted(self.told.begun, key=self.numbers.__getitem__)

    def answered_by(self, x: np.ndarray, taken: Iterable[str] = ()) -> str:
        """Token of the open point that a measurement at x (d,) answers, "" for none: that very point, or the nearest.

        Args:
            x: where it was measured.
            taken: tokens that are answered otherwise.
        """
        out = set(taken)
        points = {token: self.told.asked_at[token] for token in self.waiting() if token not in out}
        points |= {token: point for token, point in self._left.items() if token not in out}
        if not points:
            return ""
        tokens, table = list(points), np.array([np.asarray(p, np.float64) for p in points.values()])
        gap = np.abs(table - x[None])
        exact = np.flatnonzero((gap == 0).all(axis=1))
        if exact.size:
            return tokens[exact[0]]
        allowed = np.array([self._tolerance_of(token, point) for token, point in points.items()])
        miss = np.where(gap > 0, gap / np.where(allowed > 0, allowed, np.finfo(float).tiny), 0.0).max(axis=1)
        nearest = int(miss.argmin())
        return tokens[nearest] if miss[nearest] <= 1 else ""

    def _tolerance_of(self, token: str, point: np.ndarray) -> np.ndarray:
        if token not in self._tolerance:
            state = self._base()
            if state is not None:
                x = jnp.asarray(point, state.obs.x.dtype)[None]
                found = np.asarray(state.candidates.tolerance(x)[0], np.float64)
            else:
                wide = np.zeros(point.shape) if self._width is None else self._width
                found = np.where(wide > 0, 0.01 * wide, 1e-3 * np.abs(point))
            self._tolerance[token] = found
        return self._tolerance[token]

    def tell(self, rows: Sequence[Told]) -> list[str]:
        """Record measurements in one write; durable when this returns.

        Returns:
            Their tokens; those that nobody had asked for have new ones.

        Raises:
            ValueError: a position is not believed, or a point is one that the model is not made for.
        """
        others = [row.x for row in rows if not row.token]
        if others:
            self.experiment.check(np.array(others), "the points told")
        count = len(self.told.asked_at)
        records, tokens = [], []
        for row in rows:
            token = row.token or self._own(count)
            count += not row.token
            tokens.append(token)
            records.append(self._reading(token, row))
        self._write(records)
        return tokens

    def take(self, x: np.ndarray) -> str:
        """Token of a point (d,) of somebody's own, under way from now on; durable when this returns."""
        self.experiment.check(x[None], "the point")
        token = self._own(len(self.told.asked_at))
        self._write([("intent", self.journal.step, {"token": token, "phase": "told"}, {"x": x})])
        return token

    def _own(self, number: int) -> str:
        """Token of a point that nobody asked for: spelt as a key, which a simulated instrument may draw noise from."""
        return f"ffffffff{number:08x}" + (f"-{self.journal.mark}" if self.journal.mark else "")

    def _reading(self, token: str, row: Told) -> Record:
        if row.at is None:
            there, flags = {}, []
        else:
            where = measured_at(row.x, row.at, self._base(), self._width)
            if not where.believed:
                raise ValueError(f"{where.reason}.")
            there, flags = where.arrays(row.x), list(where.flags)
        ok = bool(np.isfinite(row.y))
        header = {
            "token": token,
            "value": float(row.y),
            "ok": ok,
            "reason": row.reason if not ok else "",
            "flags": flags,
            "units": {},
            "told": True,
            **({} if row.token else {"unasked": True}),
            **({"by": row.by} if row.by else {}),
        }
        numbers = {"y": np.asarray(row.y, np.float64), "noise": np.asarray(row.noise, np.float64)}
        return "reading", self.journal.step, header, {"x": row.x} | there | numbers

    def discard(self, token: str, why: str, by: str) -> None:
        """Mark a measurement as bad; durable when this returns."""
        header, arrays = to_record(Discard(token, why=why, by=by))
        self._write([("intervention", self.journal.step, header, arrays)])

    def stop(self, reason: str) -> None:
        """Record that nobody asks and tells any more for now."""
        self.journal.flush(("stop", self.journal.step, {"reason": reason, "finished": False}, {}))

    def _write(self, records: Sequence[Record]) -> None:
        """Make records durable, together with what waits, and take them in as a reader of the journal would."""
        self.journal.flush(*records)
        for record in records:
            entry = Written(*record)
            self.told.take(entry)
            token = entry.header.get("token")
            if token is not None:
                self.numbers.setdefault(token, len(self.numbers))
                if entry.kind == "reading":
                    self._left.pop(token, None)
                    self._again = [one for one in self._again if one != token]
            if entry.kind != "intent":
                self._seen = None


class NothingYet(ValueError):
    """Nothing is known from which a point could be proposed."""
