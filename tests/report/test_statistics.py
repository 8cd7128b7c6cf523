"""Interquartile means against SciPy, and that intervals cover what they should."""

import numpy as np
import pytest
from scipy.stats import trim_mean

from mbrl.report import interval, iqm


@pytest.mark.parametrize("count", [4, 5, 8, 21])
def test_the_interquartile_mean_is_scipys(count):
    values = np.random.default_rng(count).normal(size=(3, count))
    assert iqm(values) == pytest.approx(trim_mean(values, 0.25, axis=-1))


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    draws = np.random.default_rng(0)
    held = 0
    for _ in range(300):
        middle, low, high = interval([draws.normal(1.0, 2.0, 30)], resamples=500)
        assert low <= middle <= high
        held += low <= 1.0 <= high
    assert 0.88 < held / 300 < 0.98  # a percentile interval of few values is a little narrow


def test_tasks_are_resampled_each_by_itself():
    """Two constant tasks: no resample mixes their numbers, so nothing varies."""
    assert interval([np.zeros(4), np.ones(4)], resamples=200) == (0.5, 0.5, 0.5)
