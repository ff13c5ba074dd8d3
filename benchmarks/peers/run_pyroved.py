"""pyroVED's variational autoencoders behind one face.

    python run_pyroved.py job.npz result.npz

The job holds `kind` ("iVAE" or "jiVAE"), `images` (n, h, w) in [0, 1], `held_out` (m, h, w), `epochs`, `batch`,
`seed`, `threads`, `invariances` ("rt", "" ...), `latent`, `classes`, `shift_sd` and `beta` (epochs,) or (epochs, 2),
the factors of the divergence. Everything else is pyroVED's default: Adam with step size 1e-3, two layers of 128,
tanh, a Bernoulli likelihood. Its `test_loader` is not used, because it trains on what is given there.

The result holds `seconds` of every epoch, `loss` per image, `bound`, the mean evidence lower bound of the held-out
images by 20 draws each, without any factor, `mean` (n, latents) with the angle first, then the shifts, then the
content, and `classes` (n,) where there are any.
"""

import os
import sys
import time
import types
import warnings

job_path, result_path = sys.argv[1:]
warnings.filterwarnings("ignore")

import numpy as np  # noqa: E402

job = np.load(job_path)
os.environ["OMP_NUM_THREADS"] = str(int(job["threads"]))


class Nothing(types.ModuleType):
    """torchvision, of which pyroVED takes a function for images that is not needed here."""

    __path__ = ()

    def __getattr__(self, name):
        return None


for name in ("torchvision", "torchvision.utils"):
    sys.modules[name] = Nothing(name)

import pyro  # noqa: E402
import pyroved as pv  # noqa: E402
import torch  # noqa: E402
from pyro.infer import Trace_ELBO, TraceEnum_ELBO, config_enumerate  # noqa: E402

torch.set_num_threads(int(job["threads"]))


def make():
    """The model and the tensors that it takes."""
    kind, seed = str(job["kind"]), int(job["seed"])
    shape = job["images"].shape[1:]
    names = list(str(job["invariances"])) or None
    shared = {"invariances": names, "seed": seed, "dx_prior": float(job["shift_sd"])}
    if kind == "iVAE":
        return pv.models.iVAE(shape, int(job["latent"]), **shared)
    return pv.models.jiVAE(shape, int(job["latent"]), int(job["classes"]), **shared)


def main():
    """Run the job."""
    kind, epochs, batch, seed = str(job["kind"]), int(job["epochs"]), int(job["batch"]), int(job["seed"])
    pv.utils.set_deterministic_mode(seed)
    model = make()
    images, held = torch.tensor(job["images"]), torch.tensor(job["held_out"])
    loader = pv.utils.init_dataloader(images, batch_size=batch)
    trainer = pv.trainers.SVItrainer(model, enumerate_parallel=kind == "jiVAE", seed=seed)
    seconds, loss = [], []
    for factor in job["beta"]:
        scale = [float(x) for x in factor] if np.ndim(factor) else float(factor)
        begun = time.perf_counter()
        trainer.step(loader, scale_factor=scale)
        seconds.append(time.perf_counter() - begun)
        loss.append(float(trainer.loss_history["training_loss"][-1]))
        print(
            f"epoch {len(seconds)} of {epochs}: {seconds[-1]:.2f} s, loss {loss[-1]:.1f}", file=sys.stderr, flush=True
        )
    found = {"seconds": np.array(seconds), "loss": np.array(loss), "bound": np.nan}
    with torch.no_grad():
        joint = kind == "jiVAE"
        guide = config_enumerate(model.guide, "parallel", expand=True) if joint else model.guide
        elbo = TraceEnum_ELBO(max_plate_nesting=1) if joint else Trace_ELBO()
        draws = [elbo.loss(model.model, guide, held, scale_factor=[1.0, 1.0] if joint else 1.0) for _ in range(20)]
        found["bound"] = -np.mean(draws) / len(held)
    encoded = model.encode(images)
    found["mean"] = np.asarray(encoded[0])
    if joint:
        found["classes"] = np.asarray(encoded[-1]).ravel()
    pyro.clear_param_store()
    np.savez(result_path, **found)


main()
