"""The simulated scanning tunnelling microscope behind the Nanonis twin: scanner, controller, film. No wire here.

Everything random follows from the seed and the name of what is measured: the same base names at the same points give
the same numbers, whenever they are asked for.
"""

import json
import math
import struct
import tempfile
import threading
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gpax_instruments.twins import _tunnelling as tunnelling
from gpax_instruments.twins._faults import LOOP, MOVE, Faults
from gpax_instruments.twins._results import key_part

RANGE_M = (2e-6, 2e-6, 4e-8)
"""m: whole range of x, y and z; the film lies under all of it."""

MAX_BIAS_V, MAX_CURRENT_A = 10.0, 1e-7  # the amplifier clips at the second
SCANNER_ERROR_M = 2e-12  # closed-loop scanner: read-back differs from the target by picometres
SIGNALS = {0: "Current (A)", 24: "Bias (V)", 28: "X (m)", 29: "Y (m)", 30: "Z (m)", 86: "LI Demod 1 X (A)",
           87: "LI Demod 1 Y (A)"}  # fmt: skip
NAMES = [SIGNALS.get(k, f"Internal {k} (V)") for k in range(128)]
CURRENT, BIAS, X, Y, Z, DEMOD_X, DEMOD_Y = SIGNALS


class Refused(Exception):
    """What the controller will not do, in its words."""


class Spectrum(NamedTuple):
    """A bias spectrum: name of the file without its end, names of columns, and one row a channel."""

    name: str
    columns: list[str]
    data: np.ndarray  # (channels, points) float32


class Domain(NamedTuple):
    """What a pulse has written: centre and radius, m."""

    x: float
    y: float
    radius: float


class Ledger:
    """What happened to the sample, one JSON line an act; without a path, nothing."""

    def __init__(self, path: str | None) -> None:
        self._file = open(path, "a", encoding="ascii") if path else None  # noqa: SIM115 - as long as the process
        self._lock = threading.Lock()

    def write(self, act: str, **about: Any) -> None:
        """Add an act."""
        if self._file is not None:
            with self._lock:
                self._file.write(json.dumps({"act": act} | about) + "\n")
                self._file.flush()


class World:
    """State and physics; the caller holds `lock`.

    Args:
        lock: the condition under which commands run; its waits let other ports in.
        faults: faults to look at.
        seed: the film and every random number.
        noise: standard deviation of a current, share of the largest in its spectrum or of the setpoint.
        dwell: seconds of a spectrum.
        pace: seconds of the clock for a second of a move, a line or a pulse.
        session: folder for spectra; None for one of its own that ends with it.
        ledger: file that gets every act.
    """

    def __init__(
        self, lock: threading.Condition, faults: Faults, seed: int = 0, noise: float = 0.002, dwell: float = 0.0,
        pace: float = 0.0, session: str | None = None, ledger: str | None = None,
    ) -> None:  # fmt: skip
        self.lock, self.faults, self.seed, self.noise, self.dwell, self.pace = lock, faults, seed, noise, dwell, pace
        self.surface = tunnelling.Surface(seed, RANGE_M[0])
        self._own = None if session else tempfile.TemporaryDirectory(prefix="nanonis-twin-")
        self.session = Path(session or (self._own.name if self._own else "."))
        self.ledger = Ledger(ledger)
        self.position, self.speed, self.custom_speed = np.zeros(2), 1e-6, 0
        self.bias, self.setpoint = 0.1, 1e-10
        self.controller, self.z = "on", 0.0  # the person at the instrument has approached
        self.written: list[Domain] = []
        self.lockin = {"on": 0, "amplitude": 0.01, "frequency": 873.0}
        self._stop_moving = False
        self.follow()

    # --- where the tip is -------------------------------------------------------------------------------------------

    def site(self, x: np.ndarray) -> tunnelling.Site:
        """Film under positions x (n, 2) m."""
        gap, height = self.surface.sites(x)
        for one in self.written:
            height = np.where(np.hypot(x[:, 0] - one.x, x[:, 1] - one.y) < one.radius, -height, height)
        return tunnelling.Site(gap, height)

    def move(self, x: float, y: float, wait: bool) -> None:
        """Go to (x, y) m. Raises Refused outside the range, and on command."""
        half = 0.5 * np.array(RANGE_M[:2])
        if not np.all(np.abs([x, y]) <= half) or self.faults.take(MOVE):
            raise Refused("XY target is outside the piezo range")
        self.ledger.write("move", x=x, y=y)
        dice = np.random.default_rng(zlib.crc32(struct.pack("<qdd", self.seed, x, y)))
        target = np.clip(np.array([x, y]) + SCANNER_ERROR_M * dice.standard_normal(2), -half, half)
        seconds = self.pace * float(np.hypot(*(target - self.position))) / self.speed
        start, began, self._stop_moving = self.position, time.monotonic(), False
        if seconds > 0 and wait:
            self.pause(seconds, lambda: self._stop_moving)
            share = min(1.0, (time.monotonic() - began) / seconds)
            self.position = target if share >= 1.0 else start + share * (target - start)
        else:
            self.position = target
        self.follow()

    def stop_moving(self) -> None:
        """FolMe.Stop: what moves stays where it is."""
        self._stop_moving = True
        self.lock.notify_all()

    def pause(self, seconds: float, over: Callable[[], bool]) -> bool:
        """Let other ports in for so many seconds, or until something is over; whether it was."""
        end = time.monotonic() + seconds
        while not over() and (left := end - time.monotonic()) > 0:
            self.lock.wait(min(left, 0.02))  # what ends by the clock tells nobody
        return over()

    # --- the controller -----------------------------------------------------------------------------------------------

    def follow(self) -> None:
        """The controller, where it is on, brings the current to the setpoint; without a bias it finds none."""
        if self.controller != "on":
            return
        gap, height = self.site(self.position[None])
        z = float(tunnelling.height_for(gap[0], self.bias, self.setpoint))
        if z <= 0:
            self.ledger.write("crash", x=float(self.position[0]), y=float(self.position[1]), bias=self.bias)
            z = 0.0
        self.z = min(float(height[0]) + z, 0.5 * RANGE_M[2])

    def set_bias(self, volts: float) -> None:
        """Bias of the tip, V. Raises Refused beyond the range."""
        if not abs(volts) <= MAX_BIAS_V:
            raise Refused(f"Bias is limited to {MAX_BIAS_V:g} V")
        self.bias = volts
        self.ledger.write("bias", bias=volts)
        self.follow()

    def set_controller(self, on: bool) -> None:
        """Controller on or off."""
        self.controller = "on" if on else "off"
        self.follow()

    def set_setpoint(self, ampere: float) -> None:
        """Setpoint, A. Raises Refused where it is none."""
        if not 0 < abs(ampere) <= MAX_CURRENT_A:
            raise Refused("Setpoint is out of range")
        self.setpoint = abs(ampere)
        self.follow()

    def withdraw(self, wait: bool) -> None:
        """Retract the tip fully; the controller is off then."""
        self.controller = "withdrawing"
        if wait and self.pace:
            self.pause(0.2 * self.pace, lambda: False)
        self.controller, self.z = "off", 0.5 * RANGE_M[2]
        self.ledger.write("withdraw")

    # --- signals ------------------------------------------------------------------------------------------------------

    def signal(self, index: int) -> float:
        """A signal now. Raises Refused for one that is not there."""
        if not 0 <= index < len(NAMES):
            raise Refused(f"signal {index} does not exist")
        if index in (CURRENT, DEMOD_X):
            gap, height = self.site(self.position[None])
            z = self.z - float(height[0])
            if index == DEMOD_X:
                return float(self._demodulated(gap[0], self.bias, z))
            noise = self.noise * self.setpoint * float(np.random.default_rng().standard_normal())
            return _clipped(tunnelling.current(gap[0], self.bias, z) + noise)
        return {BIAS: self.bias, X: float(self.position[0]), Y: float(self.position[1]), Z: self.z}.get(index, 0.0)

    def _demodulated(self, gap: float, bias: np.ndarray | float, z: float) -> np.ndarray:
        """First harmonic of the current, A: slope times amplitude, for a modulation that is small."""
        slope = tunnelling.CONTACT_S * tunnelling.conductance(gap, bias) * math.exp(-2.0 * tunnelling.KAPPA * z)
        return np.asarray(self.lockin["amplitude"] * slope)

    # --- acts ---------------------------------------------------------------------------------------------------------

    def pulse(self, width: float, volts: float, absolute: bool) -> None:
        """A pulse of bias here: a domain, and the clock goes on by its width. Raises Refused out of range."""
        bias = volts if absolute else self.bias + volts
        if not (abs(bias) <= MAX_BIAS_V and 0 < width <= 1000.0):
            raise Refused("Pulse is out of range")
        x, y = self.position.tolist()
        self.ledger.write("pulse", x=x, y=y, bias=bias, width=width)
        self.written.append(Domain(x, y, radius_of(bias, width)))
        if self.pace:
            self.pause(self.pace * width, lambda: False)
        self.follow()

    def spectrum(self, name: str, sweep: np.ndarray, channels: list[int], offset: float, backward: bool) -> Spectrum:
        """A bias spectrum here.

        Args:
            name: what the noise follows from.
            sweep: (n,) V.
            channels: signals that are recorded.
            offset: of the tip against where the controller has left it, m.
            backward: whether every channel comes a second time, from the way back.
        """
        gap, height = self.site(self.position[None])
        z = self.z + offset - float(height[0])
        dice = np.random.default_rng([self.seed, zlib.crc32(key_part(name))])
        columns, rows = ["Bias calc (V)"], [sweep]
        for way in ("", " [bwd]") if backward else ("",):
            for channel in channels:
                if channel == CURRENT:
                    values = tunnelling.current(gap[0], sweep, z)
                elif channel in (DEMOD_X, DEMOD_Y):
                    values = self._demodulated(gap[0], sweep, z) * (channel == DEMOD_X)
                else:
                    values = sweep if channel == BIAS else np.full(sweep.shape, self.signal(channel))
                if channel in (CURRENT, DEMOD_X, DEMOD_Y):
                    scale = np.max(np.abs(values), initial=0.0)
                    values = np.clip(values + self.noise * scale * dice.standard_normal(sweep.shape), -1e-7, 1e-7)
                head, _, unit = NAMES[channel].rpartition(" ")
                columns.append(f"{head}{way} {unit}")
                rows.append(values)
        data = np.array(rows, np.float32)
        fault = self.faults.take(LOOP)
        if fault is not None:
            data[1:, :: (5 if fault.name == "NAN" else 1)] = np.nan if fault.name == "NAN" else MAX_CURRENT_A
        return Spectrum(name, columns, data)

    def save(self, spectrum: Spectrum) -> Path:
        """Write a spectrum under the next free number, as the controller does."""
        stem = "".join(c for c in spectrum.name if c not in '\\/:*?"<>|')
        number = 1
        while (path := self.session / f"{stem}{number:05d}.dat").exists():
            number += 1
        x, y = self.position.tolist()
        lines = ["Experiment\tbias spectroscopy\t", f"X (m)\t{x!r}\t", f"Y (m)\t{y!r}\t", "", "[DATA]"]
        lines += ["\t".join(spectrum.columns)]
        lines += ["\t".join(f"{value:.9g}" for value in row) for row in spectrum.data.T.tolist()]
        part = path.with_suffix(".part")
        part.write_text("\n".join(lines) + "\n", encoding="utf-8")
        part.replace(path)
        return path

    def close(self) -> None:
        """Remove a session of its own."""
        if self._own is not None:
            self._own.cleanup()


def radius_of(bias: float, width: float) -> float:
    """Radius, m, of the domain that a pulse of bias (V) and width (s) writes: linear above 2 V, slow in time."""
    return 1e-8 * max(0.0, abs(bias) - 2.0) * max(0.0, 1.0 + 0.2 * math.log10(width / 1e-3))


def _clipped(ampere: np.ndarray | float) -> float:
    return float(np.clip(ampere, -MAX_CURRENT_A, MAX_CURRENT_A))
