"""People hold a campaign, close a box, answer a rule: nothing is measured meanwhile, and resuming gives the same."""

import time

import numpy as np
import pytest
from small_campaign import Noted, bits, cut_before_reading, go, records

from gpax_lab.core._observations import VETOED
from gpax_lab.experiment import Simulated, stopping
from gpax_lab.experiment._history import fold
from gpax_lab.experiment.interventions import Pin, Rescale, Reweigh, Veto, apply
from gpax_lab.storage import Campaign

STEPS = 5
HALF = {"value": Simulated.scalarize, "half": lambda reading: Simulated.scalarize(reading) / 2}


class Holding:
    """Holds from the start of the step `at` on, for so many looks."""

    def __init__(self, instrument, at: int, looks: int = 4, word: str = "held", meanwhile=()):
        self.instrument, self.at, self.looks, self.word = instrument, at, looks, word
        self.asked_then: list[int] = []
        self.meanwhile = list(meanwhile)

    def __call__(self):
        count = len(self.instrument.tokens)
        if count != 3 + self.at or self.looks <= 0:
            return ""
        self.looks -= 1
        self.asked_then.append(count)
        return self.word

    def hook(self, state):
        """What people wish while they hold the campaign, one thing at a look."""
        due = self.asked_then and self.meanwhile
        return [self.meanwhile.pop(0)] if due else []


def test_nothing_is_measured_while_people_hold_and_the_end_is_the_same(plain, plain_end, path):
    instrument, seen = Noted(), []
    hold = Holding(instrument, 2)
    end = go(path, plain, STEPS, instrument, hold=hold, callback=lambda event: seen.append(event.phase))
    assert hold.asked_then == [5] * 4
    assert bits(end.state) == bits(plain_end.state)
    assert seen.count("held") == 1


def test_seeds_are_held_too(plain, plain_end, path):
    instrument = Noted()
    looks = iter([""] + ["held"] * 3)
    end = go(path, plain, STEPS, instrument, hold=lambda: next(looks, ""))
    assert bits(end.state) == bits(plain_end.state)


def test_secured_makes_it_safe_at_once_and_once(plain, path):
    instrument = Noted()
    hold = Holding(instrument, 2, looks=6, word="secured")
    go(path, plain, STEPS, instrument, hold=hold, idle_s=3600.0)
    kinds = [what for what, _ in instrument.asked]
    at = [i for i, what in enumerate(kinds) if what == "measure"][4]
    assert kinds[at + 1 : at + 3] == ["safe", "measure"]


def test_a_held_instrument_is_made_safe_when_it_idles(plain, path):
    instrument = Noted()
    began = time.monotonic()

    def hold():
        enough = ("safe", "") in instrument.asked[-1:] or time.monotonic() - began > 60
        return "held" if len(instrument.tokens) == 5 and not enough else ""

    go(path, plain, STEPS, instrument, hold=hold, idle_s=0.1)
    kinds = [what for what, _ in instrument.asked]
    at = [i for i, what in enumerate(kinds) if what == "measure"][4]
    assert kinds[at + 1] == "safe"


def test_who_holds_may_stop(plain, path):
    instrument = Noted()
    end = go(path, plain, STEPS, instrument, hold=lambda: "held", stop=lambda: len(path.read_bytes()) > 0)
    assert not end.finished
    assert end.reason.startswith("stopped on request")


@pytest.mark.parametrize("number", [None, 5, 6])
def test_what_changes_the_past_is_done_while_held_and_the_rest_afterwards(plain, tmp_path, number):
    """A scalarizer at once, pins and weights when the campaign goes on; a kill afterwards changes nothing."""
    wishes = [Pin(np.array([[0.25]]), by="Ana"), Rescale("half", by="Ben", why="it drifts"), Reweigh((1.0, 0.5))]
    ends = []
    for again in (False, True):
        path = tmp_path / f"{again}.gpxj"
        instrument = Noted()
        hold = Holding(instrument, 2, looks=8, meanwhile=wishes)
        go(path, plain, STEPS, instrument, hold=hold, hooks=[hold.hook], scalarize=HALF)
        if again and number is not None:
            cut_before_reading(path, number)
        ends.append(go(path, plain, STEPS, scalarize=HALF))
    assert bits(ends[0].state) == bits(ends[1].state)
    order = [entry.header["action"] for entry in records(path, "intervention")]
    assert order == ["rescale", "pin", "reweigh"]
    assert [entry.header.get("by", "") for entry in records(path, "intervention")] == ["Ben", "Ana", ""]
    assert records(path, "intervention")[0].header["why"] == "it drifts"
    assert records(path, "proposal")[2].arrays["x"].tolist() == [[0.25]]


BOX = Veto(box=np.array([[0.35, 0.65]]), by="Ana", why="a crack")


def at_step(number, action):
    return lambda state: [action] if np.sum(np.asarray(state.obs.status) >= 2) == 3 + number else []


@pytest.mark.parametrize("number", [None, 4, 5, 7])
def test_nothing_is_proposed_in_a_closed_box_resumed_or_not(plain, plain_end, tmp_path, number):
    path = tmp_path / "a.gpxj"
    end = go(path, plain, STEPS, hooks=[at_step(1, BOX)])
    asked = [float(entry.arrays["x"][0, 0]) for entry in records(path, "proposal")]
    free = [float(entry.arrays["x"][0]) for entry in records(path, "reading")][4:]
    assert any(0.35 <= x <= 0.65 for x in np.asarray(plain_end.state.asked)[4:8, 0])  # it would have been
    assert not any(0.35 <= x <= 0.65 for x in [*asked[1:], *free])
    assert not (np.asarray(end.state.obs.status) == VETOED).any()  # it takes no slot
    if number is not None:
        cut_before_reading(path, number)
        assert bits(go(path, plain, STEPS, hooks=[at_step(1, BOX)]).state) == bits(end.state)
    (kept,) = records(path, "intervention")
    assert (kept.header["why"], kept.arrays["box"].tolist()) == ("a crack", [[0.35, 0.65]])


def test_boxes_add_up_and_stay_with_another_scalarizer(plain, path):
    hooks = [at_step(1, BOX), at_step(2, Rescale("half")), at_step(3, Veto(box=np.array([[0.66, 1.0]])))]
    end = go(path, plain, STEPS, hooks=hooks, scalarize=HALF)
    closed = np.asarray(end.state.candidates.closed)
    assert closed.shape == (8, 1, 2)
    assert closed[np.isfinite(closed).all((1, 2))].tolist() == [[[0.35, 0.65]], [[0.66, 1.0]]]
    assert all(float(e.arrays["x"][0, 0]) < 0.35 for e in records(path, "proposal")[3:])
    with Campaign.open(path) as campaign:
        assert bits(fold(plain, campaign.history).state) == bits(end.state)


@pytest.mark.parametrize(
    ("box", "text"),
    [
        ([[0.5, 0.5]], "low < high"),
        ([[0.0, np.nan]], "finite"),
        ([[0, 1], [0, 1]], r"is \(1, 2\)"),
        ([[-1, 2]], "no candidate"),
    ],
)
def test_a_box_that_is_none_is_refused(plain_end, box, text):
    with pytest.raises(ValueError, match=text):
        apply(plain_end.state, Veto(box=np.array(box)))


def test_a_veto_is_of_points_or_of_a_box():
    for given in ({}, {"x": np.zeros((1, 1)), "box": np.array([[0.0, 1.0]])}):
        with pytest.raises(ValueError, match="give one of them"):
            Veto(**given)


def test_a_rule_asks_in_place_of_ending(plain, plain_end, path):
    asking = stopping.Ask(stopping.budget(5), again_after=2)
    asked = []

    def hold():
        if asking.question is None:
            return ""
        asked.append((len(instrument.tokens), asking.question))
        asking.answer(stop=len(asked) == 2)
        return "held"  # once more, so that the rule is asked again

    instrument = Noted()
    end = go(path, plain, STEPS, instrument, rules=[asking], hold=hold)
    assert asked == [(5, "the budget of 5 points is used"), (7, "the budget of 5 points is used")]
    assert (end.finished, end.reason, end.steps) == (True, "the budget of 5 points is used", 4)


def test_a_rule_that_asks_again_at_once_is_refused():
    with pytest.raises(ValueError, match="1 point or more"):
        stopping.Ask(stopping.budget(5), again_after=0)
