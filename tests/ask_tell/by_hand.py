"""Somebody who measures what a campaign asks for, as the simulated instrument of `run` would, and does more by hand."""

import os
import sys
from pathlib import Path

import numpy as np
from small_campaign import KEY, SEEDS, fixed, objective

from gpax_lab.ask_tell import AskTell, open_campaign
from gpax_lab.ask_tell._tables import standing
from gpax_lab.experiment import Simulated

BENCH = Simulated(objective)
STEPS = 3


def opened(path: Path, experiment, **options) -> AskTell:
    """Begin the campaign, or go on with it."""
    given = {"key": KEY, "seeds": SEEDS, "inputs": {"x": "um"}, "output": ("area", "V"), "num_steps": STEPS} | options
    return open_campaign(path, experiment, **given)


def measured(campaign: AskTell, number: int) -> float:
    """What the instrument would measure for the point of this number."""
    token = campaign._asking.tokens[number]
    x = campaign._asking.asked_at(token)
    return float(BENCH.measure(x, token).arrays["value"])


def answer(campaign: AskTell, points=None) -> None:
    """Measure all points, one after the other."""
    for number in (campaign.waiting if points is None else points).ids:
        campaign.tell(ids=number, y=measured(campaign, number))


def drive(campaign: AskTell, batches: int, told=lambda number: None) -> None:
    """So many batches of two, from wherever the campaign is; each next act follows from what it knows alone.

    Between them a point of their own choice, a failed one, and one that is found bad afterwards.
    """
    handed = campaign.ask().ids if campaign.waiting.ids else ()  # what a program that ended had been given, once more
    while True:
        table = {s: int(n) for s, n in zip(*np.unique(standings(campaign), return_counts=True), strict=True)}
        done = sum(table.get(s, 0) for s in ("measured", "failed", "discarded"))
        answered = done - phases(campaign).count("told")
        handed = [number for number in handed if number in campaign.waiting.ids]
        if handed:
            number = handed[-1] if answered % 2 else handed[0]
            if answered == 5:
                campaign.fail(number, "no contact")
            else:
                campaign.tell(ids=number, y=measured(campaign, number))
            told(number)
        elif answered >= len(SEEDS) + 2 and "told" not in phases(campaign):
            campaign.tell([[0.123]], [0.4], noise=0.01)
            told(len(campaign._asking.tokens) - 1)
        elif answered >= len(SEEDS) + 4 and "discarded" not in table:
            campaign.discard(1, "the tip was changed")
            told(1)
        elif answered >= len(SEEDS) + 2 * batches:
            return
        else:
            handed = campaign.ask().ids


def standings(campaign: AskTell) -> list[str]:
    return [standing(campaign._asking, token) for token in campaign._asking.tokens]


def phases(campaign: AskTell) -> list[str]:
    return list(campaign._asking.told.phases.values())


if __name__ == "__main__":
    import gpax_lab

    gpax_lab.setup(cache=os.environ["JAX_COMPILATION_CACHE_DIR"], verbose=False)
    with opened(Path(sys.argv[1]), fixed(2)) as running:
        print("open", flush=True)
        drive(running, int(sys.argv[2]), lambda number: print("told", number, flush=True))
    print("done", flush=True)
