"""HDF5 files from other people: what leads out of the file, or would fill the memory, is refused before it is read.

An HDF5 data set may name any other file as the place of its values (external storage, virtual data sets, external
links), and may declare gigabytes that were never written. Whoever opens such a file would hand over files of their own,
or run out of memory.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gpax_lab.storage import _object_headers as object_headers
from gpax_lab.storage._errors import UnreadableFile

DEEPEST = 64
"""Groups inside groups; the deepest layout in use (NeXus) has about 10."""
MOST = 200_000
"""Objects in a file; listing them takes seconds."""
SPARE_BYTES = 64_000_000
"""Bytes that reading may take whatever the size of a file."""
_UNWRITTEN = 4  # an array may be so many times larger than what was written of it: a scan is stopped early
_PACKED = 1032  # at most so many times smaller can deflate make anything (zlib.net, zlib_tech.html)
_PIECE = 1 << 20  # bytes looked at together
# Bytes in which uses of heaps are looked for; in larger files a text of 4 GB is no more than theirs.
_LOOKED_AT = 1 << 30
_HEAP = b"GCOL\x01\0\0\0"  # with which a heap of text of any length begins: its mark, version 1, nothing (III.E)
_SIGNATURE = b"\x89HDF\r\n\x1a\n"


def most_declared(held: int, packed: bool = False) -> int:
    """Bytes that may be declared for so many that are there; what declares more is not read.

    A quarter of `SPARE_BYTES` whatever is there, so that there is room for copies.
    """
    return SPARE_BYTES // 4 + (_PACKED if packed else _UNWRITTEN) * held


def is_hdf5(path: Path) -> bool:
    """Whether a file is HDF5: its signature lies at 0, 512, 1024, 2048, ... (HDF5 File Format 3.0, II.A)."""
    return path.is_file() and _start(path) is not None


def _start(path: Path) -> int | None:
    """Where the HDF5 file begins in a file; None where there is none."""
    size, at = path.stat().st_size, 0
    with path.open("rb") as file:
        while at < size:
            file.seek(at)
            if file.read(len(_SIGNATURE)) == _SIGNATURE:
                return at
            at = 2 * at or 512
    return None


def check(path: Path) -> None:
    """Look through a file, if it is HDF5, before a reader follows what it says.

    Raises:
        UnreadableFile: it leads elsewhere, declares far more than it holds, or is nested too deep.
    """
    if not is_hdf5(path):
        return
    import h5py

    check_heaps(path)
    with h5py.File(path, "r") as file:
        datasets(file)


def check_heaps(path: Path) -> None:
    """Look through the heaps of an HDF5 file, in which text of any length lies, before the library does.

    It goes from object to object by their sizes (HDF5 File Format 3.0, III.E), and for ever where one of them is 0; and
    it makes room for as much text as is said where the text is used (IV.B), before it looks whether there is so much.

    Raises:
        UnreadableFile: an object of a heap has no size, or one beyond the end of the heap, or is said to be larger.
    """
    start = _start(path) or 0
    with path.open("rb") as file:
        file.seek(start + 8)
        head = file.read(7).ljust(7, b"\x08")
        width = head[6] if head[0] < 2 else head[2]  # bytes of a length, as the superblock says (II.A)
        heaps = {at - start: _objects(file, at, width) for at in _found(file, _HEAP)}
        some = list(heaps.items())[: _LOOKED_AT // max(path.stat().st_size, 1)]
        said = [place for at, objects in some for place in _too_long(file, at, objects)]
    if said and (stray := _not_in_arrays(path, said)):
        raise UnreadableFile(f"a text at byte {stray[0]} is damaged: it is longer than the heap that holds it")


def _objects(file: Any, at: int, width: int) -> dict[int, int]:
    """Sizes of the objects of the heap at this byte, by their numbers."""
    file.seek(at)
    size = _length(file.read(16), width)
    raw, place = file.read(size - 16) if 16 <= size <= file.seek(0, 2) - at and file.seek(at + 16) else b"", 0
    found = {}
    while len(raw) - place >= 16:
        index = int.from_bytes(raw[place : place + 2], "little")
        found[index] = _length(raw[place : place + 16], width)
        step = 16 + -(-found[index] // 8) * 8 if index else found[index]  # what is free counts its header
        if step < 16 or place + step > len(raw):
            raise UnreadableFile(f"the heap at byte {at} is damaged: an object of it has {found[index]} bytes")
        place += step
    return found


def _too_long(file: Any, at: int, objects: dict[int, int]) -> Iterator[int]:
    """Where an object of a heap is used, as it seems: with a length of millions that it does not have."""
    for place in _found(file, at.to_bytes(8, "little")):
        file.seek(max(place - 4, 0))
        raw = file.read(16)
        length, index = int.from_bytes(raw[:4], "little"), int.from_bytes(raw[12:], "little")
        if index in objects and length > max(objects[index], SPARE_BYTES // 4):
            yield place


def _not_in_arrays(path: Path, places: list[int]) -> list[int]:
    """Those of these places that do not lie among the numbers of an array, where anything may stand."""
    import h5py

    with h5py.File(path, "r") as file:
        spans = [span for node in datasets(file) if node.dtype.kind != "O" for span in _spans(node)]
    return [place for place in places if not any(start <= place < end for start, end in spans)]


def _spans(node: Any) -> Iterator[tuple[int, int]]:
    """First and last byte but one of the numbers of a data set."""
    if node.chunks is None:
        start = node.id.get_offset() or 0
        yield start, start + node.id.get_storage_size() if start else 0
    else:
        for index in range(node.id.get_num_chunks()):
            chunk = node.id.get_chunk_info(index)
            yield chunk.byte_offset, chunk.byte_offset + chunk.size


def _length(head: bytes, width: int) -> int:
    return int.from_bytes(head[8 : 8 + width], "little")


def _found(file: Any, mark: bytes) -> Iterator[int]:
    """Where a mark of 8 bytes stands in a file, which is read in pieces."""
    at, kept = 0, b""
    file.seek(0)
    while piece := file.read(_PIECE):
        piece = kept + piece
        place = -1
        while (place := piece.find(mark, place + 1)) >= 0:
            yield at - len(kept) + place
            file.seek(at + len(piece) - len(kept))
        at += len(piece) - len(kept)
        kept = piece[-7:]


def datasets(file: Any) -> list[Any]:
    """Every data set of a file, once, in the order of their names; what a soft link leads to counts by its own name.

    Args:
        file: an open h5py file.

    Returns:
        h5py data sets, all of them `checked`.

    Raises:
        UnreadableFile: a link leads to another file, a data set does or declares too much, all of them together do, or
            there are too many of them, or too deep.
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
    if declared > most_declared(held, packed=True):
        raise UnreadableFile(_too_much("its data sets declare", declared, held))
    with open(file.filename, "rb") as raw:
        said = max(object_headers.longest(raw, address, file.userblock_size) for _, address in seen)
    if said > most_declared(held):
        raise UnreadableFile(_too_much("a value of any length among its attributes declares", said, held))
    return sorted(found, key=lambda node: node.name.split("/"))


def checked(node: Any) -> Any:
    """The data set, which lies in its file and is no larger than what packing can make of what is stored of it.

    Args:
        node: an h5py data set.

    Returns:
        The same, to be read.

    Raises:
        UnreadableFile: its values lie in other files, or most of what it declares is nowhere.
    """
    name = _short(node.name or "without a name")
    if node.external:
        raise UnreadableFile(f"the values of {name} lie in another file ({node.external[0][0]}), which is not followed")
    if node.is_virtual and any(source.file_name != "." for source in node.virtual_sources()):
        raise UnreadableFile(f"{name} is put together from other files, which are not followed")
    stored = node.file.id.get_filesize() if node.is_virtual else node.id.get_storage_size()
    packed = node.is_virtual or node.id.get_create_plist().get_nfilters() > 0
    if node.nbytes > most_declared(stored, packed):
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
