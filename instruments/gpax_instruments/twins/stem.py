"""A scanning transmission electron microscope as a process: SCPI over a raw socket and over HiSLIP, on 127.0.0.1.

``python -m gpax_instruments.twins.stem --seed 0`` prints one JSON line when it is ready, as the PFM twin does, and
stops in the same ways. The commands are the table in ``dialect_of``.
"""

import argparse
from typing import TYPE_CHECKING

from gpax_instruments.twins import _process as process
from gpax_instruments.twins._common import register_common
from gpax_instruments.twins._dialect import Dialect, string
from gpax_instruments.twins._faults import Faults
from gpax_instruments.twins._process import numbers

if TYPE_CHECKING:
    from gpax_instruments.twins._stem_scope import Scope

__all__: list[str] = []


def dialect_of(dialect: Dialect, scope: "Scope", faults: Faults) -> None:
    """Register the commands of the microscope."""
    import numpy as np

    from gpax_instruments.twins import _stem_scope as stem_scope
    from gpax_lab.simulators import diffraction, stem_sample

    side = stem_scope.SIZE_M
    blocks = register_common(dialect, scope, faults, "STEM", side)
    mrad = 1e3 * diffraction.wavelength(stem_scope.VOLTAGE) / (stem_scope.CELLS * stem_scope.LATTICE_NM)

    dialect.add("BEAM:BLANk", scope.blank)
    dialect.add("BEAM:UNBLank", scope.unblank)
    dialect.add("BEAM?", lambda: "BLANKED" if scope.blanked else "UNBLANKED")
    dialect.add("DOSE?", lambda: numbers(scope.electrons))
    dialect.add("DOSE:SHOT?", lambda: numbers(*(stem_scope.CURRENT * s for s in stem_scope.EXPOSURE_S.values())))
    dialect.add("DOSE:SCAN?", lambda: numbers(stem_scope.CURRENT * stem_scope.IMAGE_S))
    dialect.add("SCAN", scope.scan)
    dialect.add("SCAN:DATA?", lambda: blocks.of(scope.last_image()))
    dialect.add("SCAN:PIXel?", lambda: f"{side / stem_scope.PIXELS!r},{stem_scope.PIXELS}")
    dialect.add("MEASure:EELS", lambda token: scope.trigger("EELS", token), string)
    dialect.add("MEASure:DIFFraction", lambda token: scope.trigger("DIFF", token), string)
    dialect.add("SHOT:TOKen?", lambda: f'"{scope.token()}"')
    dialect.add("SHOT:USED?", lambda token: str(int(scope.used(token))), string)
    dialect.add("SHOT:KIND?", lambda: scope.read().kind)
    dialect.add("SHOT:DATA?", lambda: blocks.of(scope.read().values))
    dialect.add("SHOT:DOSE?", lambda: numbers(scope.read().dose))
    dialect.add("EELS:ENERgy?", lambda: blocks.of(np.asarray(stem_sample.ENERGY, "<f8")))
    dialect.add("DIFFraction:PIXel?", lambda: f"{mrad!r},{stem_scope.GRID}")


def main(arguments: list[str] | None = None) -> int:
    """Serve until told to stop."""
    return process.main(parser().parse_args(arguments), build)


def build(options: argparse.Namespace, dialect: Dialect, faults: Faults) -> None:
    """Build the microscope and register its commands."""
    from gpax_instruments.twins._stem_scope import Scope

    dialect_of(dialect, Scope(dialect.lock, faults, options.seed, options.drift, options.dwell), faults)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    line = process.parser("python -m gpax_instruments.twins.stem", __doc__.splitlines()[0])
    line.add_argument("--seed", type=int, default=0, help="the specimen and every random number")
    line.add_argument("--drift", type=float, default=0.0, help="drift of the specimen, m per shot or image")
    line.add_argument("--dwell", type=float, default=0.0, help="seconds of the clock that a shot takes")
    return line


if __name__ == "__main__":
    raise SystemExit(main())
