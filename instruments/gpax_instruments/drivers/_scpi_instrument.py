"""A microscope over SCPI: the questions that its driver asks, and the one command that acts."""

import contextlib
import time

import numpy as np

from gpax_instruments.drivers._acts_once import ActsOnce
from gpax_instruments.drivers._bounded import judged
from gpax_instruments.errors import LINK_FAULTS, DeviceError, Interference, PulseLost, StillBusy, UnknownOutcome
from gpax_instruments.links._deadline import after
from gpax_instruments.links._link import Link, open_link
from gpax_instruments.links._scpi import Scpi
from gpax_lab.core import InstrumentError

LITTLE_ENDIAN = "FORM:BORD SWAP"
"""Makes an instrument send blocks in little-endian order (SCPI 1999, FORMat:BORDer)."""

POWER_ON = "*ESE 128;*STB?"
"""Asks whether the instrument was switched on since its events were read last, and leaves the answer as it is: bit 7 of
the event register (IEEE 488.2, 11.5.1.1), let through to bit 5 of the status byte (11.2.1.1)."""

POLL_S = 0.005  # between two looks at a busy instrument


class ScpiInstrument(ActsOnce[Scpi]):
    """A microscope over SCPI, whose measurement acts at most once under a token. Nothing is opened before ``connect``.

    A driver says what its instrument is called, what it needs, which settings act on the sample, how the act is done,
    and what comes home: `model`, `act`, `word`, `_prepare`, `_check_settings`, `_perform` and `_fetch`.

    Args:
        address: ``tcp://host:port`` or a VISA resource name, see :func:`~gpax_instruments.links.open_link`.
        timeout_s: seconds for one exchange.
        busy_timeout_s: seconds that the instrument may be busy.
        tag: echo query that numbers the answers; None for an instrument without one.
        link: an open link to use in place of address.
    """

    model: str
    """Must occur in the identity."""

    word: str
    """First part of the queries about the last measurement."""

    def __init__(
        self, address: str, timeout_s: float, busy_timeout_s: float, tag: str | None, link: Link | None
    ) -> None:
        super().__init__(address, timeout_s, busy_timeout_s)
        self._tag, self._link = tag, link

    @property
    def scpi(self) -> Scpi:
        """The client below; LinkLost where nobody answers."""
        return self.client

    def _open(self) -> Scpi:
        link = self._link or open_link(self.address, self.timeout_s)
        return Scpi(link, self.timeout_s, tag=self._tag, setup=self._setup)

    def _check_identity(self, client: Scpi) -> None:
        identity = client.query("*IDN?")
        if self.model not in identity.upper():
            raise DeviceError(f"{self.address} is {identity!r}, not a {self.model}; check the address")

    def _switched_on(self, client: Scpi) -> bool:
        return bool(int(client.query_finite(POWER_ON, 1)[0]) & 32)

    def _will_remember(self) -> None:
        self.scpi.read_again("*ESR?")

    def _clear_errors(self, client: Scpi) -> None:
        client.errors()

    # --- the safe state -------------------------------------------------------------------------------------------

    def _ask_safe(self, client: Scpi) -> None:
        client.write("SAFE")

    def _safe_unseen(self, client: Scpi) -> None:
        link = client.link
        with contextlib.suppress(InstrumentError):
            link.reconnect(after(self.timeout_s))
            link.write(b"SAFE\n", after(self.timeout_s))
        link.close()

    def _unsafe(self, client: Scpi) -> str:
        tip, bias = client.query("TIP?").strip().upper(), client.query_numbers("BIAS?")[0]
        if tip == "WITHDRAWN" and bias.tolist() == [0.0]:
            return ""
        return f"tip {tip}, bias {bias.tolist()} V; withdraw by hand"

    # --- tokens -----------------------------------------------------------------------------------------------------

    def _told_now(self, client: Scpi) -> str:
        return _unquoted(client.query(f"{self.word}:TOK?"))

    def _told(self) -> str:
        return _unquoted(self.scpi.read_again(f"{self.word}:TOK?"))

    def _used(self, token: str) -> bool:
        command = f'{self.word}:USED? "{token}"'
        answer = self.scpi.read_again(command).strip()
        if answer not in ("0", "1"):
            raise DeviceError(f"{self.address}: {command} is answered {answer[:40]!r}, where 0 or 1 is needed")
        return answer == "1"

    # --- acting -----------------------------------------------------------------------------------------------------

    def _check_bias(self) -> None:
        """Raise Interference unless the constant bias is 0: in the safe state it was, and we never set another."""
        bias = self.scpi.read_finite_again("BIAS?", 1)
        if bias[0] != 0.0:
            raise Interference(
                f"{self.address}: the tip is at {float(bias[0])!r} V, which this program did not ask for"
            )

    def _block(self, command: str, dtype: str) -> np.ndarray:
        """A block of numbers, little-endian, since another program may have turned the order; again after a fault."""
        return self.scpi.read_block_again(command, dtype, first=LITTLE_ENDIAN)

    def _command(self, command: str, busy_timeout_s: float | None = None) -> list[str] | None:
        """Send once what acts on the world, wait for its end, and return what the error queue holds.

        None when the link broke on the way, so that the command may or may not have arrived. Raises StillBusy.
        """
        before = self.scpi.reconnects
        try:
            self.scpi.write(command)
            self._wait_idle(busy_timeout_s)
            errors = self.scpi.errors()
        except StillBusy:
            raise  # waiting as long again would only leave it longer as it is
        except LINK_FAULTS:
            return None
        return errors if self.scpi.reconnects == before else None

    def _act(self, token: str, command: str, busy_timeout_s: float | None = None, remedy: str = "") -> None:
        """Send the command that measures under token, once, and see it done.

        Raises:
            DeviceError: the instrument refused it; remedy goes with the reason.
            PulseLost: the instrument was switched off and on meanwhile; it was made safe, and nothing is repeated.
            UnknownOutcome: it may have happened, or is still going on.
        """
        self._ours(token)
        try:
            errors = self._command(command, busy_timeout_s)
            if errors is None:
                self._wait_idle(busy_timeout_s)
            done = self._done()
        except LINK_FAULTS as fault:
            raise UnknownOutcome(
                f"{self.act} {token}: begun, and the instrument cannot be asked any more, or does not end ({fault})"
            ) from fault
        if done == token:
            self._blank = False
            return
        if errors:
            raise DeviceError(f"{self.act} {token} was refused: {'; '.join(errors)}{remedy}")
        if self._lost_to_power(token):
            raise PulseLost(self._cut_by_power(token))
        raise UnknownOutcome(
            f"{self.act} {token}: the instrument's last {self.act} is {done!r}, and whether this one was begun is not "
            f"known ({'the link broke' if errors is None else 'no error reported'}); look at the sample before going on"
        )

    def _wait_idle(self, busy_timeout_s: float | None = None) -> None:
        """Return when idle. Raises StillBusy after busy_timeout_s, None for `busy_timeout_s`."""
        seconds = judged(self, "busy_timeout_s") if busy_timeout_s is None else busy_timeout_s
        deadline = after(seconds)
        while (state := self.scpi.read_again("STAT?").strip().upper()) != "IDLE":
            if not time.monotonic() <= deadline:
                raise StillBusy(
                    f"{self.address}: still {state[:40]} after {seconds:g} s; look at the instrument, or allow it "
                    "more time"
                )
            time.sleep(POLL_S)


def _unquoted(answer: str) -> str:
    return answer.strip().strip('"')
