"""Servers for agents on the command line: an instrument from settings, and a campaign from its journal."""

import contextlib
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from gpax_lab.agents import serve_campaign, serve_instrument
from gpax_lab.agents._frames import MODALITIES
from gpax_lab.agents._server import Wire, require_extra
from gpax_lab.ask_tell import AskTell, open_campaign
from gpax_lab.cli._live import facts_of
from gpax_lab.cli._outputs import products
from gpax_lab.cli._review import opening, plan_of
from gpax_lab.cli._run_campaign import header_of
from gpax_lab.cli._terminal import say
from gpax_lab.experiment._signals import StopFlag
from gpax_lab.experiment._versions import versions
from gpax_lab.live._restored import Restoring
from gpax_lab.settings import Plan, SettingsError, build, load
from gpax_lab.settings._connect import connect
from gpax_lab.settings._files import to_plain, to_toml
from gpax_lab.settings._instrument import HasPositions, HasTruth, HasUnits
from gpax_lab.storage import Campaign

JOURNAL = "agent.gpxj"
"""Name of the journal of an instrument that an agent drives."""


@dataclass(frozen=True)
class Allowed:
    """What an agent may use up; None for any."""

    points: int | None = None
    minutes: float | None = None
    dose: float | None = None
    dose_of: str = "dose"

    def options(self) -> dict[str, Any]:
        """As the servers take them.

        Raises:
            SettingsError: a limit that is not positive.
        """
        given = vars(self)
        if bad := [name for name in ("points", "minutes", "dose") if given[name] is not None and not given[name] > 0]:
            raise SettingsError(f"--{bad[0]} is a positive number; leave it out for any.")
        return dict(given)


def instrument(
    config: Path,
    folder: Path,
    allowed: Allowed,
    console: Console,
    *,
    modality: str | None,
    output: str | None,
    tool: str,
    idle_s: float,
    by: str,
) -> None:
    """Let an agent drive the instrument of a settings file until it leaves, or Ctrl-C.

    Raises:
        SettingsError, ModuleNotFoundError: before anything is started.
        Exception: what the instrument raises.
    """
    _require()
    if modality is not None and modality not in MODALITIES.values():
        raise SettingsError(f"--modality is one of {', '.join(MODALITIES.values())}; got {modality}.")
    with Wire() as wire, StopFlag() as stop:
        settings = load(config)
        plan, budget = build(settings), allowed.options()
        kind = str(to_plain(settings)["instrument"]["kind"])
        folder.mkdir(parents=True, exist_ok=True)
        with _journal(folder / JOURNAL, plan) as journal, connect(
            plan, f"agent, journal {(folder / JOURNAL).resolve()}", stop=lambda: bool(stop), note=journal.append
        ) as device:  # fmt: skip
            say(
                console,
                f"{settings.campaign.name}: an agent may measure; its record is {folder / JOURNAL}. Ctrl-C ends it.",
            )
            serve_instrument(
                device,
                journal,
                name=settings.campaign.name if settings.campaign.name != "campaign" else kind,
                info={"technique": kind, "quantity": plan.quantity},
                units=device.units if isinstance(device, HasUnits) else None,
                output=output,
                modality=modality or _modality(device),
                scalarize=plan.scalarize,
                positions=device.positions if isinstance(device, HasPositions) else None,
                tool=tool,
                idle_s=idle_s,
                by=by,
                wire=wire,
                stop=lambda: bool(stop),
                **budget,
            )


def _journal(path: Path, plan: Plan) -> Campaign:
    if path.exists():
        return Campaign.open(path)
    axes = [{"name": a.name, "unit": a.unit, "low": a.low, "high": a.high} for a in plan.axes]
    about = {"program": "gpax-lab agent-instrument", "versions": versions(), "quantity": plan.quantity, "axes": axes}
    return Campaign.create(path, {"mark": secrets.token_hex(4)} | about)


def _modality(device: Any) -> str:
    """What a record holds; of an instrument nobody knows before it measures, and most give curves."""
    if isinstance(device, HasPositions) and isinstance(device, HasTruth):
        [first] = device.truth(np.asarray(device.positions)[:1])
        return MODALITIES.get(max(np.ndim(array) for array in first.arrays.values()), "curve")
    return "curve"


def campaign(
    path: Path, allowed: Allowed, console: Console, *, policy: str, by: str, by_hand: Path | None = None
) -> None:
    """Let an agent look at a campaign, and take part in it, until it leaves, or Ctrl-C.

    Raises:
        SettingsError, ModuleNotFoundError, JournalError, OSError: before anything is started.
    """
    _require()
    with Wire() as wire, StopFlag() as stop:
        given = {"policy": policy, "by": by, "wire": wire, "stop": lambda: bool(stop)}
        options: dict[str, Any] = given | allowed.options()
        if by_hand is not None:
            with _by_hand(path, by_hand) as (open_one, plan):
                say(console, f"{path}: an agent may ask and tell. Ctrl-C ends it.")
                serve_campaign(path, facts_of(plan), campaign=open_one, **options)
            return
        contents = opening(path)
        plan = plan_of(contents.records[0].header, path)
        say(console, f"{path}: an agent may look{'' if policy == 'never' else ' and wish'}. Ctrl-C ends it.")
        restored = Restoring(plan.experiment, plan.extend)
        serve_campaign(path, facts_of(plan, contents.records), restored=restored, **options)


@contextlib.contextmanager
def _by_hand(path: Path, config: Path) -> Iterator[tuple[AskTell, Plan]]:
    """A campaign without an instrument, new or gone on with."""
    settings = load(config)
    if path.exists():
        journal = Campaign.open(path)
        written = journal.header.get("settings")
        if written != to_plain(settings):
            journal.journal.close()
            raise SettingsError(f"{path} was begun with other settings than {config}: give those, or another journal.")
        plan = plan_of(journal.header, path)
    else:
        plan = build(settings)
        path.parent.mkdir(parents=True, exist_ok=True)
        journal = Campaign.create(path, header_of(plan))
        with products(path).settings.open("x", encoding="utf-8") as copy:
            copy.write(to_toml(settings))
    with journal:
        steps = plan.settings.campaign.steps
        yield (
            open_campaign(
                journal, plan.experiment, key=plan.key, seeds=plan.seeds, num_steps=steps, extend=plan.extend
            ),
            plan,
        )


def _require() -> None:
    try:
        require_extra()
    except ModuleNotFoundError as error:
        raise SettingsError(f"{error}.") from None
