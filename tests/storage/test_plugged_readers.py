"""Readers of other packages: taken for their extensions, and by name from settings."""

import numpy as np
import pytest

from gpax_lab.settings import SettingsError, build, parse
from gpax_lab.storage import UnreadableFile, load

SOURCE = """
import numpy as np
from gpax_lab.storage import Dataset, axis

def read(path):
    values = np.loadtxt(path)
    axes = (axis("T", np.arange(values.size, dtype=float), "K"),)
    return {"heat": Dataset(values, axes, "heat", "J")}

read.extensions = (".heat",)
"""


def test_a_file_of_another_programs_format_is_read_and_played_back(package, tmp_path):
    path = tmp_path / "sample.heat"
    path.write_text("\n".join(map(str, np.linspace(0.0, 1.0, 12))), encoding="utf-8")
    with pytest.raises(UnreadableFile, match="no reader for"):
        load(path)
    package("lab-heat", "heat", SOURCE, {"readers": {"heat": "lab_heat:read"}})
    assert load(path)["heat"].unit == "J"
    instrument = {"kind": "dataset", "file": str(path), "over": ["T"]}
    table = {
        "campaign": {"steps": 4, "seeds": 3},
        "instrument": instrument,
        "quantity": {"scalarizer": "mean_of", "array": "heat"},
        "acquisition": {"candidates": {"kind": "pool"}},
    }
    plan = build(parse(table))
    assert plan.candidates.points.shape == (12, 1)
    assert plan.scalarize(plan.driver.measure(np.array([11.0]), "t")) == (1.0, 0.0)
    with pytest.raises(SettingsError, match='no reader "haet"'):
        build(parse(table | {"instrument": instrument | {"reader": "haet"}}))
