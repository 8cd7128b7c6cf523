"""CSV files and other texts of numbers: separator, header and decimal sign are detected."""

from __future__ import annotations

import csv
import re
from array import array
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mbrl.data.logs.table import Columns, check_names, is_missing, number_of, refuse, shown
from mbrl.files import MB, open_regular, read_lines

_LIMIT = 8 * 1024 * MB  # bytes of a file
_LONGEST = MB  # bytes of a line
_HEAD = 64 * 1024  # bytes that the form is found in
_SAMPLE = 100  # rows of them
_SEPARATORS = {";": "semicolons", "\t": "tabs", ",": "commas", " ": "blanks"}
_COMMA = re.compile(r"[+-]?\d*,\d+(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
_POINT = re.compile(r"[+-]?\d*\.\d+(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)


class _Form(NamedTuple):
    """How the rows of a file are written."""

    separator: str
    decimal_comma: bool
    numbers: float  # share of cells that are numbers or missing


def read_text(
    path: Path, wanted: Collection[str] | None = None, label: str | None = None
) -> Columns:
    """Read a CSV file, or another text with a row of numbers on each line.

    Columns are separated by commas, semicolons, tabs or blanks. A first row of texts names them;
    otherwise they are "1", "2" and so on. Lines that are empty or start with # are no rows, but a
    # before the names is ignored.

    Args:
        path: of the file.
        wanted: names of the columns to be read; None: all.
        label: name of a column that may hold texts, which are numbered as they first appear.

    Raises:
        BadInput: naming the row and the column.
    """
    header, sample, first = _head(path)
    form = _find_form(sample)
    try:
        names, skip_first = _names(path, form, header, sample, first)
    except csv.Error as error:
        raise refuse(path, f"quotes do not match ({error})", row=first) from None
    places = check_names(path, names, wanted)
    numbers, flat = array("q"), array("d")
    labels: dict[str, int] = {}
    labeled = next((at for at, place in enumerate(places) if names[place] == label), None)
    for number, line in _lines(path):
        if line.startswith("#") or skip_first:
            skip_first = skip_first and line.startswith("#")
            continue
        try:
            cells = _split(line, form)
        except csv.Error as error:
            raise refuse(path, f"quotes do not match ({error})", row=number) from None
        if len(cells) != len(names) and not _ends_in_separator(cells, len(names)):
            raise refuse(
                path,
                f"{len(cells)} values; should be {len(names)}, as in the first row "
                f"(separated by {_SEPARATORS[form.separator]})",
                row=number,
            )
        row = [cells[place] for place in places]
        if labeled is not None and not is_missing(text := row[labeled].strip()):
            row[labeled] = str(labels.setdefault(text, len(labels)))
        try:
            if "_" in line or not line.isascii():
                raise ValueError
            flat.extend([float(cell) for cell in row])
        except ValueError:
            flat.extend(_careful(path, number, row, [names[place] for place in places], form))
        numbers.append(number)
    if not numbers:
        raise refuse(path, "holds names of columns and no rows of numbers")
    table = np.frombuffer(flat, dtype=np.float64).reshape(len(numbers), len(places)).T.copy()
    values = {names[place]: column for place, column in zip(places, table, strict=True)}
    return Columns(path, names, values, numbers)


def _careful(
    path: Path, number: int, row: Sequence[str], names: Sequence[str], form: _Form
) -> list[float]:
    """Return the numbers of a row that holds something else than plain numbers."""
    values = []
    for name, cell in zip(names, row, strict=True):
        cell = cell.strip()
        value = number_of(cell)
        if value is None:
            remedy = "should be a number"
            if _COMMA.fullmatch(cell) and not form.decimal_comma:
                remedy += " with a decimal point"
            raise refuse(path, f"{shown(cell)} {remedy}", row=number, column=name)
        values.append(value)
    return values


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the lines that are not empty, with their numbers; comments only behind the first row.

    The comment just before the first row is one of them: it may hold the names.
    """
    before: tuple[int, str] | None = None
    started = False
    for number, raw in enumerate(read_lines(path, limit=_LIMIT, longest=_LONGEST), 1):
        try:
            line = raw.decode("utf-8-sig" if number == 1 else "utf-8").strip(" \r\n")
        except UnicodeDecodeError:
            raise refuse(path, "is no UTF-8 text; save the file as UTF-8", row=number) from None
        if not line.strip():
            continue
        if "\0" in line:
            raise refuse(path, "is no text; should be a CSV file in UTF-8", row=number)
        if line.startswith("#") and not started:
            before = number, line
            continue
        if not started and before is not None:
            yield before
        started = True
        yield number, line


def _head(path: Path) -> tuple[str, list[str], int]:
    """Return the line just before the first row (or that row), the first rows, and its number.

    Raises:
        BadInput: if there are none.
    """
    with open_regular(path, limit=_LIMIT) as opened:
        start = opened.read(4)
    if start[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise refuse(path, "is UTF-16 text; save the file as UTF-8")
    if start.startswith((b"PK\x03\x04", b"PAR1", b"\x89HDF")):
        raise refuse(path, "is no text; its name should end in .npz or .parquet")
    lines = []
    size = 0
    for number, line in _lines(path):
        lines.append((number, line))
        size += len(line)
        if size > _HEAD or len(lines) > _SAMPLE:
            break
    rows = [(number, line) for number, line in lines if not line.startswith("#")]
    if not rows:
        raise refuse(path, "is empty; should hold a row of numbers for each step")
    return lines[0][1], [line for _, line in rows], rows[0][0]


def _find_form(rows: Sequence[str]) -> _Form:
    """Return the form in which most cells are numbers and the rows are equally long."""
    body = rows[1:] or rows
    best, best_score = _Form(",", False, 0.0), (False, 0.0, 0.0)
    for separator in _SEPARATORS:
        form = _Form(separator, False, 0.0)
        try:
            split = [_split(line, form) for line in body]
        except csv.Error:
            continue
        width, count = Counter(map(len, split)).most_common(1)[0]
        cells = [cell.strip() for row in split for cell in row]
        commas = separator != "," and any(map(_COMMA.fullmatch, cells))
        commas = commas and not any(map(_POINT.fullmatch, cells))
        numbers = sum(number_of(c.replace(",", ".") if commas else c) is not None for c in cells)
        share = numbers / len(cells)
        score = (width > 1, share, count / len(split))
        if score > best_score:
            best, best_score = _Form(separator, commas, share), score
    return best


def _names(
    path: Path, form: _Form, header: str, rows: Sequence[str], number: int
) -> tuple[tuple[str, ...], bool]:
    """Return the names of the columns, and whether the first row (no comment) holds them.

    Raises:
        BadInput: if that cannot be told, or everything is in one column.
        csv.Error: if quotes do not match.
    """
    commas, form = form.decimal_comma, form._replace(decimal_comma=False)  # names keep theirs
    first = [cell.strip() for cell in _split(rows[0], form)]
    plain = [number_of(c.replace(",", ".") if commas else c) is not None for c in first]
    numbered = tuple(str(place + 1) for place in range(len(first)))
    if len(first) == 1 and len(rows) > 1 and form.numbers == 0.0:
        raise refuse(
            path,
            f"all is in one column, {shown(rows[-1])}; columns should be separated by commas, "
            "semicolons, tabs or blanks",
            row=number,
        )
    if all(plain) and not all(map(is_missing, first)):
        count = [str(place) for place in range(len(first))]  # as pandas names columns of arrays
        if len(first) > 2 and first in (count, ["", *count[:-1]]):
            raise refuse(
                path,
                f"{', '.join(first[:3])} ... may be names or numbers; name the columns in words",
                row=number,
            )
        if header.startswith("#"):
            above = [cell.strip() for cell in _split(header.lstrip("# "), form)]
            if len(above) == len(first):
                return _named(above), False
        return numbered, False
    return _named(first), True


def _named(cells: Sequence[str]) -> tuple[str, ...]:
    """Return names of columns; one without a name has its place for a name."""
    return tuple(cell or str(place) for place, cell in enumerate(cells, 1))


def _split(line: str, form: _Form) -> list[str]:
    """Return the cells of a line."""
    separator = form.separator
    if separator == " ":
        line = line.replace("\t", " ").strip()
    if form.decimal_comma:
        line = line.replace(",", ".")
    if '"' not in line:
        return line.split() if separator == " " else line.split(separator)
    blanks = separator != "\t"
    return next(csv.reader([line], delimiter=separator, strict=True, skipinitialspace=blanks))


def _ends_in_separator(cells: list[str], width: int) -> bool:
    """Return whether a row is too long by an empty cell only, as printed in a loop."""
    return len(cells) == width + 1 and not cells[-1].strip()
