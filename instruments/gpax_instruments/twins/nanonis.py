"""A Nanonis controller of a scanning tunnelling microscope as a process: its TCP interface on 127.0.0.1.

``python -m gpax_instruments.twins.nanonis --seed 0`` prints one JSON line when it is ready, ``{"ports": [port, ...],
"pid": pid}``, and stops as the other simulated instruments do. The commands are those of
`gpax_instruments._nanonis_commands`. Under the tip lies the ferroelectric film of the other twins; the tunnelling
current through it is that of `_tunnelling`.
"""

import argparse
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from gpax_instruments.twins import _process as process
from gpax_instruments.twins._faults import Faults

if TYPE_CHECKING:
    from gpax_instruments.twins._nanonis_server import TcpPort

__all__: list[str] = []

ATTEMPTS = 50  # to find neighbouring ports that are free


def main(arguments: list[str] | None = None) -> int:
    """Serve until told to stop."""
    options = parser().parse_args(arguments)
    return process.attend(options, lambda: Ports(options))


class Ports:
    """The ports to one controller.

    Args:
        options: of the command line.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        from gpax_instruments.twins._nanonis_modules import basic, modules
        from gpax_instruments.twins._nanonis_scan import Scan
        from gpax_instruments.twins._nanonis_server import Controller, TcpPort
        from gpax_instruments.twins._nanonis_spectra import Spectroscopy
        from gpax_instruments.twins._nanonis_world import World
        from gpax_instruments.twins._scpi_server import WireLog

        lock, armed = threading.Condition(), Faults()
        self._world = World(
            lock, armed, options.seed, options.noise, options.dwell, options.pace, options.session, options.ledger
        )
        release = options.release
        handlers = modules(
            basic(self._world, release), Spectroscopy(self._world, release).handlers(), Scan(self._world).handlers()
        )
        controller = Controller(lock, handlers, release, armed, options.refusals == "fields", self._world.ledger)
        self._log = WireLog(options.wire_log)
        self._ports = _in_a_row(lambda number: TcpPort(controller, self._log, number), options.port, options.ports)
        for port in self._ports:
            port.start()
        self.ready: dict[str, object] = {"ports": [port.number for port in self._ports]}

    def close(self) -> None:
        """Close every port."""
        for port in self._ports:
            port.stop()
        self._log.close()
        self._world.close()


def _in_a_row(opened: "Callable[[int], TcpPort]", first: int, count: int) -> "list[TcpPort]":
    """Ports with neighbouring numbers, as a controller has them; OSError where those that were asked for are taken."""
    for attempt in range(ATTEMPTS):
        ports = [opened(first)]
        try:
            for _ in range(count - 1):
                ports.append(opened(ports[-1].number + 1))
        except (OSError, OverflowError):
            for one in ports:
                one.close()
            if first or attempt + 1 == ATTEMPTS:
                raise
            continue
        return ports
    raise AssertionError("at least one attempt")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    line = process.common_parser("python -m gpax_instruments.twins.nanonis", __doc__.splitlines()[0])
    line.add_argument("--port", type=int, default=0, help="number of the first port, the others follow; 0: free ones")
    line.add_argument("--ports", type=int, default=2, help="how many ports")
    line.add_argument("--release", type=int, default=14718, help="of the software: 14718, or 13742 for that before")
    line.add_argument("--refusals", choices=("alone", "fields"), default="alone", help="what a refusal consists of")
    line.add_argument("--seed", type=int, default=0, help="the film and every random number")
    line.add_argument("--noise", type=float, default=0.002, help="noise of a current, share of its largest value")
    line.add_argument("--dwell", type=float, default=0.0, help="seconds a spectrum takes")
    line.add_argument("--pace", type=float, default=0.0, help="seconds of the clock for a second of a move or a line")
    line.add_argument("--session", default=None, help="folder for spectra; none: one that ends with the process")
    line.add_argument("--ledger", default=None, help="file that gets a line for all that happens to the sample")
    return line


if __name__ == "__main__":
    raise SystemExit(main())
