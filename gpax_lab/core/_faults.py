"""What can go wrong with an instrument, as far as a campaign has to know it. Drivers derive their own errors."""


class InstrumentError(Exception):
    """Base of every error that a driver raises about its instrument or the link to it.

    A measurement that is merely bad (not a number, saturated) is no error: it is a `Measurement` with `ok=False`.

    Attributes:
        point_failed: only this point is lost: nothing is in doubt, and a campaign goes on to another one.
        unreachable: the instrument can not be reached now; a campaign may wait for it (`run(..., wait_s=...)`).

    Example:
        >>> class PumpEmpty(InstrumentError):
        ...     point_failed = True
    """

    point_failed: bool = False
    unreachable: bool = False


class MoveRefused(InstrumentError):
    """A target was refused before anything was sent, or the read-back differs from the target."""

    point_failed = True
