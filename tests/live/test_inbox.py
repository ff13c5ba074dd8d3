"""Wishes: taken by a campaign, refused in words, durable until they are taken, and never twice."""

import json
import threading
import time
from dataclasses import replace

import jax
import numpy as np
import pytest
from small_campaign import KEY, SEEDS, Noted, bits, fixed, records

from gpax_lab.core import Axis
from gpax_lab.experiment import Simulated, run, stopping
from gpax_lab.live import BadWish, Inbox, Wish, leave
from gpax_lab.live._wish import folder_of
from gpax_lab.storage import Campaign

AXES = [Axis("x", "m", 0.0, 1.0)]
BOTH = {"value": Simulated.scalarize, "half": lambda measurement: Simulated.scalarize(measurement) / 2}
STEPS = 4


@pytest.fixture(scope="module")
def plain():
    return fixed()


def go(path, experiment, steps=STEPS, instrument=None, wishes=(), rules=(), meet=lambda inbox: None, **options):
    """A campaign with an inbox, into which these wishes are put before it begins."""
    campaign = Campaign.open(path) if path.exists() else Campaign.create(path, {"settings": {}})
    with campaign:
        inbox = Inbox(campaign, path, axes=AXES, scalarizers=BOTH, rules=rules)
        for wish in wishes:
            inbox.ask(wish)
        meet(inbox)
        given = {"seeds": SEEDS, "key": KEY, "scalarize": BOTH, "idle_s": 3600.0} | options
        end = run(
            experiment, instrument or Noted(), campaign, steps, hooks=[inbox], hold=inbox.hold, stop=inbox.stop,
            rules=rules, **given,
        )  # fmt: skip
    for entry in records(path, "intervention", "act", "refusal"):
        if "wish" in entry.header:
            inbox.recorded(entry.header["wish"], entry.kind)
    return end, inbox


def states(inbox):
    return [fate.state for fate in inbox.fates()]


def test_wishes_are_taken_and_the_journal_says_by_whom_and_why(plain, tmp_path):
    path = tmp_path / "a.gpxj"
    wishes = [
        Wish("pin", {"x": [[0.25]]}, by="Ana", why="a crack"),
        Wish("veto", {"box": [[0.4, 0.6]]}, by="Ben"),
        Wish("reweigh", {"weights": [1.0, 0.5]}),
        Wish("rescale", {"scalarizer": "half"}, by="Cai"),
        Wish("reject", {"name": "kink", "formula": "abs(x)"}, by="Dee", why="no"),
    ]
    end, inbox = go(path, plain, wishes=wishes)
    found = records(path, "intervention")
    assert {e.header["action"]: e.header.get("by", "") for e in found} == {
        "rescale": "Cai", "pin": "Ana", "veto": "Ben", "reweigh": "", "reject": "Dee",
    }  # fmt: skip
    assert {e.header["wish"] for e in found} == {wish.id for wish in wishes}
    assert states(inbox) == ["taken"] * 5
    assert records(path, "proposal")[0].arrays["x"].tolist() == [[0.25]]
    assert [float(w) for w in end.state.acquisition.weights] == [1.0, 0.5]
    assert list(folder_of(path).iterdir()) == []


@pytest.mark.parametrize(
    ("wish", "reason"),
    [
        (Wish("pin", {"x": [[1.5]]}), "outside 0.0 to 1.0"),
        (Wish("pin", {"x": [[0.1, 0.2]]}), "the axes need"),
        (Wish("veto", {"x": [[-0.5]]}), "outside"),
        (Wish("veto", {"box": [[0.0, 1.0]]}), "no candidate would be left"),
        (Wish("veto", {"box": [[0.0, 1.0], [0.0, 1.0]]}), "(1, 2)"),
        (Wish("reweigh", {"weights": [1.0]}), "2 weights needed"),
        (Wish("rescale", {"scalarizer": "third"}), "there are value, half"),
        (Wish("adopt", {"name": "a", "formula": "a * x", "prior": {"a": 1.0}}), "only where hypotheses compete"),
        (Wish("answer", {"stop": True}), "nothing is asked"),
        (Wish("discard", {"token": "nobody"}), "no measurement is recorded under 'nobody'"),
    ],
)
def test_what_is_not_possible_is_refused_and_ends_nothing(plain, tmp_path, wish, reason):
    path = tmp_path / "a.gpxj"
    wish = replace(wish, at=time.time())
    end, inbox = go(path, plain, 1, wishes=[wish])
    assert (end.finished, states(inbox)) == (True, ["refused"])
    (entry,) = records(path, "refusal")
    assert reason in entry.header["reason"]
    assert entry.header["wish"] == wish.id
    assert records(path, "intervention") == ()


def test_a_point_beyond_a_limit_never_reaches_the_instrument(plain, tmp_path):
    """Many hostile points: not one is asked of the instrument."""
    numbers = np.random.default_rng(0).normal(0.5, 3.0, 200)
    wishes = [Wish("pin", {"x": [[float(x)]]}) for x in numbers if not 0 <= x <= 1]
    instrument = Noted()
    sent = []
    instrument.fail = lambda x, n: sent.append(float(x[0]))
    go(tmp_path / "a.gpxj", plain, 2, instrument, wishes=wishes)
    assert len(wishes) > 100
    assert all(0.0 <= x <= 1.0 for x in sent)


def test_pause_resume_and_stop(plain, tmp_path):
    path = tmp_path / "a.gpxj"
    instrument = Noted()

    def people(inbox):
        def act():
            while inbox.holding != "secured":
                time.sleep(0.01)
            before.append(len(instrument.tokens))
            time.sleep(0.3)
            before.append(len(instrument.tokens))
            inbox.ask(Wish("stop", by="Ben", why="bed"))

        inbox.ask(Wish("safe", by="Ana"))
        threading.Thread(target=act).start()

    before: list[int] = []
    end, _ = go(path, plain, instrument=instrument, meet=people)
    assert before == [0, 0]
    assert (end.finished, end.steps) == (False, 0)
    assert [e.header["action"] for e in records(path, "act")] == ["safe", "stop"]
    assert [e.header["by"] for e in records(path, "act")] == ["Ana", "Ben"]
    assert go(path, plain)[0].finished  # what was meant for the last program does not stop this one


def test_acts_meant_for_a_program_that_has_ended_are_refused(plain, tmp_path):
    path = tmp_path / "a.gpxj"
    Campaign.create(path, {"settings": {}}).journal.close()
    leave(folder_of(path), Wish("stop", at=time.time() - 3600))
    leave(folder_of(path), Wish("pin", {"x": [[0.25]]}, at=time.time() - 3600))
    end, _ = go(path, plain, 1)
    assert end.finished
    assert "has ended" in records(path, "refusal")[0].header["reason"]
    assert records(path, "proposal")[0].arrays["x"].tolist() == [[0.25]]  # where to measure is as good as it was


def test_what_waits_outlives_the_program_and_is_taken_once(plain, tmp_path):
    """Killed after it was asked, or after the journal took it and before the file was gone."""
    path = tmp_path / "a.gpxj"
    wish = Wish("pin", {"x": [[0.25]]}, by="Ana")
    go(path, plain, 2)
    with Campaign.open(path) as campaign:
        Inbox(campaign, path, axes=AXES).ask(wish)  # and this program ends
    go(path, plain, 3)
    assert [e.header["wish"] for e in records(path, "intervention")] == [wish.id]
    leave(folder_of(path), wish)  # as if its file had not been removed
    go(path, plain, 4)
    assert [e.header["wish"] for e in records(path, "intervention")] == [wish.id]
    assert list(folder_of(path).iterdir()) == []


def test_with_wishes_a_campaign_that_is_killed_goes_on_bit_for_bit(plain, tmp_path):
    from small_campaign import cut_before_reading

    wishes = [
        Wish("pin", {"x": [[0.25], [0.75]]}),
        Wish("veto", {"box": [[0.3, 0.5]]}),
        Wish("rescale", {"scalarizer": "half"}),
    ]
    end, _ = go(tmp_path / "whole.gpxj", plain, wishes=wishes)
    for number in range(3, 8):
        path = tmp_path / f"{number}.gpxj"
        go(path, plain, wishes=wishes)
        cut_before_reading(path, number)
        assert bits(go(path, plain)[0].state) == bits(end.state), number


def test_a_measurement_is_discarded_and_the_campaign_goes_on_without_it(plain, tmp_path):
    path = tmp_path / "a.gpxj"
    go(path, plain, 2)
    token = records(path, "reading")[4].header["token"]
    with Campaign.open(path) as campaign:
        Inbox(campaign, path, axes=AXES).ask(Wish("discard", {"token": token}, by="Ana", why="the tip jumped"))
    end, _ = go(path, plain, 3)
    (entry,) = records(path, "intervention")
    assert (entry.header["token"], entry.header["by"], entry.header["why"]) == (token, "Ana", "the tip jumped")
    assert np.asarray(end.state.obs.status)[4] == 3  # failed


def test_files_that_hold_no_wish_are_put_aside(plain, tmp_path):
    path = tmp_path / "a.gpxj"
    folder = folder_of(path)
    folder.mkdir()
    good = Wish("pin", {"x": [[0.25]]})
    files = {
        "a" * 16: b"{", "b" * 16: json.dumps(good.plain()).encode(), "c" * 16: b" " * (1 << 20), "d": b"[]",
        "e" * 16: b'{"action": "pin", "given": {"x": [[NaN]]}}', "f" * 16: b'{"action": "os.system"}',
        "0" * 16: b'{"action": 1, "id": "' + b"0" * 16 + b'"}', "1" * 16: b'{"action": "pause", "at": "now"}',
    }  # fmt: skip
    for name, data in files.items():
        (folder / f"{name}.json").write_bytes(data)
    (folder / "2222222222222222.json").symlink_to("/etc/passwd")
    end, _ = go(path, plain, 1)
    assert end.finished
    assert len(records(path, "refusal")) == len(files) + 1
    assert all("root:" not in e.header["reason"] for e in records(path, "refusal"))
    assert sorted(p.suffix for p in folder.iterdir()) == [".refused"] * (len(files) + 1)


def test_a_wish_may_be_taken_back_while_it_waits(plain, tmp_path):
    path = tmp_path / "a.gpxj"

    def people(inbox):
        wish = inbox.ask(Wish("pin", {"x": [[0.25]]}))
        assert inbox.withdraw(wish.id)
        assert not inbox.withdraw(wish.id)
        assert not inbox.withdraw("0" * 16)

    _, inbox = go(path, plain, 1, meet=people)
    assert states(inbox) == ["withdrawn"]
    assert records(path, "intervention") == ()


def test_not_more_wait_than_people_could_mean(tmp_path):
    with Campaign.create(tmp_path / "a.gpxj", {"settings": {}}) as campaign:
        inbox = Inbox(campaign)
        for _ in range(256):
            inbox.ask(Wish("pause"))
        with pytest.raises(BadWish, match="wait already"):
            inbox.ask(Wish("pause"))


@pytest.mark.parametrize("stop", [True, False])
def test_a_question_holds_the_campaign_until_it_is_answered(plain, tmp_path, stop):
    path, instrument = tmp_path / "a.gpxj", Noted()

    def people(inbox):
        def act():
            while not inbox.question:
                time.sleep(0.01)
            time.sleep(0.2)
            asked.append((inbox.question, inbox.holding, len(instrument.tokens)))
            inbox.ask(Wish("answer", {"stop": stop}, by="Ana", why="enough" if stop else "one more"))

        threading.Thread(target=act).start()

    asked: list = []
    end, _ = go(path, plain, 2, instrument, rules=[stopping.Ask(stopping.budget(4))], meet=people)
    assert asked == [("the budget of 4 points is used", "held", 4)]
    assert (end.steps, end.reason) == ((1, asked[0][0]) if stop else (2, "all 2 steps are done"))
    (entry,) = records(path, "act")
    assert (entry.header["question"], entry.header["stop"], entry.header["by"]) == (asked[0][0], stop, "Ana")


def test_the_preview_shows_what_waits_and_changes_nothing(plain, tmp_path):
    end, _ = go(tmp_path / "a.gpxj", plain, 1)
    before = bits(end.state)
    with Campaign.open(tmp_path / "a.gpxj") as campaign:
        inbox = Inbox(campaign, axes=AXES, scalarizers=BOTH)
        inbox.ask(Wish("reweigh", {"weights": [3.0, 0.0]}))
        inbox.ask(Wish("veto", {"box": [[0.1, 0.2]]}))
        inbox.ask(Wish("pin", {"x": [[7.0]]}))
        seen = inbox.preview(end.state)
    assert [float(w) for w in seen.acquisition.weights] == [3.0, 0.0]
    assert np.isfinite(np.asarray(seen.candidates.closed)).any()
    assert bits(end.state) == before
    assert all(fate.state == "waiting" for fate in inbox.fates())


@pytest.mark.parametrize("name", ["0123456789abcde", "../../etc/passwd", "0123456789ABCDEF", "", 5])
def test_the_name_of_a_wish_leads_nowhere(name):
    with pytest.raises(BadWish, match="16 hexadecimal digits"):
        Wish("pause", id=name)


def test_a_wish_survives_its_file(tmp_path):
    from gpax_lab.live._wish import wish_of

    prior = {"a": {"distribution": "Normal", "loc": 0.0, "scale": 1.0}, "b": 2.0}
    wish = Wish("adopt", {"name": "line", "formula": "a * x + b", "prior": prior, "share": 0.25}, "Zoë", "fits")
    assert wish_of(leave(tmp_path / "in", wish).read_bytes()) == wish
    action = wish.intervention()
    assert (action.name, action.share, action.by, action.why, action.wish) == ("line", 0.25, "Zoë", "fits", wish.id)
    x, p = jax.numpy.array([2.0]), {"a": jax.numpy.array(3.0), "b": jax.numpy.array(1.0)}
    assert float(action.law(x, p)) == 7.0
