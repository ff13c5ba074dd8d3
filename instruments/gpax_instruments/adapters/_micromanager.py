"""Micro-Manager's core in this process: an automated light microscope with stage, focus and camera."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from gpax_instruments.adapters._adapter import Adapter
from gpax_instruments.adapters._signals import Signal
from gpax_instruments.drivers._bounded import Bounded, judged
from gpax_instruments.errors import DeviceError, LinkLost
from gpax_lab.core import Axis, InstrumentError

MICROMETRES: Mapping[str, float] = {"m": 1e6, "mm": 1e3, "um": 1.0, "µm": 1.0, "nm": 1e-3}
"""Micrometres, in which Micro-Manager counts, in each unit that an axis may have."""

XY = ("x", "y")


class MicroManager(Adapter):
    """A microscope that Micro-Manager drives: x and y of the stage, z of the focus, and an image from the camera.

    Micro-Manager has no limits, and takes NaN for a position: the axes' limits are the only ones. The shutter is opened
    for the image alone. Needs pymmcore (extra `micromanager`) and the device adapters of its interface version.

    Args:
        config: configuration file of Micro-Manager (.cfg), which says the stage, the focus, the camera and the shutter.
        axes: out of x, y (both or none) and z, in m, mm, um or nm.
        adapters: folder of the device adapters; None where the configuration needs no other one.
        exposure: of the camera [ms].
        core: function that makes a core with its devices loaded, in place of config.
        units: unit of the image.
        repeatable: whether a measurement whose outcome is unknown may be done again at the same position.
        timeout_s: seconds for one exchange.
        busy_timeout_s: seconds for one move, for one image, and for loading the devices.

    Raises:
        ValueError: other axes, neither config nor core, or a number outside the limits.
    """

    system = "Micro-Manager"
    claimed_by = "config"

    MAX_EXPOSURE_MS = 3.6e6
    """ms: an hour. An image that takes longer was not meant."""

    exposure = Bounded("ms", 0.0, "MAX_EXPOSURE_MS", above=True)

    ALLOWED: ClassVar[tuple[tuple[str, ...], ...]] = (("x", "y"), ("x", "y", "z"), ("z",))
    """Names that the axes may have, in this order."""

    LOADS: ClassVar[tuple[str, ...]] = ("config", "adapters")
    """Options by which files are named whose code runs in this process: the libraries of device adapters."""

    def __init__(
        self,
        config: Path | None,
        axes: Sequence[Axis],
        *,
        adapters: Path | None = None,
        exposure: float = 10.0,
        core: Callable[[], Any] | None = None,
        units: Mapping[str, str] | None = None,
        repeatable: bool = False,
        timeout_s: float = 5.0,
        busy_timeout_s: float = 60.0,
    ) -> None:
        super().__init__(axes, units, repeatable, timeout_s, busy_timeout_s)
        names = tuple(axis.name for axis in self._given)
        if names not in self.ALLOWED or any(axis.unit not in MICROMETRES for axis in self._given):
            raise ValueError(f"axes are x and y, x, y and z, or z, in {', '.join(MICROMETRES)}; got {self._given}")
        if config is None and core is None:
            raise ValueError("config: give Micro-Manager's configuration file")
        self.config, self.adapters, self.exposure = config, adapters, exposure
        self._make = core
        self._scale = np.array([MICROMETRES[axis.unit] for axis in self._given])
        self._names = names
        self._core: Any = None
        self._stage = self._focus = self._shutter = ""

    @property
    def limits(self) -> dict[str, float]:
        """`exposure`, ms."""
        return {"exposure": float(self.exposure)}

    def identity(self) -> str:
        """Version of the core, and names of the devices."""
        if self._worker is None:
            self.connect()
        return str(self._ask(self._told))

    def _told(self) -> str:
        return ",".join([self._core.getVersionInfo(), self._stage, self._focus, self._core.getCameraDevice()])

    def _open(self) -> None:
        self._ask_long(self._load)

    def _load(self) -> None:
        core = self._make() if self._make is not None else self._configured()
        core.setTimeoutMs(max(1, int(1e3 * judged(self, "busy_timeout_s"))))
        self._stage, self._focus = core.getXYStageDevice(), core.getFocusDevice()
        self._shutter = core.getShutterDevice()
        needed = {"a camera": core.getCameraDevice()}
        if "x" in self._names:
            needed["an XY stage"] = self._stage
        if "z" in self._names:
            needed["a focus stage"] = self._focus
        if missing := [what for what, device in needed.items() if not device]:
            raise DeviceError(f"the configuration names no {', no '.join(missing)}: set it in Micro-Manager's wizard")
        core.setExposure(judged(self, "exposure"))
        core.setAutoShutter(bool(self._shutter))
        self._core = core

    def _configured(self) -> Any:
        try:
            import pymmcore
        except ImportError as error:
            raise ImportError("Micro-Manager needs pymmcore: pip install gpax-lab[micromanager]") from error
        core = pymmcore.CMMCore()
        folders = [str(self.adapters)] if self.adapters is not None else []
        core.setDeviceAdapterSearchPaths([*folders, *core.getDeviceAdapterSearchPaths()])
        core.loadSystemConfiguration(str(self.config))
        return core

    def _where(self) -> np.ndarray:
        return np.array([self._ask(partial(self._coordinate, name)) for name in self._names]) / self._scale

    def _coordinate(self, name: str) -> float:
        core = self._core
        if name == "z":
            return float(core.getPosition(self._focus))
        return float(core.getXPosition(self._stage) if name == "x" else core.getYPosition(self._stage))

    def _send(self, setpoint: np.ndarray) -> None:
        target = dict(zip(self._names, (setpoint * self._scale).tolist(), strict=True))
        core = self._core
        if "x" in target:
            self._ask_long(lambda: core.setXYPosition(self._stage, target["x"], target["y"]))
            self._ask_long(lambda: core.waitForDevice(self._stage))
        if "z" in target:
            self._ask_long(lambda: core.setPosition(self._focus, target["z"]))
            self._ask_long(lambda: core.waitForDevice(self._focus))

    def _acquire(self, token: str) -> dict[str, Signal]:
        core = self._core
        self._ask_long(core.snapImage)
        image, bits = self._ask_long(core.getImage), int(self._ask(core.getImageBitDepth))
        values = np.array(image)  # the core's own buffer is written again by the next image
        rail = 2.0**bits - 1.0 if values.ndim == 2 and 0 < bits <= 32 else None
        return {"image": Signal(values, self._units.get("image", "1"), rail)}

    def _safe(self) -> None:
        core = self._core
        for device in dict.fromkeys(self._focus if name == "z" else self._stage for name in self._names):
            self._ask(partial(core.stop, device))
        if self._shutter:
            self._ask(lambda: core.setShutterOpen(False))

    def _unsafe(self) -> str:
        if self._shutter and self._ask(self._core.getShutterOpen):
            return "the shutter is open; close it by hand"
        return ""

    def _release(self) -> None:
        core, self._core = self._core, None
        if core is not None and self._make is None:
            core.unloadAllDevices()

    def _fault(self, error: BaseException) -> type[InstrumentError]:
        """The core's errors have no kinds: one after which the stage does not answer any more is a lost link."""
        kind, worker = super()._fault(error), self._worker
        if kind is DeviceError and self._core is not None and worker is not None:
            try:
                worker.call(partial(self._coordinate, self._names[0]), judged(self, "timeout_s"))
            except Exception:
                return LinkLost
        return kind
