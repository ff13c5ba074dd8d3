"""Reading a campaign journal."""

import contextlib
import gc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from gpax_lab.storage import _files as files
from gpax_lab.storage._errors import JournalCorrupt, JournalError
from gpax_lab.storage._records import JournalRecord, record_at
from gpax_lab.storage._scan import Scan, scan

RAW = "raw/"


class Contents(NamedTuple):
    """What a journal holds.

    Attributes:
        records: the whole records, in the order in which they were written.
        ignored: how many bytes belong to none (a write that never finished; bytes of other programs; damage, where that
            was allowed).
    """

    records: tuple[JournalRecord, ...]
    ignored: int

    def of(self, *kinds: str) -> tuple[JournalRecord, ...]:
        """The records of the given kinds, e.g. `of("reading")` for the measurements, in order."""
        return tuple(record for record in self.records if record.kind in kinds)


def final_measurements(contents: Contents) -> tuple[JournalRecord, ...]:
    """The measurements of a campaign, each as it was read last.

    Args:
        contents: a journal.

    Returns:
        The records of kind "reading", in order. Those that a mended scalarizer gave a value later (kind "reread", by
        the same token) have it and its arrays, and are good ones. Those that somebody discarded later have failed.
    """
    later = {record.header["token"]: record for record in contents.of("reread")}
    bad = {r.header["token"]: r for r in contents.of("intervention") if r.header.get("action") == "discard"}
    found = []
    for record in contents.of("reading"):
        token = record.header.get("token")
        record = _with_value(record, later[token]) if token in later else record
        found.append(_discarded(record, bad[token]) if token in bad else record)
    return tuple(found)


def _discarded(measurement: JournalRecord, why: JournalRecord) -> JournalRecord:
    reason = f"discarded: {why.header.get('why') or 'no reason given'}"
    header = {**measurement.header, "value": float("nan"), "ok": False, "reason": reason}
    lost = {name: np.full_like(measurement.arrays[name], np.nan) for name in ("y",) if name in measurement.arrays}
    return measurement._replace(header=header, arrays={**measurement.arrays, **lost})


def _with_value(measurement: JournalRecord, again: JournalRecord) -> JournalRecord:
    header = {**measurement.header, "value": again.header["value"], "ok": True, "reason": ""}
    return measurement._replace(header=header, arrays={**measurement.arrays, **again.arrays})


def with_axes(campaign: JournalRecord, contents: Contents) -> JournalRecord:
    """The record that opens a campaign, with the axes of the instrument where its header has none."""
    told = [record.header["axes"] for record in contents.of("instrument") if "axes" in record.header][:1]
    if "axes" in campaign.header or not told:
        return campaign
    axes = [dict(zip(("name", "unit", "low", "high"), axis, strict=True)) for axis in told[0]]
    return campaign._replace(header={**campaign.header, "axes": axes})


def damage_text(path: Path, found: Scan) -> str:
    """What to tell a person about damage in the middle of a journal."""
    start, end = found.damage[0]
    more = f" (and {len(found.damage) - 1} more of these)" if len(found.damage) > 1 else ""
    what = (
        f"{end - start} bytes from byte {start} on are damaged"
        if end > start
        else f"entries before byte {end} are gone"
    )
    return (
        f"{path}: {what}{more}, with good entries behind them, so this is no "
        f"interrupted write (look at the disk or the copy); {len(found.spans)} entries are whole: "
        "read(path, skip_damage=True) gives them, and a campaign can go on from an intact copy"
    )


def found_in(path: Path, file: BinaryIO) -> Scan:
    """`scan`, with the path put in front of what its error says."""
    try:
        return scan(file)
    except JournalError as error:
        raise type(error)(f"{path}: {error}") from None


def is_raw(name: str) -> bool:
    """Whether an array of a measurement is what the instrument gave: most of the bytes of a campaign."""
    return name.startswith(RAW)


def read_slim(path: str | Path, *, states: bool = True, found: Scan | None = None) -> Contents:
    """`read`, with the raw arrays left in the file (`records.Later`).

    Args:
        path: the journal.
        states: whether the entries "state" have their arrays.
        found: what `scan` found in it, where that is known.
    """
    return _read(Path(path), False, is_raw, found, states)


def _intact(path: Path, file: BinaryIO, *, skip_damage: bool = False) -> Scan:
    found = found_in(path, file)
    if found.damage and not skip_damage:
        raise JournalCorrupt(damage_text(path, found))
    return found


def read(path: str | Path, *, skip_damage: bool = False) -> Contents:
    """Read a journal, also while another process writes it.

    Args:
        path: the journal.
        skip_damage: leave damaged entries out instead of raising.

    Returns:
        Every whole entry. A torn tail (the process died inside a write) and stray bytes between entries where none is
        missing are no error; their bytes are counted.

    Raises:
        JournalMissing: no such file.
        JournalPlace: a folder, a pipe, or a file that may not be read.
        ForeignFile: not a journal.
        JournalCorrupt: an entry that was once safe is damaged or gone.
    """
    return _read(Path(path), skip_damage, lambda name: False)


@contextlib.contextmanager
def without_collector() -> Iterator[None]:
    """Records hold no cycles; while 50,000 of them are made, the collector would look at all of them many times."""
    running = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if running:
            gc.enable()


def _read(
    path: Path, skip_damage: bool, later: Callable[[str], bool], found: Scan | None = None, states: bool = True
) -> Contents:
    with files.open_read(path) as file, without_collector():
        found = found or _intact(path, file, skip_damage=skip_damage)
        every = (record_at(file, span, later) for span in found.spans)
        records = tuple(record if states or record.kind != "state" else record._replace(arrays={}) for record in every)
        size = file.seek(0, 2)
    lost = sum(end - start for start, end in (*found.damage, *found.strays))
    return Contents(records, size - found.end + lost if records else size)
