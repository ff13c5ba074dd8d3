"""The instrument of a campaign, opened and let go."""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

from gpax_instruments.drivers.pfm import PFM
from gpax_instruments.errors import LINK_FAULTS

from gpax_lab.core import Instrument, InstrumentError
from gpax_lab.experiment._guard import UNSAFE, Guard
from gpax_lab.experiment._record import Record
from gpax_lab.settings._build import TWIN_RESPONSE, Plan
from gpax_lab.settings._schema import Pfm, Twin
from gpax_lab.storage._claim import claimed


@contextmanager
def connect(
    plan: Plan,
    who: str = "another campaign",
    *,
    step: int = 0,
    stop: Callable[[], bool] = lambda: False,
    note: Callable[[Record], None] = lambda entry: None,
    tell: Callable[[str], None] = lambda text: None,
) -> Iterator[Instrument]:
    """The instrument that the settings name; safe and closed (a twin: ended) afterwards.

    One that has an address is locked for as long, so that a second campaign of this machine is refused before it sends
    anything. A campaign on another machine is not locked out; it is noticed only, by what the instrument says of itself
    before every act (`storage.claim`). One that nobody can reach is waited for, `campaign.wait_s` seconds.

    Args:
        plan: of the campaign.
        who: what a second campaign is told of this one.
        step: of the campaign, for `note`.
        stop: whether somebody wants the waiting to end.
        note: records an entry in the journal.
        tell: shows a person what is waited for.

    Raises:
        InstrumentError: it does not answer, or is not what the settings say.
        InstrumentInUse: another campaign of this machine drives it.
        Paused: `stop` ended the waiting.
    """
    match plan.settings.instrument:
        case Pfm() as chosen:
            device = PFM(
                chosen.address,
                plan.axes,
                vmax=chosen.vmax,
                points=chosen.points,
                max_bias=chosen.max_bias,
                timeout_s=chosen.timeout_s,
                loop_timeout_s=chosen.loop_timeout_s,
                response_unit=chosen.response_unit,
                repeatable=chosen.repeatable,
            )
            with claimed(chosen.address, who), closing(device):
                _reach(device, plan.settings.campaign.wait_s, step, stop, note, tell)
                with _left_safe(device):
                    yield device
        case Twin() as chosen:
            from gpax_instruments.twins import start_pfm

            # A new twin has a fresh film of the same seed, and its noise follows from the token: repeating is honest.
            with (
                start_pfm(seed=chosen.seed, noise=chosen.noise, dwell=chosen.dwell) as twin,
                closing(PFM(
                    twin.address, plan.axes, vmax=chosen.vmax, points=chosen.points,
                    loop_timeout_s=30.0 + 2.0 * chosen.dwell, response_unit=TWIN_RESPONSE, repeatable=True,
                )) as device,
            ):  # fmt: skip
                device.connect()
                with _left_safe(device):
                    yield device
        case _:
            assert plan.record is not None
            yield plan.record


@contextmanager
def _left_safe(device: PFM) -> Iterator[None]:
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
    device: PFM,
    wait_s: float,
    step: int,
    stop: Callable[[], bool],
    note: Callable[[Record], None],
    tell: Callable[[str], None],
) -> None:
    """Connect, which makes safe before anything else; wait for an instrument that can not be reached."""
    try:
        device.connect()
    except LINK_FAULTS as fault:
        if wait_s > 0:
            tell(f"{fault}\nIt is waited for, up to {wait_s:g} s; Ctrl-C ends the waiting.")
        guard = Guard(device, LINK_FAULTS, wait_s, None, stop, note)
        try:
            guard.await_return(fault, step, device.connect)  # one that answers once and is silent again is not back
        finally:
            guard.watch.end()
