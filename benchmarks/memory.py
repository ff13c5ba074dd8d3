"""Peak memory of a prediction at many points with many draws, in a process of its own, above what was there before.

500 draws of a process with 50 readings at 10,000 points: mean and variance of every draw (the results alone are 80 MB),
and the moments of their mixture, which are computed in chunks. The high-water mark of the resident set is reset before
the prediction (Linux) and read after it, compilation included.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

from results import Report, high_water, pin_threads, reset_high_water

pin_threads()

DRAWS, READINGS, LIMIT = 500, 50, 1 << 30


def child(points, mixed):
    """Print the bytes above the baseline, seconds of the first and of a second call."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    import gpax_lab

    gpax_lab.setup(cache=False, verbose=False)
    from gpax_lab import gp, observations, priors
    from gpax_lab.inference._posterior import Posterior, condition_draws

    rng = np.random.default_rng(0)
    model = gp.exact(2)
    obs = observations(rng.random((READINGS, 2)), rng.standard_normal(READINGS))
    params = jax.vmap(lambda k: priors.sample(k, model.prior))(jax.random.split(jax.random.key(0), DRAWS))
    factor = jax.block_until_ready(condition_draws(model, params, obs))
    x = jnp.asarray(rng.random((points, 2)))
    even, nan = jnp.full(DRAWS, -jnp.log(DRAWS)), jnp.asarray(jnp.nan)
    posterior = Posterior(params, even, nan, factor, None, None, model)
    predict = posterior.moments if mixed else posterior.predict
    reset_high_water()
    before, seconds = high_water(), []
    for _ in range(2):
        start = time.perf_counter()
        mean, variance = jax.block_until_ready(predict(x))
        seconds.append(time.perf_counter() - start)
    assert mean.shape == variance.shape == ((points,) if mixed else (DRAWS, points))
    print(high_water() - before, *seconds)


def main():
    """Run and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="the same")
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--mixed", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child, options.mixed)
        return
    report = Report()
    if not Path("/proc/self/clear_refs").exists():
        print("skipped: this system does not tell the peak of a process's memory")
        return
    cases = [(10_000, False), (10_000, True)] if options.quick else [(10_000, False), (10_000, True), (30_000, True)]
    for points, mixed in cases:
        command = [sys.executable, __file__, "--child", str(points), *(["--mixed"] if mixed else [])]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        peak, first, again = (float(word) for word in done.stdout.split())
        what = "moments of the mixture" if mixed else "mean and variance of every draw"
        name = f"{what}, {points} points, {DRAWS} draws, {READINGS} observations"
        results = 2 * 8 * points * (1 if mixed else DRAWS)
        report.result(
            f"{name}: peak above the baseline, against the results alone", peak / 2**20, "MiB", results / 2**20
        )
        report.result(f"{name}: time, compiled", again, "s")
        report.result(f"{name}: compilation", first - again, "s")
        report.claim(f"{name}: under 1 GiB", peak < LIMIT)
    report.finish()


if __name__ == "__main__":
    main()
