from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gpax_lab.core import Status
from gpax_lab.spectra import edx

REAL = Path(__file__).resolve().parents[2] / "../shared/data/spectral_maps/edx_88_ES-LP_G8_selection2_cropped2.hspy"
ENERGY = 0.9 + 0.02 * np.arange(300)
NAMES = {"Mg": 1.254, "Al": 1.487, "Si": 1.740, "Ca": 3.691}


def test_components_have_unit_area_and_the_width_of_the_detector():
    s = np.asarray(edx.shapes(ENERGY, NAMES, 0.13))
    assert np.allclose(s.sum(1), 1)
    assert (s >= 0).all()
    centre = s @ ENERGY
    assert np.allclose(centre[:4], list(NAMES.values()), atol=2e-3)
    spread = np.sqrt(s[3] @ (ENERGY - centre[3]) ** 2 - 0.02**2 / 12)
    assert np.isclose(spread * np.sqrt(8 * np.log(2)), edx.line_width(3.691), rtol=0.01)
    assert np.isclose(edx.line_width(edx._MN_K, 0.13), 0.13)


def test_intensities_are_unbiased_and_covered():
    s = np.asarray(edx.shapes(ENERGY, NAMES))
    truth = np.array([40.0, 25.0, 60.0, 30.0, 40.0, 30.0, 20.0, 10.0])
    repeats = 400
    y = np.random.default_rng(0).poisson(truth @ s, (repeats, ENERGY.size))
    found = edx.fit_lines(y, s)
    lines = np.asarray(found.counts)[:, :4]
    variance = np.diagonal(np.asarray(found.covariance), axis1=1, axis2=2)[:, :4]
    assert np.allclose(np.asarray(found.counts).sum(1), y.sum(1), rtol=1e-9)
    error = lines - truth[:4]
    # Background terms held at 0 push their counts into lines: allowed is a tenth of a deviation over Monte Carlo error.
    assert (np.abs(error.mean(0)) < (4 / np.sqrt(repeats) + 0.1) * error.std(0)).all()
    assert (error.var(0) < 1.3 * variance.mean(0)).all()
    assert (error.var(0) > 0.6 * variance.mean(0)).all()


def test_em_reaches_the_maximum_that_scipy_finds():
    optimize = pytest.importorskip("scipy.optimize")
    s = np.asarray(edx.shapes(ENERGY, NAMES, terms=2))
    y = np.random.default_rng(1).poisson(np.array([200.0, 100, 300, 150, 200, 200]) @ s)

    def loss(a):
        m = a @ s
        return (m - y * np.log(m)).sum(), s.sum(1) - s @ (y / m)

    best = optimize.minimize(loss, np.full(6, y.sum() / 6), jac=True, bounds=[(1e-6, None)] * 6)
    assert np.allclose(edx.fit_lines(y, s, num_steps=2000).counts, best.x, atol=0.3)


def test_statuses_and_the_scalarizer():
    s = edx.shapes(ENERGY, NAMES)
    y = np.zeros((3, 300))
    y[0] = 100 * np.asarray(s[0] + s[4])
    y[2, 5] = -1
    assert edx.fit_lines(y, s).status.tolist() == [Status.OK, Status.NO_COUNTS, Status.BAD_INPUT]
    scalar = edx.line_scalarizer(s, 0)
    value, variance, _ = jax.vmap(lambda counts: scalar.function(ENERGY, counts))(jnp.asarray(y))
    assert np.isclose(value[0], 100, rtol=0.05)
    assert variance[0] > 90
    assert np.isnan(value[1:]).all()
    assert np.isnan(variance[1:]).all()


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="off the axis"):
        edx.shapes(ENERGY, {"U": 13.6})
    with pytest.raises(ValueError, match="components"):
        edx.fit_lines(np.ones(5), np.ones((2, 6)))


def test_k_beta_is_not_taken_for_the_next_element_and_a_missing_one_is_flagged():
    rng, energy = np.random.default_rng(20), 0.9 + 0.02 * np.arange(400)
    there = edx.shapes(energy, {k: edx.LINES[k] for k in ("K K", "Mn K")}, terms=0)
    y = rng.poisson(1e4 * np.asarray(there.sum(0)) + 2.0, (40, energy.size))
    asked = {k: edx.LINES[k] for k in ("K K", "Ca K", "Mn K", "Fe K")}
    found = edx.fit_lines(y, edx.shapes(energy, asked))
    assert (np.asarray(found.status) == Status.OK).all()
    absent = np.asarray(found.counts)[:, [1, 3]]
    assert absent.mean() < 60  # with K-alpha alone: 378 and 917
    missing = edx.fit_lines(y, edx.shapes(energy, {"K K": edx.LINES["K K"]}))
    assert (np.asarray(missing.status) == Status.POOR_FIT).all()


@pytest.mark.skipif(not REAL.exists(), reason="the mineral map ../shared/data/spectral_maps is not here")
def test_maps_of_the_minerals_agree_with_counts_in_windows():
    h5py = pytest.importorskip("h5py")
    with h5py.File(REAL) as file:
        group = file["Experiments/EDX"]
        data = group["data"][()].astype(np.float32).reshape(20, 4, 20, 4, -1).sum((1, 3))
        scale = group["axis-2"].attrs
        energy = scale["offset"] + scale["scale"] * np.arange(data.shape[2])
    names = {k: edx.LINES[f"{k} K"] for k in ("Mg", "Al", "Si", "Ca", "Fe", "Cu")}
    inside = energy < 9.5
    found = edx.fit_lines(data[..., inside], edx.shapes(energy[inside], names))
    assert np.isin(found.status, (Status.OK, Status.POOR_FIT)).all()  # there is more in a mineral than six elements
    for k, name in enumerate(("Mg", "Al", "Si", "Ca", "Fe")):
        alpha = names[name][0][0] if isinstance(names[name], tuple) else names[name]
        half = float(edx.line_width(alpha))
        window = data[..., np.abs(energy - alpha) < half].sum(-1)
        counts = np.asarray(found.counts)[..., k]
        assert np.corrcoef(window.ravel(), counts.ravel())[0, 1] > 0.7, name
        assert 0.3 < counts.sum() / window.sum() < 1.2, name
