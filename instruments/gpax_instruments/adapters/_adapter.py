"""An instrument of another control system, held to our rules: go, read back, measure; safe first and last.

Control systems differ in what they promise. Some take NaN for a position, some acknowledge what they do not do, some
clamp, some hang. Nothing of that is believed here: targets are checked before anything is sent, where it stands is read
back, and each call of the foreign library has a deadline.
"""

import contextlib
import time
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import Any, Self

import numpy as np

from gpax_instruments.adapters._signals import Signal, measurement_of
from gpax_instruments.adapters._worker import Stuck, Worker, fault_of, understood
from gpax_instruments.drivers._bounded import Bounded, judged
from gpax_instruments.drivers._positioned import Location
from gpax_instruments.errors import LINK_FAULTS, DeviceError, LinkLost, LinkTimeout
from gpax_lab.core import Axis, Instrument, InstrumentError, Measurement, MoveRefused
from gpax_lab.core._axes import check_all, plan_path

POLL_S = 0.01  # between two looks at a stage that moves
PATIENCE_S = 0.2  # a stage that comes no nearer for so long stands still
GRACE = 1.5  # a library that keeps the time itself has so much more before its thread is given up
NEARER = 0.01  # share of the tolerance by which a stage has to come nearer, to be moving
ATTEMPTS = 2  # at the safe state: one over the link that there is, one over a new one


class Adapter(Instrument):
    """Base of the instruments of other control systems. Nothing is opened before ``connect``.

    A derived class says how the link is opened, where the axes stand, how they are sent to a setpoint, what is measured
    and what is safe: `_open`, `_where`, `_send`, `_acquire`, `_safe`, `_unsafe`. Each call of the foreign library goes
    through `_ask`, which runs it in a thread of its own under a deadline, and turns its errors into ours.

    Args:
        axes: coordinates with their limits; those of the other side narrow them further.
        units: unit of each array of a measurement, as far as the other side does not tell them.
        repeatable: whether a measurement whose outcome is unknown may be done again at the same position.
        timeout_s: seconds for one exchange, and for opening the link.
        busy_timeout_s: seconds for one move, and for one measurement.

    Raises:
        ValueError: no axes, two of one name, or a time outside the limits.
    """

    system = "the other side"
    """Whom messages speak of."""

    claimed_by = "address"
    """The argument that says which instrument it is: one campaign at a time, on this machine."""

    MAX_TIMEOUT_S = 3600.0
    """s: an exchange that takes an hour has failed."""

    MAX_BUSY_TIMEOUT_S = 86400.0
    """s: what is busy for a day is stuck."""

    timeout_s = Bounded("s", 0.0, "MAX_TIMEOUT_S", above=True)
    busy_timeout_s = Bounded("s", 0.0, "MAX_BUSY_TIMEOUT_S", above=True)

    repeatable: bool = False

    def __init__(
        self,
        axes: Sequence[Axis],
        units: Mapping[str, str] | None,
        repeatable: bool,
        timeout_s: float,
        busy_timeout_s: float,
    ) -> None:
        self._given = tuple(axes)
        names = [axis.name for axis in self._given]
        if not names or len(set(names)) != len(names):
            raise ValueError(f"axes need names that differ, and at least one; got {names}")
        self._within: tuple[Axis, ...] | None = None
        self._units, self.repeatable = dict(units or {}), repeatable
        self.timeout_s, self.busy_timeout_s = timeout_s, busy_timeout_s
        self._worker: Worker | None = None
        self._setpoint: np.ndarray | None = None

    # --- what a derived class says --------------------------------------------------------------------------------

    @abstractmethod
    def _open(self) -> None:
        """Open the link; send nothing that acts."""

    @abstractmethod
    def _where(self) -> np.ndarray | None:
        """Read-back of the axes (d,), in their units; None where the other side can not tell it."""

    @abstractmethod
    def _send(self, setpoint: np.ndarray) -> None:
        """Send the axes to setpoint (d,), and return when that is acknowledged, or done."""

    @abstractmethod
    def _acquire(self, token: str) -> Mapping[str, Signal]:
        """Measure here, once, and bring the arrays home."""

    @abstractmethod
    def _safe(self) -> None:
        """Enter the safe state; may be repeated."""

    def _unsafe(self) -> str:
        """What is not as it should be after `_safe`, in words with a remedy; empty when all is well."""
        return ""

    def _limits(self) -> Sequence[tuple[float, float] | None]:
        """Limits of each axis that the other side has, in our units; None for an axis without."""
        return [None] * len(self._given)

    def _release(self) -> None:
        """Close what `_open` has opened; the link may be gone already."""

    def _fault(self, error: BaseException) -> type[InstrumentError]:
        """Our class for an error of the foreign library."""
        return fault_of(error)

    def _words(self, error: BaseException) -> str:
        """What an error of the foreign library says."""
        return str(error)

    # --- the link -------------------------------------------------------------------------------------------------

    @property
    def axes(self) -> tuple[Axis, ...]:
        """Coordinates with their limits; once connected, within those of the other side."""
        return self._given if self._within is None else self._within

    @property
    def units(self) -> dict[str, str]:
        """Unit of each array, as far as they are known beforehand."""
        return dict(self._units)

    def _by_axis(self, what: str, given: Mapping[str, str] | None) -> dict[str, str]:
        """What is given by name of the axis. Raises ValueError for an axis that there is not."""
        names = [axis.name for axis in self._given]
        if unknown := sorted(set(given or {}) - set(names)):
            raise ValueError(f"{what}: there is no axis {', '.join(unknown)}; the axes are {', '.join(names)}")
        return dict(given or {})

    def connect(self) -> Self:
        """Open the link, make safe, and narrow the axes to the limits of the other side.

        Raises:
            DeviceError: it is not what is needed, does not get safe, or leaves an axis nowhere to go.
            LinkLost, LinkTimeout: nobody answers.
            ImportError: the library of the control system is not installed.
        """
        self._drop()
        self._worker = Worker()
        try:
            with understood(self.system):
                self._open()
                self._reach_safe()
                self._within = tuple(map(self._narrowed, self._given, self._limits()))
                blind = self._where() is None
            if blind and any(axis.max_step is not None for axis in self.axes):
                raise DeviceError(
                    f"{self.system} does not tell where it stands: max_step can not be kept; leave it out, or use an "
                    "axis with a read-back"
                )
        except BaseException:
            self._drop()
            raise
        return self

    def close(self) -> None:
        """Close the link. The instrument stays as it is: call ``make_safe`` first."""
        self._drop()

    def __enter__(self) -> Self:
        return self.connect()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        try:
            self.make_safe()
        finally:
            self.close()

    def _ask(self, function: Callable[[], Any], seconds: float | None = None) -> Any:
        """What function of the foreign library returns, within so many seconds; None for `timeout_s`."""
        worker = self._worker
        if worker is None:
            raise LinkLost(f"{self.system}: the link is closed; connect again")
        try:
            return worker.call(function, judged(self, "timeout_s") if seconds is None else seconds)
        except Stuck as error:
            self._worker = None
            raise LinkTimeout(f"{self.system}: {error}; the link is given up. Connect again") from error
        except (InstrumentError, ImportError):
            raise
        except Exception as error:
            kind = self._fault(error)
            words = " ".join(self._words(error).split())[:400] or type(error).__name__
            if issubclass(kind, LINK_FAULTS):
                self._drop()
                raise kind(f"{self.system}: {words}; the link is closed. Connect again") from error
            raise kind(f"{self.system} refuses: {words}") from error
        except BaseException:  # Ctrl-C in the waiting: the call is left behind
            self._worker = None
            raise

    def _ask_long(self, function: Callable[[], Any]) -> Any:
        """The same for a move or a measurement."""
        return self._ask(function, judged(self, "busy_timeout_s"))

    def _ask_timed(self, function: Callable[[float], Any], long: bool = False) -> Any:
        """The same for a library that keeps the time itself, and closes better than a thread that is given up."""
        seconds = judged(self, "busy_timeout_s" if long else "timeout_s")
        return self._ask(partial(function, seconds), GRACE * seconds)

    def _drop(self) -> None:
        """Close the link without a word."""
        worker, self._worker = self._worker, None
        if worker is not None:
            with contextlib.suppress(Exception):  # what is gone may complain in many ways
                worker.call(self._release, judged(self, "timeout_s"))
            worker.close()

    def _narrowed(self, axis: Axis, limits: tuple[float, float] | None) -> Axis:
        if limits is None:
            return axis
        low, high = max(axis.low, float(limits[0])), min(axis.high, float(limits[1]))
        if not low < high:  # NaN fails too
            raise DeviceError(
                f"axis {axis.name} allows {axis.low!r} to {axis.high!r} {axis.unit}, {self.system} {limits[0]!r} to "
                f"{limits[1]!r}: that leaves nowhere to go. Change the axis, or the limits there"
            )
        return replace(axis, low=low, high=high, tolerance=axis.allowed_error)

    # --- the safe state -------------------------------------------------------------------------------------------

    def make_safe(self) -> None:
        """Enter the safe state, over a new link where the old one is gone, and see that it is so. May be repeated.

        Raises:
            DeviceError: it answers but is not safe.
            LinkLost, LinkTimeout: it could not be asked. Go to the instrument.
        """
        for attempt in range(ATTEMPTS):
            if self._worker is None:
                self.connect()  # which makes safe
                return
            try:
                self._reach_safe()
                return
            except LINK_FAULTS as fault:
                if attempt + 1 == ATTEMPTS:
                    fault.add_note("it was not seen to be safe; go to the instrument")
                    raise

    def stop(self, success: bool = True) -> None:
        """Halt: the same as ``make_safe``, whatever the reason."""
        self.make_safe()

    def _reach_safe(self) -> None:
        with understood(self.system):
            self._safe()
        end = time.monotonic() + judged(self, "timeout_s")
        while trouble := self._unsafe():
            if time.monotonic() > end:
                raise DeviceError(f"not safe: {trouble}")
            time.sleep(POLL_S)  # a shutter takes its time

    def _way_to_safe(self, name: str, value: float, moved: Sequence[str]) -> Iterator[float]:
        """Setpoints on the way to a value of the safe state: an axis goes in its own steps, as everywhere else.

        Args:
            name: what is set.
            value: in the safe state.
            moved: what each axis is sent by.
        """
        if name in moved and (axis := self._given[at := list(moved).index(name)]).max_step is not None:
            try:
                where = self._readback()
                for setpoint in [] if where is None else axis.plan(float(where[at]), value)[:-1]:
                    yield setpoint
                    time.sleep(axis.settle_s)
            except MoveRefused:
                pass  # it stands outside its limits, or is safe there: at once
        yield value

    @contextlib.contextmanager
    def _safe_when_stopped(self) -> Iterator[None]:
        """Make safe when an error ends the campaign; one that costs a point alone leaves the instrument as it is."""
        try:
            yield
        except InstrumentError as fault:
            if not fault.point_failed:
                try:
                    self.make_safe()
                except (InstrumentError, ImportError) as error:
                    fault.add_note(f"and it could not be made safe: {error}")
            raise

    # --- moves and measurements -----------------------------------------------------------------------------------

    def check_value(self, target: object) -> None:
        """Raise MoveRefused when target may not be sent. Sends nothing."""
        check_all(self.axes, target)

    def locate(self) -> Location:
        """Setpoint (the read-back where none was sent yet) and read-back, (d,) in the units of the axes.

        Raises:
            MoveRefused: the other side does not tell where it stands.
        """
        readback = self._readback()
        if readback is None:
            raise MoveRefused(f"{self.system} does not tell where it stands")
        return Location(readback if self._setpoint is None else self._setpoint, readback)

    def set(self, target: object) -> None:
        """Move to target (d,), in steps of max_step at most, settle, and compare the read-back.

        Raises:
            MoveRefused: outside the limits (nothing was sent), refused by the other side, or not arrived.
            LinkLost, LinkTimeout: the link failed; whether the last step was obeyed is not known.
        """
        goal = check_all(self.axes, target)
        if self._worker is None:
            self.connect()
            goal = check_all(self.axes, target)  # within the limits of the other side, too
        start = self._readback()
        for setpoint in [goal] if start is None else plan_path(self.axes, start, goal):
            self._setpoint = setpoint
            try:
                self._send(setpoint)
            except DeviceError as refused:
                raise MoveRefused(f"the move to {setpoint.tolist()} was refused: {refused}") from refused
            self._arrive(setpoint)

    def measure(self, x: object, token: str) -> Measurement:
        """Go to x (d,), and measure there once.

        Args:
            x: (d,) where, in the units of the axes.
            token: names this measurement; the other side does not learn it.

        Returns:
            The arrays, with the read-back after the measurement; ok=False for bad ones, and where the stage has left
            its position meanwhile (flag "moved").

        Raises:
            MoveRefused: see ``set``; nothing was measured.
            DeviceError: the other side refused the measurement.
            LinkLost, LinkTimeout: the link failed; the measurement may have been taken.

        After an error that ends a campaign, the safe state has been asked for.
        """
        goal = check_all(self.axes, x)
        with self._safe_when_stopped(), understood(self.system):
            self.set(goal)
            signals = self._acquire(token)
            position = self._readback()
        return measurement_of(signals, self.axes, goal, position)

    def _arrive(self, setpoint: np.ndarray) -> None:
        """Return when the read-back is at setpoint; MoveRefused when it comes no nearer."""
        settle_s = max(axis.settle_s for axis in self.axes)
        time.sleep(settle_s)
        allowed = np.array([axis.allowed_error for axis in self.axes])
        best, patience = np.inf, max(settle_s, PATIENCE_S)
        begun = progress = time.monotonic()
        while (readback := self._readback()) is not None:
            apart = np.max(np.abs(readback - setpoint) / allowed)
            if apart <= 1.0:
                return
            now = time.monotonic()
            if apart < best - NEARER:
                best, progress = apart, now
            if now - progress > patience or now - begun > judged(self, "busy_timeout_s"):
                for axis, goal, value in zip(self.axes, setpoint.tolist(), readback.tolist(), strict=True):
                    axis.arrived(goal, value)
            time.sleep(POLL_S)

    def _readback(self) -> np.ndarray | None:
        """`_where`, (d,) float64."""
        with understood(self.system):
            found = self._where()
            readback = np.asarray([] if found is None else found, np.float64)
        if found is None:
            return None
        if readback.shape != (len(self._given),):
            raise MoveRefused(f"the read-back {readback.tolist()} is no position; check the stage")
        return readback
