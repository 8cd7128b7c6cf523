"""Recorded runs as transitions, some of them held out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from mbrl.data.logs.encoding import AngleEncoding
from mbrl.data.logs.system import task_of
from mbrl.errors import BadInput
from mbrl.types import ActionSpec, Task, Transitions


class RecordedData(NamedTuple):
    """Recorded runs as transitions, split by episode."""

    train: Transitions
    held: Transitions
    encoding: AngleEncoding
    action: ActionSpec  # between the least and the largest recorded action
    task: Task  # pays nothing and never ends: logs say neither


def recorded_data(
    episodes: Sequence[tuple[np.ndarray, np.ndarray]],
    encoding: AngleEncoding,
    *,
    holdout: float = 0.3,
) -> RecordedData:
    """Return recorded episodes as transitions for a fit.

    Every n-th episode is held out; of a single episode, its last part.

    Args:
        episodes: of each, observations (T + 1, D), angles continuous, and actions (T, act_dim).
        encoding: of the observations.
        holdout: share of the episodes held out.

    Raises:
        BadInput: if nothing is left to fit or to hold out.
    """
    if len(episodes) == 1:
        obs, action = episodes[0]
        cut = round(len(action) * (1 - holdout))
        episodes = [(obs[: cut + 1], action[:cut]), (obs[cut:], action[cut:])]
        held = {1}
    else:
        count = max(1, round(holdout * len(episodes)))
        held = {int((i + 0.5) * len(episodes) / count) for i in range(count)}
    sides: tuple[list[int], list[int]] = ([], [])
    for number in range(len(episodes)):
        sides[number in held].append(number)
    train, test = (_transitions(episodes, side, encoding) for side in sides)
    if min(len(train.obs), len(test.obs)) < 2:
        raise BadInput("data: too few rows to fit to some and hold out others; record more")
    every = torch.cat([train.action, test.action])
    low, high = every.amin(0), every.amax(0)
    if not (low < high).all():
        which = int((low >= high).nonzero()[0])
        raise BadInput(f"action: number {which + 1} is {low[which]:g} in every row; leave it out")
    return RecordedData(train, test, encoding, ActionSpec.box(low, high), task_of(encoding))


def _transitions(
    episodes: Sequence[tuple[np.ndarray, np.ndarray]], which: list[int], encoding: AngleEncoding
) -> Transitions:
    """Return the transitions of some episodes, encoded, float32."""
    parts = []
    for number in which:
        obs, action = (torch.from_numpy(np.asarray(x, np.float64)) for x in episodes[number])
        rows = encoding.encode(obs).float()
        count = len(action)
        last = torch.arange(count) == count - 1
        none = torch.zeros(count, dtype=torch.bool)
        parts.append(
            Transitions(
                rows[:-1], action.float(), torch.zeros(count), rows[1:], none, last,
                torch.full((count,), number),
            )
        )  # fmt: skip
    return Transitions(*(torch.cat(column) for column in zip(*parts, strict=True)))
