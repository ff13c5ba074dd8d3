"""What a page draws: maps of a state, positions on a screen, a journal as it grows, and a board that follows it."""

import json
import time

import jax.numpy as jnp
import numpy as np
import pytest
from small_campaign import KEY, SEEDS, Noted, bits, fixed, go

from gpax_lab.core import Axis
from gpax_lab.experiment import Simulated, run
from gpax_lab.experiment.interventions import Veto, apply
from gpax_lab.live import Facts, Inbox
from gpax_lab.live import _view as view
from gpax_lab.live._board import Board
from gpax_lab.live._digest import digest, plain, raw
from gpax_lab.live._follow import Follower
from gpax_lab.live._restored import Restoring
from gpax_lab.storage import Campaign, read
from gpax_lab.storage._scan import scan

AXES = [Axis("x", "m", 0.0, 1.0)]
GRID = np.linspace(0, 1, 50)[:, None]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A finished campaign: experiment, outcome, path."""
    experiment = fixed()
    path = tmp_path_factory.mktemp("whole") / "a.gpxj"
    return experiment, go(path, experiment, 4), path


def test_maps_are_the_posterior_and_what_the_next_proposal_follows(whole):
    experiment, end, _ = whole
    state = end.state
    found = view.maps(state, jnp.asarray(GRID))
    mean, variance = state.posterior.moments(jnp.asarray(GRID))
    np.testing.assert_allclose(found.mean, mean, rtol=1e-12)
    np.testing.assert_allclose(found.std, np.sqrt(variance), rtol=1e-12)
    _, x = experiment.propose(state)
    assert GRID[view.likely_next(found, GRID)[0], 0] == pytest.approx(float(x[0, 0]), abs=1e-12)
    asked = np.asarray(state.asked)[np.asarray(state.obs.status) > 0, 0]
    assert not any(np.isclose(GRID[~np.asarray(found.free), 0][:, None], asked).any(1) == False)  # noqa: E712
    assert int((~np.asarray(found.free)).sum()) == len(np.unique(asked))


def test_what_is_vetoed_is_no_likely_next(whole):
    _, end, _ = whole
    first = view.likely_next(view.maps(end.state, jnp.asarray(GRID)), GRID)
    low, high = GRID[first[0], 0] - 0.05, GRID[first[0], 0] + 0.05
    state = apply(end.state, Veto(box=np.array([[low, high]])))
    second = view.likely_next(view.maps(state, jnp.asarray(GRID)), GRID)
    assert not any(low <= GRID[i, 0] <= high for i in second)
    gaps = np.abs(np.subtract.outer(GRID[first, 0], GRID[first, 0]))[np.triu_indices(len(first), 1)]
    assert (gaps >= 0.1).all()


def test_a_prediction_of_a_measurement_holds_its_noise(whole):
    _, end, _ = whole
    posterior, x = end.state.posterior, jnp.asarray([[0.3]])
    mean, std = view.predicted(posterior, x)
    draws, variances = posterior.predict(x)
    weight = np.exp(np.asarray(posterior.log_weight))
    noise = weight @ np.asarray(posterior.noise_variance(x))
    first = weight @ np.asarray(draws)
    total = weight @ (np.asarray(variances) + np.asarray(draws) ** 2) - first**2 + noise
    np.testing.assert_allclose([mean[0], std[0]], [first[0], np.sqrt(total[0])], rtol=1e-10)


def test_large_maps_are_thinned_and_stay_grids():
    x = np.stack([a.ravel() for a in np.meshgrid(np.linspace(0, 1, 200), np.linspace(0, 3, 300), indexing="ij")], 1)
    thin = view.thinned(x)
    columns, rows = view.layout(thin)["grid"]
    assert len(thin) == columns * rows <= view.MOST
    ordered = thin[view.layout(thin)["order"]].reshape(rows, columns, 2)
    assert (np.diff(ordered[:, :, 0], axis=1) > 0).all()
    assert (np.diff(ordered[:, :, 1], axis=0) > 0).all()
    cloud = np.random.default_rng(0).uniform(size=(10_000, 2))
    assert len(view.thinned(cloud)) == view.MOST
    assert view.layout(cloud[:100]) == view.layout(np.zeros((5, 3))) == {}


def test_digests_are_strict_json_whatever_a_journal_holds(tmp_path):
    path = tmp_path / "a.gpxj"
    arrays = {"x": np.array([0.5]), "y": np.array(np.nan), "noise": np.array(np.inf), "raw/i": np.array([np.nan, 1.0])}
    header = {"token": "t", "value": np.nan, "ok": False, "reason": "</script>", "flags": ["nan"], "units": {"i": "A"}}
    with Campaign.create(path, {"settings": {}}) as campaign:
        campaign.append(("reading", 0, header, arrays))
        campaign.append(("something new", 3, {"a": [np.inf, {"b": -np.inf}]}, {"z": np.arange(3)}))
    for number, record in enumerate(read(path).records):
        text = json.dumps(digest(number, record), allow_nan=False)
        assert json.loads(text)["kind"] == record.kind
    assert digest(1, read(path).records[1])["y"] is None
    strange = read(path).records[1]._replace(header={}, kind="posterior")
    assert digest(2, strange)["kind"] == "unclear"
    assert plain({"a": np.float32(np.nan), 1: (np.int8(2), None, True)}) == {"a": None, "1": [2, None, True]}


def test_raw_arrays_are_thinned_to_a_screen(tmp_path):
    path = tmp_path / "a.gpxj"
    arrays = {
        "x": np.zeros(1), "y": np.array(1.0), "noise": np.array(0.0), "raw/long": np.arange(100_000.0),
        "raw/image": np.ones((700, 300)), "raw/one": np.array(3.0), "raw/complex": np.array([3 + 4j, 0]),
    }  # fmt: skip
    header = {"token": "t", "value": 1.0, "ok": True, "reason": "", "flags": [], "units": {"long": "V"}}
    with Campaign.create(path, {"settings": {}}) as campaign:
        campaign.append(("reading", 0, header, arrays))
    found = raw(read(path).records[1])
    assert len(found["curves"]["long"]["values"]) <= 1024
    assert found["curves"]["long"]["values"][-1] == 99_999.0
    assert found["curves"]["complex"]["values"] == [5.0, 0.0]
    assert np.shape(found["images"]["image"]["values"])[0] <= 96
    assert found["numbers"]["one"] == {"unit": "", "value": 3.0}


def test_a_known_spectrum_is_drawn_with_the_curve_that_describes_it(tmp_path):
    from gpax_lab.live._fits import fitted
    from gpax_lab.spectra import loops, sho

    bias = np.asarray(loops.triangle(8.0, 64))
    response = np.asarray(loops.loop_function(bias, jnp.array([-1.0, 2.0, 2.5, -2.5, 0.01, 0.8, 0.9, 0.9, 0.8])))
    noise = 0.01 * np.random.default_rng(0).normal(size=64)
    f = np.linspace(300e3, 340e3, 200)
    curve = np.asarray(sho.sho_response(f, jnp.array([1.0, 320e3, 90.0, 0.4])))
    kinds = {"loop": {"bias": bias, "response": response + noise},
             "resonance": {"frequency": f, "real": curve.real, "imaginary": curve.imag},
             "else": {"current": np.arange(5.0)}, "broken": {"bias": bias, "response": response * np.nan}}  # fmt: skip
    path = tmp_path / "a.gpxj"
    with Campaign.create(path, {"settings": {}}) as campaign:
        for name, arrays in kinds.items():
            header = {"token": name, "value": 1.0, "ok": True, "reason": "", "flags": [], "units": {}}
            more = {"x": np.zeros(1), "y": np.array(1.0), "noise": np.array(0.0)}
            campaign.append(("reading", 0, header, {f"raw/{key}": value for key, value in arrays.items()} | more))
    found = {record.header["token"]: fitted(record) for record in read(path).of("reading")}
    np.testing.assert_allclose(found["loop"]["curves"]["response"], response, atol=0.03)
    np.testing.assert_allclose(found["resonance"]["curves"]["real"], curve.real, atol=1e-3 * abs(curve).max())
    assert found["resonance"]["ok"]
    assert found["else"] == found["broken"] == {}


def test_a_journal_is_followed_entry_by_entry_whatever_is_torn(whole, tmp_path):
    """Byte by byte: every entry once, in order, as soon as it is whole."""
    data = whole[2].read_bytes()
    spans = scan(data).spans
    path = tmp_path / "b.gpxj"
    path.write_bytes(b"")
    follower, kinds = Follower(path), []
    cuts = sorted({0, 5, 31, *(end for _, end in spans), *(end - 7 for _, end in spans), *(s + 9 for s, _ in spans)})
    for before, cut in zip([0, *cuts], cuts, strict=False):
        with path.open("ab") as file:
            file.write(data[before:cut])
        kinds += [record.kind for record in follower.poll()]
        assert len(kinds) == sum(end <= cut for _, end in spans)
    assert kinds == [record.kind for record in read(whole[2]).records]
    assert follower.poll() == []


def test_a_state_out_of_a_journal_is_the_state(whole):
    experiment, end, path = whole
    restoring = Restoring(experiment)
    entries = Follower(path).poll()
    half = next(i for i, e in enumerate(entries) if e.kind == "state") + 1
    assert restoring(entries[:1]) is None
    assert restoring(entries[1:half]) is not None
    state = restoring(entries[half:])
    for name in ("x", "y", "status"):
        np.testing.assert_array_equal(getattr(state.obs, name), getattr(end.state.obs, name))
    np.testing.assert_allclose(view.maps(state, jnp.asarray(GRID)), view.maps(end.state, jnp.asarray(GRID)), rtol=1e-9)
    assert restoring([]) is None


def test_a_board_shows_what_a_campaign_does(tmp_path):
    """Maps, surprises by what was believed before, and wishes that are waiting and then taken."""
    from gpax_lab.live import Wish

    path, experiment = tmp_path / "a.gpxj", fixed()
    with Campaign.create(path, {"settings": {}}) as campaign:
        inbox = Inbox(campaign, path, axes=AXES)
        board = Board(Facts("small", AXES, ("value", "1"), GRID, 4), Follower(path), inbox)
        board.start()
        inbox.ask(Wish("pin", {"x": [[0.3]]}, by="Ana"))
        states = []

        def hook(state):
            states.append(state)
            board.show(state)
            wait_for(lambda: board.maps.value.get("step") == len(states) - 1)
            return []

        end = run(
            experiment, Noted(), campaign, 4, seeds=SEEDS, key=KEY, scalarize=Simulated.scalarize,
            hooks=[inbox, hook], hold=inbox.hold, stop=inbox.stop, callback=board.see, idle_s=None,
        )  # fmt: skip
        wait_for(lambda: board.maps.value.get("step") == 4 and len(board.maps.value["surprise"]) == 4)
        wait_for(lambda: [one["state"] for one in board.wishes.value["wishes"]] == ["taken"])
        board.close()
    assert [one["kind"] for one in board.records] == [record.kind for record in read(path).records]
    surprises = board.maps.value["surprise"]
    y = np.asarray(end.state.obs.y)[3:7]
    np.testing.assert_allclose([one["y"] for one in surprises], y)
    for one, state, x in zip(surprises, states, np.asarray(end.state.obs.x)[3:7], strict=True):
        mean, std = view.predicted(state.posterior, jnp.asarray(x[None]))
        np.testing.assert_allclose([one["mean"], one["std"]], [mean[0], std[0]], rtol=1e-9)
        assert one["z"] == pytest.approx((one["y"] - one["mean"]) / one["std"])
    np.testing.assert_allclose(board.layers["mean"], view.maps(end.state, jnp.asarray(GRID)).mean, rtol=1e-6)
    assert [step for step, _ in board.maps.value["expected"]] == [0, 1, 2, 3, 4]


def test_a_campaign_is_the_same_with_a_page_and_without(whole, tmp_path):
    experiment, end, _ = whole
    path = tmp_path / "a.gpxj"
    with Campaign.create(path, {"settings": {}}) as campaign:
        inbox = Inbox(campaign, path, axes=AXES)
        board = Board(Facts("small", AXES, ("value", "1"), GRID, 4), Follower(path), inbox)
        board.start()
        again = run(
            experiment, Noted(), campaign, 4, seeds=SEEDS, key=KEY, scalarize=Simulated.scalarize,
            hooks=[inbox, lambda state: board.show(state) or []], hold=inbox.hold, stop=inbox.stop, callback=board.see,
        )  # fmt: skip
        board.close()
    assert bits(again.state) == bits(end.state)


def test_a_journal_of_another_experiment_shows_its_points_all_the_same(whole, tmp_path):
    def another(found):
        raise ValueError("the journal was written by another experiment")

    board = Board(Facts("small", AXES, ("value", "1"), GRID, 4), Follower(whole[2]), None, another)
    board.start()
    wait_for(lambda: "another experiment" in board.maps.value.get("fault", ""))
    board.close()
    assert sum(one["kind"] == "reading" for one in board.records) == 7


def wait_for(true, seconds=60.0):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)
