"""Ctrl-C as a flag: an experiment stops between two steps, never inside one."""

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self

_NAMES = ("SIGINT", "SIGTERM", "SIGBREAK")  # SIGBREAK: Ctrl-Break, on Windows only


class StopFlag:
    """While it is entered, the first SIGINT or SIGTERM sets the flag and the second raises KeyboardInterrupt at once.

    Handlers are replaced on entry and given back on exit, also where the signal was ignored before: a request to stop
    is honoured. Enter it in the main thread; the system delivers signals nowhere else.

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
        self._wanted = False
        self._previous: dict[signal.Signals, Any] = {}

    def set(self) -> None:
        """Ask for a stop from the program itself."""
        self._wanted = True

    def __bool__(self) -> bool:
        """Whether a stop was asked for."""
        return self._wanted

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None:
            raise KeyboardInterrupt(f"second request to stop ({signal.Signals(number).name})")
        self.signal = number
        self._wanted = True

    def __enter__(self) -> Self:
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError("StopFlag must be entered in the main thread: signals arrive nowhere else")
        if self._previous:
            raise RuntimeError("this StopFlag is entered already")
        for name in _NAMES:
            number = getattr(signal, name, None)
            if number is not None:
                self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            # None stands for a handler that was not installed from Python and cannot be put back.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._previous = {}
