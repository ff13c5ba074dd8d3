"""A scanning transmission electron microscope over SCPI: images, and a spectrum or a diffraction pattern at a place.

The beam damages what it stands on. It is blanked except while a shot is taken, and may be parked elsewhere between
shots; every way out of `measure` blanks it. What the specimen has had is asked of the instrument, not added up here, so
that a budget holds across restarts.
"""

from collections.abc import Sequence

import numpy as np

from gpax_instruments import codecs
from gpax_instruments.errors import (
    LINK_FAULTS,
    DeviceError,
    DoseSpent,
    InstrumentError,
    PulseLost,
    UnknownOutcome,
)
from gpax_instruments.limits import Axis, check_all
from gpax_instruments.link import Link
from gpax_instruments.protocols import Reading
from gpax_instruments.scpi import TAG_ECHO, Scpi
from gpax_instruments.stage import Stage
from gpax_instruments.station import check_token

MODES = {"eels": "EELS", "diffraction": "DIFF"}
"""What a shot may be, and what the instrument calls it."""


class STEM(Stage):
    """A STEM whose measurement is one shot with a parked, focused beam. Nothing is opened before ``connect``.

    Args:
        address: ``tcp://host:port`` or a VISA resource name, see :func:`~gpax_instruments.link.open_link`.
        axes: x and y in metres, within the instrument's own limits.
        mode: "eels" or "diffraction".
        dose_budget: electrons that the specimen may get in all, images included; None for no limit.
        park: (2,) m where the blanked beam waits between shots; None to leave it where it was.
        timeout_s: seconds for one exchange.
        shot_timeout_s: seconds for one shot, one image, and one move.
        tag: echo query that numbers the answers; None for an instrument without one.
        link: an open link to use in place of address.

    Raises:
        ValueError: another mode, other axes, or a budget that is not positive.
        MoveRefused: a park position outside the axes.
    """

    model = "STEM"
    remembers_token = True  # a shot done under a token is read again, never exposed again
    repeatable = False  # a shot whose outcome is unknown may have damaged its place

    def __init__(
        self,
        address: str,
        axes: Sequence[Axis],
        *,
        mode: str = "eels",
        dose_budget: float | None = None,
        park: object = None,
        timeout_s: float = 2.0,
        shot_timeout_s: float = 30.0,
        tag: str | None = TAG_ECHO,
        link: Link | None = None,
    ) -> None:
        if mode not in MODES:
            raise ValueError(f"mode is one of {sorted(MODES)}; got {mode!r}")
        if dose_budget is not None and not dose_budget > 0:
            raise ValueError(f"dose_budget is a positive number of electrons; got {dose_budget!r}")
        super().__init__(address, axes, timeout_s, shot_timeout_s, tag, link)
        self.mode, self.dose_budget = mode, dose_budget
        self.park = None if park is None else check_all(self.axes, park)
        self.energy = np.zeros(0)
        self.angle_mrad, self.detector = 0.0, 0
        self.pixel_m, self.pixels = 0.0, 0
        self._shot_electrons = self._scan_electrons = 0.0

    def _prepare(self, scpi: Scpi) -> None:
        super()._prepare(scpi)
        scpi.write("FORM:BORD SWAP")  # little-endian blocks
        frame, detector = scpi.query_numbers("SCAN:PIX?")[0], scpi.query_numbers("DIFF:PIX?")[0]
        shots, scan = scpi.query_numbers("DOSE:SHOT?")[0], scpi.query_numbers("DOSE:SCAN?")[0]
        if frame.shape != (2,) or detector.shape != (2,) or shots.shape != (2,) or not np.all(shots > 0):
            raise DeviceError(f"{self.address} does not tell its pixels and doses: {frame.tolist()}, {shots.tolist()}")
        self.pixel_m, self.pixels = float(frame[0]), int(frame[1])
        self.angle_mrad, self.detector = float(detector[0]), int(detector[1])
        self._shot_electrons, self._scan_electrons = float(shots[list(MODES).index(self.mode)]), float(scan[0])
        self.energy = scpi.query_block("EELS:ENER?", "<f8")

    # --- dose -----------------------------------------------------------------------------------------------------

    def dose(self) -> float:
        """Electrons that the specimen has had in all."""
        value, flags = self.scpi.read_numbers_again("DOSE?")
        if flags or value.shape != (1,):
            raise DeviceError(f"{self.address} does not tell the dose: {value.tolist()}")
        return float(value[0])

    def shots_left(self) -> float:
        """How many shots the budget still allows; inf without one. A campaign's `stop` may ask."""
        self.scpi.connect()
        if self.dose_budget is None:
            return float("inf")
        return max(0.0, (self.dose_budget - self.dose()) // self._shot_electrons)

    def _allow(self, electrons: float) -> None:
        if self.dose_budget is None:
            return
        had = self.dose()
        if had + electrons > self.dose_budget:
            raise DoseSpent(
                f"{had:.3g} of {self.dose_budget:.3g} electrons are spent, the next exposure takes {electrons:.3g}; "
                "nothing was exposed"
            )

    # --- the beam -------------------------------------------------------------------------------------------------

    def blank(self) -> None:
        """Stop the beam, and see that it is so. Raises DeviceError, link faults."""
        for attempt in range(self.scpi.attempts):
            try:
                self.scpi.write("BEAM:BLAN")
                if self.scpi.query("BEAM?").strip().upper() == "BLANKED":
                    return
            except LINK_FAULTS:
                if attempt + 1 == self.scpi.attempts:
                    raise
                self.scpi.connect()
        raise DeviceError("the beam does not blank; close the column valves by hand")

    def _unsafe(self, scpi: Scpi) -> str:
        beam = scpi.query("BEAM?").strip().upper()
        return "" if beam == "BLANKED" else f"the beam is {beam}; close the column valves by hand"

    # --- measuring ------------------------------------------------------------------------------------------------

    def image(self) -> Reading:
        """A dark-field image of the whole field of view; it costs dose.

        Returns:
            arrays "haadf" (n, n) float32, rows along x and columns along y, and "pixel" () m; ok=False for a bad one.

        Raises:
            DoseSpent: the budget does not allow it.
            DeviceError, LinkLost, LinkTimeout, BadFrame: no image.
        """
        self.scpi.connect()
        self._wait_idle()
        self._allow(self._scan_electrons)
        before = self.dose()
        errors = self._command("SCAN")
        if errors:
            raise DeviceError(f"the image was refused: {'; '.join(errors)}")
        if errors is None:
            # The link broke: the frame that waits to be read may be the last one. The dose tells.
            self._wait_idle()
            if self.dose() < before + 0.5 * self._scan_electrons:
                raise DeviceError("the link broke as the image was asked for, and none was taken: ask again")
        values = self.scpi.read_block_again("SCAN:DATA?", "<f4")
        ok, reason, flags = codecs.quality(values)
        if values.size == self.pixels**2:
            values = values.reshape(self.pixels, self.pixels)
        elif ok:
            ok, reason, flags = False, f"{self.pixels**2} pixels were expected, {values.size} came", ("short",)
        arrays = {"haadf": values, "pixel": np.array(self.pixel_m)}
        return Reading(arrays, {"haadf": "1", "pixel": "m"}, self.locate().readback, ok, reason, flags)

    def measure(self, x: object, token: str) -> Reading:
        """Take one shot at x.

        The instrument is asked first whether it has already taken the shot of this token: then that one is read and
        nothing is exposed.

        Args:
            x: (2,) m.
            token: name of this one shot, letters, digits and ``_.:-``; never used for another.

        Returns:
            "eels": arrays "energy" (n,) eV and "counts" (n,); "diffraction": "pattern" (n, n) counts and "angle" ()
            mrad per pixel; and "dose" () e/nm^2 that the place had before. ok=False for a bad one.

        Raises:
            MoveRefused: see ``set``; nothing was exposed.
            DoseSpent: the budget does not allow it; nothing was exposed.
            PulseLost: a shot of this token was cut off earlier; nothing was exposed, and the point is lost.
            UnknownOutcome: the shot may have happened, or the beam may be on; the safe state was asked for.
            DeviceError: the instrument refused the shot, or does not blank.
            LinkLost, LinkTimeout, BadFrame: the link failed again and again; the beam was last seen blanked.
        """
        goal = check_all(self.axes, x)
        check_token(token)
        self.scpi.connect()
        try:
            self._wait_idle()
            if self._done() != token:
                if self.scpi.read_again(f'SHOT:USED? "{token}"').strip() != "0":
                    raise PulseLost(f"shot {token} had begun and was cut off: its place has had the dose")
                self._allow(self._shot_electrons)
                self.blank()
                self.set(goal)
                self._shoot(token)
        except UnknownOutcome as doubt:
            try:
                self.make_safe()
            except InstrumentError as error:
                doubt.add_note(f"and it could not be made safe: {error}")
            raise
        reading = self._read(self._measured_at(goal))
        if self.park is not None:
            self.set(self.park)
        return reading

    def _shoot(self, token: str) -> None:
        try:
            self.scpi.write("BEAM:UNBL")
            self.trigger(token)
        finally:
            try:
                self.blank()
            except LINK_FAULTS as fault:
                raise UnknownOutcome(
                    f"shot {token}: the beam may still be on, it could not be seen to blank ({fault}); look at it"
                ) from fault

    def trigger(self, token: str) -> None:
        """Take the shot under token and wait for its end. Raises UnknownOutcome, DeviceError, link faults."""
        word = {"eels": "EELS", "diffraction": "DIFF"}[self.mode]
        errors = self._command(f'MEAS:{word} "{token}"')
        try:
            self._wait_idle()
            done = self._done()
        except LINK_FAULTS as fault:
            raise UnknownOutcome(f"shot {token}: the instrument cannot be asked any more ({fault})") from fault
        if done == token:
            return
        if errors:
            raise DeviceError(f"shot {token} was refused: {'; '.join(errors)}")
        raise UnknownOutcome(f"shot {token}: the instrument's last shot is {done!r}; look at the specimen")

    def _done(self) -> str:
        return self.scpi.read_again("SHOT:TOK?").strip().strip('"')

    def _read(self, position: np.ndarray) -> Reading:
        values = self.scpi.read_block_again("SHOT:DATA?", "<f4")
        dose, _ = self.scpi.read_numbers_again("SHOT:DOSE?")
        ok, reason, flags = codecs.quality(values)
        wanted = self.energy.size if self.mode == "eels" else self.detector**2
        if values.size != wanted and ok:
            ok, reason, flags = False, f"{wanted} numbers were expected, {values.size} came", ("short",)
        if self.mode == "eels":
            arrays = {"energy": self.energy, "counts": values, "dose": dose.reshape(())}
            return Reading(arrays, {"energy": "eV", "counts": "1", "dose": "1/nm^2"}, position, ok, reason, flags)
        pattern = values.reshape(self.detector, self.detector) if values.size == wanted else values
        arrays = {"pattern": pattern, "angle": np.array(self.angle_mrad), "dose": dose.reshape(())}
        return Reading(arrays, {"pattern": "1", "angle": "mrad", "dose": "1/nm^2"}, position, ok, reason, flags)
