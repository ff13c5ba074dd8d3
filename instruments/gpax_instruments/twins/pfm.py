"""A piezoresponse force microscope as a process: SCPI over a raw socket and over HiSLIP, on 127.0.0.1.

``python -m gpax_instruments.twins.pfm --seed 0`` prints one JSON line when it is ready, ``{"scpi": port, "hislip":
port, "pid": pid}``, and stops on SIGTERM, SIGHUP and Ctrl-C, or after ``--max-seconds``; with ``--stdin-guard`` on
SIGTERM, and when the process that started it ends. The commands are the table in ``dialect_of``.
"""

import argparse
from typing import TYPE_CHECKING

from gpax_instruments.twins import _process as process
from gpax_instruments.twins._common import register_common
from gpax_instruments.twins._dialect import Dialect, integer, number, string
from gpax_instruments.twins._faults import Faults
from gpax_instruments.twins._process import Blocks, numbers

if TYPE_CHECKING:
    from gpax_instruments.twins._microscope import Microscope
    from gpax_instruments.twins._writer import Writer

__all__: list[str] = []


def dialect_of(dialect: Dialect, scope: "Microscope", faults: Faults, band: bool = False) -> None:
    """Register the commands of the microscope."""
    from gpax_instruments.twins._microscope import RAIL, SIZE_M

    blocks = register_common(dialect, scope, faults, "PFM", SIZE_M)

    def engage() -> None:
        scope.engaged = True

    dialect.add("TIP:ENGage", engage)
    dialect.add("TIP:WITHdraw", scope.withdraw)
    dialect.add("TIP?", lambda: "ENGAGED" if scope.engaged else "WITHDRAWN")
    dialect.add("BIAS", scope.set_bias, number)
    dialect.add("BIAS?", lambda: numbers(scope.bias))
    dialect.add("BIAS:WAVeform", scope.set_wave, number, integer)
    dialect.add("BIAS:WAVeform?", lambda: f"{scope.wave.vmax!r},{scope.wave.points}")
    dialect.add("MEASure:LOOP", scope.trigger, string)
    dialect.add("LOOP:TOKen?", lambda: f'"{scope.token()}"')
    dialect.add("LOOP:USED?", lambda token: str(int(scope.used(token))), string)
    dialect.add("LOOP:DATA?", lambda: blocks.of(scope.read().response))
    dialect.add("LOOP:BIAS?", lambda: blocks.of(scope.read().bias))
    dialect.add("LOOP:RAIL?", lambda: numbers(RAIL))
    dialect.add("TEST:BLOCk?", blocks.ramp, integer)
    if scope.writer:
        register_writing(dialect, scope, scope.writer, blocks)
    if band:
        from gpax_instruments.twins._resonance import Resonance, register_band

        register_band(dialect, Resonance(scope), blocks)


def register_writing(dialect: Dialect, scope: "Microscope", writer: "Writer", blocks: Blocks) -> None:
    """Register the commands of domain writing. None of them tells the law."""
    from gpax_instruments.twins._writer import BIAS, LOG_DURATION, PIXEL_M, PIXELS

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


def main(arguments: list[str] | None = None) -> int:
    """Serve until told to stop."""
    return process.main(parser().parse_args(arguments), build)


def build(options: argparse.Namespace, dialect: Dialect, faults: Faults) -> None:
    """Build the microscope and register its commands."""
    from gpax_instruments.twins._microscope import Microscope
    from gpax_instruments.twins._writer import Writer

    writer = Writer(options.law, options.seed, options.cells, options.dwell, options.pace) if options.law else None
    scope = Microscope(
        dialect.lock,
        faults,
        seed=options.seed,
        noise=options.noise,
        drift=options.drift,
        walk=options.walk,
        dwell=options.dwell,
        writer=writer,
    )
    dialect_of(dialect, scope, faults, options.band)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    line = process.parser("python -m gpax_instruments.twins.pfm", __doc__.splitlines()[0])
    line.add_argument("--seed", type=int, default=0, help="the film and every random number")
    line.add_argument("--noise", type=float, default=0.02, help="noise of a point, share of the loop height")
    line.add_argument("--drift", type=float, default=0.0, help="drift of the sample, m per loop")
    line.add_argument("--walk", type=float, default=0.0, help="random walk of the sample, m per square root of a loop")
    line.add_argument("--dwell", type=float, default=0.0, help="seconds a loop takes, and the image of a domain")
    line.add_argument("--law", default=None, help="hidden law of domain writing, or random; none: no writing")
    line.add_argument("--cells", type=int, default=100, help="cells of film to write on, 100 at most")
    line.add_argument("--band", type=int, default=0, help="1: it takes images and band-excitation spectra too")
    line.add_argument("--pace", type=float, default=0.0, help="seconds of the clock for a second of a pulse")
    return line


if __name__ == "__main__":
    raise SystemExit(main())
