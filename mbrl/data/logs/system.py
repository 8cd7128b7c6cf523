"""Stand-in for a system of which there are only recorded runs."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from mbrl.data.logs.encoding import AngleEncoding
from mbrl.data.spaces import OnlyShapes
from mbrl.errors import BadInput
from mbrl.types import ActionSpec, Task
from mbrl.values import CountOrZero, Finite, NumEnvs, Positive, checked


def no_reward(obs: Tensor, action: Tensor, next_obs: Tensor) -> Tensor:
    """Return zeros (B,): a log says nothing of rewards."""
    return torch.zeros_like(obs[:, 0])


def never(obs: Tensor, action: Tensor, next_obs: Tensor) -> Tensor:
    """Return False (B,): recorded runs are broken off, they do not end."""
    return torch.zeros(len(obs), dtype=torch.bool, device=obs.device)


def task_of(encoding: AngleEncoding) -> Task:
    """Return what is known of a recorded system: the circles of its angles."""
    return Task(
        reward=no_reward,
        terminated=never,
        obs_names=encoding.encoded_names,
        angle_pairs=encoding.pairs,
        project=encoding.project if encoding.pairs else None,
    )


@final
class RecordedSystem(OnlyShapes):
    """VecEnv that only has the shapes of recorded runs; it can be neither reset nor stepped.

    Its observations have cosine and sine in the place of each angle.

    Args:
        obs_names: of the recorded observations.
        action_low: least recorded actions.
        action_high: largest recorded actions.
        angles: numbers of the observations that are angles, from 0.
        step: seconds of a step, if they are known.
        num_envs: reported as its own.
        device: of the tensors.

    Raises:
        BadInput: if a name, an angle or a bound is missing.
    """

    _reason = (
        "there is no environment to act in, only recorded runs; plan in the model from Python, "
        "mbrl.load(RUN).agent.dynamics"
    )

    @checked
    def __init__(
        self,
        *,
        obs_names: tuple[str, ...] = (),
        action_low: tuple[Finite, ...] = (),
        action_high: tuple[Finite, ...] = (),
        angles: tuple[CountOrZero, ...] = (),
        step: Positive | None = None,
        num_envs: NumEnvs = 1,
        device: torch.device | str = "cpu",
    ):
        """Compute the shapes."""
        if not obs_names or not action_low:
            raise BadInput("obs_names: none; recorded runs are fitted by `mbrl fit DATA`")
        if any(not 0 <= i < len(obs_names) for i in angles):
            raise BadInput(f"angles: {list(angles)} should be from 0 to {len(obs_names) - 1}")
        self.num_envs, self.device, self.step_seconds = num_envs, torch.device(device), step
        self.encoding = AngleEncoding(tuple(obs_names), tuple(angles))
        self.action = ActionSpec.box(action_low, action_high, device=device)
        self.task = task_of(self.encoding)
        self.obs_dim = len(self.encoding.encoded_names)
