"""A campaign against an instrument: one program with `simulate`, exact resume, interventions, faults, full disks."""

import jax
import numpy as np
import pytest
from small_campaign import (
    KEY,
    SEEDS,
    Noted,
    bits,
    cut_before_reading,
    fixed,
    go,
    learning,
    measured,
    model,
    objective,
    only_at,
    prior_draws,
    records,
)

from gpax_lab import acquisition
from gpax_lab.core import InstrumentError
from gpax_lab.core._observations import FAILED, MEASURED, VETOED, observations
from gpax_lab.experiment import Simulated, bayes_opt, simulate
from gpax_lab.experiment._buffer import with_buffer
from gpax_lab.experiment.interventions import Pin, Veto
from gpax_lab.experiment.stopping import budget, no_more_gain, target
from gpax_lab.storage import Campaign
from gpax_lab.storage._errors import JournalLocked

STEPS = 5


@pytest.fixture(scope="module")
def nuts_experiment():
    return learning()


@pytest.fixture(scope="module")
def whole(nuts_experiment, tmp_path_factory):
    """The uninterrupted campaign: its file and its end."""
    path = tmp_path_factory.mktemp("whole") / "a.gpxj"
    return path, go(path, nuts_experiment, STEPS)


def stop_after(asked: int):
    """A stop flag that is set once it was asked that many times."""
    left = iter(range(asked))
    return lambda: next(left, None) is None


def test_run_and_simulate_are_one_program(nuts_experiment, whole):
    end = whole[1]
    key_start, key_seed = jax.random.split(KEY)
    y = [float(jax.jit(objective)(jax.random.fold_in(key_seed, i), x)) for i, x in enumerate(SEEDS)]
    state, _ = simulate(key_start, nuts_experiment, objective, STEPS, observations(SEEDS, y))
    assert bits(state.obs) == bits(end.state.obs)
    assert bits(state.posterior.params) == bits(end.state.posterior.params)
    assert bits(state.posterior.tuning) == bits(end.state.posterior.tuning)
    assert bits(state.key) == bits(end.state.key)


def test_a_pause_before_any_measurement_changes_nothing(nuts_experiment, whole, tmp_path):
    pauses = len(SEEDS) + 2 * STEPS  # asked before every seed, before every step and before its measurement
    for asked in range(pauses):
        path, instrument = tmp_path / f"{asked}.gpxj", Noted()
        first = go(path, nuts_experiment, STEPS, instrument, stop=stop_after(asked))
        assert not first.finished
        assert instrument.asked[-1][0] == "safe"
        last = go(path, nuts_experiment, STEPS)
        assert last.finished
        assert bits(last.state) == bits(whole[1].state)
        tokens = [frame.header["token"] for frame in records(path, "intent")]
        assert tokens == [frame.header["token"] for frame in records(whole[0], "intent")]


def test_the_journal_tells_the_whole_story(whole):
    path, end = whole
    kinds = [frame.kind for frame in records(path, "proposal", "intent", "reading", "stop")]
    assert kinds == ["intent", "reading"] * 3 + ["proposal", "intent", "reading"] * STEPS + ["stop"]
    assert len(records(path, "state")) == len(records(path, "posterior")) == STEPS + 1
    values = [frame.header["value"] for frame in records(path, "reading")]
    assert values == np.asarray(end.state.obs.y)[: len(values)].tolist()
    assert end.steps == STEPS
    assert records(path, "stop")[0].header == {"reason": end.reason, "finished": True}


def test_more_steps_on_resume(plain, plain_end, path):
    assert go(path, plain, 2).reason == "all 2 steps are done"
    end = go(path, plain, STEPS)
    assert bits(end.state) == bits(plain_end.state)


@pytest.mark.parametrize("number", [1, 5])
def test_a_measurement_in_flight_is_repeated_under_its_own_name(plain, plain_end, path, number):
    go(path, plain, STEPS)
    token = cut_before_reading(path, number)
    instrument = Noted()
    end = go(path, plain, STEPS, instrument)
    assert instrument.tokens[0] == token
    assert bits(end.state) == bits(plain_end.state)


@pytest.mark.parametrize("number", [1, 5])
def test_a_measurement_that_must_not_be_repeated_becomes_a_failed_slot(plain, path, number):
    go(path, plain, STEPS)
    token = cut_before_reading(path, number)
    lost = float(records(path, "intent")[-1].arrays["x"][0])
    instrument = Noted(repeatable=False)
    end = go(path, plain, STEPS, instrument)
    assert token not in instrument.tokens
    (filed,) = [frame for frame in records(path, "reading") if frame.header["token"] == token]
    assert not filed.header["ok"]
    assert "outcome unknown" in filed.header["reason"]
    status = np.asarray(end.state.obs.status)
    assert np.asarray(end.state.obs.x)[status == FAILED, 0].tolist() == [lost]
    assert len(instrument.tokens) == len(SEEDS) + STEPS - 1 - number
    assert lost not in measured(end.state.obs)


def test_an_instrument_that_remembers_its_token_is_asked_again(plain, plain_end, path):
    go(path, plain, STEPS)
    token = cut_before_reading(path, 5)
    instrument = Noted(repeatable=False)
    instrument.remembers_token = True
    end = go(path, plain, STEPS, instrument)
    assert instrument.tokens[0] == token
    assert bits(end.state) == bits(plain_end.state)


class PointLost(InstrumentError):
    point_failed = True


def test_failed_measurements_take_a_slot_and_are_not_proposed_again(plain, path):
    def fail(x, number):
        if number == 4:
            raise PointLost("the stage did not arrive")
        return np.nan if number in (1, 3) else None

    end = go(path, plain, STEPS, Noted(fail))
    readings = records(path, "reading")
    assert [frame.header["ok"] for frame in readings] == [True, False, True, False, False, True, True, True]
    assert readings[3].header["reason"] == "the scalarizer gave no finite value"
    assert readings[4].header["reason"] == "the stage did not arrive"
    assert readings[4].header["flags"] == ["PointLost"]
    x = np.asarray(end.state.obs.x)[: len(readings), 0]
    assert len(set(x.tolist())) == len(readings)
    assert np.flatnonzero(np.asarray(end.state.obs.status) == FAILED).tolist() == [1, 3, 4]


def test_a_fault_leaves_the_instrument_safe_and_the_campaign_whole(plain, plain_end, path):
    def fail(x, number):
        if number == 4:
            raise ConnectionError("the cable is out")

    instrument = Noted(fail)
    with pytest.raises(ConnectionError, match="the cable is out"):
        go(path, plain, STEPS, instrument)
    assert instrument.asked[-1][0] == "safe"
    assert records(path, "fault")[-1].header == {"error": "ConnectionError", "text": "the cable is out"}
    assert bits(go(path, plain, STEPS).state) == bits(plain_end.state)


def test_a_fault_while_seeding_resumes_too(plain, plain_end, path):
    def fail(x, number):
        if number == 1:
            raise ConnectionError("the cable is out")

    with pytest.raises(ConnectionError):
        go(path, plain, STEPS, Noted(fail))
    assert bits(go(path, plain, STEPS).state) == bits(plain_end.state)


def test_a_scalarizer_that_raises_loses_no_raw_measurement(plain, path):
    def broken(reading):
        raise ZeroDivisionError("no area")

    instrument = Noted()
    with pytest.raises(ZeroDivisionError):
        go(path, plain, STEPS, instrument, scalarize=broken)
    (filed,) = records(path, "reading")
    assert "raw/value" in filed.arrays
    assert "no area" in filed.header["reason"]
    assert instrument.asked[-1][0] == "safe"


def test_a_stop_that_interrupts_make_safe_does_not_keep_the_instrument_from_it(plain, path):
    class Slow(Noted):
        interrupted = False

        def make_safe(self):
            if not self.interrupted:
                self.interrupted = True
                raise KeyboardInterrupt
            super().make_safe()

    instrument = Slow()
    with pytest.raises(KeyboardInterrupt):
        go(path, plain, 1, instrument)
    assert instrument.asked[-1][0] == "safe"


def test_other_seeds_than_those_in_the_journal_are_refused(plain, path):
    go(path, plain, 1, stop=stop_after(2))
    instrument = Noted()
    with pytest.raises(ValueError, match="seeds, settings, acquisition or versions differ"):
        go(path, plain, 1, instrument, seeds=SEEDS + 0.01)
    assert instrument.tokens == []


def test_a_campaign_ends_when_its_pool_is_exhausted(path):
    pool = acquisition.pool([[0.0], [0.2], [25 / 49], [0.7], [1.0]])
    end = go(path, bayes_opt(model(), prior_draws(), acquisition.log_ei(), pool), 9)
    assert end.finished
    assert (end.steps, end.reason) == (2, "no candidate is left to measure")
    assert sorted(measured(end.state.obs)) == np.asarray(pool.points)[:, 0].tolist()


def test_a_loop_in_python_outgrows_its_buffer(plain):
    """As a user writes it: propose, observe, and answers that nobody proposed."""
    propose, observe = jax.jit(plain.propose), plain.observe
    state = plain.init(KEY, observations(SEEDS, np.zeros(3), capacity=4))
    for _ in range(6):
        state, x = plain.propose(state)
        state = observe(state, x, 0.1 * x[:, 0])
    assert np.count_nonzero(np.asarray(state.obs.status) == MEASURED) == 9
    more = np.linspace(0.31, 0.39, 9)[:, None]
    state = observe(state, more, np.ones(9))
    assert np.count_nonzero(np.asarray(state.obs.status) == MEASURED) == 18
    assert state.obs.capacity == 32
    assert propose(state)[1].shape == (1, 1)


def test_leaving_a_campaign_writes_its_hdf5_file(plain, path):
    exported = path.with_suffix(".h5")
    with pytest.raises(KeyboardInterrupt):  # at once means at once
        go(path, plain, 2, Noted(lambda x, n: interrupt()))
    assert not exported.exists()
    with pytest.raises(OSError, match="unplugged"):
        go(path, plain, 2, Noted(lambda x, n: unplug() if n == 1 else None))
    assert exported.exists()
    exported.unlink()
    go(path, plain, 2)
    assert exported.exists()


def interrupt():
    raise KeyboardInterrupt


def unplug():
    raise OSError("unplugged")


@pytest.mark.parametrize(
    ("rule", "steps", "text"),
    [
        (budget(len(SEEDS) + 2), 2, "the budget of 5 points is used"),
        (target(0.5, confidence=0.6), 0, "the target 0.5 is reached"),
        (no_more_gain(100.0), 0, "no more gain expected"),
    ],
)
def test_a_rule_ends_the_campaign_with_its_reason(plain, path, rule, steps, text):
    end = go(path, plain, STEPS, rules=[rule])
    assert end.finished
    assert end.steps == steps
    assert text in end.reason
    assert records(path, "stop")[0].header["reason"] == end.reason


def test_rules_that_are_not_met_let_it_run(plain, plain_end, path):
    rules = [budget(99), target(50.0), no_more_gain(0.0)]
    assert bits(go(path, plain, STEPS, rules=rules).state) == bits(plain_end.state)


def test_a_batch_is_recorded_answer_by_answer(tmp_path):
    experiment = fixed(batch=2)
    path = tmp_path / "whole.gpxj"
    end = go(path, experiment, 2)
    kinds = [frame.kind for frame in records(path, "proposal", "intent", "reading")][2 * len(SEEDS) :]
    assert kinds == ["proposal", "intent", "reading", "intent", "reading"] * 2
    assert len(measured(end.state.obs)) == len(set(measured(end.state.obs))) == len(SEEDS) + 4
    for number in range(3, 7):  # killed inside a batch, before its first answer and between its two
        path = tmp_path / f"{number}.gpxj"
        go(path, experiment, 2)
        cut_before_reading(path, number)
        instrument = Noted()
        assert bits(go(path, experiment, 2, instrument).state) == bits(end.state)
        assert len(instrument.tokens) == 7 - number


@pytest.mark.parametrize("wish", [Pin, Veto])
def test_more_points_than_slots_cross_to_the_next_capacity(plain, tmp_path, wish):
    points = np.linspace(0.1, 0.4, 7)[:, None]
    hooks = [only_at(1, wish(points))]
    path = tmp_path / "whole.gpxj"
    end = go(path, plain, 3, hooks=hooks)
    status = np.asarray(end.state.obs.status)
    assert end.state.obs.capacity == 16
    used = len(SEEDS) + len(points) + (2 if wish is Pin else 3)
    assert np.count_nonzero(status) == used
    assert np.count_nonzero(status == (MEASURED if wish is Pin else VETOED)) >= len(points)
    assert set(points[:, 0]) <= set(np.asarray(end.state.obs.x)[:used, 0])
    path = tmp_path / "cut.gpxj"
    go(path, plain, 3, hooks=hooks)
    cut_before_reading(path, 5)
    assert bits(go(path, plain, 3, hooks=hooks).state) == bits(end.state)


def test_more_steps_than_slots_cross_to_the_next_capacity(plain, tmp_path):
    experiment = fixed(batch=2)
    end = go(tmp_path / "a.gpxj", experiment, 2)
    assert end.state.obs.capacity == 8
    end = go(tmp_path / "a.gpxj", experiment, 4)
    assert end.state.obs.capacity == 16
    assert len(set(measured(end.state.obs))) == len(SEEDS) + 8


def test_a_buffer_that_overflows_doubles_so_that_compilations_stay_few(plain):
    x = np.linspace(0, 1, 16)[:, None]
    state = plain.init(KEY, observations(x, x[:, 0]))
    assert with_buffer(state, 0) is state
    assert with_buffer(state, 1).obs.capacity == 32


def test_a_journal_of_another_experiment_is_refused(plain, nuts_experiment, path):
    go(path, plain, 1)
    before = path.read_bytes()
    size = len(before)
    with pytest.raises(ValueError, match="written by another experiment"):
        go(path, nuts_experiment, STEPS)
    assert records(path, "fault")[-1].header["error"] == "ValueError"
    assert path.read_bytes()[:size] == before


def test_an_instrument_is_made_safe_when_nothing_is_left_to_do(plain, path):
    go(path, plain, 1)
    instrument = Noted()
    assert go(path, plain, 1, instrument).finished
    assert instrument.asked == [("safe", "")]


def test_known_variances_travel_from_the_scalarizer_to_the_observations(plain, path):
    end = go(path, plain, 1, scalarize=lambda reading: (Simulated.scalarize(reading), 0.25))
    assert np.asarray(end.state.obs.noise)[:4].tolist() == [0.25] * 4


def test_the_display_is_told_of_every_measurement(plain, path):
    events = []
    go(path, plain, 2, callback=events.append)
    assert [event.phase for event in events] == ["seed"] * 3 + ["model"] + ["learn"] * 2
    assert [event.step for event in events] == [1, 2, 3, 0, 1, 2]
    assert all(event.total == 3 for event in events[:3])


def test_the_campaign_is_one_file_with_a_lock(plain, path):
    with Campaign.create(path, {"settings": {}}), pytest.raises(JournalLocked):
        go(path, plain, 1)


class Remembering(Noted):
    """Hands back what was measured under a token, for as long as it is switched on."""

    remembers_token = True

    def __init__(self):
        super().__init__()
        self.kept = {}

    def measure(self, x, token):
        if token not in self.kept:
            self.kept[token] = super().measure(x, token)
        return self.kept[token]


def test_a_marked_campaign_is_not_handed_what_another_with_its_key_has_measured(plain, tmp_path):
    instrument, ends = Remembering(), []
    for mark in ("", "", "one", "two"):
        path = tmp_path / f"{len(ends)}.gpxj"
        with Campaign.create(path, {"settings": {}} | ({"mark": mark} if mark else {})):
            pass
        ends.append(go(path, plain, 2, instrument))
    assert all(bits(end.state) == bits(ends[0].state) for end in ends)  # noise is that of the key
    assert len(instrument.tokens) == 3 * 5  # the second one, without a mark, measured nothing
    path = tmp_path / "3.gpxj"
    tokens = [frame.header["token"] for frame in records(path, "intent")]
    assert all(token.endswith("-two") for token in tokens)
    assert go(path, plain, 3, instrument).finished
    assert records(path, "intent")[-1].header["token"].endswith("-two")
