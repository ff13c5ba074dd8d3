"""Bytes to numbers and back, without any input or output.

IEEE 488.2 section 8.7.9 (definite-length block) and 8.7.10 (indefinite), SCPI-99 volume 1 section 7.2.1.4 and 7.2.1.5
(9.9E37 is infinity, 9.91E37 is not a number).
"""

import re
from typing import Any

import numpy as np

from gpax_instruments.errors import BadFrame

SCPI_INF = 9.9e37  # SCPI-99 volume 1, 7.2.1.4
SCPI_NAN = 9.91e37  # SCPI-99 volume 1, 7.2.1.5
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_WORDS = {"NAN": np.nan, "INF": np.inf, "INFINITY": np.inf}


def header_digits(head: bytes) -> int:
    """Number of length digits from the first two bytes of a block, ``#n``; 0 means indefinite. Raises BadFrame."""
    if len(head) != 2 or head[:1] != b"#" or not head[1:].isdigit():
        raise BadFrame(f"a binary block must begin with '#' and a digit, got {bytes(head)!r}")
    return int(head[1:])


def header_length(digits: bytes) -> int:
    """Data length in bytes from the length digits of a block header. Raises BadFrame."""
    if not digits or not bytes(digits).isdigit():
        raise BadFrame(f"the length of a binary block must be decimal digits, got {bytes(digits)!r}")
    return int(digits)


def item_count(nbytes: int, dtype: Any) -> int:
    """How many items nbytes hold; BadFrame when there is a remainder."""
    size = np.dtype(dtype).itemsize
    if nbytes % size:
        raise BadFrame(f"{nbytes} bytes are no whole number of {size}-byte items: wrong dtype or a torn block")
    return nbytes // size


def parse_header(data: bytes) -> tuple[int, int | None]:
    """Where the data of a block begin, and their length in bytes (None for ``#0``). Raises BadFrame."""
    digits = header_digits(bytes(data[:2]))
    if digits == 0:
        return 2, None
    text = bytes(data[2 : 2 + digits])
    if len(text) != digits:
        raise BadFrame(f"the block ends inside its header: {bytes(data)!r}")
    return 2 + digits, header_length(text)


def parse_block(data: bytes, dtype: Any, *, terminator: bytes = b"\n", allow_indefinite: bool = False) -> np.ndarray:
    """Numbers of one complete IEEE 488.2 block, ``#<n><length><data><terminator>``.

    Args:
        data: the whole message.
        dtype: item type on the wire, byte order included, such as ``"<f4"``.
        terminator: what must follow the data; ``b""`` for links that mark the end themselves.
        allow_indefinite: accept ``#0<data><terminator>``.

    Returns:
        (n,) array in native byte order and in memory of its own.

    Raises:
        BadFrame: junk before '#', an unasked ``#0``, a length that does not fit, a missing terminator.

    Example:
        >>> parse_block(b"#18" + bytes([0, 0, 128, 63, 0, 0, 0, 64]) + b"\\n", "<f4").tolist()
        [1.0, 2.0]
    """
    start, length = parse_header(data)
    if length is None:
        if not allow_indefinite:
            raise BadFrame("an indefinite block (#0) came where a definite one was asked for")
        length = len(data) - start - len(terminator)
    body, tail = data[start : start + max(length, 0)], data[start + max(length, 0) :]
    if len(body) != length:
        raise BadFrame(f"the header promises {length} bytes, {len(body)} came")
    if bytes(tail) != terminator:
        raise BadFrame(f"the data must be followed by {terminator!r}, got {bytes(tail[:16])!r}")
    return native(np.frombuffer(body, dtype=dtype, count=item_count(length, dtype)))


def format_block(values: np.ndarray, *, terminator: bytes = b"\n") -> bytes:
    """The block that carries values in their own byte order. Raises ValueError beyond 999,999,999 bytes."""
    body = np.ascontiguousarray(values).tobytes()
    digits = str(len(body)).encode()
    if len(digits) > 9:
        raise ValueError(f"{len(body)} bytes do not fit a definite-length block")
    return b"#%d%b%b%b" % (len(digits), digits, body, terminator)


def native(values: np.ndarray) -> np.ndarray:
    """A copy in native byte order and in memory of its own."""
    return values.astype(values.dtype.newbyteorder("="), copy=True)


def parse_numbers(text: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """Comma-separated ASCII numbers.

    Returns:
        (n,) float64, where SCPI's 9.91E37 has become NaN and +-9.9E37 an infinity, and flags: "nan", "inf".

    Raises:
        BadFrame: something there is no number.

    Example:
        >>> values, flags = parse_numbers("1.5e-6,9.91E37")
        >>> values.tolist(), flags
        ([1.5e-06, nan], ('nan',))
    """
    values = np.array([_number(part.strip()) for part in text.split(",")], dtype=np.float64)
    large = np.abs(values) >= SCPI_INF * (1 - 1e-9)
    nan = np.isclose(values, SCPI_NAN, rtol=1e-6, atol=0.0)
    values = np.where(nan, np.nan, np.where(large, np.copysign(np.inf, values), values))
    flags = [name for name, bad in (("nan", np.isnan(values)), ("inf", np.isinf(values))) if bad.any()]
    return values, tuple(flags)


def _number(text: str) -> float:
    if _NUMBER.fullmatch(text):  # float() alone would also take '1_0' and other Python spellings
        return float(text)
    word = _WORDS.get(text.upper().lstrip("+-"))
    if word is None:
        raise BadFrame(f"{text[:40]!r} is not a number")
    return -word if text.startswith("-") else word


def quality(values: np.ndarray, rail: float | None = None, n: int = 3) -> tuple[bool, str, tuple[str, ...]]:
    """Judge a raw signal.

    Args:
        values: any shape.
        rail: magnitude at which the converter saturates, in the unit of values; None: unknown.
        n: this many points on the rail make the signal saturated.

    Returns:
        (ok, reason in words, flags): flags among "empty", "nan", "inf", "saturated".
    """
    values = np.asarray(values)
    if values.size == 0:
        return False, "no points came", ("empty",)
    magnitude = np.abs(values)
    finite = np.isfinite(magnitude)
    nan = np.isnan(magnitude) | (finite & np.isclose(magnitude, SCPI_NAN, rtol=1e-6, atol=0.0))
    inf = ~nan & (magnitude >= SCPI_INF * (1 - 1e-6))
    railed = np.zeros_like(nan) if rail is None else ~nan & ~inf & (magnitude >= abs(rail) * (1 - 1e-6))
    reasons, flags = [], []
    for flag, bad, least, words in (
        ("nan", nan, 1, "not a number"),
        ("inf", inf, 1, "infinite"),
        ("saturated", railed, n, f"on the converter's rail of {rail}"),
    ):
        count = int(np.count_nonzero(bad))
        if count >= least:
            reasons.append(f"{count} of {values.size} points are {words}")
            flags.append(flag)
    return not flags, "; ".join(reasons), tuple(flags)


def shaped(
    values: np.ndarray, shape: tuple[int, ...], rail: float | None = None
) -> tuple[np.ndarray, bool, str, tuple[str, ...]]:
    """A raw signal in the shape that was asked for, and its `quality`.

    Args:
        values: (n,) as they came.
        shape: that they should have.
        rail: see `quality`.

    Returns:
        (values, ok, reason in words, flags): too few or too many stay as they came, with the flag "short".
    """
    ok, reason, flags = quality(values, rail)
    count = int(np.prod(shape))
    if values.size == count:
        return values.reshape(shape), ok, reason, flags
    if ok:
        ok, reason, flags = False, f"{count} numbers were expected, {values.size} came", ("short",)
    return values, ok, reason, flags
