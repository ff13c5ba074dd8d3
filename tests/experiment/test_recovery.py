"""Studies of hypotheses: whole campaigns over truths and keys, and what is said of them."""

import jax
import numpy as np
import numpyro.distributions as dist
import pytest
from scipy import stats

from gpax_lab import acquisition
from gpax_lab.experiment import Recovery, bayes_opt, recovery, simulate
from gpax_lab.experiment._study import initial_observations
from gpax_lab.hypotheses import bandit, hypotheses, model_average
from gpax_lab.inference import nuts, smc
from gpax_lab.means import Law
from gpax_lab.models import gp, parametric

FLAT = Law(lambda x, p: p["C"] + 0.0 * x[0], {"C": dist.Normal(0.0, 1.0)}, {"C": "y"}, "m = C", "constant")
LINE = Law(lambda x, p: p["k"] * x[0], {"k": dist.Normal(0.0, 2.0)}, {"k": "y / x"}, "m = k x", "line")
BOTH = hypotheses({n: parametric(1, law, dict(law.prior) | {"noise": 0.04}, standardize=False) for n, law in
                   (("flat", FLAT), ("line", LINE))})  # fmt: skip
DOMAIN = acquisition.grid([(0.0, 1.0)], (9,), repeat=True)
TRUTHS = {
    "flat": lambda key, x: 0.5 + 0.2 * jax.random.normal(key),
    "line": lambda key, x: 1.5 * x[0] + 0.2 * jax.random.normal(key),
}
KEYS, STEPS, SEEDS = jax.random.split(jax.random.key(0), 6), 5, 2


@pytest.fixture(scope="module")
def result():
    ways = {
        "evidence": bayes_opt(
            BOTH, model_average(smc(32)), acquisition.expected_information_gain(num_samples=8), DOMAIN
        ),
        "reward": bayes_opt(BOTH, bandit(smc(32), DOMAIN.points), acquisition.uncertainty(), DOMAIN),
    }
    return ways, recovery(KEYS, ways, TRUTHS, DOMAIN, STEPS, seeds=SEEDS)


@pytest.mark.slow
def test_it_is_what_single_campaigns_give(result):
    ways, found = result
    assert found.belief.shape == (2, 2, 6, STEPS + 1, 2)
    assert found.points.tolist() == [2, 3, 4, 5, 6, 7]
    key_place, key_seed, key_go = jax.random.split(KEYS[3], 3)
    x = DOMAIN.space_filling(key_place, SEEDS)
    y = jax.vmap(TRUTHS["line"])(jax.random.split(key_seed, SEEDS), x)
    way = ways["evidence"]
    _, path = simulate(key_go, way, TRUTHS["line"], STEPS, initial_observations(way, x, y, STEPS))
    np.testing.assert_array_equal(found.x[0, 1, 3], path.x)
    expected = jax.nn.softmax(path.log_evidence, axis=1)  # even prior probabilities
    np.testing.assert_allclose(found.belief[0, 1, 3, 1:], expected, atol=1e-12)


def test_probabilities_sum_to_one_and_rewards_are_told_apart(result):
    found = result[1]
    assert found.rewards.tolist() == [False, True]
    np.testing.assert_allclose(found.belief[0].sum(axis=-1), 1.0, atol=1e-12)
    assert np.abs(found.belief[1]).max() <= 1.0
    # Every truth is found more often than by tossing coins: 12 campaigns, all right but for at most two.
    assert found.leads[0, :, :, -1].sum() >= 10
    text = str(found)
    assert "line true" in text
    assert "reward" in text


def made(belief, rewards=False):
    belief = np.asarray(belief, float)[None, None]
    return Recovery(
        ("way",), ("a",), ("a", "b"), belief, np.array([rewards]), np.zeros((1, 1)), np.zeros((1, 1, 1)), 3, 2
    )


def test_settled_means_for_good():
    p = np.array([[0.5, 0.96, 0.9, 0.97, 0.99], [0.96, 0.97, 0.96, 0.99, 0.99], [0.96, 0.97, 0.96, 0.99, 0.2]])
    belief = np.stack([p, 1 - p], axis=-1)
    assert made(belief).settled().ravel().tolist() == [9.0, 3.0, np.inf]
    # Rewards have no 95 percent: there the truth has to lead for good, and a tie is no lead.
    assert made(belief, rewards=True).settled().ravel().tolist() == [5.0, 3.0, np.inf]


def test_rates_have_the_band_of_jeffreys_and_confusion_counts_the_ends():
    p = np.array([[0.9], [0.8], [0.3], [0.7], [0.5]])
    found = made(np.stack([p, 1 - p], axis=-1))
    rate = found.rates()
    assert rate["rate"][0, 0, 0] == pytest.approx(0.6)
    low, high = stats.beta(3.5, 2.5).ppf([0.025, 0.975])
    np.testing.assert_allclose([rate["low"][0, 0, 0], rate["high"][0, 0, 0]], [low, high], atol=1e-5)
    np.testing.assert_allclose(found.confusion(), [[[0.7, 0.3]]])  # the tie is shared
    always = made(np.stack([np.ones((4, 1)), np.zeros((4, 1))], axis=-1)).rates()
    assert always["high"][0, 0, 0] == 1.0


def test_mistakes_are_told():
    way = bayes_opt(BOTH, model_average(smc(8)), acquisition.expected_information_gain(), DOMAIN)
    with pytest.raises(ValueError, match="flexible process"):
        recovery(KEYS, {"a": way}, {"wave": TRUTHS["flat"]}, DOMAIN, 2)
    with pytest.raises(ValueError, match="x\\[0\\]"):
        recovery(KEYS, {"a": way}, {"flat": lambda key, x: x}, DOMAIN, 2)
    with pytest.raises(ValueError, match="at least one seed"):
        recovery(KEYS, {"a": way}, TRUTHS, DOMAIN, 2, seeds=0)
    alone = bayes_opt(gp.exact(1), nuts(), acquisition.uncertainty(), DOMAIN)
    with pytest.raises(TypeError, match="model_average"):
        recovery(KEYS, {"a": alone}, TRUTHS, DOMAIN, 2)
    other = hypotheses({"flat": BOTH.models["flat"], "slope": BOTH.models["line"]})
    ways = {"a": way, "b": bayes_opt(other, model_average(smc(8)), acquisition.expected_information_gain(), DOMAIN)}
    with pytest.raises(ValueError, match="different hypotheses"):
        recovery(KEYS, ways, TRUTHS, DOMAIN, 2)


def test_a_level_in_percent_is_refused(result):
    """The band would have no width, and nothing would ever be settled."""
    _, found = result
    with pytest.raises(ValueError, match="the level of a band"):
        found.rates(95)
    with pytest.raises(ValueError, match="sure is a probability"):
        found.settled(95)
