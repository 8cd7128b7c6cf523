"""HDF5, npz, Arrow and Parquet files of a stranger, checked before their arrays are read.

Refused are storage outside of the file, links other than hard ones, objects that are no numbers,
filters that are plugins, and arrays that declare far more than the file can hold.
"""

from __future__ import annotations

import math
import os
import zipfile
from collections.abc import Collection
from pathlib import Path
from typing import Any

from numpy.lib import format as npy
from numpy.typing import NDArray

from mbrl.errors import BadInput
from mbrl.files import MB, check_regular
from mbrl.memory import limited_memory

_RATIO, _FREE = 64, 64 * MB  # bytes of arrays for a byte of the file, and beside that
_MOST = 32 * 1024 * MB  # bytes of arrays
_TEXT = 1024  # bytes that are counted for a text
_OBJECTS = 2_000_000  # groups and arrays of a file
# deflate, shuffle, Fletcher's checksum, szip, n-bit, scale and offset, and h5py's own LZF
_FILTERS = {1, 2, 3, 4, 5, 6, 32000}
_NO_PICKLES = (15, 0)  # of pyarrow: earlier ones unpickle an extension type that a file names


def check_hdf5(file: Path, names: Collection[str] | None = None) -> None:
    """Check an HDF5 file, which is opened and not read.

    Args:
        file: where it is.
        names: what will be read, at its top; None: everything in it.

    Raises:
        BadInput: naming the array or the group.
    """
    import h5py
    from h5py import h5l, h5o  # pyright: ignore[reportAttributeAccessIssue]

    check_regular(file)
    room = room_of(file)
    with h5py.File(file, "r") as content:
        waiting: list[tuple[str, Any]] = [("", content)]
        known: set[Any] = set()
        count = 0
        while waiting:
            path, group = waiting.pop()
            for name in group:
                if path == "" and names is not None and name not in names:
                    continue
                count += 1
                if count > _OBJECTS:
                    raise BadInput(f"holds more than {_OBJECTS} objects")
                at = f"{path}/{name}"[:200]
                link = group.id.links.get_info(name.encode("utf-8", "surrogateescape"))
                if link.type != h5l.TYPE_HARD:
                    raise BadInput(f"{at} is a link; only what is in the file itself is read")
                child = group[name]
                address = h5o.get_info(child.id).addr
                if address in known:
                    continue
                known.add(address)
                if isinstance(child, h5py.Group):
                    waiting.append((at, child))
                elif isinstance(child, h5py.Dataset):
                    room -= _check_array(at, child)
                if room < 0:
                    raise BadInput(f"{at} declares more numbers than such a file can hold")


def _check_array(name: str, array: Any) -> int:
    """Return the bytes of an array of an HDF5 file.

    Raises:
        BadInput: if it is not all in the file, or holds no numbers.
    """
    import h5py
    from h5py import h5d  # pyright: ignore[reportAttributeAccessIssue]

    made = array.id.get_create_plist()
    if made.get_layout() == h5d.VIRTUAL or made.get_external_count():
        raise BadInput(f"{name} is stored outside of the file")
    filters = {made.get_filter(i)[0] for i in range(made.get_nfilters())}
    if not filters <= _FILTERS:
        raise BadInput(f"{name} needs the filter {min(filters - _FILTERS)}, which is a plugin")
    size = array.dtype.itemsize
    if h5py.check_string_dtype(array.dtype) is not None:
        size = _TEXT
    elif array.dtype.kind not in "biufV" or array.dtype.hasobject:
        raise BadInput(f"{name} holds {array.dtype}, not numbers")
    return math.prod(int(n) for n in array.shape or (1,)) * size


def read_npz(file: Path, names: tuple[str, ...]) -> dict[str, NDArray[Any]]:
    """Read arrays of an npz file; nothing is unpickled.

    Args:
        file: where it is.
        names: of the arrays, those that are there.

    Raises:
        BadInput: naming the array that is no numbers, declared twice or too large.
    """
    check_regular(file)
    room = room_of(file)
    arrays = {}
    with zipfile.ZipFile(file) as archive:
        members = [member.filename for member in archive.infolist()]
        for name in names:
            member = f"{name}.npy"
            if members.count(member) > 1:
                raise BadInput(f"{name} is there twice")
            if member in members:
                size = archive.getinfo(member).file_size
                room -= size
                if room < 0:
                    raise BadInput(f"{name} declares more numbers than such a file can hold")
                arrays[name] = _read_npy(archive, member, size)
    return arrays


def npz_shapes(file: Path) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the arrays of numbers in an npz file, which are not read.

    Args:
        file: where it is.

    Raises:
        BadInput: if it is no file, or one array is there twice.
        Exception: whatever zipfile or numpy make of a damaged file.
    """
    check_regular(file)
    shapes: dict[str, tuple[int, ...]] = {}
    with zipfile.ZipFile(file) as archive:
        for member in archive.namelist():
            name = member.removesuffix(".npy")
            if name == member:
                continue
            if name in shapes:
                raise BadInput(f"{name} is there twice")
            shape, kind = _npy_header(archive, member)
            if not kind.hasobject and kind.kind in "biuf":
                shapes[name] = shape
    return shapes


def _npy_header(archive: zipfile.ZipFile, member: str) -> tuple[tuple[int, ...], Any]:
    """Return the shape and the dtype of an array of an archive."""
    with archive.open(member) as content:
        version = npy.read_magic(content)
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, _, kind = read(content)
    return shape, kind


def _read_npy(archive: zipfile.ZipFile, member: str, size: int) -> NDArray[Any]:
    """Read an array of an archive, whose header may not declare more than the size in bytes."""
    name = member.removesuffix(".npy")
    shape, kind = _npy_header(archive, member)
    if kind.hasobject or kind.kind not in "biuf":
        raise BadInput(f"{name} holds {kind}, not numbers")
    if math.prod(int(n) for n in shape) * kind.itemsize > size:
        raise BadInput(f"{name} declares more numbers than the file holds")
    with archive.open(member) as content:
        return npy.read_array(content, allow_pickle=False)


def check_pyarrow() -> None:
    """Check that the pyarrow which is installed unpickles nothing.

    Raises:
        BadInput: if it may.
        ImportError: if there is none.
    """
    import pyarrow  # pyright: ignore[reportMissingImports]

    if tuple(int(number) for number in pyarrow.__version__.split(".")[:2]) < _NO_PICKLES:
        raise BadInput(f"pyarrow {pyarrow.__version__} may unpickle; pip install 'pyarrow>=15'")


def check_arrow(folder: Path, form: str) -> int:
    """Check the Arrow or Parquet files of a Minari dataset.

    Args:
        folder: of the episodes, each with its files and its metadata.json.
        form: "arrow" or "parquet".

    Returns:
        The bytes that reading them may take.

    Raises:
        BadInput: naming the file and the column.
    """
    from pyarrow import dataset  # pyright: ignore[reportMissingImports]

    check_pyarrow()
    files = [f for f in sorted(folder.rglob("*")) if f.is_file() and f.name != "metadata.json"]
    most = room = room_of(*files)
    for file in files:
        stored = dataset.dataset(str(file), format=form)  # of which the schema is read
        at = file.relative_to(folder)
        width = sum(width_of(f"{at}: {each.name:.80}", each.type) for each in stored.schema)
        room -= int(width * stored.count_rows())
        if room < 0:
            raise BadInput(f"{at} declares more numbers than such a file can hold")
    with limited_memory(_FREE + most):
        for file in files:
            for batch in dataset.dataset(str(file), format=form).to_batches():
                batch.validate()  # or a column that is too short would be read beyond its end
    return most


def width_of(name: str, kind: Any) -> float:
    """Return the bytes of a row of a column.

    Args:
        name: of the column, for the message.
        kind: its type in pyarrow.

    Raises:
        BadInput: if it holds neither numbers nor texts.
    """
    from pyarrow import types  # pyright: ignore[reportMissingImports]

    if types.is_fixed_size_list(kind):
        return kind.list_size * width_of(name, kind.value_type)
    if types.is_struct(kind):
        return max(1, sum(width_of(name, kind.field(i).type) for i in range(kind.num_fields)))
    if types.is_list(kind) or types.is_string(kind) or types.is_binary(kind):
        return _TEXT
    if types.is_boolean(kind) or types.is_integer(kind) or types.is_floating(kind):
        return kind.bit_width / 8
    raise BadInput(f"{name} holds {kind!s:.80}, not numbers")


def room_of(*files: Path) -> int:
    """Return the bytes that the arrays of files may have together.

    Args:
        files: where they are.
    """
    return min(_MOST, _FREE + _RATIO * sum(map(os.path.getsize, files)))
