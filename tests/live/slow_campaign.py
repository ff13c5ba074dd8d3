"""A campaign of a program of its own, with a page: `python slow_campaign.py FOLDER SECONDS STEPS`; prints the link."""

import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from gpax_lab import acquisition, bayes_opt, gp, setup
from gpax_lab.core import Axis
from gpax_lab.experiment import Simulated, run, stopping
from gpax_lab.inference import laplace
from gpax_lab.live import Facts, Inbox, Page
from gpax_lab.storage import Campaign

SPAN = 2e-6
AXES = [Axis("x", "m", 0.0, SPAN), Axis("y", "m", 0.0, SPAN)]
BOUNDS = [[0.0, SPAN], [0.0, SPAN]]


def film(key, x):
    u = x / SPAN
    hill = jnp.exp(-20 * ((u[0] - 0.3) ** 2 + (u[1] - 0.6) ** 2))
    return hill + 0.5 * jnp.sin(6 * u[0]) * u[1] + 0.02 * jax.random.normal(key)


class Slow(Simulated):
    def __init__(self, wait_s: float) -> None:
        super().__init__(film)
        self.wait_s = wait_s

    def measure(self, x, token):
        time.sleep(self.wait_s)
        return super().measure(x, token)


def main(folder: Path, wait_s: float, steps: int, sampler=None) -> None:
    setup(verbose=False)
    where = acquisition.grid(BOUNDS, (24, 24))
    terms = acquisition.log_ei() + acquisition.distance_penalty(0.05 * SPAN)
    experiment = bayes_opt(gp.exact(2, bounds=BOUNDS), sampler or laplace(32), terms, where)
    path = folder / "film.gpxj"
    seeds = np.asarray(where.points)[np.random.default_rng(0).choice(576, 6, replace=False)]
    scalarizers = {"value": Simulated.scalarize, "half": lambda measurement: Simulated.scalarize(measurement) / 2}
    campaign = Campaign.open(path) if path.exists() else Campaign.create(path, {"settings": {}})
    with campaign:
        rules = [stopping.Ask(stopping.budget(6 + steps // 2), again_after=steps)]
        inbox = Inbox(campaign, path, axes=AXES, scalarizers=scalarizers, rules=rules)
        what = ("loop area", "pm V")
        facts = Facts("A film", AXES, what, np.asarray(where.points), steps, True, True, [*scalarizers])
        page = Page(path, facts, inbox, link=path.with_suffix(".link"), told=lambda link: print(link, flush=True))
        with page:
            end = run(
                experiment, Slow(wait_s), campaign, steps, seeds=seeds, key=jax.random.key(1), scalarize=scalarizers,
                hooks=[inbox, page], hold=inbox.hold, stop=inbox.stop, callback=page.callback, rules=rules,
            )  # fmt: skip
            print(end.reason, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]))
