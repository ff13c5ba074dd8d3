"""The live page of a campaign on the command line, and acts on one that another program runs."""

import contextlib
import getpass
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from gpax_lab.acquisition import Pool
from gpax_lab.cli._review import finished, in_force, opening, plan_of, positions_of
from gpax_lab.cli._terminal import say
from gpax_lab.experiment import Event
from gpax_lab.experiment._signals import StopFlag
from gpax_lab.live import BadWish, Facts, Inbox, Page, Wish, leave
from gpax_lab.live._follow import Follower
from gpax_lab.live._gate import Gate
from gpax_lab.live._page import require_extra
from gpax_lab.live._restored import Restoring
from gpax_lab.live._wish import folder_of, wish_of
from gpax_lab.settings import Plan, SettingsError
from gpax_lab.settings._interventions import Planned
from gpax_lab.storage import Campaign

TOKEN = "GPAX_LAB_LIVE_TOKEN"
"""Environment variable with a secret for pages that others than this machine can reach."""


@dataclass(frozen=True)
class Served:
    """Where a live page listens.

    Attributes:
        port: 0 for any.
        host: of this machine.
        names: under which browsers know it beside localhost.
    """

    port: int = 0
    host: str = "127.0.0.1"
    names: tuple[str, ...] = ()


class Attended:
    """All that takes part in a campaign beside the instrument: settings that plan, people, pages.

    Attributes:
        hooks: of `run`.
        inbox: where wishes wait.
    """

    def __init__(self, plan: Plan, campaign: Campaign, page: Page | None, inbox: Inbox) -> None:
        self.inbox, self._page = inbox, page
        self._planned = Planned(plan.settings.interventions, campaign.history)
        inbox.follow(campaign.history[-1].step)
        self.hooks: list[Callable[..., Any]] = [self._planned] if plan.settings.interventions else []
        self.hooks += [inbox] if page is None else [inbox, page]

    def __call__(self, event: Event) -> None:
        """Tell all of them of an event."""
        self._planned.follow(event)
        if event.phase == "learn":
            self.inbox.follow(event.step)
        if self._page is not None:
            self._page.callback(event)


@contextlib.contextmanager
def attended(plan: Plan, campaign: Campaign, served: Served | None, console: Console) -> Iterator[Attended]:
    """The inbox of a campaign, and a page where one is wanted."""
    path = campaign.journal.path
    inbox = Inbox(campaign, path, axes=plan.axes, scalarizers=plan.scalarizers, rules=plan.rules, extend=plan.extend)
    if served is None:
        yield Attended(plan, campaign, None, inbox)
        return
    with _page(path, plan, served, console, inbox=inbox) as page:
        yield Attended(plan, campaign, page, inbox)


def follow(path: Path, served: Served, console: Console, over: Callable[[], bool] = lambda: False) -> None:
    """Show a campaign that another program runs, until Ctrl-C.

    Raises:
        FileNotFoundError, JournalError, SettingsError: no such campaign, or not one of the command line's.
    """
    contents = opening(path)
    plan = plan_of(contents.records[0].header, path)
    restored = Restoring(plan.experiment, plan.extend)
    with StopFlag() as stop, _page(path, plan, served, console, restored=restored, settings=contents.records):
        while not stop and not over():
            time.sleep(0.1)


@contextlib.contextmanager
def _page(
    path: Path, plan: Plan, served: Served, console: Console, *, settings: Sequence[Any] = (), **more: Any
) -> Iterator[Page]:
    facts = facts_of(plan, settings)
    link = path.with_suffix(".link") if "inbox" in more else None

    def told(address: str) -> None:
        say(console, f"Live page: {address}")

    page = Page(
        path,
        facts,
        host=served.host,
        port=served.port,
        token=_token(),
        names=served.names,
        link=link,
        told=told,
        **more,
    )
    with page:
        yield page


def check(served: Served) -> Served:
    """The same, where a page can be served like that; asked before a campaign is begun.

    Raises:
        SettingsError: the extra is missing, or others could reach the page and there is no secret.
    """
    try:
        require_extra()
        Gate(served.host, _token(), served.names)
    except (ValueError, ModuleNotFoundError) as error:
        raise SettingsError(f"{error}.") from None
    return served


def _token() -> str | None:
    return os.environ.get(TOKEN) or None


def facts_of(plan: Plan, records: Sequence[Any] = ()) -> Facts:
    """What a campaign is about; with the entries of its journal, by the settings that are in force."""
    now = in_force(plan, records) if records else plan.settings
    return Facts(
        title=now.campaign.name,
        axes=plan.axes,
        quantity=(plan.quantity["name"], plan.quantity["unit"]),
        positions=positions_of(plan),
        steps=now.campaign.steps,
        maximize=plan.maximize,
        pool=isinstance(plan.candidates, Pool),
        scalarizers=tuple(plan.scalarizers),
        laws=plan.settings.hypotheses is not None,
    )


def act(path: Path, action: str, given: dict[str, Any], by: str, why: str, wait_s: float) -> tuple[str, bool]:
    """Leave a wish for the program that runs a campaign.

    Args:
        path: journal of the campaign.
        action: see `live.Wish`.
        given: what it needs.
        by: who wishes it; "" for the user of this machine.
        why: for what reason.
        wait_s: how long to wait until it is taken or refused.

    Returns:
        What to tell the person, and whether it was refused.

    Raises:
        FileNotFoundError, JournalError: no such campaign.
        SettingsError: such a wish means nothing.
    """
    if finished(opening(path).records):
        raise SettingsError(f"{path}: this campaign is finished; nobody takes a wish any more.")
    try:
        wish = Wish(action, given, by or getpass.getuser(), why)
    except BadWish as error:
        raise SettingsError(f"{error}.") from None
    leave(folder_of(path), wish)
    follower, end = Follower(path), time.monotonic() + wait_s
    while True:
        for record in follower.poll():
            if record.header.get("wish") == wish.id:
                if record.kind == "refusal":
                    return f"Refused: {record.header['reason']}", True
                return f"Taken after step {record.step}.", False
        if time.monotonic() >= end:
            return "It waits: the program that runs the campaign takes it between two measurements.", False
        time.sleep(0.05)


def asking(path: Path) -> str:
    """What programs ask a person to approve, one wish a line."""
    opening(path)
    found = []
    for file in sorted(folder_of(path).glob("*.json")):
        with contextlib.suppress(BadWish, OSError, TypeError):
            wish = wish_of(file.read_bytes())
            if wish.asks:
                found.append(f"{wish.id}  {wish.by}: {wish.action} {json.dumps(dict(wish.given))[:200]}. {wish.why}")
    return "\n".join(found) or "Nothing waits to be approved."


def points(texts: Sequence[str]) -> list[list[float]]:
    """Points from texts such as "1e-6, 2e-6".

    Raises:
        SettingsError: no numbers.
    """
    try:
        return [[float(part) for part in text.split(",")] for text in texts]
    except ValueError:
        raise SettingsError(f"a point is numbers with commas between them, such as 1e-6,2e-6; got {texts}.") from None


def box(text: str) -> list[list[float]]:
    """A box from text such as "0:1e-6, 2e-6:3e-6".

    Raises:
        SettingsError: no ranges.
    """
    try:
        return [[float(end) for end in part.split(":")] for part in text.split(",")]
    except ValueError:
        raise SettingsError(
            f"a box is ranges with commas between them, such as 0:1e-6,2e-6:3e-6; got {text}."
        ) from None


def table(text: str) -> Any:
    """A table from JSON text.

    Raises:
        SettingsError: it is none.
    """
    try:
        return json.loads(text)
    except ValueError:
        raise SettingsError(f"this is no table in JSON: {text}.") from None
