"""Damaged measured files of every reader: what is believed, what breaks, what is opened besides, what stays behind."""

import contextlib
import ctypes
import faulthandler
import gc
import os
import shutil
import signal
import sys
import time
from pathlib import Path

import numpy as np
from damage import cut, exaggerate, flip, insert, overwrite
from results import high_water, reset_high_water

from gpax_lab.storage import UnreadableFile, load
from gpax_lab.storage._inspection import SPARE_BYTES
from gpax_lab.storage._loading import READERS
from gpax_lab.storage.readers._rosetta import PLUGINS

TESTS = Path(__file__).resolve().parents[1] / "tests" / "storage"
sys.path.insert(0, str(TESTS))

import formats  # noqa: E402 - the small files that the tests write byte by byte

SHARED = Path(__file__).resolve().parents[2] / "shared"
LONGEST_S = 20
FORBIDDEN = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "socket.connect")
TRUSTED = ("rsciio", "dask", "numpy", "toolz")  # whose own functions dask carries about as pickles


class Hang(BaseException):
    """A reader took too long; nothing that catches errors catches this."""


class Watch:
    """What Python code opens for reading, or does that no reader should, while it is on."""

    def __init__(self):
        self.folder, self.seen = None, []
        self.known = tuple({os.path.realpath(p) for p in (sys.prefix, sys.base_prefix, *sys.path) if p})
        sys.addaudithook(self.hook)

    def hook(self, event, arguments):
        if self.folder is None:
            return
        unpickled = event == "pickle.find_class" and str(arguments[0]).partition(".")[0] not in TRUSTED
        if event in FORBIDDEN or unpickled:
            self.seen.append(f"{event} {arguments}"[:100])
        elif event == "open" and isinstance(arguments[0], str | bytes | os.PathLike):
            path = os.path.realpath(os.fsdecode(arguments[0]))
            # Modules, their data, and what the kernel tells of the process are no content of anybody's.
            if not path.startswith((f"{self.folder}{os.sep}", "/proc/", "/sys/", "/dev/", *self.known)):
                self.seen.append(f"opened {path}")

    @contextlib.contextmanager
    def on(self, folder):
        self.folder, self.seen = os.path.realpath(folder), []
        try:
            yield self.seen
        finally:
            self.folder = None


def large(folder):
    """Files so large that four times their size is more than what reading takes whatever their size."""
    rng = np.random.default_rng(0)
    image = rng.normal(size=(700, 700)).astype(np.float32)
    yield formats.vendors.sxm(folder / "large.sxm", [image, image], [("Z", "m", "both")], angle=10.0)
    yield formats.vendors.ibw(folder / "large.ibw", image, big=True)
    yield formats.vendors.gwy(folder / "large.gwy", [("/0/data", "o", formats.vendors.field(image, (1, 1)))])
    data, parameters = image[:, :600].reshape(70, 60, 1, 100), np.zeros((70, 60, 3), np.float32)
    yield formats.vendors.grid(folder / "large.3ds", data, parameters, ["I (A)"], ["Z (m)"])
    (folder / "large.csv").write_text("a,b,c\n" + "\n".join(",".join(f"{v:.4g}" for v in row) for row in image[:, :3]))
    yield folder / "large.csv"


def samples(folder):
    """Whole files: of every format that can be written here, each under all names of its reader, and real ones."""
    for name in formats.FORMATS:
        try:
            path, _ = formats.make(name, folder)
        except ModuleNotFoundError as error:
            print(f"{name} is left out: {error}", file=sys.stderr)
            continue
        yield path
        plugins = PLUGINS.get(path.suffix)
        for other in PLUGINS if plugins else ():
            if other != path.suffix and PLUGINS[other] == plugins and not list(folder.glob(f"*{other}")):
                yield Path(shutil.copy(path, path.with_suffix(other)))
    yield from large(folder)
    for root in (SHARED / "cases" / "microscopy" / "files", SHARED / "data"):
        for path in sorted(root.rglob("*")) if root.is_dir() else ():
            if path.suffix.lower() in READERS and path.is_file() and path.stat().st_size < 3_000_000:
                yield path


def readable(paths):
    """Those that are read whole, with their bytes; the others are told, and would only ever be refused."""
    for path in paths:
        try:
            load(path)
        except (UnreadableFile, ModuleNotFoundError) as error:
            print(f"{path.name} is left out: {error}"[:200], file=sys.stderr)
        else:
            yield path, path.read_bytes()


def trial(folder, original, data, dice):
    """A damaged file: with a piece of it wrong, or of another format, or of no meaning, under the name of this one."""
    damage = dice.choice((flip, flip, cut, insert, overwrite, exaggerate, exaggerate))
    path = folder / f"damaged{original.suffix.lower()}"
    path.write_bytes(damage(data, dice) if data else data)
    if (there := original.with_suffix(".raw")).exists():  # what the description of a file leads to
        shutil.copy(there, path.with_suffix(".raw"))
        if original.suffix == ".xml":
            path.write_bytes(path.read_bytes().replace(there.name.encode(), b"damaged.raw"))
    return path


def _stop(*_):
    raise Hang


def judged(path, watch):
    """How a look at a file ended, what was wrong about it, seconds and bytes of memory."""
    ctypes.CDLL(None).malloc_trim(0)  # memory that was given back is given to the next file without being seen
    reset_high_water()
    before, begun = high_water(), time.monotonic()
    wrong = []
    signal.signal(signal.SIGALRM, _stop)
    signal.alarm(LONGEST_S)
    faulthandler.dump_traceback_later(3 * LONGEST_S, exit=True)  # where no Python code runs any more
    with watch.on(path.parent) as seen:
        try:
            found = load(path)
            end = "read"
            if not all(one.values.dtype.isnative and one.values.flags.writeable for one in found.values()):
                end = "broke"
                wrong.append("numbers of another byte order, or ones that can not be written")
        except (UnreadableFile, ModuleNotFoundError):
            end = "refused"
        except Hang:
            end = "hung"
        except Exception as error:
            end = "broke"
            wrong.append(f"{type(error).__name__}: {error}")
        finally:
            signal.alarm(0)
            faulthandler.cancel_dump_traceback_later()
    took = high_water() - before
    wrong += seen
    return end, wrong, time.monotonic() - begun, took


def descriptors():
    return len(os.listdir("/proc/self/fd"))


def files(report, folder, dice, trials, keep=None):
    """Load that many damaged files and report what became of them; those that a claim fails on are copied to `keep`."""
    faulthandler.enable()
    store = folder / "whole"
    place = folder / "damaged"
    store.mkdir()
    place.mkdir()
    known = list(readable(samples(store)))
    unknown = sorted(set(READERS) - {path.suffix.lower() for path, _ in known})
    watch = Watch()
    gc.collect()
    gc.freeze()  # readers collect garbage to close their files; what was there before need not be looked at each time
    kinds, ends = {}, dict.fromkeys(("read", "refused", "hung", "broke"), 0)
    large = foreign = 0
    longest, most = 0.0, 0.0
    before = descriptors()
    quarter = 0
    for number in range(trials):
        original, data = known[number % len(known)]
        path = trial(place, original, data, dice)
        if unknown and number % 20 == 19:  # nobody here can write these: other formats and noise under their names
            path = path.rename(path.with_suffix(dice.choice(unknown)))
            if dice.random() < 0.5:
                path.write_bytes(dice.randbytes(dice.choice((0, 10, 1000, 100_000))))
        end, wrong, seconds, took = judged(path, watch)
        ends[end] += 1
        kinds[path.suffix] = kinds.get(path.suffix, 0) + 1
        longest, size = max(longest, seconds), path.stat().st_size
        most = max(most, took / (4 * size + SPARE_BYTES))
        if took > 4 * size + SPARE_BYTES:
            large += 1
            wrong.append(f"{took / 1e6:.0f} MB for {size / 1e6:.3f} MB")
        foreign += any(text.startswith(("opened", "pickle", *FORBIDDEN)) for text in wrong)
        if wrong or end in ("hung", "broke"):
            print(f"{original.name}, trial {number}: {end}; {'; '.join(wrong)}"[:300], file=sys.stderr)
            if keep is not None:
                keep.mkdir(exist_ok=True)
                shutil.copy(path, keep / f"{number}{path.suffix}")
        for left in place.iterdir():
            left.unlink()
        if number == trials // 4:
            quarter = resident()
    grown = resident() - quarter
    for suffix, count in sorted(kinds.items()):
        report.result(f"damaged {suffix} files", count, "files")
    report.result("extensions of which no whole file can be written here", len(unknown), "extensions")
    report.result("damaged files read", ends["read"], "files")
    report.result("damaged files refused in words", ends["refused"], "files")
    report.result("damaged files that ended in another error", ends["broke"], "files", 0)
    report.result(f"damaged files that took more than {LONGEST_S} s", ends["hung"], "files", 0)
    report.result("damaged files for which another file was opened, or a program run", foreign, "files", 0)
    report.result("damaged files that took more than 4 times their size and 64 MB", large, "files", 0)
    report.result("largest share of that bound", round(most, 3), "1", 1)
    report.result("files left open", descriptors() - before, "files", 0)
    report.result("memory grown over the last three quarters", round(grown / 1e6, 1), "MB", 64)
    report.result("longest look at a damaged file", round(longest, 2), "s")
    report.claim("a damaged file is read or refused with an error of ours", ends["broke"] == 0)
    report.claim("no damaged file hangs a reader", ends["hung"] == 0)
    report.claim("a damaged file leads to no other file and starts nothing", foreign == 0)
    report.claim("a damaged file takes no more than 4 times its size and 64 MB", large == 0)
    report.claim("no file is left open", descriptors() <= before)
    report.claim("no memory is left behind", grown < SPARE_BYTES)


def resident():
    """Bytes of memory that the process has now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
