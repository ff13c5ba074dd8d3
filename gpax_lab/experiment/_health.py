"""What became of the fits and the proposals of a campaign, counted from what its journal says of them."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from gpax_lab.core import Status
from gpax_lab.experiment._record import JournalRecord


class Health(NamedTuple):
    """Counts of what the journal says of its fits and proposals.

    Attributes:
        fits: how many there were.
        bad: how many of them were not OK.
        worst: the worst of them.
        proposals: how many were chosen by the experiment, not by a person.
        fallbacks: how many of them by distance, because no acquisition value was finite.
    """

    fits: int = 0
    bad: int = 0
    worst: Status = Status.OK
    proposals: int = 0
    fallbacks: int = 0

    @classmethod
    def of(cls, history: Iterable[JournalRecord]) -> "Health":
        """The same of a journal that is there."""
        health = cls()
        for entry in history:
            health = health.after(entry.kind, entry.header)
        return health

    def after(self, kind: str, header: Mapping[str, Any]) -> "Health":
        """With one more record."""
        if kind == "posterior":
            status = Status(header["diagnostics"]["outcome"])
            worst = max(self.worst, status, key=list(Status).index)
            return self._replace(fits=self.fits + 1, bad=self.bad + (status != Status.OK), worst=worst)
        if kind == "proposal" and not header["pinned"]:
            return self._replace(proposals=self.proposals + 1, fallbacks=self.fallbacks + bool(header["fallback"]))
        return self

    def words(self) -> str:
        """What a person should know of them at the end, to stand behind a sentence; empty where all is well."""
        parts = []
        if self.bad:
            which = f"status {self.worst.name}" if self.bad == 1 else f"the worst {self.worst.name}"
            parts.append(f"{self.bad} of {self.fits} fits were not OK ({which}, see its describe())")
        if self.fallbacks:
            parts.append(
                f"{self.fallbacks} of {self.proposals} proposals were chosen by distance alone, because no acquisition "
                "value was finite"
            )
        return "".join(f"; {part}" for part in parts)
