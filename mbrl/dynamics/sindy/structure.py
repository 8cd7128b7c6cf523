"""Structure that the data show: pairs of components on a circle, and bounds that clip them."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from mbrl.types import Transitions

_LEAST_CANCELLATION = 0.01  # largest deviation of c^2 + s^2, in deviations of c^2 and of s^2
_LEAST_HITS = 3  # rows at a bound
_MOST_TIES = 0.1  # share of other rows whose values may repeat


class Circle(NamedTuple):
    """Two components of an observation that lie on a circle around 0: the sides of an angle."""

    cos: int
    sin: int
    radius: float


def find_circles(data: Transitions) -> list[Circle]:
    """Return the pairs of components whose squares have a constant sum, though each varies.

    Args:
        data: transitions (B, ...), float64.
    """
    squares = torch.cat([data.obs, data.next_obs]).square()
    mean = squares.mean(0)
    centered = squares - mean
    variance = centered.square().mean(0)
    together = variance[:, None] + variance + 2 * centered.T @ centered / len(squares)
    least = torch.minimum(variance[:, None], variance)
    ratio = torch.where(least > 0, together.clamp(min=0).sqrt() / least.sqrt(), torch.inf)
    ratio = ratio.triu(1) + torch.full_like(ratio, torch.inf).tril()
    circles: list[Circle] = []
    free = set(range(len(mean)))
    for place in ratio.flatten().argsort(stable=True).tolist():
        i, j = divmod(place, len(mean))
        if not ratio[i, j] <= _LEAST_CANCELLATION:
            break
        if {i, j} <= free:
            free -= {i, j}
            circles.append(Circle(i, j, float((mean[i] + mean[j]).sqrt())))
    return sorted(circles)


def given_circles(pairs: tuple[tuple[int, int], ...], data: Transitions) -> list[Circle]:
    """Return known pairs (cos, sin) with the radius that they have in transitions (B, ...)."""
    squares = data.obs.square().mean(0)
    return [Circle(c, s, float((squares[c] + squares[s]).sqrt())) for c, s in pairs]


def find_bounds(data: Transitions) -> tuple[Tensor, Tensor]:
    """Return bounds at which components are clipped: low (obs_dim,), high (obs_dim,).

    A bound is the smallest or largest value of a component that several rows share to the last bit,
    where other values hardly repeat. Infinite where there is none.

    Args:
        data: transitions (B, ...).
    """
    low = torch.full_like(data.next_obs[0], -torch.inf, dtype=torch.float64)
    high = -low
    for i, column in enumerate(data.next_obs.T):
        least, most = column.min(), column.max()
        inside = column[(column > least) & (column < most)]
        if len(inside) < len(column) / 2:
            continue
        if len(inside.unique()) < (1 - _MOST_TIES) * len(inside):
            continue
        if int((column == least).sum()) >= _LEAST_HITS:
            low[i] = least
        if int((column == most).sum()) >= _LEAST_HITS:
            high[i] = most
    return low, high
