"""Every sampler against importance sampling in plain numpy: errors of means and evidence, and what a fit takes.

The table is that of the tests (`tests/inference/reference.py`): models x (observations, slots). Errors are in posterior
standard deviations; a fit that says that it can not be trusted is counted apart.
"""

import argparse
import sys
import time
from pathlib import Path

from results import Report, pin_threads

pin_threads()

import jax  # noqa: E402
import numpy as np  # noqa: E402

import gpax_lab  # noqa: E402

gpax_lab.setup(cache=False, verbose=False)
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "inference"))

from reference import CASES, CORE, Case, unconstrained  # noqa: E402

from gpax_lab import laplace, nuts, smc  # noqa: E402
from gpax_lab.core import Status  # noqa: E402

ACCURATE = {
    "nuts 500 + 2000 x 2": nuts(500, 2000, num_chains=2, thin_to=None),
    "smc 1024": smc(1024),
    "laplace 1024": laplace(1024),
}
DEFAULT = {"nuts()": nuts(), "smc()": smc(), "laplace()": laplace()}
ASKED = 0.1


def fit(report: Report, case: Case, name: str, sampler) -> tuple[float, int]:
    """Largest error of a posterior mean, and the outcome."""
    obs, model = case.obs, case.model
    started = time.perf_counter()
    posterior = jax.block_until_ready(sampler.init(jax.random.key(3), model, obs))
    first = time.perf_counter() - started
    started = time.perf_counter()
    posterior = jax.block_until_ready(sampler.init(jax.random.key(4), model, obs))
    again = time.perf_counter() - started
    weight = np.exp(np.asarray(posterior.log_weight))
    reference = case.reference
    error = np.abs(weight @ unconstrained(case, posterior.params) - reference.mean) / reference.sd
    outcome = int(posterior.info.status)
    label = f"{name}, {case.name}"
    report.result(f"{label}: largest error of a posterior mean", float(error.max()), "sd", ASKED)
    if np.isfinite(posterior.log_evidence):
        report.result(f"{label}: log evidence", float(posterior.log_evidence), "nat", reference.log_evidence)
    report.result(f"{label}: outcome", outcome, "code", 0)
    report.result(f"{label}: a fit once compiled", again, "s", first)
    return float(error.max()), outcome


def main() -> None:
    """Run and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one process, and a peak within a process")
    quick = parser.parse_args().quick
    report = Report()
    cases = [CORE, CASES[-1]] if quick else CASES
    for case in cases:
        for name, sampler in ACCURATE.items():
            error, outcome = fit(report, case, name, sampler)
            if case.mean is None:
                report.claim(f"{name}, {case.name}: trusted", outcome == Status.OK)
                report.claim(f"{name}, {case.name}: means within {ASKED} sd", error < ASKED)
            else:
                honest = error < 2 * ASKED or (outcome != Status.OK and not name.startswith("smc"))
                report.claim(f"{name}, {case.name}: means within {2 * ASKED} sd, or it says that it is lost", honest)
        jax.clear_caches()
    for name, sampler in {} if quick else DEFAULT.items():
        for case in (CORE, CASES[-1]):
            fit(report, case, name, sampler)
    report.finish()


if __name__ == "__main__":
    main()
