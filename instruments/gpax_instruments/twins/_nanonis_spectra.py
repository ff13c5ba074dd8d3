"""Bias spectroscopy, spectra along a cloud of points, and the files that they leave. No wire here."""

import math
from pathlib import PurePath
from typing import Any

import numpy as np

from gpax_instruments._nanonis_commands import R14718
from gpax_instruments.twins._nanonis_modules import Handlers, changed, done, finite, sent, told
from gpax_instruments.twins._nanonis_world import CURRENT, DEMOD_X, MAX_BIAS_V, NAMES, Refused, Spectrum, World

LEAST_POINTS, MOST_POINTS = 8, 4096


class Spectroscopy:
    """The module of bias spectroscopy.

    Args:
        world: what is measured.
        release: of the software.
    """

    def __init__(self, world: World, release: int) -> None:
        self.world, self.release = world, release
        self.channels = [CURRENT, DEMOD_X]
        self.limits = [-1.0, 1.0]
        self.points, self.sweeps, self.offset = 128, 1, 0.0
        self.flags = {"save all": "off", "backward": "off", "autosave": "on", "dialog": "off"}
        self.advanced = ["on", "on", "off", "on"]
        self.timing = [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]
        self.base = "Bias-Spectroscopy"
        self.running = self._cut = False
        self.cloud = np.zeros((0, 2))

    def handlers(self) -> Handlers:
        """By name of the command."""
        return {
            "BiasSpectr.Open": done,
            "BiasSpectr.Stop": self.stop,
            "BiasSpectr.ChsSet": self.set_channels,
            "BiasSpectr.ChsGet": lambda: (self.channels, [NAMES[k] for k in self.channels]),
            "BiasSpectr.LimitsSet": self.set_limits,
            "BiasSpectr.LimitsGet": lambda: tuple(self.limits),
            "BiasSpectr.PropsSet": self.set_props,
            "BiasSpectr.PropsGet": self.get_props,
            "BiasSpectr.TimingSet": self.set_timing,
            "BiasSpectr.TimingGet": lambda: tuple(self.timing),
            "BiasSpectr.AdvPropsSet": self.set_advanced,
            "BiasSpectr.AdvPropsGet": lambda: tuple(told("BiasSpectr.AdvProps", word) for word in self.advanced),
            "BiasSpectr.Start": self.start,
            "BiasSpectr.StatusGet": lambda: (int(self.running),),
            "BiasSpectr.SafeCond1Set": self.set_condition,
            "Pattern.CloudSet": self.set_cloud,
            "Pattern.ExpOpen": done,
            "Pattern.ExpStart": self.start_cloud,
            "Pattern.ExpStop": self.stop,
            "Pattern.ExpStatusGet": lambda: (int(self.running),),
            "File.datLoad": self.load,
        }

    def set_channels(self, indices: np.ndarray) -> tuple[()]:
        """Which signals are recorded."""
        for k in indices:
            self.world.signal(int(k))
        self.channels = [int(k) for k in indices]
        return ()

    def set_limits(self, start: float, end: float) -> tuple[()]:
        """Ends of the sweep, V; coerced into the range of the output."""
        finite(start, end)
        self.limits = [min(max(volts, -MAX_BIAS_V), MAX_BIAS_V) for volts in (start, end)]
        return ()

    def set_props(
        self, all_sweeps: int, sweeps: int, backward: int, points: int, offset: float, autosave: int, dialog: int
    ) -> tuple[()]:
        """Points are coerced; 0 is as it is."""
        finite(offset)
        for name, code in zip(self.flags, (all_sweeps, backward, autosave, dialog), strict=True):
            self.flags[name] = changed("BiasSpectr.Props", code, self.flags[name])
        self.sweeps = sweeps if sweeps > 0 else self.sweeps
        self.points = min(max(points, LEAST_POINTS), MOST_POINTS) if points else self.points
        self.offset = offset
        return ()

    def get_props(self) -> tuple[Any, ...]:
        """As the release tells them."""
        flags = {name: told("BiasSpectr.Props", word) for name, word in self.flags.items()}
        head = flags["save all"], self.sweeps, flags["backward"], self.points
        if self.release < R14718:
            return (*head, [NAMES[k] for k in self.channels], [], ["Sweep Start", "Sweep End"])
        return (*head, [], ["Sweep Start", "Sweep End"], flags["autosave"], flags["dialog"])

    def set_timing(self, *values: float) -> tuple[()]:
        """Times and the slew rate, none of them negative."""
        finite(*(value for value in values if not math.isinf(value)))  # a slew rate may be without limit
        self.timing = [values[0], values[1], *(max(0.0, value) for value in values[2:])]
        return ()

    def set_advanced(self, *codes: int) -> tuple[()]:
        """Reset bias, hold z, record the final z, run the lock-in."""
        self.advanced = [
            changed("BiasSpectr.AdvProps", code, now) for code, now in zip(codes, self.advanced, strict=True)
        ]
        return ()

    def set_condition(self, act: int, threshold: float, signal: int, side: int) -> tuple[()]:
        """The first safety condition; kept to its codes, and nothing else."""
        sent("BiasSpectr.SafeCond1 act", act)
        sent("BiasSpectr.SafeCond1 side", side)
        if signal >= 0:
            self.world.signal(signal)
        return ()

    def start(self, wanted: int, base: str) -> tuple[Any, ...]:
        """Take a spectrum; with its data the port is held until it ends."""
        if self.running:
            raise Refused("a bias spectroscopy is running")
        self.base = base or self.base
        world = self.world
        sweep = np.linspace(self.limits[0], self.limits[1], self.points)
        offset = self.offset + self.timing[1]
        spectrum = world.spectrum(self.base, sweep, self.channels, offset, self.flags["backward"] == "on")
        if not self._held(spectrum):
            raise Refused("the bias spectroscopy was stopped")
        if not wanted:
            return [], np.zeros((0, 0)), []
        return spectrum.columns, spectrum.data, [*self.limits]

    def _held(self, spectrum: Spectrum) -> bool:
        """Let the time of a spectrum pass, and file it; false where it was stopped."""
        world = self.world
        self.running, self._cut = True, False
        x, y = world.position.tolist()
        try:
            cut = world.dwell > 0 and world.pause(world.dwell, lambda: self._cut)
        finally:
            self.running = False
        world.ledger.write("spectrum", name=spectrum.name, x=x, y=y, low=float(np.min(spectrum.data[0])),
                           high=float(np.max(spectrum.data[0])), cut=cut)  # fmt: skip
        if not cut and self.flags["autosave"] == "on":
            world.save(spectrum)
        return not cut

    def stop(self) -> tuple[()]:
        """What is running is cut off, and leaves no file."""
        self._cut = True
        self.world.lock.notify_all()
        return ()

    def set_cloud(self, active: int, count: int, x: np.ndarray, y: np.ndarray) -> tuple[()]:
        """The points of a cloud, m. Raises Refused outside the range of the scanner."""
        self.cloud = np.stack([x, y], axis=1).astype(np.float64)
        finite(*self.cloud.ravel().tolist())
        return ()

    def start_cloud(self, pattern: int) -> tuple[()]:
        """One spectrum at each point."""
        if pattern != 3:
            raise Refused("only the pattern Cloud is simulated")
        for x, y in self.cloud.tolist():
            self.world.move(x, y, True)
            self.start(0, "")
        return ()

    def load(self, path: str, header_only: int) -> tuple[Any, ...]:
        """A file of the session. Raises Refused where it is not there."""
        found = self.world.session / PurePath(path.replace("\\", "/")).name
        if not found.is_file():
            raise Refused(f"File not found: {path}")
        head, _, table = found.read_text(encoding="utf-8").partition("[DATA]\n")
        header = [[*line.split("\t"), ""][:2] for line in head.splitlines() if line]
        names, *rows = table.splitlines()
        if header_only:
            return [], np.zeros((0, 0)), header
        data = np.array([[float(cell) for cell in row.split("\t")] for row in rows], np.float32)
        return names.split("\t"), data.T, header
