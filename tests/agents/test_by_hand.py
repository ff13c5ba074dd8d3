"""A campaign without an instrument in the hands of an agent: asked, told, approved, and never beyond its limits."""

import numpy as np
import pytest
from small_campaign import KEY, SEEDS, fixed

from gpax_lab.agents._budget import Budget
from gpax_lab.agents._campaign import ServedCampaign
from gpax_lab.ask_tell import open_campaign
from gpax_lab.core import Axis
from gpax_lab.live import Facts, Wish, leave
from gpax_lab.live._wish import folder_of
from gpax_lab.storage import read

FACTS = Facts("wells", [Axis("x", "m", 0.0, 1.0)], ("height", "nm"), np.linspace(0, 1, 50)[:, None], 8)
WHY = {"reason": "next well"}


@pytest.fixture(scope="module")
def experiment():
    return fixed()


def opened(folder, experiment):
    return open_campaign(
        folder / "a.gpxj", experiment, key=KEY, seeds=SEEDS, inputs={"x": "m"}, output=("height", "nm")
    )


def served(campaign, folder, **options):
    return ServedCampaign(folder / "a.gpxj", FACTS, campaign=campaign, **options).tools


def value(x):
    return 4 * x * (1 - x)


def test_the_agent_asks_and_tells_along_the_trajectory_of_a_person(experiment, tmp_path):
    (tmp_path / "agent").mkdir()
    (tmp_path / "person").mkdir()
    with opened(tmp_path / "person", experiment) as campaign:
        expected = []
        for count in (3, 1, 1):
            points = campaign.ask(count)
            expected += points.x[:, 0].tolist()
            campaign.tell(points, [value(x) for x in points.x[:, 0]])
    found = []
    with opened(tmp_path / "agent", experiment) as campaign:
        agent = served(campaign, tmp_path / "agent", policy="free")
        for count in (3, 1, 1):
            answer = agent.call("suggest", {"count": count} | WHY)
            for point in answer["points"]:
                found += point["x"]
                told = agent.call("tell", {"id": point["id"], "y": value(point["x"][0])} | WHY)
                assert told["outcome"] == "taken"
            agent.call("show_posterior", {"at": [[0.5]]})  # a look changes nothing
            agent.call("explain_next")
    assert found == expected
    acts = read(tmp_path / "agent" / "a.gpxj").of("act")
    assert {(one.header["by"], one.header["why"]) for one in acts} == {("agent", "next well")}


FORBIDDEN = {
    "no reason": ("suggest", {"count": 1}),
    "a thousand": ("suggest", {"count": 1000} | WHY),
    "none": ("suggest", {"count": 0} | WHY),
    "half": ("suggest", {"count": 1.5} | WHY),
    "infinite": ("tell", {"x": [0.5], "y": float("inf")} | WHY),
    "not a number": ("tell", {"x": [0.5], "y": float("nan")} | WHY),
    "beyond": ("tell", {"x": [1.1], "y": 1.0} | WHY),
    "neither": ("tell", {"y": 1.0} | WHY),
    "both": ("tell", {"id": 0, "x": [0.5], "y": 1.0} | WHY),
    "unknown": ("tell", {"id": 77, "y": 1.0} | WHY),
    "negative variance": ("tell", {"x": [0.5], "y": 1.0, "noise": -1.0} | WHY),
    "pinned beyond": ("pin", {"x": [-0.1]} | WHY),
    "an instrument": ("make_safe", WHY),
    "a file": ("tell", {"file": "/etc/passwd", "y": 1.0} | WHY),
}


@pytest.mark.parametrize("case", FORBIDDEN)
def test_what_is_forbidden_is_not_recorded(case, experiment, tmp_path):
    name, arguments = FORBIDDEN[case]
    with opened(tmp_path, experiment) as campaign:
        agent = served(campaign, tmp_path, policy="free")
        assert agent.call(name, arguments)["status"] == "error"
        assert campaign.measured == 0
        assert len(campaign.waiting) == 0
    assert not read(tmp_path / "a.gpxj").of("act")


def test_points_of_its_own_and_failures(experiment, tmp_path):
    with opened(tmp_path, experiment) as campaign:
        agent = served(campaign, tmp_path, policy="free")
        [number] = agent.call("pin", {"x": [0.33]} | WHY)["ids"]
        assert campaign.waiting.x.tolist() == [[0.33]]
        agent.call("tell", {"id": number, "y": 0.5} | WHY)
        [seed] = agent.call("suggest", WHY)["ids"]
        agent.call("tell", {"id": seed, "y": "failed", "reason": "the well was dry"})
        assert campaign.measured == 1
    with opened(tmp_path, experiment) as campaign:  # gone on with
        agent = served(campaign, tmp_path, policy="free")
        rows = agent.call("show_measurements")["measurements"]
    assert [(row["y"], row["ok"]) for row in rows] == [(0.5, True), (None, False)]
    assert rows[1]["reason"] == "the well was dry"


def test_nothing_is_done_before_a_person_approves_it(experiment, tmp_path):
    folder = folder_of(tmp_path / "a.gpxj")
    with opened(tmp_path, experiment) as campaign:
        agent = served(campaign, tmp_path)
        first = agent.call("suggest", {"count": 2} | WHY)
        second = agent.call("tell", {"x": [0.4], "y": "failed"} | WHY)
        assert first["outcome"] == second["outcome"] == "waiting"
        assert (len(campaign.waiting), campaign.measured) == (0, 0)
        leave(folder, Wish("approve", {"asked": first["wish"]}, by="Ana"))
        leave(folder, Wish("decline", {"asked": second["wish"]}, by="Ana", why="measure it"))
        leave(folder, Wish("approve", {"asked": "0" * 16}, by="Ana"))
        acts = agent.call("status")["acts"]
        assert len(campaign.waiting) == len(acts["under_way"]) == 2
        assert {one["outcome"] for one in acts["decided"]} == {"taken", "declined"}
        assert acts["open"] == []
        assert len(agent.call("status")["acts"]["decided"]) == 2
        assert list(folder.glob("*.json")) == []
    [taken] = [one for one in read(tmp_path / "a.gpxj").of("act") if one.header["action"] == "suggest"]
    assert (taken.header["by"], taken.header["approved_by"]) == ("agent", "Ana")


def test_never_and_the_budget(experiment, tmp_path):
    with opened(tmp_path, experiment) as campaign:
        assert "only looks" in served(campaign, tmp_path, policy="never").call("suggest", WHY)["message"]
        budget = {"policy": "free", "budget": Budget(points=3)}
        assert len(served(campaign, tmp_path, **budget).call("suggest", {"count": 2} | WHY)["ids"]) == 2
        later = served(campaign, tmp_path, **budget)
        assert "budget" in later.call("suggest", {"count": 2} | WHY)["message"]
        assert later.call("pin", {"x": [0.5]} | WHY)["outcome"] == "taken"
        assert "budget" in later.call("suggest", WHY)["message"]
