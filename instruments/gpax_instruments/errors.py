"""What can go wrong between the computer and an instrument, as one small family of exceptions."""

from gpax_lab.core import InstrumentError

__all__ = [
    "BadFrame",
    "DeviceError",
    "DoseSpent",
    "Interference",
    "LinkLost",
    "LinkTimeout",
    "PulseLost",
    "StillBusy",
    "UnknownOutcome",
]


class LinkLost(InstrumentError):
    """The other side closed, reset or refused the connection. Reconnect before the next call."""

    unreachable = True


class LinkTimeout(InstrumentError):
    """The deadline passed. The link is closed, so that a late answer can reach nobody. Reconnect."""

    unreachable = True


class StillBusy(LinkTimeout):
    """The instrument answers and is not done in the time it was given. The link is open; what it does is in doubt."""


class BadFrame(InstrumentError):
    """Bytes arrived that are not the answer asked for. The link is closed. Reconnect."""

    unreachable = True


class DeviceError(InstrumentError):
    """The instrument itself reports an error, or is not the instrument it should be."""


class Interference(DeviceError):
    """Somebody else uses the instrument: what acts on the sample, or was measured last, is not what we asked for.

    Nothing more is measured until ``connect`` is called again, once the instrument is ours alone.
    """


class PulseLost(InstrumentError):
    """A pulse had begun and was cut off: its point on the sample is spent, and nothing was read there.

    Also one of which an instrument that was switched off and on can not tell any more whether it had begun.
    """

    point_failed = True


class DoseSpent(InstrumentError):
    """The next measurement would exceed the dose that was allowed. Nothing was exposed; raise the budget, or stop."""


class UnknownOutcome(InstrumentError):
    """A move or a pulse may or may not have happened. Look at the instrument before going on."""


LINK_FAULTS = (LinkLost, LinkTimeout, BadFrame)
"""The faults after which a link must be reconnected; only declared reads may then be repeated."""
