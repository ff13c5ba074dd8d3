"""Blocks and filters: nothing may depend on how a stream was cut."""

import h5py
import jax.numpy as jnp
import numpy as np
import pytest

from gpax_lab.spectra import streams
from gpax_lab.spectra.stem4d import centre_of_mass

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("size", [1, 4, 7, 100])
def test_blocks_from_a_file_give_what_the_whole_gives(tmp_path, size):
    data = RNG.poisson(3.0, (23, 6, 5)).astype(np.uint16)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["patterns"] = data
    told = []
    with h5py.File(tmp_path / "a.h5") as file:
        got = streams.stream(file["patterns"], lambda p: centre_of_mass(p).value, size, lambda *n: told.append(n))
    np.testing.assert_allclose(got, centre_of_mass(data).value, rtol=1e-12)
    assert told[-1] == (23, 23)


def test_a_function_that_does_not_keep_rows_is_refused_and_errors_of_the_source_arrive():
    with pytest.raises(ValueError, match="rows"):
        streams.stream(np.ones((8, 3)), lambda block: jnp.sum(block), 4)
    with pytest.raises(ValueError, match="no rows"):
        streams.stream(np.ones((0, 3)), lambda block: block, 4)

    class Broken:
        shape = (8, 2)

        def __getitem__(self, part):
            raise OSError("the disk is gone")

    with pytest.raises(OSError, match="disk"):
        streams.stream(Broken(), lambda block: block, 4)


@pytest.mark.parametrize("size", [64, 1000, 4096])
def test_filtering_by_blocks_is_filtering_the_whole(size):
    signal = RNG.normal(size=3000)
    kernel = streams.band_pass(101, 1000.0, 50.0, 120.0)
    whole = np.convolve(signal, np.asarray(kernel), mode="same")
    got = np.concatenate(list(streams.filtered(signal, kernel, size)))
    np.testing.assert_allclose(got, whole, atol=1e-12)


def test_a_band_and_a_comb_pass_what_they_should():
    time = np.arange(8000) / 1000.0

    def gain(kernel, frequency):
        wave = np.sqrt(2) * np.sin(2 * np.pi * frequency * time)
        return np.std(np.concatenate(list(streams.filtered(wave, kernel, 4000)))[1000:-1000])

    band = streams.band_pass(401, 1000.0, 50.0, 120.0)
    assert gain(band, 80.0) == pytest.approx(1.0, abs=0.01)
    assert gain(band, 20.0) < 0.01
    assert gain(band, 200.0) < 0.01
    teeth = streams.comb(1001, 1000.0, 40.0, 6.0, 3)
    assert [round(float(gain(teeth, f)), 1) for f in (40.0, 60.0, 80.0, 120.0, 160.0)] == [1.0, 0.0, 1.0, 1.0, 0.0]
    with pytest.raises(ValueError, match="odd"):
        streams.band_pass(100, 1000.0, 50.0, 120.0)
    with pytest.raises(ValueError, match="rate"):
        streams.band_pass(101, 1000.0, 50.0, 700.0)
    with pytest.raises(ValueError, match="take 801 taps"):
        streams.band_pass(101, 1000.0, 75.0, 80.0)
    narrow = streams.band_pass(801, 1000.0, 75.0, 80.0)
    assert gain(narrow, 77.5) == pytest.approx(1.0, abs=0.05)
    with pytest.raises(ValueError, match="taps resolve"):
        streams.comb(1001, 1000.0, 40.0, 0.5, 3)
    with pytest.raises(ValueError, match="rate / 2"):
        streams.comb(1001, 1000.0, 200.0, 6.0, 3)
    with pytest.raises(ValueError, match="real"):
        next(streams.filtered(np.ones(500, complex), band))


def test_demodulation_finds_amplitude_phase_and_its_own_error():
    rate, frequency, window, count = 1e4, 500.0, 200, 400
    time = np.arange(window * count) / rate
    signal = 3.0 + 2.0 * np.cos(2 * np.pi * frequency * time + 0.7) + 0.5 * RNG.normal(size=time.size)
    amplitude, variance = streams.demodulated(signal, rate, frequency, window)
    z = (np.asarray(amplitude) - 2.0 * np.exp(0.7j)) / np.sqrt(np.asarray(variance))
    parts = np.concatenate([z.real, z.imag])
    assert abs(parts.mean()) < 4 / np.sqrt(800)
    assert abs(parts.var() - 1) < 4 * np.sqrt(2 / 800) + 0.02


def test_demodulation_of_a_stream_of_integers_by_blocks_with_no_whole_number_of_periods():
    rate, frequency, window, count = 1e4, 512.3, 200, 500
    time = np.arange(window * count) / rate
    signal = 1000.0 + 2000.0 * np.cos(2 * np.pi * frequency * time + 0.7) + 10 * RNG.normal(size=time.size)
    signal = signal.astype(np.int16)
    whole, variance = streams.demodulated(signal, rate, frequency, window)
    z = (np.asarray(whole) - 2000.0 * np.exp(0.7j)) / np.sqrt(np.asarray(variance))
    assert abs(np.concatenate([z.real, z.imag]).var() - 1) < 4 * np.sqrt(2 / 1000) + 0.02
    half = window * count // 2
    parts = [
        streams.demodulated(signal[:half], rate, frequency, window)[0],
        streams.demodulated(signal[half:], rate, frequency, window, start=half)[0],
    ]
    np.testing.assert_allclose(np.concatenate(parts), whole, rtol=1e-9)
    # Two seconds at 10 MHz into a stream, in single precision.
    late = 20_000_000
    block = np.cos(2 * np.pi * ((350e3 / 1e7 * (late + np.arange(1000))) % 1.0) + 0.7).astype(np.float32)
    value = streams.demodulated(block, 1e7, 350e3, 1000, start=late)[0]
    assert value.dtype == np.complex64
    assert abs(complex(value[0]) - np.exp(0.7j)) < 1e-4
    with pytest.raises(ValueError, match="period"):
        streams.demodulated(signal, rate, 20.0, window)
