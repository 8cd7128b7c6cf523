"""Sparse regression: sequentially thresholded least squares for a whole ensemble at once.

Brunton, Proctor and Kutz 2016 (STLSQ, semantics as in PySINDy); Fasel et al. 2022 (ensembles by
bagging and library dropout). Everything is float64 and goes through Gram matrices, batched over
members and targets, so that a bag of rows is a weighting and a support is a mask.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

_PACE = 0.3  # share of its terms that an equation may lose at once: the others change by it
_LEAST_PIVOT = 1e-10  # squared share of a column not explained by the simpler ones before it


class Problem(NamedTuple):
    """One regression."""

    features: Tensor  # (N, F) float64
    targets: Tensor  # (N, T)
    allowed: Tensor  # (T, F) bool, the terms that each target may use


class Moments(NamedTuple):
    """All that least squares asks of the data of M members."""

    gram: Tensor  # (M, F, F) features' inner products
    cross: Tensor  # (M, F, T) features with targets


def moments(features: Tensor, targets: Tensor, weights: Tensor | None = None) -> Moments:
    """Sum over rows: features (N, F), targets (N, T), weights (M, N) or one member of ones."""
    both = torch.cat([features, targets], 1)
    if weights is None:
        joint = (features.T @ both)[None]
    else:
        joint = torch.stack([(features * w[:, None]).T @ both for w in weights])
    split = features.shape[1]
    return Moments(joint[..., :split], joint[..., split:])


def bags(rows: int, members: int, *, generator: torch.Generator) -> Tensor:
    """Draw bootstraps: how often each of M members has each row (M, N)."""
    drawn = torch.randint(rows, (members, rows), generator=generator, device=generator.device)
    return torch.stack([torch.bincount(d, minlength=rows) for d in drawn]).double()


def drop_candidates(
    allowed: Tensor, members: int, dropped: int, *, generator: torch.Generator
) -> Tensor:
    """Take `dropped` of the allowed terms (F,) away from each member: masks (M, F)."""
    order = torch.rand(members, allowed.shape[0], generator=generator, device=generator.device)
    order = torch.where(allowed, order.double(), 2.0)
    masks = allowed.repeat(members, 1)
    return masks.scatter(1, order.argsort(1)[:, :dropped], False)


def solve(data: Moments, mask: Tensor, ridge: float | Tensor = 0.0) -> Tensor:
    """Least squares on the support given by mask (M, T, F): coefficients (M, T, F).

    Columns are brought to equal length before the factorisation. Where it fails (dependent
    columns), the solution of least norm is taken.
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
    found = torch.cholesky_solve(right[..., None], factor)[..., 0]
    bad = failed > 0
    if bad.any():
        inverse = torch.linalg.pinv(system[bad], hermitian=True, rtol=1e-12)
        found[bad] = (inverse @ right[bad][..., None])[..., 0]
    return found * mask / scale[:, None]


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
    """Drop terms below the threshold and regress again, until none falls.

    Args:
        data: moments of M members.
        threshold: least magnitude of a coefficient.
        alpha: ridge on the coefficients while terms are chosen.
        max_iter: rounds at most.
        unbias: regress once more without the ridge on the support found.
        allowed: terms (M, T, F) that each member may use.
        pace: share of its terms that a target may lose in a round, the least ones first.

    Returns:
        Coefficients (M, T, F); a target whose terms all fall is 0.
    """
    members, features, targets = data.cross.shape
    mask = torch.ones(members, targets, features, dtype=torch.bool, device=data.gram.device)
    if allowed is not None:
        mask &= allowed
    found = torch.zeros_like(mask, dtype=data.gram.dtype)
    for _ in range(max_iter):
        found = solve(data, mask, alpha)
        kept = mask & (found.abs() >= threshold)
        if pace < 1:
            fewest = (mask.sum(-1, keepdim=True) * pace).ceil()
            rank = torch.where(mask, found.abs(), torch.inf).argsort(-1).argsort(-1)
            kept = mask & ((found.abs() >= threshold) | (rank >= fewest))
        found = found * kept
        if kept.equal(mask):
            break
        mask = kept
    mask &= found.abs() > 1e-14
    return solve(data, mask) if unbias else found


def distinguishable(gram: Tensor) -> Tensor:
    """Tell which columns the data can tell from the earlier ones: Gram matrix (F, F) -> (F,) bool.

    Simpler terms come first in a library, so of dependent columns the simplest are kept. Columns
    of zeros are not.
    """
    length = torch.diagonal(gram).sqrt()
    keep = length > 0
    scaled = gram / torch.where(keep, length, 1.0)[:, None] / torch.where(keep, length, 1.0)
    left = scaled.clone()  # Schur complement of the columns kept so far
    for i in range(gram.shape[0]):
        if not keep[i] or left[i, i] < _LEAST_PIVOT:
            keep[i] = False
            continue
        left = left - torch.outer(left[:, i], left[i]) / left[i, i]
    return keep


def leverage_matrix(gram: Tensor, rows: int, ridge: float = 1e-6) -> Tensor:
    """Invert the Gram matrix (F, F) of a fit, columns scaled, for leverage scores."""
    scale = torch.diagonal(gram).sqrt()
    scale = torch.where(scale > 0, scale, 1.0)
    unit = torch.eye(gram.shape[0], dtype=gram.dtype, device=gram.device)
    inverse = torch.linalg.inv(gram / scale[:, None] / scale + ridge * unit)
    return inverse / scale[:, None] / scale * (rows / gram.shape[0])


def affordable(degrees: Tensor, most: float) -> Tensor:
    """Choose the terms (F,) of the lowest degrees (F,) as long as they are at most so many."""
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
    dropped: int = 0,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """Solve a regression for every member of an ensemble.

    Args:
        problem: features, targets, allowed terms.
        members: M.
        threshold: least coefficient that stays.
        alpha: ridge while terms are chosen.
        normalize: measure coefficients by the size of their term in that of the target.
        elites: equations kept of each target, those that fit all rows best; None keeps all.
        weights: bags (M, N); None for all rows.
        dropped: terms taken away from each member.
        generator: source of the choice of these.

    Returns:
        Coefficients (M or elites, T, F) in the data's units, each target's best first where there
        are elites; which terms (F,) the data can tell apart.
    """
    features, targets, allowed = problem
    shape, size = features.new_ones(features.shape[1]), features.new_ones(targets.shape[1])
    if normalize:
        shape, size = (x.square().mean(0).sqrt() for x in (features, targets))
        shape, size = (torch.where(x > 0, x, 1.0) for x in (shape, size))
    features, targets = features / shape, targets / size
    told = distinguishable(features.T @ features)
    mask = (allowed & told).expand(members, *allowed.shape)
    if generator is not None and dropped and members > 1:
        mask = mask & drop_candidates(told, members, dropped, generator=generator)[:, None]
    data = moments(features, targets, weights)
    if weights is None:
        data = Moments(*(x.expand(members, -1, -1) for x in data))
    settings = {"threshold": threshold, "pace": _PACE, "max_iter": 100}
    found = stlsq(data, alpha=alpha, allowed=mask, **settings)
    # the ridge spreads a coefficient over terms that are alike in the data: without it they fall
    found = stlsq(data, alpha=0.0, allowed=found != 0, **settings)
    if elites is not None:
        # a member that has lost a term it needs is no sample of what is likely, but wrong
        missed = (targets.T - found @ features.T).square().mean(-1)  # (M, T)
        best = missed.sort(dim=0, stable=True).indices[:elites]
        found = found.gather(0, best[..., None].expand(-1, -1, found.shape[-1]))
    return found * size[:, None] / shape, told
