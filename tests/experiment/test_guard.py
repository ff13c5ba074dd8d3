"""An instrument under guard: long pauses, failures in a row, and scalarizers that were mended."""

import os
import signal
import sys
import threading
import time

import numpy as np
import pytest
from guarded import Unplugged, guarded
from small_campaign import KEY, SEEDS, Noted, bits, cut_before_reading, go, records

from gpax_lab.core import InstrumentError
from gpax_lab.core._observations import FAILED, MEASURED
from gpax_lab.experiment import Simulated, run
from gpax_lab.experiment._signals import StopFlag

STEPS = 4


class MoveLost(InstrumentError):
    point_failed = True


def refuse(x, number):
    raise MoveLost("the stage stands at its end")


def test_what_is_no_instrument_is_refused_in_words(plain, path):
    class Bare:
        repeatable, safe = True, False

        def measure(self, x, token):
            return x  # pragma: no cover

        def make_safe(self):
            self.safe = True

    bare = Bare()
    with pytest.raises(TypeError, match=r"Bare is no instrument, it has no remembers_token, axes, limits, identity:"):
        go(path, plain, 1, bare)
    assert bare.safe


# --- failures in a row ------------------------------------------------------------------------------------------------


def test_a_stage_that_refuses_every_move_pauses_the_campaign_with_the_reason(plain, plain_end, path):
    instrument = Noted(lambda x, n: refuse(x, n) if n >= 4 else None)
    end = go(path, plain, 5, instrument, max_failures=3)
    assert (end.finished, end.steps) == (False, 4)
    assert "3 measurements in a row failed" in end.reason
    assert "the stage stands at its end" in end.reason
    assert len(instrument.tokens) == 4 + 3
    assert instrument.asked[-1] == ("safe", "")
    assert records(path, "stop")[-1].header == {"reason": end.reason, "finished": False}
    again = go(path, plain, 5)
    assert again.finished
    assert again.reason == "5 steps were tried; 3 of 8 measurements failed, seeds included"


def test_a_scalarizer_that_is_always_nan_is_noticed_among_the_seeds_and_measurements_are_kept(plain, plain_end, path):
    instrument = Noted()
    end = go(path, plain, STEPS, instrument, scalarize=lambda reading: np.nan, max_failures=2)
    assert (end.finished, end.steps, end.state) == (False, 0, None)
    assert "the scalarizer gave no finite value" in end.reason
    assert len(instrument.tokens) == 2
    again = go(path, plain, STEPS)  # repaired: the two measurements count, and nothing is measured twice
    assert again.finished
    assert bits(again.state) == bits(plain_end.state)
    assert [frame.header["value"] for frame in records(path, "reread")] == np.asarray(again.state.obs.y)[:2].tolist()


def test_failures_that_do_not_follow_each_other_do_not_pause(plain, path):
    end = go(path, plain, 4, Noted(lambda x, n: refuse(x, n) if n % 2 else None), max_failures=2)
    assert end.finished
    assert "all 4 steps" not in end.reason
    assert "3 of 7 measurements failed" in end.reason


def test_failures_are_counted_as_often_as_was_asked(plain, path):
    assert go(path, plain, 3, Noted(refuse), max_failures=None).finished
    with pytest.raises(ValueError, match="max_failures must be 1 or more"):
        go(path, plain, 3, max_failures=0)


# --- a scalarizer that was mended -------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [1, 4])
def test_a_scalarizer_that_raised_costs_no_measurement_once_it_is_mended(plain, plain_end, path, number):
    count = iter(range(100))

    def broken(reading):
        if next(count) == number:
            raise ZeroDivisionError("no area")
        return Simulated.scalarize(reading)

    with pytest.raises(ZeroDivisionError):
        go(path, plain, STEPS, scalarize=broken)
    before = len(records(path, "reading"))

    def still_broken(reading):
        raise ZeroDivisionError("no area")

    instrument = Noted()
    with pytest.raises(ZeroDivisionError):
        go(path, plain, STEPS, instrument, scalarize=still_broken)
    assert instrument.tokens == []
    instrument = Noted()
    end = go(path, plain, STEPS, instrument)
    assert bits(end.state) == bits(plain_end.state)
    assert len(instrument.tokens) == len(SEEDS) + STEPS - before
    assert len(records(path, "reread")) == 1


def test_measurements_that_failed_and_were_learned_as_failed_come_back(plain, path):
    blind = go(path, plain, 2, scalarize=lambda r: np.nan if r.position[0] < 0.6 else Simulated.scalarize(r))
    assert np.sum(np.asarray(blind.state.obs.status) == FAILED) >= 2
    end = go(path, plain, 4)
    status, y = np.asarray(end.state.obs.status), np.asarray(end.state.obs.y)
    assert np.sum(status == MEASURED) == len(SEEDS) + 4
    raw = [float(frame.arrays["raw/value"]) for frame in records(path, "reading")]
    assert y[status == MEASURED].tolist() == raw
    assert end.reason == "all 4 steps are done"
    for place in range(len(SEEDS) + 2, len(SEEDS) + 4):  # killed at any measurement after it, the same end
        other = path.with_name(f"{place}.gpxj")
        go(other, plain, 2, scalarize=lambda r: np.nan if r.position[0] < 0.6 else Simulated.scalarize(r))
        go(other, plain, 4)
        cut_before_reading(other, place)
        assert bits(go(other, plain, 4).state) == bits(end.state)


# --- pauses -----------------------------------------------------------------------------------------------------------


def test_it_is_safe_before_the_first_fit(plain, path):
    instrument = Noted()
    go(path, plain, 1, instrument)
    asked = [what for what, _ in instrument.asked]
    assert asked == ["measure"] * 3 + ["safe", "measure", "safe"]


def test_it_is_safe_during_a_pause_of_any_kind(plain, path):
    instrument, safe_at = Noted(), []

    def ponder(state):
        end = time.monotonic() + 20.0
        while instrument.asked[-1][0] != "safe" and time.monotonic() < end:
            time.sleep(0.001)
        safe_at.append(instrument.asked[-1][0])
        return ()

    end = go(path, plain, 2, instrument, hooks=[ponder], idle_s=0.05)
    assert end.finished
    assert safe_at == ["safe", "safe"]


def test_a_safe_state_that_is_refused_in_a_pause_is_told_before_the_next_measurement():
    class Stuck:
        def make_safe(self):
            raise RuntimeError("the tip does not come up")

    kept = guarded(Stuck(), idle_s=0.01)
    kept.rest()
    kept._timer.join()
    with pytest.raises(RuntimeError, match="does not come up"), kept.at_work():
        pass  # pragma: no cover


def test_nothing_is_made_safe_in_the_middle_of_a_measurement():
    class Slow:
        busy, collisions, safes = False, 0, 0

        def make_safe(self):
            self.collisions += self.busy
            self.safes += 1

    instrument = Slow()
    kept = guarded(instrument, idle_s=0.01)
    for turn in range(5):
        with kept.at_work():
            instrument.busy = True
            time.sleep(0.03)
            instrument.busy = False
        while instrument.safes <= turn:  # the idle instrument is made safe; else the test's own time limit ends this
            time.sleep(0.005)
    assert (instrument.safes, instrument.collisions) == (5, 0)
    timer = kept._timer
    kept.leave_safe()
    assert not timer.is_alive()


def test_ctrl_c_pressed_many_times_still_ends_safe():
    class Pressed:
        presses, safe = 7, False

        def make_safe(self):
            if self.presses:
                self.presses -= 1
                raise KeyboardInterrupt
            self.safe = True

    instrument = Pressed()
    with pytest.raises(KeyboardInterrupt):
        guarded(instrument).leave_safe()
    assert instrument.safe


def test_the_safe_state_at_the_end_is_waited_for(impatient):
    instrument = Unplugged(0, 3)
    instrument.out = True
    guarded(instrument, wait_s=60.0).leave_safe()
    assert instrument.asked == [("safe", "")]


def test_the_safe_state_comes_before_a_disk_that_does_not_answer(plain, path):
    order = []

    class Watched(Noted):
        def make_safe(self):
            order.append("safe")

    class Slow:
        history = ()

        def append(self, *entries):
            order.extend(entry[0] for entry in entries)

        def require_space(self, nbytes):
            raise OSError("the disk does not answer")

    with pytest.raises(OSError, match="does not answer"):
        run(plain, Watched(), Slow(), 1, seeds=SEEDS, key=KEY, scalarize=Simulated.scalarize)
    assert order == ["begin", "safe", "fault"]


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT to one process there")
def test_a_measurement_without_a_deadline_that_blocks_for_ever_ends_at_the_second_ctrl_c(plain, plain_end, path):
    reached, never = threading.Event(), threading.Event()

    def block(x, number):
        if number == 4:
            reached.set()
            while not never.wait(0.02):  # a signal right before an endless wait would not be seen in it
                pass

    def press():
        reached.wait()
        os.kill(os.getpid(), signal.SIGINT)
        while not stop:
            time.sleep(0.001)
        os.kill(os.getpid(), signal.SIGINT)

    instrument = Noted(block)
    thread = threading.Thread(target=press)
    with StopFlag() as stop:
        thread.start()
        with pytest.raises(KeyboardInterrupt, match="second request"):
            go(path, plain, STEPS, instrument, stop=lambda: bool(stop))
    thread.join()
    assert instrument.asked[-1] == ("safe", "")
    assert records(path, "fault")[-1].header["error"] == "KeyboardInterrupt"
    assert len(records(path, "reading")) == 4
    assert bits(go(path, plain, STEPS).state) == bits(plain_end.state)


def test_a_safe_state_that_was_refused_in_a_pause_is_in_the_journal_even_if_nothing_is_measured_after_it(plain, path):
    class Sticky(Noted):
        refused = 0

        def make_safe(self):
            super().make_safe()
            if len(self.tokens) == 4 and not self.refused:
                self.refused += 1
                raise RuntimeError("the tip does not come up")

    instrument = Sticky()

    def ponder(state):
        end = time.monotonic() + 20.0
        while len(instrument.tokens) == 4 and not instrument.refused and time.monotonic() < end:
            time.sleep(0.001)
        return ()

    end = go(path, plain, STEPS, instrument, hooks=[ponder], idle_s=0.05, stop=lambda: instrument.refused > 0)
    assert not end.finished
    assert instrument.asked[-1] == ("safe", "")
    (fault,) = records(path, "fault")
    assert fault.header["text"] == "the tip does not come up"
    assert fault.header["notes"] == ["It could not be made safe in a pause."]
