"""A live page of a campaign, served from a thread of the program that runs it or follows it."""

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from gpax_lab.experiment import Event, State
from gpax_lab.experiment.interventions import Intervention
from gpax_lab.live._board import Board, Facts, Restored
from gpax_lab.live._follow import Follower
from gpax_lab.live._gate import HEAD_S, STREAMS, Gate
from gpax_lab.live._inbox import Inbox
from gpax_lab.storage import _files as files

_EXTRA = ("starlette", "uvicorn", "anyio", "h11", "click")
_BEGIN_S = 20.0
_QUIET = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"none": {"class": "logging.NullHandler"}},
    "loggers": {"uvicorn": {"handlers": ["none"], "propagate": False}},
}
"""A terminal is the campaign's: what befalls a browser is not told there."""


class Page:
    """A page that shows a campaign to browsers, and lets people take part. Use it as a context manager.

    It is a hook of `run`, to which it gives nothing, and `callback` is its callback. Whatever happens to it, the
    campaign goes on.

    Args:
        journal: path of the journal.
        facts: what the campaign is about.
        inbox: where wishes wait; None for a page that only looks.
        restored: new entries of the journal -> the state after them, or None; where no program hands states over.
        host: where to listen; only this machine reaches 127.0.0.1.
        port: 0 for any that is free.
        token: a secret of 32 characters or more, needed for another host.
        names: names under which browsers know the page beside `localhost`, as behind a proxy.
        link: file for the link that opens the next browser; only this user can read it. None for no file.
        told: called with the first link.

    Raises:
        ModuleNotFoundError: the extra `live` is not installed.
        ValueError: another host without a token.
        OSError: the port is taken.
    """

    def __init__(
        self,
        journal: Path,
        facts: Facts,
        inbox: Inbox | None = None,
        *,
        restored: Restored | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        token: str | None = None,
        names: Iterable[str] = (),
        link: Path | None = None,
        told: Callable[[str], None] = lambda link: None,
    ) -> None:
        require_extra()
        self._gate = Gate(host, token, names)
        self._board = Board(facts, Follower(Path(journal)), inbox, restored)
        self._host, self._link, self._told = host, link, told
        self._socket = _listening(host, port)
        self.port = int(self._socket.getsockname()[1])
        self._server: Any = None
        self._thread: threading.Thread | None = None
        self._given = token is not None

    @property
    def address(self) -> str:
        """Where the page is, without a secret."""
        shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(self._host, self._host)
        return f"http://{shown}:{self.port}/"

    def new_link(self, may_act: bool = True) -> str:
        """A link that opens one browser."""
        return f"{self.address}?token={self._gate.link(may_act)}"

    def __call__(self, state: State) -> list[Intervention]:
        """Show a state; as a hook of `run`."""
        self._board.show(state)
        return []

    def callback(self, event: Event) -> None:
        """Show how far `run` is; as its callback."""
        self._board.see(event)

    def __enter__(self) -> Self:
        try:
            self._begin()
        except BaseException:
            self._socket.close()
            raise
        self._renew_link()
        self._told(self.address if self._given else self.new_link())
        return self

    def _begin(self) -> None:
        import uvicorn

        from gpax_lab.live._app import application
        from gpax_lab.live._protocol import Punctual

        cookie = f"gpax_lab_{self.port}"  # cookies do not tell ports apart
        app = application(self._board, self._gate, cookie, self._renew_link, STREAMS)
        config = uvicorn.Config(
            app, http=Punctual, ws="none", lifespan="off", log_config=_QUIET, access_log=False, server_header=False,
            date_header=False, proxy_headers=False, limit_concurrency=4 * STREAMS, timeout_keep_alive=int(HEAD_S),
            h11_max_incomplete_event_size=16 << 10, timeout_graceful_shutdown=1,
        )  # fmt: skip
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._serve, name="live_page", daemon=True)
        self._board.start()
        self._thread.start()
        end = time.monotonic() + _BEGIN_S
        while not self._server.started and self._thread.is_alive() and time.monotonic() < end:
            time.sleep(0.01)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._board.close()
        if self._server is not None and self._thread is not None:
            self._server.should_exit = True
            self._thread.join(timeout=5.0)
        self._socket.close()
        if self._link is not None:
            with contextlib.suppress(OSError):
                self._link.unlink(missing_ok=True)

    def _serve(self) -> None:
        # A server of its own thread takes no signals: Ctrl-C is the campaign's.
        self._server.install_signal_handlers = lambda: None
        self._server.capture_signals = contextlib.nullcontext
        with contextlib.suppress(Exception):  # a page that fails ends no campaign
            self._server.run(sockets=[self._socket])

    def _renew_link(self) -> None:
        """Put a link that was not used yet into the file."""
        if self._link is None or self._given:
            return
        with contextlib.suppress(OSError), files.replacing(self._link) as temporary:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(f"{self.new_link()}\n")


def require_extra() -> None:
    """Raise ModuleNotFoundError, in words, unless the extra `live` is there."""
    try:
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in _EXTRA:
            raise
        text = f'the live page needs {error.name}, which is not installed: pip install "gpax-lab[live]"'
        raise ModuleNotFoundError(text, name=error.name) from None


def _listening(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    opened = socket.socket(family, socket.SOCK_STREAM)
    try:
        if os.name == "posix":
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind((host, port))
        opened.listen(64)
    except OSError:
        opened.close()
        raise
    return opened
