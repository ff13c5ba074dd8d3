"""A terminal that is closed while a campaign runs: nobody reads any more, and the instrument is made safe."""

import os
import re
import signal
import socket
import subprocess
import sys
from functools import partial

import pytest
from gpax_instruments.twins import start_pfm

from gpax_lab.settings import parse
from gpax_lab.settings._files import to_toml
from gpax_lab.storage import read

pytest.importorskip("matplotlib")
from gpax_lab.cli._terminal import Patient, consoles

_POSIX = pytest.mark.skipif(sys.platform == "win32", reason="signals and pipes of POSIX")


def settings_of(twin):
    """A campaign that is far from its end, on a microscope that somebody else started."""
    axis = {"low": 0.0, "high": 2e-6}
    return parse({
        "campaign": {"steps": 60, "seeds": 40},
        "instrument": {"kind": "pfm", "address": twin.address, "x": axis, "y": axis},
        "sampler": {"kind": "laplace"},
    })  # fmt: skip


def ask(twin, question):
    """The answer to one query of somebody who comes later."""
    with socket.create_connection(("127.0.0.1", twin.scpi_port), 5.0) as door:
        door.sendall(f"{question}\n".encode())
        return door.makefile().readline().strip()


@_POSIX
@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR1])
def test_a_terminal_that_closes_leaves_the_tip_up_and_a_campaign_that_goes_on(tmp_path, environment, number, request):
    # As a program finds it that was not started by `nohup`, whatever these tests were started by.
    request.addfinalizer(partial(signal.signal, number, signal.signal(number, signal.SIG_DFL)))
    ours, theirs = os.openpty()
    with start_pfm(seed=1, dwell=0.2) as twin:
        (tmp_path / "film.toml").write_text(to_toml(settings_of(twin)), encoding="utf-8")
        words = [sys.executable, "-c", "from gpax_lab.cli import main; main()", "run", "film.toml", "--out", "out"]
        process = subprocess.Popen(
            words, cwd=tmp_path, env=environment, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
        )
        os.close(theirs)
        try:
            seen = b""
            while not re.search(rb"seed \d+/40", seen):
                seen += os.read(ours, 4096)
            assert ask(twin, "TIP?") == "ENGAGED"
            os.close(ours)  # what is written to it from now on is an error
            process.send_signal(number)
            assert process.wait(60) == 128 + number
        finally:
            process.kill()
            process.wait()
        assert (ask(twin, "TIP?"), float(ask(twin, "BIAS?"))) == ("WITHDRAWN", 0.0)
    contents = read(tmp_path / "out" / "campaign.gpxj")
    assert contents.ignored == 0
    stop = contents.records[-2]
    assert (stop.kind, stop.header["finished"]) == ("stop", False)
    assert len(contents.of("intent")) == len(contents.of("reading")) < 40
    assert contents.of("fault") == ()


@_POSIX
def test_what_nobody_reads_is_no_error():
    reader, writer = os.pipe()
    os.close(reader)
    stream = Patient(os.fdopen(writer, "w", buffering=1))
    assert stream.write("seed 1/5\n") == 9
    assert stream.gone
    assert not stream.isatty()
    stream.write("seed 2/5\n")
    stream.flush()
    os.write(writer, b"by others")  # now goes nowhere
    stream.close()
    stream.flush()


@_POSIX
def test_a_console_without_a_reader_goes_on(monkeypatch):
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as gone:
        monkeypatch.setattr(sys, "stdout", gone)
        console, _ = consoles()
        for n in range(3):  # of its own, rich ends the program here
            console.print(f"step {n}")
