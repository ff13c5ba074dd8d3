"""Damaged journals, files of every reader, settings and messages on the wire: what is lost, believed, what breaks.

Claims: of a damaged journal every whole entry is found again, none is accepted that was not written, and opening it for
writing deletes no byte (what is cut off lies in the file beside it); a damaged file is read or refused with an error of
ours, opens no other file, leaves nothing open, and takes at most four times its size of memory and 64 MB (a packed one
that unpacks to more is read whole, up to 1032 times what is there and 16 MB, and refused beyond); damaged settings are
read or refused with an error of ours; damaged answers of an instrument end in an error of ours within the deadline, and
damaged requests never end the simulated microscope.
One JSON line a result; the exit status is 1 where a claim fails. `--quick` makes fewer trials, `--seed` other ones;
parts may be named, and `--keep` takes a folder for files that a claim failed on.
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
from damage import append, cut, flip, insert, overwrite
from fuzz_files import files
from fuzz_wire import wire
from results import Report

from gpax_lab.settings import SettingsError, parse
from gpax_lab.storage import read
from gpax_lab.storage._errors import ForeignFile, JournalCorrupt, JournalEmpty
from gpax_lab.storage._journal import Journal
from gpax_lab.storage._records import record_at
from gpax_lab.storage._scan import scan

ANYWHERE = (flip, cut, insert, overwrite, append)

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


DAMAGES = {
    **{damage.__name__: lambda data, dice, *_, damage=damage: damage(data, dice) for damage in ANYWHERE},
    "duplicate": duplicate,
    "splice": splice,
}


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
        record_at(io.BytesIO(damaged), (start, end))
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
    return "opened", kept and read(path).records[-1].step == 10**6


def journals(report, folder, dice, trials):
    data, spans, last = journal(folder / "ours.gpxj", 12, dice)
    theirs = journal(folder / "theirs.gpxj", 8, dice)[:2]
    frames = [data[start:end] for start, end in spans]
    lost = altered = twice = 0
    ends = {"opened": 0, "refused": 0}
    bad = 0
    begun = time.monotonic()
    counts = dict.fromkeys(DAMAGES, 0)
    for trial in range(trials):
        name = dice.choice(list(DAMAGES))
        damaged = DAMAGES[name](data, dice, spans, theirs)
        counts[name] += 1
        found = judged(damaged, frames, last)
        if any(found):
            print(f"{name}, trial {trial}: lost, altered, twice = {found}", file=sys.stderr)
        lost, altered, twice = lost + found[0], altered + found[1], twice + found[2]
        if trial % 20 == 0:
            end, right = reopened(folder / "damaged.gpxj", damaged, frames)
            ends[end] += 1
            if not right:
                bad += 1
                print(f"{name}, trial {trial}: {end}, and bytes are gone", file=sys.stderr)
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
            text = flip(text.encode(), dice).decode("utf-8", "replace")
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


PARTS = {
    "journals": (lambda report, folder, dice, trials, keep: journals(report, folder, dice, trials), 3000, 100_000),
    "files": (files, 300, 20_000),
    "settings": (lambda report, folder, dice, trials, keep: settings(report, dice, trials), 500, 20_000),
    "wire": (lambda report, folder, dice, trials, keep: wire(report, dice, trials), 60, 4000),
}
"""By name: what runs, and how many trials, quick and whole."""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(PARTS)}; all of them unless named")
    parser.add_argument("--quick", action="store_true", help="fewer trials, about a minute")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--trials", type=int, help="so many of each part named")
    parser.add_argument("--keep", type=Path, help="a folder for files that a claim failed on")
    asked = parser.parse_args()
    if unknown := set(asked.parts) - set(PARTS):
        parser.error(f"there are {', '.join(PARTS)}; not {', '.join(sorted(unknown))}")
    report = Report()
    warnings.simplefilter("ignore")  # readers complain of what is damaged
    logging.disable()
    for name in asked.parts or PARTS:
        run, quick, whole = PARTS[name]
        dice, trials = random.Random(f"{name} {asked.seed}"), quick if asked.quick else whole
        with tempfile.TemporaryDirectory() as folder:
            run(report, Path(folder), dice, asked.trials or trials, asked.keep)
    report.finish()


if __name__ == "__main__":
    main()
