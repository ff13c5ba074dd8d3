"""The campaign journal: an append-only file that is the record of what was measured.

Every `append` is one write and one data sync, so an entry is on the disk when the call returns; a kill, a power cut or
a full disk can only spoil the call that had not returned. The file is read back with `contents.read`, without a lock.

Example:
    >>> import tempfile, pathlib, numpy as np
    >>> from gpax_lab.storage import read
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "film.gpxj"
    >>> with Journal.create(path, {"settings": {"budget": 3}}) as journal:
    ...     journal.append(("reading", 0, {"ok": True, "value": 1.5}, {"x": np.array([0.25, 0.5])}))
    >>> [frame.kind for frame in read(path).frames]
    ['campaign', 'reading']
"""

import errno
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from . import files, lock
from .contents import damage_text, named
from .errors import DiskFull, JournalCorrupt, JournalEmpty, JournalError, JournalExists, JournalFull
from .frames import HEADER, Frame, check_header, decode, encode, scan

Entry = tuple[str, int, Mapping[str, Any], Mapping[str, Any]]
_NO_ROOM = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}


class Clock(NamedTuple):
    """Where times come from, in seconds: one clock that never goes back, and one that shows the date."""

    monotonic: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time


class Journal:
    """A journal open for appending; only one process can hold it. Make one with `create` or `open`.

    Attributes:
        path: the file.
        cut: how many bytes of an unfinished write were cut off when it was opened.
    """

    path: Path
    cut: int

    def __init__(self, path: Path, descriptor: int, clock: Clock, end: int, last: float | None) -> None:
        self.path = path
        self.cut = 0
        self._descriptor: int | None = descriptor
        self._clock = clock
        self._end = end
        self._unsure = False  # a write began and was not acknowledged
        self._broken = ""
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
            JournalFull: no room; the file is removed again.
        """
        path = Path(path)
        encode(Frame("campaign", 0, dict(header), dict(arrays or {}), 0.0, 0.0), 0, 0)  # refused before a file exists
        try:
            descriptor = files.open_append(path, create=True)
        except FileExistsError as error:
            text = f"{path} exists already: go on with it (Journal.open), or choose another name"
            raise JournalExists(errno.EEXIST, text) from error
        try:
            lock.acquire(descriptor, str(path))
            journal = cls(path, descriptor, clock, 0, None)
            journal._write(HEADER + journal._encode(len(HEADER), (("campaign", 0, header, arrays or {}),)))
            files.sync_directory(path.resolve().parent)
        except BaseException:
            os.close(descriptor)
            path.unlink(missing_ok=True)
            raise
        return journal

    @classmethod
    def open(cls, path: str | Path, *, clock: Clock = Clock()) -> Self:  # noqa: B008 - immutable
        """Open a journal for appending; an unfinished write at its end is cut off and an entry "cut" says so.

        Args:
            path: the journal.
            clock: where times come from.

        Raises:
            FileNotFoundError: there is no such file.
            ForeignFile: not a journal; it is left as it is.
            JournalEmpty: the program died while creating it; nothing was recorded.
            JournalLocked: another process is writing it.
            JournalCorrupt: damaged bytes in the middle; it is left as it is.
        """
        path = Path(path)
        with path.open("rb") as file:  # look first: a file that is not ours is not even opened for writing
            named(path, check_header, file.read(len(HEADER)))
        descriptor = files.open_append(path, create=False)
        try:
            lock.acquire(descriptor, str(path))
            data = path.read_bytes()
            found = named(path, scan, data)
            if found.damage:
                raise JournalCorrupt(damage_text(path, found))
            if not found.spans:
                text = "the program died while creating this journal: nothing was recorded; delete it and start again"
                raise JournalEmpty(f"{path}: {text}")
            last = decode(data, found.spans[-1][0])
            journal = cls(path, descriptor, clock, found.end, last.monotonic)
            journal._cut(len(data) - found.end, last.step)
        except BaseException:
            os.close(descriptor)
            raise
        return journal

    def _cut(self, size: int, step: int) -> None:
        self.cut = size
        if size:
            files.truncate(self._open_descriptor(), self._end)
            self.append(("cut", step, {"bytes": size}, {}))

    def _open_descriptor(self) -> int:
        if self._descriptor is None:
            raise JournalError(f"{self.path}: this journal is closed")
        return self._descriptor

    def _encode(self, batch: int, entries: tuple[Entry, ...]) -> bytes:
        now = max(self._last, self._clock.monotonic() + self._shift)
        wall = self._clock.wall()
        parts = []
        place = batch
        for kind, step, header, arrays in entries:
            parts.append(encode(Frame(kind, step, dict(header), dict(arrays), now, wall), place, batch))
            place += len(parts[-1])
        self._last = now
        return b"".join(parts)

    def _write(self, data: bytes) -> None:
        descriptor = self._open_descriptor()
        self._unsure = True
        try:
            files.write_all(descriptor, data)
            files.sync(descriptor)
        except OSError as error:
            self._roll_back(descriptor)
            if error.errno in _NO_ROOM:
                raise JournalFull(
                    f"{self.path}: no room for {len(data) / 1e6:.3f} MB more ({error.strerror}); this entry is not "
                    "recorded, every earlier one is safe"
                ) from error
            # After a failed sync the system may drop the bytes and report success the next time, so none is trusted.
            self._broken = f"{self.path}: the disk failed ({error}); every earlier entry was safe before that"
            raise JournalError(self._broken) from error
        self._end += len(data)
        self._unsure = False

    def _roll_back(self, descriptor: int) -> None:
        files.truncate(descriptor, self._end)
        self._unsure = False

    def append(self, *entries: Entry) -> None:
        """Record entries; they are on the disk when this returns.

        Args:
            *entries: (kind, step, header, arrays) each; all of them go out in one write.

        Raises:
            JournalFull: no room; the file ends at its last whole entry and nothing of this call is in it.
            JournalError: the disk failed, or the journal is closed.
            TypeError: a value that cannot be kept exactly; nothing was written.
        """
        descriptor = self._open_descriptor()
        if self._broken:
            raise JournalError(self._broken)
        if self._unsure:  # the last call was interrupted, by Ctrl-C for one: what it left was never acknowledged
            self._roll_back(descriptor)
        if entries:
            self._write(self._encode(self._end, entries))

    def require_space(self, nbytes: int) -> None:
        """Check, before measuring, that there is room for what the measurement will record.

        Args:
            nbytes: bytes that must still fit (leave a margin: other programs write too).

        Raises:
            DiskFull: with the path and both sizes in megabytes (10^6 bytes).
        """
        free = files.free_bytes(self.path, self._end)
        if free < nbytes:
            raise DiskFull(f"{self.path}: {free / 1e6:.3f} MB free, {nbytes / 1e6:.3f} MB needed; make room and resume")

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
