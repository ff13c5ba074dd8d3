"""Campaigns over any number of axes, with competing laws, batches and planned interventions, from settings alone."""

import numpy as np
import pytest
from typer.testing import CliRunner

from gpax_lab.settings import parse
from gpax_lab.settings._files import to_toml
from gpax_lab.storage import read

pytest.importorskip("matplotlib")
from gpax_lab.cli._app import app
from gpax_lab.cli._review import review

SOURCE = '''
from collections.abc import Sequence
import numpy as np
from gpax_lab.core import Axis, Instrument, Measurement

class Bench(Instrument):
    """A bench of knobs."""
    repeatable = True
    units = {"power": "W"}

    def __init__(self, axes: Sequence[Axis]):
        self.axes = tuple(axes)

    def truth(self, x):
        return [self.measure(at, "truth") for at in x]

    def measure(self, x, token):
        share = np.array([(v - a.low) / (a.high - a.low) for v, a in zip(x, self.axes)])
        power = 2.0 * share[0] - np.sum((share[1:] - 0.5) ** 2)
        return Measurement({"power": np.atleast_1d(power)}, self.units, np.asarray(x))

    def make_safe(self): ...
    def close(self): ...
'''
LAPLACE = {"kind": "laplace", "num_samples": 8, "starts": 2, "iterations": 20}


@pytest.fixture
def bench(package, tmp_path):
    """Run a campaign on a bench with these axes; its text and journal."""
    package("lab-bench", "bench", SOURCE, {"instruments": {"bench": "lab_bench:Bench"}})

    def run(axes, **more):
        table = {
            "campaign": {"steps": 2, "seeds": 4},
            "instrument": {"kind": "bench", "axes": axes},
            "quantity": {"scalarizer": "mean_of", "array": "power", "unit": "W"},
            "sampler": LAPLACE,
        }
        path = tmp_path / "bench.toml"
        path.write_text(to_toml(parse(table | more)), encoding="utf-8")
        result = CliRunner().invoke(app, ["run", str(path), "--out", str(tmp_path / "out")])
        assert result.exit_code == 0, result.output
        return result.output, tmp_path / "out" / "campaign.gpxj"

    return run


def test_laws_compete_over_one_axis_and_another_one_joins(bench):
    normal = {"distribution": "Normal", "loc": 0.0, "scale": 2.0}
    laws = {
        "line": {"law": "line", "y": [0.0, 2.0]},
        "flat": {"formula": "C", "prior": {"C": normal}, "inputs": ["V"]},
    }
    joins = {"kind": "adopt", "step": 1, "name": "square", "formula": "q * V ** 2", "prior": {"q": normal}}
    text, journal = bench(
        {"V": {"unit": "V", "low": 0.0, "high": 5.0}},
        hypotheses={"laws": laws, "scale": [1.0, 1.0]},
        acquisition={"function": "uncertainty", "candidates": {"kind": "grid", "shape": [16]}},
        interventions=[joins | {"inputs": ["V"]}],
    )
    assert "Hypotheses" in text
    for name in ("line", "flat", "square", "none of these"):
        assert name in text
    assert [frame.header["name"] for frame in read(journal).of("intervention")] == ["square"]
    found = review(journal)
    assert found.posterior.names == ("line", "flat", "none of these", "square")
    assert np.isclose(float(found.posterior.probability.sum()), 1.0)
    assert found.points.x.shape == (6, 1)
    assert found.truth is not None


def test_batches_over_three_axes_of_different_units(bench):
    axes = {
        "T": {"unit": "K", "low": 300.0, "high": 400.0},
        "V": {"unit": "V", "low": -1.0, "high": 1.0},
        "z": {"unit": "m", "low": 0.0, "high": 3e-6},
    }
    text, journal = bench(
        axes,
        acquisition={
            "function": "ucb",
            "batch_size": 2,
            "by_travel": True,
            "candidates": {"kind": "box", "starts": 64},
        },
        model={"kernel": 'active([0], linear) + scope("rest", active([1, 2], matern52))', "standardize": [0.0, 1.0]},
    )
    assert " K, " in text
    assert " um) " in text
    found = review(journal)
    assert found.points.x.shape == (4 + 2 * 2, 3)
    assert found.positions.shape == (2000, 3)
    assert journal.with_suffix(".png").exists()
