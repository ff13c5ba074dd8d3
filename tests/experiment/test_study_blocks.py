"""A study in blocks: the same table from one process, from several, after a crash, and from an array of jobs."""

import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import jax
import numpy as np
import pytest
from small_study import DOMAIN, KEYS, SEEDS, STEPS, hill, make, noisy

from gpax_lab.experiment import Problem, Study, study
from gpax_lab.experiment._study_blocks import blocks, read_block

NUMBERS = ("x", "y", "regret", "trouble")


def one():
    """One experiment on one problem: what is compiled least."""
    experiments, problems = make()
    return {"ei": experiments["ei"]}, {"wave": problems["wave"]}


def of_one(**more):
    return study(KEYS, *one(), DOMAIN, STEPS, seeds=SEEDS, **more)


@pytest.fixture(scope="module")
def alone():
    return of_one()


def same(found, wanted):
    for name in NUMBERS:
        np.testing.assert_array_equal(getattr(found, name), getattr(wanted, name))
    assert (found.experiments, found.objectives, found.seeds) == (wanted.experiments, wanted.objectives, wanted.seeds)


class AtOnce:
    """An executor that has nothing but `submit(...).result()`, as submitit; it may lose what it is given."""

    def __init__(self, loses=()):
        self.loses, self.given = set(loses), 0

    def submit(self, function, *arguments):
        number, self.given = self.given, self.given + 1

        class Job:
            def result(_):
                if number in self.loses:
                    raise ConnectionError("the worker is gone")
                return function(*arguments)

        return Job()


def test_blocks_cover_every_key_of_every_combination_once():
    cut = blocks(2, 3, 7, 3)
    assert [block.index for block in cut] == list(range(18))
    seen = np.zeros((2, 3, 7), int)
    for block in cut:
        seen[block.experiment, block.objective, block.keys] += 1
    assert (seen == 1).all()


@pytest.mark.parametrize("size", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_the_table_is_the_same_whatever_the_blocks(alone, size):
    same(of_one(block=size), alone)


def test_an_executor_needs_submit_and_result_alone(alone):
    lines = []
    same(of_one(block=2, executor=AtOnce(), callback=lines.append), alone)
    assert [line.split(" in ")[0] for line in lines] == [f"ei on wave: {n} campaigns" for n in (2, 2, 1)]


def test_a_lost_block_costs_that_block_only(alone, tmp_path):
    with pytest.raises(RuntimeError, match=r"blocks 1 of 3 failed \(the others are kept; call study again"):
        of_one(block=2, executor=AtOnce(loses=[1]), folder=tmp_path)
    part = Study.load(tmp_path)
    assert part.x.shape[2] == 3  # keys of blocks 0 and 2
    assert "mean of 3 of 5 keys" in str(part)
    np.testing.assert_array_equal(part.regret, alone.regret[:, :, [0, 1, 4]])
    again = AtOnce()
    same(of_one(block=2, executor=again, folder=tmp_path), alone)
    assert again.given == 1
    same(Study.load(tmp_path), alone)


def test_without_a_folder_a_lost_block_says_what_to_do():
    with pytest.raises(RuntimeError, match="give a folder to keep the others"):
        of_one(block=4, executor=AtOnce(loses=[0]))


@pytest.mark.slow
def test_a_torn_or_foreign_file_is_computed_again(alone, tmp_path):
    of_one(block=3, folder=tmp_path)
    torn, foreign = tmp_path / "block-000000.npz", tmp_path / "block-000001.npz"
    torn.write_bytes(torn.read_bytes()[:200])
    np.savez(foreign, x=np.zeros(3))
    assert read_block(tmp_path, 0) is None
    assert read_block(tmp_path, 1) is None
    with pytest.raises(ValueError, match="0 of 2 blocks are there"):
        Study.load(tmp_path)
    same(of_one(block=3, folder=tmp_path), alone)


@pytest.mark.slow
def test_another_study_in_the_folder_is_refused(tmp_path):
    of_one(folder=tmp_path, block=5)
    with pytest.raises(ValueError, match="holds another study: num_steps differ"):
        study(KEYS, *one(), DOMAIN, STEPS + 1, seeds=SEEDS, folder=tmp_path, block=5)
    with pytest.raises(ValueError, match="holds another study: keys differ"):
        study(jax.random.split(jax.random.key(1), 5), *one(), DOMAIN, STEPS, seeds=SEEDS, folder=tmp_path, block=5)
    louder = {"wave": Problem(lambda key, x: 2 * noisy(hill)(key, x), hill)}
    with pytest.raises(ValueError, match=r"block 0 in .* was computed by another program"):
        study(KEYS, one()[0], louder, DOMAIN, STEPS, seeds=SEEDS, folder=tmp_path, block=5)
    (tmp_path / "study.json").write_text(json.dumps({"format": "another"}), encoding="utf-8")
    with pytest.raises(ValueError, match="in another format"):
        Study.load(tmp_path)
    with pytest.raises(ValueError, match="holds no study"):
        Study.load(tmp_path / "nowhere")


def test_arguments_that_do_not_go_together(tmp_path):
    with pytest.raises(TypeError, match=r"an executor has submit.*client.get_executor"):
        of_one(executor=object())
    with pytest.raises(ValueError, match="at least 1; got 0"):
        of_one(block=0)
    with pytest.raises(ValueError, match="give a folder, and no executor"):
        of_one(only=[0])
    with pytest.raises(ValueError, match="either devices or executor"):
        of_one(executor=AtOnce(), devices=jax.devices())
    with pytest.raises(ValueError, match="has the blocks 0 to 0"):
        of_one(folder=tmp_path, only=[3])


@pytest.mark.slow
def test_an_array_of_jobs_on_the_command_line(alone, tmp_path, monkeypatch):
    from typer.testing import CliRunner

    from gpax_lab.cli._app import app

    here = Path(__file__).parent
    (tmp_path / "plan.py").write_text(
        "from small_study import DOMAIN, KEYS, SEEDS, STEPS\n"
        "from test_study_blocks import one\n\n\n"
        "def plan():\n"
        "    experiments, objectives = one()\n"
        "    return dict(keys=KEYS, experiments=experiments, objectives=objectives, domain=DOMAIN, num_steps=STEPS,\n"
        "                seeds=SEEDS)\n",
        encoding="utf-8",
    )
    monkeypatch.syspath_prepend(str(here))
    source, folder = f"{tmp_path / 'plan.py'}:plan", tmp_path / "out"

    def call(*words):
        return CliRunner().invoke(app, ["study", str(folder), *words])

    first = call(source, "--index", "1", "--block", "3")
    assert first.exit_code == 0, first.output
    assert "1 of 2 blocks are in" in first.output
    assert "missing: 0" in first.output
    assert "mean of 2 of 5 keys" in first.output
    assert call(source, "--index", "0", "--block", "3").exit_code == 0
    last = call()
    assert "2 of 2 blocks" in last.output
    assert str(alone).splitlines()[1] in last.output
    same(Study.load(folder), alone)
    for words, text in (
        (("nothing",), "say module:function"),
        ((f"{tmp_path / 'none.py'}:plan",), "can not be imported"),
        ((f"{tmp_path / 'plan.py'}:other",), "has no function 'other'"),
        ((f"{tmp_path / 'plan.py'}:one",), "missing"),
        (("--index", "3"), "name the function"),
    ):
        wrong = call(*words)
        assert wrong.exit_code != 0
        assert text in " ".join(wrong.output.split())


# Elsewhere.


@pytest.mark.slow
def test_other_processes_give_what_one_gives(alone, tmp_path):
    pytest.importorskip("cloudpickle")
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        same(of_one(block=3, executor=pool, folder=tmp_path), alone)


@pytest.mark.slow
def test_dask_gives_what_one_process_gives_though_a_worker_is_killed(alone, tmp_path):
    distributed = pytest.importorskip("distributed", reason="needs the extra cluster")
    killed = []

    def kill(text):
        if not killed:
            pids = client.run(os.getpid)
            killed.append(next(iter(pids.values())))
            os.kill(killed[0], signal.SIGKILL)

    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address=None, protocol="tcp"
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        found = of_one(block=1, executor=client.get_executor(), folder=tmp_path, callback=kill)
    assert killed
    same(found, alone)


@pytest.mark.slow
def test_kill_9_in_the_middle_loses_no_block_that_was_there(alone, tmp_path):
    program = (
        "import jax, sys; sys.path.insert(0, sys.argv[2]); from test_study_blocks import of_one;"
        "of_one(block=1, folder=sys.argv[1], callback=lambda text: print(text, flush=True))"
    )
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    environment = os.environ | {"PYTHONPATH": path, "JAX_PLATFORMS": "cpu", "JAX_ENABLE_X64": "1"}
    command = [sys.executable, "-c", program, str(tmp_path), str(Path(__file__).parent)]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    process.stdout.readline()
    process.kill()
    process.communicate()
    kept = [index for index in range(5) if read_block(tmp_path, index) is not None]
    assert kept
    before = {index: (tmp_path / f"block-{index:06d}.npz").read_bytes() for index in kept}
    same(of_one(block=1, folder=tmp_path), alone)  # by another process: the program's fingerprint is the same
    assert all((tmp_path / f"block-{index:06d}.npz").read_bytes() == data for index, data in before.items())
