"""Images a second in training, and the bound after equal epochs, beside pyroVED.

28 x 28 glyphs, 2 latent numbers, batches of 100, Adam with step size 1e-3, on both sides two hidden layers of 128 in
encoder and decoder, a Bernoulli likelihood and the same priors (angle N(0, 1) rad, shifts 0.1 half widths). Plain,
and with turns and shifts: there ours decodes by plane waves, and beside it by a network asked at every pixel, as
pyroVED does. The bound is that of held-out images with one draw each, 20 times. Threads: as many as there are cores
on both sides.

    python benchmarks/vae_throughput.py [--peers FOLDER] [--seeds 5] [--epochs 20] [--images 2000] [--quick]
"""

import argparse
import os
import time
from pathlib import Path

import flax.linen as nn
import jax
import numpy as np
from pictures import letters, pyroved
from results import Report

from gpax_lab import vae

HELD = 400


def models(wide: bool) -> dict:
    """What is compared."""
    turns = [vae.rotation("normal", 1.0), vae.translation(0.1)]
    tanh = {"encoder": vae.MLP((128, 128), nn.tanh)}
    found = {
        "plain": vae.model((28, 28), 2, **tanh, decoder=vae.MLPDecoder((28, 28), (128, 128), nn.tanh)),
        "turns and shifts": vae.model((28, 28), 2, invariances=turns),
    }
    if wide:
        found["turns and shifts, asked at every pixel"] = vae.model(
            (28, 28), 2, invariances=turns, **tanh, decoder=vae.CoordinateDecoder((28, 28))
        )
    return found


def ours(model, images, held, epochs: int, seed: int) -> tuple[float, float, float]:
    """Seconds of the first epoch with compilation, the median of the others, and the bound on the held-out images."""
    marks = [time.perf_counter()]

    def tell(_):
        marks.append(time.perf_counter())

    found = vae.train(jax.random.key(seed), model, vae.examples(images), epochs, progress=tell)
    keys = jax.random.split(jax.random.key(1), 20)
    bound = np.mean([vae.mean_elbo(model, found.params, key, vae.examples(held), HELD) for key in keys[:5]])
    seconds = np.diff(marks)
    return float(seconds[0]), float(np.median(seconds[1:])), float(bound)


def main() -> None:
    """Run all and say who is faster."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", type=Path, help="folder of the peers' environments (peers/environments.py)")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--quick", action="store_true", help="few images, one seed, no network asked at every pixel")
    given = parser.parse_args()
    count, epochs, seeds = (400, 3, 1) if given.quick else (given.images, given.epochs, given.seeds)
    report = Report()
    data = letters(0, count + HELD, np.pi / 3)
    images, held = data.images[:count], data.images[count:]
    theirs = {}
    if given.peers:
        for name, invariances in (("plain", ""), ("turns and shifts", "rt")):
            runs = [
                pyroved(given.peers, kind="iVAE", images=images, held_out=held, epochs=epochs, batch=100, seed=seed,
                        threads=os.cpu_count(), invariances=invariances, latent=2, classes=0, shift_sd=0.1,
                        beta=np.ones(epochs))
                for seed in range(seeds)
            ]  # fmt: skip
            theirs[name] = runs
            rate = count / np.median([np.median(run["seconds"][1:]) for run in runs])
            report.result(f"{name}: pyroVED", float(rate), "images/s")
            for seed, run in enumerate(runs):
                report.result(f"{name}: pyroVED, bound, seed {seed}", float(run["bound"]), "nat")
    for name, model in models(not given.quick).items():
        slow = "every pixel" in name
        runs = [ours(model, images, held, 3 if slow else epochs, seed) for seed in range(1 if slow else seeds)]
        first, warm = runs[0][0], float(np.median([run[1] for run in runs]))
        peer = theirs.get("turns and shifts" if slow else name)
        reference = None if peer is None else count / float(np.median([np.median(run["seconds"][1:]) for run in peer]))
        report.result(f"{name}: first epoch with compilation", first, "s")
        report.result(f"{name}: ours", count / warm, "images/s", reference)
        if slow:
            continue
        for seed, run in enumerate(runs):
            report.result(f"{name}: ours, bound, seed {seed}", run[2], "nat")
        if peer is not None and reference is not None:
            asked = 10 if name == "plain" else 4
            report.claim(f"{name}: {asked} times as fast as pyroVED", count / warm >= asked * reference)
            gain = np.array([run[2] for run in runs]) - np.array([float(run["bound"]) for run in peer])
            report.claim(f"{name}: a bound that is equal or better after {epochs} epochs", bool(gain.mean() >= 0))
    report.finish()


if __name__ == "__main__":
    main()
