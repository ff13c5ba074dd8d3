"""Bodies and headers of the Nanonis interface, against the answers that its specification prints, and torn ones."""

import struct

import numpy as np
import pytest
from gpax_instruments import _nanonis_codecs as codecs
from gpax_instruments._nanonis_commands import CODES, COMMANDS, R11798, R13742, R14718
from gpax_instruments.errors import BadFrame
from hypothesis import given
from hypothesis import strategies as st

OK = "0000000000000000"


def test_requests_and_answers_that_the_specification_prints():
    body = codecs.pack(COMMANDS["FolMe.XYPosSet"].arguments, (1e-8, 1.5e-8, 1))
    assert body.hex().upper() == "3E45798EE2308C3A3E501B2B29A4692B00000001"
    header = codecs.request_header("FolMe.XYPosSet", len(body)).hex().upper()
    assert header == b"FolMe.XYPosSet".ljust(32, b"\0").hex().upper() + "00000014" + "0001" + "0000"
    assert codecs.parse_answer("", bytes.fromhex(OK)) == ([], "")
    assert codecs.pack(COMMANDS["FolMe.XYPosGet"].arguments, (1,)).hex() == "00000001"
    answer = bytes.fromhex("3E35798EE2308C3ABE35798EE2308C3A" + OK)
    assert len(answer) == 0x18
    assert codecs.parse_answer(COMMANDS["FolMe.XYPosGet"].returns, answer) == ([5e-9, -5e-9], "")


def test_bodies_written_out_by_hand():
    assert codecs.pack("s S", ("ab", ["x", ""])) == b"\0\0\0\2ab" + b"\0\0\0\x09\0\0\0\2" + b"\0\0\0\1x\0\0\0\0"
    assert codecs.pack("F2", ([[1.0, 2.0]],)) == b"\0\0\0\1\0\0\0\2" + struct.pack(">2f", 1, 2)
    assert codecs.pack("H I i* f", (1, 2, [-1], 0.5)) == struct.pack(">HIiif", 1, 2, 1, -1, 0.5)
    cloud = codecs.pack(COMMANDS["Pattern.CloudSet"].arguments, (1, 2, [1.0, 2.0], [3.0, 4.0]))
    assert cloud == struct.pack(">Ii4f", 1, 2, 1, 2, 3, 4)  # one count for both


TEXT = st.text("aZ1 (°\u20ac)", max_size=5)
SAMPLE = {
    "H": st.integers(0, 2**16 - 1),
    "I": st.integers(0, 2**32 - 1),
    "i": st.integers(-(2**31), 2**31 - 1),
    "f": st.floats(width=32, allow_nan=False),
    "d": st.floats(allow_nan=False),
    "s": TEXT,
    "S": st.lists(TEXT, max_size=4),
    "i*": st.lists(st.integers(-(2**31), 2**31 - 1), max_size=5),
    "I*": st.lists(st.integers(0, 2**32 - 1), max_size=5),
    "B*": st.lists(st.integers(0, 255), max_size=5),
    "f*": st.lists(st.floats(width=32, allow_nan=False), max_size=5),
    "d*": st.lists(st.floats(allow_nan=False), max_size=5),
    "F2": st.lists(st.lists(st.floats(width=32, allow_nan=False), min_size=3, max_size=3), min_size=1, max_size=3),
    "S2": st.lists(st.lists(TEXT, min_size=2, max_size=2), min_size=1, max_size=3),
}
FORMS = st.lists(st.sampled_from(sorted(SAMPLE)), max_size=5).flatmap(
    lambda codes: st.tuples(st.just(" ".join(codes)), st.tuples(*(SAMPLE[code] for code in codes)))
)


def plain(value):
    return value.tolist() if isinstance(value, np.ndarray) else value


def whole(form, body):
    """The values of a body; None where it is refused, or tells a refusal."""
    try:
        values, refused = codecs.parse_answer(form, body)
    except BadFrame:
        return None
    return None if refused else values


@given(FORMS)
def test_what_is_packed_comes_back_and_a_shorter_body_never_passes(case):
    form, values = case
    body = codecs.pack(form, values)
    found, at = codecs.unpack(form, body)
    assert ([plain(v) for v in found], at) == ([plain(v) for v in values], len(body))
    assert all(v.flags.writeable and v.dtype.isnative for v in found if isinstance(v, np.ndarray))
    answer = body + codecs.error_section()
    assert codecs.parse_answer(form, answer)[1] == ""
    for cut in range(len(answer)):
        assert whole(form, answer[:cut]) is None
    assert whole(form, answer + b"\0") is None


@given(FORMS.filter(lambda case: case[0]), st.text("refusd. ", min_size=1, max_size=30))
def test_a_refusal_is_told_from_values_alone_and_after_them(case, text):
    form, values = case
    assert codecs.parse_answer(form, codecs.error_section(text)) == ([], text)
    assert codecs.parse_answer(form, codecs.pack(form, values) + codecs.error_section(text))[1] == text


def test_fields_that_look_like_a_refusal_are_fields():
    """Timed out in line 14: eight bytes that announce a text of 14, and 14 bytes follow."""
    form = COMMANDS["Scan.WaitEndOfLine"].returns
    body = codecs.pack(form, (1, 14, 0, 1)) + codecs.error_section()
    assert struct.unpack(">Ii", body[:8]) == (1, len(body) - 8)
    assert codecs.parse_answer(form, body) == ([1, 14, 0, 1], "")
    assert codecs.parse_answer(form, codecs.error_section("14 characters!")) == ([], "14 characters!")


@pytest.mark.parametrize(
    ("form", "body"),
    [
        ("s", b"\xff\xff\xff\xff" + b"\0" * 8),
        ("f*", b"\x40\0\0\0" + b"\0" * 8),
        ("F2", struct.pack(">ii", 1 << 15, 1 << 15) + b"\0" * 8),
        ("F2", struct.pack(">ii", -1, -4) + b"\0" * 8),
        ("S", struct.pack(">iii", 5, 1, 0) + b"\0" * 9),
        ("f", struct.pack(">fIi", 1.0, 7, 0)),
    ],
)
def test_lengths_and_states_that_can_not_be(form, body):
    with pytest.raises(BadFrame):
        codecs.parse_answer(form, body)


@pytest.mark.parametrize(("form", "values"), [("H", (1 << 16,)), ("f", ("1",)), ("d d", (1.0,)), ("I", (-1,))])
def test_values_that_do_not_fit_are_refused(form, values):
    with pytest.raises(ValueError, match=r"fit|needed"):
        codecs.pack(form, values)


def test_names():
    assert codecs.name_of(b"Bias.Get".ljust(32, b"\0")) == "Bias.Get"
    with pytest.raises(BadFrame):
        codecs.name_of(b"\xff" * 32)
    for name in ("", "x" * 33):
        with pytest.raises(ValueError, match="1 to 32"):
            codecs.request_header(name, 0)
    assert all(len(name) <= codecs.NAME_BYTES for name in COMMANDS)


def test_forms_differ_by_release():
    drift, props, line = (COMMANDS[n] for n in ("Piezo.DriftCompSet", "BiasSpectr.PropsGet", "Scan.WaitEndOfLine"))
    assert drift.form(R11798 - 1)[0] == "i f f f"
    assert drift.form(R11798)[0] == drift.form(R14718)[0] == "i f f f f"
    assert props.form(R13742)[1] == "H i H i S S S"
    assert props.form(R14718)[1] == "H i H i S S H H"
    assert (line.since, COMMANDS["File.datLoad"].since, COMMANDS["Bias.Get"].since) == (R14718, R14718, 0)


def test_words_of_what_is_sent_are_those_of_what_is_told():
    for field, codes in CODES.items():
        assert len(set(codes.sent.values())) == len(codes.sent), field
        assert all(codes.word(number) == word for word, number in codes.told.items())
        if codes.sent and codes.told:
            assert set(codes.sent) - {"as is"} == set(codes.told), field
            assert codes.sent.get("as is", 0) == 0, field
    assert CODES["SafeTip.OnOff"].sent["off"] != CODES["SafeTip.OnOff"].told["off"]  # the trap of the interface


def test_what_no_campaign_may_send_is_not_there():
    forbidden = ("AutoApproach", "Motor", "TipShaper", "Util.Quit", "Util.Lock", "Util.UnLock")
    assert not [name for name in COMMANDS if name.startswith(forbidden)]
    assert len(COMMANDS) >= 60
