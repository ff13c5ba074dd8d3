"""Measurements that come from a little beside where they were asked for, and pools that are used up."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_campaign import KEY, SEEDS, Noted, bits, cut_before_reading, fixed, go, model, prior_draws, records

from gpax_lab import acquisition
from gpax_lab.core._observations import EMPTY, FAILED, MEASURED, PENDING, observations
from gpax_lab.experiment import bayes_opt, simulate
from gpax_lab.experiment._experiment import NothingLeft
from gpax_lab.experiment._history import fold
from gpax_lab.experiment._positions import measured_at
from gpax_lab.experiment._simulated import Simulated
from gpax_lab.experiment.interventions import Pin, Rescale, Veto, apply
from gpax_lab.experiment.stopping import no_more_gain, target
from gpax_lab.models import gp
from gpax_lab.storage import read

Y = [0.0, 1.0, 0.1]
BESIDE = {
    "beside": lambda x: x + 1e-4,
    "four digits": lambda x: np.round(x, 4),
    "single": lambda x: x.astype(np.float32).astype(float),
}


@pytest.fixture(scope="module")
def three():
    return fixed(batch=3)


def begun(experiment, capacity=8):
    return experiment.init(KEY, observations(SEEDS, Y, capacity=capacity))


@pytest.mark.parametrize("way", BESIDE)
def test_a_stage_that_reads_back_beside_leaves_nothing_pending(plain, way):
    state, asked, places = begun(plain, 16), [], []
    for _ in range(6):
        state, x = plain.propose(state)
        there = BESIDE[way](np.asarray(x))
        asked.append(float(x[0, 0]))
        places.append(float(there[0, 0]))
        state = plain.observe(state, there, there[:, 0])
    assert np.asarray(state.obs.status).tolist() == [MEASURED] * 9 + [EMPTY] * 7
    np.testing.assert_array_equal(state.obs.x[3:9, 0], places)  # what is learned
    np.testing.assert_array_equal(state.asked[3:9, 0], asked)
    assert len(set(asked)) == 6
    assert state.obs.capacity == 16


def test_a_batch_answered_from_beside_in_any_order(three):
    state, x = three.propose(begun(three))
    there = np.asarray(x) + np.array([[2e-4], [-3e-4], [1e-4]])
    for order in ([0, 1, 2], [2, 0, 1]):
        now = state
        for i in order:
            now = three.observe(now, there[[i]], jnp.asarray([0.1 * i]))
        np.testing.assert_array_equal(now.obs.x[3:6], there)
        np.testing.assert_array_equal(now.obs.y[3:6], [0.0, 0.1, 0.2])
        np.testing.assert_array_equal(now.asked[3:6], x)


def test_several_answers_to_one_question_are_all_kept(plain):
    state, x = plain.propose(begun(plain, 5))
    state = plain.observe(state, np.asarray(x) + np.array([[1e-4], [0.0], [2e-4]]), np.ones(3))
    assert np.count_nonzero(np.asarray(state.obs.status) == MEASURED) == 6
    assert not np.any(np.asarray(state.obs.status) == PENDING)


def test_a_measurement_nobody_asked_for_is_no_answer_unless_one_says_so(plain):
    state, x = plain.propose(begun(plain))
    away = np.asarray(x) + 0.03
    with pytest.warns(UserWarning, match=r"1 of 1 observations lie beside .* 1 stay pending.*asked=x") as found:
        aside = plain.observe(state, away, np.ones(1))
    assert found[0].filename == __file__
    assert np.asarray(aside.obs.status)[:5].tolist() == [MEASURED] * 3 + [PENDING, MEASURED]
    answer = plain.observe(state, away, np.ones(1), asked=x)
    assert np.asarray(answer.obs.status)[:5].tolist() == [MEASURED] * 4 + [EMPTY]
    np.testing.assert_array_equal(answer.obs.x[3], away[0])


def test_the_same_point_asked_twice_takes_two_answers(plain):
    state = apply(begun(plain), Pin(np.array([[0.25], [0.25]])))
    state = plain.observe(state, np.array([[0.2501], [0.2499]]), np.array([1.0, 2.0]))
    assert np.asarray(state.obs.status)[:6].tolist() == [MEASURED] * 5 + [EMPTY]
    np.testing.assert_array_equal(state.obs.x[3:5, 0], [0.2501, 0.2499])


def test_a_box_has_a_tolerance_of_a_hundredth():
    box = acquisition.box([[0.0, 2.0]], starts=8, refine=2, iterations=2)
    experiment = bayes_opt(model(), prior_draws(), acquisition.log_ei(), box)
    state, x = jax.jit(experiment.propose)(begun(experiment))
    for error, pending in ((0.019, 0), (0.021, 1)):
        after = jax.jit(experiment.observe)(state, x + error, jnp.ones(1))
        assert np.count_nonzero(np.asarray(after.obs.status) == PENDING) == pending


# Against an instrument.


class Off(Noted):
    """A stage that goes beside, and says so."""

    def __init__(self, position):
        super().__init__()
        self.position = position

    def measure(self, x, token):
        return replace(super().measure(x, token), position=self.position(x))


def test_run_learns_where_it_was_measured_and_replays_it(plain, tmp_path):
    path, off = tmp_path / "a.gpxj", lambda x: x + 1e-3
    scalarize = {"value": Simulated.scalarize, "half": lambda reading: Simulated.scalarize(reading) / 2}
    hooks = [lambda state: [Rescale("half")] if np.sum(np.asarray(state.obs.measured)) == 5 else []]
    end = go(path, plain, 4, Off(off), hooks=hooks, scalarize=scalarize)
    asked = np.array([frame.arrays["x"] for frame in records(path, "reading")])
    np.testing.assert_array_equal(end.state.asked[:7], asked)
    np.testing.assert_array_equal(end.state.obs.x[:7], asked + 1e-3)
    assert not np.any(np.asarray(end.state.obs.status) == PENDING)
    np.testing.assert_array_equal(end.state.obs.y[:7], [f.arrays["raw/value"] / 2 for f in records(path, "reading")])
    assert all(frame.header["flags"] == [] for frame in records(path, "reading"))
    for number in (1, 4, 6):
        other = tmp_path / f"{number}.gpxj"
        go(other, plain, 4, Off(off), hooks=hooks, scalarize=scalarize)
        cut_before_reading(other, number)
        again = go(other, plain, 4, Off(off), hooks=hooks, scalarize=scalarize)
        assert bits(again.state) == bits(end.state)


def test_a_position_that_says_nothing_changes_nothing(plain, tmp_path):
    end = go(tmp_path / "a.gpxj", plain, 3)
    for i, silent in enumerate((lambda x: None, lambda x: np.full(1, np.nan), lambda x: np.zeros(3), lambda x: "here")):
        again = go(tmp_path / f"{i}.gpxj", plain, 3, Off(silent))
        assert bits(again.state) == bits(end.state)
        assert (tmp_path / f"{i}.h5").exists()


def test_a_point_measured_elsewhere_is_learned_there_and_flagged(plain, tmp_path):
    path = tmp_path / "a.gpxj"
    end = go(path, plain, 2, Off(lambda x: np.minimum(x, 0.95) + 0.03))
    last = records(path, "reading")[-1]
    assert last.header["flags"] == ["position_differs"]
    assert not np.any(np.asarray(end.state.obs.status) == PENDING)
    assert float(end.state.obs.x[4, 0]) == float(last.arrays["position"][0])


def test_a_position_in_other_coordinates_fails_the_measurement_in_words(plain, tmp_path):
    path = tmp_path / "a.gpxj"
    end = go(path, plain, 2, Off(lambda x: 1e3 * x + 40 if 0 < x[0] < 1 and x[0] != SEEDS[1, 0] else x))
    last = records(path, "reading")[-1]
    assert last.header["flags"] == ["position_outside"]
    assert "hand back position=None" in last.header["reason"]
    assert np.asarray(end.state.obs.status)[3:5].tolist() == [FAILED, FAILED]


def test_what_a_position_says():
    grid = acquisition.grid([[0, 1], [-6, -3]], (11, 4))
    experiment = bayes_opt(gp.exact(2, bounds=[[0, 1], [-6, -3]]), prior_draws(), acquisition.log_ei(), grid)
    x = np.array([0.5, -4.0])
    where = experiment.init(KEY, observations(x[None], [1.0]))
    assert measured_at(x, None).arrays(x) == {}
    assert measured_at(x, [1.0]).flags == ("position_unclear",)
    close = measured_at(x, np.array([0.52, -4.3]), where)
    assert close.flags == ()
    assert close.learned_at.tolist() == [0.52, -4.3]
    assert measured_at(x, np.array([0.52, -4.6]), where).flags == ("position_differs",)
    assert not measured_at(x, np.array([0.5, 1e-4 + 6]), where).believed
    assert measured_at(x, x + 0.02, width=np.array([1.0, 3.0])).flags == ("position_differs",)
    assert measured_at(x, x + 0.002, width=np.array([1.0, 0.0])).flags == ()
    assert measured_at(x, [[0.52, -4.3]], where).learned_at.tolist() == [0.52, -4.3]
    hidden = measured_at(x, np.ma.array([0.52, -4.3], mask=[0, 1]), where)
    assert hidden.flags == ("position_unclear",)
    assert hidden.learned_at.tolist() == x.tolist()
    assert measured_at(x[:1], 0.52, width=np.array([5.0])).learned_at.tolist() == [0.52]


@pytest.mark.parametrize(
    ("seeds", "text"),
    [
        (SEEDS.ravel(), "this model has 1 inputs, the seeds 3"),
        (SEEDS * 1e3, r"input 0 of the seeds \(row .\) spans"),
        (np.zeros((0, 1)), "one seed or more"),
        (np.ma.array(SEEDS, mask=[[0], [1], [0]]), "seeds is masked or missing in row 1"),
    ],
)
def test_no_instrument_is_sent_to_seeds_that_can_not_be_learned(plain, tmp_path, seeds, text):
    instrument = Noted()
    with pytest.raises(ValueError, match=text):
        go(tmp_path / "a.gpxj", plain, 1, instrument, seeds=seeds)
    assert [what for what, _ in instrument.asked if what == "measure"] == []


def test_a_journal_from_before_is_gone_on_with(plain, tmp_path):
    path = tmp_path / "a.gpxj"
    end = go(path, plain, 2)
    whole = read(path).records
    old = [f._replace(arrays={k: v for k, v in f.arrays.items() if k != ".asked"}) for f in whole]
    assert bits(fold(plain, old).state) == bits(end.state)


# Used up.

WELLS = np.array([[0.0], [0.2], [25 / 49], [0.7], [1.0]])


def used_up(batch, **options):
    return bayes_opt(model(), prior_draws(), acquisition.log_ei(), acquisition.pool(WELLS), batch, **options)


@pytest.mark.parametrize("by_travel", [False, True])
def test_what_is_left_is_proposed_and_then_it_says_so(by_travel):
    experiment = used_up(4, by_travel=by_travel)
    state, x = experiment.propose(begun(experiment))
    assert sorted(np.asarray(x)[:, 0].tolist()) == [0.2, 0.7]
    assert np.isfinite(state.value)
    assert np.count_nonzero(np.asarray(state.obs.status) == PENDING) == 2
    with pytest.raises(NothingLeft, match="no candidate is left to measure"):
        experiment.propose(state)  # all are under way
    state = experiment.observe(state, x, x[:, 0])
    with pytest.raises(ValueError, match="repeat=True"):
        experiment.propose(state)


def test_vetoed_wells_are_gone():
    experiment = used_up(1)
    with pytest.raises(NothingLeft):
        experiment.propose(apply(begun(experiment), Veto(np.array([[0.2], [0.7]]))))


def test_run_measures_what_is_left_and_ends(tmp_path):
    experiment = used_up(4)
    end = go(tmp_path / "a.gpxj", experiment, 5)
    assert (end.steps, end.reason, end.finished) == (1, "no candidate is left to measure", True)
    assert np.count_nonzero(np.asarray(end.state.obs.status)) == 5
    assert records(tmp_path / "a.gpxj", "proposal")[-1].arrays["x"].shape == (2, 1)
    other = tmp_path / "b.gpxj"
    go(other, experiment, 5)
    cut_before_reading(other, 4)
    assert bits(go(other, experiment, 5).state) == bits(end.state)


def test_simulate_marks_the_steps_for_which_nothing_was_left():
    experiment = used_up(2)
    state, path = simulate(KEY, experiment, lambda key, x: 1.0 + 0 * x[0], 3, observations(SEEDS, Y))
    assert sorted(np.asarray(path.x)[0, :, 0].tolist()) == [0.2, 0.7]
    assert np.isnan(path.x[1:]).all()
    assert np.isnan(path.y[1:]).all()
    assert (np.asarray(path.value[1:]) == -np.inf).all()
    assert np.isfinite(path.value[0])
    assert np.asarray(state.obs.status)[:6].tolist() == [MEASURED] * 5 + [EMPTY]


# Which measurements count.


def test_rules_look_at_where_may_still_be_asked():
    window = acquisition.box([[0.6, 0.9]], starts=16, refine=2, iterations=2)
    experiment = bayes_opt(model(), prior_draws(), acquisition.log_ei(), window)
    state = experiment.init(KEY, observations([[0.1], [0.7], [0.2]], [9.0, 1.0, 9.0], noise=1e-4))
    assert target(5.0, confidence=0.6)(state) is None
    assert "reached" in target(5.0, confidence=0.6, among=[[0, 1]])(state)
    assert no_more_gain(1e-6)(state) is None
    said = bayes_opt(model(), prior_draws(), acquisition.log_ei(), window, among=lambda x: x[0] < 0.5)
    assert "reached" in target(5.0, confidence=0.6)(said.init(KEY, state.obs))
    assert float(said.propose(said.init(KEY, state.obs))[0].value) < float(experiment.propose(state)[0].value)
