"""A PFM that takes images, and the resonance at a place. At zero bias nothing on the sample changes."""

from collections.abc import Sequence

import numpy as np

from gpax_instruments import codecs
from gpax_instruments.errors import LINK_FAULTS, DeviceError, Interference, StillBusy, UnknownOutcome
from gpax_instruments.limits import Axis, Bounded, check_all
from gpax_instruments.link import Link
from gpax_instruments.protocols import Reading
from gpax_instruments.scpi import TAG_ECHO, Scpi
from gpax_instruments.stage import Stage
from gpax_instruments.station import LITTLE_ENDIAN, check_token


class BandExcitation(Stage):
    """A PFM whose measurement is one band-excitation spectrum. Nothing is opened before ``connect``.

    Args:
        address: ``tcp://host:port`` or a VISA resource name, see :func:`~gpax_instruments.link.open_link`.
        axes: x and y in metres, within the instrument's own limits.
        centre: of the band, Hz.
        width: of the band, Hz.
        bins: of the band.
        timeout_s: seconds for one exchange.
        spectrum_timeout_s: seconds for one spectrum, and for one move.
        tag: echo query that numbers the answers; None for an instrument without one.
        link: an open link to use in place of address.

    Raises:
        ValueError: other axes, no band, or a number outside the driver's own limits; so do the attributes.
    """

    act = "spectrum"

    MAX_HZ = 1e7
    """Highest frequency: detectors of cantilevers see no further."""

    MAX_BINS = 65536
    """Of a band: beyond it a spectrum takes longer than the tip keeps its place."""

    centre = Bounded("Hz of the band", 0.0, "MAX_HZ", above=True)
    width = Bounded("Hz of the band", 0.0, "MAX_HZ", above=True)
    bins = Bounded("of the band", 8, "MAX_BINS", whole=True)

    remembers_token = True
    repeatable = True  # excitation at zero bias leaves the sample as it is

    def __init__(
        self,
        address: str,
        axes: Sequence[Axis],
        *,
        centre: float = 350e3,
        width: float = 60e3,
        bins: int = 64,
        timeout_s: float = 2.0,
        spectrum_timeout_s: float = 30.0,
        tag: str | None = TAG_ECHO,
        link: Link | None = None,
    ) -> None:
        super().__init__(address, axes, timeout_s, spectrum_timeout_s, tag, link)
        self.centre, self.width, self.bins = centre, width, bins
        self._wanted()
        self._sent: list[float] = []  # the band that the instrument was given last
        self.pixel_m, self.pixels = 0.0, 0

    @property
    def frequency(self) -> np.ndarray:
        """(bins,) Hz."""
        return np.linspace(self.centre - 0.5 * self.width, self.centre + 0.5 * self.width, self.bins)

    def _prepare(self, scpi: Scpi) -> None:
        super()._prepare(scpi)
        scpi.write(LITTLE_ENDIAN)
        wanted = self._wanted()
        try:
            present = scpi.query_numbers("BAND?")[0].tolist()
        except LINK_FAULTS as fault:
            fault.add_note("it was asked for its band: does this instrument excite in bands?")
            raise
        if present != wanted:
            self._send_band(scpi, wanted)
        self._sent = wanted
        self.pixel_m, self.pixels = scpi.query_frame("SCAN:PIX?")

    def _wanted(self) -> list[float]:
        """Centre and width in Hz, bins; ValueError where they are no band within the driver's own limits."""
        own = type(self)
        checked = [getattr(own, name).check(self, getattr(self, name)) for name in ("centre", "width", "bins")]
        centre, width, _ = checked
        if not (width < 2 * centre and centre + 0.5 * width <= own.MAX_HZ):
            raise ValueError(
                f"a band has 0 < width < 2 centre and ends below {own.MAX_HZ:g} Hz; got {centre!r}, {width!r} Hz. "
                "Nothing was sent"
            )
        return [float(value) for value in checked]

    def _send_band(self, scpi: Scpi, wanted: list[float]) -> None:
        scpi.write(f"BAND {wanted[0]!r},{wanted[1]!r},{int(wanted[2])}")
        found = scpi.query_numbers("BAND?")[0].tolist()
        if found != wanted:
            raise DeviceError(f"band refused: {'; '.join(scpi.errors()) or found}")

    def _check_band(self) -> None:
        """Raise Interference unless the instrument is at bias 0 and in the band that was asked for."""
        self._check_bias()
        wanted = self._wanted()
        found = self.scpi.read_numbers_again("BAND?")[0].tolist()
        if found == wanted:
            return
        if found == self._sent:  # the band of this driver was changed, and not by somebody else
            self._send_band(self.scpi, wanted)
            self._sent = wanted
            return
        raise Interference(
            f"{self.address}: its band is {found} (Hz, Hz, bins), {wanted} was asked for: does another program use the "
            "instrument?"
        )

    def image(self) -> Reading:
        """The domains in the field of view as they are now.

        Returns:
            arrays "polarization" (n, n) float32, rows along x and columns along y, and "pixel" () m.
        """
        self.scpi.connect()
        self._wait_idle()
        values = self._block("SCAN:IMAG?", "<f4")
        ok, reason, flags = codecs.quality(values)
        if values.size == self.pixels**2:
            values = values.reshape(self.pixels, self.pixels)
        elif ok:
            ok, reason, flags = False, f"{self.pixels**2} pixels were expected, {values.size} came", ("short",)
        arrays = {"polarization": values, "pixel": np.array(self.pixel_m)}
        return Reading(arrays, {"polarization": "1", "pixel": "m"}, self.locate().readback, ok, reason, flags)

    def measure(self, x: object, token: str) -> Reading:
        """Take the spectrum at x.

        Args:
            x: (2,) m.
            token: name of this one spectrum, letters, digits and ``_.:-``.

        Returns:
            arrays "frequency" (n,) Hz, "real" and "imaginary" (n,) float32 pm; ok=False for a bad one.

        Raises:
            MoveRefused, UnknownOutcome: see ``set``.
            Interference: somebody else set a bias or another band, or has measured.
            DeviceError: the instrument refused the spectrum.
            LinkLost, LinkTimeout, BadFrame: the link failed again and again.

        After an error that ends a campaign, the safe state has been asked for.
        """
        goal = check_all(self.axes, x)
        check_token(token)
        self.scpi.connect()
        changed = ""
        with self._safe_when_stopped():
            self._wait_idle()
            fresh = not self._is_done(token)
            if fresh:
                self._check_band()
                self.set(goal)
                self._excite(token)
                try:
                    self._check_band()
                except Interference as error:
                    changed = str(error)
            position = self._measured_at(goal, fresh)
            values = self._block("BAND:DATA?", "<f4")
        ok, reason, flags = codecs.quality(values)
        if values.size != 2 * self.bins:
            ok, reason, flags = False, f"{2 * self.bins} numbers were expected, {values.size} came", ("short",)
            values = np.full(2 * self.bins, np.nan, np.float32)
        real, imaginary = values.reshape(self.bins, 2).T
        arrays = {"frequency": self.frequency, "real": real, "imaginary": imaginary}
        units = {"frequency": "Hz", "real": "pm", "imaginary": "pm"}
        reading = Reading(arrays, units, position, ok, reason, flags)
        return self._finished(reading, token, changed)

    def _excite(self, token: str) -> None:
        """Nothing changes by it, so a spectrum whose outcome is unknown is asked for again."""
        for attempt in range(self.scpi.attempts):
            try:
                errors = self._act(token, f'MEAS:BAND "{token}"')
            except UnknownOutcome as doubt:
                if isinstance(doubt.__cause__, StillBusy) or attempt + 1 == self.scpi.attempts:
                    raise
                continue
            if errors is None:
                return
            raise DeviceError(f"spectrum {token} was refused: {'; '.join(errors)}")

    def _done(self) -> str:
        return self.scpi.read_again("BAND:TOK?").strip().strip('"')
