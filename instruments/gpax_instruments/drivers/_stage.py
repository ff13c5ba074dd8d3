"""A microscope over SCPI with a stage."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np

from gpax_instruments.drivers._positioned import Positioned
from gpax_instruments.drivers._scpi_instrument import ScpiInstrument
from gpax_instruments.errors import DeviceError
from gpax_instruments.links._link import Link
from gpax_instruments.links._scpi import Scpi
from gpax_lab.core import Axis, MoveRefused


class Stage(ScpiInstrument, Positioned[Scpi]):
    """A microscope with a stage, or a beam, that is sent to (x, y) in metres; arguments as in `ScpiInstrument`, and:

    Args:
        axes: x and y in metres, within the instrument's own limits.

    Raises:
        ValueError: other axes.
    """

    AXES: ClassVar[Mapping[str, str]] = {"x": "m", "y": "m"}
    """Name and unit of each axis."""

    def __init__(
        self,
        address: str,
        axes: Sequence[Axis],
        timeout_s: float,
        busy_timeout_s: float,
        tag: str | None,
        link: Link | None,
    ) -> None:
        super().__init__(address, timeout_s, busy_timeout_s, tag, link)
        self._limits: np.ndarray | None = None  # (2, 2) m, those of the instrument
        self.axes = tuple(axes)

    @property
    def axes(self) -> tuple[Axis, ...]:
        """x and y in m; other axes may be given, within the instrument's own limits."""
        return self._axes

    @axes.setter
    def axes(self, axes: Sequence[Axis]) -> None:
        if len(axes) != 2 or any(not isinstance(axis, Axis) or axis.unit != "m" for axis in axes):
            raise ValueError(f"a {self.model} has two axes, x and y, in m")
        self._check_axes(tuple(axes))
        self._axes = tuple(axes)

    def _prepare(self, scpi: Scpi) -> None:
        """The axes must lie within the instrument's own limits."""
        limits = scpi.query_finite("LIM?", 4).reshape(2, 2)
        if not np.all(limits[:, 0] < limits[:, 1]):
            raise DeviceError(f"{self.address}: its limits are {limits.tolist()} m, which leave nowhere to go")
        self._limits = limits
        self._check_axes(self.axes)

    def _check_axes(self, axes: tuple[Axis, ...]) -> None:
        if self._limits is None:
            return
        for axis, (low, high) in zip(axes, self._limits.tolist(), strict=True):
            if not (low <= axis.low and axis.high <= high):
                raise DeviceError(
                    f"axis {axis.name} allows {axis.low!r} to {axis.high!r} m, the instrument {low!r} to {high!r} m; "
                    "narrow the axis"
                )

    def _read_back(self) -> np.ndarray:
        readback, flags = self.scpi.read_numbers_again("POS?")
        if flags or readback.shape != (len(self.axes),):
            raise MoveRefused(f"the read-back {readback.tolist()} is no position; check the stage")
        return readback

    def _send(self, setpoint: np.ndarray) -> list[str] | None:
        return self._command("MOVE " + ",".join(repr(float(v)) for v in setpoint))
