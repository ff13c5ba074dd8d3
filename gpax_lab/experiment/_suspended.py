"""Whether this process stood still: time went by, and nobody looked after the instrument."""

import threading
import time
from collections.abc import Callable

BEAT_S, STILL_S = 1.0, 10.0
"""Seconds between two signs of life, and those by which one may be late: a busy machine is not a sleeping one."""

# Linux: goes on while the machine sleeps, as CLOCK_MONOTONIC does on macOS and time.monotonic on Windows.
_AWAKE = getattr(time, "CLOCK_BOOTTIME", getattr(time, "CLOCK_MONOTONIC", None))


def now() -> float:
    """Seconds on a clock that nobody sets and that goes on while the machine sleeps; only differences mean anything."""
    return time.monotonic() if _AWAKE is None else time.clock_gettime(_AWAKE)


class Watch:
    """Counts the seconds in which this process did not run: stopped (Ctrl-Z, SIGSTOP), or on a machine that slept.

    Args:
        clock: seconds that never go back.
    """

    def __init__(self, clock: Callable[[], float] = now) -> None:
        self._clock, self._lock = clock, threading.Lock()
        self._still, self._told, self._beat = 0.0, 0.0, clock()
        self._over: threading.Event | None = None

    def start(self) -> None:
        """Look every `BEAT_S` from now on, in a thread of its own; may be called again."""
        if self._over is None:
            self._beat, self._over = self._clock(), threading.Event()
            threading.Thread(target=self._look_again_and_again, args=(self._over,), daemon=True).start()

    def end(self) -> None:
        """Look no more."""
        over, self._over = self._over, None
        if over is not None:
            over.set()

    def _look_again_and_again(self, over: threading.Event) -> None:
        while not over.wait(BEAT_S):
            self._look()

    def _look(self) -> None:
        with self._lock:
            now = self._clock()
            late = now - self._beat - BEAT_S
            self._still += late if late > STILL_S else 0.0
            self._beat = now

    @property
    def seconds(self) -> float:
        """Seconds that it stood still since the watch began."""
        if self._over is not None:  # the thread may not have run again yet
            self._look()
        return self._still

    def untold(self) -> float:
        """Seconds that it stood still since this was asked last."""
        seconds = self.seconds
        new, self._told = seconds - self._told, seconds
        return new
