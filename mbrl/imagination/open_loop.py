"""Open-loop errors of a model along recorded actions."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from mbrl.imagination.rollout import ImaginedStep, imagine
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
    steps = _steps(model, data, windows)
    errors = torch.stack(
        [
            ((step.prediction.next_obs - data.next_obs[rows]) / scale).square().mean().sqrt()
            for rows, step in zip(windows.T, steps, strict=True)
        ]
    )
    return torch.where(errors.isnan(), torch.inf, errors)


@torch.no_grad()
def predict_windows(model: Model[State], data: Transitions, windows: Tensor) -> Tensor:
    """Predict recorded sequences open loop, by the model's mean.

    Args:
        model: predicts on from its own predictions, also where a step is predicted to end.
        data: transitions (B, ...).
        windows: rows of K sequences of H consecutive steps (K, H).

    Returns:
        Observations after each step (K, H, obs_dim).
    """
    return torch.stack([x.prediction.next_obs for x in _steps(model, data, windows)], 1)


def _steps(
    model: Model[State], data: Transitions, windows: Tensor
) -> Iterator[ImaginedStep[State]]:
    """Step a model along recorded actions from the first observations of windows (K, H)."""
    obs = data.obs[windows[:, 0]]
    return imagine(
        model,
        model.initial(obs),
        obs,
        lambda step, _: data.action[windows[:, step]],
        windows.shape[1],
        until_end=False,
    )
