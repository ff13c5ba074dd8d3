"""A disk that is full in the middle of an image, of the export, or before a measurement; with room it goes on."""

import os

import numpy as np
import pytest
from small_campaign import SEEDS, Noted, bits, go, records

from gpax_lab.storage import Campaign, DiskFull, read
from gpax_lab.storage import _files as files
from gpax_lab.storage._errors import JournalFull

STEPS = 5
IMAGE = np.random.default_rng(0).integers(0, 4096, (1024, 1024), np.uint16)  # 2 MB


class Camera(Noted):
    """Its measurements from the number `at` on are images."""

    def __init__(self, at):
        super().__init__()
        self.at = at

    def measure(self, x, token):
        reading = super().measure(x, token)
        if len(self.tokens) > self.at:
            reading.arrays["image"] = IMAGE
        return reading


@pytest.mark.parametrize("at", [1, 4])
def test_in_the_middle_of_an_image(plain, plain_end, tmp_path, monkeypatch, at, largest_file):
    """The first image takes more than anybody could know of before."""
    path, instrument = tmp_path / "a.gpxj", Camera(at)
    monkeypatch.setattr(Campaign, "require_space", lambda self, nbytes: None)  # other programs fill the disk meanwhile
    with (
        largest_file(1 << 20),
        pytest.raises(JournalFull, match="this entry is not recorded, every earlier one is"),
    ):
        go(path, plain, STEPS, instrument)
    assert instrument.asked[-1] == ("safe", "")
    contents = read(path)
    assert contents.ignored == 0
    assert len(contents.of("reading")) == at
    assert contents.records[-1].kind == "fault"  # it is small, and had room
    assert "no room for 2.0" in contents.records[-1].header["text"]
    again = Camera(0)
    end = go(path, plain, STEPS, again)
    assert bits(end.state) == bits(plain_end.state)
    assert again.tokens[0] == instrument.tokens[-1]  # the one that found no room
    images = [frame.arrays["raw/image"] for frame in records(path, "reading")[at:]]
    assert len(images) == len(SEEDS) + STEPS - at
    assert all(np.array_equal(image, IMAGE) for image in images)


def test_a_known_lack_of_room_is_told_before_the_sample_is_touched(plain, plain_end, tmp_path, largest_file):
    path, instrument = tmp_path / "a.gpxj", Camera(0)
    with largest_file(9 << 20), pytest.raises(DiskFull, match=r"MB free, 8\.389 MB needed; make room and resume"):
        go(path, plain, STEPS, instrument)
    assert instrument.asked[-1] == ("safe", "")
    assert len(records(path, "reading")) == len(records(path, "intent")) == len(instrument.tokens) == 1
    assert bits(go(path, plain, STEPS, Camera(0)).state) == bits(plain_end.state)


def test_in_the_middle_of_the_export(plain, tmp_path, monkeypatch, largest_file):
    path, real = tmp_path / "a.gpxj", Campaign.export

    def tight(campaign):
        with largest_file(3 << 20):
            return real(campaign)

    monkeypatch.setattr(Campaign, "export", tight)
    with pytest.raises(DiskFull, match=r"a\.h5: no room to write it") as caught:
        go(path, plain, STEPS, Camera(0))
    assert caught.value.__notes__ == [f"All that was measured is in {path}, from which this file is made."]
    assert os.listdir(tmp_path) == ["a.gpxj"]
    assert read(path).ignored == 0
    assert records(path, "stop")[-1].header["finished"] is True
    with Campaign.open(path) as campaign:
        assert real(campaign).exists()


def test_a_fault_that_finds_no_room_in_the_journal_is_the_one_that_is_shown(plain, plain_end, tmp_path, largest_file):
    """Not even the word about the full disk fits; the instrument is safe all the same, and it goes on with room."""
    path, instrument = tmp_path / "a.gpxj", Noted()
    go(path, plain, 1, Noted())
    size = path.stat().st_size
    with largest_file(size), pytest.raises((JournalFull, DiskFull), match=r"no room|MB free"):
        go(path, plain, STEPS, instrument)
    assert instrument.asked == [("safe", "")]
    assert (path.stat().st_size, read(path).ignored) == (size, 0)
    assert bits(go(path, plain, STEPS).state) == bits(plain_end.state)


def limited(total: int):
    """`files.free_bytes` of a disk of that many bytes with the journal alone on it."""
    return lambda path, size: max(0, total - size)


def test_a_full_disk_stops_before_the_measurement(plain, plain_end, path, monkeypatch):
    monkeypatch.setattr(files, "free_bytes", limited((4 << 20) + 8000))
    instrument = Noted()
    with pytest.raises(DiskFull, match="make room and resume"):
        go(path, plain, STEPS, instrument)
    acknowledged = records(path, "reading")
    assert 0 < len(acknowledged) < len(SEEDS) + STEPS
    assert instrument.tokens == [frame.header["token"] for frame in acknowledged]
    assert len(records(path, "intent")) == len(acknowledged)
    assert instrument.asked[-1][0] == "safe"
    monkeypatch.undo()
    assert bits(go(path, plain, STEPS).state) == bits(plain_end.state)


def test_a_disk_that_fills_between_the_check_and_the_measurement(plain, plain_end, path, monkeypatch):
    real = files.write

    def write(descriptor, data):
        if os.fstat(descriptor).st_size + len(data) > 12_000:
            raise OSError(28, "No space left on device")
        return real(descriptor, data)

    monkeypatch.setattr(files, "write", write)
    instrument = Noted()
    with pytest.raises(JournalFull, match="every earlier one is safe"):
        go(path, plain, STEPS, instrument)
    held = {frame.header["token"] for frame in records(path, "reading")}
    assert held <= set(instrument.tokens)
    assert len(instrument.tokens) - len(held) <= 1
    assert instrument.asked[-1][0] == "safe"
    monkeypatch.undo()
    assert bits(go(path, plain, STEPS).state) == bits(plain_end.state)
