"""The campaign journal: an append-only file that is the record of what was measured.

Every `append` is one write and one data sync, so an entry is on the disk when the call returns; a kill, a power cut or
a full disk can only spoil the call that had not returned. The file is read back with `contents.read`, without a lock.

Locks do not reach every machine that sees a network folder, and other programs write where they like. So every append
first looks whether the file is still the one that the last append left. Stray bytes are gone on behind; where the file
was removed, replaced or cut, or another program writes the same campaign, what was due goes into a rescue file.

Example:
    >>> import tempfile, pathlib, numpy as np
    >>> from gpax_lab.storage import read
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "film.gpxj"
    >>> with Journal.create(path, {"settings": {"budget": 3}}) as journal:
    ...     journal.append(("reading", 0, {"ok": True, "value": 1.5}, {"x": np.array([0.25, 0.5])}))
    >>> [record.kind for record in read(path).records]
    ['campaign', 'reading']
"""

import errno
import os
import secrets
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from gpax_lab.experiment import _suspended as suspended
from gpax_lab.storage import _files as files
from gpax_lab.storage import _lock as lock
from gpax_lab.storage._contents import damage_text, found_in, without_collector
from gpax_lab.storage._errors import (
    DiskFull,
    JournalCorrupt,
    JournalDisturbed,
    JournalEmpty,
    JournalError,
    JournalExists,
    JournalFull,
)
from gpax_lab.storage._records import (
    BEGINNING,
    Found,
    JournalRecord,
    Stamp,
    beginning,
    begins_well,
    encode,
    record_at,
    whole_records,
)
from gpax_lab.storage._scan import Scan

Entry = tuple[str, int, Mapping[str, Any], Mapping[str, Any]]


class Clock(NamedTuple):
    """Where times come from, in seconds: one clock that never goes back nor stops, and one that shows the date."""

    monotonic: Callable[[], float] = suspended.now
    wall: Callable[[], float] = time.time


def _writer() -> int:
    return secrets.randbits(32)


class Journal:
    """A journal open for appending; only one process can hold it. Make one with `create` or `open`.

    Attributes:
        path: the file.
        cut: how many bytes of an unfinished write were cut off, and set aside in a file beside it, when it was opened.
        told: what a person should know of how the file was found, in words; "" where all was well.
        found: what was found in the file when it was opened, where nothing has been written since then; or None.
    """

    path: Path
    cut: int
    told: str
    found: Scan | None

    def __init__(self, path: Path, descriptor: int, clock: Clock, found: Scan, last: float | None) -> None:
        self.path = path
        self.cut = 0
        self.told = _strays_text(found)
        self.found = found if found.spans else None
        self._descriptor: int | None = descriptor
        self._clock = clock
        self._end = found.end
        self._campaign, self._number, self._writer = found.campaign, found.following, _writer()
        self._last_write = b""
        self._unsure: tuple[bytes, int] | None = None  # a write that was not acknowledged, and its number of entries
        self._broken: JournalError | None = None
        now = clock.monotonic()
        # After a reboot the system's clock starts anew; ours goes on from the last entry.
        self._shift = 0.0 if last is None else max(0.0, last - now)
        self._last = now if last is None else last

    @classmethod
    def create(
        cls,
        path: str | Path,
        header: Mapping[str, Any],
        arrays: Mapping[str, Any] | None = None,
        *,
        clock: Clock = Clock(),  # noqa: B008 - immutable
    ) -> Self:
        """Start a journal with one entry of kind "campaign"; durable, name included, when it returns.

        Args:
            path: where; by custom with the suffix `.gpxj`.
            header: plain values that describe the campaign.
            arrays: arrays that belong to them.
            clock: where times come from.

        Raises:
            JournalExists: a file is there already; it is left as it is.
            JournalMissing, JournalPlace: no such folder, or one that can not be written.
            JournalFull: no room; the file is removed again.
        """
        path = Path(path)
        campaign = secrets.token_bytes(16)
        # Refused before a file exists.
        encode(JournalRecord("campaign", 0, dict(header), dict(arrays or {}), 0.0, 0.0), Stamp(campaign, 0, 0, 0))
        try:
            with files.in_words(path):
                descriptor = files.open_append(path, create=True)
        except FileExistsError as error:
            text = f"{path} exists already: go on with it (Campaign.open), or choose another name"
            raise JournalExists(errno.EEXIST, text) from error
        try:
            lock.acquire(descriptor, str(path))
            journal = cls(path, descriptor, clock, Scan((), 0, (), (), campaign, 0), None)
            journal._write(beginning(campaign) + journal._encode((("campaign", 0, header, arrays or {}),)), 1)
            files.sync_directory(path.resolve().parent)
        except BaseException:
            os.close(descriptor)
            path.unlink(missing_ok=True)
            raise
        return journal

    @classmethod
    def open(cls, path: str | Path, *, clock: Clock = Clock()) -> Self:  # noqa: B008 - immutable
        """Open a journal for appending.

        An unfinished write at its end is cut off, set aside in a file beside the journal, and an entry "cut" says so.

        Args:
            path: the journal.
            clock: where times come from.

        Raises:
            JournalMissing: there is no such file (a FileNotFoundError).
            JournalPlace: a folder, a pipe, or a file that may not be written.
            ForeignFile: not a journal; it is left as it is.
            JournalEmpty: the program died while creating it; nothing was recorded.
            JournalLocked: another process is writing it.
            JournalCorrupt: an entry that was once safe is damaged or gone; the file is left as it is.
            JournalFull: no room to set an unfinished write aside; the file is left as it is.
        """
        path = Path(path)
        with files.open_read(path) as file:  # look first: a file that is not ours is not even opened for writing
            if not begins_well(file.read(BEGINNING)):
                found_in(path, file)
        with files.in_words(path):
            descriptor = files.open_append(path, create=False)
        try:
            lock.acquire(descriptor, str(path))
            with files.open_read(path) as file:
                with without_collector():
                    found = found_in(path, file)
                if found.damage:
                    raise JournalCorrupt(damage_text(path, found))
                if not found.spans:
                    text = (
                        "the program died while creating this journal: nothing was recorded; delete it and start again"
                    )
                    raise JournalEmpty(f"{path}: {text}")
                last = record_at(file, found.spans[-1])
                size = file.seek(0, os.SEEK_END)
            journal = cls(path, descriptor, clock, found, last.monotonic)
            journal._cut(size, last.step)
        except BaseException:
            os.close(descriptor)
            raise
        return journal

    def _cut(self, size: int, step: int) -> None:
        self.cut = size - self._end
        if self.cut:
            descriptor = self._open_descriptor()
            why = f"{self.cut} bytes that belong to no whole entry, cut from byte {self._end} on of {self.path.name}"
            with files.in_words(self.path):
                place = files.set_aside(self.path, files.read_back(descriptor, self._end, size), why)
            files.truncate(descriptor, self._end)
            self.append(("cut", step, {"bytes": self.cut, "kept": place.name}, {}))
            words = f"{self.cut} bytes of an unfinished write were cut off; they are kept in {place.name}."
            self.told = f"{self.told} {words}".strip()

    def _open_descriptor(self) -> int:
        if self._descriptor is None:
            raise JournalError(f"{self.path}: this journal is closed")
        return self._descriptor

    def _encode(self, entries: tuple[Entry, ...]) -> bytes:
        now = max(self._last, self._clock.monotonic() + self._shift)
        wall = self._clock.wall()
        parts: list[bytes] = []
        number = self._number
        for kind, step, header, arrays in entries:
            stamp = Stamp(self._campaign, self._writer, number, self._number)
            parts.append(encode(JournalRecord(kind, step, dict(header), dict(arrays), now, wall), stamp))
            number += 1 if self._campaign else len(parts[-1])
        self._last = now
        return b"".join(parts)

    def _write(self, data: bytes, count: int) -> None:
        descriptor = self._open_descriptor()
        self.found = None
        self._unsure = data, count
        self._finish(descriptor, data, count, data)

    def _finish(self, descriptor: int, data: bytes, count: int, still: bytes = b"") -> None:
        """Write what is still to be written of the data, and see that all of it is on the disk."""
        try:
            files.write_all(descriptor, still)
            files.sync(descriptor)
        except OSError as error:
            self._roll_back(descriptor)
            if error.errno in files.NO_ROOM:
                raise JournalFull(
                    f"{self.path}: no room for {len(data) / 1e6:.3f} MB more ({error.strerror}); this entry is not "
                    "recorded, every earlier one is safe"
                ) from error
            # After a failed sync the system may drop the bytes and report success the next time, so none is trusted.
            self._broken = JournalError(
                f"{self.path}: the disk failed ({error}); every earlier entry was safe before that"
            )
            raise self._broken from error
        size = self._arrived(descriptor, data)
        following = self._number + (count if self._campaign else len(data))
        # In one statement without a call: Python handles no Ctrl-C in the middle of it.
        self._end, self._number, self._last_write, self._unsure = size, following, data, None

    def _resolve(self, descriptor: int, data: bytes, count: int) -> None:
        """After a call that was interrupted, by Ctrl-C for one: what it left whole is kept, and else cut off."""
        if files.read_back(descriptor, self._end, self._end + len(data)) == data:
            self._finish(descriptor, data, count)
        else:
            self._roll_back(descriptor)

    def _arrived(self, descriptor: int, data: bytes) -> int:
        """Where the file ends now; another size than expected means that others wrote in the same instant."""
        size = os.fstat(descriptor).st_size
        between = files.read_back(descriptor, self._end, size) if size != self._end + len(data) else data
        if between != data:
            if data not in between:
                self._disturbed("was written by another program in the same instant", data)
            if self._others(between.replace(data, b"", 1)):
                self._broken = self._two_writers()
        return size

    def _roll_back(self, descriptor: int) -> None:
        size = os.fstat(descriptor).st_size
        reach = self._end + len(self._unsure[0]) if self._unsure else 0
        if self._end < size <= reach:  # beyond that, others have written; their bytes are not ours to cut
            files.truncate(descriptor, self._end)
        self._unsure = None
        self._writer = _writer()  # what may be left on the disk of that write is not taken for a part of the next one

    def _others(self, data: bytes) -> list[Found]:
        """Records of this campaign that another program wrote."""
        records = whole_records(data, 0, len(data))
        return [one for one in records if one.stamp.campaign == self._campaign]

    def _two_writers(self) -> JournalDisturbed:
        return JournalDisturbed(
            f"{self.path}: another program writes this journal at the same time (on another machine, where locks do "
            "not reach); stop it, or this one, before you go on. All entries so far are whole"
        )

    def _look(self, descriptor: int, due: bytes, step: int) -> None:
        """Compare the file with what the last append left, before the next one.

        Raises:
            JournalDisturbed: it was removed, replaced, cut or written by another program; `due` is in a rescue file.
        """
        mine = os.fstat(descriptor)
        try:
            there = os.stat(self.path)
        except OSError:
            self._disturbed("was removed under the running campaign, or its folder is out of reach", due)
        if mine.st_nlink == 0 or not os.path.samestat(mine, there):
            self._disturbed("was replaced by another file under the running campaign", due)
        if mine.st_size < self._end:
            self._disturbed(f"was cut from {self._end} to {mine.st_size} bytes under the running campaign", due)
        last = self._last_write
        if last and files.read_back(descriptor, self._end - len(last), self._end) != last:
            self._disturbed("was written over by another program", last + due)
        if mine.st_size > self._end:
            self._grown(descriptor, mine.st_size, due, step)

    def _grown(self, descriptor: int, size: int, due: bytes, step: int) -> None:
        between = files.read_back(descriptor, self._end, size)
        if self._others(between):
            self._disturbed("is written by another program at the same time, so that one of the two must stop", due)
        stray, start, self._end = len(between), self._end, size
        self.told = (
            f"{self.told} {stray} bytes that another program wrote into the journal are left where they are.".strip()
        )
        self._write(self._encode((("stray", step, {"bytes": stray, "from": start}, {}),)), 1)

    def _disturbed(self, what: str, due: bytes) -> None:
        """Save all that this program knows of into a rescue file, and refuse from now on."""
        descriptor = self._open_descriptor()
        text = f"{self.path} {what}"
        try:
            place = files.rescue(self.path, descriptor, self._end, due)
            text += (
                f"; the entries that were due, and all before them that are still there, are in {place}: resume from it"
            )
        except OSError as error:
            text += f"; nor could a rescue file be written ({error}): the entries that were due are lost"
        self._broken = JournalDisturbed(text)
        raise self._broken

    def append(self, *entries: Entry) -> None:
        """Record entries; they are on the disk when this returns.

        Args:
            *entries: (kind, step, header, arrays) each; all of them go out in one write.

        Raises:
            JournalFull: no room; the file ends at its last whole entry and nothing of this call is in it.
            JournalDisturbed: the file was removed, replaced, cut, or is written by another program.
            JournalError: the disk failed, or the journal is closed.
            TypeError: a value that cannot be kept exactly; nothing was written.
        """
        descriptor = self._open_descriptor()
        if self._broken is not None:
            raise self._broken
        if self._unsure is not None:
            self._resolve(descriptor, *self._unsure)
        if entries:
            data, number = self._encode(entries), self._number
            self._look(descriptor, data, entries[0][1])
            # An entry that tells of stray bytes may have gone before it.
            self._write(data if number == self._number else self._encode(entries), len(entries))

    def require_space(self, nbytes: int) -> None:
        """Check, before measuring, that there is room for what the measurement will record.

        Args:
            nbytes: bytes that must still fit (leave a margin: other programs write too).

        Raises:
            DiskFull: with the path and both sizes in megabytes (10^6 bytes).
            JournalMissing: its folder is gone.
        """
        with files.in_words(self.path):
            free = files.free_bytes(self.path, self._end)
        if free < nbytes:
            text = f"{self.path}: {free / 1e6:.3f} MB free, {nbytes / 1e6:.3f} MB needed; make room and resume"
            raise DiskFull(errno.ENOSPC, text)

    def close(self) -> None:
        """Release the file and its lock; may be called twice."""
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            try:
                lock.release(descriptor)
            finally:
                os.close(descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _strays_text(found: Scan) -> str:
    """What a person should know of bytes between the entries, and of entries of two programs."""
    size = sum(end - start for start, end in found.strays)
    words = [f"{size} bytes between the entries of the journal belong to none; no entry is missing."] if size else []
    if found.writers > 1:
        words.append("Two programs have written this journal at the same time; the entries of both are kept.")
    return " ".join(words)
