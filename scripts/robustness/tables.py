"""Tables of results that a script adds to row by row, and continues after a stop."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any, final


@final
class Table:
    """CSV file in results/robustness/ whose first line is the command that made it.

    Args:
        name: of the file, without its end.
        command: what made it.
        columns: names of the columns.

    Attributes:
        rows: all rows so far, as text.
    """

    def __init__(self, name: str, command: str, columns: Sequence[str]):
        """Read the rows of an earlier run, if there are any."""
        self._path = Path("results/robustness").resolve() / f"{name}.csv"  # wherever it is worked
        self.rows: list[list[str]] = []
        if self._path.exists():
            with self._path.open(newline="") as file:
                self.rows = list(csv.reader(file))[2:]
        else:
            self._path.write_text(f"# {command}\n{','.join(columns)}\n")

    def has(self, *key: str) -> bool:
        """Return whether a row begins with these values."""
        return any(tuple(row[: len(key)]) == key for row in self.rows)

    def add(self, values: Sequence[Any]) -> None:
        """Add a row to the file."""
        row = [str(value) for value in values]
        self.rows.append(row)
        with self._path.open("a", newline="") as file:
            csv.writer(file, lineterminator="\n").writerow(row)
