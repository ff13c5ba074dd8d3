"""One step of active learning with a deep kernel: train on 100 measurements, score 2,500 patches, choose.

On the simulated film of `structure_maps.twin` (2,500 patches of 8 x 8 pixels). Ours: `ensemble` of one network (as the
peers train one) and of four, warm started as in a campaign, and once from the prior; compile time apart. Peers, where
their environments are given, as their own notebooks do it: a new model at every step, 200 cycles, tracing and compiling
included where they do so at every step. Beside the time stands what the predictions are worth on the 2,400 patches that
were not measured.

    python benchmarks/dkl_step.py [--peers FOLDER] [--repeats 5] [--quick]
"""

from results import Report, pin_threads

pin_threads()

import argparse  # noqa: E402
import subprocess  # noqa: E402
import tempfile  # noqa: E402
import time  # noqa: E402
from pathlib import Path  # noqa: E402

import jax  # noqa: E402

import gpax_lab  # noqa: E402

gpax_lab.setup(cache=False, verbose=False)
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
import structure_maps as maps  # noqa: E402

from gpax_lab import (  # noqa: E402
    acquisition,
    bayes_opt,
    nn,
    observations,
)
from gpax_lab.inference._ensemble import ensemble  # noqa: E402
from gpax_lab.models._deep_kernel import deep_kernel  # noqa: E402

MEASURED = 100


def worth(report: Report, name: str, of: maps.Map, rest: np.ndarray, mean: np.ndarray, std: np.ndarray) -> float:
    """Report error, coverage and log score on the patches that were not measured; the log score in nats per reading."""
    missed = of.values[rest] - mean[rest]
    score = float(np.mean(-0.5 * np.log(2 * np.pi * std[rest] ** 2) - 0.5 * (missed / std[rest]) ** 2))
    report.result(f"{name}: error", float(np.sqrt(np.mean(missed**2))), "standard deviations", reference=1.0)
    report.result(f"{name}: 90 percent interval", float(np.mean(np.abs(missed) < 1.6449 * std[rest])), "share", 0.9)
    report.result(f"{name}: log score", score, "nats per reading")
    return score


def predictive(posterior, x) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of a new measurement at x."""
    mean, variance = posterior.moments(x)
    weight = jnp.exp(posterior.log_weight)
    return np.asarray(mean), np.sqrt(np.asarray(variance + weight @ posterior.noise_variance(x)))


def ours(report: Report, name: str, encoder, sampler, of: maps.Map, order: np.ndarray, repeats: int):
    """Seconds of a warm step, and its log score."""
    model = deep_kernel(encoder, of.look())
    plan = bayes_opt(model, sampler, acquisition.seek(), acquisition.pool(of.positions))
    first = order[: MEASURED - repeats]
    obs = observations(of.positions[first], of.values[first], capacity=104)

    def timed(function, *arguments):
        begun = time.perf_counter()
        done = jax.block_until_ready(function(*arguments))
        return done, time.perf_counter() - begun

    state, compiling = timed(plan.init, jax.random.key(0), obs)
    state, fresh = timed(plan.init, jax.random.key(0), obs)
    seconds = []
    for k in order[MEASURED - repeats : MEASURED]:  # the same readings as the peers', the time of proposing included
        (_, _), choosing = timed(plan.propose, state)
        x, y = jnp.asarray(of.positions[k][None]), jnp.asarray(of.values[k][None])
        state, training = timed(plan.observe, state, x, y)
        seconds.append(choosing + training)
    report.result(f"{name}: first fit with compilation", compiling, "s")
    report.result(f"{name}: first fit, compiled", fresh, "s")
    steady = float(np.median(seconds[1:]))
    report.result(f"{name}: a step", steady, "s")
    rest = np.setdiff1d(np.arange(len(of.values)), order[:MEASURED])
    return steady, worth(report, name, of, rest, *predictive(state.posterior, jnp.asarray(of.positions)))


def peer(report: Report, name: str, folder: Path, of: maps.Map, order: np.ndarray, cycles: int) -> tuple[float, float]:
    """The same of a peer: the second of two steps, the first one also imports and warms up."""
    environment = {"AtomAI dklGPR": ("botorch", "atomai"), "gpax viDKL": ("gpax", "gpax")}[name]
    with tempfile.TemporaryDirectory() as place:
        job, result = Path(place) / "job.npz", Path(place) / "result.npz"
        # Two campaigns of one step each, so that the second finds everything imported.
        flat = of.patches().reshape(len(of.values), -1)
        twice = np.stack([order[:MEASURED]] * 2)
        np.savez(job, patches=flat, values=of.values, seeds=twice, batch=1, budget=MEASURED, cycles=cycles,
                 beta=1.0, first=0)  # fmt: skip
        runner = Path(__file__).parent / "peers" / "run_dkl.py"
        subprocess.run([folder / environment[0] / "bin" / "python", runner, environment[1], job, result], check=True)
        found = np.load(result)
    steady = float(found["seconds"][1, -1])
    report.result(f"{name} ({cycles} cycles): a step", steady, "s")
    rest = np.setdiff1d(np.arange(len(of.values)), order[:MEASURED])
    return steady, worth(report, f"{name} ({cycles} cycles)", of, rest, found["mean"][1], found["std"][1])


def main() -> None:
    """Measure side by side."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", type=Path, help="folder of the peers' environments (peers/environments.py)")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args()
    report = Report()
    of = maps.twin()
    order = np.random.default_rng(0).permutation(len(of.values))
    shape = (of.size, of.size)
    plain, pooled = nn.mlp(shape), nn.rotation_pooled(nn.mlp(shape))
    networks = {"ours, one MLP 64-64-2": (plain, 1)}
    if not given.quick:
        convolutions = nn.rotation_pooled(nn.convolutional(shape, 2, (4, 8), 16))
        networks |= {
            "ours, four MLPs": (plain, 4),
            "ours, one rotation-pooled MLP": (pooled, 1),
            "ours, four rotation-pooled MLPs": (pooled, 4),
            "ours, four rotation-pooled convolutional networks": (convolutions, 4),
        }
    mine = {}
    for name, (encoder, members) in networks.items():
        sampler = ensemble(members, 40, 20) if given.quick else ensemble(members)
        mine[name] = ours(report, name, encoder, sampler, of, order, 3 if given.quick else given.repeats)
    for name, asked in (("gpax viDKL", 20), ("AtomAI dklGPR", 10)) if given.peers else ():
        seconds, score = peer(report, name, given.peers, of, order, 200)
        ratios = [0.0]
        for own, (own_seconds, own_score) in mine.items():
            report.result(f"{own} against {name}", own_seconds, "s", reference=seconds)
            report.result(f"{own} less {name}: log score", own_score - score, "nats per reading")
            if own_score >= score:
                ratios.append(seconds / own_seconds)
        report.claim(f"{asked} times faster than {name} at an equal or better log score", max(ratios) >= asked)
    report.finish()


if __name__ == "__main__":
    main()
