"""An instrument under guard: safe whenever nobody uses it for long, waited for when it is lost, and known again."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from gpax_lab.experiment.contracts import Journal
from gpax_lab.experiment.record import Frame, Record
from gpax_lab.experiment.suspended import Watch, now

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0
"""Between two attempts to reach a lost instrument; each pause is twice the one before."""

LOSSES = 3
"""How often an instrument may be lost during one measurement before nobody waits for it any more."""

UNSAFE = "The instrument could not be made safe"
"""How a note begins that sends a person to the instrument."""

_PRESSES = 20  # so many times Ctrl-C before the safe state is given up
_LIMITS = ("vmax", "max_bias", "dose_budget")
"""Attributes of a driver that bound what acts on the sample."""


class Paused(Exception):
    """The campaign is to stop between two measurements; the text says why."""


class Guard:
    """What stands between a campaign and its instrument.

    Args:
        instrument: see `contracts.Instrument`.
        lost: errors that say that it can not be reached.
        wait_s: seconds that a lost instrument is waited for; 0 for none.
        idle_s: seconds that it may be left as it is between two measurements; None for any.
        stop: whether somebody wants the campaign to stop.
        note: records an entry in the journal at once.
        clock: seconds that never go back; by default `suspended.now`.

    Attributes:
        watch: how long this process stood still.
        worked_s: seconds that the last use of the instrument took, without those.
    """

    def __init__(
        self,
        instrument: Any,
        lost: tuple[type[Exception], ...],
        wait_s: float,
        idle_s: float | None,
        stop: Callable[[], bool],
        note: Callable[[Record], None],
        clock: Callable[[], float] | None = None,
    ) -> None:
        self.instrument, self.wait_s, self.idle_s = instrument, wait_s, idle_s
        self._clock = clock or now
        self.watch, self.worked_s = Watch(self._clock), 0.0
        self._idle_since: float | None = None  # None: in use, or safe
        self._lost, self._stop, self._note = lost, stop, note
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None
        self._fault: Exception | None = None
        self._waited_in_vain = False

    def lost(self, error: BaseException) -> bool:
        """Whether the error says that the instrument can not be reached, or arose because it could not."""
        return isinstance(error, self._lost) or isinstance(error.__cause__, self._lost)

    @contextlib.contextmanager
    def at_work(self) -> Iterator[None]:
        """While the instrument is used; raises what went wrong when it was made safe in the meantime."""
        self.watch.start()
        self._halt()
        if (fault := self.missed()) is not None:
            raise fault
        if self._idle_since is not None and self.idle_s is not None and self._clock() - self._idle_since > self.idle_s:
            self.secure()  # this process stood still when it was time
        started = self._awake()
        try:
            yield
        finally:
            self.worked_s = max(0.0, self._awake() - started)
            self.rest()

    def _awake(self) -> float:
        """The clock, without the time in which this process stood still."""
        still = self.watch.seconds  # before the clock is read: what is late by now is in it
        return self._clock() - still

    def missed(self) -> Exception | None:
        """What went wrong when it was to be made safe in a pause, unless that was told already."""
        fault, self._fault = self._fault, None
        return fault

    def rest(self) -> None:
        """From now on nothing is asked of it: if that lasts longer than `idle_s`, it is made safe by another thread."""
        self._halt()
        self._idle_since = self._clock()
        if self.idle_s is not None:
            self._timer = threading.Timer(self.idle_s, self._fall_asleep)
            self._timer.daemon = True
            self._timer.start()

    def secure(self) -> None:
        """Make it safe now, before something that takes long."""
        self._halt()
        self._make_safe()

    def _make_safe(self) -> None:
        with self._lock:
            self.instrument.make_safe()
            self._idle_since = None

    def _fall_asleep(self) -> None:
        try:
            self._make_safe()
        except Exception as fault:  # told to whoever uses the instrument next
            self._fault = fault

    def _halt(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
            timer.join()

    def await_return(self, fault: Exception, step: int) -> None:
        """Return when a lost instrument is back, safe, and the same.

        Raises:
            Paused: somebody wanted to stop.
            Exception: `fault`, or a later one of its kind, after `wait_s`; or what it answered instead of being safe.
        """
        if not self.wait_s > 0:
            raise fault
        self._halt()
        self._note(("lost", step, {"error": type(fault).__name__, "text": str(fault), "wait_s": self.wait_s}, {}))
        self.watch.start()
        begun, pause = self._awake(), FIRST_PAUSE_S
        while True:
            left = begun + self.wait_s - self._awake()
            self._sleep(min(pause, max(0.0, left)))
            pause = min(2 * pause, LONGEST_PAUSE_S)
            try:
                self._make_safe()
                break
            except Exception as again:
                if not self.lost(again):
                    raise
                fault = again
            if left <= 0:  # after one more attempt
                self._waited_in_vain = True
                fault.add_note(f"It was waited for, {self.wait_s:g} s.")
                raise fault
        self._note(("found", step, {"seconds": self._awake() - begun}, {}))

    def _sleep(self, seconds: float) -> None:
        end = self._awake() + seconds
        while (left := end - self._awake()) > 0:
            if self._stop():
                raise Paused("stopped on request while the instrument was lost; resume goes on from here")
            time.sleep(min(left, 0.1))

    def leave_safe(self) -> None:
        """Make it safe for good: whoever presses Ctrl-C, and as long as a lost one is waited for.

        Raises:
            KeyboardInterrupt: one came meanwhile.
            Exception: it could not be made safe.
        """
        wait_s = 0.0 if self._waited_in_vain or self._stop() else self.wait_s
        end, pause = self._awake() + wait_s, 0.0
        pressed: list[KeyboardInterrupt] = []
        while True:
            try:
                self._halt()
                time.sleep(pause)
                self._make_safe()
                break
            except KeyboardInterrupt as again:  # an impatient Ctrl-C must not keep the tip on the sample
                pressed.append(again)
                if len(pressed) >= _PRESSES:
                    raise
            except Exception as fault:
                if pressed or not self.lost(fault) or self._awake() >= end:
                    raise
                pause = min(max(2 * pause, FIRST_PAUSE_S), LONGEST_PAUSE_S, max(0.0, end - self._awake()))
        if pressed:
            raise pressed[0]


def description(instrument: Any) -> dict[str, Any]:
    """What an instrument says of itself, as far as it does: `identity`, `axes` and `limits`; empty where nothing."""
    told: dict[str, Any] = {}
    if callable(identity := getattr(instrument, "identity", None)):
        told["identity"] = str(identity())
    with contextlib.suppress(AttributeError, TypeError, ValueError):  # of somebody's own, of any other make
        told["axes"] = [[str(a.name), str(a.unit), float(a.low), float(a.high)] for a in instrument.axes]
    limits = {name: value for name in _LIMITS if isinstance(value := getattr(instrument, name, None), int | float)}
    return told | ({"limits": {name: float(value) for name, value in limits.items()}} if limits else {})


def recognised(now: Mapping[str, Any], frames: Sequence[Frame], another: bool) -> bool:
    """Whether the journal says the same of the instrument already.

    Args:
        now: its `description`.
        frames: the journal.
        another: whether another instrument, or wider limits, are what is wanted.

    Raises:
        ValueError: it is another one, or allows more, and nobody said that this is meant.
    """
    told = [frame.header for frame in frames if frame.kind == "instrument"]
    if not told or another:
        return bool(told) and dict(told[-1]) == dict(now)
    before = told[-1]
    reasons = []
    if before.get("identity") != now.get("identity"):
        reasons.append(f"it is {now.get('identity')!r}, and the campaign was begun with {before.get('identity')!r}")
    old = {name: (low, high) for name, _, low, high in before.get("axes", ())}
    for name, unit, low, high in now.get("axes", ()):
        if name in old and not old[name][0] <= low <= high <= old[name][1]:
            reasons.append(
                f"axis {name} allows {low!r} to {high!r} {unit}, before {old[name][0]!r} to {old[name][1]!r}"
            )
    for name, value in now.get("limits", {}).items():
        if value > before.get("limits", {}).get(name, value):
            reasons.append(f"{name} is {value:g}, before {before['limits'][name]:g}")
    if reasons:
        raise ValueError(
            f"the instrument is not the one of this campaign, or allows more: {'; '.join(reasons)}. Restore it, or say "
            "that it is meant: run(..., another=True), gpax-lab resume --another."
        )
    return dict(before) == dict(now)


def leave_safe(guard: Guard, campaign: Journal, step: int, error: BaseException | None) -> None:
    """Make the instrument safe, then record how the campaign failed: a disk that hangs must not keep the tip down.

    Args:
        guard: of the instrument.
        campaign: the journal.
        step: of the campaign.
        error: what ended it; None where nothing is wrong. If it could not be made safe either, a note on it says so.

    Raises:
        BaseException: the instrument could not be made safe, and there was no error before, or it was interrupted.
    """
    unsafe: BaseException | None = None
    try:
        guard.leave_safe()
    except BaseException as problem:
        unsafe = problem
    guard.watch.end()
    if (missed := guard.missed()) is not None:
        missed.add_note("It could not be made safe in a pause.")
        _journal_fault(campaign, step, missed)
    if error is not None:
        _journal_fault(campaign, step, error)
    if unsafe is None:
        return
    if not isinstance(unsafe, KeyboardInterrupt):
        unsafe.add_note(f"{UNSAFE}: go to it.")
    _journal_fault(campaign, step, unsafe)
    if error is None or not isinstance(unsafe, Exception):
        raise unsafe
    error.add_note(f"{UNSAFE} ({unsafe}): go to it.")


def _journal_fault(campaign: Journal, step: int, error: BaseException) -> None:
    try:
        notes = [str(note) for note in getattr(error, "__notes__", ())]
        header = {"error": type(error).__name__, "text": str(error)} | ({"notes": notes} if notes else {})
        campaign.append(("fault", step, header, {}))
    except Exception:  # the disk may be the fault; the first error is the one to show
        return
