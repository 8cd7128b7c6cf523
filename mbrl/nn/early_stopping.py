"""What gradient fits share: the holdout, a batch size for few data, the best weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor

from mbrl.types import Transitions


def split_holdout(rows: int, fraction: float) -> tuple[Tensor, Tensor]:
    """Split row numbers into training and holdout.

    Every n-th row is held out. So no row changes sides while the data grow, and the error of a
    model that is refitted from its last weights is on rows that it never saw.

    Args:
        rows: their number.
        fraction: share of the rows held out.

    Returns:
        (training rows, holdout rows), int64, together all; each is all where rows are too few.
    """
    every = max(2, round(1 / fraction))
    index = torch.arange(rows)
    held = index % every == every - 1
    if rows < 2 * every:
        return index, index
    return index[~held], index[held]


def holdout_episodes(episode: Tensor, fraction: float) -> Tensor:
    """Return which rows (B,) belong to held-out episodes, bool.

    Every n-th episode is held out, so that the held-out ones are spread evenly over the data.

    Args:
        episode: (B,) number of each row's episode.
        fraction: share of the episodes held out; of fewer than 1 / fraction episodes none is.
    """
    if fraction == 0:
        return torch.zeros_like(episode, dtype=torch.bool)
    every = max(2, round(1 / fraction))
    number = torch.unique(episode, return_inverse=True)[1]
    return number % every == every - 1


def batch_size_for(rows: int, largest: int) -> int:
    """Return a batch size: 32 to 64 below a few thousand rows, growing with the data.

    Few rows in small batches still give the many gradient steps that a fit needs.

    Args:
        rows: their number.
        largest: largest batch size.
    """
    return min(largest, max(32, 2 ** int(math.log2(max(1, rows // 32)))))


def draw_rows(data: Transitions, most: int, *, generator: torch.Generator) -> Transitions:
    """Sample rows without replacement.

    Args:
        data: transitions (B, ...).
        most: number of rows; if there are not more, they are returned as they are.
        generator: source of the choice.
    """
    if len(data.reward) <= most:
        return data
    order = torch.randperm(len(data.reward), generator=generator, device=generator.device)
    return data.select(order[:most])


@final
class BestSnapshots:
    """Weights of the best holdout error, for each member of a batched ensemble.

    Args:
        parameters: tensors (M, ...).
        min_improvement: smallest relative gain that counts.

    Attributes:
        best: holdout error (M,) of these weights.
    """

    def __init__(self, parameters: Sequence[Tensor], min_improvement: float = 0.01):
        """Store no weights yet."""
        self._parameters = parameters
        self._min_improvement = min_improvement
        self._snapshots = [p.detach().clone() for p in parameters]
        self.best = torch.full_like(parameters[0].detach().flatten(1)[:, 0], math.inf)  # (M,)

    def offer(self, error: Tensor) -> Tensor:
        """Store the weights of the members that have improved.

        Args:
            error: holdout error (M,).

        Returns:
            Whether any member's gain counts, () bool, on the device of the error.
        """
        better = error < self.best
        counts = (error < self.best * (1 - self._min_improvement)).any()
        for snapshot, parameter in zip(self._snapshots, self._parameters, strict=True):
            _copy_where(better, parameter.detach(), snapshot)
        self.best = torch.where(better, error, self.best)
        return counts

    def restore(self, members: Tensor | None = None) -> None:
        """Set members' weights to their best ones.

        Args:
            members: which (M,) bool; None for all.
        """
        with torch.no_grad():
            for snapshot, parameter in zip(self._snapshots, self._parameters, strict=True):
                if members is None:
                    parameter.copy_(snapshot)
                else:
                    _copy_where(members, snapshot, parameter)


def _copy_where(members: Tensor, source: Tensor, target: Tensor) -> None:
    """Copy the members (M,) bool of source to target, (M, ...) both; nothing is read."""
    mask = members.view(-1, *[1] * (source.dim() - 1))
    target.copy_(torch.where(mask, source, target))
