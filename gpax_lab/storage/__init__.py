"""The record of a campaign: an append-only journal, and the HDF5 file that others open."""

from .contents import Contents, read
from .errors import (
    DiskFull,
    ExportError,
    ForeignFile,
    JournalCorrupt,
    JournalEmpty,
    JournalError,
    JournalExists,
    JournalFull,
    JournalLocked,
)
from .export import export_hdf5
from .frames import Frame
from .journal import Clock, Entry, Journal

__all__ = [
    "Clock",
    "Contents",
    "DiskFull",
    "Entry",
    "ExportError",
    "ForeignFile",
    "Frame",
    "Journal",
    "JournalCorrupt",
    "JournalEmpty",
    "JournalError",
    "JournalExists",
    "JournalFull",
    "JournalLocked",
    "export_hdf5",
    "read",
]
