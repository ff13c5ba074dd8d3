"""A study in blocks: over Dask's processes against one process, with a worker killed in the middle.

The table must be the same to the last bit. What splitting costs is told apart from what it gains: every process
compiles for itself. On two cores more workers prove that it is right, and not that it is fast.

    python benchmarks/cluster.py [--quick]

Needs the extra `cluster`; without it the same blocks are computed by processes of `concurrent.futures`.
"""

import argparse
import os
import signal
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from importlib.util import find_spec
from multiprocessing import get_context

from results import Report, pin_threads

pin_threads()

import jax  # noqa: E402
import numpy as np  # noqa: E402
from bo_step import BOUNDS, candidates, objective  # noqa: E402

import gpax_lab  # noqa: E402
from gpax_lab import Problem, acquisition, bayes_opt, gp, kernels, smc, study  # noqa: E402

NUMBERS = ("x", "y", "regret", "trouble")


def truth(x):
    """The noise-free surface of `objective`."""
    return jax.numpy.sin(6 * x[0]) * jax.numpy.cos(4 * x[1]) + 0.5 * x[0]


def same(one, other):
    """Whether two tables are equal bit for bit."""
    return all(np.array_equal(getattr(one, name), getattr(other, name), equal_nan=True) for name in NUMBERS)


def over_dask(compute, block, kill):
    """The study by two of Dask's processes, of which one may be killed after the first block."""
    from distributed import Client, LocalCluster

    killed = []

    def callback(text):
        print(text, flush=True)
        if kill and not killed:
            killed.append(next(iter(client.run(os.getpid).values())))
            os.kill(killed[0], signal.SIGKILL)

    options = {"n_workers": 2, "threads_per_worker": 1, "host": "127.0.0.1", "dashboard_address": None}
    with LocalCluster(**options) as cluster, Client(cluster) as client, tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        found = compute(block=block, executor=client.get_executor(), folder=folder, callback=callback)
        return found, time.perf_counter() - started, bool(killed)


def over_processes(compute, block):
    """The study by two processes of the standard library."""
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        started = time.perf_counter()
        found = compute(block=block, executor=pool)
        return found, time.perf_counter() - started


def main():
    """Run and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="4 keys, 3 steps")
    quick = parser.parse_args().quick
    gpax_lab.setup(verbose=False)
    report, (keys, steps, block) = Report(), (4, 3, 2) if quick else (64, 20, 16)
    domain = candidates()
    experiments = {"log EI": bayes_opt(gp.exact(2, kernels.rbf, bounds=BOUNDS), smc(32), acquisition.log_ei(), domain)}
    problems = {"surface": Problem(objective, truth)}

    def compute(**more):
        return study(jax.random.split(jax.random.key(0), keys), experiments, problems, domain, steps, **more)

    started = time.perf_counter()
    alone = compute()
    first = time.perf_counter() - started
    started = time.perf_counter()
    compute()
    warm = time.perf_counter() - started
    report.result(f"{keys} campaigns of {steps} steps in one process, with compilation", first, "s")
    report.result("the same once compiled", warm, "s", first)
    found, seconds = over_processes(compute, block)
    report.result("over two processes of the standard library, with compilation in each", seconds, "s", first)
    report.claim("two processes give the table of one, bit for bit", same(found, alone))
    if find_spec("distributed") is None:
        print("Dask: skipped, the extra cluster is not installed", flush=True)
        report.finish()
    found, seconds, _ = over_dask(compute, block, kill=False)
    report.result("over two of Dask's processes, with compilation in each", seconds, "s", first)
    report.claim("Dask gives the table of one process, bit for bit", same(found, alone))
    found, seconds, killed = over_dask(compute, max(1, block // 2), kill=True)
    report.result("the same in blocks of half the size, a worker killed after the first block", seconds, "s", first)
    report.claim("a worker was killed, and the table is the same", killed and same(found, alone))
    report.finish()


if __name__ == "__main__":
    main()
