"""4D-STEM: detectors, fields, charges and strain against closed forms and the simulator's own truth."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gpax_lab.core import Status
from gpax_lab.simulators import diffraction as sim
from gpax_lab.spectra import stem4d
from gpax_lab.spectra.stem4d import _fields

KEY = jax.random.key(0)
N, CELLS, LATTICE = 48, 3, 0.4
FIELD = CELLS * LATTICE
PROBE = sim.probe(N, FIELD, 80e3, 15.0)
SPECIMEN = 0.1 * sim.perovskite(CELLS, N, LATTICE, jnp.array([0.03, 0.0]), width=0.06)
PLACES = jnp.stack(jnp.meshgrid(*[jnp.arange(0, N, 3) * FIELD / N] * 2, indexing="ij"), axis=-1).reshape(-1, 2)


@pytest.fixture(scope="module")
def patterns():
    return sim.scan(PROBE, SPECIMEN, PLACES)


def test_constants_are_those_of_the_tables():
    # Kirkland (2010), table 2.2: 4.18 pm at 80 kV and 2.51 pm at 200 kV; sigma(200 kV) = 7.288e-3 rad / (V nm).
    np.testing.assert_allclose(sim.wavelength(80e3), 4.1757e-3, rtol=1e-3)
    np.testing.assert_allclose(sim.wavelength(200e3), 2.5079e-3, rtol=1e-3)
    np.testing.assert_allclose(sim.interaction(200e3), 7.288e-3, rtol=1e-3)


def test_a_column_holds_its_strength_and_a_pattern_every_electron():
    potential = sim.atoms(jnp.array([[0.33, 0.5]]), 0.4, 0.05, N, FIELD)
    np.testing.assert_allclose(jnp.sum(potential) * (FIELD / N) ** 2, 0.4, rtol=1e-10)
    np.testing.assert_allclose(jnp.sum(sim.pattern(PROBE, SPECIMEN, PLACES[7])), 1.0, rtol=1e-10)


def test_an_empty_specimen_shows_the_aperture_in_the_middle():
    pattern = sim.pattern(PROBE, jnp.zeros((N, N)), jnp.array([0.3, 0.7]))
    found = stem4d.centre_of_mass(pattern)
    np.testing.assert_allclose(found.value, 0.0, atol=1e-9)
    disc = stem4d.annular((N, N), (N // 2, N // 2), 0.0, float(PROBE.semi_angle / PROBE.angle) + 1.0)
    np.testing.assert_allclose(stem4d.virtual_detector(pattern, disc)[0], 1.0, rtol=1e-9)


def test_the_centre_of_mass_is_the_field_that_the_probe_sees(patterns):
    """Ehrenfest's theorem holds exactly for a phase object: an oracle with no approximation in it."""
    moved = stem4d.centre_of_mass(patterns).value
    got = stem4d.projected_field(moved, PROBE.angle, sim.wavelength(80e3), sim.interaction(80e3))
    side = N // 3
    expected = jnp.moveaxis(sim.seen_field(PROBE, SPECIMEN)[:, ::3, ::3], 0, -1)
    scale = float(jnp.std(expected))
    # What scatters beyond the edge of the pattern comes in on the other side: 1e-3 of the field here.
    np.testing.assert_allclose(got.reshape(side, side, 2), expected, atol=3e-3 * scale)


def test_the_field_seen_is_the_gradient_where_the_probe_is_a_point():
    point = PROBE._replace(wave=jnp.zeros((N, N), complex).at[0, 0].set(1.0))
    slope = sim.seen_field(point, SPECIMEN)
    # Central differences of a smooth potential: an independent derivative, good to (k h)^2 / 6.
    rows = -(jnp.roll(SPECIMEN, -1, 0) - jnp.roll(SPECIMEN, 1, 0)) / (2 * FIELD / N)
    assert float(jnp.std(slope[0] - rows)) < 0.1 * float(jnp.std(rows))
    assert float(jnp.corrcoef(slope[0].ravel(), rows.ravel())[0, 1]) > 0.995


def wave_potential(n=32, step=0.1):
    axis = 2 * np.pi * np.arange(n) / n
    r, c = np.meshgrid(axis, axis, indexing="ij")
    k = 2 * np.pi / (n * step)
    v = np.sin(r) * np.cos(2 * c) + 0.3 * np.cos(3 * r)
    field = -np.stack([k * (np.cos(r) * np.cos(2 * c) - 0.9 * np.sin(3 * r)), -2 * k * np.sin(r) * np.sin(2 * c)], -1)
    laplace = -(k**2) * (5 * np.sin(r) * np.cos(2 * c) + 2.7 * np.cos(3 * r))
    return v, field, laplace, (step, step)


def test_potential_and_charge_of_waves_are_exact():
    v, field, laplace, step = wave_potential()
    np.testing.assert_allclose(stem4d.potential(field, step, periodic=True), v - v.mean(), atol=1e-10)
    expected = -_fields.VACUUM_PERMITTIVITY * laplace
    np.testing.assert_allclose(stem4d.charge(field, step, periodic=True), expected, atol=1e-10 * np.abs(laplace).max())


def test_a_scan_that_does_not_close_is_continued_by_its_mirror():
    step = (0.05, 0.08)
    r, c = np.meshgrid(np.arange(40) * step[0], np.arange(30) * step[1], indexing="ij")
    v = np.exp(-((r - 0.9) ** 2 + (c - 1.0) ** 2) / 0.3) + 0.2 * r
    field = np.stack([2 * (r - 0.9) / 0.3 * (v - 0.2 * r) - 0.2, 2 * (c - 1.0) / 0.3 * (v - 0.2 * r)], -1)
    got = stem4d.potential(field, step)
    assert np.std(np.asarray(got) - (v - v.mean())) < 0.03 * np.std(v)
    charge = np.asarray(stem4d.charge(field, step))[5:-5, 5:-5]
    bump = v - 0.2 * r
    truth = -_fields.VACUUM_PERMITTIVITY * bump * (4 * ((r - 0.9) ** 2 + (c - 1.0) ** 2) / 0.09 - 4 / 0.3)
    assert np.std(charge - truth[5:-5, 5:-5]) < 0.05 * np.std(truth)


def test_a_rotated_detector_and_a_tilted_scan_are_put_right():
    _, field, _, _ = wave_potential()
    seen = stem4d.rotate_vectors(jnp.asarray(field), 0.4)
    found = stem4d.align_detector(seen)
    np.testing.assert_allclose(found.angle, -0.4, atol=0.01)
    assert float(jnp.std(found.field - field)) < 0.02 * np.std(field)
    r, c = np.meshgrid(np.linspace(-1, 1, 32), np.linspace(-1, 1, 32), indexing="ij")
    plane = np.stack([0.5 + 2 * r, -1 + 3 * c], -1)
    np.testing.assert_allclose(stem4d.without_descan(jnp.asarray(plane)), 0.0, atol=1e-9)


def test_centre_of_mass_of_counts_scatters_as_it_says(patterns):
    expected = jnp.broadcast_to(patterns[5] * 500.0, (600, N, N))
    counts = jax.random.poisson(KEY, expected).astype(float)
    found = stem4d.centre_of_mass(counts)
    truth = stem4d.centre_of_mass(patterns[5]).value
    z = np.asarray((found.value - truth[None]) / jnp.sqrt(found.variance))
    # 1200 standardised errors: mean within 4 / sqrt(600), variance within 4 sqrt(2 / 1200) of one, and 1 / 500 of bias.
    assert np.abs(z.mean(axis=0)).max() < 4 / np.sqrt(600)
    assert abs(z.var() - 1) < 4 * np.sqrt(2 / 1200) + 0.01
    size, variance = stem4d.deflection(counts)
    assert np.all(np.asarray(variance) > 0)
    np.testing.assert_allclose(size, np.linalg.norm(np.asarray(found.value), axis=-1))


def test_segments_add_up_to_the_ring_and_bad_patterns_are_nan():
    shape, middle = (20, 24), (9.5, 12.2)
    parts = sum(np.asarray(stem4d.segment(shape, middle, 2, 8, k)) for k in range(4))
    np.testing.assert_allclose(parts, stem4d.annular(shape, middle, 2, 8), atol=1e-12)
    bad = np.stack([np.zeros((8, 8)), np.full((8, 8), np.nan)])
    assert np.isnan(np.asarray(stem4d.centre_of_mass(bad).value)).all()
    assert np.isnan(np.asarray(stem4d.deflection(bad)[0])).all()
    with pytest.raises(ValueError, match="mask"):
        stem4d.virtual_detector(np.zeros((3, 8, 8)), np.zeros((8, 9)))


def test_integer_counts_do_not_wrap_around_and_dead_pixels_do_not_spread():
    for dtype in (np.uint8, np.uint16, np.int32):
        value, variance = stem4d.virtual_detector(np.full((64, 64), 100, dtype), np.ones((64, 64), bool))
        assert (float(value), float(variance)) == (409600.0, 409600.0)
    pattern, mask = np.ones((8, 8)), np.ones((8, 8))
    pattern[2, 3], mask[2, 3] = np.nan, 0.0
    assert stem4d.virtual_detector(pattern, mask)[0] == 63
    assert np.isfinite(stem4d.centre_of_mass(pattern, mask=mask).value).all()


def test_weights_of_pixels_enter_the_variance_squared():
    counts = jax.random.poisson(KEY, 20.0, (2000, 8, 8)).astype(float)
    plain, quarter = stem4d.centre_of_mass(counts), stem4d.centre_of_mass(counts, mask=np.full((8, 8), 0.25))
    np.testing.assert_allclose(quarter.value, plain.value, atol=1e-12)
    np.testing.assert_allclose(quarter.variance, plain.variance, rtol=1e-9)
    uneven = stem4d.centre_of_mass(counts, mask=np.linspace(0.1, 1.0, 64).reshape(8, 8))
    ratio = np.asarray(uneven.value).var(axis=0) / np.asarray(uneven.variance).mean(axis=0)
    assert np.abs(ratio - 1).max() < 4 * np.sqrt(2 / 2000) + 0.01


def test_noise_of_the_charge_is_what_its_variance_says():
    rng = np.random.default_rng(0)
    spread = 0.5 + rng.random((24, 20, 2))
    step, draws = (0.1, 0.13), 400
    for periodic in (True, False):
        noise = jnp.asarray(spread * rng.normal(size=(draws, *spread.shape)))
        got = jax.vmap(lambda e, p=periodic: stem4d.charge(e, step, p, 0.1))(noise)
        said = np.asarray(stem4d.charge_variance(spread**2, step, periodic, 0.1))
        inner = np.asarray(got).var(axis=0)[5:-5, 5:-5] / said[5:-5, 5:-5]
        # 140 pixels, 400 draws each, neighbours correlated: well below 3 percent.
        assert abs(inner.mean() - 1) < 0.04
    alternating = np.zeros((24, 20, 2))
    alternating[..., 0] = (-1.0) ** np.arange(24)[:, None] * np.sin(2 * np.pi * np.arange(20) / 20)
    assert np.abs(stem4d.charge(alternating, (0.05, 0.05), False, 0.3)).max() < 1e-6 / 0.05


def test_charge_of_a_noisy_lattice_is_recovered_to_its_stated_error(patterns):
    """Dose 1e4 a pattern: counts, centre of mass, field, charge, each with the error that it states."""
    clean = patterns.reshape(-1, N, N)[:64]
    exact = stem4d.centre_of_mass(clean).value.reshape(8, 8, 2)
    step = (0.05, 0.05)

    def seen(key):
        found = stem4d.centre_of_mass(jax.random.poisson(key, clean * 1e4).astype(float))
        return stem4d.charge(found.value.reshape(8, 8, 2), step, True, 0.05), found.variance.reshape(8, 8, 2)

    charge, variance = jax.lax.map(seen, jax.random.split(KEY, 60))
    said = np.sqrt(np.asarray(stem4d.charge_variance(jnp.mean(variance, axis=0), step, True, 0.05)))
    z = (np.asarray(charge) - np.asarray(stem4d.charge(exact, step, True, 0.05))) / said
    # 3840 numbers of which a smoothed neighbourhood of about four is one: 960, 0.023 of a standard deviation.
    assert abs(z.std() - 1) < 0.1


def test_the_detector_is_aligned_where_steps_differ_and_noise_has_no_angle():
    n, m, steps = 32, 96, (0.09, 0.03)
    r, c = np.meshgrid(np.arange(n) * steps[0], np.arange(m) * steps[1], indexing="ij")
    field = np.stack([np.cos(2 * r) * np.cos(3 * c), -1.5 * np.sin(2 * r) * np.sin(3 * c)], -1)
    found = stem4d.align_detector(stem4d.rotate_vectors(jnp.asarray(field), 0.3), steps)
    assert abs(float(found.angle) + 0.3) < 0.02
    assert found.residual_curl < 0.01
    assert stem4d.align_detector(jnp.asarray(np.random.default_rng(1).normal(size=(32, 32, 2)))).residual_curl > 0.5


@pytest.mark.parametrize("defocus", [20.0, -15.0])
def test_an_underfocused_probe_comes_to_its_focus_behind(defocus):
    focused, other = (sim.probe(128, 4.0, 80e3, 20.0, d) for d in (0.0, defocus))
    k = np.fft.fftfreq(128, 4.0 / 128)
    square = k[:, None] ** 2 + k[None, :] ** 2
    travelled = np.fft.ifft2(np.fft.fft2(other.wave) * np.exp(-1j * np.pi * sim.wavelength(80e3) * square * defocus))
    np.testing.assert_allclose(np.abs(travelled), np.abs(focused.wave), atol=1e-9)


class TestStrain:
    """Noisy discs of a lattice with a known deformation."""

    indices = np.array([[h, k] for h in (-1, 0, 1) for k in (-1, 0, 1)])
    base = np.array([[18.0, 2.0], [-1.0, 17.0]])
    tensor = np.array([[0.02, 0.007], [0.007, -0.015]])
    rotation = 0.01

    def deformed(self):
        f = np.eye(2) + self.tensor + self.rotation * np.array([[0.0, -1.0], [1.0, 0.0]])
        return self.base @ np.linalg.inv(f)

    def patterns(self, vectors, count, dose=6e3):
        centres = jnp.asarray(32.0 + self.indices @ vectors)
        draw = jax.jit(lambda key: sim.discs(64, centres, 5.0, jnp.ones(9), dose, key))
        return jax.lax.map(draw, jax.random.split(KEY, count))

    def test_it_is_recovered_within_its_stated_error(self):
        expected = jnp.asarray(32.0 + self.indices @ self.base)
        found = stem4d.find_discs(self.patterns(self.deformed(), 200), expected, 7.5)
        lattice = stem4d.fit_lattice(found, self.indices)
        assert np.all(np.asarray(lattice.status) == Status.OK)
        result = stem4d.strain(lattice, self.base)
        got = np.stack([result.tensor[:, 0, 0], result.tensor[:, 1, 1], result.tensor[:, 0, 1], result.rotation], -1)
        truth = np.array([0.02, -0.015, 0.007, 0.01])
        z = (got - truth) / np.asarray(result.std)
        # 200 draws: the mean within 4 standard errors, plus the bias of discs drawn with pixels: 0.01 px, a quarter of
        # an error at this dose; the spread within 25 % (5 standard errors of a standard deviation).
        assert np.abs(z.mean(axis=0)).max() < 4 / np.sqrt(200) + 0.25
        assert np.all(np.abs(z.std(axis=0) - 1) < 0.25), z.std(axis=0)

    @pytest.mark.slow
    def test_too_few_discs_and_wrong_indices_are_flagged(self):
        expected = jnp.asarray(32.0 + self.indices @ self.base)
        found = stem4d.find_discs(self.patterns(self.base, 2), expected, 7.5)
        lost = found._replace(variance=found.variance.at[0, 2:].set(jnp.inf))
        codes = stem4d.fit_lattice(lost, self.indices).status
        assert codes.tolist() == [Status.FEW_DISCS, Status.OK]
        swapped = self.indices[[1, 0, *range(2, 9)]]
        wrong = stem4d.fit_lattice(found, swapped)
        assert wrong.status.tolist() == [Status.POOR_FIT] * 2
        assert np.isnan(stem4d.strain(wrong, self.base).tensor).all()
        three = stem4d.Discs(*(leaf[:, [0, 1, 3]] for leaf in found))
        assert stem4d.fit_lattice(three, self.indices[[0, 1, 3]]).status.tolist() == [Status.UNCHECKED] * 2

    def test_one_count_in_a_window_is_one_uncertain_disc(self):
        centres = 32.0 + self.indices @ self.base
        dim = self.patterns(self.base, 1)[0]
        rows, columns = np.mgrid[:64, :64]
        near = np.hypot(rows - centres[0, 0], columns - centres[0, 1]) < 9.6
        dim = jnp.where(near, 0.0, dim).at[int(centres[0, 0]), int(centres[0, 1])].set(1.0)
        found = stem4d.find_discs(dim, centres, 7.5)
        lattice = stem4d.fit_lattice(found, self.indices)
        assert lattice.status == Status.OK
        assert np.isfinite(lattice.vectors).all()

    def test_a_sparse_background_is_taken_off_and_counted_in_the_error(self):
        rng = np.random.default_rng(0)
        rows, columns = np.mgrid[:32, :32]
        disc = np.clip(5.5 - np.hypot(rows - 16, columns - 16), 0, 1)
        images = rng.poisson(200 * disc / disc.sum() + 0.45, (500, 32, 32))
        found = stem4d.find_discs(images, np.array([[16.0, 16.0]]), 8.0)
        assert abs(np.mean(found.counts) - 200) < 6
        z = (np.asarray(found.centre)[:, 0] - 16) / np.sqrt(np.asarray(found.variance)[:, 0])
        # 1000 numbers: 0.022.
        assert abs(z.std() - 1) < 0.1
