"""Recorded tables cut into runs without gaps: rows that follow each other, with an action each."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mbrl.data.logs.roles import Roles
from mbrl.data.logs.table import Columns, refuse

GAP = 5.0  # median steps: more is a gap


class Run(NamedTuple):
    """Rows of a table that follow each other in time."""

    obs: NDArray[np.float64]  # (T + 1, D)
    action: NDArray[np.float64]  # (T, A)
    time: NDArray[np.float64] | None  # (T + 1,) s
    table: Columns
    first: int  # place of its first row in the table
    last: int  # and of its last

    def row(self, place: int) -> int:
        """Return the row of the file, as an editor shows it.

        Args:
            place: from 0, in this run as it was recorded.
        """
        return self.table.rows[self.first + place]

    @property
    def name(self) -> str:
        """Return the file and its rows in words."""
        return (
            f"{self.table.source}, rows {self.table.rows[self.first]}-{self.table.rows[self.last]}"
        )


class Cut(NamedTuple):
    """Runs of a table, and what cut them."""

    runs: list[Run]
    gaps: int  # of time
    missing: int  # rows where a number is missing
    alone: int  # rows that have no neighbor
    step: float | None  # s, the median


def cut(table: Columns, roles: Roles, *, split_missing: bool, action_shift: int) -> Cut:
    """Split a table where the episode changes, time has a gap or (if allowed) numbers are missing.

    Args:
        table: the columns.
        roles: what they are for.
        split_missing: whether a missing number cuts a run; else it is refused.
        action_shift: rows by which the action is taken later.

    Raises:
        BadInput: naming the row and the column.
    """
    obs = np.stack([table.values[name] for name in roles.obs], 1)
    action = np.stack([table.values[name] for name in roles.action], 1)
    time = None if roles.time is None else table.values[roles.time]
    _check_infinite(table, roles)
    same = np.ones(max(len(obs) - 1, 0), bool)  # (N - 1,) whether the next row is the same episode
    if roles.episode is not None:
        number = table.values[roles.episode]
        _refuse_missing(table, roles.episode, np.isnan(number), "should be the number of a run")
        same = number[1:] == number[:-1]
    step, gap = (None, ~same) if time is None else _check_time(table, roles, time, same)
    action, has_action = _shifted(action, same, action_shift)
    lacks = np.asarray(np.isnan(obs).any(1))
    if time is not None:
        lacks = lacks | np.isnan(time)
    lacks_action = np.isnan(action).any(1)
    needs_action = np.append(same & ~gap, False) & has_action
    if not split_missing:
        for name in (*roles.obs, *([roles.time] if roles.time else [])):
            _refuse_missing(table, name, np.isnan(table.values[name]), _REMEDY)
        for place, name in enumerate(roles.action):
            _refuse_missing(table, name, np.isnan(action[:, place]) & needs_action, _REMEDY)
    acts = has_action & ~lacks_action
    follows = np.array(same & ~gap & ~lacks[1:] & ~lacks[:-1] & acts[:-1])
    edges = np.flatnonzero(np.diff(np.concatenate([[False], follows, [False]]).astype(np.int8)))
    runs = [
        Run(obs[a : b + 1], action[a:b], None if time is None else time[a : b + 1], table, a, b)
        for a, b in edges.reshape(-1, 2).tolist()
    ]
    alone = len(obs) - sum(len(run.obs) for run in runs)
    missing = int((lacks | (lacks_action & needs_action)).sum())
    return Cut(runs, int((gap & same).sum()), missing, alone, step)


_REMEDY = "should be a number (missing='split' cuts the runs there)"


def _check_infinite(table: Columns, roles: Roles) -> None:
    """Check that no number of a table is infinite.

    Raises:
        BadInput: naming the first.
    """
    for name in (*roles.obs, *roles.action, roles.time, roles.episode):
        infinite = np.isinf(table.values[name]) if name is not None else np.zeros(1, bool)
        if name is not None and infinite.any():
            row = table.rows[int(infinite.argmax())]
            raise refuse(table.source, "is infinite; should be a number", row=row, column=name)


def _refuse_missing(table: Columns, name: str, lacks: NDArray[np.bool_], remedy: str) -> None:
    """Check that no number of a column is missing.

    Raises:
        BadInput: naming the first, and how many there are.
    """
    count = int(lacks.sum())
    if count:
        more = f", as in {count - 1} more rows" if count > 1 else ""
        row = table.rows[int(lacks.argmax())]
        raise refuse(table.source, f"is missing{more}; {remedy}", row=row, column=name)


def _check_time(
    table: Columns, roles: Roles, time: NDArray[np.float64], same: NDArray[np.bool_]
) -> tuple[float | None, NDArray[np.bool_]]:
    """Return the median step (s) and where the step to the next row (N - 1,) is a gap.

    Raises:
        BadInput: if time stands still or goes back within an episode.
    """
    steps = np.diff(time)
    wrong = same & (steps <= 0)
    if wrong.any():
        place = int(wrong.argmax())
        before, after = time[place], time[place + 1]
        if (same & (steps == 0)).sum() == same.sum():
            words = f"time does not change from {before:.10g}; should grow in every row"
        elif steps[place] == 0:
            words = f"time stays at {after:.10g}; should grow in every row"
        else:
            words = f"time goes back from {before:.10g} to {after:.10g}; should grow in every row"
        if roles.episode is None:
            words += " (runs in one file need the column of their numbers: episode)"
        raise refuse(table.source, words, row=table.rows[place + 1], column=roles.time or "")
    steps = np.where(same, steps, np.nan)
    if np.isnan(steps).all():
        return None, np.zeros(len(same), bool)
    step = float(np.nanmedian(steps))
    return step, steps > GAP * step


def _shifted(
    action: NDArray[np.float64], same: NDArray[np.bool_], shift: int
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return the actions (N, A) of other rows of the same episode, and where there are some."""
    if shift == 0:
        return action, np.ones(len(action), bool)
    block = np.concatenate([[0], np.cumsum(~same)])
    source = np.arange(len(action)) + shift
    inside = (source >= 0) & (source < len(action))
    source = source.clip(0, len(action) - 1)
    inside &= block[source] == block
    return action[source], inside
