"""A laboratory's own package, made on the fly: its driver, scalarizer, acquisition function and law run a campaign."""

import json

import pytest
from typer.testing import CliRunner

from gpax_lab.settings import SettingsError, load, parse
from gpax_lab.settings._changes import changes
from gpax_lab.settings._files import to_plain
from gpax_lab.storage import read

pytest.importorskip("matplotlib")
from gpax_lab.cli._app import app

SOURCE = '''
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, NamedTuple
import numpy as np
from gpax_lab.core import Instrument, Measurement
import jax.numpy as jnp
import numpyro.distributions as dist
from gpax_lab.means import Law

class AtMost(NamedTuple):
    gt: float
    le: float

@dataclass(frozen=True)
class Axis:
    """One setpoint.

    Args:
        low: lowest value.
        high: highest value.
    """
    name: str
    unit: str
    low: float
    high: float

class Furnace(Instrument):
    """A tube furnace with a mass spectrometer.

    Args:
        axes: its setpoints.
        gas: what flows through it.
        flow: of the gas [sccm].
        channels: of the spectrometer.
    """
    repeatable = True
    units = {"counts": "Hz"}

    def __init__(self, axes: Sequence[Axis], *, gas: Literal["N2", "Ar"] = "Ar",
                 flow: Annotated[float, AtMost(0.0, 100.0)] = 20.0, channels: int = 8):
        self.axes, self.gas, self.flow, self.channels = tuple(axes), gas, flow, channels
        self.open = False

    def connect(self):
        self.open = True

    def identity(self):
        return f"furnace under {self.gas}"

    def measure(self, x, token):
        assert self.open
        share = [(v - a.low) / (a.high - a.low) for v, a in zip(x, self.axes)]
        height = np.exp(-sum((s - 0.7) ** 2 for s in share))
        return Measurement({"counts": height * np.ones(self.channels)}, dict(self.units), np.asarray(x, float))

    def make_safe(self):
        pass

    def close(self):
        self.open = False

def mean_rate(counts, *, scale: float = 1.0):
    """Mean count rate.

    Args:
        scale: factor.
    """
    return scale * float(np.mean(counts))

mean_rate.quantity, mean_rate.unit = "rate", "{counts}"

def bold(weight: float = 3.0):
    """Mean and so many standard deviations."""
    return lambda mean, std: mean + weight * std

def bump(width: float = 0.5):
    """A bump in the middle."""
    def mean(x, p):
        return p["A"] * jnp.exp(-((x[0] - 900.0) / (width * 400.0)) ** 2) + 0.0 * x[1]
    return Law(mean, {"A": dist.HalfNormal(1.0)}, {"A": "y"}, "m = A exp(...)", "ours", 2)
'''
POINTS = {
    "instruments": {"furnace": "lab_furnace:Furnace"},
    "scalarizers": {"mean_rate": "lab_furnace:mean_rate"},
    "acquisitions": {"bold": "lab_furnace:bold"},
    "laws": {"bump": "lab_furnace:bump"},
}
TOML = """
[campaign]
steps = 2
seeds = 4
[instrument]
kind = "furnace"
gas = "N2"
[instrument.axes]
temperature = { unit = "K", low = 700.0, high = 1100.0 }
pressure = { unit = "Pa", low = 1.0, high = 3.0 }
[quantity]
scalarizer = "mean_rate"
scale = 2.0
[model]
mean = { law = "bump", width = 0.4, prior = { A = { distribution = "HalfNormal", scale = 2.0 } } }
[sampler]
kind = "laplace"
num_samples = 8
starts = 2
iterations = 20
[acquisition]
function = "bold"
weight = 1.5
[acquisition.candidates]
kind = "grid"
shape = [8, 8]
[[interventions]]
kind = "veto"
step = 1
points = [[700.0, 1.0]]
"""


@pytest.fixture
def furnace(package, tmp_path):
    """The settings file, with the package installed."""
    package("lab-furnace", "furnace", SOURCE, POINTS)
    path = tmp_path / "furnace.toml"
    path.write_text(TOML, encoding="utf-8")
    return path


def ask(*arguments):
    """Exit status and text of one command, run in this process."""
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    return result.exit_code, result.output


def test_a_campaign_runs_with_all_of_it(furnace, tmp_path):
    code, text = ask("run", furnace, "--out", tmp_path / "out")
    assert code == 0, text
    assert "Largest rate" in text
    assert " Hz at (" in text
    assert " K, " in text
    assert " Pa)" in text
    journal = tmp_path / "out" / "campaign.gpxj"
    contents = read(journal)
    assert next(frame.header["axes"] for frame in contents.of("campaign")) == [
        {"name": "temperature", "unit": "K", "low": 700.0, "high": 1100.0},
        {"name": "pressure", "unit": "Pa", "low": 1.0, "high": 3.0},
    ]
    assert contents.of("instrument")[0].header["identity"] == "furnace under N2"
    assert [frame.header["action"] for frame in contents.of("intervention")] == ["veto"]
    assert len(contents.of("reading")) == 6
    assert 'function = "bold"\n' in (tmp_path / "out" / "settings.toml").read_text(encoding="utf-8")
    assert ask("resume", journal)[0] == 0


def test_the_order_of_axes_survives_the_journal_and_their_limits_may_narrow(furnace):
    """A journal sorts the keys of its tables."""
    settings = load(furnace)
    again = parse(json.loads(json.dumps(to_plain(settings), sort_keys=True)))
    assert again == settings
    assert list(again.instrument.axes) == ["temperature", "pressure"]
    furnace.write_text(TOML.replace("high = 1100.0", "high = 1000.0"), encoding="utf-8")
    (narrower,) = changes(settings, load(furnace))
    assert (narrower.name, narrower.refused) == ("instrument.axes.temperature.high", "")
    (wider,) = changes(load(furnace), settings)
    assert "wider" in wider.refused


MISTAKES = [
    ('gas = "N2"', 'gas = "He"', ["instrument.gas = 'He'", '"N2" or "Ar"']),
    ('gas = "N2"', "flow = 200.0", ["instrument.flow = 200.0", "above 0 and at most 100"]),
    ('gas = "N2"', "flov = 20.0", ["instrument.flov is unknown", 'Did you mean "flow"?']),
    ('gas = "N2"', "channels = 2.5", ["instrument.channels = 2.5", "a whole number"]),
    ("high = 1100.0", "high = 600.0", ["instrument.axes.temperature.high = 600.0", "above low = 700.0"]),
    ('unit = "K", ', "", ["instrument.axes.temperature.unit is missing"]),
    ("scale = 2.0", "scael = 2.0", ["quantity.scael is unknown", 'Did you mean "scale"?']),
    ("weight = 1.5", "weight = true", ["acquisition.weight = True", "a finite number"]),
    ("weight = 1.5", "beta = 1.5", ["acquisition.beta has no meaning", '"ucb"']),
    ("width = 0.4", "wide = 0.4", ["model.mean.wide is unknown", 'Did you mean "width"?']),
    ("shape = [8, 8]", "shape = [64]", ["acquisition.candidates.shape = [64]", "a list of 2"]),
]


@pytest.mark.parametrize(("right", "wrong", "words"), MISTAKES, ids=[m[1] or m[0] for m in MISTAKES])
def test_its_settings_are_checked_field_by_field(furnace, right, wrong, words):
    furnace.write_text(TOML.replace(right, wrong), encoding="utf-8")
    with pytest.raises(SettingsError) as caught:
        load(furnace)
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_the_command_line_checks_and_explains_it(furnace):
    code, text = ask("settings", furnace)
    assert code == 0, text
    assert "Good. rate in Hz over temperature 700 to 1100 K, pressure 1 to 3 Pa." in text
    code, text = ask("settings", "--explain")
    assert code == 0
    assert '[instrument] kind = "furnace"  A tube furnace with a mass spectrometer.' in text
    assert "flow      20.0; a finite number above 0 and at most 100 [sccm] - of the gas" in text
    assert ask("settings")[0] == 1
