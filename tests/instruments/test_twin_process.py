"""The process of a simulated microscope: how it begins, is busy, logs, and ends."""

import json
import signal
import subprocess
import sys

import numpy as np
import pytest
from gpax_instruments.twins import start_pfm
from gpax_instruments.twins._dialect import Dialect, split
from raw_socket import AMPLE, Raw


def test_busy_drift_log_and_the_end_on_sigterm(tmp_path):
    log = tmp_path / "wire.log"
    with start_pfm(seed=1, noise=0.0, drift=5e-8, dwell=0.5, wire_log=log) as twin:
        raw = Raw(twin.scpi_port)
        # One line, which nothing but the loop's own half second can delay.
        line = 'BIAS:WAV 8,64;MOVE 1e-6,1e-6;MEAS:LOOP "one";STAT?;LOOP:TOK?;MOVE 1e-7,1e-7;MEAS:LOOP "two"'
        assert raw.ask(line) == 'BUSY;""'
        assert raw.ask("SYST:ERR?;SYST:ERR?") == '-221,"Settings conflict";-213,"Init ignored"'
        assert raw.ask("*OPC?;STAT?;LOOP:TOK?") == '1;IDLE;"one"'
        first, before = np.frombuffer(raw.block("LOOP:DATA?"), "<f4"), raw.ask("POS?")
        raw.send('MEAS:LOOP "three"')
        assert raw.ask("*OPC?;POS?") == f"1;{before}"  # the sample drifts, the read-back does not
        assert np.abs(np.frombuffer(raw.block("LOOP:DATA?"), "<f4") - first).max() > 0.01
        assert (
            raw.ask('MEAS:LOOP "four";SAFE;STAT?;LOOP:TOK?;TIP?;BIAS?') == 'IDLE;"three";WITHDRAWN;0.0'
        )  # the loop was cut short
        raw.send('MEAS:LOOP "four"')
        assert raw.ask("SYST:ERR?") == '-221,"Settings conflict"'  # and its pulse had begun
        raw.send("SAFE")
        raw.ask("*OPC?")
        lines = [line.split(" ", 2) for line in log.read_text().splitlines()]
        assert [channel for _, channel, _ in lines] == ["scpi"] * len(lines)
        assert [text for _, _, text in lines[-2:]] == ["SAFE", "*OPC?"]
        stamps = [float(stamp) for stamp, _, _ in lines]
        assert stamps == sorted(stamps)
        if sys.platform != "win32":
            twin.process.send_signal(signal.SIGINT)  # for the owner, not for the twin
            assert raw.ask("*OPC?") == "1"
            twin.process.send_signal(signal.SIGTERM)
            assert twin.process.wait(AMPLE) == 0
        raw.socket.close()


def test_it_ends_after_its_time():
    command = [sys.executable, "-m", "gpax_instruments.twins.pfm", "--max-seconds", "0.1"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=True)
    assert set(json.loads(done.stdout)) == {"scpi", "hislip", "pid"}


def test_a_twin_that_cannot_start_says_why():
    with pytest.raises(RuntimeError, match="unrecognized arguments: --colour=red"):
        start_pfm(colour="red")


def test_splitting_respects_quotes():
    assert split("A \"x;y\";B ';'", ";") == ['A "x;y"', "B ';'"]
    dialect = Dialect()
    assert dialect.execute(b"SYST:TAG? 1;NO;:syst:tag? 2;;") == ["1", "2"]
    assert list(dialect.errors) == [-113, -113, -113]
