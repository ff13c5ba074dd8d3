"""A bar that shows how training goes."""

from collections.abc import Mapping
from typing import Any

import numpy as np


class ProgressBar:
    """A bar of rounds with some numbers beside it, by tqdm.

    Args:
        total: rounds of the whole training.
        done: rounds that are done already.
        label: what stands before the bar.
        unit: what a round is called.
    """

    def __init__(self, total: int, done: int, label: str, unit: str = "epoch") -> None:
        from tqdm.auto import tqdm

        self._bar = tqdm(total=total, initial=done, unit=unit, desc=label)

    def show(self, numbers: Mapping[str, Any]) -> None:
        """One round more, with the means of these numbers; what is not finite is left out."""
        means = {name: float(np.mean(np.asarray(value))) for name, value in numbers.items()}
        words = {name: f"{value:.4g}" for name, value in means.items() if np.isfinite(value)}
        self._bar.set_postfix(words, refresh=False)
        self._bar.update()

    def close(self) -> None:
        """Leave the bar as it is."""
        self._bar.close()
