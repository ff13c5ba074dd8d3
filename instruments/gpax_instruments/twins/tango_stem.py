"""The electron microscope of ``twins.stem`` behind Tango, with the device commands of asyncroscopy, without a database.

``python -m gpax_instruments.twins.tango_stem`` prints one JSON line with its address when it is ready. It ends with its
standard input where ``--stdin-guard`` is given. Needs PyTango (extra `tango`).
"""

import argparse
import json
import os
import socket
import sys
import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from gpax_instruments.twins._dialect import ScpiError
from gpax_instruments.twins._faults import Faults

if TYPE_CHECKING:
    from gpax_instruments.twins._stem_scope import Scope

__all__: list[str] = []

NAME = "gpax/twin/stem"
KEPT = 8  # measurements that are handed over once more
STAGE_REACH_M = 50e-9  # of the stage, to all sides
MISBEHAVIOUR = ("", "DEAF", "CLAMP", "REFUSE", "NAN")
"""What the command `misbehave` takes: as it should be; moves are acknowledged and ignored; the beam stays within 0.4 to
0.6; the next move is refused; the next measurement has NaN in it."""


class Column:
    """The world behind the commands, in which two clients may not act at once.

    Args:
        scope: the specimen and the beam.
    """

    def __init__(self, scope: "Scope") -> None:
        from gpax_instruments.twins._stem_scope import SIZE_M

        self.scope, self.size_m = scope, SIZE_M
        self.beam, self.stage = np.full(2, 0.5), np.zeros(5)
        self.mode, self.count = "", 0
        self.kept: list[np.ndarray] = []

    def place(self, beam: np.ndarray, stage: np.ndarray) -> None:
        """Send the beam to a share (2,) of the field of view, and the stage to (5,) m, m, m, deg, deg."""
        if self.mode == "DEAF":
            return
        if self.mode == "CLAMP":
            beam = np.clip(np.nan_to_num(beam), 0.4, 0.6)
        if not np.all(np.abs(stage[:3]) <= STAGE_REACH_M):  # NaN is not, either
            raise ScpiError(-222)
        self.scope.move(*(beam * self.size_m + stage[:2]).tolist())
        self.beam, self.stage = beam, stage

    def take(self, kind: str) -> str:
        """Measure here, and keep it under a key, the last one first."""
        if kind == "SCAN":
            self.scope.scan()
            values = self.scope.last_image()
        else:
            self.count += 1
            self.scope.trigger(kind, f"tango-{self.count}")
            values = self.scope.read().values
        self.kept = [values, *self.kept[: KEPT - 1]]
        return f"{kind.lower()}-{self.count}"

    def misbehave(self, word: str) -> None:
        """See `MISBEHAVIOUR`."""
        if word not in MISBEHAVIOUR:
            raise ScpiError(-224)
        if word in ("REFUSE", "NAN"):
            self.scope.faults.arm(word)
        else:
            self.mode = word


def device_of(column: Column) -> Any:
    """The class of the Tango device."""
    import tango
    from tango import AttrWriteType, DevEncoded, DevVarFloatArray, DevVarStringArray
    from tango.server import Device, attribute, command

    scope, lock = column.scope, column.scope.lock

    def do(function: Any, *arguments: Any) -> Any:
        """What function returns, under the lock; refusals in Tango's form."""
        with lock:
            try:
                return function(*arguments)
            except ScpiError as error:
                tango.Except.throw_exception("Refused", str(error), getattr(function, "__name__", "twin"))

    class STEMTwin(Device):
        beam_pos = attribute(dtype=(float,), max_dim_x=2, access=AttrWriteType.READ, unit="fractional")
        beam_state = attribute(dtype=bool, access=AttrWriteType.READ)

        def read_beam_pos(self) -> list[float]:
            return list(map(float, column.beam))

        def read_beam_state(self) -> bool:
            return bool(scope.blanked)

        @command(dtype_in=DevVarFloatArray)
        def place_beam(self, position: Any) -> None:
            do(column.place, np.asarray(position, np.float64), column.stage)

        @command(dtype_out=DevVarFloatArray)
        def get_stage(self) -> list[float]:
            return list(map(float, column.stage))

        @command(dtype_in=DevVarFloatArray)
        def move_stage(self, position: Any) -> None:
            do(column.place, column.beam, np.asarray(position, np.float64))

        @command()
        def blank_beam(self) -> None:
            do(scope.blank)

        @command()
        def unblank_beam(self) -> None:
            do(scope.unblank)

        @command(dtype_out=float)
        def get_fov(self) -> float:
            return float(column.size_m)

        @command(dtype_in=str, dtype_out=str)
        def acquire_spectrum(self, detector: str) -> str:
            if detector.lower().strip() != "eels":
                tango.Except.throw_exception("NoDetector", f"there is no {detector!r}: eels", "acquire_spectrum")
            return str(do(column.take, "EELS"))

        @command(dtype_in=DevVarStringArray, dtype_out=str)
        def acquire_scanned_image(self, detectors: list[str]) -> str:
            return str(do(column.take, "SCAN"))

        @command(dtype_out=str)
        def acquire_camera_image(self) -> str:
            return str(do(column.take, "DIFF"))

        @command(dtype_in=int, dtype_out=DevEncoded)
        def get_image_data_cached(self, index: int) -> tuple[str, bytes]:
            if not 0 <= index < len(column.kept):
                tango.Except.throw_exception("InvalidIndex", f"{index} of {len(column.kept)}", "get_image_data_cached")
            values = column.kept[index]
            return json.dumps({"shape": list(values.shape), "dtype": str(values.dtype)}), values.tobytes()

        @command(dtype_out=str)
        def get_parameters(self) -> str:
            return json.dumps({"seed": scope.seed, "fov": column.size_m, "electrons": scope.electrons})

        @command(dtype_in=str)
        def misbehave(self, word: str) -> None:
            do(column.misbehave, word)

    return STEMTwin


def main(arguments: list[str] | None = None) -> int:
    """Serve until told to stop."""
    options = parser().parse_args(arguments)
    import jax

    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_platforms", "cpu")  # a twin must not take the accelerator of the campaign it serves
    import tango
    from tango.server import run

    from gpax_instruments.twins._stem_scope import Scope

    column = Column(Scope(threading.Condition(), Faults(), options.seed))
    port = options.port or _free_port()
    if options.stdin_guard:
        threading.Thread(target=_end_with_owner, daemon=True).start()
    words = ["tango_stem", "twin", "-nodb", "-dlist", NAME, "-ORBendPoint", f"giop:tcp:127.0.0.1:{port}"]

    def tell() -> None:
        print(json.dumps({"tango": f"tango://127.0.0.1:{port}/{NAME}#dbase=no", "pid": os.getpid()}), flush=True)

    run((device_of(column),), args=words, post_init_callback=tell, green_mode=tango.GreenMode.Synchronous)
    return 0


def _end_with_owner() -> None:
    while os.read(0, 4096):
        pass
    os._exit(0)  # Tango's own loop listens to signals alone


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def parser() -> argparse.ArgumentParser:
    """The command line."""
    summary = (__doc__ or "").splitlines()[0]
    line = argparse.ArgumentParser("python -m gpax_instruments.twins.tango_stem", description=summary)
    line.add_argument("--port", type=int, default=0, help="of the device server; 0 for a free one")
    line.add_argument("--seed", type=int, default=0, help="the specimen and every random number")
    line.add_argument("--stdin-guard", action="store_true", help="end when standard input ends")
    return line


if __name__ == "__main__":
    sys.exit(main())
