"""Measured files as instruments, made from what a settings file says."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np

from gpax_instruments.drivers import Replay
from gpax_lab.core import Measurement


class Recorded(Replay):
    """A measured file played back; only its positions can be measured."""

    positions: np.ndarray

    def truth(self, x: np.ndarray) -> list[Measurement]:
        """What was recorded at positions x (n, d): nothing better is known."""
        return [self.measure(position, "truth") for position in x]

    @property
    def units(self) -> dict[str, str]:
        """Unit of each array."""
        return dict(self._units)

    @property
    def arrays(self) -> tuple[str, ...]:
        """Names of all arrays of a measurement."""
        return tuple(self._units)


class RecordedLoops(Recorded):
    """A recorded map of hysteresis loops (pyNSID layout) played back.

    Args:
        file: HDF5 file of the recorded map.

    Raises:
        ValueError: it can not be read, or holds no such map.
    """

    AXES: ClassVar[Mapping[str, str]] = {"x": "m", "y": "m"}

    def __init__(self, file: Path) -> None:
        try:
            found = Replay.from_beps(file)
        except (OSError, KeyError) as error:
            raise ValueError(f"file = {str(file)!r} is not a recorded loop map: {error}.") from None
        self.__dict__.update(vars(found))


class RecordedData(Recorded):
    """Any measured file that a reader knows, played back.

    Args:
        file: the measured file.
        data: name of the array in it; None for the first one.
        over: names of the axes that are positions, in order; the others belong to each measurement.
        reader: of the file; None to choose by its extension.
        tolerance: by which a target may miss a position, in units of the axes; None for 1 percent of the pitch.

    Raises:
        ValueError: the file can not be read, or has no such array or axes.
    """

    def __init__(
        self,
        file: Path,
        data: str | None = None,
        over: Sequence[str] = ("y", "x"),
        reader: str | None = None,
        tolerance: float | None = None,
    ) -> None:
        from gpax_lab.core._plugins import load_plugin
        from gpax_lab.storage import UnreadableFile, load

        try:
            found = load(file) if reader is None else load_plugin("readers", reader)(Path(file))
        except (OSError, UnreadableFile) as error:
            raise ValueError(f"file = {str(file)!r} can not be read: {error}") from None
        if data is not None and data not in found:
            raise ValueError(f"data = {data!r} is not in {file}: it has {', '.join(found)}.")
        self.__dict__.update(vars(Replay.of(found[data or next(iter(found))], over, tolerance)))
