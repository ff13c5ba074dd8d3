"""A piezoresponse force microscope as a process: SCPI over a raw socket and over HiSLIP, on 127.0.0.1.

``python -m gpax_instruments.twins.pfm --seed 0`` prints one JSON line when it is ready, ``{"scpi": port, "hislip":
port, "pid": pid}``, and stops on SIGTERM, after ``--max-seconds``, or, with ``--stdin-guard``, when its standard input
ends. The commands are the table in ``dialect_of``.
"""

import argparse
import contextlib
import json
import os
import signal
import threading
from typing import TYPE_CHECKING, Literal

import numpy as np

from gpax_instruments.twins.dialect import Block, Dialect, ScpiError, integer, name, number, string
from gpax_instruments.twins.faults import Faults

if TYPE_CHECKING:
    from gpax_instruments.twins.microscope import Microscope
    from gpax_instruments.twins.writer import Writer

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


def dialect_of(dialect: Dialect, scope: "Microscope", faults: Faults) -> None:
    """Teach the dialect the commands of the microscope."""
    from gpax_instruments.twins.microscope import RAIL, SIZE_M

    blocks = Blocks()

    def reset() -> None:
        scope.reset()
        blocks.order = "<"

    def finished() -> str:
        scope.wait()
        return "1"

    def engage() -> None:
        scope.engaged = True

    dialect.add("*IDN?", lambda: f"gpax_lab,PFM twin,{scope.seed},0.1")
    dialect.add("*RST", reset)
    dialect.add("*OPC?", finished)
    dialect.add("LIMits?", lambda: numbers(0.0, SIZE_M, 0.0, SIZE_M))
    dialect.add("MOVE", scope.move, number, number)
    dialect.add("POSition?", lambda: numbers(*scope.position))
    dialect.add("TIP:ENGage", engage)
    dialect.add("TIP:WITHdraw", scope.withdraw)
    dialect.add("TIP?", lambda: "ENGAGED" if scope.engaged else "WITHDRAWN")
    dialect.add("BIAS", scope.set_bias, number)
    dialect.add("BIAS?", lambda: numbers(scope.bias))
    dialect.add("BIAS:WAVeform", scope.set_wave, number, integer)
    dialect.add("BIAS:WAVeform?", lambda: f"{scope.wave.vmax!r},{scope.wave.points}")
    dialect.add("MEASure:LOOP", scope.trigger, string)
    dialect.add("STATus?", lambda: "BUSY" if scope.busy else "IDLE")
    dialect.add("LOOP:TOKen?", lambda: f'"{scope.token()}"')
    dialect.add("LOOP:DATA?", lambda: blocks.of(scope.read().response))
    dialect.add("LOOP:BIAS?", lambda: blocks.of(scope.read().bias))
    dialect.add("LOOP:RAIL?", lambda: numbers(RAIL))
    dialect.add("SAFE", scope.make_safe)
    dialect.add("TEST:BLOCk?", blocks.ramp, integer)
    dialect.add("FORMat:BORDer", blocks.set_order, name)
    dialect.add("FORMat:BORDer?", lambda: {"<": "SWAP", ">": "NORM"}[blocks.order])
    dialect.add("FAULT", faults.arm, name, integer, number, least=1)
    if scope.writer:
        teach_writing(dialect, scope, scope.writer, blocks)


def teach_writing(dialect: Dialect, scope: "Microscope", writer: "Writer", blocks: Blocks) -> None:
    """Teach the dialect the commands of domain writing. None of them tells the law."""
    from gpax_instruments.twins.writer import BIAS, LOG_DURATION, PIXEL_M, PIXELS

    def last() -> str:
        domain = writer.read()
        return numbers(domain.bias, domain.duration)

    dialect.add("PULSe", scope.pulse, number, number, string)
    dialect.add("PULSe?", last)
    dialect.add("PULSe:LIMits?", lambda: numbers(*BIAS, *(10.0**t for t in LOG_DURATION)))
    dialect.add("PULSe:TOKen?", lambda: f'"{writer.token()}"')
    dialect.add("PULSe:USED?", lambda token: str(int(writer.used(token))), string)
    dialect.add("FILM:CELLs?", lambda: f"{writer.written},{writer.cells}")
    dialect.add("IMAGe:DATA?", lambda: blocks.of(writer.read().image))
    dialect.add("IMAGe:PIXel?", lambda: f"{PIXEL_M!r},{PIXELS}")


def numbers(*values: float) -> str:
    """Numbers that read back to the same floats."""
    return ",".join(repr(float(value)) for value in values)


def main(arguments: list[str] | None = None) -> int:
    """Serve until told to stop."""
    options = parser().parse_args(arguments)
    stop = threading.Event()
    for word in ("SIGTERM", "SIGBREAK"):  # the second is what Windows sends
        if hasattr(signal, word):
            signal.signal(getattr(signal, word), lambda *_: stop.set())
    if options.stdin_guard:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the owner, who still wants to make it safe
        threading.Thread(target=guard, args=(stop,), daemon=True).start()
    else:
        signal.signal(signal.SIGINT, lambda *_: stop.set())
    serve(options, stop)
    return 0


def serve(options: argparse.Namespace, stop: threading.Event) -> None:
    """Build the microscope, open both doors, say so, and wait."""
    import jax

    jax.config.update("jax_enable_x64", True)  # this process is ours; metres and volts are float64
    jax.config.update("jax_platforms", "cpu")  # a twin must not take the accelerator of the campaign it serves
    from gpax_instruments.twins.hislip import HislipServer
    from gpax_instruments.twins.microscope import Microscope
    from gpax_instruments.twins.scpi_server import ScpiServer, WireLog
    from gpax_instruments.twins.writer import Writer

    dialect, faults, log = Dialect(), Faults(), WireLog(options.wire_log)
    writer = Writer(options.law, options.seed, options.cells, options.dwell, options.pace) if options.law else None
    scope = Microscope(
        dialect.lock, faults, options.seed, options.noise, options.drift, options.walk, options.dwell, writer
    )
    dialect_of(dialect, scope, faults)
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


def parser() -> argparse.ArgumentParser:
    """The command line."""
    line = argparse.ArgumentParser(prog="python -m gpax_instruments.twins.pfm", description=__doc__.splitlines()[0])
    line.add_argument("--port", type=int, default=0, help="raw SCPI port, 0 for a free one")
    line.add_argument("--hislip-port", type=int, default=0, help="HiSLIP port, 0 for a free one")
    line.add_argument("--seed", type=int, default=0, help="the film and every random number")
    line.add_argument("--noise", type=float, default=0.02, help="noise of a point, share of the loop height")
    line.add_argument("--drift", type=float, default=0.0, help="drift of the sample, m per loop")
    line.add_argument("--walk", type=float, default=0.0, help="random walk of the sample, m per square root of a loop")
    line.add_argument("--dwell", type=float, default=0.0, help="seconds a loop takes, and the image of a domain")
    line.add_argument("--law", default=None, help="hidden law of domain writing, or random; none: no writing")
    line.add_argument("--cells", type=int, default=100, help="cells of film to write on, 100 at most")
    line.add_argument("--pace", type=float, default=0.0, help="seconds of the clock for a second of a pulse")
    line.add_argument("--wire-log", default=None, help="file that gets every line received")
    line.add_argument("--stdin-guard", action="store_true", help="stop when standard input ends")
    line.add_argument("--max-seconds", type=float, default=3600.0, help="stop after this long in any case")
    return line


if __name__ == "__main__":
    raise SystemExit(main())
