"""A fresh process of a user who has set nothing never stalls: LAPACK inside compiled loops did (see linalg)."""

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import jax
import pytest

_CAMPAIGN = """
import pathlib, sys
import jax, jax.numpy as jnp, numpy as np
jax.config.update("jax_enable_x64", True)
jax.config.update("jax_compilation_cache_dir", sys.argv[1])
from gpax_lab import acquisition, kernels
from gpax_lab.experiment import Simulated, bayes_opt, run, simulate
from gpax_lab.inference import nuts
from gpax_lab.models import gp
from gpax_lab.core._observations import observations
from gpax_lab.storage import Campaign

BOUNDS = [[0.0, 1.0], [0.0, 1.0]]
def objective(key, x):
    return jnp.sin(5 * x[0]) + jnp.cos(3 * x[1]) + 0.05 * jax.random.normal(key)

sampler = nuts(30, 32, thin_to=16, max_tree_depth=6)
thousand = acquisition.grid(BOUNDS, (40, 25))
experiment = bayes_opt(gp.exact(2, kernels.rbf, bounds=BOUNDS), sampler, acquisition.log_ei(), thousand)
rng = np.random.default_rng(0)
seeds, key = rng.random((30, 2)), jax.random.key(1)
y = np.sin(5 * seeds[:, 0]) + np.cos(3 * seeds[:, 1])
if "simulate" in sys.argv:
    state, path = simulate(key, experiment, objective, 10, observations(seeds, y, capacity=40))
    assert state.obs.capacity in (40, 64) and np.isfinite(np.asarray(path.y)).all()
if "run" in sys.argv:
    with Campaign.create(pathlib.Path(sys.argv[2]), {"settings": {}}) as campaign:
        given = dict(seeds=seeds[:4], key=key, scalarize=Simulated.scalarize)
        assert run(experiment, Simulated(objective), campaign, 10, **given).finished
print("done")
"""


def campaign(cache, journal, limit, *ways):
    """Seconds that one fresh process took; a stall ends it at the limit and fails."""
    unset = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "XLA_FLAGS")
    environment = {name: value for name, value in os.environ.items() if name not in unset}
    command = [sys.executable, "-c", _CAMPAIGN, str(cache), str(journal), *ways]
    start = time.monotonic()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=limit, check=False)
    assert done.stdout.split() == ["done"], done.stderr
    return time.monotonic() - start


def limit_after(seconds):
    """Three times a first, watched, run."""
    return max(120.0, 3 * seconds)


@pytest.mark.timeout(900)
def test_a_fresh_process_does_not_stall(tmp_path):
    campaign(jax.config.jax_compilation_cache_dir, tmp_path / "0.gpxj", 600, "simulate")


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_twenty_fresh_processes_do_not_stall(tmp_path, capsys):
    """The first three find an empty cache of compiled functions, the others that of the first and run in pairs."""
    seconds: list[float] = []
    for number in range(3):
        limit = limit_after(seconds[0]) if seconds else 900
        seconds.append(campaign(tmp_path / f"cache-{number}", tmp_path / f"{number}.gpxj", limit, "simulate", "run"))

    def one_more(number):
        return campaign(tmp_path / "cache-0", tmp_path / f"{number}.gpxj", limit, "simulate", "run")

    with ThreadPoolExecutor(2) as pair:
        seconds += pair.map(one_more, range(3, 20))
    with capsys.disabled():
        print(f"\n20 processes, limit {limit:.0f} s, took {', '.join(f'{s:.1f}' for s in seconds)} s")
