"""NeoRL's layout (Qin et al. 2022): one npz file of flat arrays.

```
NAME.npz  obs action reward done next_obs index (the rows where trajectories begin, or end)
```
Nothing is ever unpickled.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mbrl.data.containers import read_npz
from mbrl.data.steps import Steps, at_limit, check_layout, column, flags, table
from mbrl.errors import BadInput

ARRAYS = ("obs", "action", "reward", "done", "next_obs", "index")
NAME = re.compile(r"(halfcheetah|hopper|walker2d)-v3-(low|medium|high|expert)(-.*)?")
# environment -> returns that count as 0 and 100, of MOREC's code
REFERENCES = {
    "halfcheetah": (-298.0, 12284.0),
    "hopper": (5.0, 3294.0),
    "walker2d": (1.0, 5143.0),
}


def read_neorl(file: Path) -> dict[str, NDArray[Any]]:
    """Read the arrays of a file."""
    return read_npz(file, ARRAYS)


def neorl_steps(arrays: dict[str, NDArray[Any]], env: str | None) -> Steps:
    """Return the steps of checked arrays; a done at the time limit is a truncation.

    Args:
        arrays: of read_neorl.
        env: the benchmark's environment, None if it is another.

    Raises:
        BadInput: naming what is wrong.
    """
    check_layout(arrays, "NeoRL", ARRAYS, "next_obs")
    done, index = flags(arrays, "done"), arrays["index"].reshape(-1)
    size = len(done)
    whole = np.issubdtype(index.dtype, np.number) and (index == np.floor(index)).all()
    if not whole or (np.diff(index) <= 0).any() or (index < 0).any() or (index > size).any():
        raise BadInput(f"index should be rising rows of 0 to {size}, where trajectories begin")
    starts = np.zeros(size + 1, dtype=bool)
    starts[index.astype(np.int64)] = True
    last = starts[1:] | done
    if env is not None:
        done = done & ~at_limit(last)
    return Steps(
        table(arrays, "obs"),
        table(arrays, "action"),
        column(arrays, "reward"),
        table(arrays, "next_obs"),
        done,
        last,
    )
