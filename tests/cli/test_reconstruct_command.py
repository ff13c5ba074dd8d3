"""`gpax-lab reconstruct`: from a measured file with holes to maps and a plot."""

import numpy as np
import pytest
from typer.testing import CliRunner

from gpax_lab.storage import Dataset, axis, load, save

pytest.importorskip("matplotlib")
from gpax_lab.cli._app import app


def ask(*arguments):
    """Exit status and text of one command, run in this process."""
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    return result.exit_code, result.output


def test_holes_are_filled_and_nothing_is_written_over(tmp_path):
    i, j = np.mgrid[:12, :12]
    truth = np.sin(i / 3) * np.cos(j / 4)
    holes = np.random.default_rng(0).random(truth.shape) < 0.5
    at = np.linspace(0.0, 1e-6, 12)
    axes = tuple(axis(name, at, "m") for name in "xy")
    save(tmp_path / "scan.h5", {"scan": Dataset(np.where(holes, np.nan, truth), axes, "height", "nm")})
    config = tmp_path / "scan.toml"
    config.write_text(
        '[image]\nfile = "scan.h5"\n[model]\nparts = [["matern52", "matern52"]]\n[reconstruct]\nkey = 1\n',
        encoding="utf-8",
    )
    code, text = ask("reconstruct", config, "--out", tmp_path / "out")
    assert code == 0, text
    assert "percent of the pixels were measured" in text
    found = load(tmp_path / "out" / "reconstruction.h5")
    assert np.abs(found["mean"].values - truth)[holes].mean() < 0.2 * truth.std()
    assert found["std"].unit == "nm"
    assert (tmp_path / "out" / "reconstruction.png").read_bytes().startswith(b"\x89PNG")
    code, text = ask("reconstruct", config, "--out", tmp_path / "out")
    assert (code, "left as it is" in text) == (1, True)
    config.write_text('[image]\nfiel = "scan.h5"\n', encoding="utf-8")
    code, text = ask("reconstruct", config)
    assert (code, 'Did you mean "file"?' in text) == (1, True)
