"""What is sent to a point: moves are checked, sent once, and compared with the read-back."""

import time
from abc import abstractmethod
from typing import NamedTuple

import numpy as np

from gpax_instruments.drivers._acts_once import ActsOnce
from gpax_instruments.drivers._connection import C
from gpax_instruments.drivers._tokens import check_token
from gpax_instruments.errors import StillBusy, UnknownOutcome
from gpax_lab.core import Axis, InstrumentError, MoveRefused
from gpax_lab.core._axes import check_all, plan_path


class Location(NamedTuple):
    """Where a stage was told to be and where it says it is, both (d,) float64 in axis units."""

    setpoint: np.ndarray
    readback: np.ndarray


class Positioned(ActsOnce[C]):
    """A microscope that is sent to a point (d,) of its axes; arguments as in `ActsOnce`.

    A driver says how it is sent and where it stands: `_send`, `_read_back`, `_check_axes` and `_fire`.
    """

    def __init__(self, address: str, timeout_s: float, busy_timeout_s: float) -> None:
        super().__init__(address, timeout_s, busy_timeout_s)
        self._setpoint: np.ndarray | None = None

    @abstractmethod
    def _check_axes(self, axes: tuple[Axis, ...]) -> None:
        """Raise DeviceError unless axes lie within the limits of the instrument, where it has told them."""

    @abstractmethod
    def _read_back(self) -> np.ndarray:
        """(d,) where it stands, in the units of the axes. Raises MoveRefused where it does not tell a position."""

    @abstractmethod
    def _send(self, setpoint: np.ndarray) -> list[str] | None:
        """Send it to setpoint (d,), once, and wait for the end: what it reports as errors.

        None where the link broke on the way, so that it may or may not have gone. Raises StillBusy.
        """

    def locate(self) -> Location:
        """Setpoint (the read-back where none was sent yet) and read-back, (d,) in the units of the axes."""
        readback = self._read_back()
        return Location(readback if self._setpoint is None else self._setpoint, readback)

    def set(self, target: object) -> None:
        """Move to target, (d,) in axis units, in steps of max_step at most, settle, and compare the read-back.

        Raises:
            MoveRefused: outside the limits (nothing was sent), refused by the instrument, or not arrived.
            UnknownOutcome: the link broke during the move and the read-back does not show it done.
        """
        goal = check_all(self.axes, target)
        self.client.connect()
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
        self.client.connect()
        self._wait_idle()
        if not self._is_done(token):
            self._may_act(token)
            self._fire(token)

    @abstractmethod
    def _fire(self, token: str) -> None:
        """Act once under token, here."""

    def _step(self, setpoint: np.ndarray) -> None:
        """One move, sent once. If the link breaks, the read-back says whether it happened."""
        self._setpoint = setpoint
        try:
            refused = self._send(setpoint)
        except StillBusy as doubt:
            raise UnknownOutcome(f"the move to {setpoint.tolist()}{self._unit} does not end ({doubt})") from doubt
        if refused:
            raise MoveRefused(
                f"the instrument refused the move to {setpoint.tolist()}{self._unit}: {'; '.join(refused)}"
            )
        if refused is not None:
            return
        try:
            self._wait_idle()
            self._arrived(setpoint, self.locate().readback)
        except InstrumentError as doubt:
            raise UnknownOutcome(
                f"the link broke during the move to {setpoint.tolist()}{self._unit} and the read-back does not "
                "show it done; look at the stage before going on"
            ) from doubt

    @property
    def _unit(self) -> str:
        units = {axis.unit for axis in self.axes}
        return f" {units.pop()}" if len(units) == 1 else ""

    def _measured_at(self, goal: np.ndarray, fresh: bool) -> np.ndarray:
        """(d,) where the last measurement was taken: the read-back, or goal where the stage has left it since.

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
