"""Damaged journals, damaged files of every reader, damaged settings: what is lost, what is believed, what breaks.

Claims: of a damaged journal every whole entry is found again, none is accepted that was not written, and opening it for
writing deletes no byte (what is cut off lies in the file beside it); a damaged file is read or refused with an error of
ours, within four times its size of memory and 64 MB; damaged settings are read or refused with an error of ours.
One JSON line a result; the exit status is 1 where a claim fails. `--quick` makes fewer trials, `--seed` other ones.
"""

import argparse
import io
import logging
import random
import sys
import tempfile
import time
import tomllib
import warnings
from pathlib import Path

import numpy as np
from results import Report, high_water, reset_high_water

from gpax_lab.settings import SettingsError, parse
from gpax_lab.storage import (
    Dataset,
    ForeignFile,
    Journal,
    JournalCorrupt,
    JournalEmpty,
    UnreadableFile,
    load,
    read,
    save,
)
from gpax_lab.storage.dataset import axis
from gpax_lab.storage.frames import frame_at, scan
from gpax_lab.storage.loading import READERS

SPARE = 64_000_000

# Journals.


def journal(path, writes, dice):
    """A campaign of so many writes; the spans of its frames, and the first frame of its last write."""
    last = 0
    with Journal.create(path, {"name": path.stem}) as file:
        number = 1
        for step in range(writes):
            count = dice.choice((1, 1, 2, 4))
            last = number
            size = dice.choice((0, 3, 40, 300))
            rows = [("reading", step, {"n": n}, {"raw/y": np.full(size, step + n / 8)}) for n in range(count)]
            file.append(*rows)
            number += count
    data = path.read_bytes()
    return data, scan(data).spans, last


def flip(data, dice, spans, other):
    spoilt = bytearray(data)
    for _ in range(dice.choice((1, 1, 1, 3, 10))):
        spoilt[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
    return bytes(spoilt)


def cut(data, dice, spans, other):
    at = dice.randrange(len(data))
    return data[:at] + data[at + dice.choice((1, 2, 17, 400, 5000, len(data))) :]


def insert(data, dice, spans, other):
    at = dice.randrange(len(data) + 1)
    return data[:at] + dice.randbytes(dice.choice((1, 2, 17, 400))) + data[at:]


def overwrite(data, dice, spans, other):
    at = dice.randrange(len(data))
    size = dice.choice((1, 16, 512, 4096))
    return data[:at] + bytes(min(size, len(data) - at)) + data[at + size :]


def append(data, dice, spans, other):
    return data + dice.randbytes(dice.choice((1, 2, 17, 400)))


def duplicate(data, dice, spans, other):
    start, end = sorted((dice.randrange(len(spans)), dice.randrange(len(spans))))
    at = spans[dice.randrange(len(spans))][0]
    return data[:at] + data[spans[start][0] : spans[end][1]] + data[at:]


def splice(data, dice, spans, other):
    """Frames of another campaign, at a boundary of ours or anywhere."""
    theirs, their_spans = other
    first = dice.randrange(len(their_spans))
    last = min(first + dice.choice((1, 3, 20)), len(their_spans)) - 1
    at = spans[dice.randrange(len(spans))][dice.randrange(2)] if dice.random() < 0.7 else dice.randrange(len(data))
    return data[:at] + theirs[their_spans[first][0] : their_spans[last][1]] + data[at:]


DAMAGES = (flip, cut, insert, overwrite, append, duplicate, splice)


def judged(damaged, frames, last):
    """(whole frames that are not found, accepted ones that were never written, accepted twice) of a damaged journal.

    Frames of the last write may go with the one of them that is damaged: it never counts as acknowledged then.
    """
    try:
        found = scan(damaged)
    except ForeignFile:
        return sum(frame in damaged for frame in frames), 0, 0
    accepted = [damaged[start:end] for start, end in found.spans]
    known = set(accepted)
    whole = [frame in damaged for frame in frames]
    highest = max((n for n, there in enumerate(whole) if there), default=0)
    torn = highest >= last and not all(whole[last : highest + 1])
    counted = range(last) if torn else range(len(frames))
    lost = sum(whole[n] and frames[n] not in known for n in counted)
    for start, end in found.spans:
        frame_at(io.BytesIO(damaged), (start, end))
    return lost, len(known - set(frames)), len(accepted) - len(known)


def reopened(path, damaged, frames):
    """Whether a damaged file opens, or is refused and left; no byte of a whole frame may be gone afterwards."""
    path.write_bytes(damaged)
    beside = path.with_name(f"{path.name}.cut")
    beside.unlink(missing_ok=True)
    try:
        with Journal.open(path) as file:
            file.append(("reading", 10**6, {}, {}))
    except (ForeignFile, JournalCorrupt, JournalEmpty):
        return "refused", path.read_bytes() == damaged
    after = path.read_bytes() + (beside.read_bytes() if beside.exists() else b"")
    kept = all(frame in after for frame in frames if frame in damaged)
    return "opened", kept and read(path).frames[-1].step == 10**6


def journals(report, folder, dice, trials):
    data, spans, last = journal(folder / "ours.gpxj", 12, dice)
    theirs = journal(folder / "theirs.gpxj", 8, dice)[:2]
    frames = [data[start:end] for start, end in spans]
    lost = altered = twice = 0
    ends = {"opened": 0, "refused": 0}
    bad = 0
    begun = time.monotonic()
    counts = dict.fromkeys((damage.__name__ for damage in DAMAGES), 0)
    for trial in range(trials):
        damage = dice.choice(DAMAGES)
        damaged = damage(data, dice, spans, theirs)
        counts[damage.__name__] += 1
        found = judged(damaged, frames, last)
        if any(found):
            print(f"{damage.__name__}, trial {trial}: lost, altered, twice = {found}", file=sys.stderr)
        lost, altered, twice = lost + found[0], altered + found[1], twice + found[2]
        if trial % 20 == 0:
            end, right = reopened(folder / "damaged.gpxj", damaged, frames)
            ends[end] += 1
            if not right:
                bad += 1
                print(f"{damage.__name__}, trial {trial}: {end}, and bytes are gone", file=sys.stderr)
    for name, count in counts.items():
        report.result(f"journals damaged by {name}", count, "journals")
    report.result("whole entries not found again", lost, "entries", 0)
    report.result("entries accepted that were never written", altered, "entries", 0)
    report.result("entries accepted twice", twice, "entries", 0)
    report.result("damaged journals opened for writing", ends["opened"], "journals")
    report.result("damaged journals refused and left as they were", ends["refused"], "journals")
    report.result("of these, with bytes gone", bad, "journals", 0)
    report.result("damaged journals a second", round(trials / (time.monotonic() - begun)), "1/s")
    report.claim("every whole entry is found again", lost == 0)
    report.claim("no entry is accepted that was not written, and none twice", altered == twice == 0)
    report.claim("opening deletes nothing", bad == 0)


# Files of other programs.


def samples(folder):
    """A small file for every reader that this machine can write: ours, tables, and the real ones that are here."""
    rows = axis("y", np.arange(8.0), "nm"), axis("x", np.arange(9.0), "nm"), axis("bias", np.arange(5.0), "V")
    cube = Dataset(np.random.default_rng(0).normal(size=(8, 9, 5)).astype("f4"), rows, "response", "pm")
    yield save(folder / "cube.h5", {"response": cube})
    table = folder / "table.csv"
    table.write_text("well,Ag,Au,R (ohm)\n" + "".join(f"A{n},{n / 10},{1 - n / 10},{n}.5\n" for n in range(10)))
    yield table
    place = Path(__file__).parents[2] / "shared"
    for root in (place / "cases" / "microscopy" / "files", place / "data"):
        for path in sorted(root.rglob("*")) if root.is_dir() else ():
            if path.suffix.lower() in READERS and path.is_file() and path.stat().st_size < 3_000_000:
                yield path


def spoilt(data, dice):
    """A file with bits turned, a piece cut out, zeros, or bytes of no meaning in it."""
    return dice.choice((flip, flip, cut, insert, overwrite))(data, dice, (), None) if data else data


def files(report, folder, dice, trials):
    kinds, ends = {}, {"read": 0, "refused": 0}
    broken = large = 0
    longest = 0.0
    known = list(samples(folder))
    contents = {path: path.read_bytes() for path in known}
    for path in list(known):  # whatever a reader imports is there before memory is compared
        try:
            load(path)
        except (UnreadableFile, ModuleNotFoundError) as error:  # it would only ever be refused, and tell nothing
            print(f"{path.name} is left out: {error}", file=sys.stderr)
            known.remove(path)
    for trial in range(trials):
        original = known[trial % len(known)]
        damaged = spoilt(contents[original], dice)
        path = folder / f"damaged{original.suffix}"
        path.write_bytes(damaged)
        reset_high_water()
        before, begun = high_water(), time.monotonic()
        try:
            load(path)
            ends["read"] += 1
        except UnreadableFile:
            ends["refused"] += 1
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            broken += 1
            print(f"{original.name}, trial {trial}: {type(error).__name__}: {error}"[:300], file=sys.stderr)
        kinds[original.suffix] = kinds.get(original.suffix, 0) + 1
        longest = max(longest, time.monotonic() - begun)
        if high_water() - before > 4 * len(damaged) + SPARE:
            large += 1
            print(f"{original.name}, trial {trial}: {(high_water() - before) / 1e6:.0f} MB", file=sys.stderr)
    for suffix, count in sorted(kinds.items()):
        report.result(f"damaged {suffix} files", count, "files")
    report.result("damaged files read", ends["read"], "files")
    report.result("damaged files refused in words", ends["refused"], "files")
    report.result("damaged files that ended in another error", broken, "files", 0)
    report.result("damaged files that took more than 4 times their size and 64 MB", large, "files", 0)
    report.result("longest look at a damaged file", round(longest, 2), "s")
    report.claim("a damaged file is read or refused with an error of ours", broken == 0)
    report.claim("a damaged file takes no more than 4 times its size and 64 MB", large == 0)


# Settings.

SETTINGS = """
[campaign]
steps = 30
seeds = 5
journal = "campaign.gpxj"

[instrument]
kind = "twin"

[sampler]
kind = "nuts"
"""


def settings(report, dice, trials):
    ends = {"read": 0, "refused": 0}
    broken = 0
    words = ['""', "-1", "1e308", "nan", "true", "[]", "{}", '"$\\\\foo$"', "10000000000000000000000", "'\\u0000'"]
    for trial in range(trials):
        text = SETTINGS
        if dice.random() < 0.5:
            line = dice.choice([row for row in SETTINGS.splitlines() if "=" in row])
            text = text.replace(line, f"{line.split('=')[0]}= {dice.choice(words)}")
        else:
            text = flip(text.encode(), dice, (), None).decode("utf-8", "replace")
        try:
            parse(tomllib.loads(text))
            ends["read"] += 1
        except (SettingsError, tomllib.TOMLDecodeError):
            ends["refused"] += 1
        except Exception as error:
            broken += 1
            print(f"settings, trial {trial}: {type(error).__name__}: {error}"[:300], file=sys.stderr)
    report.result("damaged settings read", ends["read"], "files")
    report.result("damaged settings refused in words", ends["refused"], "files")
    report.result("damaged settings that ended in another error", broken, "files", 0)
    report.claim("damaged settings are read or refused with an error of ours", broken == 0)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer trials, under a minute")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    report, dice = Report(), random.Random(asked.seed)
    warnings.simplefilter("ignore")  # readers complain of what is damaged
    logging.disable()
    with tempfile.TemporaryDirectory() as name:
        journals(report, Path(name), dice, 3000 if asked.quick else 100_000)
        files(report, Path(name), dice, 300 if asked.quick else 20_000)
        settings(report, dice, 500 if asked.quick else 20_000)
    report.finish()


if __name__ == "__main__":
    main()
