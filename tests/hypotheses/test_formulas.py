"""Formulas against numpy, refusals, and text that comes back."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

from gpax_lab.hypotheses._formulas import as_data, distribution, formula, function, normal

NORMAL = dist.Normal(0.0, 1.0)
SAME = {
    "A * exp(-x / t) + C": lambda x, A, t, C: A * np.exp(-x / t) + C,
    "A - (t - C) - x": lambda x, A, t, C: A - (t - C) - x,
    "-x**2 + A / (t * C)": lambda x, A, t, C: -(x**2) + A / (t * C),
    "max(A * x, t) + min(C, x)": lambda x, A, t, C: np.maximum(A * x, t) + np.minimum(C, x),
    "A * sqrt(abs(x)) + log(t) * tanh(C)": lambda x, A, t, C: A * np.sqrt(np.abs(x)) + np.log(t) * np.tanh(C),
    "sin(A) + cos(t * x) + tan(C)": lambda x, A, t, C: np.sin(A) + np.cos(t * x) + np.tan(C),
    "sigmoid((x - A) / t) ** C": lambda x, A, t, C: (1 / (1 + np.exp(-(x - A) / t))) ** C,
    "A ** 2 ** t + +C * x ** 3": lambda x, A, t, C: A ** (2**t) + C * x**3,
    "1.5e-1 * A * x - 2 * t * C": lambda x, A, t, C: 0.15 * A * x - 2 * t * C,
}


@pytest.mark.parametrize("text", SAME)
def test_values_are_those_of_numpy_and_gradients_are_finite(text):
    law = formula(text, dict.fromkeys("AtC", NORMAL))
    rng = np.random.default_rng(0)
    for x, A, t, C in np.column_stack([rng.uniform(-2, 2, 5), rng.uniform(0.5, 1.5, (5, 3))]):
        params = {"A": jnp.asarray(A), "t": jnp.asarray(t), "C": jnp.asarray(C)}
        np.testing.assert_allclose(law(jnp.array([x]), params), SAME[text](x, A, t, C), rtol=1e-12)
        slopes = jax.grad(lambda p, x=x: law(jnp.array([x]), p))(params)
        assert all(np.isfinite(slope) for slope in slopes.values())
    again = formula(law.formula, dict.fromkeys("AtC", NORMAL))
    assert again.formula == law.formula
    np.testing.assert_array_equal(again(jnp.array([0.3]), params), law(jnp.array([0.3]), params))


def test_a_power_has_a_gradient_at_zero():
    assert float(jax.grad(lambda x: function("x ** 2")(x))(jnp.zeros(1))[0]) == 0.0


def test_inputs_have_the_names_of_the_user():
    law = formula("k * V / tau", {"k": NORMAL}, {"k": "nm"}, ("V", "tau"), "a book")
    assert (law.dim, law.formula, law.units, law.source) == (2, "k * V / tau", {"k": "nm"}, "a book")
    assert float(law(jnp.array([3.0, 2.0]), {"k": jnp.asarray(4.0)})) == 6.0
    assert law.draw(jax.random.key(0), jnp.ones((5, 2)), 3).shape == (3, 5)
    assert normal("(x**2)+1") == "x ** 2 + 1"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("__import__('os')", "calls __import__"),
        ("x.real", r"'x\.real' has no place"),
        ("k * x < 1", "'k \\* x < 1' has no place"),
        ("lambda: x", "lambda"),
        ("k * [x]", r"'\[x\]'"),
        ("x if k else 1", "has no place"),
        ("k * 'a'", "has no place"),
        ("k * True", "'True' has no place"),
        ("k * 2j", "'2j' has no place"),
        ("k % x", "has no place"),
        ("exp(k, x)", "takes 1 argument"),
        ("exp(x=k)", "has no place|calls exp"),
        ("k * (x", "not a formula"),
        ("", "not a formula"),
        ("k * 1e999", "has no place"),
        ("k * z", r"\['z'\]"),
        ("k * exp", "are functions"),
        ("x", r"\['k'\] have a prior"),
        ("k + " * 600 + "x", "at most"),
        ("(" * 500 + "x" + ")" * 500, "not a formula"),
    ],
)
def test_refusals_name_the_piece(text, told):
    with pytest.raises(ValueError, match=told):
        formula(text, {"k": NORMAL})


def test_mistaken_names_are_told():
    with pytest.raises(ValueError, match="either an input or a parameter"):
        formula("x", {"x": NORMAL})
    with pytest.raises(ValueError, match="inputs are names"):
        formula("x", {}, inputs=("x", "x"))
    with pytest.raises(ValueError, match="can not name inputs"):
        formula("exp(1)", {}, inputs=("exp",))
    with pytest.raises(ValueError, match="the inputs are"):
        function("k * x")


@pytest.mark.parametrize("value", [dist.Normal(1.0, 2.0), dist.Uniform(-1.0, 2.0), dist.InverseGamma(2.0, 3.0), 1.5])
def test_distributions_come_back_from_data(value):
    again = distribution(as_data(value))
    if isinstance(value, float):
        assert float(again) == value
    else:
        assert type(again) is type(value)
        np.testing.assert_array_equal(again.log_prob(0.7), value.log_prob(0.7))


def test_data_that_are_no_distribution_are_refused():
    with pytest.raises(ValueError, match="is no distribution"):
        distribution({"distribution": "Cauchy", "loc": 0.0})
    with pytest.raises(ValueError, match="Normal takes loc, scale"):
        distribution({"distribution": "Normal", "loc": 0.0})
    with pytest.raises(ValueError, match="can not be written"):
        as_data(dist.Cauchy(0.0, 1.0))


@pytest.mark.parametrize("text", ["-" * 900 + "x", "x" + "+x" * 330, "exp(" * 200 + "x" + ")" * 200, "x" + "**x" * 300])
def test_a_formula_too_deep_for_the_stack_is_refused_in_words(text):
    for call in (normal, lambda text: formula(text, {}), function):
        with pytest.raises(ValueError, match="nested more than 100 deep"):
            call(text)


@pytest.mark.parametrize("text", ["(" * 300 + "x" + ")" * 300, "-" * 1990 + "x", "x\0"])
def test_what_the_parser_itself_refuses_is_an_error_of_ours(text):
    with pytest.raises(ValueError, match=r"is not a formula|nested"):
        normal(text)


def test_the_deepest_formula_is_written_and_traced():
    text = "-x" + " + x" * 98
    law = formula(text, {})
    assert normal(law.formula) == law.formula
    assert float(jax.jit(lambda x: law(x, {}))(jnp.array([0.5]))) == 48.5
