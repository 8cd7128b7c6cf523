"""Recorded runs as Parquet files: columns of numbers, truth values and lists of one length."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mbrl.data.containers import check_pyarrow, room_of, width_of
from mbrl.data.dataset import line_of
from mbrl.data.logs.table import MAX_COLUMNS, Columns, check_names, refuse
from mbrl.errors import BadInput
from mbrl.files import open_regular
from mbrl.memory import limited_memory

_COMPONENT = re.compile(r"\[\d+\]$")
_BATCH = 65_536  # rows


def read_parquet(
    path: Path,
    wanted: Collection[str] | None = None,
    label: str | None = None,
    components: Mapping[str, Sequence[str]] | None = None,
) -> Columns:
    """Read a Parquet file.

    Args:
        path: of the file.
        wanted: names of the columns to be read, or of whole lists; None: all that hold numbers.
        label: name of a column that may hold texts, which are numbered as they first appear.
        components: names of the columns that a list becomes; others become name[0], name[1] ...

    Raises:
        BadInput: naming the column, or the package that is missing.
    """
    try:
        check_pyarrow()
        from pyarrow import parquet  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise refuse(path, "Parquet needs pyarrow: pip install 'dynaplan[logs]'") from None
    try:
        texts = None if label is None else [label]  # each text once, however often it is repeated
        with (
            open_regular(path) as opened,
            parquet.ParquetFile(opened, read_dictionary=texts) as content,
        ):
            return _read(path, content, wanted, label, components or {})
    except BadInput as error:
        raise refuse(path, str(error).removeprefix(f"{path}: ")) from None
    except Exception as error:  # whatever pyarrow makes of a damaged file
        raise refuse(path, f"not readable as Parquet ({line_of(error)})") from None


def _read(
    path: Path,
    content: Any,
    wanted: Collection[str] | None,
    label: str | None,
    components: Mapping[str, Sequence[str]],
) -> Columns:
    """Read an opened Parquet file.

    Raises:
        BadInput: naming the column.
    """
    schema = content.schema_arrow
    count = content.metadata.num_rows
    lengths: dict[str, int | None] = {}  # of lists; 0: not known before they are read
    for field in schema:
        length = _length(field.type)
        if field.name == label and _is_text(field.type):
            length = None
        if length != -1:
            lengths[field.name] = length
    bases = [
        name
        for name in lengths
        if wanted is None
        or name in wanted
        or any(each in wanted for each in components.get(name, ()))
        or any(_COMPONENT.sub("", each) == name for each in wanted)
    ]
    check_names(path, schema.names, bases)
    room = room_of(path)
    kinds = {name: schema.field(name).type for name in bases}
    width = sum(8 if _is_text(kind) else width_of(name, kind) for name, kind in kinds.items())
    if count < 0 or max(width, 8 * len(bases)) * count > room:
        raise BadInput("declares more numbers than such a file can hold")
    parts: dict[str, list[NDArray[np.float64]]] = {name: [] for name in bases}
    labels: dict[str, int] = {}
    with limited_memory(2 * room):
        for batch in content.iter_batches(batch_size=_BATCH, columns=bases):
            batch.validate()  # or a column that is too short would be read beyond its end
            for name in bases:
                parts[name].append(_numbers(name, batch.column(name), labels))
    groups: dict[str, tuple[str, ...]] = {}
    values = {}
    for name, pieces in parts.items():
        table = np.concatenate(pieces) if pieces else np.empty((0, 1))
        if lengths[name] is None:
            values[name] = table[:, 0]
            continue
        groups[name] = _group(name, table.shape[1], components)
        values |= dict(zip(groups[name], table.T.copy(), strict=True))
    for name, length in lengths.items():
        if length is not None and name not in groups:
            groups[name] = _group(name, length, components)
    names = tuple(column for name in lengths for column in groups.get(name, (name,)))
    return Columns(path, names, values, range(1, 1 + count), groups)


def _length(kind: Any) -> int | None:
    """Return None for numbers, the length of a list, 0 if only its rows say it, -1 for others."""
    from pyarrow import types  # pyright: ignore[reportMissingImports]

    def is_number(kind: Any) -> bool:
        return types.is_boolean(kind) or types.is_integer(kind) or types.is_floating(kind)

    if is_number(kind):
        return None
    if types.is_fixed_size_list(kind) and is_number(kind.value_type):
        return kind.list_size if 0 < kind.list_size <= MAX_COLUMNS else -1
    is_list = types.is_list(kind) or types.is_large_list(kind)
    return 0 if is_list and is_number(kind.value_type) else -1


def _group(name: str, length: int, components: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """Return the names of the columns that a list becomes."""
    own = components.get(name, ())
    if own and length in (0, len(own)):
        return tuple(own)
    return tuple(f"{name}[{place}]" for place in range(length))


def _is_text(kind: Any) -> bool:
    """Return whether a type is text, each of which is stored once."""
    from pyarrow import types  # pyright: ignore[reportMissingImports]

    return types.is_dictionary(kind) and (
        types.is_string(kind.value_type) or types.is_large_string(kind.value_type)
    )


def _numbers(name: str, column: Any, labels: dict[str, int]) -> NDArray[np.float64]:
    """Return the numbers (n, D) of a part of a column; NaN where one is missing.

    Texts are numbered in the order of their first appearance, in labels.

    Raises:
        BadInput: if lists are missing or differ in length.
    """
    import pyarrow as pa  # pyright: ignore[reportMissingImports]

    if _is_text(column.type):
        texts = column.dictionary.to_pylist()
        known = [np.nan if text is None else labels.setdefault(text, len(labels)) for text in texts]
        places = column.indices.fill_null(len(known)).to_numpy(zero_copy_only=False)
        return np.array([*known, np.nan], dtype=np.float64)[places][:, None]
    width = 1
    if pa.types.is_nested(column.type):
        lengths = column.value_lengths().unique().drop_null().to_pylist()
        if column.null_count or len(lengths) > 1 or lengths == [0]:
            raise BadInput(f"{name}: lists differ in length; all should have the same")
        width = lengths[0] if lengths else 1
        column = column.flatten()
    numbers = column.cast(pa.float64(), safe=False)
    return np.asarray(numbers.to_numpy(zero_copy_only=False), dtype=np.float64).reshape(-1, width)
