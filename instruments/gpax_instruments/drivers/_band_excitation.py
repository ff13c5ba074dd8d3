"""A PFM that takes images, and the resonance at a position. At zero bias nothing on the sample changes."""

from collections.abc import Sequence

import numpy as np

from gpax_instruments import _codecs as codecs
from gpax_instruments.drivers._bounded import Bounded, judged
from gpax_instruments.drivers._images import image_measurement
from gpax_instruments.drivers._kept import Kept
from gpax_instruments.drivers._scpi_instrument import LITTLE_ENDIAN
from gpax_instruments.drivers._stage import Stage
from gpax_instruments.errors import LINK_FAULTS, StillBusy, UnknownOutcome
from gpax_instruments.links._link import Link
from gpax_instruments.links._scpi import TAG_ECHO, Scpi
from gpax_lab.core import Axis, Measurement


class BandExcitation(Stage):
    """A PFM whose measurement is one band-excitation spectrum. Nothing is opened before ``connect``.

    Args:
        address: ``tcp://host:port`` or a VISA resource name, see :func:`~gpax_instruments.links.open_link`.
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

    model = "PFM"
    act, word = "spectrum", "BAND"
    comes_home = False  # the band is not told with the spectrum

    MAX_HZ = 1e7
    """Highest frequency: detectors of cantilevers see no further."""

    MAX_BINS = 65536
    """Of a band: beyond it a spectrum takes longer than the tip keeps its position."""

    centre = Bounded("Hz of the band", 0.0, "MAX_HZ", above=True)
    width = Bounded("Hz of the band", 0.0, "MAX_HZ", above=True)
    bins = Bounded("of the band", 8, "MAX_BINS", whole=True)

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
        self._band = Kept("BAND", "band", "Hz, Hz, bins", self._wanted)
        self.pixel_m, self.pixels = 0.0, 0

    @property
    def frequency(self) -> np.ndarray:
        """(bins,) Hz."""
        return np.linspace(self.centre - 0.5 * self.width, self.centre + 0.5 * self.width, self.bins)

    def _prepare(self, scpi: Scpi) -> None:
        super()._prepare(scpi)
        scpi.write(LITTLE_ENDIAN)
        try:
            self._band.prepare(scpi)
        except LINK_FAULTS as fault:
            fault.add_note("it was asked for its band: does this instrument excite in bands?")
            raise
        self.pixel_m, self.pixels = scpi.query_frame("SCAN:PIX?")

    def _wanted(self) -> list[float]:
        """Centre and width in Hz, bins; ValueError where they are no band within the driver's own limits."""
        highest = type(self).MAX_HZ  # an attribute of the object can not widen it
        centre, width, bins = (judged(self, name) for name in ("centre", "width", "bins"))
        if not (width < 2 * centre and centre + 0.5 * width <= highest):
            raise ValueError(
                f"a band has 0 < width < 2 centre and ends below {highest:g} Hz; got {centre!r}, {width!r} Hz. "
                "Nothing was sent"
            )
        return [centre, width, bins]

    def _check_settings(self) -> None:
        """At bias 0, and in the band that was asked for."""
        self._check_bias()
        self._band.check(self.scpi)

    def image(self) -> Measurement:
        """The domains in the field of view as they are now.

        Returns:
            arrays "polarization" (n, n) float32, rows along x and columns along y, and "pixel" () m.
        """
        self.scpi.connect()
        self._wait_idle()
        values = self._block("SCAN:IMAG?", "<f4")
        return image_measurement("polarization", values, self.pixels, self.pixel_m, self.locate().readback)

    def measure(self, x: object, token: str) -> Measurement:
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
        return self._measure(x, token)

    def _perform(self, goal: np.ndarray, token: str) -> None:
        self.set(goal)
        self._fire(token)

    def _fetch(self, goal: np.ndarray, fresh: bool) -> Measurement:
        position = self._measured_at(goal, fresh)
        values, ok, reason, flags = codecs.shaped(self._block("BAND:DATA?", "<f4"), (self.bins, 2))
        if values.shape != (self.bins, 2):
            values = np.full((self.bins, 2), np.nan, np.float32)
        arrays = {"frequency": self.frequency, "real": values[:, 0], "imaginary": values[:, 1]}
        units = {"frequency": "Hz", "real": "pm", "imaginary": "pm"}
        return Measurement(arrays, units, position, ok, reason, flags)

    def _fire(self, token: str) -> None:
        """Nothing changes by it, so a spectrum whose outcome is unknown is asked for again."""
        for attempt in range(self.scpi.attempts):
            try:
                return self._act(token, f'MEAS:BAND "{token}"')
            except UnknownOutcome as doubt:
                if isinstance(doubt.__cause__, StillBusy) or attempt + 1 == self.scpi.attempts:
                    raise
