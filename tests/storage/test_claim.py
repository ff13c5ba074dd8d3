"""One program at a time at an instrument, whichever way its address is written."""

import os
import signal
import socket
import subprocess
import sys
import tempfile

import pytest

from gpax_lab.storage import _claim as claim
from gpax_lab.storage import _lock as lock
from gpax_lab.storage._claim import InstrumentInUse, claimed, names

ADDRESS = "tcp://127.0.0.1:5025"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path / "gpax-lab-instruments"


def test_one_instrument_has_one_name():
    assert names(" tcp://127.0.0.1:5025/") == names(ADDRESS) == (ADDRESS,)
    assert set(names(ADDRESS)) <= set(names("tcp://LocalHost:5025"))
    assert names("tcp://nobody.invalid:1") == names("TCP://Nobody.invalid:1") == ("tcp://nobody.invalid:1",)
    assert names("tcp://127.0.0.1:5026") != names(ADDRESS)
    assert (
        names("tango://127.0.0.1:1/a/b/C#dbase=no")
        == names("tango://127.0.0.1:1/a/b/c")
        == ("tango://127.0.0.1:1/a/b/c",)
    )
    assert names("tango://127.0.0.1:1/a/b/d") != names("tango://127.0.0.1:1/a/b/c")
    visa = names("TCPIP0::10.0.0.7::hislip0::INSTR")
    assert names("tcpip::10.0.0.7::HISLIP0::instr ") == visa
    assert names("TCPIP1::10.0.0.7::hislip0::INSTR") != visa
    assert set(names("TCPIP::127.0.0.1::INSTR")) < set(names("TCPIP::LocalHost::instr"))
    assert names("TCPIP::127.0.0.1::5025::SOCKET") == names(ADDRESS)  # one and the same socket
    assert names("TCPIP0::[::1]::5025::SOCKET") == ("tcp://::1:5025",)
    assert names("gpib::7::instr") == ("GPIB0::7::INSTR",)
    assert names("tcp://[") == ("TCP://[",)  # what can not be understood is refused later, by the link


def test_a_second_one_is_refused_and_told_by_whom_until_the_first_has_gone(folder):
    with claimed(ADDRESS, "journal /data/film.gpxj"):
        words = rf"tcp.* is in use by process {os.getpid()}, journal /data/film\.gpxj: stop that campaign"
        for address in (ADDRESS, "tcp://localhost:5025"):
            with pytest.raises(InstrumentInUse, match=words), claimed(address, "journal b"):
                pass  # pragma: no cover
        with claimed("tcp://127.0.0.1:5026", "journal b"):
            assert len(list(folder.iterdir())) == 2
    assert list(folder.iterdir()) == []
    with claimed(ADDRESS, "journal b"):
        pass


@pytest.mark.parametrize("address", ["tcp://lab-pfm:5025", "TCPIP::lab-pfm::hislip0::INSTR"])
@pytest.mark.parametrize("first", [True, False])
def test_a_name_that_has_a_number_only_some_of_the_time_is_one_instrument(monkeypatch, address, first):
    known = [first]

    def look_up(*args, **options):
        if known[0]:
            return [(2, 1, 6, "", ("10.0.0.5", 0))]
        raise socket.gaierror(-3, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    with claimed(address, "journal a"):
        known[0] = not first
        with pytest.raises(InstrumentInUse, match="journal a"), claimed(address, "journal b"):
            pass  # pragma: no cover


def test_a_journal_whose_name_is_no_text_holds_its_instrument_too():
    who = "journal /data/caf\udce9.gpxj"  # what Python makes of a name in Latin-1
    words = pytest.raises(InstrumentInUse, match=r"journal /data/caf\?\.gpxj")
    with claimed(ADDRESS, who), words, claimed(ADDRESS, who):
        pass  # pragma: no cover


_HOLD = """
import sys
from gpax_lab.storage._claim import claimed
with claimed(sys.argv[1], "journal c"):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="kill -9")
def test_a_killed_program_holds_nothing(folder):
    command = [sys.executable, "-c", _HOLD, ADDRESS]
    environment = os.environ | {"TMPDIR": str(folder.parent)}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout.readline() == "held\n"
        with pytest.raises(InstrumentInUse, match=f"process {process.pid}, journal c"), claimed(ADDRESS, "journal b"):
            pass  # pragma: no cover
        process.send_signal(signal.SIGKILL)
    assert len(list(folder.iterdir())) == 1  # what it left is in nobody's way
    with claimed(ADDRESS, "journal b"):
        pass
    assert list(folder.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="an open file keeps its name there")
def test_a_file_that_lost_its_name_before_it_was_locked_is_no_lock(folder, monkeypatch):
    real, opened = lock.acquired, []

    def late(descriptor):
        opened.append(descriptor)
        if len(opened) == 1:  # whoever had it leaves now, and removes the file
            (path,) = folder.iterdir()
            path.unlink()
        return real(descriptor)

    monkeypatch.setattr(lock, "acquired", late)
    with claimed(ADDRESS, "journal a"):
        monkeypatch.undo()
        monkeypatch.setattr(tempfile, "tempdir", str(folder.parent))
        assert len(opened) == 2
        with pytest.raises(InstrumentInUse), claimed(ADDRESS, "journal b"):
            pass  # pragma: no cover


def test_where_no_lock_can_be_taken(folder, monkeypatch):
    folder.write_bytes(b"")
    with pytest.raises(OSError, match=r"no lock for tcp.* can be taken at .*TMPDIR"), claimed(ADDRESS, "journal a"):
        pass  # pragma: no cover
    folder.unlink()
    monkeypatch.setattr(tempfile, "tempdir", str(folder / "nowhere"))
    with pytest.raises(OSError, match=r"no lock for tcp.* can be taken at .*TMPDIR"), claimed(ADDRESS, "journal a"):
        pass  # pragma: no cover
    monkeypatch.setattr(tempfile, "tempdir", str(folder.parent))

    def none(descriptor):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(lock, "acquired", none)
    with pytest.raises(OSError, match="Operation not supported"), claimed(ADDRESS, "journal a"):
        pass  # pragma: no cover
    assert claim._told(folder / "nothing") == "another program"
