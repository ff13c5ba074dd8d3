"""A campaign from its settings to the files that it leaves."""

import io
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from gpax_lab import plot
from gpax_lab.cli.products import (
    MAKER,
    check_new,
    check_own,
    check_replaceable,
    is_picture,
    products,
    put,
    quoted,
)
from gpax_lab.cli.progress import Display
from gpax_lab.cli.review import Review, review
from gpax_lab.cli.summary import summary
from gpax_lab.cli.units import span_unit
from gpax_lab.environment import Stopwatch
from gpax_lab.experiment import Outcome, run
from gpax_lab.experiment.run import versions
from gpax_lab.experiment.signals import StopFlag
from gpax_lab.settings import Plan, Settings, build, connect, to_plain, to_toml
from gpax_lab.storage.campaign import Campaign


@dataclass(frozen=True)
class Ended:
    """How a campaign ended: the outcome of `run`, and the signal that stopped it, or None."""

    outcome: Outcome
    signal: int | None

    @property
    def exit_code(self) -> int:
        """0 when finished, 128 + signal (130 for Ctrl-C) when paused."""
        return 0 if self.outcome.finished else 128 + (self.signal or signal.SIGINT)


def begin(
    settings: Settings,
    folder: Path,
    console: Console,
    watch: Stopwatch,
    plan: Plan | None = None,
    given: Sequence[Path] = (),
) -> Ended:
    """Start a campaign that leaves its files in `folder`.

    Args:
        settings: what to do.
        folder: where; made if need be.
        console: for the progress display.
        watch: counts the time of compiling.
        plan: what `build` made of these settings already.
        given: files that the campaign reads, which it must not write over.

    Raises:
        SettingsError: before anything is started or written; also where a file is in the way.
        JournalExists: the folder holds a campaign of that name already.
    """
    started = time.monotonic()
    path = folder / settings.campaign.journal
    check_new(products(path), given)
    plan = plan or build(settings)
    folder.mkdir(parents=True, exist_ok=True)
    header = {
        "program": "gpax-lab",
        "settings": to_plain(settings),
        "versions": versions(),
        "axes": [{"name": a.name, "unit": a.unit, "low": a.low, "high": a.high} for a in plan.axes],
        "quantity": plan.quantity,
    }
    with Campaign.create(path, header) as campaign:
        with products(path).settings.open("x", encoding="utf-8") as copy:
            copy.write(to_toml(settings))
        return drive(plan, campaign, console, watch, started)


def drive(plan: Plan, campaign: Campaign, console: Console, watch: Stopwatch, started: float) -> Ended:
    """Run or go on; paused or failed, say how to go on. Leaving the campaign exports it."""
    path = campaign.journal.path
    try:
        with StopFlag() as stop, connect(plan) as instrument, Display(console, plan) as display:
            outcome = run(
                plan.experiment,
                instrument,
                campaign,
                plan.settings.campaign.steps,
                seeds=plan.seeds,
                key=plan.key,
                scalarize={plan.settings.quantity.scalarizer: plan.scalarize},
                rules=plan.rules,
                stop=lambda: bool(stop),
                tell=display,
            )
    except BaseException as error:
        error.add_note(f"Everything measured so far is kept. Go on with: gpax-lab resume {quoted(path)}")
        raise
    campaign.append(("timing", outcome.steps, {"compile_s": watch.seconds, "wall_s": time.monotonic() - started}, {}))
    return Ended(outcome, stop.signal)


def leave(path: Path) -> Review:
    """Write the picture and the summary of a journal; returns what they were made from."""
    told, paths = review(path), products(path)
    check_own(paths)
    draw(told, paths.picture)
    put(paths.summary, summary(told).encode())
    return told


def draw(told: Review, target: Path) -> None:
    """Write the picture of a campaign; the suffix of `target` says in which format.

    Raises:
        FileExists: something that is no picture of ours has that name.
        ValueError: no such format.
    """
    check_replaceable(target, is_picture(target))
    kind = target.suffix.removeprefix(".").lower() or "png"
    word = {"png": "Software", "svg": "Creator", "pdf": "Creator", "ps": "Creator", "eps": "Creator"}.get(kind)
    page = io.BytesIO()
    figure = plot.campaign(**picture(told))
    figure.savefig(page, format=kind, dpi=160, metadata={word: MAKER} if word else None)
    put(target, page.getvalue())


def picture(told: Review) -> dict[str, Any]:
    """The arguments of `plot.campaign`, lengths in the unit of the axes."""
    size, unit = span_unit(told.plan.axes)
    return {
        "x": told.points.x / size,
        "y": told.points.y,
        "places": told.places / size,
        "mean": None if told.belief is None else told.belief.mean,
        "std": None if told.belief is None else told.belief.std,
        "truth": told.truth,
        "best": told.best,
        "expected": told.expected,
        "maximize": told.plan.maximize,
        "axes": [(axis.name, unit) for axis in told.plan.axes],
        "quantity": (told.plan.quantity["name"], told.plan.quantity["unit"]),
        "seeds": int(told.points.seed.sum()),
        "title": told.plan.settings.campaign.name,
    }
