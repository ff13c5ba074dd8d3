"""Measurements that a journal can not hold as they come: the act is done, so what can be kept is kept."""

from types import SimpleNamespace

import numpy as np
import pytest
from small_campaign import SEEDS, Noted, go, records


class Odd(Noted):
    """Acts once a token, and hands back what `change` makes of the third reading."""

    def __init__(self, change):
        super().__init__(repeatable=False)
        self.change = change

    def measure(self, x, token):
        reading = super().measure(x, token)
        return self.change(reading) if len(self.tokens) == 3 else reading


class Tricky:
    def __str__(self):
        raise RuntimeError("no words")

    def __array__(self, dtype=None, copy=None):
        raise RuntimeError("no numbers")


def replace(reading, **changes):
    """What promises to be a measurement, and keeps none of its promises."""
    return SimpleNamespace(**vars(reading) | changes)


def with_array(array):
    return lambda reading: replace(reading, arrays=dict(reading.arrays) | {"extra": array})


MENDED_BY_US = {
    "long doubles": with_array(np.full(3, 1 / 3, np.longdouble)),
    "complex long doubles": with_array(np.full(3, 1j, np.clongdouble)),
    "a unit that is an object": lambda reading: replace(reading, units={"value": Tricky(), 7: "V"}),
    "no units": lambda reading: replace(reading, units=None),
    "a flag that is an object": lambda reading: replace(reading, flags=(Tricky(), "good")),
    "no flags": lambda reading: replace(reading, flags=None),
    "a position of long doubles": lambda reading: replace(reading, position=np.asarray(SEEDS[2], np.longdouble)),
    "a position that is no place": lambda reading: replace(reading, position=[[0.1], [0.2, 0.3]]),
}
NOT_NUMBERS = {
    "text": (np.array(["a", "b"]), "['a', 'b']"),
    "objects": (np.array([None, {}]), "[None, {}]"),
    "dates": (np.array(["2026-01-01"], "M8[D]"), "[datetime.date(2026, 1, 1)]"),
    "rows of different lengths": ([[1.0], [2.0, 3.0]], "[[1.0], [2.0, 3.0]]"),
    "something with tricks": (Tricky(), "<Tricky>"),
}


@pytest.mark.parametrize("kind", MENDED_BY_US)
def test_what_can_be_told_in_numbers_and_words_is(plain, tmp_path, kind):
    instrument = Odd(MENDED_BY_US[kind])
    assert go(tmp_path / "a.gpxj", plain, 1, instrument).finished
    assert len(instrument.tokens) == len(SEEDS) + 1
    reading = records(tmp_path / "a.gpxj", "reading")[2]
    assert reading.header["ok"]
    assert float(reading.arrays["y"]) == float(reading.arrays["raw/value"])
    if kind == "long doubles":
        assert reading.arrays["raw/extra"].tolist() == [1 / 3] * 3
        widest = np.dtype(np.longdouble).itemsize > 8
        assert reading.header["flags"] == (["rounded:extra"] if widest else [])
    if kind == "a unit that is an object":
        assert reading.header["units"] == {"value": "<Tricky>", "7": "V"}
    if kind == "a flag that is an object":
        assert reading.header["flags"] == ["<Tricky>", "good"]


@pytest.mark.parametrize("kind", NOT_NUMBERS)
def test_what_is_no_number_ends_the_campaign_and_costs_no_measurement(plain, tmp_path, kind):
    array, words = NOT_NUMBERS[kind]
    path, instrument = tmp_path / "a.gpxj", Odd(with_array(array))
    with pytest.raises(TypeError, match="'extra', which is kept as text only"):
        go(path, plain, 1, instrument)
    assert instrument.asked[-1] == ("safe", "")
    reading = records(path, "reading")[2]
    assert reading.header["words"] == {"extra": words}
    assert reading.header["flags"] == ["not_kept:extra"]
    assert float(reading.arrays["y"]) == float(reading.arrays["raw/value"])
    again = Noted(repeatable=False)
    assert go(path, plain, 1, again).finished
    assert len(again.tokens) == 1  # nothing twice, and nothing lost
    assert all(frame.header["ok"] for frame in records(path, "reading"))


@pytest.mark.parametrize("change", [lambda reading: None, lambda reading: 1.5])
def test_what_is_no_measurement_is_recorded_as_a_failed_one(plain, tmp_path, change):
    path, instrument = tmp_path / "a.gpxj", Odd(change)
    with pytest.raises(TypeError, match="no arrays, no ok"):
        go(path, plain, 1, instrument)
    reading = records(path, "reading")[2]
    assert not reading.header["ok"]
    assert "no arrays, no ok" in reading.header["reason"]
    assert go(path, plain, 1, Noted(repeatable=False)).finished
