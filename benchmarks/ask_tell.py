"""Ask and tell: the same trajectory as `run` and `simulate`, tells that cost the same however many there were, kills.

Claims: with the same key, seeds and answers, ask and tell gives the observations and parameters of `run` and `simulate`
bit for bit; of 10,000 tells the last 1,000 take no longer than 1.5 times the first 1,000 of a new campaign (medians,
in turns), and write as much; a program that is killed at any instant (SIGKILL) goes on along the same
trajectory, and everything that `tell` returned from is in the journal.
One JSON line a result; the exit status is 1 where a claim fails. `--quick` makes fewer tells and kills.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from results import Report, pin_threads

pin_threads()

import numpy as np  # noqa: E402

STEPS = 4


def equality(report, folder):
    """States of the three ways of driving one experiment."""
    import crash_campaign as small
    import jax

    from gpax_lab import observations, simulate
    from gpax_lab.ask_tell import open_campaign
    from gpax_lab.experiment import Simulated, run
    from gpax_lab.storage import Campaign

    experiment, key = small.experiment("fixed"), jax.random.key(3)
    with Campaign.create(folder / "run.gpxj", {"settings": {}}) as journal:
        options = {"seeds": small.SEEDS, "key": key, "scalarize": Simulated.scalarize}
        end = run(experiment, Simulated(small.objective), journal, STEPS, **options).state
    bench = Simulated(small.objective)
    with open_campaign(folder / "asked.gpxj", experiment, key=key, seeds=small.SEEDS, num_steps=STEPS) as campaign:
        for _ in range(STEPS + 1):
            points = campaign.ask()
            table = campaign.to_pandas()
            y = [bench.measure(x, table.token[i]).arrays["value"] for i, x in zip(points.ids, points, strict=True)]
            campaign.tell(points, np.array(y, float))
        state = campaign.state
    key_start, key_seed = jax.random.split(key)
    value = jax.jit(small.objective)
    y = [float(value(jax.random.fold_in(key_seed, i), x)) for i, x in enumerate(small.SEEDS)]
    simulated, _ = simulate(key_start, experiment, small.objective, STEPS, observations(small.SEEDS, y))
    differing = [
        np.asarray(a).tobytes() != np.asarray(b).tobytes()
        for other in (end, simulated)
        for a, b in zip(
            jax.tree.leaves((state.obs, state.posterior.params)), jax.tree.leaves((other.obs, other.posterior.params)),
            strict=True,
        )
    ]  # fmt: skip
    report.result("arrays that differ from run and simulate", sum(differing), "1")
    report.claim("ask and tell gives what run and simulate give, bit for bit", not any(differing))


def flat(report, folder, count):
    """Points that nobody asked for, told one by one: the last tenth of so many, in turns with a new campaign."""
    import crash_campaign as small

    from gpax_lab.ask_tell import open_campaign

    tenth, experiment = max(count // 10, 1), small.experiment("fixed")
    rng, sizes = np.random.default_rng(0), {}
    campaigns = {
        name: open_campaign(folder / f"{name}.gpxj", experiment, key=3, inputs={"x": "um"}) for name in ("new", "long")
    }

    def told(name):
        (x,), y = rng.random((1, 1)), rng.random()
        start = time.perf_counter()
        campaigns[name].tell([x], [y])
        return time.perf_counter() - start

    for _ in range(count - tenth):
        told("long")
    before = (folder / "long.gpxj").stat().st_size
    seconds = np.array([[told("new"), told("long")] for _ in range(tenth)])
    first, last = map(float, np.median(seconds, axis=0))
    report.result(f"a tell, the last {tenth} of {count}, beside the first", 1e3 * last, "ms", 1e3 * first)
    report.claim("the last tells take no longer than 1.5 times the first", last <= 1.5 * first)
    sizes = {name: (folder / f"{name}.gpxj").stat().st_size for name in campaigns}
    written = (sizes["long"] - before) / tenth
    report.result("bytes of a tell at the end, beside the beginning", written, "B", sizes["new"] / tenth)
    report.claim("a tell writes as much at the end", written <= 1.05 * sizes["new"] / tenth)
    report.result(f"journal of {count} tells", sizes["long"] / 1e6, "MB")
    for campaign in campaigns.values():
        campaign._journal.journal.close()  # without the HDF5 file
    start = time.perf_counter()
    again = open_campaign(folder / "long.gpxj", experiment)
    report.result(f"opened again with {count} tells", time.perf_counter() - start, "s")
    report.claim("all that was told is there", again.measured == count)
    again._journal.journal.close()


def kills(report, folder, count, seed=0):
    """Campaigns in processes of their own, each killed at some instant after it has opened its journal, and again."""
    tests = Path(__file__).parents[1] / "tests"
    path = os.pathsep.join([str(tests / "ask_tell"), str(tests / "experiment"), *sys.path])
    env = os.environ | {"PYTHONPATH": path, "JAX_COMPILATION_CACHE_DIR": str(cache(folder))}
    program, rng = [sys.executable, str(tests / "ask_tell" / "by_hand.py")], np.random.default_rng(seed)

    def lived(journal, seconds=None):
        """What a process said, and how long it lived after it had opened the journal; killed after so many seconds."""
        with subprocess.Popen([*program, str(journal), "3"], stdout=subprocess.PIPE, text=True, env=env) as process:
            said = [process.stdout.readline().strip()]
            start = time.perf_counter()
            if seconds is not None:
                time.sleep(seconds)
                process.send_signal(signal.SIGKILL)
            said += process.stdout.read().splitlines()
        assert said[0] == "open", "the program did not start"
        return said, time.perf_counter() - start

    whole = folder / "whole.gpxj"
    _, life = lived(whole)
    lost = different = killed = campaigns = 0
    while killed < count:
        cut, told, said = folder / f"{campaigns}.gpxj", set(), []
        campaigns += 1
        while "done" not in said:
            said, _ = lived(cut, rng.uniform(0, life) if killed < count else None)
            killed += "done" not in said
            told |= {line for line in said if line.startswith("told")}
            lost += missing(cut, told)
        different += ends(cut) != ends(whole)
    report.result("kills", killed, "1")
    report.result("campaigns", campaigns, "1")
    report.result("told and lost", lost, "1")
    report.result("campaigns that ended elsewhere", different, "1")
    report.claim("nothing told is lost, and every campaign ends where the whole one did", lost == different == 0)


def cache(folder):
    return os.environ.get("JAX_COMPILATION_CACHE_DIR") or folder / "cache"


def missing(path, told):
    """How many acknowledged answers the journal does not hold."""
    from gpax_lab.storage import read

    if not path.exists():
        return len(told)
    records = read(path).records
    order = list(dict.fromkeys(r.header["token"] for r in records if r.kind in ("intent", "reading")))
    known = {order.index(r.header["token"]) for r in records if r.kind == "reading"}
    return sum(int(line.split()[1]) not in known for line in told)


def ends(path):
    """What was asked and what came back, in order, bit for bit."""
    from gpax_lab.storage import read

    records = read(path).of("reading")
    found = {r.header["token"]: (r.arrays["x"].tobytes(), r.arrays["y"].tobytes()) for r in records}
    return [*sorted(found.items())]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    import gpax_lab

    report = Report()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        gpax_lab.setup(cache=str(cache(folder)), verbose=False)
        equality(report, folder)
        flat(report, folder, 1000 if quick else 10_000)
        kills(report, folder, 1 if quick else 40)
    report.finish()


if __name__ == "__main__":
    main()
