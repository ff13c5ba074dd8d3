"""A microscope that is safe before anything else: whenever it is connected, and whenever an error ends it."""

import contextlib
import time
from abc import abstractmethod
from collections.abc import Iterator
from types import TracebackType
from typing import Generic, Protocol, Self, TypeVar, runtime_checkable

from gpax_instruments.drivers._bounded import Bounded
from gpax_instruments.errors import LINK_FAULTS, DeviceError, DoseSpent
from gpax_instruments.links._link import Link
from gpax_lab.core import Axis, Instrument, InstrumentError


@runtime_checkable
class Client(Protocol):
    """What speaks to an instrument over a link, and sets it up anew after every reconnection."""

    link: Link
    attempts: int
    pause_s: float

    @property
    def ready(self) -> bool:
        """Whether the link is open and was set up."""

    def connect(self) -> str:
        """Make the link usable, and return the identity."""

    def close(self) -> None:
        """Close the link."""


C = TypeVar("C", bound=Client)


class Connection(Instrument, Generic[C]):
    """The client of an instrument, and its safe state. Nothing is opened before ``connect``.

    Args:
        address: of the instrument.
        timeout_s: seconds for one exchange.
    """

    axes: tuple[Axis, ...]

    MAX_TIMEOUT_S = 3600.0
    """s: an exchange that takes an hour has failed, and a campaign that waits longer for it is lost to the night."""

    timeout_s = Bounded("s", 0.0, "MAX_TIMEOUT_S", above=True)

    def __init__(self, address: str, timeout_s: float) -> None:
        self.address, self.timeout_s = address, timeout_s
        self._client: C | None = None
        self._greeted = self._only_safe = self._bare = False

    @property
    def client(self) -> C:
        """What speaks to the instrument; LinkLost where nobody answers."""
        if self._client is None:
            self._client = self._open()
        return self._client

    @property
    def _safe_client(self) -> C:
        """What the safe state is asked for by; another one than `client` where that may be held up."""
        return self.client

    @abstractmethod
    def _open(self) -> C:
        """A client that calls `_setup` after every (re)connection."""

    def connect(self) -> Self:
        """Open the link, make safe, check the instrument.

        The safe state comes before all but the identity: a program that was killed may have left the tip down, a bias
        on, a beam unblanked or a pulse going on. A measurement that is under way is cut off.

        Raises:
            DeviceError: another instrument, one that does not get safe, or one that can not do what is asked.
            LinkLost, LinkTimeout, BadFrame: the link failed.
        """
        self._greeted = False
        self._begin_anew()
        if self._safe_client is not self.client or self.client.ready:
            self.make_safe()
            self._greeted = True
        if self._greeted and self.client.ready:
            self._prepare(self.client)  # somebody may have changed what we had set
            self._look_back(self.client)
        for attempt in range(self.client.attempts):
            try:
                self.client.connect()  # greets over a new link
                break
            except LINK_FAULTS:
                if self._greeted or attempt + 1 == self.client.attempts:  # safe, or nobody is there
                    raise
                time.sleep(self.client.pause_s)
        return self

    def identity(self) -> str:
        """Maker, model, serial number and version, as the instrument tells them."""
        return self.client.connect()

    def close(self) -> None:
        """Close the link. The instrument stays as it is: call ``make_safe`` first."""
        if self._client is not None:
            self._client.close()

    def __enter__(self) -> Self:
        return self.connect()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        try:
            self.make_safe()
        finally:
            self.close()

    def _setup(self, client: C) -> None:
        """Runs after every (re)connection; may only write what does no harm when repeated."""
        self._check_identity(client)
        known = self._greeted
        if not known:  # later connections may come in the middle of a measurement, which the safe state would end
            self._greet(client)
        self._bare = self._only_safe
        if not self._bare:
            if self._switched_on(client):
                self._forget()
                if known:
                    self._greet(client)  # nothing is going on that the safe state could end
            self._prepare(client)
            self._look_back(client)

    def _greet(self, client: C) -> None:
        """Make safe what we do not know yet."""
        self._ask_safe(client)
        self._see_safe(client)
        self._clear_errors(client)  # errors of whoever was here before are not ours
        self._greeted = True

    @abstractmethod
    def _check_identity(self, client: C) -> None:
        """Raise DeviceError where another instrument answers."""

    def _switched_on(self, client: C) -> bool:
        """Whether the instrument was switched on since it was asked last."""
        return False

    def _clear_errors(self, client: C) -> None:
        """Take what errors it has kept."""

    @abstractmethod
    def _prepare(self, client: C) -> None:
        """What a measurement needs beyond the greeting; the safe state is reached without it."""

    @abstractmethod
    def _begin_anew(self) -> None:
        """What somebody else has done before we connect is no longer ours to judge."""

    @abstractmethod
    def _forget(self) -> None:
        """The instrument was switched off and on: it knows nothing of what was begun before."""

    @abstractmethod
    def _look_back(self, client: C) -> None:
        """Before our first act: what the instrument still knows of those before."""

    # --- the safe state -------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _safe_when_stopped(self) -> Iterator[None]:
        """Make safe when an error ends the campaign; one that costs a point alone leaves the instrument as it is."""
        try:
            yield
        except DoseSpent:
            raise  # nothing was exposed, and the beam was seen blanked
        except InstrumentError as fault:
            if not fault.point_failed:
                try:
                    self.make_safe()
                except InstrumentError as error:
                    words = "; ".join([str(error), *getattr(error, "__notes__", ())])
                    fault.add_note(f"and it could not be made safe: {words}")
            raise

    def stop(self, success: bool = True) -> None:
        """Halt: the same as ``make_safe``, whatever the reason."""
        self.make_safe()

    def make_safe(self) -> None:
        """Withdraw the tip and set the bias to 0 (blank the beam), and see that it is so. May be repeated.

        Raises:
            DeviceError: the instrument answers but is not safe.
            LinkLost, LinkTimeout, BadFrame: it could not be asked. Go to the instrument.
        """
        self._only_safe = True  # limits that do not fit are no reason to leave the tip down
        try:
            self._reach_safe()
        finally:
            self._only_safe = False

    def _reach_safe(self) -> None:
        client = self._safe_client
        for attempt in range(client.attempts):
            try:
                client.connect()
                self._ask_safe(client)
                self._see_safe(client)
            except LINK_FAULTS as fault:
                if attempt == 0 and self._greeted:
                    self._safe_unseen(client)
                if attempt + 1 == client.attempts:
                    fault.add_note("the safe state was asked for and not seen to be obeyed; go to the instrument")
                    raise
                continue
            if self._bare:
                client.close()  # the next call opens it anew, and prepares it
            return

    @abstractmethod
    def _ask_safe(self, client: C) -> None:
        """Ask for the safe state."""

    def _safe_unseen(self, client: C) -> None:
        """Ask an instrument that has stopped answering, and that we knew, for the safe state: it may still obey."""

    def _see_safe(self, client: C) -> None:
        trouble = self._unsafe(client)
        if trouble:
            raise DeviceError(f"not safe: {trouble}")

    @abstractmethod
    def _unsafe(self, client: C) -> str:
        """What is not as it should be in the safe state, in words with a remedy; empty when all is well."""
