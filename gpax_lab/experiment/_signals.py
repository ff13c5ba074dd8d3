"""Requests to end (Ctrl-C, a closed terminal) as a flag: an experiment stops between two steps, never inside one."""

import contextlib
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Self

_BY_A_PERSON = ("SIGINT", "SIGTERM", "SIGQUIT", "SIGBREAK")  # SIGBREAK: Ctrl-Break, on Windows only
"""Requests that are made once more by somebody who does not want to wait. A hang-up comes several times by itself."""

_ALWAYS = ("SIGINT", "SIGTERM", "SIGBREAK")
"""Heard also where the signal was ignored or had a handler before."""

_LEFT_ALONE = (
    # The program itself is broken: no Python code can run after them.
    *("SIGSEGV", "SIGBUS", "SIGFPE", "SIGILL", "SIGABRT", "SIGTRAP", "SIGSYS", "SIGEMT"),
    # They do not end a program.
    *("SIGCHLD", "SIGCLD", "SIGCONT", "SIGURG", "SIGWINCH", "SIGINFO", "SIGTTIN", "SIGTTOU"),
    # Nobody can catch them.
    *("SIGKILL", "SIGSTOP"),
)

_CLOSING = (2, 5, 6)
"""CTRL_CLOSE_EVENT, CTRL_LOGOFF_EVENT, CTRL_SHUTDOWN_EVENT: Windows console, HandlerRoutine (wincon.h)."""
_GRACE_S = 5.0
"""Windows ends the program so long after it was told (HandlerRoutine, "Remarks")."""


def requests_to_end() -> tuple[int, ...]:
    """Numbers of the signals that `StopFlag` takes for a request to stop, as they are set now.

    SIGINT, SIGTERM and SIGBREAK always. Of the others every one that would end this process, or freeze it (SIGTSTP,
    Ctrl-Z) with the tip on the sample: SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGALRM, SIGXCPU, SIGPWR, real-time signals
    and so on, where the system's default is in force. One that is ignored (`nohup`) or has a handler of somebody's own
    stays as it is, and so do faults of the program (SIGSEGV and the like), after which no handler can run.
    """
    alone = {getattr(signal, name) for name in _LEFT_ALONE if hasattr(signal, name)}
    always = [getattr(signal, name) for name in _ALWAYS if hasattr(signal, name)]
    others = signal.valid_signals() - alone - set(always)
    return (*map(int, always), *sorted(int(n) for n in others if signal.getsignal(n) == signal.SIG_DFL))


def name_of(number: int) -> str:
    """SIGHUP for 1, "signal 40" for one without a name."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


class StopFlag:
    """While it is entered, what would end the process sets the flag; a person's second request raises at once.

    The first signal of `requests_to_end` sets the flag. A second SIGINT, SIGTERM, SIGQUIT or SIGBREAK after a first one
    of these raises KeyboardInterrupt; a closing terminal sends several signals, which all mean the same. On Windows the
    events of a console that is closed, of logging off and of shutting down set the flag too, and the system is kept
    waiting, while it waits, until the flag is left.

    Handlers are replaced on entry and given back on exit. Enter it in the main thread; the system delivers signals
    nowhere else.

    Attributes:
        signal: number of the first signal that came, or None.

    Example:
        >>> with StopFlag() as stop:
        ...     steps = 0
        ...     while steps < 3 and not stop:
        ...         steps += 1
        >>> steps
        3
    """

    signal: int | None

    def __init__(self) -> None:
        self.signal = None
        self._wanted = self._pressed = False
        self._insisted = ""
        self._previous: dict[int, Any] = {}
        self._left = threading.Event()
        self._forget_console: Callable[[], None] = lambda: None

    def set(self) -> None:
        """Ask for a stop from the program itself."""
        self._wanted = True

    def __bool__(self) -> bool:
        """Whether a stop was asked for.

        Raises:
            KeyboardInterrupt: a person has insisted, and Python dropped the exception because it came while an object
                was being let go.
        """
        if self._insisted and self._previous:
            raise KeyboardInterrupt(self._insisted)
        return self._wanted

    def _handle(self, number: int, frame: FrameType | None) -> None:
        by_a_person = name_of(number) in _BY_A_PERSON
        if by_a_person and self._pressed:
            self._insisted = f"second request to stop ({name_of(number)})"
            raise KeyboardInterrupt(self._insisted)
        self._pressed |= by_a_person
        self.signal = number if self.signal is None else self.signal
        self._wanted = True

    def closing(self, event: int) -> bool:
        """What Windows asks in a thread of its own when a console event comes: True ends the program at the return."""
        if event not in _CLOSING:
            return False  # Ctrl-C and Ctrl-Break come as signals
        self._wanted = True
        self._left.wait(_GRACE_S)
        return True

    def __enter__(self) -> Self:
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError("StopFlag must be entered in the main thread: signals arrive nowhere else")
        if self._previous:
            raise RuntimeError("this StopFlag is entered already")
        self._left.clear()
        for number in requests_to_end():
            with contextlib.suppress(OSError, ValueError):  # a system may keep a signal for itself
                self._previous[number] = signal.signal(number, self._handle)
        self._forget_console = _listen_to_console(self.closing)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._left.set()
        self._forget_console()
        for number, handler in self._previous.items():
            # None stands for a handler that was not installed from Python and cannot be put back.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._previous = {}


def _listen_to_console(asked: Callable[[int], bool]) -> Callable[[], None]:
    """Have Windows ask before it ends the program; returns what takes that back. Elsewhere there is no such thing."""
    if sys.platform != "win32":
        return lambda: None
    import ctypes

    routine = ctypes.WINFUNCTYPE(ctypes.c_int, ctypes.c_uint)(asked)
    kernel = ctypes.WinDLL("kernel32", use_last_error=True)
    if not kernel.SetConsoleCtrlHandler(routine, 1):  # a program without a console has no such events
        return lambda: None
    return lambda: kernel.SetConsoleCtrlHandler(routine, 0)
