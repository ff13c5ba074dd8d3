"""Tables of compositions, wells and measurements as text: one row a sample, headings with units in brackets."""

import csv
import re
import sys
from array import array
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

import numpy as np

from gpax_lab.storage._dataset import UNKNOWN, Dataset, axis
from gpax_lab.storage._errors import UnreadableFile
from gpax_lab.storage.readers._common import encoding, split_unit, unique

_SEPARATORS = ";\t,"
_MISSING = {"", "nan", "na", "n/a", "none", "null", "-", "--"}
# Fortran writes 1.0D+03; a whole number with a bare D is the name of a well.
_WHOLE, _BROKEN = r"\d+(?:[eE][+-]?\d+|[dD][+-]\d+)?", r"(?:\d+[.,]\d*|[.,]\d+)(?:[eEdD][+-]?\d+)?"
_NUMBER = re.compile(rf"[+-]?(?:{_WHOLE}|{_BROKEN}|(?i:inf))")
_GROUPED = re.compile(r"[+-]?\d{1,3}(?:(?:[.\s'\u2019]\d{3})+,\d*|(?:[,\s'\u2019]\d{3})+\.\d*)")
_WITH_UNIT = re.compile(r"[+-]?[\d.,]*\d\s*([^\W\d].*|[%\u00b0].*)")
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
    tabs; where they are not commas, all numbers may have a decimal comma, and none has marks of thousands. An empty
    cell, "NaN" or "n/a" is NaN. Columns of words (wells "A1", names of samples) are kept as `metadata["columns"]` of
    every data set.

    Raises:
        UnreadableFile: a row has more or fewer cells than there are names, a cell of a column of numbers is none, or
            numbers have marks of thousands, or decimal commas and decimal points in one file; with the line.
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
        if all(_NUMBER.fullmatch(_plain(name)) for name in names):
            rows = chain([(start, names)], rows)
            names = [f"column {k + 1}" for k in range(len(names))]
        marks = _Marks(separator)
        columns = [_Column(name, marks) for name in names]
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
    for column in columns:
        column.check()
    if not any(column.numeric for column in columns):
        hints = [_hint(word) for column in columns for word in (column.words or ())[:1]]
        raise UnreadableFile("; ".join(["no column holds numbers", *dict.fromkeys(filter(None, hints))]) + ".")
    base = axis("row", np.arange(count, dtype=float), "1", kind=UNKNOWN)
    metadata = {"columns": words, "comments": comments} if comments else {"columns": words}
    return {
        key: Dataset(np.frombuffer(column.numbers), (base,), name, unit or "a.u.", key, "UNKNOWN", metadata)
        for key, column, (name, unit) in zip(keys, columns, headings, strict=True)
        if column.words is None
    }


class _Marks:
    """The decimal mark of a file, which is the one of the first number that has one."""

    def __init__(self, separator: str) -> None:
        self.separator = separator
        self.mark, self.first = "", ""

    def number(self, cell: str, line: int, name: str) -> float | None:
        """The number of a cell, or none where it is a word.

        Raises:
            UnreadableFile: it has another decimal mark than the numbers before it, or marks of thousands; with the line
                and the name of the column.
        """
        text = _plain(cell)
        if _GROUPED.fullmatch(text):
            raise UnreadableFile(f"{_place(line, name)}: {cell[:40]!r} has marks of thousands; {_hint(cell)}.")
        if not _NUMBER.fullmatch(text):
            return None
        mark = "," if "," in text else "." if "." in text else ""
        if mark == "," and self.separator == ",":
            return None
        if mark and not self.mark:
            self.mark, self.first = mark, f"{cell[:40]!r} of {_place(line, name)}"
        if mark and mark != self.mark:
            this, other = ("comma", "point") if mark == "," else ("point", "comma")
            raise UnreadableFile(
                f"{_place(line, name)}: {cell[:40]!r} has a decimal {this}, but {self.first} a decimal {other}; "
                "write all numbers with one mark, and thousands without any."
            )
        return float(text.replace(",", ".").replace("D", "E").replace("d", "e"))


class _Column:
    """Cells of one column: numbers, or words as long as no cell was a number."""

    def __init__(self, name: str, marks: _Marks) -> None:
        self.name, self.marks = name, marks
        self.numbers = array("d")
        self.numeric = False
        self.words: list[str] | None = None
        self.first = 0  # the line of the first word

    def add(self, cell: str, line: int) -> None:
        number = self.marks.number(cell, line, self.name)
        if number is not None:
            if self.words is not None:
                row, word = next((k, word) for k, word in enumerate(self.words) if word.lower() not in _MISSING)
                raise self._mixed(word, self.first, row == 0)
            self.numeric = True
            self.numbers.append(number)
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

    def check(self) -> None:
        """Refuse numbers with decimal commas in a table whose cells are separated by commas, which are no words."""
        said = [word for word in self.words or () if word.lower() not in _MISSING]
        if said and all(_NUMBER.fullmatch(_plain(word)) for word in said):
            place = _place(self.first, self.name)
            raise UnreadableFile(f"{place}: {said[0][:40]!r} has the mark that separates cells; {_hint(said[0])}.")

    def _mixed(self, word: str, line: int, under_names: bool = False) -> UnreadableFile:
        hint = _hint(word) or "leave it empty where there is none"
        if under_names:
            hint += "; if this line gives units, write them into the headings, as in 'x [nm]', and leave it out"
        return UnreadableFile(
            f"{_place(line, self.name)}: {word[:40]!r} is no number, as others of the column are; {hint}."
        )


def _place(line: int, name: str) -> str:
    return f"line {line}, column {name!r}"


def _plain(cell: str) -> str:
    """A cell with the minus sign of a keyboard."""
    return cell.replace("\u2212", "-")


def _hint(word: str) -> str:
    """What to do about a word that looks like a number; empty where it does not."""
    text = _plain(word)
    if _GROUPED.fullmatch(text):
        return "write thousands without marks, as in 1234.5"
    if _NUMBER.fullmatch(text):
        return "write decimal points, or separate the cells by semicolons"
    if found := _WITH_UNIT.fullmatch(text):
        return f"write the unit into the heading, as in 'x [{found[1][:10].strip()}]', and only the number here"
    return ""


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
