"""The campaign at a simulated instrument that `crash_instruments.py` disturbs, and what is looked at afterwards."""

import functools
import signal
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any, NamedTuple

import crash_campaign as small
import jax
import numpy as np
from gpax_instruments.drivers import PFM, STEM, DomainWriter
from gpax_instruments.errors import LINK_FAULTS

from gpax_lab import acquisition, kernels
from gpax_lab.core import Axis, Instrument, InstrumentError
from gpax_lab.experiment import bayes_opt, run
from gpax_lab.experiment._rescalarize import kept
from gpax_lab.experiment._signals import StopFlag
from gpax_lab.models import gp
from gpax_lab.storage import read
from gpax_lab.storage._errors import JournalEmpty

STEPS, SEED_SHARES = 5, np.array([[0.25, 0.25], [0.5, 0.75], [0.75, 0.25]])
READINGS = STEPS + len(SEED_SHARES)
TIMEOUT_S, ACT_S = 0.25, 5.0
RESUMED_WAIT_S = 20.0


class Kind(NamedTuple):
    """An instrument: its driver, where it goes, and what number a measurement is."""

    driver: Any
    axes: tuple[Axis, Axis]
    scalarize: Any
    options: dict[str, Any]

    @property
    def box(self):
        """(2, 2) lowest and highest of each axis."""
        return np.array([[axis.low, axis.high] for axis in self.axes])


def plane(side):
    """x and y in m."""
    return Axis("x", "m", 0.0, side), Axis("y", "m", 0.0, side)


PULSE = Axis("bias", "V", 1.0, 10.0, tolerance=0.01), Axis("log10 duration", "log10(s)", -3.0, -1.0, tolerance=0.005)
KINDS = {
    "pfm": Kind(PFM, plane(2e-6), lambda r: float(np.ptp(r.arrays["response"])) / 50.0, {"loop_timeout_s": ACT_S}),
    "stem": Kind(STEM, plane(1e-7), lambda r: float(np.log(np.sum(r.arrays["counts"]))), {"shot_timeout_s": ACT_S}),
    "writer": Kind(DomainWriter, PULSE, lambda r: float(np.mean(r.arrays["image"] < 0.0)), {"image_timeout_s": ACT_S}),
}


def driver(name, port, timeout_s=TIMEOUT_S):
    """The driver of an instrument at a port of this machine, not connected."""
    kind, address = KINDS[name], f"tcp://127.0.0.1:{port}"
    if kind.driver is DomainWriter:
        bias, log_duration = kind.box.tolist()
        return DomainWriter(address, tuple(bias), tuple(log_duration), timeout_s=timeout_s, **kind.options)
    return kind.driver(address, kind.axes, timeout_s=timeout_s, **kind.options)


@functools.cache
def experiment(name):
    """49 places on a grid; draws of the prior that are never updated."""
    bounds = KINDS[name].box.tolist()
    model = gp.exact(2, kernels.matern52, bounds=bounds)
    return bayes_opt(model, small.prior_draws(8), acquisition.log_ei(), acquisition.grid(bounds, (7, 7)))


def go(name, instrument, path, tell=small.Told.tell, **options):
    """The campaign, from its beginning or from where it stands in the file."""
    box = KINDS[name].box
    seeds = box[:, 0] + SEED_SHARES * np.ptp(box, axis=1)
    lost = (*LINK_FAULTS, ConnectionError, TimeoutError)
    with small.opened(name, path, tell) as campaign:
        return run(
            experiment(name), instrument, campaign, STEPS, seeds=seeds, key=jax.random.key(3),
            scalarize=KINDS[name].scalarize, lost=lost, **options,
        )  # fmt: skip


class PointLost(InstrumentError):
    """A measurement of which only the failure was recorded."""

    point_failed = True


class Recorded(Instrument):
    """An instrument that gives the measurements of a journal again, by token, and fails where they failed."""

    repeatable = True

    def __init__(self, path):
        self._frames = {frame.header["token"]: frame for frame in read(path).of("reading")}

    def measure(self, x, token):
        """The reading of the token."""
        frame = self._frames[token]
        if "usable" not in frame.header:  # no reading came home
            raise PointLost(frame.header["reason"])
        return kept(frame)

    def make_safe(self):
        """It is."""


class Judgement(NamedTuple):
    """What a journal left behind holds.

    Attributes:
        reopens: whether it can be opened.
        lost: acknowledged measurements that it does not hold, bit for bit.
        faults: what it says of faults.
    """

    reopens: bool
    lost: int
    faults: list[str]


class Desk:
    """The host of a room: runs campaigns to be disturbed, or judges what is left of them.

    Args:
        cache: folder of compiled functions.
        journals: one finished journal of each kind; the campaigns in them are gone through to have all compiled.
        say: tells the benchmark.
    """

    def __init__(self, cache, journals, say):
        small.configure(cache)
        self._say, self._device = say, None
        signal.signal(signal.SIGINT, lambda number, frame: None)  # outside a campaign; inside, StopFlag listens
        for name, path in journals.items():
            self.again(name, path)

    def whole(self, name, path, port):
        """A campaign that nobody disturbs: where it ends, and the seconds that it takes."""
        started = time.monotonic()
        with driver(name, port, timeout_s=5.0) as device:
            outcome = go(name, device, path)
        return small.fingerprint(outcome), time.monotonic() - started

    def disturbed(self, name, path, port, wait_s, idle_s):
        """A campaign as the command line runs it: how it ended, in words, the errors with their notes."""
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        try:
            with StopFlag() as stop:
                self._say(("said", "begun"))
                with driver(name, port) as device:
                    outcome = go(
                        name, device, path, lambda pair: self._say(("said", pair)), stop=lambda: bool(stop),
                        wait_s=wait_s, idle_s=idle_s,
                    )  # fmt: skip
            return ("finished" if outcome.finished else "paused"), outcome.reason
        except BaseException as error:
            return "error", "".join(traceback.format_exception(error))
        finally:
            signal.signal(signal.SIGHUP, lambda number, frame: None)

    def look(self, path, acknowledged):
        """The `Judgement` of a journal."""
        try:
            small.readings(path)  # cuts a torn tail as resume would
            contents = read(path)
            held = {frame.header["token"]: float(frame.arrays["y"]) for frame in contents.of("reading")}
            faults = [frame.header["text"] for frame in contents.of("fault")]
        except (JournalEmpty, FileNotFoundError):
            held, faults = {}, []
        except Exception as error:
            return Judgement(False, len(acknowledged), [f"{type(error).__name__}: {error}"])
        lost = sum(not np.array_equal(held.get(token, np.inf), y, equal_nan=True) for token, y in acknowledged)
        return Judgement(True, lost, faults)

    def connect(self, name, port):
        """What a program does first that goes on with a campaign."""
        self._device = driver(name, port).connect()

    def resume(self, name, path):
        """Go on to the end with the connected instrument: where it ends, and why measurements failed, by token."""
        with self._device as device:
            end = small.fingerprint(go(name, device, path, wait_s=RESUMED_WAIT_S))
        headers = [frame.header for frame in read(path).of("reading")]
        return end, {header["token"]: header["reason"] for header in headers if not header["ok"]}

    def again(self, name, path):
        """Where a campaign ends that is not interrupted, and measures what the journal at `path` holds."""
        with tempfile.TemporaryDirectory() as folder:
            return small.fingerprint(go(name, Recorded(path), Path(folder) / "again.gpxj"))

    def same_arrays(self, path, whole):
        """Whether two journals hold the same tokens, and under each the same reading in every bit."""
        known = {frame.header["token"]: kept(frame).arrays for frame in read(whole).of("reading")}
        found = {f.header["token"]: kept(f).arrays for f in read(path).of("reading") if "usable" in f.header}
        same = (np.array_equal(found[token][name], known[token][name]) for token in known for name in known[token])
        return found.keys() == known.keys() and all(same)
