"""D4RL's layout (Fu et al. 2020): one HDF5 file of flat arrays.

```
NAME.hdf5  observations actions rewards terminals (timeouts) (next_observations)
```
h5py is imported when a file is read.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mbrl.data.containers import check_hdf5
from mbrl.data.steps import Steps, at_limit, check_layout, column, flags, table
from mbrl.errors import BadInput

ARRAYS = ("observations", "actions", "rewards", "terminals")
_QUALITIES = "random|medium|expert|mixed|medium-replay|full-replay|medium-expert"
NAME = re.compile(rf"(halfcheetah|hopper|walker2d)-({_QUALITIES})(-v\d)?")
# environment -> returns that count as 0 and 100, of d4rl/infos.py
REFERENCES = {
    "halfcheetah": (-280.178953, 12135.0),
    "hopper": (-20.272305, 3234.3),
    "walker2d": (1.629008, 4592.3),
}


def read_d4rl(file: Path) -> dict[str, NDArray[Any]]:
    """Read the arrays of a file.

    Raises:
        BadInput: if h5py is missing or the file is one of Minari's.
    """
    try:
        import h5py
    except ImportError as error:
        raise BadInput(f"needs {error.name}: pip install 'dynaplan[offline]'") from None
    names = {*ARRAYS, "timeouts", "next_observations"}
    check_hdf5(file, names)
    with h5py.File(file, "r") as content:
        if any(str(name).startswith("episode_") for name in content):
            raise BadInput("a file of a Minari dataset; give Minari's name, like mujoco/hopper-v0")
        return {n: np.asarray(content[n]) for n in sorted(names) if n in content}


def d4rl_steps(arrays: dict[str, NDArray[Any]], env: str | None) -> Steps:
    """Return the steps of checked arrays; terminals and timeouts end episodes.

    Args:
        arrays: of read_d4rl.
        env: the benchmark's environment, None if it is another.

    Raises:
        BadInput: naming what is wrong.
    """
    check_layout(arrays, "D4RL", ARRAYS, "next_observations")
    terminated = flags(arrays, "terminals")
    last = None
    if "timeouts" in arrays:
        last = terminated | flags(arrays, "timeouts")
    elif env is not None:  # first version of the files: the time limit is known
        last = terminated | at_limit(terminated)
    elif "next_observations" not in arrays:
        raise BadInput(
            "has neither timeouts nor next_observations, so that it is not known where an episode "
            "was cut off; add timeouts, zeros if every episode ends in a terminal"
        )
    return Steps(
        table(arrays, "observations"),
        table(arrays, "actions"),
        column(arrays, "rewards"),
        table(arrays, "next_observations") if "next_observations" in arrays else None,
        terminated,
        last,
    )
