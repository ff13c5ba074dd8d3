"""Journals in odd places: every refusal is an error of ours that names the place."""

import os
import stat
import sys

import pytest

from gpax_lab.storage import read
from gpax_lab.storage._errors import JournalExists, JournalMissing, JournalPlace
from gpax_lab.storage._journal import Journal

LOOK = stat.S_IXGRP | stat.S_IXOTH


@pytest.mark.parametrize("call", [Journal.open, read])
def test_what_is_no_journal_file_is_refused_in_words(tmp_path, call):
    (tmp_path / "folder").mkdir()
    with pytest.raises(JournalMissing, match=r"nothing\.gpxj: there is no such file"):
        call(tmp_path / "nothing.gpxj")
    with pytest.raises(FileNotFoundError):  # and it is the error that Python programs expect
        call(tmp_path / "nothing.gpxj")
    with pytest.raises(JournalPlace, match="is a folder"):
        call(tmp_path / "folder")
    with pytest.raises(JournalPlace, match="is a folder"):
        call("")
    with pytest.raises(JournalPlace, match="can not name a file"):
        call(f"{tmp_path}/a\0b")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no named pipes in folders")
@pytest.mark.parametrize("call", [Journal.open, read])
def test_a_pipe_is_refused_and_not_waited_for(tmp_path, call):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(JournalPlace, match="a pipe or a device"):
        call(tmp_path / "pipe")


def test_where_no_journal_can_begin(tmp_path):
    with pytest.raises(JournalMissing, match=r"no.a\.gpxj: there is no such file or folder"):
        Journal.create(tmp_path / "no" / "a.gpxj", {})
    with pytest.raises((JournalMissing, JournalPlace), match=r"aaaa: (the system refuses this place|there is no such)"):
        Journal.create(tmp_path / ("a" * 300), {})
    with pytest.raises(JournalPlace, match="can not name a file"):
        Journal.create(f"{tmp_path}/a\0b", {})
    with pytest.raises(JournalExists, match="exists already: go on with it"):
        Journal.create(tmp_path, {})
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises((JournalMissing, JournalPlace), match=r"file.a\.gpxj: (the system refuses|there is no such)"):
        Journal.create(tmp_path / "file" / "a.gpxj", {})
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() != 0, reason="needs a user for whom nothing is permitted")
def test_a_folder_or_file_without_permission(tmp_path):
    Journal.create(tmp_path / "a.gpxj", {}).close()
    os.chmod(tmp_path / "a.gpxj", 0o444)
    os.chmod(tmp_path, 0o555)
    # Somebody else may look into the folder, wherever the tests keep theirs.
    closed = {folder: folder.stat().st_mode for folder in tmp_path.parents if folder.stat().st_mode & LOOK != LOOK}
    for folder, mode in closed.items():
        os.chmod(folder, mode | LOOK)
    os.seteuid(65534)
    try:
        with pytest.raises(JournalPlace, match="does not permit it; change the permissions"):
            Journal.create(tmp_path / "b.gpxj", {})
        with pytest.raises(JournalPlace, match="does not permit it"):
            Journal.open(tmp_path / "a.gpxj")
        assert len(read(tmp_path / "a.gpxj").records) == 1
    finally:
        os.seteuid(0)
        for folder, mode in closed.items():
            os.chmod(folder, mode)
