"""What is kept: the journal of a campaign and the HDF5 file that others open, and measured files of other programs."""

from gpax_lab.storage._contents import Contents, read
from gpax_lab.storage._dataset import Dataset
from gpax_lab.storage._errors import (
    DiskFull,
    ExportError,
    ForeignFile,
    JournalCorrupt,
    JournalDisturbed,
    JournalEmpty,
    JournalError,
    JournalExists,
    JournalFull,
    JournalLocked,
    JournalMissing,
    JournalPlace,
)
from gpax_lab.storage._export import export_hdf5
from gpax_lab.storage._journal import Clock, Entry, Journal
from gpax_lab.storage._loading import UnreadableFile, load
from gpax_lab.storage._records import JournalRecord
from gpax_lab.storage._saving import save

__all__ = [
    "Clock",
    "Contents",
    "Dataset",
    "DiskFull",
    "Entry",
    "ExportError",
    "ForeignFile",
    "Journal",
    "JournalCorrupt",
    "JournalDisturbed",
    "JournalEmpty",
    "JournalError",
    "JournalExists",
    "JournalFull",
    "JournalLocked",
    "JournalMissing",
    "JournalPlace",
    "JournalRecord",
    "UnreadableFile",
    "export_hdf5",
    "load",
    "read",
    "save",
]
