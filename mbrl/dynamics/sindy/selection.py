"""Selection of the terms of an equation: backward elimination, its end chosen by cross-validation.

Terms that are nearly dependent in the data cancel each other, so the size of a coefficient says
little of its term. What a term is worth is the error that removing it would add, the partial F of
a regression (Efroymson 1960). Terms are removed in this order. How far is chosen by the error on
blocks of rows that were held out, so that no threshold has to be known.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

Array = NDArray[np.float64]
Rows = NDArray[np.int64]

LEVELS = np.array([0.0, *np.geomspace(1.0, 1e5, 34), np.inf])  # smallest |t| of a term that stays
_FOLDS = 5
_BLOCK = 25  # consecutive rows that are held out together
_BATCH = 16  # of so many terms below the level, one is removed at once
_SAME, _WITHIN_NOISE = 1.02, 1.08  # ratios of errors: equal; equal if noise explains the rest
_MOST_TERMS = 0.8  # terms per row from which least squares on all of them is not tried
_LEAST_PIVOT = 1e-10  # squared share of a column that those chosen before do not explain


class Regression(NamedTuple):
    """Targets that share their rows, with columns of root mean square 1."""

    features: Array  # (N, F)
    targets: Array  # (N, T)
    allowed: NDArray[np.bool_]  # (T, F) terms that an equation may use
    floor: Array  # (T,) mean squared error that is the rounding of the data's own numbers


class _Moments(NamedTuple):
    """Sums over rows."""

    gram: Array  # (F, F)
    cross: Array  # (F, T)
    energy: Array  # (T,) of squared targets
    rows: int

    def without(self, other: _Moments) -> _Moments:
        """Return the sums over the rows that are not in another part."""
        return _Moments(
            self.gram - other.gram,
            self.cross - other.cross,
            self.energy - other.energy,
            self.rows - other.rows,
        )


def choose_levels(problem: Regression, block: int = 1) -> NDArray[np.int64]:
    """Return for each target the number of the highest level of LEVELS that costs no accuracy (T,).

    The error on held-out blocks is compared with that of the best level, level 0 (least squares on
    all terms) being one of them. It may be larger by the standard error of the difference, by 8% at
    most and not in most blocks. On all rows the terms that stay must fit as well. Many levels may
    keep the same terms: the middle one is chosen, because at the highest one rounding can remove
    them all.

    Args:
        problem: rows in time order.
        block: least number of consecutive rows that are held out together.
    """
    rows, targets = problem.targets.shape
    length = max(block, 1, min(_BLOCK, rows // (2 * _FOLDS)))
    blocks = np.arange(rows) // length
    folds = blocks % _FOLDS
    parts = [_moments(problem, folds == k) for k in range(_FOLDS)]
    whole = _total(parts)
    errors = np.zeros((targets, len(LEVELS), rows))
    for fold, part in enumerate(parts):
        held = folds == fold
        features, values = problem.features[held], problem.targets[held]
        data = whole.without(part)
        for target, paths in enumerate(_paths(problem, data)):
            last: tuple[int, Array] = (-1, values[:, target])
            for level, (support, weights) in enumerate(paths):
                if len(support) != last[0]:
                    gap = values[:, target] - features[:, support] @ weights
                    last = len(support), gap
                errors[target, level, held] = last[1] ** 2
    chosen = []
    on_all = _paths(problem, whole)
    for target in range(targets):
        equal = _as_good(errors[target], blocks)
        mean = errors[target].mean(1)
        equal |= mean <= problem.floor[target]
        allowed = np.maximum(_SAME**2 * mean, problem.floor[target])
        for level in np.flatnonzero(equal)[::-1]:
            support, weights = on_all[target][level]
            gap = problem.targets[:, target] - problem.features[:, support] @ weights
            if (gap**2).mean() <= allowed[level]:
                break
        same = [i for i, (terms, _) in enumerate(on_all[target]) if len(terms) == len(support)]
        chosen.append(int(same[0] + level) // 2)
    return np.array(chosen, dtype=np.int64)


def supports(problem: Regression, levels: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return the terms (T, F) that stay at given levels (T,), chosen on all rows."""
    data = _moments(problem, slice(None))
    mask = np.zeros_like(problem.allowed)
    for target, paths in enumerate(_paths(problem, data, levels)):
        mask[target, paths[-1][0]] = True
    return mask


def least_squares(problem: Regression, mask: NDArray[np.bool_]) -> Array:
    """Compute least squares on supports (T, F): coefficients (T, F)."""
    data = _moments(problem, slice(None))
    weights = np.zeros(mask.shape)
    for target, row in enumerate(mask):
        support = np.flatnonzero(row)
        weights[target, support] = _solve(data, support, target)
    return weights


def resample(problem: Regression, weights: Array, signs: Array, block: int) -> NDArray[np.float64]:
    """Compute members of an ensemble by the wild bootstrap (Wu 1986): (M, T, F).

    Each member is least squares on the same supports, for targets whose residuals have changed
    sign at random, block by block.

    Args:
        problem: rows in time order.
        weights: the fit (T, F).
        signs: of the blocks (M, at least N / block), each 1 or -1.
        block: consecutive rows that share a sign.
    """
    rows, targets = problem.targets.shape
    data = _moments(problem, slice(None))
    drawn = signs[:, np.arange(rows) // block]  # (M, N)
    members = np.repeat(weights[None], len(signs), 0)
    for target in range(targets):
        support = np.flatnonzero(weights[target])
        if not len(support):
            continue
        part = problem.features[:, support]
        residual = problem.targets[:, target] - part @ weights[target, support]
        residual *= np.sqrt(rows / max(1, rows - len(support)))
        moved = (drawn * residual) @ part  # (M, |S|)
        members[:, target, support] += moved @ _inverse(data.gram[np.ix_(support, support)])
    return members


def _as_good(errors: Array, blocks: Rows) -> NDArray[np.bool_]:
    """Return which levels (L,) have the smallest mean error, up to noise.

    Where few rows have most of the error, the noise of a mean hides much: what is worse in most
    blocks is not equal.

    Args:
        errors: squared, of the levels (L, N).
        blocks: number of each row's block (N,).
    """
    counts = np.bincount(blocks)
    mean = errors.mean(1)
    best = int(mean.argmin())
    gap = np.stack([np.bincount(blocks, e) / counts for e in errors - errors[best]])  # (L, K)
    scale = 1 / np.sqrt(len(counts))
    alike = (mean - mean[best] <= scale * gap.std(1)) & ((gap > 0).mean(1) - 0.5 <= scale)
    return (mean <= _SAME**2 * mean[best]) | (alike & (mean <= _WITHIN_NOISE**2 * mean[best]))


def _moments(problem: Regression, rows: NDArray[np.bool_] | slice) -> _Moments:
    """Compute the sums over some rows."""
    x, y = problem.features[rows], problem.targets[rows]
    return _Moments(x.T @ x, x.T @ y, (y**2).sum(0), len(x))


def _total(parts: list[_Moments]) -> _Moments:
    """Return the sums over all parts."""
    return _Moments(
        np.sum([p.gram for p in parts], 0),
        np.sum([p.cross for p in parts], 0),
        np.sum([p.energy for p in parts], 0),
        sum(p.rows for p in parts),
    )


def _inverse(gram: Array) -> Array:
    """Return the inverse of a Gram matrix, its columns scaled first."""
    scale = np.sqrt(np.diag(gram))
    scale = np.where(scale > 0, scale, 1.0)
    scaled = torch.from_numpy(gram / scale[:, None] / scale)
    factor, failed = torch.linalg.cholesky_ex(scaled)
    if int(failed):
        inverse = torch.linalg.pinv(scaled, rtol=1e-12, hermitian=True)
    else:
        inverse = torch.cholesky_inverse(factor)
    return inverse.numpy() / scale[:, None] / scale


def _solve(data: _Moments, support: Rows, target: int) -> Array:
    """Compute least squares of a target on a support: coefficients (|S|,)."""
    if not len(support):
        return np.zeros(0)
    return _inverse(data.gram[np.ix_(support, support)]) @ data.cross[support, target]


def _paths(
    problem: Regression, data: _Moments, levels: NDArray[np.int64] | None = None
) -> list[list[tuple[Rows, Array]]]:
    """Return for each target its supports and weights at the levels, or up to given ones (T,)."""
    known: dict[bytes, tuple[Rows, Array]] = {}
    paths = []
    for target, allowed in enumerate(problem.allowed):
        key = allowed.tobytes()
        if key not in known:
            terms = independent(data.gram, np.flatnonzero(allowed))
            few = len(terms) > _MOST_TERMS * data.rows
            empty = np.zeros((0, 0))
            known[key] = terms, empty if few else _inverse(data.gram[np.ix_(terms, terms)])
        start, inverse = known[key]
        if len(start) > _MOST_TERMS * data.rows:
            start = _grow(data, start, target, data.rows // 2)
            inverse = _inverse(data.gram[np.ix_(start, start)])
        last = len(LEVELS) - 1 if levels is None else int(levels[target])
        paths.append(_shrink(data, start, inverse, target, problem.floor[target], last))
    return paths


def _shrink(
    data: _Moments, terms: Rows, inverse: Array, target: int, floor: float, last: int
) -> list[tuple[Rows, Array]]:
    """Return supports and weights at the levels up to the last, the least useful terms removed.

    Args:
        data: sums over rows.
        terms: that the path begins with.
        inverse: of their Gram matrix.
        target: number of the target.
        floor: mean squared error below which errors are rounding.
        last: number of the last level.
    """
    path: list[tuple[Rows, Array]] = []
    fresh = len(terms)  # terms at the last exact inverse
    while len(path) <= last:
        level = LEVELS[len(path)]
        if not len(terms) or np.isinf(level):
            terms = terms[:0]
            path.append((terms, np.zeros(0)))
            continue
        weights = inverse @ data.cross[terms, target]
        left = data.energy[target] - data.cross[terms, target] @ weights
        left = max(left, 0.1 * floor * data.rows, 1e-15 * data.energy[target])
        worth = weights**2 / np.diag(inverse) * max(1, data.rows - len(terms))
        least = level**2 * left if level else 0.0  # all is rounding where left is infinite
        low = np.flatnonzero(~(worth >= least))
        if not len(low):
            path.append((terms, weights))
            continue
        gone = low[worth[low].argsort(kind="stable")[: max(1, len(terms) // _BATCH)]]
        gone = _spared(inverse, weights, gone, least / max(1, data.rows - len(terms)))
        kept = np.ones(len(terms), dtype=bool)
        kept[gone] = False
        stay = np.flatnonzero(kept)
        terms = terms[stay]
        if len(terms) < 0.7 * fresh:
            inverse, fresh = _inverse(data.gram[np.ix_(terms, terms)]), len(terms)
        else:
            side = inverse[np.ix_(stay, gone)]
            core = np.linalg.solve(inverse[np.ix_(gone, gone)], side.T)
            inverse = inverse[np.ix_(stay, stay)] - side @ core
    return path


def _spared(inverse: Array, weights: Array, gone: Rows, least: float) -> Rows:
    """Return which of these terms can go together, at least the first.

    Of two terms that stand for each other, each alone adds no error; both do.

    Args:
        inverse: of the Gram matrix of the terms (|S|, |S|).
        weights: of the terms (|S|,).
        gone: numbers of terms, the least useful one first.
        least: sum of squares that a term should add in order to stay.
    """
    block, left = inverse[np.ix_(gone, gone)], weights[gone]
    chosen = []
    for i in range(len(gone)):
        if i == 0 or left[i] ** 2 < least * block[i, i]:
            chosen.append(i)
            share = block[:, i] / block[i, i]
            left = left - share * left[i]
            block = block - np.outer(share, block[i])
    return gone[chosen]


def independent(gram: Array, terms: Rows) -> Rows:
    """Return the terms that those before them do not explain in these rows."""
    part = gram[np.ix_(terms, terms)]
    length = np.sqrt(np.diag(part))
    scale = np.where(length > 0, length, 1.0)
    left = part / scale[:, None] / scale
    keep = np.zeros(len(terms), dtype=bool)
    factor, failed = torch.linalg.cholesky_ex(torch.from_numpy(left))
    if not int(failed) and bool((torch.diagonal(factor) ** 2 >= _LEAST_PIVOT).all()):
        return terms
    for i in range(len(terms)):
        if left[i, i] >= _LEAST_PIVOT:
            keep[i] = True
            left[i:, i:] -= np.outer(left[i:, i], left[i, i:]) / left[i, i]
    return terms[keep]


def _grow(data: _Moments, terms: Rows, target: int, most: int) -> Rows:
    """Return at most so many terms, each the one that lowers the error most.

    Few rows do not determine all terms at once, so that elimination cannot begin with all.
    """
    left = data.gram[np.ix_(terms, terms)].copy()
    cross = data.cross[terms, target].copy()
    least = _LEAST_PIVOT * np.diag(left)
    chosen: list[int] = []
    while len(chosen) < min(most, len(terms)):
        size = np.diag(left)
        free = size > np.maximum(least, 0)
        free[chosen] = False
        if not free.any():
            break
        gain = np.where(free, cross**2 / np.where(free, size, 1.0), -1.0)
        i = int(gain.argmax())
        chosen.append(i)
        column = left[:, i] / size[i]
        cross = cross - column * cross[i]
        left = left - np.outer(column, left[i])
    return terms[np.sort(chosen)] if chosen else terms[:0]
