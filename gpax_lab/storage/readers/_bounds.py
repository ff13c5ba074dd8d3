"""What is looked at before a reader of RosettaSciIO that would take a header at its word, or follow it elsewhere.

Each function takes the path of a file and raises `UnreadableFile` where the file declares far more than it holds, would
keep its reader busy for ever, or names a file that is not its own.
"""

import glob
import importlib
import math
import struct
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

from gpax_lab.storage._errors import UnreadableFile
from gpax_lab.storage._inspection import most_declared
from gpax_lab.storage.readers import _dm_tags as dm_tags

_PAGES = 100_000
_MRC = {0: 1, 1: 2, 2: 4, 3: 4, 4: 8, 6: 2, 12: 2, 101: 1}  # bytes a pixel, by mode (MRC2014)
_SEMPER = {0: 1, 1: 2, 2: 4, 3: 8, 4: 4}  # bytes a pixel, by form (rsciio.semper)
_TIA = {1: 1, 2: 2, 3: 4, 4: 1, 5: 2, 6: 4, 7: 4, 8: 8, 9: 8, 10: 16}  # bytes a number, by type (rsciio.tia)
_TIA_SPECTRA, _TIA_LONG = 0x4120, 0x0210  # series of spectra; the last version with offsets of 4 bytes


def blockfile(path: Path) -> None:
    """A scan that was stopped is filled up with zeros, but not from nothing."""
    side, _, nx, ny = struct.unpack("<4H", _head(path, 28)[20:])
    if nx * ny * side**2 > most_declared(path.stat().st_size):
        raise UnreadableFile(f"{nx} x {ny} patterns of {side} x {side} pixels are not there")


def dens(path: Path) -> None:
    """A log with a line in it: its reader looks for the first one for ever."""
    with path.open("rb") as file:
        if not any(line.strip() for line in file):
            raise UnreadableFile("it is empty")


def empad(path: Path) -> None:
    """A description whose frames lie in a .raw file beside it, and nowhere else."""
    for element in ElementTree.parse(path).iter("raw_file"):
        for name in [element.get("filename", ""), *(child.text or "" for child in element)]:
            if name and (set(name) & set("/\\:\0") or not name.lower().endswith(".raw")):
                raise UnreadableFile(f"it leads to {name[:80]!r}; only a .raw file beside it is followed")


def image(path: Path) -> None:
    """An image of no more pixels than packing can make of the file."""
    from PIL import Image

    with Image.open(path) as image:
        size = image.width * image.height * max(len(image.getbands()), 1)
    if size > most_declared(path.stat().st_size, packed=True):
        raise UnreadableFile(f"{image.width} x {image.height} pixels are not in {path.stat().st_size} bytes")


def mrc(path: Path) -> None:
    """A file as long as its header says; else its reader makes plans for the whole array, for seconds."""
    nx, ny, nz, mode = struct.unpack("<4I", _head(path, 1024)[:16])
    if mode not in _MRC:
        raise UnreadableFile(f"numbers of mode {mode} are not known")
    if not 0 < nx * ny * nz * _MRC[mode] <= path.stat().st_size - 1024:
        raise UnreadableFile(f"{nx} x {ny} x {nz} pixels are not there; the file was cut, or its header is wrong")


def netcdf(path: Path) -> None:
    """Needs netCDF4: by way of SciPy, its reader takes no file for one of its own."""
    importlib.import_module("netCDF4")


def pantarhei(path: Path) -> None:
    """A zip file of no more than deflate can make of it, whatever it is packed with."""
    with zipfile.ZipFile(path) as file:
        declared = sum(part.file_size for part in file.infolist())
    if declared > most_declared(path.stat().st_size, packed=True):
        raise UnreadableFile(f"arrays of {declared} bytes are not in {path.stat().st_size}")


def semper(path: Path) -> None:
    """An image whose rows are all there: its reader would take one number for a row."""
    nx, ny, nz, _, form = struct.unpack("<5h", _head(path, 16)[4:14])
    if form not in _SEMPER:
        raise UnreadableFile(f"numbers of form {form} are not known")
    if min(nx, ny, nz) < 1 or nx * ny * nz * _SEMPER[form] > path.stat().st_size:
        raise UnreadableFile(f"{nx} x {ny} x {nz} pixels are not there; the file was cut, or its header is wrong")


def tia(path: Path) -> None:
    """A series no longer than the file; a map that was stopped is filled up, but not from nothing."""
    if path.suffix.lower() != ".ser":
        for one in path.parent.glob(f"{glob.escape(path.stem)}_[0-9].ser"):
            tia(one)
        return
    held = path.stat().st_size
    with path.open("rb") as file:
        _, _, version, kind, _, _, valid = struct.unpack("<HHHIIII", _next(file, 22))
        wide = version > _TIA_LONG
        offsets, dimensions = struct.unpack("<QI" if wide else "<II", _next(file, 12 if wide else 8))
        declared = 1
        for _ in range(min(dimensions, 8)):
            declared *= struct.unpack("<I", _next(file, 4))[0]
            file.seek(20, 1)
            for _ in range(2):
                file.seek(struct.unpack("<I", _next(file, 4))[0], 1)
        file.seek(offsets)
        (first,) = struct.unpack("<Q" if wide else "<I", _next(file, 8 if wide else 4))
        spectra = kind == _TIA_SPECTRA
        file.seek(first + (20 if spectra else 40))
        number, *sizes = struct.unpack("<HI" if spectra else "<HII", _next(file, 6 if spectra else 10))
    if number not in _TIA or dimensions > 8:
        raise UnreadableFile(f"numbers of the type {number} in {dimensions} dimensions are not known")
    each = _TIA[number] * math.prod(sizes)
    if valid * each > held or declared * each > most_declared(held):
        raise UnreadableFile(f"{max(valid, declared)} elements of {each} bytes are not in {held}")


def tiff(path: Path) -> None:
    """A file whose pages are there: no larger than the file if plain, else than what packing can make of it."""
    tifffile = importlib.import_module("tifffile")
    held = path.stat().st_size
    with tifffile.TiffFile(str(path), **OPTIONS["tiff"]) as file:
        if len(file.pages) > _PAGES:
            raise UnreadableFile(f"it lists more than {_PAGES} pages")
        for series in file.series:
            first = next((page.keyframe for page in series.pages[:1] if page is not None), None)
            if first is not None and int(first.compression) != 1:
                declared, most = series.nbytes, most_declared(held, packed=True)
            else:
                declared, most = _plain(series, first), held
            if declared > most:
                raise UnreadableFile(f"images of {declared} bytes are not in {held}")


def _plain(series: Any, first: Any) -> int:
    """Bytes that the numbers of a series take in a file, where those of 1 or 12 bits lie without gaps in a row."""
    if first is None:
        return int(series.nbytes)
    bits = float(np.mean(first.bitspersample))
    return int(series.nbytes * bits / (8 * series.dtype.itemsize))


CHECKS: Mapping[str, Callable[[Path], None]] = {
    "digitalmicrograph": dm_tags.check,
    **{one.__name__: one for one in (blockfile, dens, empad, image, mrc, netcdf, pantarhei, semper, tia, tiff)},
}
"""By reader."""

# What a TIFF file may name are other ones, anywhere on the disk: those of a series of OME or of Micro-Manager.
OPTIONS: Mapping[str, dict[str, Any]] = {
    "tiff": {"_multifile": False, "is_mmstack": False, "is_ndtiff": False},
    "topspin": {"show_progressbar": False},
}
"""Arguments of readers, so that they stay within their file, and are silent."""


def _head(path: Path, size: int) -> bytes:
    with path.open("rb") as file:
        return _next(file, size)


def _next(file: Any, size: int) -> bytes:
    raw: bytes = file.read(size)
    if len(raw) < size:
        raise UnreadableFile("it ends within its header")
    return raw
