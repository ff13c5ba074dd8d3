"""What everything stands on: observations, measurements, instruments and their axes, and outcomes in words."""

from typing import TYPE_CHECKING

from gpax_lab._lazy import lazy
from gpax_lab.core._axes import Axis
from gpax_lab.core._faults import InstrumentError, MoveRefused
from gpax_lab.core._measurement import Instrument, Measurement

if TYPE_CHECKING:
    from gpax_lab.core._observations import Observations, observations
    from gpax_lab.core._status import Status
else:
    __getattr__, __dir__ = lazy(
        __name__,
        {"gpax_lab.core._observations": "Observations observations", "gpax_lab.core._status": "Status"},
    )

__all__ = [
    "Axis",
    "Instrument",
    "InstrumentError",
    "Measurement",
    "MoveRefused",
    "Observations",
    "Status",
    "observations",
]
