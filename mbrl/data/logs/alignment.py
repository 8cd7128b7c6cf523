"""Whether actions and observations are recorded off by one row."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_FOLDS = 5
_MOST = 20_000  # steps that are looked at
_ENOUGH = 20  # steps for each feature
_CLEAR = 0.8  # of the squared error with the action of the row: less is clearly more
_NO_MORE = 0.9  # of the gain that the action of the row may still add
_FLOOR = 1e-6  # of the variance of a change: errors below do not differ
_FREE = 0.5  # of the variance of the next action that the past may not predict
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
    now, lag, change, *actions = (np.concatenate(each)[:_MOST] for each in zip(*parts, strict=True))
    moving, varied = change.std(0) > 0, actions[1].std(0) > 0
    change, actions = change[:, moving], [each[:, varied] for each in actions]
    width = now.shape[1] + lag.shape[1] + 2 * varied.sum()
    if not moving.any() or not varied.any() or len(now) < _ENOUGH * width:
        return 0
    past = np.concatenate([now, lag], 1)
    if len(now) >= _ENOUGH * (width + width**2 / 2):
        inputs = [np.concatenate([a, a**2, _products(a, now)], 1) for a in actions]
        past = np.concatenate([past, _products(past, past)], 1)
    else:
        inputs = actions
    fit = _Fits([past, *inputs, now], [change, actions[1], actions[2]])
    shift, gain = 0, 1.0
    alone, free_same, _ = fit.errors([0, 2])
    for other, place in ((-1, 1), (1, 3)):
        others, _, _ = fit.errors([0, place])
        both = fit.errors([0, place, 2])[0]
        none = fit.errors([0])[0]
        best = int((others / alone).argmin())
        clear = others[best] < _CLEAR * alone[best] and others.sum() < alone.sum()
        useless = others[best] - both[best] < (1 - _NO_MORE) * (none[best] - others[best])
        if other > 0:
            useless &= fit.errors([0, 1, 2])[2].min() > _FREE and fit.errors([4])[1].min() > _FREE
        if clear and useless and others[best] / alone[best] < gain:
            shift, gain = other, others[best] / alone[best]
    return shift


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
        x, y = (_standardized(np.concatenate(groups, 1)) for groups in (features, targets))
        x = np.concatenate([x, np.ones((len(x), 1))], 1)
        self._places = np.split(
            np.arange(x.shape[1] - 1), np.cumsum([group.shape[1] for group in features])[:-1]
        )
        self._ends = np.cumsum([group.shape[1] for group in targets])[:-1]
        parts = [(a, b) for a, b in zip(*(np.array_split(z, _FOLDS) for z in (x, y)), strict=True)]
        self._xx = np.stack([a.T @ a for a, _ in parts])
        self._xy = np.stack([a.T @ b for a, b in parts])
        self._yy = np.stack([(b**2).sum(0) for _, b in parts])
        self._count = len(x)

    def errors(self, groups: Sequence[int]) -> list[NDArray[np.float64]]:
        """Return the mean squared error of each target (D,), in each group of targets.

        Args:
            groups: of the features that are used, with a constant.
        """
        places = np.concatenate([*(self._places[group] for group in groups), [-1]])
        xx, xy = self._xx[:, places][:, :, places], self._xy[:, places]
        total = np.zeros(xy.shape[2])
        ridge = _RIDGE * self._count * np.eye(len(places))
        for part in range(_FOLDS):
            weight = np.linalg.solve(xx.sum(0) - xx[part] + ridge, xy.sum(0) - xy[part])
            fitted = np.einsum("pd,pq,qd->d", weight, xx[part], weight)
            total += self._yy[part] - 2 * (weight * xy[part]).sum(0) + fitted
        return np.split(total.clip(min=0) / self._count + _FLOOR, self._ends)


def _windows(
    obs: NDArray[np.float64], action: NDArray[np.float64], angles: Sequence[int]
) -> tuple[NDArray[np.float64], ...]:
    """Return for rows k of a run: observations, last and next change, actions k - 1, k, k + 1."""
    other = [place for place in range(obs.shape[1]) if place not in angles]
    turned = obs[:, list(angles)]
    now = np.concatenate([obs[:, other], np.sin(turned), np.cos(turned)], 1)
    change = np.diff(obs, axis=0)
    return now[1:-2], change[:-2], change[1:-1], action[:-2], action[1:-1], action[2:]


def _products(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the products of columns (N, P) and (N, Q), each once if both are the same."""
    products = x[:, :, None] * y[:, None, :]
    if x is y:
        upper = np.triu_indices(x.shape[1])
        return products[:, upper[0], upper[1]]
    return products.reshape(len(x), -1)


def _standardized(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return columns (N, P) of mean 0 and deviation 1; constant ones become 0."""
    x = x - x.mean(0)
    scale = x.std(0)
    return x / np.where(scale > 1e-12 * np.abs(x).max(0, initial=0), scale, np.inf)
