"""Columns of a recorded file, and the words that all readers of such files use."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mbrl.errors import BadInput

MAX_COLUMNS = 10_000
_MISSING = {"", "nan", "null", "none", "na", "n/a", "-"}
_TRUE = {"true": 1.0, "false": 0.0}
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?|[+-]?inf(inity)?", re.ASCII)
_SHOWN = 40  # letters of a cell, and names of a list


class Columns(NamedTuple):
    """Columns of one recorded file."""

    source: Path
    names: tuple[str, ...]  # of all columns of the file
    values: dict[str, NDArray[np.float64]]  # (N,) each, those that were wanted; NaN: missing
    rows: Sequence[int] = ()  # (N,) line or row of each value, from 1, as an editor shows it
    groups: Mapping[str, tuple[str, ...]] = {}  # name of a table -> its columns
    time: str | None = None  # column of the time (s), where the format says which it is
    episode: str | None = None  # column that numbers the episodes, where the format says so

    @property
    def num_rows(self) -> int:
        """Return N."""
        return len(self.rows)


def refuse(source: Path, words: str, *, row: int | None = None, column: str = "") -> BadInput:
    """Return the error of a file, to be raised.

    Args:
        source: the file.
        words: what is wrong and what would be right.
        row: line or row of the file, from 1.
        column: its name.
    """
    at = [str(source), *([f"row {row}"] if row else []), *([f"column {column}"] if column else [])]
    return BadInput(f"{', '.join(at)}: {words}")


def shown(cell: str) -> str:
    """Return a text of a file in quotes, cut where it is long.

    Args:
        cell: the text.
    """
    return repr(cell if len(cell) <= _SHOWN else f"{cell[:_SHOWN]}...")


def is_missing(cell: str) -> bool:
    """Return whether a text stands for a missing number.

    Args:
        cell: without blanks at its ends.
    """
    return cell.lower() in _MISSING


def number_of(cell: str) -> float | None:
    """Return the number of a text, NaN if it is missing, None if it is no number.

    Python's own `float` also accepts "1_000" and digits of other scripts.

    Args:
        cell: without blanks at its ends.
    """
    cell = cell.lower()
    if cell in _MISSING:
        return math.nan
    if cell in _TRUE:
        return _TRUE[cell]
    return float(cell) if _NUMBER.fullmatch(cell) else None


def check_names(source: Path, names: Sequence[str], wanted: Collection[str] | None) -> list[int]:
    """Return the places of the columns to be read, those wanted that are there.

    Args:
        source: the file.
        names: of its columns.
        wanted: names to be read, None for all.

    Raises:
        BadInput: if there are too many, or one to be read is there twice.
    """
    if len(names) > MAX_COLUMNS:
        raise refuse(source, f"{len(names)} columns; should be at most {MAX_COLUMNS}")
    places: dict[str, int] = {}
    for place, name in enumerate(names):
        if wanted is not None and name not in wanted:
            continue
        if name in places:
            first = places[name] + 1
            raise refuse(source, f"columns {first} and {place + 1} have this name", column=name)
        places[name] = place
    return list(places.values())


def hint_for(name: str, known: Iterable[str]) -> str:
    """Return what a name that is not there may have meant.

    Args:
        name: what was wanted.
        known: names that are there.
    """
    known = list(dict.fromkeys(known))
    lower = {each.lower(): each for each in known}
    near = difflib.get_close_matches(name.lower(), lower, n=1, cutoff=0.6)
    if near:
        return f"did you mean {lower[near[0]]}?"
    more = f" and {len(known) - _SHOWN} more" if len(known) > _SHOWN else ""
    return f"there are {', '.join(known[:_SHOWN])}{more}"
