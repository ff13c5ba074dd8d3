"""An instrument under guard: safe whenever nobody uses it for long, waited for when it is lost, and known again."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from numbers import Real
from typing import Any

from gpax_lab.core import Instrument, InstrumentError
from gpax_lab.core._measurement import require_instrument
from gpax_lab.experiment._contracts import Journal
from gpax_lab.experiment._identity import description
from gpax_lab.experiment._record import Record
from gpax_lab.experiment._suspended import Watch, now

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0
"""Between two attempts to reach a lost instrument; each pause is twice the one before."""

LOSSES = 3
"""How often an instrument may be lost during one measurement before nobody waits for it any more."""

UNSAFE = "The instrument could not be made safe"
"""How a note begins that sends a person to the instrument."""

_PRESSES = 20  # so many times Ctrl-C before the safe state is given up


class Paused(Exception):
    """The campaign is to stop between two measurements; the text says why."""


class Guard:
    """What stands between a campaign and its instrument.

    | state | entered by | what is true |
    |---|---|---|
    | in use | `at_work()`, until its block ends | one thread is in the instrument; nothing makes it safe |
    | at rest | `rest()`, or the end of `at_work()` | nobody asks anything of it; a timer makes it safe after `idle_s` |
    | safe | `secure()`, the timer, or `await_return()` | it is in its safe state until the next `at_work()` |
    | lost | an error for which `lost(error)` is true | `await_return()` waits, at most `wait_s`, and leaves it safe |

    `ready()` comes before a use is announced and changes no state: it raises what the timer could not do.

    Args:
        instrument: see `core.Instrument`.
        lost: errors that say that it can not be reached, beside each `InstrumentError` that is `unreachable`.
        wait_s: seconds that a lost instrument is waited for; 0 for none.
        idle_s: seconds that it may be left as it is between two measurements; None for any.
        stop: whether somebody wants the campaign to stop. Where it raises while a lost instrument is waited for, nobody
            knows, and the waiting goes on.
        note: records an entry in the journal at once.

    Attributes:
        watch: how long this process stood still.
        worked_s: seconds that the last use of the instrument took, without those.
    """

    def __init__(
        self,
        instrument: Instrument,
        lost: tuple[type[Exception], ...],
        wait_s: float,
        idle_s: float | None,
        stop: Callable[[], bool],
        note: Callable[[Record], None],
    ) -> None:
        self.instrument, self.wait_s, self.idle_s = instrument, wait_s, idle_s
        self._clock = now
        self.watch, self.worked_s = Watch(self._clock), 0.0
        self._idle_since: float | None = None  # None: in use, or safe
        self._lost, self._stop, self._note = lost, stop, note
        self._lock = threading.RLock()  # one thread in the instrument at a time
        self._timer: threading.Thread | None = None
        self._over = threading.Event()
        self._fault: Exception | None = None
        self._waited_in_vain = False

    def check(self) -> None:
        """Look at the times and the instrument; not when it is made, so that whoever made it can leave it safe.

        Raises:
            ValueError: no seconds, negative ones, or more than can be waited.
            TypeError: it is no `core.Instrument`.
        """
        for name, value in (("wait_s", self.wait_s), ("idle_s", self.idle_s)):
            if value is None and name == "idle_s":
                continue
            if not isinstance(value, Real) or not 0.0 <= float(value) <= threading.TIMEOUT_MAX:
                raise ValueError(f"{name} must be seconds, 0 or more and not beyond any clock; got {value!r}.")
        require_instrument(self.instrument)

    def lost(self, error: BaseException) -> bool:
        """Whether the error says that the instrument can not be reached, or arose because it could not."""
        return self._unreachable(error) or self._unreachable(error.__cause__)

    def _unreachable(self, error: BaseException | None) -> bool:
        return isinstance(error, self._lost) or (isinstance(error, InstrumentError) and error.unreachable)

    @contextlib.contextmanager
    def at_work(self) -> Iterator[None]:
        """While the instrument is used; raises what went wrong when it was made safe in the meantime."""
        self.watch.start()
        self._settle()
        started = self._awake()
        try:
            with self._lock:
                yield
        finally:
            self.worked_s = max(0.0, self._awake() - started)
            self.rest()

    def ready(self) -> None:
        """Before a use is announced: raises what went wrong in the pause, and makes safe what should be safe by now."""
        self._settle()
        self._arm()

    def _settle(self) -> None:
        self._halt()
        if (fault := self.missed()) is not None:
            raise fault
        if self._idle_since is not None and self.idle_s is not None and self._clock() - self._idle_since > self.idle_s:
            self.secure()  # this process stood still when it was time

    def _awake(self) -> float:
        """The clock, without the time in which this process stood still."""
        still = self.watch.seconds  # before the clock is read: what is late by now is in it
        return self._clock() - still

    def missed(self) -> Exception | None:
        """What went wrong when it was to be made safe in a pause, unless that was told already."""
        fault, self._fault = self._fault, None
        return fault

    def description(self) -> dict[str, Any]:
        """What the instrument says of itself, asked while no other thread uses it."""
        with self._lock:
            return description(self.instrument)

    def rest(self) -> None:
        """From now on nothing is asked of it: if that lasts longer than `idle_s`, it is made safe by another thread."""
        self._halt()
        self._idle_since = self._clock()
        self._arm()

    def _arm(self) -> None:
        if self.idle_s is None or self._idle_since is None:
            return
        left = max(0.0, self._idle_since + self.idle_s - self._clock())
        self._over = threading.Event()
        self._timer = threading.Thread(target=self._fall_asleep, args=(self._over, left), daemon=True)
        self._timer.start()

    def secure(self) -> None:
        """Make it safe now, before something that takes long."""
        self._halt()
        self._make_safe()

    def _make_safe(self) -> None:
        with self._lock:
            self.instrument.make_safe()
            self._idle_since = None

    def _fall_asleep(self, over: threading.Event, after_s: float) -> None:
        """Make it safe after so many seconds; one that is lost again and again, until somebody wants to use it."""
        pause = FIRST_PAUSE_S
        while not over.wait(after_s):
            try:
                self._make_safe_unless(over)
                return
            except Exception as fault:  # told to whoever uses the instrument next
                self._fault = fault
                if not self.lost(fault):
                    return
            after_s, pause = pause, min(2 * pause, LONGEST_PAUSE_S)

    def _make_safe_unless(self, over: threading.Event) -> None:
        """Make it safe as soon as no other thread uses it; whoever wants this one to end does not wait for that."""
        while not over.is_set():
            if self._lock.acquire(timeout=0.1):
                try:
                    if not over.is_set():
                        self._make_safe()
                    return
                finally:
                    self._lock.release()

    def _halt(self) -> None:
        timer, self._timer = self._timer, None
        self._over.set()
        if timer is not None:
            timer.join()

    def await_return(self, fault: Exception, step: int, known: Callable[[], object] = lambda: None) -> None:
        """Return when a lost instrument is back, safe, and the same.

        Args:
            fault: by which it was lost.
            step: of the campaign.
            known: called after it was made safe; raises an error of its own where it is not the one that was lost, and
                `lost` errors where it is not quite back yet, after which the waiting goes on.

        Raises:
            Paused: somebody wanted to stop.
            Exception: `fault`, or a later one of its kind, after `wait_s`; or what it answered instead of being safe.
        """
        if not self._waiting() > 0:
            raise fault
        self._halt()
        self._note(self._loss(fault, step))
        self.watch.start()
        begun, pause = self._awake(), FIRST_PAUSE_S
        while True:
            left = begun + self.wait_s - self._awake()
            if self._stopped_within(min(pause, max(0.0, left))):
                raise Paused("stopped on request while the instrument was lost; resume goes on from here")
            pause = min(2 * pause, LONGEST_PAUSE_S)
            try:
                self._make_safe()
                known()
                break
            except Exception as again:
                if not self.lost(again):
                    raise
                fault = again
            if left <= 0:  # after one more attempt
                self._waited_in_vain = True
                fault.add_note(f"It was waited for, {self.wait_s:g} s.")
                raise fault
        if self._fault is not None and self.lost(self._fault):
            self._fault = None  # the same loss, seen in a pause
        self._note(("found", step, {"seconds": self._awake() - begun}, {}))

    def _loss(self, fault: Exception, step: int) -> Record:
        return ("lost", step, {"error": type(fault).__name__, "text": str(fault), "wait_s": self.wait_s}, {})

    def _waiting(self) -> float:
        """Seconds to wait; 0 where `wait_s` is no number of them."""
        return max(0.0, self.wait_s) if isinstance(self.wait_s, Real) else 0.0  # NaN is not more than 0

    def _asked_to_stop(self) -> bool:
        try:
            return bool(self._stop())
        except Exception:  # it may ask the very instrument that is lost
            return False

    def _stopped_within(self, seconds: float) -> bool:
        """Let time go by; True as soon as somebody wants to stop."""
        end = self._awake() + seconds
        while (left := end - self._awake()) > 0:
            if self._asked_to_stop():
                return True
            time.sleep(min(left, 0.1))
        return False

    def leave_safe(self, step: int = 0) -> None:
        """Make it safe for good: whoever presses Ctrl-C, and as long as a lost one is waited for.

        The first attempt comes before any question or record. A stop ends the waiting, after one more attempt.

        Raises:
            KeyboardInterrupt: one came meanwhile.
            Exception: it could not be made safe.
        """
        begun: float | None = None
        pause, last = FIRST_PAUSE_S, False
        pressed: list[KeyboardInterrupt] = []
        while True:
            try:
                self._halt()
                self._make_safe()
                break
            except KeyboardInterrupt as again:  # an impatient Ctrl-C must not keep the tip on the sample
                pressed.append(again)
                if len(pressed) >= _PRESSES:
                    raise
                continue
            except Exception as problem:
                if pressed or last or not self.lost(problem) or not self._waiting() > 0 or self._waited_in_vain:
                    raise
                if begun is None and self._asked_to_stop():
                    raise
                fault = problem
            try:
                if begun is None:
                    begun = self._awake()
                    self._try_note(self._loss(fault, step))
                left = begun + self._waiting() - self._awake()
                last = self._stopped_within(min(pause, max(0.0, left))) or self._awake() >= begun + self._waiting()
                pause = min(2 * pause, LONGEST_PAUSE_S)
            except KeyboardInterrupt as again:
                pressed.append(again)
        if begun is not None:
            self._try_note(("found", step, {"seconds": self._awake() - begun}, {}))
        if pressed:
            raise pressed[0]

    def _try_note(self, entry: Record) -> None:
        with contextlib.suppress(Exception):  # the disk may be the fault; the instrument comes first
            self._note(entry)


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
        guard.leave_safe(step)
    except BaseException as problem:
        unsafe = problem
    guard.watch.end()
    untold: Exception | None = None
    if (missed := guard.missed()) is not None:
        missed.add_note("It could not be made safe in a pause.")
        untold = _journal_fault(campaign, step, missed)
    if error is not None:
        untold = _journal_fault(campaign, step, error) or untold
    if unsafe is not None:
        if not isinstance(unsafe, KeyboardInterrupt):
            unsafe.add_note(f"{UNSAFE}: go to it.")
        untold = _journal_fault(campaign, step, unsafe) or untold
    if unsafe is not None and error is not None and isinstance(unsafe, Exception):
        error.add_note(f"{UNSAFE} ({unsafe}): go to it.")
    shown = error or unsafe
    if untold is not None and shown is not None and str(untold) not in str(shown):
        shown.add_note(f"The journal could not take this: {untold}.")
    if unsafe is not None and (error is None or not isinstance(unsafe, Exception)):
        raise unsafe


def _journal_fault(campaign: Journal, step: int, error: BaseException) -> Exception | None:
    """Record it; what went wrong with that, which may say where entries are rescued to."""
    try:
        notes = [str(note) for note in getattr(error, "__notes__", ())]
        header = {"error": type(error).__name__, "text": str(error)} | ({"notes": notes} if notes else {})
        campaign.append(("fault", step, header, {}))
    except Exception as problem:  # the disk may be the fault; the first error is the one to show
        return problem
    return None
