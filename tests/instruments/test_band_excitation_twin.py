"""Images and band-excitation spectra of the PFM twin: the structure tells the spectrum."""

import numpy as np
import pytest
from gpax_instruments.drivers import BandExcitation
from gpax_instruments.errors import LINK_FAULTS
from gpax_instruments.twins import start_pfm
from gpax_instruments.twins._results import key_part

from gpax_lab.core import Axis, MoveRefused
from gpax_lab.spectra.sho import sho_fit

AXES = [Axis(n, "m", 0.0, 2e-6, tolerance=1e-10, settle_s=0.0) for n in ("x", "y")]


@pytest.fixture(scope="module")
def twin():
    with start_pfm(seed=2, band=1) as running:
        yield running


def test_a_domain_is_a_phase_and_its_resonance_can_be_fitted(twin):
    with BandExcitation(twin.address, AXES) as scope:
        image = scope.image().arrays["polarization"]
        assert image.shape == (64, 64)
        # One place deep in each kind of domain: up answers half a turn away from down.
        ends = [np.unravel_index(k, image.shape) for k in (image.argmax(), image.argmin())]
        measurements = [scope.measure((np.array(e) + 0.5) * scope.pixel_m, f"a-{k}") for k, e in enumerate(ends)]
    spectra = np.stack([r.arrays["real"] + 1j * r.arrays["imaginary"] for r in measurements]).astype(complex)
    fit = sho_fit(measurements[0].arrays["frequency"], spectra)
    amplitude, resonance, q, phase = np.asarray(fit.params).T
    turn = np.exp(1j * (phase[0] - phase[1]))
    assert turn.real < -0.99
    assert np.all((resonance > 335e3) & (resonance < 355e3))
    assert np.all((q > 60) & (q < 130))
    assert np.all(amplitude > 5.0)
    assert all(r.ok and r.units["real"] == "pm" for r in measurements)


def test_the_same_token_is_read_again_and_noise_belongs_to_the_token(twin):
    with BandExcitation(twin.address, AXES) as scope:
        first, again = scope.measure([1e-6, 1e-6], "b-1"), scope.measure([1e-6, 1e-6], "b-1")
        other = scope.measure([1e-6, 1e-6], "b-2")
        np.testing.assert_array_equal(first.arrays["real"], again.arrays["real"])
        assert np.any(first.arrays["real"] != other.arrays["real"])
        assert not np.array_equal(scope.image().arrays["polarization"], scope.image().arrays["polarization"])
        with pytest.raises(MoveRefused):
            scope.measure([3e-6, 0.0], "b-3")
    with pytest.raises(ValueError, match="band"):
        BandExcitation(twin.address, AXES, width=-1.0)


def test_noise_belongs_to_the_key_of_a_campaign_and_to_the_whole_of_any_other_token():
    assert key_part("0123abcd89ef4567-a1b2") == key_part("0123abcd89ef4567") == b"0123abcd89ef4567"
    assert key_part("b-1") == b"b-1"
    assert key_part("0123abcd8-1") == b"0123abcd8-1"


def test_a_microscope_without_band_excitation_is_told_apart():
    with start_pfm(seed=2) as plain:
        scope = BandExcitation(plain.address, AXES, timeout_s=0.5)
        with pytest.raises(LINK_FAULTS) as caught:
            scope.connect()
    assert any("excite in bands" in note for note in caught.value.__notes__)
