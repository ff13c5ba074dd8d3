"""Studies: what one campaign alone gives, the same on one device, on eight and in two processes; bands and tables."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from small_study import DOMAIN, KEYS, SEEDS, STEPS, hill, make, wave

from gpax_lab.experiment import Problem, simulate, study
from gpax_lab.experiment._study import initial_observations


@pytest.fixture(scope="module")
def result():
    experiments, problems = make()
    lines = []
    found = study(KEYS, experiments, problems, DOMAIN, STEPS, seeds=SEEDS, callback=lines.append)
    assert len(lines) == 4
    return experiments, problems, found


@pytest.mark.slow
def test_it_is_what_single_campaigns_give(result):
    experiments, problems, found = result
    assert found.x.shape == (2, 2, 5, SEEDS + STEPS, 1)
    for e, o, experiment, problem in ((0, 1, "ei", "wave"), (1, 0, "unc", "hill")):
        key_place, key_seed, key_go = jax.random.split(KEYS[3], 3)
        x = DOMAIN.space_filling(key_place, SEEDS)
        measure, begin = problems[problem].measure, experiments[experiment]
        y = jax.vmap(measure)(jax.random.split(key_seed, SEEDS), x)
        _, path = simulate(key_go, begin, measure, STEPS, initial_observations(begin, x, y, STEPS))
        np.testing.assert_array_equal(found.x[e, o, 3], np.concatenate([x, path.x[:, 0]]))
        np.testing.assert_array_equal(found.y[e, o, 3], np.concatenate([y, path.y[:, 0]]))


def test_campaigns_of_a_key_begin_alike_and_keys_differ(result):
    found = result[2]
    np.testing.assert_array_equal(found.x[0, :, :, :SEEDS], found.x[1, :, :, :SEEDS])
    np.testing.assert_array_equal(found.y[0, :, :, :SEEDS], found.y[1, :, :, :SEEDS])
    assert len({found.x[0, 0, k].tobytes() for k in range(5)}) == 5


def test_regret_is_that_of_the_points_that_did_not_fail(result):
    found = result[2]
    best = [max(float(hill(p)) for p in DOMAIN.points), 1.0]
    for o, truth in enumerate((hill, wave)):
        for k in range(5):
            so_far = -np.inf
            for i, (x, y) in enumerate(zip(found.x[0, o, k], found.y[0, o, k], strict=True)):
                so_far = max(so_far, float(truth(x))) if np.isfinite(y) else so_far
                assert found.regret[0, o, k, i] == pytest.approx(best[o] - so_far, abs=1e-12)
    assert np.isnan(found.y[:, 1]).any()
    assert not np.isnan(found.y[:, 0]).any()


def test_bands_and_differences_by_hand(result):
    found = result[2]
    bands = found.bands(0.5)
    regret = found.regret[0, 0]
    np.testing.assert_allclose(bands["mean"][0, 0], regret.mean(axis=0))
    np.testing.assert_allclose(bands["error"][0, 0], regret.std(axis=0, ddof=1) / np.sqrt(5))
    np.testing.assert_allclose(bands["low"][0, 0], np.quantile(regret, 0.25, axis=0))
    gap = found.difference("ei", "unc")
    np.testing.assert_allclose(gap["mean"][0], (found.regret[0, 0] - found.regret[1, 0]).mean(axis=0))
    np.testing.assert_array_equal(gap["mean"][:, :SEEDS], 0.0)


def test_one_labelled_table(result):
    pytest.importorskip("xarray")
    table = result[2].to_xarray()
    assert table.regret.sel(experiment="unc", objective="wave").shape == (5, SEEDS + STEPS)
    assert table.attrs["seeds"] == SEEDS


def test_printed_it_gives_the_report(result):
    found = result[2]
    first, *lines = str(found).splitlines()
    assert first.startswith(f"regret after {SEEDS + STEPS} points, {SEEDS} of them seeds; mean of {len(KEYS)} keys")
    assert len(lines) == len(found.experiments) * len(found.objectives)
    mean = found.bands()["mean"][:, 0, -1]
    best, worst = found.experiments[int(mean.argmin())], found.experiments[int(mean.argmax())]
    assert lines[0].startswith(f"  {found.objectives[0]}: {best} {mean.min():.4g} +- ")
    assert f"against {best})" in lines[1]
    assert worst in lines[1]


def test_a_problem_is_looked_at_before_anything_runs():
    experiments, _ = make()
    with pytest.raises(TypeError, match=r"must be Problem\(measure, truth\)"):
        study(KEYS, experiments, {"mine": lambda key, x: hill(x)}, DOMAIN, STEPS)
    with pytest.raises(ValueError, match=r"measure of 'mine' must return one number, shape \(\); got \(1,\)"):
        study(KEYS, experiments, {"mine": Problem(lambda key, x: 3 * x, hill)}, DOMAIN, STEPS)


def test_nothing_to_compare_is_an_error():
    experiments, problems = make()
    with pytest.raises(ValueError, match="a study needs"):
        study(KEYS, {}, problems, DOMAIN, STEPS)
    with pytest.raises(ValueError, match="a study needs"):
        study(KEYS, experiments, problems, DOMAIN, STEPS, seeds=0)
    endless = {"mine": next(iter(problems.values()))._replace(best=float("nan"))}
    with pytest.raises(ValueError, match="the optimum of 'mine' is a finite number"):
        study(KEYS, experiments, endless, DOMAIN, STEPS)


# Elsewhere.


def started(*arguments, flags=""):
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    environment = os.environ | {"XLA_FLAGS": flags, "PYTHONPATH": path, "JAX_PLATFORMS": "cpu", "JAX_ENABLE_X64": "1"}
    command = [sys.executable, Path(__file__).with_name("small_study.py"), *map(str, arguments)]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)


def agrees(path, found, devices):
    report = json.loads(path.read_text(encoding="utf-8"))
    assert report["devices"] == devices
    np.testing.assert_array_equal(report["x"], found.x)
    np.testing.assert_allclose(report["regret"], found.regret, rtol=1e-12)


@pytest.mark.slow
def test_eight_devices_give_what_one_gives(result, tmp_path):
    process = started(tmp_path / "eight.json", flags="--xla_force_host_platform_device_count=8")
    _, complaint = process.communicate(timeout=250)
    assert process.returncode == 0, complaint
    agrees(tmp_path / "eight.json", result[2], devices=8)


@pytest.mark.slow
def test_two_processes_give_what_one_gives(result, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    both = [started(tmp_path / f"{i}.json", port, i) for i in range(2)]
    for process in both:
        _, complaint = process.communicate(timeout=250)
        assert process.returncode == 0, complaint
    for i in range(2):
        agrees(tmp_path / f"{i}.json", result[2], devices=2)
