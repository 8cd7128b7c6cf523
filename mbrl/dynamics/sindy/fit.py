"""Sparse regression: sequentially thresholded least squares for a whole ensemble at once.

Brunton, Proctor and Kutz 2016 (STLSQ, semantics as in PySINDy); Fasel et al. 2022 (ensembles by
bagging and library dropout). Everything is float64 and goes through Gram matrices, batched over
members and targets, so that a bag of rows is a weighting and a support is a mask.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

_PACE = 0.3  # share of its terms that an equation may lose in a round: the others then change
_MIN_PIVOT = 1e-10  # least squared share of a column that simpler ones before it do not explain


class Problem(NamedTuple):
    """Regression of targets on features."""

    features: Tensor  # (N, F) float64
    targets: Tensor  # (N, T)
    allowed: Tensor  # (T, F) bool, the terms that each target may use


class Moments(NamedTuple):
    """Second moments of the data of M members, which least squares needs."""

    gram: Tensor  # (M, F, F) features' inner products
    cross: Tensor  # (M, F, T) features with targets


def moments(features: Tensor, targets: Tensor, weights: Tensor | None = None) -> Moments:
    """Compute the moments of features (N, F) and targets (N, T).

    Args:
        features: (N, F).
        targets: (N, T).
        weights: of the rows for each member (M, N); None for one member and weights of 1.
    """
    both = torch.cat([features, targets], 1)
    if weights is None:
        joint = (features.T @ both)[None]
    else:
        joint = torch.stack([(features * w[:, None]).T @ both for w in weights])
    split = features.shape[1]
    return Moments(joint[..., :split], joint[..., split:])


def bags(rows: int, members: int, *, generator: torch.Generator) -> Tensor:
    """Sample bootstraps: how often each of M members has each of N rows (M, N)."""
    drawn = torch.randint(rows, (members, rows), generator=generator, device=generator.device)
    return torch.stack([torch.bincount(d, minlength=rows) for d in drawn]).double()


def drop_terms(allowed: Tensor, members: int, num: int, *, generator: torch.Generator) -> Tensor:
    """Sample masks (M, F) of the allowed terms (F,) without num of them for each member."""
    order = torch.rand(members, allowed.shape[0], generator=generator, device=generator.device)
    order = torch.where(allowed, order.double(), 2.0)
    masks = allowed.repeat(members, 1)
    return masks.scatter(1, order.argsort(1)[:, :num], False)


def solve(data: Moments, mask: Tensor, ridge: float | Tensor = 0.0) -> Tensor:
    """Compute least squares on the support given by mask (M, T, F): coefficients (M, T, F).

    Columns are scaled to equal length before the factorization. Where it fails (dependent columns),
    the solution of least norm is returned.
    """
    scale = torch.diagonal(data.gram, dim1=-2, dim2=-1).sqrt()  # (M, F)
    scale = torch.where(scale > 0, scale, 1.0)
    gram = data.gram + torch.diag_embed(
        torch.as_tensor(ridge, device=scale.device).expand_as(scale)
    )
    gram = gram / (scale[:, :, None] * scale[:, None, :])
    right = (data.cross / scale[:, :, None]).transpose(1, 2) * mask  # (M, T, F)
    on = mask.to(gram.dtype)
    system = gram[:, None] * on[..., :, None] * on[..., None, :] + torch.diag_embed(1 - on)
    factor, failed = torch.linalg.cholesky_ex(system)
    solution = torch.cholesky_solve(right[..., None], factor)[..., 0]
    bad = failed > 0
    if bad.any():
        inverse = torch.linalg.pinv(system[bad], hermitian=True, rtol=1e-12)
        solution[bad] = (inverse @ right[bad][..., None])[..., 0]
    return solution * mask / scale[:, None]


def stlsq(
    data: Moments,
    *,
    threshold: float,
    alpha: float = 0.05,
    max_iter: int = 20,
    unbias: bool = True,
    allowed: Tensor | None = None,
    pace: float = 1.0,
) -> Tensor:
    """Fit by sequentially thresholded least squares: drop small terms and fit again.

    Args:
        data: moments of M members.
        threshold: least magnitude of a coefficient.
        alpha: ridge on the coefficients while terms are chosen.
        max_iter: number of rounds at most.
        unbias: whether the selected terms are fitted once more without the ridge.
        allowed: terms (M, T, F) that each member may use.
        pace: share of its terms that a target may lose in a round, the smallest ones first.

    Returns:
        Coefficients (M, T, F); all 0 for a target that loses all its terms.
    """
    members, features, targets = data.cross.shape
    mask = torch.ones(members, targets, features, dtype=torch.bool, device=data.gram.device)
    if allowed is not None:
        mask &= allowed
    weight = torch.zeros_like(mask, dtype=data.gram.dtype)
    for _ in range(max_iter):
        weight = solve(data, mask, alpha)
        large = mask & (weight.abs() >= threshold)
        if pace < 1:
            fewest = (mask.sum(-1, keepdim=True) * pace).ceil()
            rank = torch.where(mask, weight.abs(), torch.inf).argsort(-1).argsort(-1)
            large = mask & ((weight.abs() >= threshold) | (rank >= fewest))
        weight = weight * large
        if large.equal(mask):
            break
        mask = large
    mask &= weight.abs() > 1e-14 * weight.abs().amax(-1, keepdim=True)
    return solve(data, mask) if unbias else weight


def distinguishable(gram: Tensor) -> Tensor:
    """Return which columns are independent of those before: Gram matrix (F, F) -> (F,) bool.

    Simpler terms come first in a library, so of dependent columns the simplest are kept. Columns
    of zeros are not.
    """
    length = torch.diagonal(gram).sqrt()
    keep = length > 0
    scaled = gram / torch.where(keep, length, 1.0)[:, None] / torch.where(keep, length, 1.0)
    left = scaled.clone()  # Schur complement of the columns kept so far
    for i in range(gram.shape[0]):
        if not keep[i] or left[i, i] < _MIN_PIVOT:
            keep[i] = False
            continue
        left = left - torch.outer(left[:, i], left[i]) / left[i, i]
    return keep


def leverage_matrix(gram: Tensor, rows: int, ridge: float = 1e-6) -> Tensor:
    """Return the inverse Gram matrix (F, F) of a fit, columns scaled, for leverage scores."""
    scale = torch.diagonal(gram).sqrt()
    scale = torch.where(scale > 0, scale, 1.0)
    unit = torch.eye(gram.shape[0], dtype=gram.dtype, device=gram.device)
    inverse = torch.linalg.inv(gram / scale[:, None] / scale + ridge * unit)
    return inverse / scale[:, None] / scale * (rows / gram.shape[0])


def affordable(degrees: Tensor, most: float) -> Tensor:
    """Return which terms (F,) to use: whole degrees (F,), the lowest first, up to a number.

    Args:
        degrees: of the terms (F,).
        most: number of terms; those of degree 0 and 1 are always used.
    """
    chosen = degrees <= 1
    for degree in range(2, int(degrees.max()) + 1):
        more = degrees <= degree
        chosen = more if int(more.sum()) <= most else chosen
    return chosen


def fit_members(
    problem: Problem,
    *,
    members: int,
    threshold: float,
    alpha: float,
    normalize: bool,
    elites: int | None = None,
    weights: Tensor | None = None,
    num_dropped_terms: int = 0,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """Fit a regression for every member of an ensemble.

    Args:
        problem: features, targets, allowed terms.
        members: M.
        threshold: smallest magnitude of a coefficient.
        alpha: ridge while terms are selected.
        normalize: whether a coefficient is measured by its term's size, in that of the target.
        elites: equations returned for each target, those that fit all rows best; None for all.
        weights: bootstraps (M, N); None for all rows.
        num_dropped_terms: terms removed at random for each member.
        generator: source of their choice.

    Returns:
        Coefficients (M or elites, T, F) in the data's units, with elites each target's best first;
        which terms (F,) bool the data determine.
    """
    features, targets, allowed = problem
    shape, size = features.new_ones(features.shape[1]), features.new_ones(targets.shape[1])
    if normalize:
        shape, size = (x.square().mean(0).sqrt() for x in (features, targets))
        shape, size = (torch.where(x > 0, x, 1.0) for x in (shape, size))
    features, targets = features / shape, targets / size
    determined = distinguishable(features.T @ features)
    mask = (allowed & determined).expand(members, *allowed.shape)
    if generator is not None and num_dropped_terms and members > 1:
        dropped = drop_terms(determined, members, num_dropped_terms, generator=generator)
        mask = mask & dropped[:, None]
    data = moments(features, targets, weights)
    if weights is None:
        data = Moments(*(x.expand(members, -1, -1) for x in data))
    settings = {"threshold": threshold, "pace": _PACE, "max_iter": 100}
    weight = stlsq(data, alpha=alpha, allowed=mask, **settings)
    # the ridge spreads a coefficient over terms that are alike in the data: without it they fall
    weight = stlsq(data, alpha=0.0, allowed=weight != 0, **settings)
    if elites is not None:
        # a member without a term that it needs is wrong, not a sample of what is likely
        error = (targets.T - weight @ features.T).square().mean(-1)  # (M, T)
        best = error.sort(dim=0, stable=True).indices[:elites]
        weight = weight.gather(0, best[..., None].expand(-1, -1, weight.shape[-1]))
    return weight * size[:, None] / shape, determined


def shared_fit(problem: Problem, members: Tensor) -> Tensor:
    """Compute least squares on the terms that more than half of the members use: (T, F).

    Members are samples of one equation. Coefficients of nearly dependent terms cancel each other
    within a member, so that means or medians of single coefficients would be no equation.

    Args:
        problem: features, targets, allowed terms.
        members: coefficients (M, T, F).
    """
    mask = ((members != 0).double().mean(0) > 0.5)[None]
    return solve(moments(problem.features, problem.targets), mask)[0]


def combine(members: Tensor, how: Literal["median", "mean"]) -> Tensor:
    """Return the mean or median of coefficients (M, T, F) over members: (T, F)."""
    if how == "mean" or members.numel() == 0:
        return members.mean(0)
    return torch.quantile(members, 0.5, dim=0)
