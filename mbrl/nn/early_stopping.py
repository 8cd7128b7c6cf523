"""What every gradient fit shares: the holdout, the batch size for few data, the best snapshot."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from mbrl.types import Transitions


def split_holdout(rows: int, fraction: float) -> tuple[Tensor, Tensor]:
    """Split row numbers into training and holdout.

    Every n-th row is held out, so that while the data grow no row changes sides and the error
    of a model that is refitted from its last weights stays honest.

    Returns:
        (training rows, holdout rows), int64, together all; with too few rows both hold all.
    """
    every = max(2, round(1 / fraction))
    index = torch.arange(rows)
    held = index % every == every - 1
    if rows < 2 * every:
        return index, index
    return index[~held], index[held]


def batch_size_for(rows: int, largest: int) -> int:
    """Choose a batch size: 32 to 64 below a few thousand rows, growing with the data.

    With few rows, small batches decide: they give the many gradient steps a fit needs.
    """
    return min(largest, max(32, 2 ** int(math.log2(max(1, rows // 32)))))


def draw_rows(data: Transitions, most: int, *, generator: torch.Generator) -> Transitions:
    """Draw so many rows at random, without repeats; fewer are taken as they are."""
    if len(data.reward) <= most:
        return data
    draw = torch.randperm(len(data.reward), generator=generator, device=generator.device)[:most]
    return Transitions(*(x[draw] for x in data))


class BestSnapshots:
    """Keep, for each member of a batched ensemble, the weights of its best holdout error.

    Args:
        parameters: tensors with members first.
        min_improvement: relative gain that counts as one.
    """

    def __init__(self, parameters: Sequence[Tensor], min_improvement: float = 0.01):
        """Begin with no snapshot."""
        self._parameters = parameters
        self._min_improvement = min_improvement
        self._kept = [p.detach().clone() for p in parameters]
        self.best = torch.full((parameters[0].shape[0],), math.inf)  # (M,)

    def offer(self, error: Tensor) -> bool:
        """Take a snapshot of the members that improved.

        Args:
            error: holdout error (M,).

        Returns:
            Whether any gain was worth mentioning.
        """
        error = error.cpu()
        better = error < self.best
        worth = bool((error < self.best * (1 - self._min_improvement)).any())
        for kept, parameter in zip(self._kept, self._parameters, strict=True):
            kept[better] = parameter.detach()[better]
        self.best = torch.where(better, error, self.best)
        return worth

    def restore(self) -> None:
        """Put each member's best weights back."""
        with torch.no_grad():
            for kept, parameter in zip(self._kept, self._parameters, strict=True):
                parameter.copy_(kept)
