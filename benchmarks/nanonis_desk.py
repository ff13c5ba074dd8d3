"""The campaign at a simulated Nanonis controller that `nanonis.py` disturbs: bias spectra of a film."""

import time

import crash_campaign as small
import crash_desk as desk
import numpy as np
from gpax_instruments.drivers import Nanonis

from gpax_lab.core import InstrumentError

NAME, SIDE_M, MAX_BIAS_V, SWEEP = "nanonis", 9e-7, 2.0, (-1.5, 1.5)
OPTIONS = {
    "bias": 1.2,
    "setpoint": 1e-10,
    "max_bias": MAX_BIAS_V,
    "channels": ("Current", "LI Demod 1 X (A)"),
    "lockin_amplitude": 0.01,
    "sweep": SWEEP,
    "points": 64,
    "busy_timeout_s": 5.0,
}
desk.KINDS[NAME] = desk.Kind(
    Nanonis, desk.plane(SIDE_M), lambda r: float(np.mean(np.abs(r.arrays["conductance"]))) * 1e9, OPTIONS
)


class Desk(desk.Desk):
    """The host of a room, as `crash_desk.Desk`."""

    def through(self, path, port, timeout_s, limit_s):
        """A campaign over a wire with faults, begun again whenever an error ends it.

        Returns:
            where it ends; and the errors, in words.
        """
        errors, end = [], time.monotonic() + limit_s
        self._say(("said", "begun"))
        while time.monotonic() < end:
            try:
                with desk.driver(NAME, port, timeout_s=timeout_s) as device:
                    outcome = desk.go(NAME, device, path)
                if outcome.finished:
                    return small.fingerprint(outcome), errors
                errors.append(outcome.reason)
            except (InstrumentError, OSError) as error:
                errors.append(f"{type(error).__name__}: {error}")
        return None, errors

    def failed(self, path):
        """Why measurements failed, by token."""
        headers = [frame.header for frame in desk.read(path).of("reading")]
        return {header["token"]: header["reason"] for header in headers if not header["ok"]}
