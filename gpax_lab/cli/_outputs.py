"""The files that a campaign leaves, and the rule that none of them ever replaces what is not its own."""

import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from gpax_lab.settings import SettingsError
from gpax_lab.storage import _files as files
from gpax_lab.storage._errors import JournalExists
from gpax_lab.storage._nsid import CREATOR

MAKER = "gpax_lab"
"""Word in a plot by which it is known for one of ours."""
_FORMATS = (b"\x89PNG", b"<?xml", b"%PDF", b"%!PS")
_NEAR = 4096  # bytes from either end of a plot within which the word stands
_SUMMARY = 'Campaign "'


class FileExists(SettingsError, FileExistsError):
    """A file is in the way of one that a campaign leaves; it is left as it is."""


class Products(NamedTuple):
    """Paths of all that a campaign writes."""

    journal: Path
    hdf5: Path
    plot: Path
    summary: Path
    settings: Path


def quoted(path: Path) -> str:
    """A path as one word of a command line, on every platform."""
    return f'"{path}"' if any(c.isspace() for c in str(path)) else str(path)


def products(journal: Path) -> Products:
    """What stands beside a journal."""
    return Products(
        journal,
        journal.with_suffix(".h5"),
        journal.with_suffix(".png"),
        journal.parent / "summary.txt",
        journal.parent / "settings.toml",
    )


def _same_name(path: Path) -> str:
    """The name as a file system tells it that knows neither case nor how an accent is written."""
    return unicodedata.normalize("NFKC", path.name).casefold()


def check_names(paths: Products) -> None:
    """Raise where two products would be one file, on this file system or on another one.

    Raises:
        SettingsError: the journal is called like something else that the campaign leaves.
    """
    journal, *others = paths
    for other in others:
        if _same_name(other) == _same_name(journal):
            raise SettingsError(
                f"campaign.journal = {journal.name!r} is not allowed: the campaign writes its {_what(paths, other)} "
                f"to {other.name}. Give the journal another name, such as campaign.gpxj."
            )


def _what(paths: Products, path: Path) -> str:
    words = {"hdf5": "HDF5 file", "plot": "plot", "summary": "summary", "settings": "copy of the settings"}
    return next(words[name] for name, value in paths._asdict().items() if name in words and value == path)


def check_new(paths: Products, given: Sequence[Path] = ()) -> None:
    """Raise where a new campaign would write over anything; nothing is created here.

    Args:
        paths: what it will write.
        given: files that it reads: settings, recorded maps.

    Raises:
        SettingsError: two products, or a product and a file that is read, are the same.
        JournalExists: there is a campaign of that name.
        FileExists: another file is in the way, or the folder is none.
    """
    check_names(paths)
    folder = paths.journal.parent
    if _there(folder) and not folder.is_dir():
        raise FileExists(f"{folder} is a file: give a folder for the results with --out.")
    read = [path for path in paths if any(_is(path, source) for source in given)]
    if _there(paths.journal) and paths.journal not in read:
        raise JournalExists(
            f"{paths.journal} exists already. Go on with it: gpax-lab resume {quoted(paths.journal)}. "
            "Or give another folder with --out."
        )
    for path in read:
        raise FileExists(
            f"{path} is read by this campaign, which would write its own {path.name} there: give another folder for "
            "the results with --out."
        )
    for path in paths:
        if _there(path):
            raise FileExists(
                f"{path} exists already, and a campaign writes a file of that name: move it away, or give another "
                "folder with --out."
            )


def check_own(paths: Products) -> None:
    """Raise where a campaign that goes on would write over a file that it has not written itself.

    Raises:
        SettingsError: the journal is called like another product.
        FileExists: the HDF5 file, the plot or the summary beside it is somebody else's.
    """
    check_names(paths)
    for path, ours in ((paths.hdf5, is_export), (paths.plot, is_plot), (paths.summary, is_summary)):
        check_replaceable(path, ours(path))


def check_replaceable(path: Path, ours: bool) -> None:
    """Raise FileExists where something is at `path` that is not ours."""
    if _there(path) and not ours:
        raise FileExists(
            f"{path} exists and is none that gpax-lab wrote: it is left as it is. Move it away and do this again; "
            "what was measured is in the journal."
        )


def _there(path: Path) -> bool:
    """Whether the name is taken, be it by a link to nowhere."""
    return path.is_symlink() or path.exists()


def _is(path: Path, other: Path) -> bool:
    if path.exists() and other.exists():
        return path.samefile(other)
    return path.resolve() == other.resolve()


def is_export(path: Path) -> bool:
    """Whether an HDF5 export of a campaign is there."""
    import h5py

    try:
        with path.open("rb") as raw, h5py.File(raw, "r") as file:
            return bool(file.attrs.get("creator") == CREATOR)
    except OSError:
        return False


def is_plot(path: Path) -> bool:
    """Whether a plot is there that says that it is ours: PNG, SVG, PDF and PostScript do."""
    if not path.is_file():
        return False
    data = path.read_bytes()
    # The word stands at the beginning, or, in a PDF, at the end.
    return data.startswith(_FORMATS) and any(MAKER.encode() in part for part in (data[:_NEAR], data[-_NEAR:]))


def is_summary(path: Path) -> bool:
    """Whether the summary of a campaign is there."""
    return path.is_file() and path.read_bytes().startswith(_SUMMARY.encode())


def put(path: Path, data: bytes) -> None:
    """Write a file whole: under its name there is either what was there before or all of the new one."""
    with files.replacing(path) as temporary, temporary.open("xb") as file:
        file.write(data)
        file.flush()
        files.sync(file.fileno())
