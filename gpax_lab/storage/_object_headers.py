"""Attributes of any length in the headers of HDF5 objects, before the library makes room for what they say.

Layout of HDF5 File Format 3.0, IV.A (headers and their messages) and IV.A.2.m (attributes), with offsets of 8 bytes.
Attributes in heaps of their own ("dense" ones, of the newest format) are not looked at.
"""

import contextlib
import math
import struct
from collections.abc import Iterator
from typing import BinaryIO

_ATTRIBUTE, _CONTINUED = 0x0C, 0x10
_VLEN = 9  # class of types of any length
_MOST = 1000  # pieces of one header
_DAMAGE = struct.error, IndexError, OverflowError, ValueError  # what reading numbers that make no sense raises


def longest(file: BinaryIO, address: int, base: int) -> int:
    """Bytes of the longest value of any length that an attribute of an object says it has.

    Args:
        file: the bytes of an HDF5 file.
        address: of the header of the object, from the base of the file.
        base: where the file begins in `file`.

    Returns:
        0 where there is none, or what stands there is no header; an attribute that is damaged hides no other.
    """
    found = 0
    with contextlib.suppress(*_DAMAGE):  # what was found before counts: the library reads that, too
        for part in _attributes(file, address, base):
            with contextlib.suppress(*_DAMAGE):
                found = max(found, _said(part))
    return found


def _attributes(file: BinaryIO, address: int, base: int) -> Iterator[bytes]:
    """The attribute messages of a header and of the pieces in which it goes on."""
    file.seek(base + address)
    head = file.read(40)
    if head[:4] == b"OHDR":
        flags = head[5]
        start = 6 + 16 * bool(flags & 0x20) + 4 * bool(flags & 0x10)
        width = 1 << (flags & 3)
        size = int.from_bytes(head[start : start + width], "little")
        pieces, step = [(address + start + width, size)], 4 + 2 * bool(flags & 4)
    else:
        pieces, step = [(address + 16, struct.unpack_from("<I", head, 8)[0])], 8
    new = step != 8
    for start, size in pieces:  # it grows while it is gone through
        file.seek(base + start)
        raw, at = file.read(min(size, 1 << 24)), 0
        if new and raw[:4] == b"OCHK":
            raw, at = raw[:-4], 4
        while len(raw) - at >= step:
            kind, length = struct.unpack_from("<BH" if new else "<HH", raw, at)
            at += step
            if kind == _ATTRIBUTE:
                yield raw[at : at + length]
            elif kind == _CONTINUED and len(pieces) < _MOST:
                pieces.append(struct.unpack_from("<QQ", raw, at))
            at += length


def _said(message: bytes) -> int:
    """Bytes of the longest value of an attribute of any length; 0 for others."""
    version = message[0]
    name, kind, space = struct.unpack_from("<3H", message, 2)
    parts = [-(-n // 8) * 8 if version == 1 else n for n in (name, kind, space)]
    start = 9 if version == 3 else 8
    kind_at = start + parts[0]
    space_at = kind_at + parts[1]
    if message[kind_at] & 15 != _VLEN:
        return 0
    each = 1 if message[kind_at + 1] & 15 else struct.unpack_from("<I", message, kind_at + 12)[0]  # text, or numbers
    rank = message[space_at + 1]
    sizes = struct.unpack_from(f"<{rank}Q", message, space_at + (8 if message[space_at] == 1 else 4))
    values, held = space_at + parts[2], 16 * math.prod(sizes)
    return each * max((n for (n,) in struct.iter_unpack("<I12x", message[values:][: held - held % 16])), default=0)
