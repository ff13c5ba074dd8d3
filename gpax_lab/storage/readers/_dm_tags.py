"""A walk over the tags of Digital Micrograph files (.dm3, .dm4), for sizes that a file can not mean.

The reader of RosettaSciIO goes through them number by number, as many as they say. The layout is the one that it reads.
"""

from pathlib import Path
from typing import BinaryIO

from gpax_lab.storage._errors import UnreadableFile

_BYTES = {2: 2, 3: 4, 4: 2, 5: 4, 6: 4, 7: 8, 8: 1, 9: 1, 10: 1, 11: 8, 12: 8}  # of a number, by type
_STRUCT, _STRING, _ARRAY = 15, 18, 20
_DATA, _GROUP = b"\x15", b"\x14"  # what a tag is
_FIELDS = 1000  # of a struct; those of Gatan have ten
_LIST = 1_000_000  # numbers that become a list of Python, at some 36 bytes each
_DEEPEST = 64


def check(path: Path) -> None:
    """Raises UnreadableFile where a tag is larger than the file, or deeper in others than any program writes."""
    with path.open("rb") as file:
        walk = _Walk(file, path.stat().st_size)
        if walk.wide is not None:
            file.seek(2, 1)
            walk.tags(walk.number(), "root", 0)


class _Walk:
    """A file of tags; numbers of sizes have 8 bytes in version 4, and 4 in version 3."""

    def __init__(self, file: BinaryIO, held: int) -> None:
        self.file, self.held = file, held
        version = int.from_bytes(file.read(4), "big")
        self.wide = {3: False, 4: True}.get(version)
        self.number()
        file.seek(4, 1)

    def number(self) -> int:
        raw = self.file.read(8 if self.wide else 4)
        if len(raw) < (8 if self.wide else 4):
            raise UnreadableFile("it ends within its tags")
        return int.from_bytes(raw, "big", signed=True)

    def tags(self, count: int, group: str, depth: int) -> None:
        if depth > _DEEPEST:
            raise UnreadableFile(f"its tags lie more than {_DEEPEST} deep in one another")
        self.there(count, 3, "tags")
        for _ in range(count):
            kind = self.file.read(1)
            name = self.file.read(max(int.from_bytes(self.file.read(2), "big", signed=True), 0))
            if kind == _GROUP:
                self.file.seek(10 if self.wide else 2, 1)
                self.tags(self.number(), name.decode("latin-1"), depth + 1)
            elif kind == _DATA:
                self.file.seek(12 if self.wide else 4, 1)
                self.data(group == "ImageData" and name == b"Data")
            else:
                return  # the reader refuses it

    def data(self, skipped: bool) -> None:
        """The value of a tag, which is passed over; the numbers of an image are read by another way."""
        parts, kind = self.number(), self.number()
        if parts == 1:
            self.pass_over(1, _BYTES.get(kind, 0), True)
        elif kind == _STRING:
            self.pass_over(self.number(), 1, skipped)
        elif kind == _STRUCT:
            self.pass_over(1, self.fields(), True)
        elif kind == _ARRAY:
            inner = self.number()
            each = self.fields() if inner == _STRUCT else _BYTES.get(inner, 1)
            if inner in (_STRING, _ARRAY) and parts > 3:
                each = max(self.number(), 1)
                if inner == _ARRAY:  # its type came first, then its length
                    each = max(self.number(), 1)
            self.pass_over(self.number(), each, skipped)

    def fields(self) -> int:
        """Bytes of a struct."""
        self.number()
        count = self.number()
        if count > _FIELDS:
            raise UnreadableFile(f"a struct of {count} fields is none; the file is damaged")
        size = 0
        for _ in range(count):
            self.number()
            size += _BYTES.get(self.number(), 0)
        return size

    def pass_over(self, count: int, each: int, skipped: bool) -> None:
        self.there(count, each, "numbers")
        if count > _LIST and not skipped:
            raise UnreadableFile(f"a tag that is no image holds {count} numbers; the file is damaged")
        self.file.seek(max(count, 0) * each, 1)

    def there(self, count: int, each: int, what: str) -> None:
        if count * each > self.held - self.file.tell():
            raise UnreadableFile(f"{count} {what} are not there; the file was cut, or a size in it is wrong")
