"""Tables of compositions, wells and readings as text: one row a sample, headings with units in brackets."""

import csv
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from gpax_lab.storage.dataset import UNKNOWN, Dataset, axis
from gpax_lab.storage.errors import UnreadableFile

from .common import split_unit, unique

_SEPARATORS = ";\t,"
_MISSING = {"", "nan", "na", "n/a", "none", "null", "-", "--"}
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?inf", re.IGNORECASE)
_COMMA = re.compile(r"[+-]?(\d+,\d*|,\d+)([eE][+-]?\d+)?")
_LONGEST = 1 << 20  # characters of a line; a table of a million columns is none


def is_log(path: Path) -> bool:
    """Whether a .csv is the log of a holder (Protochips, Impulse), which starts with times and notes."""
    with path.open("r", encoding="utf-8", errors="replace") as file:
        head = file.readline(_LONGEST)
    words = {word.strip().strip('"') for word in head.split(",")}
    return {"Time", "Notes"} <= words or {"TimeStamp", "Experiment time"} <= words


def table(path: Path) -> dict[str, Dataset]:
    """Every column of numbers of a table (.csv, .tsv), over its rows.

    The first line with more than one cell names the columns, "Fe [at%]" or "Fe (at%)" one in at%; lines before it that
    start with "#" are comments. Cells are separated by commas, semicolons or tabs; where they are not commas, numbers
    may have a decimal comma. An empty cell, "NaN" or "n/a" is NaN. Columns of words (wells "A1", names of samples) are
    kept as `metadata["columns"]` of every data set.

    Raises:
        UnreadableFile: a row has more or fewer cells than there are names, or a cell of a column of numbers is none;
            with the line.
    """
    raw = path.read_bytes()
    if b"\0" in raw[:4096] and not raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise UnreadableFile("it holds zero bytes and is no text.")
    text = _decoded(raw)
    del raw
    comments = [line[1:].strip() for line in _lines(text) if line.startswith("#")]
    separator = _separator(text)
    rows = _rows(text, separator)
    start, names = next(rows, (0, []))
    while names and not names[-1]:
        names.pop()
    if not names:
        raise UnreadableFile("there is no line that names columns.")
    if all(_is_number(name, separator) for name in names):
        raise UnreadableFile(f"line {start} should name the columns, as Fe [at%]; it holds numbers.")
    columns: list[list[str]] = [[] for _ in names]
    lines: list[int] = []
    for line, cells in rows:
        while len(cells) > len(names) and not cells[-1]:
            cells.pop()
        if len(cells) != len(names):
            raise UnreadableFile(f"line {line} has {len(cells)} cells for {len(names)} columns.")
        lines.append(line)
        for column, cell in zip(columns, cells, strict=True):
            column.append(cell)
    if not lines:
        raise UnreadableFile("there are names of columns but no row under them.")
    headings = [split_unit(name) for name in names]
    keys = unique([name or f"column {k + 1}" for k, (name, _) in enumerate(headings)])
    words: dict[str, list[str]] = {}
    numbers: dict[str, np.ndarray] = {}
    for k, key in enumerate(keys):
        said = [cell for cell in columns[k] if cell.lower() not in _MISSING]
        if said and not any(_is_number(cell, separator) for cell in said):
            words[key] = columns[k]
            continue
        numbers[key] = _values(columns[k], separator, lines, names[k])
        columns[k] = []
    if all(np.isnan(one).all() for one in numbers.values()):
        raise UnreadableFile("no column holds numbers.")
    base = axis("row", np.arange(len(lines), dtype=float), "1", kind=UNKNOWN)
    metadata = {"columns": words, "comments": comments} if comments else {"columns": words}
    units = dict(zip(keys, headings, strict=True))
    return {
        key: Dataset(values, (base,), units[key][0], units[key][1] or "a.u.", key, metadata=metadata)
        for key, values in numbers.items()
    }


def _decoded(raw: bytes) -> str:
    for mark, code in ((b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"), (b"", "utf-8-sig")):
        if raw.startswith(mark):
            try:
                return raw.decode(code)
            except UnicodeDecodeError:
                break
    return raw.decode("cp1252", "replace")  # what spreadsheets on Windows write


def _lines(text: str) -> Iterator[str]:
    """Lines without ends, none of them kept."""
    start = 0
    while start < len(text):
        end = text.find("\n", start)
        end = len(text) if end < 0 else end
        yield text[start:end].rstrip("\r")
        start = end + 1


def _separator(text: str) -> str:
    """The one of which the line of names has most outside quotes; a spreadsheet may say it in a line "sep=;"."""
    for line in _lines(text):
        if line.lower().startswith("sep=") and len(line) == 5:
            return line[4]
        if line.strip() and not line.startswith("#"):
            if len(line) > _LONGEST:
                raise UnreadableFile(f"its first line has {len(line)} characters; it is no table.")
            bare = re.sub(r'"[^"]*"|\[[^\]]*\]|\([^\)]*\)', "", line)
            return max(_SEPARATORS, key=bare.count)
    raise UnreadableFile("it is empty.")


def _rows(text: str, separator: str) -> Iterator[tuple[int, list[str]]]:
    """Line number and cells of every line that is neither empty nor a comment."""
    reader = csv.reader((line + "\n" for line in _lines(text)), delimiter=separator)
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise UnreadableFile(f"line {reader.line_num} is no row of cells: {error}.") from None
        cells = [cell.strip() for cell in cells]
        said = cells and (cells[0].startswith("#") or cells[0].lower().startswith("sep="))
        if any(cells) and not said:
            yield reader.line_num, cells


def _is_number(cell: str, separator: str) -> bool:
    return bool(_NUMBER.fullmatch(cell) or (separator != "," and _COMMA.fullmatch(cell)))


def _values(cells: list[str], separator: str, lines: list[int], name: str) -> np.ndarray:
    """Numbers of one column; with commas as decimal signs in all of them or in none."""
    values = np.full(len(cells), np.nan)
    for k, cell in enumerate(cells):
        if cell.lower() in _MISSING:
            continue
        if not _is_number(cell, separator):
            raise UnreadableFile(
                f"line {lines[k]}, column {name!r}: {cell[:40]!r} is no number; leave it empty if none."
            )
        values[k] = float(cell if separator == "," else cell.replace(",", "."))
    return values
