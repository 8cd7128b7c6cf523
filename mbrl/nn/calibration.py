"""Calibration of predicted variances on held-out rows."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

LEVELS = ((0.68, 0.9944579), (0.95, 1.9599640))  # share of a normal inside, deviations
SLOPES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
LEAST, LARGEST = 1e-8, 1e8  # factors of a variance
MOST_ROWS = 2000  # that are used
BISECTIONS = 26  # of the logarithm of a factor, to 1e-6


class Calibration(NamedTuple):
    """Correction of logarithms of variances: shift + slope * log_var."""

    shift: Tensor  # (T,)
    slope: Tensor  # ()


def calibrate(target: Tensor, means: Tensor, log_var: Tensor) -> Calibration:
    """Fit the correction with which intervals of a mixture hold their share of held-out rows.

    The M members' variances are multiplied by c for each target. For a row there is a least c at
    which the mixture's interval holds it, both for the normal of the mixture's mean and variance,
    and for the mixture's quantiles. c is that with which the shares of rows in the intervals of 68%
    and of 95% are nearest to what they should be, in standard errors of a share: a share of 95% is
    known better than one of 68%, and one number cannot meet all. A mean of squares would let a few
    large errors decide, and count the members' disagreement twice.

    The slope is that of the largest likelihood: few rows show little about how variances differ
    from row to row. c grows by (n + 1) / (n - 2) for n rows: a variance that n rows estimate covers
    less elsewhere, as in Student's t. All is relative, so in every unit the same.

    Args:
        target: (n, T).
        means: of the members (M, n, T).
        log_var: logarithms of the members' variances (M, n, T).
    """
    step = -(-len(target) // MOST_ROWS)
    target, means = target[::step].double(), means[:, ::step].double()
    log_var = log_var[:, ::step].double()
    rows, center = len(target), log_var.mean((0, 1))
    mean = means.mean(0)
    disagreement = (means - mean).square_().mean(0)  # Tensor.var is ten times as slow
    square = (target - mean).square()

    def needed(variance: Tensor) -> list[Tensor]:
        return [(square / q**2 - disagreement) / variance.mean(0) for _, q in LEVELS]

    losses, leveled = [], []
    for slope in SLOPES:
        leveled.append((center + slope * (log_var - center)).exp())
        total = _factor(needed(leveled[-1])) * leveled[-1].mean(0) + disagreement
        losses.append((total.log() + square / total).mean())
    best = int(torch.stack(losses).argmin())
    variance = leveled[best]
    by_quantiles = [_needed_by_mixture(target, means, variance, share) for share, _ in LEVELS]
    factor = _factor([*needed(variance), *by_quantiles]) * ((rows + 1) / max(1, rows - 2))
    slope = target.new_tensor(SLOPES[best])
    return Calibration(factor.log() + (1 - slope) * center, slope)


def _factor(needed: list[Tensor]) -> Tensor:
    """Return the factor (T,) at which the intervals' shares of rows are nearest to their levels.

    Args:
        needed: least factor of each row (n, T), of intervals of the levels in turn.
    """
    rows = len(needed[0])
    each = torch.cat(needed).T.clamp(LEAST, LARGEST)  # (T, I * n)
    factors, order = each.sort(1)  # shares change there
    interval = order // rows
    misfit = torch.zeros_like(factors)
    for number in range(len(needed)):
        share, _ = LEVELS[number % len(LEVELS)]
        held = (interval == number).cumsum(1) / rows
        misfit += (held - share).square() / (share * (1 - share))
    misfit[:, :-1].masked_fill_(factors[:, :-1] == factors[:, 1:], torch.inf)  # the last counts all
    return factors.gather(1, misfit.argmin(1, keepdim=True))[:, 0]


def _needed_by_mixture(target: Tensor, means: Tensor, variance: Tensor, share: float) -> Tensor:
    """Compute the least factor (n, T) at which the mixture's quantiles hold a target.

    Args:
        target: (n, T).
        means: of the members (M, n, T).
        variance: of the members (M, n, T).
        share: of the interval.
    """
    apart, std = (target - means).float(), variance.sqrt().float()
    low = torch.full_like(apart[0], LEAST).log()
    high = -low
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        below = torch.special.ndtr(apart / (std * (middle / 2).exp())).mean(0)
        inside = (below - 0.5).abs() <= share / 2
        low, high = torch.where(inside, low, middle), torch.where(inside, middle, high)
    return high.double().exp()
