"""Interquartile means and their bootstrap intervals, as in rliable (Agarwal et al. 2021)."""

from __future__ import annotations

import numpy as np


def iqm(values: np.ndarray) -> np.ndarray:
    """Average the middle half along the last axis: a quarter is trimmed at each end.

    Args:
        values: (..., n).
    """
    ordered, cut = np.sort(values, -1), values.shape[-1] // 4
    return ordered[..., cut : values.shape[-1] - cut].mean(-1)


def interval(strata: list[np.ndarray], resamples: int = 10_000) -> tuple[float, float, float]:
    """Return the interquartile mean of strata of values (n,) and its 95% bootstrap interval.

    Args:
        strata: values that are resampled each by itself: a task's, over its seeds.
        resamples: of the bootstrap, the same ones at every call.
    """
    draws = np.random.default_rng(0)
    parts = [x[draws.integers(len(x), size=(resamples, len(x)))] for x in strata]
    low, high = np.percentile(iqm(np.concatenate(parts, 1)), [2.5, 97.5])
    return float(iqm(np.concatenate(strata))), float(low), float(high)
