"""Runs at an even rate: observations between rows, actions as they were held."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mbrl.data.logs.runs import Run

_UNEVEN, _SHARE = 0.1, 0.05  # of the median step, and of the rows


def is_uneven(runs: Sequence[Run], step: float) -> bool:
    """Return whether more than 5% of the steps differ from the median by more than 10%.

    Args:
        runs: with their times.
        step: the median (s).
    """
    steps = np.concatenate([np.diff(run.time) for run in runs if run.time is not None])
    return bool((np.abs(steps - step) > _UNEVEN * step).mean() > _SHARE)


def resampled(run: Run, step: float) -> Run | None:
    """Return a run at an even step, None if it is shorter than one.

    Observations are interpolated linearly, so angles have to be continuous. The action of a step is
    the one of the last row at its beginning.

    Args:
        run: with its times.
        step: (s).
    """
    assert run.time is not None
    count = int(np.floor((run.time[-1] - run.time[0]) / step * (1 + 1e-9) + 1e-6))
    if count < 1:
        return None
    time = run.time[0] + step * np.arange(count + 1)
    obs = np.stack([np.interp(time, run.time, column) for column in run.obs.T], 1)
    before = np.searchsorted(run.time, time[:-1] + 1e-6 * step, side="right") - 1
    return run._replace(obs=obs, action=run.action[before.clip(0, len(run.action) - 1)], time=time)
