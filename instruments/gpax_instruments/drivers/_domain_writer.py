"""Domain writing over SCPI: one pulse of bias on fresh film, and the image of the domain it left.

A pulse can not be taken back, and its cell of film is spent. It is sent at most once under a token: the instrument is
asked first whether a pulse of this token has begun, and for the token of its last domain whenever there is doubt.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

import numpy as np

from gpax_instruments.drivers._acts_once import INTERFERENCE
from gpax_instruments.drivers._bounded import Bounded, judged
from gpax_instruments.drivers._images import image_measurement
from gpax_instruments.drivers._scpi_instrument import LITTLE_ENDIAN, ScpiInstrument
from gpax_instruments.errors import LINK_FAULTS, DeviceError
from gpax_instruments.links._link import Link
from gpax_instruments.links._scpi import TAG_ECHO, Scpi
from gpax_lab.core import Axis, Measurement

ROUNDING = 1e-9  # V, and log10 of s


class DomainWriter(ScpiInstrument):
    """A PFM whose measurement is one written domain. Nothing is opened before ``connect``.

    A target is (bias in V, decimal logarithm of the duration in s): `axes`. The stage is the instrument's business: it
    goes to the next cell of fresh film by itself.

    Args:
        address: ``tcp://host:port`` or a VISA resource name, see :func:`~gpax_instruments.links.open_link`.
        bias: lowest and highest bias in V.
        log_duration: log10 of the shortest and the longest duration in s.
        tolerance: how far the pulse applied may lie from the one asked for, in V and in log10 s. A domain written by
            another pulse comes back as a measurement that is not ok, with the pulse that was applied as its position.
        timeout_s: seconds for one exchange.
        image_timeout_s: seconds for one domain, beyond the duration of its pulse.
        tag: echo query that numbers the answers; None for an instrument without one.
        link: an open link to use in place of address.

    Raises:
        ValueError: limits that are not finite with low < high, or outside the driver's own; so do the attributes.
    """

    model = "PFM"
    act, word = "pulse", "PULS"
    cost = "its cell of film is spent"

    AXES: ClassVar[Mapping[str, str]] = {"bias": "V", "log10 duration": "log10(s)"}
    """Name and unit of each axis."""

    MAX_BIAS_V = 20.0
    """V, of either sign; as for loops (`PFM.MAX_BIAS_V`)."""

    MAX_DURATION_S = 1000.0
    """s: after a quarter of an hour drift has taken the tip away, and what is written is no domain."""

    MIN_DURATION_S = 1e-9
    """s: no amplifier at a tip follows faster."""

    image_timeout_s = Bounded("s", 0.0, "MAX_TIMEOUT_S", above=True)

    repeatable = False  # a pulse whose outcome is unknown may have spent a cell of film

    def __init__(
        self,
        address: str,
        bias: tuple[float, float] = (1.0, 10.0),
        log_duration: tuple[float, float] = (-3.0, 2.0),
        *,
        tolerance: tuple[float, float] = (0.01, 0.005),
        timeout_s: float = 2.0,
        image_timeout_s: float = 30.0,
        tag: str | None = TAG_ECHO,
        link: Link | None = None,
    ) -> None:
        self._limits = np.array([-np.inf, np.inf, 0.0, np.inf])  # those of the instrument: V, V, s, s
        self.axes = (
            Axis("bias", "V", *bias, tolerance=tolerance[0]),
            Axis("log10 duration", "log10(s)", *log_duration, tolerance=tolerance[1]),
        )
        # A pulse of a campaign that was killed may still be going on: the first wait allows for the longest one.
        self.image_timeout_s = image_timeout_s
        super().__init__(address, timeout_s, self.image_timeout_s + 2.0 * 10.0 ** self.axes[1].high, tag, link)
        self.pixel_m, self.pixels = 0.0, 0

    @property
    def axes(self) -> tuple[Axis, ...]:
        """Bias in V and log10 of the duration in s; others may be given, within the driver's and the instrument's."""
        return self._axes

    @axes.setter
    def axes(self, axes: Sequence[Axis]) -> None:
        if [getattr(axis, "unit", None) for axis in axes] != ["V", "log10(s)"]:
            raise ValueError(
                "a writer has two axes, the bias in V and the decimal logarithm of the duration in log10(s)"
            )
        own = type(self)  # an attribute of the object can not widen them
        shortest, longest = math.log10(own.MIN_DURATION_S), math.log10(own.MAX_DURATION_S)
        for axis, low, high in zip(axes, (-own.MAX_BIAS_V, shortest), (own.MAX_BIAS_V, longest), strict=True):
            if not (low <= axis.low + ROUNDING and axis.high <= high + ROUNDING):
                raise ValueError(
                    f"axis {axis.name} allows {axis.low!r} to {axis.high!r} {axis.unit}, the driver's own limits are "
                    f"{low:g} to {high:g}; narrow the axis. Nothing was sent"
                )
        self._check_axes(tuple(axes))
        self._axes = tuple(axes)

    def _check_axes(self, axes: tuple[Axis, ...]) -> None:
        volts, seconds = self._limits[:2], self._limits[2:]
        with np.errstate(divide="ignore"):  # before the instrument has told its limits there is none
            limits = volts, np.log10(seconds)
        for axis, (low, high) in zip(axes, limits, strict=True):
            # log10 of the limit and of the same limit told in s differ by rounding
            if not (low <= axis.low + ROUNDING and axis.high <= high + ROUNDING):
                raise DeviceError(
                    f"axis {axis.name} allows {axis.low!r} to {axis.high!r} {axis.unit}, the instrument "
                    f"{float(low)!r} to {float(high)!r}; narrow the axis"
                )

    def _prepare(self, scpi: Scpi) -> None:
        try:
            limits, flags = scpi.query_numbers("PULS:LIM?")
        except LINK_FAULTS as fault:
            fault.add_note("it was asked for the limits of its pulses: can this instrument write domains?")
            raise
        if flags or limits.shape != (4,) or not (limits[0] < limits[1] and 0 < limits[2] < limits[3]):
            raise DeviceError(f"{self.address} tells no limits of its pulses: {limits.tolist()}; can it write domains?")
        self._limits = limits
        self._check_axes(self.axes)
        scpi.write(LITTLE_ENDIAN)
        self.pixel_m, self.pixels = scpi.query_frame("IMAG:PIX?")

    def cells_left(self) -> int:
        """Cells of fresh film."""
        used, total = self.scpi.read_finite_again("FILM:CELL?", 2).tolist()
        if not 0 <= used <= total:
            raise DeviceError(f"{self.address} tells {used:g} used cells of {total:g}; check the film")
        return int(total - used)

    def measure(self, x: object, token: str) -> Measurement:
        """Write one domain with the pulse x, and look at it.

        The instrument is asked first whether it has already written the domain of this token: then that one is looked
        at and no second pulse is sent.

        Args:
            x: (2,) bias in V and log10 of the duration in s.
            token: name of this one pulse, letters, digits and ``_.:-``; never used for another.

        Returns:
            arrays "image" (n, n) float32 contrast, +1 outside the domain and -1 inside, and "pixel" () float64 m; the
            position is the pulse as it was applied. ok=False for a bad image, or another pulse than asked for; where
            it was sent just now, it has the flag "interference" too, the instrument was made safe, and the next
            measurement is refused.

        Raises:
            MoveRefused: outside the limits; nothing was sent.
            PulseLost: a pulse of this token was cut off, perhaps by a power failure; none was sent, the point is lost.
            UnknownOutcome: the pulse may have happened.
            Interference: somebody else has set a bias or written a domain; nothing was pulsed.
            DeviceError: the instrument refused the pulse.
            LinkLost, LinkTimeout, BadFrame: the link failed again and again; nothing was pulsed, or the domain is there
                and the same token will show it.

        After an error that ends a campaign, the safe state has been asked for.
        """
        return self._measure(x, token)

    def _check_settings(self) -> None:
        """At bias 0; and the axes are judged once more, whoever has touched the driver."""
        self.axes = self._axes
        self._check_bias()

    def read(self) -> Measurement:
        """The domain written last, once more and without a pulse; raises link faults."""
        self.scpi.connect()
        self._wait_idle()
        return self._read(None, False)

    def _perform(self, goal: np.ndarray, token: str) -> None:
        """One PULS, sent once. If the link breaks, the token of the last pulse says whether it happened."""
        # log10 and back differ by rounding, and a pulse at the very edge of the limits is a fair one.
        low, high = self._limits[[0, 2]], self._limits[[1, 3]]
        bias, duration = np.clip([float(goal[0]), 10.0 ** float(goal[1])], low, high).tolist()
        self.scpi.errors()  # what is told after the pulse shall be about the pulse
        busy_timeout_s = judged(self, "image_timeout_s") + 2.0 * duration
        self._act(token, f'PULS {bias!r},{duration!r},"{token}"', busy_timeout_s, "; is there fresh film?")

    def _fetch(self, goal: np.ndarray, fresh: bool) -> Measurement:
        return self._read(goal, fresh)

    def _read(self, goal: np.ndarray | None, fresh: bool) -> Measurement:
        pulse, flags = self.scpi.read_numbers_again("PULS?")
        if flags or pulse.shape != (2,) or pulse[1] <= 0:
            raise DeviceError(f"{self.address} tells no pulse: {pulse.tolist()}")
        position = np.array([pulse[0], np.log10(pulse[1])])
        measurement = image_measurement("image", self._block("IMAG:DATA?", "<f4"), self.pixels, self.pixel_m, position)
        allowed = np.array([axis.allowed_error for axis in self.axes])
        if goal is None or np.all(np.abs(position - goal) <= allowed):
            return measurement
        reason = f"applied {position.tolist()} instead of {goal.tolist()}"
        return replace(
            measurement, ok=False, reason=reason, flags=("elsewhere", INTERFERENCE) if fresh else ("elsewhere",)
        )
