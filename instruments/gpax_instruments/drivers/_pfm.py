"""A piezoresponse force microscope over SCPI: move, apply the bias waveform once, read the loop.

The waveform is a pulse: it may change the sample for good. It is sent at most once under a token, and the instrument
is asked for the token of its last loop whenever there is doubt.
"""

from collections.abc import Sequence

import numpy as np

from gpax_instruments import _codecs as codecs
from gpax_instruments.drivers._acts_once import INTERFERENCE
from gpax_instruments.drivers._bounded import Bounded, judged
from gpax_instruments.drivers._kept import Kept
from gpax_instruments.drivers._scpi_instrument import LITTLE_ENDIAN
from gpax_instruments.drivers._stage import Stage
from gpax_instruments.errors import DeviceError
from gpax_instruments.links._link import Link
from gpax_instruments.links._scpi import TAG_ECHO, Scpi
from gpax_lab.core import Axis, Measurement

BIAS_TOLERANCE = 0.01
"""Share of vmax by which the waveform that comes home may differ: a gain error as calibrations leave it."""

WAVEFORM = "waveform"
"""Flag of a loop that was done with another waveform than would be asked for now."""


def triangle(vmax: float, points: int) -> np.ndarray:
    """The waveform of a loop, (points,) V: 0, +vmax, -vmax and back to one step before 0."""
    phase = np.arange(points) / points
    return vmax * (np.abs((4.0 * phase - 1.0) % 4.0 - 2.0) - 1.0)


class PFM(Stage):
    """A PFM whose measurement is one bias-response loop. Nothing is opened before ``connect``.

    Args:
        address: ``tcp://host:port`` or a VISA resource name, see :func:`~gpax_instruments.links.open_link`.
        axes: x and y in metres, within the instrument's own limits.
        vmax: amplitude of the bias waveform, V, at most `max_bias`.
        points: points in one loop.
        max_bias: highest bias that is ever sent, V; it narrows the driver's own `MAX_BIAS_V`. None: the latter.
        timeout_s: seconds for one exchange.
        loop_timeout_s: seconds for one loop, and for one move.
        response_unit: unit of the response that the instrument sends.
        repeatable: whether a loop whose outcome is unknown may be measured again at the same position.
        tag: echo query that numbers the answers; None for an instrument without one.
        link: an open link to use in place of address.

    Raises:
        ValueError: other axes, or a number outside the driver's own limits; so do the attributes.
    """

    model = "PFM"
    act, word = "loop", "LOOP"
    cost = "its position has had a part of the pulse"
    repeatable: bool = False

    MAX_BIAS_V = 20.0
    """V: outputs of microscope controllers reach 10 V; twice that leaves room for an amplifier, and more across a film
    of some hundred nm is breakdown. A laboratory with another film derives a class of its own."""

    MAX_POINTS = 1_000_000
    """A loop beyond this does not fit the time that the tip keeps its position; and it bounds what is received."""

    max_bias = Bounded("V", 0.0, "MAX_BIAS_V", above=True, none=True)
    vmax = Bounded("V", 0.0, "max_bias", above=True)
    points = Bounded("of a loop", 4, "MAX_POINTS", whole=True)

    def __init__(
        self,
        address: str,
        axes: Sequence[Axis],
        *,
        vmax: float = 8.0,
        points: int = 64,
        max_bias: float | None = None,
        timeout_s: float = 2.0,
        loop_timeout_s: float = 30.0,
        response_unit: str = "a.u.",
        repeatable: bool = False,
        tag: str | None = TAG_ECHO,
        link: Link | None = None,
    ) -> None:
        super().__init__(address, axes, timeout_s, loop_timeout_s, tag, link)
        self.repeatable = repeatable
        self.max_bias = max_bias
        self.vmax, self.points = vmax, points
        self._wave = Kept("BIAS:WAV", "waveform", "V, points", self._wanted)
        self.response_unit = response_unit
        self.rail: float | None = None
        self._pulsed = ""  # token of the loop that we have asked for last
        self._fetched = ("", np.zeros(2))  # token of the loop that was read last, and its position in m

    @property
    def limits(self) -> dict[str, float]:
        """`vmax` and `max_bias`, V."""
        return {"vmax": float(self.vmax), "max_bias": float(self.max_bias)}

    @property
    def units(self) -> dict[str, str]:
        """Unit of each array of a measurement."""
        return {"bias": "V", "response": self.response_unit}

    @property
    def arrays(self) -> tuple[str, ...]:
        """Names of all arrays of a measurement."""
        return tuple(self.units)

    def _prepare(self, scpi: Scpi) -> None:
        super()._prepare(scpi)
        scpi.write(LITTLE_ENDIAN)
        self._wave.prepare(scpi)
        rail = scpi.query_finite("LOOP:RAIL?", 1)
        if not rail[0] > 0:
            raise DeviceError(f"{self.address}: its converter saturates at {rail.tolist()}, which is no magnitude")
        self.rail = float(rail[0])

    def _wanted(self) -> list[float]:
        """Amplitude and points; judged once more: what is sent is within the limits, whoever has touched the driver."""
        return [judged(self, "vmax"), judged(self, "points")]

    def _check_settings(self) -> None:
        """At bias 0, and about to apply what was asked for, and nothing else."""
        self._check_bias()
        self._wave.check(self.scpi)

    def measure(self, x: object, token: str) -> Measurement:
        """Measure one loop at x.

        The instrument is asked first whether it has already done the loop of this token (a campaign that was killed
        between pulse and record): then that loop is read and no second pulse is sent.

        Args:
            x: (2,) m.
            token: name of this one measurement, letters, digits and ``_.:-``; never used for another.

        After an error that ends a campaign, the safe state has been asked for.

        Returns:
            arrays "bias" (points,) float64 V and "response" (points,) float32, `response_unit`; ok=False for a bad
            one. One that was pulsed with another waveform has the flag "interference": the instrument was made safe,
            and the next measurement is refused. One that the instrument still held, from before the program ended, is
            good whatever its waveform was, which comes home with it; it has the flag "waveform" where that is another.

        Raises:
            MoveRefused: see ``set``; the loop was not measured.
            PulseLost: a loop of this token was cut off, perhaps by a power failure; none was pulsed, the point is lost.
            UnknownOutcome: the pulse may have happened.
            Interference: somebody else set another bias or waveform, or has measured; nothing was pulsed.
            DeviceError: the instrument refused the loop.
            LinkLost, LinkTimeout, BadFrame: the link failed again and again; nothing was pulsed, or the loop is done
                and the same token will read it.
        """
        return self._measure(x, token)

    def _perform(self, goal: np.ndarray, token: str) -> None:
        self.set(goal)
        self._engage()
        self._wait_idle()  # a link that broke while idle is found and mended here, before the pulse
        self._check_settings()  # the move may have taken long
        self._fire(token)

    def _fire(self, token: str) -> None:
        self._pulsed = token
        self._act(token, f'MEAS:LOOP "{token}"')

    def _fetch(self, goal: np.ndarray, fresh: bool) -> Measurement:
        position, token = self._measured_at(goal, fresh), self._last
        if token == self._fetched[0]:
            self._arrived(goal, self._fetched[1])  # a token is of one position
        self._fetched = (token, position)
        return self._read(position, fresh or token == self._pulsed)

    def _engage(self) -> None:
        """Engaging is a state, not a pulse: it may be asked for again."""
        for _ in range(self.scpi.attempts):
            if self.scpi.read_again("TIP?").strip().upper() == "ENGAGED":
                return
            self._check_bias()  # the move may have taken long, and a tip that comes down with a bias on has acted
            errors = self._command("TIP:ENG")
            if errors:
                raise DeviceError(f"the tip does not engage: {'; '.join(errors)}")
        if self.scpi.read_again("TIP?").strip().upper() != "ENGAGED":
            raise DeviceError("the tip does not engage, and no error is reported")

    def read(self) -> Measurement:
        """The loop measured last, once more and without a pulse; raises link faults.

        Returns:
            As ``measure``; the position is where the tip is now.
        """
        self.scpi.connect()
        self._wait_idle()
        return self._read(self.locate().readback)

    def _read(self, position: np.ndarray, ours: bool = True) -> Measurement:
        """The loop; ours: it was to have the waveform that is asked for now."""
        response, ok, reason, flags = codecs.shaped(self._block("LOOP:DATA?", "<f4"), (self.points,), self.rail)
        bias, bias_ok, bias_reason, bias_flags = codecs.shaped(self._block("LOOP:BIAS?", "<f8"), (self.points,))
        if ok and not bias_ok:
            ok, reason, flags = False, f"bias: {bias_reason}", bias_flags
        if ok:
            error = np.max(np.abs(bias - triangle(self.vmax, self.points)))
            if not error <= BIAS_TOLERANCE * self.vmax:
                reason = (
                    f"a waveform that reaches {np.max(np.abs(bias)):.4g} V was applied, which differs by "
                    f"{error:.3g} V from the triangle of {self.vmax:g} V that was asked for"
                )
                # One that was done before the program ended was asked for by the settings of that time.
                ok, reason, flags = (False, reason, (INTERFERENCE,)) if ours else (True, "", (WAVEFORM,))
        arrays = {"bias": bias, "response": response}
        return Measurement(arrays, self.units, position, ok, reason, flags)
