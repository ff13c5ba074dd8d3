"""What comes into an experiment from outside: the same checks in every door."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pandas as pd
import pytest
from small_campaign import prior_draws

from gpax_lab import acquisition
from gpax_lab.core._observations import FAILED, MEASURED, PENDING, observations
from gpax_lab.experiment import bayes_opt, simulate
from gpax_lab.experiment._simulate import one_number
from gpax_lab.experiment.interventions import Pin, Reweigh, Veto, apply
from gpax_lab.hypotheses import hypotheses, model_average
from gpax_lab.inference import laplace, smc
from gpax_lab.models import StudentNoise, gp, parametric
from gpax_lab.models._multi_output import multi_output

X = np.linspace(0.0, 1.0, 4)[:, None]
WHERE = acquisition.grid([[0.0, 1.0]], (11,))


@pytest.fixture(scope="module")
def campaign():
    experiment = bayes_opt(gp.exact(1), smc(8), acquisition.ucb(), WHERE)
    state = experiment.init(jax.random.key(0), observations(X, np.cos(3 * X[:, 0]), capacity=8))
    state, x = experiment.propose(state)
    return experiment, state, x


@pytest.mark.parametrize(
    ("y", "status"),
    [
        ([0.5], MEASURED),
        ((0.5,), MEASURED),
        (0.5, MEASURED),
        (np.array([[0.5]]), MEASURED),
        (pd.DataFrame({"y": [0.5]}), MEASURED),
        ([None], FAILED),
        (np.ma.masked_all(1), FAILED),
    ],
    ids=str,
)
def test_an_answer_is_taken_in(campaign, y, status):
    experiment, state, x = campaign
    for place in (x, np.asarray(x).tolist(), np.asarray(x)[0]):
        after = experiment.observe(state, place, y)
        assert state.obs.status.tolist()[4] == PENDING
        assert after.obs.status.tolist()[4] == status
        assert float(after.obs.y[4]) == (0.5 if status == MEASURED else 0.0)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"x": [[np.nan]]}, "non-finite input in row 0"),
        ({"x": np.ma.masked_all((1, 1))}, "masked or missing in row 0"),
        ({"x": [[17.0]]}, r"points measured \(row 0\) spans \[17, 17\], but the model is made for \[0, 1\]"),
        ({"x": [[0.1, 0.2]]}, r"x must have shape \(n, 1\); got \(1, 2\)"),
        ({"y": [1.0, 2.0]}, r"y must have shape \(1,\) to match x; got \(2,\)"),
        ({"y": [[1.0, 2.0]]}, r"y must have shape \(1,\); got \(1, 2\)"),
        ({"y": [1j]}, "complex"),
        ({"noise": -1.0}, "got -1.0 in row 0"),
        ({"noise": np.nan}, "got nan in row 0"),
        ({"noise": [np.inf]}, "got inf in row 0"),
        ({"asked": [[0.1], [0.2]]}, "asked has 2 points, x 1"),
        ({"asked": [[np.nan]]}, "asked holds a non-finite"),
        ({"asked": [[17.0]]}, r"the points asked for \(row 0\) spans \[17, 17\]"),
    ],
)
def test_an_answer_that_is_none_is_refused_by_its_row(campaign, change, text):
    experiment, state, x = campaign
    with pytest.raises(ValueError, match=text):
        experiment.observe(state, **({"x": x, "y": [0.5], "noise": 0.01} | change))


def test_under_jit_a_measurement_whose_variance_is_none_is_a_failed_one(campaign):
    experiment, state, x = campaign
    observe = jax.jit(experiment.observe)
    for noise, status in ((-1.0, FAILED), (jnp.nan, FAILED), (jnp.inf, FAILED), (0.0, MEASURED)):
        after = observe(state, x, jnp.array([0.5]), jnp.array([noise]))
        assert after.obs.status.tolist()[4] == status
        assert float(after.obs.noise[4]) == 0.0


def test_nothing_measured_changes_no_slot(campaign):
    experiment, state, _ = campaign
    after = experiment.observe(state, np.zeros((0, 1)), [])
    np.testing.assert_array_equal(after.obs.status, state.obs.status)


@pytest.mark.parametrize(
    ("part", "value", "text"),
    [
        ("x", np.nan, "a point"),
        ("y", np.inf, "an observation"),
        ("noise", np.nan, "a variance"),
        ("noise", -1.0, "negative"),
    ],
)
def test_measurements_put_together_by_hand_are_looked_at_when_they_are_fitted(part, value, text):
    obs = observations(X, X[:, 0], capacity=8)
    array = getattr(obs, part)
    with pytest.raises(ValueError, match=f"slot 1 is measured and holds .*{text}.*observations"):
        gp.exact(1).check(obs._replace(**{part: array.at[1].set(value)}))
    gp.exact(1).check(obs._replace(**{part: array.at[6].set(value)}))  # an empty slot
    with pytest.raises(TypeError, match=r"observations\(x, y\); got tuple"):
        bayes_opt(gp.exact(1), smc(8), acquisition.ucb(), WHERE).init(jax.random.key(0), (X, X[:, 0]))


@pytest.mark.parametrize(
    ("weights", "text"),
    [((), "1 weights needed"), ((np.nan,), "one finite number"), (([1.0, 2.0],), "one finite"), (("a",), "real")],
)
def test_the_weights_of_a_score_are_finite_numbers(campaign, weights, text):
    with pytest.raises(ValueError, match=text):
        apply(campaign[1], Reweigh(weights))


def test_a_measurement_far_from_all_others_is_named_when_it_comes_and_not_again():
    experiment = bayes_opt(gp.exact(1), prior_draws(), acquisition.ucb(), WHERE)
    x = np.linspace(0.0, 0.8, 6)[:, None]
    state = experiment.init(jax.random.key(0), observations(x, np.cos(x[:, 0]), capacity=8))
    with pytest.warns(UserWarning, match=r"slot 6, y = 1e\+06 at x = \[0.9\]") as found:
        state = experiment.observe(state, [[0.9]], [1e6])
    assert found[0].filename == __file__
    experiment.observe(state, [[1.0]], [0.5])


@pytest.mark.parametrize("action", [Pin, Veto])
def test_what_a_person_asks_for_is_checked_likewise(campaign, action):
    _, state, _ = campaign
    for points, text in (
        ([[np.nan]], "non-finite input in row 0"),
        ([[0.2], [40.0]], r"points to (pin|veto) \(row 1\) spans .*, but the model is made for"),
        ([[0.2, 0.3]], r"shape \(n, 1\)"),
        (np.ma.array([[0.2], [0.3]], mask=[[0], [1]]), "masked or missing in row 1"),
    ):
        with pytest.raises(ValueError, match=text):
            apply(state, action(points))


@pytest.mark.parametrize(
    ("points", "text"),
    [
        (np.ma.array([[0.1], [0.2]], mask=[[0], [1]]), "the pool is masked or missing in row 1"),
        ([[0.1], [np.nan]], "the pool holds a non-finite input in row 1"),
        ([[0.1 + 1j]], "the pool is complex"),
        (np.zeros((0, 2)), "finite points of shape"),
        ([0.1, 0.2], "the pool must have shape"),
    ],
)
def test_a_pool_is_checked_likewise(points, text):
    with pytest.raises(ValueError, match=text):
        acquisition.pool(points)


def test_candidates_have_steps_fine_enough_for_their_dtype():
    stamps = [[1.7e9, 1.7e9 + 3600.0]]
    for make in (
        lambda kind: acquisition.box(stamps, dtype=kind),
        lambda kind: acquisition.grid(stamps, (5,), dtype=kind),
        lambda kind: acquisition.pool(np.linspace(*stamps[0], 61)[:, None], dtype=kind),
    ):
        make(np.float64)
        with pytest.raises(ValueError, match="offset"):
            make(np.float32)
    with pytest.raises(ValueError, match="float32 has steps of"):
        gp.exact(1, bounds=stamps).check(observations([[1.7e9]], [1.0], dtype=np.float32))


def law(x, params):
    return params["k"] * x[0]


K = {"k": dist.Normal(0.0, 1.0)}
KILOHERTZ = [[300.0, 360.0]]


@pytest.mark.parametrize(
    "candidates",
    [
        acquisition.grid(KILOHERTZ, (7,)),
        acquisition.pool(np.linspace(300.0, 360.0, 7)[:, None]),
        acquisition.box(KILOHERTZ),
    ],
    ids=["grid", "pool", "box"],
)
def test_bounds_that_were_forgotten_are_noticed_when_the_experiment_is_built(candidates):
    said = r"candidates spans \[300, 360\], but the model is made for \[0, 1\]: give it bounds"
    with pytest.raises(ValueError, match=said):
        bayes_opt(gp.exact(1), smc(8), acquisition.ucb(), candidates)
    rivals = hypotheses({"law": parametric(1, law, K, standardize=False), "any": gp.exact(1, standardize=False)})
    with pytest.raises(ValueError, match=said):
        bayes_opt(rivals, model_average(smc(8)), acquisition.ucb(), candidates)
    with pytest.raises(ValueError, match=r"candidates spans \[300, 360\], next to nothing of \[0, 1e\+06\].*bounds"):
        bayes_opt(gp.exact(1, bounds=[[0.0, 1e6]]), smc(8), acquisition.ucb(), candidates)
    bayes_opt(gp.exact(1, bounds=KILOHERTZ), smc(8), acquisition.ucb(), candidates)
    with pytest.raises(ValueError, match="this model has 2 inputs, the candidates 1"):
        bayes_opt(gp.exact(2), smc(8), acquisition.ucb(), candidates)


def test_a_small_part_of_the_box_may_be_looked_at_and_an_input_may_be_held():
    for points in ([[0.4], [0.41]], [[0.4]]):
        bayes_opt(gp.exact(1), smc(8), acquisition.ucb(), acquisition.pool(points))
    bayes_opt(gp.exact(2), smc(8), acquisition.ucb(), acquisition.box([[0.0, 1.0], [1.0, 1.0001]]))


def test_measurements_within_next_to_nothing_of_the_box_are_named():
    metres = np.linspace(0.0, 1e-6, 5)[:, None]
    with pytest.warns(UserWarning, match=r"observations spans \[0, 1e-06\], next to nothing of \[0, 1\].*bounds"):
        gp.exact(1).check(observations(metres, np.arange(5.0)))
    gp.exact(1, bounds=[[0.0, 1e-6]]).check(observations(metres, np.arange(5.0)))
    gp.exact(1).check(observations(np.full((5, 1), 0.3), np.arange(5.0)))


def test_what_is_put_in_the_wrong_place_is_named():
    def build(model=None, candidates=WHERE, **more):
        return bayes_opt(gp.exact(1) if model is None else model, smc(8), acquisition.ucb(), candidates, **more)

    with pytest.raises(TypeError, match=r"acquisition.pool\(points\), grid or box return; got ndarray"):
        build(candidates=X)
    with pytest.raises(TypeError, match=r"a model is what gp.exact\(...\).* return; got exact"):
        build(gp.exact)
    with pytest.raises(ValueError, match="bounds of 2 inputs, and a point has 1"):
        build(among=[[0.0, 1.0], [1.0, 1.0]])


def test_a_score_looks_at_one_quantity():
    with pytest.raises(ValueError, match="one quantity: this model has 2"):
        bayes_opt(multi_output(gp.exact(1), 2), smc(8), acquisition.log_ei(), WHERE)
    two = observations(X, np.c_[X, X])
    with pytest.raises(ValueError, match=r"is of 1 quantities, the observations hold 2: give .*multi_output"):
        bayes_opt(gp.exact(1), smc(8), acquisition.log_ei(), WHERE).init(jax.random.key(0), two)
    with pytest.raises(ValueError, match=r"is of 1 quantities, the observations hold 2: give .*multi_output"):
        smc(8).update(jax.random.key(0), smc(8).init(jax.random.key(0), gp.exact(1), observations(X, X[:, 0])), two)
    with pytest.raises(ValueError, match="is of 2 quantities, the observations hold 1"):
        laplace(8).init(jax.random.key(0), multi_output(gp.exact(1), 2), observations(X, X[:, 0]))
    with pytest.raises(ValueError, match=r"hypotheses of \[1, 2\] quantities"):
        hypotheses({"one": gp.exact(1, standardize=False), "two": multi_output(gp.exact(1, standardize=False), 2)})
    column = observations(X, np.cos(X))  # what df[["y"]] gives
    multi_output(gp.exact(1), 1).check(column)
    gp.exact(1).check(column)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (jnp.ones(2), r"one number, shape \(\); got \(2,\)"),
        ((1.0, 0.1), r"one number, shape \(\); got \(2,\)"),
        (None, "got NoneType"),
        (jnp.asarray(1j), "real numbers"),
        ({"y": 1.0}, "got dict"),
    ],
)
def test_an_objective_returns_one_number(value, text):
    with pytest.raises(ValueError, match=text):
        one_number(value)
    with pytest.raises(ValueError, match=text):
        simulate(
            jax.random.key(0),
            bayes_opt(gp.exact(1), smc(8), acquisition.ucb(), WHERE),
            lambda key, x: value,
            1,
            observations(X, X[:, 0]),
        )


@pytest.mark.parametrize("value", [1.5, (1.5,), [1.5], jnp.array([1.5]), np.array([[1.5]]).reshape(1)])
def test_a_number_is_one_however_it_is_wrapped(value):
    assert one_number(value).shape == ()
    assert float(one_number(value)) == 1.5


def test_measurements_known_exactly_may_not_contradict_each_other():
    twice = np.array([[0.2], [0.7], [0.2]])
    model = gp.exact(1, noise="known")
    with pytest.raises(
        ValueError, match=r"observations 0 and 2 at \[0.2\] are \[1.0\] and \[1.3\], both known exactly: give"
    ):
        model.check(observations(twice, [1.0, 2.0, 1.3]))
    with pytest.raises(ValueError, match=r"observations 0 and 1 .* both known exactly"):
        model.check(observations([[0.3], [0.1 + 0.2]], [1.0, 1.3]))
    with pytest.raises(ValueError, match=r"observations 0 and 2 .* both known exactly"):
        gp.exact(1, prior={"noise": 0.0}).check(observations(twice, [1.0, 2.0, 1.3]))
    beside = np.array([[0.2], [0.7], [0.2 + 1e-9]])  # a stage comes back to the same place
    with pytest.raises(ValueError, match=r"0 and 2 at \[0.2\] and, next to it, \[0.200000001\] are .* exactly: give"):
        model.check(observations(beside, [1.0, 2.0, 1.3]))
    model.check(observations(beside, [1.0, 2.0, 1.0 + 1e-6]))
    model.check(observations([[0.2], [0.7], [0.201]], [1.0, 2.0, 1.3]))
    gp.exact(1, prior={"noise": 1e-4}).check(observations(twice, [1.0, 2.0, 1.3]))
    model.check(observations(twice, [1.0, 2.0, 1.0]))
    model.check(observations(twice, [1.0, 2.0, 1.3], noise=[0.1, 0.0, 0.1]))
    gp.exact(1).check(observations(twice, [1.0, 2.0, 1.3]))
    # Taken beside where they were asked for, they need not contradict each other.
    gp.exact(1, noise="known", uncertain_inputs=8).check(observations(twice, [1.0, 2.0, 1.3]))
    with pytest.raises(ValueError, match="both known exactly"):
        gp.exact(1, noise=StudentNoise(capacity=8, of="known")).check(observations(twice, [1.0, 2.0, 1.3]))
    with pytest.raises(ValueError, match="known variances alone, and that of observation 1 is 0"):
        parametric(1, law, K, noise="known").check(observations(twice, [1.0, 2.0, 1.3], noise=[0.1, 0.0, 0.1]))


def test_evidence_is_not_compared_where_only_one_prior_program_has_observed_something():
    def knows():
        k = numpyro.sample("k", dist.Normal(0.0, 1.0))
        numpyro.sample("handbook", dist.Normal(k, 0.1), obs=0.3)
        return {"k": k}

    def model(prior):
        return parametric(1, law, prior, standardize=False)

    with pytest.raises(ValueError, match=r"'handbook'.*can not be compared"):
        hypotheses({"knows": model(knows), "does not": model(K)})
    assert hypotheses({"knows": model(knows), "too": model(knows)}).names == ("knows", "too")
