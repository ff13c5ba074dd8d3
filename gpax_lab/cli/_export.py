"""A campaign in the formats of other programs."""

from pathlib import Path

from gpax_lab.cli._outputs import check_replaceable, products
from gpax_lab.settings import SettingsError
from gpax_lab.storage import _files as files
from gpax_lab.storage import export_crate, export_hdf5
from gpax_lab.storage._documents import PLAN, write_documents


def export(journal: Path, documents: Path | None, crate: bool, license: str | None) -> list[Path]:
    """Write the HDF5 file of a campaign anew, and what else is asked for.

    Args:
        journal: of the campaign.
        documents: where bluesky documents go, as lines of JSON; None: nowhere.
        crate: whether the folder is described for archives.
        license: address of the licence of the data, for that description.

    Returns:
        The files written.

    Raises:
        SettingsError: a licence without a description.
        FileExists: a file that is not ours is in the way; nothing was written.
        ExportError, JournalError, OSError: as the exports raise them.
    """
    if license is not None and not crate:
        raise SettingsError("--license stands in the description of the folder: give --crate with it.")
    if documents is not None:
        check_replaceable(documents, _are_documents(documents))
    written = [export_hdf5(journal, products(journal).hdf5)]
    if documents is not None:
        with files.replacing(documents) as temporary, temporary.open("xb") as file:
            write_documents(journal, file)
            file.flush()
            files.sync(file.fileno())
        written.append(documents)
    if crate:
        folder = journal.parent.resolve()
        told = [path for path in products(journal)[1:] if path.is_file()]
        told += [path for path in written if path not in told and path.resolve().is_relative_to(folder)]
        written.append(export_crate(journal, told, license=license))
    return written


def _are_documents(path: Path) -> bool:
    """Whether documents of a campaign are there."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        start = file.read(4096)
    return start.startswith(b'{"name": "start"') and PLAN.encode() in start
