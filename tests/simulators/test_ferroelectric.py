import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gpax_lab.simulators import ferroelectric
from gpax_lab.spectra._loop import rising
from gpax_lab.spectra.loops import loop_area, triangle

SIZE = 2e-6
BIAS = triangle(8.0, 64)
SEEDS = range(8)
BEST_OF_SEED_0, AREA_OF_SEED_0 = (1.65e-6, 9.0e-7), 282.24474  # m, pm

draw = jax.jit(ferroelectric.film)
truth = jax.jit(lambda film: ferroelectric.loop_area_map(film, ferroelectric.grid(film, (41, 41))))


def test_the_truth_follows_from_the_seed():
    """The numbers that a campaign recomputes for its image: they may not change by accident."""
    film = draw(jax.random.key(0), SIZE)
    area = truth(film)
    best = np.asarray(ferroelectric.grid(film, (41, 41))[jnp.argmax(area)])
    np.testing.assert_allclose(best, BEST_OF_SEED_0, atol=1e-12)
    assert float(area.max()) == pytest.approx(AREA_OF_SEED_0, rel=1e-4)
    np.testing.assert_array_equal(truth(draw(jax.random.key(0), SIZE)), area)


def test_single_precision_draws_the_same_film():
    double = np.asarray(truth(draw(jax.random.key(3), SIZE)))
    with jax.enable_x64(False):
        single = np.asarray(truth(draw(jax.random.key(3), SIZE)))
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, double, rtol=2e-4)


@pytest.mark.parametrize("seed", SEEDS)
def test_one_best_region_and_a_lower_maximum(seed):
    film = draw(jax.random.key(seed), SIZE)
    area, places = np.asarray(truth(film)), np.asarray(ferroelectric.grid(film, (41, 41))) / SIZE
    first, second = np.asarray(film.centres)
    assert np.linalg.norm(places[area.argmax()] - first) < 0.1
    assert np.all((first > 0.15) & (first < 0.85))
    near = [area[np.linalg.norm(places - c, axis=1) < 0.1].max() for c in (first, second)]
    saddle = area[np.abs((places - 0.5) @ (first - second)) < 0.01 * np.linalg.norm(first - second)].max()
    assert near[0] > 1.15 * near[1]  # clearly the better
    assert near[1] > 1.1 * saddle  # and yet a maximum of its own
    assert area.max() > 2.0 * area.min()


def test_twenty_to_forty_noisy_loops_are_enough_for_a_gaussian_process():
    """Correlation length a fifth of the field: kriging with that length explains most of the map."""
    skill = []
    for seed in SEEDS:
        film = draw(jax.random.key(seed), SIZE)
        known = np.random.default_rng(seed).uniform(size=(40, 2))
        noisy = ferroelectric.noise(jax.random.key(seed), (40, 64), 0.02)
        curves = jax.vmap(ferroelectric.loop, in_axes=(None, 0, None))(film, jnp.array(known * SIZE), BIAS)
        y = np.abs(np.asarray(loop_area(BIAS, curves + noisy)))
        places, area = np.asarray(ferroelectric.grid(film, (41, 41))) / SIZE, np.asarray(truth(film))

        def cov(a, b):
            return np.exp(-0.5 * np.square(a[:, None] - b[None]).sum(-1) / 0.2**2)

        weights = np.linalg.solve(cov(known, known) + 0.02 * np.eye(40), y - y.mean())
        error = y.mean() + cov(places, known) @ weights - area
        skill.append(1 - error.var() / area.var())
    assert np.median(skill) > 0.85


def test_the_map_is_the_area_of_the_loops():
    film = draw(jax.random.key(1), SIZE)
    x = jnp.array([[3e-7, 1.2e-6], [1.9e-6, 0.0]])
    each = [abs(float(loop_area(BIAS, ferroelectric.loop(film, p, BIAS)))) for p in x]
    np.testing.assert_allclose(ferroelectric.loop_area_map(film, x), each, rtol=1e-12)
    np.testing.assert_allclose(jax.jit(ferroelectric.loop_area_map)(film, x, BIAS), each, rtol=1e-12)


def domain(film, phase):
    """The same film with one field value everywhere: cos(phase) of every wave."""
    waves = film.domains
    return film._replace(domains=ferroelectric._Waves(0.0 * waves.wave, jnp.full_like(waves.phase, phase)))


def test_walls_pinch_the_loop_and_domains_shift_it():
    film, x = draw(jax.random.key(2), SIZE), jnp.array([1e-6, 1e-6])
    up, down, wall = (domain(film, phase) for phase in (0.0, np.pi, np.pi / 2))
    p = [float(ferroelectric.polarization(f, x)) for f in (up, down, wall)]
    np.testing.assert_allclose(p, [1.0, -1.0, 0.0], atol=1e-5)
    area = [float(ferroelectric.loop_area_map(f, x[None])[0]) for f in (up, down, wall)]
    assert area[2] < 0.96 * min(area[:2])
    params = [ferroelectric.loop_params(f, x) for f in (up, down, wall)]
    imprint = [0.5 * float(q.a2 + q.a3) for q in params]
    assert imprint[0] - imprint[1] == pytest.approx(0.3, abs=1e-5)
    assert float(params[2].a2 - params[2].a3) < 0.95 * float(params[0].a2 - params[0].a3)


def test_a_sweep_below_the_coercive_bias_does_not_switch():
    film, x = draw(jax.random.key(0), SIZE), jnp.array([1e-6, 1e-6])
    small, large = triangle(0.5, 64), triangle(8.0, 64)
    assert abs(float(loop_area(small, ferroelectric.loop(film, x, small)))) < 1.0
    assert abs(float(loop_area(large, ferroelectric.loop(film, x, large)))) > 80.0


def test_the_chunk_of_a_sweep_is_the_chunk_of_the_loop():
    film, x = draw(jax.random.key(0), SIZE), jnp.array([4e-7, 1e-6])
    up = rising(BIAS)
    part = ferroelectric.loop(film, x, BIAS[5:21], up[5:21], 8.0)
    np.testing.assert_allclose(part, ferroelectric.loop(film, x, BIAS)[5:21], rtol=1e-12)


def test_noise_has_its_standard_deviation():
    draws = np.asarray(ferroelectric.noise(jax.random.key(5), (20_000,), 0.02))
    sd = 0.02 * ferroelectric._HEIGHT
    assert abs(draws.mean()) < 4 * sd / np.sqrt(draws.size)
    assert abs(draws.std() / sd - 1) < 4 / np.sqrt(2 * draws.size)


def test_drift_is_a_line_and_a_walk():
    line = np.asarray(ferroelectric.drift(jax.random.key(0), 50, 1e-9))
    np.testing.assert_allclose(np.linalg.norm(line, axis=1), 1e-9 * np.arange(50), rtol=1e-5)
    walks = jax.vmap(lambda key: ferroelectric.drift(key, 17, 0.0, 1e-9))(jax.random.split(jax.random.key(1), 2000))
    assert not np.any(walks[:, 0])
    variance = np.asarray(walks)[:, 16].var()  # 16 steps: 16e-18 on each axis; 4000 numbers
    assert abs(variance / 16e-18 - 1) < 4 * np.sqrt(2 / 4000)
