"""The search for whole records in the bytes of a journal, whatever an interrupted write or a bad disk left of it."""

import io
from collections import Counter
from typing import Any, BinaryIO, NamedTuple

from gpax_lab.storage._records import BEGINNING, OLD_HEADER, Found, begun, bytes_at, check_header, opened, whole_records


class Scan(NamedTuple):
    """Where the whole records of a journal lie.

    Attributes:
        spans: (start, end) of each whole record.
        end: where the next record belongs; what lies behind it is a write that never finished.
        damage: (start, end) of stretches in which an acknowledged entry is missing; empty where it was cut out.
        strays: (start, end) of bytes between entries that are none of this journal's; no entry is missing there.
        campaign: the identity that its records carry.
        following: number of the next record.
        writers: how many programs have written at the same time (1, or what an unlocked file was open in).
    """

    spans: tuple[tuple[int, int], ...]
    end: int
    damage: tuple[tuple[int, int], ...]
    strays: tuple[tuple[int, int], ...] = ()
    campaign: bytes = b""
    following: int = 0
    writers: int = 1


def scan(data: "bytes | BinaryIO") -> Scan:
    """Find the whole records in the bytes of a journal.

    A write that never finished may leave any part of itself, even its last pages without its first. So where a record
    is missing it is a torn tail when all that is whole behind it belongs to the same write, and damage otherwise.

    Args:
        data: the bytes, or a file open for reading them; never more of it than a record's chunk is held.

    Raises:
        ForeignFile: the bytes are not those of a journal, or of one from a newer version.
    """
    file = opened(data)
    size = file.seek(0, io.SEEK_END)
    header = bytes_at(file, 0, BEGINNING)
    start, campaign = begun(header)
    found = list(whole_records(file, start, size))
    if not found:
        check_header(header)
    campaign = _identity(found) if campaign is None else campaign
    kept = _own(found, campaign)
    if campaign:  # as they were written, wherever a copy of some lies
        kept.sort(key=lambda one: (one.stamp.number, one.start))
    damage, strays = _gaps(kept, start)
    if damage and (before := _unfinished(kept, damage)) is not None:
        end = damage[0][0]
        return _scanned(before, end, [], [stray for stray in strays if stray[1] <= end], campaign)
    if start == 0 and strays and strays[0][0] == 0:  # the first bytes of the file itself
        damage.insert(0, strays.pop(0))
    return _scanned(kept, max((one.end for one in kept), default=min(size, start)), damage, strays, campaign)


def _identity(found: list[Found]) -> bytes:
    """Where the first bytes are spoilt: the campaign of the first record, or if that is too, of most records."""
    if not found:
        return b""
    if found[0].start in (BEGINNING, len(OLD_HEADER)):
        return found[0].stamp.campaign
    return Counter(one.stamp.campaign for one in found).most_common(1)[0][0]


def _own(found: list[Found], campaign: bytes) -> list[Found]:
    """The records of the journal: none of another campaign, no copies, nothing left of a write cut off before."""
    kept: list[Found] = []
    seen: set[tuple[int, int, int]] = set()
    writers: dict[int, set[int]] = {}  # by number of record
    for one in found:
        _, writer, number, batch = one.stamp
        if one.stamp.campaign != campaign or (writer, number, one.crc) in seen:
            continue
        if campaign:
            # The rest of a write whose beginning was cut off, and whose place another write has taken since.
            if number != batch and batch in writers and writer not in writers[batch]:
                continue
        elif number != one.start and number < (kept[-1].following if kept else len(OLD_HEADER)):
            continue
        seen.add((writer, number, one.crc))
        writers.setdefault(number, set()).add(writer)
        kept.append(one)
    return kept


def _gaps(kept: list[Found], start: int) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """Stretches where a record is missing, and bytes between the records where none is."""
    damage = []
    at, due = start, 0 if kept and kept[0].stamp.campaign else len(OLD_HEADER)
    for one in kept:
        number = one.stamp.number
        moved = not one.stamp.campaign and number == one.start == at
        if number > due and not moved:
            damage.append((min(at, one.start), one.start))
        at, due = one.end, max(due, one.following)
    strays, at = [], start
    for one in sorted(kept):
        if one.start > at and not any(first <= at and one.start <= last for first, last in damage):
            strays.append((at, one.start))
        at = one.end
    return damage, strays


def _unfinished(kept: list[Found], damage: list[tuple[int, int]]) -> list[Found] | None:
    """The records before the first missing one, if all behind it went out in the same write as that one."""
    old = not kept[-1].stamp.campaign
    count, due = 0, len(OLD_HEADER) if old else 0
    while count < len(kept) and (kept[count].stamp.number <= due if not old else kept[count].end <= damage[0][0]):
        due = max(due, kept[count].following)
        count += 1
    before, after = kept[:count], kept[count:]
    in_order = max((one.end for one in before), default=0) <= min((one.start for one in after), default=0)
    return before if in_order and kept[-1].stamp.batch <= due else None


def _scanned(kept: list[Found], end: int, damage: Any, strays: Any, campaign: bytes) -> Scan:
    numbers: dict[int, set[int]] = {}
    for one in kept:
        numbers.setdefault(one.stamp.number, set()).add(one.stamp.writer)
    following = max((one.following for one in kept), default=0 if campaign else len(OLD_HEADER))
    spans = tuple((one.start, one.end) for one in kept)
    writers = max(map(len, numbers.values()), default=1)
    return Scan(spans, end, tuple(damage), tuple(strays), campaign, following, writers)
