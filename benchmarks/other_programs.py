"""What it takes to give a campaign to other programs: bluesky documents, HDF5 with NSID and NeXus, RO-Crate metadata.

A journal of many points with a spectrum of 1 kB each, and one of images of 1 MB. Memory is the largest resident set
above what was there before (Linux): raw arrays are read when their event is asked for, and not kept.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from results import Report, high_water, pin_threads, reset_high_water

pin_threads()

from gpax_lab.storage import Campaign, documents, export_crate, export_hdf5  # noqa: E402

HEADER = {
    "axes": [{"name": name, "unit": "m", "low": 0.0, "high": 1e-6} for name in "xy"],
    "quantity": {"name": "area", "unit": "V"},
    "settings": {"instrument": {"kind": "pfm"}},
}
LIMIT = 64 << 20


def journal(path, count, shape):
    """A journal with so many measurements, proposals and posteriors."""
    rng = np.random.default_rng(0)
    raw = rng.standard_normal(shape).astype(np.float32)
    campaign = Campaign.create(path, HEADER)
    for step in range(count):
        x = rng.random(2) * 1e-6
        reading = {"token": str(step), "value": float(step), "ok": True, "flags": []}
        arrays = {"x": x, "noise": np.asarray(0.1), "raw/response": raw + step}
        campaign.append(
            ("proposal", step, {"value": 0.5, "pinned": False}, {"x": x[None]}),
            ("reading", step, reading, arrays),
            ("posterior", step, {"mean": {"noise": 0.1}, "sd": {"noise": 0.01}, "diagnostics": {"r_hat": 1.0}}, {}),
        )
    campaign.journal.close()


def timed(work):
    """Wall seconds, processor seconds, and bytes above those that were there before."""
    reset_high_water()
    before, wall, processor = high_water(), time.perf_counter(), time.process_time()
    value = work()
    return value, time.perf_counter() - wall, time.process_time() - processor, max(0, high_water() - before)


def main():
    """Run and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tenth of the measurements")
    share = 10 if parser.parse_args().quick else 1
    report = Report()
    with tempfile.TemporaryDirectory() as folder:
        for name, count, shape in (("1 kB", 10_000 // share, (256,)), ("1 MB", 400 // share, (512, 512))):
            path = Path(folder) / "a.gpxj"
            journal(path, count, shape)
            size = path.stat().st_size
            exports = {
                "documents": lambda path=path: sum(1 for _ in documents(path)),
                "HDF5": lambda path=path: export_hdf5(path, path.with_suffix(".h5")),
                "RO-Crate": lambda path=path: export_crate(path, [path.with_suffix(".h5")]),
            }
            for kind, work in exports.items():
                value, wall, processor, memory = timed(work)
                report.result(f"{kind}, {count} measurements of {name}: wall", wall, "s")
                report.result(f"{kind}, {count} measurements of {name}: processor", processor, "s")
                report.result(f"{kind}, {count} measurements of {name}: memory", memory / 1e6, "MB")
                if kind == "documents":
                    report.result("documents a second of the processor", value / processor, "1/s")
                    report.claim(f"documents of {size / 1e6:.0f} MB take less than 64 MB", memory < LIMIT)
            path.unlink()
            path.with_suffix(".h5").unlink()
    report.finish()


if __name__ == "__main__":
    main()
