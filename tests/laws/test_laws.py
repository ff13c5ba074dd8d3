"""Every law of the library against its formula written anew in numpy; its prior, its gradients, its names."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

from gpax_lab import means
from gpax_lab.core._priors import as_program, sample
from gpax_lab.laws import domain_writing as domains
from gpax_lab.laws import shapes, transitions
from gpax_lab.models import gp, parametric

X, Y = (0.0, 0.2), (-1.0, 3.0)
KELVIN = (200.0, 500.0)
BIAS = (1.0, 10.0)


def sigmoid(u):
    return 1 / (1 + np.exp(-u))


# law, points (m, dim), parameters, the values expected there
ORACLES = {
    "flat": (shapes.flat(X, Y), [[0.0], [0.2]], {"C": 0.7}, [0.7, 0.7]),
    "line": (shapes.line(X, Y), [[0.0], [0.15]], {"C": 1.0, "k": 2.0}, [0.8, 1.1]),
    "parabola": (shapes.parabola(X, Y), [[0.0], [0.2]], {"C": 1.0, "k": 2.0, "q": 10.0}, [0.9, 1.3]),
    "kink": (shapes.kink(X, Y), [[0.05], [0.15]], {"C": 1.0, "k1": 2.0, "k2": -4.0, "xc": 0.1}, [0.9, 0.8]),
    "step": (
        shapes.step(X, Y),
        [[0.05], [0.1], [0.12]],
        {"C": 1.0, "A": 2.0, "xc": 0.1, "w": 0.01},
        [1 + 2 * sigmoid(-5.0), 2.0, 1 + 2 * sigmoid(2.0)],
    ),
    "peak": (shapes.peak(X, Y), [[0.1], [0.12]], {"C": 1.0, "A": 2.0, "x0": 0.1, "w": 0.02}, [3.0, 2.0]),
    "dip": (shapes.dip(X, Y), [[0.1], [0.14]], {"C": 1.0, "A": 2.0, "x0": 0.1, "w": 0.02}, [-1.0, 0.6]),
    "power": (shapes.power(X, Y), [[0.0], [0.1]], {"C": 1.0, "A": 2.0, "n": 3.0}, [1.0, 1.25]),
    "hill": (
        shapes.hill(X, Y),
        [[0.0], [0.05], [0.1]],
        {"C": 1.0, "A": 2.0, "K": 0.05, "n": 2.0},
        [1.0, 2.0, 1 + 2 * 4 / 5],
    ),
    "second order": (
        transitions.second_order(X, Y),
        [[0.0], [0.055], [0.15]],
        {"S0": 2.0, "xc": 0.11, "C": 0.5},
        [2.5, 1.0, 0.5],
    ),
    "first order": (
        transitions.first_order(X, Y),
        [[0.0], [0.06], [0.15]],
        {"S0": 2.0, "x0": 0.12, "xc": 0.11, "C0": 0.5, "C1": 0.1},
        [2.5, 0.5 + 2 * 0.5**1.25, 0.1],
    ),
    "second-order Landau": (
        transitions.landau_second(KELVIN, Y),
        [[300.0], [450.0]],
        {"P0": 2.0, "Tc": 400.0},
        [2.0 * 0.5**0.5, 0.0],
    ),
    "Curie and Weiss": (
        transitions.curie_weiss(KELVIN, Y),
        [[200.0], [300.0]],
        {"A": 3.0, "gap": 50.0},
        [3.0, 1.0],
    ),
    "Arrhenius": (
        transitions.arrhenius(KELVIN, Y),
        [[300.0], [2 / (1 / 200 + 1 / 500)]],
        {"A": 2.0, "E": 0.4},
        [2 * np.exp(-0.4 / 8.617333262e-5 * (1 / 300 - 0.5 * (1 / 200 + 1 / 500))), 2.0],
    ),
    "thermodynamic": (
        domains.thermodynamic(BIAS, 5.0),
        [[1.0, 0.0], [6.0, 2.0], [6.0, -3.0]],
        {"rc": 1.0, "r0": 1.5, "Vc": 2.0},
        [0.0, 4.0, 4.0],
    ),
    "wall kinetics": (
        domains.wall_kinetics(BIAS, 5.0),
        [[10.0, 0.0], [5.0, 2.0]],
        {"A": 0.4, "al": 1.0, "c": 4.0},
        [1.6, 1.2],
    ),
    "charge injection": (
        domains.charge_injection(BIAS, 5.0),
        [[10.0, 0.0], [5.0, 2.0]],
        {"A": 2.0, "al": 1.0, "be": 0.5},
        [2.0, 10.0],
    ),
}
LAWS = {name: law for name, (law, *_) in ORACLES.items()} | {
    "first-order Landau": transitions.landau_first(KELVIN, Y),
}


def points(law):
    if law.dim == 2:
        return jnp.array([[1.0, -3.0], [2.0, 0.0], [10.0, 2.0]])
    low, high = KELVIN if "T" in law.formula else X
    return jnp.linspace(low, high, 9)[:, None]


@pytest.mark.parametrize("name", ORACLES)
def test_values(name):
    law, at, params, expected = ORACLES[name]
    found = [float(law(jnp.array(x), {n: jnp.array(v) for n, v in params.items()})) for x in at]
    np.testing.assert_allclose(found, expected, atol=1e-9)


@pytest.mark.parametrize("name", LAWS)
def test_prior_curves_and_their_gradients_are_finite(name):
    law = LAWS[name]
    x = points(law)
    assert np.isfinite(law.draw(jax.random.key(0), x, 50)).all()
    program = as_program(law.prior)

    @jax.jit
    @jax.vmap
    def slopes(key):
        return jax.jacrev(lambda p: jax.vmap(lambda a: law(a, p))(x))(sample(key, program))

    for parameter, slope in slopes(jax.random.split(jax.random.key(1), 50)).items():
        assert np.isfinite(slope).all(), parameter


@pytest.mark.parametrize("name", LAWS)
def test_every_parameter_matters_and_says_its_unit(name):
    law = LAWS[name]
    assert set(law.units) == set(law.prior)
    text = str(law)
    assert law.formula in text
    assert law.source in text
    first, second = law.draw(jax.random.key(0), points(law), 2)
    assert not np.array_equal(first, second)


@pytest.mark.parametrize("name", ["flat", "hill", "first order", "first-order Landau"])
def test_single_precision_stays_single(name):
    law = LAWS[name]
    params = {n: v.astype(jnp.float32) for n, v in sample(jax.random.key(0), as_program(law.prior)).items()}
    assert law(points(law)[1].astype(jnp.float32), params).dtype == jnp.float32


def test_the_sixth_order_landau_law_is_the_minimum_of_its_free_energy():
    law = LAWS["first-order Landau"]
    jump, curie, gap = 1.3, 380.0, 40.0
    # a (T - T0) P^2 / 2 - b P^4 / 4 + c P^6 / 6 with c = 1: b from the jump, a from Tc - T0 = 3 b^2 / (16 a c).
    b = 4 * jump**2 / 3
    a = 3 * b**2 / (16 * gap)
    order = np.linspace(0.0, 3.0, 300001)
    for kelvin in (220.0, 300.0, 350.0, 410.0):
        energy = a * (kelvin - curie + gap) * order**2 / 2 - b * order**4 / 4 + order**6 / 6
        params = {"Pj": jnp.array(jump), "Tc": jnp.array(curie), "D": jnp.array(gap)}
        found = float(law(jnp.array([kelvin]), params))
        # The smooth step across Tc is 3 K wide; thirty kelvin away it is 5e-5 from done.
        assert found == pytest.approx(order[energy.argmin()], abs=2e-3)


def test_one_law_gives_way_to_another():
    both = means.piecewise(shapes.line(X, Y), shapes.flat(X, Y), dist.Uniform(*X), width=1e-3)
    assert sorted(both.prior) == ["at", "left/C", "left/k", "right/C"]
    params = {"left/C": 1.0, "left/k": 2.0, "right/C": 3.0, "at": 0.1}
    params = {name: jnp.array(value) for name, value in params.items()}
    found = [float(both(jnp.array([x]), params)) for x in (0.05, 0.1, 0.15)]
    np.testing.assert_allclose(found, [0.9, 0.5 * (1.0 + 3.0), 3.0], atol=1e-9)
    assert np.isfinite(jax.grad(lambda p: both(jnp.array([0.1]), p))(params)["at"])
    with pytest.raises(ValueError, match="width"):
        means.piecewise(shapes.line(X, Y), shapes.flat(X, Y), dist.Uniform(*X), width=0.0)
    with pytest.raises(ValueError, match="as many inputs"):
        means.piecewise(shapes.line(X, Y), domains.thermodynamic(BIAS, 5.0), dist.Uniform(*X), width=1e-3)


def test_names_compose():
    two = means.add(means.scope("a", shapes.peak(X, Y)), means.scope("b", shapes.peak(X, Y)))
    assert sorted(two.prior) == sorted(f"{s}/{n}" for s in "ab" for n in ("C", "A", "x0", "w"))
    ones = {name: jnp.array(1.0) for name in two.prior}
    x = jnp.array([0.1])
    one = shapes.peak(X, Y)(x, {n: jnp.array(1.0) for n in "CAw"} | {"x0": jnp.array(1.0)})
    np.testing.assert_allclose(two(x, ones), 2 * one, rtol=1e-12)
    product = means.multiply(shapes.line(X, Y), means.scope("b", shapes.flat(X, Y)))
    value = product(x, {"C": jnp.array(2.0), "k": jnp.array(0.0), "b/C": jnp.array(3.0)})
    np.testing.assert_allclose(value, 6.0)
    with pytest.raises(ValueError, match=r"both read \['C'\]"):
        means.add(shapes.line(X, Y), shapes.flat(X, Y))
    with pytest.raises(ValueError, match="same number"):
        means.add(shapes.flat(X, Y), domains.thermodynamic(BIAS, 5.0))


def test_a_law_is_a_mean_function():
    law = LAWS["second order"]
    for model in (parametric(1, law, law.prior), gp.exact(1, mean=law, prior=law.prior)):
        names = set(sample(jax.random.key(0), model.prior))
        assert set(law.prior) <= names
        assert "noise" in names


def test_mistakes_are_refused():
    with pytest.raises(ValueError, match="give every parameter a prior and a unit"):
        means.Law(lambda x, p: p["k"] * x[0], {"q": dist.Normal(0.0, 1.0)}, {"q": "1"}, "m = k x", "nobody")
    with pytest.raises(ValueError, match="low < high"):
        shapes.line((1.0, 1.0), Y)
    with pytest.raises(ValueError, match="needs x >= 0"):
        shapes.power((-1.0, 1.0), Y)
    with pytest.raises(ValueError, match="kelvin"):
        transitions.arrhenius((-10.0, 20.0), Y)
    with pytest.raises(ValueError, match="0 < low < high"):
        domains.wall_kinetics((-10.0, 10.0), 5.0)


@pytest.mark.parametrize("make", [transitions.second_order, transitions.first_order, transitions.landau_second])
def test_transitions_count_from_the_low_end_of_their_range(make):
    """At 300 to 400 K a law says the same as at 0 to 100: its priors do not know where zero is."""
    key, x = jax.random.key(0), jnp.linspace(0.0, 100.0, 11)[:, None]
    near, far = make((0.0, 100.0), (0.0, 1.0)), make((300.0, 400.0), (0.0, 1.0))
    np.testing.assert_allclose(far.draw(key, 300.0 + x, 20), near.draw(key, x, 20), atol=1e-9)
    assert "300" in far.formula
