"""The commands that every simulated microscope has."""

import threading
from typing import Protocol, runtime_checkable

import numpy as np

from gpax_instruments.twins._dialect import Dialect, ScpiError, integer, name, number
from gpax_instruments.twins._faults import MOVE, Faults
from gpax_instruments.twins._process import Blocks, numbers


@runtime_checkable
class AnyScope(Protocol):
    """What every simulated microscope can do; see `microscope.Microscope` and `stem_scope.Scope`."""

    seed: int
    position: np.ndarray
    faults: Faults

    @property
    def busy(self) -> bool:
        """Whether something is being measured."""

    def move(self, x: float, y: float) -> None:
        """Go to (x, y) m."""

    def wait(self, lock: threading.Condition) -> None:
        """Return when what is being measured has ended; lock is held, and released meanwhile."""

    def make_safe(self) -> None:
        """Withdraw the tip or blank the beam, bias 0; what is being measured is cut off."""

    def reset(self) -> None:
        """Be safe, with the settings of the start; what was measured stays."""

    def forget(self) -> None:
        """Lose what is lost with the power."""


def register_common(dialect: Dialect, scope: AnyScope, faults: Faults, kind: str, side_m: float) -> Blocks:
    """Register the commands that all microscopes have.

    Args:
        dialect: learns them.
        scope: obeys them.
        faults: what FAULT arms.
        kind: of microscope, for the identity.
        side_m: of the field of view, m.

    Returns:
        What makes blocks in the byte order that was asked for.
    """
    blocks = Blocks()
    dialect.forget += [scope.forget, blocks.forget]

    def reset() -> None:
        scope.reset()
        blocks.forget()

    def finished() -> str:
        scope.wait(dialect.lock)
        return "1"

    dialect.add("*IDN?", lambda: f"gpax_lab,{kind} twin,{scope.seed},0.1")
    dialect.add("*RST", reset)
    dialect.add("*OPC?", finished)
    dialect.add("STATus?", lambda: "BUSY" if scope.busy else "IDLE")
    dialect.add("SAFE", scope.make_safe)
    dialect.add("LIMits?", lambda: numbers(0.0, side_m, 0.0, side_m))
    dialect.add("MOVE", scope.move, number, number)
    dialect.add("POSition?", lambda: numbers(*scope.position))
    dialect.add("FORMat:BORDer", blocks.set_order, name)
    dialect.add("FORMat:BORDer?", lambda: {"<": "SWAP", ">": "NORM"}[blocks.order])
    dialect.add("FAULT", faults.arm, name, integer, number, least=1)
    return blocks


def check_target(scope: AnyScope, x: float, y: float, side_m: float) -> np.ndarray:
    """The point (2,) m to go to. Raises -221 while something is measured, -222 outside the field or on command."""
    if scope.busy:
        raise ScpiError(-221)
    target = np.array([x, y])
    if not np.all((target >= 0.0) & (target <= side_m)) or scope.faults.take(MOVE):
        raise ScpiError(-222)
    return target
