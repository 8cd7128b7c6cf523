"""Recorded runs as npz files: arrays (N,) by their names, arrays (N, D) as name[0], name[1] ..."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path

import numpy as np

from mbrl.data.containers import npz_shapes, read_npz
from mbrl.data.dataset import line_of
from mbrl.data.logs.table import MAX_COLUMNS, Columns, check_names, refuse
from mbrl.errors import BadInput

_COMPONENT = re.compile(r"\[\d+\]$")


def read_archive(
    path: Path, wanted: Collection[str] | None = None, label: str | None = None
) -> Columns:
    """Read an npz file; nothing is unpickled.

    An array that is one row shorter than the others is filled with a missing number at its end:
    actions are recorded so, because none follows the last observation.

    Args:
        path: of the file.
        wanted: names of the columns to be read, or of whole arrays; None: all.
        label: not used; an npz file holds no texts that are read.

    Raises:
        BadInput: naming the array.
    """
    try:
        shapes = {name: s for name, s in npz_shapes(path).items() if len(s) in (1, 2)}
        width = sum(shape[1] for shape in shapes.values() if len(shape) == 2)
        if width > MAX_COLUMNS and wanted is None:
            raise BadInput(f"{width} columns; should be at most {MAX_COLUMNS}")
        bases = shapes if wanted is None else {_COMPONENT.sub("", name) for name in wanted}
        bases = tuple(name for name in shapes if name in bases)
        if any(len(shapes[b]) == 2 and shapes[b][1] > MAX_COLUMNS for b in bases):
            raise BadInput(f"more than {MAX_COLUMNS} columns")
        arrays = read_npz(path, bases)
    except BadInput as error:
        words = str(error)
        raise refuse(path, words.removeprefix(f"{path}: ")) from None
    except Exception as error:  # whatever zipfile or numpy make of a damaged file
        raise refuse(path, f"not readable as npz ({line_of(error)})") from None
    lengths = {name: len(array) for name, array in arrays.items()}
    longest = max(lengths, key=lambda name: lengths[name], default="")
    for name, length in lengths.items():
        if not lengths[longest] - 1 <= length:
            raise refuse(
                path,
                f"{name} has {length} rows and {longest} {lengths[longest]}; arrays should be "
                "equally long, or actions one row shorter",
            )
    groups = {
        name: tuple(f"{name}[{place}]" for place in range(min(shape[1], MAX_COLUMNS)))
        for name, shape in shapes.items()
        if len(shape) == 2
    }
    names = tuple(column for name in shapes for column in groups.get(name, (name,)))
    values = {}
    for name, array in arrays.items():
        table = np.full((lengths[longest], array[:1].size), np.nan)
        table[: len(array)] = array.reshape(len(array), -1)
        values |= dict(zip(groups.get(name, (name,)), table.T.copy(), strict=True))
    if wanted is not None:
        check_names(path, names, wanted)
    return Columns(path, names, values, range(1, 1 + lengths.get(longest, 0)), groups)
