"""Every sampler against importance sampling in plain numpy, on models x (observations, slots); see `reference`."""

import jax
import numpy as np
import pytest
from reference import CASES, CORE, Case, resonance, unconstrained

from gpax_lab.core import Status
from gpax_lab.inference import laplace, nuts, smc

SAMPLERS = {
    "nuts": nuts(500, 2000, num_chains=2, thin_to=None),
    "smc": smc(1024),
    "laplace": laplace(1024),
}
TABLE = [
    pytest.param(case, name, id=f"{name}: {case.name}", marks=[] if case is CORE else [pytest.mark.slow])
    for case in CASES
    for name in SAMPLERS
]


def test_the_density_is_ours_too():
    """The two ways to write the density down agree, so that the reference is one for our models."""
    for case in (CORE, resonance(process=True), resonance(process=False)):
        z = case.reference.mean[None] + 0.3 * np.random.default_rng(0).normal(size=(3, len(case.reference.mean)))
        at = case.split(z)
        ours = []
        for i in range(3):
            params = {
                name: 300 + 60 / (1 + np.exp(-value[i, 0])) if name == "centre" else np.exp(value[i])
                for name, value in at.items()
            }
            params = {k: v if k == "lengthscale" else np.reshape(v, ()) for k, v in params.items()}
            with jax.disable_jit():
                ours.append(float(case.model.log_likelihood(params, case.obs)))
        np.testing.assert_allclose(case._likelihood(z), ours, rtol=1e-9)


@pytest.mark.parametrize(("case", "name"), TABLE)
def test_posterior_is_that_of_the_reference(case: Case, name: str):
    """Means, standard deviations and evidence within five Monte Carlo errors, or an outcome that says otherwise."""
    posterior = SAMPLERS[name].init(jax.random.key(3), case.model, case.obs)
    reference = case.reference
    assert reference.effective > 500
    outcome = int(posterior.info.status)
    if case.mean is None:
        assert outcome == Status.OK, Status.of(outcome).describe()
    elif outcome != Status.OK and name != "smc":
        return  # bent posteriors: whoever can not follow them has to say so; smc has to follow them
    weight = np.exp(np.asarray(posterior.log_weight))
    z = unconstrained(case, posterior.params)
    mean = weight @ z
    error = 5 * np.sqrt(1 / float(posterior.info.ess_bulk) + 1 / reference.effective)
    assert np.all(np.abs(mean - reference.mean) < error * reference.sd), (mean - reference.mean) / reference.sd
    # The error of a standard deviation is sd / sqrt(2 n) for a normal; tails may double it.
    sd = np.sqrt(weight @ (z - mean) ** 2)
    assert np.all(np.abs(np.log(sd / reference.sd)) < np.sqrt(2) * error)
    if not np.isnan(float(posterior.log_evidence)):
        stated = np.hypot(float(posterior.info.evidence_error), 1 / np.sqrt(reference.effective))
        # Over eight keys smc scatters by 0.19 nat at the peak without a process, where it states 0.08.
        factor = 5 if case.mean is None else 12
        assert abs(float(posterior.log_evidence) - reference.log_evidence) < factor * stated
