"""A campaign from its settings to the files that it leaves."""

import io
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from gpax_lab import plot
from gpax_lab.cli._live import Served, attended
from gpax_lab.cli._outputs import (
    MAKER,
    Products,
    check_new,
    check_own,
    check_replaceable,
    is_plot,
    products,
    put,
    quoted,
)
from gpax_lab.cli._progress import Display
from gpax_lab.cli._recorded import Recorded, drawn
from gpax_lab.cli._review import Review, review
from gpax_lab.cli._summary import summary
from gpax_lab.cli._terminal import say
from gpax_lab.cli._units import axis_units
from gpax_lab.core._environment import Stopwatch
from gpax_lab.experiment import Event, Outcome, run
from gpax_lab.experiment._guard import UNSAFE, Paused
from gpax_lab.experiment._signals import StopFlag
from gpax_lab.experiment._versions import versions
from gpax_lab.settings import Plan, Settings, SettingsError, build, load, parse
from gpax_lab.settings._changes import Change
from gpax_lab.settings._connect import LOST, connect
from gpax_lab.settings._files import to_plain, to_toml
from gpax_lab.storage import Campaign


@dataclass(frozen=True)
class Ended:
    """How a campaign ended.

    Attributes:
        outcome: of `run`.
        signal: that stopped it, or None.
        unsafe: whether nobody knows if the instrument is safe.
    """

    outcome: Outcome
    signal: int | None
    unsafe: bool = False

    @property
    def exit_code(self) -> int:
        """0 when finished, 128 + signal (130 for Ctrl-C) when paused by one; 1 for another reason, or where unsafe."""
        if self.outcome.finished:
            return 0
        return 1 if self.signal is None or self.unsafe else 128 + self.signal


def begin(
    settings: Settings,
    folder: Path,
    console: Console,
    watch: Stopwatch,
    plan: Plan | None = None,
    given: Sequence[Path] = (),
    served: Served | None = None,
) -> Ended:
    """Start a campaign that leaves its files in `folder`.

    Args:
        settings: what to do.
        folder: where; made if need be.
        console: for the progress display.
        watch: counts the time of compiling.
        plan: what `build` made of these settings already.
        given: files that the campaign reads, which it must not write over.
        served: where its live page is; None for no page.

    Raises:
        SettingsError: before anything is started or written; also where a file is in the way.
        JournalExists: the folder holds a campaign of that name already.
    """
    started = time.monotonic()
    path = folder / settings.campaign.journal
    check_new(products(path), given)
    plan = plan or build(settings)
    folder.mkdir(parents=True, exist_ok=True)
    with Campaign.create(path, header_of(plan)) as campaign:
        with products(path).settings.open("x", encoding="utf-8") as copy:
            copy.write(to_toml(settings))
        return run_campaign(plan, campaign, console, watch, started, served=served)


def header_of(plan: Plan) -> dict[str, Any]:
    """The first entry of a new journal."""
    return {
        "mark": secrets.token_hex(4),  # the instrument may remember a campaign with the same key
        "program": "gpax-lab",
        "settings": to_plain(plan.settings),
        "versions": versions(),
        "axes": [{"name": a.name, "unit": a.unit, "low": a.low, "high": a.high} for a in plan.axes],
        "quantity": plan.quantity,
    }


def wanted(now: Settings, paths: Products, given: Path | None, as_journalled: bool) -> tuple[Settings, str]:
    """The settings that a campaign is to go on with, and where they stand.

    Args:
        now: in force.
        paths: what stands beside the journal; a person may have changed the copy of the settings.
        given: a file that was named instead.
        as_journalled: no file counts.

    Raises:
        SettingsError: two sources, or a file that says nothing right.
    """
    if given is not None and as_journalled:
        raise SettingsError("--settings and --as-journalled contradict each other: give one of them.")
    if as_journalled:
        return now, "the journal"
    source = given or (paths.settings if paths.settings.exists() else None)
    return (now, "the journal") if source is None else (load(source), str(source))


def moved(settings: Settings, address: str | None) -> Settings:
    """The settings with the instrument at another address.

    Raises:
        SettingsError: this instrument has none.
    """
    if address is None:
        return settings
    if not hasattr(settings.instrument, "address"):
        raise SettingsError("--address goes with instruments that have one; this campaign starts its own instrument.")
    return parse(to_plain(replace(settings, instrument=replace(settings.instrument, address=address))))


def change(campaign: Campaign, found: Sequence[Change], after: Settings, *known: Settings) -> None:
    """Record with what a campaign goes on, and renew the copy of the settings, unless it says what nobody knows of.

    Args:
        campaign: its journal.
        found: what changes.
        after: the settings from now on.
        known: settings that were looked at: those of before, and those that were agreed to.
    """
    header = {"settings": to_plain(after), "changes": [str(one) for one in found]}
    campaign.append(("settings", campaign.history[-1].step, header, {}))
    copy = products(campaign.journal.path).settings
    try:
        untouched = not copy.exists() or load(copy) in known
    except SettingsError:
        untouched = False
    if untouched:
        put(copy, to_toml(after).encode())


def run_campaign(
    plan: Plan,
    campaign: Campaign,
    console: Console,
    watch: Stopwatch,
    started: float,
    another: bool = False,
    served: Served | None = None,
) -> Ended:
    """Run or go on; paused or failed, say how to go on. Leaving the campaign exports it.

    Args:
        plan: what to do.
        campaign: its journal.
        console: for the progress display.
        watch: counts the time of compiling.
        started: when, on the monotonic clock.
        another: whether the instrument may be another one than the journal knows.
        served: where the live page is; None for no page.
    """
    path, step = campaign.journal.path, campaign.history[-1].step
    unsafe = False
    try:
        with (
            StopFlag() as stop,
            attended(plan, campaign, served, console) as people,
            connect(
                plan,
                f"journal {path.resolve()}",
                step=step,
                stop=lambda: bool(stop) or people.inbox.stop(),
                note=campaign.append,
                callback=lambda text: say(console, text),
            ) as instrument,
            Display(console, plan) as display,
        ):

            def report(event: Event) -> None:
                people(event)
                display(event)

            outcome = run(
                plan.experiment,
                instrument,
                campaign,
                plan.settings.campaign.steps,
                seeds=plan.seeds,
                key=plan.key,
                scalarize=plan.scalarizers,
                rules=plan.rules,
                hooks=people.hooks,
                stop=lambda: bool(stop) or people.inbox.stop(),
                hold=people.inbox.hold,
                callback=report,
                extend=plan.extend,
                max_failures=plan.settings.campaign.max_failures or None,
                idle_s=plan.settings.campaign.idle_s,
                wait_s=plan.settings.campaign.wait_s,
                lost=LOST,
                another_instrument=another,
            )
    except Paused as why:  # nobody has answered yet
        unsafe = any(record.kind == "intent" for record in campaign.history)  # the program that measured may be killed
        words = f"{why}. {UNSAFE}, because it was never reached: go to it" if unsafe else str(why)
        outcome = Outcome(None, step, words, False)
        campaign.append(("stop", step, {"reason": outcome.reason, "finished": False}, {}))
    except BaseException as error:
        error.add_note(f"Everything measured so far is kept. Go on with: gpax-lab resume {quoted(path)}")
        raise
    campaign.append(("timing", outcome.steps, {"compile_s": watch.seconds, "wall_s": time.monotonic() - started}, {}))
    return Ended(outcome, stop.signal, unsafe)


def write_outputs(path: Path) -> Review:
    """Write the plot and the summary of a journal; returns what they were made from."""
    report, paths = review(path), products(path)
    check_own(paths)
    draw(report, paths.plot)
    put(paths.summary, summary(report).encode())
    return report


def draw(report: Review | Recorded, target: Path) -> None:
    """Write the plot of a campaign, or of what a journal alone tells; the suffix of `target` says in which format.

    Raises:
        FileExists: something that is no plot of ours has that name.
        ValueError: no such format.
    """
    check_replaceable(target, is_plot(target))
    kind = target.suffix.removeprefix(".").lower() or "png"
    word = {"png": "Software", "svg": "Creator", "pdf": "Creator", "ps": "Creator", "eps": "Creator"}.get(kind)
    page = io.BytesIO()
    figure = drawn(report) if isinstance(report, Recorded) else plot.campaign(**plotted(report))
    figure.savefig(page, format=kind, dpi=160, metadata={word: MAKER} if word else None)
    put(target, page.getvalue())


def plotted(report: Review) -> dict[str, Any]:
    """The arguments of `plot.campaign`, each axis in the unit in which it reads well."""
    axes = report.plan.axes
    units = axis_units(axes)
    size = np.array([size for size, _ in units])
    return {
        "x": report.points.x / size,
        "y": report.points.y,
        "positions": report.positions / size,
        "mean": None if report.belief is None else report.belief.mean,
        "std": None if report.belief is None else report.belief.std,
        "truth": report.truth,
        "best": report.best,
        "expected": report.expected,
        "maximize": report.plan.maximize,
        "axes": [(axis.name, unit) for axis, (_, unit) in zip(axes, units, strict=True)],
        "quantity": (report.plan.quantity["name"], report.plan.quantity["unit"]),
        "seeds": int(report.points.seed.sum()),
        "title": report.plan.settings.campaign.name,
    }
