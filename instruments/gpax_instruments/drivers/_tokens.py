"""What was done under a token: asked of the instrument before every act, and kept in doubt where it has forgotten."""

import re
from abc import abstractmethod

from gpax_instruments.drivers._connection import C, Connection
from gpax_instruments.errors import Interference

_TOKEN = re.compile(r"[A-Za-z0-9_.:-]{1,64}")


def check_token(token: str) -> None:
    """Raise ValueError where the token is none."""
    if not _TOKEN.fullmatch(token):
        raise ValueError(f"token {token!r}: letters, digits and _.:- only, 64 at most")


class TokenMemory(Connection[C]):
    """An instrument that can be asked under which token it acted last; arguments as in `Connection`.

    What it keeps in mind of the tokens (all of it private):

    | field | what it is | begins as | changes when |
    |---|---|---|---|
    | `_known` | tokens that may have been measured last | None: not looked yet | connected anew; ours are added |
    | `_interference` | what another program did, in words | empty | seen; cleared by connecting anew |
    | `_last` | token that was last seen done | empty | every look at the instrument |
    | `_switched` | it was switched on, and its register of events says so still | False | seen; until our next act |
    | `_blank` | it knows of no act: none yet, or none since it was switched on | False | seen; until one is done |
    | `_begun` | tokens that we have acted under, or found done | none | every act; emptied by a loss of power |
    | `_forgotten` | those of them of which it can tell nothing any more | none | every loss of power |
    """

    act: str
    """What one measurement is called in messages."""

    cost = ""
    """What an act that was cut off has cost, for messages; empty where an act leaves the sample as it is."""

    def __init__(self, address: str, timeout_s: float) -> None:
        super().__init__(address, timeout_s)
        self._known: set[str] | None = None  # tokens that may have been measured last; None: not looked yet
        self._interference = ""  # what somebody else did, in words
        self._last = ""  # token of the measurement that was last seen done
        self._switched = False  # it was switched on, and its register still says so
        self._blank = False  # it has done nothing yet, or nothing since it was switched on
        self._begun: set[str] = set()  # tokens that we have acted under, or found done
        self._forgotten: set[str] = set()  # those of them that it can not know of any more

    def _begin_anew(self) -> None:
        self._known, self._interference = None, ""

    @property
    def remembers_token(self) -> bool:
        """Whether the instrument can tell of a token that was used before whether it has acted under it.

        Not after it was switched off and on, nor where it has done nothing yet, until it has acted anew: then what was
        begun before has an unknown outcome, and may not be asked for again.
        """
        return not self._blank

    def _look_back(self, client: C) -> None:
        """Before our first act: an instrument that has done nothing knows of no token that was used before.

        It may have been switched off and on, and another program have read of it in the register of events.
        """
        if self._known is None and not self._told_now(client):
            self._blank = True

    @abstractmethod
    def _told_now(self, client: C) -> str:
        """The token of what was done last, asked once."""

    @abstractmethod
    def _told(self) -> str:
        """The token of what was done last, asked again after a fault of the link."""

    @abstractmethod
    def _used(self, token: str) -> bool:
        """Whether an act under token has begun, whatever became of it."""

    def _forget(self) -> None:
        """The instrument was switched off and on: it knows nothing of what was begun before."""
        self._switched, self._blank, self._last = True, True, ""
        self._forgotten |= self._begun
        self._begun.clear()

    def _lost_to_power(self, token: str) -> bool:
        """Whether an act under token may have begun, and the instrument can not know of it any more."""
        return bool(self.cost) and token in self._forgotten

    def _cut_by_power(self, token: str) -> str:
        return (
            f"{self.act} {token}: the instrument was switched off and on after it was asked for, and does not know "
            f"whether it had begun; it is not repeated, since perhaps {self.cost}"
        )

    def _done(self) -> str:
        """Token of the measurement done last, empty before the first."""
        done = self._told()
        if self._last and not done:
            self._forget()
            self.make_safe()
        self._last = done
        return done

    def _is_done(self, token: str) -> bool:
        """Whether the measurement of token is done already.

        Raises:
            Interference: the last one is neither ours nor the one that was there when we connected.
        """
        if self._interference:
            raise Interference(f"{self._interference}; connect again once the instrument is yours alone")
        done = self._done()
        if self._known is None:
            self._known = {done}
        if done not in {token, "", *self._known}:  # an instrument that was started anew has none
            raise Interference(
                f"{self.address}: its last measurement is {done!r}, which this program did not ask for: does another "
                "program use the instrument? Nothing was measured"
            )
        if done == token:
            self._ours(token)
        return done == token

    def _ours(self, token: str) -> None:
        """From now on the measurement of token may be the last one."""
        self._known = {token} if self._known is None else self._known | {token}
        self._begun.add(token)
