"""The first connection: locked against a second campaign, waited for where nobody answers, ended where one hangs."""

import os
import signal
import socket
import sys
import tempfile
import threading
import time

import numpy as np
import pytest
from gpax_instruments.drivers import PFM
from gpax_instruments.errors import DeviceError, LinkLost
from gpax_instruments.twins import start_pfm
from typer.testing import CliRunner

from gpax_lab.experiment import _guard as guard
from gpax_lab.experiment._guard import Paused
from gpax_lab.settings import build, parse
from gpax_lab.settings._connect import connect
from gpax_lab.settings._files import to_toml
from gpax_lab.storage import Campaign, JournalError, read
from gpax_lab.storage._claim import InstrumentInUse, claimed

pytest.importorskip("matplotlib")
from gpax_lab.cli import _run_campaign as drive
from gpax_lab.cli._app import app

_POSIX = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")


@pytest.fixture(autouse=True)
def own_locks(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(guard, "FIRST_PAUSE_S", 0.05)


def settings_of(address, wait_s=0.0, **instrument):
    """A campaign that is never beyond its seeds here."""
    axis = {"low": 0.0, "high": 2e-6}
    return parse({
        "campaign": {"steps": 60, "seeds": 40, "wait_s": wait_s},
        "instrument": {"kind": "pfm", "address": address, "x": axis, "y": axis} | instrument,
        "sampler": {"kind": "laplace"},
    })  # fmt: skip


def ask(tmp_path, settings):
    """Exit status and text of `gpax-lab run`, in this process."""
    (tmp_path / "film.toml").write_text(to_toml(settings), encoding="utf-8")
    result = CliRunner().invoke(app, ["run", str(tmp_path / "film.toml"), "--out", str(tmp_path / "out")])
    return result.exit_code, result.output


def shown(journal):
    """What `gpax-lab show` says."""
    result = CliRunner().invoke(app, ["show", str(journal)])
    assert result.exit_code == 0, result.output
    return result.output


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as door:
        return door.getsockname()[1]


def when_lost(path, then, times=1):
    """A thread that does something once the journal says so often that the instrument is waited for; join it."""

    def look():
        end = time.monotonic() + 120.0  # not what is tested: a test that fails must end
        while time.monotonic() < end:
            try:
                if len(read(path).of("lost")) >= times:
                    break
            except JournalError:
                pass
            time.sleep(0.01)
        then()

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    return thread


def test_a_second_campaign_is_refused_before_it_sends_anything(tmp_path):
    with start_pfm(seed=1, wire_log=tmp_path / "wire.log") as twin:
        address = f"tcp://localhost:{twin.scpi_port}"
        with claimed(twin.address, "journal /data/film.gpxj"):
            code, text = ask(tmp_path, settings_of(address))
        assert code == 1
        held = f"{address} is in use by process {os.getpid()}, journal /data/film.gpxj"
        for words in (held, "sample. Everything measured so far is kept. Go on with: gpax-lab resume"):
            assert words in text
        assert (tmp_path / "wire.log").read_text(encoding="utf-8") == ""
        plan = build(settings_of(address))
        with connect(plan, "journal b") as device:
            assert "PFM" in device.identity()
            with pytest.raises(InstrumentInUse, match="journal b"), connect(plan):
                pass  # pragma: no cover
        with connect(plan):
            pass


def test_an_instrument_that_is_switched_on_later_is_waited_for(tmp_path):
    port, told, notes, twins = free_port(), [], [], []
    plan = build(settings_of(f"tcp://127.0.0.1:{port}", wait_s=60.0))

    def tell(text):
        told.append(text)
        twins.append(start_pfm(seed=1, port=port, wire_log=tmp_path / "wire.log"))

    try:
        with connect(plan, step=3, note=notes.append, callback=tell) as device:
            assert "PFM" in device.identity()
        sent = (tmp_path / "wire.log").read_text(encoding="utf-8")
    finally:
        for twin in twins:
            twin.stop()
    (text,) = told
    assert f"tcp://127.0.0.1:{port}: cannot connect" in text
    assert "It is waited for, up to 60 s; Ctrl-C ends the waiting." in text
    assert [(kind, step) for kind, step, _, _ in notes] == [("lost", 3), ("found", 3)]
    assert sent.index("SAFE") < sent.index("BIAS:WAV")  # before anything else
    assert sent.rindex("SAFE") > sent.rindex("BIAS:WAV")  # and when it is let go


def test_a_first_handshake_that_fails_again_belongs_to_the_waiting(tmp_path, monkeypatch):
    """It answers, is made safe, and is silent again before it has said what it is."""
    connect_once, failures, notes = PFM.connect, [LinkLost("silent"), LinkLost("silent"), LinkLost("silent")], []

    def connect_later(self):
        if failures:
            raise failures.pop()
        return connect_once(self)

    monkeypatch.setattr(PFM, "connect", connect_later)
    with start_pfm(seed=1) as twin, connect(build(settings_of(twin.address, 60.0)), note=notes.append) as device:
        assert "PFM" in device.identity()
    assert [kind for kind, *_ in notes] == ["lost", "found"]
    assert failures == []


def test_nobody_waits_for_ever_nor_where_no_time_was_given(tmp_path):
    address = f"tcp://127.0.0.1:{free_port()}"
    told, notes = [], []
    with pytest.raises(LinkLost), connect(build(settings_of(address)), callback=told.append, note=notes.append):
        pass  # pragma: no cover
    assert told == notes == []
    plan = build(settings_of(address, wait_s=0.2))
    with pytest.raises(LinkLost) as caught, connect(plan, callback=told.append, note=notes.append):
        pass  # pragma: no cover
    assert "It was waited for, 0.2 s." in caught.value.__notes__
    assert [kind for kind, *_ in notes] == ["lost"]
    with pytest.raises(Paused, match="stopped on request"), connect(plan, stop=lambda: True):
        pass  # pragma: no cover


def test_another_instrument_at_the_address_is_not_waited_for(tmp_path):
    def answer(door):
        with door.accept()[0] as line, line.makefile("rw", newline="\n") as stream:
            for words in stream:
                if "?" in words:
                    stream.write(f"{words.split('?')[1].split(';')[0].strip()};ACME,OSCILLOSCOPE\n")
                    stream.flush()

    with socket.create_server(("127.0.0.1", 0)) as door:
        thread = threading.Thread(target=answer, args=(door,))
        thread.start()
        address = f"tcp://127.0.0.1:{door.getsockname()[1]}"
        with pytest.raises(DeviceError, match="OSCILLOSCOPE"), connect(build(settings_of(address, wait_s=600.0))):
            pass  # pragma: no cover
        thread.join()


@_POSIX
def test_ctrl_c_ends_the_first_waiting(tmp_path):
    port = free_port()
    journal = tmp_path / "out" / "campaign.gpxj"
    thread = when_lost(journal, lambda: os.kill(os.getpid(), signal.SIGINT))
    code, text = ask(tmp_path, settings_of(f"tcp://127.0.0.1:{port}", wait_s=600.0))
    thread.join()
    assert code == 130, text
    assert "It is waited for, up to 600 s" in text
    assert f"Paused before the first fit. Go on with: gpax-lab resume {journal}" in text
    assert [frame.kind for frame in read(journal).records] == ["campaign", "lost", "stop", "timing"]
    assert read(journal).of("stop")[0].header["finished"] is False
    assert f"could not be reached after step 0: tcp://127.0.0.1:{port}: cannot connect" in shown(journal)
    picture = CliRunner().invoke(app, ["plot", str(journal)])  # of a campaign without a measurement
    assert (picture.exit_code, journal.with_suffix(".png").exists()) == (0, True), picture.output


@_POSIX
def test_ctrl_c_while_nobody_knows_how_a_killed_program_left_the_instrument_sends_a_person_to_it(tmp_path):
    port, journal = free_port(), tmp_path / "out" / "campaign.gpxj"
    interrupt = lambda: os.kill(os.getpid(), signal.SIGINT)  # noqa: E731
    thread = when_lost(journal, interrupt)
    assert ask(tmp_path, settings_of(f"tcp://127.0.0.1:{port}", wait_s=600.0))[0] == 130
    thread.join()
    with Campaign.open(journal) as campaign:  # it measured, and then came kill -9
        campaign.append(("intent", 0, {"token": "a", "phase": "seed"}, {"x": np.array([1e-6, 1e-6])}))
    thread = when_lost(journal, interrupt, 2)
    result = CliRunner().invoke(app, ["resume", str(journal)])
    thread.join()
    assert result.exit_code == 1, result.output
    words = "The instrument could not be made safe, because it was never reached: go to it"
    assert words in result.output
    assert words in read(journal).of("stop")[-1].header["reason"]


@_POSIX
@pytest.mark.parametrize("wait_s", [0.0, 600.0])
def test_an_instrument_that_hangs_ends_the_campaign_and_ctrl_c_works_meanwhile(tmp_path, monkeypatch, wait_s):
    """It accepts connections and never answers again: stopped in the middle of a loop."""
    show, journal = drive.Display.__call__, tmp_path / "out" / "campaign.gpxj"
    with start_pfm(seed=1) as twin:

        def hang(self, event):
            show(self, event)
            if event.phase == "seed" and event.step == 2:
                twin.process.send_signal(signal.SIGSTOP)

        monkeypatch.setattr(drive.Display, "__call__", hang)
        settings = settings_of(twin.address, wait_s, timeout_s=0.2, loop_timeout_s=0.5)
        thread = when_lost(journal, lambda: os.kill(os.getpid(), signal.SIGINT)) if wait_s else None
        try:
            code, text = ask(tmp_path, settings)
        finally:
            twin.process.send_signal(signal.SIGCONT)
        if thread is not None:
            thread.join()
    assert code == 1
    for words in ("no answer in time", "The instrument could not be made safe", "go to it", "gpax-lab resume"):
        assert words in text
    contents = read(journal)
    assert len(contents.of("reading")) == 2
    told = [" ".join([frame.header["text"], *frame.header.get("notes", ())]) for frame in contents.of("fault")]
    assert "no answer in time" in told[0]
    assert "The instrument could not be made safe: go to it." in told[-1]
    assert f"fault after step 0: {contents.of('fault')[-1].header['error']}: {told[-1]}" in shown(journal)
