"""What is kept: the journal of a campaign and the HDF5 file that others open, and measured files of other programs."""

from .contents import Contents, read
from .dataset import Dataset
from .errors import (
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
from .export import export_hdf5
from .frames import JournalRecord
from .journal import Clock, Entry, Journal
from .loading import UnreadableFile, load
from .saving import save

__all__ = [
    "Clock",
    "Contents",
    "Dataset",
    "DiskFull",
    "Entry",
    "ExportError",
    "ForeignFile",
    "JournalRecord",
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
    "UnreadableFile",
    "export_hdf5",
    "load",
    "read",
    "save",
]
