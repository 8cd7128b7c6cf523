"""How far a model's open-loop predictions drift from what happened, step by step."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from mbrl.imagination.open_loop import open_loop_errors
from mbrl.nn.normalizer import divisor, spread
from mbrl.types import Transitions, sequences


class ModelError(NamedTuple):
    """Error of k-step predictions on real sequences.

    One is the spread of the observations themselves: a model no better than their mean.
    """

    model: Tensor  # (H,) root mean squared error of next_obs, in standard deviations of obs
    no_change: Tensor  # (H,) the same of predicting that nothing moves
    num_sequences: int  # real sequences of H steps that were predicted
    source: str = "the given data"  # of the sequences, in words


@torch.no_grad()
def k_step_error(
    model: Any,
    data: Transitions,
    *,
    horizon: int,
    source: str = "the given data",
    max_sequences: int = 2000,
) -> ModelError | None:
    """Predict real sequences open loop from their first observation with the mean belief.

    Args:
        model: a Model.
        data: transitions (B, ...).
        horizon: steps H.
        source: of the data, in words: whether the model was fitted to them.
        max_sequences: windows evaluated, evenly taken.

    Returns:
        Errors for 1..H steps; None if no episode is that long.
    """
    data = data.validated()
    windows = sequences(data, horizon)
    if windows.shape[0] == 0:
        return None
    windows = windows[:: -(-windows.shape[0] // max_sequences)]
    scale = divisor(spread(data.obs)).to(data.obs.dtype)
    start, errors = data.obs[windows[:, 0]], open_loop_errors(model, data, windows, scale)
    still = [((start - data.next_obs[rows]) / scale).square().mean().sqrt() for rows in windows.T]
    return ModelError(errors, torch.stack(still), windows.shape[0], source)
