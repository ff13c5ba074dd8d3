"""What every runner does with its methods: the same tasks, the same data, the same clock, the same scores.

A runner is called as `python run_NAME.py job.json`. The job names a method of the runner, its tasks (`TASKS`) with the
problem of each (an .npz file), and where the results (JSON, one object a task) go; they are written after every task,
so that what was done is kept if the next one does not end. This module is imported in the environment of every peer: it
needs nothing but numpy, scipy and Python 3.11.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

JOB = json.loads(Path(sys.argv[1]).read_text()) if len(sys.argv) > 1 else {}
# Before anything with threads is imported: every library sees the same few cores, and makes its threads accordingly.
if JOB.get("cores") and hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, JOB["cores"])

import numpy as np  # noqa: E402
from scipy.special import logsumexp, ndtr  # noqa: E402


class Predictive(NamedTuple):
    """A mixture of normal densities of new observations, noise included.

    Attributes:
        weight: (S,) weights that sum to one.
        mean: (S, M) means at M points.
        variance: (S, M) variances.
    """

    weight: np.ndarray
    mean: np.ndarray
    variance: np.ndarray


class Draws(NamedTuple):
    """Posterior draws in the parametrisation that all compare in.

    Attributes:
        weight: (S,) weights that sum to one.
        log_parameters: (S, p) logarithms of lengthscales, signal variance and noise variance, of readings standardised.
    """

    weight: np.ndarray
    log_parameters: np.ndarray


class Method:
    """One way of taking a step; a fresh object for every campaign.

    Attributes:
        first: how many readings the first fit of the task "step" sees, for a method that follows readings; None for one
            that begins a few steps before the end.
    """

    first: int | None = None

    def step(self, x: np.ndarray, y: np.ndarray, candidates: np.ndarray, taken: np.ndarray, seed: int) -> int:
        """Fit to x (n, d) and y (n,); the index of the candidate (m, d) to measure next among those not taken (m,)."""
        raise NotImplementedError

    def predictive(self, points: np.ndarray) -> Predictive:
        """The density of new observations at points (M, d), after the last fit."""
        raise NotImplementedError

    def draws(self) -> Draws | None:
        """Posterior draws of the last fit; None where the method has none, or other parameters."""
        return None


class Image(NamedTuple):
    """A reconstruction: mean and standard deviation of a new observation, noise included, both (n, n)."""

    mean: np.ndarray
    std: np.ndarray


class Clock:
    """Wall seconds, and seconds of processor time, which other work on the machine does not lengthen."""

    def __init__(self) -> None:
        self.start = time.perf_counter(), time.process_time()

    def read(self) -> tuple[float, float]:
        """Both since it was made."""
        return time.perf_counter() - self.start[0], time.process_time() - self.start[1]


def mixed(predictive: Predictive) -> tuple[np.ndarray, np.ndarray]:
    """Mean (M,) and standard deviation (M,) of a mixture."""
    mean = predictive.weight @ predictive.mean
    variance = predictive.weight @ (predictive.variance + (predictive.mean - mean) ** 2)
    return mean, np.sqrt(variance)


def scores(predictive: Predictive, truth: np.ndarray, readings: np.ndarray) -> dict[str, Any]:
    """How good a predictive density is.

    Returns:
        rmse: of the mean against the noise-free truth; coverage: share of observations inside the central 95 percent
        interval of the mixture; log_score: (M,) log density of every observation.
    """
    mean, std = mixed(predictive)
    z = (readings - predictive.mean) / np.sqrt(predictive.variance)
    below = predictive.weight @ ndtr(z)
    log_density = -0.5 * z**2 - 0.5 * np.log(2 * np.pi * predictive.variance)
    log_score = logsumexp(log_density, axis=0, b=predictive.weight[:, None])
    return {
        "rmse": float(np.sqrt(np.mean((mean - truth) ** 2))),
        "coverage": float(np.mean((below > 0.025) & (below < 0.975))),
        "log_score": log_score.tolist(),
        "mean": mean.tolist(),
        "std": std.tolist(),
    }


def moments(draws: Draws | None) -> dict[str, Any] | None:
    """Mean and standard deviation of the log parameters."""
    if draws is None:
        return None
    mean = draws.weight @ draws.log_parameters
    return {"mean": mean.tolist(), "std": np.sqrt(draws.weight @ (draws.log_parameters - mean) ** 2).tolist()}


def run_step(make: Callable[[], Method], problem: Mapping[str, np.ndarray], job: Mapping[str, Any]) -> dict[str, Any]:
    """Steps on growing observations up to all of them; the scores of the last fit, and the draws of the last three."""
    x, y, candidates = problem["x"], problem["y"], problem["candidates"]
    nothing = np.zeros(len(candidates), bool)
    seconds, processor, draws = [], [], []
    method = make()
    for n in range(method.first or len(x) - job["steps"] + 1, len(x) + 1):
        clock = Clock()
        chosen = method.step(x[:n], y[:n], candidates, nothing, 1000 * job["seed"] + n)
        wall, cpu = clock.read()
        seconds.append(wall)
        processor.append(cpu)
        draws = [*draws, moments(method.draws())][-3:]
    result = {"seconds": seconds, "processor": processor, "draws": draws, "chosen": int(chosen)}
    return result | scores(method.predictive(problem["test"]), problem["test_truth"], problem["test_y"])


def run_campaign(
    make: Callable[[], Method], problem: Mapping[str, np.ndarray], job: Mapping[str, Any]
) -> dict[str, Any]:
    """Whole campaigns from the problem's seed points; choice and regret of every observation, seconds of every step."""
    candidates, truth = problem["candidates"], problem["truth"]
    regrets, seconds, processor, choices = [], [], [], []
    for seed in range(job["seeds"]):
        method = make()
        x, y = problem["start_x"][seed], problem["start_y"][seed]
        best = problem["start_truth"][seed].max()
        taken = np.zeros(len(candidates), bool)
        if "start" in problem:  # seed points that are candidates themselves
            taken[problem["start"][seed]] = True
        regret, wall, cpu, chosen = [], [], [], []
        for step in range(job["steps"]):
            clock = Clock()
            i = method.step(x, y, candidates, taken, 1000 * seed + step)
            spent = clock.read()
            wall.append(spent[0])
            cpu.append(spent[1])
            chosen.append(i)
            taken[i] = True
            x, y = np.vstack([x, candidates[i]]), np.append(y, truth[i] + problem["noise"][seed, step])
            best = max(best, truth[i])
            regret.append(float(truth.max() - best))
        regrets.append(regret)
        choices.append(chosen)
        seconds.append(wall)
        processor.append(cpu)
    return {"regret": regrets, "chosen": choices, "seconds": seconds, "processor": processor}


def run_grid(
    make: Callable[[np.ndarray, int], Image], problem: Mapping[str, np.ndarray], job: Mapping[str, Any]
) -> dict[str, Any]:
    """An image with holes (NaN), filled `repeats` times: a second time tells what a further image costs."""
    image, truth, readings = problem["image"], problem["image_truth"], problem["image_y"]
    seconds, processor = [], []
    for repeat in range(job["repeats"]):
        clock = Clock()
        filled = make(image, job["seed"] + repeat)
        wall, cpu = clock.read()
        seconds.append(wall)
        processor.append(cpu)
    hole = np.isnan(image)
    z = (readings - filled.mean)[hole] / filled.std[hole]
    return {
        "seconds": seconds,
        "processor": processor,
        "rmse": float(np.sqrt(np.mean((filled.mean - truth)[hole] ** 2))),
        "coverage": float(np.mean(np.abs(z) < 1.959964)),
        "log_score": float(np.mean(-0.5 * z**2 - 0.5 * np.log(2 * np.pi * filled.std[hole] ** 2))),
    }


def run_study(
    make: Callable[[Mapping[str, np.ndarray], Mapping[str, Any]], dict[str, Any]],
    problem: Mapping[str, np.ndarray],
    job: Mapping[str, Any],
) -> dict[str, Any]:
    """Many campaigns in one call, by whoever has one."""
    clock = Clock()
    result = make(problem, job)
    wall, cpu = clock.read()
    return {"seconds": wall, "processor": cpu} | result


TASKS = {"step": run_step, "campaign": run_campaign, "grid": run_grid, "study": run_study}


def expected_improvement(mean: np.ndarray, std: np.ndarray, best: float) -> np.ndarray:
    """E max(f - best, 0) for normal f (Jones et al. 1998, eq. 15); larger is better."""
    std = np.maximum(std, 1e-12)
    u = (mean - best) / std
    return std * (u * ndtr(u) + np.exp(-0.5 * u**2) / np.sqrt(2 * np.pi))


def main(methods: Mapping[str, Callable[..., Any]]) -> None:
    """Do the job that the command line names."""
    results = {}
    for task in JOB["tasks"]:
        problem = dict(np.load(task["problem"]))
        results[task["task"]] = TASKS[task["task"]](methods[JOB["method"]], problem, task)
        Path(JOB["out"]).write_text(json.dumps(results))
