"""What is kept: the journal of a campaign and the HDF5 file that others open, and measured files of other programs."""

from gpax_lab.storage._campaign import Campaign
from gpax_lab.storage._contents import Contents, read
from gpax_lab.storage._crate import export_crate
from gpax_lab.storage._dataset import Dataset, axis
from gpax_lab.storage._documents import documents
from gpax_lab.storage._errors import DiskFull, ExportError, JournalError, UnreadableFile
from gpax_lab.storage._export import export_hdf5
from gpax_lab.storage._loading import load
from gpax_lab.storage._records import JournalRecord
from gpax_lab.storage._saving import save

__all__ = [
    "Campaign",
    "Contents",
    "Dataset",
    "DiskFull",
    "ExportError",
    "JournalError",
    "JournalRecord",
    "UnreadableFile",
    "axis",
    "documents",
    "export_crate",
    "export_hdf5",
    "load",
    "read",
    "save",
]
