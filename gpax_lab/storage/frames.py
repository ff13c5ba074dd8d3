"""Frames of the campaign journal: bytes to `Frame` and back, without touching a file.

A journal is `HEADER` followed by frames. A frame is

    magic (4 bytes) | u32 body length | u32 crc32 of length and body | body
    body = u64 place | u64 batch | u32 text length | JSON text | the bytes of the arrays, one after the other

all little-endian. `place` is the offset of the frame in its file and `batch` the offset of the first frame that went
out in the same write: with them a reader can tell a write that never finished (a torn tail, nothing acknowledged in
it) from damage to what was once safe on disk, and never mistakes array bytes that look like a frame for one.
"""

import json
import math
import struct
import zlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from .errors import ForeignFile, JournalCorrupt
from .plain import from_plain, to_plain

VERSION = 1
# The line ends and the Ctrl-Z betray a file that went through a text-mode copy, as in PNG (RFC 2083, 3.1).
SIGNATURE = b"GPXJ\r\n\x1a\n"
HEADER = SIGNATURE + struct.pack("<II", VERSION, 0)
_MAGIC = b"\xf5GPX"  # 0xf5 never occurs in UTF-8 text (RFC 3629)
_PREFIX = struct.Struct("<4sII")
_BODY = struct.Struct("<QQI")
_LENGTH = struct.Struct("<I")
_KINDS = "biufc"
_MAX_BODY = 2**32 - 1


class Frame(NamedTuple):
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


class Scan(NamedTuple):
    """Where the whole frames of a journal lie.

    Attributes:
        spans: (start, end) of each whole frame.
        end: where the next frame belongs; what lies behind it is a write that never finished.
        damage: (start, end) of damaged bytes that have acknowledged writes behind them.
    """

    spans: tuple[tuple[int, int], ...]
    end: int
    damage: tuple[tuple[int, int], ...]


def _stored(name: str, value: Any) -> np.ndarray:
    array = np.asarray(value)
    size = array.dtype.itemsize // (2 if array.dtype.kind == "c" else 1)
    if array.dtype.kind not in _KINDS or size > 8:
        raise TypeError(
            f"array {name!r}: the journal holds booleans, integers, floats and complex numbers of at most "
            f"64 bits a part, not {array.dtype}"
        )
    return np.asarray(array, dtype=array.dtype.newbyteorder("<"), order="C")


def encode(frame: Frame, place: int, batch: int) -> bytes:
    """Bytes of one frame.

    Args:
        frame: what to write.
        place: offset in the file at which the bytes will start.
        batch: offset of the first frame of the same write.

    Raises:
        TypeError: a header value or an array that cannot be kept exactly.
        ValueError: a frame of 4 GiB or more.
    """
    arrays: Mapping[str, np.ndarray] = {name: _stored(name, value) for name, value in frame.arrays.items()}
    text = json.dumps(
        {
            "kind": frame.kind,
            "step": int(frame.step),
            "monotonic": float(frame.monotonic),
            "wall": float(frame.wall),
            "header": to_plain(frame.header),
            "arrays": [[name, array.dtype.str, list(array.shape)] for name, array in arrays.items()],
        },
        sort_keys=True,
        separators=(",", ":"),
        allow_nan=False,
    ).encode()
    body = b"".join((_BODY.pack(place, batch, len(text)), text, *(array.tobytes() for array in arrays.values())))
    if len(body) > _MAX_BODY:
        raise ValueError(f"a frame of {len(body) / 1e6:.0f} MB is too large: one frame holds less than 4 GiB")
    length = _LENGTH.pack(len(body))
    return _PREFIX.pack(_MAGIC, len(body), zlib.crc32(body, zlib.crc32(length))) + body


def _whole(buffer: memoryview, start: int) -> int | None:
    """End of the frame at `start`, or None where there is no whole frame."""
    head = start + _PREFIX.size
    if head + _BODY.size > len(buffer):
        return None
    magic, length, crc = _PREFIX.unpack_from(buffer, start)
    if magic != _MAGIC or length < _BODY.size or head + length > len(buffer):
        return None
    if zlib.crc32(buffer[head : head + length], zlib.crc32(_LENGTH.pack(length))) != crc:
        return None
    return head + length if _BODY.unpack_from(buffer, head)[0] == start else None


def decode(data: bytes | memoryview, start: int) -> Frame:
    """The whole frame at `start` (as found by `scan`).

    Raises:
        JournalCorrupt: no whole frame there, or one whose contents do not fit together.
    """
    buffer = memoryview(data)
    end = _whole(buffer, start)
    if end is None:
        raise JournalCorrupt(f"no whole frame at byte {start}")
    at = start + _PREFIX.size
    size = _BODY.unpack_from(buffer, at)[2]
    at += _BODY.size
    try:
        text = json.loads(bytes(buffer[at : at + size]))
        at += size
        arrays = {}
        for name, dtype, shape in text["arrays"]:
            count = math.prod(shape)
            flat = np.frombuffer(buffer, dtype, count, at) if count else np.empty(0, dtype)
            arrays[name] = flat.reshape(shape).astype(flat.dtype.newbyteorder("="))  # a copy: aligned, and its own
            at += count * flat.dtype.itemsize
        if at != end:
            raise ValueError(f"{end - at} bytes are left over")
        header = from_plain(text["header"])
        return Frame(text["kind"], text["step"], header, arrays, text["monotonic"], text["wall"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise JournalCorrupt(f"the frame at byte {start} does not fit together: {error}") from error


def _next_whole(buffer: memoryview, data: bytes, start: int) -> int | None:
    at = data.find(_MAGIC, start)
    while at >= 0:
        if _whole(buffer, at) is not None:
            return at
        at = data.find(_MAGIC, at + 1)
    return None


def scan(data: bytes) -> Scan:
    """Find the whole frames in the bytes of a journal.

    A write that never finished may leave any part of itself, even its last pages without its first. So bytes that are
    no frame are a torn tail when all that is whole behind them belongs to the same write, and damage otherwise.

    Raises:
        ForeignFile: the bytes are not those of a journal, or of one from a newer version.
    """
    check_header(data)
    buffer = memoryview(data)
    spans: list[tuple[int, int]] = []
    damage: list[tuple[int, int]] = []
    at = len(HEADER)
    while at < len(data):
        end = _whole(buffer, at)
        if end is None:
            after = _next_whole(buffer, data, at + 1)
            if after is None:
                break
            damage.append((at, after))
            at = after
        else:
            spans.append((at, end))
            at = end
    if damage and _BODY.unpack_from(buffer, spans[-1][0] + _PREFIX.size)[1] <= damage[0][0]:
        at = damage[0][0]
        return Scan(tuple(span for span in spans if span[0] < at), at, ())
    return Scan(tuple(spans), min(at, len(data)), tuple(damage))


def check_header(data: bytes) -> None:
    """Raise ForeignFile unless the bytes begin as a journal does (or are the first bytes of such a beginning)."""
    start = data[: len(HEADER)]
    if start == HEADER[: len(start)]:
        return
    if start.startswith(SIGNATURE) and len(start) == len(HEADER):
        version = _LENGTH.unpack_from(start, len(SIGNATURE))[0]
        raise ForeignFile(f"this journal has format version {version}; this program reads version {VERSION}")
    raise ForeignFile("this is not a campaign journal (its first bytes are not those of one)")
