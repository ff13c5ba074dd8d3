"""Bodies and headers of the Nanonis TCP programming interface, without any input or output.

Everything is big-endian. A form is a line of type codes:

=========  ================================================================
code       on the wire
=========  ================================================================
H I i f d  u16, u32, i32, f32, f64
s          i32 length, bytes
S          i32 bytes of the whole array, i32 count, each a ``s``
i* I* B*   i32 count, i32, u32 or u8 elements
f* d*      i32 count, f32 or f64 elements
f+         f32 elements, as many as the integer before all such arrays says
F2         i32 rows, i32 columns, f32 row after row
S2         i32 rows, i32 columns, each a ``s``, row after row
=========  ================================================================

Source: SPECS, Nanonis SPM TCP programming interface, releases R13742 (June 2024) and R14718 (April 2025).
"""

import struct
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from gpax_instruments.errors import BadFrame

NAME_BYTES, HEADER_BYTES = 32, 40
MAX_BODY_BYTES = 1 << 28  # a size torn by noise must not allocate a gigabyte
SCALARS = {"H": 2, "I": 4, "i": 4, "f": 4, "d": 8}
ITEMS = {"i": ">i4", "I": ">u4", "B": ">u1", "f": ">f4", "d": ">f8"}


def request_header(name: str, size: int, answer: bool = True) -> bytes:
    """The 40 bytes before the arguments. Raises ValueError for a name that does not fit."""
    return struct.pack(">32siHxx", _name(name), size, answer)


def answer_header(name: bytes, size: int) -> bytes:
    """The 40 bytes before an answer; the name as it was received, 32 bytes."""
    return struct.pack(">32si4x", name, size)


def split_header(header: bytes) -> tuple[bytes, int, int]:
    """Name with its padding, size of the body, and whether an answer is wanted (in an answer: nothing)."""
    name, size, wanted = struct.unpack(">32siHxx", header)
    return name, size, wanted


def name_of(padded: bytes) -> str:
    """The name of a header. Raises BadFrame for bytes that are none."""
    text = padded.rstrip(b"\0")
    if not text.isascii() or not text.decode("ascii").isprintable():
        raise BadFrame(f"{text!r} is no name of a command")
    return text.decode("ascii")


def _name(name: str) -> bytes:
    raw = name.encode("ascii")
    if not 0 < len(raw) <= NAME_BYTES:
        raise ValueError(f"the name of a command has 1 to {NAME_BYTES} characters, got {name!r}")
    return raw.ljust(NAME_BYTES, b"\0")


def pack(form: str, values: Sequence[Any]) -> bytes:
    """The body that carries values in this form.

    Raises:
        ValueError: too many or too few values, or one that does not fit its type.

    Example:
        >>> pack("d d I", (1e-8, 1.5e-8, 1)).hex()
        '3e45798ee2308c3a3e501b2b29a4692b00000001'
    """
    codes = form.split()
    if len(codes) != len(values):
        raise ValueError(f"{len(codes)} values are needed ({form}), got {len(values)}")
    try:
        return b"".join(_packed(code, value) for code, value in zip(codes, values, strict=True))
    except (struct.error, OverflowError, TypeError) as error:
        raise ValueError(f"{values!r} do not fit {form!r}: {error}") from error


def _packed(code: str, value: Any) -> bytes:
    if code in SCALARS:
        return struct.pack(f">{code}", value)
    if code == "s":
        raw = value.encode("utf-8")
        return struct.pack(">i", len(raw)) + raw
    if code == "S":
        inner = b"".join(_packed("s", one) for one in value)
        return struct.pack(">ii", len(inner), len(value)) + inner
    if code == "S2":
        rows = [list(row) for row in value]
        columns = len(rows[0]) if rows else 0
        inner = b"".join(_packed("s", one) for row in rows for one in row)
        return struct.pack(">ii", len(rows), columns) + inner
    if code == "F2":
        matrix = np.asarray(value, ">f4")
        return struct.pack(">ii", *matrix.shape) + matrix.tobytes()
    array = np.asarray(value, ITEMS[code[0]])
    return (b"" if code[1] == "+" else struct.pack(">i", array.size)) + array.tobytes()


def unpack(form: str, body: bytes | bytearray | memoryview) -> tuple[list[Any], int]:
    """Values of this form at the beginning of a body, and where they end. Arrays are native copies.

    Raises:
        BadFrame: the body ends before they do, or a length in it is impossible.

    Example:
        >>> unpack("d d", bytes.fromhex("3E35798EE2308C3ABE35798EE2308C3A"))
        ([5e-09, -5e-09], 16)
    """
    reader = _Reader(memoryview(body))
    return [reader.value(code) for code in form.split()], reader.at


class _Reader:
    def __init__(self, body: memoryview) -> None:
        self.body, self.at, self.count = body, 0, 0

    def value(self, code: str) -> Any:
        if code in SCALARS:
            value = struct.unpack(f">{code}", self._take(SCALARS[code]))[0]
            self.count = value if code == "i" else self.count
            return value
        if code == "s":
            return _text(bytes(self._take(self._length())))
        if code == "S":
            total, count = self._length(), self._length(4)
            end = self.at + total
            strings = [self.value("s") for _ in range(count)]
            if self.at != end:
                raise BadFrame(f"an array of strings of {total} bytes ends {self.at - end:+d} bytes from there")
            return strings
        if code == "S2":
            rows, columns = self._shape(4)
            return [[self.value("s") for _ in range(columns)] for _ in range(rows)]
        if code == "F2":
            rows, columns = self._shape(4)
            return self._array(">f4", rows * columns).reshape(rows, columns)
        item = ITEMS[code[0]]
        return self._array(item, self._checked(self.count, int(item[-1])) if code[1] == "+" else self._counted(item))

    def _counted(self, item: str) -> int:
        return self._length(int(item[-1]))

    def _length(self, size: int = 1) -> int:
        return self._checked(struct.unpack(">i", self._take(4))[0], size)

    def _checked(self, count: int, size: int) -> int:
        if not 0 <= count * size <= len(self.body) - self.at:
            raise BadFrame(f"{count} elements are announced, {len(self.body) - self.at} bytes are left")
        return count

    def _shape(self, size: int) -> tuple[int, int]:
        rows, columns = struct.unpack(">ii", self._take(8))
        if rows < 0 or columns < 0 or rows * columns * size > len(self.body) - self.at:
            raise BadFrame(f"{rows} x {columns} elements are announced, {len(self.body) - self.at} bytes are left")
        return rows, columns

    def _array(self, item: str, count: int) -> np.ndarray:
        values = np.frombuffer(self._take(count * int(item[-1])), item)
        return values.astype(values.dtype.newbyteorder("="), copy=True)

    def _take(self, count: int) -> memoryview:
        if count > len(self.body) - self.at:
            raise BadFrame(f"the answer ends after {len(self.body)} bytes, {count} more than {self.at} are needed")
        self.at += count
        return self.body[self.at - count : self.at]


def _text(raw: bytes) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")  # units such as those of the person who named the signal


def error_section(text: str = "") -> bytes:
    """The end of every answer: error status, length of the text, text."""
    raw = text.encode("utf-8")
    return struct.pack(">Ii", bool(text), len(raw)) + raw


def parse_answer(form: str, body: bytes | bytearray | memoryview) -> tuple[list[Any], str]:
    """The values of an answer, and the text of its error: empty when there is none.

    A refused command may answer with the error section alone, whatever its fields. The fields are believed where they
    fit too: no text of an error reads as the status of one.

    Raises:
        BadFrame: neither the fields and an error section, nor an error section alone.
    """
    only = _refusal(body)
    try:
        values, at = unpack(form, body)
        status, length = unpack("I i", body[at:])[0]
        if status > 1 or length != len(body) - at - 8:
            raise BadFrame(f"{len(body) - at} bytes after the fields are no error section")
    except BadFrame:
        if only:
            return [], only
        raise
    text = _text(bytes(body[at + 8 :]))
    return values, (text or "refused without a reason") if status else ""


def _refusal(body: bytes | bytearray | memoryview) -> str:
    """The text of a body that is an error section alone, and tells an error."""
    if len(body) < 8:
        return ""
    status, length = struct.unpack(">Ii", body[:8])
    alone = status == 1 and length == len(body) - 8
    return (_text(bytes(body[8:])) or "refused without a reason") if alone else ""


@lru_cache
def zeros(form: str) -> tuple[Any, ...]:
    """Values of a form that say nothing."""
    empty: dict[str, Any] = {"s": "", "S": [], "S2": [], "F2": np.zeros((0, 0), np.float32)}
    return tuple(empty.get(code, 0 if code in SCALARS else []) for code in form.split())
