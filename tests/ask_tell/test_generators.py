"""Suggest and ingest, as programs of others drive them: gest-api, bluesky-adaptive, and these programs."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from by_hand import measured, opened
from small_campaign import SEEDS

from gpax_lab.ask_tell import bluesky, gest, open_campaign
from gpax_lab.experiment.stopping import budget


def vocs(**other):
    """What a VOCS of gest-api looks like to a generator."""
    given = {
        "variables": {"x": SimpleNamespace(domain=[0.0, 1.0])},
        "objectives": {"area": "MAXIMIZE"},
        "constraints": {},
        "constants": {"dwell": SimpleNamespace(value=0.1)},
    }
    return SimpleNamespace(**given | other)


def test_a_generator_suggests_and_ingests(pairs, path):
    with opened(path, pairs) as campaign:
        generator = gest.Generator(vocs(), campaign)
        assert generator.returns_id
        with pytest.raises(ValueError, match="3 points can be handed out now, and not 4"):
            generator.suggest(4)
        assert not campaign.waiting.ids  # none was handed out
        seeds = generator.suggest(3)
        assert seeds[1] == {"x": SEEDS[1, 0], "dwell": 0.1, "_id": 1}
        results = [{**point, "_id": np.int64(point["_id"]), "area": np.float64(point["_id"])} for point in seeds]
        generator.ingest(results[::-1])
        points = generator.suggest(None)
        assert len(points) == 2
        generator.ingest([{"_id": points[0]["_id"], "area": float("nan")}])
        moved = {"x": points[1]["x"] + 0.003, "_id": points[1]["_id"], "area": 0.4}
        generator.ingest([moved, {"x": 0.456, "area": 0.7}, {"x": 0.123, "area": None}])
        table = campaign.to_pandas()
        assert table.status.tolist() == ["measured"] * 3 + ["failed", "measured", "measured", "failed"]
        assert table.x_measured[4] == moved["x"]
        assert table.asked_as.tolist()[5:] == ["told", "told"]
        for wrong, words in [
            ([{"_id": 99, "area": 1.0}], "no point 99"),
            ([{"_id": "abc", "area": 1.0}], "was not suggested"),
            ([{"_id": 2.5, "area": 1.0}], "was not suggested"),
            ([{"area": 1.0}], "needs the inputs"),
            ([{"x": 0.3}], "no 'area'"),
            ([{"x": 0.2, "area": 1.0}, {"_id": 0, "area": 5.0}], "has been answered"),
        ]:
            with pytest.raises(ValueError, match=words):
                generator.ingest(wrong)
        assert len(campaign.to_pandas()) == 7
        generator.finalize()
        generator.finalize()


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"variables": {"y": SimpleNamespace(domain=[0.0, 1.0])}}, "variables are"),
        ({"objectives": {"area": "MAXIMIZE", "cost": "MINIMIZE"}}, "2 objectives"),
        ({"constraints": {"c": ["LESS_THAN", 0.0]}}, "constraints"),
        ({"variables": {"x": SimpleNamespace()}}, "neither a range nor a set"),
    ],
)
def test_a_vocs_that_the_campaign_can_not_serve_is_refused(pairs, path, other, words):
    with opened(path, pairs) as campaign, pytest.raises(ValueError, match=words):
        gest.Generator(vocs(**other), campaign)


def test_the_ranges_of_a_vocs_hold(pairs, path):
    assert gest.axes(vocs()) == {"x": ("1", 0.0, 1.0)}
    assert gest.axes(vocs(variables={"x": SimpleNamespace(values={3, 1, 2})})) == {"x": ("1", 1.0, 3.0)}
    with opened(path, pairs) as campaign:
        with pytest.raises(ValueError, match="inside of the range"):
            gest.Generator(vocs(variables={"x": SimpleNamespace(domain=[0.0, 0.7])}), campaign).suggest(3)
        assert not campaign.waiting.ids


def test_an_optimizer_of_bluesky_adaptive(pairs, path):
    with opened(path, pairs) as campaign:
        optimizer = bluesky.Optimizer(campaign, rules=[budget(6)])
        assert optimizer.should_stop() == (False, None)
        for _ in range(4):
            (point,) = optimizer.suggest()
            assert set(point) == {"x", "_id"}
            optimizer.ingest([{"_id": point["_id"], "area": measured(campaign, point["_id"])}])
        number, inputs, outcomes = optimizer.get_best_points()[0]
        assert outcomes["area"] == max(measured(campaign, i) for i in range(4))
        assert inputs == {"x": float(campaign._asked_at(number)[0])}
        points = optimizer.suggest(2)
        optimizer.ingest([{"_id": points[0]["_id"], "area": 0.5}])
        optimizer.register_failures(points)
        assert campaign.to_pandas().status.tolist()[-2:] == ["measured", "failed"]
        optimizer.checkpoint()
        assert optimizer.should_stop() == (True, "the budget of 6 points is used")


LIBENSEMBLE = """
import numpy as np
import gpax_lab
gpax_lab.setup(verbose=False)
from gest_api import Generator
from gest_api.vocs import VOCS
from libensemble import Ensemble
from libensemble.alloc_funcs.start_only_persistent import only_persistent_gens
from libensemble.specs import AllocSpecs, ExitCriteria, GenSpecs, LibeSpecs, SimSpecs
from small_campaign import SEEDS, fixed
from gpax_lab.ask_tell import gest, open_campaign

def simulated(H):
    out = np.zeros(1, dtype=[("area", float)])
    out["area"] = 4 * H["x"] * (1 - H["x"])
    return out

if __name__ == "__main__":
    vocs = VOCS(variables={"x": [0.0, 1.0]}, objectives={"area": "MAXIMIZE"})
    campaign = open_campaign("a.gpxj", fixed(2), key=3, seeds=SEEDS, inputs=gest.axes(vocs), output=("area", "1"))
    generator = gest.Generator(vocs, campaign)
    assert isinstance(generator, Generator)
    ensemble = Ensemble(
        sim_specs=SimSpecs(sim_f=simulated, vocs=vocs),
        gen_specs=GenSpecs(generator=generator, initial_batch_size=3, batch_size=2, vocs=vocs),
        alloc_specs=AllocSpecs(alloc_f=only_persistent_gens),
        exit_criteria=ExitCriteria(sim_max=9),
        libE_specs=LibeSpecs(comms="local", nworkers=2, gen_on_manager=True, final_gen_send=True),
    )
    ensemble.run()
    done = ensemble.H[ensemble.H["sim_ended"]]
    assert len(done) >= 9
    table = campaign.to_pandas()
    for row in done:
        assert table.x[row["_id"]] == row["x"] and table.area[row["_id"]] == row["area"]
    assert (table.status == "measured").sum() == len(done), table
    print("ids", sorted(int(i) for i in done["_id"]))
"""

BLUESKY = """
import gpax_lab
gpax_lab.setup(verbose=False)
from bluesky.run_engine import RunEngine
from bluesky_adaptive import protocols
from bluesky_adaptive.plans import optimize
from ophyd.sim import det, motor
from small_campaign import SEEDS, fixed
from gpax_lab.ask_tell import bluesky, open_campaign
from gpax_lab.experiment.stopping import budget

read, documents = {}, []
engine = RunEngine({})

def collect(name, document):
    documents.append((name, document))
    if name == "event" and "det" in document["data"]:
        read[document["data"]["motor"]] = document["data"]["det"]

engine.subscribe(collect)

def evaluated(uid, suggestions):
    nearest = {one["_id"]: min(read, key=lambda x: abs(x - one["motor"])) for one in suggestions}
    assert all(abs(nearest[one["_id"]] - one["motor"]) < 1e-9 for one in suggestions)
    return [{"_id": number, "det": read[x]} for number, x in reversed(nearest.items())]

seeds = SEEDS * 2 - 1
from gpax_lab import acquisition, bayes_opt, gp
from small_campaign import prior_draws
bounds = [[-1.0, 1.0]]
experiment = bayes_opt(gp.exact(1, bounds=bounds), prior_draws(), acquisition.log_ei(), acquisition.grid(bounds, (41,)))
campaign = open_campaign("b.gpxj", experiment, key=3, seeds=seeds, inputs={"motor": "mm"}, output=("det", "counts"))
optimizer = bluesky.Optimizer(campaign, rules=[budget(9)])
for wanted in ("Optimizer", "TrialFaultAware", "SupportsStoppingCriteria", "Checkpointable"):
    assert isinstance(optimizer, getattr(protocols, wanted)), wanted
engine(optimize(protocols.OptimizationProblem(optimizer, [motor], [det], evaluated), 20, 1, checkpoint_interval=1))
table = campaign.to_pandas()
assert (table.status == "measured").all() and len(table) == 9, table
events = [d["data"] for n, d in documents if n == "event" and any("suggest" in k for k in d["data"])]
assert optimizer.get_best_points()[0][2]["det"] > 0.95 * max(read.values())

def broken(uid, suggestions):
    raise RuntimeError("no beam")

try:
    engine(optimize(protocols.OptimizationProblem(optimizer, [motor], [det], broken), 1, 1))
except Exception as error:
    assert "no beam" in repr(error) or "no beam" in repr(error.__cause__), error
assert campaign.to_pandas().status.tolist()[-1] == "failed"
campaign.close()
print("events", len(documents))
"""

XOPT = """
import gpax_lab
gpax_lab.setup(verbose=False)
from gest_api.vocs import VOCS
from small_campaign import SEEDS, fixed
from xopt import Evaluator, Xopt
from gpax_lab.ask_tell import gest, open_campaign

vocs = VOCS(variables={"x": [0.0, 1.0]}, objectives={"area": "MAXIMIZE"})
campaign = open_campaign("x.gpxj", fixed(2), key=3, seeds=SEEDS, inputs=gest.axes(vocs), output=("area", "1"))
generator = gest.Generator(vocs, campaign)
evaluator = Evaluator(function=lambda given: {"area": 4 * given["x"] * (1 - given["x"])})
xopt = Xopt(generator=generator, evaluator=evaluator)
for _ in range(7):
    xopt.step()
table = campaign.to_pandas()
assert (table.status == "measured").sum() == 7, table
assert table.area.tolist() == xopt.data.area.tolist()
print("done")
"""


def in_a_process(tmp_path, text):
    """Run a program in a folder of its own."""
    (tmp_path / "program.py").write_text(text)
    path = os.pathsep.join([str(Path(__file__).parents[1] / "experiment"), *sys.path])
    command, env = [sys.executable, "program.py"], os.environ | {"PYTHONPATH": path}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    return done.stdout


@pytest.mark.slow
def test_libensemble_drives_a_campaign(tmp_path):
    pytest.importorskip("libensemble")
    pytest.importorskip("gest_api")
    assert "ids [0, 1, 2, 3, 4, 5, 6, 7, 8" in in_a_process(tmp_path, LIBENSEMBLE)


@pytest.mark.slow
def test_a_run_engine_drives_a_campaign(tmp_path):
    pytest.importorskip("bluesky_adaptive")
    pytest.importorskip("ophyd")
    assert "events" in in_a_process(tmp_path, BLUESKY)


@pytest.mark.slow
def test_xopt_drives_a_campaign(tmp_path):
    pytest.importorskip("xopt")
    assert "done" in in_a_process(tmp_path, XOPT)


def test_vocs_of_gest_api(pairs, path):
    made = pytest.importorskip("gest_api.vocs")
    import gest_api

    real = made.VOCS(variables={"x": [0.0, 1.0]}, objectives={"area": "MINIMIZE"}, constants={"dwell": 0.1})
    with open_campaign(path, pairs, key=0, seeds=SEEDS, inputs=gest.axes(real), output=("area", "1")) as campaign:
        generator = gest.Generator(real, campaign)
        assert isinstance(generator, gest_api.Generator)
        assert generator.suggest(1) == [{"x": 0.0, "dwell": 0.1, "_id": 0}]
