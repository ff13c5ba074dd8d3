"""A scanning transmission electron microscope behind Tango, with the device commands of asyncroscopy."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np

from gpax_instruments.adapters._signals import Signal
from gpax_instruments.adapters._tango import TangoLink
from gpax_instruments.adapters._tiled import arrays_of
from gpax_instruments.drivers._bounded import Bounded, judged
from gpax_instruments.errors import (
    LINK_FAULTS,
    DeviceError,
    DoseSpent,
    Interference,
    UnknownOutcome,
)
from gpax_lab.core import Axis

COMMANDS: Mapping[str, str] = {
    "spectrum": "acquire_spectrum",
    "image": "acquire_scanned_image",
    "camera": "acquire_camera_image",
}
"""What a measurement may be, and the command that takes it."""

STAGE: Mapping[str, str] = {"x": "m", "y": "m", "z": "m", "alpha": "deg", "beta": "deg"}
"""Axes of the stage in the order of get_stage and move_stage, and their units."""


class TangoSTEM(TangoLink):
    """A STEM behind Tango that has asyncroscopy's device commands: the beam, or the stage, goes to a point.

    The beam is blanked but for the measurement. The device tells where the beam stands by its attribute beam_pos; one
    without it is believed, and its measurements have no position. Needs PyTango (extra `tango`).

    Args:
        address: of the device, ``tango://host:port/a/b/c#dbase=no`` or, with a database, ``a/b/c``.
        axes: the beam's x and y, in shares of the field of view [1] or in m; or those of the stage that are moved, out
            of x, y, z [m], alpha and beta [deg].
        positioner: what is moved.
        mode: what is measured.
        detector: whose spectrum, or image.
        exposure_budget: seconds that the beam may be on in all, as long as this program runs; None for the driver's
            own `MAX_EXPOSURE_S`.
        tiled: address of the Tiled server that keeps the data; None where the device hands them over itself.
        fetch: arrays by their Tiled id, in place of both.
        units: unit of an array.
        repeatable: whether a measurement whose outcome is unknown may be done again at the same position.
        timeout_s: seconds for one exchange.
        busy_timeout_s: seconds for one move, and for one measurement.

    Raises:
        ValueError: other axes, another positioner or mode, or a number outside the driver's own limits.
    """

    MAX_EXPOSURE_S = 172800.0
    """s: two days of beam. A budget beyond it limits nothing."""

    exposure_budget = Bounded("s", 0.0, "MAX_EXPOSURE_S", above=True, none=True)

    NEEDED: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "beam": ("place_beam", "get_fov", "blank_beam", "unblank_beam"),
        "stage": ("get_stage", "move_stage", "blank_beam", "unblank_beam"),
    }
    """Commands without which it can not be driven."""

    def __init__(
        self,
        address: str,
        axes: Sequence[Axis],
        *,
        positioner: Literal["beam", "stage"] = "beam",
        mode: Literal["spectrum", "image", "camera"] = "spectrum",
        detector: str = "eels",
        exposure_budget: float | None = None,
        tiled: str | None = None,
        fetch: Callable[[str], Mapping[str, Any]] | None = None,
        units: Mapping[str, str] | None = None,
        repeatable: bool = False,
        timeout_s: float = 5.0,
        busy_timeout_s: float = 120.0,
    ) -> None:
        super().__init__(address, axes, units, repeatable, timeout_s, busy_timeout_s)
        if positioner not in self.NEEDED or mode not in COMMANDS:
            raise ValueError(f"positioner is one of {sorted(self.NEEDED)}, mode one of {sorted(COMMANDS)}")
        given = {axis.name: axis.unit for axis in self._given}
        if positioner == "beam" and not (
            list(given) == ["x", "y"] and given["x"] == given["y"] and given["x"] in ("1", "m")
        ):
            raise ValueError(
                f"a beam has two axes, x and y, both in 1 (shares of the field of view) or in m; got {given}"
            )
        if positioner == "stage" and any(STAGE.get(name) != unit for name, unit in given.items()):
            raise ValueError(f"axes of the stage are {dict(STAGE)}; got {given}")
        self.positioner, self.mode, self.detector = positioner, mode, detector
        self.exposure_budget = exposure_budget
        self._tiled, self._fetch = tiled, fetch
        self._fov = 1.0  # m; 1 where axes are in shares
        self._tells: frozenset[str] = frozenset()
        self._exposed = 0.0  # s
        self._since: float | None = None  # when the beam was let through

    @property
    def limits(self) -> dict[str, float]:
        """`exposure_budget`, s."""
        return {"exposure_budget": float(self.exposure_budget)}

    # --- the link -------------------------------------------------------------------------------------------------

    def _look(self) -> None:
        there = set(self._tango(lambda proxy: [str(name) for name in proxy.get_command_list()]))
        if missing := sorted({*self.NEEDED[self.positioner], COMMANDS[self.mode]} - there):
            raise DeviceError(
                f"{self.address} has no command {', '.join(missing)}: it is no microscope of asyncroscopy"
            )
        self._tells = frozenset(self._tango(lambda proxy: [str(name) for name in proxy.get_attribute_list()]))
        self._fov = self._field() if self._in_metres else 1.0

    @property
    def _in_metres(self) -> bool:
        return self.positioner == "beam" and self._given[0].unit == "m"

    def _field(self) -> float:
        fov = float(self._command("get_fov"))
        if not (np.isfinite(fov) and fov > 0):
            raise DeviceError(f"{self.address}: the field of view is told as {fov!r} m")
        return fov

    # --- moves ----------------------------------------------------------------------------------------------------

    def _limits(self) -> list[tuple[float, float] | None]:
        return [(0.0, self._fov)] * 2 if self.positioner == "beam" else [None] * len(self._given)

    def _where(self) -> np.ndarray | None:
        if self.positioner == "stage":
            now = self._standing()
            return now[self._moved]
        if "beam_pos" not in self._tells:
            return None
        return np.asarray(self._attribute("beam_pos"), np.float64) * self._fov

    def _standing(self) -> np.ndarray:
        """The stage, (5,) m, m, m, deg, deg."""
        now = np.asarray(self._command("get_stage"), np.float64)
        if now.shape != (len(STAGE),) or not np.all(np.isfinite(now)):
            raise DeviceError(f"{self.address}: the stage is told as {now.tolist()}; look at it")
        return now

    @property
    def _moved(self) -> list[int]:
        return [list(STAGE).index(axis.name) for axis in self._given]

    def _send(self, setpoint: np.ndarray) -> None:
        if self.positioner == "stage":
            target = self._standing()  # what is not moved stays
            target[self._moved] = setpoint
            self._command("move_stage", target.tolist(), long=True)
            return
        if self._in_metres and not np.isclose(fov := self._field(), self._fov, rtol=1e-3):
            raise Interference(
                f"{self.address}: the field of view is {fov:g} m, and was {self._fov:g} m when it was connected: "
                "positions would mean others. Connect again once it is meant"
            )
        self._command("place_beam", (setpoint / self._fov).tolist(), long=True)

    # --- measurements and the beam --------------------------------------------------------------------------------

    def _acquire(self, token: str) -> dict[str, Signal]:
        if self._exposed >= judged(self, "exposure_budget"):
            raise DoseSpent(
                f"the beam has been on for {self._exposed:.3g} s, the exposure budget is {self.exposure_budget:g} s"
            )
        what = {"spectrum": (self.detector,), "image": ([self.detector],), "camera": ()}[self.mode]
        try:
            try:
                self._since = time.monotonic()
                self._command("unblank_beam")
                key = str(self._command(COMMANDS[self.mode], *what, long=True))
            finally:
                if self._worker is not None:  # else it is blanked over a new link, by whoever sees the error
                    self._blank()
        except LINK_FAULTS as fault:
            raise UnknownOutcome(
                f"the beam may still be on, the link failed while it was ({fault}); look at it"
            ) from fault
        return {name: Signal(values, self._units.get(name, "a.u.")) for name, values in self._arrays(key).items()}

    def _blank(self) -> None:
        self._command("blank_beam")
        if self._since is not None:
            self._exposed, self._since = self._exposed + time.monotonic() - self._since, None

    def _arrays(self, key: str) -> Mapping[str, Any]:
        """The data that a measurement left under a key."""
        if self._fetch is not None:
            fetch = self._fetch
            return self._ask_long(lambda: fetch(key))
        if (tiled := self._tiled) is not None:
            return self._ask_long(lambda: arrays_of(tiled, key))
        about, data = self._command("get_image_data_cached", 0, long=True)
        told = json.loads(about)
        if not {"shape", "dtype"} <= set(told):
            raise DeviceError(
                f"{self.address} hands over a preview of {key} only: give the address of its Tiled server"
            )
        values = np.frombuffer(data, np.dtype(told["dtype"]))
        if values.size != int(np.prod(told["shape"])):
            raise DeviceError(f"{self.address}: {values.size} numbers came where {told['shape']} were told")
        return {self.mode: values.reshape(told["shape"])}

    def _safe(self) -> None:
        self._blank()

    def _unsafe(self) -> str:
        if "beam_state" in self._tells and not self._attribute("beam_state"):
            return "the beam is on; blank it by hand"
        return ""
