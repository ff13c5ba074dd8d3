"""The instrument of a campaign, opened and let go."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import Any

from gpax_lab.core import Instrument, InstrumentError
from gpax_lab.experiment._guard import UNSAFE, Guard
from gpax_lab.experiment._record import Record
from gpax_lab.settings._build import Plan
from gpax_lab.settings._instrument import driver_of
from gpax_lab.storage._claim import claimed

LOST = (ConnectionError, TimeoutError)
"""Errors by which a driver may say that its instrument can not be reached, beside an `InstrumentError` that is
`unreachable`."""


@contextmanager
def connect(
    plan: Plan,
    who: str = "another campaign",
    *,
    step: int = 0,
    stop: Callable[[], bool] = lambda: False,
    note: Callable[[Record], None] = lambda entry: None,
    callback: Callable[[str], None] = lambda text: None,
) -> Iterator[Instrument]:
    """The instrument that the settings name; safe and closed (a simulated one: ended) afterwards.

    One that has an address, or another field that says which one it is (its class names it in `claimed_by`), is locked
    for as long, so that a second campaign of this machine is refused before it sends anything. A campaign on another
    machine is not locked out; it is noticed only, by what the instrument says of itself before every act
    (`storage.claim`). One that nobody can reach is waited for, `campaign.wait_s` seconds.

    Args:
        plan: of the campaign.
        who: what a second campaign learns of this one.
        step: of the campaign, for `note`.
        stop: whether somebody wants the waiting to end.
        note: records an entry in the journal.
        callback: shows a person what is waited for.

    Raises:
        Exception: it does not answer, or is not what the settings say.
        InstrumentInUse: another campaign of this machine drives it.
        Paused: `stop` ended the waiting.
    """
    chosen = plan.settings.instrument
    device, address = driver_of(chosen), _place(chosen)
    with ExitStack() as stack:
        if address is not None:
            stack.enter_context(claimed(address, who))
        if hasattr(device, "close"):
            stack.enter_context(closing(device))
        if hasattr(device, "connect"):
            wait_s = plan.settings.campaign.wait_s if address is not None else 0.0
            _reach(device, wait_s, step, stop, note, callback)
        stack.enter_context(_left_safe(device))
        yield device


def _place(chosen: Any) -> str | None:
    """What is locked: the address, or the field that the driver's class names; None where it has none."""
    driver = type(chosen).made_by
    value = getattr(chosen, getattr(driver, "claimed_by", "address"), None)
    return None if value is None else str(value)


@contextmanager
def _left_safe(device: Any) -> Iterator[None]:
    """Make safe at the end; where that fails after an error, the error is the one to show, with a note."""
    try:
        yield
    except BaseException as error:
        try:
            device.make_safe()
        except InstrumentError as fault:
            if not any(UNSAFE in note for note in getattr(error, "__notes__", ())):
                error.add_note(f"{UNSAFE} ({fault}): go to it.")
        raise
    device.make_safe()


def _reach(
    device: Any,
    wait_s: float,
    step: int,
    stop: Callable[[], bool],
    note: Callable[[Record], None],
    callback: Callable[[str], None],
) -> None:
    """Connect, which makes safe before anything else; wait for an instrument that can not be reached."""
    try:
        device.connect()
    except (InstrumentError, *LOST) as fault:
        guard = Guard(device, LOST, wait_s, None, stop, note)
        if not guard.lost(fault):
            raise
        if wait_s > 0:
            callback(f"{fault}\nIt is waited for, up to {wait_s:g} s; Ctrl-C ends the waiting.")
        try:
            guard.await_return(fault, step, device.connect)  # one that answers once and is silent again is not back
        finally:
            guard.watch.end()
