"""Clocks that jump, a machine that sleeps, and a process that is stopped for longer than every deadline."""

import itertools
import os
import re
import signal
import subprocess
import sys
import threading
import time

import pytest
from gpax_instruments.twins import start_pfm
from small_campaign import KEY, SEEDS, Noted, bits, go, records

from gpax_lab.experiment import Simulated, run
from gpax_lab.experiment import _guard as guard
from gpax_lab.experiment._suspended import BEAT_S, STILL_S, Watch, now
from gpax_lab.settings import parse
from gpax_lab.settings._files import to_toml
from gpax_lab.storage import Campaign, read
from gpax_lab.storage._journal import Clock, Journal

STEPS = 4
HOUR_S = 3600.0


def test_the_clock_never_goes_back_and_is_that_of_journals():
    times = [now() for _ in range(1000)]
    assert times == sorted(times)
    assert Clock().monotonic is now


def test_a_watch_counts_what_is_late_and_not_what_is_only_slow():
    seconds = iter([0.0, 0.0, STILL_S, 2 * STILL_S, 2 * STILL_S + HOUR_S, 2 * STILL_S + HOUR_S + 2.0])
    watch = Watch(lambda: next(seconds))
    assert watch.seconds == 0.0  # nobody has begun to look
    watch.start()
    try:
        assert [watch.seconds, watch.seconds] == [0.0, 0.0]
        assert watch.untold() == HOUR_S - BEAT_S
        assert watch.untold() == 0.0
    finally:
        watch.end()


def test_a_wall_clock_that_is_set_by_hours_changes_nothing(plain, plain_end, tmp_path):
    """Forward, then backward by twice as much, then forward again, in the midst of a campaign."""
    jumps = [0.0] * 4 + [5 * HOUR_S] * 5 + [-5 * HOUR_S] * 5
    wall = (time.time() + shift for shift in itertools.chain(jumps, itertools.repeat(9 * HOUR_S)))
    instrument, path = Noted(), tmp_path / "a.gpxj"
    with Campaign(Journal.create(path, {}, clock=Clock(time.monotonic, lambda: next(wall)))) as campaign:
        end = run(plain, instrument, campaign, STEPS, seeds=SEEDS, key=KEY, scalarize=Simulated.scalarize, wait_s=60.0)
    assert bits(end.state) == bits(plain_end.state)
    every = read(path).records
    assert {round((frame.wall - time.time()) / HOUR_S) for frame in every} == {0, 5, -5, 9}
    elapsed = [frame.monotonic - every[0].monotonic for frame in every]
    assert elapsed == sorted(elapsed)
    assert elapsed[-1] < HOUR_S
    assert all(0.0 <= frame.header["seconds"] < HOUR_S for frame in records(path, "reading"))
    assert len(set(instrument.tokens)) == len(instrument.tokens) == len(SEEDS) + STEPS
    assert records(path, "suspended", "lost", "fault") == ()


@pytest.mark.parametrize("at", ["within a measurement", "between two"])
def test_after_the_machine_slept_it_begins_from_the_safe_state(plain, plain_end, tmp_path, monkeypatch, at):
    slept, done = [0.0], []
    monkeypatch.setattr(guard, "now", lambda: time.monotonic() + slept[0])

    def sleep(*_):
        if len(instrument.tokens) == 5 and not done:
            done.append(slept.__setitem__(0, 3 * HOUR_S))

    def sleep_in_a_fit(state):
        sleep()
        return ()

    instrument, path = Noted(sleep if at == "within a measurement" else lambda x, n: None), tmp_path / "a.gpxj"
    hooks = [] if at == "within a measurement" else [sleep_in_a_fit]
    end = go(path, plain, STEPS, instrument, hooks=hooks, idle_s=HOUR_S, wait_s=1.0)
    assert bits(end.state) == bits(plain_end.state)
    (told,) = records(path, "suspended")
    assert told.header["seconds"] == pytest.approx(3 * HOUR_S, abs=60.0)
    assert all(frame.header["seconds"] < 60.0 for frame in records(path, "reading"))
    assert len(set(instrument.tokens)) == len(instrument.tokens) == len(SEEDS) + STEPS
    number = [i for i, (what, _) in enumerate(instrument.asked) if what == "measure"][4]
    assert instrument.asked[number + 1][0] == "safe"


def test_an_instrument_that_was_idle_for_too_long_unseen_is_made_safe_before_it_is_used(monkeypatch):
    """The timer had no time to run: the process was stopped, for less than what counts as standing still."""
    seconds = [0.0]
    monkeypatch.setattr(guard, "now", lambda: seconds[0])
    instrument = Noted()
    kept = guard.Guard(instrument, (ConnectionError,), 0.0, 4.0, lambda: False, [].append)
    for late, asked in ((3.9, []), (4.1, [("safe", "")])):
        kept.rest()
        seconds[0] += late
        with kept.at_work():
            assert instrument.asked == asked
    kept.leave_safe()
    kept.watch.end()


def test_a_lost_instrument_is_waited_for_while_this_process_runs(monkeypatch):
    """Eight hours of sleep are no part of the ten seconds that it is given."""
    seconds, notes = itertools.count(0.0, 0.5), []
    slept = [0.0]
    monkeypatch.setattr(guard, "now", lambda: next(seconds) + slept[0])
    monkeypatch.setattr(guard.time, "sleep", lambda s: None)

    class Away(Noted):
        def make_safe(self):
            super().make_safe()
            slept[0] = 8 * HOUR_S
            if len(self.asked) < 3:
                raise ConnectionError("not yet")

    kept = guard.Guard(Away(), (ConnectionError,), 60.0, None, lambda: False, notes.append)
    try:
        kept.await_return(ConnectionError("the cable is out"), 2)
    finally:
        kept.watch.end()
    assert [(kind, step) for kind, step, _, _ in notes] == [("lost", 2), ("found", 2)]
    assert notes[1][2]["seconds"] < 60.0


_PATIENT = """
from gpax_lab.experiment import _suspended as suspended
suspended.BEAT_S, suspended.STILL_S = 0.1, 2.0
from gpax_lab.cli import main
main()
"""


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="no such signal")
def test_a_process_that_is_stopped_for_longer_than_every_deadline_goes_on(tmp_path):
    axis, stop_s = {"low": 0.0, "high": 2e-6}, 4.0
    with start_pfm(seed=1, dwell=0.1, wire_log=tmp_path / "wire.log") as twin:
        instrument = {"address": twin.address, "x": axis, "y": axis, "timeout_s": 2.5, "loop_timeout_s": 2.5}
        settings = {
            "campaign": {"steps": 60, "seeds": 40, "wait_s": 1.0, "idle_s": 1.0},
            "instrument": {"kind": "pfm"} | instrument,
            "sampler": {"kind": "laplace"},
        }
        (tmp_path / "film.toml").write_text(to_toml(parse(settings)), encoding="utf-8")
        words = [sys.executable, "-u", "-c", _PATIENT, "run", "film.toml", "--out", "out"]
        environment = os.environ | {"TMPDIR": str(tmp_path)}
        pipe = subprocess.PIPE
        with subprocess.Popen(words, cwd=tmp_path, env=environment, stdout=pipe, stderr=pipe, text=True) as process:
            rescue = threading.Timer(120.0, process.kill)  # not what is tested: a test that fails must end
            rescue.start()
            lines = iter(process.stdout.readline, "")
            next(line for line in lines if line.startswith("seed 3/40"))
            process.send_signal(signal.SIGSTOP)
            time.sleep(stop_s)
            woken = time.monotonic()
            process.send_signal(signal.SIGCONT)
            next(line for line in lines if line.startswith("seed 8/40"))
            process.send_signal(signal.SIGTERM)
            assert process.wait() == 128 + signal.SIGTERM, process.stderr.read()
            rescue.cancel()
            rescue.join()
    path = tmp_path / "out" / "campaign.gpxj"
    still = max(frame.header["seconds"] for frame in records(path, "suspended"))
    assert stop_s - 0.5 < still < stop_s + 2.0
    readings = records(path, "reading")
    assert all(frame.header["ok"] for frame in readings)
    assert all(frame.header["seconds"] < stop_s for frame in readings)
    tokens = [frame.header["token"] for frame in readings]
    assert len(set(tokens)) == len(tokens) == len(records(path, "intent"))
    log = (tmp_path / "wire.log").read_text(encoding="utf-8")
    acts = re.findall(r'MEAS:LOOP "([^"]+)"', log)
    assert acts == tokens  # each once
    later = [line for line in log.splitlines() if float(line.split()[0]) >= woken]
    what = [word for line in later for word in ("SAFE", "MEAS:LOOP") if word in line]
    assert "SAFE" in what[:2]  # before anything new; what was under way has ended first
