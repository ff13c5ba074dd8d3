"""A campaign on disk: its journal, and the HDF5 file exported from it at every pause."""

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from gpax_lab.storage._contents import read, read_slim
from gpax_lab.storage._export import export_hdf5
from gpax_lab.storage._journal import Entry, Journal
from gpax_lab.storage._records import JournalRecord


class Campaign:
    """What `experiment.run` writes to. Make one with `create` or `open`; use it as a context manager.

    On leaving the context, at a pause, at the end or after an error, the HDF5 file is written anew.

    Attributes:
        journal: the append-only record of what was measured.
        history: what it held when this program opened it; raw arrays are read when `numpy.asarray` asks for them.
    """

    def __init__(self, journal: Journal):
        self.journal = journal
        self._exported = True
        self.history: Sequence[JournalRecord] = read_slim(journal.path, found=journal.found).records

    @classmethod
    def create(cls, path: str | Path, header: Mapping[str, Any]) -> Self:
        """Begin a campaign.

        Args:
            path: journal file, by custom with the suffix `.gpxj`; must not exist.
            header: settings, versions and `quantity` {name, unit}; `axes` [{name, unit, low, high}] where they are to
                be others than the instrument tells of itself; `sample` {name, ...} where it shall stand in exports, by
                the names of NXsample and NXem.

        Raises:
            JournalExists: there is a file already; `open` goes on with it.
        """
        return cls(Journal.create(path, header))

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """Go on with a campaign; raises what `Journal.open` raises."""
        return cls(Journal.open(path))

    @property
    def header(self) -> Mapping[str, Any]:
        """What `create` was given."""
        return self.history[0].header

    @property
    def hdf5_path(self) -> Path:
        """Where the export goes: beside the journal, suffix `.h5`."""
        return self.journal.path.with_suffix(".h5")

    def append(self, *entries: Entry) -> None:
        """Make records durable in one write and one sync."""
        self.journal.append(*entries)
        self._exported = False

    def require_space(self, nbytes: int) -> None:
        """Raise `DiskFull` if the disk can not take that many bytes more."""
        self.journal.require_space(nbytes)

    def measurements(self) -> Sequence[JournalRecord]:
        """Every measurement recorded so far, in order."""
        return read(self.journal.path).of("reading")

    def export(self) -> Path:
        """Write the HDF5 file anew from the journal and return its path."""
        path = export_hdf5(self.journal.path, self.hdf5_path)
        self._exported = True
        return path

    def _export_at_the_end(self) -> None:
        try:
            self.export()
        except Exception as error:
            error.add_note(f"All that was measured is in {self.journal.path}, from which this file is made.")
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None and not self._exported:
                self._export_at_the_end()
            elif kind is not None and issubclass(kind, Exception):  # a second Ctrl-C stops at once, without an export
                with contextlib.suppress(Exception):  # the disk may be the fault; the first error is the one to show
                    self.export()
        finally:
            self.journal.close()
