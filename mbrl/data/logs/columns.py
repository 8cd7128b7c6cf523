"""Readers of recorded files, by their kind."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np

from mbrl.data.logs.archive import read_archive
from mbrl.data.logs.lerobot import is_lerobot, read_lerobot
from mbrl.data.logs.parquet import read_parquet
from mbrl.data.logs.table import Columns, hint_for, refuse
from mbrl.data.logs.text import read_text
from mbrl.files import check_tree

_READERS = {".npz": read_archive, ".parquet": read_parquet, ".pq": read_parquet}
_TEXTS = (".csv", ".tsv", ".txt", ".dat")


def read_columns(path: Path, wanted: Collection[str] | None = None) -> Columns:
    """Read the columns of a recorded file, or of a folder as one table.

    Args:
        path: one of
            FILE.npz: arrays (N,) and (N, D), see `read_archive`.
            FILE.parquet: see `read_parquet`.
            any other file: a CSV file, see `read_text`.
            a folder: see `read_tables`; all of its files should have the same columns.
        wanted: names of columns, or of tables of them; None: all that hold numbers.

    Raises:
        BadInput: naming the file, the row and the column.
    """
    tables = read_tables([path], wanted)
    first = tables[0]
    for table in tables[1:]:
        for name in first.values:
            if name not in table.values:
                raise refuse(table.source, f"no column {name}, which {first.source} has")
    values = {n: np.concatenate([table.values[n] for table in tables]) for n in first.values}
    rows = [row for table in tables for row in table.rows] if tables[1:] else first.rows
    return first._replace(source=path, values=values, rows=rows)


def read_tables(
    paths: Sequence[Path], wanted: Collection[str] | None = None, label: str | None = None
) -> list[Columns]:
    """Read recorded files, each as a table.

    Args:
        paths: files as in `read_columns`, and folders: of LeRobot's format v3, or of CSV, npz and
            Parquet files, which are read in the order of their names.
        wanted: names of columns, or of tables of them; None: all that hold numbers.
        label: name of a column that may hold texts, which are numbered as they first appear.

    Raises:
        BadInput: naming the file, the row and the column.
    """
    tables = []
    for path in paths:
        path = Path(path).expanduser()
        if not os.path.lexists(path):
            beside = [each.name for each in path.parent.glob("*")]
            hint = f"; {hint_for(path.name, beside)}" if beside else ""
            raise refuse(path, f"no such file{hint}")
        if path.is_dir() and is_lerobot(path):
            tables += read_lerobot(path, wanted)
        elif path.is_dir():
            tables += [_read_file(file, wanted, label) for file in _files_of(path)]
        else:
            tables.append(_read_file(path, wanted, label))
    return tables


def _read_file(path: Path, wanted: Collection[str] | None, label: str | None) -> Columns:
    """Read a file by its kind.

    Raises:
        BadInput: naming the file, the row and the column.
    """
    return _READERS.get(path.suffix.lower(), read_text)(path, wanted, label)


def _files_of(folder: Path) -> list[Path]:
    """Return the recorded files that are directly in a folder.

    Raises:
        BadInput: if there are none, or links.
    """
    check_tree(folder)
    files = [f for f in sorted(folder.iterdir()) if f.suffix.lower() in (*_READERS, *_TEXTS)]
    if not files:
        raise refuse(folder, "holds no .csv, .npz or .parquet file")
    return files
