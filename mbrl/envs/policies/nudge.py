"""Exploration of the push environments."""

from __future__ import annotations

import math
from typing import final

import torch
from torch import Tensor

from mbrl.envs.policies.scripted_push import ScriptedPush
from mbrl.envs.tasks.push import HALF, PUSHER
from mbrl.types import Task
from mbrl.values import NonNegative, checked


@final
class Nudge:
    """Exploration of the push environments: push the slider about; an ActionSelector.

    Far from the slider the pusher approaches it. Near it the pusher goes anywhere, mostly against
    it, at any speed: without slow pushes a model lets a slider drift that nothing moves, and a
    planner waits for it. A slider far from the goal is mostly pushed back, by ScriptedPush.

    Args:
        task: of one of the push environments.
        near: cm between pusher and slider within which the pusher pushes.
        home: cm from the goal beyond which the slider is pushed back.
    """

    @checked
    def __init__(self, task: Task, near: NonNegative = 3.0, home: NonNegative = 12.0):
        """Store the distances and build the script."""
        self._near, self._home = near, home
        self._script = ScriptedPush(task)

    def select(
        self, obs: Tensor, *, generator: torch.Generator, deterministic: bool = False
    ) -> Tensor:
        """Return velocities (B, 2) for obs (B, obs_dim)."""
        rows, device = obs.shape[0], obs.device
        gap = obs[:, :2].norm(dim=1) - HALF - PUSHER
        ahead = torch.atan2(-obs[:, 1], -obs[:, 0])
        normal = torch.randn(rows, generator=generator, device=device)
        uniform = torch.rand(rows, 4, generator=generator, device=device)
        anywhere = math.pi * (2 * uniform[:, 0] - 1)
        spread = torch.where(uniform[:, 1] < 0.3, anywhere, 0.8 * normal)
        angle = ahead + torch.where(gap > self._near, 0.3 * normal, spread)
        speed = torch.where(gap > self._near, 1.0, uniform[:, 2])
        free = speed[:, None] * torch.stack([angle.cos(), angle.sin()], 1)
        back = self._script.select(obs, generator=generator)
        back = back + 0.3 * torch.randn(rows, 2, generator=generator, device=device)
        away = (obs[:, 2:4].norm(dim=1) > self._home) & (uniform[:, 3] < 0.7)
        return torch.where(away[:, None], back, free)
