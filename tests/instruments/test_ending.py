"""A simulated instrument lives as long as its owner: signals, pipes, parents and clocks that end it, or do not."""

import math
import os
import signal
import subprocess
import sys
import time

import pytest
from gpax_instruments.twins import pfm, stem

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")

SHELL = """
import os
from gpax_instruments.twins import _process as process
ending = process.Ending({owner}, {seconds})
print("ready", flush=True)
ending.wait()
print("ended", flush=True)
"""
"""What ends a twin, without the seconds that its physics takes."""


def shell(owner="None", seconds="float('inf')"):
    """A process that only waits for its end, once it is ready."""
    code = SHELL.format(owner=owner, seconds=seconds)
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout.readline().strip() == b"ready"
    return process


def ended(process):
    """Its last words, and its status."""
    with process:
        out, _ = process.communicate(timeout=20)
        return out.strip(), process.returncode


@pytest.mark.parametrize("module", [pfm, stem])
def test_without_a_word_it_lives_for_ever(module):
    assert math.isinf(module.parser().parse_args([]).max_seconds)
    assert module.parser().parse_args(["--max-seconds", "3"]).max_seconds == 3.0


@POSIX
@pytest.mark.parametrize("number", ["SIGTERM", "SIGHUP", "SIGINT"])
def test_one_that_nobody_owns_ends_by_every_signal(number):
    process = shell()
    process.send_signal(getattr(signal, number))
    assert ended(process) == (b"ended", 0)


@POSIX
def test_one_with_an_owner_leaves_the_terminal_to_it():
    process = shell(owner=os.getpid())
    for number in (signal.SIGHUP, signal.SIGINT):
        process.send_signal(number)
    time.sleep(0.2)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert ended(process) == (b"ended", 0)


def test_it_ends_with_the_pipe_of_its_owner_and_with_its_time():
    process = shell(owner=os.getpid())
    assert process.poll() is None
    assert ended(process) == (b"ended", 0)  # communicate closes the pipe
    assert ended(shell(seconds="0.1")) == (b"ended", 0)


@POSIX
def test_it_ends_with_the_process_that_started_it_though_a_child_of_that_holds_the_pipe():
    code = (
        "import os, subprocess, sys, time\n"
        f"words = [sys.executable, '-c', {SHELL.format(owner='os.getppid()', seconds='60')!r}]\n"
        "twin = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)\n"
        "assert twin.stdout.readline().strip() == b'ready'\n"
        "if os.fork() == 0:\n"
        "    print(twin.stdout.readline().strip().decode(), flush=True)\n"  # holds the pipe, and is told the end
        "    os._exit(0)\n"
        "time.sleep(0.5)\n"
        "os._exit(1)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as owner:
        assert owner.wait(20) == 1
        assert owner.stdout.readline().strip() == b"ended"


@POSIX
def test_no_instant_of_a_signal_can_hang_it():
    """Signals follow each other while it begins to wait, waits, and ends; after that they are the system's."""
    for _ in range(5):
        process = shell()
        for _ in range(200):
            process.send_signal(signal.SIGTERM)
            if process.poll() is not None:
                break
        assert process.wait(20) in (0, -signal.SIGTERM)
        ended(process)


@POSIX
def test_a_signal_before_it_waits_and_while_the_thread_holds_a_lock_is_heard():
    code = (
        "import signal, threading\n"
        "from gpax_instruments.twins._process import Ending\n"
        "ending, lock = Ending(None, float('inf')), threading.Lock()\n"
        "with lock:\n"
        "    signal.raise_signal(signal.SIGTERM)\n"
        "ending.wait()\n"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=20, check=False).returncode == 0


@POSIX
def test_a_second_signal_ends_one_that_is_stuck_in_its_end():
    code = (
        "import signal, time\n"
        "from gpax_instruments.twins._process import Ending\n"
        "ending = Ending(None, float('inf'))\n"
        "print('ready', flush=True)\n"
        "ending.wait()\n"
        "print('ending', flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.stdout.readline().strip() == b"ready"
        process.send_signal(signal.SIGTERM)
        assert process.stdout.readline().strip() == b"ending"
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == -signal.SIGTERM
