import numpy as np
import pytest
from gpax_instruments import _codecs as codecs
from gpax_instruments.errors import BadFrame
from hypothesis import given
from hypothesis import strategies as st

RAMP = np.arange(5, dtype="<f4")


@given(st.lists(st.floats(width=32), max_size=300), st.sampled_from(["<f4", ">f4", "<f8", ">i2"]))
def test_block_round_trip_is_exact(values, dtype):
    with np.errstate(invalid="ignore"):
        data = np.array(values, dtype=np.float32).astype(dtype)
    back = codecs.parse_block(codecs.format_block(data), dtype)
    assert back.dtype.isnative
    assert back.astype(dtype).tobytes() == data.tobytes()


def test_known_block():
    # IEEE 488.2 8.7.9: '#', one digit, that many digits, data
    assert codecs.format_block(np.array([1.0], "<f4")) == b"#14\x00\x00\x80?\n"
    assert codecs.parse_header(b"#3012rest") == (5, 12)
    assert codecs.parse_header(b"#0rest") == (2, None)


@pytest.mark.parametrize(
    ("message", "word"),
    [
        (b"junk123#14\x00\x00\x80?\n", "must begin"),
        (b"", "must begin"),
        (b"#", "must begin"),
        (b"#x4", "must begin"),
        (b"#2x4\n", "decimal digits"),
        (b"#9123", "inside its header"),
        (b"#0\x00\x00\x80?\n", "indefinite"),
        (b"#18\x00\x00\x80?\n", "promises 8"),
        (b"#14\x00\x00\x80?", "followed by"),
        (b"#14\x00\x00\x80?\x00\x00\x80?\n", "followed by"),
        (b"#13\x00\x00\x80\n", "no whole number"),
    ],
)
def test_torn_blocks_are_refused(message, word):
    with pytest.raises(BadFrame, match=word):
        codecs.parse_block(message, "<f4")


def test_indefinite_block_when_asked_for():
    back = codecs.parse_block(b"#0" + RAMP.tobytes() + b"\n", "<f4", allow_indefinite=True)
    np.testing.assert_array_equal(back, RAMP)


def test_parsed_block_owns_its_memory():
    message = bytearray(codecs.format_block(RAMP))
    back = codecs.parse_block(message, "<f4")
    message[4:] = bytes(len(message) - 4)
    np.testing.assert_array_equal(back, RAMP)


def test_ascii_numbers():
    values, flags = codecs.parse_numbers("1, -2.5e-6,+.5,9.91E+37,-9.9E37,NAN,-INF")
    np.testing.assert_array_equal(values, [1, -2.5e-6, 0.5, np.nan, -np.inf, np.nan, -np.inf])
    assert flags == ("nan", "inf")
    assert codecs.parse_numbers("0")[1] == ()
    for text in ("", "1_0", "0x10", "1;2", "IDLE", "1,,2", "nano"):
        with pytest.raises(BadFrame):
            codecs.parse_numbers(text)


@given(st.floats(allow_nan=False, allow_infinity=False, max_value=1e37, min_value=-1e37))
def test_ascii_numbers_are_exact(value):
    assert codecs.parse_numbers(repr(value))[0][0] == value


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("bad", "flag"),
    [(np.nan, "nan"), (np.inf, "inf"), (-np.inf, "inf"), (9.91e37, "nan"), (9.9e37, "inf"), (-9.9e37, "inf")],
)
def test_quality_flags_what_is_no_number(dtype, bad, flag):
    values = np.linspace(-1, 1, 64).astype(dtype)
    assert codecs.quality(values, rail=2.0) == (True, "", ())
    values[7] = bad
    ok, reason, flags = codecs.quality(values, rail=2.0)
    assert (ok, flags) == (False, (flag,))
    assert "1 of 64" in reason


def test_quality_of_a_saturated_or_empty_signal():
    values = np.zeros(64, np.float32)
    values[:2] = -1.0
    assert codecs.quality(values, rail=1.0)[0]  # two points on the rail: a peak that just touches
    values[2] = 1.0
    assert codecs.quality(values, rail=1.0)[2] == ("saturated",)
    assert codecs.quality(values)[0]  # no rail known
    assert codecs.quality(np.array([]))[2] == ("empty",)
