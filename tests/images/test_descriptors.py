import numpy as np
import pytest

from gpax_lab import images as d


@pytest.mark.parametrize("n", [40, 200])
def test_components_are_those_of_the_singular_value_decomposition(n):
    stack = np.random.default_rng(0).normal(size=(n, 8, 8)) * np.linspace(3, 0.5, 64).reshape(8, 8)
    found = d.principal(stack, 4)
    flat = stack.reshape(n, -1) - stack.reshape(n, -1).mean(0)
    _, s, v = np.linalg.svd(flat, full_matrices=False)
    assert np.allclose(found.variance, s[:4] ** 2 / (n - 1))
    assert np.allclose(np.abs(np.sum(np.asarray(found.components) * v[:4], axis=1)), 1)
    assert np.isclose(found.total, flat.var(0, ddof=1).sum())
    assert np.allclose(np.cov(np.asarray(d.scores(found, stack, whiten=True)).T), np.eye(4), atol=1e-9)


def test_patches_of_low_rank_are_restored():
    rng = np.random.default_rng(1)
    stack = np.tensordot(rng.normal(size=(30, 3)), rng.normal(size=(3, 6, 6)), 1) + 5
    found = d.principal(stack, 3)
    assert np.allclose(d.restored(found, d.scores(found, stack)), stack)


def test_fourier_magnitudes_peak_at_the_period_and_ignore_position_and_rotation():
    r, c = np.mgrid[:32, :32]
    stack = np.stack([np.cos(2 * np.pi * r / 8), np.cos(2 * np.pi * (r + 3) / 8), np.cos(2 * np.pi * c / 8)])
    whole = np.asarray(d.fourier_magnitude(stack, window=False))
    assert np.allclose(whole[0], whole[1], atol=1e-9)
    assert set(map(tuple, np.argwhere(whole[0] > 100))) == {(12, 16), (20, 16)}
    rings = np.asarray(d.fourier_magnitude(stack, window=False, radial=True))
    assert rings.shape == (3, 16)
    assert (rings.argmax(1) == 4).all()
    assert np.allclose(rings[0], rings[2])


def test_factors_find_two_textures():
    pytest.importorskip("sklearn")
    rng = np.random.default_rng(2)
    ends, mixing = np.eye(2)[:, np.arange(20) % 2] + 0.01, rng.uniform(size=(50, 2))
    weights, parts = d.factors((mixing @ ends).reshape(50, 4, 5), 2)
    assert weights.shape == (50, 2)
    assert parts.shape == (2, 4, 5)
    assert np.abs(np.tensordot(weights, parts, 1).reshape(50, -1) - mixing @ ends).max() < 0.02


def test_windows_lie_inside_and_bad_input_is_refused():
    places = np.asarray(d.windows((20, 30), 8, 4))
    assert places.shape == (4, 6, 2)
    assert places[0, 0].tolist() == [3.5, 3.5]
    assert places[-1, -1].tolist() == [15.5, 23.5]
    for call in (lambda: d.principal(np.ones((5, 4)), 5), lambda: d.factors(-np.ones((5, 4)), 2)):
        with pytest.raises(ValueError, match=r"got|holds|more|overlap|not negative|determine|is one of"):
            call()
