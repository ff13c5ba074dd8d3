"""Where a campaign stands, in words."""

from collections.abc import Sequence

import numpy as np

from gpax_lab.experiment._asking import Asking
from gpax_lab.inference._posterior import status_in_words

LISTED = 10
"""Points under way that are named one by one."""


def standing_in_words(asking: Asking, names: Sequence[str], units: Sequence[str]) -> str:
    """How much is measured, failed and under way, and whether the model knows it; nothing is fitted for it."""
    told = asking.told
    measured = sum(bool(np.isfinite(answer.y)) for answer in told.answers.values())
    failed = len(told.answers) - measured - len(told.discarded)
    lines = [
        f"{measured} measured, {failed} failed, {len(told.discarded)} discarded, {len(told.begun)} under way.",
        *(
            f"  point {asking.numbers[token]} at {point_in_words(told.asked_at[token], names, units)}"
            for token in asking.waiting()[:LISTED]
        ),
    ]
    if len(told.begun) > LISTED:
        lines.append(f"  and {len(told.begun) - LISTED} more")
    new = len(told.new) + len(told.to_discard)
    if asking.fitted is not None:
        lines.append(f"The model knows all of it; {status_in_words(asking.fitted.posterior.info.status)}")
    elif new or told.arrays:
        lines.append(f"{new} answers will be learned when points are asked for or the posterior is looked at.")
    else:
        lines.append(f"Nothing is learned yet: {asking.first()}")
    return "\n".join(lines)


def point_in_words(x: np.ndarray, names: Sequence[str], units: Sequence[str]) -> str:
    """A point (d,) with the names and units of its inputs."""
    return ", ".join(
        f"{name} = {value:.6g}{'' if unit in ('', '1') else ' ' + unit}"
        for name, value, unit in zip(names, np.asarray(x, float), units, strict=True)
    )
