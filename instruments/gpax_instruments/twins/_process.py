"""What every simulated instrument does as a process: number blocks, two ports, a ready line, and an end."""

import argparse
import contextlib
import json
import math
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import Literal, Protocol, runtime_checkable

import numpy as np

from gpax_instruments.twins._dialect import Block, Dialect, ScpiError
from gpax_instruments.twins._faults import Faults

MAX_BLOCK = 1 << 26  # bytes


class Blocks:
    """Numbers to blocks in the byte order asked for; test blocks are made once."""

    def __init__(self) -> None:
        self.forget()
        self._ramps: dict[tuple[int, str], Block] = {}

    def forget(self) -> None:
        """Back to the order of the start."""
        self.order: Literal["<", ">"] = "<"

    def set_order(self, word: str) -> None:
        """NORMal is big-endian, SWAPped little-endian (SCPI-99 volume 2, 9.1). Raises -224."""
        orders: dict[str, Literal["<", ">"]] = {"NORM": ">", "NORMAL": ">", "SWAP": "<", "SWAPPED": "<"}
        if word not in orders:
            raise ScpiError(-224)
        self.order = orders[word]

    def of(self, values: np.ndarray) -> Block:
        """Values as they are, but for the byte order."""
        return Block(memoryview(values.astype(values.dtype.newbyteorder(self.order)).tobytes()))

    def ramp(self, nbytes: int) -> Block:
        """float32 0, 1, 2, ... of that many bytes. Raises -222."""
        if not 0 <= nbytes <= MAX_BLOCK or nbytes % 4:
            raise ScpiError(-222)
        at = nbytes, self.order
        if at not in self._ramps:
            if len(self._ramps) >= 8:
                self._ramps.clear()
            self._ramps[at] = self.of(np.arange(nbytes // 4, dtype="<f4"))
        return self._ramps[at]


def numbers(*values: float) -> str:
    """Numbers that read back to the same floats."""
    return ",".join(repr(float(value)) for value in values)


OWNER_GONE = b"\xff"  # no signal has this number
POLL_S = 0.5  # between two looks at the owner


class Ending:
    """What ends the process: a signal, the end of its owner, or its time.

    A signal's handler runs in the thread that waits, perhaps in the instant in which that thread holds a lock: it may
    take none, so `threading.Event` is none. The interpreter itself writes the number of each signal to a socket, which
    the waiting thread reads; a handler in Python does nothing.

    Args:
        owner: id of the process that started this one, and ends it by its own end; None: nobody.
        max_seconds: longest life; infinite for none.
    """

    def __init__(self, owner: int | None, max_seconds: float) -> None:
        self.owner, self.end = owner, time.monotonic() + max_seconds
        self._read, self._write = socket.socketpair()
        self._write.setblocking(False)  # as set_wakeup_fd wants it
        words = ["SIGTERM", "SIGBREAK"]  # the second is what Windows sends
        # Ctrl-C and a terminal that closes are for the owner, who still wants to make the instrument safe.
        (words.extend if owner is None else self._leave_to_owner)(["SIGINT", "SIGHUP"])
        self._signals = [getattr(signal, word) for word in words if hasattr(signal, word)]
        for number in self._signals:
            signal.signal(number, lambda *_: None)
        signal.set_wakeup_fd(self._write.fileno(), warn_on_full_buffer=False)
        if owner is not None:
            threading.Thread(target=self._guard, daemon=True).start()

    @staticmethod
    def _leave_to_owner(words: list[str]) -> None:
        for word in words:
            if hasattr(signal, word):
                signal.signal(getattr(signal, word), signal.SIG_IGN)

    def wait(self) -> None:
        """Return when it is time to end. From then on a second signal ends the process at once."""
        while (left := self.end - time.monotonic()) > 0 and not self._orphan():
            self._read.settimeout(min(left, POLL_S))
            with contextlib.suppress(TimeoutError):
                told = self._read.recv(64)
                if told in (b"", OWNER_GONE) or any(byte in self._signals or byte == OWNER_GONE[0] for byte in told):
                    break
        signal.set_wakeup_fd(-1)
        for number in self._signals:
            signal.signal(number, signal.SIG_DFL)

    def _orphan(self) -> bool:
        """Whether the owner is gone although its end of the pipe is not: a child that it forked may hold that."""
        return self.owner is not None and sys.platform != "win32" and os.getppid() != self.owner

    def _guard(self) -> None:
        """Standard input ends with the owner, however it went."""
        with contextlib.suppress(OSError):
            while os.read(0, 4096):
                pass
        with contextlib.suppress(OSError):
            self._write.send(OWNER_GONE)


@runtime_checkable
class Served(Protocol):
    """A simulated instrument whose ports are open."""

    ready: dict[str, object]

    def close(self) -> None:
        """Close every port."""


def main(options: argparse.Namespace, build: Callable[[argparse.Namespace, Dialect, Faults], None]) -> int:
    """Build an instrument that speaks SCPI, open both ports, report ready, and wait until told to stop."""
    return attend(options, lambda: ScpiPorts(options, build))


def attend(options: argparse.Namespace, open_ports: Callable[[], Served]) -> int:
    """Open the ports of an instrument, report ready, and wait until told to stop."""
    owner = (options.owner or os.getppid()) if options.stdin_guard else None
    ending = Ending(owner, options.max_seconds)
    import jax

    jax.config.update("jax_enable_x64", True)  # this process is ours; metres and volts are float64
    jax.config.update("jax_platforms", "cpu")  # a twin must not take the accelerator of the campaign it serves
    served = open_ports()
    print(json.dumps(served.ready | {"pid": os.getpid()}), flush=True)
    ending.wait()
    served.close()
    return 0


class ScpiPorts:
    """The raw socket and HiSLIP, to one instrument that `build` makes."""

    def __init__(
        self, options: argparse.Namespace, build: Callable[[argparse.Namespace, Dialect, Faults], None]
    ) -> None:
        from gpax_instruments.twins._hislip import HislipServer
        from gpax_instruments.twins._scpi_server import ScpiServer, WireLog

        dialect, faults, self._log = Dialect(), Faults(), WireLog(options.wire_log)
        build(options, dialect, faults)
        self._servers = [
            ScpiServer(dialect, faults, self._log, options.port),
            HislipServer(dialect, faults, self._log, options.hislip_port),
        ]
        for server in self._servers:
            dialect.forget.append(server.cut_all)
            server.start()
        self.ready: dict[str, object] = {"scpi": self._servers[0].port, "hislip": self._servers[1].port}

    def close(self) -> None:
        """Close both."""
        for server in self._servers:
            server.stop()
        self._log.close()


def parser(program: str, description: str) -> argparse.ArgumentParser:
    """The part of the command line that all instruments over SCPI share."""
    line = common_parser(program, description)
    line.add_argument("--port", type=int, default=0, help="raw SCPI port, 0 for a free one")
    line.add_argument("--hislip-port", type=int, default=0, help="HiSLIP port, 0 for a free one")
    return line


def common_parser(program: str, description: str) -> argparse.ArgumentParser:
    """The part of the command line that all instruments share."""
    line = argparse.ArgumentParser(prog=program, description=description)
    line.add_argument("--wire-log", default=None, help="file that gets every line received")
    line.add_argument("--stdin-guard", action="store_true", help="stop when standard input ends")
    line.add_argument("--owner", type=int, default=0, help="with --stdin-guard: process whose end is ours; its parent")
    line.add_argument("--max-seconds", type=float, default=math.inf, help="stop after this long in any case")
    return line
