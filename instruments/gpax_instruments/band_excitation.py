"""A PFM that takes images, and the resonance at a place. At zero bias nothing on the sample changes."""

from collections.abc import Sequence

import numpy as np

from gpax_instruments import codecs
from gpax_instruments.errors import LINK_FAULTS, DeviceError
from gpax_instruments.limits import Axis, check_all
from gpax_instruments.link import Link
from gpax_instruments.protocols import Reading
from gpax_instruments.scpi import TAG_ECHO, Scpi
from gpax_instruments.stage import Stage
from gpax_instruments.station import check_token


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
        ValueError: other axes, or no band.
    """

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
        if not (np.isfinite(centre) and 0 < width < 2 * centre and bins >= 8):
            raise ValueError(f"a band has 0 < width < 2 centre and 8 bins or more; got {centre!r}, {width!r}, {bins!r}")
        super().__init__(address, axes, timeout_s, spectrum_timeout_s, tag, link)
        self.centre, self.width, self.bins = float(centre), float(width), int(bins)
        self.pixel_m, self.pixels = 0.0, 0

    @property
    def frequency(self) -> np.ndarray:
        """(bins,) Hz."""
        return np.linspace(self.centre - 0.5 * self.width, self.centre + 0.5 * self.width, self.bins)

    def _prepare(self, scpi: Scpi) -> None:
        super()._prepare(scpi)
        scpi.write("FORM:BORD SWAP")  # little-endian blocks
        wanted = [self.centre, self.width, self.bins]
        try:
            present = scpi.query_numbers("BAND?")[0].tolist()
        except LINK_FAULTS as fault:
            fault.add_note("it was asked for its band: does this instrument excite in bands?")
            raise
        if present != wanted:
            scpi.write(f"BAND {self.centre!r},{self.width!r},{self.bins}")
            found = scpi.query_numbers("BAND?")[0]
            if found.tolist() != wanted:
                raise DeviceError(f"band refused: {'; '.join(scpi.errors()) or found.tolist()}")
        frame = scpi.query_numbers("SCAN:PIX?")[0]
        if frame.shape != (2,) or not frame[0] > 0:
            raise DeviceError(f"{self.address} tells no size of a pixel: {frame.tolist()}")
        self.pixel_m, self.pixels = float(frame[0]), int(frame[1])

    def image(self) -> Reading:
        """The domains in the field of view as they are now.

        Returns:
            arrays "polarization" (n, n) float32, rows along x and columns along y, and "pixel" () m.
        """
        self.scpi.connect()
        self._wait_idle()
        values = self.scpi.read_block_again("SCAN:IMAG?", "<f4")
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
            DeviceError: the instrument refused the spectrum.
            LinkLost, LinkTimeout, BadFrame: the link failed again and again.
        """
        goal = check_all(self.axes, x)
        check_token(token)
        self.scpi.connect()
        self._wait_idle()
        if self._done() != token:
            self.set(goal)
            for _ in range(self.scpi.attempts):
                errors = self._command(f'MEAS:BAND "{token}"')
                if errors:
                    raise DeviceError(f"spectrum {token} was refused: {'; '.join(errors)}")
                if self._done() == token:
                    break
            else:
                raise DeviceError(f"spectrum {token} was not taken, and no error is reported")
        position = self._measured_at(goal)
        values = self.scpi.read_block_again("BAND:DATA?", "<f4")
        ok, reason, flags = codecs.quality(values)
        if values.size != 2 * self.bins:
            ok, reason, flags = False, f"{2 * self.bins} numbers were expected, {values.size} came", ("short",)
            values = np.full(2 * self.bins, np.nan, np.float32)
        real, imaginary = values.reshape(self.bins, 2).T
        arrays = {"frequency": self.frequency, "real": real, "imaginary": imaginary}
        units = {"frequency": "Hz", "real": "pm", "imaginary": "pm"}
        return Reading(arrays, units, position, ok, reason, flags)

    def _done(self) -> str:
        return self.scpi.read_again("BAND:TOK?").strip().strip('"')
