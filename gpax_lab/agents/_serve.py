"""The two servers, from their arguments to the end of a session."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gpax_lab._version import __version__
from gpax_lab.agents._budget import Budget
from gpax_lab.agents._campaign import ServedCampaign
from gpax_lab.agents._instrument import ServedInstrument
from gpax_lab.agents._policy import Policy
from gpax_lab.agents._server import Wire, require_extra
from gpax_lab.ask_tell import AskTell
from gpax_lab.core import Instrument
from gpax_lab.experiment._contracts import Scalarizer
from gpax_lab.live import Facts
from gpax_lab.live._board import Restored
from gpax_lab.storage import Campaign


def serve_instrument(
    instrument: Instrument,
    journal: Campaign,
    *,
    name: str = "instrument",
    info: Mapping[str, Any] | None = None,
    units: Mapping[str, str] | None = None,
    output: str | None = None,
    modality: str = "curve",
    scalarize: Scalarizer | None = None,
    positions: np.ndarray | None = None,
    tool: str = "acquire",
    points: int | None = None,
    minutes: float | None = None,
    dose: float | None = None,
    dose_of: str = "dose",
    idle_s: float = 60.0,
    by: str = "agent",
    wire: Wire | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> None:
    """Let an agent measure, over standard input and output, by the contract of SciLink's live loop.

    Every measurement is announced in the journal before the instrument acts, and recorded before the agent hears of it.
    What lies outside the limits of the axes is refused and never clamped. The instrument is made safe at the end of the
    session, after an error, on `pause`, and when nobody has used it for `idle_s`. What is used up is counted from the
    journal, so that another session with the same one goes on counting.

    Args:
        instrument: connected; its axes are told to the agent with their limits.
        journal: where everything is recorded; images and cubes become files beside it.
        name: of the instrument, for the agent.
        info: what else the agent is told, plain values.
        units: unit of each array of a measurement, as far as they are known beforehand.
        output: array that is handed over; None for the last one of the most dimensions.
        modality: "curve", "image" or "hyperspectral", as the agent is told before it measures.
        scalarize: measurement -> value, recorded beside it; None for none.
        positions: (n, d) where alone it can measure; None for anywhere within its limits.
        tool: name of the tool that measures.
        points: measurements that the agent may make; None for any number.
        minutes: from its first one on; None for any time.
        dose: sum of the array `dose_of` over all measurements, in its unit; None for any.
        dose_of: name of the array that says what a measurement cost the sample.
        idle_s: s after which an instrument that nobody uses is made safe.
        by: name of the agent in the record.
        wire: the streams, where they were taken already; see `agents._server`.
        stop: whether the session is to end; asked ten times a second.

    Raises:
        ModuleNotFoundError: the extra `agents` is not installed.
        ValueError: an instrument without axes, names in conflict, a budget that is not positive.
        Exception: what the instrument raises when it is made safe.
    """
    require_extra()
    budget = Budget(points, minutes, dose, dose_of)
    served = ServedInstrument(
        instrument, journal, name=name, info=info, units=units, output=output, modality=modality, scalarize=scalarize,
        positions=positions, tool=tool, budget=budget, idle_s=idle_s, by=by,
    )  # fmt: skip
    with _taken(wire) as streams, served:
        streams.serve("gpax-lab-instrument", served.instructions, served.tools, __version__, stop)


def serve_campaign(
    journal: str | Path,
    facts: Facts,
    *,
    restored: Restored | None = None,
    campaign: AskTell | None = None,
    policy: Policy = "ask",
    points: int | None = None,
    minutes: float | None = None,
    dose: float | None = None,
    dose_of: str = "dose",
    by: str = "agent",
    wire: Wire | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> None:
    """Let an agent look at a campaign and take part in it, over standard input and output.

    What it wishes of a campaign that another program runs goes through the inbox of `gpax_lab.live`, is held to the
    limits of the axes, and stands in the journal with its name and reason. A campaign without an instrument gives it
    points and takes what they gave.

    Args:
        journal: path of the journal of the campaign.
        facts: what it is about.
        restored: new entries of the journal -> the state after them; for one that another program runs.
        campaign: one without an instrument, open here; in place of `restored`.
        policy: "never" (it only looks), "ask" (what it wishes waits until a person approves it; it may pause and make
            safe at once) or "free".
        points: that it may have measured; None for any number.
        minutes: from its first act on; None for any time.
        dose: sum of the array `dose_of` over all measurements of the campaign, in its unit; None for any.
        dose_of: name of the array that says what a measurement cost the sample.
        by: name of the agent in the record.
        wire: the streams, where they were taken already.
        stop: whether the session is to end; asked ten times a second.

    Raises:
        ModuleNotFoundError: the extra `agents` is not installed.
        ValueError: neither or both of `restored` and `campaign`, an unknown policy, a budget that is not positive.
        FileNotFoundError, JournalError: there is no such journal.
    """
    require_extra()
    budget = Budget(points, minutes, dose, dose_of)
    served = ServedCampaign(
        Path(journal), facts, restored=restored, campaign=campaign, policy=policy, budget=budget, by=by
    )
    with _taken(wire) as streams:
        streams.serve("gpax-lab-campaign", served.instructions, served.tools, __version__, stop)


@contextlib.contextmanager
def _taken(wire: Wire | None) -> Iterator[Wire]:
    if wire is not None:
        yield wire
        return
    with Wire() as own:
        yield own
