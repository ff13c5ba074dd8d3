"""The commands of `gpax-lab` that serve agents."""

from pathlib import Path
from typing import Annotated

import typer

from gpax_lab.cli import _agents as agents
from gpax_lab.cli._complaints import explained

Journal = Annotated[Path, typer.Argument(metavar="FILE", help="Journal of a campaign (.gpxj).")]
Points = Annotated[int | None, typer.Option("--points", help="Points that the agent may use up.", min=1)]
Minutes = Annotated[float | None, typer.Option(help="From the agent's first act on.")]
Dose = Annotated[float | None, typer.Option(help="Sum over all measurements that ends it.")]
DoseOf = Annotated[str, typer.Option(help="Array of a measurement that says its dose.")]
Agent = Annotated[str, typer.Option("--by", help="Name of the agent in the record.")]


def agent_instrument(
    context: typer.Context,
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="Settings (TOML) that name the instrument.")],
    out: Annotated[Path | None, typer.Option(help="Folder for the record; by default named like CONFIG.")] = None,
    modality: Annotated[str | None, typer.Option(help="curve, image or hyperspectral.")] = None,
    output: Annotated[str | None, typer.Option(help="Array of a measurement that is handed over.")] = None,
    tool: Annotated[str, typer.Option(help="Name of the tool that measures.")] = "acquire",
    allow: Points = None,
    minutes: Minutes = None,
    dose: Dose = None,
    dose_of: DoseOf = "dose",
    idle: Annotated[float, typer.Option(help="s without use until the instrument is made safe.", min=0.0)] = 60.0,
    by: Agent = "agent",
) -> None:
    """Let an agent drive an instrument by the Model Context Protocol, over standard input and output."""
    with explained(context) as console:
        allowed = agents.Allowed(allow, minutes, dose, dose_of)
        agents.instrument(
            config, out or Path(f"{config.stem}-agent"), allowed, console, modality=modality, output=output, tool=tool,
            idle_s=idle, by=by,
        )  # fmt: skip


def agent_campaign(
    context: typer.Context,
    file: Journal,
    by_hand: Annotated[
        Path | None, typer.Option(help="Settings of a campaign whose points the agent measures.")
    ] = None,
    policy: Annotated[str, typer.Option(help="Acts: never, ask (a person approves them), or free.")] = "ask",
    allow: Points = None,
    minutes: Minutes = None,
    dose: Dose = None,
    dose_of: DoseOf = "dose",
    by: Agent = "agent",
) -> None:
    """Let an agent look at a campaign, and take part in it, by the Model Context Protocol."""
    with explained(context) as console:
        allowed = agents.Allowed(allow, minutes, dose, dose_of)
        agents.campaign(file, allowed, console, policy=policy, by=by, by_hand=by_hand)
