"""A Nanonis controller over its TCP interface: spectra, signals, images and pulses at points."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from gpax_instruments.drivers._acts_once import INTERFERENCE
from gpax_instruments.drivers._bounded import Bounded, judged
from gpax_instruments.drivers._nanonis_marks import BEGUN, DONE, Mark, read_mark, write_mark
from gpax_instruments.drivers._nanonis_readings import (
    BiasSpectrum,
    Image,
    Reading,
    Signals,
    SpectrumOptions,
    Taken,
    quality,
)
from gpax_instruments.drivers._nanonis_settings import code
from gpax_instruments.drivers._nanonis_stage import NanonisStage
from gpax_instruments.errors import LINK_FAULTS, DeviceError, Interference, UnknownOutcome
from gpax_instruments.links._link import Link
from gpax_instruments.links._nanonis import NanonisClient
from gpax_lab.core import Axis, Measurement
from gpax_lab.core._axes import finite

SWEEP_TOLERANCE = 0.01  # share of the sweep by which its ends may differ: a gain error as calibrations leave it


class Nanonis(NanonisStage):
    """A scanning probe microscope with a Nanonis controller. Nothing is opened before ``connect``.

    A measurement is one reading at a point of the axes. Axes are, by name: x and y in m (together), bias in V, setpoint
    in A, and pulse in V with width in s or log10(s) (together): then every reading is preceded by that pulse.

    Args:
        address: ``tcp://host:port`` of one of the ports that the controller offers, usually 6501 to 6504.
        axes: what a campaign sets, x and y within half the range of the scanner to either side.
        bias: of the tip while the controller of the distance is on, V; not 0, at which it would find no current.
        setpoint: of that controller, A; None as it is.
        mode: "spectrum" (bias spectroscopy), "signal" (the newest values) or "image" (a scan of the frame).
        channels: names of the signals that are recorded, with or without their units.
        sweep: first and last bias of a spectrum, V.
        points: of a spectrum.
        sweeps: of which a spectrum is the mean.
        backward: whether a spectrum goes back, too.
        settling_s: seconds at each bias before it is measured; None as it is.
        integration_s: seconds for which each bias is measured; None as it is.
        lockin_amplitude: of the modulation during a spectrum, V; the array "conductance" is the first harmonic divided
            by it. 0: the lock-in is not run.
        lockin_frequency: of the modulation, Hz; None as it is.
        spends: whether a spectrum changes its place, so that one whose outcome is unknown may not be taken again. A
            pulse always does.
        frame_m: side of an image, m.
        pixels: along a side of an image; the controller wants a multiple of 16.
        line_s: seconds of a line of an image, each way; None as it is.
        in_frame: whether x and y are along and across the lines of the frame, from its centre, turned with it.
        max_bias: highest bias that is ever sent, V; it narrows the driver's own `MAX_BIAS_V`. None: the latter.
        max_setpoint: highest setpoint that is ever sent, A. None: the driver's own `MAX_SETPOINT_A`.
        session_folder: where this machine sees the folder of the session, for releases that can not read their files.
        safe_port: port of the same controller for the safe state; None: the one after that of the address.
        timeout_s: seconds for one exchange.
        busy_timeout_s: seconds for one reading, and for one move.
        link: an open link to use in place of address.

    Raises:
        ValueError: other axes, or a number outside the driver's own limits.
    """

    comes_home = False  # a spectrum tells its sweep, and nothing else of what acted

    MAX_POINTS, MAX_SWEEPS, MAX_PIXELS = 65536, 1000, 4096

    points = Bounded("of a spectrum", 2, "MAX_POINTS", whole=True)
    sweeps = Bounded("of a spectrum", 1, "MAX_SWEEPS", whole=True)
    pixels = Bounded("of a line", 16, "MAX_PIXELS", whole=True)

    def __init__(
        self,
        address: str,
        axes: Sequence[Axis],
        *,
        bias: float,
        setpoint: float | None = None,
        mode: Literal["spectrum", "signal", "image"] = "spectrum",
        channels: Sequence[str] = ("Current (A)",),
        sweep: tuple[float, float] = (-1.0, 1.0),
        points: int = 128,
        sweeps: int = 1,
        backward: bool = False,
        settling_s: float | None = None,
        integration_s: float | None = None,
        lockin_amplitude: float = 0.0,
        lockin_frequency: float | None = None,
        spends: bool = False,
        frame_m: float = 1e-7,
        pixels: int = 64,
        line_s: float | None = None,
        in_frame: bool = False,
        max_bias: float | None = None,
        max_setpoint: float | None = None,
        session_folder: str | None = None,
        safe_port: int | None = None,
        timeout_s: float = 2.0,
        busy_timeout_s: float = 60.0,
        link: Link | None = None,
    ) -> None:
        super().__init__(
            address, axes, bias, setpoint, in_frame, max_bias, max_setpoint, safe_port, timeout_s, busy_timeout_s, link
        )
        self.points, self.sweeps, self.pixels = points, sweeps, pixels
        self._options = SpectrumOptions(
            (sweep[0], sweep[1]), self.points, self.sweeps, bool(backward), settling_s, integration_s,
            lockin_amplitude, lockin_frequency, session_folder,
        )  # fmt: skip
        self._frame_m, self._line_s = frame_m, line_s
        names = tuple(channels)
        if not names or isinstance(channels, str):
            raise ValueError("channels: name one signal or more in a list, such as 'Current (A)'")
        if mode not in ("spectrum", "signal", "image"):
            raise ValueError(f'mode is "spectrum", "signal" or "image"; got {mode!r}')
        self._reading: Reading = Signals(names)
        if mode == "spectrum":
            self._reading = BiasSpectrum(names, self._options)
        elif mode == "image":
            self._reading = Image(names, frame_m, self.pixels, line_s)
        self.frame_moves = mode == "image"
        if self.frame_moves and self.in_frame:
            raise ValueError("in_frame: an image moves the frame itself; give x and y on the sample")
        self.act = self._reading.name
        self._pulses = "pulse" in self._names
        self.cost = ""
        if self._pulses or (spends and mode == "spectrum"):
            self.cost = f"its position has had {'the pulse' if self._pulses else 'the sweep'}, or a part of it"
        self._taken: Taken | None = None
        self._remembers = False
        self._judge()

    def _judge(self) -> None:
        super()._judge()
        largest, options = judged(self, "max_bias"), self._options
        for volts in options.sweep:
            self._within("sweep", volts, largest)
        if options.sweep[0] == options.sweep[1]:
            raise ValueError("sweep: give two different ends")
        if not (finite(options.lockin_amplitude) and 0 <= options.lockin_amplitude <= min(1.0, largest)):
            raise ValueError(
                f"lockin_amplitude = {options.lockin_amplitude!r} V: give a number from 0 to {min(1.0, largest):g}"
            )
        times = (options.settling_s, options.integration_s, self._line_s, options.lockin_frequency)
        if any(value is not None and not (finite(value) and value >= 0) for value in times):
            raise ValueError("settling_s, integration_s, line_s and lockin_frequency are None or not negative")
        if not (finite(self._frame_m) and 0 < self._frame_m <= 1e-3):
            raise ValueError(f"frame_m = {self._frame_m!r} m: give a number above 0 and at most 1e-3")

    @property
    def repeatable(self) -> bool:
        """Whether a reading leaves its place as it is, so that one whose outcome is unknown may be taken again."""
        return not self.cost

    @property
    def remembers_token(self) -> bool:
        """Whether the controller can tell of a token that was used before what became of it.

        By the file of a spectrum, or by the mark that is made before a pulse.
        """
        return super().remembers_token if self.cost else self._remembers

    # --- the connection -----------------------------------------------------------------------------------------------

    def _prepare(self, client: NanonisClient) -> None:
        """The range of the scanner, the frame, and the settings of the reading, read back."""
        super()._prepare(client)
        if self.frame_moves:
            x, y, *_, angle = client.call("Scan.FrameGet")
            client.call("Scan.FrameSet", x, y, self._frame_m, self._frame_m, angle)
            self._check_frame(client.call("Scan.FrameGet"))
        self._reading.prepare(client)
        self._remembers = self._reading.files(client)

    def _check_frame(self, frame: list[float]) -> None:
        if not np.allclose(frame[2:4], self._frame_m, rtol=1e-3):
            raise DeviceError(
                f"{self.address}: a frame of {frame[2:4]} m stands where {self._frame_m:g} m was asked for"
            )

    # --- tokens -------------------------------------------------------------------------------------------------------

    def _look_back(self, client: NanonisClient) -> None:
        if self.cost:
            super()._look_back(client)

    def _told_now(self, client: NanonisClient) -> str:
        return read_mark(client, again=False).token

    def _told(self) -> str:
        return read_mark(self.client).token

    def _used(self, token: str) -> bool:
        return read_mark(self.client) == Mark(BEGUN, token)

    def _is_done(self, token: str) -> bool:
        """Whether the reading of token has a file; what somebody else has pulsed meanwhile is told by the mark."""
        if self.cost:
            super()._is_done(token)
        elif self._interference:
            raise Interference(f"{self._interference}; connect again once the instrument is yours alone")
        self._taken = self._reading.recover(self.client, token)
        return self._taken is not None

    def _taken_over(self, token: str) -> str:
        return super()._taken_over(token) if self.cost else ""

    # --- measuring ----------------------------------------------------------------------------------------------------

    def measure(self, x: object, token: str) -> Measurement:
        """Take one reading at x.

        The controller is asked first whether the reading of this token has a file already: then that one is read. A
        pulse is given at most once under a token.

        Args:
            x: (d,) in the units of the axes.
            token: name of this one reading, letters, digits and ``_.:-``; never used for another.

        Returns:
            "spectrum": "bias" (n,) V and an array for each channel, such as "current" (n,) A, and "current_backward";
            with the lock-in and its first harmonic among the channels, "conductance". "signal": an array () for each
            channel. "image": for each channel "z_forward" and "z_backward" (n, n), rows along x and columns along y, in
            the frame, and "pixel" () m. ok=False for a bad one.

        Raises:
            MoveRefused: outside the limits (nothing was sent), refused by the controller, or not arrived.
            PulseLost: a pulse of this token had begun and was cut off; none was given, the point is lost.
            UnknownOutcome: a pulse may have happened, or a move.
            Interference: somebody else has changed what we had set, or has pulsed; nothing was measured.
            DeviceError: the controller refused.
            LinkLost, LinkTimeout, BadFrame: the link failed again and again.

        After an error that ends a campaign, the safe state has been asked for.
        """
        return self._measure(x, token)

    def _check_settings(self) -> None:
        self._judge()
        self._check_tip()
        self._reading.check(self.client)

    def _wait_idle(self) -> None:
        self._wait(lambda: self._reading.busy(self.client))

    def _perform(self, goal: np.ndarray, token: str) -> None:
        self._bring_in()
        self.set(goal)
        self._engage()
        self._check_settings()  # the move may have taken long
        self._fire(token)

    def _fire(self, token: str) -> None:
        marked = read_mark(self.client) if self.cost else Mark()
        if self.cost and marked != Mark(DONE, token):
            write_mark(self.client, Mark(BEGUN, token))
            self._ours(token)
            self._blank = False
            if self._pulses:
                self._pulse(token)
                write_mark(self.client, Mark(DONE, token))
        spends = bool(self.cost) and not self._pulses
        wait_s = judged(self, "busy_timeout_s")
        self._taken = self._reading.taken(self.client, token, wait_s, self._wait_idle, spends)
        if spends:
            write_mark(self.client, Mark(DONE, token))

    def _pulse(self, token: str) -> None:
        """One Bias.Pulse, sent once."""
        goal = dict(zip(self._names, check_goal(self._virtual, self.axes), strict=True))
        volts, width = goal["pulse"], goal["width"]
        if next(axis.unit for axis in self.axes if axis.name == "width") != "s":
            width = 10.0**width
        hold, absolute = code("Bias.Pulse hold", "hold"), code("Bias.Pulse absolute", "absolute")
        try:
            self.client.call("Bias.Pulse", 1, width, volts, hold, absolute, wait_s=width + judged(self, "timeout_s"))
        except LINK_FAULTS as fault:
            raise UnknownOutcome(
                f"pulse {token}: the link broke as it was given, and whether it was is not known ({fault}); look at "
                "the sample before going on"
            ) from fault

    def _fetch(self, goal: np.ndarray, fresh: bool) -> Measurement:
        taken = self._taken
        assert taken is not None  # performed, or found
        position = self._measured_at(goal, fresh)
        shape = (self.pixels,) * 2 if self.frame_moves else (self.points,)
        ok, reason, flags = quality(taken, shape, self._reading.rails)
        if ok and not fresh and taken.where is not None and "x" in self._names:
            where = self._frame.of_sample(taken.where[None])[0] if self.in_frame else taken.where
            x = self._names.index("x"), self._names.index("y")
            position = goal.copy()
            position[list(x)] = where
            allowed = np.array([self.axes[k].allowed_error for k in x])
            if not np.all(np.abs(where - goal[list(x)]) <= allowed):
                ok, reason, flags = False, f"its file is of {where.tolist()} m, not of {goal.tolist()}", ("elsewhere",)
        if ok and "bias" in taken.arrays and self.act == "spectrum":
            ends, wanted = taken.arrays["bias"][[0, -1]], np.array(self._options.sweep)
            if not np.max(np.abs(ends - wanted)) <= SWEEP_TOLERANCE * np.ptp(wanted):
                flags = (INTERFERENCE,) if fresh else ("sweep",)
                ok, reason = not fresh, f"the sweep went from {ends[0]:.4g} to {ends[1]:.4g} V"
                reason = reason if fresh else ""
        return Measurement(taken.arrays, taken.units, position, ok, reason, flags)


def check_goal(virtual: dict[str, float], axes: Sequence[Axis]) -> list[float]:
    """Values of the axes in order, those of the pulse checked once more; the others are what the controller has."""
    return [axis.check(virtual[axis.name]) if axis.name in virtual else 0.0 for axis in axes]
