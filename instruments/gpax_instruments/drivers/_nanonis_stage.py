"""What a Nanonis controller does whatever is measured: it is made safe, sent to points, and finds the surface.

Two ports are used: one for the campaign, which a spectrum or a move may hold, and one for the safe state.
"""

import math
import threading
import time
from collections.abc import Callable, Sequence
from typing import Self
from urllib.parse import urlsplit

import numpy as np

from gpax_instruments._nanonis_commands import CODES
from gpax_instruments.drivers._bounded import Bounded, judged
from gpax_instruments.drivers._nanonis_axes import ROUNDING, Frame, check_axes, corners
from gpax_instruments.drivers._nanonis_settings import SAME, code
from gpax_instruments.drivers._positioned import Positioned
from gpax_instruments.errors import LINK_FAULTS, DeviceError, Interference, StillBusy
from gpax_instruments.links._deadline import after
from gpax_instruments.links._link import Link, open_link
from gpax_instruments.links._nanonis import NanonisClient
from gpax_lab.core import Axis, MoveRefused
from gpax_lab.core._axes import finite

POLL_S = 0.01  # between two looks at a busy controller
NO_BIAS_V = 1e-4  # below it a controller that looks for a current drives the tip into the surface
FOUND = 0.3  # share of the setpoint that says that the surface was found


class NanonisStage(Positioned[NanonisClient]):
    """A tip over a sample; arguments as in `Nanonis`."""

    MAX_BIAS_V = 10.0
    """V: what the outputs of the controller reach. A laboratory with an amplifier behind them derives a class."""

    MAX_SETPOINT_A = 1e-7
    """A: beyond it the tip is about to touch."""

    MAX_WIDTH_S = 100.0
    """s: no pulse is longer."""

    max_bias = Bounded("V", 0.0, "MAX_BIAS_V", above=True, none=True)
    max_setpoint = Bounded("A", 0.0, "MAX_SETPOINT_A", above=True, none=True)

    frame_moves = False
    """Whether it is the frame of the scan that goes to x and y, in place of the tip."""

    def __init__(
        self,
        address: str,
        axes: Sequence[Axis],
        bias: float,
        setpoint: float | None,
        in_frame: bool,
        max_bias: float | None,
        max_setpoint: float | None,
        safe_port: int | None,
        timeout_s: float,
        busy_timeout_s: float,
        link: Link | None,
    ) -> None:
        super().__init__(address, timeout_s, busy_timeout_s)
        self.max_bias, self.max_setpoint = max_bias, max_setpoint
        self.bias, self.setpoint, self.in_frame = bias, setpoint, bool(in_frame)
        self._limits: np.ndarray | None = None  # (2,) m, half of the range of x and y
        self._frame = Frame()
        self.axes = tuple(axes)
        self._link, self._safe_address = link, _beside(address, safe_port)
        self._safe: NanonisClient | None = None
        self._one_at_a_time = threading.RLock()  # what is cut off by a safe state asks for one itself
        self._refusals: list[str] = []
        self._asked: dict[str, float | None] = {}  # bias and setpoint that we have set last
        self._virtual: dict[str, float] = {}  # of axes that nothing stands for until the act

    # --- limits -------------------------------------------------------------------------------------------------------

    def _judge(self) -> None:
        """Raise ValueError where a number is outside the driver's own limits, whoever has touched the driver."""
        largest = judged(self, "max_bias")
        self._within("bias", self.bias, largest)
        if abs(self.bias) < NO_BIAS_V:
            raise ValueError(
                f"bias = {self.bias!r} V: without a bias there is no current, and the controller would drive the tip "
                "into the surface"
            )
        if (a := self.setpoint) is not None and not (finite(a) and 0 < a <= judged(self, "max_setpoint")):
            raise ValueError(f"setpoint = {a!r} A: give a number above 0 and at most {self.max_setpoint:g}")
        self.axes = self._axes

    @staticmethod
    def _within(name: str, volts: object, largest: float) -> None:
        if not (finite(volts) and abs(volts) <= largest):  # type: ignore[arg-type]
            raise ValueError(f"{name} = {volts!r} V: give a finite number within {largest:g} V; nothing was sent")

    @property
    def axes(self) -> tuple[Axis, ...]:
        """What a campaign sets; others may be given, within the driver's and the instrument's limits."""
        return self._axes

    @axes.setter
    def axes(self, axes: Sequence[Axis]) -> None:
        good = check_axes(axes, judged(self, "max_bias"), judged(self, "max_setpoint"), type(self).MAX_WIDTH_S)
        self._check_axes(good)
        self._axes = good

    @property
    def limits(self) -> dict[str, float]:
        """`max_bias`, V, and `max_setpoint`, A."""
        return {"max_bias": float(self.max_bias), "max_setpoint": float(self.max_setpoint)}

    @property
    def _names(self) -> list[str]:
        return [axis.name for axis in self.axes]

    def _check_axes(self, axes: tuple[Axis, ...]) -> None:
        if self._limits is None or "x" not in [axis.name for axis in axes]:
            return
        box = corners(axes)
        box = self._frame.to_sample(box) if self.in_frame else box
        if not np.all(np.abs(box) <= self._limits * (1.0 + ROUNDING)):
            raise DeviceError(
                f"axes x and y reach {np.max(np.abs(box), axis=0).tolist()} m from the centre of the scanner, which "
                f"goes to {self._limits.tolist()} m; narrow the axes"
            )

    # --- the connection -----------------------------------------------------------------------------------------------

    def _open(self) -> NanonisClient:
        link = self._link or open_link(self.address, self.timeout_s)
        return NanonisClient(link, self.timeout_s, setup=self._setup)

    @property
    def _safe_client(self) -> NanonisClient:
        if self._safe is None:
            try:
                link = open_link(self._safe_address, self.timeout_s)
            except LINK_FAULTS as fault:
                fault.add_note("the safe state is asked for over a port of its own: is this the one, `safe_port`?")
                raise
            self._safe = NanonisClient(link, self.timeout_s, setup=self._check_identity)
        return self._safe

    def connect(self) -> Self:
        """Open both links, make safe, check the instrument; as `Connection.connect`.

        Raises:
            DeviceError: another instrument, one that does not get safe, or one that can not do what is asked.
            LinkLost, LinkTimeout, BadFrame: the link failed.
        """
        try:
            return super().connect()
        except BaseException:
            self.close()  # a port serves one client: nobody else could use it
            raise

    def close(self) -> None:
        """Close both links. The instrument stays as it is: call ``make_safe`` first."""
        super().close()
        if self._safe is not None:
            self._safe.close()

    def _check_identity(self, client: NanonisClient) -> None:
        if "nanonis" not in client.product.lower():
            raise DeviceError(f"{client.link.address} is {client.product!r}, not a Nanonis; check the address")

    def _prepare(self, client: NanonisClient) -> None:
        """The range of the scanner, and the frame."""
        self._judge()
        ranges = np.array(client.call("Piezo.RangeGet"))
        if not (np.all(np.isfinite(ranges)) and np.all(ranges[:2] > 0)):
            raise DeviceError(f"{self.address}: the range of its scanner is {ranges.tolist()} m; look at its settings")
        if self.in_frame:
            x, y, _, _, angle = client.call("Scan.FrameGet")
            frame = Frame(x, y, angle)
            if self._limits is not None and not np.allclose(frame, self._frame, rtol=SAME, atol=1e-12):
                raise Interference(
                    f"{self.address}: the frame of the scan is at {tuple(frame)}, it was at {tuple(self._frame)}: "
                    "positions in it would be others"
                )
            self._frame = frame
        self._limits = 0.5 * ranges[:2]
        self._check_axes(self.axes)

    # --- the safe state -----------------------------------------------------------------------------------------------

    def make_safe(self) -> None:
        """Withdraw the tip and set the bias to 0, and see that it is so; over a port of its own, from any thread.

        Raises:
            DeviceError: the controller answers but the tip is not safe.
            LinkLost, LinkTimeout, BadFrame: it could not be asked. Go to the instrument.
        """
        with self._one_at_a_time:
            super().make_safe()

    def _ask_safe(self, client: NanonisClient) -> None:
        """End what goes on, withdraw, and then take the bias away: a controller that is on would follow it down."""
        self._refusals = []
        wait_s = judged(self, "busy_timeout_s")
        self._unless_refused(client, "BiasSpectr.Stop")
        self._unless_refused(client, "FolMe.Stop")
        self._unless_refused(client, "Scan.Action", code("Scan.Action", "stop"), 0)
        self._unless_refused(client, "ZCtrl.Withdraw", 1, int(1e3 * wait_s), wait_s=wait_s)
        deadline = after(wait_s)
        while (status := self._status(client)) in ("withdrawing", "switching off") and time.monotonic() < deadline:
            time.sleep(POLL_S)
        if status == "off":
            self._unless_refused(client, "Bias.Set", 0.0)

    def _unless_refused(self, client: NanonisClient, name: str, *values: object, wait_s: float = 0.0) -> None:
        """Ask for a part of the safe state; one that is refused (a module that is not open) keeps no other waiting."""
        try:
            client.call(name, *values, wait_s=wait_s)
        except DeviceError as refused:
            self._refusals.append(str(refused))

    def _unsafe(self, client: NanonisClient) -> str:
        status, bias = self._status(client), client.call("Bias.Get")[0]
        if status == "off" and abs(bias) < NO_BIAS_V:
            return ""
        reasons = f" ({'; '.join(self._refusals)})" if self._refusals else ""
        return f"the controller of the distance is {status}, the bias {bias!r} V; withdraw by hand{reasons}"

    def _status(self, client: NanonisClient) -> str:
        number = client.call("ZCtrl.StatusGet")[0]
        try:
            return CODES["ZCtrl.Status"].word(number)
        except KeyError:
            raise DeviceError(f"{self.address}: the controller of the distance is in the state {number}") from None

    # --- moving -------------------------------------------------------------------------------------------------------

    def _read_back(self) -> np.ndarray:
        values = dict(self._virtual)
        if "x" in self._names:
            if self.frame_moves:
                where = np.array(self.client.again("Scan.FrameGet")[:2])
            else:
                where = np.array(self.client.again("FolMe.XYPosGet", 1))
            values["x"], values["y"] = (self._frame.of_sample(where[None])[0] if self.in_frame else where).tolist()
        if "bias" in self._names:
            values["bias"] = self.client.again("Bias.Get")[0]
        if "setpoint" in self._names:
            values["setpoint"] = self.client.again("ZCtrl.SetpntGet")[0]
        found = np.array([values.get(axis.name, axis.low) for axis in self.axes])
        if not np.all(np.isfinite(found)):
            raise MoveRefused(f"the read-back {found.tolist()} is no position; look at the controller")
        return found

    def _send(self, setpoint: np.ndarray) -> list[str] | None:
        values = dict(zip(self._names, setpoint.tolist(), strict=True))
        try:
            self._go(values)
        except DeviceError as refused:
            return [str(refused)]
        except LINK_FAULTS:
            return None
        return []

    def _go(self, values: dict[str, float]) -> None:
        self._virtual = {name: values[name] for name in ("pulse", "width") if name in values}
        if "setpoint" in values:
            self._set_setpoint(values["setpoint"])
        if "bias" in values:
            self._set_bias(values["bias"])
        if "x" not in values:
            return
        here = np.array([[values["x"], values["y"]]])
        x, y = (self._frame.to_sample(here) if self.in_frame else here)[0].tolist()
        if self.frame_moves:
            _, _, width, height, angle = self.client.call("Scan.FrameGet")
            self.client.call("Scan.FrameSet", x, y, width, height, angle)
        else:
            self.client.call("FolMe.XYPosSet", x, y, 1, wait_s=judged(self, "busy_timeout_s"))

    def _set_bias(self, volts: float) -> None:
        self._within("bias", volts, judged(self, "max_bias"))
        if abs(volts) < NO_BIAS_V:
            raise DeviceError(f"a bias of {volts!r} V would drive the tip into the surface; nothing was sent")
        self.client.call("Bias.Set", volts)
        self._asked["bias"] = volts

    def _set_setpoint(self, ampere: float) -> None:
        if not 0 < ampere <= judged(self, "max_setpoint"):
            raise DeviceError(f"a setpoint of {ampere!r} A is none; nothing was sent")
        self.client.call("ZCtrl.SetpntSet", ampere)
        self._asked["setpoint"] = ampere

    def _bring_in(self) -> None:
        """Bias and setpoint, where they are axes, from where the safe state has left them into their limits."""
        if self._status_again() != "off":
            return
        for axis in self.axes:
            if axis.name in ("bias", "setpoint"):
                now = self.client.again({"bias": "Bias.Get", "setpoint": "ZCtrl.SetpntGet"}[axis.name])[0]
                if not axis.low <= now <= axis.high:
                    nearest = min((axis.low, axis.high), key=lambda end, now=now: abs(end - now))  # type: ignore[misc]
                    other = axis.high if nearest == axis.low else axis.low
                    (self._set_bias if axis.name == "bias" else self._set_setpoint)(nearest or other)

    # --- the surface --------------------------------------------------------------------------------------------------

    def _status_again(self) -> str:
        self.client.connect()
        for attempt in range(self.client.attempts):
            try:
                return self._status(self.client)
            except LINK_FAULTS:
                if attempt + 1 == self.client.attempts:
                    raise
                self.client.connect()
        raise AssertionError("at least one attempt")

    def _engage(self) -> None:
        """Switch the controller of the distance on, and see that it finds the surface. Never a motor."""
        if self._status_again() == "on":
            return
        for name, wanted, setter, getter in (
            ("bias", self.bias, "Bias.Set", "Bias.Get"),
            ("setpoint", self.setpoint, "ZCtrl.SetpntSet", "ZCtrl.SetpntGet"),
        ):
            if name not in self._names and wanted is not None:
                self.client.again(setter, wanted)
                self._asked[name] = wanted
            if wanted is not None or name in self._names:
                found = self.client.again(getter)[0]
                if not _near(found, self._asked.get(name)):
                    raise DeviceError(f"{self.address}: the {name} is {found!r}, {self._asked.get(name)!r} was set")
        if abs(self.client.again("Bias.Get")[0]) < NO_BIAS_V:
            raise DeviceError(f"{self.address}: without a bias the tip would be driven into the surface")
        self.client.again("ZCtrl.OnOffSet", 1)
        self._wait_surface()

    def _wait_surface(self) -> None:
        deadline, wanted = after(judged(self, "busy_timeout_s")), self.client.again("ZCtrl.SetpntGet")[0]
        while time.monotonic() <= deadline:
            on = self._status_again() == "on"
            if on and abs(self.client.again("Current.Get")[0]) >= FOUND * abs(wanted):
                return
            time.sleep(POLL_S)
        raise DeviceError(
            f"{self.address}: the controller of the distance finds no current of {wanted:g} A within the range of z; "
            "approach by hand"
        )

    def _check_tip(self) -> None:
        """Raise Interference where somebody else has changed bias or setpoint; with the tip withdrawn both may be."""
        if self._status_again() != "on":
            return
        for name, getter in (("bias", "Bias.Get"), ("setpoint", "ZCtrl.SetpntGet")):
            wanted, found = self._asked.get(name), self.client.again(getter)[0]
            if wanted is not None and not _near(found, wanted):
                raise Interference(
                    f"{self.address}: the {name} is {found!r}, {wanted!r} was asked for: does somebody else use the "
                    "instrument?"
                )

    def _wait(self, busy: Callable[[], bool]) -> None:
        """Return when busy() says no. Raises StillBusy after `busy_timeout_s`."""
        seconds = judged(self, "busy_timeout_s")
        deadline = after(seconds)
        while busy():
            if not time.monotonic() <= deadline:
                raise StillBusy(f"{self.address}: still busy after {seconds:g} s; look at it, or allow it more time")
            time.sleep(POLL_S)


def _near(found: float, wanted: float | None) -> bool:
    return wanted is not None and math.isclose(found, wanted, rel_tol=SAME, abs_tol=1e-30)


def _beside(address: str, port: int | None) -> str:
    """The address of another port of the same controller; ValueError for one that is the same."""
    try:
        parts = urlsplit(address)
        host, own = parts.hostname, parts.port
    except ValueError:
        host, own = None, None
    if not host or not own or parts.scheme != "tcp":
        raise ValueError(f"address = {address!r}: write tcp://host:port, a port that the controller offers")
    other = own + 1 if port is None else int(port)
    if other == own:
        raise ValueError(f"safe_port = {port!r} is the port of the address: the safe state needs one of its own")
    return f"tcp://[{host}]:{other}" if ":" in host else f"tcp://{host}:{other}"
