import numpy as np

from gpax_lab.core import Status
from gpax_lab.spectra import _fit as fitting
from gpax_lab.spectra.peaks import fit_peak, gaussian

X = np.linspace(0.0, 10.0, 100)


def at(centre, height):
    return np.asarray(gaussian(X, np.array([height, centre, 1.0, 0.0, 0.0])))


def test_two_peaks_are_no_good_fit_of_one():
    """At 0.03 noise: equal peaks 1.5 and 3 apart, and a smaller one 2 apart; and of 300 single peaks 297 are good."""
    noise = 0.03 * np.random.default_rng(0).normal(size=(4, 300, 100))
    one = at(5.0, 1.0)
    for other, rows in zip((at(6.5, 1.0), at(8.0, 1.0), at(7.0, 0.4)), noise[1:], strict=True):
        found = fit_peak(X, one + other + rows, (0.0, 10.0))
        for codes in (found.status, fitting.judged(found).status):
            assert np.mean(np.asarray(codes) == Status.OK) < 0.01
    found = fit_peak(X, one + noise[0], (0.0, 10.0))
    assert np.mean(np.asarray(found.status) == Status.OK) >= 0.99
    away = (np.asarray(found.params)[:, :3] - [1.0, 5.0, 1.0]) / np.asarray(found.std)[:, :3]
    # The spread of 300 normal numbers is known to 1/sqrt(600) of itself.
    assert np.all(np.abs(np.std(away, axis=0) - 1.0) < 4.0 / np.sqrt(600))
