"""Measured files of other programs as `Dataset` values."""

from collections.abc import Callable, Mapping
from pathlib import Path

from gpax_lab.core._plugins import plugins
from gpax_lab.storage._dataset import Dataset
from gpax_lab.storage._errors import UnreadableFile
from gpax_lab.storage._hdf5 import read_hdf5
from gpax_lab.storage.readers import _gwyddion as gwyddion
from gpax_lab.storage.readers import _igor as igor
from gpax_lab.storage.readers import _nanonis as nanonis
from gpax_lab.storage.readers import _rosetta as rosetta
from gpax_lab.storage.readers import _tables as tables
from gpax_lab.storage.readers._common import native_dataset

__all__ = ["READERS", "UnreadableFile", "load"]


def load(path: str | Path) -> dict[str, Dataset]:
    """Every measured array of a file, by name, in the order of the file.

    NSID and USID (.h5, .hdf5, .hf5), Nanonis (.sxm, .3ds, .dat), Igor (.ibw), Gwyddion (.gwy), tables (.csv), and with
    the extra `files` what RosettaSciIO reads: Digital Micrograph, HyperSpy, EMD, MRC, TIFF, Bruker, ... (`READERS`). A
    reader of another package, registered as `gpax_lab.readers`, is taken for what is in its tuple `extensions`.
    Axes and units are those of the file and nothing is rescaled; numbers come in the byte order of this machine, and
    float16 as float32, so that compiled functions take them.

    Args:
        path: of the file; it is opened for reading only, and closed.

    Raises:
        FileNotFoundError: there is no such file.
        UnreadableFile: an unknown format, or nothing in it that can be read.
        ModuleNotFoundError: the reader is not installed; says how to get it.
    """
    place = Path(path)
    extension = place.suffix.lower()
    if extension in rosetta.LEFT_OUT and place.exists():
        raise UnreadableFile(f"{place.name} is not read: {rosetta.LEFT_OUT[extension]}.")
    if not place.is_file():
        raise FileNotFoundError(f"{place} is no file.")
    reader = READERS.get(extension) or _plugged(extension)
    if reader is None:
        what = f"no reader for {extension!r}" if extension else "the name has no extension that tells its format"
        raise UnreadableFile(f"{place.name}: {what}; there are {', '.join(sorted(READERS))}.")
    try:
        found = {name: native_dataset(one) for name, one in reader(place).items()}
    except (ModuleNotFoundError, FileNotFoundError):
        raise
    except Exception as error:  # whatever a reader stumbles over, the user has one kind of error to expect
        reason = str(error) or type(error).__name__
        # Without the frames of the reader, which hold its open files.
        raise UnreadableFile(f"{place.name} could not be read: {reason}") from error.with_traceback(None)
    if not found:
        raise UnreadableFile(f"{place.name} holds no data set that this reader understands.")
    return found


def _plugged(extension: str) -> Callable[[Path], dict[str, Dataset]] | None:
    """The reader of another package that has this extension among its `extensions`."""
    good, _ = plugins("readers")
    return next((reader for reader in good.values() if extension in getattr(reader, "extensions", ())), None)


def _hdf5(path: Path) -> dict[str, Dataset]:
    """NSID and USID, and what RosettaSciIO knows of other programs that name their files so."""
    found = read_hdf5(path)
    if found:
        return found
    try:
        return rosetta.first_of(path, *rosetta.HDF5_PLUGINS)
    except ModuleNotFoundError as error:
        raise UnreadableFile(f"it holds no NSID or USID data set; for other HDF5 files, {error}") from None
    except UnreadableFile as error:
        raise UnreadableFile(f"it holds no data set that is NSID or USID, and as other HDF5: {error}") from None


def _table(path: Path) -> dict[str, Dataset]:
    """A table, or the log of a holder, whose first heading is the time."""
    if tables.is_log(path):
        try:
            return rosetta.reader(*rosetta.TABLE_PLUGINS)(path)
        except UnreadableFile:  # a table whose first heading is the time
            pass
    return tables.table(path)


READERS: Mapping[str, Callable[[Path], dict[str, Dataset]]] = {
    ".h5": _hdf5,
    ".hdf5": _hdf5,
    ".hf5": _hdf5,
    ".sxm": nanonis.scan,
    ".3ds": nanonis.grid,
    ".dat": nanonis.spectrum,
    ".ibw": igor.wave,
    ".gwy": gwyddion.container,
    ".csv": _table,
    ".tsv": tables.table,
    **{extension: rosetta.reader(*plugins) for extension, plugins in rosetta.PLUGINS.items()},
}
"""What reads a file, by its extension in small letters."""
