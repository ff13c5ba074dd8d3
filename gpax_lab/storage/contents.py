"""Reading a campaign journal."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeVar

from .errors import JournalCorrupt, JournalError
from .frames import Frame, Scan, decode, scan

T = TypeVar("T")


class Contents(NamedTuple):
    """What a journal holds.

    Attributes:
        frames: the whole frames, in the order in which they were written.
        ignored: how many bytes belong to none (a write that never finished; damage, where that was allowed).
    """

    frames: tuple[Frame, ...]
    ignored: int

    def of(self, *kinds: str) -> tuple[Frame, ...]:
        """The frames of the given kinds."""
        return tuple(frame for frame in self.frames if frame.kind in kinds)


def damage_text(path: Path, found: Scan) -> str:
    """What to tell a person about damage in the middle of a journal."""
    start, end = found.damage[0]
    return (
        f"{path}: {end - start} bytes from byte {start} on are damaged, with good entries behind them, so this is no "
        f"interrupted write (look at the disk or the copy); {len(found.spans)} entries are whole: "
        "read(path, skip_damage=True) gives them, and a campaign can go on from an intact copy"
    )


def named(path: Path, check: Callable[[bytes], T], data: bytes) -> T:
    """`check(data)`, with the path put in front of what its error says."""
    try:
        return check(data)
    except JournalError as error:
        raise type(error)(f"{path}: {error}") from None


def read(path: str | Path, *, skip_damage: bool = False) -> Contents:
    """Read a journal, also while another process writes it.

    Args:
        path: the journal.
        skip_damage: leave damaged entries out instead of raising.

    Returns:
        Every whole entry. A torn tail (the process died inside a write) is no error; its bytes are counted.

    Raises:
        ForeignFile: not a journal.
        JournalCorrupt: damaged bytes in the middle.
    """
    path = Path(path)
    data = path.read_bytes()
    found = named(path, scan, data)
    if found.damage and not skip_damage:
        raise JournalCorrupt(damage_text(path, found))
    lost = sum(end - start for start, end in found.damage)
    frames = tuple(decode(data, start) for start, _ in found.spans)
    return Contents(frames, len(data) - found.end + lost if frames else len(data))
