"""Ask and tell: the trajectory of `run`, in any order, with points of one's own; and whatever ends the program."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from by_hand import BENCH, STEPS, answer, drive, measured, opened, standings
from small_campaign import (
    KEY,
    SEEDS,
    Noted,
    bits,
    cut_before_reading,
    fixed,
    go,
    learning,
    objective,
    only_at,
    prior_draws,
    records,
)

from gpax_lab import acquisition
from gpax_lab.ask_tell import open_campaign
from gpax_lab.core._observations import FAILED, MEASURED, PENDING, observations
from gpax_lab.experiment import NothingLeft, bayes_opt, simulate
from gpax_lab.experiment.interventions import Discard
from gpax_lab.models import gp
from gpax_lab.storage import Campaign, JournalError, read
from gpax_lab.storage._contents import final_measurements
from gpax_lab.storage._errors import JournalLocked
from gpax_lab.storage._scan import scan


def asked_and_told(path, experiment, steps=STEPS):
    with opened(path, experiment) as campaign:
        for _ in range(steps + 1):
            answer(campaign, campaign.ask())
        return campaign.state


@pytest.mark.parametrize("made", [lambda: fixed(1), lambda: fixed(2), lambda: learning(batch=2)])
def test_the_same_answers_make_the_trajectory_of_run_and_simulate(tmp_path, made):
    experiment = made()
    end = go(tmp_path / "run.gpxj", experiment, STEPS).state
    state = asked_and_told(tmp_path / "asked.gpxj", experiment)
    assert bits(state) == bits(end)
    key_start, key_seed = jax.random.split(KEY)
    y = [float(jax.jit(objective)(jax.random.fold_in(key_seed, i), x)) for i, x in enumerate(SEEDS)]
    simulated, _ = simulate(key_start, experiment, objective, STEPS, observations(SEEDS, y))
    assert bits(simulated.obs) == bits(state.obs)
    assert bits(simulated.posterior.params) == bits(state.posterior.params)
    kinds = ("proposal", "intent", "state")
    both = [records(tmp_path / f"{name}.gpxj", *kinds) for name in ("run", "asked")]
    told = [[(r.kind, r.step, r.header.get("token"), *map(bytes, r.arrays.values())) for r in one] for one in both]
    assert told[0][: len(told[1])] == told[1]  # the last fit was only looked at


def test_order_portions_and_looks_change_nothing(pairs, tmp_path):
    whole = bits(asked_and_told(tmp_path / "whole.gpxj", pairs))
    with opened(tmp_path / "a.gpxj", pairs) as campaign:
        for _ in range(STEPS + 1):
            points = [number for _ in range(2) for number in campaign.ask(1).ids]
            points += [] if len(points) == 2 and points[0] >= len(SEEDS) else campaign.ask(1).ids
            for number in reversed(points):
                campaign.tell(campaign.waiting[campaign.waiting.ids.index(number)], measured(campaign, number))
                assert campaign.posterior.moments(np.array([[0.5]]))[0].shape == (1,)
                assert "measured" in campaign.status()
        assert bits(campaign.state) == whole


def test_a_point_may_be_told_before_it_is_handed_out(pairs, tmp_path):
    with opened(tmp_path / "a.gpxj", pairs) as campaign:
        answer(campaign, campaign.ask())
        both = campaign.ask()
        campaign.tell(both, [0.8, 0.7])
        state, following = bits(campaign.state), campaign.ask().x
    with opened(tmp_path / "b.gpxj", pairs) as campaign:
        answer(campaign, campaign.ask())
        campaign.ask(1)
        campaign.tell([both.x[1]], [0.7])  # somebody had the same idea
        campaign.tell([both.x[0]], [0.8])
        assert bits(campaign.state) == state
        assert campaign.to_pandas().asked_as.tolist()[-2:] == ["measure"] * 2
        np.testing.assert_array_equal(campaign.ask().x, following)


def test_points_of_ones_own_come_first(pairs, path):
    """Begin by hand, let the optimizer watch, then ask it."""
    with opened(path, pairs, seeds=None, num_steps=None) as campaign:
        with pytest.raises(ValueError, match="what you have measured by hand"):
            campaign.ask()
        with pytest.raises(ValueError, match="nothing is known yet"):
            campaign.posterior  # noqa: B018
        assert "Nothing is learned yet" in campaign.status()
        campaign.tell([[0.1], [0.9]], [0.3, 0.4], noise=[0.0, 0.01])
        campaign.tell([[0.5]], [np.nan])
        points = campaign.ask(3)
        assert (points.ids, points.x.shape) == ((3, 4, 5), (3, 1))
        obs = campaign.state.obs
        assert np.asarray(obs.status)[:7].tolist() == [MEASURED, MEASURED, FAILED] + [PENDING] * 4
        assert np.asarray(obs.noise)[:2].tolist() == [0.0, 0.01]
        assert len(set(map(tuple, campaign.ask().x)) | set(map(tuple, points))) == 4
    with opened(path, pairs, seeds=None, num_steps=None) as again:
        assert again.waiting.ids == (3, 4, 5, 6)


def test_a_point_nearby_is_an_answer_and_learned_where_it_was_measured(pairs, path):
    with opened(path, pairs) as campaign:
        answer(campaign, campaign.ask())
        first, second = campaign.ask()
        campaign.tell(second + 0.004, [0.8])
        campaign.tell(ids=campaign.waiting.ids, y=[0.7], at=first - 0.003)
        campaign.tell(first, 0.75)  # measured a second time
        obs = campaign.state.obs
        used = np.asarray(obs.status) == MEASURED
        np.testing.assert_allclose(
            np.asarray(obs.x)[used, 0], [*SEEDS[:, 0], first[0] - 0.003, second[0] + 0.004, first[0]]
        )
        np.testing.assert_array_equal(np.asarray(campaign.state.asked)[3:5], [first, second])
        with pytest.raises(ValueError, match="far outside"):
            campaign.tell(ids=campaign.ask(1).ids, y=[0.7], at=[[55.0]])
        with pytest.raises(ValueError, match="points told"):
            campaign.tell([[1e9]], [0.0])
        assert len(records(path, "reading")) == 6


def test_what_is_told_wrongly_is_refused_and_not_recorded(pairs, path):
    with opened(path, pairs) as campaign:
        points = campaign.ask()
        campaign.tell(points, [0.1, 0.2, 0.3])
        campaign.tell(points, [0.1, 0.2, 0.3])  # a program that did not hear the answer
        for wrong, words in [
            ({"ids": 0, "y": 0.5}, "has been answered"),
            ({"ids": 9, "y": 0.5}, "no point 9"),
            ({"ids": [0, 1], "y": [0.1]}, "y must have shape"),
            ({"x": [[0.1, 0.2]], "y": [1.0]}, "x must have shape"),
            ({"x": [[0.1]], "y": [1.0], "noise": -1}, "variances"),
            ({"x": [[0.1]]}, "y is missing"),
            ({"y": [0.1]}, "which points"),
            ({"x": [[0.1]], "y": [1.0], "ids": [0]}, "not by both"),
            ({"x": [[0.1]], "y": [1.0], "at": [[0.1]]}, "goes with ids"),
        ]:
            with pytest.raises(ValueError, match=words):
                campaign.tell(**wrong)
        with pytest.raises(ValueError, match="has been answered"):
            campaign.fail(0)
        with pytest.raises(ValueError, match="no point 77"):
            campaign.discard(77)
        number = campaign.ask(1).ids[0]
        with pytest.raises(ValueError, match="has not been measured"):
            campaign.discard(number)
        with pytest.raises(ValueError, match="1 or more"):
            campaign.ask(0)
        assert len(records(path, "reading")) == 3


def test_a_discarded_measurement_is_as_good_as_none(pairs, path):
    with opened(path, pairs) as campaign:
        answer(campaign, campaign.ask())
        answer(campaign, campaign.ask())
        sound = campaign.posterior.moments(np.array([[0.1]]))[0]
        campaign.ask()
        campaign.tell([[0.12]], [50.0])
        number = campaign.to_pandas().index[-1]
        campaign.discard(number, "the feedback was off", by="Ana")
        campaign.discard(number, "said twice")
        campaign.discard(1)
        assert abs(float(campaign.posterior.moments(np.array([[0.1]]))[0][0]) - float(sound[0])) < 0.5
        table = campaign.to_pandas()
        assert table.status[number] == table.status[1] == "discarded"
        assert table.reason[number] == "the feedback was off"
        assert np.isnan(table.area[number])
        status, x = np.asarray(campaign.state.obs.status), np.asarray(campaign.state.obs.x)[:, 0]
        assert sorted(x[status == FAILED].tolist()) == sorted([0.12, float(SEEDS[1, 0])])
        state = campaign.state
    with opened(path, pairs) as campaign:
        assert bits(campaign.state) == bits(state)
        later = campaign.ask(4).x
        assert 0.12 not in later
    assert [r.header["action"] for r in records(path, "intervention")] == ["discard", "discard"]
    assert records(path, "intervention")[0].header["by"] == "Ana"
    exported = {r.header["token"]: r for r in final_measurements(read(path))}
    bad = exported[table.token[number]]
    assert (bad.header["ok"], bad.header["reason"]) == (False, "discarded: the feedback was off")
    assert np.isnan(bad.header["value"])
    assert np.isnan(bad.arrays["y"])
    assert float(records(path, "reading")[-1].arrays["y"]) == 50.0  # the journal keeps what was measured


def test_a_pool_that_is_used_up_says_so(path):
    model = gp.exact(1, bounds=[[0.0, 1.0]])
    experiment = bayes_opt(model, prior_draws(), acquisition.log_ei(), acquisition.grid([[0.0, 1.0]], (5,)), 2)
    with open_campaign(path, experiment, key=1, seeds=[[0.0]], inputs={"x": "1"}) as campaign:
        campaign.tell(campaign.ask(), [0.0])
        points = campaign.ask(9)
        assert len(points) == 4
        with pytest.raises(NothingLeft):
            campaign.ask()
        campaign.tell(points, [1.0, 2.0, 3.0, 4.0])
        assert campaign.best().y == 4.0
        assert campaign.best(maximize=False).y == 0.0


def test_seeds_under_way_are_waited_for_only_until_one_is_known(pairs, path):
    with opened(path, pairs) as campaign:
        assert len(campaign.ask(2)) == 2
        assert len(campaign.ask(5)) == 1  # the last seed
        with pytest.raises(ValueError, match="3 points that come first are under way"):
            campaign.ask()
        campaign.tell(ids=1, y=0.9)
        assert len(campaign.ask()) == 2
        campaign.fail(2, by="Ana")
        assert records(path, "reading")[-1].header["by"] == "Ana"
        campaign.tell(ids=0, y=0.1)
        status = np.asarray(campaign.state.obs.status)
        assert [int((status == s).sum()) for s in (MEASURED, FAILED, PENDING)] == [2, 1, 2]


def test_who_opens_it_again_has_to_mean_the_same(pairs, path):
    with pytest.raises(ValueError, match="begins with a random key"):
        open_campaign(path, pairs, inputs={"x": "um"})
    with pytest.raises(ValueError, match="say what the inputs are"):
        open_campaign(path, pairs, key=1)
    with pytest.raises(ValueError, match="2 are named"):
        open_campaign(path, pairs, key=1, seeds=SEEDS, inputs={"x": "um", "y": "um"})
    with pytest.raises(ValueError, match="the seeds"):
        open_campaign(path, pairs, key=1, seeds=[[1e9]])
    assert not path.exists()
    path.write_bytes(b"")  # killed while it was created
    with opened(path, pairs) as campaign:
        campaign.ask()
    with Campaign.open(path), pytest.raises(JournalLocked):
        opened(path, pairs)
    older = opened(path, pairs)  # a cell of a notebook
    newer = opened(path, pairs)  # the same cell once more
    with pytest.raises(JournalError, match="closed"):
        older.fail(0)
    assert older.closed
    older.close()  # too late to matter
    newer.close()
    assert records(path, "stop")[-1].header["reason"] == "closed; open it again to go on"
    for other, words in [
        ({"key": 5}, "another key"),
        ({"seeds": [[0.3]]}, "other seeds"),
        ({"inputs": {"y": "um"}}, "inputs"),
        ({"inputs": {"x": "nm"}}, "inputs"),
        ({"output": ("height", "nm")}, "'area'"),
    ]:
        with pytest.raises(ValueError, match=words):
            open_campaign(path, pairs, **other)
    with open_campaign(path, pairs) as again:
        assert (again.names, again.units, again.output) == (("x",), ("um",), ("area", "V"))
        assert again.ask().ids == (0, 1, 2)
        again.tell(again.waiting, [0.1, 0.2, 0.3])
        assert again.ask().ids == (3, 4)
    with open_campaign(path, pairs, again=False) as last:
        assert last.ask(1).ids == (5,)
        assert last.waiting.ids == (3, 4, 5)


# Whatever ends the program.


@pytest.fixture(scope="module")
def whole(pairs, tmp_path_factory):
    """A campaign by hand from its beginning to its end: its file, and its state."""
    path = tmp_path_factory.mktemp("whole") / "a.gpxj"
    with opened(path, pairs) as campaign:
        drive(campaign, STEPS)
        return path, bits(campaign.state), standings(campaign)


def test_a_journal_that_ends_behind_any_record_goes_on_the_same_way(pairs, whole, tmp_path):
    path, end, standing = whole
    data = path.read_bytes()
    spans = scan(data).spans
    assert {r.kind for r in read(path).records} >= {"intent", "reading", "intervention", "proposal", "state"}
    for number, (_, stop) in enumerate(spans):
        for size in (stop, stop + 11):  # whole, and with the beginning of the next one
            cut = tmp_path / f"{number}.gpxj"
            cut.write_bytes(data[:size])
            known = read(cut).of("reading")
            with opened(cut, pairs) as campaign:
                assert len(campaign._asking.told.answers) == len(known)
                drive(campaign, STEPS)
                assert bits(campaign.state) == end, number
                assert standings(campaign) == standing


@pytest.mark.slow
def test_killed_at_any_instant_nothing_told_is_lost(pairs, whole, tmp_path):
    """Real processes and SIGKILL, at instants spread over their lives, until one comes to the end."""
    path, acknowledged, kills = tmp_path / "a.gpxj", set(), 0
    here = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "experiment")]
    env = os.environ | {"PYTHONPATH": os.pathsep.join([*here, *sys.path])}
    rng = np.random.default_rng(0)
    for _ in range(60):
        command = [sys.executable, str(Path(__file__).parent / "by_hand.py"), str(path), str(STEPS)]
        said: list[str] = []
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env) as process:
            assert process.stdout.readline() == "open\n"  # the start of the interpreter is not what is tested
            acts = rng.integers(0, 3)
            said += [process.stdout.readline() for _ in range(acts)]
            time.sleep(rng.uniform(0, 0.05 if acts else 0.5))  # a little more
            process.send_signal(signal.SIGKILL)
            said = [line.strip() for line in [*said, *process.stdout.read().splitlines()]]
        kills += 1
        acknowledged |= {line for line in said if line.startswith("told")}
        with opened(path, pairs, again=False) as campaign:
            standing = standings(campaign)
            assert all(standing[int(one.split()[1])] != "waiting" for one in acknowledged)
        if "done" in said:
            break
    assert kills >= 5
    with opened(path, pairs) as campaign:
        assert bits(campaign.state) == whole[1]
        assert standings(campaign) == whole[2]


@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 8))])
def test_looks_and_new_programs_between_any_acts_change_nothing(pairs, tmp_path, seed):
    """Random acts, twice: in one program, and with looks and programs that end between them."""
    rng, script = np.random.default_rng(seed), []
    for _ in range(25):
        acts = ["ask", "tell", "tell", "tell", "own", "fail", "discard"]
        script.append(
            (rng.choice(acts, p=[0.3, 0.15, 0.15, 0.15, 0.1, 0.05, 0.1]), rng.random(), int(rng.integers(1, 6)))
        )

    def done(path, between):
        campaign = opened(path, pairs, again=False)
        for act, chance, count in script:
            campaign = between(campaign)
            table = standings(campaign)
            waiting, good = campaign.waiting.ids, [i for i, s in enumerate(table) if s == "measured"]
            match act:
                case "ask" if good or not waiting:
                    campaign.ask(count)
                case "tell" if waiting:
                    number = waiting[int(chance * len(waiting))]
                    campaign.tell(ids=number, y=measured(campaign, number))
                case "own":
                    campaign.tell([[chance]], [1.0 - chance])
                case "fail" if waiting:
                    campaign.fail(waiting[-1])
                case "discard" if good:
                    campaign.discard(good[int(chance * len(good))])
        state, table = bits(campaign.state), standings(campaign)
        campaign._journal.journal.close()
        return state, table

    def restless(campaign):
        if rng.random() < 0.4 and campaign.measured:
            assert campaign.posterior is campaign.posterior
        if rng.random() < 0.4:
            campaign._journal.journal.close()  # as a program that ends without a word
            campaign = opened(tmp_path / "b.gpxj", pairs, again=False)
        return campaign

    assert done(tmp_path / "a.gpxj", lambda campaign: campaign) == done(tmp_path / "b.gpxj", restless)


# `run` and ask and tell on one journal.


def test_run_goes_on_with_what_was_asked_and_told(pairs, tmp_path):
    end = go(tmp_path / "run.gpxj", pairs, STEPS)
    for asked in range(1, 3 + 2 * STEPS):
        path = tmp_path / f"{asked}.gpxj"
        with opened(path, pairs) as campaign:
            for _ in range(asked):
                points = campaign.ask(1)
                if asked % 2 or points.ids[0] in (2, 4, 6, 8):  # or the others of a batch are left open for long
                    answer(campaign)
        assert bits(go(path, pairs, STEPS).state) == bits(end.state), asked


def test_ask_and_tell_goes_on_with_what_run_began(pairs, tmp_path):
    end = go(tmp_path / "run.gpxj", pairs, STEPS)
    for number in range(len(SEEDS) + 2 * STEPS):
        path = tmp_path / f"{number}.gpxj"
        go(path, pairs, STEPS)
        cut_before_reading(path, number)
        with opened(path, pairs) as campaign:
            while len(campaign._asking.told.answers) < len(SEEDS) + 2 * STEPS:
                answer(campaign, campaign.ask())
            assert bits(campaign.state) == bits(end.state), number


def test_run_measures_what_was_left_open_and_learns_what_was_told(pairs, path):
    with opened(path, pairs) as campaign:
        answer(campaign, campaign.ask())
        first, second = campaign.ask().ids
        campaign.tell(ids=second, y=measured(campaign, second))
        campaign.ask(3)  # two batches more, without an answer to the first point of the first
        own = campaign._asking.take(np.array([0.777]))  # somebody's own point, under way
        campaign.tell([[0.123]], [0.4])
        campaign.discard(1, "bad")
        asked = campaign._asking.tokens[: first + 5]
    instrument = Noted()
    end = go(path, pairs, STEPS, instrument)
    assert set(instrument.tokens) >= {asked[first], *asked[second + 1 :], own}
    assert len(set(instrument.tokens)) == len(instrument.tokens)
    x, status = np.asarray(end.state.obs.x)[:, 0], np.asarray(end.state.obs.status)
    assert {0.123, 0.777} <= set(x[status == MEASURED].tolist())
    assert x[status == FAILED].tolist() == [float(SEEDS[1, 0])]
    assert not (status == PENDING).any()
    with opened(path, pairs) as campaign:
        assert bits(campaign.state) == bits(end.state)


def test_a_hook_of_run_may_discard_a_measurement(pairs, tmp_path):
    seed = jax.random.fold_in(jax.random.split(KEY)[1], 1)
    token = "".join(f"{word:08x}" for word in np.asarray(jax.random.key_data(seed)))
    hooks = [lambda state: only_at(2, Discard(token, why="the tip was changed"))(state)]
    path = tmp_path / "a.gpxj"
    end = go(path, pairs, STEPS, hooks=hooks)
    obs = end.state.obs
    assert np.asarray(obs.x)[np.asarray(obs.status) == FAILED, 0].tolist() == [float(SEEDS[1, 0])]
    assert [r.header["token"] for r in records(path, "intervention")] == [token]
    for number in range(3, 7):
        other = tmp_path / f"{number}.gpxj"
        go(other, pairs, STEPS, hooks=hooks)
        cut_before_reading(other, number)
        assert bits(go(other, pairs, STEPS, hooks=hooks).state) == bits(end.state), number
    with pytest.raises(ValueError, match="no measurement is recorded"):
        go(tmp_path / "none.gpxj", pairs, STEPS, hooks=[only_at(0, Discard("nobody"))])
    assert BENCH.repeatable
