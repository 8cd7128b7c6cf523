"""Recorded runs of a robot as episodes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from annotated_types import Interval

from mbrl.data.dataset import Dataset, episodes
from mbrl.data.logs.alignment import describe_shift
from mbrl.data.logs.angles import describe_turns, unwrapped
from mbrl.data.logs.columns import read_tables
from mbrl.data.logs.episodes import Episode, Log, describe_columns
from mbrl.data.logs.roles import Roles, find_roles
from mbrl.data.logs.runs import GAP, Cut, Run, cut
from mbrl.data.logs.sampling import is_uneven, resampled
from mbrl.data.logs.table import Columns, refuse
from mbrl.errors import BadInput
from mbrl.values import checked

_SAME_STEP = 0.1  # share by which the median steps of files may differ
_FINER = 0.6  # of the recorded step
_LONG_STEP = 1.0  # s; robots are recorded faster


@checked
def read_log(
    paths: Sequence[Path],
    *,
    obs: Sequence[str],
    action: Sequence[str],
    time: str | None = None,
    episode: str | None = None,
    angle: Sequence[str] = (),
    rate: float | Literal["auto", "as_recorded"] = "auto",
    missing: Literal["refuse", "split"] = "refuse",
    action_shift: Annotated[int, Interval(ge=-100, le=100)] = 0,
) -> Log:
    """Read recorded runs as episodes.

    The action in a row belongs to the step from that row to the next one. An episode ends with its
    file, where the episode column changes, and where time has a gap of more than 5 median steps.

    Args:
        paths: files and folders, see `read_tables`.
        obs: names of the columns that are observed; the name of an array or a list of several
            columns stands for all of them.
        action: names of the columns that were commanded, as for obs.
        time: name of the column of the time (s); None: rows are one step apart. LeRobot's folders
            have their own, also of the episode.
        episode: name of the column whose number or text changes with each run.
        angle: those of obs that are angles in radians; their jumps by a whole turn are undone.
        rate: one of
            "auto": resampled to the median step if more than 5% of the steps differ from it by more
                than 10%, or if files differ in their steps (then to the longest median of a file).
            "as_recorded": rows are left as they are.
            a number (Hz): resampled to it.
        missing: one of
            "refuse": a missing number is an error.
            "split": a run is cut there.
        action_shift: 0, or rows by which actions are taken from later ones: 1 if a row holds the
            action that led to it, -1 if an action works one row after its own.

    Raises:
        BadInput: naming the argument, or the file, its row and its column.
    """
    wanted = {*obs, *action, *angle, *(name for name in (time, episode) if name is not None)}
    return log_of_tables(
        read_tables(paths, wanted, episode),
        obs=obs,
        action=action,
        time=time,
        episode=episode,
        angle=angle,
        rate=rate,
        missing=missing,
        action_shift=action_shift,
    )


@checked
def log_of_tables(
    tables: Sequence[Columns],
    *,
    obs: Sequence[str],
    action: Sequence[str],
    time: str | None = None,
    episode: str | None = None,
    angle: Sequence[str] = (),
    rate: float | Literal["auto", "as_recorded"] = "auto",
    missing: Literal["refuse", "split"] = "refuse",
    action_shift: Annotated[int, Interval(ge=-100, le=100)] = 0,
) -> Log:
    """Convert recorded tables into episodes.

    Args:
        tables: one for each file.
        obs: as in `read_log`, like the others.
        action: names of the columns that were commanded.
        time: name of the column of the time (s).
        episode: name of the column whose number changes with each run.
        angle: those of obs that are angles in radians.
        rate: "auto", "as_recorded" or a number (Hz).
        missing: "refuse" or "split".
        action_shift: rows by which actions are taken later.

    Raises:
        BadInput: naming the argument, or the file, its row and its column.
    """
    if not tables:
        raise BadInput("paths: should name a file at least")
    roles = find_roles(tables, obs=obs, action=action, time=time, episode=episode, angle=angle)
    if isinstance(rate, float | int) and not (rate > 0 and np.isfinite(rate)):
        raise BadInput(f"rate={rate}: should be above 0 (Hz)")
    if isinstance(rate, float | int) and roles.time is None:
        raise BadInput(f"rate={rate}: needs the name of the column of the time (time)")
    cuts = [
        cut(table, roles, split_missing=missing == "split", action_shift=action_shift)
        for table in tables
    ]
    runs = [run for each in cuts for run in each.runs]
    if not runs:
        raise refuse(tables[0].source, _why_no_runs(tables, roles))
    notes = _notes_of_cuts(cuts)
    runs = [run._replace(obs=unwrapped(run, roles)) for run in runs]
    notes += describe_turns(runs, roles)
    notes += describe_shift([(r.obs, r.action) for r in runs], roles.angles)
    step, runs, said = _at_rate(cuts, runs, rate)
    return _log(runs, roles, step, notes + said)


def log_of_dataset(dataset: Dataset) -> Log:
    """Convert a dataset of Minari, D4RL or NeoRL into episodes.

    A step whose successor was not recorded is left out, and an episode is cut where a step does not
    begin where the one before it ended.

    Args:
        dataset: from `load_dataset`.

    Raises:
        BadInput: if no step is left.
    """
    parts: list[Episode] = []
    for data in episodes(dataset._replace(data=dataset.known()).data):
        obs, after = (x.double().cpu().numpy() for x in (data.obs, data.next_obs))
        action = data.action.double().cpu().numpy()
        ends = [0, *(np.flatnonzero((after[:-1] != obs[1:]).any(1)) + 1), len(obs)]
        for start, end in zip(ends[:-1], ends[1:], strict=True):
            whole = np.concatenate([obs[start:end], after[end - 1 : end]])
            name = f"{dataset.id}, episode {int(data.episode[0])}"
            parts.append(Episode(whole, action[start:end], None, name))
    if not parts:
        raise BadInput(f"dataset={dataset.id}: no step whose successor was recorded")
    names = [
        tuple(f"{name}[{place}]" for place in range(array.shape[1]))
        for name, array in (("obs", parts[0].obs), ("action", parts[0].action))
    ]
    log = Log(parts, names[0], names[1], (), None, [])
    notes = describe_shift([(e.obs, e.action) for e in parts], ())
    return log._replace(notes=[*notes, *describe_columns(log)])


def _log(runs: Sequence[Run], roles: Roles, step: float | None, notes: list[str]) -> Log:
    """Return a log of runs, with notes of its columns."""
    parts = [Episode(run.obs, run.action, run.time, run.name) for run in runs]
    log = Log(parts, roles.obs, roles.action, roles.angles, step, notes)
    return log._replace(notes=[*notes, *describe_columns(log)])


def _why_no_runs(tables: Sequence[Columns], roles: Roles) -> str:
    """Return why no two rows of any table follow each other."""
    if all(table.num_rows < 2 for table in tables):
        return "holds one row; should hold a row for each step of a run"
    if roles.episode is not None:
        return (
            f"no two rows follow each other in a run; rows of the same {roles.episode} should "
            "stand together, in the order of time"
        )
    return "no two rows without a missing number or a gap of time follow each other"


def _notes_of_cuts(cuts: Sequence[Cut]) -> list[str]:
    """Return sentences on where the tables were cut."""
    notes = []
    gaps, missing = sum(each.gaps for each in cuts), sum(each.missing for each in cuts)
    alone = sum(each.alone for each in cuts)
    if gaps:
        notes.append(f"Time has {gaps} gaps of more than {GAP:g} median steps; runs end there.")
    if missing:
        notes.append(f"Numbers are missing in {missing} rows; runs end there.")
    if alone:
        notes.append(f"{alone} rows have no row before or after them and are left out.")
    return notes


def _at_rate(
    cuts: Sequence[Cut], runs: list[Run], rate: float | str
) -> tuple[float | None, list[Run], list[str]]:
    """Return the step (s), the runs at it, and sentences on what was done."""
    steps = [each.step for each in cuts if each.step is not None and each.runs]
    if not steps or runs[0].time is None:
        return None, runs, []
    own = float(np.median(np.concatenate([np.diff(r.time) for r in runs if r.time is not None])))
    notes = []
    if own > _LONG_STEP:
        notes.append(f"The median step is {own:.4g} s, if time is in seconds as it should be.")
    differ = max(steps) > (1 + _SAME_STEP) * min(steps)
    why = None
    if differ:
        why = f"the median steps of files are between {min(steps):.4g} and {max(steps):.4g} s"
    elif is_uneven(runs, own):
        why = "more than 5% of the steps differ from the median by more than 10%"
    if rate == "as_recorded" or (rate == "auto" and why is None):
        return own, runs, notes + ([f"Left as recorded, though {why}."] if why else [])
    step = 1 / rate if isinstance(rate, float | int) else max(steps) if differ else own
    if step < _FINER * max(steps):
        notes.append(
            f"A step of {step:.4g} s is finer than the {max(steps):.4g} s that were recorded: "
            "observations between rows are interpolated."
        )
    even = [each for run in runs if (each := resampled(run, step)) is not None]
    if not even:
        raise BadInput(f"rate={rate}: no run is as long as a step of {step:.4g} s")
    rows = [sum(len(run.obs) for run in each) for each in (runs, even)]
    because = f", because {why}" if rate == "auto" else ""
    notes.append(
        f"Resampled to {step:.4g} s ({1 / step:.4g} Hz){because}: {rows[0]} rows became {rows[1]}."
    )
    if len(even) < len(runs):
        notes.append(f"{len(runs) - len(even)} runs are shorter than a step and are left out.")
    return step, even, notes
