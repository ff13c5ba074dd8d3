"""Objects of one maker handed to another one are refused in words, and not followed in silence."""

import jax
import numpy as np
import pytest

from gpax_lab import acquisition, bayes_opt, gp, hypotheses, kernels, laplace, model_average, nuts, observations, smc
from gpax_lab.core._structural import alike
from gpax_lab.hypotheses import bandit, comparison_report
from gpax_lab.inference import coverage, ensemble

BOX = [[0.0, 2.0]]
X = np.linspace(0.0, 2.0, 5)[:, None]
OBS = observations(X, np.sin(3.0 * X[:, 0]), capacity=8)
FEWER = observations(X[:2], np.sin(3.0 * X[:2, 0]), capacity=8)
FLAT = observations(np.hstack([X, X]), np.sin(3.0 * X[:, 0]), capacity=8)
LAPLACE, SMC = laplace(8, starts=2, iterations=10), smc(8)
GRID = acquisition.grid(BOX, (9,))


def process(kernel=kernels.matern52, box=BOX):
    return gp.exact(1, kernel, bounds=box, standardize=(0.0, 1.0))


def campaign(sampler=LAPLACE, **options):
    return bayes_opt(process(**options), sampler, acquisition.log_ei(), GRID)


@pytest.fixture(scope="module")
def made():
    """A posterior by laplace, one by smc, a model average, and the state of a campaign."""
    key = jax.random.key(0)
    single = LAPLACE.init(key, process(), OBS)
    particles = SMC.init(key, process(), OBS)
    average = model_average(SMC).init(key, hypotheses({"a": process(), "b": process(kernels.rbf)}), OBS)
    return {"laplace": single, "smc": particles, "average": average, "state": campaign().init(key, OBS)}


ANOTHER = "was made by another sampler, and .* begin with"
UPDATES = {
    "smc of laplace": (SMC, "laplace", OBS, ANOTHER),
    "laplace of smc": (LAPLACE, "smc", OBS, ANOTHER),
    "nuts of smc": (nuts(10, 8), "smc", OBS, ANOTHER),
    "ensemble of smc": (ensemble(2), "smc", OBS, ANOTHER),
    "another number of particles": (smc(16), "smc", OBS, "8 particles, the sampler 16"),
    "one model of several": (SMC, "average", OBS, r"smc updates the Posterior of one model; got ModelAverage"),
    "several models of one": (model_average(SMC), "smc", OBS, "updates the ModelAverage that its init made"),
    "bandit of average": (bandit(SMC, X), "average", OBS, "updates the Bandit that its init made; got ModelAverage"),
    "another sampler in an average": (model_average(LAPLACE), "average", OBS, ANOTHER),
    "observations that are gone": (SMC, "smc", FEWER, "knows observations that are not among those given"),
    "observations of two inputs": (LAPLACE, "laplace", FLAT, "1 inputs, the observations 2"),
}


@pytest.mark.parametrize("name", UPDATES)
def test_a_sampler_updates_its_own(made, name):
    sampler, posterior, obs, words = UPDATES[name]
    with pytest.raises((TypeError, ValueError), match=words):
        sampler.update(jax.random.key(1), made[posterior], obs)


@pytest.mark.parametrize("other", [{"kernel": kernels.rbf}, {"box": [[0.0, 4.0]]}, {"sampler": SMC}], ids=str)
def test_the_state_of_another_experiment_is_refused(made, other):
    experiment = campaign(**other)
    with pytest.raises(ValueError, match="made by another"):
        experiment.observe(made["state"], [[0.5]], [0.1])
    if "sampler" not in other:
        with pytest.raises(ValueError, match=r"this state was made by another experiment: .*init\(key, state.obs\)"):
            experiment.propose(made["state"])


def test_observations_of_other_inputs_are_refused_wherever_a_posterior_looks_at_them(made):
    posterior, key = made["smc"], jax.random.key(0)
    for look in (
        lambda: posterior.conditioned(FLAT),
        lambda: posterior.paths(FLAT, key, X),
        lambda: posterior.leave_one_out(FLAT),
        lambda: coverage(posterior, FLAT),
        lambda: comparison_report(made["average"], FLAT),
    ):
        with pytest.raises(ValueError, match="1 inputs, the observations 2"):
            look()
    with pytest.raises(ValueError, match="not among those given"):
        comparison_report(made["average"], FEWER)


def test_values_are_alike_whose_functions_are_the_same_code():
    """A state that was pickled in another process goes on, though a function of a notebook comes back as another."""

    def build():
        def mean(x, params):
            return 2.0 * x[0]

        return gp.exact(1, mean=mean, bounds=BOX)

    first, second = build(), build()
    assert first != second
    assert alike(first, second)
    assert not alike(first, gp.exact(1, mean=lambda x, params: 3.0 * x[0], bounds=BOX))
    assert not alike(first, process())
