import datetime
import json
import math
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from gpax_lab.storage._errors import ForeignFile, JournalCorrupt
from gpax_lab.storage._json_codec import dumps, loads
from gpax_lab.storage._records import BEGINNING, OLD_HEADER, SIGNATURE, JournalRecord, Stamp, beginning, decode, encode
from gpax_lab.storage._scan import scan

_TEXT = st.text(max_size=12)
_LEAF = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | _TEXT
_PLAIN = st.recursive(
    _LEAF, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_TEXT, inner, max_size=4), max_leaves=12
)
_DTYPES = st.sampled_from(["?", "i1", "<u2", ">i4", "<i8", "<f2", ">f4", "<f8", "<c8", ">c16"])
_ARRAYS = st.dictionaries(
    _TEXT, hnp.arrays(_DTYPES, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)), max_size=3
)
_OURS, _THEIRS = b"o" * 16, b"t" * 16
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
    data = beginning(_OURS) + encode(JournalRecord(kind, step, header, arrays, monotonic, wall), Stamp(_OURS, 1, 0, 0))
    found = scan(data)
    assert found.spans == ((BEGINNING, len(data)),)
    record = decode(data, BEGINNING)
    assert (record.kind, record.step, record.monotonic, record.wall) == (kind, step, monotonic, wall)
    assert _equal(record.header, header)
    assert list(record.arrays) == list(arrays)
    assert all(_same_array(arrays[name], record.arrays[name]) for name in arrays)


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
        encode(JournalRecord("reading", 0, header, arrays, 0.0, 0.0), Stamp(_OURS, 1, 0, 0))


@pytest.mark.parametrize("campaign", [_OURS, _THEIRS])
@pytest.mark.parametrize("place", [(2, 1, 1), (1, 1, 1), (1, 2, 1), (1, 2, 2), (1, 5, 5)])
def test_an_array_that_looks_like_a_frame_is_not_taken_for_one(campaign, place):
    """Not even one that carries the identity of this very campaign: as part of a whole record, and of a torn one."""
    inner = encode(JournalRecord("reading", 7, {}, {}, 0.0, 0.0), Stamp(campaign, *place))
    data = beginning(_OURS) + encode(JournalRecord("campaign", 0, {}, {}, 0.0, 0.0), Stamp(_OURS, 1, 0, 0))
    outer = encode(
        JournalRecord("state", 0, {}, {"bytes": np.frombuffer(inner, np.uint8)}, 0.0, 0.0), Stamp(_OURS, 1, 1, 1)
    )
    assert inner in outer
    torn = scan(data + outer[:-1])
    assert torn.spans == ((BEGINNING, len(data)),)
    assert (torn.damage, torn.end) == ((), len(data))
    whole = scan(data + outer)
    assert whole.spans == ((BEGINNING, len(data)), (len(data), len(data + outer)))
    assert (whole.damage, whole.strays, whole.following) == ((), (), 2)


def _batches(*sizes, campaign=_OURS, writer=1, first=0):
    """Bytes of a journal of so many writes of so many records; an old one where there is no campaign."""
    data = beginning(campaign) if campaign else OLD_HEADER
    number = first if campaign else len(data)
    for size in sizes:
        batch = number
        for step in range(size):
            record = JournalRecord("reading", step, {}, {"x": np.arange(3.0)}, 0.0, 0.0)
            data += encode(record, Stamp(campaign, writer, number, batch))
            number = number + 1 if campaign else len(data)
    return data


@pytest.mark.parametrize("campaign", [_OURS, b""])
def test_damage_in_the_middle_is_told_from_a_write_that_never_finished(campaign):
    data = bytearray(_batches(1, 2, 1, campaign=campaign))
    spans = scan(bytes(data)).spans
    data[spans[1][0] + 20] ^= 1
    found = scan(bytes(data))
    assert found.damage == (spans[1],)
    assert found.spans == (spans[0], *spans[2:])

    torn = bytearray(
        _batches(1, 3, campaign=campaign)
    )  # of three records in one write the middle page never reached the disk
    spans = scan(bytes(torn)).spans
    torn[spans[2][0] : spans[2][1]] = bytes(spans[2][1] - spans[2][0])
    found = scan(bytes(torn))
    assert found.damage == ()
    assert found.spans == spans[:2]
    assert found.end == spans[2][0]


@pytest.mark.parametrize("campaign", [_OURS, b""])
def test_stray_bytes_between_entries_hide_none(campaign):
    data = _batches(1, 2, 1, campaign=campaign)
    spans = scan(data).spans
    at = spans[1][0]
    found = scan(data[:at] + b"\xf5GPnot ours!" + data[at:])
    assert (found.damage, found.strays) == ((), ((at, at + 12),))
    assert found.spans == (spans[0], *((start + 12, end + 12) for start, end in spans[1:]))


def test_an_entry_that_was_cut_out_is_missed():
    data = _batches(1, 1, 1)
    spans = scan(data).spans
    found = scan(data[: spans[1][0]] + data[spans[1][1] :])
    assert found.damage == ((spans[1][0], spans[1][0]),)
    assert len(found.spans) == 2


def test_frames_of_another_campaign_and_copies_are_not_taken():
    data = _batches(1, 2, 1)
    other = _batches(2, 1, campaign=_THEIRS, writer=2)[BEGINNING:]
    spans = scan(data).spans
    at = spans[1][0]
    for foreign in (other, data[spans[0][0] : spans[2][0]]):
        found = scan(data[:at] + foreign + data[at:])
        held = [found.spans[0], *((start - len(foreign), end - len(foreign)) for start, end in found.spans[1:])]
        copy = foreign is not other
        assert len(found.spans) == len(spans)
        assert found.damage == ()
        assert copy or held == list(spans)
    assert scan(data + other).spans == spans


def test_a_copy_of_later_entries_before_earlier_ones_changes_neither_order_nor_number():
    data = _batches(1, 1, 2, 1)
    spans = scan(data).spans
    at, copied = spans[1][0], data[spans[4][0] : spans[4][1]]
    doubled = data[:at] + copied + data[at:]
    found = scan(doubled)
    assert [decode(doubled, start).step for start, _ in found.spans] == [decode(data, start).step for start, _ in spans]
    assert (len(found.spans), found.damage, found.end) == (5, (), len(doubled) - len(copied))


def test_entries_of_two_writers_are_all_kept():
    data = _batches(1)
    one, two = (_batches(1, 1, 1, writer=w, first=1)[BEGINNING:] for w in (1, 2))
    found = scan(data + one + two)
    assert (len(found.spans), found.damage, found.writers, found.following) == (7, (), 2, 4)


def test_what_is_left_of_a_write_that_was_cut_off_does_not_join_the_next_one():
    """The disk kept the second page of a write that never finished; another entry has taken the place of the first."""
    data = _batches(2)
    stale = _batches(2, first=2)
    stale = stale[scan(stale).spans[1][0] :]
    found = scan(data + _batches(1, first=2, writer=5)[BEGINNING:] + stale)
    assert len(found.spans) == 3
    assert found.end == found.spans[-1][1]


def test_a_spoilt_beginning_hides_no_entry():
    data = _batches(1, 1)
    found = scan(b"spoilt" + data[6:])
    assert found.spans == scan(data).spans
    assert found.damage == ((0, BEGINNING),)


def test_foreign_and_newer_files_are_refused():
    with pytest.raises(ForeignFile, match="not a campaign journal"):
        scan(b"\x89HDF\r\n\x1a\n" + bytes(100))
    with pytest.raises(ForeignFile, match="version 9"):
        scan(SIGNATURE + b"\x09\0\0\0\0\0\0\0" + bytes(10))
    with pytest.raises(ForeignFile):
        scan(SIGNATURE.replace(b"\r\n", b"\n") + bytes(20))
    for size in range(BEGINNING + 1):
        assert scan(beginning(_OURS)[:size]).spans == ()


def test_decode_says_where_there_is_no_frame():
    with pytest.raises(JournalCorrupt, match="byte 3"):
        decode(beginning(_OURS), 3)


def test_a_frame_whose_text_nests_too_deep_is_damage_in_words():
    good = encode(JournalRecord("reading", 0, {"n": "@"}, {}, 0.0, 0.0), Stamp(_OURS, 1, 0, 0))
    deep = b"[" * 100_000 + b"]" * 100_000
    start = good.index(b'{"arrays"')
    text = good[start:].replace(b'"@"', deep)
    body = good[12 : start - 4] + struct.pack("<I", len(text)) + text
    length = struct.pack("<I", len(body))
    data = beginning(_OURS) + good[:4] + length + struct.pack("<I", zlib.crc32(body, zlib.crc32(length))) + body
    with pytest.raises(JournalCorrupt, match="does not fit together"):
        decode(data, scan(data).spans[0][0])
