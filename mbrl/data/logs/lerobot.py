"""LeRobot datasets of format v3 as columns, read with pyarrow and JSON only.

```
FOLDER/  meta/info.json  data/chunk-000/file-000.parquet ...
```
Videos and pictures are not read. The format: github.com/huggingface/lerobot, lerobot/datasets.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path, PurePosixPath
from typing import Any

from mbrl.data.logs.parquet import read_parquet
from mbrl.data.logs.table import MAX_COLUMNS, Columns, refuse
from mbrl.documents import Unreadable, parse_json
from mbrl.files import MB, check_tree, read_regular

INFO = Path("meta/info.json")
_LIMIT = 16 * MB  # bytes of info.json
_FIELD = re.compile(r"\{(chunk_index|file_index)(:0?\d{0,2}d?)?\}")
_WITHOUT = ("videos", "images")  # may hold more files than are looked at


def is_lerobot(folder: Path) -> bool:
    """Return whether a folder is one of LeRobot's.

    Args:
        folder: its path.
    """
    return (folder / INFO).is_file()


def read_lerobot(folder: Path, wanted: Collection[str] | None = None) -> list[Columns]:
    """Read the files of a LeRobot dataset, one after the other; an episode is in one of them.

    Args:
        folder: its path.
        wanted: names of columns, such as "observation.state.shoulder", or of whole lists, such as
            "observation.state"; None: all that hold numbers.

    Returns:
        The columns of each file. Lists become NAME.COMPONENT with the names of info.json, else
        NAME[0], NAME[1] ...

    Raises:
        BadInput: naming the file, and what should be in it.
    """
    check_tree(folder, without=_WITHOUT)
    info = _read_info(folder / INFO)
    components = _components(folder / INFO, info.get("features", {}))
    pattern = _pattern(folder / INFO, info.get("data_path", "data/*/*.parquet"))
    files = sorted(folder.glob(pattern), key=_in_order)
    if not files:
        raise refuse(folder, f"holds no {pattern}; should hold the files of data")
    if wanted is not None:
        wanted = {*wanted, "timestamp", "episode_index"}
    return [_with_roles(read_parquet(file, wanted, components=components)) for file in files]


def _with_roles(columns: Columns) -> Columns:
    """Return columns with those of LeRobot's that hold the time and the episode."""
    time, episode = (
        name if name in columns.values else None for name in ("timestamp", "episode_index")
    )
    return columns._replace(time=time, episode=episode)


def _read_info(file: Path) -> dict[str, Any]:
    """Read info.json.

    Raises:
        BadInput: if it is damaged, or of another version of the format.
    """
    try:
        info = parse_json(read_regular(file, _LIMIT))
    except Unreadable as error:
        raise refuse(file, f"{error.reason}; should be LeRobot's") from None
    if not isinstance(info, dict):
        raise refuse(file, "should hold names with values")
    version = str(info.get("codebase_version", "none"))
    if not version.startswith("v3."):
        raise refuse(
            file,
            f"codebase_version is {version:.20}; should be v3.0 "
            "(LeRobot's convert_dataset_v21_to_v30 converts older ones)",
        )
    return info


def _components(file: Path, features: Any) -> dict[str, list[str]]:
    """Return the names of the columns of each list.

    Names are a list, or lists in a dictionary, or null. One that is there twice has no meaning.

    Raises:
        BadInput: if info.json holds something else.
    """
    if not isinstance(features, dict) or not all(isinstance(f, dict) for f in features.values()):
        raise refuse(file, "features should hold a dictionary for each column")
    components = {}
    for name, feature in features.items():
        names = feature.get("names")
        if isinstance(names, dict):
            names = [each for part in names.values() if isinstance(part, list) for each in part]
        if not isinstance(names, list) or len(names) > MAX_COLUMNS:
            continue
        known = [str(each)[:200] for each in names]
        if len(known) > 1 and len(set(known)) == len(known):
            components[name] = [f"{name}.{each}" for each in known]
    return components


def _pattern(file: Path, template: Any) -> str:
    """Return the pattern of the data files of a template such as data/chunk-{chunk_index:03d}/...

    Raises:
        BadInput: if it leaves the folder, or is no template.
    """
    path = PurePosixPath(template if isinstance(template, str) else "")
    pattern = _FIELD.sub("*", str(path))
    outside = path.is_absolute() or ".." in path.parts or "\\" in str(path) or ":" in pattern
    if outside or path.suffix != ".parquet" or "{" in pattern or "**" in pattern:
        raise refuse(
            file,
            f"data_path is {str(template)[:80]!r}; should be like "
            "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        )
    return pattern


def _in_order(file: Path) -> list[tuple[int, str]]:
    """Return what files are sorted by: the numbers in their paths, not the digits."""
    return [(int(digits or 0), text) for text, digits in re.findall(r"(\D*)(\d*)", str(file))]
