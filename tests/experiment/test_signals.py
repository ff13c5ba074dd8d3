import os
import signal
import subprocess
import sys
import threading

import pytest

from gpax_lab.experiment.signals import StopFlag

_POSIX = pytest.mark.skipif(sys.platform == "win32", reason="Windows cannot send a signal to its own process")


def _handlers():
    return signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)


@_POSIX
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_is_a_flag_and_the_second_an_exception(number):
    before = _handlers()
    with StopFlag() as stop:
        assert not stop
        os.kill(os.getpid(), number)
        assert stop
        assert stop.signal == number
        with pytest.raises(KeyboardInterrupt, match="second request"):
            os.kill(os.getpid(), number)
    assert _handlers() == before


def test_handlers_are_given_back_after_an_exception():
    before = _handlers()

    def fail():
        with StopFlag():
            assert _handlers() != before
            raise ValueError("inside")

    with pytest.raises(ValueError, match="inside"):
        fail()
    assert _handlers() == before


@_POSIX
def test_a_stop_from_the_program_leaves_the_first_signal_harmless():
    with StopFlag() as stop:
        stop.set()
        assert stop
        assert stop.signal is None
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.signal == signal.SIGINT


def test_only_the_main_thread_may_enter():
    errors = []

    def enter():
        try:
            StopFlag().__enter__()
        except RuntimeError as error:
            errors.append(str(error))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert len(errors) == 1
    assert "main thread" in errors[0]


def test_it_cannot_be_entered_twice_at_once():
    before = _handlers()
    with StopFlag() as stop, pytest.raises(RuntimeError, match="already"):
        stop.__enter__()
    assert _handlers() == before


_LOOP = """
import signal, sys, time
from gpax_lab.experiment.signals import StopFlag
signal.signal(signal.SIGINT, signal.SIG_IGN)
with StopFlag() as stop:
    print("ready", flush=True)
    while not stop:
        time.sleep(0.01)
print("stopped between steps", flush=True)
"""


@_POSIX
def test_a_process_that_ignored_the_signal_stops_between_steps():
    with subprocess.Popen([sys.executable, "-c", _LOOP], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        assert process.stdout.read() == "stopped between steps\n"
    assert process.returncode == 0
