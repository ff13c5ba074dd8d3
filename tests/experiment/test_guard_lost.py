"""An instrument that is lost, waited for, and known again."""

from dataclasses import dataclass

import pytest
from guarded import Unplugged
from small_campaign import SEEDS, Noted, bits, go, records

from gpax_lab.experiment import Simulated
from gpax_lab.experiment import _guard as guard
from gpax_lab.experiment._identity import description, recognised

STEPS = 4


@pytest.mark.parametrize("at", [1, 5])
def test_a_lost_instrument_is_waited_for_and_the_campaign_goes_on(plain, plain_end, path, impatient, at):
    told = []
    instrument = Unplugged(at, 3)
    end = go(path, plain, STEPS, instrument, wait_s=60.0, callback=told.append)
    assert bits(end.state) == bits(plain_end.state)
    assert "lost" in [event.phase for event in told]
    assert records(path, "lost")[0].header["text"] == "the cable is out"
    assert len(records(path, "found")) == 1
    measures = [i for i, (what, _) in enumerate(instrument.asked) if what == "measure"]
    assert instrument.asked[measures[at] + 1][0] == "safe"  # before anything else


def test_what_was_under_way_is_never_done_twice(plain, path, impatient):
    """Not repeatable, and no memory of tokens: the measurement in flight is a failed one."""
    instrument = Unplugged(4, 2, done=True, repeatable=False)
    end = go(path, plain, STEPS, instrument, wait_s=60.0)
    assert len(instrument.pulses) == len(set(instrument.pulses)) == len(SEEDS) + STEPS
    (lost,) = (frame for frame in records(path, "reading") if not frame.header["ok"])
    assert "outcome unknown" in lost.header["reason"]
    assert lost.header["token"] == instrument.pulses[4]
    assert end.finished


def test_an_instrument_that_remembers_is_asked_again(plain, plain_end, path, impatient):
    instrument = Unplugged(4, 2, done=True, repeatable=False)
    instrument.remembers_token = True
    end = go(path, plain, STEPS, instrument, wait_s=60.0)
    assert bits(end.state) == bits(plain_end.state)
    assert len(instrument.pulses) == len(SEEDS) + STEPS
    assert [token for what, token in instrument.asked if what == "measure"].count(instrument.pulses[4]) == 2


def test_an_error_that_arose_from_a_lost_link_counts_as_one(plain, plain_end, path, impatient):
    class Doubtful(Unplugged):
        def measure(self, x, token):
            try:
                return super().measure(x, token)
            except ConnectionError as fault:
                raise RuntimeError("triggered, and it cannot be asked any more") from fault

    assert bits(go(path, plain, STEPS, Doubtful(3, 2), wait_s=60.0).state) == bits(plain_end.state)


def test_nobody_waits_for_ever(plain, plain_end, path, impatient):
    with pytest.raises(ConnectionError, match="the cable is out") as caught:
        go(path, plain, STEPS, Unplugged(3, 10**9), wait_s=0.05)
    assert any("waited for" in note for note in caught.value.__notes__)
    assert any("could not be made safe" in note for note in caught.value.__notes__)
    faults = [frame.header["text"] for frame in records(path, "fault")]
    assert faults == ["the cable is out", "the cable is out"]  # the loss, and that the safe state was not reached
    assert bits(go(path, plain, STEPS, Unplugged(99, 0)).state) == bits(plain_end.state)


def test_an_instrument_that_is_lost_again_and_again_is_given_up(plain, path, impatient):
    class Flaky(Noted):
        def measure(self, x, token):
            self.asked.append(("measure", token))
            raise ConnectionError("the cable is loose")

    instrument = Flaky()
    with pytest.raises(ConnectionError, match="loose"):
        go(path, plain, STEPS, instrument, wait_s=60.0)
    assert len(instrument.tokens) == guard.LOSSES + 1


def test_a_stop_ends_the_waiting(plain, plain_end, path, impatient):
    instrument = Unplugged(3, 5)
    stop = lambda: instrument.out and instrument.attempts < 4  # noqa: E731
    with pytest.raises(ConnectionError):  # it could not be made safe, which is more than a pause
        go(path, plain, STEPS, instrument, wait_s=60.0, stop=stop)
    assert bits(go(path, plain, STEPS, Unplugged(99, 0)).state) == bits(plain_end.state)


def test_another_instrument_that_comes_back_is_refused(plain, path, impatient):
    class Swapped(Unplugged):
        def make_safe(self):
            super().make_safe()
            self.name = "microscope 8" if self.tokens else self.name

    with pytest.raises(ValueError, match=r"came back .* it is 'microscope 8', .* begun with 'microscope 7'"):
        go(path, plain, STEPS, Swapped(1, 2), wait_s=60.0)


def test_a_scalarizer_with_a_link_of_its_own_is_not_the_instrument(plain, path):
    def remote(reading):
        raise ConnectionError("the server that fits is down")

    instrument = Noted()
    with pytest.raises(ConnectionError, match="server"):
        go(path, plain, STEPS, instrument, scalarize=remote, wait_s=60.0)
    assert len(instrument.tokens) == 1


# --- which instrument it is -------------------------------------------------------------------------------------------


@dataclass
class Side:
    name: str
    unit: str
    low: float
    high: float


def test_the_journal_knows_its_instrument_and_what_it_may_do(plain, path):
    def named(name="microscope 7", high=1.0, vmax=8.0):
        instrument = Unplugged(99, 0)
        instrument.name, instrument.vmax = name, vmax
        instrument.axes = (Side("x", "m", 0.0, high),)
        return instrument

    go(path, plain, 1, named())
    (known,) = records(path, "instrument")
    wanted = {"identity": "microscope 7", "axes": [["x", "m", 0.0, 1.0]], "limits": {"vmax": 8.0}}
    assert known.header == wanted
    for other, words in (
        (named("microscope 8"), "'microscope 8', and the campaign was begun with 'microscope 7'"),
        (named(high=2.0), "axis x allows 0.0 to 2.0 m, before 0.0 to 1.0"),
        (named(vmax=9.0), "vmax is 9, before 8"),
    ):
        with pytest.raises(ValueError, match=words):
            go(path, plain, 2, other)
        assert other.tokens == []
        assert other.asked[-1] == ("safe", "")
    go(path, plain, 2, named())
    assert len(records(path, "instrument")) == 1
    go(path, plain, 3, named(high=0.9))
    with pytest.raises(ValueError, match=r"before 0\.0 to 0\.9"):
        go(path, plain, 4, named())
    assert go(path, plain, 4, named("microscope 8"), another_instrument=True).finished
    assert len(records(path, "instrument")) == 3
    assert description(Simulated(lambda key, x: x[0])) == {}
    assert not recognised({}, [], False)
