"""Studies on a real Slurm: submitit, an array of jobs of the command line, and Dask's cluster object."""

import os
import subprocess
import sys
import time
import warnings
from pathlib import Path

import pytest
from loopback_slurm import missing, slurm
from test_study_blocks import alone, of_one, same

from gpax_lab.experiment import Study

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(missing()), reason=missing() or "there is one")]
HERE = Path(__file__).parent
assert alone  # the fixture


@pytest.fixture(scope="module")
def scheduler(tmp_path_factory):
    """A Slurm for this module, which jobs and clients find in the environment."""
    before = dict(os.environ)
    with slurm(tmp_path_factory.mktemp("slurm")) as variables:
        path = os.pathsep.join([str(HERE), *sys.path])
        os.environ.update(variables, PYTHONPATH=path, JAX_PLATFORMS="cpu", JAX_ENABLE_X64="1")
        yield
    os.environ.clear()
    os.environ.update(before)


def test_submitit(alone, scheduler, tmp_path):
    submitit = pytest.importorskip("submitit", reason="needs the extra cluster")
    executor = submitit.AutoExecutor(folder=str(tmp_path / "jobs"), cluster="slurm")
    executor.update_parameters(timeout_min=10, cpus_per_task=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # there is no accounting, sacct, here
        same(of_one(block=3, executor=executor, folder=tmp_path / "blocks"), alone)


def test_an_array_of_jobs(alone, scheduler, tmp_path):
    (tmp_path / "plan.py").write_text(
        "from small_study import DOMAIN, KEYS, SEEDS, STEPS\n"
        "from test_study_blocks import one\n\n\n"
        "def plan():\n"
        "    experiments, objectives = one()\n"
        "    return dict(keys=KEYS, experiments=experiments, objectives=objectives, domain=DOMAIN, num_steps=STEPS,\n"
        "                seeds=SEEDS)\n",
        encoding="utf-8",
    )
    job = tmp_path / "job.sh"
    job.write_text(
        f"#!/bin/sh\nexec {sys.executable} -m gpax_lab study out plan.py:plan --block 3 --index $SLURM_ARRAY_TASK_ID\n",
        encoding="utf-8",
    )
    sent = subprocess.run(
        ["sbatch", "--wait", "--array=0-1", f"--chdir={tmp_path}", str(job)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    logs = "\n".join(path.read_text(encoding="utf-8") for path in tmp_path.glob("slurm-*.out"))
    assert sent.returncode == 0, sent.stderr + logs
    same(Study.load(tmp_path / "out"), alone)


def test_dask_on_slurm(alone, scheduler, tmp_path):
    jobqueue = pytest.importorskip("dask_jobqueue", reason="needs the extra cluster")
    distributed = pytest.importorskip("distributed", reason="needs the extra cluster")
    with (
        jobqueue.SLURMCluster(
            cores=1,
            processes=1,
            memory="2GB",
            job_extra_directives=["--mem=0"],
            log_directory=str(tmp_path),
            scheduler_options={"host": "127.0.0.1", "dashboard": False},
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        cluster.scale(jobs=2)
        deadline = time.monotonic() + 120
        while len(client.scheduler_info()["workers"]) < 1 and time.monotonic() < deadline:
            time.sleep(0.5)
        same(of_one(block=3, executor=client.get_executor()), alone)
