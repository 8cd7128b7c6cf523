"""Spans of several steps, over which a noisy state moves further than its noise.

Measurement noise enters a change over one step twice, and a sampling time that is short makes it
larger than the change. The sum of an equation over consecutive steps, the integral form of SINDy
(Schaeffer and McCalla 2017), has the same noise and a larger change.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from mbrl.types import Transitions

_LENGTHS = (1, 2, 4, 8, 16, 32)  # steps of a span
_MOVES = 10.0  # a change should be so many times its noise
_GROWS = 1.5  # least growth of the mean squared change where a span is doubled


class Spans(NamedTuple):
    """Spans of consecutive rows."""

    order: Tensor  # (N,) rows, episode by episode
    first: Tensor  # (K,) place of each span's first row in this order
    length: int

    def total(self, values: Tensor) -> Tensor:
        """Compute the sums over spans (K, C) of values (N, C)."""
        ordered = values[self.order]
        if self.length == 1:
            return ordered[self.first]
        sums = torch.cat([torch.zeros_like(ordered[:1]), ordered.cumsum(0)])
        return sums[self.first + self.length] - sums[self.first]


def find_spans(data: Transitions, length: int, keep: Tensor | None = None) -> Spans:
    """Find all spans of consecutive rows of an episode.

    Args:
        data: transitions (B, ...); an episode number covers consecutive steps only.
        length: steps of a span.
        keep: rows (B,) bool that may be part of one; None for all.
    """
    episode, order = torch.sort(data.episode, stable=True)
    count = max(0, episode.shape[0] - length + 1)
    whole = episode[:count] == episode[length - 1 :]
    if keep is not None:
        missing = (~keep[order]).long().cumsum(0)
        before = torch.cat([missing.new_zeros(1), missing])
        whole = whole & (before[length:] == before[:count])
    return Spans(order, torch.nonzero(whole)[:, 0], length)


def span_lengths(data: Transitions, residuals: Tensor, changes: Tensor) -> list[int]:
    """Return for each target the least span over which it moves ten times its noise (T,).

    Noise of a measurement makes residuals of consecutive steps correlate by -1/2, which tells it
    from what disturbs the motion itself.

    Args:
        data: transitions (B, ...).
        residuals: of least squares on all terms, over one step (B, T).
        changes: of the targets over one step (B, T).
    """
    pairs = find_spans(data, 2)
    ordered = residuals[pairs.order]
    left, right = ordered[pairs.first], ordered[pairs.first + 1]
    count = max(1, left.shape[0])
    variance = residuals.square().mean(0)
    noise = -(left * right).sum(0) / count
    noise = torch.where(noise > 3 * variance / count**0.5, noise.clamp(max=0.5 * variance), 0.0)
    moves = []
    for length in _LENGTHS:
        spans = find_spans(data, length)
        if length > 1 and spans.first.shape[0] < changes.shape[0] / 2:
            break
        moves.append(spans.total(changes).square().mean(0))
    chosen = []
    for target, size in enumerate(noise.tolist()):
        place = 0
        while place + 1 < len(moves):
            now, longer = float(moves[place][target]), float(moves[place + 1][target])
            if now >= 2 * _MOVES**2 * size or longer < _GROWS * now:
                break
            place += 1
        chosen.append(_LENGTHS[place])
    return chosen
