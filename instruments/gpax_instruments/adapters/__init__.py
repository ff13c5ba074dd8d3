"""What is no driver of ours, as an instrument: measured files, and the devices of other control systems."""

from gpax_instruments.adapters._as_bluesky import as_bluesky
from gpax_instruments.adapters._bluesky import Bluesky
from gpax_instruments.adapters._epics import EPICS
from gpax_instruments.adapters._micromanager import MicroManager
from gpax_instruments.adapters._parameters import Parameters
from gpax_instruments.adapters._recorded import RecordedData, RecordedLoops
from gpax_instruments.adapters._tango import Tango
from gpax_instruments.adapters._tango_stem import TangoSTEM

__all__ = [
    "EPICS",
    "Bluesky",
    "MicroManager",
    "Parameters",
    "RecordedData",
    "RecordedLoops",
    "Tango",
    "TangoSTEM",
    "as_bluesky",
]
