"""What a page shows, kept up to date by two threads: one follows the journal, one computes maps when it has time."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gpax_lab.core import Axis
from gpax_lab.experiment import Event, State
from gpax_lab.hypotheses import ModelAverage, comparison_report
from gpax_lab.live import _view as view
from gpax_lab.live._digest import digest, raw
from gpax_lab.live._fits import fitted
from gpax_lab.live._follow import Follower
from gpax_lab.live._inbox import Inbox
from gpax_lab.live._painter import Painter, Reading
from gpax_lab.storage import JournalError, JournalRecord

_LOOK_S, _SHARE, _REST_S = 0.03, 0.5, 5.0
_RAW = 200
"""Measurements whose raw arrays can be asked for: the last ones."""

Restored = Callable[[Sequence[JournalRecord]], State | None]


@dataclass(frozen=True)
class Facts:
    """What a campaign is about; nothing of it changes.

    Attributes:
        title: name of the campaign.
        axes: of the instrument, with units and limits.
        quantity: name and unit of the value.
        positions: (m, d) where maps are drawn, in the units of the axes.
        steps: points to choose in all.
        maximize: whether large values are wanted.
        pool: whether only these positions can be measured.
        scalarizers: names that a person may choose.
        laws: whether laws can be adopted.
    """

    title: str
    axes: Sequence[Axis]
    quantity: tuple[str, str]
    positions: np.ndarray
    steps: int
    maximize: bool = True
    pool: bool = False
    scalarizers: Sequence[str] = ()
    laws: bool = False


@dataclass
class Snapshot:
    """What changes as a whole, and how often it did."""

    version: int = 0
    value: dict[str, Any] = field(default_factory=dict)


class Board:
    """Everything that pages show; `start` begins to follow, `close` ends it.

    Args:
        facts: of the campaign.
        follower: of its journal.
        inbox: of its wishes; None for a page that only looks.
        restored: records -> the state after them, where no program hands states over: for a page of another process.
    """

    def __init__(
        self,
        facts: Facts,
        follower: Follower,
        inbox: Inbox | None = None,
        restored: Restored | None = None,
    ) -> None:
        self.facts, self.inbox = facts, inbox
        self.x = view.thinned(facts.positions)
        self.layout = view.layout(self.x)
        self.records: list[dict[str, Any]] = []
        self.status, self.wishes, self.maps = Snapshot(), Snapshot(), Snapshot()
        self.report, self.reports, self.over = "", 0, False
        self._follower, self._restored = follower, restored
        self._raw: OrderedDict[int, JournalRecord] = OrderedDict()
        self._readings: list[Reading] = []
        self._painter = Painter(self.x, facts.maximize)
        self._count = 0
        self._latest: State | None = None
        self._phase, self._event_step, self._gone = "starting", 0, ""
        self._wake, self._over = threading.Event(), threading.Event()
        self._listeners: set[Callable[[], None]] = set()
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._report_wanted = False

    def start(self) -> None:
        """Begin to follow."""
        if self.inbox is not None:
            self.inbox.changed = self._wished
        for target in (self._follow, self._compute):
            thread = threading.Thread(target=target, name=f"live{target.__name__}", daemon=True)
            thread.start()
            self._threads.append(thread)

    def close(self) -> None:
        """Stop following, after one last look, and let the pages go."""
        self._over.set()
        self._wake.set()
        for thread in self._threads:
            thread.join(timeout=_REST_S)
        self.over = True
        self._tell()

    def see(self, event: Event) -> None:
        """Take note of how far `run` is."""
        self._phase = event.phase
        if event.phase == "learn":
            self._event_step = event.step
            if self.inbox is not None:
                self.inbox.follow(event.step)
        if event.state is not None:
            self.show(event.state)
        self._tell()

    def show(self, state: State) -> None:
        """Draw this state from now on."""
        if state is not self._latest:
            self._latest = state
            self._wake.set()

    @property
    def layers(self) -> dict[str, np.ndarray]:
        """Maps, (m,) float32 each, by name."""
        return self._painter.layers

    def raw(self, number: int) -> dict[str, Any] | None:
        """The arrays of a measurement, by the number of its entry; None where they are not kept."""
        with self._lock:
            record = self._raw.get(number)
        return None if record is None else raw(record)

    def fit(self, number: int) -> dict[str, Any]:
        """The curve that describes a measurement, by the number of its entry; {} where there is none."""
        with self._lock:
            record = self._raw.get(number)
        return {} if record is None else fitted(record)

    def want_report(self) -> None:
        """Have the comparison of hypotheses put into words."""
        self._report_wanted = True
        self._wake.set()

    def listen(self, call: Callable[[], None]) -> Callable[[], None]:
        """Have `call` called, from any thread, whenever something changed; returns what ends that."""
        with self._lock:
            self._listeners.add(call)
        return lambda: self._listeners.discard(call)

    def _tell(self) -> None:
        with self._lock:
            listeners = list(self._listeners)
        for call in listeners:
            call()

    def _wished(self) -> None:
        self._wake.set()  # a map may change by what waits
        self._tell()

    def _follow(self) -> None:
        while True:
            over = self._over.wait(_LOOK_S)
            try:
                if self.inbox is not None:
                    self.inbox.look()
                found, self._gone = self._follower.poll(), ""
            except (JournalError, OSError) as error:
                found, self._gone = [], str(error)
            if found:
                self._take(found)
            if self._snapshots() or found:
                self._tell()
            if over:
                return

    def _take(self, found: list[JournalRecord]) -> None:
        for record in found:
            number = len(self.records)
            self.records.append(digest(number, record))
            if record.kind == "reading" and self.records[-1]["kind"] == "reading":
                where = np.asarray(self.records[-1]["x"], float)
                reading = Reading(self._count, record.header["token"], where, float(record.arrays["y"]))
                self._count += 1
                self._wake.set()
                with self._lock:
                    self._readings.append(reading)
                    self._raw[number] = record
                    while len(self._raw) > _RAW:
                        self._raw.popitem(last=False)
            if self.inbox is not None and "wish" in record.header:
                self.inbox.recorded(str(record.header["wish"]), record.kind)
        if self._restored is not None:
            self._restore(found)

    def _restore(self, found: list[JournalRecord]) -> None:
        assert self._restored is not None
        try:
            state = self._restored(found)
        except Exception as error:  # another version wrote it: points and acts are shown all the same
            self._renew(self.maps, {**self.maps.value, "fault": f"{type(error).__name__}: {error}"})
            self._restored = None
            return
        if state is not None:
            self.show(state)

    def _snapshots(self) -> bool:
        inbox = self.inbox
        status = {
            "phase": self._phase,
            "held": "" if inbox is None else inbox.holding,
            "question": "" if inbox is None else inbox.question,
            "gone": self._gone,
        }
        wishes = {"wishes": [] if inbox is None else [fate.plain() for fate in inbox.fates()]}
        changed = [self._renew(snapshot, value) for snapshot, value in ((self.status, status), (self.wishes, wishes))]
        return any(changed)

    def _renew(self, snapshot: Snapshot, value: dict[str, Any]) -> bool:
        if value == snapshot.value:
            return False
        snapshot.value = value
        snapshot.version += 1
        return True

    def _compute(self) -> None:
        drawn: tuple[State | None, Any] = None, None
        while not self._over.is_set():
            self._wake.wait()
            self._wake.clear()
            state = self._latest
            if state is None or self._over.is_set():
                continue
            begun = time.monotonic()
            waiting = None if self.inbox is None else self.inbox.previewed()
            changed = drawn[0] is not state or drawn[1] != waiting
            try:
                if changed:
                    wished = state if self.inbox is None else self.inbox.preview(state)
                    self._painter.draw(state, wished, self._done())
                    drawn = state, waiting
                with self._lock:
                    readings, self._readings = self._readings, []
                if self._painter.compare(readings) or changed:
                    self._renew(self.maps, self._painter.value)
                if self._report_wanted:
                    self._report_wanted = False
                    self._compare(state)
            except Exception as error:  # a map that can not be drawn must not end the page
                self._renew(self.maps, {**self.maps.value, "fault": f"{type(error).__name__}: {error}"})
            self._tell()
            self._over.wait(min(_REST_S, _SHARE * (time.monotonic() - begun)))  # the campaign comes first

    def _compare(self, state: State) -> None:
        posterior = state.posterior
        self.report = (
            comparison_report(posterior, state.obs)
            if type(posterior) is ModelAverage
            else "One model alone: there is nothing to compare."
        )
        self.reports += 1

    def _done(self) -> int:
        """Steps that are done, by the journal."""
        return max(self._event_step, *(one["step"] for one in self.records[-8:]), 0)
