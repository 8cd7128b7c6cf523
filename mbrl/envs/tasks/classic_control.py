"""Rewards and terminations of gymnasium's classic-control environments, for models of them."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mbrl.types import Task


def cartpole() -> Task:
    """Return the Task of CartPole-v1: it ends 2.4 m off the center or 12 degrees off upright."""
    return Task(
        obs_names=("x", "x_dot", "theta", "theta_dot"),
        positions=((0, 1), (2, 3)),
        reward=lambda obs, action, next_obs: torch.ones_like(next_obs[:, 0]),
        terminated=lambda obs, action, next_obs: (
            (next_obs[:, 0].abs() > 2.4) | (next_obs[:, 2].abs() > math.radians(12))
        ),
    )


def acrobot() -> Task:
    """Return the Task of Acrobot-v1: it ends when the tip is one link above the pivot."""

    def swung_up(obs: Tensor, action: Tensor, next_obs: Tensor) -> Tensor:
        cos1, sin1, cos2, sin2 = next_obs[:, :4].unbind(1)
        return -cos1 - (cos1 * cos2 - sin1 * sin2) > 1.0

    return Task(
        obs_names=("cos1", "sin1", "cos2", "sin2", "theta1_dot", "theta2_dot"),
        angle_pairs=((0, 1), (2, 3)),
        reward=lambda obs, action, next_obs: swung_up(obs, action, next_obs).float() - 1.0,
        terminated=swung_up,
    )


def mountain_car_continuous() -> Task:
    """Return the Task of MountainCarContinuous-v0: it ends at the flag, moving on."""

    def arrived(obs: Tensor, action: Tensor, next_obs: Tensor) -> Tensor:
        return (next_obs[:, 0] >= 0.45) & (next_obs[:, 1] >= 0)

    return Task(
        obs_names=("position", "velocity"),
        positions=((0, 1),),
        reward=lambda obs, action, next_obs: (
            100.0 * arrived(obs, action, next_obs).float() - 0.1 * action[:, 0].square()
        ),
        terminated=arrived,
    )
