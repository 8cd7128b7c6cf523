"""Angles: jumps by a whole turn undone, and columns that may be angles but are not said to be."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mbrl.data.logs.roles import Roles
from mbrl.data.logs.runs import Run
from mbrl.data.logs.table import refuse

_TURN = 2 * math.pi
_NEAR = 0.1  # share of a turn by which a jump may differ from it
_UNDECLARED = 0.95, 1.05  # turns that the values of a column which wraps cover


def unwrapped(run: Run, roles: Roles) -> NDArray[np.float64]:
    """Return the observations (T + 1, D) with angles that do not jump by whole turns.

    Args:
        run: its observations.
        roles: which of them are angles.

    Raises:
        BadInput: if an angle is in degrees.
    """
    if not roles.angles:
        return run.obs
    obs = run.obs.copy()
    for place in roles.angles:
        angle = obs[:, place]
        jumps = _whole_turns(angle, 360.0)
        if np.ptp(angle) > 2 * _TURN and jumps.any():
            at = int(jumps.argmax())
            raise refuse(
                run.table.source,
                f"goes from {angle[at]:.6g} to {angle[at + 1]:.6g}, as angles in degrees do; "
                "should be in radians",
                row=run.row(at + 1),
                column=roles.obs[place],
            )
        obs[:, place] = np.unwrap(angle)
    return obs


def describe_turns(runs: Sequence[Run], roles: Roles) -> list[str]:
    """Return sentences on angles that turn too fast, and on columns that jump by whole turns.

    Args:
        runs: with continuous angles.
        roles: which of their columns are angles.
    """
    notes = []
    for place, name in enumerate(roles.obs):
        if place in roles.angles:
            for run in runs:
                fast = np.abs(np.diff(run.obs[:, place])) > _TURN / 4
                if fast.any():
                    notes.append(
                        f"{name} turns by more than a quarter of a turn from one row to the next "
                        f"({run.table.source}, row {run.row(int(fast.argmax()) + 1)}): it may be "
                        "in degrees or recorded too slowly."
                    )
                    break
            continue
        values = np.concatenate([run.obs[:, place] for run in runs])
        for turn in (_TURN, 360.0):
            low, high = (share * turn for share in _UNDECLARED)
            count = sum(int(_whole_turns(run.obs[:, place], turn).sum()) for run in runs)
            if count and low <= np.ptp(values) <= high:
                unit = "radians" if turn == _TURN else "degrees"
                notes.append(
                    f"{name} jumps by a whole turn {count} times, as angles in {unit} do: name it "
                    "in angle (radians) to make it continuous."
                )
    return notes


def _whole_turns(angle: NDArray[np.float64], turn: float) -> NDArray[np.bool_]:
    """Return where (T,) the step to the next row is about a whole turn."""
    return np.abs(np.abs(np.diff(angle)) - turn) < _NEAR * turn
