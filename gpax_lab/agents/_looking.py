"""What an agent is shown of a campaign: small tables and coarse maps, made from the journal; nothing is changed."""

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gpax_lab.agents._refused import Refused
from gpax_lab.agents._tools import Tool
from gpax_lab.core._observations import MEASURED
from gpax_lab.experiment import State
from gpax_lab.experiment._reach import reach_of
from gpax_lab.hypotheses import ModelAverage, comparison_report, discover_laws, term_library
from gpax_lab.hypotheses import _formulas as formulas
from gpax_lab.live import Facts
from gpax_lab.live import _view as view
from gpax_lab.live._digest import digest
from gpax_lab.live._follow import Follower
from gpax_lab.storage import JournalRecord

_AT, _SIDE, _ROWS, _DIGITS = 64, 24, 100, 6
"""Positions of a question; of a side of a map; rows of a table; digits of a number."""
_NOTHING = "nothing is fitted yet: the first measurements are still under way"
_NUMBER = {"type": "number"}


class Looking:
    """What is known of a campaign. `refresh` reads what is new in its journal.

    Args:
        facts: what it is about.
        follower: of its journal.
        restored: new entries of the journal -> the state after them, or None where they bring no other.
        current: in its place, the state of now, or None.

    Attributes:
        records: digests of all entries, in order.
    """

    def __init__(
        self,
        facts: Facts,
        follower: Follower,
        restored: Callable[[Sequence[JournalRecord]], State | None] | None = None,
        current: Callable[[], State | None] = lambda: None,
    ) -> None:
        self.facts, self.records = facts, list[dict[str, Any]]()
        self._follower, self._restored, self._current = follower, restored, current
        self._latest: State | None = None
        self._heard: list[Callable[[JournalRecord], None]] = []
        self._lock = threading.RLock()

    def hear(self, call: Callable[[JournalRecord], None]) -> None:
        """Have every entry from now on told to `call`, too."""
        self._heard.append(call)

    def refresh(self) -> list[dict[str, Any]]:
        """Read on in the journal; returns the digests of what is new."""
        with self._lock:
            found = self._follower.poll()
            new = [digest(len(self.records) + number, record) for number, record in enumerate(found)]
            self.records += new
            for record in found:
                for call in self._heard:
                    call(record)
            if self._restored is not None and (state := self._restored(found)) is not None:
                self._latest = state
            return new

    @property
    def state(self) -> State:
        """The last one.

        Raises:
            Refused: there is none yet.
        """
        self.refresh()
        state = self._current() if self._restored is None else self._latest
        if state is None:
            raise Refused(_NOTHING)
        return state

    @property
    def tools(self) -> tuple[Tool, ...]:
        """What only looks."""
        dim = len(self.facts.axes)
        point = {"type": "array", "items": _NUMBER, "minItems": dim, "maxItems": dim}
        at = {"type": "array", "items": point, "minItems": 1, "maxItems": _AT, "description": self.axes_in_words}
        side = {"type": "integer", "minimum": 2, "maximum": _SIDE, "default": 10, "description": "points of a side"}
        last = {"type": "integer", "minimum": 1, "maximum": _ROWS, "default": 20, "description": "the last so many"}
        many = {"type": "integer", "minimum": 1, "maximum": 5, "default": 3}
        return (
            Tool("show_posterior", "Mean and standard deviation, at positions or as a coarse map over all of them.",
                 self.posterior, {"at": at, "side": side}),
            Tool("show_hypotheses", "Probabilities of the competing hypotheses, and their comparison in words.",
                 self.hypotheses, {"report": {"type": "boolean", "default": False}}),
            Tool("show_measurements", "What was measured, where, and what failed and why.", self.measurements,
                 {"last": last}),
            Tool("explain_next", "Why the next point will lie where it will.", self.explain),
            Tool("list_interventions", "Who has acted, how and why.", self.interventions, {"last": last}),
            Tool("propose_laws", "Formulas that explain the measurements, with priors as adopt takes them. "
                 "It changes nothing.", self.laws, {"keep": many, "max_terms": many}),
        )  # fmt: skip

    @property
    def axes_in_words(self) -> str:
        """Names, units and limits."""
        return "; ".join(f"{a.name} [{a.unit}] {a.low:g} to {a.high:g}" for a in self.facts.axes)

    # What the tools do.

    def summary(self) -> dict[str, Any]:
        """Where the campaign stands."""
        self.refresh()
        y = [one["y"] for one in self._readings()]
        good = [value for value in y if value is not None]
        fit = next((one for one in reversed(self.records) if one["kind"] == "posterior"), None)
        stop = next((one for one in reversed(self.records) if one["kind"] in ("stop", "intent", "begin")), None)
        best = None
        if good:
            value = max(good) if self.facts.maximize else min(good)
            best = {"y": value, "x": next(one["x"] for one in self._readings() if one["y"] == value)}
        facts = self.facts
        return {
            "campaign": facts.title,
            "axes": [{"name": a.name, "unit": a.unit, "low": a.low, "high": a.high} for a in facts.axes],
            "quantity": {"name": facts.quantity[0], "unit": facts.quantity[1], "maximize": facts.maximize},
            "measured": len(good),
            "failed": len(y) - len(good),
            "steps": {"done": max((one["step"] for one in self.records), default=0), "planned": facts.steps},
            "best_measured": best,
            "last_fit": None if fit is None else {"ok": fit["ok"], "words": fit["words"]},
            "stopped": stop["header"] if stop is not None and stop["kind"] == "stop" else None,
            "seconds_since_last_entry": round(time.time() - self.records[-1]["wall"], 1) if self.records else None,
            "scalarizers": list(facts.scalarizers),
        }

    def posterior(self, side: int, at: list[list[float]] | None = None) -> dict[str, Any]:
        """Moments at positions, or a map."""
        state = self.state
        if at is not None:
            x = np.array(at, np.float64)
            found = _maps(state, np.concatenate([x, np.repeat(x[:1], _AT - len(x), axis=0)]))
            rows = {"x": x, "mean": found.mean[: len(x)], "std": found.std[: len(x)]}
            return {name: _rounded(value) for name, value in rows.items()} | self._units()
        x = view.thinned(self.facts.positions, side ** min(2, len(self.facts.axes)))
        found = _maps(state, x)
        if grid := view.layout(x).get("grid"):
            order = view.layout(x)["order"]
            tables = {
                name: np.asarray(getattr(found, name))[order].reshape(grid[1], grid[0]) for name in ("mean", "std")
            }
            axes = {axis.name: _rounded(np.unique(x[:, k])) for k, axis in enumerate(self.facts.axes)}
            about = f"rows go along {self.facts.axes[1].name}, columns along {self.facts.axes[0].name}"
            return {"axes": axes, "order": about} | {k: _rounded(v) for k, v in tables.items()} | self._units()
        return {"x": _rounded(x), "mean": _rounded(found.mean), "std": _rounded(found.std)} | self._units()

    def hypotheses(self, report: bool) -> dict[str, Any]:
        """Who is how probable."""
        state = self.state
        found = view.probabilities(state.posterior)
        if found is None:
            return {"hypotheses": [], "words": "one model alone: there is nothing to compare"}
        rows = [
            {"name": name, "probability": p, "monte_carlo_error": error}
            for name, p, error in zip(found["names"], found["p"], found["error"], strict=True)
        ]
        words = (
            comparison_report(state.posterior, state.obs) if report and type(state.posterior) is ModelAverage else None
        )
        return {"hypotheses": rows} | ({} if words is None else {"report": str(words)})

    def measurements(self, last: int) -> dict[str, Any]:
        """The last rows of the table."""
        self.refresh()
        rows = [
            {"number": number, "x": one["x"], "y": one["y"], "ok": bool(one.get("ok")), "reason": one.get("reason", "")}
            for number, one in enumerate(self._readings())
        ]
        return {"count": len(rows), "measurements": rows[-last:]} | self._units()

    def explain(self) -> dict[str, Any]:
        """The acquisition function and its best positions."""
        state = self.state
        x = view.thinned(self.facts.positions, _SIDE**2)
        found = _maps(state, x)
        likely = [
            {"x": _rounded(x[i]), "mean": _rounded(found.mean[i]), "std": _rounded(found.std[i]),
             "acquisition": _rounded(found.acquisition[i])}
            for i in view.likely_next(found, x)
        ]  # fmt: skip
        proposal = next((one for one in reversed(self.records) if one["kind"] == "proposal"), None)
        asked = (
            None if proposal is None else {"x": proposal["x"], "pinned": proposal["pinned"], "step": proposal["step"]}
        )
        return {
            "terms": view.weights(state),
            "likely_next": likely,
            "proposed_last": asked,
            "remark": reach_of(state).describe(),
            "note": "looked for on a coarse map; the campaign itself searches finely",
        } | self._units()

    def interventions(self, last: int) -> dict[str, Any]:
        """What people and programs have done."""
        self.refresh()
        kinds = {"intervention": "taken", "act": "taken", "refusal": "refused"}
        rows = []
        for one in self.records:
            if one["kind"] not in kinds:
                continue
            told = {"step": one["step"], "outcome": kinds[one["kind"]]} | one["header"]
            rows.append(told | {name: one[name] for name in ("x", "box") if name in one})
        return {"count": len(rows), "interventions": rows[-last:]}

    def laws(self, keep: int, max_terms: int) -> dict[str, Any]:
        """Laws by sparse regression over powers of the inputs."""
        state = self.state
        names = [axis.name for axis in self.facts.axes]
        if not all(name.isidentifier() for name in names):
            names = ["x"] if len(names) == 1 else [f"x{k}" for k in range(len(names))]
        measured = np.asarray(state.obs.status) == MEASURED
        x, y = np.asarray(state.obs.x)[measured], np.asarray(state.obs.y)[measured]
        try:
            found = discover_laws(x, y, term_library(inputs=names, degree=3), max_terms=max_terms, keep=keep)
        except ValueError as error:
            raise Refused(str(error)) from None
        rows = []
        for one in found:
            law = one.law()
            prior = {name: formulas.as_data(value) for name, value in law.prior.items()}
            rows.append({"formula": law.formula, "prior": prior, "inputs": names, "fitted": one.formula,
                         "probability": one.probability, "rmse": one.rmse})  # fmt: skip
        return {"laws": rows, "complete": found.complete}

    def _readings(self) -> list[dict[str, Any]]:
        found: dict[str, dict[str, Any]] = {}
        for one in self.records:
            if one["kind"] == "reading":
                found[one["token"]] = one
            elif one["kind"] == "reread" and one["token"] in found:
                found[one["token"]] = found[one["token"]] | {"y": one["y"], "ok": True, "reason": ""}
        return list(found.values())

    def _units(self) -> dict[str, Any]:
        return {"unit": self.facts.quantity[1]}


def _maps(state: State, x: np.ndarray) -> view.Maps:
    return jax.tree.map(np.asarray, view.maps(state, jnp.asarray(x, state.obs.x.dtype)))


def _rounded(value: Any) -> Any:
    """Numbers with six digits."""
    array = np.asarray(value, np.float64)
    with np.errstate(all="ignore"):
        size = np.where(array == 0, 1.0, 10.0 ** (_DIGITS - 1 - np.floor(np.log10(np.abs(array)))))
    found = np.where(np.isfinite(size), np.round(array * size) / size, array)
    return float(found) if found.ndim == 0 else found
