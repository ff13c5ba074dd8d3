"""What a person wishes during a campaign: recorded, applied, replayed, or refused."""

import numpy as np
import pytest
from small_campaign import Noted, bits, cut_before_reading, go, only_at, records

from gpax_lab.core._observations import MEASURED, VETOED
from gpax_lab.experiment import Simulated
from gpax_lab.experiment.interventions import Pin, Rescale, Reweigh, Veto, apply

STEPS = 5


ACTIONS = {
    "pin": Pin(np.array([[0.25], [0.26]])),
    "veto": Veto(np.array([[24 / 49], [23 / 49], [26 / 49]])),
    "reweigh": Reweigh((1.0, 0.0)),
    "rescale": Rescale("half"),
}
HALF = {"value": Simulated.scalarize, "half": lambda reading: Simulated.scalarize(reading) / 2}


@pytest.mark.parametrize("kind", ACTIONS)
def test_a_persons_wish_is_recorded_applied_and_replayed(plain, plain_end, tmp_path, kind):
    options = {"hooks": [only_at(2, ACTIONS[kind])], "scalarize": HALF}
    path = tmp_path / "whole.gpxj"
    end = go(path, plain, STEPS, **options)
    (wish,) = records(path, "intervention")
    assert (wish.step, wish.header["action"]) == (2, kind)
    assert bits(end.state.obs) != bits(plain_end.state.obs)
    for number in range(4, 4 + 4):
        path = tmp_path / f"{number}.gpxj"
        go(path, plain, STEPS, **options)
        cut_before_reading(path, number)
        again = go(path, plain, STEPS, **options)
        assert bits(again.state) == bits(end.state), number
        assert len(records(path, "intervention")) == 1


def test_what_each_wish_does(plain, path):
    hooks = [only_at(1, ACTIONS["veto"]), only_at(1, Pin(np.array([[0.25]]))), only_at(5, Rescale("half"))]
    end = go(path, plain, 3, hooks=hooks, scalarize=HALF)
    x, status = np.asarray(end.state.obs.x)[:, 0], np.asarray(end.state.obs.status)
    assert x[status == VETOED].tolist() == [24 / 49, 23 / 49, 26 / 49]
    proposals = records(path, "proposal")
    assert [frame.header["pinned"] for frame in proposals] == [False, True, False]
    assert proposals[1].arrays["x"].tolist() == [[0.25]]
    last = records(path, "reading")[-1]
    assert last.header["scalarizer"] == "half"
    assert float(last.arrays["y"]) == float(last.arrays["raw/value"]) / 2


def test_another_scalarizer_reads_the_past_anew(plain, path):
    """A reading that the first scalarizer could not use comes back; resumed or not, nothing of the old one is left."""

    def half(reading):
        return Simulated.scalarize(reading) / 2

    def picky(reading):
        return Simulated.scalarize(reading) if reading.position[0] > 0 else np.nan

    both = {"picky": picky, "half": half}
    hooks = [only_at(2, Pin(np.array([[0.3]])), Rescale("half"))]
    end = go(path, plain, 4, hooks=hooks, scalarize=both)
    raw = [float(frame.arrays["raw/value"]) for frame in records(path, "reading")]
    assert records(path, "reading")[0].header["ok"] is False
    np.testing.assert_array_equal(np.asarray(end.state.obs.y)[:7], np.array(raw) / 2)
    assert (np.asarray(end.state.obs.status)[:7] == MEASURED).all()
    assert records(path, "proposal")[2].arrays["x"].tolist() == [[0.3]]
    for number in (4, 5, 6):
        other = path.with_name(f"{number}.gpxj")
        go(other, plain, 4, hooks=hooks, scalarize=both)
        cut_before_reading(other, number)
        assert bits(go(other, plain, 4, hooks=hooks, scalarize=both).state) == bits(end.state)


def test_two_people_pin_points_at_once(plain, path):
    hooks = [only_at(1, Pin(np.array([[0.25]]))), only_at(1, Pin(np.array([[0.75], [0.8]])))]
    go(path, plain, 2, hooks=hooks)
    (pinned,) = (frame for frame in records(path, "proposal") if frame.header["pinned"])
    assert pinned.arrays["x"].tolist() == [[0.25], [0.75], [0.8]]
    assert pinned.header["value"] is None
    assert [float(f.arrays["x"][0]) for f in records(path, "reading")][4:7] == [0.25, 0.75, 0.8]


def test_a_wish_for_other_weights_stays(plain, path):
    end = go(path, plain, 3, hooks=[only_at(1, Reweigh((1.0, 0.5)))])
    assert [float(w) for w in end.state.acquisition.weights] == [1.0, 0.5]


@pytest.mark.parametrize(
    ("wish", "text"),
    [
        (Rescale("third"), "no scalarizer 'third'"),
        (Reweigh((1.0,)), "2 weights needed"),
        (Pin(np.array([[0.1, 0.2]])), r"shape \(n, 1\)"),
        (Veto(np.array([[np.nan]])), "finite"),
    ],
)
def test_an_impossible_wish_is_refused_and_not_recorded(plain, plain_end, path, wish, text):
    with pytest.raises(ValueError, match=text):
        go(path, plain, STEPS, hooks=[only_at(2, wish)], scalarize=HALF)
    assert records(path, "intervention") == ()
    assert bits(go(path, plain, STEPS).state) == bits(plain_end.state)


def test_a_scalarizer_that_is_gone_is_a_clear_error(plain, path):
    go(path, plain, 3, hooks=[only_at(1, Rescale("half"))], scalarize=HALF)
    instrument = Noted()
    with pytest.raises(ValueError, match="no scalarizer 'half'"):
        go(path, plain, STEPS, instrument)
    assert instrument.asked == [("safe", "")]


@pytest.mark.parametrize("wrong", ["pin", Pin, None])
def test_what_is_no_intervention_is_refused(plain, path, wrong):
    with pytest.raises(TypeError, match="an intervention is a Pin, Veto"):
        go(path, plain, 2, hooks=[lambda state: [wrong]])
    with pytest.raises(TypeError, match="an intervention is a Pin, Veto"):
        apply(go(path, plain, 1).state, wrong)


@pytest.mark.parametrize("wrong", [{}, {"value": "mean"}])
def test_what_can_not_scalarize_is_refused_before_the_instrument_moves(plain, path, wrong):
    instrument = Noted()
    with pytest.raises(TypeError, match="scalarize is a function"):
        go(path, plain, 2, instrument, scalarize=wrong)
    assert instrument.tokens == []


def test_a_negative_number_of_steps_is_refused(plain, path):
    with pytest.raises(ValueError, match="num_steps must be 0 or more"):
        go(path, plain, -1)
