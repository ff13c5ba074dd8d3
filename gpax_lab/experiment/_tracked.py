"""An instrument that keeps its position on a drifting sample by registering new images of it."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from gpax_lab.core import Instrument, Measurement, Status
from gpax_lab.images._registration import register


class Tracked(Instrument):
    """The same instrument in coordinates of the sample.

    A campaign's positions are positions on the sample as the reference image shows it. Every `every` measurements, and
    before the first one of every program run, the field of view is imaged again and registered onto the reference; the
    instrument is then sent to x + drift. A measurement's position is given in the sample's coordinates, and its arrays
    hold the `drift` at that time, so that the journal says where the instrument really was. After a crash nothing has
    to be restored: the first thing done is a registration, and a first one is believed however far the sample has gone.

    A registration that is not to be believed (a weak or ambiguous peak, a jump) leaves the drift as it was, flags the
    measurement "drift unsure", and is repeated before the next one. Two in a row that agree within a pixel are believed
    whatever the jump. After `patience` failed registrations nothing is measured any more until one succeeds: the
    measurements are failed ones that say why.

    Args:
        instrument: with `measure(x, token)` and `make_safe()`; its x are (row, column) times `pixel` plus `origin`.
        image: takes the image now, (h, w); e.g. `lambda: microscope.image().arrays["haadf"]`.
        reference: (h, w) image that the campaign's positions refer to.
        pixel: (2,) size of a pixel along row and column, in units of x; (1, 1) where x is in pixels.
        every: measurements between two registrations; None for one at the start of a program only.
        unit: of x.
        largest: pixels; a larger jump between two registrations is not believed at once.
        patience: failed registrations before measuring stops.
        prepare: applied to both images before they are compared, e.g. `images.flatten`.
        **options: of `images.register`, such as `whiten` or `reach`.

    Raises:
        ValueError: every, patience or largest is not positive, or the reference is no image.
    """

    def __init__(
        self,
        instrument: Instrument,
        image: Callable[[], Any],
        reference: np.ndarray,
        *,
        pixel: tuple[float, float] = (1.0, 1.0),
        every: int | None = 10,
        unit: str = "px",
        largest: float = 20.0,
        patience: int = 3,
        prepare: Callable[[Array], Array] = lambda image: image,
        **options: Any,
    ) -> None:
        if np.ndim(reference) != 2:
            raise ValueError(f"the reference must be an image (h, w); got {np.shape(reference)}.")
        if (every is not None and every < 1) or patience < 1 or not largest > 0:
            raise ValueError("every must be at least 1, or None, patience at least 1, and largest positive.")
        self._instrument, self._image, self._prepare, self._options = instrument, image, prepare, options
        self._shape = np.shape(reference)
        self._reference = prepare(jnp.asarray(np.asarray(reference), jnp.result_type(float)))
        self._pixel, self._every, self._unit = np.asarray(pixel, float), every, unit
        self._largest, self._patience = largest, patience
        self._since: int | None = None  # measurements since the last registration that was believed
        self._unbelieved: np.ndarray | None = None  # where a jump would have led, in pixels
        self._failures = 0
        self.drift = np.zeros(2)
        self.sure, self.reason = True, ""
        self.drifts: list[np.ndarray] = []

    @property
    def repeatable(self) -> bool:
        """As the instrument."""
        return self._instrument.repeatable

    @property
    def remembers_token(self) -> bool:
        """As the instrument."""
        return self._instrument.remembers_token

    @property
    def limits(self) -> Mapping[str, float]:
        """As the instrument."""
        return self._instrument.limits

    def identity(self) -> str:
        """As the instrument."""
        return self._instrument.identity()

    def update_drift(self) -> np.ndarray:
        """Image, register, and take over the drift (2,) in units of x, unless it is not to be believed.

        Raises:
            ValueError: the first image has another shape than the reference: another scan.
        """
        now = np.asarray(self._image())
        if now.shape == self._shape:
            found = register(self._reference, self._prepare(jnp.asarray(now, self._reference.dtype)), **self._options)
            # The shift to apply to the new frame is minus the way the sample has gone.
            status = Status.of(found.status)
            self._judge(-np.asarray(found.shift), "" if status == Status.OK else status.describe())
        else:
            shapes = f"the image has shape {now.shape}, the reference {self._shape}"
            if self._since is None and not self._failures:
                raise ValueError(f"{shapes}: same scan, please.")
            self._judge(np.full(2, np.nan), shapes)  # one that was cut short, say
        self.drifts.append(self.drift)
        return self.drift

    def _judge(self, gone: np.ndarray, trouble: str) -> None:
        """Believe or not that the sample has gone that many pixels."""
        jump = 0.0 if self._since is None else np.abs(gone - self.drift / self._pixel).max()
        if not trouble and jump > self._largest:
            again = self._unbelieved is not None and np.abs(gone - self._unbelieved).max() <= 1.0
            trouble = "" if again else f"a jump of {jump:.1f} px"
            self._unbelieved = gone
        self.sure, self.reason = not trouble, trouble
        if self.sure:
            self.drift, self._since, self._failures, self._unbelieved = gone * self._pixel, 0, 0, None
        else:
            self._failures += 1

    def measure(self, x: np.ndarray, token: str) -> Measurement:
        """Measure at the position x (2,) of the sample, wherever it is now."""
        if self._since is None or not self.sure or (self._every is not None and self._since >= self._every):
            self.update_drift()
        arrays, units = {"drift": self.drift.copy()}, {"drift": self._unit}
        if self._failures >= self._patience:
            reason = f"where the sample is now is not known after {self._failures} images: {self.reason}"
            return Measurement(arrays, units, np.asarray(x, float), False, reason, ("drift unsure",))
        there = self._instrument.measure(np.asarray(x, float) + self.drift, token)
        self._since = None if self._since is None else self._since + 1
        return replace(
            there,
            arrays={**there.arrays, **arrays},
            units={**there.units, **units},
            position=None if there.position is None else np.asarray(there.position, float) - self.drift,
            flags=there.flags if self.sure else (*there.flags, "drift unsure"),
        )

    def make_safe(self) -> None:
        """As the instrument."""
        self._instrument.make_safe()
