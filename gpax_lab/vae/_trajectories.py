"""Tracks of objects through a series of images."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from gpax_lab.core._types import ArrayLike


def trajectories(positions: Sequence[ArrayLike], reach: float) -> np.ndarray:
    """Which object of each frame is the same one: (tracks, frames) indices, -1 where it is not seen.

    Frame by frame the nearest pairs are joined, each object once, as far as `reach` (in the positions' unit). Latents
    along a track: `np.where(track >= 0, latents[frame][track], np.nan)`.

    Args:
        positions: (n_t, 2) of every frame.
        reach: farthest step between two frames.

    Returns:
        (tracks, frames) indices, -1 where an object is not seen.

    Raises:
        ValueError: no frames, or a reach that is not positive.
    """
    frames = [np.asarray(frame, float).reshape(-1, 2) for frame in positions]
    if not frames or not reach > 0:
        raise ValueError("one frame or more, and a positive reach.")
    tracks = [[index] for index in range(len(frames[0]))]
    for number, (before, now) in enumerate(pairwise(frames)):
        joined = _joined(before, now, reach)
        ends = {track[-1]: track for track in tracks if track[-1] >= 0}
        for track in tracks:
            track.append(-1)
        for old, new in joined:
            ends[old][-1] = new
        fresh = sorted(set(range(len(now))) - {new for _, new in joined})
        tracks += [[-1] * (number + 1) + [index] for index in fresh]
    return np.array(tracks, int).reshape(-1, len(frames))


def _joined(before: np.ndarray, now: np.ndarray, reach: float) -> list[tuple[int, int]]:
    distance = np.linalg.norm(before[:, None] - now[None], axis=-1)
    pairs, used_before, used_now = [], set(), set()
    for flat in np.argsort(distance, axis=None):
        old, new = np.unravel_index(flat, distance.shape)
        if distance[old, new] > reach:
            break
        if old not in used_before and new not in used_now:
            pairs.append((int(old), int(new)))
            used_before.add(old)
            used_now.add(new)
    return pairs
