"""Data larger than memory: compiled functions over blocks, and filters over streams as if they were whole.

A source is anything with a shape that gives a NumPy array when sliced along its first axis: an h5py data set, a memory
map, an array. While one block is computed the next one is read.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from gpax_lab.core._inputs import floating
from gpax_lab.core._types import Complex, Float

__all__ = [
    "band_pass",
    "comb",
    "demodulated",
    "filtered",
    "stream",
]


@runtime_checkable
class _Source(Protocol):
    """Sliced along its first axis."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the whole."""

    def __getitem__(self, part: Any) -> Any:
        """A block as a NumPy array."""


def blocks(source: _Source, size: int) -> Iterator[tuple[slice, np.ndarray]]:
    """Blocks of `size` along the first axis, read one ahead by a thread. Two blocks are in memory at a time.

    Args:
        source: (n, ...), e.g. a data set of h5py.
        size: rows of a block.
    """
    if size < 1:
        raise ValueError(f"a block has 1 row or more; got {size}.")
    parts = [slice(k, min(k + size, source.shape[0])) for k in range(0, source.shape[0], size)]

    def load(part: slice) -> np.ndarray:
        return np.asarray(source[part])

    with ThreadPoolExecutor(1) as reader:
        ahead = [reader.submit(load, part) for part in parts[:1]]
        for index, part in enumerate(parts):
            block = ahead.pop().result()
            if index + 1 < len(parts):
                ahead.append(reader.submit(load, parts[index + 1]))
            yield part, block


def stream(
    source: _Source,
    function: Callable[[Array], Any],
    size: int,
    callback: Callable[[int, int], None] = lambda done, total: None,
) -> Any:
    """`function(source)` by blocks: a function of (m, ...) that treats every row by itself.

    The last block is filled up with its last row, so that one shape is compiled. Only results stay in memory.

    Args:
        source: (n, ...), e.g. `h5py.File(path)["patterns"]`.
        function: block (size, ...) -> arrays or a pytree of arrays with `size` rows; compiled once.
        size: rows in a block: two of them, and what the function needs, must fit into memory.
        callback: progress, (rows done, rows in all).

    Returns:
        NumPy arrays with n rows, in the structure that the function returns.

    Raises:
        ValueError: nothing to stream, or a result has another number of rows than its block.
    """
    total = source.shape[0]
    if total == 0:
        raise ValueError("the source has no rows.")
    size = min(size, total)
    compiled = jax.jit(function)
    results: Any = None
    for part, block in blocks(source, size):
        count = len(block)
        if count < size:
            block = np.concatenate([block, np.repeat(block[-1:], size - count, axis=0)])
        found = jax.tree.map(np.asarray, compiled(jnp.asarray(block)))
        if results is None:
            shapes = {np.shape(leaf)[:1] for leaf in jax.tree.leaves(found)}
            if shapes != {(size,)}:
                raise ValueError(f"the function must return {size} rows for a block of {size}; got {sorted(shapes)}.")
            results = jax.tree.map(lambda leaf: np.empty((total, *leaf.shape[1:]), leaf.dtype), found)
        for whole, rows in zip(jax.tree.leaves(results), jax.tree.leaves(found), strict=True):
            whole[part] = rows[:count]
        callback(part.stop, total)
    return results


def kernel_of(response: ArrayLike, taps: int) -> Float[Array, " taps"]:
    """(taps,) impulse response of a real, zero-phase frequency response sampled at rfft frequencies (n // 2 + 1,).

    The response is taken to the time domain and tapered by a Hann window over `taps` (odd) points: a filter of finite
    length, without which no block could be filtered like the whole.

    Args:
        response: (n // 2 + 1,) real.
        taps: length of the filter, odd.

    Returns:
        (taps,) weights.
    """
    given = jnp.asarray(response)
    if taps < 3 or taps % 2 == 0:
        raise ValueError(f"taps must be odd and at least 3; got {taps}.")
    if taps > 2 * (given.size - 1):
        raise ValueError(f"a response of {given.size} frequencies has at most {2 * (given.size - 1) - 1} taps.")
    impulse = jnp.fft.fftshift(jnp.fft.irfft(given))
    middle = impulse.size // 2
    half = taps // 2
    return impulse[middle - half : middle + half + 1] * jnp.hanning(taps + 2)[1:-1].astype(impulse.dtype)


def band_pass(taps: int, sampling_rate: float, low: float, high: float) -> Float[Array, " taps"]:
    """(taps,) zero-phase filter that passes low to high (Hz) at a sampling rate (Hz); 0 and half of it are no limits.

    Its edges are about 4 sampling_rate / taps wide, and a band narrower than that would lose its height.

    Args:
        taps: length of the filter, odd.
        sampling_rate: Hz.
        low, high: Hz.

    Returns:
        (taps,) weights.

    Raises:
        ValueError: limits out of order, or a band too narrow for so few taps; says how many it takes.
    """
    if not 0.0 <= low < high <= sampling_rate / 2:
        raise ValueError(f"0 <= low < high <= sampling_rate / 2 = {sampling_rate / 2:g} Hz; got {low:g} and {high:g}.")
    _resolved(taps, sampling_rate, (high - low) * (1 + (low == 0) + (high == sampling_rate / 2)))
    frequency = jnp.fft.rfftfreq(8 * taps, 1.0 / sampling_rate)
    return kernel_of(((frequency >= low) & (frequency <= high)).astype(jnp.result_type(float)), taps)


def comb(taps: int, sampling_rate: float, base: float, width: float, harmonics: int) -> Float[Array, " taps"]:
    """(taps,) zero-phase filter that passes `harmonics` multiples of base (Hz), each +- width (Hz): G-mode's filter.

    Args:
        taps: length of the filter, odd.
        sampling_rate: Hz.
        base: Hz, the first multiple.
        width: Hz, half the width of a band.
        harmonics: how many multiples.

    Returns:
        (taps,) weights.

    Raises:
        ValueError: bands that overlap or lie beyond sampling_rate / 2, or that are too narrow for so few taps.
    """
    if harmonics < 1 or not 0 < width < base / 2 or harmonics * base + width > sampling_rate / 2:
        raise ValueError(
            f"0 < width < base / 2, and harmonics * base + width up to sampling_rate / 2 = {sampling_rate / 2:g} Hz; "
            f"got {width:g}, {base:g} and {harmonics}."
        )
    _resolved(taps, sampling_rate, 2.0 * width)
    frequency = jnp.fft.rfftfreq(8 * taps, 1.0 / sampling_rate)
    nearest = jnp.round(frequency / base)
    near = (jnp.abs(frequency - nearest * base) <= width) & (nearest >= 1) & (nearest <= harmonics)
    return kernel_of(near.astype(jnp.result_type(float)), taps)


def _resolved(taps: int, sampling_rate: float, band: float) -> None:
    """Whether so many taps leave a band (Hz) its height, to a few percent."""
    if band < 4.0 * sampling_rate / taps:
        needed = int(np.ceil(4.0 * sampling_rate / band)) | 1
        resolved = 4.0 * sampling_rate / taps
        raise ValueError(f"{taps} taps resolve {resolved:g} Hz, the band is {band:g} Hz: take {needed} taps.")


def filtered(source: _Source, kernel: ArrayLike, size: int = 1 << 18) -> Iterator[np.ndarray]:
    """A stream (n,) through a zero-phase filter, block by block: equal to the filter over the whole (overlap-save).

    Beyond its ends the stream is taken to be zero.

    Args:
        source: (n,), as long as it likes.
        kernel: (taps,), odd.
        size: samples that come out at a time.

    Yields:
        (size,) filtered samples; the last block may be shorter. A sample that is not finite spoils its whole block.

    Raises:
        ValueError: an even filter, or a stream that is not one row of real numbers.
    """
    weights = np.asarray(kernel)
    if len(source.shape) != 1 or np.iscomplexobj(source[:1]):
        raise ValueError("a stream is (n,) and real: filter channels, or real and imaginary part, one after the other.")
    if weights.ndim != 1 or len(weights) % 2 == 0:
        raise ValueError(f"the filter must have an odd number of taps; got shape {weights.shape}.")
    half, total = len(weights) // 2, source.shape[0]
    length = size + 2 * half
    spectrum = jnp.fft.rfft(jnp.asarray(weights), length)

    @jax.jit
    def convolved(block: Array) -> Array:
        # The first 2 half samples of a cyclic convolution are wrapped around; the others are those of the whole.
        return jnp.fft.irfft(jnp.fft.rfft(block) * spectrum, length)[2 * half :]

    for start in range(0, total, size):
        low, high = start - half, start + size + half
        inside = np.asarray(source[max(low, 0) : min(high, total)], weights.dtype)
        block = np.pad(inside, (max(-low, 0), max(high - total, 0)))
        yield np.asarray(convolved(jnp.asarray(block)))[: min(size, total - start)]


def demodulated(
    signal: ArrayLike, sampling_rate: float, frequency: float, window: int, start: int = 0
) -> tuple[Complex[Array, " n"], Float[Array, " n"]]:
    """Complex amplitude (n // window,) at a frequency, window by window, and its variance from what the wave leaves.

    Least squares of a cosine, a sine and an offset in every window; the amplitude A e^{i phi} belongs to
    A cos(2 pi f t + phi) with t from the start of the stream. Of a stream that is larger than memory give blocks of
    whole windows, each with its `start`: phases go on from block to block, and hours of them lose nothing.

    Args:
        signal: (n,), of any real dtype; what is left over after the last whole window is not used.
        sampling_rate: Hz.
        frequency: Hz.
        window: samples in a window (static), a period or more.
        start: samples of the stream before this signal.

    Returns:
        Amplitude, complex, and the mean variance of its real and imaginary part.

    Raises:
        ValueError: no whole window, fewer than five samples or less than a period in it, or a frequency beyond
            sampling_rate / 2.
    """
    values = floating(signal)
    count = values.size // window
    if count == 0 or window < 5:
        raise ValueError(f"a window of 5 samples or more, and as many samples; got {window} and {values.size}.")
    if not 0 < frequency < sampling_rate / 2 or window * frequency < sampling_rate:
        raise ValueError(
            f"a window of {window} samples at {sampling_rate:g} Hz must hold a period of a frequency between 0 and "
            "sampling_rate / 2; "
            f"got {frequency:g} Hz."
        )
    phase = 2.0 * np.pi * ((frequency / sampling_rate * np.arange(window)) % 1.0)
    design = np.stack([np.cos(phase), -np.sin(phase), np.ones(window)], axis=1)
    inverse = np.linalg.inv(design.T @ design)
    # Cycles at which windows begin, in double precision: a phase of 1e7 cycles has no digits left in single.
    cycles = (np.float64(frequency) / sampling_rate * (start + window * np.arange(count, dtype=np.float64))) % 1.0
    rows = values[: count * window].reshape(count, window)
    rows = rows - jnp.mean(rows, axis=1, keepdims=True)
    found = rows @ jnp.asarray(design @ inverse, rows.dtype)
    left = rows - found @ jnp.asarray(design.T, rows.dtype)
    variance = jnp.sum(left**2, axis=1) / (window - 3) * (0.5 * (inverse[0, 0] + inverse[1, 1]))
    back = jnp.asarray(np.exp(-2j * np.pi * cycles))
    amplitude = (found[:, 0] + 1j * found[:, 1]) * back.astype(jnp.result_type(rows.dtype, jnp.complex64))
    return amplitude, variance.astype(rows.dtype)
