"""What is left of a journal when the process, the machine or the disk gives up."""

import errno

import numpy as np
import pytest

from gpax_lab.storage import JournalError, read
from gpax_lab.storage import _files as files
from gpax_lab.storage._errors import ForeignFile, JournalEmpty, JournalFull
from gpax_lab.storage._journal import Journal

_PAGE = 4096


class _Recorder:
    """Every call by which a journal changes its file, with the number of steps acknowledged before it."""

    def __init__(self, monkeypatch):
        self.calls = []
        self.acknowledged = -1
        for name in ("write", "sync", "truncate"):
            monkeypatch.setattr(files, name, self._wrap(name, getattr(files, name)))

    def _wrap(self, name, real):
        def call(descriptor, *rest):
            done = real(descriptor, *rest)
            what = bytes(rest[0][:done]) if name == "write" else rest[0] if rest else None
            self.calls.append((name, what, self.acknowledged))
            return done

        return call


def _campaign(path, recorder, steps):
    random = np.random.default_rng(3)
    with Journal.create(path, {"settings": {}}) as journal:
        recorder.acknowledged = 0
        for step in range(1, steps + 1):
            journal.append(("proposal", step, {}, {"x": random.random((1, 2))}), ("intent", step, {}, {}))
            raw = random.random(random.integers(10, 1500))
            journal.append(("reading", step, {"value": 1.0}, {"raw/y": raw}), ("state", step, {}, {"a": raw[:9]}))
            recorder.acknowledged = step


def _apply(data, name, what):
    if name == "write":
        return data + what
    return data[:what] if name == "truncate" else data


def _check(path, data, acknowledged):
    """The file opens for writing, holds all that was acknowledged, and goes on."""
    path.write_bytes(data)
    if acknowledged < 0:
        try:
            Journal.open(path).close()
        except (JournalEmpty, ForeignFile):  # foreign: not even the first page of the file reached the disk
            assert path.read_bytes() == data
        return
    held = [record.step for record in read(path).of("reading")]
    assert held == list(range(1, len(held) + 1))
    assert len(held) >= acknowledged
    with Journal.open(path) as journal:
        journal.append(("reading", len(held) + 1, {}, {}))
    contents = read(path)
    assert contents.ignored == 0
    assert len(contents.of("reading")) == len(held) + 1


def test_kill_after_every_file_call(tmp_path, monkeypatch):
    recorder = _Recorder(monkeypatch)
    _campaign(tmp_path / "whole.gpxj", recorder, 20)
    monkeypatch.undo()
    calls = recorder.calls
    assert len(calls) == 2 * 41  # one write and one sync for the beginning and for each of two calls a step
    data = b""
    acknowledged = [before for _, _, before in calls[1:]] + [20]  # at the latest instant before the next call
    for (name, what, _), least in zip(calls, acknowledged, strict=True):
        data = _apply(data, name, what)
        _check(tmp_path / "killed.gpxj", data, least)
    assert data == (tmp_path / "whole.gpxj").read_bytes()


def test_power_cuts(tmp_path, monkeypatch):
    """At a random call every page written since the last sync is on the disk, still old, or cut short: 200 times."""
    recorder = _Recorder(monkeypatch)
    _campaign(tmp_path / "whole.gpxj", recorder, 12)
    monkeypatch.undo()
    random = np.random.default_rng(11)
    for _ in range(200):
        stop = int(random.integers(1, len(recorder.calls)))
        synced = now = b""
        for name, what, _acknowledged in recorder.calls[:stop]:
            now = _apply(now, name, what)
            synced = now if name == "sync" else synced
        size = int(random.integers(len(synced), len(now) + 1))  # the length may reach the disk before the bytes
        disk = bytearray(now[:size])
        for page in range(0, size, _PAGE):
            if random.random() < 0.5:
                old = synced[page : page + _PAGE]
                end = min(page + _PAGE, size)
                disk[page:end] = old + bytes(end - page - len(old))
        _check(tmp_path / "cut.gpxj", bytes(disk), recorder.calls[stop][2])


def test_short_writes_are_completed(tmp_path, monkeypatch):
    real = files.write
    monkeypatch.setattr(files, "write", lambda descriptor, data: real(descriptor, data[:100]))
    with Journal.create(tmp_path / "a.gpxj", {}) as journal:
        journal.append(("reading", 0, {}, {"x": np.arange(500.0)}))
    record = read(tmp_path / "a.gpxj").records[-1]
    np.testing.assert_array_equal(record.arrays["x"], np.arange(500.0))


@pytest.mark.parametrize("call", ["write", "sync"])
def test_no_room_cuts_back_to_the_last_entry(tmp_path, monkeypatch, call):
    path = tmp_path / "a.gpxj"
    with Journal.create(path, {}) as journal:
        journal.append(("reading", 0, {}, {}))
        size = path.stat().st_size
        real = files.write

        def full(descriptor, data=None):
            if data is not None and len(data) > 40:
                return real(descriptor, data[:40])
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(files, call, full)
        with pytest.raises(JournalFull, match="every earlier one is safe"):
            journal.append(("reading", 1, {}, {"x": np.zeros(99)}))
        assert path.stat().st_size == size
        monkeypatch.undo()
        journal.append(("reading", 2, {}, {}))
    assert [record.step for record in read(path).of("reading")] == [0, 2]


def test_no_room_at_the_beginning_leaves_no_file(tmp_path, monkeypatch):
    def full(descriptor, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files, "write", full)
    with pytest.raises(JournalFull):
        Journal.create(tmp_path / "a.gpxj", {})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("call", ["write", "sync"])
@pytest.mark.parametrize("kept", [b"", b"of an earlier time\n"])
def test_no_room_to_set_an_unfinished_write_aside_deletes_nothing(tmp_path, monkeypatch, call, kept):
    path, aside = tmp_path / "a.gpxj", tmp_path / "a.gpxj.cut"
    with Journal.create(path, {}) as journal:
        journal.append(("reading", 0, {}, {}))
    whole = path.read_bytes()
    with Journal.open(path) as journal:
        journal.append(("reading", 1, {}, {"x": np.arange(500.0)}))
    torn = path.read_bytes()[:-99]
    path.write_bytes(torn)
    if kept:
        aside.write_bytes(kept)
    real = files.write

    def full(descriptor, data=None):
        if data is not None and len(data) > 1000:
            return real(descriptor, data[:1000])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files, call, full)
    for _ in range(2):
        with pytest.raises(JournalFull, match=r"a\.gpxj: no room .*nothing of it was changed"):
            Journal.open(path)
        assert path.read_bytes() == torn
        assert (aside.read_bytes() if aside.exists() else b"") == kept
    assert [record.step for record in read(path).of("reading")] == [0]  # it can be looked at
    monkeypatch.undo()
    with Journal.open(path) as journal:
        assert journal.cut == len(torn) - len(whole)
        journal.append(("reading", 2, {}, {}))
    assert [record.step for record in read(path).of("reading")] == [0, 2]
    data = aside.read_bytes()
    assert data.startswith(kept)
    assert data.endswith(torn[len(whole) :] + b"\n")


def test_no_room_for_the_entry_that_tells_of_it_loses_nothing_either(tmp_path, monkeypatch):
    """The bytes are aside and cut; what a full disk then has no room for is the word about it."""
    path, aside = tmp_path / "a.gpxj", tmp_path / "a.gpxj.cut"
    Journal.create(path, {}).close()
    whole = path.read_bytes()
    path.write_bytes(whole + b"unfinished")
    real = files.write

    def full(descriptor, data):
        if b"unfinished" in bytes(data):
            return real(descriptor, data)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files, "write", full)
    with pytest.raises(JournalFull, match="every earlier one is safe"):
        Journal.open(path)
    assert path.read_bytes() == whole
    assert aside.read_bytes().endswith(b"unfinished\n")
    monkeypatch.undo()
    with Journal.open(path) as journal:
        assert (journal.cut, journal.told) == (0, "")


def test_after_a_failed_disk_nothing_more_is_accepted(tmp_path, monkeypatch):
    def broken(descriptor):
        raise OSError(errno.EIO, "Input/output error")

    with Journal.create(tmp_path / "a.gpxj", {}) as journal:
        monkeypatch.setattr(files, "sync", broken)
        with pytest.raises(JournalError, match="the disk failed"):
            journal.append(("reading", 0, {}, {}))
        monkeypatch.undo()
        with pytest.raises(JournalError, match="the disk failed"):
            journal.append(("reading", 1, {}, {}))
    assert len(read(tmp_path / "a.gpxj").records) == 1


@pytest.mark.parametrize("call", ["write", "sync"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_an_interrupted_call_spoils_nothing(tmp_path, monkeypatch, call, when):
    path = tmp_path / "a.gpxj"
    with Journal.create(path, {}) as journal:
        journal.append(("reading", 0, {}, {}))
        real = getattr(files, call)

        def interrupted(*arguments):
            if when == "after":
                real(*arguments)
            raise KeyboardInterrupt

        monkeypatch.setattr(files, call, interrupted)
        with pytest.raises(KeyboardInterrupt):
            journal.append(("reading", 1, {}, {}))
        monkeypatch.undo()
        journal.append(("reading", 2, {}, {}))
    whole = (call, when) != ("write", "before")  # a measurement that is on the disk is not cut off again
    assert [record.step for record in read(path).of("reading")] == ([0, 1, 2] if whole else [0, 2])
    assert read(path).ignored == 0


def test_a_measurement_that_is_on_the_disk_survives_the_second_ctrl_c(tmp_path, monkeypatch):
    """Interrupted right after the disk has it, and half way: only what is whole stays, and numbers go on."""
    path, real = tmp_path / "a.gpxj", files.write
    with Journal.create(path, {}) as journal:

        def half(descriptor, data):
            real(descriptor, data[: len(data) // 2])
            raise KeyboardInterrupt

        monkeypatch.setattr(files, "write", half)
        with pytest.raises(KeyboardInterrupt):
            journal.append(("reading", 0, {}, {"x": np.arange(100.0)}))
        monkeypatch.undo()
        journal.append(("fault", 1, {}, {}))

        def synced(descriptor):
            raise KeyboardInterrupt

        monkeypatch.setattr(files, "sync", synced)
        with pytest.raises(KeyboardInterrupt):
            journal.append(("intent", 2, {}, {}), ("reading", 2, {}, {"x": np.arange(100.0)}))
        monkeypatch.undo()
        journal.append()
        journal.append(("fault", 3, {}, {}))
    contents = read(path)
    kept = [("fault", 1), ("intent", 2), ("reading", 2), ("fault", 3)]
    assert [(record.kind, record.step) for record in contents.records[1:]] == kept
    assert contents.ignored == 0
    with Journal.open(path) as journal:
        assert (journal.cut, journal.told) == (0, "")


def _power_cut(random, before, calls):
    """The disk after a cut: each page old or new, the length any that it may have had since the last sync."""
    synced = now = before
    sizes = {len(before)}
    for name, what, _acknowledged in calls:
        now = _apply(now, name, what)
        sizes.add(len(now))
        if name == "sync":
            synced, sizes = now, {len(now)}
    size = int(random.integers(min(sizes), max(sizes) + 1))
    disk = bytearray((synced + bytes(size))[:size])
    for page in range(0, size, _PAGE):
        if random.random() < 0.5:
            new = now[page : min(page + _PAGE, size)]
            disk[page : page + len(new)] = new
    return bytes(disk)


def test_one_power_cut_after_another(tmp_path, monkeypatch):
    """Resume, and lose the power again while the torn tail of the last time is being overwritten: 200 times."""
    path = tmp_path / "a.gpxj"
    random = np.random.default_rng(17)
    Journal.create(path, {}).close()
    step = cuts = 0
    for _ in range(200):
        before = path.read_bytes()
        with monkeypatch.context() as patch:
            recorder = _Recorder(patch)
            recorder.acknowledged = step
            with Journal.open(path) as journal:
                cuts += journal.cut > 0
                for later in range(step + 1, step + 4):
                    arrays = [random.random(random.integers(1, 900)) for _ in range(2)]
                    journal.append(*(("reading", later, {"half": half}, {"a": a}) for half, a in enumerate(arrays)))
                    recorder.acknowledged = later
        stop = int(random.integers(0, len(recorder.calls)))
        path.write_bytes(_power_cut(random, before, recorder.calls[:stop]))
        held = [(record.step, record.header["half"]) for record in read(path).of("reading")]
        step = recorder.calls[stop][2]
        assert held[: 2 * step] == [(n, half) for n in range(1, step + 1) for half in range(2)]
        if len(held) > 2 * step:  # the unfinished call, or a part of it, reached the disk; it is taken as the next step
            step += 1
            with Journal.open(path) as journal:
                missing = 2 * step - len(held)
                journal.append(*(("reading", step, {"half": 2 - n}, {}) for n in range(missing, 0, -1)))
    assert step > 150
    assert cuts > 20
