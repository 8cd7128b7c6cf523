"""The place of an environment that is not at hand: what a dataset tells of it."""

from __future__ import annotations

from typing import Any, NoReturn

import torch
from torch import Tensor

from mbrl.data.load import load_dataset
from mbrl.errors import BadInput
from mbrl.roles import VecStep
from mbrl.types import ActionSpec, Task


class Spaces:
    """Tell an offline agent the shapes of its dataset; a VecEnv that cannot be acted in.

    Args:
        dataset: Minari's name, or a file of D4RL or NeoRL.
        num_envs: how many are asked for.
        device: where tensors are wanted.

    Raises:
        BadInput: if the dataset is not there or damaged.
    """

    max_episode_steps: int | None = None

    def __init__(self, *, dataset: str, num_envs: int = 1, device: torch.device | str = "cpu"):
        """Read the shapes."""
        self.num_envs = num_envs
        found = load_dataset(dataset, device=device)
        self.device = torch.device(device)
        self.obs_dim: int = found.data.obs.shape[1]
        self.action: ActionSpec = found.action
        self.task = Task()

    def reset(self, seed: int | None = None) -> Tensor:
        """Refuse."""
        self._refuse()

    def step(self, action: Tensor) -> VecStep:
        """Refuse."""
        self._refuse()

    def env_state(self) -> Tensor | None:
        """Give none."""
        return None

    def state_dict(self) -> dict[str, Any]:
        """Give nothing."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take nothing."""

    def close(self) -> None:
        """Free nothing."""

    def _refuse(self) -> NoReturn:
        raise BadInput(
            "env=dataset: there is no environment to act in, only what its dataset tells of it; "
            "train with the environment, env=NAME, to evaluate the policy"
        )
