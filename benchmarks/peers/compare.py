"""Us and our peers in one run: the same data, the same budget, the same processor; quality beside time.

    python benchmarks/peers/environments.py          # once: a virtual environment for every peer
    python benchmarks/peers/compare.py [--quick] [--only step study ...] [--methods gpax ...]

Every method runs in a process of its own on the same core with one thread, one method after the other. A peer without
an environment is skipped, in words; in a full run that counts as a claim that failed, and so does a method that has to
be stopped because it does not end within `--limit` seconds. What each peer is asked to do, and how, stands at the top
of its `run_*.py`.

step: a step of Bayesian optimization at 48, 49 and 50 readings (2 inputs): fit, and the best of 1000 candidates. The
first step is told apart, with compilation and first imports in it; a library that compiles anew at every step pays
that in the others too. "smc" follows the readings one by one from the fifth on, as it would in a campaign: the mean of
its last ten steps counts. Quality on 1000 held-out readings: error of the mean against the noise-free truth, coverage
of the central 95 percent, mean log density. Methods that sample the very same posterior are also held against a long
run of numpyro: root mean square, over four parameters and three numbers of readings, of the error of the posterior mean
in posterior standard deviations.

campaign: regret after further steps from five seed points, for several seeds; seeds, noise and candidates are shared.

pool: campaigns on recorded experiments (`pools.py`) from the same 50 pairs of starting designs: the share of the best 5
percent found, ours against scikit-learn's, campaign by campaign.

study: 64 campaigns of 30 steps in one call, against as many separate ones of gpax, of which one is measured (or its
first `--gpax-steps` steps, the cheapest ones); what 64 would take is an extrapolation, not a measurement.

grid: an image of which 30 percent of the pixels were read.

A quick run makes no claim on time.
"""

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from environments import FOLDER, interpreter  # noqa: E402
from results import Report, pin_threads  # noqa: E402

pin_threads()

import numpy as np  # noqa: E402
import problems  # noqa: E402
from pools import COUNTS, POOLS, SEEDS  # noqa: E402

RUNNERS = {
    "smc 1024": ("ours", None),
    "smc 128": ("ours", None),
    "nuts 300 + 300": ("ours", None),
    "laplace": ("ours", None),
    "gpax 2000 + 2000, our priors": ("gpax", "gpax"),
    "gpax 2000 + 2000, default": ("gpax", "gpax"),
    "gpax 300 + 300, our priors": ("gpax", "gpax"),
    "gpax 300 + 300, default": ("gpax", "gpax"),
    "BoTorch SingleTaskGP": ("botorch", "botorch"),
    "BoTorch SAAS 512 + 256": ("botorch", "botorch"),
    "scikit-learn": ("sklearn", "sklearn"),
    "tinygp, NUTS 1000 + 1000": ("tinygp", "tinygp"),
    "smc 64, UCB 0.25, Matern 5/2": ("ours", None),
    "scikit-learn, Matern 5/2": ("sklearn", "sklearn"),
    "reconstruct": ("ours", None),
    "GPyTorch KISS-GP": ("gpytorch", "botorch"),
    "scikit-learn on 1000 pixels": ("sklearn", "sklearn"),
    "study of smc 128": ("ours", None),
    "reference": ("ours", None),
}
"""Runner and environment (None: this one) of every method."""

STEP = list(RUNNERS)[:12]
GRID = ["reconstruct", "GPyTorch KISS-GP", "scikit-learn on 1000 pixels"]
QUICK = ["smc 1024", "gpax 300 + 300, our priors", *STEP[8:9], "scikit-learn"]
CAMPAIGN_SEEDS = {
    "smc 1024": 10,
    "smc 128": 10,
    "laplace": 10,
    "gpax 300 + 300, our priors": 3,
    "BoTorch SingleTaskGP": 10,
    "BoTorch SAAS 512 + 256": 3,
    "scikit-learn": 10,
}
"""Campaigns of each: fewer of the expensive ones."""
OURS, GPAX, SHORT_GPAX = "smc 1024", "gpax 2000 + 2000, our priors", "gpax 300 + 300, our priors"
FAST = "smc 128"
"""Enough draws for predictions; 1024 are as exact on the parameters as gpax is."""
SAAS, BOTORCH = "BoTorch SAAS 512 + 256", "BoTorch SingleTaskGP"
BAYESIAN = (GPAX, SHORT_GPAX, "tinygp, NUTS 1000 + 1000", SAAS)
ON_POOL = ("smc 64, UCB 0.25, Matern 5/2", "scikit-learn, Matern 5/2")
STUDY_KEYS, STUDY_STEPS = 64, 30


class Bench:
    """Starts runners and collects what they found."""

    def __init__(self, given, folder):
        self.given, self.folder, self.report = given, folder, Report()
        self.cores = sorted(os.sched_getaffinity(0))[-given.cores :] if hasattr(os, "sched_getaffinity") else None
        if self.cores is None:
            print("this system pins no process to a core: the libraries make as many threads as they like")

    def save(self, name, problem):
        """A problem as a file."""
        np.savez(self.folder / f"{name}.npz", **problem)
        return str(self.folder / f"{name}.npz")

    def run(self, method, tasks, **settings):
        """Results by task, empty for a method that is skipped."""
        if self.given.methods and not any(word in method for word in self.given.methods):
            return {}
        runner, environment = RUNNERS[method]
        python = Path(sys.executable) if environment is None else interpreter(self.given.folder, environment)
        if not python.exists():
            print(f"{method}: skipped, environments.py has made no environment {environment}", flush=True)
            if not self.given.quick:
                self.report.claim(f"{method} has an environment", False)
            return {}
        job, out = self.folder / "job.json", self.folder / "out.json"
        out.unlink(missing_ok=True)
        job.write_text(json.dumps({"method": method, "tasks": tasks, "out": str(out), "cores": self.cores} | settings))
        threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        variables = dict(os.environ) | threads | {"JAX_PLATFORMS": "cpu"}
        if environment is not None:
            variables.pop("PYTHONPATH", None)
        command, started = [str(python), str(HERE / f"run_{runner}.py"), str(job)], time.perf_counter()
        with (self.folder / "words.txt").open("w+") as words:
            try:
                code = subprocess.run(
                    command, env=variables, stdout=words, stderr=words, timeout=self.given.limit, check=False
                ).returncode
                trouble = f"ended with status {code}"
            except subprocess.TimeoutExpired:
                code, trouble = 1, f"did not end within {self.given.limit} s"
            if code:
                words.seek(0)
                print(f"{method}: {trouble}; its last words:\n{words.read()[-1500:]}", flush=True)
                self.report.claim(f"{method} ends well", False)
        print(f"{method}: {time.perf_counter() - started:.0f} s", flush=True)
        return json.loads(out.read_text()) if out.exists() else {}


def counted(method, seconds):
    """The steps that count: the last ten where observations are followed, else all but the first."""
    return seconds[-10:] if method.startswith("smc") else seconds[1:]


def later(method, seconds):
    """Seconds of a step: the mean where observations are followed, since some of them cost more, else the median."""
    return float((np.mean if method.startswith("smc") else np.median)(counted(method, seconds)))


def distance(draws, reference):
    """Root mean square error of the posterior means, in standard deviations of the reference."""
    pairs = list(zip(draws, reference[-len(draws) :], strict=True))
    errors = [(np.array(d["mean"]) - np.array(r["mean"])) / np.array(r["std"]) for d, r in pairs]
    return float(np.sqrt(np.mean(np.square(errors))))


def steps(bench, with_campaign):
    """One step at 50 observations, and in the same process the campaigns of that method."""
    quick, report = bench.given.quick, bench.report
    step = {"task": "step", "problem": bench.save("step", problems.step()), "steps": 2 if quick else 3, "seed": 0}
    further = 3 if quick else 20
    problem = bench.save("campaign", problems.campaigns(10, further)) if with_campaign else None
    reference = None
    if not quick and "step" in bench.given.only:
        reference = bench.run("reference", [step], samples=bench.given.reference).get("step")
    found = {}
    for method in QUICK if quick else STEP:
        tasks = [step] if "step" in bench.given.only else []
        seeds = min(CAMPAIGN_SEEDS.get(method, 0), 1 if quick else bench.given.seeds)
        if with_campaign and seeds and not (quick and method == SHORT_GPAX):
            tasks.append({"task": "campaign", "problem": problem, "steps": further, "seeds": seeds})
        if not tasks:
            continue
        got = bench.run(method, tasks)
        if "step" in got:
            show_step(report, method, got["step"], found.get(OURS, {}).get("step"), reference)
        if "campaign" in got:
            regret = np.array(got["campaign"]["regret"])[:, -1]
            report.result(
                f"{method}: regret after {further} steps, mean of {len(regret)} campaigns", regret.mean(), "y"
            )
            each = np.array(got["campaign"]["seconds"])
            report.result(f"{method}: seconds of a step of a campaign, median", float(np.median(each[:, 1:])), "s")
        found[method] = got
    ours = np.array(found.get(OURS, {}).get("campaign", {}).get("regret", []))
    for method, got in found.items():
        if "campaign" in got and method != OURS and ours.size and not quick:
            theirs = np.array(got["campaign"]["regret"])
            excess = ours[: len(theirs), -1] - theirs[: len(ours), -1]
            error = excess.std(ddof=1) / np.sqrt(excess.size)
            report.result(f"{OURS}: regret above that of {method}, from the same seeds", excess.mean(), "y")
            report.result("its standard error over campaigns", error, "y")
            # A tenth of the noise of an observation is the least that matters.
            small = 0.1 * problems.NOISE
            report.claim(f"{OURS}: regret no larger than that of {method}", excess.mean() <= 2 * error + small)
    return found, reference


def show_step(report, method, got, ours, reference):
    """Time and quality of one method."""
    report.result(f"{method}: a step at 50 observations", later(method, got["seconds"]), "s")
    report.result(f"{method}: the same in processor seconds", later(method, got["processor"]), "s")
    report.result(f"{method}: slowest of those steps", max(counted(method, got["seconds"])), "s")
    if ours is not None and method != OURS:
        for kind, name in (("seconds", "wall time"), ("processor", "processor time")):
            report.result(
                f"{OURS}: {name} of a step, against {method}", later(OURS, ours[kind]), "s", later(method, got[kind])
            )
    report.result(f"{method}: first step", got["seconds"][0], "s")
    report.result(f"{method}: error of the mean at 1000 points", got["rmse"], "y")
    report.result(f"{method}: coverage of 95 percent intervals", got["coverage"], "1", 0.95)
    report.result(f"{method}: log score", float(np.mean(got["log_score"])), "nat")
    if reference and got["draws"][0] is not None:
        error = distance(got["draws"], reference["draws"])
        report.result(f"{method}: error of posterior means against a long run", error, "sd")
    if reference:
        gap = (np.array(got["mean"]) - np.array(reference["mean"])) / np.array(reference["std"])
        report.result(f"{method}: predictive mean against a long run", float(np.sqrt(np.mean(gap**2))), "sd")


def claims_of_steps(bench, found, reference):
    """Time against gpax and BoTorch, and quality."""
    report, got = bench.report, {method: f["step"] for method, f in found.items() if "step" in f}
    if OURS not in got:
        return
    ours = got[OURS]
    report.claim("coverage of smc's 95 percent intervals is between 0.9 and 0.99", 0.9 < ours["coverage"] < 0.99)
    report.claim("smc's error is below two standard deviations of the noise", ours["rmse"] < 2 * problems.NOISE)
    for method in (*BAYESIAN, BOTORCH, "scikit-learn"):
        if method in got:
            gap = np.array(ours["log_score"]) - np.array(got[method]["log_score"])
            error = gap.std() / np.sqrt(gap.size)
            report.result(f"{OURS}: log score above that of {method}", gap.mean(), "nat")
            report.result("its standard error over points", error, "nat")
            if method in BAYESIAN and not bench.given.quick:
                # Two runs on the very same posterior differ by a thousandth or two.
                report.claim(f"smc's log score is no worse than that of {method}", gap.mean() > -2 * error - 0.003)
    if bench.given.quick:
        return
    for mine, method, factor in ((OURS, GPAX, 100), (OURS, SAAS, 10), (FAST, BOTORCH, 1)):
        if mine in got and method in got:
            spent, theirs = later(mine, got[mine]["seconds"]), later(method, got[method]["seconds"])
            report.result(f"{mine}: a step, against {method}", spent, "s", theirs)
            report.claim(f"a step of {mine} takes at most 1/{factor} of the time of {method}", factor * spent <= theirs)
    for method in (GPAX, SHORT_GPAX):
        if method in got and reference:
            mine, theirs = (distance(of["draws"], reference["draws"]) for of in (ours, got[method]))
            # A root mean square of twelve errors scatters by a fifth, a ratio of two of them by 0.3.
            text = f"smc's posterior means are no farther from a long run than those of {method}, within 0.3 of it"
            report.claim(text, mine <= 1.3 * theirs)


def pools(bench):
    """Ours against scikit-learn's on the Crossed barrel pool, in pairs that start from the same two designs."""
    file = bench.given.data / "bo_pools" / POOLS["Crossed barrel"][0]
    if bench.given.quick or not file.exists():
        print("pool: skipped" + ("" if bench.given.quick else f", {file} is not here"), flush=True)
        return
    keys, report, shares = 50, bench.report, {}
    problem = problems.pool(file, keys, max(COUNTS) - SEEDS)
    task = {"task": "campaign", "problem": bench.save("pool", problem), "steps": max(COUNTS) - SEEDS, "seeds": keys}
    top = np.argsort(-problem["truth"])[: round(0.05 * len(problem["truth"]))]
    for method in ON_POOL:
        got = bench.run(method, [task]).get("campaign")
        if got:
            taken = np.isin(np.hstack([problem["start"], np.array(got["chosen"])]), top)
            shares[method] = np.stack([taken[:, :n].sum(axis=1) / len(top) for n in COUNTS])
            report.result(f"{method}: seconds of a step on the pool, mean", float(np.mean(got["seconds"])), "s")
    if len(shares) < len(ON_POOL):
        return
    for n, ours, theirs in zip(COUNTS, *shares.values(), strict=True):
        gain = ours - theirs
        error = gain.std(ddof=1) / np.sqrt(keys)
        report.result(
            f"Crossed barrel, top 5 percent found at {n}, against scikit-learn", ours.mean(), "1", theirs.mean()
        )
        report.result("its gain, pair by pair", gain.mean(), "1")
        report.result("standard error of the gain", error, "1")
        report.claim(
            f"Crossed barrel: more found at {n} than by scikit-learn, by two standard errors", gain.mean() > 2 * error
        )


def studies(bench):
    """64 campaigns in one call against separate ones of gpax, whose time is extrapolated."""
    quick, report = bench.given.quick, bench.report
    if quick:
        return
    separate, measured = {}, min(bench.given.gpax_steps, STUDY_STEPS)
    name = bench.save("separate", problems.campaigns(1, measured))
    for method in (SHORT_GPAX, GPAX):
        task = {"task": "campaign", "problem": name, "steps": measured, "seeds": 1}
        got = bench.run(method, [task]).get("campaign")
        if got:
            separate[method] = float(np.sum(got["seconds"])) / measured
            report.result(f"{method}: first {measured} steps of one campaign", float(np.sum(got["seconds"])), "s")
    name = bench.save("nothing", {"none": np.zeros(1)})
    task = {"task": "study", "problem": name, "keys": STUDY_KEYS, "steps": STUDY_STEPS, "seed": 0}
    ours = bench.run("study of smc 128", [task]).get("study")
    if not ours:
        return
    many = f"{STUDY_KEYS} campaigns of {STUDY_STEPS} steps"
    report.result(f"study: {many}, compilation included", ours["seconds"], "s")
    report.result("study: mean regret at the end", float(np.mean(ours["regret"])), "y")
    report.result("study: share of fits in trouble", ours["trouble"], "1")
    for method, seconds in separate.items():
        total = STUDY_KEYS * STUDY_STEPS * seconds
        report.result(f"{method}: {many}, extrapolated from these steps", total, "s", None, total / ours["seconds"])
        report.claim(f"a study takes less than a twentieth of {many} of {method}", 20 * ours["seconds"] < total)


def grids(bench):
    """An image from 30 percent of its pixels."""
    report, quick = bench.report, bench.given.quick
    for size in (64,) if quick else (64, 128):
        task = {"task": "grid", "problem": bench.save(f"image-{size}", problems.image(size)), "seed": 0}
        for method in GRID:
            if method == "reconstruct" and importlib.util.find_spec("gpax_lab.inference._reconstruct") is None:
                print("reconstruct: skipped, this gpax_lab has no inference.reconstruct", flush=True)
                continue
            repeats = 2 if method == "reconstruct" else 1
            got = bench.run(method, [task | {"repeats": repeats}], iterations=5 if quick else 50).get("grid")
            if not got:
                continue
            title = f"{method}, {size} x {size}"
            report.result(f"{title}: time of the first image", got["seconds"][0], "s")
            if repeats > 1:
                report.result(f"{title}: time of a further image", got["seconds"][-1], "s")
            report.result(f"{title}: error in the holes", got["rmse"], "sd of the image")
            report.result(f"{title}: coverage of 95 percent intervals", got["coverage"], "1", 0.95)
            report.result(f"{title}: log score", got["log_score"], "nat")
            if method == "reconstruct":
                report.claim("reconstruct errs by less than half the image", got["rmse"] < 0.5)
                report.claim("reconstruct covers between 0.9 and 0.99", 0.9 < got["coverage"] < 0.99)


def main():
    """Run and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one or two steps of a few methods, a small image")
    parser.add_argument("--only", nargs="*", default=["step", "campaign", "pool", "study", "grid"], help="these tasks")
    parser.add_argument("--methods", nargs="*", help="methods whose name holds one of these words; all by default")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where environments.py put the environments")
    parser.add_argument("--data", type=Path, default=HERE.parents[2] / "shared" / "data", help="holds bo_pools/")
    parser.add_argument("--cores", type=int, default=1, help="how many cores every process may use")
    parser.add_argument("--reference", type=int, default=20000, help="draws of the long run")
    parser.add_argument("--seeds", type=int, default=10, help="most campaigns of one method")
    parser.add_argument("--gpax-steps", type=int, default=30, help="steps of gpax measured before extrapolation")
    parser.add_argument("--limit", type=float, default=3600.0, help="seconds after which a runner is stopped")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(given, Path(folder))
        found, reference = {}, None
        if {"step", "campaign"} & set(given.only):
            found, reference = steps(bench, "campaign" in given.only)
            claims_of_steps(bench, found, reference)
        if "pool" in given.only:
            pools(bench)
        if "study" in given.only:
            studies(bench)
        if "grid" in given.only:
            grids(bench)
        bench.report.finish()


if __name__ == "__main__":
    main()
