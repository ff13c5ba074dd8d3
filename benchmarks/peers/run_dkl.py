"""Deep kernel learning of the peers, behind one face: AtomAI's `dklGPR` and gpax's `viDKL`.

    python run_dkl.py atomai|gpax job.npz result.npz

The job holds patches (n, p), values (n,), seed pixels (campaigns, s), the batch, how many pixels are measured in all,
the cycles of training, beta of the upper confidence bound and the random number of the first campaign. At every step
the peer makes a new model as its own notebooks do, trains it on what was measured (patches of zero mean and unit
variance, readings standardised, which neither does for its user), predicts all patches, and measures the `batch` best
by mean + beta standard deviation. The result holds what was measured, the last mean and standard deviation (AtomAI
predicts the latent function: its likelihood's noise is added), and the seconds of every step.
"""

import os
import sys
import time
import types
import warnings

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
warnings.filterwarnings("ignore")

import numpy as np  # noqa: E402


def atomai(cycles):
    """`dklGPR(indim, embedim=2, precision="double")`, Adam with learning rate 0.01."""

    class Nothing(types.ModuleType):
        """torchvision, of which AtomAI imports names that no deep kernel uses."""

        __path__ = ()

        def __getattr__(self, name):
            return None

    for name in ("torchvision", "torchvision.models", "torchvision.utils"):
        sys.modules[name] = Nothing(name)
    import torch
    from atomai.models import dklGPR

    torch.set_num_threads(1)

    def step(x, y, everything, seed):
        model = dklGPR(x.shape[1], embedim=2, precision="double", seed=seed)
        model.fit(x, y[None], training_cycles=cycles, print_loss=10**9)
        mean, variance = model.predict(everything, batch_size=len(everything))
        noise = float(model.gp_model.likelihood.noise.detach().reshape(-1)[0])
        return np.ravel(mean), np.ravel(variance) + noise

    return step


def vidkl(cycles):
    """`viDKL(indim, z_dim=2)`, its own MLP 64-64-2, a MAP fit of Adam with step size 0.05."""
    import gpax
    import jax.numpy as jnp

    gpax.utils.enable_x64()

    def step(x, y, everything, seed):
        key, key_predict = gpax.utils.get_keys(seed)
        model = gpax.viDKL(x.shape[1], z_dim=2, kernel="RBF")
        model.fit(key, jnp.asarray(x), jnp.asarray(y), num_steps=cycles, step_size=0.05, progress_bar=False,
                  print_summary=False)  # fmt: skip
        mean, variance = model.predict(key_predict, jnp.asarray(everything), noiseless=False)
        return np.ravel(mean), np.ravel(variance)

    return step


def campaign(step, job, seeds, number):
    """Measure, train, choose, until all is spent; the last training sees everything."""
    patches, values = job["patches"], job["values"]
    patches = (patches - patches.mean(axis=0)) / (patches.std(axis=0) + 1e-12)
    batch, budget, beta = int(job["batch"]), int(job["budget"]), float(job["beta"])
    taken, seconds = list(seeds), []
    while True:
        y = values[taken]
        location, scale = y.mean(), y.std() or 1.0
        begun = time.perf_counter()
        mean, variance = step(patches[taken], (y - location) / scale, patches, int(job["first"]) + number)
        std = np.sqrt(np.maximum(variance, 0.0))
        score = mean + beta * std
        score[taken] = -np.inf
        chosen = np.argsort(-score)[: min(batch, budget - len(taken))]
        seconds.append(time.perf_counter() - begun)
        if len(taken) >= budget:
            return taken, location + scale * mean, scale * std, seconds
        taken += chosen.tolist()


def main():
    """Run the job."""
    name, source, target = sys.argv[1:]
    job = np.load(source)
    step = {"atomai": atomai, "gpax": vidkl}[name](int(job["cycles"]))
    found = [campaign(step, job, seeds, number) for number, seeds in enumerate(job["seeds"])]
    names = ("taken", "mean", "std", "seconds")
    np.savez(target, **{name: np.array([one[k] for one in found]) for k, name in enumerate(names)})


if __name__ == "__main__":
    main()
