"""The scan of the simulated microscope: frame, buffer, lines that arrive, and images. No wire here."""

import math
import time
import zlib
from typing import Any

import numpy as np

from gpax_instruments.twins import _tunnelling as tunnelling
from gpax_instruments.twins._nanonis_modules import Handlers, changed, finite, sent, told
from gpax_instruments.twins._nanonis_world import CURRENT, MAX_CURRENT_A, NAMES, RANGE_M, Refused, World, Z
from gpax_instruments.twins._results import key_part

COARSEST = 16  # pixels of a line are a multiple of it
MOST_PIXELS = 2048
Z_NOISE_M = 2e-12


class Scan:
    """The module of scanning.

    Args:
        world: what is scanned.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.frame = [0.0, 0.0, 1e-6, 1e-6, 0.0]
        self.channels, self.pixels, self.lines = [CURRENT, Z], 256, 256
        self.speed: list[Any] = [1e-6, 1e-6, 1.0, 1.0, "time", 1.0]
        self.words = {"continuous": "off", "bouncy": "off", "autosave": "off", "autopaste": "off"}
        self.series, self.comment, self.modules = "image", "", ["Current"]
        self.began, self.stopped_at, self.direction = -math.inf, 0, "up"
        self.state = "idle"
        self.images: dict[tuple[int, str], np.ndarray] = {}
        self.size = (0, 0)
        self.count = 0

    def handlers(self) -> Handlers:
        """By name of the command."""
        return {
            "Scan.FrameSet": self.set_frame,
            "Scan.FrameGet": lambda: tuple(self.frame),
            "Scan.BufferSet": self.set_buffer,
            "Scan.BufferGet": lambda: (self.channels, self.pixels, self.lines),
            "Scan.SpeedSet": self.set_speed,
            "Scan.SpeedGet": lambda: (*self.speed[:4], told("Scan.Speed keep", self.speed[4]), self.speed[5]),
            "Scan.Action": self.act,
            "Scan.StatusGet": lambda: (int(self.running),),
            "Scan.WaitEndOfScan": self.wait,
            "Scan.WaitEndOfLine": self.wait_line,
            "Scan.FrameDataGrab": self.grab,
            "Scan.Save": lambda wait, ms: (0,),
            "Scan.PropsSet": self.set_props,
            "Scan.PropsGet": self.get_props,
        }

    # --- settings ---------------------------------------------------------------------------------------------------

    def set_frame(self, x: float, y: float, width: float, height: float, angle: float) -> tuple[()]:
        """Centre, width and height in m, angle in degrees. Raises Refused where a corner is out of range."""
        finite(x, y, width, height, angle)
        corners = np.array([[a * width, b * height] for a in (-0.5, 0.5) for b in (-0.5, 0.5)])
        corners = np.add(turned(corners, angle), [x, y])
        if not (width > 0 and height > 0 and np.all(np.abs(corners) <= 0.5 * np.array(RANGE_M[:2]) * (1 + 1e-6))):
            raise Refused("the scan frame is outside the piezo range")
        self.frame = [x, y, width, height, angle]
        return ()

    def set_buffer(self, channels: np.ndarray, pixels: int, lines: int) -> tuple[()]:
        """Pixels are coerced to a multiple of 16; 0 lines keep the ratio."""
        for k in channels:
            self.world.signal(int(k))
        if self.running:
            raise Refused("the buffer can not be changed while a scan is running")
        ratio = self.lines / self.pixels
        self.channels = [int(k) for k in channels] or self.channels
        self.images = {}
        self.pixels = min(max(COARSEST * round(pixels / COARSEST), COARSEST), MOST_PIXELS)
        self.lines = min(lines, MOST_PIXELS) if lines > 0 else max(1, round(ratio * self.pixels))
        return ()

    def set_speed(self, fwd: float, bwd: float, fwd_s: float, bwd_s: float, keep: int, ratio: float) -> tuple[()]:
        """Speeds in m/s and times of a line in s; what is kept determines the other. 0 is as it is."""
        finite(fwd, bwd, fwd_s, bwd_s, ratio)
        word = changed("Scan.Speed keep", keep, self.speed[4])
        new = [value if value > 0 else now for value, now in zip((fwd, bwd, fwd_s, bwd_s), self.speed[:4], strict=True)]
        width = self.frame[2]
        if word == "speed":
            new[2:] = [width / new[0], width / new[1]]
        else:
            new[:2] = [width / new[2], width / new[3]]
        self.speed = [*new, word, ratio if ratio > 0 else self.speed[5]]
        return ()

    def set_props(
        self, continuous: int, bouncy: int, autosave: int, series: str, comment: str, modules: list[str], paste: int
    ) -> tuple[()]:
        """Switches, and what goes into the header of saved images."""
        for name, code in zip(self.words, (continuous, bouncy, autosave, paste), strict=True):
            self.words[name] = changed(f"Scan.Props {name}", code, self.words[name])
        self.series, self.comment, self.modules = series or self.series, comment, modules
        return ()

    def get_props(self) -> tuple[Any, ...]:
        """The same, in the codes by which they are told."""
        codes = [told(f"Scan.Props {name}", word) for name, word in self.words.items()]
        parameters = [["Current>Gain"] for _ in self.modules]
        return (*codes[:3], self.series, self.comment, self.modules, [1] * len(self.modules), parameters, codes[3])

    # --- scanning -----------------------------------------------------------------------------------------------------

    @property
    def _line_s(self) -> float:
        return float(self.world.pace * (self.speed[2] + self.speed[3]))

    def _done(self) -> int:
        """Lines that are there."""
        lines = self.size[0]
        if self.state != "running":
            return self.stopped_at
        if self._line_s <= 0:
            return lines
        return min(lines, int((time.monotonic() - self.began) / self._line_s))

    @property
    def running(self) -> bool:
        """Whether it scans; the end is noticed here."""
        if self.state == "running" and self._done() >= self.size[0]:
            self.state, self.stopped_at = "idle", self.size[0]
        return self.state == "running"

    def act(self, code: int, direction: int) -> tuple[()]:
        """Start, stop and so on."""
        word = sent("Scan.Action", code)
        if word == "start":
            self._start(sent("Scan direction", direction))
        elif word in ("stop", "pause", "freeze") and self.running:
            self.stopped_at, self.state = self._done(), "idle" if word == "stop" else "paused"
        elif word in ("resume", "unfreeze") and self.state == "paused":
            self.began, self.state = time.monotonic() - self.stopped_at * self._line_s, "running"
        elif word == "to centre":
            self.frame[:2] = self.world.position.tolist()
        self.world.lock.notify_all()
        return ()

    def _start(self, direction: str) -> None:
        if self.running:
            raise Refused("a scan is running")
        self.direction, self.count = direction, self.count + 1
        self.size = self.lines, self.pixels
        self.images = self._compute()
        self.began, self.state = time.monotonic(), "running"
        self.world.ledger.write("scan", frame=self.frame, pixels=self.pixels, series=self.series)

    def _compute(self) -> dict[tuple[int, str], np.ndarray]:
        """Rows from the bottom up, (lines, pixels) float32, by channel and way."""
        world, (lines, pixels) = self.world, self.size
        x, y, width, height, angle = self.frame
        across = (np.arange(pixels) + 0.5) / pixels - 0.5
        along = (np.arange(lines) + 0.5) / lines - 0.5
        grid = np.stack(np.meshgrid(across * width, along * height), axis=-1).reshape(-1, 2)
        gap, surface = world.site(np.add(turned(grid, angle), [x, y]))
        z = surface + np.maximum(tunnelling.height_for(gap, world.bias, world.setpoint), 0.0)
        found = {}
        for channel in self.channels:
            for way in ("forward", "backward"):
                word = f"{key_part(self.series)!r} {channel} {way}"
                noise = np.random.default_rng([world.seed, zlib.crc32(word.encode())]).standard_normal(len(grid))
                if channel == Z:
                    values = z + Z_NOISE_M * noise
                elif channel == CURRENT:
                    values = np.clip(world.setpoint * (1.0 + world.noise * noise), -MAX_CURRENT_A, MAX_CURRENT_A)
                else:
                    values = np.full(len(grid), world.signal(channel))
                found[channel, way] = values.reshape(lines, pixels).astype(np.float32)
        return found

    def wait(self, ms: int) -> tuple[Any, ...]:
        """Hold the port until the scan ends, or for so long."""
        over = self.world.pause(1e9 if ms < 0 else 1e-3 * ms, lambda: not self.running) or not self.running
        return int(not over), str(self.world.session / f"{self.series}{self.count:04d}.sxm") if over else ""

    def wait_line(self, ms: int) -> tuple[Any, ...]:
        """Hold the port until another line is there, or for so long."""
        line = self._done()
        over = self.world.pause(1e9 if ms < 0 else 1e-3 * ms, lambda: self._done() > line or not self.running)
        return int(not over), self._done(), 0, 1

    def grab(self, channel: int, way: int) -> tuple[Any, ...]:
        """An image in the order in which its lines were scanned; lines that are not there yet are NaN."""
        word = {number: name for name, number in (("forward", 1), ("backward", 0))}.get(way)
        if word is None or channel not in self.channels:
            raise Refused("the channel is not in the scan buffer")
        if (channel, word) not in self.images:  # nothing of it was scanned yet
            return NAMES[channel], np.full((self.lines, self.pixels), np.nan), told("Scan direction", self.direction)
        image = self.images[channel, word]
        image = image if self.direction == "up" else image[::-1]
        if (there := self._done()) < len(image):
            image = image.copy()
            image[there:] = np.nan
        return NAMES[channel], image, told("Scan direction", self.direction)


def turned(x: np.ndarray, angle: float) -> np.ndarray:
    """Positions (n, 2) in a frame to those on the sample, about its centre: degrees, clockwise."""
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    return np.asarray(x @ np.array([[cos, -sin], [sin, cos]]))
