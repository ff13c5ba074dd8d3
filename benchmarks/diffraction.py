"""4D-STEM: what of a simulated lattice comes back, how exact strain is, and a set larger than memory should hold.

(a) Field and charge of a simulated perovskite from the centres of mass, against the truth as the probe sees it and
against the truth itself, without noise and with a dose. (b) A scan of 256 x 256 patterns of 64 x 64 pixels (--quick: 64
x 64) streamed from HDF5: seconds, memory, and a plain NumPy loop beside it. (c) Strain from noisy discs.

    python benchmarks/diffraction.py [--quick]
"""

from results import Report, high_water, pin_threads, reset_high_water

pin_threads()

import argparse  # noqa: E402
import shutil  # noqa: E402
import tempfile  # noqa: E402
import time  # noqa: E402
from pathlib import Path  # noqa: E402

import h5py  # noqa: E402
import jax  # noqa: E402

import gpax_lab  # noqa: E402

gpax_lab.setup(cache=False, verbose=False)
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402

from gpax_lab.simulators import diffraction as sim  # noqa: E402
from gpax_lab.spectra import stem4d, streams  # noqa: E402

VOLTAGE = 80e3


def miss(found, truth) -> float:
    """Root mean squared error over the root mean square of the truth."""
    return float(jnp.sqrt(jnp.mean((found - truth) ** 2) / jnp.mean(truth**2)))


def lattice(report: Report, quick: bool) -> None:
    """Field and charge of a weak perovskite with a polarization."""
    n, cells, every = (48, 3, 3) if quick else (64, 3, 2)
    side = cells * 0.4
    probe = sim.probe(n, side, VOLTAGE, 18.0)
    potential = 0.1 * sim.perovskite(cells, n, 0.4, jnp.array([0.02, 0.0]), width=0.05)
    places = jnp.stack(jnp.meshgrid(*[jnp.arange(0, n, every) * side / n] * 2, indexing="ij"), axis=-1)
    scale = probe.angle, sim.wavelength(VOLTAGE), sim.interaction(VOLTAGE)
    step = (side / n * every,) * 2

    def field_of(dose):
        patterns = sim.scan(probe, potential, places.reshape(-1, 2), dose, jax.random.key(0))
        moved = stem4d.centre_of_mass(patterns).value.reshape(*places.shape)
        return stem4d.projected_field(moved, *scale)

    seen = jnp.moveaxis(sim.seen_field(probe, potential)[:, ::every, ::every], 0, -1)
    point = probe._replace(wave=jnp.zeros_like(probe.wave).at[0, 0].set(1.0))
    true = jnp.moveaxis(sim.seen_field(point, potential)[:, ::every, ::every], 0, -1)
    whole = field_of(None)
    exact = miss(whole, seen)
    report.result("field without noise, against what the probe sees", exact, "relative error")
    report.result("field without noise, against the field itself", miss(whole, true), "relative error")
    charge_seen = stem4d.charge(seen, step, periodic=True)
    report.result("charge without noise, against what the probe sees",
                  miss(stem4d.charge(whole, step, periodic=True), charge_seen), "relative error")  # fmt: skip
    report.claim("without noise the centre of mass is the probe's field to 1 percent", exact < 0.01)
    for dose in (1e3, 1e4, 1e5):
        noisy = field_of(dose)
        report.result(
            f"field at {dose:.0e} electrons a pattern, against what the probe sees", miss(noisy, seen), "relative error"
        )
        smooth = stem4d.charge(noisy, step, periodic=True, smooth=0.04)
        asked = stem4d.charge(seen, step, periodic=True, smooth=0.04)
        report.result(f"charge, smoothed by 0.04 nm, at {dose:.0e} electrons", miss(smooth, asked), "relative error")


def bragg(report: Report, quick: bool) -> None:
    """Strain of noisy discs: scatter and bias."""
    count = 100 if quick else 500
    indices = np.array([[h, k] for h in (-1, 0, 1) for k in (-1, 0, 1)])
    base = np.array([[18.0, 2.0], [-1.0, 17.0]])
    for dose in (1e4, 1e5):
        draw = lambda key, dose=dose: sim.discs(64, jnp.asarray(32.0 + indices @ base), 5.0, jnp.ones(9), dose, key)  # noqa: E731
        patterns = jax.lax.map(draw, jax.random.split(jax.random.key(1), count))
        found = stem4d.strain(
            stem4d.fit_lattice(stem4d.find_discs(patterns, 32.0 + indices @ base, 7.5), indices), base
        )
        errors = np.asarray(found.tensor[:, 0, 0])
        stated = float(jnp.mean(found.std[:, 0]))
        report.result(
            f"strain at {dose:.0e} electrons a pattern", float(errors.std()), "standard deviation", reference=stated
        )
        report.result(f"its bias at {dose:.0e} electrons", float(errors.mean()), "strain")
        # A standard deviation of `count` draws is known to 1 / sqrt(2 count); four of these, and 5 percent of pixels.
        limit = 0.05 + 4 / np.sqrt(2 * count)
        report.claim(f"strain scatters as it says at {dose:.0e}", abs(errors.std() / stated - 1) < limit)


def large(report: Report, quick: bool) -> None:
    """Write a set by blocks, then stream it."""
    side = 64 if quick else 256
    total = side * side
    bytes_needed = total * 64 * 64 * 2
    folder = Path(tempfile.mkdtemp())
    try:
        if shutil.disk_usage(folder).free < 2 * bytes_needed:
            report.result(
                "streaming: skipped for want of room on the disk", float("nan"), "bytes", reference=bytes_needed
            )
            return
        with h5py.File(folder / "set.h5", "w") as file:
            node = file.create_dataset("patterns", (total, 64, 64), "uint16", chunks=(64, 64, 64))
            rng = np.random.default_rng(0)
            some = rng.poisson(4.0, (1024, 64, 64)).astype(np.uint16)
            for start in range(0, total, 1024):
                node[start : start + 1024] = np.roll(some, start // 1024, axis=2)
        report.result("size of the set", bytes_needed / 2**30, "GiB")
        disc = stem4d.annular((64, 64), (32, 32), 0, 12)

        def all_of(patterns):
            found = stem4d.centre_of_mass(patterns.astype(jnp.float32))
            return found.value, stem4d.virtual_detector(patterns.astype(jnp.float32), disc)[0]

        with h5py.File(folder / "set.h5") as file:
            source = file["patterns"]
            streams.stream(source[:512], all_of, 512)  # compiled
            reset_high_water()
            begun, clock = high_water(), time.perf_counter()
            moved, bright = streams.stream(source, all_of, 512)
            seconds = time.perf_counter() - clock
            grown = (high_water() - begun) / 2**20
            clock = time.perf_counter()
            plain = [by_numpy(source[k].astype(np.float32), np.asarray(disc)) for k in range(0, total, total // 2000)]
            each = (time.perf_counter() - clock) / len(plain)
        report.result("streamed: centre of mass and bright field", total / seconds, "patterns per second",
                      reference=1 / each, ratio=each * total / seconds)  # fmt: skip
        report.result("memory that streaming took", grown, "MiB", reference=bytes_needed / 2**20)
        same = np.allclose(moved[:: total // 2000][: len(plain)], [p[0] for p in plain], atol=1e-3)
        report.claim("streaming gives what NumPy gives", bool(same) and bool(np.isfinite(bright).all()))
        report.claim("streaming takes less than 500 MiB", grown < 500)
    finally:
        shutil.rmtree(folder)


def by_numpy(pattern: np.ndarray, disc: np.ndarray) -> tuple[np.ndarray, float]:
    """The same of one pattern, as most people write it."""
    total = pattern.sum()
    rows, columns = np.indices(pattern.shape)
    centre = np.array([(pattern * rows).sum() / total - 32, (pattern * columns).sum() / total - 32])
    return centre, float((pattern * disc).sum())


def main() -> None:
    """All three."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    report = Report()
    lattice(report, quick)
    bragg(report, quick)
    large(report, quick)
    report.finish()


if __name__ == "__main__":
    main()
