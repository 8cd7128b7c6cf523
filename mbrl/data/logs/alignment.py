"""Whether actions and observations are recorded off by one row."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_FOLDS = 5
_MOST = 10_000  # steps that are looked at
_WIDEST = 200  # features with products
_ENOUGH = 20  # steps for each feature
_CLEAR = 0.8  # of the squared error with the action of the row: less is clearly more
_NO_MORE, _NO_CHANGE = 0.1, 0.02  # of what the other row explains, and of the error, that may go
_FLOOR = 1e-6  # of the variance of a change: errors below do not differ
# shares of an action's variance that the observations may not explain
_FREE_SAME, _FREE_NEXT, _FREE_NOW = 0.02, 0.5, 0.1
_STAYS = 0.4  # of what an action explains: still there a row later
_PAST, _SAME, _NOW = 0, 2, 4  # groups of features
_RIDGE = 1e-9  # of the variance of a feature


def describe_shift(
    runs: Sequence[tuple[NDArray[np.float64], NDArray[np.float64]]], angles: Sequence[int]
) -> list[str]:
    """Return a sentence if the action of another row clearly explains more, else none.

    Compared are least squares of the change from a row to the next, on held-out parts of the data,
    from the two observations before it and the action of the same row or of one next to it. The
    other row is named only if the action of the same row then adds almost nothing. A controller
    computes the next action from what it then observes: where past rows predict the next action, it
    is not compared.

    Args:
        runs: observations (T + 1, D) and actions (T, A).
        angles: observations that are angles.
    """
    shift = best_shift(runs, angles)
    if shift == 0:
        return []
    where, fault = ("next", "too late") if shift > 0 else ("previous", "too early")
    return [
        f"The action of the {where} row explains the change of the observations clearly better "
        f"than that of the same row, as if actions were recorded a row {fault}: "
        f"action_shift={shift} mends it."
    ]


def best_shift(
    runs: Sequence[tuple[NDArray[np.float64], NDArray[np.float64]]], angles: Sequence[int]
) -> int:
    """Return the rows by which the action that explains the data is away: -1, 0 or 1.

    Args:
        runs: observations (T + 1, D) and actions (T, A).
        angles: observations that are angles.
    """
    parts = [_windows(obs, action, angles) for obs, action in runs if len(action) > 2]
    if not parts:
        return 0
    now, turned, changes, *actions = (
        np.concatenate(each)[:_MOST] for each in zip(*parts, strict=True)
    )
    lag, change, later = np.split(changes, 3, 1)
    moving, varied = change.std(0) > 0, actions[1].std(0) > 0
    change, later = change[:, moving], later[:, moving]
    actions = [each[:, varied] for each in actions]
    past, bounded = np.concatenate([now, lag], 1), np.concatenate([turned, lag], 1)
    width = past.shape[1] + 2 * varied.sum()
    if not moving.any() or not varied.any() or len(now) < _ENOUGH * width:
        return 0
    inputs = actions
    wide = width + (bounded.shape[1] + 2 * varied.sum()) ** 2 / 2
    if wide <= min(_WIDEST, len(now) / _ENOUGH):
        inputs = [np.concatenate([a, a**2, _products(a, turned)], 1) for a in actions]
        past = np.concatenate([past, turned, _products(bounded, bounded)], 1)
    fit = _Fits([past, *inputs, now], [change, change + later, actions[1], actions[2]])
    same = fit.errors([_PAST, _SAME])[0]
    other = {shift: fit.errors([_PAST, _SAME + shift])[0] for shift in (-1, 1)}
    shift = min(other, key=lambda shift: other[shift].sum())
    best = int((other[shift].mean(0) / same.mean(0)).argmin())
    if not _is_clear(fit, other[shift][:, best], same[:, best], shift, best):
        return 0
    return shift if _is_free(fit, shift, best) else 0


def _is_clear(
    fit: _Fits,
    other: NDArray[np.float64],
    same: NDArray[np.float64],
    shift: int,
    best: int,
) -> bool:
    """Return whether the other action explains more, in all parts, and the same one nothing more.

    Args:
        fit: the least squares.
        other: errors (F,) of a change in each part with the action of the other row.
        same: those with the action of the same row.
        shift: of the other row.
        best: which change.
    """
    if other.mean() > _CLEAR * same.mean() or (other > same).any():
        return False
    none, both = (fit.errors(g)[0][:, best] for g in ([_PAST], [_PAST, _SAME, _SAME + shift]))
    gain, more = (none - other).mean(), (other - both).mean()
    return bool(more < max(_NO_MORE * gain, _NO_CHANGE * other.mean()))


def _is_free(fit: _Fits, shift: int, best: int) -> bool:
    """Return whether actions vary enough by themselves for the shift to be seen.

    A controller computes actions from observations. The action of the next row then holds what is
    observed there, with its noise, and the action of the same row nothing that the observations do
    not. What an action does stays; noise does not.

    Args:
        fit: the least squares.
        shift: of the other row.
        best: which change.
    """
    none = [errors.mean(0) for errors in fit.errors([_PAST])]
    if shift < 0:
        return none[2].min() > _FREE_SAME
    after = [errors.mean(0) for errors in fit.errors([_PAST, _SAME + 1])]
    gains = [(fit.variance(target) * (none[target] - after[target]))[best] for target in (0, 1)]
    return (
        fit.errors([_PAST, _SAME - 1, _SAME])[3].mean(0).min() > _FREE_NEXT
        and fit.errors([_NOW])[2].mean(0).min() > _FREE_NOW
        and bool(gains[1] > _STAYS * gains[0])
    )


class _Fits:
    """Least squares on parts of the data, with their errors on the other parts."""

    def __init__(
        self, features: Sequence[NDArray[np.float64]], targets: Sequence[NDArray[np.float64]]
    ):
        """Compute the moments of all features and targets in each part.

        Args:
            features: groups (N, P) of them.
            targets: groups (N, D) of them.
        """
        x, _ = _standardized(np.concatenate(features, 1))
        y, self._scale = _standardized(np.concatenate(targets, 1))
        x = np.concatenate([x, np.ones((len(x), 1))], 1)
        self._places = np.split(
            np.arange(x.shape[1] - 1), np.cumsum([group.shape[1] for group in features])[:-1]
        )
        self._ends = np.cumsum([group.shape[1] for group in targets])[:-1]
        parts = [(a, b) for a, b in zip(*(np.array_split(z, _FOLDS) for z in (x, y)), strict=True)]
        self._xx = np.stack([a.T @ a for a, _ in parts])
        self._xy = np.stack([a.T @ b for a, b in parts])
        self._yy = np.stack([(b**2).sum(0) for _, b in parts])
        self._counts = np.array([len(a) for a, _ in parts])

    def variance(self, group: int) -> NDArray[np.float64]:
        """Return the variances (D,) of a group of targets.

        Args:
            group: its place.
        """
        return np.split(self._scale**2, self._ends)[group]

    def errors(self, groups: Sequence[int]) -> list[NDArray[np.float64]]:
        """Return the mean squared errors (F, D) of each group of targets, in each part.

        They are shares of the variance of a target.

        Args:
            groups: of the features that are used, with a constant.
        """
        places = np.concatenate([*(self._places[group] for group in groups), [-1]])
        xx, xy = self._xx[:, places][:, :, places], self._xy[:, places]
        ridge = _RIDGE * self._counts.sum() * np.eye(len(places))
        weight = np.linalg.solve(xx.sum(0) - xx + ridge, xy.sum(0) - xy)
        fitted = np.einsum("fpd,fpq,fqd->fd", weight, xx, weight, optimize=True)
        total = self._yy - 2 * (weight * xy).sum(1) + fitted
        return np.split(total.clip(min=0) / self._counts[:, None] + _FLOOR, self._ends, 1)


def _windows(
    obs: NDArray[np.float64], action: NDArray[np.float64], angles: Sequence[int]
) -> tuple[NDArray[np.float64], ...]:
    """Return arrays for the rows k of a run.

    These are observations, the same with sines and cosines for angles, the changes to k, from k and
    from k + 1, and the actions k - 1, k and k + 1.
    """
    other = [place for place in range(obs.shape[1]) if place not in angles]
    turn = obs[:, list(angles)]
    turned = np.concatenate([obs[:, other], np.sin(turn), np.cos(turn)], 1)
    change = np.diff(obs, axis=0)
    changes = np.concatenate([change[:-2], change[1:-1], change[2:]], 1)
    return obs[1:-2], turned[1:-2], changes, action[:-2], action[1:-1], action[2:]


def _products(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the products of columns (N, P) and (N, Q), each once if both are the same."""
    products = x[:, :, None] * y[:, None, :]
    if x is y:
        upper = np.triu_indices(x.shape[1])
        return products[:, upper[0], upper[1]]
    return products.reshape(len(x), -1)


def _standardized(x: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return columns (N, P) of mean 0 and deviation 1, and the deviations."""
    x = x - x.mean(0)
    scale = x.std(0)
    x = x / np.where(scale > 1e-12 * np.abs(x).max(0, initial=0), scale, np.inf)
    return x, scale
