"""A few labels: the semi-supervised model against a supervised network of the same size on the same labels.

Six kinds of glyphs with noise, turned by up to 60 degrees and shifted, 5 percent of them labelled. The supervised
network is the encoder's body (two layers of 128) with a linear layer of classes, trained by Adam on the labelled
images until its accuracy on a fifth of them has not risen for 50 epochs, and at its best there. Accuracy is that on
images without labels.

    python benchmarks/vae_semi.py [--seeds 3] [--epochs 60] [--images 3000] [--quick]
"""

import argparse

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from pictures import letters
from results import Report

from gpax_lab import vae

KINDS = ("F", "L", "4", "Y", "J", "2")


class Supervised(nn.Module):
    """The encoder's body and a head."""

    @nn.compact
    def __call__(self, x):
        return nn.Dense(len(KINDS), name="Dense_0")(vae.MLP((128, 128), name="Dense_1")(x))


def supervised(key, x, label, most: int = 400) -> dict:
    """Weights with the best accuracy on a fifth of the labelled images."""
    net, adam = Supervised(), optax.adam(1e-3)
    params = net.init(key, x[:2])
    fifth = max(len(x) // 5, 1)
    held, rest = (x[:fifth], label[:fifth]), (x[fifth:], label[fifth:])

    def loss(params):
        return optax.softmax_cross_entropy_with_integer_labels(net.apply(params, rest[0]), rest[1]).mean()

    @jax.jit
    def step(params, state):
        move, state = adam.update(jax.grad(loss)(params), state)
        params = optax.apply_updates(params, move)
        return params, state, jnp.mean(jnp.argmax(net.apply(params, held[0]), axis=1) == held[1])

    state, best, score, idle = adam.init(params), params, -1.0, 0
    for _ in range(most):
        params, state, accuracy = step(params, state)
        idle = 0 if float(accuracy) > score else idle + 1
        if idle == 0:
            best, score = params, float(accuracy)
        if idle > 50:
            break
    return best


def main() -> None:
    """Run all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--images", type=int, default=3000)
    parser.add_argument("--quick", action="store_true", help="few images and epochs, one seed")
    given = parser.parse_args()
    count, epochs, seeds = (240, 2, 1) if given.quick else (given.images, given.epochs, given.seeds)
    report = Report()
    gains = []
    for seed in range(seeds):
        truth = letters(seed, count, np.pi / 3, KINDS, noise=0.2)
        labelled = np.random.default_rng(seed).permutation(count) < round(0.05 * count)
        label = np.where(labelled, truth.classes, -1)
        model = vae.model(
            (28, 28), 2, classes=len(KINDS), invariances=[vae.rotation("normal"), vae.translation(0.1)],
            likelihood=vae.gaussian(),
        )  # fmt: skip
        weights = vae.Weights(label=100.0, content=optax.linear_schedule(20.0, 1.0, epochs))
        trained = vae.train(
            jax.random.key(seed),
            model,
            vae.examples(truth.images, label=label),
            epochs,
            learning_rate=2e-3,
            weights=weights,
            progress=False,
        )  # fmt: skip
        found = np.asarray(vae.encode(trained, truth.images).label)
        ours = float(np.mean(found[~labelled] == truth.classes[~labelled]))
        net = supervised(jax.random.key(seed), truth.images[labelled], truth.classes[labelled])
        guess = np.asarray(jnp.argmax(Supervised().apply(net, truth.images), axis=1))
        theirs = float(np.mean(guess[~labelled] == truth.classes[~labelled]))
        gains.append(ours - theirs)
        report.result(f"seed {seed}: supervised on {labelled.sum()} labels, accuracy", theirs, "share")
        report.result(f"seed {seed}: semi-supervised, accuracy", ours, "share", theirs)
    if not given.quick:
        report.claim("5 points above the supervised network in every seed", bool(np.min(gains) >= 0.05))
    report.finish()


if __name__ == "__main__":
    main()
