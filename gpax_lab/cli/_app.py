"""The commands of `gpax-lab`."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from gpax_lab._version import __version__
from gpax_lab.cli import _agent_commands as agents
from gpax_lab.cli import _live as people
from gpax_lab.cli import _run_campaign as campaigns
from gpax_lab.cli._complaints import explained
from gpax_lab.cli._demo import demo_settings
from gpax_lab.cli._outputs import check_own, check_replaceable, is_plot, products, quoted
from gpax_lab.cli._recorded import recorded, told
from gpax_lab.cli._review import finished, in_force, plan_of, review
from gpax_lab.cli._summary import summary
from gpax_lab.cli._terminal import say
from gpax_lab.core._environment import Stopwatch, setup
from gpax_lab.experiment import _versions as versions
from gpax_lab.live._wish import ACTIONS
from gpax_lab.settings import Settings, SettingsError, build, explain, load
from gpax_lab.settings._build import continued
from gpax_lab.settings._changes import agreed, changes, check_code
from gpax_lab.settings._files import to_toml
from gpax_lab.settings._instrument import files_of
from gpax_lab.storage import Campaign

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
for command in (agents.agent_instrument, agents.agent_campaign):
    app.command()(command)

Journal = Annotated[Path, typer.Argument(metavar="FILE", help="Journal of a campaign (.gpxj).")]
Live = Annotated[bool, typer.Option("--live", help="Serve a page on which people take part.")]
Port = Annotated[int, typer.Option(help="Of the live page; by default any that is free.", min=0, max=65535)]
Host = Annotated[str, typer.Option(help="Where the live page listens; another one than this machine needs a token.")]
Names = Annotated[list[str] | None, typer.Option("--name", help="Another name under which browsers know the page.")]


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"gpax-lab {__version__}")
        raise typer.Exit


@app.callback()
def options(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Tell it and end.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show where an error came from.")] = False,
) -> None:
    """An instrument that decides where to measure next."""
    context.obj = debug
    setup(verbose=False)  # the progress line says it


@app.command()
def demo(
    context: typer.Context,
    out: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("gpax-lab-demo"),
    steps: Annotated[int, typer.Option(help="Points to choose after the seeds.")] = 30,
    seed: Annotated[int, typer.Option(help="Which simulated film.")] = 0,
    live: Live = False,
    port: Port = 0,
) -> None:
    """Find and map the region of largest loop area on a simulated microscope."""
    with explained(context) as console:
        _start(demo_settings(steps, seed), out, console, served=_served(live, port))


@app.command()
def run(
    context: typer.Context,
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="Settings (TOML).")],
    out: Annotated[Path | None, typer.Option(help="Folder for the results; by default named like CONFIG.")] = None,
    live: Live = False,
    port: Port = 0,
    host: Host = "127.0.0.1",
    names: Names = None,
) -> None:
    """Run a campaign from your own settings."""
    with explained(context) as console:
        settings = load(config)
        given = [config, *map(Path, files_of(settings))]
        _start(settings, out or Path(config.stem), console, given, _served(live, port, host, names))


@app.command()
def resume(
    context: typer.Context,
    file: Journal,
    settings: Annotated[
        Path | None, typer.Option(help="Settings to go on with; by default settings.toml beside FILE.")
    ] = None,
    address: Annotated[str | None, typer.Option(help="Where the instrument is now.")] = None,
    yes: Annotated[
        bool,
        typer.Option(
            "--yes", help="Settings that differ from the journal's, or files with code that they name, are meant."
        ),
    ] = False,
    as_journalled: Annotated[
        bool, typer.Option("--as-journalled", help="Go on with the journal's settings, whatever files say.")
    ] = False,
    another: Annotated[
        bool, typer.Option("--another", help="The instrument is another one, or allows more, and that is meant.")
    ] = False,
    live: Live = False,
    port: Port = 0,
    host: Host = "127.0.0.1",
    names: Names = None,
) -> None:
    """Go on with a campaign that was paused or interrupted.

    Limits may be narrower than at the start, and never wider.
    """
    with explained(context) as console:
        started, watch = time.monotonic(), Stopwatch()
        with Campaign.open(file) as campaign:
            if campaign.journal.told:
                say(console, campaign.journal.told)
            check_own(products(file))
            plan = plan_of(campaign.header, file)
            now = in_force(plan, campaign.history)
            wanted, source = campaigns.wanted(now, products(file), settings, as_journalled)
            agreed(changes(now, wanted), source, yes)
            then = campaigns.moved(wanted, address)
            found = changes(now, then)
            if finished(campaign.history) and not found:
                say(console, "This campaign is finished; what it left is written anew.")
                campaign.export()
                campaigns.write_outputs(file)
                return
            if changed := versions.differences(campaign.history, versions.versions()):
                say(console, versions.withdrawal(changed))
            check_code(then, trusted=yes or settings is not None)
            plan = continued(plan, then)
            if found:
                say(console, f"From now on: {'; '.join(map(str, found))}.")
                campaigns.change(campaign, found, then, now, wanted)
            served = _served(live, port, host, names)
            ended = campaigns.run_campaign(plan, campaign, console, watch, started, another, served)
        _close(ended, file, console)


@app.command()
def watch(context: typer.Context, file: Journal, port: Port = 0, host: Host = "127.0.0.1", names: Names = None) -> None:
    """Show a campaign that another program runs on a page, for looking only; Ctrl-C ends it."""
    with explained(context) as console:
        people.follow(file, people.check(people.Served(port, host, tuple(names or ()))), console)


@app.command()
def act(
    context: typer.Context,
    file: Journal,
    action: Annotated[str, typer.Argument(metavar="ACT", help=f"One of {', '.join(ACTIONS)}.")],
    at: Annotated[list[str] | None, typer.Option(help="A point to pin or to veto, such as 1e-6,2e-6.")] = None,
    box: Annotated[str | None, typer.Option(help="A box to veto, such as 0:1e-6,2e-6:3e-6.")] = None,
    weights: Annotated[str | None, typer.Option(help="Of the acquisition function's terms, such as 1,0.5.")] = None,
    scalarizer: Annotated[str | None, typer.Option(help="Another one that the settings name.")] = None,
    law: Annotated[str | None, typer.Option(help="Name of a law to adopt or to reject.")] = None,
    formula: Annotated[str | None, typer.Option(help="Of the law.")] = None,
    prior: Annotated[str | None, typer.Option(help="Of the law's parameters, a table in JSON.")] = None,
    token: Annotated[str | None, typer.Option(help="Name of a measurement to discard, as the journal has it.")] = None,
    wish: Annotated[str | None, typer.Option(help="Id of what to approve or decline; none: show what asks.")] = None,
    agree: Annotated[bool | None, typer.Option("--agree/--go-on", help="Answer to a question whether to stop.")] = None,
    by: Annotated[str, typer.Option(help="Who wishes it; by default the user of this machine.")] = "",
    why: Annotated[str, typer.Option(help="For what reason.")] = "",
    wait: Annotated[float, typer.Option(help="s to wait until it is taken or refused.", min=0.0)] = 0.0,
) -> None:
    """Take part in a campaign that another program runs: pause, resume, stop, pin a point, veto a box ..."""
    with explained(context) as console:
        if action in ("approve", "decline") and wish is None:
            say(console, people.asking(file))
            return
        given = {
            "x": people.points(at) if at else None,
            "box": None if box is None else people.box(box),
            "weights": None if weights is None else people.points([weights])[0],
            "scalarizer": scalarizer,
            "name": law,
            "formula": formula,
            "prior": None if prior is None else people.table(prior),
            "token": token,
            "asked": wish,
            "stop": agree,
        }
        told, refused = people.act(file, action, {k: v for k, v in given.items() if v is not None}, by, why, wait)
        say(console, told)
        if refused:
            raise typer.Exit(1)


@app.command()
def plot(
    context: typer.Context,
    file: Journal,
    out: Annotated[Path | None, typer.Option(help="Plot to write; by default beside FILE.")] = None,
) -> None:
    """Draw the plot of a campaign."""
    with explained(context) as console:
        target = out or file.with_suffix(".png")
        check_replaceable(target, is_plot(target))  # before the work
        found = recorded(file)
        campaigns.draw(review(file) if found is None else found, target)
        say(console, str(target))


@app.command()
def export(
    context: typer.Context,
    file: Journal,
    documents: Annotated[
        Path | None, typer.Option(metavar="OUT", help="Write bluesky documents there, one a line (.jsonl).")
    ] = None,
    crate: Annotated[bool, typer.Option("--crate", help="Describe the folder for archives (RO-Crate).")] = False,
    license: Annotated[str | None, typer.Option(help="Address of the licence of the data, for --crate.")] = None,
) -> None:
    """Write the HDF5 file of a campaign anew, and what other programs read."""
    with explained(context) as console:
        from gpax_lab.cli._export import export as write

        say(console, "\n".join(map(str, write(file, documents, crate, license))))


@app.command()
def show(context: typer.Context, file: Journal) -> None:
    """Report what a campaign did, found and cost."""
    with explained(context) as console:
        if (found := recorded(file)) is not None:
            say(console, told(found))
            return
        report = review(file)
        say(console, f"{to_toml(report.plan.settings)}\n{summary(report)}")


@app.command()
def settings(
    context: typer.Context,
    config: Annotated[Path | None, typer.Argument(metavar="[CONFIG]", help="Settings (TOML) to check.")] = None,
    everything: Annotated[bool, typer.Option("--explain", help="Print all that settings may say.")] = False,
) -> None:
    """Check settings and print them with all defaults, or explain what settings may say."""
    with explained(context) as console:
        if everything == (config is not None):
            raise SettingsError("give a settings file to check, or --explain for all that it may say.")
        if config is None:
            say(console, explain())
            return
        checked = load(config)
        plan = build(checked)
        axes = ", ".join(f"{axis.name} {axis.low:g} to {axis.high:g} {axis.unit}" for axis in plan.axes)
        say(console, f"{to_toml(checked)}\nGood. {plan.quantity['name']} in {plan.quantity['unit']} over {axes}.")


@app.command()
def reconstruct(
    context: typer.Context,
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="Settings of a reconstruction (TOML).")],
    out: Annotated[Path | None, typer.Option(help="Folder for the results; by default named like CONFIG.")] = None,
) -> None:
    """Fill the holes of a measured image by a Gaussian process on its grid."""
    with explained(context) as console:
        from gpax_lab.cli._reconstruct import fill

        say(console, fill(config, out or Path(config.stem)))


@app.command()
def study(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where the results are kept.")],
    source: Annotated[
        str | None, typer.Argument(metavar="[MODULE:FUNCTION]", help="Gives the arguments of study; none: report only.")
    ] = None,
    index: Annotated[int | None, typer.Option(help="Compute this block alone, as one job of an array.")] = None,
    block: Annotated[int, typer.Option(help="Campaigns in a block.", min=1)] = 8,
) -> None:
    """Compute a study of simulated campaigns block by block, and report what is there.

    A study that was cut off goes on where it ended. "gpax-lab study FOLDER" tells which blocks are missing.
    """
    with explained(context) as console:
        from gpax_lab.cli._study import compute, report

        if source is None and index is not None:
            raise SettingsError(
                "--index computes a block: name the function that describes the study, module:function."
            )
        text = report(folder) if source is None else compute(source, folder, index, block, lambda t: say(console, t))
        say(console, text)


def _served(live: bool, port: int, host: str = "127.0.0.1", names: Sequence[str] | None = None) -> people.Served | None:
    if not live:
        if port or names or host != "127.0.0.1":
            raise SettingsError("--port, --host and --name are of the live page: add --live.")
        return None
    return people.check(people.Served(port, host, tuple(names or ())))


def _start(
    settings: Settings,
    folder: Path,
    console: Console,
    given: Sequence[Path] = (),
    served: people.Served | None = None,
) -> None:
    watch = Stopwatch()
    ended = campaigns.begin(settings, folder, console, watch, given=given, served=served)
    _close(ended, folder / settings.campaign.journal, console)


def _close(ended: campaigns.Ended, path: Path, console: Console) -> None:
    if not ended.outcome.finished:
        steps, begun = ended.outcome.steps, ended.outcome.state is not None or ended.outcome.steps > 0
        when = f"after {steps} {'step' if steps == 1 else 'steps'}" if begun else "before the first fit"
        reason = "" if ended.signal is not None and not ended.unsafe else f": {ended.outcome.reason}"
        say(console, f"\nPaused {when}{reason}. Go on with: gpax-lab resume {quoted(path)}")
        raise typer.Exit(ended.exit_code)
    report = campaigns.write_outputs(path)
    say(console, f"\n{summary(report)}\nResults in {path.parent}: {', '.join(one.name for one in products(path))}")
