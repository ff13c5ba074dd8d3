"""Laws that join a race while it runs: probabilities at that moment and after, resume, and what is journalled."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

from gpax_lab import (
    acquisition,
    bayes_opt,
    hypotheses,
    laplace,
    means,
    model_average,
    observations,
    parametric,
    run,
    smc,
)
from gpax_lab.core._observations import MEASURED
from gpax_lab.experiment import Simulated
from gpax_lab.experiment._adoption import widened
from gpax_lab.experiment._history import fold
from gpax_lab.experiment._intervention_records import from_record, to_record
from gpax_lab.experiment.interventions import (
    Adopt,
    Pin,
    Reject,
    Rescale,
)
from gpax_lab.hypotheses import discover_laws, term_library
from gpax_lab.storage import Campaign, read

NOISE = 0.1
FLAT = means.Law(lambda x, p: p["C"] + 0 * x[0], {"C": dist.Normal(0.0, 1.0)}, {"C": "y"}, "m = C", "constant")
LINE = means.Law(lambda x, p: p["k"] * x[0], {"k": dist.Normal(0.0, 2.0)}, {"k": "y / x"}, "m = k x", "line")
PARABOLA = Adopt(
    "parabola",
    "q * x ** 2",
    {"q": {"distribution": "Normal", "loc": 0.0, "scale": 2.0}},
    {"q": "y / x^2"},
    scale=(0.0, 1.0),
    noise=NOISE**2,
)
SEEDS = np.array([[0.1], [1.0]])
STEPS = 5


def bare(law):
    return parametric(1, law, dict(law.prior) | {"noise": NOISE**2}, standardize=(0.0, 1.0))


WRONG = hypotheses({"flat": bare(FLAT), "line": bare(LINE)})


def extend(known):
    grid = acquisition.grid([[-1.0, 1.0]], (9,))
    return bayes_opt(known, model_average(smc(32)), acquisition.expected_information_gain(), grid)


EXPERIMENT = extend(WRONG)


def truth(key, x):
    return 1.5 * x[0] ** 2 + NOISE * jax.random.normal(key)


def at(step, *actions):
    """A hook that acts before the step with that many measurements behind it."""
    return lambda state: actions if np.sum(np.asarray(state.obs.status) >= MEASURED) == len(SEEDS) + step else ()


def go(path, steps=STEPS, hooks=(), **options):
    campaign = Campaign.open(path) if path.exists() else Campaign.create(path, {"settings": {}})
    given = {"seeds": SEEDS, "key": jax.random.key(0), "scalarize": Simulated.scalarize, "extend": extend} | options
    with campaign:
        return run(EXPERIMENT, Simulated(truth), campaign, steps, hooks=hooks, **given)


HOOK = at(2, Reject("kink", "abs(x)", by="Ana", why="has a corner"), PARABOLA)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "a.gpxj"
    return path, go(path, hooks=[HOOK])


def summaries(path):
    return [frame.header["mean"] for frame in read(path).of("posterior")]


def test_an_adopted_law_begins_with_its_share_and_wins_by_what_is_read_afterwards(whole):
    path, end = whole
    means_of = summaries(path)
    first = next(i for i, mean in enumerate(means_of) if "probability/parabola" in mean)
    before, after = means_of[first - 1], means_of[first]
    assert after["probability/parabola"] == pytest.approx(1 / 3, rel=1e-9)
    for name in ("flat", "line"):
        assert after[f"probability/{name}"] == pytest.approx(2 / 3 * before[f"probability/{name}"], rel=1e-9)
    assert end.state.posterior.names == ("flat", "line", "parabola")
    assert float(end.state.posterior.probability[2]) > 0.9
    assert "parabola/q" in means_of[-1]


def test_a_campaign_with_an_adopted_law_is_resumed_where_it_was(whole, tmp_path):
    for steps in (2, 3, 4):
        path = tmp_path / f"{steps}.gpxj"
        go(path, steps, [HOOK])
        end = go(path, STEPS, [HOOK])
        assert end.state.posterior.names == whole[1].state.posterior.names
        np.testing.assert_array_equal(end.state.obs.x, whole[1].state.obs.x)
        np.testing.assert_array_equal(end.state.posterior.log_prior, whole[1].state.posterior.log_prior)
        np.testing.assert_array_equal(end.state.posterior.log_evidence, whole[1].state.posterior.log_evidence)
    with pytest.raises(ValueError, match="pass extend"):
        fold(EXPERIMENT, read(whole[0]).records)
    with pytest.raises(ValueError, match="pass extend"):
        go(tmp_path / "none.gpxj", hooks=[HOOK], extend=None)


def test_a_rejected_law_and_an_adopted_one_are_in_the_journal(whole):
    kept = [from_record(frame.header, frame.arrays) for frame in read(whole[0]).of("intervention")]
    assert [type(action) for action in kept] == [Adopt, Reject]
    assert kept[0] == PARABOLA
    assert kept[1] == Reject("kink", "abs(x)", by="Ana", why="has a corner")


def test_an_edited_law_comes_back_from_its_record():
    edited = Adopt("b", "q * V + r", {"q": 1.5, "r": dist.Uniform(0.0, 1.0)}, {}, ("V",), (1.0, 2.0), None, 0.2)
    header, arrays = to_record(edited)
    again = from_record(header, arrays)
    assert to_record(again) == (header, arrays)
    assert again.law.formula == "q * V + r"
    assert float(again.law.prior["r"].high) == 1.0


@pytest.mark.slow
@pytest.mark.parametrize("sampler", [smc(64), laplace()])
def test_measurements_after_adoption_count_in_full(sampler):
    """The odds against the others change by the ratio of predictive densities, whether evidence is summed or anew."""
    x, y = np.array([[0.1], [1.0], [-0.5]]), np.array([0.0, 1.6, 0.4])
    few, all_ = observations(x[:2], y[:2], capacity=8), observations(x, y, capacity=8)
    posterior = model_average(sampler).init(jax.random.key(0), WRONG, few)
    alone = sampler.init(jax.random.key(1), PARABOLA.model(WRONG), few)
    wider = widened(WRONG, [PARABOLA])
    begun = posterior.with_posterior(alone, 0.2, wider)
    assert float(begun.probability[2]) == pytest.approx(0.2, rel=1e-9)
    later = model_average(sampler).update(jax.random.key(2), begun, all_)
    gain = later.log_evidence - begun.log_evidence
    odds = np.log(begun.probability) + gain
    np.testing.assert_allclose(later.probability, np.exp(odds - jax.nn.logsumexp(odds)), rtol=1e-9)
    # In closed form q ~ N(0, 4): the predictive density of the third reading.
    z = x[:2, 0] ** 2
    variance = 1 / (1 / 4 + z @ z / NOISE**2)
    centre = variance * z @ y[:2] / NOISE**2
    spread = 0.25**2 * variance + NOISE**2
    exact = -0.5 * np.log(2 * np.pi * spread) - 0.5 * (0.4 - 0.25 * centre) ** 2 / spread
    error = 1e-6 if sampler.init.__module__.endswith("laplace") else 5 * float(later.posteriors[2].info.evidence_error)
    assert abs(float(gain[2]) - exact) < error


def test_after_past_measurements_are_read_anew_adopted_laws_begin_again(tmp_path):
    two = {"value": Simulated.scalarize, "half": lambda reading: 0.5 * Simulated.scalarize(reading)}
    path = tmp_path / "a.gpxj"
    end = go(path, 3, [at(1, PARABOLA), at(2, Rescale("half"), Pin(np.array([[0.5]])))], scalarize=two)
    assert summaries(path)[-2]["probability/parabola"] == pytest.approx(1 / 3, rel=1e-9)
    assert end.state.posterior.names[2] == "parabola"


def test_a_proposal_is_adopted_on_the_scale_of_the_others():
    """From the measurements to the record and back: the same law, whose prior is data now."""
    x = np.linspace(0.0, 1.0, 12)[:, None]
    law = discover_laws(x, 2.0 * x[:, 0] ** 2 + 0.01 * np.cos(40 * x[:, 0]), term_library(degree=2))[0].law((-1.0, 3.0))
    action = Adopt.of("square", law, noise=0.01)
    again = from_record(*to_record(action))
    assert again == action
    params = {name: jnp.array(0.7) for name in law.prior}
    np.testing.assert_allclose(again.law(jnp.array([0.4]), params), law(jnp.array([0.4]), params), rtol=1e-12)
    laws = {"flat": FLAT, "line": LINE}
    known = hypotheses(laws, bounds=[[0.0, 1.0]], scale=(1.0, 2.0))
    wider = widened(known, [action])
    assert wider.names[-1] == "square"
    assert wider.adopted == ("square",)
    obs = observations(x[:3], np.zeros(3))
    told = parametric(1, law, dict(law.prior) | {"noise": 0.01}, standardize=(1.0, 2.0))
    found = wider.models["square"].log_likelihood(params | {"noise": jnp.array(0.01)}, obs)
    np.testing.assert_allclose(found, told.log_likelihood(params | {"noise": jnp.array(0.01)}, obs), rtol=1e-12)


def test_mistakes_are_told():
    with pytest.raises(ValueError, match="already"):
        widened(WRONG, [PARABOLA, PARABOLA])
    with pytest.raises(ValueError, match="between 0 and 1"):
        widened(WRONG, [Adopt("a", "q * x", PARABOLA.prior, scale=(0.0, 1.0), share=1.0)])
    with pytest.raises(ValueError, match="2 inputs"):
        widened(WRONG, [Adopt("a", "q * u * v", PARABOLA.prior, inputs=("u", "v"), scale=(0.0, 1.0))])
    with pytest.raises(ValueError, match="needs scale="):
        widened(WRONG, [Adopt("a", "q * x", PARABOLA.prior)])
    with pytest.raises(ValueError, match="noise="):
        widened(WRONG, [Adopt("a", "noise * x", {"noise": 1.0})])
