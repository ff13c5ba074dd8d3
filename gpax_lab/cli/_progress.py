"""What a person sees while a campaign runs: a live display on a terminal, plain lines elsewhere."""

import time
from types import TracebackType
from typing import Self

import numpy as np
from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from gpax_lab.cli._terminal import say
from gpax_lab.cli._units import position, value
from gpax_lab.experiment import Event
from gpax_lab.experiment._experiment import as_asked
from gpax_lab.experiment._reach import reach_of
from gpax_lab.inference import coverage
from gpax_lab.settings import Plan

_PHASES = {"seed": "seeds", "model": "first fit", "learn": "steps", "lost": "waiting", "held": "paused"}


class Display:
    """Call it with every `Event` of `experiment.run`; use it as a context manager."""

    def __init__(self, console: Console, plan: Plan) -> None:
        self.console, self.plan = console, plan
        self.best = np.nan
        self.last = time.monotonic()
        self.live: Live | None = None
        self.bar = Progress(
            TextColumn("{task.description:<9}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), console=console
        )
        self.task = self.bar.add_task("starting", total=None)

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self.live = Live(self._view(""), console=self.console, refresh_per_second=8, transient=False)
            self.live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self.live:
            self.live.stop()

    def __call__(self, event: Event) -> None:
        """Show one event."""
        line = self._line(event)
        if self.live:
            total = event.total or self.bar.tasks[0].total
            self.bar.update(self.task, description=_PHASES[event.phase], completed=event.step, total=total)
            self.live.update(self._view(line))
        else:
            say(self.console, line)

    def _view(self, line: str) -> Group:
        return Group(self.bar, Text(line, overflow="ellipsis", no_wrap=True))

    def _line(self, event: Event) -> str:
        now = time.monotonic()
        seconds, self.last = now - self.last, now
        if event.phase == "model":
            return "first fit: the sampler is being compiled"
        if event.phase == "lost":
            return "the instrument can not be reached: waiting for it"
        if event.phase == "held":
            return "paused by a person: nothing is measured until somebody resumes"
        pick = np.fmax if self.plan.maximize else np.fmin
        if event.state is not None:  # the state knows also what was measured before a pause
            inside = event.state.candidates.inside(as_asked(event.state))
            good = np.asarray(event.state.obs.measured & inside)
            values = np.asarray(event.state.obs.y)[good]
            self.best = float(pick.reduce(values)) if good.any() else np.nan
        elif event.y is not None:
            self.best = float(pick(self.best, event.y))
        unit = self.plan.quantity["unit"]
        parts = [f"{_PHASES[event.phase][:-1]} {event.step}/{event.total}"]
        if event.x is not None:
            parts.append(f"at {position(event.x, self.plan.axes)}")
        if event.y is not None:
            parts.append(f"{value(event.y, unit)}" if np.isfinite(event.y) else "failed measurement")
        parts.append(f"best {value(self.best, unit)}")
        if event.state is not None and event.phase == "learn":
            held, number = (int(n) for n in coverage(event.state.posterior, event.state.obs))
            parts.append(f"coverage {held}/{number}")
            if (reached := reach_of(event.state)).describe():
                parts.append(f"all in one corner (reach {100 * reached.share:.0f} %)")
        if event.state is not None and np.isfinite(r_hat := float(event.state.posterior.info.r_hat)):
            parts.append(f"R-hat {r_hat:.2f}")
        parts.append(f"{seconds:.1f} s")
        return "  ".join(parts)
