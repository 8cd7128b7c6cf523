"""Exploration of the sort environments."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from mbrl.envs.tasks.sort import PUCKS


@final
class NudgePucks:
    """Exploration of the sort environments: push a random puck in each step; an ActionSelector."""

    def select(
        self, obs: Tensor, *, generator: torch.Generator, deterministic: bool = False
    ) -> Tensor:
        """Return velocities (B, 2) for obs (B, obs_dim)."""
        rows, device = obs.shape[0], obs.device
        gap = obs[:, 2:].unflatten(1, (PUCKS, 2)) - obs[:, None, :2]
        draw = torch.rand(rows, PUCKS, generator=generator, device=device)
        # near ones are likelier, so that a push goes on
        chosen = (gap.norm(dim=2) / 10 + 2 * draw).argmin(1)
        toward = gap[torch.arange(rows, device=device), chosen]
        noise = 3 * torch.randn(rows, 2, generator=generator, device=device)
        return (toward + noise) / (toward + noise).norm(dim=1, keepdim=True).clamp(min=1e-3)
