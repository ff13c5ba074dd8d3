"""What was measured under a token: begun once, done when its time is over. No wire here."""

import re
import threading
import time
from typing import Generic, Protocol, TypeVar, runtime_checkable

from gpax_instruments.twins._dialect import ScpiError


@runtime_checkable
class Result(Protocol):
    """Anything that knows its token."""

    @property
    def token(self) -> str:
        """Name of the act."""
        ...


R = TypeVar("R", bound=Result)

_MARKED = re.compile(r"((?:[0-9a-f]{8})+)-.*")  # a random key in hexadecimal, and the mark of a campaign


def key_part(token: str) -> bytes:
    """What noise may depend on: all but the mark that tells campaigns with the same key apart."""
    marked = _MARKED.fullmatch(token)
    return (marked[1] if marked else token).encode()


class Results(Generic[R]):
    """The last result of an instrument, and the tokens that were used.

    Methods raise ScpiError to refuse; the caller holds the lock of the instrument.
    """

    def __init__(self) -> None:
        self._tokens: set[str] = set()
        self._done: R | None = None
        self._pending: tuple[float, R] | None = None

    def check(self, token: str) -> None:
        """Raises -221 for a used token, -222 for one that is none."""
        if token in self._tokens:
            raise ScpiError(-221)
        check_name(token)

    def file(self, result: R, seconds: float) -> None:
        """It is being measured, and done after that many seconds."""
        if seconds > 0:
            self._pending = (time.monotonic() + seconds, result)
        else:
            self._done = result

    @property
    def ends(self) -> float | None:
        """When the present act ends, on the clock of ``time.monotonic``; None when idle. The end files it."""
        if self._pending is not None and time.monotonic() >= self._pending[0]:
            self._done, self._pending = self._pending[1], None
        return None if self._pending is None else self._pending[0]

    @property
    def busy(self) -> bool:
        """Whether something is being measured."""
        return self.ends is not None

    def wait(self, lock: threading.Condition) -> None:
        """Return when idle; other connections are served meanwhile."""
        while (end := self.ends) is not None:
            lock.wait(max(0.0, end - time.monotonic()))

    def token(self) -> str:
        """Token of what was done last, empty before the first."""
        _ = self.busy
        return self._done.token if self._done else ""

    def used(self, token: str) -> bool:
        """Whether an act of this token has begun, whatever became of it."""
        return token in self._tokens

    def read(self) -> R:
        """What was done last. Raises -230 before the first."""
        _ = self.busy
        if self._done is None:
            raise ScpiError(-230)
        return self._done

    def abort(self) -> None:
        """End what is being measured: it is lost, and its token stays used."""
        self._pending = None

    def forget(self) -> None:
        """A power failure: what was done to the sample stays, what is known of it does not."""
        self.abort()
        self._tokens.clear()
        self._done = None


def check_name(token: str) -> None:
    """Raises -222 for what is no token."""
    if not (token.isascii() and token.isprintable() and '"' not in token and 1 <= len(token) <= 64):
        raise ScpiError(-222)
