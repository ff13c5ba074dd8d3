import itertools
import subprocess
import sys

import numpy as np
import pytest

from gpax_lab.storage import DiskFull, JournalError, read
from gpax_lab.storage import _lock as lock
from gpax_lab.storage._errors import (
    ForeignFile,
    JournalCorrupt,
    JournalDisturbed,
    JournalEmpty,
    JournalExists,
    JournalLocked,
)
from gpax_lab.storage._journal import Clock, Journal
from gpax_lab.storage._records import BEGINNING, OLD_HEADER, JournalRecord, Stamp, encode
from gpax_lab.storage._scan import scan


def _entry(step, size=5):
    return ("reading", step, {"ok": True, "value": 0.5 * step}, {"x": np.arange(size) + step})


def _write(path, steps=3):
    with Journal.create(path, {"settings": {"budget": steps}}, {"key": np.arange(2, dtype=np.uint32)}) as journal:
        for step in range(steps):
            journal.append(("intent", step, {"token": f"t{step}"}, {}))
            journal.append(_entry(step))
    return path.read_bytes()


def _steps(path):
    return [record.step for record in read(path).of("reading")]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "film.gpxj"


def test_what_was_appended_is_read(path):
    _write(path)
    contents = read(path)
    assert contents.ignored == 0
    assert [record.kind for record in contents.records] == ["campaign", *["intent", "reading"] * 3]
    assert contents.records[0].header == {"settings": {"budget": 3}}
    np.testing.assert_array_equal(contents.records[0].arrays["key"], np.arange(2, dtype=np.uint32))
    for step, record in enumerate(contents.of("reading")):
        assert record.header == {"ok": True, "value": 0.5 * step}
        np.testing.assert_array_equal(record.arrays["x"], np.arange(5) + step)


def test_a_journal_goes_on_after_it_was_closed(path):
    _write(path)
    with Journal.open(path) as journal:
        assert journal.cut == 0
        journal.append(_entry(3), _entry(4))
    assert _steps(path) == [0, 1, 2, 3, 4]


def test_one_call_is_one_write_and_one_sync(path, monkeypatch):
    from gpax_lab.storage import _files as files

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
        assert len(contents.records) == len(spans) - 1
        assert contents.ignored == size - start
    for size in range(start, end, 7):
        path.write_bytes(data[:size])
        with Journal.open(path) as journal:
            assert journal.cut == size - start
            journal.append(_entry(9))
        contents = read(path)
        assert contents.ignored == 0
        said = [record.header for record in contents.of("cut")]
        assert said == ([{"bytes": size - start, "kept": "film.gpxj.cut"}] if size > start else [])
        if size > start:
            assert data[start:size] in path.with_name("film.gpxj.cut").read_bytes()
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
        assert len(contents.records) == len(spans) - 1
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
            assert len(contents.records) == len(spans) - 1
            assert contents.ignored == end - start


@pytest.mark.parametrize("content", [b"\x89HDF\r\n\x1a\n" + bytes(64), b"hello", b"x" * 5000])
def test_a_foreign_file_is_left_untouched(path, content):
    path.write_bytes(content)
    for call in (Journal.open, read):
        with pytest.raises(ForeignFile, match=r"film\.gpxj"):
            call(path)
    with pytest.raises(JournalExists, match=r"exists already.*Campaign\.open"):
        Journal.create(path, {})
    assert path.read_bytes() == content


def test_an_existing_journal_is_never_overwritten(path):
    data = _write(path)
    with pytest.raises(JournalExists), Journal.create(path, {}):
        pass
    assert path.read_bytes() == data


def test_a_journal_that_died_while_being_created_says_so(path):
    data = _write(path, 0)
    for size in (0, 3, BEGINNING, BEGINNING + 9, len(data) - 1):
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
from gpax_lab.storage._errors import JournalLocked
from gpax_lab.storage._journal import Journal
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


def test_bytes_of_another_program_hide_no_entry(path):
    with Journal.create(path, {}) as journal:
        for step in range(6):
            if step == 2:
                with path.open("ab") as other:
                    other.write(b"saved by mistake\n")
            journal.append(_entry(step))
        assert "17 bytes that another program wrote" in journal.told
    whole = path.read_bytes()
    assert _steps(path) == list(range(6))
    assert read(path).ignored == 17
    assert [record.header["bytes"] for record in read(path).of("stray")] == [17]
    with Journal.open(path) as journal:
        assert "17 bytes between the entries" in journal.told
        assert journal.cut == 0
        journal.append(_entry(6))
    assert path.read_bytes().startswith(whole)
    assert _steps(path) == list(range(7))


def _removed(path, data):
    path.unlink()


def _replaced(path, data):
    path.with_name("copy").write_bytes(data)
    path.with_name("copy").replace(path)


def _cut_short(path, data):
    with path.open("r+b") as file:
        file.truncate(len(data) // 2)


def _written_over(path, data):
    with path.open("r+b") as file:
        file.seek(len(data) - 20)
        file.write(b"!" * 20)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows keeps others from removing an open file")
@pytest.mark.parametrize("done", [_removed, _replaced, _cut_short, _written_over])
def test_what_others_do_to_a_running_journal_is_noticed_before_an_entry_is_lost(path, done):
    with Journal.create(path, {}) as journal:
        for step in range(3):
            journal.append(_entry(step))
        done(path, path.read_bytes())
        with pytest.raises(JournalDisturbed, match=r"film\.gpxj was .*film\.rescue\.gpxj: resume from it"):
            journal.append(_entry(3))
        with pytest.raises(JournalDisturbed):  # and nothing more is accepted
            journal.append(_entry(4))
    rescued = read(path.with_name("film.rescue.gpxj"), skip_damage=True)
    steps = [record.step for record in rescued.of("reading")]
    assert steps[-1] == 3
    if done is not _cut_short:
        assert steps == [0, 1, 2, 3]
    if done in (_removed, _replaced):
        with Journal.open(path.with_name("film.rescue.gpxj")) as journal:
            journal.append(_entry(4))


def test_a_rescue_file_never_takes_the_place_of_another(path):
    path.with_name("film.rescue.gpxj").write_bytes(b"earlier")
    with Journal.create(path, {}) as journal:
        path.unlink()
        with pytest.raises(JournalDisturbed, match=r"film\.rescue-2\.gpxj"):
            journal.append(_entry(0))
    assert path.with_name("film.rescue.gpxj").read_bytes() == b"earlier"


def test_a_second_writer_is_noticed_by_its_entries(path, monkeypatch):
    """Where locks do not reach: the one that comes second is refused, and no entry of either is lost."""
    monkeypatch.setattr(lock, "_take", lambda descriptor: None)
    with Journal.create(path, {}) as one, Journal.open(path) as two:
        one.append(_entry(0))
        with pytest.raises(JournalDisturbed, match="another program at the same time"):
            two.append(_entry(100))
        one.append(_entry(1))
    assert _steps(path) == [0, 1]
    assert _steps(path.with_name("film.rescue.gpxj")) == [100]
    with Journal.open(path) as journal:
        assert journal.cut == 0


def test_two_writers_in_the_same_instant_lose_nothing(path, monkeypatch):
    from gpax_lab.storage import _files as files

    monkeypatch.setattr(lock, "_take", lambda descriptor: None)
    with Journal.create(path, {}) as one, Journal.open(path) as two:
        real = files.write_all

        def late(descriptor, data):  # between the look of the first and its write
            monkeypatch.setattr(files, "write_all", real)
            two.append(_entry(100))
            real(descriptor, data)

        monkeypatch.setattr(files, "write_all", late)
        one.append(_entry(0))  # it is whole, so it counts
        with pytest.raises(JournalDisturbed, match="another program writes this journal"):
            one.append(_entry(1))
        with pytest.raises(JournalDisturbed):
            two.append(_entry(101))
    assert _steps(path) == [100, 0]
    with Journal.open(path) as journal:
        assert (journal.cut, "Two programs" in journal.told) == (0, True)
        journal.append(_entry(2))
    assert _steps(path) == [100, 0, 2]


def test_a_journal_of_the_first_version_goes_on(path):
    data = OLD_HEADER
    for step, kind in enumerate(["campaign", "reading", "reading"]):
        data += encode(
            JournalRecord(kind, step, {}, {"x": np.arange(3.0)}, 1.0, 2.0), Stamp(b"", 0, len(data), len(data))
        )
    at = scan(data).spans[2][0]
    # The second as a program of that time left it: the offsets in all records behind the stray bytes are 2 too small.
    for old in (data, data[:at] + b"x\n" + data[at:]):
        path.write_bytes(old)
        with Journal.open(path) as journal:
            journal.append(_entry(7), _entry(8))
        assert path.read_bytes().startswith(old)
        assert _steps(path) == [1, 2, 7, 8]
        path.write_bytes(path.read_bytes()[:-3])
        with Journal.open(path) as journal:
            journal.append(_entry(9))
        assert _steps(path) == [1, 2, 7, 9]


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
    records = read(path).records
    times = np.array([record.monotonic for record in records])
    assert [record.step for record in records] == sorted(record.step for record in records)
    assert np.all(np.diff(times) >= 0)
    assert np.all(np.diff(times[1:9]) == 0.5)
    assert np.ptp([record.wall for record in records]) > 86400
