"""The sections of a settings file as frozen dataclasses; every field states what it allows and what it is for."""
# ruff: noqa: RUF009 - `entry` makes a dataclass field

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gpax_lab.settings import _kinds as kinds
from gpax_lab.settings._check import (
    entry,
    file_name,
    flag,
    name_of,
    number,
    one_of,
    one_or_list,
    ordered_table_of,
    parsed,
    section,
    several,
    table_of,
    text,
    whole,
    word,
)
from gpax_lab.settings._models import MODELS, Exact, LawOf, law_table, noise
from gpax_lab.settings._prior import law_priors, priors
from gpax_lab.settings._tables import POSITIVE


@dataclass(frozen=True)
class Campaign:
    """How long and how reproducible."""

    steps: int = entry(whole(1, 100_000), meaning="points to propose after the seeds")
    name: str = entry(text, "campaign", "title of plots and summary")
    seeds: int = entry(whole(1, 10_000), 6, "points measured before the first fit")
    key: int = entry(whole(0, 2**32 - 1), 0, "random key; equal keys give equal campaigns")
    journal: str = entry(file_name, "campaign.gpxj", "name of the journal in the folder of the results")
    max_failures: int = entry(whole(0, 100_000), 5, "failed measurements in a row that pause the campaign; 0 for never")
    wait_s: float = entry(number(0.0, 604_800.0), 300.0, "how long a lost instrument is waited for", "s")
    idle_s: float = entry(number(0.1, 86_400.0), 10.0, "idle time after which the instrument is made safe", "s")


@dataclass(frozen=True)
class Alternative:
    """Another scalarizer, which an intervention may change to."""

    by = ("scalarizer", "scalarizers")
    scalarizer: str = entry(name_of("a scalarizer"), "loop_area", "what turns a measurement into a number")

    @staticmethod
    def specialize(table: Mapping[str, Any], where: str) -> type:
        """With the options of the scalarizer."""
        return kinds.refined(Alternative, "scalarizer", "scalarizers", kinds.scalarizer_options, table, where)


@dataclass(frozen=True)
class Quantity:
    """The number that is taken from each measurement."""

    by = ("scalarizer", "scalarizers")
    scalarizer: str = entry(name_of("a scalarizer"), "loop_area", "what turns a measurement into a number")
    name: str | None = entry(text, None, "of the quantity; by default the scalarizer's")
    unit: str | None = entry(text, None, "of the quantity; by default from the scalarizer and the instrument")
    goal: str = entry(word("maximize", "minimize"), "maximize", "which values are wanted")
    alternatives: Mapping[str, Alternative] = entry(
        table_of(section(Alternative), "scalarizers"), dict, "scalarizers that an intervention may change to"
    )

    @staticmethod
    def specialize(table: Mapping[str, Any], where: str) -> type:
        """With the options of the scalarizer."""
        return kinds.refined(Quantity, "scalarizer", "scalarizers", kinds.scalarizer_options, table, where)


_GRID_POINTS = 1024
"""Of a grid whose shape is left out: 32 along each of two axes."""


@dataclass(frozen=True)
class Grid:
    """A regular grid over the axes, the first one slowest."""

    kind = "grid"
    shape: tuple[int, ...] | None = entry(
        several(whole(2, 100_000)), None, "points along each axis; by default the same of each, about 1024 in all"
    )

    def shape_over(self, dim: int) -> tuple[int, ...]:
        """Points along each of `dim` axes."""
        return (max(2, round(_GRID_POINTS ** (1 / dim))),) * dim if self.shape is None else self.shape


@dataclass(frozen=True)
class Box:
    """The whole box of the axes, searched by gradient ascent."""

    kind = "box"
    starts: int = entry(whole(1), 512, "points at which the search begins")
    refine: int = entry(whole(1), 8, "the best of them, which are refined")
    iterations: int = entry(whole(1), 40, "steps of the refinement")


@dataclass(frozen=True)
class Pool:
    """The positions of a record, or given points."""

    kind = "pool"
    points: tuple[tuple[float, ...], ...] | None = entry(
        several(several(number())), None, "positions in the units of the axes; by default those of the record"
    )


@dataclass(frozen=True)
class Travel:
    """Prefer near points: the logarithm of the time a measurement takes is subtracted."""

    speed: float = entry(POSITIVE, meaning="speed of a move, in units of the axes per s")
    measure_s: float = entry(POSITIVE, meaning="s at a point", unit="s")
    settle_s: float = entry(number(0.0), 0.0, "time to settle after a move", "s")


_RADIUS = one_or_list(POSITIVE)


@dataclass(frozen=True)
class DistancePenalty:
    """Keep away from measured points."""

    radius: float = entry(_RADIUS, meaning="one for all axes, or one for each, in their units")


@dataclass(frozen=True)
class Feasible:
    """Keep away from where measurements fail."""

    radius: float = entry(_RADIUS, meaning="how far a failure tells about its neighbours, in units of the axes")
    strength: float = entry(POSITIVE, 1.0, "measurements that the share of successes counts for")


@dataclass(frozen=True)
class Acquisition:
    """What makes a point worth measuring, and where points may lie."""

    by = ("function", "acquisitions")
    function: str = entry(
        name_of("an acquisition function"), "ucb", "acquisition function; its options are given beside it"
    )
    explore: float | None = entry(number(0.0), None, "times the log of the standard deviation that is added")
    learn_every: int = entry(whole(0), 3, "every so many points one where least is known; 0 for never")
    candidates: Grid | Box | Pool = entry(
        one_of(lambda: ("grid", "box", "pool"), {"grid": Grid, "box": Box, "pool": Pool}.__getitem__),
        Grid,
        "where points may lie",
    )
    travel: Travel | None = entry(section(Travel), None, "prefer near points")
    distance_penalty: DistancePenalty | None = entry(section(DistancePenalty), None, "keep away from measured points")
    feasible: Feasible | None = entry(section(Feasible), None, "keep away from where measurements fail")
    batch_size: int = entry(whole(1, 1000), 1, "points proposed at once")
    by_travel: bool = entry(flag, False, "whether a batch is visited along the shortest path")
    # Journals hold the settings under this name.
    thin_to: int | None = entry(
        whole(1), None, "draws of the posterior that a choice uses; by default all (num_samples of bayes_opt in Python)"
    )
    floor: float = entry(number(0.0, 0.999), 0.1, "share of probability that all hypotheses keep in decisions")
    apart_every: int = entry(whole(0), 6, "every so many points one where hypotheses part most; 0 for never")

    @staticmethod
    def specialize(table: Mapping[str, Any], where: str) -> type:
        """With the options of the acquisition function."""
        return kinds.refined(Acquisition, "function", "acquisitions", kinds.acquisition_options, table, where)


@dataclass(frozen=True)
class Stop:
    """Reasons to stop early."""

    budget: int | None = entry(whole(1), None, "points in all, seeds included")
    target: float | None = entry(number(), None, "a value of the quantity that is reached")
    confidence: float = entry(number(0.5, 0.9999), 0.95, "probability with which the target is reached")
    no_more_gain: float | None = entry(POSITIVE, None, "expected gain below which it is not worth going on")
    ask: bool = entry(flag, False, "whether people are asked (live page, gpax-lab act) before it stops early")


@dataclass(frozen=True)
class ModelAverage:
    """Every hypothesis is followed, and counts by its evidence."""

    kind = "model_average"


@dataclass(frozen=True)
class Bandit:
    """One hypothesis at a time, rewarded for less predictive variance (Ziatdinov et al. 2021, arXiv:2112.06649)."""

    kind = "bandit"
    num_initial: int = entry(whole(1), 3, "fits of all hypotheses")
    epsilon: float = entry(number(0.0, 1.0), 0.4, "how often a hypothesis is chosen at random")
    temperature: float | None = entry(POSITIVE, None, "of a choice by softmax of the rewards instead")


@dataclass(frozen=True)
class Hypotheses:
    """Laws that compete, in place of one model."""

    laws: Mapping[str, LawOf] = entry(
        ordered_table_of(law_table, "laws"), meaning="the hypotheses, NAME = { law = ... }"
    )
    scale: tuple[float, float] = entry(
        several(number(), 2), meaning="location and scale of the quantity as known before anything is measured"
    )
    follow: ModelAverage | Bandit = entry(
        one_of(
            lambda: ("model_average", "bandit"),
            {"model_average": ModelAverage, "bandit": Bandit}.__getitem__,
            "model_average",
        ),
        ModelAverage,
        "how their probabilities are found",
    )
    prior: Mapping[str, float] = entry(
        table_of(POSITIVE, "weights"), dict, "weight of each before anything is measured"
    )
    noise: Any = entry(noise, "inferred", "of a measurement")
    within_process: bool = entry(flag, False, "whether a Gaussian process absorbs what a law misses")
    flexible: bool = entry(flag, True, "whether a process without any law competes")


_POINTS = several(several(number()))


@dataclass(frozen=True)
class Pin:
    """Measure these points next."""

    kind = "pin"
    step: int = entry(whole(0), meaning="steps done before it")
    points: tuple[tuple[float, ...], ...] = entry(_POINTS, meaning="in units of the axes")


@dataclass(frozen=True)
class Veto:
    """Never measure these points."""

    kind = "veto"
    step: int = entry(whole(0), meaning="steps done before it")
    points: tuple[tuple[float, ...], ...] = entry(_POINTS, meaning="in units of the axes")


@dataclass(frozen=True)
class Reweigh:
    """Change the weights of the terms of the acquisition function."""

    kind = "reweigh"
    step: int = entry(whole(0), meaning="steps done before it")
    weights: tuple[float, ...] = entry(several(number()), meaning="one for each term, in order")


@dataclass(frozen=True)
class Rescale:
    """Use another scalarizer of quantity.alternatives, for past measurements too."""

    kind = "rescale"
    step: int = entry(whole(0), meaning="steps done before it")
    scalarizer: str = entry(text, meaning="its name among the alternatives")


@dataclass(frozen=True)
class Adopt:
    """Let a law join the hypotheses."""

    kind = "adopt"
    step: int = entry(whole(0), meaning="steps done before it")
    name: str = entry(text, meaning="of the new hypothesis")
    formula: str = entry(text, meaning="its law, such as A * exp(-x / t)")
    prior: Mapping[str, Any] = entry(law_priors, meaning="of every parameter of the formula")
    units: Mapping[str, str] = entry(table_of(text, "units"), dict, "of the parameters")
    inputs: tuple[str, ...] = entry(several(text), ("x",), "names of the axes in the formula, in order")
    share: float | None = entry(number(0.0, 1.0, above=True), None, "its probability when it joins")


@dataclass(frozen=True)
class Reject:
    """Turn a proposed law down, which changes nothing: the journal says that it was, and why."""

    kind = "reject"
    step: int = entry(whole(0), meaning="steps done before it")
    name: str = entry(text, meaning="of the law")
    formula: str = entry(text, meaning="of the law, such as A * exp(-x / t)")
    why: str | None = entry(text, None, "reason")


INTERVENTIONS: Mapping[str, type] = {
    "pin": Pin, "veto": Veto, "reweigh": Reweigh, "rescale": Rescale, "adopt": Adopt, "reject": Reject,
}  # fmt: skip


@dataclass(frozen=True)
class Settings:
    """Everything that a campaign depends on, as plain values; see the sections for what they allow."""

    campaign: Campaign = entry(section(Campaign), meaning="a table [campaign] with at least steps")
    instrument: Any = entry(
        one_of(lambda: kinds.names("instruments"), kinds.instrument_section),
        meaning='a table [instrument] with kind = "pfm", "replay", "twin" or another one',
    )
    quantity: Quantity = entry(section(Quantity), lambda: parsed(Quantity, {}, "quantity"), "what is optimized")
    model: Any = entry(one_of(lambda: tuple(MODELS), MODELS.__getitem__, "exact"), Exact, "of the quantity")
    hypotheses: Hypotheses | None = entry(section(Hypotheses), None, "laws that compete, in place of the model")
    prior: Mapping[str, Any] = entry(priors, dict, "of the parameters of kernel and noise")
    sampler: Any = entry(
        one_of(lambda: kinds.names("samplers"), kinds.sampler_section),
        lambda: kinds.sampler_section("nuts")(),
        "what fits the model",
    )
    acquisition: Acquisition = entry(
        section(Acquisition), lambda: parsed(Acquisition, {}, "acquisition"), "where to measure next"
    )
    stop: Stop = entry(section(Stop), Stop, "when to stop early")
    interventions: tuple[Any, ...] = entry(
        several(one_of(lambda: tuple(INTERVENTIONS), INTERVENTIONS.__getitem__)),
        (),
        "what is done between two steps, in order",
    )
