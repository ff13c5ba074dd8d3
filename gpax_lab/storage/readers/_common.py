"""What every reader needs: bytes of one processor, names that differ, and units taken out of labels."""

import codecs
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from gpax_lab.storage._dataset import Dataset
from gpax_lab.storage._errors import UnreadableFile

_WINDOWS = "cp1252"  # what programs on Windows write that know nothing of UTF-8
_IN_BRACKETS = re.compile(r"^(.*?)\s*[\(\[]([^\(\)\[\]]*)[\)\]]\s*$")


def native(values: np.ndarray) -> np.ndarray:
    """The same numbers in the byte order of this machine, at the precisions that compiled functions take.

    What cannot be written to, as it lies in the bytes of a file, is copied. float16 becomes float32; extended precision
    becomes float64, complex numbers accordingly.
    """
    array = np.asarray(values)
    if array.dtype.kind == "f" and array.dtype.itemsize not in (4, 8):
        return array.astype(np.float32 if array.dtype.itemsize == 2 else np.float64)
    if array.dtype.kind == "c" and array.dtype.itemsize not in (8, 16):
        return array.astype(np.complex128)
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    return array if array.flags.writeable else array.copy()


def native_dataset(dataset: Dataset) -> Dataset:
    """A data set whose values and axes are in the byte order of this machine."""
    axes = tuple(one._replace(values=native(one.values)) for one in dataset.axes)
    return replace(dataset, values=native(dataset.values), axes=axes)


def decoded(raw: bytes) -> str:
    """Bytes of a header as text: UTF-8, or what older programs on Windows write."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode(_WINDOWS, "replace")


def encoding(path: Path) -> str:
    """The name of the encoding of a text file: UTF-8, what its first bytes say, or that of older programs on Windows.

    Raises:
        UnreadableFile: it holds zero bytes, and is no text.
    """
    check = codecs.getincrementaldecoder("utf-8")()
    with path.open("rb") as file:
        head = file.read(1 << 16)
        if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            return "utf-16"
        if b"\0" in head:
            raise UnreadableFile("it holds zero bytes and is no text.")
        try:
            while head:
                check.decode(head)
                head = file.read(1 << 16)
            check.decode(b"", final=True)
        except UnicodeDecodeError:
            return _WINDOWS
    return "utf-8-sig"


def unique(names: Sequence[str]) -> list[str]:
    """The same names, numbered where they repeat, none of them twice."""
    taken, count = set(names), Counter[str]()
    found: list[str] = []
    for name in names:
        count[name] += 1
        chosen = name
        while count[name] > 1 and chosen in taken:
            chosen = f"{name}_{count[name]}"
            count[name] += chosen in taken
        taken.add(chosen)
        found.append(chosen)
    return found


def split_unit(text: str) -> tuple[str, str]:
    """ "Current (A)" or "Current [A]" as ("Current", "A"); only the last pair of brackets is a unit."""
    text = text.strip()
    match = _IN_BRACKETS.match(text)
    if match is None or not match[1].strip():
        return text or "signal", ""
    return match[1].strip(), match[2].strip()
