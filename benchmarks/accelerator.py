"""What one accelerator does: every heavy part of the library, on whatever device JAX finds, within a budget of time.

    python benchmarks/accelerator.py [--parts algebra,fits,...] [--budget 330] [--quick]

Needs jax, numpyro, flax, optax, h5py and numpy; BoTorch only for the comparison, which says so where it is missing.
Every part runs in a process of its own, so that one that fails (memory, a crash, its time) is a failed result and the
others go on; time that a part leaves goes to the later ones. Warm times are medians, blocked until ready; the first
call with compilation stands beside them.

algebra  Cholesky factors, and log densities with their gradient: as `linalg` chooses, by its loops over rows, and by
         the library's batched routine (the reference of both)
fits     spectra and loops by the thousand, beside scipy's `curve_fit` on a few
batch    64 points of 100,000 candidates from 1,024 observations by fully Bayesian draws, beside BoTorch's SAAS model
smc      4,096 particles; the reference is 128 particles, 32 times
study    1,024 campaigns in one call
vae      images a second in training
dkl      a fit of a deep kernel, and a step of its campaign
compiled as many rows of the differential table as the time allows, compiled against op by op on this device
"""

import argparse
import importlib.util
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from results import Report, pin_threads

LIBRARY, CHOSEN, ROWS = "library", "as chosen", "row loops"


class Part:
    """Where a part reports, how large it is, and until when it may run."""

    def __init__(self, name: str, quick: bool, seconds: float) -> None:
        self.name, self.quick, self.report = name, quick, Report()
        self.seconds, self.until = seconds, time.monotonic() + seconds

    @property
    def left(self) -> float:
        """Seconds."""
        return self.until - time.monotonic()

    def result(self, what: str, value: float, unit: str, reference: float | None = None, ratio: float | None = None):
        self.report.result(f"{self.name}: {what}", value, unit, reference, ratio)

    def timed(self, what: str, function: Callable[[], Any], repeats: int = 5) -> tuple[float, Any]:
        """Report the first call; the median seconds of the warm ones that the time allows, and the last result."""
        import jax

        def once() -> tuple[float, Any]:
            begun = time.perf_counter()
            found = jax.block_until_ready(function())
            return time.perf_counter() - begun, found

        first, found = once()
        self.result(f"{what}, first call with compilation", first, "s")
        warm: list[float] = []
        while not warm or (len(warm) < repeats and self.left > 4 * max(warm)):
            seconds, found = once()
            warm.append(seconds)
        return sorted(warm)[len(warm) // 2], found


def algebra(part: Part) -> None:
    """The choice between loops over rows and the library, by size and batch."""
    import jax
    import jax.numpy as jnp
    from jax import lax

    from gpax_lab.core import _linalg as linalg

    jax.config.update("jax_enable_x64", True)
    sizes, batches = ((32, 128), (8,)) if part.quick else ((64, 256, 32, 128, 512, 1024), (512, 64, 1))
    cases = [(n, batch) for batch in batches for n in sizes]
    chosen, rows, done = linalg.BY_ROWS, (*linalg.BY_ROWS, jax.default_backend()), 0

    def library_density(k, r):
        lower = lax.linalg.cholesky(k, symmetrize_input=False)
        white = lax.linalg.triangular_solve(lower, r[:, None], left_side=True, lower=True)
        return -0.5 * jnp.sum(white**2) - jnp.sum(jnp.log(jnp.diagonal(lower)))

    for n, batch in cases:
        if part.left < 0.2 * part.seconds:
            break
        matrices, residuals = covariances(n, batch)
        ways = {
            "factor": {
                LIBRARY: (chosen, jax.vmap(lambda k: lax.linalg.cholesky(k, symmetrize_input=False))),
                CHOSEN: (chosen, jax.vmap(lambda k: linalg.cholesky(k)[0])),
                ROWS: (rows, jax.vmap(lambda k: linalg.cholesky(k)[0])),
            },
            "density and gradient": {
                LIBRARY: (chosen, jax.vmap(jax.value_and_grad(library_density))),
                CHOSEN: (chosen, jax.vmap(jax.value_and_grad(linalg.centred_log_density))),
                ROWS: (rows, jax.vmap(jax.value_and_grad(linalg.centred_log_density))),
            },
        }
        for what, ways_of in ways.items():
            reference = None
            for way, (platforms, function) in ways_of.items():
                if way == ROWS and n > linalg.LARGE:
                    continue  # not by rows on any platform
                args = (matrices,) if what == "factor" else (matrices, residuals)
                linalg.BY_ROWS = platforms  # read when a function is traced
                compiled = jax.jit(lambda *given, function=function: function(*given))
                name = f"{what}, {batch} x {n} x {n}, {way}"
                try:
                    seconds, _ = part.timed(name, lambda compiled=compiled, args=args: compiled(*args))
                except Exception as error:  # the other cases still tell something
                    failed(part, name, error)
                    continue
                finally:
                    linalg.BY_ROWS = chosen
                    jax.clear_caches()  # a rule of differentiation is traced once for all
                part.result(name, seconds, "s", reference)
                reference = seconds if way == LIBRARY else reference
        done += 1
    part.result(f"cases measured of {len(cases)}", done, "cases")


def covariances(n: int, batch: int):
    """(batch, n, n) matrices of an RBF kernel with noise, and (batch, n) residuals."""
    import jax
    import jax.numpy as jnp

    x = jnp.sort(jax.random.uniform(jax.random.key(n), (n,), float))
    widths = jnp.linspace(0.05, 0.5, batch)
    gaps = (x[:, None] - x[None]) ** 2
    matrices = jnp.exp(-0.5 * gaps[None] / widths[:, None, None] ** 2) + 0.01 * jnp.eye(n)[None]
    return jax.block_until_ready((matrices, jax.random.normal(jax.random.key(1), (batch, n), float)))


def fits(part: Part) -> None:
    """Thousands of spectra at once."""
    import fits as spectra
    import numpy as np

    sides, loops, few = ((32,), (1000,), 10) if part.quick else ((64, 256), (2500, 20000), 50)
    for side in sides:
        count = side * side
        _, h = spectra.simulated_sho(count)
        rows = np.asarray(h[:few])
        starts = np.asarray(spectra.sho_start(spectra.BAND, h[:few]))
        stacked = np.concatenate([rows.real, rows.imag], axis=1)
        each, _ = spectra.scipy_all(spectra.sho_curve, np.tile(spectra.BAND, 2), stacked, starts, maxfev=20000)
        seconds, fit = part.timed(f"{count} resonances", lambda h=h: spectra.sho_fit(spectra.BAND, h))
        part.result(f"{count} resonances, time of a fit beside scipy's curve_fit", seconds / count, "s", each)
        part.result(f"{count} resonances, share that is good", float(np.mean(np.asarray(fit.status) == 0)), "1")
    for count in loops:
        _, bias, response = spectra.simulated_loops(count)
        starts = np.asarray(spectra.loop_start(bias, response[:few]))
        curve = spectra.loop_curve(np.asarray(spectra.rising(bias)))
        rows = np.asarray(response[:few])
        each, _ = spectra.scipy_all(curve, np.asarray(bias), rows, starts, maxfev=20000)
        seconds, fit = part.timed(f"{count} loops", lambda b=bias, r=response: spectra.loop_fit(b, r))
        part.result(f"{count} loops, time of a fit beside scipy's curve_fit", seconds / count, "s", each)
        part.result(f"{count} loops, share that is good", float(np.mean(np.asarray(fit.status) == 0)), "1")


def surface(x):
    """The noise-free surface of `bo_step`, for points (..., 2)."""
    import jax.numpy as jnp

    return jnp.sin(6 * x[..., 0]) * jnp.cos(4 * x[..., 1]) + 0.5 * x[..., 0]


def readings(count: int, capacity: int):
    """Scattered observations of the surface with noise of standard deviation 0.05."""
    import jax

    from gpax_lab import observations

    x = jax.random.uniform(jax.random.key(1), (count, 2), float)
    y = surface(x) + 0.05 * jax.random.normal(jax.random.key(2), (count,), float)
    return observations(x, y, capacity=capacity)


def batch(part: Part) -> None:
    """A batch of points chosen by fully Bayesian draws."""
    import jax
    import numpy as np

    from gpax_lab import acquisition, bayes_opt, gp, kernels, nuts

    jax.config.update("jax_enable_x64", True)
    n, q, m, warmup = (64, 4, 2000, 50) if part.quick else (1024, 64, 100_000, 128)
    points = jax.random.uniform(jax.random.key(0), (m, 2), float)
    obs = readings(n, n + q)
    model = gp.exact(2, kernels.rbf, bounds=[[0, 1], [0, 1]])
    experiment = bayes_opt(
        model, nuts(warmup, warmup, thin_to=16), acquisition.q_log_nei(), acquisition.pool(points), batch_size=q
    )
    begun = time.perf_counter()
    state = jax.block_until_ready(experiment.init(jax.random.key(3), obs))
    fitting = time.perf_counter() - begun
    part.result(f"a fit to {n} observations, NUTS {warmup} + {warmup}, with compilation", fitting, "s")
    name = f"{q} of {m} candidates from {n} observations"
    seconds, (_, x) = part.timed(name, lambda: experiment.propose(state), repeats=3)
    part.result(name, seconds, "s")
    part.result("largest noise-free value of a point in the batch", float(np.max(surface(np.asarray(x)))), "y")
    beside_botorch(part, obs, n, points, warmup, seconds / q, fitting)


def beside_botorch(part: Part, obs, n: int, points, warmup: int, own: float, own_fit: float) -> None:
    """BoTorch's SAAS model and `qLogNoisyExpectedImprovement` on the same device, for the first points of a batch."""
    if any(importlib.util.find_spec(name) is None for name in ("torch", "gpytorch", "botorch")):
        part.result("BoTorch is not installed here: not compared", 0, "1")
        return
    import numpy as np
    import torch
    from botorch.acquisition.logei import qLogNoisyExpectedImprovement
    from botorch.fit import fit_fully_bayesian_model_nuts
    from botorch.models.fully_bayesian import SaasFullyBayesianSingleTaskGP
    from botorch.models.transforms import Standardize
    from botorch.optim import optimize_acqf_discrete

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

    def tensor(values):
        return torch.tensor(np.array(values), dtype=torch.float64, device=device)

    def wait() -> float:
        if device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    x, y, choices = tensor(obs.x[:n]), tensor(obs.y[:n])[:, None], tensor(points)
    model = SaasFullyBayesianSingleTaskGP(x, y, outcome_transform=Standardize(m=1))
    begun = wait()
    thinning = max(warmup // 16, 1)
    fit_fully_bayesian_model_nuts(model, warmup, warmup, thinning, disable_progbar=True)
    theirs = wait() - begun
    part.result(f"a fit to {n} observations, with compilation, beside BoTorch on {device.type}", own_fit, "s", theirs)
    count = 1
    while count <= 64:  # as far as the time allows: every further point of a batch is dearer there
        begun = wait()
        with torch.no_grad():
            score = qLogNoisyExpectedImprovement(model, x, prune_baseline=True)
            optimize_acqf_discrete(score, q=count, choices=choices)
        theirs = wait() - begun
        part.result(f"a point, beside BoTorch's mean over a batch of {count}", own, "s", theirs / count)
        if part.left < 8 * theirs:
            break
        count *= 4


def smc(part: Part) -> None:
    """Many particles."""
    import jax

    from gpax_lab import gp, kernels
    from gpax_lab import smc as sampler_of

    jax.config.update("jax_enable_x64", True)
    n, particles, further = (16, 256, 2) if part.quick else (48, 4096, 8)
    model = gp.exact(2, kernels.rbf, bounds=[[0, 1], [0, 1]])
    obs = readings(n + further, n + further)
    slots = jax.numpy.arange(obs.capacity)
    shown = [obs._replace(status=jax.numpy.where(slots < k, obs.status, 0)) for k in range(n, n + further + 1)]

    def stream(count: int, name: str) -> float:
        sampler = sampler_of(count)
        what = f"{name}, a fit to {n} observations"
        seconds, posterior = part.timed(what, lambda: sampler.init(jax.random.key(1), model, shown[0]), 3)
        steps = []
        for k, now in enumerate(shown[1:]):
            begun = time.perf_counter()
            posterior = jax.block_until_ready(sampler.update(jax.random.key(k), posterior, now))
            steps.append(time.perf_counter() - begun)
        part.result(f"{name}, slowest of {further} further observations, first one left out", max(steps[1:]), "s")
        part.result(f"{name}, outcome", int(posterior.info.status), "code", 0)
        part.result(f"{name}, log evidence", float(posterior.log_evidence), "nat")
        return seconds

    few = 16 if part.quick else 128
    reference = stream(few, f"{few} particles")
    seconds = stream(particles, f"{particles} particles")
    part.result(f"{particles} particles, a fit to {n} observations", seconds, "s", reference * particles / few)


def study(part: Part) -> None:
    """Campaigns by the thousand."""
    import jax
    import numpy as np
    from bo_step import BOUNDS, objective

    from gpax_lab import Problem, acquisition, bayes_opt, gp, kernels
    from gpax_lab import smc as sampler_of
    from gpax_lab import study as run_study

    campaigns, steps, draws, side = (8, 3, 32, 10) if part.quick else (1024, 10, 64, 20)
    domain = acquisition.grid(BOUNDS, (side, side))
    experiment = bayes_opt(gp.exact(2, kernels.rbf, bounds=BOUNDS), sampler_of(draws), acquisition.log_ei(), domain)
    problem = {"surface": Problem(objective, surface)}

    def run(seed: int):
        keys = jax.random.split(jax.random.key(seed), campaigns)
        return run_study(keys, {"log EI": experiment}, problem, domain, steps, seeds=5, callback=lambda _: None)

    name = f"{campaigns} campaigns of {steps} steps"
    first = run(0)
    part.result(f"{name}, with compilation", float(first.seconds[0, 0]), "s")
    part.result("regret at the end", float(first.bands()["mean"][0, 0, -1]), "y")
    part.result("share of fits in trouble", float(np.mean(first.trouble)), "1")
    if part.left > 1.5 * float(first.seconds[0, 0]):
        warm = float(run(1).seconds[0, 0])
        part.result(f"{name}, warm", warm, "s")
        part.result(f"{name}, a step of a campaign, warm", warm / (campaigns * steps), "s")


def vae(part: Part) -> None:
    """Images a second, in single precision."""
    import jax
    import numpy as np
    from pictures import letters
    from vae_throughput import models

    from gpax_lab import vae

    count, sizes, epochs = (400, (100,), 3) if part.quick else (20_000, (100, 1000), 4)
    images = letters(0, count, np.pi / 3).images
    for size in sizes:
        for name, model in list(models(wide=False).items())[: 1 if part.quick else None]:
            marks = [time.perf_counter()]

            def mark(_, marks=marks):
                marks.append(time.perf_counter())

            vae.train(jax.random.key(0), model, vae.examples(images), epochs, size, progress=mark)
            seconds = np.diff(marks)
            what = f"{name}, batches of {size}"
            part.result(f"{what}, first epoch with compilation", float(seconds[0]), "s")
            part.result(what, count / float(np.median(seconds[1:])), "images/s")


def dkl(part: Part) -> None:
    """Deep kernels on the simulated film of `dkl_step`."""
    import jax

    jax.config.update("jax_enable_x64", True)
    import numpy as np
    import structure_maps as maps

    from gpax_lab import acquisition, bayes_opt, deep_kernel, nn, observations
    from gpax_lab.inference import ensemble

    film = maps.twin()
    order = np.random.default_rng(0).permutation(len(film.values))
    seen = order[:99]
    plain = nn.mlp((film.size, film.size))
    steps = 40 if part.quick else 400
    networks = {"one MLP": (plain, 1)}
    if not part.quick:
        networks |= {"four MLPs": (plain, 4), "four rotation-pooled MLPs": (nn.rotation_pooled(plain), 4)}
    for name, (encoder, members) in networks.items():
        model = deep_kernel(encoder, film.look())
        sampler = ensemble(members, steps, steps // 8, patience=steps)  # never stopped early: steps are counted
        plan = bayes_opt(model, sampler, acquisition.seek(), acquisition.pool(film.positions))
        obs = observations(film.positions[seen], film.values[seen], capacity=104)
        seconds, state = part.timed(f"{name}, a fit", lambda p=plan, o=obs: p.init(jax.random.key(0), o), 3)
        part.result(f"{name}, training steps of all members", steps * members / seconds, "1/s")

        def step(plan=plan, state=state):
            chosen, x = plan.propose(state)
            return plan.observe(chosen, x, film.at(x[0])[0][None])

        seconds, _ = part.timed(f"{name}, a step", step, 3)
        part.result(f"{name}, a step: {steps // 8} training steps, 2,500 patches scored", seconds, "s")


def compiled(part: Part) -> None:
    """The differential table, in an order that visits all families early."""
    import jax
    import jaxlib

    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "differential"))
    import contexts
    import table

    jax.config.update("jax_enable_x64", True)
    rows = [row for row in table.rows() if row.core]
    rows = [row for k in range(17) for row in rows[k::17]]
    version, done, compared, bad, largest, slowest = f"jaxlib {jaxlib.__version__}", 0, 0, 0, 0.0, 0.0
    for row in rows[:10] if part.quick else rows:
        if part.left < 2 * slowest + 3:
            break
        begun = time.monotonic()
        try:
            found = contexts.findings(row, row.core)
        except Exception as error:
            failed(part, row.name, error)
            continue
        slowest, done, compared = max(slowest, time.monotonic() - begun), done + 1, compared + len(found)
        largest = max([largest, *(min(each.error, 1e300) for each in found)])  # JSON knows no infinity
        for each in found:
            if not each.agrees:
                bad += 1
                part.result(f"differs: {each.row}, {each.context}", min(each.error, 1e300), "1", each.tolerance)
                part.report.claim(f"{each.row}, {each.context}: compiled is written ({each.error:.1g})", False)
    part.result(f"rows compared of the {len(rows)} of the core", done, version)
    part.result("comparisons", compared, version)
    part.result("comparisons that differ", bad, version)
    part.result("largest relative error", largest, version)
    part.report.claim("something was compared", compared > 0)


PARTS = {algebra: 50, fits: 35, batch: 85, smc: 35, study: 45, vae: 30, dkl: 35, compiled: 45}
"""The parts, and their shares of the time."""


def failed(part: Part, what: str, error: BaseException) -> None:
    """Report it and go on."""
    text = " ".join(f"{type(error).__name__}: {error}".split())[:300]
    part.result(f"{what}: failed, {text}", 1, "failure")
    part.report.claim(f"{part.name}, {what}: {text}", False)


def alone(name: str, quick: bool, seconds: float) -> None:
    """Run one part in this process."""
    import jax

    part = Part(name, quick, seconds)
    try:
        {function.__name__: function for function in PARTS}[name](part)
    except Exception as error:
        failed(part, "the part", error)
    memory = jax.devices()[0].memory_stats() or {}
    if "peak_bytes_in_use" in memory:
        part.result("largest memory on the device", memory["peak_bytes_in_use"] / 2**30, "GiB")
    part.report.finish()


def hardware() -> None:
    """Print what this is."""
    import jax
    import jaxlib

    device = jax.devices()[0]
    print(f"{device.platform}: {len(jax.devices())} x {device.device_kind}, {os.cpu_count()} processor cores")
    print(f"jax {jax.__version__}, jaxlib {jaxlib.__version__}, python {sys.version.split()[0]}", flush=True)


def apart(name: str, quick: bool, seconds: float) -> str:
    """Run one part in a process of its own; what went wrong, or nothing."""
    command = [sys.executable, str(Path(__file__).resolve()), "--alone", name, "--budget", str(seconds)]
    # Another library computes on the same device, and the process before may not have given all memory back.
    settings = os.environ | {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    try:
        status = subprocess.run(command + ["--quick"] * quick, env=settings, timeout=seconds + 5).returncode
    except subprocess.TimeoutExpired:
        return f"ran out of its {seconds:.0f} s"
    return "" if status == 0 else f"ended with status {status}"


def main() -> None:
    """Run the parts one after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [function.__name__ for function in PARTS]
    parser.add_argument("--parts", default=",".join(names), help="names separated by commas")
    parser.add_argument("--budget", type=float, help="seconds for all parts; 330, or 900 with --quick")
    parser.add_argument("--quick", action="store_true", help="small sizes, for a processor")
    parser.add_argument("--alone", help=argparse.SUPPRESS)
    given = parser.parse_args()
    budget = given.budget or (900.0 if given.quick else 330.0)
    pin_threads()
    if given.alone == "hardware":
        return hardware()
    if given.alone:
        return alone(given.alone, given.quick, budget)
    chosen = [name for name in given.parts.split(",") if name]
    unknown = sorted(set(chosen) - set(names))
    if unknown:
        parser.error(f"no such parts: {', '.join(unknown)}; there are {', '.join(names)}")
    until, report = time.monotonic() + budget, Report()
    shares = {function.__name__: share for function, share in PARTS.items()}
    apart("hardware", False, 60.0)
    for k, name in enumerate(chosen):
        left, begun = until - time.monotonic(), time.monotonic()
        wrong = apart(name, given.quick, left * shares[name] / sum(shares[other] for other in chosen[k:]))
        report.result(f"{name}: the whole part", time.monotonic() - begun, "s")
        if wrong:
            report.result(f"{name}: failed, {wrong}", 1, "failure")
        report.claim(f"{name}: {wrong}", not wrong)
    report.finish()


if __name__ == "__main__":
    main()
