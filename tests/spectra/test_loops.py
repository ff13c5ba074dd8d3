import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gpax_lab.core import Status
from gpax_lab.spectra import _loop, loops
from gpax_lab.spectra.loops import LoopParams, loop_area, loop_fit, loop_function, scalars_of_fit

PARAMS = LoopParams(a0=-1.0, a1=2.5, a2=2.0, a3=-1.5, a4=0.1, b0=0.5, b1=0.9, b2=0.7, b3=0.4)
BIAS = loops.triangle(6.0, 64)


def one_point(v, up, p):
    """The formula of the loop once more, in plain Python."""
    c, before, after = (p.a2, p.b0, p.b1) if up else (p.a3, p.b2, p.b3)
    g = (after - before) / 2 * (math.erf((v - c) * 1000) + 1) + before
    return p.a0 + p.a1 * (g * math.erf((v - c) / g) + before) / (before + after) + p.a4 * v


def test_triangle_goes_up_first_and_stops_one_step_short():
    np.testing.assert_allclose(loops.triangle(8.0, 8), [0, 4, 8, 4, 0, -4, -8, -4], atol=1e-12)


@pytest.mark.parametrize(("v", "up"), [(-6.0, True), (1.9, True), (2.0, True), (3.0, False), (-1.6, False)])
def test_loop_function_is_its_formula(v, up):
    value = loops.loop_function(jnp.array([v]), PARAMS, up=jnp.array([up]))
    assert float(value[0]) == pytest.approx(one_point(v, up, PARAMS), abs=1e-10)


def test_branches_follow_the_sweep():
    response = loops.loop_function(BIAS, PARAMS)
    up = [True] * 17 + [False] * 32 + [True] * 15  # 0 to +vmax, down to -vmax, up again; the first came from below
    np.testing.assert_array_equal(_loop.rising(BIAS), up)
    np.testing.assert_allclose(response, [one_point(float(v), u, PARAMS) for v, u in zip(BIAS, up, strict=True)])


def test_far_from_the_switch_the_loop_is_offset_and_height():
    flat = PARAMS._replace(a4=0.0)
    ends = loops.loop_function(jnp.array([-40.0, 40.0]), flat, up=jnp.array([True, True]))
    np.testing.assert_allclose(ends, [-1.0, 1.5], atol=1e-12)


def test_params_may_be_an_array_and_loops_map_and_differentiate():
    stack = jnp.stack([jnp.array(PARAMS), 1.1 * jnp.array(PARAMS)])
    mapped = jax.vmap(loops.loop_function, in_axes=(None, 0))(BIAS, stack)
    each = jnp.stack([loops.loop_function(BIAS, p) for p in stack])
    np.testing.assert_allclose(mapped, each, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(jax.jit(loops.loop_function)(BIAS, stack[0]), each[0], rtol=1e-12, atol=1e-12)
    at_switch = jax.jacobian(loops.loop_function, argnums=1)(jnp.array([2.0, 0.0, -1.5, -3.0]), stack[0])
    assert bool(jnp.all(jnp.isfinite(at_switch)))


def test_float32_stays_float32():
    bias, params = BIAS.astype(jnp.float32), jnp.array(PARAMS, jnp.float32)
    response = loops.loop_function(bias, params)
    for value in (response, loops.loop_area(bias, response), loops.despike(response), loops.remanence(bias, response)):
        assert value.dtype == jnp.float32
    np.testing.assert_allclose(response, loops.loop_function(BIAS, PARAMS), atol=2e-5)


def test_area_of_a_rectangle_needs_the_closing_side():
    bias, response = jnp.array([3.0, -3.0, -3.0, 3.0]), jnp.array([1.0, 1.0, -1.0, -1.0])
    assert float(loops.loop_area(bias, response)) == pytest.approx(-12.0, abs=1e-12)
    assert float(loops.loop_area(bias[::-1], response[::-1])) == pytest.approx(12.0, abs=1e-12)


def test_area_by_another_way_and_from_any_start():
    response = loops.loop_function(BIAS, PARAMS)
    x, y = np.asarray(BIAS), np.asarray(response)
    shoelace = 0.5 * np.sum((np.roll(x, -1) - x) * (np.roll(y, -1) + y))
    assert float(loops.loop_area(BIAS, response)) == pytest.approx(shoelace, rel=1e-12)
    rolled = loops.loop_area(jnp.roll(BIAS, 11), jnp.roll(response, 11))
    assert float(rolled) == pytest.approx(shoelace, rel=1e-12)
    assert float(loops.log_loop_area(BIAS, response)) == pytest.approx(math.log10(abs(shoelace)), rel=1e-12)


RECORDINGS = {
    "closed": lambda v: np.append(v, v[:1]),
    "closed at the bottom": lambda v: np.append(np.roll(v, 16), np.roll(v, 16)[:1]),
    "twice": lambda v: np.tile(v, 2),
    "three times, closed": lambda v: np.append(np.tile(v, 3), v[:1]),
    "two readings": lambda v: np.repeat(v, 2),
    "two cycles of three readings": lambda v: np.repeat(np.tile(v, 2), 3),
    "two readings, closed": lambda v: np.append(np.repeat(v, 2), v[:1]),
}


@pytest.mark.parametrize("recording", RECORDINGS)
def test_how_often_a_bias_is_read_changes_nothing(recording):
    bias = RECORDINGS[recording](np.asarray(BIAS))
    where = RECORDINGS[recording](np.arange(64))
    up = np.asarray(_loop.rising(BIAS))[where]
    np.testing.assert_array_equal(_loop.rising(bias), up)
    once = loops.loop_function(BIAS, PARAMS)
    response = np.asarray(once)[where]
    np.testing.assert_allclose(loops.loop_function(bias, PARAMS), response, rtol=1e-12)
    assert float(loops.loop_area(bias, response)) == pytest.approx(float(loops.loop_area(BIAS, once)), rel=1e-12)
    np.testing.assert_allclose(loops.coercive_biases(bias, response), loops.coercive_biases(BIAS, once), rtol=1e-9)
    np.testing.assert_allclose(loops.remanence(bias, response), loops.remanence(BIAS, once), rtol=1e-9)
    assert float(_loop.sweep_step(bias)) == pytest.approx(12.0 / 32)


def test_a_bias_that_never_moves_has_one_cycle_and_no_branch():
    assert float(_loop.cycles(np.full(8, 2.0))) == 1.0
    assert not np.any(_loop.rising(np.full(8, 2.0)))
    np.testing.assert_array_equal(_loop.rising(np.array([0, 1, 2, 1])), [False, True, True, False])


@pytest.mark.parametrize("unit", [1.0, 1e-11, 1e-20, 1e12])
def test_the_logarithm_of_an_area_knows_no_unit(unit):
    response = unit * np.stack([loops.loop_function(BIAS, PARAMS._replace(a1=h)) for h in (0.1, 1.0, 3.0)])
    area = np.abs(np.asarray(loops.loop_area(BIAS, response)))
    np.testing.assert_allclose(loops.log_loop_area(BIAS, response), np.log10(area), rtol=1e-12)
    line = float(loops.log_loop_area(BIAS, unit * BIAS))
    assert line == pytest.approx(math.log10(1e-6 * unit * 144.0))
    assert float(loops.log_loop_area(BIAS, jnp.full(64, unit))) == -np.inf


def test_despike_repairs_spikes_and_nothing_else():
    clean = loops.loop_function(BIAS, PARAMS)
    np.testing.assert_array_equal(loops.despike(clean), clean)
    noisy = clean + 0.01 * jax.random.normal(jax.random.key(0), clean.shape)
    torn = noisy.at[jnp.array([0, 30, 31, 50])].set(jnp.array([900.0, -700.0, -800.0, 50.0]))
    repaired = loops.despike(jnp.stack([torn, noisy]))
    assert float(jnp.max(jnp.abs(repaired[0] - clean))) < 0.3  # a step of the sweep on the flank of the loop
    assert set(np.flatnonzero(repaired[0] != torn)) == {0, 30, 31, 50}
    np.testing.assert_array_equal(repaired[1], noisy)


def test_despike_keeps_a_sharp_switch_and_does_not_hide_nan():
    step = jnp.where(jnp.arange(64) < 32, 1.0, -1.0)
    np.testing.assert_array_equal(loops.despike(step), step)
    assert bool(jnp.any(jnp.isnan(loops.despike(step.at[7].set(jnp.nan)))))
    with pytest.raises(ValueError, match="odd"):
        loops.despike(step, window=4)


def test_coercive_biases_and_remanence_of_a_parallelogram():
    bias = jnp.array([0.0, 2.0, 4.0, 2.0, 0.0, -2.0, -4.0, -2.0])
    response = jnp.array([-3.0, -1.0, 3.0, 3.0, 3.0, 1.0, -3.0, -3.0])
    np.testing.assert_allclose(loops.coercive_biases(bias, response), [2.5, -2.5], atol=1e-12)
    np.testing.assert_allclose(loops.remanence(bias, response), [-3.0, 3.0], atol=1e-12)
    assert bool(jnp.all(jnp.isnan(loops.coercive_biases(bias, response + 10.0))))


@pytest.fixture(scope="module")
def real_map(data_folder):
    h5py = pytest.importorskip("h5py")
    with h5py.File(data_folder / "loops" / "BEPS_PTO_50x50.h5") as file:
        group = file["Channel_000/generic"]
        return jnp.roll(jnp.array(group["Voltage"][()]), -16), jnp.roll(jnp.array(group["generic"][()]), -16, axis=2)


def test_the_real_map_gives_the_reference_figures(real_map):
    bias, response = real_map
    area = np.asarray(loops.loop_area(bias, response))
    assert (round(area.min(), 5), round(area.max(), 5)) == (-0.16314, 0.00118)
    assert round(float(np.median(abs(area))), 6) == 0.001125
    assert np.unravel_index(abs(area).argmax(), area.shape) == (4, 5)
    good = np.abs(response).max(axis=-1) < 1e-3
    assert good.sum() == 1704
    kept = abs(area[good])
    assert (f"{np.median(kept):.4e}", f"{kept.mean():.4e}", f"{kept.max():.5e}") == (
        "6.4533e-04",
        "1.1405e-03",
        "9.66875e-03",
    )
    assert np.unravel_index(np.where(good, abs(area), 0).argmax(), area.shape) == (49, 3)
    scalar = np.asarray(loops.log_loop_area(bias, response))[good]
    assert (round(scalar.mean(), 4), round(scalar.std(), 4)) == (-3.2348, 0.5925)  # with 1e-7 added -3.2344, 0.5912


def test_despiking_the_real_map_makes_more_pixels_usable(real_map):
    _, response = real_map
    usable = np.abs(loops.despike(response)).max(axis=-1) < 1e-3
    assert usable.sum() > 2000  # 1704 as recorded


def test_a_sweep_that_does_not_close_has_no_area():
    """A first half cycle before a whole one: the jump from its end to its start would count as part of the loop."""
    whole = _loop.triangle_at(8.0, 0.25 + jnp.arange(64) / 64)
    params = jnp.array([-1.0, 2.0, 2.5, -2.5, 0.01, 0.8, 0.9, 0.9, 0.8])
    first = jnp.linspace(0.0, 8.0, 16, endpoint=False)
    for bias, closed in ((whole, True), (jnp.concatenate([first, whole]), False), (jnp.append(whole, 8.0), True)):
        area = loop_area(bias, loop_function(bias, params))
        assert bool(jnp.isfinite(area)) == closed
        found = scalars_of_fit(loop_fit(bias, loop_function(bias, params)), bias)
        assert (int(found.status[0]) == Status.OK) == closed
        assert int(found.status[1]) == Status.OK, "where it switches is known all the same"


@pytest.mark.parametrize(("points", "readings", "volts"), [(64, 2, 1e-3), (64, 2, 5e-3), (1000, 1, 0.02)])
def test_noise_of_a_measured_bias_makes_no_branches(points, readings, volts):
    """The area to four errors of the noise of 0.05, and every point away from the turning ones on its branch."""
    true = np.repeat(loops.triangle(8.0, points), readings)
    up = np.asarray(_loop.rising(true))
    params = np.array([-1.0, 2.0, 2.5, -2.5, 0.01, 0.8, 0.9, 0.9, 0.8])
    dice = np.random.default_rng(points)
    bias = true + volts * dice.normal(size=true.shape)
    found = np.asarray(_loop.rising(bias))
    assert np.all((found == up) | (np.abs(true) > 8.0 - 8.0 * volts))
    assert float(_loop.cycles(np.tile(bias, 3))) == 3.0
    assert float(_loop.sweep_step(bias)) == pytest.approx(32.0 / points, rel=0.05)
    clean = np.asarray(loops.loop_function(true, params, up))
    area, right = float(loop_area(bias, clean + 0.05 * dice.normal(size=clean.shape))), float(loop_area(true, clean))
    weight = 0.5 * (np.roll(true, -1) - np.roll(true, 1))
    # Noise of the response, and of the bias: each moves the response on the flank, by up to 1.5 per volt.
    error = np.sqrt(np.sum(weight**2) * (0.05**2 + (1.5 * volts) ** 2))
    assert abs(area - right) < 4 * error


@pytest.mark.parametrize("corners", [(0, 8, -8, 0, 8, 0), (0, 8, -8, 0, 4, -4, 0), (0, 8, -8, 0, 8)])
def test_a_sweep_of_other_than_whole_cycles_has_no_area(corners):
    way = np.concatenate([[0.0], np.cumsum(np.abs(np.diff(corners)))])
    bias = np.interp(np.arange(0.0, way[-1], 0.5), way, corners)
    response = np.asarray(loop_function(bias, jnp.array([-1.0, 2.0, 2.5, -2.5, 0.01, 0.8, 0.9, 0.9, 0.8])))
    for number in (_loop.cycles(bias), loop_area(bias, response), loops.log_loop_area(bias, response)):
        assert np.isnan(number)
    assert float(_loop.cycles(np.tile(BIAS, 2))) == 2.0


def test_whole_numbers_are_not_counted_round():
    """Digital measurements of 8 and 16 bits, whose sums and differences do not fit into these."""
    response = np.round(14000.0 * np.asarray(loops.loop_function(BIAS, PARAMS._replace(a0=-1.2)))).astype(np.int16)
    area = float(loop_area(BIAS, response.astype(float)))
    np.testing.assert_allclose(loop_area(BIAS, response), area, rtol=1e-12)
    np.testing.assert_allclose(loops.log_loop_area(BIAS, response), np.log10(-area), rtol=1e-12)
    np.testing.assert_array_equal(loops.despike(response), loops.despike(response.astype(float)))
    for kind, scale, offset in ((np.uint16, 1000.0, 6.0), (np.int16, 5000.0, 0.0), (np.int8, 20.0, 0.0)):
        bias = np.round(scale * (np.asarray(BIAS) + offset)).astype(kind)
        plain = bias.astype(float)
        for function in (_loop.rising, _loop.cycles, _loop.sweep_step):
            np.testing.assert_array_equal(function(bias), function(plain))
        for pair in (loop_area, loops.coercive_biases, loops.remanence):
            np.testing.assert_array_equal(pair(bias, response), pair(plain, response.astype(float)))
