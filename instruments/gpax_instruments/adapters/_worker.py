"""One thread for one control system's library, in which every call ends by a deadline, whatever the library does."""

import asyncio
import contextlib
import inspect
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from typing import Any

from gpax_instruments.errors import DeviceError, LinkLost, LinkTimeout
from gpax_lab.core import InstrumentError

JOIN_S = 1.0  # for a thread that has nothing to do any more


class Stuck(Exception):
    """A call did not return in its time. The worker is of no use any more; what the call does is in doubt."""


class Worker:
    """A thread with an event loop. Libraries that belong to one thread, and those of coroutines, are both served.

    Python can not end a call that hangs. It is left behind with its thread, a daemon; nothing else is ever run in it.
    """

    def __init__(self) -> None:
        self._over = False
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, name="control system", daemon=True)
        self._thread.start()

    def call(self, function: Callable[[], Any], seconds: float) -> Any:
        """What function returns, run in the thread; what it returns is awaited where it can be.

        Raises:
            Stuck: it took longer.
            Exception: what function raises.
        """
        if self._over:
            raise Stuck("the call before did not return")
        done = asyncio.run_coroutine_threadsafe(_result(function), self._loop)
        try:
            return done.result(seconds)
        except TimeoutError as error:
            if done.done() and not done.cancelled():  # the function's own
                raise
            self.abandon()
            raise Stuck(f"no answer within {seconds:g} s") from error
        except CancelledError as error:
            raise Stuck("the call was given up") from error
        except BaseException:  # Ctrl-C, in the waiting; or what function raises
            if not done.done():
                self.abandon()
            raise

    def abandon(self) -> None:
        """Let the thread end by itself, whenever what it does returns."""
        self._over = True
        with contextlib.suppress(RuntimeError):  # the loop has ended already
            self._loop.call_soon_threadsafe(self._loop.stop)

    def close(self) -> None:
        """End the thread."""
        self.abandon()
        self._thread.join(JOIN_S)

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
            left = asyncio.all_tasks(self._loop)
            for task in left:
                task.cancel()
            self._loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        finally:
            self._loop.close()


async def _result(function: Callable[[], Any]) -> Any:
    found = function()
    return await found if inspect.isawaitable(found) else found


@contextlib.contextmanager
def understood(system: str) -> Iterator[None]:
    """What the other side told and makes no sense is its error, whatever it breaks here: a DeviceError."""
    try:
        yield
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        words = f"{type(error).__name__}: {error}"[:400]
        raise DeviceError(f"{system} told something that can not be understood ({words})") from error


def fault_of(error: BaseException) -> type[InstrumentError]:
    """Our class for what libraries raise: the plain errors of Python, and those of VISA, anywhere in the chain."""
    from gpax_instruments.links._visa import classify

    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, TimeoutError):
            return LinkTimeout
        if isinstance(cause, OSError | EOFError) and not isinstance(cause, FileNotFoundError | PermissionError):
            return LinkLost
        if type(cause).__module__.startswith("pyvisa") and isinstance(cause, Exception):
            return classify(cause)
        cause = cause.__cause__ or cause.__context__
    return DeviceError
