"""Arrays and algebra under everything: observations, what became of them, and outcomes in words."""

from gpax_lab.core._observations import Observations, observations
from gpax_lab.core._status import Status

__all__ = ["Observations", "Status", "observations"]
