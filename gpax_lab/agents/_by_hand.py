"""A campaign without an instrument, in the hands of an agent: points to measure, and what they gave."""

import contextlib
import math
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gpax_lab.agents._budget import Budget, Spent
from gpax_lab.agents._looking import Looking
from gpax_lab.agents._policy import needs_person
from gpax_lab.agents._refused import Refused
from gpax_lab.agents._tools import REASON, Tool
from gpax_lab.ask_tell import AskTell
from gpax_lab.core._axes import check_all
from gpax_lab.live import BadWish, Wish, leave
from gpax_lab.live._wish import folder_of, wish_of
from gpax_lab.storage import JournalRecord

_AT_ONCE, _KEPT = 8, 50
_NUMBER = {"type": "number"}


class ByHand:
    """Asks and answers of an agent.

    Args:
        campaign: open; nobody else writes it.
        looking: at it.
        journal: path of its journal.
        policy: "never", "ask" or "free".
        budget: what the agent may use up; its points are those handed out.
        by: name of the agent in the record.
    """

    def __init__(
        self, campaign: AskTell, looking: Looking, journal: Path, policy: str, budget: Budget, by: str
    ) -> None:
        self._campaign, self._looking, self._policy, self._by = campaign, looking, policy, by
        self._folder, self._spent = folder_of(journal), Spent(budget, by)
        self._answers: dict[str, dict[str, Any]] = {}
        self._lock = threading.RLock()
        looking.hear(self._heard)

    @property
    def tools(self) -> tuple[Tool, ...]:
        """What acts."""
        axes = self._looking.facts.axes
        point = {"type": "array", "items": _NUMBER, "minItems": len(axes), "maxItems": len(axes),
                 "description": self._looking.axes_in_words}  # fmt: skip
        count = {"type": "integer", "minimum": 1, "maximum": _AT_ONCE, "default": 1}
        number = {"type": "integer", "minimum": 0, "maximum": 10**9, "description": "of the point, as suggest gave it"}
        value = {"anyOf": [_NUMBER, {"type": "string", "enum": ["failed"], "maxLength": 6}],
                 "description": f'in {self._looking.facts.quantity[1]}; "failed" where there is none'}  # fmt: skip
        noise = {"type": "number", "minimum": 0.0, "description": "variance of y, where it is known"}
        rows = (
            ("suggest", "Points to measure next.", self.suggest, {"count": count}, (), False),
            ("tell", "What a point gave: by its id, or at any x.", self.tell,
             {"id": number, "x": point, "y": value, "noise": noise}, ("y",), True),
            ("pin", "Measure a point of your own: it gets an id.", self.pin, {"x": point}, ("x",), False),
        )  # fmt: skip
        return tuple(
            Tool(name, about, call, inputs | {"reason": REASON}, (*needed, "reason"), True, destructive)
            for name, about, call, inputs, needed, destructive in rows
        )

    def status(self) -> dict[str, Any]:
        """What waits, what became of what a person decided on, and what is left of the budget."""
        with self._lock:
            self._decide()
            self._looking.refresh()
            waiting = self._campaign.waiting
            return {
                "policy": self._policy,
                "budget": self._spent.plain(),
                "under_way": [{"id": n, "x": x} for n, x in zip(waiting.ids, waiting.x, strict=True)][-20:],
                "open": [{"wish": w.id, "action": w.action, "waits_for": "a person"} for w in self._open()],
                "decided": list(self._answers.values())[-10:],
            }

    def suggest(self, count: int, reason: str) -> dict[str, Any]:
        """Points to measure next."""
        return self._do("suggest", {"count": count}, reason)

    def tell(
        self,
        y: float | str,
        reason: str,
        id: int | None = None,
        x: list[float] | None = None,
        noise: float | None = None,
    ) -> dict[str, Any]:
        """Take a measurement in."""
        if (id is None) == (x is None):
            raise Refused("give either the id of a point or x")
        given: dict[str, Any] = {"y": math.nan if y == "failed" else y, "noise": noise}
        given |= {"id": id} if x is None else {"x": [check_all(self._looking.facts.axes, x).tolist()]}
        return self._do("tell", {name: value for name, value in given.items() if value is not None}, reason)

    def pin(self, x: list[float], reason: str) -> dict[str, Any]:
        """A point of the agent's own."""
        return self._do("pin", {"x": [check_all(self._looking.facts.axes, x).tolist()]}, reason)

    def _do(self, action: str, given: dict[str, Any], reason: str) -> dict[str, Any]:
        with self._lock:
            self._decide()
            self._looking.refresh()
            self._spent.require(_points(action, given))
            if not needs_person(self._policy, action):
                return self._done(action, given, reason, {})
            if len(self._open()) >= _AT_ONCE:
                raise Refused(f"{_AT_ONCE} acts wait for a person already")
            failed = {"y": 0.0, "failed": True} if math.isnan(given.get("y", 0.0)) else {}
            try:
                wish = Wish(action, {**given, **failed}, self._by, reason, asks=True)
            except BadWish as error:
                raise Refused(str(error)) from None
            leave(self._folder, wish)
            return {"outcome": "waiting", "wish": wish.id, "waits_for": "a person who approves it"}

    def _done(self, action: str, given: Mapping[str, Any], why: str, more: Mapping[str, Any]) -> dict[str, Any]:
        told = {"action": action, "by": self._by, "why": why, "points": _points(action, given), **more}
        calls: dict[str, Callable[[Mapping[str, Any], str], dict[str, Any]]] = {
            "suggest": self._suggest, "tell": self._tell, "pin": self._pin,
        }  # fmt: skip
        try:
            found = calls[action](given, why)
        except ValueError as error:
            raise Refused(str(error)) from None
        self._note("act", told | {name: found[name] for name in ("ids",) if name in found})
        self._looking.refresh()
        return {"outcome": "taken"} | found

    def _suggest(self, given: Mapping[str, Any], why: str) -> dict[str, Any]:
        points = self._campaign.ask(int(given.get("count", 1)))
        return {"ids": list(points.ids), "points": [{"id": n, "x": x} for n, x in zip(points.ids, points, strict=True)]}

    def _tell(self, given: Mapping[str, Any], why: str) -> dict[str, Any]:
        y, noise = (math.nan if given.get("failed") else given["y"]), given.get("noise")
        if "id" in given:
            number = int(given["id"])
            if math.isnan(y):
                self._campaign.fail(number, why)
            else:
                self._campaign.tell(ids=[number], y=[y], noise=noise)
            return {"ids": [number]}
        self._campaign.tell(given["x"], [y], noise)
        return {}

    def _pin(self, given: Mapping[str, Any], why: str) -> dict[str, Any]:
        number = self._campaign._take(np.array(given["x"][0]))
        return {"ids": [number], "points": [{"id": number, "x": given["x"][0]}]}

    # What people decide.

    def _open(self) -> list[Wish]:
        return [wish for wish in self._left() if wish.asks and wish.by == self._by]

    def _left(self) -> list[Wish]:
        found = []
        for path in sorted(self._folder.glob("*.json")) if self._folder.is_dir() else ():
            with contextlib.suppress(BadWish, OSError, TypeError):
                found.append(wish_of(path.read_bytes()))
        return found

    def _decide(self) -> None:
        """Do what people have approved, and drop what they have declined."""
        left = self._left()
        asked = {wish.id: wish for wish in left if wish.asks and wish.by == self._by}
        for answer in (wish for wish in left if wish.action in ("approve", "decline")):
            wish = asked.pop(answer.given["asked"], None)
            told = {"action": answer.action, "by": answer.by, "why": answer.why, "asked": answer.given["asked"]}
            self._note("act", told | {"wish": answer.id})
            self._remove(answer.id)
            if wish is None:
                continue
            self._remove(wish.id)
            known = {"wish": wish.id, "action": wish.action}
            if answer.action == "decline":
                self._note("refusal", {**known, "by": wish.by, "why": wish.why, "reason": f"declined: {answer.why}"})
                self._answers[wish.id] = known | {"outcome": "declined", "by": answer.by, "why": answer.why}
                continue
            try:
                found = self._done(wish.action, wish.given, wish.why, {"wish": wish.id, "approved_by": answer.by})
            except Refused as error:
                found = {"outcome": "refused", "reason": str(error)}
            self._answers[wish.id] = known | found
        for name in list(self._answers)[:-_KEPT]:
            del self._answers[name]

    def _remove(self, name: str) -> None:
        (self._folder / f"{name}.json").unlink(missing_ok=True)

    def _note(self, kind: str, header: dict[str, Any]) -> None:
        """Record who did what, for people; nothing follows from it."""
        with self._campaign._lock:
            journal = self._campaign._asking.journal
            journal.flush((kind, journal.step, header, {}))

    def _heard(self, record: JournalRecord) -> None:
        self._spent.take(record.kind, {"points": 0} | dict(record.header), {}, record.wall)


def _points(action: str, given: Mapping[str, Any]) -> int:
    return int(given.get("count", 1)) if action in ("suggest", "pin") else 0
