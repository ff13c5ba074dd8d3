"""The gradient of a Gaussian process's log likelihood: ours, plain autodiff through LAPACK, and scipy's Cholesky.

One gradient with respect to lengthscale, variance and noise, RBF kernel, 2 inputs, float64, for N readings and a batch
of draws in one compiled call; seconds per gradient, the median of repeated calls. Plain autodiff is
`jnp.linalg.cholesky` and `solve_triangular` under `vmap`, in a process of its own, because inside compiled loops it
can stall for good; one matrix alone it factors faster than we do. The limit is what scipy takes to factor the same
covariance once, without any gradient.
"""

import argparse
import multiprocessing
import time

from results import Report, pin_threads

pin_threads()

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
import scipy.linalg  # noqa: E402

import gpax_lab  # noqa: E402
from gpax_lab.core._linalg import jitter, over_draws  # noqa: E402
from gpax_lab.kernels import rbf  # noqa: E402
from gpax_lab.models._conditioning import gram, log_marginal  # noqa: E402

gpax_lab.setup(cache=False, verbose=False)

PATIENCE_S = 120.0


def problem(n, draws):
    """Parameters of every draw, inputs and observations."""
    rng = np.random.default_rng(n)
    x = rng.random((n, 2))
    y = np.sin(5 * x[:, 0]) + x[:, 1] + 0.1 * rng.standard_normal(n)
    params = {
        "lengthscale": np.exp(rng.normal(-1.2, 0.2, (draws, 2))),
        "variance": np.exp(rng.normal(0.0, 0.2, draws)),
        "noise": np.exp(rng.normal(-4.5, 0.2, draws)),
    }
    return jax.tree.map(jnp.asarray, params), jnp.asarray(x), jnp.asarray(y)


def our_density(params, x, y):
    """The density of gpax_lab."""
    noise = jnp.broadcast_to(params["noise"], y.shape)
    return log_marginal(rbf, params, x, y, noise, jnp.ones(y.size, bool))


def plain_density(params, x, y):
    """The same density as anybody writes it."""
    # The jitter of gpax_lab too, so that both are the same function.
    k = gram(rbf, params, x, x) + (params["noise"] + jitter(y.dtype) * params["variance"]) * jnp.eye(y.size)
    lower = jnp.linalg.cholesky(k)
    white = jax.scipy.linalg.solve_triangular(lower, y, lower=True)
    return -0.5 * white @ white - jnp.sum(jnp.log(jnp.diagonal(lower))) - 0.5 * y.size * jnp.log(2 * jnp.pi)


def ours(params, x, y):
    """Gradients (draws, ...) by blocks of draws, as the samplers take them."""
    return over_draws(jax.value_and_grad(lambda p: our_density(p, x, y)), params)


def plain(params, x, y):
    """Gradients (draws, ...) under vmap."""
    return jax.vmap(jax.value_and_grad(lambda p: plain_density(p, x, y)))(params)


def seconds(function, arguments, repeats):
    """Median seconds of a call, after one that compiles."""
    value = jax.block_until_ready(function(*arguments))
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(function(*arguments))
        times.append(time.perf_counter() - start)
    return float(np.median(times)), jax.tree.map(np.asarray, value)


def plain_in_its_own_process(cases, repeats, pipe):
    """Send seconds and gradients of every case."""
    for n, draws in cases:
        pipe.send(seconds(jax.jit(plain), problem(n, draws), repeats))


def limit(n, draws, repeats):
    """Seconds that scipy takes for one Cholesky factor of each draw's covariance, per draw."""
    params, x, _ = problem(n, draws)
    every = [jax.tree.map(lambda leaf, i=i: leaf[i], params) for i in range(draws)]
    matrices = [np.asarray(gram(rbf, p, x, x) + p["noise"] * jnp.eye(n)) for p in every[:4]]
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        for k in matrices:
            scipy.linalg.cholesky(k, lower=True, check_finite=False)
        times.append((time.perf_counter() - start) / len(matrices))
    return float(np.median(times))


def main():
    """Run and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="N = 16 and 64, 1 and 16 draws")
    quick = parser.parse_args().quick
    report, repeats = Report(), 5 if quick else 30
    sizes, batches = ((16, 64), (1, 16)) if quick else ((16, 32, 64, 128, 256), (1, 16, 64))
    cases = [(n, draws) for n in sizes for draws in batches]
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    child = context.Process(target=plain_in_its_own_process, args=(cases, repeats, there), daemon=True)
    child.start()
    reference = {}
    for case in cases:
        if not here.poll(PATIENCE_S):
            print(f"plain autodiff has not answered for {PATIENCE_S:.0f} s at N, draws = {case}: stalled", flush=True)
            break
        reference[case] = here.recv()
    child.kill()
    slower, worst = [], 0.0
    for n, draws in cases:
        took, (value, gradient) = seconds(jax.jit(ours), problem(n, draws), repeats)
        name = f"N = {n}, {draws} draws"
        theirs = None
        if (n, draws) in reference:
            theirs, (their_value, their_gradient) = reference[n, draws]
            np.testing.assert_allclose(value, their_value, rtol=1e-8, atol=1e-8)
            for key, leaf in gradient.items():
                worst = max(worst, float(np.max(np.abs(leaf - their_gradient[key]) / np.max(np.abs(leaf)))))
            if draws >= 16 and 2 * theirs < took:
                slower.append(name)
        per = 1e6 / draws
        report.result(f"{name}: a gradient, against plain autodiff", took * per, "us", theirs and theirs * per)
        report.result(f"{name}: a gradient, against scipy's Cholesky", took * per, "us", 1e6 * limit(n, draws, repeats))
    report.result("largest relative difference of a gradient from plain autodiff", worst, "1")
    report.claim("the gradients agree with plain autodiff to 1e-9", worst < 1e-9)
    if not quick:  # a few short calls measure what else the machine does
        report.claim(
            f"at most twice plain autodiff's time in batches of 16 draws and more; not at {slower}", not slower
        )
    report.finish()


if __name__ == "__main__":
    main()
