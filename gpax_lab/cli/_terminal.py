"""Words for a terminal that may be gone: what nobody can read any more must not end a campaign."""

import contextlib
import os
import sys
from typing import Any, TextIO, cast

from rich.console import Console


class Patient:
    """A text stream that goes on silently once its reader is gone.

    After the first write that fails (a closed terminal, a pipe without a reader, a full disk under a redirected output)
    everything is thrown away, also what others write to the same descriptor, such as Python itself when it ends.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.gone = False

    def write(self, text: str) -> int:
        """Write, or do nothing."""
        if not self.gone:
            try:
                self._stream.write(text)
            except UnicodeError:
                raise
            except (OSError, ValueError):  # ValueError: the stream is closed
                self._let_go()
        return len(text)

    def flush(self) -> None:
        """Flush, or do nothing."""
        if not self.gone:
            try:
                self._stream.flush()
            except (OSError, ValueError):
                self._let_go()

    def isatty(self) -> bool:
        """Whether somebody may be looking."""
        with contextlib.suppress(OSError, ValueError):
            return not self.gone and self._stream.isatty()
        return False

    def _let_go(self) -> None:
        self.gone = True
        with contextlib.suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            try:
                os.dup2(nowhere, self._stream.fileno())
            finally:
                os.close(nowhere)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def say(console: Console, text: str) -> None:
    """Print text as it stands: unwrapped, so that a command can be copied, and brackets are no markup."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def consoles() -> tuple[Console, Console]:
    """The consoles for what is said and for complaints; neither ever raises because nobody is there."""
    out, err = (cast(TextIO, Patient(stream)) for stream in (sys.stdout, sys.stderr))
    return Console(file=out), Console(file=err)
