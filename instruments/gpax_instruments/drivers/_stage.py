"""A microscope with a stage: moves are checked, sent once, and compared with the read-back."""

import time
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar, NamedTuple

import numpy as np

from gpax_instruments.drivers._scpi_instrument import ScpiInstrument
from gpax_instruments.drivers._tokens import check_token
from gpax_instruments.errors import DeviceError, StillBusy, UnknownOutcome
from gpax_instruments.links._link import Link
from gpax_instruments.links._scpi import Scpi
from gpax_lab.core import Axis, InstrumentError, MoveRefused
from gpax_lab.core._axes import check_all, plan_path


class Location(NamedTuple):
    """Where a stage was told to be and where it says it is, both (d,) float64 in axis units."""

    setpoint: np.ndarray
    readback: np.ndarray


class Stage(ScpiInstrument):
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
        self._setpoint: np.ndarray | None = None

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

    def locate(self) -> Location:
        """Setpoint (the read-back where none was sent yet) and read-back, (2,) m."""
        readback, flags = self.scpi.read_numbers_again("POS?")
        if flags or readback.shape != (len(self.axes),):
            raise MoveRefused(f"the read-back {readback.tolist()} is no position; check the stage")
        return Location(readback if self._setpoint is None else self._setpoint, readback)

    def set(self, target: object) -> None:
        """Move to target, (2,) m, in steps of max_step at most, settle, and compare the read-back.

        Raises:
            MoveRefused: outside the limits (nothing was sent), refused by the instrument, or not arrived.
            UnknownOutcome: the link broke during the move and the read-back does not show it done.
        """
        goal = check_all(self.axes, target)
        self.scpi.connect()
        self._check_axes(self.axes)  # once more, whoever has touched the driver
        for setpoint in plan_path(self.axes, self.locate().readback, goal):
            self._step(setpoint)
        time.sleep(max(axis.settle_s for axis in self.axes))
        self._arrived(goal, self.locate().readback)

    def trigger(self, token: str) -> None:
        """Act once under token, here, and wait for the end; what is done under it already is not done again.

        Raises:
            ValueError: the token is none.
            StillBusy: it was busy for longer than `busy_timeout_s`; nothing was done.
            PulseLost: an act under token had begun, or may have; nothing was done.
            Interference, DoseSpent: as ``measure``; nothing was done.
            UnknownOutcome: the act may have happened.
            DeviceError: the instrument refused.
            LinkLost, LinkTimeout, BadFrame: the link failed before the act.
        """
        check_token(token)
        self.scpi.connect()
        self._wait_idle()
        if not self._is_done(token):
            self._may_act(token)
            self._fire(token)

    @abstractmethod
    def _fire(self, token: str) -> None:
        """Act once under token, here."""

    def _step(self, setpoint: np.ndarray) -> None:
        """One MOVE, sent once. If the link breaks, the read-back says whether it happened."""
        self._setpoint = setpoint
        try:
            refused = self._command("MOVE " + ",".join(repr(float(v)) for v in setpoint))
        except StillBusy as doubt:
            raise UnknownOutcome(f"the move to {setpoint.tolist()} m does not end ({doubt})") from doubt
        if refused:
            raise MoveRefused(f"the instrument refused the move to {setpoint.tolist()} m: {'; '.join(refused)}")
        if refused is not None:
            return
        try:
            self._wait_idle()
            self._arrived(setpoint, self.locate().readback)
        except InstrumentError as doubt:
            raise UnknownOutcome(
                f"the link broke during the move to {setpoint.tolist()} m and the read-back does not show it done; "
                "look at the stage before going on"
            ) from doubt

    def _measured_at(self, goal: np.ndarray, fresh: bool) -> np.ndarray:
        """(2,) m where the last measurement was taken: the read-back, or goal where the stage has left it since.

        After a measurement that was done before the program ended, the beam may be parked. After a fresh one it has
        to be where it was sent: MoveRefused.
        """
        readback = self.locate().readback
        if fresh:
            self._arrived(goal, readback)
        allowed = np.array([axis.allowed_error for axis in self.axes])
        return readback if np.all(np.abs(readback - goal) <= allowed) else goal

    def _arrived(self, target: np.ndarray, readback: np.ndarray) -> None:
        for axis, goal, value in zip(self.axes, target.tolist(), readback.tolist(), strict=True):
            axis.arrived(goal, value)
