"""An instrument under guard whose questions, pauses and returns go wrong: it is made safe all the same."""

import math
import shutil
import sys
import tempfile
import threading
from types import SimpleNamespace

import pytest
from small_campaign import SEEDS, Noted, bits, go, records

from gpax_lab.experiment import _guard as guard
from gpax_lab.experiment._guard import Guard, Paused, leave_safe
from gpax_lab.experiment._identity import description, recognised
from gpax_lab.storage._errors import JournalMissing

STEPS = 2
LOST = (ConnectionError,)


@pytest.fixture
def seconds(monkeypatch):
    """A clock that goes on only while somebody sleeps."""
    passed = [0.0]

    def sleep(s):
        passed[0] += s

    monkeypatch.setattr(guard, "now", lambda: passed[0])
    monkeypatch.setattr(guard.time, "sleep", sleep)
    return passed


class Away:
    """Can not be made safe the first few times that it is asked."""

    def __init__(self, times):
        self.times, self.asked, self.safe = times, 0, threading.Event()

    def make_safe(self):
        self.asked += 1
        if self.asked <= self.times:
            raise ConnectionError("the cable is out")
        self.safe.set()


class Notes:
    history = ()

    def __init__(self):
        self.entries = []

    def append(self, *entries):
        self.entries.extend(entries)

    def kinds(self):
        return [entry[0] for entry in self.entries]


def guarded(instrument, notes=None, **options):
    given = {"lost": LOST, "wait_s": 60.0, "idle_s": None, "stop": lambda: False}
    return Guard(instrument, note=(notes or Notes()).append, **given | options)


def unreachable():
    raise ConnectionError("nobody answers how many shots are left")


# --- questions and times that go wrong --------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{"stop": unreachable}, {"wait_s": None}, {"wait_s": math.nan}, {"wait_s": "1"}])
def test_nothing_is_asked_before_the_safe_state_is_tried(options):
    instrument, notes, error = Away(0), Notes(), RuntimeError("what ended it")
    leave_safe(guarded(instrument, notes, **options), notes, 1, error)
    assert instrument.safe.is_set()
    assert not hasattr(error, "__notes__")
    assert notes.kinds() == ["fault"]


@pytest.mark.parametrize("wait_s", [None, math.nan, "1"])
def test_what_is_no_time_is_not_waited(seconds, wait_s):
    kept = guarded(Away(10**9), wait_s=wait_s)
    with pytest.raises(ConnectionError):
        kept.leave_safe()
    with pytest.raises(ConnectionError):
        kept.await_return(ConnectionError("the cable is out"), 0)
    assert seconds == [0.0]


@pytest.mark.parametrize("leaving", [True, False])
def test_a_stop_that_can_not_be_asked_ends_no_waiting(seconds, leaving):
    instrument = Away(3)
    kept = guarded(instrument, stop=unreachable)
    if leaving:
        kept.leave_safe()
    else:
        kept.await_return(ConnectionError("the cable is out"), 0)
    kept.watch.end()
    assert instrument.safe.is_set()


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"max_failures": 0}, "max_failures must be 1 or more"),
        ({"max_failures": math.nan}, "max_failures must be 1 or more"),
        ({"wait_s": None}, "wait_s must be seconds"),
        ({"wait_s": math.nan}, "wait_s must be seconds"),
        ({"wait_s": -1.0}, "wait_s must be seconds"),
        ({"idle_s": math.nan}, "idle_s must be seconds"),
        ({"idle_s": math.inf}, "idle_s must be seconds"),
        ({"idle_s": "10"}, "idle_s must be seconds"),
    ],
)
def test_options_that_mean_nothing_are_refused_and_the_instrument_is_left_safe(plain, path, wrong, words):
    instrument = Noted()
    with pytest.raises(ValueError, match=words):
        go(path, plain, 1, instrument, **wrong)
    assert instrument.asked == [("safe", "")]


def test_a_stop_request_ends_the_last_waiting_after_one_more_attempt(seconds):
    instrument, notes = Away(10**9), Notes()
    kept = guarded(instrument, notes, wait_s=3600.0, stop=lambda: seconds[0] >= 10.0)
    with pytest.raises(ConnectionError):
        kept.leave_safe(7)
    assert 10.0 <= seconds[0] < 11.0
    assert [(kind, step) for kind, step, *_ in notes.entries] == [("lost", 7)]
    before = instrument.asked
    with pytest.raises(ConnectionError):  # asked for already: one attempt
        kept.leave_safe()
    assert instrument.asked == before + 1


def test_the_last_waiting_ends_with_its_time_and_is_told(seconds):
    notes, instrument = Notes(), Away(4)
    guarded(instrument, notes).leave_safe(7)
    assert notes.kinds() == ["lost", "found"]
    assert instrument.safe.is_set()
    with pytest.raises(ConnectionError):
        guarded(Away(10**9), wait_s=50.0).leave_safe()
    assert seconds[0] == pytest.approx(0.5 + 1.0 + 2.0 + 4.0 + 50.0)


@pytest.mark.skipif(sys.platform == "win32", reason="a folder with an open file can not be removed there")
def test_who_removes_the_folder_of_a_campaign_is_told_where_its_entries_are(plain, tmp_path, monkeypatch):
    folder, rescued = tmp_path / "campaign", tmp_path / "rescued"
    folder.mkdir()
    rescued.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(rescued))

    def remove(event):
        if event.phase == "learn" and event.step == 1:
            shutil.rmtree(folder)

    with pytest.raises(JournalMissing) as caught:
        go(folder / "a.gpxj", plain, STEPS, callback=remove)
    (rescue,) = rescued.glob("a.rescue*")
    assert any(str(rescue) in note for note in caught.value.__notes__)
    assert len(records(rescue, "reading")) == len(SEEDS) + 1


# --- pauses -----------------------------------------------------------------------------------------------------------


def test_a_link_that_fails_once_in_a_pause_does_not_leave_the_tip_down(impatient):
    instrument = Away(3)
    kept = guarded(instrument, idle_s=0.01)
    kept.rest()
    assert instrument.safe.wait(20.0)
    with pytest.raises(ConnectionError), kept.at_work():  # whoever uses it next hears of it: it may be another one
        pass  # pragma: no cover
    kept._halt()


def test_a_lost_instrument_in_a_pause_is_let_go_when_somebody_wants_it(monkeypatch):
    monkeypatch.setattr(guard, "FIRST_PAUSE_S", 1000.0)
    instrument = Away(10**9)
    kept = guarded(instrument, idle_s=0.0)
    kept.rest()
    timer = kept._timer
    while kept._fault is None:
        guard.time.sleep(0.001)
    kept._halt()
    assert not timer.is_alive()


def test_a_link_that_failed_in_a_pause_costs_no_point(plain, plain_end, path, impatient):
    """Also where nothing may be repeated: nobody had begun to measure."""
    seen = threading.Event()

    class Once(Noted):
        def make_safe(self):
            super().make_safe()
            if len(self.tokens) == 4 and not seen.is_set():
                seen.set()
                raise ConnectionError("the cable was out")

    instrument = Once(repeatable=False)

    def ponder(state):
        if len(instrument.tokens) == 4:
            assert seen.wait(20.0)
        return ()

    end = go(path, plain, STEPS, instrument, hooks=[ponder], idle_s=0.02, wait_s=60.0)
    assert bits(end.state) == bits(plain_end.state)
    assert len(instrument.tokens) == len(SEEDS) + STEPS
    assert len(records(path, "intent")) == len(SEEDS) + STEPS
    assert [frame.kind for frame in records(path, "lost", "found", "fault")] == ["lost", "found"]


def test_one_thread_at_a_time_is_in_the_instrument(plain, path):
    class Slow(Noted):
        busy, overlap = 0, 0
        asked_at_once = threading.Event()

        def enter(self):
            self.busy += 1
            self.overlap = max(self.overlap, self.busy)
            if self.busy > 1:
                self.asked_at_once.set()
            self.asked_at_once.wait(0.1)
            self.busy -= 1

        def identity(self):
            self.enter()
            return "microscope 7"

        def make_safe(self):
            self.enter()
            super().make_safe()

    instrument = Slow()
    go(path, plain, 0, instrument, idle_s=0.0, stop=lambda: True)
    assert instrument.overlap == 1


def test_a_description_waits_for_the_thread_that_makes_safe():
    inside, may_go, order = threading.Event(), threading.Event(), []

    class Slow(Noted):
        def make_safe(self):
            inside.set()
            may_go.wait(20.0)
            order.append("safe")

        def identity(self):
            order.append("identity")
            return "microscope 7"

    kept = guarded(Slow(), idle_s=0.0)
    kept.rest()
    assert inside.wait(20.0)
    release = threading.Timer(0.05, may_go.set)
    release.start()
    assert kept.description() == {"identity": "microscope 7"}
    kept._halt()
    assert order == ["safe", "identity"]


def test_a_pause_ends_while_the_instrument_is_in_use():
    """Whoever waits for the end of the thread that makes safe may be the one in the instrument."""
    kept = guarded(Away(0), idle_s=0.0)
    with kept._lock:
        kept.rest()
        timer = kept._timer
        kept._halt()
    assert not timer.is_alive()
    assert kept.instrument.asked == 0


# --- what comes back --------------------------------------------------------------------------------------------------


def axis(name="x", unit="m", low=0.0, high=1.0):
    return SimpleNamespace(name=name, unit=unit, low=low, high=high)


class Back(Noted):
    """Is lost once, at the fifth measurement, and may have changed when it is back."""

    gone = False

    def __init__(self, changed=None, shaky=0):
        super().__init__()
        self.axes, self.max_bias, self.max_shot = [axis()], 2.0, 1e3
        self.changed, self.shaky = changed or {}, shaky

    @property
    def limits(self):
        told = {"max_bias": self.max_bias, "max_shot": self.max_shot}
        return {name: value for name, value in told.items() if value is not None}

    def identity(self):
        if self.gone and self.shaky:
            self.shaky -= 1
            raise ConnectionError("the handshake failed")
        return "microscope 7"

    def measure(self, x, token):
        if len(self.tokens) == 4 and not self.gone:
            self.gone = True
            for name, value in self.changed.items():
                setattr(self, name, value)
            raise ConnectionError("the cable is out")
        return super().measure(x, token)


WIDER = {
    "a limit": ({"max_bias": 10.0}, "max_bias is 10, before 2"),
    "no limit": ({"max_bias": None}, "max_bias is not told any more"),
    "a limit that is no number": ({"max_bias": math.nan}, "max_bias is nan, before 2"),
    "a larger shot": ({"max_shot": 1e4}, "max_shot is 10000, before 1000"),
    "wider": ({"axes": [axis(high=9.0)]}, r"axis x allows 0\.0 to 9\.0 m, before 0\.0 to 1\.0"),
    "endless": ({"axes": [axis(high=math.nan)]}, "axis x allows 0.0 to nan m"),
    "another unit": ({"axes": [axis(unit="mm")]}, r"axis x allows 0\.0 to 1\.0 mm, before 0\.0 to 1\.0 m"),
    "one more": ({"axes": [axis(), axis("z")]}, "axis z was not there before"),
    "one less": ({"axes": []}, "axis x is not told any more"),
    "another name": ({"axes": [axis("X")]}, "axis x is not told any more; axis X was not there before"),
    "no axes": ({"axes": None}, "axis x is not told any more"),
}


@pytest.mark.parametrize("kind", WIDER)
def test_what_comes_back_and_allows_more_is_refused(plain, path, impatient, kind):
    changed, words = WIDER[kind]
    instrument = Back(changed)
    with pytest.raises(ValueError, match=words):
        go(path, plain, STEPS, instrument, wait_s=60.0)
    assert len(instrument.tokens) == 4
    assert instrument.asked[-1] == ("safe", "")
    told = [SimpleNamespace(kind="instrument", header=description(Back()))]
    with pytest.raises(ValueError, match=words):  # and so at the beginning of another session
        recognised(description(instrument), told, False)


def test_what_comes_back_and_allows_less_goes_on_and_is_held_to_that(plain, path, impatient):
    assert go(path, plain, STEPS, Back({"max_bias": 1.0}), wait_s=60.0).finished
    assert [frame.header["limits"]["max_bias"] for frame in records(path, "instrument")] == [2.0, 1.0]
    with pytest.raises(ValueError, match="max_bias is 2, before 1"):
        go(path, plain, STEPS + 1, Back())


def test_a_handshake_that_fails_belongs_to_the_waiting(plain, plain_end, path, impatient):
    instrument = Back(shaky=3)
    end = go(path, plain, STEPS, instrument, wait_s=60.0)
    assert bits(end.state) == bits(plain_end.state)
    assert instrument.shaky == 0
    assert [frame.kind for frame in records(path, "lost", "found")] == ["lost", "found"]


def test_a_handshake_that_fails_for_ever_is_not_waited_for_longer(seconds):
    def shake():
        raise ConnectionError("the handshake failed")

    instrument = Away(0)
    kept = guarded(instrument, wait_s=20.0)
    with pytest.raises(ConnectionError, match="handshake"):
        kept.await_return(ConnectionError("the cable is out"), 0, shake)
    kept.watch.end()
    assert seconds[0] == pytest.approx(20.0)
    with pytest.raises(Paused):
        guarded(instrument, stop=lambda: True).await_return(ConnectionError("the cable is out"), 0)
