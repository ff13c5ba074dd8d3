import itertools
import subprocess
import sys

import numpy as np
import pytest

from gpax_lab.storage import (
    Clock,
    DiskFull,
    ForeignFile,
    Journal,
    JournalCorrupt,
    JournalEmpty,
    JournalError,
    JournalExists,
    JournalLocked,
    read,
)
from gpax_lab.storage.frames import HEADER, scan


def _entry(step, size=5):
    return ("reading", step, {"ok": True, "value": 0.5 * step}, {"x": np.arange(size) + step})


def _write(path, steps=3):
    with Journal.create(path, {"settings": {"budget": steps}}, {"key": np.arange(2, dtype=np.uint32)}) as journal:
        for step in range(steps):
            journal.append(("intent", step, {"token": f"t{step}"}, {}))
            journal.append(_entry(step))
    return path.read_bytes()


def _steps(path):
    return [frame.step for frame in read(path).of("reading")]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "film.gpxj"


def test_what_was_appended_is_read(path):
    _write(path)
    contents = read(path)
    assert contents.ignored == 0
    assert [frame.kind for frame in contents.frames] == ["campaign", *["intent", "reading"] * 3]
    assert contents.frames[0].header == {"settings": {"budget": 3}}
    np.testing.assert_array_equal(contents.frames[0].arrays["key"], np.arange(2, dtype=np.uint32))
    for step, frame in enumerate(contents.of("reading")):
        assert frame.header == {"ok": True, "value": 0.5 * step}
        np.testing.assert_array_equal(frame.arrays["x"], np.arange(5) + step)


def test_a_journal_goes_on_after_it_was_closed(path):
    _write(path)
    with Journal.open(path) as journal:
        assert journal.cut == 0
        journal.append(_entry(3), _entry(4))
    assert _steps(path) == [0, 1, 2, 3, 4]


def test_one_call_is_one_write_and_one_sync(path, monkeypatch):
    from gpax_lab.storage import files

    calls = []
    with Journal.create(path, {}) as journal:
        real_write, real_sync = files.write, files.sync
        monkeypatch.setattr(files, "write", lambda *a: (calls.append("write"), real_write(*a))[1])
        monkeypatch.setattr(files, "sync", lambda *a: (calls.append("sync"), real_sync(*a))[1])
        journal.append(*(_entry(step) for step in range(4)))
        journal.append()
    assert calls == ["write", "sync"]


def test_a_tail_torn_at_every_byte_is_cut_and_said(path):
    data = _write(path)
    spans = scan(data).spans
    start, end = spans[-1]
    for size in range(start, end):
        path.write_bytes(data[:size])
        contents = read(path)
        assert len(contents.frames) == len(spans) - 1
        assert contents.ignored == size - start
    for size in range(start, end, 7):
        path.write_bytes(data[:size])
        with Journal.open(path) as journal:
            assert journal.cut == size - start
            journal.append(_entry(9))
        contents = read(path)
        assert contents.ignored == 0
        assert [frame.header for frame in contents.of("cut")] == ([{"bytes": size - start}] if size > start else [])
        assert _steps(path) == [0, 1, 9]


def test_a_wrong_byte_anywhere_in_the_last_frame_is_seen(path):
    data = _write(path)
    spans = scan(data).spans
    start, end = spans[-1]
    for place in range(start, end):
        spoilt = bytearray(data)
        spoilt[place] ^= 0x40
        path.write_bytes(spoilt)
        contents = read(path)
        assert len(contents.frames) == len(spans) - 1
        assert contents.ignored == end - start


def test_a_wrong_byte_in_the_middle_is_an_error_and_the_file_is_left(path):
    data = _write(path)
    spans = scan(data).spans
    for start, end in spans[1:-1]:
        for place in {start, start + 5, start + 9, (start + end) // 2, end - 1}:
            spoilt = bytearray(data)
            spoilt[place] ^= 1
            path.write_bytes(spoilt)
            with pytest.raises(JournalCorrupt, match=f"from byte {start} on"):
                read(path)
            with pytest.raises(JournalCorrupt):
                Journal.open(path)
            assert path.read_bytes() == spoilt
            contents = read(path, skip_damage=True)
            assert len(contents.frames) == len(spans) - 1
            assert contents.ignored == end - start


@pytest.mark.parametrize("content", [b"\x89HDF\r\n\x1a\n" + bytes(64), b"hello", b"x" * 5000])
def test_a_foreign_file_is_left_untouched(path, content):
    path.write_bytes(content)
    for call in (Journal.open, read):
        with pytest.raises(ForeignFile, match=r"film\.gpxj"):
            call(path)
    with pytest.raises(JournalExists, match="exists already"):
        Journal.create(path, {})
    assert path.read_bytes() == content


def test_an_existing_journal_is_never_overwritten(path):
    data = _write(path)
    with pytest.raises(JournalExists), Journal.create(path, {}):
        pass
    assert path.read_bytes() == data


def test_a_journal_that_died_while_being_created_says_so(path):
    data = _write(path, 0)
    for size in (0, 3, len(HEADER), len(HEADER) + 9, len(data) - 1):
        path.write_bytes(data[:size])
        assert read(path) == ((), size)
        with pytest.raises(JournalEmpty, match="nothing was recorded"):
            Journal.open(path)
        assert path.read_bytes() == data[:size]


def test_what_cannot_be_kept_leaves_no_file_and_no_bytes(path):
    with pytest.raises(TypeError):
        Journal.create(path, {"blob": b""})
    assert not path.exists()
    with Journal.create(path, {}) as journal:
        size = path.stat().st_size
        with pytest.raises(TypeError):
            journal.append(_entry(0), ("reading", 1, {"blob": b""}, {}))
        assert path.stat().st_size == size
        journal.append(_entry(1))
    assert _steps(path) == [1]


_SECOND = """
import sys
from gpax_lab.storage import Journal, JournalLocked
try:
    Journal.open(sys.argv[1])
except JournalLocked as error:
    print(error)
    sys.exit(7)
"""


def test_a_second_writer_is_refused(path):
    with Journal.create(path, {}) as journal:
        with pytest.raises(JournalLocked):
            Journal.open(path)
        other = subprocess.run([sys.executable, "-c", _SECOND, str(path)], capture_output=True, text=True, check=False)
        assert (other.returncode, "another process is writing" in other.stdout) == (7, True), other.stderr
        journal.append(_entry(0))
        assert _steps(path) == [0]
    other = subprocess.run([sys.executable, "-c", _SECOND, str(path)], capture_output=True, text=True, check=False)
    assert other.returncode == 0, other.stderr


def test_a_closed_journal_refuses(path):
    journal = Journal.create(path, {})
    journal.close()
    journal.close()
    with pytest.raises(JournalError, match="closed"):
        journal.append(_entry(0))


def test_space_is_checked_with_both_sizes_in_the_text(path, monkeypatch):
    with Journal.create(path, {}) as journal:
        journal.require_space(1000)
        with pytest.raises(DiskFull, match=r"film\.gpxj: [\d.]+ MB free, 1000000000000\.000 MB needed"):
            journal.require_space(10**18)


def test_jumping_clocks_change_neither_order_nor_durations(path):
    jumps = itertools.cycle([0.0, -3600.0, 86400.0, -7.0])
    ticks = itertools.count(1000.0, 0.5)
    clock = Clock(monotonic=lambda: next(ticks), wall=lambda: 1.7e9 + next(jumps))
    with Journal.create(path, {}, clock=clock) as journal:
        for step in range(8):
            journal.append(_entry(step))
    reboot = itertools.count(3.0, 0.5)  # the machine's clock begins anew
    with Journal.open(path, clock=Clock(monotonic=lambda: next(reboot), wall=lambda: 0.0)) as journal:
        for step in range(8, 11):
            journal.append(_entry(step))
    backwards = itertools.count(50.0, -1.0)
    with Journal.open(path, clock=Clock(monotonic=lambda: next(backwards), wall=lambda: 0.0)) as journal:
        journal.append(_entry(11))
        journal.append(_entry(12))
    frames = read(path).frames
    times = np.array([frame.monotonic for frame in frames])
    assert [frame.step for frame in frames] == sorted(frame.step for frame in frames)
    assert np.all(np.diff(times) >= 0)
    assert np.all(np.diff(times[1:9]) == 0.5)
    assert np.ptp([frame.wall for frame in frames]) > 86400
