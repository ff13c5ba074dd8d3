"""Domain writing over SCPI: one pulse of bias on fresh film, and the image of the domain it left.

A pulse can not be taken back, and its cell of film is spent. It is sent at most once under a token: the instrument is
asked first whether a pulse of this token has begun, and for the token of its last domain whenever there is doubt.
"""

import numpy as np

from gpax_instruments import codecs
from gpax_instruments.errors import LINK_FAULTS, DeviceError, InstrumentError, PulseLost, UnknownOutcome
from gpax_instruments.limits import Axis, check_all
from gpax_instruments.link import Link
from gpax_instruments.protocols import Reading
from gpax_instruments.scpi import TAG_ECHO, Scpi
from gpax_instruments.station import Station, check_token

ROUNDING = 1e-9  # V, and log10 of s


class DomainWriter(Station):
    """A PFM whose measurement is one written domain. Nothing is opened before ``connect``.

    A place is (bias in V, decimal logarithm of the duration in s): `axes`. The stage is the instrument's business: it
    goes to the next cell of fresh film by itself.

    Args:
        address: ``tcp://host:port`` or a VISA resource name, see :func:`~gpax_instruments.link.open_link`.
        bias: lowest and highest bias in V.
        log_duration: log10 of the shortest and the longest duration in s.
        tolerance: how far the pulse applied may lie from the one asked for, in V and in log10 s. A domain written by
            another pulse comes back as a reading that is not ok, with the pulse that was applied as its position.
        timeout_s: seconds for one exchange.
        image_timeout_s: seconds for one domain, beyond the duration of its pulse.
        tag: echo query that numbers the answers; None for an instrument without one.
        link: an open link to use in place of address.

    Raises:
        ValueError: limits that are not finite with low < high.
    """

    remembers_token = True  # a domain written under a token is looked at again, never written again
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
        self.axes: tuple[Axis, ...] = (
            Axis("bias", "V", *bias, tolerance=tolerance[0]),
            Axis("log10 duration", "log10(s)", *log_duration, tolerance=tolerance[1]),
        )
        # A pulse of a campaign that was killed may still be going on: the first wait allows for the longest one.
        super().__init__(address, timeout_s, image_timeout_s + 2.0 * 10.0 ** self.axes[1].high, tag, link)
        self.image_timeout_s = image_timeout_s
        self.pixel_m, self.pixels = 0.0, 0
        self._limits = np.array([-np.inf, np.inf, 0.0, np.inf])  # those of the instrument: V, V, s, s

    def _prepare(self, scpi: Scpi) -> None:
        try:
            limits, flags = scpi.query_numbers("PULS:LIM?")
        except LINK_FAULTS as fault:
            fault.add_note("it was asked for the limits of its pulses: can this instrument write domains?")
            raise
        if flags or limits.shape != (4,):
            raise DeviceError(f"{self.address} tells no limits of its pulses: {limits.tolist()}; can it write domains?")
        for axis, (low, high) in zip(self.axes, (limits[:2], np.log10(limits[2:])), strict=True):
            # log10 of the limit and of the same limit told in s differ by rounding
            if not (low <= axis.low + ROUNDING and axis.high <= high + ROUNDING):
                raise DeviceError(
                    f"axis {axis.name} allows {axis.low!r} to {axis.high!r} {axis.unit}, the instrument "
                    f"{float(low)!r} to {float(high)!r}; narrow the axis"
                )
        self._limits = limits
        scpi.write("FORM:BORD SWAP")  # little-endian blocks
        frame, flags = scpi.query_numbers("IMAG:PIX?")
        if flags or frame.shape != (2,) or frame[0] <= 0:
            raise DeviceError(f"{self.address} tells no size of a pixel: {frame.tolist()}")
        self.pixel_m, self.pixels = float(frame[0]), int(frame[1])

    def check_value(self, target: object) -> None:
        """Raise MoveRefused when target may not be sent. Sends nothing."""
        check_all(self.axes, target)

    def cells_left(self) -> int:
        """Cells of fresh film."""
        used, total = self.scpi.read_numbers_again("FILM:CELL?")[0]
        return int(total - used)

    def measure(self, x: object, token: str) -> Reading:
        """Write one domain with the pulse x, and look at it.

        The instrument is asked first whether it has already written the domain of this token: then that one is looked
        at and no second pulse is sent.

        Args:
            x: (2,) bias in V and log10 of the duration in s.
            token: name of this one pulse, letters, digits and ``_.:-``; never used for another.

        Returns:
            arrays "image" (n, n) float32 contrast, +1 outside the domain and -1 inside, and "pixel" () float64 m; the
            position is the pulse as it was applied. ok=False for a bad image, or another pulse than asked for.

        Raises:
            MoveRefused: outside the limits; nothing was sent.
            PulseLost: a pulse of this token was cut off earlier; nothing was sent, and the point is lost.
            UnknownOutcome: the pulse may have happened; the safe state was asked for.
            DeviceError: the instrument refused the pulse.
            LinkLost, LinkTimeout, BadFrame: the link failed again and again; nothing was pulsed, or the domain is there
                and the same token will show it.
        """
        goal = check_all(self.axes, x)
        check_token(token)
        self.scpi.connect()
        try:
            self._wait_idle()
            if self._done() != token:
                if self.scpi.read_again(f'PULS:USED? "{token}"').strip() != "0":
                    raise PulseLost(f"pulse {token} had begun and was cut off: its cell of film is spent")
                self._pulse(goal, token)
        except UnknownOutcome as doubt:
            try:
                self.make_safe()
            except InstrumentError as error:
                doubt.add_note(f"and it could not be made safe: {error}")
            raise
        return self._read(goal)

    def read(self) -> Reading:
        """The domain written last, once more and without a pulse; raises link faults."""
        self.scpi.connect()
        self._wait_idle()
        return self._read(None)

    def _pulse(self, goal: np.ndarray, token: str) -> None:
        """One PULS, sent once. If the link breaks, the token of the last pulse says whether it happened."""
        # log10 and back differ by rounding, and a pulse at the very edge of the limits is a fair one.
        low, high = self._limits[[0, 2]], self._limits[[1, 3]]
        bias, duration = np.clip([float(goal[0]), 10.0 ** float(goal[1])], low, high).tolist()
        self.scpi.errors()  # what is told after the pulse shall be about the pulse
        patience_s = self.image_timeout_s + 2.0 * duration
        errors = self._command(f'PULS {bias!r},{duration!r},"{token}"', patience_s)
        try:
            self._wait_idle(patience_s)
            done = self._done()
        except LINK_FAULTS as fault:
            raise UnknownOutcome(
                f"pulse {token}: sent, and the instrument cannot be asked any more ({fault})"
            ) from fault
        if done == token:
            return
        if errors:
            raise DeviceError(f"pulse {token} was refused: {'; '.join(errors)}; is there fresh film?")
        raise UnknownOutcome(
            f"pulse {token}: the instrument's last pulse is {done!r}, and whether this one was applied is not known "
            f"({'the link broke' if errors is None else 'no error reported'}); look at the sample before going on"
        )

    def _done(self) -> str:
        return self.scpi.read_again("PULS:TOK?").strip().strip('"')

    def _read(self, goal: np.ndarray | None) -> Reading:
        pulse, flags = self.scpi.read_numbers_again("PULS?")
        if flags or pulse.shape != (2,) or pulse[1] <= 0:
            raise DeviceError(f"{self.address} tells no pulse: {pulse.tolist()}")
        position = np.array([pulse[0], np.log10(pulse[1])])
        image = self.scpi.read_block_again("IMAG:DATA?", "<f4")
        ok, reason, flags = codecs.quality(image)
        if image.size == self.pixels**2:
            image = image.reshape(self.pixels, self.pixels)
        elif ok:
            ok, reason, flags = False, f"{self.pixels**2} pixels were expected, {image.size} came", ("short",)
        allowed = np.array([axis.allowed_error for axis in self.axes])
        if goal is not None and np.any(np.abs(position - goal) > allowed):
            ok, reason, flags = False, f"applied {position.tolist()} instead of {goal.tolist()}", ("elsewhere",)
        arrays = {"image": image, "pixel": np.array(self.pixel_m)}
        return Reading(arrays, {"image": "1", "pixel": "m"}, position, ok, reason, flags)
