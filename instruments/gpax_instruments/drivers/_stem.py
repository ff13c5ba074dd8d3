"""A scanning transmission electron microscope over SCPI: images, and a spectrum or a diffraction pattern at a position.

The beam damages what it stands on. It is blanked except while a shot is taken, and may be parked elsewhere between
shots; every way out of `measure` blanks it. What the specimen has had is asked of the instrument, not added up here, so
that a budget holds across restarts.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from gpax_instruments import _codecs as codecs
from gpax_instruments.drivers._bounded import Bounded, judged
from gpax_instruments.drivers._images import image_measurement
from gpax_instruments.drivers._scpi_instrument import LITTLE_ENDIAN
from gpax_instruments.drivers._stage import Stage
from gpax_instruments.errors import LINK_FAULTS, DeviceError, DoseSpent, Interference, UnknownOutcome
from gpax_instruments.links._link import Link
from gpax_instruments.links._scpi import TAG_ECHO, Scpi
from gpax_lab.core import Axis, Measurement, MoveRefused
from gpax_lab.core._axes import check_all

MODES = {"eels": "EELS", "diffraction": "DIFF"}
"""What a shot may be, and what the instrument calls it."""


NOT_PARKED = "not parked"
"""Flag of a shot after which the beam, which is blanked, was refused its way to where it waits."""

DOSE_TOLERANCE = 0.01
"""Share by which the dose of a shot may differ from what it was: no probe current is steadier over a night."""


class STEM(Stage):
    """A STEM whose measurement is one shot with a parked, focused beam. Nothing is opened before ``connect``.

    Args:
        address: ``tcp://host:port`` or a VISA resource name, see :func:`~gpax_instruments.links.open_link`.
        axes: x and y in metres, within the instrument's own limits.
        mode: "eels" or "diffraction".
        dose_budget: electrons that the specimen may get in all, images included; None for the driver's own `MAX_DOSE`.
        max_shot: electrons that one shot or one image may take; None for the driver's own `MAX_SHOT`.
        park: (2,) m where the blanked beam waits between shots; None to leave it where it was.
        timeout_s: seconds for one exchange.
        shot_timeout_s: seconds for one shot, one image, and one move.
        tag: echo query that numbers the answers; None for an instrument without one.
        link: an open link to use in place of address.

    Raises:
        ValueError: another mode, other axes, or a number outside the driver's own limits; so do the attributes.
        MoveRefused: a park position outside the axes.
    """

    model = "STEM"
    act, word = "shot", "SHOT"
    cost = "its position has had the dose"
    comes_home = False  # the dose of a shot is not told with it

    MAX_DOSE = 1e15
    """Electrons: 1 nA, a strong probe, for two days. A budget beyond it limits nothing."""

    MAX_SHOT = 1e10
    """Electrons of one shot or image: 1 nA for 1.6 s. A shot that takes more was not meant."""

    dose_budget = Bounded("electrons", 0.0, "MAX_DOSE", above=True, none=True)
    max_shot = Bounded("electrons", 0.0, "MAX_SHOT", above=True, none=True)

    repeatable = False  # a shot whose outcome is unknown may have damaged its position

    def __init__(
        self,
        address: str,
        axes: Sequence[Axis],
        *,
        mode: str = "eels",
        dose_budget: float | None = None,
        max_shot: float | None = None,
        park: object = None,
        timeout_s: float = 2.0,
        shot_timeout_s: float = 30.0,
        tag: str | None = TAG_ECHO,
        link: Link | None = None,
    ) -> None:
        if mode not in MODES:
            raise ValueError(f"mode is one of {sorted(MODES)}; got {mode!r}")
        super().__init__(address, axes, timeout_s, shot_timeout_s, tag, link)
        self.mode, self.dose_budget, self.max_shot = mode, dose_budget, max_shot
        self.park = None if park is None else check_all(self.axes, park)
        self.energy = np.zeros(0)
        self.angle_mrad, self.detector = 0.0, 0
        self.pixel_m, self.pixels = 0.0, 0
        self._doses: np.ndarray | None = None  # (3,) electrons of each mode's shot and of an image, as first told
        self._had = 0.0  # electrons: the highest dose that was ever told

    @property
    def limits(self) -> dict[str, float]:
        """`dose_budget` and `max_shot`, electrons."""
        return {"dose_budget": float(self.dose_budget), "max_shot": float(self.max_shot)}

    def _prepare(self, scpi: Scpi) -> None:
        super()._prepare(scpi)
        scpi.write(LITTLE_ENDIAN)
        self.pixel_m, self.pixels = scpi.query_frame("SCAN:PIX?")
        self.angle_mrad, self.detector = scpi.query_frame("DIFF:PIX?")
        self._judge(np.append(scpi.query_finite("DOSE:SHOT?", 2), scpi.query_finite("DOSE:SCAN?", 1)))
        energy = scpi.query_block("EELS:ENER?", "<f8")
        if energy.size < 2 or not np.all(np.isfinite(energy)):
            raise DeviceError(f"{self.address} does not tell its energies: {energy.size} came, not all finite")
        self.energy = energy

    def _judge(self, doses: np.ndarray) -> None:
        """Refuse doses beyond the limit, and doses that differ from those first told: the beam is another one."""
        highest = judged(self, "max_shot")
        if not np.all((doses > 0) & (doses <= highest)):
            raise DeviceError(
                f"{self.address} exposes with {doses.tolist()} electrons (spectrum, pattern, image); each must be "
                f"above 0 and at most {highest:g}, the limit of this driver. Reduce the current or the exposure"
            )
        if self._doses is None:
            self._doses = doses
        if np.any(np.abs(doses - self._doses) > DOSE_TOLERANCE * self._doses):
            raise Interference(
                f"{self.address} exposes with {doses.tolist()} electrons (spectrum, pattern, image), and told "
                f"{self._doses.tolist()} when it was connected: did another program change current or exposure? "
                "Make a new driver if the change was meant"
            )

    def _check_settings(self) -> None:
        shots = self.scpi.read_finite_again("DOSE:SHOT?", 2)
        self._judge(np.append(shots, self.scpi.read_finite_again("DOSE:SCAN?", 1)))

    @property
    def _shot_electrons(self) -> float:
        assert self._doses is not None  # connected
        return float(self._doses[list(MODES).index(self.mode)])

    @property
    def _scan_electrons(self) -> float:
        assert self._doses is not None
        return float(self._doses[-1])

    # --- dose -----------------------------------------------------------------------------------------------------

    def dose(self) -> float:
        """Electrons that the specimen has had in all.

        Raises:
            DeviceError: no dose is told, or one that is smaller than before: the budget can not be kept by it.
            LinkLost, LinkTimeout, BadFrame: it could not be asked.
        """
        had = float(self.scpi.read_finite_again("DOSE?", 1)[0])
        if not had >= self._had:
            raise DeviceError(
                f"{self.address} tells a dose of {had:.6g} electrons, and {self._had:.6g} before: a counter that goes "
                "back can not keep a budget. Was the instrument started anew? Make a new driver with what is left of it"
            )
        self._had = had
        return had

    def shots_left(self) -> float:
        """How many shots the budget still allows. A campaign's `stop` may ask."""
        self.scpi.connect()
        return max(0.0, (judged(self, "dose_budget") - self.dose()) // self._shot_electrons)

    def _allow(self, electrons: float) -> None:
        """Blank the beam, whoever has unblanked it, and raise DoseSpent where electrons are more than the budget."""
        self.blank()
        had, budget = self.dose(), judged(self, "dose_budget")
        if not had + electrons <= budget:
            raise DoseSpent(
                f"{had:.3g} of {budget:.3g} electrons are spent, the next exposure takes {electrons:.3g}; "
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

    def _unsafe(self, client: Scpi) -> str:
        beam = client.query("BEAM?").strip().upper()
        return "" if beam == "BLANKED" else f"the beam is {beam}; close the column valves by hand"

    # --- measuring ------------------------------------------------------------------------------------------------

    def image(self) -> Measurement:
        """A dark-field image of the whole field of view; it costs dose.

        Returns:
            arrays "haadf" (n, n) float32, rows along x and columns along y, and "pixel" () m; ok=False for a bad one.

        Raises:
            DoseSpent: the budget does not allow it.
            Interference: another dose than it was; nothing was exposed.
            DeviceError, LinkLost, LinkTimeout, BadFrame: no image; the safe state was asked for.
        """
        self.scpi.connect()
        with self._safe_when_stopped():
            return self._image()

    def _image(self) -> Measurement:
        self._wait_idle()
        self._check_settings()
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
        values = self._block("SCAN:DATA?", "<f4")
        return image_measurement("haadf", values, self.pixels, self.pixel_m, self.locate().readback)

    def measure(self, x: object, token: str) -> Measurement:
        """Take one shot at x.

        The instrument is asked first whether it has already taken the shot of this token: then that one is read and
        nothing is exposed.

        Args:
            x: (2,) m.
            token: name of this one shot, letters, digits and ``_.:-``; never used for another.

        Returns:
            "eels": arrays "energy" (n,) eV and "counts" (n,); "diffraction": "pattern" (n, n) counts and "angle" ()
            mrad per pixel; and "dose" () e/nm^2 that the position had before. ok=False for a bad one. The flag "not
            parked" where the beam was refused its way to `park` afterwards.

        Raises:
            MoveRefused: see ``set``; nothing was exposed.
            DoseSpent: the budget does not allow it; nothing was exposed.
            PulseLost: a shot of this token was cut off, perhaps by a power failure; none was taken, the point is lost.
            UnknownOutcome: the shot may have happened, or the beam may be on.
            Interference: somebody else changed the dose of a shot, or has measured; nothing was exposed.
            DeviceError: the instrument refused the shot, or does not blank.
            LinkLost, LinkTimeout, BadFrame: the link failed again and again; the beam was last seen blanked.

        After an error that ends a campaign, the safe state has been asked for.
        """
        return self._measure(x, token)

    def _perform(self, goal: np.ndarray, token: str) -> None:
        self._allow(self._shot_electrons)  # blanks, so that the move is made in the dark
        self.set(goal)
        self._shoot(token)

    def _fire(self, token: str) -> None:
        self._allow(self._shot_electrons)
        self._shoot(token)

    def _fetch(self, goal: np.ndarray, fresh: bool) -> Measurement:
        return self._read(self._measured_at(goal, fresh))

    def _leave(self, measurement: Measurement) -> Measurement:
        if self.park is None:
            return measurement
        try:
            self.set(self.park)
        except MoveRefused:  # the shot is taken, and its position has had the dose
            return replace(measurement, flags=(*measurement.flags, NOT_PARKED))
        return measurement

    def _shoot(self, token: str) -> None:
        try:
            self.scpi.write("BEAM:UNBL")
            self._act(token, f'MEAS:{MODES[self.mode]} "{token}"')
        finally:
            try:
                self.blank()
            except LINK_FAULTS as fault:
                raise UnknownOutcome(
                    f"shot {token}: the beam may still be on, it could not be seen to blank ({fault}); look at it"
                ) from fault

    def _read(self, position: np.ndarray) -> Measurement:
        shape = (self.energy.size,) if self.mode == "eels" else (self.detector, self.detector)
        values, ok, reason, flags = codecs.shaped(self._block("SHOT:DATA?", "<f4"), shape)
        dose, _ = self.scpi.read_numbers_again("SHOT:DOSE?")
        if dose.shape != (1,) or not 0 <= dose[0] < np.inf:
            if ok:
                ok, reason, flags = False, f"the dose that the position had is told as {dose.tolist()}", ("dose",)
            dose = np.full(1, np.nan)
        if self.mode == "eels":
            arrays = {"energy": self.energy, "counts": values, "dose": dose.reshape(())}
            return Measurement(arrays, {"energy": "eV", "counts": "1", "dose": "1/nm^2"}, position, ok, reason, flags)
        arrays = {"pattern": values, "angle": np.array(self.angle_mrad), "dose": dose.reshape(())}
        return Measurement(arrays, {"pattern": "1", "angle": "mrad", "dose": "1/nm^2"}, position, ok, reason, flags)
