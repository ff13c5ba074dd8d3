"""The sections of a settings file as frozen dataclasses; every field states what it allows."""
# ruff: noqa: RUF009 - `entry` makes a dataclass field

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gpax_instruments.drivers.pfm import PFM

from gpax_lab.core._axes import LONGEST_SETTLE_S
from gpax_lab.settings._check import (
    either,
    entry,
    file_name,
    flag,
    number,
    one_of,
    section,
    several,
    text,
    whole,
    word,
)
from gpax_lab.settings._prior import priors
from gpax_lab.settings._tables import ACQUISITIONS, KERNELS, SCALARIZERS

_POSITIVE = number(0.0, above=True)


@dataclass(frozen=True)
class Campaign:
    """How long and how reproducible. `journal` is a file name in the output folder.

    `failures` measurements that fail in a row pause the campaign (0: never). A lost instrument is waited for `wait_s`
    seconds. The instrument is made safe whenever nothing is measured for `idle_s` seconds.
    """

    steps: int = entry(whole(1, 100_000), needed_for="points to propose after the seeds")
    name: str = entry(text, "campaign")
    seeds: int = entry(whole(1, 10_000), 6)
    key: int = entry(whole(0, 2**32 - 1), 0)
    journal: str = entry(file_name, "campaign.gpxj")
    failures: int = entry(whole(0, 100_000), 5)
    wait_s: float = entry(number(0.0, 604_800.0), 300.0)
    idle_s: float = entry(number(0.1, 86_400.0), 10.0)


@dataclass(frozen=True)
class Quantity:
    """The number read from each loop. A response of magnitude `reject_above` or more makes the reading a failed one."""

    scalarizer: str = entry(word(*SCALARIZERS), "loop_area")
    name: str | None = entry(text, None)
    unit: str | None = entry(text, None)
    goal: str = entry(word("maximize", "minimize"), "maximize")
    despike: bool = entry(flag, False)
    reject_above: float | None = entry(_POSITIVE, None)


@dataclass(frozen=True)
class Span:
    """Limits of one axis, m; see `gpax_lab.core.Axis`."""

    low: float = entry(number(), needed_for="lowest position, m")
    high: float = entry(number(), needed_for="highest position, m")
    max_step: float | None = entry(_POSITIVE, None)
    settle_s: float = entry(number(0.0, LONGEST_SETTLE_S), 0.0)
    tolerance: float | None = entry(_POSITIVE, None)


@dataclass(frozen=True)
class Pfm:
    """A piezoresponse force microscope that speaks SCPI. `max_bias`, V, is the highest that is ever sent."""

    address: str = entry(text, needed_for='"tcp://host:port" or a VISA resource name')
    x: Span = entry(section(Span), needed_for="limits of the x axis, { low = ..., high = ... } in m")
    y: Span = entry(section(Span), needed_for="limits of the y axis, { low = ..., high = ... } in m")
    vmax: float = entry(number(0.0, PFM.MAX_BIAS_V, above=True), 8.0)
    points: int = entry(whole(4, PFM.MAX_POINTS), 64)
    max_bias: float | None = entry(number(0.0, PFM.MAX_BIAS_V, above=True), None)
    timeout_s: float = entry(number(0.0, PFM.MAX_TIMEOUT_S, above=True), 2.0)
    loop_timeout_s: float = entry(number(0.0, PFM.MAX_BUSY_TIMEOUT_S, above=True), 30.0)
    response_unit: str = entry(text, "a.u.")
    repeatable: bool = entry(flag, False)


@dataclass(frozen=True)
class Recorded:
    """A recorded loop map (pyNSID layout) played back. A relative `file` counts from the settings file's folder."""

    file: str = entry(text, needed_for="HDF5 file of the recorded map")


@dataclass(frozen=True)
class Twin:
    """The simulated microscope, started by the campaign: `noise` is a share of a loop's height, `dwell` s a loop."""

    seed: int = entry(whole(0, 2**31 - 1), 0)
    noise: float = entry(number(0.0, 1.0), 0.02)
    dwell: float = entry(number(0.0, 60.0), 0.0)
    vmax: float = entry(number(0.0, 20.0, above=True), 8.0)
    points: int = entry(whole(8, 4096), 64)


@dataclass(frozen=True)
class Model:
    """A Gaussian process; `standardize` may be [location, scale] in the quantity's unit."""

    kernel: str = entry(word(*KERNELS), "matern52")
    standardize: bool | tuple[float, float] = entry(
        either(flag, several(number(), 2), allowed="true, false or [location, scale]"), True
    )


@dataclass(frozen=True)
class Nuts:
    """Arguments of `inference.nuts`."""

    num_warmup: int = entry(whole(10), 200)
    num_samples: int = entry(whole(8), 200)
    num_chains: int = entry(whole(1), 1)
    thin_to: int = entry(whole(1), 64)
    rewarm: int | None = entry(whole(0), None)
    target_accept: float = entry(number(0.1, 0.999), 0.8)
    max_tree_depth: int = entry(whole(1, 15), 8)


@dataclass(frozen=True)
class Smc:
    """Arguments of `inference.smc`."""

    num_samples: int = entry(whole(8), 128)
    max_moves: int = entry(whole(1), 30)
    max_leapfrog: int = entry(whole(1), 32)
    max_correlation: float = entry(number(0.01, 0.99), 0.3)


@dataclass(frozen=True)
class Laplace:
    """Arguments of `inference.laplace`."""

    num_samples: int = entry(whole(1), 64)
    starts: int = entry(whole(1), 8)
    iterations: int = entry(whole(1), 60)
    weighted: bool = entry(flag, True)


@dataclass(frozen=True)
class Grid:
    """A regular grid over the instrument's field, x slowest."""

    shape: tuple[int, ...] = entry(several(whole(2, 100_000), 2), (32, 32))


@dataclass(frozen=True)
class Box:
    """The whole field, searched by gradient ascent; see `acquisition.Box`."""

    starts: int = entry(whole(1), 512)
    refine: int = entry(whole(1), 8)
    iterations: int = entry(whole(1), 40)


@dataclass(frozen=True)
class Pool:
    """The recorded places of a map."""


@dataclass(frozen=True)
class Travel:
    """Prefer near points: speed in m/s, time at a point and time to settle after a move in s."""

    speed: float = entry(_POSITIVE, needed_for="m/s")
    measure_s: float = entry(_POSITIVE, needed_for="s at a point")
    settle_s: float = entry(number(0.0), 0.0)


@dataclass(frozen=True)
class DistancePenalty:
    """Keep away from measured points: radius in m."""

    radius: float = entry(_POSITIVE, needed_for="m")


@dataclass(frozen=True)
class Feasible:
    """Keep away from where readings fail: they tell about their neighbourhood of `radius`, m."""

    radius: float = entry(_POSITIVE, needed_for="m")
    strength: float = entry(_POSITIVE, 1.0)


@dataclass(frozen=True)
class Acquisition:
    """What makes a point worth measuring, and where points may lie; as it stands, `acquisition.seek()`.

    `explore` adds that many times the log of the standard deviation, for a score that is a logarithm. Every point of
    number `learn_every`, twice that, ... is measured where least is known, if the score seeks an optimum; 0 for none.
    """

    function: str = entry(word(*ACQUISITIONS), "ucb")
    beta: float | None = entry(number(0.0), None)
    xi: float | None = entry(number(0.0), None)
    explore: float | None = entry(number(0.0), None)
    learn_every: int = entry(whole(0), 3)
    candidates: Grid | Box | Pool = entry(one_of(grid=Grid, box=Box, pool=Pool), Grid())
    travel: Travel | None = entry(section(Travel), None)
    distance_penalty: DistancePenalty | None = entry(section(DistancePenalty), None)
    feasible: Feasible | None = entry(section(Feasible), None)


@dataclass(frozen=True)
class Stop:
    """Reasons to stop early: points in all, a value reached (with `confidence`), expected gain below a value."""

    budget: int | None = entry(whole(1), None)
    target: float | None = entry(number(), None)
    confidence: float = entry(number(0.5, 0.9999), 0.95)
    no_more_gain: float | None = entry(_POSITIVE, None)


_AN_INSTRUMENT = 'a table [instrument] with kind = "pfm", "replay" or "twin"'


@dataclass(frozen=True)
class Settings:
    """Everything that a campaign depends on, as plain values; see the sections for what they allow."""

    campaign: Campaign = entry(section(Campaign), needed_for="a table [campaign] with at least steps")
    instrument: Pfm | Recorded | Twin = entry(one_of(pfm=Pfm, replay=Recorded, twin=Twin), needed_for=_AN_INSTRUMENT)
    quantity: Quantity = entry(section(Quantity), Quantity())
    model: Model = entry(section(Model), Model())
    prior: Mapping[str, Any] = entry(priors, dict)
    sampler: Nuts | Smc | Laplace = entry(one_of(nuts=Nuts, smc=Smc, laplace=Laplace), Nuts())
    acquisition: Acquisition = entry(section(Acquisition), Acquisition())
    stop: Stop = entry(section(Stop), Stop())


KINDS: Mapping[type, str] = {
    Pfm: "pfm",
    Recorded: "replay",
    Twin: "twin",
    Nuts: "nuts",
    Smc: "smc",
    Laplace: "laplace",
    Grid: "grid",
    Box: "box",
    Pool: "pool",
}
"""The word `kind` of every section that has one."""
