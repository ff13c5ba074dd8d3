"""start.py: what it says where it cannot work, and Ctrl-C, which belongs to the job alone."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

START = Path(__file__).parents[2] / "start.py"
JOB = """#!/bin/sh
trap 'sleep 0.3; echo made safe; exit 130' INT
echo begun
while :; do sleep 0.05; done
"""


def test_without_a_job_it_tells_what_there_is():
    done = subprocess.run([sys.executable, START, "dance"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "start.py demo" in done.stderr


@pytest.mark.skipif(os.name == "nt", reason="signals of a POSIX terminal")
def test_ctrl_c_is_left_to_the_job(tmp_path):
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.write_text(JOB)
    python.chmod(0o755)
    (tmp_path / "installed-app-live").touch()
    environment = os.environ | {"GPAX_LAB_VENV": str(tmp_path)}
    command = [sys.executable, START, "demo"]
    # A suite started in the background has SIGINT ignored, and a shell cannot trap what was ignored when it began.
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, process_group=0)
    finally:
        signal.signal(signal.SIGINT, before)
    with process:
        assert process.stdout.readline() == "begun\n"
        os.killpg(process.pid, signal.SIGINT)  # as the terminal does: to all of the foreground
        time.sleep(0.1)
        rest = process.stdout.read()
        assert (rest, process.wait(10)) == ("made safe\n", 130)


def test_python_m_gpax_lab_is_the_command_line():
    command, env = [sys.executable, "-m", "gpax_lab", "--help"], os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, cwd=START.parent, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "demo" in done.stdout
    assert "Usage: python -m gpax_lab" in done.stdout
