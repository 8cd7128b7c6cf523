"""Open-loop errors of a model along recorded actions."""

from __future__ import annotations

import torch
from torch import Tensor

from mbrl.imagination.rollout import imagine
from mbrl.roles import Model
from mbrl.types import State, Transitions


@torch.no_grad()
def open_loop_errors(
    model: Model[State], data: Transitions, windows: Tensor, scale: Tensor
) -> Tensor:
    """Compute the errors of a model that predicts on from its own predictions.

    Rows go on where a step is predicted to terminate or to be invalid, as the recorded ones did.

    Args:
        model: predicts by its mean.
        data: transitions (B, ...).
        windows: rows of K sequences of H consecutive steps (K, H).
        scale: unit of the errors (obs_dim,).

    Returns:
        Root mean squared error of next_obs after each step, in these units (H,); infinite where
        predictions are no longer numbers.
    """
    obs = data.obs[windows[:, 0]]
    steps = imagine(
        model,
        model.initial(obs),
        obs,
        lambda step, _: data.action[windows[:, step]],
        windows.shape[1],
        until_end=False,
    )
    errors = torch.stack(
        [
            ((step.prediction.next_obs - data.next_obs[rows]) / scale).square().mean().sqrt()
            for rows, step in zip(windows.T, steps, strict=True)
        ]
    )
    return torch.where(errors.isnan(), torch.inf, errors)
