"""Tables of compositions, wells and readings as text: one row a sample, headings with units in brackets."""

import csv
import re
import sys
from array import array
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

import numpy as np

from gpax_lab.storage.dataset import UNKNOWN, Dataset, axis
from gpax_lab.storage.errors import UnreadableFile

from .common import encoding, split_unit, unique

_SEPARATORS = ";\t,"
_MISSING = {"", "nan", "na", "n/a", "none", "null", "-", "--"}
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?inf", re.IGNORECASE)
_COMMA = re.compile(r"[+-]?(\d+,\d*|,\d+)([eE][+-]?\d+)?")
_COMMENTS = 1000  # lines that are kept
_LONGEST = 1 << 20  # characters of a line; a table of a million columns is none


def is_log(path: Path) -> bool:
    """Whether a .csv is the log of a holder (Protochips, Impulse), which starts with times and notes."""
    with path.open("r", encoding="utf-8", errors="replace") as file:
        head = file.readline(_LONGEST)
    words = {word.strip().strip('"') for word in head.split(",")}
    return {"Time", "Notes"} <= words or {"TimeStamp", "Experiment time"} <= words


def table(path: Path) -> dict[str, Dataset]:
    """Every column of numbers of a table (.csv, .tsv), over its rows.

    The first line names the columns, "Fe [at%]" or "Fe (at%)" one in at%; where it holds nothing but numbers they are
    "column 1", "column 2", ... Lines that start with "#" are comments. Cells are separated by commas, semicolons or
    tabs; where they are not commas, numbers may have a decimal comma. An empty cell, "NaN" or "n/a" is NaN. Columns of
    words (wells "A1", names of samples) are kept as `metadata["columns"]` of every data set.

    Raises:
        UnreadableFile: a row has more or fewer cells than there are names, or a cell of a column of numbers is none;
            with the line.
    """
    code = encoding(path)
    comments: list[str] = []
    separator = _separator(path, code)
    with path.open("r", encoding=code, errors="replace", newline="") as file:
        rows = _rows(file, separator, comments)
        start, names = next(rows, (0, []))
        while names and not names[-1]:
            names.pop()
        if not names:
            raise UnreadableFile("there is no line that names columns.")
        if all(_is_number(name, separator) for name in names):
            rows = chain([(start, names)], rows)
            names = [f"column {k + 1}" for k in range(len(names))]
        columns = [_Column(name, separator) for name in names]
        count = 0
        for line, cells in rows:
            while len(cells) > len(names) and not cells[-1]:
                cells.pop()
            if len(cells) != len(names):
                raise UnreadableFile(f"line {line} has {len(cells)} cells for {len(names)} columns.")
            count += 1
            for column, cell in zip(columns, cells, strict=True):
                column.add(cell, line)
    if not count:
        raise UnreadableFile("there are names of columns but no row under them.")
    headings = [split_unit(name) if name else (f"column {k + 1}", "") for k, name in enumerate(names)]
    keys = unique([name for name, _ in headings])
    words = {key: column.words for key, column in zip(keys, columns, strict=True) if column.words is not None}
    if not any(column.numeric for column in columns):
        raise UnreadableFile("no column holds numbers.")
    base = axis("row", np.arange(count, dtype=float), "1", kind=UNKNOWN)
    metadata = {"columns": words, "comments": comments} if comments else {"columns": words}
    return {
        key: Dataset(np.frombuffer(column.numbers), (base,), name, unit or "a.u.", key, "UNKNOWN", metadata)
        for key, column, (name, unit) in zip(keys, columns, headings, strict=True)
        if column.words is None
    }


class _Column:
    """Cells of one column: numbers, or words as long as no cell was a number."""

    def __init__(self, name: str, separator: str) -> None:
        self.name, self.separator = name, separator
        self.numbers = array("d")
        self.numeric = False
        self.words: list[str] | None = None
        self.first = 0  # the line of the first word

    def add(self, cell: str, line: int) -> None:
        if _is_number(cell, self.separator):
            if self.words is not None:
                raise self._mixed(next(word for word in self.words if word.lower() not in _MISSING), self.first)
            self.numeric = True
            self.numbers.append(float(cell if self.separator == "," else cell.replace(",", ".")))
        elif cell.lower() in _MISSING:
            if self.words is None:
                self.numbers.append(np.nan)
            else:
                self.words.append(cell)
        elif self.numeric:
            raise self._mixed(cell, line)
        else:
            if self.words is None:
                self.words, self.first = [""] * len(self.numbers), line
                self.numbers = array("d")
            self.words.append(sys.intern(cell))

    def _mixed(self, word: str, line: int) -> UnreadableFile:
        return UnreadableFile(
            f"line {line}, column {self.name!r}: {word[:40]!r} is no number, as others of the column are; "
            "leave it empty where there is none."
        )


def _separator(path: Path, code: str) -> str:
    """The one of which the line of names has most outside quotes; a spreadsheet may say it in a line "sep=;"."""
    with path.open("r", encoding=code, errors="replace") as file:
        while line := file.readline(_LONGEST):
            if line.lower().startswith("sep=") and len(line.rstrip()) == 5:
                return line[4]
            if len(line) == _LONGEST:
                raise UnreadableFile(f"a line has more than {_LONGEST} characters; it is no table.")
            if line.strip() and not line.startswith("#"):
                bare = re.sub(r'"[^"]*"|\[[^\]]*\]|\([^\)]*\)', "", line)
                return max(_SEPARATORS, key=bare.count)
    raise UnreadableFile("it is empty.")


def _rows(file: Iterable[str], separator: str, comments: list[str]) -> Iterator[tuple[int, list[str]]]:
    """Line number and cells of every line that is neither empty nor a comment."""
    reader = csv.reader(file, delimiter=separator)
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise UnreadableFile(f"line {reader.line_num} is no row of cells: {error}.") from None
        cells = [cell.strip() for cell in cells]
        if cells and cells[0].startswith("#"):
            if len(comments) < _COMMENTS:
                comments.append(separator.join(cells)[1:].strip())
        elif any(cells) and not cells[0].lower().startswith("sep="):
            yield reader.line_num, cells


def _is_number(cell: str, separator: str) -> bool:
    return bool(_NUMBER.fullmatch(cell) or (separator != "," and _COMMA.fullmatch(cell)))
