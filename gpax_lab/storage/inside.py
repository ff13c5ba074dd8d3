"""HDF5 files from other people: what leads out of the file, or would fill the memory, is refused before it is read.

An HDF5 data set may name any other file as the place of its values (external storage, virtual data sets, external
links), and may declare gigabytes that were never written. Whoever opens such a file would hand over files of their own,
or run out of memory.
"""

from pathlib import Path
from typing import Any

from .errors import UnreadableFile

DEEPEST = 64
"""Groups inside groups; the deepest layout in use (NeXus) has about 10."""
MOST = 200_000
"""Objects in a file; listing them takes seconds."""
SPARE_BYTES = 64_000_000
_PACKED = 1032
"""At most so many times smaller can deflate make anything (zlib.net, zlib_tech.html, "Maximum Compression Factor")."""
_SIGNATURE = b"\x89HDF\r\n\x1a\n"


def is_hdf5(path: Path) -> bool:
    """Whether a file is HDF5: its signature lies at 0, 512, 1024, 2048, ... (HDF5 File Format 3.0, II.A)."""
    if not path.is_file():
        return False
    size, at = path.stat().st_size, 0
    with path.open("rb") as file:
        while at < size:
            file.seek(at)
            if file.read(len(_SIGNATURE)) == _SIGNATURE:
                return True
            at = 2 * at or 512
    return False


def check(path: Path) -> None:
    """Look through a file, if it is HDF5, before a reader follows what it says.

    Raises:
        UnreadableFile: it leads elsewhere, declares far more than it holds, or is nested too deep.
    """
    if not is_hdf5(path):
        return
    import h5py

    with h5py.File(path, "r") as file:
        datasets(file)


def datasets(file: Any) -> list[Any]:
    """Every data set of an open h5py file, once, in the order of their names.

    Raises:
        UnreadableFile: as in `check`.
    """
    import h5py

    found: list[Any] = []
    seen: set[tuple[int, int]] = {_address(file)}
    open_groups: list[tuple[Any, int]] = [(file, 0)]
    declared = 0
    while open_groups:
        group, depth = open_groups.pop()
        inner: list[tuple[Any, int]] = []
        for name in group:
            link = group.get(name, getlink=True)
            if isinstance(link, h5py.ExternalLink):
                raise UnreadableFile(f"the link {_short(name)} leads to another file; files that do are not followed")
            if isinstance(link, h5py.SoftLink):
                continue  # it leads to what is reached by its own name
            node = group[name]
            if _address(node) in seen:
                continue
            seen.add(_address(node))
            if len(seen) > MOST:
                raise UnreadableFile(f"it holds more than {MOST} groups and data sets")
            if isinstance(node, h5py.Dataset):
                declared += checked(node).nbytes
                found.append(node)
            elif isinstance(node, h5py.Group):
                if depth == DEEPEST:
                    raise UnreadableFile(f"its groups are nested more than {DEEPEST} deep")
                inner.append((node, depth + 1))
        open_groups += reversed(inner)
    held = file.id.get_filesize()
    if declared > SPARE_BYTES + _PACKED * held:
        raise UnreadableFile(_too_much("its data sets declare", declared, held))
    return sorted(found, key=lambda node: node.name.split("/"))


def checked(node: Any) -> Any:
    """The data set, which lies in its file and is not much larger than what is stored of it.

    Raises:
        UnreadableFile: its values lie in other files, or most of what it declares is nowhere.
    """
    name = _short(node.name or "without a name")
    if node.external:
        raise UnreadableFile(f"the values of {name} lie in another file ({node.external[0][0]}), which is not followed")
    if node.is_virtual and any(source.file_name != "." for source in node.virtual_sources()):
        raise UnreadableFile(f"{name} is put together from other files, which are not followed")
    stored = node.file.id.get_filesize() if node.is_virtual else node.id.get_storage_size()
    if node.nbytes > SPARE_BYTES + _PACKED * stored:
        raise UnreadableFile(_too_much(f"{name} declares", node.nbytes, stored))
    return node


def _address(node: Any) -> tuple[int, int]:
    import h5py

    info = h5py.h5o.get_info(node.id)
    return info.fileno, info.addr


def _short(name: str) -> str:
    return repr(name if len(name) < 80 else f"{name[:40]}...{name[-30:]}")


def _too_much(what: str, declared: int, held: int) -> str:
    return f"{what} {declared / 1e6:.0f} MB of which {held / 1e6:.3f} MB are there; it is not read"
