"""When an exchange must have ended."""

import time


def after(seconds: float) -> float:
    """The deadline that lies so many seconds ahead, on the clock of ``time.monotonic``."""
    return time.monotonic() + seconds
