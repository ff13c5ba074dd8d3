"""What may be measured at a Nanonis controller: a bias spectrum, signals, or an image of a scan."""

import contextlib
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gpax_instruments import _codecs as codecs
from gpax_instruments._nanonis_commands import CODES, R14718
from gpax_instruments.drivers._nanonis_settings import Setting, code, signals, split_name, switch
from gpax_instruments.errors import LINK_FAULTS, BadFrame, DeviceError, UnknownOutcome
from gpax_instruments.links._nanonis import NanonisClient
from gpax_lab.core import InstrumentError

FIRST = "00001.dat"
"""What the controller puts behind the base name of the first spectrum that bears it."""


class Taken(NamedTuple):
    """What came home.

    Attributes:
        arrays, units: by name.
        where: (2,) m on the sample as the file tells it; None where it does not.
    """

    arrays: dict[str, np.ndarray]
    units: dict[str, str]
    where: np.ndarray | None = None


class Reading(ABC):
    """One kind of measurement.

    Args:
        channels: names of the signals that are recorded.
    """

    name: str
    busy_command: str = ""

    def __init__(self, channels: tuple[str, ...]) -> None:
        self.channels = channels
        self.indices: list[int] = []
        self.labels: list[str] = []
        self.rails: dict[str, float] = {}  # by name of the array: where the converter saturates
        self.settings: list[Setting] = []

    def prepare(self, client: NanonisClient) -> None:
        """Find the signals, set what it needs once, and read it back."""
        found = signals(client, self.channels)
        self.indices, self.labels = list(found), list(found.values())
        ranges = [client.call("Signals.RangeGet", index) for index in self.indices]
        self.rails = {split_name(label)[0]: high for label, (high, _) in zip(self.labels, ranges, strict=True)}
        self.settings = list(self._settings(client))
        for one in self.settings:
            one.send(client)

    def check(self, client: NanonisClient) -> None:
        """Raise Interference where somebody else has changed what was set."""
        for one in self.settings:
            one.check(client)

    def busy(self, client: NanonisClient) -> bool:
        """Whether one is going on."""
        return bool(self.busy_command) and bool(client.again(self.busy_command)[0])

    def files(self, client: NanonisClient) -> bool:
        """Whether what was taken under a token can be found again."""
        return False

    def recover(self, client: NanonisClient, token: str) -> Taken | None:
        """What was taken under token; None where nothing was, or nobody can tell."""
        return None

    @abstractmethod
    def _settings(self, client: NanonisClient) -> Iterable[Setting]:
        """What has to be set."""

    @abstractmethod
    def take(self, client: NanonisClient, token: str, wait_s: float) -> Taken:
        """Measure once. Raises link faults, and DeviceError where it was refused."""

    def taken(self, client: NanonisClient, token: str, wait_s: float, idle: Callable[[], None], spends: bool) -> Taken:
        """Measure under a token, again where the link broke: unless that is done already, or spends its place.

        Raises:
            UnknownOutcome: the link broke, and it may have happened.
        """
        for attempt in range(client.attempts):
            try:
                return self.take(client, token, wait_s)
            except LINK_FAULTS as fault:
                client.connect()
                idle()
                done = self.recover(client, token)
                if done is not None:
                    return done
                if spends:
                    raise UnknownOutcome(
                        f"{self.name} {token}: the link broke, there is no file of it, and it may have happened"
                    ) from fault
                if attempt + 1 == client.attempts:
                    raise
        raise AssertionError("at least one attempt")


class Signals(Reading):
    """The newest values of signals."""

    name = "signal"

    def _settings(self, client: NanonisClient) -> Iterable[Setting]:
        return ()

    def take(self, client: NanonisClient, token: str, wait_s: float) -> Taken:
        values = client.call("Signals.ValsGet", self.indices, 1, wait_s=wait_s)[0]
        if values.shape != (len(self.indices),):
            raise BadFrame(f"{len(self.indices)} signals were asked for, {values.size} came")
        return _named(self.labels, values.astype(np.float64))


class SpectrumOptions(NamedTuple):
    """How a bias spectrum is taken; see `Nanonis`."""

    sweep: tuple[float, float]
    points: int
    sweeps: int
    backward: bool
    settling_s: float | None
    integration_s: float | None
    lockin_amplitude: float
    lockin_frequency: float | None
    folder: str | None


class BiasSpectrum(Reading):
    """A bias spectrum, whose file bears the token as its base name."""

    name = "spectrum"
    busy_command = "BiasSpectr.StatusGet"

    def __init__(self, channels: tuple[str, ...], options: SpectrumOptions) -> None:
        super().__init__(channels)
        self.options = options

    def prepare(self, client: NanonisClient) -> None:
        with contextlib.suppress(DeviceError):  # what it can not open, or need not, is told by what follows
            client.call("BiasSpectr.Open")
        super().prepare(client)

    def _settings(self, client: NanonisClient) -> Iterable[Setting]:
        o = self.options
        yield Setting("channels", "BiasSpectr.ChsSet", (self.indices,), "BiasSpectr.ChsGet", {0: self.indices})
        yield Setting("sweep (V)", "BiasSpectr.LimitsSet", o.sweep, "BiasSpectr.LimitsGet", dict(enumerate(o.sweep)))
        flag = {word: switch("BiasSpectr.Props", word == "on") for word in ("on", "off")}
        backward = flag["on" if o.backward else "off"]
        props = (flag["off"][0], o.sweeps, backward[0], o.points, 0.0, flag["on"][0], flag["off"][0])
        told = {0: flag["off"][1], 1: o.sweeps, 2: backward[1], 3: o.points}
        if client.release >= R14718:
            told |= {6: flag["on"][1], 7: flag["off"][1]}
        words = "save all, sweeps, backward, points, autosave, dialog"
        yield Setting(words, "BiasSpectr.PropsSet", props, "BiasSpectr.PropsGet", told)
        times = client.call("BiasSpectr.TimingGet")
        for place, seconds in ((4, o.settling_s), (5, o.integration_s)):
            if seconds is not None:
                times[place] = seconds
        timing = {4: times[4], 5: times[5]}
        yield Setting("settling, integration (s)", "BiasSpectr.TimingSet", tuple(times), "BiasSpectr.TimingGet", timing)
        lockin = o.lockin_amplitude > 0
        on, told_on = switch("BiasSpectr.AdvProps", True)
        run, told_run = switch("BiasSpectr.AdvProps", lockin)
        advanced = {0: told_on, 1: told_on, 3: told_run}
        words = "reset bias, hold z, run lock-in"
        yield Setting(words, "BiasSpectr.AdvPropsSet", (on, on, 0, run), "BiasSpectr.AdvPropsGet", advanced)
        if lockin:
            a = o.lockin_amplitude
            yield Setting("amplitude (V)", "LockIn.ModAmpSet", (1, a), "LockIn.ModAmpGet", {0: a}, (1,))
        if lockin and (f := o.lockin_frequency) is not None:
            yield Setting("frequency (Hz)", "LockIn.ModPhasFreqSet", (1, f), "LockIn.ModPhasFreqGet", {0: f}, (1,))

    def take(self, client: NanonisClient, token: str, wait_s: float) -> Taken:
        labels, data, _ = client.call("BiasSpectr.Start", 1, base_name(token), wait_s=wait_s)
        return self._judged(labels, data)

    def files(self, client: NanonisClient) -> bool:
        return client.release >= R14718 or self.options.folder is not None

    def recover(self, client: NanonisClient, token: str) -> Taken | None:
        if client.release >= R14718:
            folder = client.again("Util.SessionPathGet")[0]
            mark = "\\" if "\\" in folder else "/"
            try:
                labels, data, header = client.again("File.datLoad", f"{folder}{mark}{base_name(token)}{FIRST}", 0)
            except DeviceError:  # there is none
                return None
            return self._judged(labels, data, {row[0]: row[1] for row in header if len(row) > 1})
        if self.options.folder is None:
            return None
        path = Path(self.options.folder) / f"{base_name(token)}{FIRST}"
        if not path.is_file():
            return None
        head, _, table = path.read_text(encoding="utf-8", errors="replace").partition("[DATA]\n")
        names, *rows = table.splitlines()
        data = np.array([[float(cell) for cell in row.split("\t") if cell] for row in rows if row.strip()], np.float32)
        return self._judged(names.split("\t"), data.T, dict(line.split("\t")[:2] for line in head.splitlines() if line))

    def _judged(self, labels: list[str], data: np.ndarray, header: dict[str, str] | None = None) -> Taken:
        """One row a channel, or one column where the controller tells it so; the bias comes first."""
        if len(labels) != len(data) and data.ndim == 2 and len(labels) == data.shape[1]:
            data = data.T
        if len(labels) != len(data) or len(labels) < 2:
            raise DeviceError(f"a spectrum came with {len(labels)} names and {data.shape} numbers")
        taken = _named(["Bias (V)", *labels[1:]], data)
        if self.options.lockin_amplitude > 0:
            for name in [name for name in taken.arrays if name.startswith("li_demod_1_x")]:
                new = name.replace("li_demod_1_x", "conductance")
                taken.arrays[new] = taken.arrays[name] / self.options.lockin_amplitude
                taken.units[new] = f"{taken.units[name]}/V"
        try:
            where = np.array([float((header or {})[key]) for key in ("X (m)", "Y (m)")])
        except (KeyError, ValueError):
            return taken
        return taken._replace(where=where)


class Image(Reading):
    """A scan of the frame, forward and backward; rows of an array go along x, columns along y.

    Args:
        channels: as `Reading`.
        size_m: side of the frame.
        pixels: along a side.
        line_s: seconds of a line, each way; None as it is.
    """

    name = "image"
    busy_command = "Scan.StatusGet"

    def __init__(self, channels: tuple[str, ...], size_m: float, pixels: int, line_s: float | None) -> None:
        super().__init__(channels)
        self.size_m, self.pixels, self.line_s = size_m, pixels, line_s

    def _settings(self, client: NanonisClient) -> Iterable[Setting]:
        n = self.pixels
        told = {0: self.indices, 1: n, 2: n}
        yield Setting("channels, pixels, lines", "Scan.BufferSet", (self.indices, n, n), "Scan.BufferGet", told)
        if (s := self.line_s) is not None:
            keep = code("Scan.Speed keep", "time")
            sent = (0.0, 0.0, s, s, keep, 0.0)
            yield Setting("time of a line (s)", "Scan.SpeedSet", sent, "Scan.SpeedGet", {2: s, 3: s})

    def take(self, client: NanonisClient, token: str, wait_s: float) -> Taken:
        if self.busy(client):  # one of ours, over a link that broke
            client.call("Scan.Action", code("Scan.Action", "stop"), 0)
        continuous, bouncy, _, series, comment, modules, *_ = client.call("Scan.PropsGet")
        off = code("Scan.Props continuous", "off")
        client.call("Scan.PropsSet", off, off, 0, base_name(token), comment, modules, 0)
        try:
            client.call("Scan.Action", code("Scan.Action", "start"), code("Scan direction", "up"))
            late, _ = client.call("Scan.WaitEndOfScan", int(1e3 * wait_s), wait_s=wait_s)
            if late:
                client.call("Scan.Action", code("Scan.Action", "stop"), 0)
                raise DeviceError(f"the scan was not done after {wait_s:g} s, and was stopped; allow it more time")
            arrays: dict[str, np.ndarray] = {}
            units: dict[str, str] = {}
            for index in self.indices:
                for way in ("forward", "backward"):
                    label, rows, direction = client.call("Scan.FrameDataGrab", index, code("Scan.FrameDataGrab", way))
                    name, unit = split_name(label)
                    bottom_up = rows if CODES["Scan direction"].word(direction) == "up" else rows[::-1]
                    arrays[f"{name}_{way}"], units[f"{name}_{way}"] = np.ascontiguousarray(bottom_up.T), unit
        finally:
            with contextlib.suppress(InstrumentError):  # the names that a person has given, for the next image
                words = [code("Scan.Props continuous", "on" if one else "off") for one in (continuous, bouncy)]
                client.call("Scan.PropsSet", *words, 0, series, comment, modules, 0)
        arrays["pixel"], units["pixel"] = np.array(self.size_m / self.pixels), "m"
        return Taken(arrays, units)


def base_name(token: str) -> str:
    """The token as a name of a file: Windows knows no colon in one."""
    return token.replace(":", "-")


def quality(taken: Taken, shape: tuple[int, ...], rails: dict[str, float]) -> tuple[bool, str, tuple[str, ...]]:
    """Whether all arrays are finite, off the rails of their converters, and of this shape but for single numbers."""
    for name, values in taken.arrays.items():
        rail = rails.get(re.sub("_(forward|backward)$", "", name)) or None
        ok, reason, flags = codecs.quality(values, rail, min(3, max(1, np.size(values))))
        if ok and values.ndim and values.shape != shape:
            ok, reason, flags = False, f"{shape} numbers were expected, {values.shape} came", ("short",)
        if not ok:
            return False, f"{name}: {reason}", flags
    return True, "", ()


def _named(labels: Iterable[str], rows: Any) -> Taken:
    arrays: dict[str, np.ndarray] = {}
    units: dict[str, str] = {}
    for label, row in zip(labels, rows, strict=True):
        name, unit = split_name(label)
        arrays[name], units[name] = np.asarray(row), unit
    return Taken(arrays, units)
