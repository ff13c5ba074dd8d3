"""A piezoresponse force microscope over SCPI: move, apply the bias waveform once, read the loop.

The waveform is a pulse: it may change the sample for good. It is sent at most once under a token, and the instrument
is asked for the token of its last loop whenever there is doubt.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from gpax_instruments import codecs
from gpax_instruments.errors import LINK_FAULTS, DeviceError, InstrumentError, UnknownOutcome
from gpax_instruments.limits import Axis, check_all
from gpax_instruments.link import Link
from gpax_instruments.protocols import Reading
from gpax_instruments.scpi import TAG_ECHO, Scpi
from gpax_instruments.stage import Stage
from gpax_instruments.station import check_token


class PFM(Stage):
    """A PFM whose measurement is one bias-response loop. Nothing is opened before ``connect``.

    Args:
        address: ``tcp://host:port`` or a VISA resource name, see :func:`~gpax_instruments.link.open_link`.
        axes: x and y in metres, within the instrument's own limits.
        vmax: amplitude of the bias waveform, V.
        points: points in one loop.
        timeout_s: seconds for one exchange.
        loop_timeout_s: seconds for one loop, and for one move.
        response_unit: unit of the response that the instrument sends.
        repeatable: whether a loop whose outcome is unknown may be measured again at the same place.
        tag: echo query that numbers the answers; None for an instrument without one.
        link: an open link to use in place of address.
    """

    remembers_token = True  # a loop done under a token is read again, never pulsed again

    def __init__(
        self,
        address: str,
        axes: Sequence[Axis],
        *,
        vmax: float = 8.0,
        points: int = 64,
        timeout_s: float = 2.0,
        loop_timeout_s: float = 30.0,
        response_unit: str = "a.u.",
        repeatable: bool = False,
        tag: str | None = TAG_ECHO,
        link: Link | None = None,
    ) -> None:
        if not (np.isfinite(vmax) and vmax > 0 and points >= 4):
            raise ValueError(f"vmax must be finite and positive and points at least 4, got {vmax!r}, {points!r}")
        super().__init__(address, axes, timeout_s, loop_timeout_s, tag, link)
        self.repeatable = repeatable
        self.vmax, self.points = float(vmax), int(points)
        self.response_unit = response_unit
        self.rail: float | None = None

    def _prepare(self, scpi: Scpi) -> None:
        """Runs after every (re)connection, so it writes only what differs: a waveform in use is left alone."""
        super()._prepare(scpi)
        scpi.write("FORM:BORD SWAP")  # little-endian blocks
        wave, _ = scpi.query_numbers("BIAS:WAV?")
        if wave.tolist() != [self.vmax, self.points]:
            scpi.write(f"BIAS:WAV {self.vmax!r},{self.points}")
            wave, _ = scpi.query_numbers("BIAS:WAV?")
            if wave.tolist() != [self.vmax, self.points]:
                raise DeviceError(f"bias waveform refused: {'; '.join(scpi.errors()) or wave.tolist()}")
        rail, _ = scpi.query_numbers("LOOP:RAIL?")
        self.rail = float(rail[0])

    def measure(self, x: object, token: str) -> Reading:
        """Measure one loop at x.

        The instrument is asked first whether it has already done the loop of this token (a campaign that was killed
        between pulse and record): then that loop is read and no second pulse is sent.

        Args:
            x: (2,) m.
            token: name of this one measurement, letters, digits and ``_.:-``; never used for another.

        Returns:
            arrays "bias" (points,) float64 V and "response" (points,) float32, `response_unit`; ok=False for a bad one.

        Raises:
            MoveRefused: see ``set``; the loop was not measured.
            UnknownOutcome: the pulse may have happened; the safe state was asked for.
            DeviceError: the instrument refused the loop.
            LinkLost, LinkTimeout, BadFrame: the link failed again and again; nothing was pulsed, or the loop is done
                and the same token will read it.
        """
        goal = check_all(self.axes, x)
        check_token(token)
        self.scpi.connect()
        try:
            self._wait_idle()
            if self._done() != token:
                self.set(goal)
                self._engage()
                self.trigger(token)
        except UnknownOutcome as doubt:
            try:
                self.make_safe()
            except InstrumentError as error:
                doubt.add_note(f"and it could not be made safe: {error}")
            raise
        position = self.locate().readback
        self._arrived(goal, position)
        return self._read(position)

    def trigger(self, token: str) -> None:
        """Apply the waveform once under token and wait for its end. Raises UnknownOutcome, DeviceError, link faults."""
        self._wait_idle()  # a link that broke while idle is found and mended here, before the pulse
        errors = self._command(f'MEAS:LOOP "{token}"')
        try:
            self._wait_idle()
            done = self._done()
        except LINK_FAULTS as fault:
            raise UnknownOutcome(
                f"loop {token}: triggered, and the instrument cannot be asked any more ({fault})"
            ) from fault
        if done == token:
            return
        if errors:
            raise DeviceError(f"loop {token} was refused: {'; '.join(errors)}")
        raise UnknownOutcome(
            f"loop {token}: the instrument's last loop is {done!r}, and whether the pulse was applied is not known "
            f"({'the link broke' if errors is None else 'no error reported'}); look at the sample before going on"
        )

    def _done(self) -> str:
        return self.scpi.read_again("LOOP:TOK?").strip().strip('"')

    def _engage(self) -> None:
        """Engaging is a state, not a pulse: it may be asked for again."""
        for _ in range(self.scpi.attempts):
            if self.scpi.read_again("TIP?").strip().upper() == "ENGAGED":
                return
            errors = self._command("TIP:ENG")
            if errors:
                raise DeviceError(f"the tip does not engage: {'; '.join(errors)}")
        if self.scpi.read_again("TIP?").strip().upper() != "ENGAGED":
            raise DeviceError("the tip does not engage, and no error is reported")

    def read(self) -> Reading:
        """The loop measured last, once more and without a pulse; raises link faults.

        Returns:
            As ``measure``; the position is where the tip is now.
        """
        self.scpi.connect()
        self._wait_idle()
        return self._read(self.locate().readback)

    def _read(self, position: np.ndarray) -> Reading:
        arrays: dict[str, Any] = {
            "bias": self.scpi.read_block_again("LOOP:BIAS?", "<f8"),
            "response": self.scpi.read_block_again("LOOP:DATA?", "<f4"),
        }
        ok, reason, flags = codecs.quality(arrays["response"], self.rail)
        bias_ok, bias_reason, bias_flags = codecs.quality(arrays["bias"])
        if ok and not bias_ok:
            ok, reason, flags = False, f"bias: {bias_reason}", bias_flags
        shapes = {a.shape for a in arrays.values()}
        if ok and shapes != {(self.points,)}:
            ok, reason, flags = False, f"{self.points} points were asked for, {sorted(shapes)} came", ("short",)
        return Reading(arrays, {"bias": "V", "response": self.response_unit}, position, ok, reason, flags)
