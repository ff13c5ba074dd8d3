"""Glyphs against a drawing by other means: dense points along the strokes, turned and shifted forwards."""

from itertools import pairwise

import jax
import numpy as np
import pytest

from gpax_lab.simulators._glyphs import STROKES, glyphs

KEY = jax.random.key(11)


def points_of(kind, many=4000):
    """Dense points (n, 2) along all strokes of a glyph."""
    share = np.linspace(0, 1, many)[:, None]
    lines = [np.asarray(line) for line in STROKES[kind]]
    return np.concatenate([a + share * (b - a) for line in lines for a, b in pairwise(line)])


def drawn(kind, shape, angle, shift, scale, thickness):
    """The image, from the object seen at u = scale R(angle) v + shift, and distances in its own units."""
    h, w = shape
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    seen = scale * points_of(kind) @ turn.T + shift
    rows, columns = np.mgrid[:h, :w]
    u = np.stack([2 * rows - (h - 1), 2 * columns - (w - 1)], -1).reshape(-1, 2) / (max(h, w) - 1)
    distance = np.array([np.hypot(*(seen - one).T).min() for one in u]) / scale
    return (1 / (1 + np.exp(-(thickness - distance) / 0.025))).reshape(shape)


@pytest.mark.parametrize("shape", [(13, 13), (10, 15)])
def test_every_glyph_is_the_one_drawn_from_its_points(shape):
    found = glyphs(KEY, 30, shape, tuple(STROKES), scale=0.1, thickness=0.12)
    truth = [np.asarray(part) for part in found]
    assert len(set(truth[1].tolist())) >= 8
    names = list(STROKES)
    for image, kind, angle, shift, scale in zip(*truth, strict=True):
        np.testing.assert_allclose(image, drawn(names[kind], shape, angle, shift, scale, 0.12), atol=2e-3)


def test_a_rotation_by_pi_over_2_takes_what_lies_below_to_the_right():
    still, turned = (
        np.asarray(glyphs(KEY, 1, 15, ("L",), (a - 1e-9, a + 1e-9), 0.0).images[0]) for a in (0.0, np.pi / 2)
    )
    np.testing.assert_allclose(turned, np.rot90(still), atol=1e-6)
    assert still[12].sum() > 2 * still[2].sum(), "the foot of an L is below"
    assert turned[:, 12].sum() > 2 * turned[:, 2].sum()


def test_causes_have_the_distributions_that_were_asked_for():
    n = 3000
    found = glyphs(KEY, n, 4, ("F", "L", "4"), (-0.5, 1.0), 0.2, 0.1)
    share = np.bincount(found.classes, minlength=3) / n
    np.testing.assert_allclose(share, 1 / 3, atol=4 * np.sqrt(2 / 9 / n))
    assert -0.5 <= float(found.angle.min()) < -0.49
    assert 0.99 < float(found.angle.max()) <= 1.0
    np.testing.assert_allclose(found.angle.mean(), 0.25, atol=4 * 1.5 / np.sqrt(12 * n))
    # A normal cut at 2.5 of its widths keeps 0.9546 of its standard deviation; four standard errors.
    np.testing.assert_allclose(found.shift.std(axis=0), 0.2 * 0.9546, rtol=4 / np.sqrt(2 * n))
    np.testing.assert_allclose(np.log(found.scale).std(), 0.1 * 0.9546, rtol=4 / np.sqrt(2 * n))
    assert float(abs(found.shift).max()) <= 0.5


def test_noise_is_as_large_as_it_says_and_leaves_the_causes():
    clean, noisy = glyphs(KEY, 20, 24, noise=0.0), glyphs(KEY, 20, 24, noise=0.05)
    np.testing.assert_array_equal(clean.angle, noisy.angle)
    # Where nothing is cut off: well between 0 and 1.
    between = (np.asarray(clean.images) > 0.3) & (np.asarray(clean.images) < 0.7)
    away = np.asarray(noisy.images - clean.images)[between]
    np.testing.assert_allclose(away.std(), 0.05, rtol=4 / np.sqrt(2 * away.size))


def test_the_default_letters_differ_in_every_rotation_and_none_repeats():
    turns = np.linspace(0, 2 * np.pi, 36, endpoint=False)
    drawings = {
        k: np.array([drawn(k, (16, 16), a, 0.0, 1.0, 0.09).ravel() for a in turns]) for k in ("F", "L", "4", "Y")
    }
    unit = {k: v / np.linalg.norm(v, axis=1, keepdims=True) for k, v in drawings.items()}
    for one, first in unit.items():
        for other, second in unit.items():
            alike = second @ first[0]
            if one != other:
                assert alike.max() < 0.7, (one, other)
            else:
                assert alike[3:-2].max() < 0.8, f"{one} nearly repeats when turned by 30 degrees or more"
