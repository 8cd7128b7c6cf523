"""Recorded runs as episodes, and sentences on their columns."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_JUMP = 50.0  # between the scales of episodes; degrees and radians differ by 57
_SHORT = 0.1  # of the mean length: shorter episodes say little about a scale


class Episode(NamedTuple):
    """Recorded run without gaps."""

    obs: NDArray[np.float64]  # (T + 1, D)
    action: NDArray[np.float64]  # (T, A), of the step from its row to the next one
    time: NDArray[np.float64] | None  # (T + 1,) s
    source: str  # file and rows, for messages


class Log(NamedTuple):
    """Recorded runs of one robot."""

    episodes: list[Episode]
    obs_names: tuple[str, ...]
    action_names: tuple[str, ...]
    angles: tuple[int, ...]  # columns of obs in radians that wrap; continuous within an episode
    step: float | None  # s
    notes: list[str]  # what was seen and done, a sentence each


def describe_columns(log: Log) -> list[str]:
    """Return sentences on columns that never change, and on those whose units may be mixed.

    Args:
        log: its episodes.
    """
    notes = []
    for name, arrays in _columns(log):
        if all((array == arrays[0][0]).all() for array in arrays):
            notes.append(f"{name} is {arrays[0][0]:.6g} in all rows.")
            continue
        enough = _SHORT * np.mean([len(array) for array in arrays])
        scales = np.array(
            [np.quantile(np.abs(a), 0.99) if len(a) >= enough else 0.0 for a in arrays]
        )
        order = np.argsort(scales, kind="stable")
        order = order[scales[order] > 0]
        small, large = order[:-1], order[1:]
        jumps = np.flatnonzero(scales[large] >= _JUMP * scales[small])
        if len(jumps):
            low, high = small[jumps[0]], large[jumps[0]]
            notes.append(
                f"{name} is about {scales[high] / scales[low]:.2g} times larger in "
                f"{log.episodes[high].source} than in {log.episodes[low].source}: its units may "
                "be mixed."
            )
    return notes


def _columns(log: Log) -> Iterator[tuple[str, list[NDArray[np.float64]]]]:
    """Yield each column with its values (T,) in each episode."""
    for place, name in enumerate(log.obs_names):
        yield name, [episode.obs[:, place] for episode in log.episodes]
    for place, name in enumerate(log.action_names):
        yield name, [episode.action[:, place] for episode in log.episodes]
