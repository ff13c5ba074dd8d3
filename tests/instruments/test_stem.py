"""The STEM driver against its twin: dose, blanking, tokens, damage, and a sample that drifts."""

import time
from pathlib import Path

import jax
import numpy as np
import pytest
from gpax_instruments.drivers import STEM
from gpax_instruments.errors import DeviceError, DoseSpent, LinkLost, PulseLost, UnknownOutcome
from gpax_instruments.twins import start_stem

from gpax_lab.core import Axis, MoveRefused
from gpax_lab.experiment._tracked import Tracked
from gpax_lab.simulators import stem_sample

AXES = [Axis(n, "m", 0.0, 1e-7, tolerance=1e-10, settle_s=0.0) for n in ("x", "y")]
PLACE = np.array([4e-8, 6e-8])
EELS_E, DIFF_E, SCAN_E = 5e6, 1e6, 1e6  # electrons of a shot and of an image: 1e8 a second


@pytest.fixture(scope="module")
def twin(tmp_path_factory):
    log = tmp_path_factory.mktemp("stem") / "wire.log"
    with start_stem(seed=1, wire_log=log) as running:
        running.log = log
        yield running


def connected(twin, **options):
    return STEM(twin.address, AXES, **options)


def test_a_spectrum_has_its_axis_its_units_and_the_dose_its_position_had(twin):
    with connected(twin) as scope:
        before, started = scope.dose(), time.monotonic()
        first, second = scope.measure(PLACE, "a-1"), scope.measure(PLACE, "a-2")
        after, seconds = scope.dose(), time.monotonic() - started
    assert first.ok
    assert first.arrays["energy"].shape == first.arrays["counts"].shape == (240,)
    assert first.units == {"energy": "eV", "counts": "1", "dose": "1/nm^2"}
    assert second.arrays["dose"] > first.arrays["dose"]
    # Two exposures, and the moments in which the beam was on before and after them.
    assert 2 * EELS_E <= after - before < 2 * EELS_E + 1e8 * seconds


def test_the_beam_is_blanked_between_shots_and_moves_are_made_in_the_dark(twin):
    start = twin.log.stat().st_size
    with connected(twin, park=[1e-9, 1e-9]) as scope:
        scope.measure(PLACE, "b-1")
        scope.measure(PLACE[::-1], "b-2")
        assert scope.scpi.query("BEAM?").strip() == "BLANKED"
        np.testing.assert_allclose(scope.locate().readback, 1e-9, atol=1e-10)
    words = Path(twin.log).read_bytes()[start:].decode(errors="replace").splitlines()
    lit = False
    for line in words:
        assert not (lit and "MOVE" in line), line
        lit = True if "BEAM:UNBL" in line else False if "BEAM:BLAN" in line or "SAFE" in line else lit
    assert sum("BEAM:UNBL" in line for line in words) == 2


def test_a_token_is_exposed_once_even_over_a_new_connection(twin):
    with connected(twin, park=[1e-9, 1e-9]) as scope:
        first = scope.measure(PLACE, "c-1")
    with connected(twin) as scope:
        before = scope.dose()
        again = scope.measure(PLACE, "c-1")
        assert scope.dose() == before
        np.testing.assert_allclose(again.position, PLACE, atol=1e-10)  # and not where the beam is parked
        np.testing.assert_array_equal(again.arrays["counts"], first.arrays["counts"])
        scope.measure(PLACE, "c-2")
        with pytest.raises(PulseLost, match="c-1"):  # used, and no longer the last one
            scope.measure(PLACE, "c-1")


def test_the_budget_is_kept_and_nothing_is_exposed_beyond_it(twin):
    with connected(twin) as scope:
        had = scope.dose()
    with connected(twin, dose_budget=had + 1.5 * EELS_E) as scope:
        assert scope.shots_left() == 1
        scope.measure(PLACE, "d-1")
        spent = scope.dose()
        with pytest.raises(DoseSpent, match="nothing was exposed"):
            scope.measure(PLACE, "d-2")
        with pytest.raises(MoveRefused):
            scope.measure([2e-7, 0.0], "d-3")
        assert scope.dose() == spent
    with connected(twin, dose_budget=spent + 0.5 * SCAN_E) as scope, pytest.raises(DoseSpent):
        scope.image()


def test_bad_numbers_are_a_measurement_that_says_so_and_the_beam_is_blanked(twin):
    with connected(twin) as scope:
        scope.scpi.write("FAULT NAN")
        measurement = scope.measure(PLACE, "e-1")
        assert not measurement.ok
        assert "nan" in measurement.flags
        scope.scpi.write("FAULT MOVE")
        with pytest.raises(MoveRefused):
            scope.measure(PLACE[::-1], "e-2")
        assert scope.scpi.query("BEAM?").strip() == "BLANKED"
    with pytest.raises(ValueError, match="mode"):
        connected(twin, mode="xray")
    with pytest.raises(ValueError, match="electrons"):
        connected(twin, dose_budget=-1.0)


def test_a_pattern_holds_the_electrons_it_was_given(twin):
    with connected(twin, mode="diffraction") as scope:
        measurement = scope.measure(PLACE, "f-1")
    pattern = measurement.arrays["pattern"]
    assert pattern.shape == (32, 32)
    # A thousandth of the electrons is counted, Poisson: within 4 standard deviations.
    assert abs(pattern.sum() - 1e-3 * DIFF_E) < 4 * np.sqrt(1e-3 * DIFF_E)


def jump(counts, energy):
    """Step of counts (..., n) at the edge of oxygen, and the Poisson error of it."""
    above, below = counts[..., (energy > 534) & (energy < 544)], counts[..., (energy > 515) & (energy < 530)]
    error = np.sqrt(above.mean(axis=-1) / above.shape[-1] + below.mean(axis=-1) / below.shape[-1])
    return above.mean(axis=-1) - below.mean(axis=-1), error


def test_the_dose_takes_the_oxygen_away():
    """As much as the model says at the dose that each shot tells: how long the beam was on is the clock's business."""
    places = []
    with start_stem(seed=1) as fresh, STEM(fresh.address, AXES) as scope:
        image = scope.image().arrays["haadf"]
        for _ in range(8):  # thick places, 9 standard deviations of the spot from each other
            thick = np.array(np.unravel_index(np.argmax(image), image.shape))
            rows, columns = (slice(max(0, k - 9), k + 10) for k in thick)
            image[rows, columns] = -1.0
            places.append((thick + 0.5) * scope.pixel_m)
        shots = []
        for k, place in enumerate(places):
            scope.set(place)
            scope.scpi.query(f'BEAM:UNBL;MEAS:EELS "fresh-{k}";BEAM:BLAN;BEAM?')  # no time for idle dose
            scope.connect()  # the shot was none of the driver's
            shots += [scope.measure(place, f"{word}-{k}").arrays for word in ("fresh", "spent")]
    counts, dose, energy = (np.stack([s[name] for s in shots]) for name in ("counts", "dose", "energy"))
    sample = stem_sample.specimen(jax.random.key(1))
    model = [stem_sample.eels(sample, p / 1e-7, d) for p, d in zip(np.repeat(places, 2, axis=0), dose, strict=True)]
    expected, error = jump(1e-4 * EELS_E * np.stack(model), energy[0])
    found, _ = jump(counts, energy[0])
    assert np.all(np.abs(found - expected) < 5 * error)  # one of sixteen lies beyond in 1 of 100,000 runs
    assert np.sum(((found - expected) / error) ** 2) < 16 + 5 * np.sqrt(2 * 16)
    assert np.all(dose[1::2] > dose[::2])
    lost, error = found[::2] - found[1::2], np.hypot(error[::2], error[1::2])
    assert np.mean(lost) > 5 * np.sqrt(np.mean(error**2) / 8)


def test_an_old_image_is_not_taken_for_a_new_one(twin, monkeypatch):
    with connected(twin) as scope:
        scope.image()
        monkeypatch.setattr(scope, "_command", lambda *_: None)  # the link broke before the command arrived
        with pytest.raises(DeviceError, match="none was taken"):
            scope.image()


def test_a_beam_that_was_not_seen_to_blank_is_said_and_made_safe(twin, monkeypatch):
    with connected(twin) as scope:
        calls = []

        def blank():
            calls.append(None)
            if len(calls) > 1:  # the first one is before the move
                raise LinkLost("gone")

        monkeypatch.setattr(scope, "blank", blank)
        with pytest.raises(UnknownOutcome, match="may still be on"):
            scope.measure(PLACE, "unseen-1")
        assert scope._unsafe(scope.scpi) == ""  # SAFE was sent


def test_a_drifting_specimen_is_followed_by_looking_again():
    pixel = 1e-7 / 64
    with start_stem(seed=1, drift=0.15 * pixel) as drifting, STEM(drifting.address, AXES) as scope:
        reference = scope.image().arrays["haadf"]
        tracked = Tracked(
            scope, lambda: scope.image().arrays["haadf"], reference, pixel=(pixel, pixel), every=5, unit="m"
        )
        measurements = [tracked.measure(PLACE, f"h-{k}") for k in range(12)]
    # Three looks, after 1, 7 and 13 exposures, the last two before the sixth and the eleventh shot.
    drift = np.array([r.arrays["drift"] for r in measurements]) / pixel
    expected = 0.15 * np.array([1] * 5 + [7] * 5 + [13] * 2)
    np.testing.assert_allclose(drift[:, 0], expected, atol=0.25)
    np.testing.assert_allclose(drift[:, 1], 0.5 * expected, atol=0.25)
    assert all(not r.flags for r in measurements)
    np.testing.assert_allclose(measurements[-1].position, PLACE, atol=1e-10)
