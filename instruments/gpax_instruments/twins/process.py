"""What every simulated instrument does as a process: number blocks, two doors, a ready line, and an end."""

import argparse
import contextlib
import json
import os
import signal
import threading
from collections.abc import Callable
from typing import Literal

import numpy as np

from gpax_instruments.twins.dialect import Block, Dialect, ScpiError
from gpax_instruments.twins.faults import Faults

MAX_BLOCK = 1 << 26  # bytes


class Blocks:
    """Numbers to blocks in the byte order asked for; test blocks are made once."""

    def __init__(self) -> None:
        self.order: Literal["<", ">"] = "<"
        self._ramps: dict[tuple[int, str], Block] = {}

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


def main(options: argparse.Namespace, build: Callable[[argparse.Namespace, Dialect, Faults], None]) -> int:
    """Build the instrument, open both doors, say so, and wait until told to stop."""
    stop = threading.Event()
    for word in ("SIGTERM", "SIGBREAK"):  # the second is what Windows sends
        if hasattr(signal, word):
            signal.signal(getattr(signal, word), lambda *_: stop.set())
    if options.stdin_guard:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the owner, who still wants to make it safe
        threading.Thread(target=guard, args=(stop,), daemon=True).start()
    else:
        signal.signal(signal.SIGINT, lambda *_: stop.set())
    serve(options, build, stop)
    return 0


def serve(
    options: argparse.Namespace, build: Callable[[argparse.Namespace, Dialect, Faults], None], stop: threading.Event
) -> None:
    """Build, open, tell, wait, close."""
    import jax

    jax.config.update("jax_enable_x64", True)  # this process is ours; metres and volts are float64
    jax.config.update("jax_platforms", "cpu")  # a twin must not take the accelerator of the campaign it serves
    from gpax_instruments.twins.hislip import HislipServer
    from gpax_instruments.twins.scpi_server import ScpiServer, WireLog

    dialect, faults, log = Dialect(), Faults(), WireLog(options.wire_log)
    build(options, dialect, faults)
    servers = [
        ScpiServer(dialect, faults, log, options.port),
        HislipServer(dialect, faults, log, options.hislip_port),
    ]
    for server in servers:
        server.start()
    ready = {"scpi": servers[0].port, "hislip": servers[1].port, "pid": os.getpid()}
    print(json.dumps(ready), flush=True)
    stop.wait(options.max_seconds)
    for server in servers:
        server.stop()
    log.close()


def guard(stop: threading.Event) -> None:
    """Set stop when standard input ends: the owner is gone, however it went."""
    with contextlib.suppress(OSError):
        while os.read(0, 4096):
            pass
    stop.set()


def parser(program: str, description: str) -> argparse.ArgumentParser:
    """The part of the command line that all instruments share."""
    line = argparse.ArgumentParser(prog=program, description=description)
    line.add_argument("--port", type=int, default=0, help="raw SCPI port, 0 for a free one")
    line.add_argument("--hislip-port", type=int, default=0, help="HiSLIP port, 0 for a free one")
    line.add_argument("--wire-log", default=None, help="file that gets every line received")
    line.add_argument("--stdin-guard", action="store_true", help="stop when standard input ends")
    line.add_argument("--max-seconds", type=float, default=3600.0, help="stop after this long in any case")
    return line
