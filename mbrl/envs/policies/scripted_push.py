"""Baseline by hand for the push environments."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from mbrl.envs.tasks.push import ARRIVED, SPEED, unit
from mbrl.types import Task
from mbrl.values import Count, checked


@final
class ScriptedPush:
    """Policy by hand that goes behind the slider and pushes it to the goal; an ActionSelector.

    Args:
        task: of one of the push environments.
        frame_skip: of that environment.
    """

    @checked
    def __init__(self, task: Task, frame_skip: Count = 10):
        """Read where the pusher should stand."""
        assert task.anchors is not None
        self._anchors = task.anchors
        self._step = SPEED * 0.01 * frame_skip  # cm at full speed

    def select(
        self, obs: Tensor, *, generator: torch.Generator, deterministic: bool = True
    ) -> Tensor:
        """Return velocities (B, 2) for obs (B, obs_dim)."""
        place, distance = obs[:, :2], obs[:, 2:4].norm(dim=1, keepdim=True)
        aim = self._anchors(obs)
        outward, radius = unit(place), place.norm(dim=1, keepdim=True)
        reach, ahead = aim.norm(dim=1, keepdim=True), unit(aim)
        angle = _cross(outward, ahead).atan2((outward * ahead).sum(1))[:, None]  # still to go round
        tangent = torch.stack([-outward[:, 1], outward[:, 0]], 1) * angle.sign()
        orbit = unit(tangent + 0.5 * (reach + 2 - radius) * outward)
        left = torch.stack([-ahead[:, 1], ahead[:, 0]], 1)
        to_go = distance + (radius - reach).clamp(min=0)
        push = unit(-ahead + 3 * angle * left) * (to_go / self._step).clamp(max=1)
        push = torch.where(distance < ARRIVED[0], 0.0, push)
        return torch.where(angle.abs() > 0.4, orbit, push)


def _cross(a: Tensor, b: Tensor) -> Tensor:
    """Compute the sine (B,) of the angle from unit rows a to b."""
    return a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]
