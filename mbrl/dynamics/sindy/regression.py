"""Sparse regression with supports that the data choose."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mbrl.dynamics.sindy.selection import (
    Regression,
    choose_levels,
    independent,
    least_squares,
    resample,
    supports,
)
from mbrl.dynamics.sindy.spans import find_spans
from mbrl.types import Transitions

_ROUNDING = 2.0**-23  # of the float32 numbers that data come in


class Rows(NamedTuple):
    """Targets of equations and the values of their terms, over one step of each row."""

    data: Transitions  # (B, ...)
    features: Tensor  # (B, F) float64
    targets: Tensor  # (B, T)
    allowed: Tensor  # (T, F) bool, the terms that each target may use
    size: Tensor  # (T,) of the numbers whose difference a target is, for their rounding
    keep: Tensor  # (B, T) bool, rows that a target is fitted to


class Settled(NamedTuple):
    """Choices that held-out rows have made for each target."""

    lengths: list[int]  # steps of a span
    levels: NDArray[np.int64]  # number of a level of selection.LEVELS


class Ensemble(NamedTuple):
    """Equations, and members that are as likely."""

    weights: Tensor  # (T, F)
    members: Tensor  # (M, T, F)


def settle(rows: Rows, lengths: list[int]) -> Settled:
    """Choose the levels of sparsity by cross-validation.

    Args:
        rows: what is fitted.
        lengths: steps of each target's spans.
    """
    levels = np.zeros(len(lengths), dtype=np.int64)
    for group in _groups(rows, lengths):
        levels[group.targets] = choose_levels(group.problem, 3 * group.length)
    return Settled(lengths, levels)


def fit_supports(rows: Rows, settled: Settled) -> Tensor:
    """Select terms on all rows: supports (T, F) bool."""
    mask = torch.zeros(rows.allowed.shape, dtype=torch.bool)
    for group in _groups(rows, settled.lengths):
        chosen = supports(group.problem, settled.levels[group.targets])
        mask[group.targets] = torch.from_numpy(chosen)
    return mask.to(rows.features.device)


def fit_weights(rows: Rows, lengths: list[int], mask: Tensor) -> Tensor:
    """Compute least squares on supports (T, F) bool: coefficients (T, F)."""
    weights = torch.zeros(mask.shape, dtype=torch.float64)
    for group in _groups(rows, lengths):
        own = least_squares(group.problem, mask[group.targets].cpu().numpy())
        weights[group.targets] = torch.from_numpy(group.in_units(own))
    return weights.to(rows.features.device)


def fit_ensemble(
    rows: Rows, lengths: list[int], weights: Tensor, members: int, generator: torch.Generator | None
) -> Ensemble:
    """Sample members around a fit by the bootstrap of residuals.

    Args:
        rows: what was fitted.
        lengths: steps of each target's spans.
        weights: the fit (T, F).
        members: M.
        generator: source of the bootstrap; None for members that are all the fit itself.
    """
    sampled = weights.repeat(members, 1, 1)
    if generator is not None:
        shape = (members, rows.targets.shape[0])
        drawn = torch.randint(2, shape, generator=generator, device=generator.device)
        signs = 2.0 * drawn.cpu().numpy() - 1.0
        for group in _groups(rows, lengths):
            own = group.out_of_units(weights[group.targets].cpu().numpy())
            block = 1 if group.length == 1 else 2 * group.length
            each = resample(group.problem, own, signs, block)
            sampled[:, group.targets] = torch.from_numpy(group.in_units(each)).to(sampled)
    return Ensemble(weights, sampled)


def undetermined(features: Tensor) -> Tensor:
    """Return which columns (F,) of features (N, F) are constant 0 or depend on earlier ones."""
    gram = (features.T @ features).cpu().numpy()
    left_out = torch.ones(features.shape[1], dtype=torch.bool)
    left_out[torch.from_numpy(independent(gram, np.arange(len(gram))))] = False
    return left_out


class _Group(NamedTuple):
    """Targets that are fitted together."""

    targets: list[int]
    length: int
    problem: Regression
    columns: NDArray[np.float64]  # (F,) size of each term
    sizes: NDArray[np.float64]  # (T,) size of each target

    def in_units(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return coefficients (..., T, F) in the data's units."""
        return weights * self.sizes[:, None] / self.columns

    def out_of_units(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return coefficients (..., T, F) for columns of size 1."""
        return weights * self.columns / self.sizes[:, None]


def _groups(rows: Rows, lengths: list[int]) -> list[_Group]:
    """Return the targets in groups that share their spans."""
    kinds: dict[tuple[int, bytes], list[int]] = {}
    for target, length in enumerate(lengths):
        kept = rows.keep[:, target].cpu().numpy().tobytes()
        kinds.setdefault((length, kept), []).append(target)
    groups = []
    for (length, _), targets in kinds.items():
        spans = find_spans(rows.data, length, rows.keep[:, targets[0]])
        features = spans.total(rows.features).cpu().numpy()
        values = spans.total(rows.targets[:, targets]).cpu().numpy()
        columns, sizes = (_size(x) for x in (features, values))
        rounding = _ROUNDING * rows.size[targets].cpu().numpy() / sizes
        problem = Regression(
            features / columns,
            values / sizes,
            rows.allowed[targets].cpu().numpy(),
            np.where((values != 0).any(0), rounding**2, np.inf),
        )
        groups.append(_Group(targets, length, problem, columns, sizes))
    return groups


def _size(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the root mean square of each column (C,); 1 for columns of zeros."""
    size = np.sqrt((values**2).mean(0))
    return np.where(size > 0, size, 1.0)
