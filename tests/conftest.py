"""A tiny recorded map, settings that run in seconds, and the command line in a process of its own."""

import os
import subprocess
import sys

import h5py
import numpy as np
import pytest

from gpax_lab.spectra.loops import triangle

SIDE, POINTS = 6, 16
FAILED = (2, 3)  # pixel whose recording is spoiled


def loop(x, y):
    """A rectangular loop whose area grows towards the corner (1, 1) of the unit square."""
    up = np.arange(POINTS) >= POINTS // 2
    return np.where(up, -1.0, 1.0) * (1e-4 + 3e-4 * np.exp(-3.0 * ((x - 0.8) ** 2 + (y - 0.8) ** 2)))


@pytest.fixture(scope="session")
def recorded(tmp_path_factory):
    """An HDF5 file laid out like the real map, 6 x 6 pixels over 1 um."""
    path = tmp_path_factory.mktemp("recorded") / "map.h5"
    unit = np.linspace(0.0, 1.0, SIDE)
    loops = np.array([[loop(x, y) for y in unit] for x in unit])
    loops[FAILED] = 0.5
    with h5py.File(path, "w") as file:
        group = file.create_group("Channel_000/generic")
        group["generic"], group["Voltage"] = loops, np.asarray(triangle(8.0, POINTS))
        group["X"], group["Y"] = 1e-6 * unit, 1e-6 * unit
    return path


@pytest.fixture(scope="session")
def replay_settings(recorded):
    """Plain settings of a campaign on the recorded map."""
    return {
        "campaign": {"name": "tiny", "steps": 5, "seeds": 5, "key": 3},
        "instrument": {"kind": "replay", "file": str(recorded)},
        "quantity": {"scalarizer": "log_loop_area", "reject_above": 1e-3},
        "sampler": {"kind": "laplace", "num_samples": 8, "starts": 2, "iterations": 20},
        "acquisition": {"candidates": {"kind": "pool"}},
    }


@pytest.fixture(scope="session")
def twin_settings():
    """Plain settings of a campaign on the simulated microscope."""
    return {
        "campaign": {"steps": 6, "seeds": 4, "key": 1},
        "instrument": {"kind": "twin", "seed": 5, "dwell": 0.05},
        "sampler": {"kind": "nuts", "num_warmup": 20, "num_samples": 20, "thin_to": 8, "rewarm": 5},
        "acquisition": {"candidates": {"kind": "grid", "shape": [12, 12]}},
    }


@pytest.fixture(scope="session")
def environment(tmp_path_factory):
    """Variables for a process of its own, which keeps what it compiles where the other tests keep it."""
    kept = os.path.abspath(os.environ.get("GPAX_LAB_CACHE", ".jax_cache"))
    return os.environ | {"XDG_CACHE_HOME": kept, "LOCALAPPDATA": kept}


@pytest.fixture
def gpax_lab(environment):
    """Start the command line with some arguments, warnings being errors; what still runs afterwards is ended."""
    started = []

    def start(*arguments):
        words = [sys.executable, "-W", "error", "-c", "from gpax_lab.cli import main; main()", *map(str, arguments)]
        pipe = subprocess.PIPE
        started.append(subprocess.Popen(words, env=environment, text=True, stdout=pipe, stderr=pipe))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Make a package with entry points that is found by imports, as if it were installed."""

    def make(distribution, folder, source, points):
        """A distribution `distribution` 1.2 with one module of that name, and entry points by group and name."""
        root = tmp_path / f"site-{folder}"
        about = root / f"{distribution.replace('-', '_')}-1.2.dist-info"
        about.mkdir(parents=True)
        module = distribution.replace("-", "_")
        (root / f"{module}.py").write_text(source, encoding="utf-8")
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.2\n")
        lines = [
            line
            for group, names in points.items()
            for line in (f"[gpax_lab.{group}]", *(f"{name} = {value}" for name, value in names.items()), "")
        ]
        (about / "entry_points.txt").write_text("\n".join(lines))
        monkeypatch.syspath_prepend(str(root))
        monkeypatch.delitem(sys.modules, module, raising=False)
        return root

    return make
