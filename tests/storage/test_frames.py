import datetime
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from gpax_lab.storage.errors import ForeignFile, JournalCorrupt
from gpax_lab.storage.frames import HEADER, SIGNATURE, Frame, decode, encode, scan
from gpax_lab.storage.plain import dumps, loads

_TEXT = st.text(max_size=12)
_LEAF = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | _TEXT
_PLAIN = st.recursive(
    _LEAF, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_TEXT, inner, max_size=4), max_leaves=12
)
_DTYPES = st.sampled_from(["?", "i1", "<u2", ">i4", "<i8", "<f2", ">f4", "<f8", "<c8", ">c16"])
_ARRAYS = st.dictionaries(
    _TEXT, hnp.arrays(_DTYPES, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)), max_size=3
)
_FINITE = st.floats(allow_nan=False, allow_infinity=False)


def _equal(one, two):
    if isinstance(one, float) and isinstance(two, float):
        same = one == two and math.copysign(1, one) == math.copysign(1, two)
        return same or (math.isnan(one) and math.isnan(two))
    if isinstance(one, dict):
        return one.keys() == two.keys() and all(_equal(one[key], two[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(two) and all(map(_equal, one, two))
    return type(one) is type(two) and one == two


def _same_array(one, two):
    little = one.astype(one.dtype.newbyteorder("<"))
    return one.shape == two.shape and two.dtype == one.dtype.newbyteorder("=") and little.tobytes() == two.tobytes()


@given(_PLAIN)
def test_plain_values_survive_json(value):
    text = dumps(value)
    json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))
    assert _equal(loads(text), value)


@given(st.dictionaries(_TEXT, _PLAIN, max_size=4), _ARRAYS, st.integers(-3, 2**40), _FINITE, _FINITE, _TEXT)
@settings(max_examples=200)
def test_frames_round_trip(header, arrays, step, monotonic, wall, kind):
    data = HEADER + encode(Frame(kind, step, header, arrays, monotonic, wall), len(HEADER), len(HEADER))
    found = scan(data)
    assert found.spans == ((len(HEADER), len(data)),)
    frame = decode(data, len(HEADER))
    assert (frame.kind, frame.step, frame.monotonic, frame.wall) == (kind, step, monotonic, wall)
    assert _equal(frame.header, header)
    assert list(frame.arrays) == list(arrays)
    assert all(_same_array(arrays[name], frame.arrays[name]) for name in arrays)


def test_numpy_scalars_and_dates_become_plain():
    when = datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)
    header = {"a": np.float32(0.5), "b": np.int8(-3), "c": np.bool_(True), "d": when, "e": (1, 2)}
    assert loads(dumps(header)) == {"a": 0.5, "b": -3, "c": True, "d": "2026-01-02T03:04:05+00:00", "e": [1, 2]}


@pytest.mark.parametrize(
    ("header", "arrays", "words"),
    [
        ({"deep": {"x": np.zeros(2)}}, {}, r"header\.deep\.x"),
        ({"blob": b"1"}, {}, r"header\.blob"),
        ({"map": {1: 2}}, {}, r"header\.map"),
        ({}, {"names": np.array(["a"])}, "'names'"),
        ({}, {"mixed": np.array([None])}, "'mixed'"),
        ({}, {"wide": np.zeros(1, np.longdouble)}, "'wide'"),
    ],
)
def test_what_cannot_be_kept_is_refused_by_name(header, arrays, words):
    with pytest.raises(TypeError, match=words):
        encode(Frame("reading", 0, header, arrays, 0.0, 0.0), 0, 0)


def test_an_array_that_looks_like_a_frame_is_not_taken_for_one():
    inner = encode(Frame("reading", 7, {}, {}, 0.0, 0.0), 4000, 4000)
    outer = encode(Frame("state", 0, {}, {"bytes": np.frombuffer(inner, np.uint8)}, 0.0, 0.0), 16, 16)
    torn = scan(HEADER + outer[:-1])
    assert torn.spans == ()
    assert torn.damage == ()


def _batches(*sizes):
    data = HEADER
    for size in sizes:
        batch = len(data)
        for step in range(size):
            data += encode(Frame("reading", step, {}, {"x": np.arange(3.0)}, 0.0, 0.0), len(data), batch)
    return data


def test_damage_in_the_middle_is_told_from_a_write_that_never_finished():
    data = bytearray(_batches(1, 2, 1))
    spans = scan(bytes(data)).spans
    data[spans[1][0] + 20] ^= 1
    found = scan(bytes(data))
    assert found.damage == (spans[1],)
    assert found.spans == (spans[0], *spans[2:])

    torn = bytearray(_batches(1, 3))  # of three frames in one write the middle page never reached the disk
    spans = scan(bytes(torn)).spans
    torn[spans[2][0] : spans[2][1]] = bytes(spans[2][1] - spans[2][0])
    found = scan(bytes(torn))
    assert found.damage == ()
    assert found.spans == spans[:2]
    assert found.end == spans[2][0]


def test_foreign_and_newer_files_are_refused():
    with pytest.raises(ForeignFile, match="not a campaign journal"):
        scan(b"\x89HDF\r\n\x1a\n" + bytes(100))
    with pytest.raises(ForeignFile, match="version 9"):
        scan(SIGNATURE + b"\x09\0\0\0\0\0\0\0" + bytes(10))
    with pytest.raises(ForeignFile):
        scan(SIGNATURE.replace(b"\r\n", b"\n") + bytes(20))
    for size in range(len(HEADER) + 1):
        assert scan(HEADER[:size]).spans == ()


def test_decode_says_where_there_is_no_frame():
    with pytest.raises(JournalCorrupt, match="byte 3"):
        decode(HEADER, 3)
