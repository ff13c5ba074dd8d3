"""Campaigns from a settings file from the first line to the last: every kind of model and sampler, in few steps."""

import numpy as np
import pytest
from typer.testing import CliRunner

from gpax_lab.storage import Dataset, axis, read, save

pytest.importorskip("matplotlib")
from gpax_lab.cli._app import app

NORMAL = '{ distribution = "Normal", loc = 0.0, scale = 1.0 }'
LAW = f'inputs = ["x", "y"], prior = {{ A = {NORMAL} }}'
LAWS = f'[hypotheses.laws]\na = {{ formula = "A * sin(3 * x)", {LAW} }}\nb = {{ formula = "A * y", {LAW} }}\n'
COMPETING = f"[hypotheses]\nscale = [0.0, 1.0]\nflexible = false\n{LAWS}"
BANDIT = COMPETING.replace("flexible", 'follow = { kind = "bandit", num_initial = 2 }\nflexible')
QUICK = "num_samples = 16\n"
LAPLACE = f'[sampler]\nkind = "laplace"\nstarts = 2\niterations = 20\n{QUICK}'
SMC = f'[sampler]\nkind = "smc"\n{QUICK}'
NUTS = f'[sampler]\nkind = "nuts"\nnum_warmup = 20\n{QUICK}'
DEEP = '[model]\nkind = "deep_kernel"\nimage = { file = "image.h5", size = 4 }\n'
RECORD = """[instrument]
kind = "dataset"
file = "image.h5"
over = ["x", "y"]
[quantity]
scalarizer = "mean_of"
array = "generic"
[acquisition]
candidates = { kind = "pool" }
"""
TWIN = '[instrument]\nkind = "twin"\n[acquisition]\ncandidates = { kind = "grid", shape = [6, 6] }\n'
CAMPAIGNS = {
    "laplace": (RECORD, LAPLACE),
    "nuts": (RECORD, NUTS),
    "smc": (RECORD, SMC),
    "sparse": (RECORD, f'{LAPLACE}[model]\nkind = "sparse"\ninducing = 5\n'),
    "parametric": (RECORD, f'{SMC}[model]\nkind = "parametric"\nmean = {{ formula = "A * x", {LAW} }}\n'),
    "heavy tails": (RECORD, f'{LAPLACE}[model]\nnoise = {{ kind = "student", df = 4.0 }}\n'),
    "uneven noise": (RECORD, f'{LAPLACE}[model]\nnoise = {{ kind = "heteroscedastic", anchors = 3 }}\n'),
    "ensemble": (
        RECORD,
        f"{DEEP}encoder = {{ widths = [4] }}\n"
        '[sampler]\nkind = "ensemble"\nmembers = 2\nnum_steps = 10\nnum_update_steps = 5\n',
    ),
    "description": (RECORD, f'{DEEP}positions = true\nencoder = {{ kind = "principal_components" }}\n{LAPLACE}'),
    "average": (RECORD, f"{SMC}{COMPETING}"),
    "bandit": (RECORD, f"{NUTS}{BANDIT}"),
    "twin": (TWIN, LAPLACE),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CAMPAIGNS)
def test_a_campaign_runs_and_is_taken_up_again(tmp_path, name, monkeypatch):
    """Its journal holds every step, finite values and the draws of its fit; its results are drawn and read again."""
    monkeypatch.chdir(tmp_path)
    at = np.linspace(0.0, 2.0, 8)
    image = np.sin(3.0 * at)[:, None] * np.cos(2.0 * at)[None]
    save(tmp_path / "image.h5", {"image": Dataset(image, tuple(axis(name, at, "um") for name in "xy"), unit="V")})
    text, rest = CAMPAIGNS[name]
    path = tmp_path / "campaign.toml"
    path.write_text(f"[campaign]\nsteps = 3\nseeds = 4\n{text}{rest}", encoding="utf-8")
    result = CliRunner().invoke(app, ["run", str(path), "--out", str(tmp_path / "out")])
    assert result.exit_code == 0, (result.output, result.exception)
    journal = tmp_path / "out" / "campaign.gpxj"
    contents = read(journal)
    assert len(contents.of("reading")) == 7
    assert len(contents.of("state")) == 4
    path.write_text(path.read_text(encoding="utf-8").replace("steps = 3", "steps = 4", 1), encoding="utf-8")
    more = CliRunner().invoke(app, ["resume", str(journal), "--settings", str(path), "--yes"])
    assert more.exit_code == 0, (more.output, more.exception)
    assert len(read(journal).of("reading")) == 8
