"""What an agent may wish of a campaign that another program runs; every wish says why, and waits in its inbox."""

import contextlib
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gpax_lab.agents._budget import Budget, Spent
from gpax_lab.agents._looking import Looking
from gpax_lab.agents._policy import needs_person
from gpax_lab.agents._refused import Refused
from gpax_lab.agents._tools import REASON, Tool, text
from gpax_lab.core._axes import check_all
from gpax_lab.experiment.interventions import Adopt
from gpax_lab.hypotheses import _formulas as formulas
from gpax_lab.live import BadWish, Wish, leave
from gpax_lab.live._wish import folder_of, wish_of
from gpax_lab.storage import JournalRecord

MOST_OPEN = 16
"""Wishes of an agent that may wait at a time."""
_POINTS, _POLL_S, _PATIENCE_S = 8, 0.05, 2.0
_ENTRIES = 16
_NUMBER = {"type": "number"}
_FORMULA = text('Of the law, e.g. "a*x + b": arithmetic and the usual functions, nothing else.', 300, minLength=1)
_NAME = text("Short name.", 60, minLength=1)


class Acting:
    """Wishes of an agent for a running campaign.

    Args:
        looking: at the campaign.
        journal: path of its journal.
        policy: "never", "ask" or "free".
        budget: what the agent may use up.
        by: name of the agent in the record.
    """

    def __init__(self, looking: Looking, journal: Path, policy: str, budget: Budget, by: str) -> None:
        self._looking, self._folder, self._policy, self._by = looking, folder_of(journal), policy, by
        self._spent = Spent(budget, by)
        self._mine: dict[str, Wish] = {}
        self._fates: dict[str, dict[str, Any]] = {}
        looking.hear(self._heard)

    @property
    def tools(self) -> tuple[Tool, ...]:
        """What acts."""
        facts = self._looking.facts
        dim = len(facts.axes)
        point = {"type": "array", "items": _NUMBER, "minItems": dim, "maxItems": dim}
        about = self._looking.axes_in_words
        points = {"type": "array", "items": point, "minItems": 1, "maxItems": _POINTS, "description": about}
        side = {"type": "array", "items": _NUMBER, "minItems": 2, "maxItems": 2}
        box = {"type": "array", "items": side, "minItems": dim, "maxItems": dim, "description": "[low, high] of each"}
        weights = {"type": "array", "items": _NUMBER, "minItems": 1, "maxItems": 16}
        entry = {"anyOf": [_NUMBER, {"type": "object", "additionalProperties": {
            "anyOf": [_NUMBER, text("name of the distribution", 40)]}, "maxProperties": 6}]}  # fmt: skip
        prior = {"type": "object", "additionalProperties": entry, "maxProperties": _ENTRIES,
                 "description": 'parameter -> number or {"distribution": "Normal", "loc": 0, "scale": 1}'}  # fmt: skip
        inputs = {
            "type": "array",
            "items": _NAME,
            "minItems": dim,
            "maxItems": dim,
            "description": "names of the inputs",
        }
        law = {"name": _NAME, "formula": _FORMULA}
        rows: tuple[tuple[str, str, Any, dict[str, Any], tuple[str, ...], bool], ...] = (
            ("pin", "Have these points measured next.", self.pin, {"x": points}, ("x",), True),
            ("veto", "Never measure these points, or anything in a box: one of the two.", self.veto,
             {"x": points, "box": box}, (), True),
            ("reweigh", "Other weights of the acquisition function's terms; explain_next has them.", self.reweigh,
             {"weights": weights}, ("weights",), False),
            ("rescale", "Another scalarizer, for past measurements too.", self.rescale, {"scalarizer": _NAME},
             ("scalarizer",), False),
            ("adopt", "Let a law compete with the other hypotheses.", self.adopt,
             law | {"prior": prior, "inputs": inputs}, ("name", "formula", "prior"), True),
            ("reject", "Turn a proposed law down.", self.reject, law, ("name", "formula"), False),
            ("pause", "Hold the campaign between two measurements.", self.control("pause"), {}, (), False),
            ("resume", "Go on.", self.control("resume"), {}, (), False),
            ("stop", "End it for now; a person resumes it.", self.control("stop"), {}, (), True),
            ("make_safe", "Hold it, and make the instrument safe at once.", self.control("safe"), {}, (), False),
        )  # fmt: skip
        return tuple(
            Tool(name, about, call, inputs | {"reason": REASON}, (*needed, "reason"), True, destructive)
            for name, about, call, inputs, needed, destructive in rows
        )

    def status(self) -> dict[str, Any]:
        """What became of the agent's wishes, and what is left of its budget."""
        self._looking.refresh()
        last = [fate | {"wish": name} for name, fate in list(self._fates.items())[-10:]]
        open_now = [{"wish": one.id, "action": one.action, "waits_for": _waits_for(one)} for one in self._open()]
        return {"policy": self._policy, "budget": self._counted().plain(), "open": open_now, "decided": last}

    # Acts.

    def pin(self, x: list[list[float]], reason: str) -> dict[str, Any]:
        """Measure these points next."""
        return self._wish("pin", {"x": self._within(x)}, reason, points=len(x))

    def veto(
        self, reason: str, x: list[list[float]] | None = None, box: list[list[float]] | None = None
    ) -> dict[str, Any]:
        """Never measure there."""
        if (x is None) == (box is None):
            raise Refused("give either x or box")
        return self._wish("veto", {"x": self._within(x)} if x is not None else {"box": box}, reason)

    def reweigh(self, weights: list[float], reason: str) -> dict[str, Any]:
        """Other weights."""
        names = self._looking.state.acquisition.names
        if len(weights) != len(names):
            raise Refused(f"{len(names)} weights are needed, of {', '.join(names)}")
        return self._wish("reweigh", {"weights": weights}, reason)

    def rescale(self, scalarizer: str, reason: str) -> dict[str, Any]:
        """Another scalarizer."""
        known = self._looking.facts.scalarizers
        if scalarizer not in known:
            raise Refused(f"there is no scalarizer {scalarizer!r}; there are {', '.join(known) or 'none'}")
        return self._wish("rescale", {"scalarizer": scalarizer}, reason)

    def adopt(
        self, name: str, formula: str, prior: Mapping[str, Any], reason: str, inputs: list[str] | None = None
    ) -> dict[str, Any]:
        """Let a law compete."""
        if not self._looking.facts.laws:
            raise Refused("no hypotheses compete in this campaign, so that no law can join them")
        axes = [axis.name for axis in self._looking.facts.axes]
        try:
            Adopt(name, formula, prior, inputs=tuple(inputs or axes)).law  # noqa: B018  # the parser says what is wrong
        except (ValueError, TypeError, RecursionError, MemoryError) as error:
            raise Refused(f"this is no law: {error}") from None
        given = {"name": name, "formula": formula, "prior": dict(prior), "inputs": inputs or axes}
        return self._wish("adopt", given, reason)

    def reject(self, name: str, formula: str, reason: str) -> dict[str, Any]:
        """Turn a law down."""
        try:
            formulas.parse(formula)
        except (ValueError, RecursionError, MemoryError) as error:
            raise Refused(f"this is no formula: {error}") from None
        return self._wish("reject", {"name": name, "formula": formula}, reason)

    def control(self, action: str) -> Any:
        """An act on the loop."""

        def call(reason: str) -> dict[str, Any]:
            return self._wish(action, {}, reason)

        return call

    def _within(self, x: list[list[float]]) -> list[list[float]]:
        return [check_all(self._looking.facts.axes, point).tolist() for point in x]

    def _wish(self, action: str, given: dict[str, Any], reason: str, points: int = 0) -> dict[str, Any]:
        self._looking.refresh()
        if len(self._open()) >= MOST_OPEN:
            raise Refused(f"{MOST_OPEN} wishes wait already: wait until they are decided, see status")
        if action not in ("pause", "safe", "stop"):  # whatever it has used up, it may end things
            self._counted().require(points)
        asks = needs_person(self._policy, action)
        try:
            wish = Wish(action, given, self._by, reason, asks=asks)
        except BadWish as error:
            raise Refused(str(error)) from None
        self._mine[wish.id] = wish
        leave(self._folder, wish)
        end = time.monotonic() + (0.0 if asks else _PATIENCE_S)
        while True:
            self._looking.refresh()
            if wish.id in self._fates:
                fate = self._fates[wish.id]
                if fate["outcome"] == "refused":
                    raise Refused(f"the campaign refused it: {fate['reason']}")
                return fate | {"wish": wish.id}
            if time.monotonic() >= end:
                return {
                    "outcome": "waiting",
                    "wish": wish.id,
                    "waits_for": _waits_for(wish),
                    "note": "status tells more",
                }
            time.sleep(_POLL_S)

    # What became of them.

    def _heard(self, record: JournalRecord) -> None:
        arrays = {name: record.arrays[name] for name in record.arrays if name.startswith("raw/")}
        dose = arrays if f"raw/{self._spent.budget.dose_of}" in arrays else {}
        pins = record.header.get("action") == "pin" and record.kind == "intervention"
        points = {"points": len(np.atleast_2d(record.arrays["x"]))} if pins else {"points": 0}
        self._spent.take(record.kind, dict(record.header) | points, dose, record.wall)
        wish = record.header.get("wish")
        if wish is not None and record.header.get("by") == self._by:
            refused = record.kind == "refusal"
            told = {
                "action": record.header["action"],
                "outcome": "refused" if refused else "taken",
                "step": record.step,
            }
            self._fates[str(wish)] = told | ({"reason": record.header.get("reason", "")} if refused else {})

    def _open(self) -> list[Wish]:
        """Wishes of the agent that nobody has decided on: of this server, and of those before it."""
        found = {}
        for path in sorted(self._folder.glob("*.json")) if self._folder.is_dir() else ():
            with contextlib.suppress(BadWish, OSError, TypeError):
                wish = wish_of(path.read_bytes())
                if wish.by == self._by and wish.id not in self._fates:
                    found[wish.id] = wish
        return list(found.values())

    def _counted(self) -> Spent:
        """What is used up, with what still waits."""
        spent, total = self._spent, Spent(self._spent.budget, self._by)
        waiting = self._open()
        total.points = spent.points + sum(len(one.given["x"]) for one in waiting if one.action == "pin")
        total.dose, total.untold = spent.dose, spent.untold
        total.begun = min([spent.begun, *(one.at for one in waiting)], default=math.inf)
        return total


def _waits_for(wish: Wish) -> str:
    return "a person who approves it" if wish.asks else "the campaign, which takes it between two measurements"
