"""Records of the campaign journal: bytes to `JournalRecord` and back.

A journal begins with `beginning(campaign)`, and records follow. A record is

    magic (4 bytes) | u32 body length | u32 crc32 of length and body | body
    body = 16 bytes campaign | u32 writer | u64 number | u64 batch | u32 text length | JSON text | bytes of the arrays

all little-endian. `campaign` is random and the same in all records of a journal, so that records of another one are
told apart; `writer` is random for every program that opens the journal; records are numbered from 0, and `batch` is the
number of the first one that went out in the same write. With them a reader finds whole records again behind a damaged
stretch wherever they have moved, knows whether one is missing, and can tell a write that never finished (a torn tail,
nothing acknowledged in it) from damage to what was once safe on disk.

Version 1 had u64 place | u64 batch | u32 text length: offsets in the file in place of numbers, and no names. Its
journals are read, and gone on with, as they are.
"""

import io
import json
import math
import struct
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from gpax_lab.storage._errors import ForeignFile, JournalCorrupt
from gpax_lab.storage._json_codec import MARK, from_plain, to_plain

VERSION = 2
# The line ends and the Ctrl-Z betray a file that went through a text-mode copy, as in PNG (RFC 2083, 3.1).
SIGNATURE = b"GPXJ\r\n\x1a\n"
_START = SIGNATURE + struct.pack("<I", VERSION)
BEGINNING = len(_START) + 4 + 16
"""Bytes before the first record."""
OLD_HEADER = SIGNATURE + struct.pack("<II", 1, 0)
"""What stood there in version 1."""
_MARK = b"\xf5GP"  # 0xf5 never occurs in UTF-8 text (RFC 3629)
_OLD, _NEW = _MARK + b"X", _MARK + b"Y"  # a later version takes another letter
_PREFIX = struct.Struct("<4sII")
_OLD_BODY = struct.Struct("<QQI")
_NEW_BODY = struct.Struct("<16sIQQI")
_LENGTH = struct.Struct("<I")
_KINDS = "biufc"
_MAX_BODY = 2**32 - 1
_CHUNK = 1 << 20


class JournalRecord(NamedTuple):
    """One entry of the journal.

    Attributes:
        kind: what happened ("campaign", "reading", ...).
        step: number of the step it belongs to.
        header: plain values.
        arrays: numpy arrays by name.
        monotonic: seconds on a clock that never goes back within a journal; only differences mean anything.
        wall: seconds since 1970 by the computer's clock, which may jump.
    """

    kind: str
    step: int
    header: dict[str, Any]
    arrays: dict[str, np.ndarray]
    monotonic: float
    wall: float


class Stamp(NamedTuple):
    """Whose record it is, and which.

    Attributes:
        campaign: 16 random bytes; empty in a journal of version 1.
        writer: a random number, another one whenever a program begins to write.
        number: of the record in its journal, from 0; in version 1 its place, where it was meant to lie.
        batch: number (place) of the first record of the same write.
    """

    campaign: bytes
    writer: int
    number: int
    batch: int


class Found(NamedTuple):
    """One whole record: where it lies, its stamp and its checksum."""

    start: int
    end: int
    stamp: Stamp
    crc: int

    @property
    def following(self) -> int:
        """Number (in version 1: place) of the record behind it."""
        return self.stamp.number + (1 if self.stamp.campaign else self.end - self.start)


def _stored(name: str, value: Any) -> np.ndarray:
    array = np.asarray(value)
    size = array.dtype.itemsize // (2 if array.dtype.kind == "c" else 1)
    if array.dtype.kind not in _KINDS or size > 8:
        raise TypeError(
            f"array {name!r}: the journal holds booleans, integers, floats and complex numbers of at most "
            f"64 bits a part, not {array.dtype}"
        )
    return np.asarray(array, dtype=array.dtype.newbyteorder("<"), order="C")


def encode(record: JournalRecord, stamp: Stamp) -> bytes:
    """Bytes of one record.

    Args:
        record: what to write.
        stamp: whose it is; without a campaign the record is one of version 1.

    Raises:
        TypeError: a header value or an array that cannot be kept exactly.
        ValueError: a record of 4 GiB or more.
    """
    arrays: Mapping[str, np.ndarray] = {name: _stored(name, value) for name, value in record.arrays.items()}
    text = json.dumps(
        {
            "kind": record.kind,
            "step": int(record.step),
            "monotonic": float(record.monotonic),
            "wall": float(record.wall),
            "header": to_plain(record.header),
            "arrays": [[name, array.dtype.str, list(array.shape)] for name, array in arrays.items()],
        },
        sort_keys=True,
        separators=(",", ":"),
        allow_nan=False,
    ).encode()
    old = not stamp.campaign
    head = _OLD_BODY.pack(*stamp[2:], len(text)) if old else _NEW_BODY.pack(*stamp, len(text))
    body = b"".join((head, text, *(array.tobytes() for array in arrays.values())))
    if len(body) > _MAX_BODY:
        raise ValueError(f"a record of {len(body) / 1e6:.0f} MB is too large: one record holds less than 4 GiB")
    length = _LENGTH.pack(len(body))
    return _PREFIX.pack(_OLD if old else _NEW, len(body), zlib.crc32(body, zlib.crc32(length))) + body


def opened(data: "bytes | BinaryIO") -> BinaryIO:
    """A file open for reading these bytes; itself where it is one."""
    return io.BytesIO(data) if isinstance(data, bytes | bytearray | memoryview) else data


def bytes_at(file: BinaryIO, start: int, count: int) -> bytes:
    """So many bytes from `start` on, or fewer at the end of the file."""
    file.seek(start)
    return file.read(count)


def _stamped(head: bytes) -> tuple[Stamp, int, int] | None:
    """Stamp, length of the text and of what stands before it, from the first bytes of what may be a record."""
    if head[:4] == _NEW and len(head) >= _PREFIX.size + _NEW_BODY.size:
        *stamp, text = _NEW_BODY.unpack_from(head, _PREFIX.size)
        return Stamp(*stamp), text, _NEW_BODY.size
    if head[:4] == _OLD and len(head) >= _PREFIX.size + _OLD_BODY.size:
        place, batch, text = _OLD_BODY.unpack_from(head, _PREFIX.size)
        return Stamp(b"", 0, place, batch), text, _OLD_BODY.size
    return None


def _whole(file: BinaryIO, start: int, size: int) -> Found | None:
    """The whole record at `start` of a file of that size."""
    head = bytes_at(file, start, _PREFIX.size + _NEW_BODY.size + 1)
    stamped = _stamped(head)
    if stamped is None:
        return None
    stamp, text, before = stamped
    _, length, crc = _PREFIX.unpack_from(head)
    body, end = start + _PREFIX.size, start + _PREFIX.size + length
    # Cheap looks first: bytes that only begin like a record must not cost a sum over the rest of the file each time.
    if end > size or before + text > length or head[_PREFIX.size + before : _PREFIX.size + before + 1] != b"{":
        return None
    found = zlib.crc32(_LENGTH.pack(length))
    for at in range(body, end, _CHUNK):
        found = zlib.crc32(bytes_at(file, at, min(_CHUNK, end - at)), found)
    return Found(start, end, stamp, crc) if found == crc else None


def _next_mark(file: BinaryIO, start: int, size: int) -> int | None:
    while start < size:
        chunk = bytes_at(file, start, _CHUNK)
        at = chunk.find(_MARK)
        if at >= 0:
            return start + at
        if len(chunk) < _CHUNK:
            return None
        start += len(chunk) - len(_MARK) + 1
    return None


def whole_records(data: "bytes | BinaryIO", start: int, size: int) -> Iterator[Found]:
    """Every whole record from `start` on, of whatever campaign, in the order of the bytes.

    Args:
        data: the bytes, or a file open for reading them.
        start: where to begin.
        size: where the bytes end.
    """
    file = opened(data)
    at: int | None = start
    while at is not None and at < size:
        found = _whole(file, at, size)
        if found is None:
            at = _next_mark(file, at + 1, size)
        else:
            yield found
            at = found.end


def decode(data: "bytes | BinaryIO", start: int) -> JournalRecord:
    """The whole record at `start` (as found by `scan`).

    Raises:
        JournalCorrupt: no whole record there, or one whose contents do not fit together.
    """
    file = opened(data)
    found = _whole(file, start, file.seek(0, io.SEEK_END))
    if found is None:
        raise JournalCorrupt(f"no whole record at byte {start}")
    return record_at(file, (start, found.end))


class Later:
    """An array of a record that stays in the file until it is asked for: `numpy.asarray` reads it.

    Attributes:
        path: the file.
        at: where its bytes begin.
        shape: its dimensions.
    """

    __slots__ = ("_stored", "at", "path", "shape")

    def __init__(self, path: str, at: int, stored: np.dtype, shape: tuple[int, ...]) -> None:
        self.path, self.at, self._stored, self.shape = path, at, stored, shape

    @property
    def dtype(self) -> np.dtype:
        """In the byte order of this machine."""
        return self._stored.newbyteorder("=")

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes that it takes."""
        return self.size * self._stored.itemsize

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """The array, read anew each time."""
        with open(self.path, "rb") as file:
            data = bytes_at(file, self.at, self.nbytes)
        if len(data) < self.nbytes:
            raise JournalCorrupt(f"{self.path} is shorter than it was when it was opened")
        return np.frombuffer(data, self._stored).reshape(self.shape).astype(dtype or self.dtype)


def record_at(
    file: BinaryIO, span: tuple[int, int], later: Callable[[str], bool] = lambda name: False
) -> JournalRecord:
    """The record that `scan` found there, its checksum not computed a second time.

    Args:
        file: a file open for reading.
        span: where the record begins and ends.
        later: names of arrays that become `Later`; the file must have a name then.

    Raises:
        JournalCorrupt: its contents do not fit together, or the file was changed since.
    """
    start, end = span
    head = bytes_at(file, start, min(end - start, 4096))
    stamped = _stamped(head)
    if stamped is None:
        raise JournalCorrupt(f"no whole record at byte {start}")
    _, size, before = stamped
    at = _PREFIX.size + before
    if at + size > len(head):
        head += file.read(at + size - len(head))
    try:
        words = head[at : at + size]
        text = json.loads(words)
        at += size
        arrays: dict[str, Any] = {}
        for name, dtype, shape in text["arrays"]:
            name, stored, count = sys.intern(name), np.dtype(dtype), math.prod(shape)
            if stored.kind not in _KINDS or min(shape, default=0) < 0 or at + count * stored.itemsize > end - start:
                raise ValueError(f"the array {name!r} does not fit into it")
            if count and later(name):
                arrays[name] = Later(file.name, start + at, stored, tuple(shape))
            else:
                inside = at + count * stored.itemsize <= len(head)
                data, place = (head, at) if inside else (bytes_at(file, start + at, count * stored.itemsize), 0)
                flat = np.frombuffer(data, stored, count, place) if count else np.empty(0, stored)
                flat = flat.copy() if stored.isnative else flat.astype(stored.newbyteorder("="))
                arrays[name] = flat.reshape(shape)  # a copy: aligned, and its own
            at += count * stored.itemsize
        if at != end - start:
            raise ValueError(f"{end - start - at} bytes are left over")
        header = _shared(from_plain(text["header"]) if MARK in words else text["header"])
        return JournalRecord(sys.intern(text["kind"]), text["step"], header, arrays, text["monotonic"], text["wall"])
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise JournalCorrupt(f"the record at byte {start} does not fit together: {error}") from error


def beginning(campaign: bytes) -> bytes:
    """The first bytes of a journal: signature, version, checksum of the campaign's 16 random bytes, and these."""
    return _START + _LENGTH.pack(zlib.crc32(campaign)) + campaign


def begun(start: bytes) -> tuple[int, bytes | None]:
    """Where the records begin and whose they are, from the first bytes of a file; (0, None) where these are spoilt."""
    if start.startswith(OLD_HEADER):
        return len(OLD_HEADER), b""
    campaign = start[len(_START) + 4 : BEGINNING]
    return (BEGINNING, campaign) if start[:BEGINNING] == beginning(campaign) else (0, None)


def begins_well(start: bytes) -> bool:
    """Whether the first bytes of a file are those of a journal."""
    return begun(start)[0] > 0


def _shared(value: Any) -> Any:
    """The same with the names in it held once for all records: there are few, and every record has them."""
    return {sys.intern(name): _shared(item) for name, item in value.items()} if isinstance(value, dict) else value


def check_header(data: bytes) -> None:
    """Raise ForeignFile unless the bytes begin as a journal does (or are the first bytes of such a beginning)."""
    start = data[: len(_START)]
    if any(right.startswith(start) for right in (_START, OLD_HEADER[: len(_START)])):
        return
    if start.startswith(SIGNATURE) and len(start) == len(_START):
        version = _LENGTH.unpack_from(start, len(SIGNATURE))[0]
        raise ForeignFile(f"this journal has format version {version}; this program reads version {VERSION}")
    raise ForeignFile("this is not a campaign journal (its first bytes are not those of one)")
