"""Which columns of recorded tables are observations, actions, time, episode and angles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from mbrl.data.logs.table import Columns, hint_for, refuse
from mbrl.errors import BadInput


class Roles(NamedTuple):
    """Columns by what they are for."""

    obs: tuple[str, ...]
    action: tuple[str, ...]
    angles: tuple[int, ...]  # places in obs
    time: str | None
    episode: str | None


def find_roles(
    tables: Sequence[Columns],
    *,
    obs: Sequence[str],
    action: Sequence[str],
    time: str | None,
    episode: str | None,
    angle: Sequence[str],
) -> Roles:
    """Find the columns of each role; the name of a whole table or list stands for all of it.

    Args:
        tables: that should all have them.
        obs: names of observations.
        action: names of actions.
        time: name of the time; None: the format's own, if it has one.
        episode: name of the number of the episode; None as for time.
        angle: names of observations that are angles.

    Raises:
        BadInput: naming the argument, and the column that is not there or has two roles.
    """
    first = tables[0]
    roles = Roles(
        _expand("obs", obs, first),
        _expand("action", action, first),
        (),
        first.time if time is None else _expand("time", [time], first)[0],
        first.episode if episode is None else _expand("episode", [episode], first)[0],
    )
    both = [name for name in roles.obs if name in roles.action]
    if both:
        raise BadInput(f"action: {both[0]} is in obs too; a column should be one of both")
    for role, name in (("time", roles.time), ("episode", roles.episode)):
        if name in roles.action:
            raise BadInput(f"action: {name} is {role} too; a column should be one of both")
    angles = _expand("angle", angle, first) if angle else ()
    for name in angles:
        if name not in roles.obs:
            raise BadInput(f"angle: {name} is not in obs; {hint_for(name, roles.obs)}")
    for table in tables[1:]:
        for name in (*roles.obs, *roles.action, roles.time, roles.episode):
            if name is not None and name not in table.values:
                raise refuse(table.source, f"no column {name}, which {first.source} has")
    return roles._replace(angles=tuple(roles.obs.index(name) for name in angles))


def _expand(role: str, names: Sequence[str], table: Columns) -> tuple[str, ...]:
    """Return the columns of names, of which some may stand for several.

    Raises:
        BadInput: naming the role, if there are none, or one is not there or twice.
    """
    if isinstance(names, str) or not all(isinstance(name, str) for name in names):
        raise BadInput(f"{role}: {names!r} should be a list of names of columns")
    if not names:
        raise BadInput(f"{role}: should name a column at least; there are {_listed(table)}")
    columns: list[str] = []
    for name in names:
        columns_of = (name,) if name in table.values else table.groups.get(name, ())
        if not columns_of:
            known = (*table.names, *table.groups)
            raise BadInput(f"{role}: no column {name} in {table.source}; {hint_for(name, known)}")
        columns += columns_of
    twice = [name for place, name in enumerate(columns) if name in columns[:place]]
    if twice:
        raise BadInput(f"{role}: {twice[0]} is there twice; should be named once")
    return tuple(columns)


def _listed(table: Columns) -> str:
    """Return the names of a table's columns, the first of them."""
    return ", ".join(table.names[:40])
