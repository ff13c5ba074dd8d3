"""Errors of commands, in words."""

from collections.abc import Iterator
from contextlib import contextmanager

import typer
from rich.console import Console

from gpax_lab.cli._terminal import consoles, say
from gpax_lab.settings import SettingsError
from gpax_lab.storage import ExportError, JournalError
from gpax_lab.storage._claim import InstrumentInUse

_EXPECTED = (SettingsError, InstrumentInUse, JournalError, ExportError, OSError)
"""Errors whose text explains itself, as does that of errors of an instrument; of any other one the class is named too.
"""


@contextmanager
def explained(context: typer.Context) -> Iterator[Console]:
    """Errors as one paragraph and exit status 1; 130 after a second Ctrl-C."""
    console, complaints = consoles()
    try:
        yield console
    except typer.Exit:
        raise
    except KeyboardInterrupt as stopped:
        say(complaints, _sentences("Stopped at once.", *getattr(stopped, "__notes__", [])))
        raise typer.Exit(130) from None
    except Exception as error:
        if context.obj:
            raise
        say(complaints, _sentences(f"error: {_words(error)}", *getattr(error, "__notes__", [])))
        raise typer.Exit(1) from None


def _sentences(*parts: str) -> str:
    """One paragraph; nothing is put behind the last part, which may be a command to copy."""
    return " ".join([*(part if part.endswith((".", "!", "?", ")")) else f"{part}." for part in parts[:-1]), parts[-1]])


def _words(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror is not None:
        return f"{error.filename}: {error.strerror}." if error.filename is not None else error.strerror
    if isinstance(error, _EXPECTED):
        return str(error)
    return f"{type(error).__name__}: {error} (gpax-lab --debug ... shows where.)"
