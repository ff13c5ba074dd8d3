import os
import signal
import subprocess
import sys
import threading
import time
import weakref

import pytest

from gpax_lab.experiment._signals import StopFlag, requests_to_end

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


@_POSIX
def test_a_second_request_that_python_dropped_is_raised_at_the_next_question(monkeypatch):
    dropped = []
    monkeypatch.setattr(sys, "unraisablehook", lambda what: dropped.append(what.exc_type))
    thing = StopFlag()
    kept = weakref.ref(thing, lambda _: signal.raise_signal(signal.SIGINT))
    with StopFlag() as stop:
        signal.raise_signal(signal.SIGINT)
        assert stop
        del thing  # an exception from a callback goes nowhere
        assert kept() is None
        assert dropped == [KeyboardInterrupt]
        with pytest.raises(KeyboardInterrupt, match="second request"):
            bool(stop)
    assert stop  # once it is left, the flag only tells


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
def test_every_signal_that_would_end_the_process_asks_for_a_stop():
    names = (
        "SIGHUP SIGQUIT SIGTERM SIGINT SIGXCPU SIGUSR1 SIGUSR2 SIGALRM SIGVTALRM SIGPROF SIGTSTP SIGIO SIGPWR SIGRTMIN"
    )
    wanted = {int(getattr(signal, name)) for name in names.split() if hasattr(signal, name)}
    free = {n for n in wanted if signal.getsignal(n) == signal.SIG_DFL} | {signal.SIGINT, signal.SIGTERM}
    assert free <= set(requests_to_end())
    for number in requests_to_end():
        before = signal.getsignal(number)
        with StopFlag() as stop:
            os.kill(os.getpid(), number)
            assert (bool(stop), stop.signal) == (True, number)
        assert signal.getsignal(number) == before


def test_signals_that_do_not_end_a_program_and_faults_of_it_are_left_alone():
    alone = ["SIGSEGV", "SIGABRT", "SIGFPE", "SIGILL", "SIGCHLD", "SIGWINCH", "SIGCONT", "SIGKILL", "SIGSTOP"]
    assert not {getattr(signal, name, None) for name in alone} & set(requests_to_end())


@pytest.fixture
def heard():
    """SIGHUP as a program finds it that was not started by `nohup`, whatever these tests were started by."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@_POSIX
def test_a_closing_terminal_may_say_it_more_than_once(heard):
    with StopFlag() as stop:
        for number in (signal.SIGHUP, signal.SIGHUP, signal.SIGTERM, signal.SIGHUP):
            os.kill(os.getpid(), number)
        assert stop.signal == signal.SIGHUP
        with pytest.raises(KeyboardInterrupt, match="second request"):
            os.kill(os.getpid(), signal.SIGINT)


@_POSIX
@pytest.mark.parametrize("handler", [signal.SIG_IGN, lambda *_: None], ids=["nohup", "own"])
def test_a_hang_up_that_somebody_cares_for_already_stays_theirs(handler):
    before = signal.signal(signal.SIGHUP, handler)
    try:
        with StopFlag() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not stop
            assert signal.getsignal(signal.SIGHUP) == handler
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_console_that_windows_closes_waits_until_the_flag_is_left():
    stop = StopFlag()
    answers = []
    thread = threading.Thread(target=lambda: answers.append(stop.closing(2)))
    with stop:
        assert stop.closing(0) is False  # Ctrl-C comes as a signal
        thread.start()
        while not stop:
            time.sleep(0.001)
        waiting = thread.is_alive(), list(answers)
    thread.join()
    assert waiting == (True, [])
    assert answers == [True]


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
from gpax_lab.experiment._signals import StopFlag
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
