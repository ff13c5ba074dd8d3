"""The settings file of the page about a Nanonis, against the simulated controller."""

import re
import tomllib
from pathlib import Path

import pytest
from gpax_instruments.drivers import Nanonis
from gpax_instruments.twins import start_nanonis
from gpax_instruments.twins._nanonis_world import RANGE_M
from typer.testing import CliRunner

from gpax_lab.cli._app import app
from gpax_lab.settings import build, load
from gpax_lab.storage import read

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "my-nanonis.md"


def example():
    """The block of TOML of the page."""
    (block,) = re.findall(r"```toml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)
    return block


def test_the_settings_of_the_page_make_a_driver(tmp_path):
    path = tmp_path / "nanonis.toml"
    path.write_text(example(), encoding="utf-8")
    plan = build(load(path))
    assert isinstance(plan.driver, Nanonis)
    assert [axis.high for axis in plan.driver.axes] == [8e-7, 8e-7]
    assert plan.driver.limits == {"max_bias": 2.0, "max_setpoint": 1e-7}


@pytest.mark.slow
def test_the_settings_of_the_page_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with start_nanonis(seed=1) as twin:
        text = example().replace("tcp://127.0.0.1:6501", twin.address).replace("steps = 40", "steps = 4")
        text = text.replace("seeds = 8", "seeds = 4").replace("[32, 32]", "[8, 8]")
        text = text.replace('kind = "nuts"', 'kind = "laplace"\nnum_samples = 16\nstarts = 4')
        assert tomllib.loads(text)["instrument"]["axes"]["x"]["high"] < 0.5 * RANGE_M[0]
        Path("nanonis.toml").write_text(text, encoding="utf-8")
        done = CliRunner().invoke(app, ["run", "nanonis.toml"])
        assert done.exit_code == 0, done.output
    (journal,) = Path().rglob("*.gpxj")
    frames = read(journal).of("reading")
    assert len(frames) == 8
    assert all(frame.header["ok"] for frame in frames)
