"""Where wishes wait: given by any thread or left in a folder by any program, taken between two measurements."""

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from gpax_lab.core import Axis, InstrumentError
from gpax_lab.core._axes import check_all
from gpax_lab.experiment import State
from gpax_lab.experiment._adoption import Extend, competing, widened
from gpax_lab.experiment._contracts import HELD, SECURED, Journal
from gpax_lab.experiment.interventions import Adopt, Discard, Intervention, Pin, Rescale, Veto, apply
from gpax_lab.experiment.stopping import Ask, Rule
from gpax_lab.live._wish import CONTROLS, LARGEST, BadWish, Wish, folder_of, leave, wish_of

_MOST = 256
"""Wishes that may wait at a time."""
_FIRST = {"discard": 0, "rescale": 1, "adopt": 2}
"""Order of what needs a fit, as in `run`."""
_SHOWN = ("pin", "veto", "reweigh")
_OPEN = ("asking", "waiting")
_KEPT = 200
"""Decided wishes that are still shown."""


@dataclass(frozen=True)
class Fate:
    """What became of a wish: "asking" a person, "waiting" for the loop, "taken", "refused" or "withdrawn", and why."""

    wish: Wish
    state: str = "waiting"
    reason: str = ""

    def plain(self) -> dict[str, Any]:
        """As JSON holds it."""
        return self.wish.plain() | {"state": self.state, "reason": self.reason}


class Inbox:
    """Wishes of people for one campaign. It is a hook of `run`, and its `hold` and `stop`.

    A wish waits in memory and in a folder beside the journal, so that it outlives this program, until the loop takes
    it; the journal then says who wished what and why. What is not possible is refused, which the journal says, too, and
    ends nothing. `run` asks from one thread; `ask`, `withdraw` and `fates` are for any.

    Args:
        campaign: the journal.
        journal: path of it; the folder is called like it, with the suffix `.inbox`. None: wishes of this program only.
        axes: limits that every point is held to.
        scalarizers: names that the campaign knows.
        rules: of the campaign; those that are `stopping.Ask` hold it until they are answered.
        extend: how the experiment is built with more hypotheses; None where no law can be adopted.

    Example:
        >>> import tempfile
        >>> from gpax_lab.storage import Campaign
        >>> campaign = Campaign.create(Path(tempfile.mkdtemp()) / "a.gpxj", {})
        >>> inbox = Inbox(campaign, axes=[Axis("x", "m", 0.0, 1.0)])
        >>> wish = inbox.ask(Wish("pause", by="Ana"))
        >>> inbox.hold(), [fate.state for fate in inbox.fates()]
        ('held', ['taken'])
        >>> campaign.journal.close()
    """

    def __init__(
        self,
        campaign: Journal,
        journal: Path | None = None,
        *,
        axes: Sequence[Axis] | None = None,
        scalarizers: Iterable[str] = (),
        rules: Sequence[Rule] = (),
        extend: Extend | None = None,
    ) -> None:
        self._campaign, self._note, self._step = campaign, campaign.append, 0
        self._folder = None if journal is None else folder_of(Path(journal))
        self._axes, self._scalarizers, self._extend = axes, tuple(scalarizers), extend
        self._asking = [rule for rule in rules if isinstance(rule, Ask)]
        self._lock = threading.RLock()
        self._fates: dict[str, Fate] = {}
        self._handed: set[str] = set()
        self._begun = time.time()
        self._held, self._stopped = "", False
        self._decided = {str(entry.header["wish"]) for entry in campaign.history if "wish" in entry.header}
        self._spoilt: list[str] = []
        self.changed: Callable[[], None] = lambda: None

    def ask(self, wish: Wish) -> Wish:
        """Let a wish wait; it is on the disk when this returns.

        Raises:
            BadWish: too many wait already.
            OSError: the folder can not be written.
        """
        with self._lock:
            if len([fate for fate in self._fates.values() if fate.state in _OPEN]) >= _MOST:
                raise BadWish(f"{_MOST} wishes wait already: let the campaign take some")
            if self._folder is not None:
                leave(self._folder, wish)
            self._fates.setdefault(wish.id, _begun(wish))
        self.changed()
        return wish

    def withdraw(self, name: str) -> bool:
        """Take back a wish that still waits; returns whether it did."""
        with self._lock:
            fate = self._fates.get(name)
            if fate is None or fate.state not in _OPEN or name in self._handed:
                return False
            self._settle(fate, "withdrawn", "")
        return True

    def fates(self) -> list[Fate]:
        """Every wish of this program in order, and what became of it."""
        with self._lock:
            return list(self._fates.values())

    @property
    def holding(self) -> str:
        """What `hold` said last."""
        return self._held or (HELD if self.question else "")

    @property
    def question(self) -> str:
        """What a stopping rule asks, or nothing."""
        return next((rule.question for rule in self._asking if rule.question), "")

    def recorded(self, name: str, kind: str) -> None:
        """Take note that the journal holds an entry for a wish."""
        with self._lock:
            fate = self._fates.get(name)
            if fate is not None and fate.state in _OPEN:
                self._settle(fate, "refused" if kind == "refusal" else "taken", "")

    def __call__(self, state: State) -> list[Intervention]:
        """The interventions that people wish now; what is not possible is refused."""
        self._attend()
        found = []
        with self._lock:
            waiting = [fate for fate in self._waiting() if not fate.wish.control and fate.wish.id not in self._handed]
        if self.holding:  # what needs no fit may still be taken back
            waiting = [fate for fate in waiting if fate.wish.action in _FIRST]
        for fate in sorted(waiting, key=lambda fate: (_FIRST.get(fate.wish.action, len(_FIRST)), fate.wish.at)):
            try:
                action = fate.wish.intervention()
                after = self.check(state, action)
            except (ValueError, TypeError, InstrumentError) as error:
                self._refuse(fate, str(error))
                continue
            state = after
            found.append(action)
            with self._lock:
                self._handed.add(fate.wish.id)
        return found

    def hold(self) -> str:
        """Whether people hold the campaign now; see `run`."""
        questions = self.question
        self._attend()
        return self.holding or (HELD if questions and not self.question else "")  # `run` asks the rule again

    def stop(self) -> bool:
        """Whether people want the campaign to stop now."""
        self._attend()
        return self._stopped

    def check(self, state: State, action: Intervention) -> State:
        """The state after an intervention, but for what needs a fit.

        Raises:
            ValueError, TypeError, InstrumentError: it is not possible.
        """
        if isinstance(action, Pin) and self._axes is not None:
            for point in np.atleast_2d(action.x):
                check_all(self._axes, point)
        if isinstance(action, Veto) and action.x is not None and self._axes is not None:
            for point in np.atleast_2d(action.x):
                check_all(self._axes, point)
        if isinstance(action, Rescale) and action.scalarizer not in self._scalarizers:
            raise BadWish(f"no scalarizer {action.scalarizer!r}: there are {', '.join(self._scalarizers) or 'none'}")
        if isinstance(action, Discard) and action.token not in self._tokens():
            raise BadWish(f"no measurement is recorded under {action.token!r}")
        if isinstance(action, Adopt):
            known = competing(state.posterior).hypotheses
            if self._extend is None:
                raise BadWish("this campaign was not told how to adopt laws")
            self._extend(widened(known, (action,)))
        return apply(state, action)

    def previewed(self) -> tuple[str, ...]:
        """Names of the wishes that `preview` looks at."""
        with self._lock:
            return tuple(fate.wish.id for fate in self._waiting() if fate.wish.action in _SHOWN)

    def preview(self, state: State) -> State:
        """The state as it would be with what waits now, but for what needs a fit; what is impossible is left out."""
        with self._lock:
            waiting = [fate.wish for fate in self._waiting() if fate.wish.action in _SHOWN]
        for wish in waiting:
            with contextlib.suppress(ValueError, TypeError, InstrumentError):
                state = self.check(state, wish.intervention())
        return state

    def look(self) -> None:
        """Read what other programs left in the folder."""
        if self._folder is None or not self._folder.is_dir():
            return
        for path in sorted(self._folder.glob("*.json")):
            with self._lock:
                if path.stem in self._fates:
                    continue
                try:
                    if path.is_symlink() or path.stat().st_size > LARGEST:
                        raise BadWish(f"a wish is a file of at most {LARGEST} bytes")
                    wish = wish_of(path.read_bytes())
                    if wish.id != path.stem:
                        raise BadWish("the name of the file is not that of the wish in it")
                except FileNotFoundError:
                    continue  # withdrawn in the meantime
                except (BadWish, OSError, TypeError) as error:
                    self._bad(path, str(error))
                    continue
                self._fates[wish.id] = _begun(wish)
                if wish.id in self._decided:  # the program that took it was killed before it removed the file
                    self._settle(self._fates[wish.id], "taken", "")
            self.changed()

    def _bad(self, path: Path, reason: str) -> None:
        with contextlib.suppress(OSError):
            path.rename(path.with_suffix(".refused"))
        self._spoilt.append(f"{path.name}: {reason}")

    def _attend(self) -> None:
        """Take the acts on the loop."""
        self.look()
        with self._lock:
            spoilt, self._spoilt = self._spoilt, []
        for reason in spoilt:
            self._note(("refusal", self._step, {"action": "", "by": "", "why": "", "reason": reason}, {}))
        with self._lock:
            controls = [fate for fate in self._waiting() if fate.wish.action in CONTROLS]
        for fate in sorted(controls, key=lambda fate: fate.wish.at):  # files have no order
            wish = fate.wish
            if wish.at < self._begun - 1.0:  # s, between two clocks
                self._refuse(fate, "it was meant for the program before, which has ended")
                continue
            told: dict[str, Any] = {}
            match wish.action:
                case "pause":
                    self._held = self._held or HELD
                case "safe":
                    self._held = SECURED
                case "resume":
                    self._held = ""
                case "stop":
                    self._stopped = True
                case "answer":
                    if not (question := self.question):
                        self._refuse(fate, "nothing is asked now")
                        continue
                    told = {"question": question, "stop": wish.given["stop"]}
                    next(rule for rule in self._asking if rule.question).answer(wish.given["stop"])
                case "approve" | "decline":
                    if not self._answered(fate):
                        continue
                    told = {"asked": wish.given["asked"]}
            self._note(("act", self._step, _asked(wish) | told, {}))
            self._settle(fate, "taken", "")

    def _answered(self, answer: Fate) -> bool:
        """A person approves or declines what a program asks for; returns whether that was possible."""
        asked = self._fates.get(answer.wish.given["asked"])
        if asked is None or asked.state != "asking":
            self._refuse(answer, "nothing of this id is waiting to be approved")
            return False
        if answer.wish.action == "approve":
            with self._lock:
                self._fates[asked.wish.id] = replace(asked, state="waiting")
            return True
        by, why = answer.wish.by or "a person", answer.wish.why
        self._refuse(asked, f"declined by {by}{f': {why}' if why else ''}")
        return True

    def follow(self, step: int) -> None:
        """Take note of the steps that are done."""
        self._step = step

    def _refuse(self, fate: Fate, reason: str) -> None:
        given = json.dumps(fate.wish.given)[:1000]
        self._note(("refusal", self._step, _asked(fate.wish) | {"given": given, "reason": reason}, {}))
        self._settle(fate, "refused", reason)

    def _settle(self, fate: Fate, state: str, reason: str) -> None:
        with self._lock:
            self._fates[fate.wish.id] = Fate(fate.wish, state, reason)
            self._decided.add(fate.wish.id)
            if self._folder is not None:
                with contextlib.suppress(OSError):  # it is known by its entry in the journal, too
                    (self._folder / f"{fate.wish.id}.json").unlink(missing_ok=True)
            settled = [name for name, one in self._fates.items() if one.state not in _OPEN]
            for name in settled[:-_KEPT]:
                del self._fates[name]
        self.changed()

    def _tokens(self) -> set[str]:
        return {str(entry.header.get("token")) for entry in self._campaign.measurements()}

    def _waiting(self) -> list[Fate]:
        return [fate for fate in self._fates.values() if fate.state == "waiting"]


def _begun(wish: Wish) -> Fate:
    return Fate(wish, "asking" if wish.asks else "waiting")


def _asked(wish: Wish) -> dict[str, Any]:
    return {"action": wish.action, "by": wish.by, "why": wish.why, "wish": wish.id, "at": wish.at}
