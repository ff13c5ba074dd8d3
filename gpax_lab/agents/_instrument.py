"""An instrument as tools of an agent: measured within its limits, recorded first, safe whenever nobody uses it."""

import re
import threading
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

import numpy as np

from gpax_lab.agents import _frames as frames
from gpax_lab.agents._budget import Budget, Spent
from gpax_lab.agents._refused import Refused
from gpax_lab.agents._tools import Tool, Tools, text
from gpax_lab.core import Axis, Instrument, InstrumentError, Measurement
from gpax_lab.core._axes import check_all
from gpax_lab.experiment._contracts import Scalarizer
from gpax_lab.experiment._guard import UNSAFE, Guard, leave_safe
from gpax_lab.experiment._journalling import Journalling
from gpax_lab.experiment._measuring import Measuring
from gpax_lab.experiment._rescalarize import kept
from gpax_lab.experiment._scalarizers import Scalarizers
from gpax_lab.storage import Campaign, JournalRecord

LOST = (ConnectionError, TimeoutError)
_TOKEN = re.compile(r"[A-Za-z0-9_-]{1,40}")
_HELP = """\
One physical instrument. describe_instrument says what it measures and what is left of the budget; acquire measures once
at a position. What lies outside of the limits in the schema of acquire is refused, never moved to the limit. Give a
token of your own, and the same one again after an answer that did not arrive: nothing is measured twice. pause makes
the instrument safe; so do the end of the session and a time without use."""


class ServedInstrument:
    """An instrument for an agent. Use it as a context manager: at its end the instrument is safe.

    Args:
        instrument: connected.
        journal: where every act is recorded; its folder takes images and cubes.
        name: of the instrument, for the agent.
        info: what else the agent is told, plain values.
        units: unit of each array of a measurement, as far as they are known beforehand.
        output: array that is handed over; None for the one that a measurement is about.
        modality: "curve", "image" or "hyperspectral".
        scalarize: measurement -> value, for the record; None for none.
        positions: (n, d) where alone it can measure; None for anywhere within its limits.
        tool: name of the tool that measures.
        budget: what the agent may use up.
        idle_s: s after which an instrument that nobody uses is made safe.
        by: name of the agent in the record.

    Raises:
        ValueError: it tells no axes, an unknown modality, or names that the tools use themselves.
    """

    def __init__(
        self,
        instrument: Instrument,
        journal: Campaign,
        *,
        name: str = "instrument",
        info: Mapping[str, Any] | None = None,
        units: Mapping[str, str] | None = None,
        output: str | None = None,
        modality: str = "curve",
        scalarize: Scalarizer | None = None,
        positions: np.ndarray | None = None,
        tool: str = "acquire",
        budget: Budget | None = None,
        idle_s: float = 60.0,
        by: str = "agent",
    ) -> None:
        if instrument.axes is None:
            raise ValueError("the instrument tells no axes; an agent needs their limits.")
        if modality not in frames.MODALITIES.values():
            raise ValueError(f"a modality is one of {', '.join(frames.MODALITIES.values())}; got {modality!r}.")
        self.axes: tuple[Axis, ...] = tuple(instrument.axes)
        if clash := {axis.name for axis in self.axes} & {"token", "reason"}:
            raise ValueError(f"axes and arguments of the tool need different names: {', '.join(clash)}.")
        self.name, self._info, self._units, self._tool = name, dict(info or {}), dict(units or {}), tool
        self._output, self._modality, self._positions, self._by = output, modality, positions, by
        self._campaign, self._folder = journal, journal.journal.path.parent
        self._heard = _Heard(instrument)
        self._guard = Guard(self._heard, LOST, 0.0, idle_s, lambda: False, journal.append)
        self._journal = Journalling(journal)
        self._journal.read()
        self._spent = Spent(budget or Budget(), by, journal.history)
        scalarizers = Scalarizers(_nothing if scalarize is None else _mild(scalarize))
        scalarizers.choose(None)
        self._measure = Measuring(self._guard, self._journal, scalarizers, None, lambda: False, lambda: "", _unseen)
        self._lock = threading.RLock()
        self._paused, self._broken = False, ""

    def __enter__(self) -> Self:
        self._guard.check()
        self._measure.recognise(False)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        with self._lock:
            leave_safe(self._guard, self._campaign, 0, error)

    @property
    def tools(self) -> Tools:
        """What an agent may call."""
        inputs = {axis.name: self._axis(number, axis) for number, axis in enumerate(self.axes)}
        more = {
            "token": text("Your name for this measurement: letters, digits, _ and -; used again, it is not repeated.",
                          40, default=""),
            "reason": text("Why, in a sentence; people read it in the record.", 500, default=""),
        }  # fmt: skip
        names = ", ".join(f"{axis.name} [{axis.unit}]" for axis in self.axes)
        about = f"Measure once with {self.name} at {names}. What lies outside of the limits is refused."
        return Tools((
            Tool(self._tool, about, self.acquire, inputs | more, tuple(inputs), acts=True, destructive=True),
            Tool("describe_instrument", "What the instrument measures, its limits, and the budget.", self.describe),
            Tool("pause", "Make the instrument safe; nothing is measured until resume.", self.pause, acts=True),
            Tool("resume", "Let it measure again.", self.resume, acts=True),
        ))  # fmt: skip

    @property
    def instructions(self) -> str:
        """What an agent is told first."""
        return _HELP

    def _axis(self, number: int, axis: Axis) -> dict[str, Any]:
        about = {
            "type": "number", "minimum": axis.low, "maximum": axis.high, "x-units": axis.unit,
            "description": f"{axis.name} in {axis.unit}",
        }  # fmt: skip
        if self._positions is not None and len(self.axes) == 1 and len(self._positions) <= 256:
            return about | {"enum": sorted({float(value) for value in self._positions[:, 0]})}
        return about

    # What the tools do.

    def describe(self) -> dict[str, Any]:
        """What it is, in SciLink's words."""
        info = self._info | {
            "axes": {axis.name: {"unit": axis.unit, "low": axis.low, "high": axis.high} for axis in self.axes},
            "limits": dict(self._heard.limits) if not self._broken else {},
            "budget": self._spent.plain(),
            "paused": self._paused,
        }
        if self._positions is not None:
            info["positions"] = f"only {len(self._positions)} positions can be measured"
        return {
            "id": re.sub(r"[^a-z0-9]+", "-", self.name.lower()).strip("-") or "instrument",
            "name": self.name,
            "modality": self._modality,
            "system_info": info,
            "outputs": self._units,
            "targets": [self._output] if self._output else list(self._units)[-1:],
        }

    def acquire(self, token: str = "", reason: str = "", **where: float) -> dict[str, Any]:
        """Measure once, or hand over again what was measured under this token."""
        x = check_all(self.axes, [where[axis.name] for axis in self.axes])
        if token and not _TOKEN.fullmatch(token):
            raise Refused("token: letters, digits, _ and -, at most 40")
        if not self._lock.acquire(blocking=False):
            raise Refused("the instrument is in use by another call: wait for its answer")
        try:
            name = self._name_of(token)
            if name in self._journal.told.asked_at:
                return self._again(name, token, x, reason)
            self._require(points=1)
            return self._answer(name, token, x, reason)
        finally:
            self._lock.release()

    def pause(self) -> dict[str, Any]:
        """Make it safe, and measure nothing until `resume`."""
        self._paused = True
        with self._lock:  # behind a measurement that is under way
            self._guard.secure()
            self._note("pause")
        return {"status": "ok", "held": True}

    def resume(self) -> dict[str, Any]:
        """Let it measure again."""
        with self._lock:
            if self._broken:
                raise Refused(self._broken)
            self._note("resume")
            self._paused = False
        return {"status": "ok", "held": False}

    def _require(self, points: int) -> None:
        if self._broken:
            raise Refused(self._broken)
        if self._paused:
            raise Refused("the instrument is paused: resume comes first")
        self._spent.require(points)

    def _name_of(self, token: str) -> str:
        """The token in the journal; two of an agent and of the server are never the same."""
        known = self._journal.told.asked_at
        return f"{self._journal.mark}-{token}" if token else f"{self._journal.mark}.{len(known)}"

    def _again(self, name: str, token: str, x: np.ndarray, reason: str) -> dict[str, Any]:
        asked = self._journal.told.asked_at[name]
        if not np.array_equal(asked, x):
            raise Refused(f"token {token!r} is that of a measurement at {asked.tolist()}: give another one")
        if name not in self._journal.told.answers:
            self._require(points=0)
            return self._answer(name, token, x, reason)  # the program ended in the midst of it
        entry = self._recorded(name)
        return self._frame(kept(entry), token, name, entry.header | {"value": float(entry.arrays["y"])})

    def _recorded(self, name: str) -> JournalRecord:
        return next(one for one in reversed(self._campaign.measurements()) if one.header["token"] == name)

    def _answer(self, name: str, token: str, x: np.ndarray, reason: str) -> dict[str, Any]:
        points = int(name not in self._journal.told.asked_at)
        self._note("measure", why=reason, token=name, points=points)
        self._journal.told.asked_at[name] = x
        begun = time.monotonic()
        try:
            answer = self._measure(x, name, 0, "measure")
        except Exception as error:
            self._fail(error)
            raise
        measurement = self._heard.last
        if measurement is None:
            raise Refused(self._recorded(name).header["reason"])
        arrays = {f"raw/{one}": value for one, value in measurement.arrays.items()}
        self._spent.take("reading", {"ok": measurement.ok}, arrays, time.time())
        told = {"seconds": round(time.monotonic() - begun, 3), "value": answer.y, "flags": list(measurement.flags)}
        return self._frame(measurement, token, name, told)

    def _fail(self, error: Exception) -> None:
        """After an error in which something is in doubt: make safe, and let nobody measure."""
        words = str(error) if isinstance(error, InstrumentError) else type(error).__name__
        self._broken = f"the instrument stopped the session, and a person has to look at it: {words}"
        try:
            self._guard.secure()
        except Exception as fault:
            self._broken += f". {UNSAFE} ({type(fault).__name__}): go to it"
        self._journal.flush(("fault", 0, {"error": type(error).__name__, "text": words}, {}))

    def _frame(self, measurement: Measurement, token: str, name: str, told: Mapping[str, Any]) -> dict[str, Any]:
        if not measurement.ok:
            raise Refused(f"measured, and not usable: {measurement.reason}")
        output = self._output or frames.main_output(measurement.arrays)
        number = list(self._journal.told.asked_at).index(name)
        stem = self._folder / f"acquisition_{number:06d}"
        meta = {key: told[key] for key in ("seconds", "value", "flags") if key in told}
        read = None if measurement.position is None else np.asarray(measurement.position, float).tolist()
        meta |= {"token": token or None, "position": read, "budget": self._spent.plain()}
        at = self._journal.told.asked_at[name]
        found = frames.frame(measurement, output, (self.axes[0].name, float(at[0])), stem)
        return found | {"meta": meta}

    def _note(self, action: str, why: str = "", **more: Any) -> None:
        header = {"action": action, "by": self._by, "why": why} | more
        self._journal.flush(("act", 0, header, {}))
        self._spent.take("act", header, {}, time.time())


class _Heard:
    """An instrument, and what it handed back last."""

    def __init__(self, instrument: Instrument) -> None:
        self._instrument = instrument
        self.last: Measurement | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._instrument, name)

    def measure(self, x: np.ndarray, token: str) -> Measurement:
        """Measure, and remember it."""
        self.last = None
        self.last = self._instrument.measure(x, token)
        return self.last


def _unseen(event: Any) -> None:
    """Nobody watches."""


def _mild(scalarize: Scalarizer) -> Scalarizer:
    """The same, and no number where it fails: the measurement is good whatever a scalarizer makes of it."""

    def value(measurement: Measurement) -> Any:
        try:
            return scalarize(measurement)
        except Exception:
            return float("nan")

    return value


def _nothing(measurement: Measurement) -> float:
    return float("nan")
