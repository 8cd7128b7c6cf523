"""Tables: CSV files whose first lines, after a #, are the commands that made them."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any


def read_table(path: Path) -> list[dict[str, str]]:
    """Return the rows of a table, none if there is no such file.

    Args:
        path: of a CSV file; lines that begin with # are left out.
    """
    if not path.exists():
        return []
    with path.open() as file:
        return list(csv.DictReader(line for line in file if not line.startswith("#")))


def write_table(
    path: Path, command: str, fields: Sequence[str], rows: Iterable[dict[str, Any]]
) -> None:
    """Write a table, all or nothing.

    Args:
        path: of the CSV file. The commands at the head of an older one stay.
        command: that made it, for the head.
        fields: the columns.
        rows: their values.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = path.read_text().splitlines() if path.exists() else []
    head = [line for line in lines if line.startswith("#")]
    if not any(re.fullmatch(rf"# {re.escape(command)}( *[(,].*)?", line) for line in head):
        head.append(f"# {command}")
    temporary = path.with_name(f".{path.name}")
    with temporary.open("w", newline="") as file:
        file.writelines(f"{line}\n" for line in head)
        writer = csv.DictWriter(file, fields, lineterminator="\n", restval="")
        writer.writeheader()
        writer.writerows(rows)
    temporary.replace(path)


class Table:
    """A CSV file that keeps each row as it is finished, below the commands that made them.

    Args:
        file: may hold rows from before.
        fields: columns.
        key: those that say which run a row is of.
        command: added to the head.
    """

    def __init__(self, file: Path, fields: list[str], key: tuple[str, ...], command: str):
        """Read what is there."""
        self._file, self._fields, self._key, self._command = file, fields, key, command
        self.rows = read_table(file)

    def find(self, row: dict[str, Any], but: str = "") -> dict[str, Any] | None:
        """Return the first row of the same run.

        Args:
            row: has the key's columns.
            but: a column of the key that may differ.
        """
        names = [name for name in self._key if name != but]
        wanted = [written(row.get(name)) for name in names]
        return next((x for x in self.rows if [x.get(n) or "" for n in names] == wanted), None)

    def has(self, row: dict[str, Any]) -> bool:
        """Return whether a row's run is there."""
        return self.find(row) is not None

    def add(self, row: dict[str, Any]) -> None:
        """Add a row, print it and write the file."""
        self.rows.append({key: written(value) for key, value in row.items()})
        print(self.rows[-1], flush=True)
        write_table(self._file, self._command, self._fields, self.rows)


def written(value: Any) -> str:
    """Return a value as it stands in a table; numbers have five decimals at most."""
    if isinstance(value, float):
        return f"{value:.5f}".rstrip("0").rstrip(".")
    return "" if value is None else str(value)
