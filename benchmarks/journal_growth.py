"""How a journal grows with the steps of a campaign, and what it costs to open and to export it.

Claims: a step writes as much at the end of a campaign as at its beginning; 10,000 points of 1 kB each stay under
100 MB, open in under 2 s of a processor, and are exported with less memory than twice the journal and 32 MB; raw
images are exported with less memory than half of the journal and 32 MB.
One JSON line a result; the exit status is 1 where a claim fails. `--quick` makes fewer steps and points.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from results import Report

from gpax_lab.core._observations import Observations
from gpax_lab.storage import Campaign


def campaign(path, steps, planned):
    """Bytes of the journal after each of so many steps of a campaign that has room for `planned`: the real `run`."""
    import crash_campaign as small
    import jax

    from gpax_lab.experiment import Simulated, run

    small.configure(str(path.parent / "cache"))
    sizes = []

    class Sized(Campaign):
        def append(self, *entries):
            super().append(*entries)
            if any(kind == "reading" for kind, *_ in entries):
                sizes.append(path.stat().st_size)

    left = iter(range(2 * (steps + len(small.SEEDS))))
    options = {"seeds": small.SEEDS, "key": jax.random.key(3), "scalarize": Simulated.scalarize}
    with Sized.create(path, {"settings": {}}) as journal:
        run(wide(), small.Bench(), journal, planned, stop=lambda: next(left, None) is None, **options)
    return sizes


def wide():
    """A campaign of fixed parameters with as many candidates as it will ever ask for."""
    import crash_campaign as small

    from gpax_lab import acquisition, kernels
    from gpax_lab.experiment import bayes_opt
    from gpax_lab.models import gp

    model = gp.exact(1, kernels.matern52, bounds=[[0.0, 1.0]])
    return bayes_opt(model, small.prior_draws(2), acquisition.log_ei(), acquisition.grid([[0.0, 1.0]], (500,)))


def recorded(path, points):
    """A journal as `run` writes it, of so many points with a spectrum of 1 kB each, through the real records.

    The state is a buffer for all points, of which a step changes one row.
    """
    from gpax_lab.experiment import _record as record

    rng = np.random.default_rng(0)
    known = {}
    obs = Observations(
        *(np.zeros(s, t) for s, t in (((points, 2), "f8"), (points, "f8"), (points, "f8"), (points, "i1")))
    )
    arrays = {f".obs.{name}": value for name, value in obs._asdict().items()} | {".asked": np.zeros((points, 2))}
    mean = {"mean": {"lengthscale": [0.1, 0.2], "noise": 0.1}, "sd": {"lengthscale": [0.1, 0.2], "noise": 0.1}}
    with Campaign.create(path, {"settings": {}, "axes": [], "quantity": {"name": "area", "unit": "V"}}) as journal:
        waiting = []
        for step in range(points):
            x = rng.random(2)
            token = f"{step:016x}"
            waiting.append(
                ("proposal", step, {"value": 0.5, "fallback": False, "pinned": False, "key": [1, 2]}, {"x": x})
            )
            waiting.append(("intent", step, {"token": token, "phase": "measure"}, {"x": x}))
            raw = {
                "raw/response": rng.normal(size=250).astype("f4"),
                "x": x,
                "y": np.asarray(1.0),
                "noise": np.asarray(0.0),
            }
            header = {"token": token, "value": 1.0, "ok": True, "reason": "", "flags": [], "units": {"response": "pm"}}
            waiting.append(("reading", step, header, raw))
            changed = {}
            for name, value in arrays.items():
                now = value.copy()
                now[step] = 2 if name == ".obs.status" else x if value.ndim == 2 else x[0]
                arrays[name] = now
                changed |= record.difference(name, known[name], now) if name in known else {name: now}
            known = dict(arrays)
            waiting.append(("state", step, {}, changed))
            waiting.append(("posterior", step, mean | {"diagnostics": {"rhat": 1.0}}, {}))
            if len(waiting) >= 500:  # fewer syncs than a campaign makes: it is the size that counts here
                journal.append(*waiting)
                waiting = []
        journal.append(*waiting)
        journal._exported = True


def images(path, count):
    """A journal of so many images of 1 MB."""
    with Campaign.create(path, {"settings": {}}) as journal:
        for step in range(count):
            raw = {"x": np.zeros(2), "raw/image": np.full((512, 512), step, "f4")}
            journal.append(("reading", step, {"value": 1.0}, raw))
        journal._exported = True


_COST = """
import sys, time
sys.path.insert(0, sys.argv[2])
from results import high_water, reset_high_water
from gpax_lab.storage import Campaign
from gpax_lab.experiment._record import merge
import h5py
reset_high_water()
before, start, used = high_water(), time.perf_counter(), time.process_time()
campaign = Campaign.open(sys.argv[1])
opened, used = time.perf_counter() - start, time.process_time() - used
arrays, own = {}, set()
for frame in campaign.history:
    if frame.kind == "state":
        merge(arrays, frame.arrays, own)
folded = time.perf_counter() - start - opened
held = high_water() - before
campaign.journal.close()
del campaign, arrays
reset_high_water()
before, start = high_water(), time.perf_counter()
from gpax_lab.storage import export_hdf5
export_hdf5(sys.argv[1], sys.argv[1] + ".h5")
print(opened, used, folded, held, time.perf_counter() - start, high_water() - before)
"""


def cost(report, path, name):
    """Seconds and bytes of opening and of exporting, in a fresh process each."""
    command = [sys.executable, "-c", _COST, str(path), str(Path(__file__).parent)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    opened, used, folded, held, exported, memory = map(float, done.stdout.split())
    size = path.stat().st_size
    report.result(f"{name}: journal", round(size / 1e6, 2), "MB")
    report.result(f"{name}: opened", round(opened, 3), "s")
    report.result(f"{name}: opened, processor", round(used, 3), "s")
    report.result(f"{name}: state put together", round(folded, 3), "s")
    report.result(f"{name}: memory of the opened campaign", round(held / 1e6, 1), "MB", round(size / 1e6, 2))
    report.result(f"{name}: exported", round(exported, 2), "s")
    report.result(f"{name}: memory of the export", round(memory / 1e6, 1), "MB", round(size / 1e6, 2))
    return size, used, memory


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer steps and points, under a minute")
    quick = parser.parse_args().quick
    report = Report()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sizes = campaign(folder / "run.gpxj", 40 if quick else 390, 400)
        steps = np.diff(sizes)[5:]
        early, late = float(np.median(steps[:10])), float(np.median(steps[-10:]))
        report.result(f"bytes of a step at the beginning of {len(sizes)} points", early, "bytes")
        report.result(f"bytes of a step at the end of {len(sizes)} points", late, "bytes", early)
        report.claim("a step writes as much at the end as at the beginning", late < 1.1 * early)
        # The buffer has room for 400 points from the start: written whole, a step would take 14 kB throughout.
        report.claim("a step writes less than 4 kB, whatever the campaign has room for", max(early, late) < 4_000)
        points = 500 if quick else 10_000
        begun = time.perf_counter()
        recorded(folder / "points.gpxj", points)
        report.result(f"{points} points of 1 kB: written", round(time.perf_counter() - begun, 1), "s")
        size, used, memory = cost(report, folder / "points.gpxj", f"{points} points of 1 kB")
        share = points / 10_000
        report.claim(f"{points} points of 1 kB stay under {100 * share:g} MB", size < 100e6 * share)
        # Half a second for what does not depend on their number.
        most = 0.5 + 1.5 * share
        report.claim(f"{points} points of 1 kB open in under {most:g} s of a processor", used < most)
        report.claim("points are exported with less memory than twice the journal and 32 MB", memory < 2 * size + 32e6)
        count = 150 if quick else 400  # so many that half of the journal is far more than what is to spare
        images(folder / "images.gpxj", count)
        size, used, memory = cost(report, folder / "images.gpxj", f"{count} images of 1 MB")
        report.claim("images are exported with less memory than half the journal and 32 MB", memory < size / 2 + 32e6)
    report.finish()


if __name__ == "__main__":
    main()
